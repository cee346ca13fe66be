"""What a table is registered with to be joined on: values as they are, rows of a key within what is declared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.kernel.errors import Refused, Unavailable
from dujiang.plugs import guarded
from dujiang.plugs.cage import ENGINE_FAILED, ENGINE_STOPPED
from dujiang.plugs.duck import Duck
from dujiang.registry.model import Column, Declared, Field, JoinKey, Kind, Table
from dujiang.registry.rules import propose
from tests.plugs.test_duck_worker import LONG, engine  # noqa: F401

TYPES = {
    "e": "VARCHAR",
    "code": "VARCHAR",
    "number": "DECIMAL(20, 0)",
    "day": "DATE",
    "at": "TIMESTAMP",
    "x": "INTEGER",
}
COLUMNS = (
    Column("e", Kind.text, constant=True, nullable=False, length_max=10),
    Column("code", Kind.text, keys=("a",), length_max=2),
    Column("number", Kind.integer, lo="0", hi="10"),
    Column("day", Kind.date, lo="2020-01-01", hi="2020-12-31"),
    Column("at", Kind.timestamp, lo="2020-01-01T00:00:00", hi="2020-12-31T00:00:00"),
    Column("x", Kind.integer, lo="0", hi="9"),
)
ROW = st.tuples(
    st.sampled_from(["p", "q", "r", None]),
    st.sampled_from(["a", "A", "a ", "abc", "abd", "甲", "", None]),
    st.sampled_from([0, 10, 11, 12, -1, 2**63, 2**62, None]),
    st.sampled_from(["2019-01-01", "2019-01-02", "2020-06-01", None]),
    st.sampled_from(["2019-01-01 00:00:00", "2019-01-01 00:00:00.000001", None]),
    st.integers(0, 1),
)
KEYS = ("e", "code", "number", "day", "at")
Rows = list[tuple[Any, ...]]


def shape(entity: str | None, rows: int) -> Table:
    return Table("t", COLUMNS, entity, rows, 1000, 1000, tuple(JoinKey((key,), 1000) for key in KEYS))


def written(folder: Path, rows: Rows, table: Table, name: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB with the plain rows and the registered ones."""
    connection = duckdb.connect(":memory:")
    connection.execute("create table s (" + ", ".join(f'"{n}" {kind}' for n, kind in TYPES.items()) + ")")
    if rows:
        connection.executemany(f"insert into s values ({', '.join('?' * len(TYPES))})", rows)
    plain, target = folder / f"{name}.plain", folder / f"{name}.guarded"
    connection.execute(f"copy s to '{plain}' (format parquet)")
    numbering = guarded.number_entities(table, str(plain), b"salt")
    if numbering is not None:
        connection.execute(numbering)
    connection.execute(guarded.write_guarded(table, TYPES, str(plain), str(target)))
    connection.execute(f"create view g as from read_parquet('{target}')")
    return connection


@given(mine=st.lists(ROW, max_size=8), theirs=st.lists(ROW, max_size=8), key=st.sampled_from(KEYS))
@settings(max_examples=60, deadline=None)
def test_registered_rows_meet_exactly_where_the_owners_rows_do(
    tmp_path_factory: pytest.TempPathFactory, mine: Rows, theirs: Rows, key: str
) -> None:
    folder = tmp_path_factory.mktemp("join")
    one, _ = (written(folder, rows, shape(None, 1), name) for rows, name in ((mine, "a"), (theirs, "b")))
    place = [column.name for column in COLUMNS].index(key)
    for name in "ab":
        one.execute(f"create view plain_{name} as from read_parquet('{folder / name}.plain')")
        one.execute(f"create view stored_{name} as from read_parquet('{folder / name}.guarded')")
    fits = "" if key != "number" else " where a.number < 9223372036854775808"
    plain = one.execute(
        f"select count(*) from plain_a a join plain_b b on a.{key} = b.{key}{fits}"
    ).fetchone()
    stored = one.execute(
        f"select count(*) from stored_a a join stored_b b on a.j{place} = b.j{place}"
    ).fetchone()
    assert plain == stored, (
        "clamped, cut and unlisted values are still told apart; what is beyond 64 bits meets nothing"
    )


@given(rows=st.lists(ROW, min_size=1, max_size=12), most=st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_the_stored_rows_of_an_entity_are_its_own_also_where_only_their_keys_differ(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, most: int
) -> None:
    folder, table = tmp_path_factory.mktemp("own"), shape("e", most)
    shown = "rn, c0, c1, c2, c3, c4, c5, j0, j1, j2, j3, j4"
    full = written(folder, rows, table, "full").execute(f"select {shown} from g where c0 <> 'p' order by all")
    less = [row for row in rows[::-1] if row[0] != "p"]
    assert (
        written(folder, less, table, "less").execute(f"select {shown} from g order by all").fetchall()
        == full.fetchall()
    )


def test_ranks_are_those_of_before_where_nothing_but_an_entity_is_joined_on() -> None:
    alone = replace(shape("e", 2), joins=())
    keyed = replace(alone, joins=(JoinKey(("e",), 2),))
    order = "window w as (partition by eid order by h)"
    for table in (alone, keyed):
        assert order in guarded.write_guarded(table, TYPES, "p", "t")


def put(folder: Path, name: str, sql: str) -> Path:
    path = folder / name
    duckdb.execute(f"copy ({sql}) to '{path}' (format parquet)")
    return path


FLIGHTS = (
    "select 'N' || range % 7 tail, range % 3 airport, range // 3 as hour, range % 5 delay from range(90)"
)


def test_the_rows_of_a_key_are_counted_proposed_and_enforced(engine: Duck, tmp_path: Path) -> None:  # noqa: F811
    path = put(tmp_path, "flights", FLIGHTS)
    joins = ("tail", "airport", "hour")
    sketch = engine.inspect(path, "flights", None, (*joins, "nothing"))
    assert dict(sketch.fans) == {
        ("tail",): 13, ("airport",): 30, ("hour",): 3, ("tail", "airport"): 5, ("tail", "hour"): 1,
        ("airport", "hour"): 1,
    }, "all three together hold a unique pair"  # fmt: skip
    declared = Declared("u", join_keys=joins, fields={"tail": Field(rows_per_key=20)})
    table = propose(sketch, declared, "flights")
    assert {key.columns: key.rows for key in table.joins}[("tail",)] == 20
    assert {key.columns: key.rows for key in table.joins}[("airport",)] == 40, (
        "a count is rounded up, a few are not"
    )
    assert {key.columns: key.rows for key in table.joins}[("hour",)] == 3
    made = engine.register(path, sketch, table, b"salt", tmp_path / "p", tmp_path / "g")
    assert made.rows_guarded == 90
    for columns, rows in ((("tail",), 12), (("hour",), 2), (("airport", "hour"), 0)):
        tight = replace(table, joins=(JoinKey(columns, rows),))
        with pytest.raises(Refused) as refused:
            engine.register(path, sketch, tight, b"salt", tmp_path / "p2", tmp_path / "g2")
        assert refused.value.code.name == "rows_over_key" and not (tmp_path / "g2").exists()


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (Declared("u", join_keys=("nothing",)), "no such column"),
        (Declared("u", join_keys=("x",)), "integers, texts, dates"),
        (Declared("u", join_keys=("a", "b", "c", "d", "e", "f")), "at most 5"),
        (Declared("u", fields={"tail": Field(rows_per_key=3)}), "join_keys"),
        (Declared("u", join_keys=("tail",), fields={"tail": Field(rows_per_key=0)}), "1 or more"),
    ],
)
def test_what_cannot_be_joined_on_is_said_before_it_is_registered(
    engine: Duck,  # noqa: F811
    tmp_path: Path,
    declared: Declared,
    problem: str,
) -> None:
    path = put(tmp_path, "t", "select 'N' || range tail, range / 7 as x from range(9)")
    with pytest.raises(Refused) as refused:
        propose(engine.inspect(path, "t", None, declared.join_keys), declared, "t")
    assert problem in str(refused.value.names["problems"])


def test_a_question_reads_several_files(engine: Duck, tmp_path: Path) -> None:  # noqa: F811
    files = [
        put(tmp_path, name, f"select range a from range({size})")
        for name, size in (("a", 5), ("b", 9), ("c", 2))
    ]
    for file in files:
        file.chmod(0o444)
    assert engine.compute("select count(*) from t0 join t1 using (a) join t2 using (a)", *files) == [[2]]
    with pytest.raises(Unavailable) as caught:
        engine.compute("select 1 from t0", files[0], tmp_path / "gone")
    assert caught.value.code is ENGINE_FAILED


def test_a_question_that_is_not_wanted_any_more_is_killed(engine: Duck, tmp_path: Path) -> None:  # noqa: F811
    file = put(tmp_path, "a", "select 1 a")
    file.chmod(0o444)
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Unavailable) as caught:
        engine.compute(LONG, file, stopped=stopped)
    assert caught.value.code is ENGINE_STOPPED and len(asked) == 3
    assert engine.compute("select a from t0", file, stopped=lambda: False) == [[1]]
