"""Declared rules in the words of the Open Data Contract Standard 3.1 (数据合同), and what is wrong with them.

1. `problems` names the field and the rule it breaks, never a value; a rules file with a problem is refused whole.
2. A rule without a bound must find nothing: it `mustBe` 0.
3. A pattern is linear to match (RE2) and bounded in length; whether it is one at all, the engine says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal

from dujiang.quality.model import FEEDS, Arguments, Check, Demand, Evidence, Metric, Plain, Rule, Unit
from dujiang.registry.model import Kind

DEMANDS_MAX = 100
VALUES_MAX = 1_000
TEXT_CHARACTERS_MAX = 200
PROPERTIES_MAX = 16
OTHERS_MAX = 6
"""Versions one rules file may name: each is a file the engine's process is lent."""
NUMBER_MAX = 2**53

BOUNDS = (
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
)
CHECKS = {
    Metric.nullValues: Check.not_null,
    Metric.missingValues: Check.filled,
    Metric.duplicateValues: Check.unique,
    Metric.rowCount: Check.row_count,
    Metric.unmatchedValues: Check.matched,
    Metric.daysOld: Check.fresh,
}
"""What a metric checks; invalid values: see `check_of`."""
OF_TABLE = frozenset({Metric.rowCount, Metric.daysOld})
"""Metrics whose number is about the table, not about so many of its rows."""
_TAKES = {
    Metric.missingValues: {"missingValues"},
    Metric.invalidValues: {
        "validValues", "pattern", "minimum", "maximum", "minLength", "maxLength", "logicalType",
    },
    Metric.duplicateValues: {"properties"},
    Metric.unmatchedValues: {"version", "versionProperty"},
}  # fmt: skip
_ORDERED = (Kind.integer, Kind.decimal, Kind.date, Kind.timestamp)
_NUMBERS = (Kind.integer, Kind.decimal)
_TEXT_ONLY = ("pattern", "minLength", "maxLength", "logicalType")

Columns = Mapping[str, Kind]


def check_of(demand: Demand) -> Check:
    """What a declared rule checks, which says the dimension it feeds."""
    if demand.metric is not Metric.invalidValues:
        return CHECKS[demand.metric]
    given = _given(demand.arguments)
    if given <= {"minimum", "maximum"}:
        return Check.in_range
    if given == {"validValues"}:
        return Check.in_set
    if given == {"pattern"}:
        return Check.in_pattern
    return Check.one_type if given == {"logicalType"} else Check.valid


def kept(demand: Demand, found: Evidence) -> bool:
    """Whether the bound of a declared rule is kept by what was counted."""
    number = found.observed if demand.metric in OF_TABLE else found.failing
    if number is None:
        return False
    measured = Decimal(number)
    if demand.unit is Unit.percent:
        measured = measured * 100 / found.checked if found.checked else Decimal(0)
    stated = [name for name in BOUNDS if getattr(demand, name) is not None]
    return all(_holds(name, measured, getattr(demand, name)) for name in stated) if stated else number == 0


def shortfall(demand: Demand, found: Evidence) -> tuple[int, int]:
    """Items checked and items that fail, as a dimension counts them (GB/T 36344: a ratio per indicator).

    A row count: the rows there should be, or those there should not. A table too old: all its rows.
    """
    if demand.metric is Metric.daysOld:
        return found.checked, 0 if kept(demand, found) else found.checked
    if demand.metric is not Metric.rowCount:
        return found.checked, found.failing
    rows = found.observed or 0
    if kept(demand, found):
        return rows, 0
    low, high = _span(demand)
    if low is not None and rows < low:
        return low, low - rows
    if high is not None and rows > high:
        return max(rows, 1), max(1, min(rows, rows - high))
    return max(rows, 1), max(rows, 1)


def problems(demands: tuple[Demand, ...], columns: Columns, others: Mapping[str, Columns]) -> tuple[str, ...]:
    """Every problem of declared rules over a table's columns; `others`: the columns of named versions."""
    if not 1 <= len(demands) <= DEMANDS_MAX:
        return (f"quality: 1..{DEMANDS_MAX} rules",)
    if len(named(demands)) > OTHERS_MAX:
        return (f"arguments.version: at most {OTHERS_MAX} versions in all",)
    return tuple(
        f"quality[{place}].{problem}"
        for place, demand in enumerate(demands)
        for problem in (*_subject(demand, columns), *_arguments(demand, columns, others), *_bounds(demand))
    )


def named(demands: tuple[Demand, ...]) -> tuple[str, ...]:
    """The versions that declared rules name, each once."""
    return tuple(dict.fromkeys(each.arguments.version for each in demands if each.arguments.version))


def rule_of(demand: Demand, found: Evidence) -> Rule:
    """A declared rule with its evidence."""
    check = check_of(demand)
    checked, failed = shortfall(demand, found)
    return Rule(
        check, FEEDS[check], demand.property or ", ".join(demand.arguments.properties or ()), checked, failed,
        bounds=tuple(_said(demand)), declared=True, kept=kept(demand, found), observed=found.observed,
    )  # fmt: skip


def _said(demand: Demand) -> Iterator[str]:
    """What a rule was counted by and its bound, as text for its provider."""
    said = demand.arguments
    for each in fields(said):
        value = getattr(said, each.name)
        if value is not None:
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            yield f"{each.name} {shown}"
    for name in BOUNDS:
        value = getattr(demand, name)
        if value is not None:
            shown = "..".join(map(str, value)) if isinstance(value, tuple) else str(value)
            yield f"{name} {shown}{'%' if demand.unit is Unit.percent else ''}"


def _subject(demand: Demand, columns: Columns) -> Iterator[str]:
    metric, name = demand.metric, demand.property
    if metric is Metric.rowCount:
        if name is not None:
            yield "property: none, it is about the table"
    elif name is None:
        if metric is not Metric.duplicateValues or not demand.arguments.properties:
            yield "property: a column is needed"
    elif name not in columns:
        yield "property: no such column"
    elif metric is Metric.daysOld and columns[name] not in (Kind.date, Kind.timestamp):
        yield "property: a date or time is needed"
    if demand.description is not None and len(demand.description) > TEXT_CHARACTERS_MAX:
        yield f"description: at most {TEXT_CHARACTERS_MAX} characters"


def _arguments(demand: Demand, columns: Columns, others: Mapping[str, Columns]) -> Iterator[str]:
    given, said = _given(demand.arguments), demand.arguments
    allowed = _TAKES.get(demand.metric, set[str]())
    for name in sorted(given - allowed):
        yield f"arguments.{name}: not with this metric"
    if given - allowed:
        return
    if demand.metric is Metric.duplicateValues:
        yield from _together(demand, columns)
    elif demand.metric is Metric.unmatchedValues:
        yield from _partner(demand, columns, others)
    elif demand.metric in (Metric.missingValues, Metric.invalidValues):
        if not given:
            yield "arguments: needed with this metric"
        kind = columns.get(demand.property or "")
        if kind is not None:
            yield from _values(said, kind)


def _values(said: Arguments, kind: Kind) -> Iterator[str]:
    for name in ("missingValues", "validValues"):
        values: tuple[Plain | None, ...] | None = getattr(said, name)
        if values is not None and not 1 <= len(values) <= VALUES_MAX:
            yield f"arguments.{name}: 1..{VALUES_MAX} values"
        elif values is not None and not all(_fits(value, kind) for value in values if value is not None):
            yield f"arguments.{name}: values of the column's kind"
    for name in ("minimum", "maximum"):
        value: Plain | None = getattr(said, name)
        if value is not None and not (kind in _ORDERED and _fits(value, kind)):
            yield f"arguments.{name}: a value of an ordered column's kind"
    for name in _TEXT_ONLY:
        if getattr(said, name) is not None and kind is not Kind.text:
            yield f"arguments.{name}: only for texts"
    if said.pattern is not None and not 1 <= len(said.pattern) <= TEXT_CHARACTERS_MAX:
        yield f"arguments.pattern: 1..{TEXT_CHARACTERS_MAX} characters"
    for name in ("minLength", "maxLength"):
        length: int | None = getattr(said, name)
        if length is not None and not 0 <= length <= NUMBER_MAX:
            yield f"arguments.{name}: 0 or more"


def _together(demand: Demand, columns: Columns) -> Iterator[str]:
    several = demand.arguments.properties
    if several is None:
        return
    if demand.property is not None:
        yield "arguments.properties: only where property is not given"
    if not 1 <= len(several) <= PROPERTIES_MAX or len(set(several)) != len(several):
        yield f"arguments.properties: 1..{PROPERTIES_MAX} columns, each once"
    if any(name not in columns for name in several):
        yield "arguments.properties: no such column"


def _partner(demand: Demand, columns: Columns, others: Mapping[str, Columns]) -> Iterator[str]:
    other = others.get(demand.arguments.version or "")
    if other is None:
        yield "arguments.version: a version of your organisation is needed"
        return
    kind = other.get(demand.arguments.versionProperty or demand.property or "")
    mine = columns.get(demand.property or "")
    if kind is None:
        yield "arguments.versionProperty: no such column"
    elif mine is not None and kind is not mine and not (kind in _NUMBERS and mine in _NUMBERS):
        yield "arguments.versionProperty: a column of the same kind is needed"


def _bounds(demand: Demand) -> Iterator[str]:
    stated = [name for name in BOUNDS if getattr(demand, name) is not None]
    if demand.metric in OF_TABLE:
        if not stated:
            yield "mustBe: a bound is needed with this metric"
        if demand.unit is Unit.percent:
            yield "unit: rows with this metric"
    if len(stated) > 1:
        yield f"{stated[1]}: one bound a rule"
    for name in stated:
        value: int | float | tuple[int | float, ...] = getattr(demand, name)
        numbers = value if isinstance(value, tuple) else (value,)
        if name.endswith("Between") and (len(numbers) != 2 or numbers[0] > numbers[1]):
            yield f"{name}: lowest and highest number"
        elif not all(math.isfinite(each) and abs(each) <= NUMBER_MAX for each in numbers):
            yield f"{name}: a finite number"


def _given(said: Arguments) -> set[str]:
    return {each.name for each in fields(said) if getattr(said, each.name) is not None}


def _fits(value: Plain, kind: Kind) -> bool:
    if kind is Kind.boolean:
        return isinstance(value, bool)
    if kind in _NUMBERS:
        return not isinstance(value, str | bool) and math.isfinite(value) and abs(value) <= NUMBER_MAX
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX:
        return False
    if kind is Kind.text:
        return True
    try:
        (date if kind is Kind.date else datetime).fromisoformat(value)
    except ValueError:
        return False
    return True


def _holds(name: str, measured: Decimal, bound: int | float | tuple[int | float, ...]) -> bool:
    if isinstance(bound, tuple):
        low, high = (Decimal(str(each)) for each in bound)
        return (low <= measured <= high) is (name == "mustBeBetween")
    limit = Decimal(str(bound))
    return {
        "mustBe": measured == limit,
        "mustNotBe": measured != limit,
        "mustBeGreaterThan": measured > limit,
        "mustBeGreaterOrEqualTo": measured >= limit,
        "mustBeLessThan": measured < limit,
        "mustBeLessOrEqualTo": measured <= limit,
    }[name]


def _span(demand: Demand) -> tuple[int | None, int | None]:
    """Fewest and most rows the bounds of a row count allow."""
    lows = [(demand.mustBe, 0), (demand.mustBeGreaterOrEqualTo, 0), (demand.mustBeGreaterThan, 1)]
    highs = [(demand.mustBe, 0), (demand.mustBeLessOrEqualTo, 0), (demand.mustBeLessThan, -1)]
    if demand.mustBeBetween is not None:
        lows.append((demand.mustBeBetween[0], 0))
        highs.append((demand.mustBeBetween[1], 0))
    low = [math.floor(value) + 1 if more else math.ceil(value) for value, more in lows if value is not None]
    high = [math.ceil(value) - 1 if less else math.floor(value) for value, less in highs if value is not None]
    return max(low, default=None), min(high, default=None)
