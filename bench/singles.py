"""Single acts of 64 callers in process: from the call to the receipt under a signed checkpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

from bench.figure import Figure
from bench.measure import fdatasync_ms, spent
from bench.space import Space, folder, opened
from dujiang.contract.acts import Request
from dujiang.kernel.act import Outcome
from dujiang.ledger.rules import verify

CALLERS = 64
ACTS = 12_800
_VERIFIED_EVERY = 100


def figures(acts: int = ACTS) -> Iterator[Figure]:
    """The rate and the waiting time of `contract.request`."""
    with folder() as place:
        disk = fdatasync_ms(place)
        with opened(place) as space:
            measured(space, acts // 8)
            one = measured(space, acts)
    yield from told(one, "SQLite", acts, {"fdatasync_ms": disk})


def told(one: dict[str, float], database: str, acts: int, disk: dict[str, float]) -> Iterator[Figure]:
    """The two figures of such a round."""
    name = f"single acts to a signed checkpoint, 64 callers, {database}"
    beside = {**disk, "acts": acts, "cpu_ms": one["cpu_ms"], "receipts_verified": one["verified"]}
    yield Figure(name, one["per_s"], "1/s", "≥ 2000", beside)
    yield Figure(f"{name}, p99", one["p99_ms"], "ms", "≤ 100", {"p50_ms": one["p50_ms"]})


def measured(space: Space, acts: int) -> dict[str, float]:
    """Acts a second, CPU of one, and how long one waited; each caller asks again when its receipt is there."""
    left, over = [acts], threading.Event()
    times: list[float] = []
    kept: list[Outcome] = []

    def ask() -> None:
        begun = time.perf_counter()

        def answered(outcome: Future[Outcome]) -> None:
            times.append(time.perf_counter() - begun)
            if len(times) % _VERIFIED_EVERY == 1:
                kept.append(outcome.result())
            if left[0]:
                left[0] -= 1
                ask()
            elif len(times) == acts:
                over.set()

        started = space.home.start("contract.request", space.insurer, Request(space.product, "analyse"))
        assert started is not None
        started.add_done_callback(answered)

    with spent() as one:
        left[0] -= CALLERS
        # The first calls are made in one batch, so that callbacks and this thread never ask at once.
        space.home.writer.submit(lambda tx: [ask() for _ in range(CALLERS)]).result()
        over.wait()
    assert all(verify(outcome.receipt, space.home.book.vkey).trusted for outcome in kept)
    times.sort()
    return {
        "per_s": acts / one.wall_s, "cpu_ms": one.own_s * 1000 / acts, "verified": len(kept),
        "p50_ms": times[acts // 2] * 1000, "p99_ms": times[acts * 99 // 100] * 1000,
    }  # fmt: skip
