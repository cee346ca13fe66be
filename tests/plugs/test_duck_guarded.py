"""Laws of the registered form, on small random tables: what is stored is bounded and each entity's own."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.plugs import guarded
from dujiang.registry.model import Column, Kind, Table

COLUMNS = (
    Column("科室", Kind.text, keys=("内科", "外科"), length_max=4),
    Column("age", Kind.integer, lo="0", hi="120"),
    Column("cost", Kind.decimal, lo="-5.25", hi="100", scale=2),
    Column("day", Kind.date, lo="2020-01-01", hi="2020-12-31"),
    Column("free", Kind.decimal, scale=3),
    Column("sex", Kind.text, constant=True),
    Column("flag", Kind.boolean, keys=("true", "false")),
    Column("level", Kind.integer, lo="0", hi="9", keys=("1", "2")),
)
TYPES = {
    "e": "VARCHAR",
    "eid": "INTEGER",
    "科室": "VARCHAR",
    "age": "BIGINT",
    "cost": "DOUBLE",
    "day": "DATE",
    "free": "DOUBLE",
    "sex": "VARCHAR",
    "flag": "BOOLEAN",
    "level": "INTEGER",
}
ODD = st.sampled_from([None, math.nan, math.inf, -math.inf])
FLOATS = st.one_of(ODD, st.floats(), st.floats(-200, 200))
ROW = st.tuples(
    st.sampled_from(["p", "q", "r's", "甲", None]),
    st.integers(0, 3),
    st.sampled_from(["内科", "外科", "眼科", "内科二部", "other", None]),
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-5, 130)),
    FLOATS,
    st.one_of(st.none(), st.dates(date(1990, 1, 1), date(2030, 1, 1))),
    FLOATS,
    st.sampled_from(["f", "m", None]),
    st.sampled_from([True, False, None]),
    st.one_of(st.none(), st.integers(0, 12)),
)
Rows = list[tuple[Any, ...]]


def table(rows_per_entity: int, entity: str | None = "e") -> Table:
    return Table("t", COLUMNS, entity, rows_per_entity, 1000, 1000)


def stored(folder: Path, rows: Rows, shape: Table, salt: bytes = b"salt") -> tuple[dict[int, Any], Rows]:
    """The registered rows of `rows`, and the key of each eid."""
    plain, target = str(folder / "plain"), str(folder / "guarded")
    with duckdb.connect(":memory:") as connection:
        declared = ", ".join(f'"{name}" {kind}' for name, kind in TYPES.items())
        connection.execute(f"create table s ({declared})")
        if rows:
            connection.executemany(f"insert into s values ({', '.join('?' * len(TYPES))})", rows)
        connection.execute(f"copy s to '{plain}' (format parquet)")
        numbering = guarded.number_entities(shape, plain, salt)
        if numbering is not None:
            connection.execute(numbering)
        connection.execute(guarded.write_guarded(shape, TYPES, plain, target))
        keys = dict(connection.execute("select eid, e from ids").fetchall()) if numbering else {}
        return keys, connection.execute(f"from read_parquet('{target}')").fetchall()


def of_entity(keys: dict[int, Any], rows: Rows) -> dict[Any, Counter[Any]]:
    found: dict[Any, Counter[Any]] = {}
    for row in rows:
        found.setdefault(keys[row[0]], Counter())[row[1:]] += 1
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded")


@settings(max_examples=40)
@given(st.lists(ROW, max_size=24), st.integers(1, 4), st.randoms(use_true_random=False))
def test_rows_of_an_entity_are_its_own(folder: Path, rows: Rows, most: int, order: Any) -> None:
    keys, whole = stored(folder, rows, table(most))
    before = of_entity(keys, whole)
    gone = rows[0][0] if rows else None
    fewer = [row for row in rows if row[0] != gone]
    order.shuffle(fewer)
    keys, rest = stored(folder, fewer, table(most))
    before.pop(gone, None)
    assert of_entity(keys, rest) == before


@settings(max_examples=40)
@given(st.lists(ROW, max_size=24), st.integers(1, 4))
def test_counts_and_ranks_are_bounded(folder: Path, rows: Rows, most: int) -> None:
    keys, found = stored(folder, rows, table(most))
    sizes = Counter(row[0] for row in rows if row[0] is not None)
    assert sorted(keys) == list(range(len(sizes)))
    assert Counter(keys[row[0]] for row in found) == {key: min(most, size) for key, size in sizes.items()}
    for eid in keys:
        ranks = sorted(row[1] for row in found if row[0] == eid)
        assert ranks == list(range(1, len(ranks) + 1))


def grid(value: float | None, lo: float, hi: float, scale: int) -> int | None:
    """The stored integer by exact arithmetic on the double scaled as the engine scales it."""
    if value is None or math.isnan(value):
        return None
    scaled = value * 10**scale
    if math.isinf(scaled):
        return round((hi if scaled > 0 else lo) * 10**scale)
    whole = int(Decimal(scaled).to_integral_value(ROUND_HALF_UP))
    return max(round(lo * 10**scale), min(round(hi * 10**scale), whole))


def expected(row: tuple[Any, ...]) -> tuple[Any, ...]:
    _, _, ward, age, cost, day, free, sex, flag, level = row
    lost = free is None or math.isnan(free) or abs(free * 1000) > 2**53
    kept = None if lost else grid(free, -1e15, 1e15, 3)
    return (
        None if ward is None else ward if ward in ("内科", "外科") else "other",
        None if age is None else max(0, min(120, age)),
        grid(cost, -5.25, 100, 2),
        None if day is None else max(date(2020, 1, 1), min(date(2020, 12, 31), day)),
        kept,
        sex,
        None if flag is None else int(flag),
        level if level in (1, 2) else None,
    )


@settings(max_examples=60)
@given(st.lists(ROW, max_size=12))
def test_values_are_clamped_integers_on_the_grid(folder: Path, rows: Rows) -> None:
    shape = replace(table(1, None), columns=tuple(replace(c, constant=False) for c in COLUMNS))
    _, found = stored(folder, rows, shape)
    assert Counter(row[2:] for row in found) == Counter(expected(row) for row in rows)
    assert sorted(row[:2] for row in found) == [(place, 1) for place in range(len(rows))]


@settings(max_examples=40)
@given(st.lists(ROW, max_size=24), st.integers(1, 4))
def test_constant_column_has_one_value_per_entity(folder: Path, rows: Rows, most: int) -> None:
    keys, found = stored(folder, rows, table(most))
    for eid, key in keys.items():
        kept = {row[7] for row in found if row[0] == eid}
        assert len(kept) == 1
        assert kept <= {row[7] for row in rows if row[0] == key}


def test_salt_moves_the_ranks(folder: Path) -> None:
    rows = [("p", 0, "内科", age, 1.0, None, 1.0, "f", True, 1) for age in range(100)]
    salts = (b"one", b"two", b"one")
    chosen = [{row[3] for row in stored(folder, rows, table(3), salt)[1]} for salt in salts]
    assert chosen[0] == chosen[2] != chosen[1]


def test_rows_are_ordered_by_time(folder: Path) -> None:
    rows = [(str(n), 0, None, n, 1.0, date(2020, 1 + n % 12, 1), None, None, None, None) for n in range(60)]
    days = [row[5] for row in stored(folder, rows, table(2))[1]]
    assert days == sorted(days) and len(set(days)) == 12


EXACT = [
    ("DECIMAL(18,2)", "12345678901234.56", "0", "99999999999999", 2, 1234567890123456),
    ("DECIMAL(18,4)", "2.3450", "0", "10", 2, 235),
    ("DECIMAL(18,4)", "-2.3450", "-10", "10", 2, -235),
    ("DECIMAL(38,0)", "99999999999999999999999999999999999999", "0", "10", 0, 10),
    ("HUGEINT", "-170141183460469231731687303715884105727", "-3", "10", 0, -3),
    ("UBIGINT", "18446744073709551615", "0", "7", 0, 7),
    ("BIGINT", "9223372036854775807", "0", "7", 9, 7 * 10**9),
    ("FLOAT", "0.1", "0", "1", 2, 10),
    ("VARCHAR", "12.5", "0", "20", 1, 125),
    ("VARCHAR", "none", "0", "20", 1, None),
    ("BOOLEAN", "true", "0", "1", 0, 1),
    ("DOUBLE", "inf", "0", "9223372036854775807", 0, 2**63 - 1),
    ("DOUBLE", "1e308", "0", "9007199254740993", 0, 2**53),  # no double lies on that bound
]


@pytest.mark.parametrize(("kind", "value", "lo", "hi", "scale", "wanted"), EXACT)
def test_source_types_reach_the_grid(
    kind: str, value: str, lo: str, hi: str, scale: int, wanted: int | None
) -> None:
    column = Column("x", Kind.decimal, lo=lo, hi=hi, scale=scale)
    text = guarded.stored(column, kind)
    with duckdb.connect(":memory:") as connection:
        query = f"select {text}, typeof({text}) from (select cast('{value}' as {kind}) x) source"
        got, written = connection.execute(query).fetchall()[0]
    assert got == wanted
    assert written == ("INTEGER" if column.bound("hi") < 2**31 else "BIGINT")


MOMENTS = ["infinity", "-infinity", "294246-01-01 00:00:00", "2024-05-06 07:08:09", None]


@pytest.mark.parametrize("value", MOMENTS)
def test_moments_can_always_be_read_back(value: str | None) -> None:
    column = Column("x", Kind.timestamp)
    with duckdb.connect(":memory:") as connection:
        source = f"(select cast({'null' if value is None else repr(value)} as timestamp) x) source"
        got = connection.execute(f"select {guarded.stored(column, 'TIMESTAMP')} from {source}").fetchall()
    assert got == [(datetime(2024, 5, 6, 7, 8, 9) if value and value.startswith("2024") else None,)]


def test_bound_with_an_offset_is_utc() -> None:
    column = Column("x", Kind.timestamp, lo="2024-01-01T00:00:00+08:00", hi="2025-01-01T00:00:00Z")
    with duckdb.connect(":memory:") as connection:
        source = "(select timestamp '1999-01-01' x) source"
        got = connection.execute(f"select {guarded.stored(column, 'TIMESTAMP')} from {source}").fetchall()
    assert got == [(datetime(2023, 12, 31, 16),)]
