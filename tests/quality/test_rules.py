"""Laws of the grade, and what counts as a missing code, an odd category, an identifier."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dujiang.quality import rules, wire
from dujiang.quality.model import (
    Category,
    Check,
    ColumnProfile,
    Dimension,
    Fault,
    Personal,
    Profile,
    Score,
    Tally,
)
from dujiang.registry.model import Kind


def numbers(values: dict[str, int], kind: Kind = Kind.integer, nulls: int = 0) -> ColumnProfile:
    """A column of numbers with so many rows of each value, as a profile holds it."""
    ordered = sorted(values, key=float)
    tallies = [Tally(each, values[each]) for each in ordered]
    present = sum(values.values())
    top = tuple(sorted(tallies, key=lambda each: (-each.rows, each.value))[:50])
    return ColumnProfile(
        "x", kind, nulls, present, len(values), top, tuple(tallies[:12]), tuple(reversed(tallies[-12:]))
    )


def texts(values: dict[str, int], nulls: int = 0, numeric: int = 0) -> ColumnProfile:
    """A column of texts with so many rows of each."""
    top = tuple(Tally(each, rows) for each, rows in sorted(values.items(), key=lambda item: -item[1])[:50])
    return ColumnProfile("x", Kind.text, nulls, sum(values.values()), len(values), top, numeric_texts=numeric)


def faults(column: ColumnProfile) -> dict[Fault, int]:
    """The faults found in a table of one column."""
    found = rules.findings(Profile(column.present + column.nulls, 0, (column,)))
    return {each.fault: each.rows for each in found}


BULK = {str(value): 20 for value in range(1, 41)}


@pytest.mark.parametrize(
    ("extra", "codes"),
    [
        ({"999": 1}, {"999"}),
        ({"777": 2, "999": 3}, {"777", "999"}),
        ({"9999": 4, "5555": 1}, {"9999", "5555"}),
        ({"99": 3}, {"99"}),
        ({"-1": 3}, {"-1"}),
        ({"-9": 1, "-99": 1, "999": 1}, {"-9", "-99", "999"}),
        ({"-2": 5}, set()),
        ({"500": 9}, set()),
        ({"44": 9, "55": 3}, set()),
        ({"77": 3}, set()),  # 37 beyond a spread of 39: it may be a value
        ({}, set()),
    ],
)
def test_codes_are_repeated_digits_far_from_the_bulk(extra: dict[str, int], codes: set[str]) -> None:
    column = numbers(BULK | extra)
    assert {each.value for each in rules.missing_codes(column)} == codes
    hidden = sum(extra[each] for each in codes)
    (filled,) = [
        rule for rule in rules.proposed(Profile(column.present, 0, (column,))) if rule.check is Check.not_null
    ]
    assert (filled.checked, filled.failed) == (column.present, hidden)
    assert faults(column).get(Fault.missing_code, 0) == hidden


def test_a_range_leaves_the_codes_out() -> None:
    column = numbers(BULK | {"999": 2, "-1": 1})
    found = {rule.check: rule for rule in rules.proposed(Profile(column.present, 0, (column,)))}
    assert found[Check.in_range].bounds == ("1", "40") and found[Check.in_range].failed == 3


def test_a_decimal_code_is_told_by_its_digits() -> None:
    column = numbers({f"{value}.5": 3 for value in range(1, 9)} | {"999.90": 2, "9999.0": 1}, Kind.decimal)
    assert {each.value for each in rules.missing_codes(column)} == {"9999.0"} | {"999.90"}


def test_a_column_of_codes_alone_or_of_negatives_has_none() -> None:
    assert rules.missing_codes(numbers({"999": 5, "9999": 2})) == ()
    assert rules.missing_codes(numbers({str(-value): 3 for value in range(1, 30)})) == ()
    assert rules.missing_codes(numbers({"-1": 3, "-2": 1, "0": 5, "1": 9})) == ()


MASS = {str(value): 100 for value in range(1, 41)}


@pytest.mark.parametrize(
    ("extra", "far"),
    [
        ({"1048.5": 1}, {"1048.5"}),
        ({"79": 1}, set()),  # as far as all others are apart
        ({"80": 1}, {"80"}),
        ({"80": 1, "90": 2}, {"80", "90"}),
        ({"80": 1, "81": 1, "82": 1, "83": 1}, set()),  # four are no exception
        ({"80": 5}, set()),  # more than one row in a thousand
        ({"-500": 1}, {"-500"}),
        ({"999": 1}, set()),  # a code, told as such
        ({}, set()),
    ],
)
def test_a_few_numbers_beyond_the_whole_span_of_the_others_are_far_off(
    extra: dict[str, int], far: set[str]
) -> None:
    column = numbers(MASS | extra, Kind.decimal)
    assert {each.value for each in rules.far_off(column)} == far
    assert faults(column).get(Fault.far_off, 0) == sum(extra[each] for each in far)
    found = {rule.check: rule for rule in rules.proposed(Profile(column.present, 0, (column,)))}
    if far:
        assert found[Check.in_range].failed == sum(extra[each] for each in far)
        assert not far & set(found[Check.in_range].bounds)


def test_words_for_missing_marks_and_mixes_are_found() -> None:
    found = faults(texts({"Good": 90, "Fair or": 60, "Poor?": 30, "Don't  Know": 8, "good": 2}))
    assert found == {Fault.odd_category: 182, Fault.missing_word: 8}
    assert faults(texts({"0": 800, "1": 150, "Borderline": 50}, numeric=950)) == {Fault.mixed_types: 50}
    assert faults(texts({"0": 800, "1": 150, "未知": 50}, numeric=950)) == {Fault.missing_word: 50}
    assert faults(texts({"男": 50, "女": 51})) == {}


@pytest.mark.parametrize(
    ("zeros", "near", "least", "expected"),
    [(134, 4, "48", 134), (1, 0, "48", 0), (134, 140, "48", 0), (134, 4, "5", 0), (600, 4, "48", 0)],
)
def test_zeros_apart_are_told_and_not_counted(zeros: int, near: int, least: str, expected: int) -> None:
    column = replace(numbers(BULK), present=6000, zeros=zeros, near_zero=near, low_positive=least)
    assert rules.isolated_zeros(column) == expected
    assert faults(column).get(Fault.isolated_zero, 0) == expected
    before = list(rules.proposed(Profile(6000, 0, (replace(column, zeros=0),))))
    assert list(rules.proposed(Profile(6000, 0, (column,)))) == before


def test_an_identifier_is_told_by_its_share() -> None:
    def of(**rows: int) -> list[Personal]:
        tallies = tuple(Tally(name, number) for name, number in rows.items())
        column = replace(texts({f"v{i}": 1 for i in range(1000)}), personal=tallies)
        return [each.personal for each in rules.personal_columns(Profile(1000, 0, (column,)))]

    assert of(bank_card=110) == []  # one number in ten has the check digit by chance
    assert of(bank_card=900) == [Personal.bank_card]
    assert of(identity_number=10, bank_card=100) == [Personal.identity_number]
    assert of(identity_number=9) == []
    assert of(mobile=501, email=1) == [Personal.mobile]


def test_a_class_rises_with_what_is_found() -> None:
    def of(*kinds: Personal, rows: int = 100, entity: str | None = None) -> tuple[Category, int]:
        columns = tuple(
            replace(texts({"v": 100}), name=each.value, personal=(Tally(each.value, 100),)) for each in kinds
        )
        made = rules.graded(Profile(rows, 0, columns), entity).classification
        return made.category, made.level

    assert of() == (Category.general, 1) and of(entity="k") == (Category.general, 2)
    assert of(Personal.organisation_code) == (Category.general, 1)
    assert of(Personal.mobile) == (Category.general, 3) == of(Personal.identity_number)
    assert of(Personal.mobile, Personal.identity_number) == (Category.general, 4)
    assert of(Personal.mobile, rows=10_000_000) == (Category.general, 4)


COLUMNS = some.builds(
    lambda values, nulls, text: (
        texts(values, nulls)
        if text
        else numbers({str(i): n for i, n in enumerate(values.values())}, nulls=nulls)
    ),
    some.dictionaries(some.text(max_size=6), some.integers(1, 60), max_size=60),
    some.integers(0, 50),
    some.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(some.lists(COLUMNS, max_size=4))
def test_no_rule_fails_more_than_it_checks_and_a_grade_follows(columns: list[ColumnProfile]) -> None:
    rows = max((each.present + each.nulls for each in columns), default=0)
    fitted = tuple(replace(each, nulls=rows - each.present) for each in columns)
    made = rules.graded(Profile(rows, 0, fitted), None)
    assert all(0 <= rule.failed <= rule.checked for rule in made.rules)
    assert 0 <= made.ppm <= 1_000_000 and made.grade in "ABCDE"
    assert sum(each.checked for each in made.scores) == sum(rule.checked for rule in made.rules)
    assert wire.graded_of(wire.graded_text(made)) == made


@given(some.lists(some.tuples(some.integers(1, 10**9), some.integers(0, 10**9)), min_size=6, max_size=6))
def test_one_more_failure_never_raises_the_score(counts: list[tuple[int, int]]) -> None:
    def of(worse: int) -> int:
        dimensions = zip(Dimension, counts, strict=False)
        return rules.overall(
            tuple(Score(d, 1, n, min(n, f + worse * (i == 0))) for i, (d, (n, f)) in enumerate(dimensions))
        )

    assert of(1) <= of(0)


def test_what_is_unknown_takes_no_part() -> None:
    one = Score(Dimension.accuracy, 1, 100, 10)
    unknown = tuple(Score(each, 0, 0, 0) for each in Dimension if each is not Dimension.accuracy)
    assert rules.overall((one, *unknown)) == 900_000 and rules.overall(unknown) == 0
    assert [rules.grade(ppm) for ppm in (980_000, 979_999, 950_000, 900_000, 800_000, 799_999)] == list(
        "ABBCDE"
    )
