"""Words of 合约 (contract): negotiation, agreement, performance.

1. The negotiation is the Dataspace Protocol's (2025-1): seven states, a message is out of turn or it is not.
2. Each side keeps its own record; what one side did reaches the other as a signed message, never as a shared row.
3. An agreement pins its terms by hash and carries the signatures of both sides before it is final.
4. What the last offer or request says is what is agreed: terms change with the message that says so, never else.
5. A use is counted in the transaction of the use, on the provider's record, and refused beyond the terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from dujiang.kernel.errors import Code, Exit
from dujiang.kernel.machine import Machine


class State(StrEnum):
    """The states of a negotiation, in the protocol's words."""

    start = "START"
    requested = "REQUESTED"
    offered = "OFFERED"
    accepted = "ACCEPTED"
    agreed = "AGREED"
    verified = "VERIFIED"
    finalized = "FINALIZED"
    terminated = "TERMINATED"


class Side(StrEnum):
    """Which side an organisation is on in a negotiation."""

    consumer = "consumer"
    provider = "provider"

    def other(self) -> Side:
        """The other side."""
        return Side.provider if self is Side.consumer else Side.consumer


_C, _P = "consumer", "provider"
NEGOTIATION = Machine(
    "negotiation",
    State.start,
    MappingProxyType({
        (State.start, "request", _C): State.requested,
        (State.start, "offer", _P): State.offered,
        (State.requested, "offer", _P): State.offered,
        (State.requested, "agree", _P): State.agreed,
        (State.requested, "terminate", _C): State.terminated,
        (State.requested, "terminate", _P): State.terminated,
        (State.offered, "request", _C): State.requested,
        (State.offered, "accept", _C): State.accepted,
        (State.offered, "terminate", _C): State.terminated,
        (State.offered, "terminate", _P): State.terminated,
        (State.accepted, "agree", _P): State.agreed,
        (State.accepted, "terminate", _P): State.terminated,
        (State.agreed, "verify", _C): State.verified,
        (State.agreed, "terminate", _C): State.terminated,
        (State.verified, "finalize", _P): State.finalized,
        (State.verified, "terminate", _P): State.terminated,
    }),
)  # fmt: skip
"""Dataspace Protocol 2025-1, contract negotiation, figure of states; the diagram, not the looser prose."""


@dataclass(frozen=True, slots=True)
class Negotiation:
    """One side's record of a negotiation."""

    org: str
    id: str
    """This side's own process id: `consumerPid` or `providerPid`."""
    side: Side
    peer_did: str
    peer_pid: str | None
    product: str
    version: str
    purpose: str
    terms: dict[str, Any]
    """The offer as ODRL, as this side last saw it."""
    terms_sha256: str
    state: State
    contract: str | None = None
    reason: str | None = None
    """The code a termination gave."""
    held_until: str | None = None
    """Provider: the day (ISO date) from which a held request waits for a person."""
    changed_ms: int = 0
    """When this side last changed it."""


@dataclass(frozen=True, slots=True)
class Comment:
    """A remark (留言) in a negotiation, kept by both sides; signed with the message that brought it."""

    id: str
    side: Side
    """Whose remark it is."""
    text: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Contract:
    """One side's record of an agreement (合约), and on the provider's side its performance."""

    org: str
    id: str
    side: Side
    peer_did: str
    product: str
    version: str
    purpose: str
    terms: dict[str, Any]
    terms_sha256: str
    agreed_ms: int
    state: str
    """pending until both have signed and the provider said final; then active; then terminated."""
    provider_signature: str
    consumer_signature: str | None
    questions_used: int
    negotiation: str


@dataclass(frozen=True, slots=True)
class Allowance:
    """Money the consumer has put on a contract (合约额度), in minor units of one currency."""

    currency: str
    available_minor: int = 0
    held_minor: int = 0
    """For questions that run: the most they can cost."""
    spent_minor: int = 0
    """For what was used and is not settled yet."""
    ended: int = 0
    """How many uses have ended: the number of the last."""
    billed: int = 0
    """The number of the last use that stands on a bill."""


class Kind(StrEnum):
    """What a use of a priced contract is counted as (计量项)."""

    agreement = "agreement"
    """The fee due with the first question."""
    month = "month"
    """The fee of a month in which something was asked."""
    question = "question"
    """A question, and the rows of its answer."""


@dataclass(frozen=True, slots=True)
class Use:
    """One metered use (计量记录): amount = quantity x unit + rows x row, never more than was held."""

    org: str
    """The provider."""
    contract: str
    id: str
    """The job, or the fee's own name: a use is counted once for ever."""
    kind: Kind
    what: str
    """Equal for equal questions: the same answer is paid once."""
    at_ms: int
    quantity: int
    unit_minor: int
    rows: int
    """Rows of the answer; while it is held, the most it can have."""
    row_minor: int
    held_minor: int
    amount_minor: int = 0
    no: int | None = None
    """Its number among the ended uses of the contract; None while it is held."""

    @property
    def cost_minor(self) -> int:
        """What it costs by its own figures."""
        return self.quantity * self.unit_minor + self.rows * self.row_minor


PENDING, ACTIVE, ENDED = "pending", "active", "terminated"
COMMENT_CHARACTERS_MAX = 1000
COMMENTS_MAX = 100
"""Most remarks of one side in one negotiation."""

OUT_OF_TURN = Code(
    "out_of_turn", 400, Exit.conflict,
    "That message is out of turn in this negotiation.", "Look at its state with `dujiang show`, then answer that.",
    "该消息不符合当前协商状态。", "用 `dujiang show` 查看状态后再作回应。",
)  # fmt: skip
NOT_ACTIVE = Code(
    "contract_not_active", 409, Exit.conflict,
    "This contract is not active.", "Agree a new one with `dujiang agree`.",
    "该合约未生效。", "请用 `dujiang agree` 重新签约。",
)  # fmt: skip
NOT_CONSUMER = Code(
    "contract_not_yours_to_use", 403, Exit.refused,
    "Only the consumer of this contract may use it.", "Ask as the organisation that agreed it.",
    "只有该合约的使用方可以使用它。", "请以签约的使用方身份操作。",
)  # fmt: skip
TERMS_DIFFER = Code(
    "terms_differ", 409, Exit.refused,
    "The requested terms are not the offered ones.", "Request the terms as offered: `dujiang show PRODUCT`.",
    "请求的条款与产品的条款不一致。", "请按产品的条款申请：`dujiang show 产品号`。",
)  # fmt: skip
OWN_PRODUCT = Code(
    "own_product", 409, Exit.usage,
    "An organisation does not agree a contract with itself.", "Use another organisation: `--as ORGANISATION`.",
    "机构不能与自己签约。", "请换另一机构：`--as 机构名`。",
)  # fmt: skip
DECLINED = Code(
    "request_declined", 409, Exit.refused,
    "The negotiation ended without a contract ({reason}).", "See the offer's terms with `dujiang show PRODUCT`.",
    "协商未达成合约（{reason}）。", "用 `dujiang show 产品号` 查看产品的条款。",
)  # fmt: skip
ALLOWANCE_SPENT = Code(
    "allowance_spent", 402, Exit.spent,
    "This may cost {needs}, and {left} of the contract's allowance are available.",
    "Put money on the contract (`dujiang market order`), or ask for fewer rows with LIMIT.",
    "此次使用最多需 {needs}，合约可用额度为 {left}。",
    "请为合约充入额度（`dujiang market order`），或用 LIMIT 减少行数。",
)  # fmt: skip
CONTRACT_FREE = Code(
    "contract_free", 409, Exit.conflict,
    "This contract has no price: it needs no allowance.", "Just ask.",
    "该合约未定价，无需额度。", "可直接提问。",
)  # fmt: skip
TERMS_BEYOND = Code(
    "terms_beyond", 409, Exit.refused,
    "A changed request stays within what the provider offered, in the catalogue or in its last counter-offer.",
    "Ask for less, or say what you need with `dujiang contract comment`.",
    "变更后的申请不得超出提供方的要约（目录条款或其最近的反要约）。",
    "请缩小申请范围，或用 `dujiang contract comment` 说明需求。",
)  # fmt: skip
TERMS_BASE = Code(
    "terms_base_differ", 409, Exit.refused,
    "A counter-offer keeps the product's kind of noise, its cost a statistic and its ceiling.",
    "Change the other terms; publish a new version with `dujiang catalogue publish` for these.",
    "反要约不得改变产品的加噪方式、单个统计量的消耗和总上限。",
    "请变更其他条款；如需更改上述各项，请用 `dujiang catalogue publish` 发布新版本。",
)  # fmt: skip
TERMS_SAME = Code(
    "terms_same", 400, Exit.usage,
    "That changes nothing.", "Change at least one term, or accept with `dujiang contract accept`.",
    "条款没有任何变化。", "请至少变更一项条款，或用 `dujiang contract accept` 接受。",
)  # fmt: skip
COMMENT_UNFIT = Code(
    "comment_unfit", 400, Exit.usage,
    "A remark has 1 to {limit} printable characters on one line.", "Shorten it or remove control characters.",
    "留言应为 1 至 {limit} 个可见字符，不换行。", "请缩短留言或去掉控制字符。",
)  # fmt: skip
COMMENTS_FULL = Code(
    "comments_full", 409, Exit.conflict,
    "One side makes at most {limit} remarks in a negotiation.", "Accept, refuse or change the terms.",
    "每一方在一次协商中最多留言 {limit} 条。", "请接受、拒绝或变更条款。",
)  # fmt: skip
NEGOTIATIONS_OPEN = Code(
    "negotiations_open", 429, Exit.failure,
    "{most} negotiations of your organisation are open already.", "End some, or let the other side answer first.",
    "贵机构已有 {most} 个进行中的协商。", "请先结束部分协商，或等待对方答复。",
)  # fmt: skip
CODES = (
    NEGOTIATIONS_OPEN, OUT_OF_TURN, NOT_ACTIVE, NOT_CONSUMER, TERMS_DIFFER, OWN_PRODUCT, DECLINED, TERMS_BEYOND,
    TERMS_BASE, TERMS_SAME, COMMENT_UNFIT, COMMENTS_FULL, ALLOWANCE_SPENT, CONTRACT_FREE,
)  # fmt: skip
