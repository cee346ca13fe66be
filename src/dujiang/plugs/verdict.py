"""SQL that counts what declared rules find in a table; it runs inside a locked worker.

1. All counts that need one look at a row are one statement over the table; repeats and partners, which need a
   set of values, are a statement each.
2. A pattern is the engine's RE2: linear in the text. `probe` tries it on nothing, so that what is no pattern
   is known before a row is read.
3. Not a number and infinite count as no value, as in a profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from dujiang.plugs.sketch import Ask, kind_of, literal, quoted
from dujiang.quality.model import Demand, Evidence, Metric, Plain, Reading
from dujiang.registry.model import Kind

_READS = {
    Reading.integer: "regexp_full_match({v}, '[-+]?[0-9]+')",
    Reading.number: r"regexp_full_match({v}, '[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?')",
    Reading.boolean: "lower({v}) in ('true', 'false')",
    Reading.date: "try_cast({v} as date) is not null",
    Reading.timestamp: "try_cast({v} as timestamp) is not null",
}


@dataclass(frozen=True, slots=True)
class Cells:
    """A relation as statements read it: its SQL and the types of its columns."""

    relation: str
    types: Mapping[str, str]

    @classmethod
    def of(cls, ask: Ask, relation: str) -> Cells:
        """The cells of a relation."""
        return cls(relation, {str(row[0]): str(row[1]) for row in ask(f"describe from {relation}")})

    def kind(self, name: str) -> Kind:
        """The kind of a column."""
        return kind_of(self.types[name])

    def there(self, *names: str) -> str:
        """SQL of whether the cells of all these columns hold a value."""
        return " and ".join(
            f"{quoted(name)} is not null"
            + (f" and isfinite({quoted(name)})" if self.types[name] in ("FLOAT", "DOUBLE") else "")
            for name in names
        )

    def value(self, name: str) -> str:
        """SQL of a cell's value; what is of no kind of its own is read as text."""
        return f"cast({quoted(name)} as varchar)" if self.kind(name) is Kind.text else quoted(name)

    def constant(self, value: Plain, name: str) -> str:
        """SQL of a declared value, as a column's cells are compared with it."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str):
            return repr(value)
        if self.kind(name) is Kind.date:
            return f"date {literal(date.fromisoformat(value).isoformat())}"
        if self.kind(name) is Kind.timestamp:
            return f"timezone('UTC', timestamptz {literal(datetime.fromisoformat(value).isoformat())})"
        return literal(value)


def probe(demand: Demand) -> str | None:
    """A statement that fails if the pattern of a rule is none; None: it has no pattern."""
    pattern = demand.arguments.pattern
    return None if pattern is None else f"select regexp_matches('', {literal(pattern)})"


def count(
    ask: Ask, cells: Cells, others: Mapping[str, Cells], demands: Sequence[Demand], day: str
) -> tuple[Evidence, ...]:
    """The evidence of each rule; `others`: the cells of named versions; `day` (ISO): the day of grading."""
    wanted = [part for demand in demands for part in _counted(cells, demand, day)]
    answers = ask(f"select {', '.join(wanted)} from {cells.relation}")[0]
    found: list[Evidence] = []
    for demand, checked, number in zip(demands, answers[::2], answers[1::2], strict=True):
        second = None if number is None else int(number)
        if demand.metric is Metric.unmatchedValues:
            second = _unmatched(ask, cells, others[demand.arguments.version or ""], demand)
        elif demand.metric is Metric.duplicateValues:
            second = int(checked) - _distinct(ask, cells, _subjects(demand))
        if demand.metric in (Metric.rowCount, Metric.daysOld):
            found.append(Evidence(int(checked), 0, second))
        else:
            found.append(Evidence(int(checked), second or 0))
    return tuple(found)


def _counted(cells: Cells, demand: Demand, day: str) -> tuple[str, str]:
    """Two expressions: what is checked, and what fails (or is observed; NULL: another statement counts it)."""
    names = _subjects(demand)
    there = cells.there(*names)
    match demand.metric:
        case Metric.rowCount:
            return "count(*)", "count(*)"
        case Metric.nullValues:
            return "count(*)", f"count(*) filter (not ({there}))"
        case Metric.missingValues:
            codes = [each for each in demand.arguments.missingValues or () if each is not None]
            stands = f" or {_among(cells, names[0], codes)}" if codes else ""
            return "count(*)", f"count(*) filter (not ({there}){stands})"
        case Metric.invalidValues:
            valid = " and ".join(_valid(cells, names[0], demand))
            return f"count(*) filter ({there})", f"count(*) filter ({there} and not ({valid}))"
        case Metric.daysOld:
            newest = f"cast(max({quoted(names[0])}) filter (isfinite({quoted(names[0])})) as date)"
            return "count(*)", f"date_diff('day', {newest}, date {literal(day)})"
        case _:
            return f"count(*) filter ({there})", "null"


def _valid(cells: Cells, name: str, demand: Demand) -> list[str]:
    said, value = demand.arguments, cells.value(name)
    found: list[str] = []
    if said.validValues is not None:
        found.append(_among(cells, name, said.validValues))
    for bound, sign in ((said.minimum, ">="), (said.maximum, "<=")):
        if bound is not None:
            found.append(f"{value} {sign} {cells.constant(bound, name)}")
    for length, sign in ((said.minLength, ">="), (said.maxLength, "<=")):
        if length is not None:
            found.append(f"length({value}) {sign} {length}")
    if said.pattern is not None:
        found.append(f"regexp_matches({value}, {literal(said.pattern)})")
    if said.logicalType is not None:
        found.append(_READS[said.logicalType].replace("{v}", value))
    return found


def _among(cells: Cells, name: str, values: Sequence[Plain]) -> str:
    return f"{cells.value(name)} in ({', '.join(cells.constant(each, name) for each in values)})"


def _subjects(demand: Demand) -> tuple[str, ...]:
    return (demand.property,) if demand.property is not None else demand.arguments.properties or ()


def _distinct(ask: Ask, cells: Cells, names: Sequence[str]) -> int:
    keys = ", ".join(cells.value(name) for name in names)
    groups = f"select {keys} from {cells.relation} where {cells.there(*names)} group by all"
    return int(ask(f"select count(*) from ({groups})")[0][0])


def _unmatched(ask: Ask, cells: Cells, other: Cells, demand: Demand) -> int:
    name = demand.property or ""
    partner = demand.arguments.versionProperty or name
    held = f"(select {other.value(partner)} as k from {other.relation} where {other.there(partner)})"
    mine = f"(select {cells.value(name)} as k from {cells.relation} where {cells.there(name)})"
    return int(
        ask(f"select count(*) from {mine} m where not exists (select 1 from {held} h where h.k = m.k)")[0][0]
    )
