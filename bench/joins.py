"""Joined questions over two owners' tables: ours, a guard written by hand, and no guard at all.

Each in this process, two threads, warm, the least CPU of two to four runs. Ours runs what `plan_joined` wrote on
the registered files; by hand and without a guard run on the owners' own files. Keys are texts, as people's are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from bench.figure import Figure
from bench.questions import cpu_s
from bench.space import folder
from bench.visits import guard
from dujiang.cleanroom.model import Plan
from dujiang.cleanroom.relation import Member
from dujiang.cleanroom.sql import plan_joined
from dujiang.plugs.duck import Duck
from dujiang.registry.model import Declared, Field, Table, Use
from dujiang.registry.rules import propose

PEOPLE = 1_000_000
REGIONS, BANDS = tuple(f"region {n}" for n in range(8)), tuple(f"band {n}" for n in range(5))
_GROUP, _SUM = (Use.group, Use.filter), (Use.filter, Use.aggregate)
_FIELDS = {
    "visits": {"region": Field(uses=_GROUP, keys=REGIONS), "cost": Field(uses=_SUM, lo=0, hi=5000, scale=2)},
    "people": {"band": Field(uses=_GROUP, keys=BANDS), "income": Field(uses=_SUM, lo=0, hi=1_000_000)},
}
_KEY = "'P' || lpad(cast({} as varchar), 12, '0')"
_SHOWN = "region, band, count(*) as visits, sum(cost) as cost, avg(income) as income"
QUESTION = f"select {_SHOWN} from visits join people using (person) group by region, band"
BY_HAND = f"{QUESTION} having count(distinct person) >= 10"


def figures() -> Iterator[Figure]:
    """The figures of joins, by the rows of the larger table."""
    for rows, name, goal in ((1_000_000, "1 M × 1 M", "≤ 1"), (10_000_000, "10 M × 1 M", "≤ 0.5")):
        with folder() as place:
            yield _measured(place, rows, f"joined questions on {name} rows, CPU to a guard by hand", goal)


def _measured(place: Path, rows: int, name: str, goal: str) -> Figure:
    key = _KEY.format(f"hash(i, 1) % {PEOPLE}")
    visits = (
        f"select {key} person, 'region ' || (hash(i, 2) % 8) region,"
        " cast(pow(hash(i, 5) % 100000 / 100000.0, 4) * 5000 as decimal(9, 2)) cost"
    )
    people = (
        f"select {_KEY.format('i')} person, 'band ' || (hash(i, 3) % 5) band,"
        " cast(hash(i, 4) % 1000000 as integer) income"
    )
    connection = duckdb.connect(":memory:", config={"threads": 2})
    members: list[Member] = []
    for at, (table, source, count) in enumerate((("visits", visits, rows), ("people", people, PEOPLE))):
        raw, registered = place / f"{table}.parquet", place / f"{table}.registered"
        duckdb.sql(f"copy ({source} from range({count}) t(i)) to '{raw}' (format parquet, compression zstd)")
        shape = _registered(raw, table, place / "plain", registered)
        connection.execute(f"create view t{at} as select * from read_parquet('{registered}')")
        connection.execute(f"create view {table} as select * from read_parquet('{raw}')")
        members.append(Member(shape, replace(guard(shape.entities), join_keys=("person",))))
    made = plan_joined(QUESTION, members)
    assert isinstance(made, Plan)

    def sql(text: str) -> Callable[[], Any]:
        return lambda: connection.execute(text).fetchall()

    ours, hand, plain = (cpu_s(sql(text)) for text in (made.sql, BY_HAND, QUESTION))
    beside = {
        "ours_cpu_ms": ours * 1000, "hand_cpu_ms": hand * 1000, "plain_cpu_ms": plain * 1000,
        "policy_ms": cpu_s(lambda: plan_joined(QUESTION, members)) * 1000,
    }  # fmt: skip
    return Figure(name, ours / hand, "×", goal, beside)


def _registered(raw: Path, name: str, plain: Path, registered: Path) -> Table:
    """The registered form of a file, and its shape: every row of a person counts."""
    engine = Duck()
    sketch = engine.inspect(raw, raw.name, "person", ("person",))
    declared = Declared(
        "", "person", name, fields=_FIELDS[name], rows_per_entity=sketch.rows_per_entity_max, join_keys=("person",)
    )  # fmt: skip
    table = propose(sketch, declared, name)
    engine.register(raw, sketch, table, b"0123456789abcdef", plain, registered)
    engine.close()
    return table
