"""SQL that writes the registered form of a table: bounded once, so that questions need no bounding.

1. An entity's stored rows depend on that entity's rows alone, apart from `eid`, which is only counted.
2. The rank `rn` orders an entity's rows by a keyed hash of its key and *stored* values; rows with equal
   hashes are equal, so any order among them stores the same rows. Neither `eid` nor a place in the
   file takes part.
3. A measure is an integer on its declared grid within its declared bounds, or NULL: NaN is NULL,
   infinity is the bound. No float is stored.
4. Whatever is stored can be read back: dates and timestamps lie in the years 1 to 9999.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

from dujiang.plugs.sketch import literal, quoted
from dujiang.registry.model import Column, Kind, Table

ROW_GROUP_ROWS = 122_880
WRITTEN = f"format parquet, compression zstd, row_group_size {ROW_GROUP_ROWS}, use_tmp_file false"
EXACT_MAX = 2**53
"""Numbers without bounds are kept up to this size, where a double still holds every integer."""
OTHER = "other"
"""What a text outside the published list of keys is stored as."""

_SMALL = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_LARGE = ("HUGEINT", "UBIGINT", "UHUGEINT")
_DAYS = ("0001-01-01", "9999-12-31")
_MOMENTS = ("0001-01-01 00:00:00", "9999-12-31 23:59:59.999999")


def stored(column: Column, source_type: str) -> str:
    """SQL of the stored value of one column of the normalised copy, before `constant` is applied."""
    source = "source." + quoted(column.name)
    if column.is_number:
        return _number(column, source, source_type)
    if column.kind is Kind.date:
        return _moment(column, source, source_type, "DATE", _DAYS)
    if column.kind is Kind.timestamp:
        return _moment(column, source, source_type, "TIMESTAMP", _MOMENTS)
    text = f"left(cast({source} as varchar), {int(column.length_max)})"
    if column.keys is None:
        return text
    listed = ", ".join(literal(key) for key in column.keys) or "NULL"
    return f"case when {source} is null then null when {text} in ({listed}) then {text} else '{OTHER}' end"


def joined(column: Column, source_type: str) -> str:
    """SQL of the value of one column that equal values of other tables are met by; NULL meets nothing.

    A text is stood for by 64 bits of its MD5, which no upgrade of the engine changes: shorter to compare, and
    two that collide are found at registration where they would let an entity have more rows than declared.
    """
    source = "source." + quoted(column.name)
    if column.kind is Kind.text:
        return f"md5_number_lower(cast({source} as varchar))"
    if column.kind is Kind.integer:
        plain = source_type in _SMALL
        return f"cast({source} as bigint)" if plain else f"try_cast(cast({source} as varchar) as bigint)"
    return f"try_cast({source} as {'date' if column.kind is Kind.date else 'timestamp'})"


def listed_values(column: Column) -> tuple[int, ...]:
    """The published keys of a number or boolean as stored integers."""
    words = {"true": "1", "false": "0"} if column.kind is Kind.boolean else {}
    texts = [words.get(key.casefold(), key) for key in column.keys or ()]
    return tuple(int(Decimal(text).scaleb(column.scale).to_integral_value()) for text in texts)


def _number(column: Column, source: str, source_type: str) -> str:
    scale, guard = column.scale, f"{source} is null"
    exact = _exact(source, source_type, scale)
    if exact is None:
        double = f"cast({source} as double)"
        if source_type not in ("FLOAT", "DOUBLE") and not source_type.startswith("DECIMAL"):
            double = f"try_cast(cast({source} as varchar) as double)"  # text declared a number
        guard = f"{double} is null or isnan({double})"
        value = double if scale == 0 else f"{double} * {10**scale}"
        whole = f"round({value})"
    else:
        value = whole = exact
    if column.lo is not None and column.hi is not None:
        lo, hi = column.bound("lo"), column.bound("hi")
        width = "integer" if lo >= -(2**31) and hi < 2**31 else "bigint"
        # clamped as the wide type first: the cast is then within range for every value there is
        inner = f"least(greatest({whole}, {lo}), {hi})"
        if exact is None and max(abs(lo), abs(hi)) > EXACT_MAX:
            # a double cannot hold such a bound, its neighbour may lie outside
            inner = f"least(greatest(cast({inner} as hugeint), {lo}), {hi})"
        inner = f"cast({inner} as {width})"
    else:
        width = "bigint"
        guard += f" or {value} < -{EXACT_MAX} or {value} > {EXACT_MAX}"
        inner = f"cast({whole} as bigint)"
    if column.kind is Kind.boolean:
        width = "integer"
        inner = f"cast(least(greatest({whole}, 0), 1) as integer)"
    if column.keys is None:
        return f"case when {guard} then null else {inner} end"
    listed = ", ".join(str(value) for value in listed_values(column)) or "NULL"
    other = f"cast(null as {width})"
    return f"case when {guard} then {other} when {inner} in ({listed}) then {inner} else {other} end"


def _exact(source: str, source_type: str, scale: int) -> str | None:
    """The value on its grid by integer arithmetic that cannot overflow, or None: go by double."""
    if source_type == "BOOLEAN":
        return f"cast({source} as integer)" + ("" if scale == 0 else f" * {10**scale}")
    if source_type in _SMALL:
        return f"cast({source} as bigint)" if scale == 0 else f"cast({source} as hugeint) * {10**scale}"
    if source_type in _LARGE:
        return None if scale or source_type == "UHUGEINT" else f"cast({source} as hugeint)"
    if source_type.startswith("DECIMAL("):
        width, places = (int(part) for part in source_type[8:-1].split(","))
        if places <= scale and width + scale < 38:
            return f"cast({source} * cast({10**scale} as decimal({scale + 1}, 0)) as hugeint)"
        if width + scale + 1 < 38:
            return f"cast(round({source}, {scale}) * cast({10**scale} as decimal({scale + 1}, 0)) as hugeint)"
    return None


def _moment(column: Column, source: str, source_type: str, target: str, span: tuple[str, str]) -> str:
    value = f"cast({source} as {target})"
    if source_type != "DATE" and not source_type.startswith("TIMESTAMP"):
        value = f"try_cast(cast({source} as varchar) as {target})"
    first, last = (f"{target} {literal(each)}" for each in span)
    lo = _instant(column.lo, target) or first
    hi = _instant(column.hi, target) or last
    outside = "" if column.lo and column.hi else f" or {value} < {first} or {value} > {last}"
    inner = f"least(greatest({value}, {lo}), {hi})"
    if column.keys is None:
        return f"case when {value} is null{outside} then null else {inner} end"
    listed = ", ".join(filter(None, (_instant(key, target) for key in column.keys))) or "NULL"
    return f"case when {value} is null{outside} then null when {inner} in ({listed}) then {inner} end"


def _instant(text: str | None, target: str) -> str | None:
    if text is None:
        return None
    if target == "DATE":
        return f"DATE '{date.fromisoformat(text[:10]).isoformat()}'"
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return f"TIMESTAMP '{moment.isoformat(sep=' ')}'"


def number_entities(table: Table, path: str, salt: bytes) -> str | None:
    """SQL of the table `ids` (entity `e`, keyed hash `h`, dense `eid`), or None: each row is an entity."""
    if table.entity is None:
        return None
    entity = quoted(table.entity)
    return (
        "create temp table ids as select e, h, cast(row_number() over (order by h, e) - 1 as integer) eid"
        f" from (select e, hash('{salt.hex()}', e) h from (select distinct {entity} e"
        f" from read_parquet('{path}') where {entity} is not null))"
    )


def write_guarded(table: Table, types: Mapping[str, str], path: str, target: str) -> str:
    """SQL that writes the registered form of the normalised copy at `path` to `target`."""
    places = range(len(table.columns))
    keys = [i for i in places if table.columns[i].name in table.joinable]
    values = ", ".join(
        [
            *(f"{stored(c, types[c.name])} as c{i}" for i, c in enumerate(table.columns)),
            *(f"{joined(table.columns[i], types[table.columns[i].name])} as j{i}" for i in keys),
        ]
    )
    kept_columns = [*(f"c{i}" for i in places), *(f"j{i}" for i in keys)]
    order = _order(table)
    if table.entity is None:
        shown = ", ".join(kept_columns)
        query = (
            f"select cast(file_row_number as integer) eid, cast(1 as integer) rn, {shown} from"
            f" (select file_row_number, {values}"
            f" from read_parquet('{path}', file_row_number = true) source){order}"
        )
    else:
        entity = quoted(table.entity)
        # the hash of the key stands for the key: the sort then carries 8 bytes for it
        kept = f"abs(rn) <= {int(table.rows_per_entity)}"
        hashed = ", ".join(["k", *(f"c{i}" for i in places)])
        # rows alike but for what they are joined by still have one order, and others keep the order they had
        ranked = ", ".join(["h", *(f"j{i}" for i in keys if table.columns[i].name != table.entity)])
        constant = {
            f"{mark}{i}" for i, column in enumerate(table.columns) if column.constant for mark in "cj"
        }
        shown = ", ".join(f"first_value({c}) over w {c}" if c in constant else c for c in kept_columns)
        # abs() keeps the engine from ranking by `arg_min(…, R)`: three times the work and no spilling
        query = (
            f"select eid, rn, {', '.join(kept_columns)} from"
            f" (select eid, cast(row_number() over w as integer) rn, {shown} from"
            f" (select *, hash({hashed}) h from"
            f" (select ids.eid, ids.h k, {values} from read_parquet('{path}') source"
            f" join ids on source.{entity} = ids.e))"
            f" window w as (partition by eid order by {ranked})) where {kept}{order}"
        )
    return f"copy ({query}) to '{target}' ({WRITTEN})"


def _order(table: Table) -> str:
    """By time where there is a time column: a question about a period then reads few row groups."""
    timed = [i for i, column in enumerate(table.columns) if column.kind in (Kind.date, Kind.timestamp)]
    if timed:
        return f" order by c{timed[0]}, eid, rn"
    return "" if table.entity is None else " order by eid, rn"
