"""Words of 监测 (observatory): figure, cell, period, concentration.

1. Figures come from the records of the log alone; what a package keeps beside it is compared, never counted.
2. A cell leads to the entries it is the sum of, and every entry has its receipt.
3. As published, a cell of few organisations or contracts is withheld, and so many more that it can not be
   computed from totals; overseers may see all, an organisation sees all of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dujiang.kernel.errors import Code, Exit

METHOD = "1"
"""The version of how things are counted: growth compares equal versions only."""
GROUP_MIN = 3
"""Fewest providers, consumers and contracts of a figure that is published."""
DOMINANCE_PERCENT = 80
"""A figure is withheld where one organisation has more than this share of it."""
DAYS_MAX = 31
"""Longest period of figures by day."""
UNSTATED = "none"


class Measure(StrEnum):
    """What is counted (指标)."""

    questions = "questions"
    """Questions answered; one over several owners is a use of each."""
    statistics = "statistics"
    """Statistics charged to privacy accounts by answered questions."""
    rows = "rows"
    """Rows of answers released."""
    contracts = "contracts"
    """Contracts agreed."""
    amount = "amount"
    """Money settled less refunds, in minor units of one currency."""
    products = "products"
    """Products offered."""
    organisations = "organisations"
    """Organisations admitted."""


PUBLIC = frozenset({Measure.products, Measure.organisations})
"""Measures everybody can count in the catalogue: never withheld."""


class By(StrEnum):
    """What figures are grouped by (分组)."""

    province = "province"
    """From which province to which; between provinces, within one, and not stated."""
    sector = "sector"
    """The field of the organisation the data are of."""
    purpose = "purpose"
    provider = "provider"
    consumer = "consumer"
    month = "month"
    day = "day"


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure; `key` leads to its entries."""

    key: str
    label: str
    label_zh: str
    level: int
    """0: the total, 1: its parts, 2: their parts."""
    value: int | None
    """None: withheld."""
    suppressed: bool
    growth_percent: float | None = None
    """Against the period before; None: no period, nothing before, or withheld then."""
    entries: int | None = None
    """How many entries it is the sum of; one over several owners counts for each of them."""


@dataclass(frozen=True, slots=True)
class Concentration:
    """How unevenly a measure is spread over providers (集中度)."""

    providers: int
    top: int
    """The large ones: the first so many by the measure."""
    share_percent: float
    """What the large ones have of the whole."""
    ratio_of_means: float | None
    """Mean of the large ones to the mean of all others, as the national data survey states it."""
    hhi: float
    """Herfindahl-Hirschman index: 1/n where all are equal, 1 where one has all."""
    gini: float
    """Gini coefficient: 0 where all are equal."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing on which the log and what a package keeps do not agree."""

    what: str
    """without_object: an entry's object is gone; without_entry: an object has none; differs; missing: an entry."""
    kind: str
    """organisation, version, product, contract, answer, bill, settlement, payment, hold, use, fee, figure, record or
    entry."""
    entry: int | None
    """The entry it is about; None where there is none."""
    id: str
    """The object's id; of figures and entries their index; of a payment its entry's index and currency; of what a
    question held or cost its id and the contract's."""


PERIOD_UNFIT = Code(
    "period_unfit", 400, Exit.usage,
    "A period is a UTC year, month, day or two days.", "Give 2026, 2026-11, 2026-11-24 or 2026-11-01..2026-11-24.",
    "时段应为 UTC 的年、月、日或起止两日。", "请填写 2026、2026-11、2026-11-24 或 2026-11-01..2026-11-24。",
)  # fmt: skip
PERIOD_LONG = Code(
    "period_long", 400, Exit.usage,
    "Figures by day need a period of at most {days} days.", "Give one, for example --period 2026-11.",
    "按日统计的时段不得超过 {days} 天。", "请指定时段，例如 --period 2026-11。",
)  # fmt: skip
CELL_UNFIT = Code(
    "cell_unfit", 400, Exit.usage,
    "That is no key of a cell of these figures.", "Take a key that `dujiang figures` printed, with the same --by.",
    "这不是该统计表中的单元格键。", "请使用 `dujiang figures` 以相同 --by 打印的键。",
)  # fmt: skip
CODES = (PERIOD_UNFIT, PERIOD_LONG, CELL_UNFIT)
