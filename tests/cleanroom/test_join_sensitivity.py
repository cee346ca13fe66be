"""Laws of joins: one entity of any owner moves every statistic by no more than that owner's account pays for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.cleanroom.model import Guard, Noise, Plan
from dujiang.cleanroom.sql import plan_joined
from tests.cleanroom.jointable import Owned, engine, flying, joined, people

PEOPLE = [
    "select count(*), count(distinct clinic.seqn), sum(lead), avg(pressure) from clinic join laboratory using (seqn) "
    "join household using (seqn)",
    "select sex, visit, count(*), avg(lead), stddev(income), count(distinct laboratory.seqn) from clinic "
    "join laboratory using (seqn) join household using (seqn) group by sex, visit",
    "select sex, region, count(*), sum(pressure), count(distinct lead) from clinic c "
    "join laboratory l on c.seqn = l.seqn join household h on h.seqn = l.seqn where lead > -5 group by 1, 2",
    "select visit, count(*), count(lead), sum(lead), avg(pressure * lead) from clinic join household using (seqn) "
    "left join laboratory using (seqn) group by visit",
    "select region, count(*), count(distinct clinic.seqn), sum(income) from clinic left join household using (seqn) "
    "left join laboratory using (seqn) group by region",
    "select sex, visit, region, count(distinct household.seqn), sum(greatest(income, lead)) from laboratory "
    "left join clinic using (seqn) join household on household.seqn = laboratory.seqn group by 1, 2, 3",
]
FLYING = [
    "select rain, count(*), avg(delay), sum(delay * wind), count(distinct planes.tail) from flights "
    "join weather using (airport, hour) join planes using (tail) group by rain",
    "select age, flights.hour % 2, count(*), sum(delay), avg(wind) from flights join planes using (tail) "
    "join weather on weather.airport = flights.airport and flights.hour = weather.hour group by 1, 2",
    "select age, rain, count(*), avg(delay), count(wind) from flights left join planes using (tail) "
    "left join weather using (hour, airport) group by 1, 2",
    "select count(*), sum(delay), count(distinct rain), count(distinct planes.tail) from weather "
    "join flights using (airport) join planes using (tail)",
]


def cells(made: Plan, con: Any) -> dict[tuple[object, ...], list[int]]:
    width = len(made.keys)
    skip = width + len(made.presence)
    return {tuple(row[:width]): [int(v or 0) for v in row[skip:]] for row in con.execute(made.sql).fetchall()}


def holds(made: Plan, tables: Sequence[Owned], rho_micro: int) -> int:
    """How many neighbours were looked at; every one of them keeps to what the noise was made for."""
    con = engine(tables)
    full, seen = cells(made, con), 0
    for place, one in enumerate(tables):
        exact = one.guard.noise is Noise.exact
        for (entity,) in con.execute(f"select distinct eid from t{place}").fetchall():
            con.execute("begin")
            con.execute(f"delete from t{place} where eid = {entity}")
            less = cells(made, con)
            con.execute("rollback")
            seen += 1
            for at, statistic in enumerate(made.statistics):
                moved = [
                    abs(full.get(key, [0] * 99)[at] - less.get(key, [0] * 99)[at])
                    for key in full.keys() | less.keys()
                ]
                told = (one.name, statistic, moved)
                assert max(moved, default=0) <= statistic.cap, told
                if not exact:
                    # What the account pays: rho = change**2 / (2 sd**2), the scale of noise being one for all.
                    own = one.guard.rho_micro
                    assert sum(moved) ** 2 * rho_micro <= statistic.delta1**2 * own, told
                    assert sum(m * m for m in moved) * rho_micro <= statistic.delta2_squared * own, told
            for of in made.presence:
                # The presence of a cell changes for no more cells than the margin's delta was shared among.
                if not exact:
                    touched = [
                        k
                        for k in full.keys() | less.keys()
                        if full.get(k, [0] * 99)[of] != less.get(k, [0] * 99)[of]
                    ]
                    assert len(touched) <= made.touched_max, (one.name, touched)
    return seen


@pytest.mark.parametrize("text", PEOPLE)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_person_in_several_tables_moves_no_more_than_is_paid_for(text: str, seed: int) -> None:
    tables = people(seed)
    named = [one for one in tables if one.name in text]
    assert holds(joined(text, named), named, 5000) > 10


@pytest.mark.parametrize("text", FLYING)
@pytest.mark.parametrize("seed", [1, 2])
def test_an_aircraft_or_an_hour_of_weather_moves_no_more_than_is_paid_for(text: str, seed: int) -> None:
    tables = flying(seed)
    named = [one for one in tables if one.name in text]
    assert holds(joined(text, named), named, 5000) > 10


@given(seed=st.integers(0, 10**9))
@settings(max_examples=40, deadline=None)
def test_no_join_of_any_tables_moves_more_than_is_paid_for(seed: int) -> None:
    chance = random.Random(seed)
    tables = [_some_table(chance, name) for name in ("a", "b", "c")[: chance.randint(2, 3)]]
    text = _some_question(chance, tables)
    made = plan_joined(text, [one.member for one in tables])
    assert isinstance(made, Plan), (text, made)
    noised = [one.guard.rho_micro for one in tables if one.guard.noise is not Noise.exact]
    holds(made, tables, min(noised, default=1))


def _some_table(chance: random.Random, name: str) -> Owned:
    entity = chance.choice([None, "k", "e"])
    rows = [
        tuple(None if chance.random() < 0.1 else chance.randint(0, most) for most in (4, 3, 5, 3))
        for _ in range(chance.randint(0, 9))
    ]
    guard = Guard(
        chance.choice([Noise.gaussian, Noise.gaussian, Noise.laplace, Noise.exact]),
        chance.choice([5000, 20_000]),
    )
    names = tuple(f"{column}{name}" if column in "vw" else column for column in ("k", "m", "e", "v"))
    return Owned(
        name, names, entity, 1 if entity is None else chance.randint(1, 3), ("k", "m"), tuple(rows), guard
    )


def _some_question(chance: random.Random, tables: Sequence[Owned]) -> str:
    source = "a"
    for place, one in enumerate(tables[1:], 1):
        other = chance.choice(tables[:place])
        on = chance.choice([["k"], ["m"], ["k", "m"], [("k", "m")]])
        pairs = [each if isinstance(each, tuple) else (each, each) for each in on]
        tests = " and ".join(f"{one.name}.{left} = {other.name}.{right}" for left, right in pairs)
        source += f" {chance.choice(['join', 'left join'])} {one.name} on {tests}"
    keys = [f"{one.name}.m" for one in tables] + [f"v{one.name}" for one in tables]
    chosen = chance.sample(keys, chance.randint(0, 2))
    value = chance.choice([f"v{one.name}" for one in tables])
    counted = next((f", count(distinct {one.name}.{one.entity})" for one in tables if one.entity), "")
    grouped = f" group by {', '.join(chosen)}" if chosen else ""
    shown = "".join(f"{key}, " for key in chosen)
    return f"select {shown}count(*), count({value}), sum({value}), stddev({value}){counted} from {source}{grouped}"


def test_the_effect_of_one_entity_in_the_usual_joins() -> None:
    """Persons of one row each: as if alone. An hour of weather: every flight it meets. A flight: itself."""
    clinic, laboratory, household = people(1)
    both = joined("select sum(lead) from clinic join laboratory using (seqn)", [clinic, laboratory])
    assert both.statistics[0].delta1 == 2 * 9
    three = "select sum(lead) from clinic join laboratory using (seqn) join household using (seqn)"
    assert joined(three, [clinic, laboratory, household]).statistics[0].delta1 == 2 * 3 * 9
    flights, weather, planes = flying(1)
    text = "select avg(delay) from flights join weather using (airport, hour)"
    shared = next(key.rows for key in flights.table.joins if key.columns == ("airport", "hour"))
    assert joined(text, [flights, weather]).statistics[1].delta1 == shared * 9
    public = replace(weather, guard=Guard(noise=Noise.exact))
    made = joined(text, [flights, public])
    assert made.statistics[1].delta1 == 9, "a table with exact answers asks for no noise"
    assert made.statistics[1].cap == shared * 9, "but no hour of it may make up a sum"
    del planes


def test_the_strictest_account_sets_the_noise() -> None:
    """One statistic of rho 0.005 here and of rho 0.02 there: one scale of noise that costs neither more."""
    flights, weather, _ = flying(1)
    text = "select avg(delay) from flights join weather using (airport, hour)"
    shared = next(key.rows for key in flights.table.joins if key.columns == ("airport", "hour"))
    cheap = replace(weather, guard=Guard(rho_micro=20_000))
    centred = joined(text, [flights, cheap]).statistics[1]
    assert centred.delta2_squared == max(9**2, -(-((shared * 9) ** 2) // 4))
    strict = replace(weather, guard=Guard(Noise.laplace, 5000, 30, 20, 9, join_keys=("hour",)))
    made = joined(text, [replace(flights, guard=Guard(rho_micro=20_000)), strict])
    assert made.noise is Noise.laplace
