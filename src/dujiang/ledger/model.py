"""Words of 存证 (evidence): entry, leaf, record, receipt.

1. An entry is a public leaf of salted commitments and a private record that opens them.
2. The leaf never holds a name, an id or a number of the business; the record never leaves unasked.
3. Time of entries never decreases; a clock that jumped is itself a fact of the next entry.
4. A receipt opens only what its holder may see; erasing a salt leaves the tree standing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from dujiang.kernel.errors import Code, Exit

NOT_A_RECEIPT = Code(
    "not_a_receipt", 422, Exit.unverified,
    "This is not a receipt of a Dujiang log.", "Give the file that `ask` or `dujiang history` wrote.",
    "这不是都江日志的回执。", "请提供 `ask` 或 `dujiang history` 写出的回执文件。",
)  # fmt: skip
NOT_VERIFIED = Code(
    "not_verified", 422, Exit.unverified,
    "The receipt does not verify; it fails at step {step}.",
    "Keep the file as it is and ask the node for the receipt again.",
    "回执验证失败，失败步骤：{step}。", "请保留该文件，并向节点重新索取回执。",
)  # fmt: skip
NO_SUCH_TREE = Code(
    "no_such_tree", 404, Exit.not_found,
    "The log never had that size.", "Use sizes between 1 and {size}.",
    "日志从未有过该长度。", "请使用 1 到 {size} 之间的长度。",
)  # fmt: skip
TIME_UNFIT = Code(
    "time_unfit", 400, Exit.usage,
    "That is neither a UTC day nor an instant.", "Give 2026-11-24 or 2026-11-24T12:00:00Z.",
    "这既不是 UTC 日期，也不是时刻。", "请填写 2026-11-24 或 2026-11-24T12:00:00Z。",
)  # fmt: skip
SOUGHT_BY_ID = Code(
    "sought_by_id", 400, Exit.usage,
    "Entries are sought by ids, which begin with {known}; a name finds none.",
    "`dujiang identity list`, `contract list` and `find` show the ids.",
    "存证条目按编号检索，编号以 {known} 开头；按名称检索不到。",
    "编号可用 `dujiang identity list`、`contract list`、`find` 查看。",
)  # fmt: skip
RECORDS_COUNT = Code(
    "records_count", 422, Exit.usage,
    "A call takes 1 to {most} records.", "Send more in several calls.",
    "每次调用可提交 1 至 {most} 条记录。", "更多记录请分多次提交。",
)  # fmt: skip
ENTRY_TOO_LARGE = Code(
    "entry_too_large", 413, Exit.usage,
    "Record {place} is larger than {most} bytes of canonical JSON.",
    "Attest a hash of it (sha256) and keep the record yourself.",
    "第 {place} 条记录的规范 JSON 超过 {most} 字节。", "请改为存证其哈希（sha256），记录自行保管。",
)  # fmt: skip
LOG_MOVED = Code(
    "log_moved", 503, Exit.conflict,
    "The log in the database is not the one this node signed last; nothing more is signed.",
    "Stop the node, put its newest database back and see that nothing else writes to it; then start again.",
    "数据库中的日志不是本节点最后签署的日志；不再签署任何内容。",
    "请停止节点，放回最新的数据库，并确认没有其他程序写入，然后重新启动。",
)  # fmt: skip
LOG_DAMAGED = Code(
    "log_damaged", 503, Exit.failure,
    "The tree in the database does not lead to what this log signed; nothing more is signed.",
    "Run `dujiang doctor`, then restore the newest backup.",
    "数据库中的树与本日志签署的内容不符；不再签署任何内容。",
    "请运行 `dujiang doctor`，然后恢复最新的备份。",
)  # fmt: skip
ROTATION_RUNS = Code(
    "rotation_runs", 409, Exit.conflict,
    "The log's key is being rotated: the old one signs beside the new one until {until}.",
    "Wait until then; if a key was stolen, `dujiang ledger disown KEY` ends it at once.",
    "日志密钥正在轮换：旧密钥与新密钥共同签署至 {until}。",
    "请等待至该时间；若密钥被盗，请用 `dujiang ledger disown 密钥` 立即停用。",
)  # fmt: skip
OVERLAP_UNFIT = Code(
    "overlap_unfit", 400, Exit.usage,
    "Both keys sign for 1 to 366 days.", "Give a number of days in that range.",
    "新旧密钥共同签署的期限为 1 至 366 天。", "请填写该范围内的天数。",
)  # fmt: skip
NOT_OUR_KEY = Code(
    "not_our_key", 404, Exit.not_found,
    "That is no verifier key of this log, or it is disowned already from that size on.",
    "List them with `dujiang ledger keys`.",
    "这不是本日志的验证密钥，或该密钥自该长度起已被弃用。", "请用 `dujiang ledger keys` 列出。",
)  # fmt: skip
NOT_A_VKEY = Code(
    "not_a_vkey", 422, Exit.usage,
    "These are not the verifier keys of one other log or witness.",
    "Give the lines of its /log/vkeys, all of one name: types 01 and 06 of a log, 04 and 06 of a witness.",
    "这些不是同一个其他日志或见证方的验证公钥。",
    "请填写对方 /log/vkeys 中同一名称的各行：日志为 01、06 型，见证方为 04、06 型。",
)  # fmt: skip
NOT_A_URL = Code(
    "not_a_url", 422, Exit.usage,
    "This is not the address of a witness.", "Give http://HOST:PORT/log of a node, or https://… of another witness.",
    "这不是见证方的地址。", "请填写节点的 http://主机:端口/log，或其他见证方的 https://… 地址。",
)  # fmt: skip
QUORUM_TOO_LARGE = Code(
    "quorum_too_large", 422, Exit.usage,
    "So many witnesses cannot cosign: {most} are appointed; a head is cosigned within 1 to 86,400 seconds.",
    "Set a smaller quorum with `dujiang ledger quorum N`, or appoint more witnesses.",
    "见证方数量不足：仅任命了 {most} 个；签署时限应为 1 至 86,400 秒。",
    "请用 `dujiang ledger quorum N` 调低要求，或任命更多见证方。",
)  # fmt: skip
NOT_A_WITNESS_REQUEST = Code(
    "not_a_witness_request", 400, Exit.usage,
    "This is not a request to cosign a checkpoint.",
    "Send `old SIZE`, the consistency proof, an empty line and the checkpoint (C2SP tlog-witness).",
    "这不是检查点联署请求。", "请依次发送 `old 长度`、一致性证明、空行与检查点（C2SP tlog-witness）。",
)  # fmt: skip
LOG_NOT_WATCHED = Code(
    "log_not_watched", 404, Exit.not_found,
    "This node does not watch a log of that origin.", "Its operator may run `dujiang ledger watch`.",
    "本节点未监看该日志。", "可由本节点运营方运行 `dujiang ledger watch`。",
)  # fmt: skip
HEAD_NOT_SIGNED = Code(
    "head_not_signed", 403, Exit.refused,
    "No key that this node knows of the log has truly signed the checkpoint.",
    "Send it with the log's Ed25519 line; after a change of keys, have the log watched anew.",
    "检查点未由本节点所知的该日志密钥有效签署。", "请附上该日志的 Ed25519 签名行；更换密钥后请重新登记监看。",
)  # fmt: skip
RETENTION_SHORT = Code(
    "retention_short", 400, Exit.usage,
    "Records are kept for {least} to {most} days.", "Give a number of days in that range.",
    "记录的留存期为 {least} 至 {most} 天。", "请填写该范围内的天数。",
)  # fmt: skip
POLICY_UNPUBLISHED = Code(
    "policy_unpublished", 409, Exit.refused,
    "Nothing is pruned before a policy was published for {days} days.",
    "Publish one with `dujiang ledger retain DAYS`, and prune once it was there for so long.",
    "留存政策公布满 {days} 天之前不得清理任何记录。", "请先用 `dujiang ledger retain 天数` 公布政策，期满后再清理。",
)  # fmt: skip
NOTHING_TO_PRUNE = Code(
    "nothing_to_prune", 409, Exit.refused,
    "No record is old enough to be pruned.", "See `GET /log/policy` for how long records are kept.",
    "没有到期可清理的记录。", "留存期限见 `GET /log/policy`。",
)  # fmt: skip
CODES = (
    NOT_A_RECEIPT, NOT_VERIFIED, NO_SUCH_TREE, LOG_MOVED, LOG_DAMAGED, ROTATION_RUNS, OVERLAP_UNFIT, NOT_OUR_KEY,
    RECORDS_COUNT, ENTRY_TOO_LARGE, TIME_UNFIT, SOUGHT_BY_ID, NOT_A_VKEY, NOT_A_URL, QUORUM_TOO_LARGE,
    NOT_A_WITNESS_REQUEST,
    LOG_NOT_WATCHED, HEAD_NOT_SIGNED, RETENTION_SHORT, POLICY_UNPUBLISHED, NOTHING_TO_PRUNE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key of the log (日志密钥): the name it signs under, and which checkpoints it signs."""

    origin: str
    public: bytes
    """Ed25519, 32 bytes."""
    sealed: bytes
    """Its private half, sealed by the vault."""
    since: int
    """It signs checkpoints of this many entries and more; the entry before that names it."""
    until_ms: int | None = None
    """It signs no tree whose last entry is of this time or later; None: until another key takes over."""
    disowned: int | None = None
    """It is not to be trusted for checkpoints of more entries than this: it was stolen or lost."""
    disowned_by: int | None = None
    """The index of the entry that says so."""


@dataclass(frozen=True, slots=True)
class Record:
    """The private side of an entry: its facts in the clear and the salts that open the leaf."""

    index: int
    act: str
    time_ms: int
    leaf: str
    org: str
    facts: dict[str, Any]
    salts: dict[str, str]
    erased: tuple[str, ...] = ()
    """Facts the leaf commits to that were erased with their salts."""


DAY_MS = 86_400_000
QUANTITIES = ("organisations", "products", "contracts", "questions", "statistics", "rows", "amount_minor")
"""What is counted in the log; whole numbers, an amount in minor units of the flow's currency."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Between whom, where and for what an entry counts (流通); an empty text: not stated."""

    from_org: str = ""
    to_org: str = ""
    from_province: str = ""
    to_province: str = ""
    from_sector: str = ""
    to_sector: str = ""
    purpose: str = ""
    product: str = ""
    contract: str = ""
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which figures: of these UTC days (since 1970, both counted), and of one organisation or currency."""

    first: int
    last: int
    org: str | None = None
    """Only flows from or to this organisation; None: all."""
    currency: str = ""
    """Only flows in this currency; empty: whatever they are in."""


class Sum(NamedTuple):
    """One side's part of a quantity in one cell; both sides of a cell sum to the same."""

    receives: bool
    """Whether `org` is the side data flow to."""
    org: str
    bucket: int
    """The day (since 1970) or the month (as 202611) it is of, or 0 where they are taken together."""
    value: int
    entries: int
    """How many entries it comes from."""
    by: tuple[str, ...]
    """The cell: the columns asked for, in their order."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What one entry counts of a quantity."""

    index: int
    act: str
    time_ms: int
    value: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an offline check of a receipt found."""

    ok: bool
    signer: str
    trusted: bool
    """Whether the caller pinned the signer's key; otherwise the signer is unknown."""
    step: str | None = None
    """The first step that failed."""
    act: str | None = None
    time_ms: int | None = None
    index: int | None = None
    size: int | None = None
    facts: dict[str, Any] | None = None
    erased: tuple[str, ...] = ()
    """Facts the entry commits to that its log has erased since: nobody can say any more what they were."""
    cosigned_by: tuple[str, ...] = ()
    """The witnesses of the caller's policy that truly cosigned the checkpoint."""
    unchecked: tuple[str, ...] = ()
    """Names of further signature lines, whose keys the caller has not given: what they say is not known."""
