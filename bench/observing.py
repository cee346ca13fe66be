"""Figures of a log of 10⁶ entries that all count something: how long each grouping takes, what writing them costs."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figure import Figure
from bench.space import folder
from dujiang import home as homes
from dujiang.identity.model import PROVINCES, SECTORS
from dujiang.kernel.act import Caller, Tx
from dujiang.observatory import acts as observatory
from dujiang.observatory.model import By, Measure
from dujiang.plugs.clocks import SetClock

ENTRIES = 1_000_000
_PROVIDERS, _CONSUMERS, _CONTRACTS = 300, 2000, 20_000
_DAYS = 365
_BATCH = 2000
_ROUNDS = 5
_BEGIN_MS = 1_735_689_600_000
_PURPOSES = ("train", "infer", "analyse", "share", "open", "operate", "trade", "other")
_YEAR, _MONTH = "2025", "2025-06"


def figures() -> Iterator[Figure]:
    """The figures of the observatory."""
    with folder() as place:
        yield from measured(place, ENTRIES)


def measured(place: Path, entries: int) -> Iterator[Figure]:
    """The figures over a log of so many entries."""
    clock = SetClock(_BEGIN_MS)
    home, made = homes.create(place / "home", [("Operator", ("operator", "auditor"))], clock=clock)
    try:
        auditor = home.caller_of_key(str(made[0]["api_key"]))
        assert auditor is not None
        cost = _filled(home, entries)
        clock.move(_DAYS * 86_400_000)
        published = {
            by.value: _median_s(home, auditor, observatory.Show(by, period=_MONTH if by is By.day else _YEAR))
            for by in By
        }  # fmt: skip
        exact = _median_s(home, auditor, observatory.Show(period=_YEAR, exact=True))
        month = _median_s(home, auditor, observatory.Show(By.purpose, Measure.rows, _MONTH))
        listed = _median_s(home, auditor, observatory.List("across", period=_YEAR))
        own = _median_s(home, Caller("org_7", "p", frozenset({"provider"})), observatory.Show(period=_YEAR))
        begun = time.process_time()
        home.run("observatory.reconcile", auditor, observatory.Reconcile(0))
        reconciling = time.process_time() - begun
    finally:
        home.close()
    beside: dict[str, Any] = {
        "entries": entries, "contracts": _CONTRACTS, "by": published, "exact_by_province": exact,
        "one_month_by_purpose": month, "one_providers_own": own, "entries_of_half_of_them": listed,
    }  # fmt: skip
    yield Figure("figures over 10⁶ entries, slowest grouping", max(published.values()), "s", "≤ 1", beside)
    yield Figure("an entry's figures, written with it", cost["with"] - cost["without"], "ms CPU", None, cost)
    yield Figure("reconciling the log with what is kept, 10⁶ entries", reconciling, "s CPU", None)


def _median_s(home: homes.Home, caller: Caller, ask: object) -> float:
    """Seconds of a figures act, of its entries where the ask is a list."""
    act = "observatory.list" if isinstance(ask, observatory.List) else "observatory.show"
    times: list[float] = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        home.run(act, caller, ask)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _filled(home: homes.Home, entries: int) -> dict[str, float]:
    """The log filled with answered questions of a year; the CPU of an entry with and without its figures."""
    chance = random.Random(7)
    contracts = [_contract(chance, number) for number in range(_CONTRACTS)]
    took = {"with": 0.0, "without": 0.0}
    made = {"with": 0, "without": 0}
    for first in range(0, entries, _BATCH):
        kind = "without" if first // _BATCH % 50 == 49 else "with"
        count = min(_BATCH, entries - first)
        asked = chance.choices(contracts, k=count)
        times = [_BEGIN_MS + (first + place) * _DAYS * 86_400_000 // entries for place in range(count)]
        took[kind] += home.writer.submit(lambda tx: _appended(home, tx, asked, times, kind)).result()  # noqa: B023
        made[kind] += count
    return {kind: took[kind] * 1000 / max(1, made[kind]) for kind in took}


def _appended(home: homes.Home, tx: Tx, asked: list[dict[str, Any]], times: list[int], kind: str) -> float:
    begun = time.thread_time()
    for told, time_ms in zip(asked, times, strict=True):
        tx.now_ms = time_ms
        facts: dict[str, Any] = {
            "org": told["to"], "parties": [told["from"]], "contract": told["contract"], "product": told["product"],
            "purpose": told["purpose"], "state": "done",
        }  # fmt: skip
        if kind == "with":
            facts["figures"] = [told]
        home.book.append(tx, "cleanroom.complete", Caller("", "node"), facts)
    return time.thread_time() - begun


def _contract(chance: random.Random, number: int) -> dict[str, Any]:
    provider, consumer = int(_PROVIDERS * chance.random() ** 2), chance.randrange(_CONSUMERS)
    places, sectors = list(PROVINCES), list(SECTORS)
    return {
        "from": f"org_{provider}", "to": f"org_c{consumer}", "contract": f"ctr_{number}", "product": f"prd_{provider}",
        "from_province": places[provider % len(places)], "to_province": places[consumer % len(places)],
        "from_sector": sectors[provider % len(sectors)], "to_sector": sectors[consumer % len(sectors)],
        "purpose": chance.choice(_PURPOSES), "questions": 1, "statistics": 1 + number % 3, "rows": 1 + number % 20,
    }  # fmt: skip
