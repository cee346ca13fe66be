"""Joined questions: what is refused and where, what is one question, and answers equal to plain DuckDB."""

# Questions stand one a line, and a Chinese character counts as two.
# ruff: noqa: E501

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.cleanroom.model import Guard, Noise, Plan
from dujiang.cleanroom.noise import SeededSource
from dujiang.cleanroom.relation import Member
from dujiang.cleanroom.rules import blur, release
from dujiang.cleanroom.sql import plan_joined
from dujiang.kernel.errors import Declined
from dujiang.registry.model import Kind
from tests.cleanroom.jointable import Owned, engine, exact, flying, joined, people

PAIR = people(1)[:2]
ON = "from clinic join laboratory using (seqn)"


def declined(text: str, members: list[Member]) -> Declined:
    found = plan_joined(text, members)
    assert isinstance(found, Declined), (text, found)
    return found


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        ("select count(*) from clinic, laboratory", "join_not_on_keys", "laboratory"),
        ("select count(*) from clinic cross join laboratory", "join_not_on_keys", None),
        ("select count(*) from clinic natural join laboratory", "join_not_on_keys", None),
        ("select count(*) from clinic full join laboratory using (seqn)", "join_not_on_keys", None),
        ("select count(*) from clinic right join laboratory using (seqn)", "join_not_on_keys", None),
        ("select count(*) from clinic semi join laboratory using (seqn)", "join_not_on_keys", None),
        ("select count(*) from clinic asof join laboratory on clinic.seqn >= laboratory.seqn", "join_not_on_keys", None),
        ("select count(*) from clinic positional join laboratory", "join_not_on_keys", None),
        ("select count(*) from clinic c join laboratory l on c.seqn > l.seqn", "join_not_on_keys", None),
        ("select count(*) from clinic c join laboratory l on c.seqn = l.seqn or 1 = 1", "join_not_on_keys", None),
        ("select count(*) from clinic c join laboratory l on c.seqn = l.seqn + 1", "join_not_on_keys", None),
        ("select count(*) from clinic c join laboratory l on c.seqn = 7", "join_not_on_keys", None),
        ("select count(*) from clinic c join laboratory l on c.seqn = c.seqn", "join_not_on_keys", None),
        ("select count(*) from clinic c join laboratory l on true", "join_not_on_keys", None),
        ("select count(*) from clinic c join laboratory l on c.seqn is not distinct from l.seqn", "join_not_on_keys", None),
        ("select count(*) from clinic c join laboratory l on c.sex = l.visit", "join_key_not_listed", "c.sex"),
        ("select count(*) from clinic join laboratory using (lead)", "column_unknown", "lead"),
        ("select count(*) from clinic join laboratory using (nothing)", "column_unknown", "nothing"),
        ("select count(*) from clinic join laboratory on clinic.seqn = x.seqn", "column_unknown", None),
        ("select count(*) from clinic join clinic using (seqn)", "table_twice", "clinic"),
        ("select count(*) from clinic a join clinic b using (seqn) join laboratory using (seqn)", "table_twice", "clinic"),
        ("select count(*) from clinic", "table_unused", None),
        ("select count(*) from laboratory where lead > 2", "table_unused", None),
        ("select count(*) from clinic join ward using (seqn)", "table_unknown", "ward"),
        ("select count(*) from clinic x join laboratory x using (seqn)", "column_ambiguous", None),
        (f"select seqn, count(*) {ON} group by seqn", "entity_only_counted", "seqn"),
        (f"select count(*) {ON} where clinic.seqn = 7", "entity_only_counted", None),
        (f"select laboratory.pressure, count(*) {ON} group by 1", "column_unknown", None),
        (f"select max(lead) {ON}", "returns_a_row_value", "max"),
        (f"select * {ON}", "only_aggregates", "*"),
        ("select count(*) from (select * from clinic join laboratory using (seqn)) t", "construct_not_allowed", None),
        ("select count(*) from clinic left join (select * from laboratory where lead > 1) l using (seqn)", "construct_not_allowed", None),
        ("select count(*) from clinic join (select visit from laboratory) l using (seqn)", "column_unknown", None),
        ("select count(*) from clinic join (select seqn + 1 as seqn from laboratory) l using (seqn)", "column_unknown", None),
        ("select count(*) from clinic, lateral (select 1) l", "construct_not_allowed", None),
        ("select count(*) from clinic join laboratory using (seqn) where exists (select 1 from clinic)", "function_not_allowed", None),
    ],
)  # fmt: skip
def test_what_is_no_join_on_listed_keys_is_declined_with_its_place(
    text: str, code: str, where: str | None
) -> None:
    found = declined(text, [one.member for one in PAIR])
    assert found.code.name == code, (found.code.name, found.names)
    if where is not None:
        assert found.where is not None
        assert text[found.where.start : found.where.start + found.where.length] in (
            where,
            where.partition(".")[2],
        )


def test_a_name_that_two_tables_have_needs_its_table() -> None:
    flights, weather, _ = flying(1)
    members = [flights.member, weather.member]
    on = "from flights f join weather w on f.airport = w.airport and f.hour = w.hour"
    found = declined(f"select hour, count(*) {on} group by hour", members)
    assert found.code.name == "column_ambiguous" and found.names == {"column": "hour"}
    assert found.where is not None and found.where.start == len(f"select hour, count(*) {on} group by ")
    for key in ("f.hour", "w.hour"):
        assert isinstance(plan_joined(f"select {key}, count(*) {on} group by {key}", members), Plan)
    using = plan_joined(
        "select hour, count(*) from flights join weather using (airport, hour) group by hour", members
    )
    assert isinstance(using, Plan)


def test_a_table_is_joined_only_on_keys_that_it_lists_and_that_were_kept() -> None:
    clinic, laboratory = (one.member for one in PAIR)
    text = f"select count(*) {ON}"
    shut = replace(laboratory, guard=replace(laboratory.guard, join_keys=()))
    assert declined(text, [clinic, shut]).code.name == "join_key_not_listed"
    old = replace(laboratory, table=replace(laboratory.table, joins=()))
    found = declined(text, [clinic, old])
    assert found.code.name == "join_key_not_kept" and found.names == {"table": "laboratory", "column": "seqn"}


def test_a_join_that_may_be_too_large_by_its_declared_sizes_is_declined() -> None:
    flights, weather, _ = (one.member for one in flying(1))
    wide, weather = (
        replace(each, table=replace(each.table, rows_max=100_000_000)) for each in (flights, weather)
    )
    text = "select count(*) from flights join weather using (airport)"
    assert declined(text, [wide, weather]).code.name == "join_too_large"
    assert isinstance(plan_joined(text.replace("airport", "airport, hour"), [wide, weather]), Plan)


def test_keys_of_two_kinds_are_not_joined() -> None:
    clinic, laboratory = (one.member for one in PAIR)
    columns = (replace(laboratory.table.columns[0], kind=Kind.text), *laboratory.table.columns[1:])
    worded = replace(laboratory, table=replace(laboratory.table, columns=columns))
    assert declined(f"select count(*) {ON}", [clinic, worded]).code.name == "type_mixed"


def test_tables_of_one_name_are_told_apart_by_their_contracts() -> None:
    one, two = (
        replace(each.member, table=replace(each.member.table, name="t"), name=f"ctr_{each.name}")
        for each in PAIR
    )
    assert declined("select count(*) from t join t using (seqn)", [one, two]).code.name == "table_ambiguous"
    text = "select count(lead) from ctr_clinic c join ctr_laboratory l using (seqn)"
    assert isinstance(plan_joined(text, [one, two]), Plan)


def test_a_column_is_open_as_its_own_contract_says() -> None:
    clinic, laboratory = (one.member for one in PAIR)
    shut = replace(laboratory, guard=replace(laboratory.guard, columns=("visit",)))
    assert declined(f"select sum(lead) {ON}", [clinic, shut]).code.name == "column_not_in_contract"
    assert isinstance(
        plan_joined(f"select sum(pressure), count(*) {ON} where visit = 1", [clinic, shut]), Plan
    )


def test_the_strictest_rule_of_all_holds() -> None:
    clinic, laboratory = (one.member for one in PAIR)
    mine = replace(clinic, guard=Guard(Noise.gaussian, 5000, 10, 60, 8, join_keys=("seqn",)))
    theirs = replace(laboratory, guard=Guard(Noise.laplace, 9000, 25, 40, 7, join_keys=("seqn",)))
    made = plan_joined(f"select sum(lead) {ON}", [mine, theirs])
    assert isinstance(made, Plan) and made.noise is Noise.laplace
    from dujiang.cleanroom.relation import Relation

    guard = Relation((mine, theirs)).guard
    assert (guard.rho_micro, guard.group_min, guard.dominance_percent, guard.delta_exponent) == (
        5000,
        25,
        40,
        8,
    )


SAME = [
    ("select sex, sum(lead) from clinic join laboratory using (seqn) group by sex",
     "SELECT c.sex, SUM(l.lead) FROM laboratory AS l INNER JOIN clinic AS c ON (l.seqn = c.seqn) GROUP BY 1"),
    ("select count(*) from clinic join laboratory using (seqn) where lead > 2",
     "select count(1) from clinic c join (select seqn, lead from laboratory where lead >= 3) x on c.seqn = x.seqn and x.seqn = c.seqn"),
    ("select count(*) from clinic join laboratory using (seqn)",
     "with l as (select * from laboratory) select count(*) from l join clinic on clinic.seqn = l.seqn"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_join_written_in_two_ways_is_one_question(one: str, other: str) -> None:
    first, second = joined(one, PAIR), joined(other, PAIR)
    assert first.canonical == second.canonical
    assert [each.key for each in first.statistics] == [each.key for each in second.statistics]


def test_a_left_join_and_an_inner_join_are_two_questions() -> None:
    inner, left = (
        joined(f"select count(lead) from clinic {word} join laboratory using (seqn)", PAIR)
        for word in ("", "left")
    )
    assert {each.key for each in inner.statistics}.isdisjoint(each.key for each in left.statistics)
    alone = joined("select count(pressure) from clinic", PAIR[:1])
    assert "join" not in alone.canonical and "t0c" not in alone.sql, "a question of one table stays as it was"


EXACT = [
    "select count(*), sum(lead), avg(pressure) from clinic join laboratory using (seqn)",
    "select sex, visit, count(*), count(lead), sum(lead), avg(lead), stddev(pressure) from clinic join laboratory using (seqn) group by sex, visit",
    "select sex, count(distinct laboratory.seqn), count(*) filter (where lead > 0) from clinic left join laboratory using (seqn) group by sex",
    "select region, avg(income), count(*) from clinic join laboratory using (seqn) join household using (seqn) where visit < 2 group by region having count(*) > 1 order by 2 desc nulls last limit 2",
    "select rain, count(*), avg(delay), sum(wind) from flights join weather using (airport, hour) group by rain",
    "select age, weather.rain, count(delay), avg(delay + wind) from flights f join weather using (airport, hour) join planes on planes.tail = f.tail group by 1, 2",
    "select age, count(*), sum(delay) from flights left join planes using (tail) group by age",
]  # fmt: skip


@pytest.mark.parametrize("text", EXACT)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_exact_answers_are_those_of_plain_duckdb(text: str, seed: int) -> None:
    tables = exact([one for one in (*people(seed, 90), *flying(seed, 400)) if one.name in text], least=1)
    con = engine([replace(one, rows_per_entity=9) for one in tables])
    made = joined(text, [replace(one, rows_per_entity=9) for one in tables])
    found = _released(made, tables, con)
    left = "left join" in text
    plain = [row for row in con.execute(text).fetchall() if not left or row[0] is not None]
    assert sorted(map(_rounded, found), key=repr) == sorted(map(_rounded, plain), key=repr)


def _released(made: Plan, tables: list[Owned], con: Any) -> list[tuple[object, ...]]:
    guard = replace(tables[0].guard, noise=made.noise)
    rows = con.execute(made.sql).fetchall()
    return list(release(made, guard, blur(made, guard, SeededSource(1), rows, {})).rows)


def _rounded(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(
        round(float(v), 9) if isinstance(v, int | float) and not isinstance(v, bool) else v for v in row
    )


def test_exact_answers_show_no_cell_with_fewer_than_k_entities_of_any_owner() -> None:
    flights, weather, _ = flying(4, count=200)
    text = "select rain, count(*), avg(delay) from flights join weather using (airport, hour) group by rain"
    for least in (1, 2, 3, 4, 60):
        tables = exact([flights, weather], least)
        con = engine(tables)
        shown = {row[0] for row in con.execute(joined(text, tables).sql).fetchall()}
        per = con.execute(
            "select rain, count(*), count(distinct (w.airport, w.hour)), count(delay), count(distinct case when delay is not null then (w.airport, w.hour) end)"
            " from flights join weather w using (airport, hour) group by rain"
        ).fetchall()
        assert shown == {row[0] for row in per if min(row[1:]) >= least}


def test_exact_sums_that_one_entity_of_any_owner_could_dominate_are_left_out() -> None:
    planes = Owned("planes", ("tail", "age"), "tail", 1, ("tail",), ((1, 0), (2, 0), (3, 1), (4, 1)))
    rows = tuple((tail, 5) for tail, times in ((1, 2), (2, 2), (3, 9), (4, 1)) for _ in range(times))
    flights = Owned("flights", ("tail", "delay"), None, 1, ("tail",), rows)
    text = "select age, sum(delay) from flights join planes using (tail) group by age"
    for share, expected in ((60, [0]), (90, [0, 1]), (49, [])):
        tables = exact([flights, planes], 1, share)
        found = engine(tables).execute(joined(text, tables).sql).fetchall()
        assert [row[0] for row in found] == expected, share


def test_a_private_cell_needs_k_entities_of_every_owner() -> None:
    flights, weather, _ = flying(4, count=300)
    tables = [replace(each, guard=Guard(rho_micro=5_000_000, group_min=3)) for each in (flights, weather)]
    made = joined(
        "select wind, count(*) from flights join weather using (airport, hour) group by wind", tables
    )
    assert len(made.presence) == 2 and len(made.statistics) == 2
    guard = replace(tables[0].guard, delta_exponent=7)
    blurred = blur(made, guard, SeededSource(1), engine(tables).execute(made.sql).fetchall(), {})
    counted = dict(
        engine(tables)
        .execute(
            "select wind, count(*) from weather w where exists (from flights f where f.airport = w.airport and f.hour = w.hour) group by wind"
        )
        .fetchall()
    )
    assert {cell[0] for cell in blurred[made.statistics[0].key]} == {
        wind for wind, hours in counted.items() if hours >= 3
    }
    shown = release(made, guard, blurred)
    assert all(counted[row[0]] >= 3 for row in shown.rows)


@given(seed=st.integers(0, 10**9))
@settings(max_examples=150, deadline=None)
def test_no_mangled_question_raises_or_reaches_the_engine_unread(seed: int) -> None:
    chance = random.Random(seed)
    text = chance.choice([*EXACT, *(one for pair in SAME for one in pair)])
    every = (*people(3), *flying(3))
    tables = [one for one in every if (one.name in text) != (chance.random() < 0.02)] or list(PAIR)
    words = re.findall(r"\w+|[^\w\s]", text)
    for _ in range(chance.randint(0, 4)):
        at, other = chance.randrange(len(words)), chance.randrange(len(words))
        words[at] = chance.choice(
            [words[other], "", "left", "seqn", "using", "t1j0", "'t9c1'", "*", "(", ")"]
        )
    members = [one.member for one in tables]
    made = plan_joined(" ".join(words), members)
    if isinstance(made, Plan):
        assert len(engine(tables).execute(made.sql).fetchall()) <= 1000
        assert all(f"t{place} " in made.sql for place in range(len(tables)))
