"""A small table in both forms, plain and registered, and the true answer of a Plan over it: what SQL tests stand on."""

# Questions stand one a line, and a Chinese character counts as two.

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import duckdb

from dujiang.cleanroom.formula import evaluate
from dujiang.cleanroom.model import Aggregate, Guard, Plan
from dujiang.cleanroom.sql import plan
from dujiang.registry.model import Column, Kind, Table, Use

ALL = (Use.group, Use.filter, Use.aggregate)
ROWS_PER_ENTITY = 3

COLUMNS = (
    Column("pid", Kind.text),
    Column("sex", Kind.text, ALL, keys=("F", "M"), constant=True, nullable=False),
    Column("age", Kind.integer, ALL, "-5", "120", distinct_max=126, nullable=False),
    Column("cost", Kind.decimal, ALL, "-50", "1000", 2),
    Column("visited", Kind.date, ALL, "2015-01-01", "2018-12-31", distinct_max=200),
    Column("seen at", Kind.timestamp, ALL, "2015-01-01T00:00:00", "2019-01-01T00:00:00", distinct_max=200),
    Column("部门", Kind.text, (Use.group,), distinct_max=5),
    Column("smoker", Kind.boolean, ALL),
    Column("visits", Kind.integer, ALL, "0", "9", distinct_max=10),
    Column("filtered", Kind.integer, (Use.filter,), "0", "9"),
    Column("summed", Kind.integer, (Use.aggregate,), "0", "9"),
    Column("boundless", Kind.integer, ALL),
    Column("hidden", Kind.text),
)


def table(entity: bool = True, rows: int = ROWS_PER_ENTITY) -> Table:
    """The registered shape: with `entity` each person has up to `rows` rows, else every row is its own."""
    return Table("病历", COLUMNS, "pid" if entity else None, rows if entity else 1, 60, 200)


def rows_of(seed: int = 7, entities: int = 40) -> list[tuple[object, ...]]:
    """Plain rows of the table within its declared bounds, NULLs among them."""
    chance = random.Random(seed)
    found: list[tuple[object, ...]] = []
    for person in range(entities):
        sex = chance.choice("FM")
        for _ in range(chance.randint(1, ROWS_PER_ENTITY)):

            def maybe(value: object, odds: float = 0.15) -> object:
                return None if chance.random() < odds else value

            day = date(2015, 1, 1) + timedelta(days=chance.randrange(1461))
            stamp = datetime(2015, 1, 1) + timedelta(minutes=chance.randrange(1461 * 1440))
            found.append(
                (
                    f"p{person}",
                    sex,
                    chance.randint(-5, 99),
                    maybe(Decimal(chance.randint(-5000, 100000)).scaleb(-2)),
                    maybe(day),
                    maybe(stamp),
                    maybe(chance.choice(["内科", "外科", "O'Neil", "  x "])),
                    maybe(chance.random() < 0.4),
                    maybe(chance.randint(0, 9)),
                    chance.randint(0, 9),
                    chance.randint(0, 9),
                    maybe(chance.randint(-(2**40), 2**40)),
                    "secret",
                )
            )
    return found


def engine(rows: list[tuple[object, ...]], entity: bool = True) -> duckdb.DuckDBPyConnection:
    """A DuckDB with the plain table under its name and the registered form as `t0`."""
    con = duckdb.connect()
    kinds = {Kind.integer: "BIGINT", Kind.decimal: "DECIMAL(12,2)", Kind.text: "VARCHAR", Kind.boolean: "BOOLEAN",
             Kind.date: "DATE", Kind.timestamp: "TIMESTAMP"}  # fmt: skip
    con.execute("create table 病历 (" + ", ".join(f'"{c.name}" {kinds[c.kind]}' for c in COLUMNS) + ")")
    stored = {Kind.integer: "INTEGER", Kind.decimal: "INTEGER", Kind.boolean: "INTEGER"}
    kind_of = [stored.get(c.kind, kinds[c.kind]) if c.name != "boundless" else "BIGINT" for c in COLUMNS]
    con.execute(
        "create table t0 ("
        + ", ".join(f"c{i} {k}" for i, k in enumerate(kind_of))
        + ", eid INTEGER, rn INTEGER)"
    )
    seen: dict[object, list[int]] = {}
    for number, row in enumerate(rows):
        con.execute(f"insert into 病历 values ({', '.join('?' * len(row))})", row)
        grid = [
            None if v is None else int(Decimal(str(v)).scaleb(c.scale)) if c.kind in (Kind.integer, Kind.decimal)
            else int(bool(v)) if c.kind is Kind.boolean else v
            for v, c in zip(row, COLUMNS, strict=True)
        ]  # fmt: skip
        person = seen.setdefault(row[0], [len(seen), 0])
        person[1] += 1
        ids = (person[0], person[1]) if entity else (number, 1)
        con.execute(f"insert into t0 values ({', '.join('?' * (len(row) + 2))})", [*grid, *ids])
    return con


@dataclass
class Answer:
    """The true answer of a plan: output rows, and the engine's own rows."""

    rows: list[tuple[object, ...]]
    cells: list[tuple[object, ...]]


def asked(text: str, shape: Table | None = None, guard: Guard | None = None) -> Plan:
    """The Plan of a question that must be accepted."""
    made = plan(text, shape or table(), guard or Guard())
    assert isinstance(made, Plan), (text, made.code.name, made.names)
    return made


def truth(made: Plan, con: duckdb.DuckDBPyConnection) -> Answer:
    """What the plan shows without noise, thresholds and dominance."""
    cells = [tuple(_plain(v) for v in row) for row in con.execute(made.sql).fetchall()]
    shown: list[tuple[tuple[object, ...], list[tuple[object, bool, bool]]]] = []
    for cell in cells:
        count = len(made.keys)
        keys = [
            None if v is None else bool(v) if k.kind is Kind.boolean
            else Fraction(int(v), 10**k.scale) if isinstance(v, int) else v
            for v, k in zip(cell[:count], made.keys, strict=True)
        ]  # fmt: skip
        values = cell[count + 1 :]
        numbers = [_released(a, values, made) for a in made.aggregates]
        if made.having is not None and evaluate(made.having, keys, numbers) is not True:
            continue
        out = tuple(evaluate(formula, keys, numbers) for _, formula in made.columns)
        shown.append((out, [(evaluate(f, keys, numbers), desc, first) for f, desc, first in made.order]))
    for place in reversed(range(len(made.order))):
        _, desc, first = made.order[place]
        known = sorted(
            (s for s in shown if s[1][place][0] is not None), key=lambda s: s[1][place][0], reverse=desc
        )
        unknown = [s for s in shown if s[1][place][0] is None]
        shown = unknown + known if first else known + unknown
    rows = [out for out, _ in shown][made.offset :]
    return Answer(rows if made.limit is None else rows[: made.limit], cells)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date) else value


def _released(a: Aggregate, values: tuple[object, ...], made: Plan) -> object:
    def stat(place: int | None) -> Fraction:
        assert place is not None
        return Fraction(int(values[place])) * made.statistics[place].unit  # type: ignore[call-overload]

    if a.form == "count":
        return int(stat(a.n))
    if a.form == "sum":
        return stat(a.total)
    n = stat(a.n)
    if n < 1:
        return None
    shift = stat(a.centred) / n
    if a.form == "mean":
        return float(a.mid + shift)
    spread = stat(a.squared) / n + a.c - shift * shift
    if a.form.endswith("samp"):
        if n < 2:
            return None
        spread = spread * n / (n - 1)
    return float(spread) ** (0.5 if a.form.startswith("stddev") else 1)
