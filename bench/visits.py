"""A made table of visits, its declarations, and twelve questions: guarded by us, by hand, and not at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from dujiang.cleanroom.model import Guard, Noise
from dujiang.registry.model import Column, Declared, Field, Kind, Table, Use

ROWS = 10_000_000
REGIONS = tuple(f"region {number}" for number in range(8))
SCHEMA = {
    "person": "BIGINT", "region": "VARCHAR", "shop": "INTEGER", "day": "DATE", "cost": "DECIMAL(9, 2)",
    "age": "INTEGER", "member": "BOOLEAN",
}  # fmt: skip
_DAYS = (date(2023, 1, 1), date(2024, 12, 31))
_ALL = "count(*) as visits, sum(cost) as cost, avg(cost) as mean"


@dataclass(frozen=True, slots=True)
class Question:
    """A question by its parts; `groups` are names or expressions of the select list."""

    name: str
    select: str
    groups: str = ""
    where: str = ""
    having: str = ""
    tail: str = ""

    def text(self, source: str = "visits", guard: str = "") -> str:
        """The question as SQL over `source`, with a further HAVING condition where one is given."""
        shown = f"{self.groups}, {self.select}" if self.groups else self.select
        places = ", ".join(str(at + 1) for at in range(self.groups.count(",") + 1)) if self.groups else ""
        having = " and ".join(part for part in (self.having, guard) if part)
        parts = (
            f"select {shown} from {source}", self.where and f"where {self.where}",
            places and f"group by {places}",
            having and f"having {having}", self.tail,
        )  # fmt: skip
        return " ".join(part for part in parts if part)

    def by_hand(self, source: str, key: str) -> str:
        """The question with the guard a careful analyst writes: ten distinct entities a group."""
        return self.text(source, f"count(distinct {key}) >= 10")


QUESTIONS = (
    Question("count by region", "count(*) as visits", "region"),
    Question("three by region", _ALL, "region"),
    Question("three by shop", _ALL, "shop"),
    Question("a quarter by region", _ALL, "region", "day between date '2024-03-01' and date '2024-05-31'"),
    Question("three, one cell", _ALL),
    Question("people by region", "count(distinct person) as people", "region"),
    Question("spread by region", "avg(cost) as mean, stddev(cost) as spread", "region"),
    Question("age of the costly", "avg(age) as age, count(*) as visits", "region", "cost > 1000"),
    Question("by region and member", _ALL, "region, member"),
    Question("by month", "count(*) as visits, sum(cost) as cost", "extract(month from day)"),
    Question("cost of the old", "sum(case when age >= 65 then cost else 0 end) as cost", "region"),
    Question(
        "largest shops",
        "count(*) as visits",
        "shop",
        "member",
        "count(*) > 100",
        "order by visits desc limit 20",
    ),
)


def made(target: Path, entities: int, *, text_key: bool = False) -> str:
    """SQL that writes the provider's file in no order; `entities` 0: every row is its own entity."""
    key = (
        f"cast(hash(i, 1) % {entities} as bigint) * 7919 + 100003"
        if entities
        else "cast(hash(i) >> 1 as bigint)"
    )
    key = f"'P' || lpad(cast({key} as varchar), 12, '0')" if text_key else key
    return (
        f"copy (select {key} person, 'region ' || (hash(i, 2) % 8) region,"
        " cast(hash(i, 3) % 1000 as integer) shop,"
        " date '2023-01-01' + cast(hash(i, 4) % 731 as integer) as day,"
        " cast(pow(hash(i, 5) % 100000 / 100000.0, 4) * 5000 as decimal(9, 2)) cost,"
        " cast(hash(i, 6) % 101 as integer) age, hash(i, 7) % 3 = 0 member"
        f" from range({ROWS}) t(i)) to '{target}' (format parquet, compression zstd)"
    )


def declared(entities: int, rows_per_entity: int | None) -> Declared:
    """What the provider declares of it; without entities each row is one and the key is hidden."""
    fields = {
        "region": Field(uses=(Use.group, Use.filter), keys=REGIONS),
        "shop": Field(uses=(Use.group, Use.filter)),
        "day": Field(uses=(Use.group, Use.filter), lo=_DAYS[0].isoformat(), hi=_DAYS[1].isoformat()),
        "cost": Field(uses=(Use.filter, Use.aggregate), lo=0, hi=5000, scale=2),
        "age": Field(uses=(Use.filter, Use.aggregate), lo=0, hi=100),
        "member": Field(uses=(Use.group, Use.filter)),
    }
    own: dict[str, Any] = {} if entities else {"person": Field(uses=())}
    return Declared(
        "", "person" if entities else None, "visits", fields=fields | own, rows_per_entity=rows_per_entity
    )


def shape(entities: int, rows_per_entity: int) -> Table:
    """The table as it would be registered, for what needs no rows."""
    day = (value.isoformat() for value in _DAYS)
    group, count = (Use.group, Use.filter), (Use.filter, Use.aggregate)
    columns = (
        Column("person", Kind.integer, constant=True, nullable=False),
        Column("region", Kind.text, group, keys=REGIONS, distinct_max=9),
        Column("shop", Kind.integer, group, "0", "1000", distinct_max=1000),
        Column("day", Kind.date, group, *day, distinct_max=731),
        Column("cost", Kind.decimal, count, "0", "5000", 2),
        Column("age", Kind.integer, count, "0", "100"),
        Column("member", Kind.boolean, group, "0", "1", distinct_max=2),
    )
    return Table("visits", columns, "person", rows_per_entity, entities, ROWS)


def guard(entities: int, *, exact: bool = False) -> Guard:
    """The rules of default terms."""
    return Guard(noise=Noise.exact if exact else Noise.gaussian, delta_exponent=len(str(entities)) + 3)
