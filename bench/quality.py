"""Quality of five million rows: ten declared rules beside the same SQL by hand, and the whole profile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from bench.figure import Figure
from bench.measure import Spent, peak_mb, spent
from bench.orders import CATEGORIES, DEMANDS, ROWS, by_hand, made
from bench.space import folder
from dujiang.plugs.duck import Duck
from dujiang.registry.model import Declared
from dujiang.registry.rules import propose

_DAY = "2026-01-01"
_RUNS = 3


def figures() -> Iterator[Figure]:
    """The figures of declared rules and of the profile."""
    with folder() as place:
        raw = place / "orders.parquet"
        duckdb.sql(made(raw))
        engine = Duck()
        try:
            yield from _judged(engine, raw)
            yield from _profiled(engine, raw, place)
        finally:
            engine.close()


def _judged(engine: Duck, raw: Path) -> Iterator[Figure]:
    connection = duckdb.connect(":memory:", config={"threads": 2})
    hand, expected = _best(lambda: connection.execute(by_hand(raw)).fetchall()[0])
    connection.close()
    with peak_mb(os.getpid()) as peak:
        ours, found = _best(lambda: engine.judge(raw, DEMANDS, {}, _DAY))
    assert [each.failing for each in found] == list(expected)
    beside: dict[str, Any] = {
        "rules": len(DEMANDS), "rows": ROWS, "cpu_s": ours.cpu_s,
        "by_hand_s": hand.wall_s, "by_hand_cpu_s": hand.cpu_s, "runs": _RUNS, **_pandas(raw, list(expected)),
    }  # fmt: skip
    yield Figure("ten declared rules on 5 M rows", ours.wall_s, "s", "≤ 3.5", beside)
    yield Figure(
        "ten declared rules on 5 M rows, peak memory of the process tree",
        peak[-1],
        "MB",
        "≤ 600",
        {"kind": "PSS"},
    )


def _profiled(engine: Duck, raw: Path, place: Path) -> Iterator[Figure]:
    with spent() as looking:
        sketch = engine.inspect(raw, raw.name, None)
    table = propose(sketch, Declared(""), "orders")
    plain = place / "plain.parquet"
    with spent() as registering:
        engine.register(raw, sketch, table, b"0123456789abcdef", plain, place / "guarded.parquet")
    names = [column.name for column in table.columns]
    with peak_mb(os.getpid()) as peak, spent() as one:
        engine.profile(plain, names, _DAY)
    wall = [each.wall_s for each in (looking, registering, one)]
    beside = {
        "looking_s": wall[0], "registering_s": wall[1], "profiling_s": wall[2],
        "looking_cpu_s": looking.cpu_s, "registering_cpu_s": registering.cpu_s, "columns": len(names),
    }  # fmt: skip
    yield Figure("registering and profiling 5 M rows", sum(wall), "s", "≤ 7", beside)
    beside = {"cpu_s": one.cpu_s, "rows": ROWS, "columns": len(names), "peak_mb": peak[-1]}
    yield Figure("profiling 5 M rows", one.wall_s, "s", None, beside)


def _best(work: Callable[[], Any]) -> tuple[Spent, Any]:
    """What the quickest of some runs took, and what it gave back."""
    runs: list[tuple[Spent, Any]] = []
    for _ in range(_RUNS):
        with spent() as one:
            made = work()
        runs.append((one, made))
    return min(runs, key=lambda run: run[0].wall_s)


def _pandas(raw: Path, expected: list[int]) -> dict[str, float]:
    """The same counts by pandas, reading included, where it is installed."""
    try:
        import pandas as pd
    except ImportError:
        return {}
    patterns = [each.arguments.pattern for each in DEMANDS if each.arguments.pattern]
    with spent() as one:
        frame = pd.read_parquet(raw)
        amount = frame["amount"].astype("float64")
        found = [
            frame["id"].duplicated().sum(), frame["uscc"].isna().sum(), amount.isna().sum(),
            frame["phone"].isna().sum(),
            *(
                (~frame[name].dropna().str.contains(pattern, regex=True)).sum()
                for name, pattern in zip(("uscc", "phone", "email"), patterns, strict=True)
            ),
            (~amount.dropna().between(0, 10_000)).sum(), (~frame["age"].between(0, 100)).sum(),
            (~frame["category"].isin(CATEGORIES)).sum(),
        ]  # fmt: skip
    assert [int(each) for each in found] == expected
    return {"pandas_s": one.wall_s, "pandas_cpu_s": one.cpu_s}
