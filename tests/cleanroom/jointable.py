"""Tables to be joined, as their owners have them and as they are registered: what tests of joins stand on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import duckdb

from dujiang.cleanroom.model import Guard, Noise, Plan
from dujiang.cleanroom.relation import Member
from dujiang.cleanroom.sql import plan_joined
from dujiang.registry.model import Column, JoinKey, Kind, Table, Use

ALL = (Use.group, Use.filter, Use.aggregate)
Row = tuple[int | None, ...]


@dataclass(frozen=True)
class Owned:
    """One owner's table of whole numbers: names, the entity, rows that count, what it may be joined on."""

    name: str
    names: tuple[str, ...]
    entity: str | None
    rows_per_entity: int
    keys: tuple[str, ...]
    rows: tuple[Row, ...]
    guard: Guard = Guard()

    @property
    def registered(self) -> list[tuple[int, int, *tuple[int | None, ...]]]:
        """Rows with the number of their entity and their rank in it, those beyond the declared rows left out."""
        place = None if self.entity is None else self.names.index(self.entity)
        seen: dict[object, tuple[int, list[Row]]] = {}
        for number, row in enumerate(self.rows):
            key = number if place is None else row[place]
            if key is not None:
                seen.setdefault(key, (len(seen), []))[1].append(row)
        return [
            (eid, rank, *row)
            for eid, rows in seen.values()
            for rank, row in enumerate(sorted(rows, key=repr), 1)
            if rank <= self.rows_per_entity
        ]

    @property
    def table(self) -> Table:
        """The shape it is registered in; a value of a key has at most the rows it has now."""
        stored = self.registered
        joins: list[JoinKey] = []
        for names in [*((key,) for key in self.keys), *combinations(self.keys, 2)]:
            places = [self.names.index(name) + 2 for name in names]
            counted = Counter(tuple(row[place] for place in places) for row in stored)
            most = max((n for key, n in counted.items() if None not in key), default=1)
            joins.append(JoinKey(names, self.rows_per_entity if names == (self.entity,) else most))
        columns = tuple(
            Column(n, Kind.integer, () if n == self.entity else ALL, "-9", "9", distinct_max=19)
            for n in self.names
        )
        entities = max((row[0] for row in stored), default=0) + 1
        return Table(
            self.name, columns, self.entity, self.rows_per_entity, entities, max(len(stored), 1), tuple(joins)
        )

    @property
    def member(self) -> Member:
        """The table with the rules of its contract."""
        return Member(self.table, replace(self.guard, join_keys=self.keys))


def engine(tables: Sequence[Owned]) -> duckdb.DuckDBPyConnection:
    """A DuckDB with every table under its name as its owner has it, and registered as `t0`, `t1`, …"""
    con = duckdb.connect()
    for place, one in enumerate(tables):
        con.execute(f"create table {one.name} ({', '.join(f'{name} BIGINT' for name in one.names)})")
        stored = ", ".join(f"c{i} BIGINT, j{i} BIGINT" for i in range(len(one.names)))
        con.execute(f"create table t{place} (eid INTEGER, rn INTEGER, {stored})")
        for row in one.rows:
            con.execute(f"insert into {one.name} values ({', '.join('?' * len(row))})", row)
        for eid, rank, *row in one.registered:
            doubled = [value for value in row for _ in "cj"]
            con.execute(
                f"insert into t{place} values (?, ?, {', '.join('?' * len(doubled))})", [eid, rank, *doubled]
            )
    return con


def joined(text: str, tables: Sequence[Owned]) -> Plan:
    """The Plan of a question that must be accepted."""
    made = plan_joined(text, [one.member for one in tables])
    assert isinstance(made, Plan), (text, made.code.name, made.names)
    return made


def exact(tables: Sequence[Owned], least: int = 2, share: int = 100) -> list[Owned]:
    """The same tables under terms that ask for exact answers."""
    guard = Guard(noise=Noise.exact, group_min=least, dominance_percent=share)
    return [replace(one, guard=guard) for one in tables]


def people(seed: int, count: int = 12) -> tuple[Owned, Owned, Owned]:
    """Three tables about the same persons: one row each, up to two, up to three; not everybody is in each."""
    chance = random.Random(seed)

    def value() -> int | None:
        return None if chance.random() < 0.15 else chance.randint(-9, 9)

    clinic = [(p, chance.randint(0, 1), value()) for p in range(count) if chance.random() < 0.9]
    laboratory = [
        (p, chance.randint(0, 2), value()) for p in range(count) for _ in range(chance.randint(0, 2))
    ]
    household = [(p, p % 3, value()) for p in range(count) for _ in range(chance.randint(0, 3))]
    return (
        Owned("clinic", ("seqn", "sex", "pressure"), "seqn", 1, ("seqn",), tuple(clinic)),
        Owned("laboratory", ("seqn", "visit", "lead"), "seqn", 2, ("seqn",), tuple(laboratory)),
        Owned("household", ("seqn", "region", "income"), "seqn", 3, ("seqn",), tuple(household)),
    )


def flying(seed: int, count: int = 40) -> tuple[Owned, Owned, Owned]:
    """Flights, each for itself; the weather of an airport's hours; aircraft: two keys that are many to one."""
    chance = random.Random(seed)

    def maybe(value: int) -> int | None:
        return None if chance.random() < 0.1 else value

    flights = [
        (
            maybe(chance.randint(0, 6)),
            chance.randint(0, 2),
            chance.randint(0, 4),
            maybe(chance.randint(-9, 9)),
        )
        for _ in range(count)
    ]
    weather = [(a, h, chance.randint(0, 3), maybe(chance.randint(-9, 9))) for a in range(3) for h in range(4)]
    planes = [(tail, tail % 3) for tail in range(6)]
    keys = ("tail", "airport", "hour")
    return (
        Owned("flights", (*keys, "delay"), None, 1, keys, tuple(flights)),
        Owned("weather", ("airport", "hour", "rain", "wind"), None, 1, ("airport", "hour"), tuple(weather)),
        Owned("planes", ("tail", "age"), "tail", 1, ("tail",), tuple(planes)),
    )
