"""Words of 使用规则 (usage terms): what a contract lets its consumer do.

1. Every field has a default; a field that is not stated is at its default, never "unlimited by accident".
2. Terms are values: equal terms have equal bytes and one hash, which a contract pins.
3. What a reader of the wire form does not understand is denied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from dujiang.kernel.errors import Code, Exit
from dujiang.registry.model import Field

NAMESPACE = "https://dujiang.dev/ns/policy/v1#"
PROFILE = "https://dujiang.dev/ns/policy/v1"
TEXT_CHARACTERS_MAX = 200
LIST_ITEMS_MAX = 1000


class Noise(StrEnum):
    """How an answer is blurred (加噪方式)."""

    gaussian = "gaussian"
    laplace = "laplace"
    exact = "exact"
    """No noise: the provider's own word, see the docs for what that leaks."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of what the provider earns (分成), by weight."""

    recipient: str
    """Name or DID of an organisation of this node."""
    weight: int


@dataclass(frozen=True, slots=True)
class Price:
    """What the use costs (价格): parts that add up, in whole minor units (分, cents) of one currency."""

    currency: str
    """Three letters of ISO 4217, such as CNY."""
    agreement_minor: int = 0
    """Once, with the first question under the contract."""
    month_minor: int = 0
    """For each month from the day of the agreement in which something is asked."""
    question_minor: int = 0
    """For each question that is answered; the same question again is free."""
    row_minor: int = 0
    """For each row of an answer."""
    shares: tuple[Share, ...] = ()
    """How what the provider earns is split; empty: all to the provider."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a contract (合约条款); the consumer may do what they permit and nothing else."""

    purposes: tuple[str, ...] | None = None
    """Purposes (用途) that are permitted; None: any stated purpose."""
    until: str | None = None
    """Last day of use, ISO date; None: only `days` bounds the period."""
    days: int = 365
    """Days of use from the day of the agreement."""
    questions: int | None = None
    """Most questions under one contract; None: bounded by the privacy account alone."""
    recipients: tuple[str, ...] | None = None
    """Names or DIDs of the organisations that may agree; None: any."""
    columns: tuple[str, ...] | None = None
    """Columns the contract opens; None: all that have a use."""
    group_min: int = 10
    """Fewest distinct entities of a group that is shown."""
    statistics: int = 50
    """Allotment of the privacy account to one organisation, in statistics."""
    ceiling_statistics: int | None = None
    """Most statistics over all organisations; None: four allotments."""
    rho_micro: int = 5000
    """Privacy cost (zCDP) of one statistic, in 10**-6."""
    noise: Noise = Noise.gaussian
    dominance_percent: int = 50
    """A sum is withheld where one entity could hold more than this share of it."""
    price: Price | None = None
    """What the use costs; None: nothing."""
    join_keys: tuple[str, ...] | None = None
    """Columns the table may be joined on with other tables; None: it is asked alone."""
    partners: tuple[str, ...] | None = None
    """Names or DIDs of the organisations whose tables it may be joined with; None: any."""


@dataclass(frozen=True, slots=True)
class TermsFile(Terms):
    """What a terms file holds: the terms, and how the table is to be registered and described."""

    fields: dict[str, Field] = field(default_factory=dict[str, Field])
    """Per column of the table: what it may be used for, its bounds, its published keys."""
    rows_per_entity: int | None = None
    """At most so many rows of one entity count; None: proposed from the table."""
    entities_max: int | None = None
    """Declared upper bound of entities; None: proposed from the table."""
    title: str | None = None
    title_zh: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with terms: the field, and the rule in language-free words."""

    field: str
    rule: str

    def __str__(self) -> str:
        """The problem as it stands in a refusal, without the value."""
        return f"{self.field}: {self.rule}"


PURPOSES: tuple[tuple[str, str], ...] = (
    ("train", "训练"),
    ("infer", "推理"),
    ("analyse", "分析"),
    ("share", "共享"),
    ("open", "开放"),
    ("operate", "运营"),
    ("trade", "交易"),
)
"""The vocabulary of purposes, English and Chinese; free text is allowed beside it."""

TERMS_WRONG = Code(
    "terms_wrong", 400, Exit.usage,
    "The terms are not valid: {problems}.", "Correct these fields; `dujiang schema terms` prints their form.",
    "条款无效：{problems}。", "请更正这些字段；`dujiang schema terms` 会打印其格式。",
)  # fmt: skip
TERMS_UNREADABLE = Code(
    "terms_unreadable", 400, Exit.usage,
    "The terms file is neither TOML nor JSON, near line {line}.",
    "Correct that line, or start from `dujiang schema terms`.",
    "条款文件既不是 TOML 也不是 JSON，问题在第 {line} 行附近。",
    "请更正该行，或从 `dujiang schema terms` 开始编写。",
)  # fmt: skip
TERMS_UNKNOWN_OPERAND = Code(
    "terms_unknown_operand", 422, Exit.refused,
    "The policy says something this node does not understand at {place}, so it is denied.",
    "Use one permission with the action use and the constraints listed in the documentation.",
    "策略在 {place} 处含有本节点不理解的内容，因此被拒绝。", "请只使用一条 use 许可及文档所列的约束。",
)  # fmt: skip
PURPOSE_MISSING = Code(
    "purpose_missing", 400, Exit.usage,
    "No purpose is stated.", "State one with --purpose, for example analyse.",
    "未说明用途。", "请用 --purpose 说明用途，例如 分析。",
)  # fmt: skip
PURPOSE_LONG = Code(
    "purpose_too_long", 400, Exit.usage,
    "A purpose has at most {limit} characters.", "State it in fewer words.",
    "用途不得超过 {limit} 个字符。", "请用更少的字说明用途。",
)  # fmt: skip
PURPOSE_NOT_PERMITTED = Code(
    "purpose_not_permitted", 403, Exit.refused,
    "The terms do not permit this purpose.",
    "State one of the purposes the product names, or ask the provider.",
    "条款不允许该用途。", "请选用产品列出的用途，或与提供方联系。",
)  # fmt: skip
RECIPIENT_NOT_PERMITTED = Code(
    "recipient_not_permitted", 403, Exit.refused,
    "The terms do not name your organisation as a recipient.", "Ask the provider to name it.",
    "条款未将贵机构列为接收方。", "请联系提供方将贵机构列入。",
)  # fmt: skip
PERIOD_OVER = Code(
    "period_over", 403, Exit.refused,
    "The period of these terms is over or has not begun.", "Agree a new contract on a current offer.",
    "条款的有效期已过或尚未开始。", "请就仍在上架的版本签订新合约。",
)  # fmt: skip
QUESTIONS_SPENT = Code(
    "questions_spent", 403, Exit.spent,
    "All questions these terms allow have been asked.", "Agree a new contract, or ask the provider for more.",
    "条款允许的提问次数已用完。", "请签订新合约，或向提供方申请更多次数。",
)  # fmt: skip
JOIN_NOT_PERMITTED = Code(
    "join_not_permitted", 403, Exit.refused,
    "The terms of one of these tables do not let it be joined.",
    "Ask the table alone, or ask its provider for terms with join_keys.",
    "其中一张表的条款不允许与其他表连接。", "请单独查询该表，或请提供方在条款中设置 join_keys。",
)  # fmt: skip
PARTNER_NOT_PERMITTED = Code(
    "partner_not_permitted", 403, Exit.refused,
    "The terms of one of these tables do not let it be joined with a table of another provider here.",
    "Join tables whose providers name each other as partners, or ask the provider to name it.",
    "其中一张表的条款不允许与此处另一提供方的表连接。", "请连接互相列为合作方的表，或请提供方将其列入。",
)  # fmt: skip
CODES = (
    TERMS_WRONG,
    TERMS_UNREADABLE,
    TERMS_UNKNOWN_OPERAND,
    PURPOSE_MISSING,
    PURPOSE_LONG,
    PURPOSE_NOT_PERMITTED,
    RECIPIENT_NOT_PERMITTED,
    PERIOD_OVER,
    QUESTIONS_SPENT,
    JOIN_NOT_PERMITTED,
    PARTNER_NOT_PERMITTED,
)
