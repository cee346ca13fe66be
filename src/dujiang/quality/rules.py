"""From a profile to proposed rules, findings, scores and a grade; pure.

The formula, numbered as in `FORMULA`:
1. Each column proposes rules from what nearly all of its values do; a rule counts items checked and failed.
   A rule the provider declared is counted beside them, or in the place of the one that says the same.
2. A dimension's score is the items that hold over the items checked, over all its rules (GB/T 36344-2018:
   a ratio per indicator); a dimension without a rule is unknown and takes no part.
3. The grade is the mean of the known dimensions, weighted by `WEIGHTS`, against `GRADES`.
4. A finding without a rule (an isolated zero, an odd category) is told and not counted: it may be right.
5. Numbers far off all others fail the range the others propose; who knows them right declares a range.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation

from dujiang.quality.model import (
    FEEDS,
    FORMULA,
    STRONG,
    Category,
    Check,
    Classification,
    ColumnProfile,
    Demand,
    Dimension,
    Evidence,
    Fault,
    Finding,
    Graded,
    Personal,
    PersonalColumn,
    Profile,
    Public,
    PublicScore,
    Rule,
    Score,
    Tally,
)
from dujiang.quality.odcs import rule_of
from dujiang.registry.model import Kind

WEIGHTS = {
    Dimension.completeness: 3,
    Dimension.accuracy: 3,
    Dimension.conformity: 2,
    Dimension.uniqueness: 2,
    Dimension.consistency: 1,
    Dimension.timeliness: 1,
}
"""Accessibility is measured by deliveries, not by a table: it has no weight here."""
GRADES = (("A", 980_000), ("B", 950_000), ("C", 900_000), ("D", 800_000))
LOWEST = "E"

NULL_PERCENT_MAX = 5
UNIQUE_PERCENT_MIN = 99
UNIQUE_ROWS_MIN = 10
SET_MAX = 20
SHAPE_PERCENT_MIN = 95
ZERO_PERCENT_MAX = 5
FAR_VALUES_MAX = 3
FAR_DISTINCT_MIN = 20
STRONG_PERCENT_MIN, WEAK_PERCENT_MIN = 1, 50
PEOPLE_MANY = 10_000_000

SENSITIVE = frozenset({Personal.identity_number, Personal.bank_card})

_SAME: dict[Check, frozenset[Check]] = {each: frozenset({each}) for each in Check} | {
    # Empty cells alone say nothing of codes that hide among the values.
    Check.not_null: frozenset(),
    Check.filled: frozenset({Check.filled, Check.not_null}),
}
"""The proposed rules whose place a declared one takes."""

_NUMBERS = (Kind.integer, Kind.decimal)
_TIMES = (Kind.date, Kind.timestamp)
_WORDS = frozenset(
    "na n/a null nil nan missing unknown refused undefined ? ?? - -- . don't_know dont_know not_available"
    " no_answer 未知 不详 不明 缺失 拒答 不知道 未填 未填写 空".replace("_", "\N{NO-BREAK SPACE}").split(" ")
)
_CUT = re.compile(r"(\b(or|and|of|the|to|for|with|than|in)|[或和与及的]|[?？,，;；:：/\\(（\[])$", re.I)
_PAIRS = ("()", "（）", "[]", "【】")

_WHY = {
    "many": (
        "Identifiers of ten million people or more: ask the authority whether this is important data.",
        "含一千万人以上的个人信息：请向主管部门确认是否属于重要数据。",
    ),
    "sensitive": ("Sensitive personal identifiers were found.", "发现敏感个人信息。"),
    "personal": ("Personal identifiers were found.", "发现个人信息。"),
    "entity": (
        "Rows are about entities; no identifier was found.",
        "按主体逐行记录，未发现标识信息。",
    ),
    "none": ("No personal identifier was found.", "未发现个人信息。"),
}
_SAID: dict[Fault, tuple[str, str]] = {
    Fault.missing_code: (
        "Numbers far apart from the others look like codes for a missing value.",
        "与其他数值相距甚远的数，疑为缺失值代码。",
    ),
    Fault.far_off: (
        "A few numbers lie farther from all others than those lie from each other.",
        "个别数值与其余数值的距离超过其余数值之间的全部跨度。",
    ),
    Fault.missing_word: ("Words stand for a missing value.", "有文字表示缺失值。"),
    Fault.mixed_types: ("Numbers and words stand in one column.", "同一字段混有数字与文字。"),
    Fault.odd_category: (
        "Categories look cut off, marked, or written in two ways.",
        "有类别疑似被截断、带有标记或写法不一。",
    ),
    Fault.isolated_zero: (
        "Zeros stand apart from all other values; zero may mean something else here.",
        "零值与其他数值明显分离，可能另有含义。",
    ),
    Fault.many_empty: ("Many rows have no value.", "许多行没有值。"),
    Fault.nearly_unique: ("Almost every value occurs once; some repeat.", "几乎所有值唯一，但有少数重复。"),
    Fault.off_pattern: (
        "Some texts differ from the form of almost all others.",
        "少数文本与绝大多数的格式不同。",
    ),
    Fault.rows_repeated: ("Whole rows are repeated.", "存在整行重复。"),
    Fault.in_future: ("Times lie after the day of grading.", "有时间晚于评级当日。"),
}


def graded(profile: Profile, entity: str | None, judged: Sequence[tuple[Demand, Evidence]] = ()) -> Graded:
    """The whole grading of a profile; `entity`: the column of the protected entity, if there is one.

    `judged`: what the provider declared, with what was counted for it.
    """
    declared = tuple(rule_of(demand, found) for demand, found in judged)
    own = tuple(proposed(profile))
    left = tuple(rule for rule in own if not _said_by(rule, declared))
    rules = left + declared
    scores = tuple(score(rules, dimension) for dimension in Dimension)
    ppm = overall(scores)
    personal = personal_columns(profile)
    return Graded(
        formula=FORMULA, grade=grade(ppm), ppm=ppm, scores=scores, rules=rules,
        findings=tuple(findings(profile)), personal=personal,
        classification=classified(personal, profile.rows, entity), profile=profile,
        demands=tuple(demand for demand, _ in judged), replaced=len(own) - len(left),
    )  # fmt: skip


def public(version: str, made: Graded, graded_ms: int) -> Public:
    """What everybody may know of a grading."""
    return Public(
        version=version,
        grade=made.grade,
        formula=made.formula,
        percent=made.ppm // 10_000,
        dimensions=tuple(
            PublicScore(each.dimension, None if each.ppm is None else each.ppm // 10_000, each.rules)
            for each in made.scores
        ),
        rules=len(made.rules),
        rules_failed=sum(1 for rule in made.rules if rule.broken),
        graded_ms=graded_ms,
        rules_declared=sum(1 for rule in made.rules if rule.declared),
        rules_replaced=made.replaced,
    )


def _said_by(own: Rule, declared: Sequence[Rule]) -> bool:
    """Whether a declared rule says of the same column what a proposed one does."""
    return any(rule.column == own.column and own.check in _SAME[rule.check] for rule in declared)


def score(rules: tuple[Rule, ...], dimension: Dimension) -> Score:
    """The evidence of one dimension."""
    own = [rule for rule in rules if rule.dimension is dimension]
    return Score(dimension, len(own), sum(rule.checked for rule in own), sum(rule.failed for rule in own))


def overall(scores: tuple[Score, ...]) -> int:
    """The weighted mean of the known dimensions, in millionths, rounded down; 0 if none is known."""
    known = [(WEIGHTS[each.dimension], each.ppm) for each in scores if each.dimension in WEIGHTS]
    weighted = [(weight, ppm) for weight, ppm in known if ppm is not None]
    total = sum(weight for weight, _ in weighted)
    return sum(weight * ppm for weight, ppm in weighted) // total if total else 0


def grade(ppm: int) -> str:
    """The letter of a score."""
    return next((letter for letter, least in GRADES if ppm >= least), LOWEST)


def proposed(profile: Profile) -> Iterator[Rule]:
    """The rules a profile proposes, with their evidence."""
    for column in profile.columns:
        yield _filled(column, profile.rows)
        yield from _valued(column)
    if profile.rows:
        yield _rule(Check.rows_unique, "", profile.rows, profile.repeated)


def findings(profile: Profile) -> Iterator[Finding]:
    """What looks wrong in a profile, column by column."""
    for column in profile.columns:
        yield from _found(column, profile.rows)
    if profile.repeated:
        yield _finding(Fault.rows_repeated, "", profile.repeated)


def missing_codes(column: ColumnProfile) -> tuple[Tally, ...]:
    """Values of a number that look like codes for a missing one (999, 9999, -1 …), see `_is_code`.

    Above: repeated digits farther from the greatest other value than all others are from each other.
    Below: the only negative values of a column that else starts at zero or above.
    """
    if column.kind not in _NUMBERS:
        return ()
    highs = [(number, tally) for tally in column.high if (number := _number(tally.value)) is not None]
    lows = [(number, tally) for tally in column.low if (number := _number(tally.value)) is not None]
    ordinary = [number for number, _ in highs + lows if not _is_code(number)]
    positive = [number for number in ordinary if number >= 0]
    if not positive:
        return ()
    greatest, least = max(ordinary), min(ordinary)
    above = [
        tally for number, tally in highs if _is_code(number) and number - greatest > max(greatest - least, 1)
    ]
    below = [tally for number, tally in lows if number < 0] if least >= 0 else []
    return tuple(below + above)


def far_off(column: ColumnProfile) -> tuple[Tally, ...]:
    """Rare values of a number farther from the others than all those are from each other; codes apart.

    At most `FAR_VALUES_MAX` values at an end, in at most one row in a thousand.
    """
    if column.kind not in _NUMBERS:
        return ()
    codes = missing_codes(column)
    found: list[Tally] = []
    for edge, other in ((column.high, column.low), (column.low, column.high)):
        ends = [(n, each) for each in edge if each not in codes and (n := _number(each.value)) is not None]
        last = next(
            (n for each in other if each not in codes and (n := _number(each.value)) is not None), None
        )
        for place in range(min(FAR_VALUES_MAX, len(ends) - 2), 0, -1):
            nearest, far = ends[place][0], ends[:place]
            apart = min(abs(number - nearest) for number, _ in far)
            if last is not None and apart > abs(nearest - last) > 0:
                found += [each for _, each in far]
                break
    rare = sum(each.rows for each in found) * 1000 <= column.present
    return tuple(dict.fromkeys(found)) if rare and column.distinct > FAR_DISTINCT_MIN else ()


def missing_words(column: ColumnProfile) -> tuple[Tally, ...]:
    """Texts among the most frequent that say a value is missing."""
    if column.kind is not Kind.text:
        return ()
    return tuple(each for each in column.top if _folded(each.value) in _WORDS)


def odd_categories(column: ColumnProfile) -> tuple[Tally, ...]:
    """Categories whose form is odd: cut off, marked, with spaces at an end, or equal but for their case."""
    if column.kind is not Kind.text or not _is_set(column):
        return ()
    spelled = Counter(_folded(each.value) for each in column.top)
    return tuple(each for each in column.top if _is_odd(each.value) or spelled[_folded(each.value)] > 1)


def isolated_zeros(column: ColumnProfile) -> int:
    """Zeros that are rare, yet more than all positive values much below the others; else 0.

    Rare: below 5 % of the values. Much below: at most half the 5th percentile, on a grid fine enough to tell.
    """
    least = _number(column.low_positive or "")
    if column.kind not in _NUMBERS or least is None or least < 10:
        return 0
    rare = column.zeros * 100 < column.present * ZERO_PERCENT_MAX
    return column.zeros if rare and column.zeros > max(1, column.near_zero) else 0


def mixed(column: ColumnProfile) -> int:
    """Texts of the rarer kind where numbers and words stand in one column of few values; else 0."""
    if column.kind is not Kind.text or column.numeric_texts is None or column.distinct > len(column.top):
        return 0
    words = column.present - column.numeric_texts - sum(each.rows for each in missing_words(column))
    return max(0, min(column.numeric_texts, words))


def personal_columns(profile: Profile) -> tuple[PersonalColumn, ...]:
    """The columns that seem to hold identifiers, by the share of matching values."""
    found: list[PersonalColumn] = []
    for column in profile.columns:
        for tally in sorted(column.personal, key=lambda each: -each.rows):
            kind = Personal(tally.value)
            least = STRONG_PERCENT_MIN if kind in STRONG else WEAK_PERCENT_MIN
            if tally.rows * 100 >= column.present * least:
                found.append(PersonalColumn(column.name, kind, tally.rows, column.present))
                break
    return tuple(found)


def classified(personal: tuple[PersonalColumn, ...], rows: int, entity: str | None) -> Classification:
    """A proposed level of the general class (GB/T 43697-2024; its levels by custom), and why."""
    kinds = {each.personal for each in personal} - {Personal.organisation_code}
    sensitive = bool(kinds & SENSITIVE)
    if kinds and rows >= PEOPLE_MANY:
        level, said = 4, _WHY["many"]
    elif sensitive:
        level, said = 4 if len(kinds) > 1 else 3, _WHY["sensitive"]
    elif kinds:
        level, said = 3, _WHY["personal"]
    else:
        level, said = (2, _WHY["entity"]) if entity is not None else (1, _WHY["none"])
    return Classification(Category.general, level, *said, personal=bool(kinds), sensitive=sensitive)


def _rule(check: Check, column: str, checked: int, failed: int, bounds: tuple[str, ...] = ()) -> Rule:
    return Rule(check, FEEDS[check], column, checked, failed, bounds)


def _filled(column: ColumnProfile, rows: int) -> Rule:
    """Completeness (完整性): a missing value is an empty cell, a code or a word for it."""
    needed = column.nulls * 100 <= rows * NULL_PERCENT_MAX
    hidden = sum(each.rows for each in missing_codes(column) + missing_words(column))
    check = Check.not_null if needed else Check.filled
    return _rule(check, column.name, rows, column.nulls + hidden)


def _valued(column: ColumnProfile) -> Iterator[Rule]:
    present = column.present
    if not present:
        return
    if column.kind in _NUMBERS and column.distinct > 2:
        codes = missing_codes(column)
        codes += far_off(column)
        failed = sum(each.rows for each in codes)
        yield _rule(Check.in_range, column.name, present, failed, _range(column, codes))
    if column.kind is Kind.text:
        yield _rule(Check.one_type, column.name, present, mixed(column))
    if _is_set(column):
        members = tuple(sorted(each.value for each in column.top))
        yield _rule(Check.in_set, column.name, present, 0, members)
    elif (shape := _shape(column)) is not None:
        failed = present - shape.rows
        yield _rule(Check.in_pattern, column.name, present, failed, (shape.value,))
    if _is_key(column):
        repeats = present - column.distinct
        yield _rule(Check.unique, column.name, present, repeats)
    if column.kind in _TIMES:
        yield _rule(Check.not_future, column.name, present, column.future)


def _found(column: ColumnProfile, rows: int) -> Iterator[Finding]:
    for fault, tallies in (
        (Fault.missing_code, missing_codes(column)),
        (Fault.far_off, far_off(column)),
        (Fault.missing_word, missing_words(column)),
        (Fault.odd_category, odd_categories(column)),
    ):
        if tallies:
            count = sum(each.rows for each in tallies)
            yield _finding(fault, column.name, count, tuple(each.value for each in tallies))
    shape = None if _is_set(column) else _shape(column)
    for fault, count in (
        (Fault.mixed_types, mixed(column)),
        (Fault.isolated_zero, isolated_zeros(column)),
        (Fault.many_empty, column.nulls if column.nulls * 100 > rows * NULL_PERCENT_MAX else 0),
        (Fault.nearly_unique, column.present - column.distinct if _is_key(column) else 0),
        (Fault.off_pattern, column.present - shape.rows if shape else 0),
        (Fault.in_future, column.future),
    ):
        if count:
            yield _finding(fault, column.name, count)


def _finding(fault: Fault, column: str, rows: int, values: tuple[str, ...] = ()) -> Finding:
    return Finding(fault, column, rows, *_SAID[fault], values)


def _range(column: ColumnProfile, codes: tuple[Tally, ...]) -> tuple[str, ...]:
    low = [each.value for each in column.low if each not in codes]
    high = [each.value for each in column.high if each not in codes]
    return (low[0], high[0]) if low and high else ()


def _is_code(number: Decimal) -> bool:
    """One digit repeated: 7, 8, 9 twice or more; 5, 6 three times or more; negative or 1, 7, 8, 9."""
    digits = format(abs(number).normalize(), "f").replace(".", "")
    if len(set(digits)) != 1:
        return False
    if number < 0:
        return digits[0] in "1789"
    return (digits[0] in "789" and len(digits) >= 2) or (digits[0] in "56" and len(digits) >= 3)


def _is_set(column: ColumnProfile) -> bool:
    kinds = (Kind.text, Kind.integer, Kind.boolean)
    return column.kind in kinds and 0 < column.distinct <= SET_MAX and column.distinct * 10 <= column.present


def _is_key(column: ColumnProfile) -> bool:
    enough = column.present >= UNIQUE_ROWS_MIN and column.nulls * 100 <= column.present * NULL_PERCENT_MAX
    near = column.distinct * 100 >= column.present * UNIQUE_PERCENT_MIN
    return column.kind in (Kind.text, Kind.integer) and enough and near


def _shape(column: ColumnProfile) -> Tally | None:
    """The form of almost all texts of a column, if there is one."""
    if column.kind is not Kind.text or not column.shapes:
        return None
    first = column.shapes[0]
    return first if first.rows * 100 >= column.present * SHAPE_PERCENT_MIN else None


def _is_odd(value: str) -> bool:
    return bool(
        value != value.strip()
        or _CUT.search(value)
        or any(value.count(pair[0]) != value.count(pair[1]) for pair in _PAIRS)
    )


def _folded(value: str) -> str:
    return re.sub(
        r"\s+", "\N{NO-BREAK SPACE}", value.strip().casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
