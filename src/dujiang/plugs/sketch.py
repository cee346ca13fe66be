"""What a table holds, told to its provider alone: types, sizes, bounds, rows per entity.

A sketch proposes; nothing of it is published. `describe` runs inside a locked worker.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from dujiang.plugs.tabular import Form
from dujiang.registry.model import Kind

T = TypeVar("T")
Ask = Callable[[str], list[list[Any]]]
"""Runs one statement in the worker and gives back its rows."""

EXACT_DISTINCT_MAX = 10_000
VALUES_MAX = 1_000
SAMPLE_ROWS = 10_000
SCALE_ROWS = 1_000_000
SCALE_MAX = 9
BATCH_COLUMNS = 40
CONSTANT_BATCH_COLUMNS = 8

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_ZONED = "TIMESTAMP WITH TIME ZONE"
_NUMBER = r"-?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|(0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?"
_DAY = r"[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}"
_MOMENT = _DAY + r"[ T][0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)? ?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"

# Whether a text can be read as a type without loss; an integer must print as it was written, so
# identifiers with leading zeros stay text, as do thousands separators and long digit strings.
_READS = {
    "BOOLEAN": "lower({c}) in ('true', 'false')",
    "BIGINT": "coalesce(cast(try_cast({c} as bigint) as varchar) = {c}, false)",
    "DOUBLE": "length({c}) <= 18 and regexp_full_match({c}, '" + _NUMBER + "|[nN][aA][nN]')"
    " and coalesce(not isinf(try_cast({c} as double)), false)",
    "DATE": "regexp_full_match({c}, '" + _DAY + "') and try_cast({c} as date) is not null",
    "TIMESTAMP": "regexp_full_match({c}, '" + _MOMENT + "') and try_cast({c} as timestamptz) is not null",
}
_READ_AS = {
    "BOOLEAN": "lower({c}) = 'true'",
    "BIGINT": "cast({c} as bigint)",
    "DOUBLE": "cast({c} as double)",
    "DATE": "cast({c} as date)",
    # through a zoned type: a plain cast to TIMESTAMP drops the offset without a word
    "TIMESTAMP": "timezone('UTC', cast({c} as timestamptz))",
}


@dataclass(frozen=True, slots=True)
class ColumnSketch:
    """One column as found. Bounds and quantiles are text (exact decimal or ISO), None where unfit."""

    name: str
    type: str
    """The engine's name of the type in the source."""
    kind: Kind
    nulls: int
    distinct: int
    distinct_exact: bool
    lo: str | None = None
    hi: str | None = None
    p01: str | None = None
    p99: str | None = None
    scale: int | None = None
    """Decimal places the values need, 0..9; None: more, or no number."""
    length_max: int | None = None
    values: tuple[str, ...] | None = None
    """All distinct values as text, sorted, where they are few."""
    constant: bool | None = None
    """Whether every entity has one value only; None: no entity was named."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """One table as found; the last four are rows per entity and None without an entity."""

    form: Form
    rows: int
    columns: tuple[ColumnSketch, ...]
    entities: int | None = None
    rows_per_entity_max: int | None = None
    rows_per_entity_p95: int | None = None
    rows_per_entity_p99: int | None = None
    fans: tuple[tuple[tuple[str, ...], int], ...] = ()
    """Columns to be joined on, alone and together, and the most rows that share a value of them."""

    @property
    def format(self) -> str:
        """`csv`, `parquet`, `xlsx` or `xls`."""
        return self.form.format

    @property
    def encoding(self) -> str | None:
        """The encoding of a text file."""
        return self.form.encoding


def quoted(name: str) -> str:
    """An identifier as SQL text."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL text."""
    return "'" + text.replace("'", "''") + "'"


def kind_of(source_type: str) -> Kind:
    """The kind a column of an engine type is proposed as; what no question can use becomes text."""
    if source_type.lstrip("U") in _INTEGERS:
        return Kind.integer
    if source_type.startswith("DECIMAL"):
        return Kind.integer if source_type.endswith(",0)") else Kind.decimal
    if source_type in ("FLOAT", "DOUBLE"):
        return Kind.decimal
    if source_type.startswith("TIMESTAMP") and not source_type.endswith("]"):
        return Kind.timestamp
    return {"BOOLEAN": Kind.boolean, "DATE": Kind.date}.get(source_type, Kind.text)


def text_reader(form: Form, path: str) -> str:
    """SQL of the relation that reads a text file, or a converted workbook, with every column as text."""
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in form.names)
    delimiter = literal(form.delimiter or ",")
    return (
        f"read_csv({literal(path)}, auto_detect = false, header = true, delim = {delimiter},"
        f" quote = '\"', escape = '\"', nullstr = [''], strict_mode = true, columns = {{{columns}}})"
    )


def plain_columns(form: Form, types: Sequence[tuple[str, str]]) -> str:
    """SQL of the select list that gives the source's columns their types, timestamps in UTC."""
    parts: list[str] = []
    for name, source_type in types:
        column = quoted(name)
        read = column
        if form.is_text:
            read = _READ_AS.get(source_type, "{c}").replace("{c}", column)
        elif source_type == _ZONED:
            read = f"timezone('UTC', {column})"
        parts.append(f"{read} as {column}")
    return ", ".join(parts)


def is_plain(form: Form, types: Sequence[tuple[str, str]]) -> bool:
    """Whether a file is its own normalised copy: Parquet whose columns need no other reading."""
    return form.format == "parquet" and all(source_type != _ZONED for _, source_type in types)


def text_types(ask: Ask, relation: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Name and type of each column of a relation of texts: the narrowest type all its rows read as."""
    every = [(name, each) for name in names for each in _READS]
    hints = _fits(ask, f"(from {relation} limit {SAMPLE_ROWS})", every)
    hopes = {name: [each for each in _READS if hints[name, each] is not False] for name in names}
    found: dict[str, str] = {}
    while hopes:  # each round drops one hope of every column that is left
        checks = [(name, left[0]) for name, left in hopes.items() if left]
        fits = _fits(ask, relation, checks)
        for name, left in list(hopes.items()):
            fit = fits[name, left[0]] if left else None
            if fit is False:
                left.pop(0)
            else:  # None: no value at all, so there is nothing to tell a type by
                found[name] = left[0] if fit else "VARCHAR"
                del hopes[name]
    return [(name, found[name]) for name in names]


def _fits(ask: Ask, relation: str, checks: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bool | None]:
    found: dict[tuple[str, str], bool | None] = {}
    for batch in _batches(checks, BATCH_COLUMNS):
        wanted = [
            f"bool_and({_READS[each].replace('{c}', quoted(name))}) filter ({quoted(name)} is not null)"
            for name, each in batch
        ]
        row = ask(f"select {', '.join(wanted)} from {relation}")[0]
        found |= dict(zip(batch, row, strict=True))
    return found


def describe(
    ask: Ask,
    relation: str,
    form: Form,
    types: Sequence[tuple[str, str]],
    entity: str | None,
    joins: Sequence[str] = (),
) -> Sketch:
    """The sketch of a relation read as `types`; each statement names only the columns it is about."""
    known = dict(types)

    def part(*names: str) -> str:
        wanted = [(name, known[name]) for name in dict.fromkeys(names)]
        return f"(select {plain_columns(form, wanted)} from {relation})"

    rows = int(ask(f"select count(*) from {relation}")[0][0])
    counted = None if entity is None else _entities(ask, part(entity), entity)
    constant: dict[str, bool] = {}
    if counted is not None and entity is not None:
        single = counted[1] <= 1
        names = [name for name, _ in types]
        constant = dict.fromkeys(names, True) if single else _constants(ask, part, names, entity)
    columns: list[ColumnSketch] = []
    for batch in _batches(types, BATCH_COLUMNS):
        wanted = ", ".join(measure for column in batch for measure in _measures(*column))
        answers = iter(ask(f"select {wanted} from {part(*(name for name, _ in batch))}")[0])
        for name, source_type in batch:
            present, near, lo, hi, p01, p99, length = (next(answers) for _ in range(7))
            distinct, exact = _distinct(ask, part(name), name, int(near))
            columns.append(
                ColumnSketch(
                    name,
                    source_type,
                    kind_of(source_type),
                    rows - int(present),
                    distinct,
                    exact,
                    *(None if each is None else str(each) for each in (lo, hi, p01, p99)),
                    scale=_scale(ask, part(name), name, kind_of(source_type)),
                    length_max=None if length is None else int(length),
                    values=_values(ask, part(name), name) if exact and distinct <= VALUES_MAX else None,
                    constant=constant.get(name),
                )
            )
    made = Sketch(form, rows, tuple(columns), *(counted or (None, None, None, None)))
    return replace(
        made, fans=_fans(ask, part, [name for name in dict.fromkeys(joins) if name in known], entity)
    )


def _fans(
    ask: Ask, part: Callable[..., str], joins: Sequence[str], entity: str | None
) -> tuple[tuple[tuple[str, ...], int], ...]:
    """Every column alone, then pairs, then all: a combination that holds the entity or a unique one adds nothing."""
    found: dict[tuple[str, ...], int] = {}
    everything = [tuple(joins)] if len(joins) > 2 else []
    for names in [*((name,) for name in joins), *itertools.combinations(joins, 2), *everything]:
        if len(names) > 1 and any(set(key) <= set(names) and most <= 1 for key, most in found.items()):
            continue
        if names == (entity,):
            found[names] = 1
            continue
        listed = ", ".join(map(quoted, names))
        present = " and ".join(f"{quoted(name)} is not null" for name in names)
        most = ask(
            f"select coalesce(max(n), 0) from (select count(*) n from {part(*names)} where {present}"
            f" group by {listed})"
        )[0][0]
        found[names] = int(most)
    return tuple(found.items())


def _measures(name: str, source_type: str) -> list[str]:
    """Seven aggregates of one column: count, distinct, lo, hi, p01, p99, length."""
    column = quoted(name)
    kind = kind_of(source_type)
    lo = hi = p01 = p99 = length = "null"
    if kind in (Kind.integer, Kind.decimal):
        finite = f" filter (isfinite(cast({column} as double)))" if source_type in ("FLOAT", "DOUBLE") else ""
        lo, hi = (f"cast({end}({column}){finite} as varchar)" for end in ("min", "max"))
        p01, p99 = (f"approx_quantile(cast({column} as double), {at}){finite}" for at in ("0.01", "0.99"))
    elif kind in (Kind.date, Kind.timestamp):
        lo, hi = (f"cast({end}({column}) filter (isfinite({column})) as varchar)" for end in ("min", "max"))
    elif kind is Kind.text:
        length = f"max(length(cast({column} as varchar)))"
    return [f"count({column})", f"approx_count_distinct({column})", lo, hi, p01, p99, length]


def _distinct(ask: Ask, relation: str, name: str, near: int) -> tuple[int, bool]:
    if near > EXACT_DISTINCT_MAX * 1.2:
        return near, False
    exact = int(ask(f"select count(distinct {quoted(name)}) from {relation}")[0][0])
    return exact, True


def _values(ask: Ask, relation: str, name: str) -> tuple[str, ...]:
    column = quoted(name)
    found = ask(
        f"select cast(v as varchar) from (select distinct {column} as v from {relation}"
        f" where {column} is not null) order by v limit {VALUES_MAX}"
    )
    return tuple(str(row[0]) for row in found)


def _scale(ask: Ask, relation: str, name: str, kind: Kind) -> int | None:
    """Decimal places needed, judged by the first million rows."""
    if kind is not Kind.decimal:
        return 0 if kind in (Kind.integer, Kind.boolean) else None
    tries = ", ".join(f"bool_and(round(x, {places}) = x)" for places in range(SCALE_MAX + 1))
    found = ask(
        f"select {tries} from (select cast({quoted(name)} as double) x from {relation} limit {SCALE_ROWS})"
        " where isfinite(x)"
    )[0]
    return next((places for places, fits in enumerate(found) if fits is not False), None)


def _entities(ask: Ask, relation: str, entity: str) -> tuple[int, int, int, int]:
    column = quoted(entity)
    found = ask(
        "select count(*), coalesce(max(n), 0), coalesce(quantile_disc(n, 0.95), 0),"
        f" coalesce(quantile_disc(n, 0.99), 0) from (select count(*) n from {relation}"
        f" where {column} is not null group by {column})"
    )[0]
    return int(found[0]), int(found[1]), int(found[2]), int(found[3])


def _constants(ask: Ask, part: Callable[..., str], names: Sequence[str], entity: str) -> dict[str, bool]:
    """By hash, so that a group keeps 16 bytes a column whatever its type; NULL counts as a value."""
    result: dict[str, bool] = {}
    key = quoted(entity)
    for batch in _batches(names, CONSTANT_BATCH_COLUMNS):
        hashes = [f"hash({quoted(name)})" for name in batch]
        inner = ", ".join(f"min({each}) = max({each}) k{i}" for i, each in enumerate(hashes))
        outer = ", ".join(f"bool_and(k{i})" for i in range(len(batch)))
        groups = f"select {inner} from {part(entity, *batch)} where {key} is not null group by {key}"
        row = ask(f"select {outer} from ({groups})")[0]
        result |= {name: value is True for name, value in zip(batch, row, strict=True)}
    return result


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
