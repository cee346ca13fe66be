"""Laws: what one entity can move a statistic is within what it is charged for; keys, cells and presence are declared."""

# Questions stand one a line, and a Chinese character counts as two.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import replace

import pytest

from dujiang.cleanroom.model import Form, Guard, Plan
from dujiang.cleanroom.sql import plan
from dujiang.kernel.errors import Declined
from dujiang.registry.model import Column, Kind, Table
from tests.cleanroom.sqltable import COLUMNS, asked, engine, rows_of, table, truth

ROWS = rows_of(seed=3, entities=12)

QUESTIONS = [
    "select count(*), count(distinct pid), sum(cost), count(distinct visits) from 病历",
    "select visits, count(*), sum(cost), avg(cost), stddev(age) from 病历 group by visits",
    "select sex, sum(age * visits), avg(abs(age - 50)), count(distinct pid) from 病历 group by sex",
    "select month(visited), sum(cost - age) filter (where smoker), count_if(age > 40) from 病历 group by 1",
    "select visits, age // 20, variance(cost / 7), sum(age // nullif(visits, 0)), sum(greatest(cost, age)) from 病历 group by 1, 2",
    "select sum(cost / visits), sum(age % 7), sum(round(cost)), sum(-abs(cost)), avg(if(smoker, -cost, age * 2)) from 病历",
    "select 部门, sum(date_diff('month', visited, date '2017-06-01')), avg(year(visited)), sum(coalesce(cost, -7)) from 病历 group by 部门",
]


def cells(made: Plan, con: object) -> dict[tuple[object, ...], list[int]]:
    width = len(made.keys)
    found = con.execute(made.sql).fetchall()  # type: ignore[attr-defined]
    return {tuple(row[:width]): [int(v) for v in row[width + 1 :]] for row in found}


@pytest.mark.parametrize("text", QUESTIONS)
@pytest.mark.parametrize("entity", [True, False])
def test_no_entity_moves_a_statistic_by_more_than_its_sensitivity(text: str, entity: bool) -> None:
    shape = table(entity)
    made = asked(text if entity else text.replace("distinct pid", "*"), shape)
    con = engine(ROWS, entity)
    full = cells(made, con)
    for person in [row[0] for row in con.execute("select distinct eid from t0 order by 1").fetchall()]:
        # The others' stored rows do not depend on the one who leaves.
        con.execute("begin")
        con.execute("delete from t0 where eid = ?", [person])
        less = cells(made, con)
        con.execute("rollback")
        for place, statistic in enumerate(made.statistics):
            moved = [
                abs(full.get(key, [0] * 99)[place] - less.get(key, [0] * 99)[place])
                for key in full.keys() | less.keys()
            ]
            assert sum(moved) <= statistic.delta1, (statistic.key, moved)
            assert sum(m * m for m in moved) <= statistic.delta2_squared, (statistic.key, moved)
            assert max(moved) <= statistic.cap, (statistic.key, moved)


def test_the_sensitivities_of_the_table_of_forms() -> None:
    made = asked(
        "select visits, count(*), count(distinct pid), sum(cost), avg(cost), stddev(cost) from 病历 group by visits"
    )
    by = {s.form: s for s in made.statistics}
    assert (by[Form.entities].delta1, by[Form.entities].delta2_squared, by[Form.entities].cap) == (3, 3, 1)
    assert (by[Form.rows].delta1, by[Form.rows].delta2_squared, by[Form.rows].cap) == (3, 9, 3)
    assert by[Form.total].delta1 == 3 * 100_000
    assert by[Form.centred].delta1 == 3 * 52_500
    half = 52_500
    assert by[Form.squared].delta1 == 3 * half * half // 2
    assert by[Form.squared].unit.denominator == 10_000


@pytest.mark.parametrize(
    "text,touched",
    [
        ("select count(*) from 病历", 1),
        ("select sex, count(*) from 病历 group by sex", 1),
        ("select sex = 'F', count(*) from 病历 group by 1", 1),
        ("select smoker, count(*) from 病历 group by smoker", 3),
        ("select visits, count(*) from 病历 group by visits", 3),
        ("select sex, visits, count(*) from 病历 group by 1, 2", 3),
        ("select age > 50, count(*) from 病历 group by 1", 3),
    ],
)
def test_an_entity_touches_one_cell_only_where_every_key_is_constant(text: str, touched: int) -> None:
    assert asked(text).touched_max == touched
    assert asked(text, table(entity=False)).touched_max == 1


@pytest.mark.parametrize(
    "key,values",
    [
        ("sex", ("F", "M", "other")),
        ("smoker", (0, 1)),
        ("visits", None),
        ("部门", None),
        ("age > 3", (0, 1)),
        ("case when age < 30 then 'young' else 'old' end", ("old", "young")),
        ("case when age < 30 then date '2020-01-01' end", ("2020-01-01",)),
        ("quarter(visited)", (1, 2, 3, 4)),
        ("upper(sex)", None),
        ("visited", None),
    ],
)
def test_keys_are_listed_only_where_they_are_public(key: str, values: tuple[object, ...] | None) -> None:
    assert asked(f"select {key}, count(*) from 病历 group by {key}").keys[0].keys == values


def test_published_keys_have_the_form_the_engine_returns() -> None:
    columns = (
        replace(COLUMNS[3], keys=("1.5", "2")),
        replace(COLUMNS[4], keys=("2016-01-02",)),
        replace(COLUMNS[6], keys=("甲", "other")),
    )
    shape = Table("t", columns, None, 1, 10, 10)
    found = {
        key.name: key.keys for key in asked("select cost, visited, 部门 from t group by 1, 2, 3", shape).keys
    }
    assert found == {"cost": (150, 200), "visited": ("2016-01-02",), "部门": ("甲", "other")}


def test_too_many_cells_are_refused_by_declared_sizes_alone() -> None:
    assert asked("select age, count(*) from 病历 group by age").cells_max == 126
    small = Guard(cells_max=100)
    refused = plan("select age, count(*) from 病历 group by age", table(), small)
    assert isinstance(refused, Declined) and refused.code.name == "too_many_cells"
    assert isinstance(plan("select age // 10, count(*) from 病历 group by 1", table(), small), Plan)


def test_presence_stands_for_distinct_entities() -> None:
    several = asked("select visits, avg(cost) from 病历 group by visits")
    assert several.statistics[several.presence[0]].form is Form.entities
    single = asked("select visits, avg(cost) from 病历 group by visits", table(entity=False))
    assert single.statistics[single.presence[0]].form is Form.rows
    masked = asked("select visits, count_if(age > 3) from 病历 group by visits", table(entity=False))
    assert masked.statistics[masked.presence[0]].key.startswith("rows TRUE")


def test_the_bitmap_is_used_only_where_it_is_quicker_and_fits_the_memory() -> None:
    text = "select visits, count(*) from 病历 group by visits"
    assert "COUNT(DISTINCT eid)" in asked(text).sql
    many = replace(table(), entities=100_000, rows_max=300_000)
    assert "BITSTRING_AGG(eid, 0, 99999)" in asked(text, many).sql
    assert "BITSTRING_AGG(eid, 0, 99999)" in asked("select count(*) from 病历", many).sql
    con = engine(rows_of(seed=5, entities=40))
    hashed, mapped = (sorted(truth(asked(text, shape), con).cells, key=str) for shape in (table(), many))
    assert hashed == mapped and len(mapped) > 1
    large = replace(table(), entities=200_000_000, rows_max=600_000_000)
    assert "COUNT(DISTINCT eid)" in asked(text, large).sql
    assert "eid" not in asked(text, table(entity=False)).sql


def test_a_sum_that_could_overflow_is_refused() -> None:
    wide = Table("t", (Column("x", Kind.integer, COLUMNS[1].uses, "0", str(2**60)),), None, 1, 10, 10**9)
    assert isinstance(plan("select sum(x) from t", wide, Guard()), Plan)
    for value in ("x * x * x", "x * x", "x * 1e30"):
        refused = plan(f"select sum({value}) from t", wide, Guard())
        assert isinstance(refused, Declined) and refused.code.name == "number_too_wide", value


@pytest.mark.parametrize(
    "value",
    ["x + x", "x * x", "x - -x", "abs(x) * 2", "x * 4000000000", "x // y", "x % y", "x / y", "-x", "y - x"],
)
def test_no_row_can_overflow_at_the_ends_of_its_interval(value: str) -> None:
    import duckdb

    ends = [-(2**31), -1, 0, 1, 2**31 - 1]
    column = Column("x", Kind.integer, COLUMNS[1].uses, str(ends[0]), str(ends[-1]))
    shape = Table("t", (column, replace(column, name="y")), None, 1, 100, 100)
    spread = "" if "4000000000" in value or value == "x * x" else f", stddev({value})"
    made = asked(f"select sum({value}), count_if({value} > 5){spread} from t where {value} <> 7", shape)
    con = duckdb.connect()
    con.execute("create table t0 (c0 INTEGER, c1 INTEGER, eid INTEGER, rn INTEGER)")
    con.executemany(
        "insert into t0 values (?, ?, ?, 1)",
        [(a, b, i * 5 + j) for i, a in enumerate(ends) for j, b in enumerate(ends)],
    )
    row = con.execute(made.sql).fetchone()
    assert row is not None
    total = next(v for v, s in zip(row[1:], made.statistics, strict=True) if s.form is Form.total)
    assert abs(total) <= 25 * next(s.cap for s in made.statistics if s.form is Form.total)
