"""Words of 质量 (quality): what a profile finds, which rules it proposes, how a version is graded.

1. A profile, a finding and a rule's bounds are for the provider alone; `Public` is for everybody.
2. The same content under the same formula has the same grade, whoever asks and when (dates apart: a rule on
   the future is judged at the day of grading).
3. What cannot be computed from the table is unknown (None), never full marks.
4. What a provider declares is counted beside what the table proposes; where both say the same of a column,
   the declared rule takes the proposed one's place, and `Public` tells how many did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from dujiang.kernel.errors import Code, Exit
from dujiang.registry.model import Kind

FORMULA = "dujiang-quality-2"
"""Name of the formula of `rules.graded`; another formula has another name."""


class Dimension(StrEnum):
    """The characteristics of GB/T 36344-2018 (评价指标); uniqueness is part of its accuracy, told apart."""

    conformity = "conformity"
    completeness = "completeness"
    accuracy = "accuracy"
    uniqueness = "uniqueness"
    consistency = "consistency"
    timeliness = "timeliness"
    accessibility = "accessibility"


class Check(StrEnum):
    """What a rule demands of a column, or of the whole table (质量规则)."""

    not_null = "not_null"
    filled = "filled"
    """Every cell counts as an element, though the column is known to have empty ones."""
    in_range = "in_range"
    in_set = "in_set"
    in_pattern = "in_pattern"
    one_type = "one_type"
    unique = "unique"
    rows_unique = "rows_unique"
    not_future = "not_future"
    valid = "valid"
    """Every value is one a declared rule allows; nothing is said of empty cells."""
    matched = "matched"
    """Every value stands in a column of another table."""
    row_count = "row_count"
    fresh = "fresh"
    """The newest value is not too old on the day of grading."""


FEEDS = {
    Check.not_null: Dimension.completeness,
    Check.filled: Dimension.completeness,
    Check.row_count: Dimension.completeness,
    Check.in_range: Dimension.accuracy,
    Check.in_set: Dimension.conformity,
    Check.in_pattern: Dimension.conformity,
    Check.valid: Dimension.conformity,
    Check.one_type: Dimension.consistency,
    Check.matched: Dimension.consistency,
    Check.unique: Dimension.uniqueness,
    Check.rows_unique: Dimension.uniqueness,
    Check.not_future: Dimension.timeliness,
    Check.fresh: Dimension.timeliness,
}
"""Which dimension a rule feeds."""


class Metric(StrEnum):
    """What a declared rule counts (质量指标); the names of ODCS 3.1, the last two are ours."""

    nullValues = "nullValues"
    missingValues = "missingValues"
    """Empty cells, and those whose value is one of `arguments.missingValues`."""
    invalidValues = "invalidValues"
    """Values that are not as the arguments say."""
    duplicateValues = "duplicateValues"
    """Values (or rows of `arguments.properties`) beyond the first of each."""
    rowCount = "rowCount"
    unmatchedValues = "unmatchedValues"
    """Values that no row of another registered table of the same organisation has."""
    daysOld = "daysOld"
    """Whole days from the newest value to the day of grading."""


class Unit(StrEnum):
    """What a declared rule's bound is about: rows, or per cent of the rows checked."""

    rows = "rows"
    percent = "percent"


class Reading(StrEnum):
    """How a text must be readable (ODCS logicalType)."""

    integer = "integer"
    number = "number"
    boolean = "boolean"
    date = "date"
    timestamp = "timestamp"


Plain = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a metric is counted by; the names of ODCS 3.1."""

    missingValues: tuple[Plain | None, ...] | None = None
    """Values that stand for a missing one; an empty cell always does."""
    validValues: tuple[Plain, ...] | None = None
    """All values there may be."""
    pattern: str | None = None
    """RE2 regular expression that a text must contain; `^` and `$` bind it to the whole."""
    minimum: Plain | None = None
    """Smallest value of a number, date or time (ISO text)."""
    maximum: Plain | None = None
    """Largest one."""
    minLength: int | None = None
    """Fewest characters of a text."""
    maxLength: int | None = None
    """Most characters of a text."""
    logicalType: Reading | None = None
    """What a text must be readable as."""
    properties: tuple[str, ...] | None = None
    """Columns that together must not repeat; for a rule on the table."""
    version: str | None = None
    """The registered version whose values count as partners."""
    versionProperty: str | None = None
    """Its column; None: the one of the same name."""


@dataclass(frozen=True, slots=True)
class Demand:
    """One declared rule (声明的质量规则): a metric, what it is about, and the bound it must keep."""

    metric: Metric
    """nullValues, missingValues, invalidValues, duplicateValues, rowCount; unmatchedValues, daysOld."""
    property: str | None = None
    """The column; None: the table."""
    arguments: Arguments = field(default_factory=Arguments)
    """What the metric is counted by."""
    mustBe: int | float | None = None
    """No bound at all: must be 0."""
    mustNotBe: int | float | None = None
    mustBeGreaterThan: int | float | None = None
    mustBeGreaterOrEqualTo: int | float | None = None
    mustBeLessThan: int | float | None = None
    mustBeLessOrEqualTo: int | float | None = None
    mustBeBetween: tuple[int | float, ...] | None = None
    """Lowest and highest number, both included."""
    mustNotBeBetween: tuple[int | float, ...] | None = None
    unit: Unit = Unit.rows
    """Whether the bound is a number of rows (or days) or per cent of the rows checked."""
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Demands:
    """What a rules file holds: the declared rules of a table."""

    quality: tuple[Demand, ...]
    """The rules, each as in the `quality` of an ODCS 3.1 data contract."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was counted for a declared rule."""

    checked: int
    failing: int
    observed: int | None = None
    """Rows of the table, or days since its newest value; None where there is no value."""


class Fault(StrEnum):
    """What a finding is about (质量问题)."""

    missing_code = "missing_code"
    missing_word = "missing_word"
    mixed_types = "mixed_types"
    odd_category = "odd_category"
    isolated_zero = "isolated_zero"
    many_empty = "many_empty"
    nearly_unique = "nearly_unique"
    off_pattern = "off_pattern"
    rows_repeated = "rows_repeated"
    in_future = "in_future"
    far_off = "far_off"


class Personal(StrEnum):
    """A kind of personal or organisational identifier (个人信息类型), told by its form and check digit."""

    identity_number = "identity_number"
    bank_card = "bank_card"
    mobile = "mobile"
    email = "email"
    plate = "plate"
    organisation_code = "organisation_code"


STRONG = frozenset({Personal.identity_number, Personal.email})
"""Forms that chance does not make: a few of them are enough to tell. Of the others most values must match."""


class Category(StrEnum):
    """The class of GB/T 43697-2024 (数据分级)."""

    core = "核心"
    important = "重要"
    general = "一般"


@dataclass(frozen=True, slots=True)
class Tally:
    """A value (or the shape of a text) and how many rows have it."""

    value: str
    rows: int


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column as measured; values are text (decimal or ISO), cut to 80 characters."""

    name: str
    kind: Kind
    nulls: int
    """Rows without a value; not a number and infinite count as none."""
    present: int
    distinct: int
    top: tuple[Tally, ...] = ()
    """The most frequent values, at most 50: all where they are no more, else those of two rows or more."""
    low: tuple[Tally, ...] = ()
    """The smallest values of a number or time, ascending, at most 12."""
    high: tuple[Tally, ...] = ()
    """The largest ones, descending."""
    quantiles: tuple[str, ...] = ()
    """At 1, 5, 25, 50, 75, 95 and 99 % of a number or time."""
    length_min: int | None = None
    """Characters of the shortest text."""
    length_max: int | None = None
    shapes: tuple[Tally, ...] = ()
    """The most frequent forms of a text: digits written as 9, letters as A, Chinese characters as 文."""
    numeric_texts: int | None = 0
    """Texts that are written as a number; None: not counted, of very many different ones."""
    zeros: int = 0
    near_zero: int = 0
    """Positive values of at most half the 5th percentile of the positive ones."""
    low_positive: str | None = None
    """That 5th percentile."""
    future: int = 0
    """Times after the day of grading."""
    personal: tuple[Tally, ...] = ()
    """Rows that match a kind of identifier, by its name."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One table as measured."""

    rows: int
    repeated: int
    """Rows equal in every column to another, less one of each."""
    columns: tuple[ColumnProfile, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A proposed rule with its evidence: so many items checked, so many failed."""

    check: Check
    dimension: Dimension
    column: str
    """Empty where the rule is about whole rows."""
    checked: int
    failed: int
    bounds: tuple[str, ...] = ()
    """Lowest and highest value, the members of the set, or the shape."""
    declared: bool = False
    """Whether the provider declared it; else the table proposed it."""
    kept: bool | None = None
    """Whether a declared rule's bound is kept; None: a proposed rule, kept where nothing failed."""
    observed: int | None = None
    """What a declared rule on the whole table measured: rows, or days since the newest value."""

    @property
    def broken(self) -> bool:
        """Whether the rule is not kept."""
        return self.failed > 0 if self.kept is None else not self.kept


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks wrong, for the provider to judge, in both languages."""

    fault: Fault
    column: str
    rows: int
    text: str
    text_zh: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PersonalColumn:
    """A column that seems to hold identifiers of people or organisations."""

    column: str
    personal: Personal
    matching: int
    present: int


@dataclass(frozen=True, slots=True)
class Classification:
    """A proposed class and level (分类分级建议).

    Important and core data are named by the authorities' catalogues, so the class proposed is always the general
    one; a person decides.
    """

    category: Category
    level: int
    """1 (open) to 4 within the general class."""
    why: str
    why_zh: str
    personal: bool = False
    """Whether identifiers of people were found (个人信息)."""
    sensitive: bool = False
    """Whether identity numbers or bank cards are among them (敏感个人信息)."""


@dataclass(frozen=True, slots=True)
class Score:
    """One dimension's evidence; without a rule the dimension is unknown."""

    dimension: Dimension
    rules: int
    checked: int
    failed: int

    @property
    def ppm(self) -> int | None:
        """Items that hold, in millionths of those checked."""
        return 1_000_000 * (self.checked - self.failed) // self.checked if self.checked else None


@dataclass(frozen=True, slots=True)
class Graded:
    """The whole grading of a version, for its provider."""

    formula: str
    grade: str
    """A to E."""
    ppm: int
    scores: tuple[Score, ...]
    rules: tuple[Rule, ...]
    findings: tuple[Finding, ...]
    personal: tuple[PersonalColumn, ...]
    classification: Classification
    profile: Profile
    demands: tuple[Demand, ...] = ()
    """The rules the provider declared."""
    replaced: int = 0
    """Proposed rules whose place a declared one took."""


@dataclass(frozen=True, slots=True)
class PublicScore:
    """One dimension as everybody may see it: whole per cent, rounded down; None: unknown."""

    dimension: Dimension
    percent: int | None
    rules: int


@dataclass(frozen=True, slots=True)
class Public:
    """What everybody may know of a grading: no value, no bound, no count of rows."""

    version: str
    grade: str
    formula: str
    percent: int
    dimensions: tuple[PublicScore, ...]
    rules: int
    rules_failed: int
    graded_ms: int
    rules_declared: int = 0
    """How many of the rules the provider declared; the others follow from the table."""
    rules_replaced: int = 0
    """Rules that follow from the table and whose place a declared one took."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A grade as it stands beside a product in a list."""

    grade: str
    formula: str
    graded_ms: int


NOT_GRADED = Code(
    "not_graded", 404, Exit.not_found,
    "This version has no grade yet.", "Its provider can grade it with `dujiang grade VERSION`.",
    "该版本尚无质量等级。", "其提供方可用 `dujiang grade 版本号` 进行评级。",
)  # fmt: skip
RULES_WRONG = Code(
    "rules_wrong", 400, Exit.usage,
    "The declared rules do not fit the table: {problems}.",
    "Correct these fields; `dujiang schema grade` prints their form.",
    "声明的质量规则与表不符：{problems}。", "请更正这些字段；`dujiang schema grade` 会打印其格式。",
)  # fmt: skip
CODES = (NOT_GRADED, RULES_WRONG)
