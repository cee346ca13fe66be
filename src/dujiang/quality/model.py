"""Words of 质量 (quality): what a profile finds, which rules it proposes, how a version is graded.

1. A profile, a finding and a rule's bounds are for the provider alone; `Public` is for everybody.
2. The same content under the same formula has the same grade, whoever asks and when (dates apart: a rule on
   the future is judged at the day of grading).
3. What cannot be computed from the table is unknown (None), never full marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dujiang.kernel.errors import Code, Exit
from dujiang.registry.model import Kind

FORMULA = "dujiang-quality-1"
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
    """What a proposed rule demands of a column (质量规则)."""

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


class Personal(StrEnum):
    """A kind of personal or organisational identifier (个人信息类型), told by its form and check digit."""

    identity_number = "identity_number"
    bank_card = "bank_card"
    mobile = "mobile"
    email = "email"
    plate = "plate"
    organisation_code = "organisation_code"


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
    numeric_texts: int = 0
    """Texts that are written as a number."""
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
    """A proposed class and level (分类分级建议); a person decides, a catalogue of important data prevails."""

    category: Category
    level: int
    """1 (open) to 4 within the general class."""
    why: str
    why_zh: str


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


NOT_GRADED = Code(
    "not_graded", 404, Exit.not_found,
    "This version has no grade yet.", "Its provider can grade it with `dujiang grade VERSION`.",
    "该版本尚无质量等级。", "其提供方可用 `dujiang grade 版本号` 进行评级。",
)  # fmt: skip
CODES = (NOT_GRADED,)
