"""Declared rules: what is wrong with them, when their bound is kept, and what a dimension counts of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dujiang.kernel.errors import Refused
from dujiang.kernel.shape import build
from dujiang.quality import odcs, rules
from dujiang.quality.model import (
    FEEDS,
    Arguments,
    Check,
    ColumnProfile,
    Demand,
    Demands,
    Dimension,
    Evidence,
    Metric,
    Profile,
    Tally,
    Unit,
)
from dujiang.registry.model import Kind

COLUMNS = {
    "k": Kind.integer, "x": Kind.decimal, "t": Kind.text, "d": Kind.date, "m": Kind.timestamp, "b": Kind.boolean,
}  # fmt: skip
OTHERS = {"ver_o": {"k": Kind.decimal, "t": Kind.date}}


def wrong(*raw: dict[str, Any]) -> list[str]:
    """The problems of rules as a file states them."""
    return list(odcs.problems(build(Demands, {"quality": list(raw)}).quality, COLUMNS, OTHERS))


RIGHT: tuple[dict[str, Any], ...] = (
    {"metric": "nullValues", "property": "t"},
    {"metric": "nullValues", "property": "t", "mustBeLessThan": 0.5, "unit": "percent"},
    {"metric": "missingValues", "property": "k", "arguments": {"missingValues": [None, 999]}},
    {"metric": "invalidValues", "property": "t", "arguments": {"pattern": "^a$", "minLength": 1}},
    {"metric": "invalidValues", "property": "d", "arguments": {"minimum": "2020-01-01"}},
    {"metric": "invalidValues", "property": "m", "arguments": {"maximum": "2020-01-01T00:00:00+08:00"}},
    {"metric": "invalidValues", "property": "b", "arguments": {"validValues": [True]}},
    {"metric": "duplicateValues", "property": "k"},
    {"metric": "duplicateValues", "arguments": {"properties": ["k", "t"]}},
    {"metric": "rowCount", "mustBeBetween": [1, 9]},
    {"metric": "unmatchedValues", "property": "k", "arguments": {"version": "ver_o"}},
    {"metric": "daysOld", "property": "m", "mustBeLessOrEqualTo": 7},
)
WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"metric": "nullValues"}, "property"),
    ({"metric": "nullValues", "property": "no"}, "property"),
    ({"metric": "rowCount", "property": "k", "mustBe": 1}, "property"),
    ({"metric": "daysOld", "property": "k", "mustBe": 1}, "property"),
    ({"metric": "nullValues", "property": "k", "arguments": {"pattern": "a"}}, "arguments.pattern"),
    ({"metric": "missingValues", "property": "k"}, "arguments"),
    ({"metric": "missingValues", "property": "k", "arguments": {"missingValues": ["x"]}}, "arguments.missingValues"),
    ({"metric": "missingValues", "property": "k", "arguments": {"missingValues": [True]}}, "arguments.missingValues"),
    ({"metric": "invalidValues", "property": "k", "arguments": {"validValues": []}}, "arguments.validValues"),
    ({"metric": "invalidValues", "property": "t", "arguments": {"minimum": "a"}}, "arguments.minimum"),
    ({"metric": "invalidValues", "property": "d", "arguments": {"maximum": "2020-13-01"}}, "arguments.maximum"),
    ({"metric": "invalidValues", "property": "k", "arguments": {"pattern": "a"}}, "arguments.pattern"),
    ({"metric": "invalidValues", "property": "t", "arguments": {"pattern": "a" * 201}}, "arguments.pattern"),
    ({"metric": "invalidValues", "property": "t", "arguments": {"pattern": ""}}, "arguments.pattern"),
    ({"metric": "invalidValues", "property": "t", "arguments": {"maxLength": -1}}, "arguments.maxLength"),
    ({"metric": "duplicateValues", "arguments": {"properties": ["k", "k"]}}, "arguments.properties"),
    ({"metric": "duplicateValues", "arguments": {"properties": ["no"]}}, "arguments.properties"),
    ({"metric": "duplicateValues", "property": "k", "arguments": {"properties": ["t"]}}, "arguments.properties"),
    ({"metric": "unmatchedValues", "property": "k"}, "arguments.version"),
    ({"metric": "unmatchedValues", "property": "k", "arguments": {"version": "ver_x"}}, "arguments.version"),
    ({"metric": "unmatchedValues", "property": "t", "arguments": {"version": "ver_o"}}, "arguments.versionProperty"),
    ({"metric": "unmatchedValues", "property": "x", "arguments": {"version": "ver_o"}}, "arguments.versionProperty"),
    ({"metric": "rowCount"}, "mustBe"),
    ({"metric": "rowCount", "mustBe": 1, "unit": "percent"}, "unit"),
    ({"metric": "rowCount", "mustBe": 1, "mustNotBe": 2}, "mustNotBe"),
    ({"metric": "rowCount", "mustBeBetween": [2, 1]}, "mustBeBetween"),
    ({"metric": "rowCount", "mustBeBetween": [2]}, "mustBeBetween"),
    ({"metric": "rowCount", "mustBe": 1e300}, "mustBe"),
    ({"metric": "nullValues", "property": "k", "description": "x" * 201}, "description"),
)  # fmt: skip


@pytest.mark.parametrize("raw", RIGHT, ids=str)
def test_a_rule_that_fits_the_table_has_no_problem(raw: dict[str, Any]) -> None:
    assert wrong(raw) == []


@pytest.mark.parametrize(("raw", "place"), WRONG, ids=str)
def test_a_rule_that_does_not_fit_is_named_by_its_field(raw: dict[str, Any], place: str) -> None:
    (problem,) = wrong(RIGHT[0], raw)
    assert problem.startswith(f"quality[1].{place}: ")


def test_a_file_of_rules_is_bounded_and_known() -> None:
    assert wrong() == ["quality: 1..100 rules"] and wrong(*[RIGHT[0]] * 101) == wrong()
    many = [
        {"metric": "unmatchedValues", "property": "k", "arguments": {"version": f"v{n}"}} for n in range(7)
    ]
    assert wrong(*many) == ["arguments.version: at most 6 versions in all"]
    for raw in (
        {"metric": "freshness"},
        {"metric": "nullValues", "mustBee": 1},
        {"metric": "rowCount", "mustBe": "1"},
    ):
        with pytest.raises(Refused):
            build(Demands, {"quality": [raw]})


NUMBERS = some.integers(0, 50)
HOLDS = {
    "mustBe": lambda n, a, b: n == a,
    "mustNotBe": lambda n, a, b: n != a,
    "mustBeGreaterThan": lambda n, a, b: n > a,
    "mustBeGreaterOrEqualTo": lambda n, a, b: n >= a,
    "mustBeLessThan": lambda n, a, b: n < a,
    "mustBeLessOrEqualTo": lambda n, a, b: n <= a,
    "mustBeBetween": lambda n, a, b: a <= n <= b,
    "mustNotBeBetween": lambda n, a, b: not a <= n <= b,
}  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(some.sampled_from(sorted(HOLDS)), some.integers(1, 50), NUMBERS, NUMBERS, NUMBERS, some.booleans())
def test_a_bound_is_kept_exactly_where_it_says(
    name: str, checked: int, failing: int, first: int, second: int, percent: bool
) -> None:
    failing = min(failing, checked)
    low, high = sorted((first, second))
    value = (low, high) if name.endswith("Between") else low
    unit = Unit.percent if percent else Unit.rows
    demand = Demand(Metric.nullValues, "k", unit=unit, **{name: value})
    number = Fraction(100 * failing, checked) if percent else Fraction(failing)
    assert odcs.kept(demand, Evidence(checked, failing)) is HOLDS[name](number, low, high)


@settings(max_examples=150, deadline=None)
@given(some.sampled_from(sorted(HOLDS)), NUMBERS, NUMBERS, NUMBERS)
def test_a_row_count_fails_by_the_rows_that_are_not_as_they_should_be(
    name: str, rows: int, first: int, second: int
) -> None:
    low, high = sorted((first, second))
    demand = Demand(Metric.rowCount, **{name: (low, high) if name.endswith("Between") else low})
    found = Evidence(rows, 0, rows)
    checked, failed = odcs.shortfall(demand, found)
    assert 0 <= failed <= checked and (failed == 0) is odcs.kept(demand, found)
    if name == "mustBe" and rows < low:
        assert (checked, failed) == (low, low - rows)
    if name == "mustBeLessThan" and rows >= low > 0:
        assert (checked, failed) == (rows, rows - low + 1)


def test_a_table_too_old_fails_with_all_its_rows() -> None:
    demand = Demand(Metric.daysOld, "d", mustBeLessOrEqualTo=30)
    assert odcs.shortfall(demand, Evidence(9, 0, 30)) == (9, 0)
    assert odcs.shortfall(demand, Evidence(9, 0, 31)) == (9, 9)
    assert odcs.shortfall(demand, Evidence(9, 0, None)) == (9, 9)


def test_every_check_feeds_a_dimension_that_a_table_can_tell() -> None:
    assert set(FEEDS) == set(Check)
    assert Dimension.accessibility not in FEEDS.values()
    said = {
        "minimum": Check.in_range, "validValues": Check.in_set, "pattern": Check.in_pattern,
        "logicalType": Check.one_type, "maxLength": Check.valid,
    }  # fmt: skip
    for name, check in said.items():
        value: Any = ("a",) if name == "validValues" else 1
        assert odcs.check_of(Demand(Metric.invalidValues, "t", Arguments(**{name: value}))) is check


def column(rows: int, codes: int) -> ColumnProfile:
    """A column of the numbers 1 to 40 with so many rows of the code 999."""
    values = [Tally(str(value), rows) for value in range(1, 41)]
    top = (Tally("999", codes),) if codes else ()
    return ColumnProfile(
        "x", Kind.integer, 0, 40 * rows + codes, 40 + bool(codes), (), tuple(values[:12]),
        (*top, *reversed(values[-11:])),
    )  # fmt: skip


def test_a_declared_rule_takes_the_place_of_the_one_that_says_the_same() -> None:
    profile = Profile(83, 0, (column(2, 3),))
    before = rules.graded(profile, None)
    ranged = Demand(Metric.invalidValues, "x", Arguments(minimum=0, maximum=1000))
    made = rules.graded(profile, None, [(ranged, Evidence(83, 0))])
    (rule,) = [each for each in made.rules if each.check is Check.in_range]
    assert (rule.declared, rule.failed, made.replaced) == (True, 0, 1)
    assert len(made.rules) == len(before.rules)
    told = rules.public("ver_x", made, 1)
    assert (told.rules_declared, told.rules_replaced) == (1, 1)
    assert made.findings == before.findings  # declaring a range hides nothing
    for metric, replaced in ((Metric.nullValues, 0), (Metric.missingValues, 1)):
        said = Arguments(missingValues=(999,)) if metric is Metric.missingValues else Arguments()
        made = rules.graded(profile, None, [(Demand(metric, "x", said), Evidence(83, 0))])
        assert made.replaced == replaced


def test_a_bound_that_is_not_kept_is_a_failed_rule_and_one_that_is_kept_is_none() -> None:
    profile = Profile(80, 0, (column(2, 0),))
    least = rules.public("ver_x", rules.graded(profile, None), 1).rules_failed
    for bound, failed in ((10, 0), (9, 1)):
        demand = Demand(Metric.nullValues, "x", mustBeLessOrEqualTo=bound)
        told = rules.public("ver_x", rules.graded(profile, None, [(demand, Evidence(80, 10))]), 1)
        assert told.rules_failed == least + failed
