"""A whole question on the sample table: from the ask to the answer, a warmed process standing by."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator

from bench.figure import Figure
from bench.measure import process_cpu_s, spent, tree
from bench.space import Space, folder, opened
from dujiang.cleanroom.acts import Ask, Show
from dujiang.doors.loops import Loops

_RUNS = 21


def figures() -> Iterator[Figure]:
    """Wall and CPU time of `cleanroom.ask` until `cleanroom.show` says done."""
    with folder() as place, opened(place, statistics=1000) as space:
        contract = space.agreed()
        loops = Loops(space.home)
        loops.start()
        try:
            found = [_asked(space, contract, low) for low in range(18, 18 + _RUNS + 2)][2:]
        finally:
            loops.stop()
    walls, own, worker = (statistics.median(each) for each in zip(*found, strict=True))
    beside = {
        "node_cpu_ms": own * 1000, "worker_cpu_ms": worker * 1000,
        "longest_ms": max(each[0] for each in found) * 1000,
        "runs": _RUNS,
    }  # fmt: skip
    yield Figure("a question on the sample table, asked to answered", walls * 1000, "ms", None, beside)


def _asked(space: Space, contract: str, low: int) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds here, and CPU seconds of the question's own process.

    The process that comes to stand by next starts meanwhile; it is waited for after the answer and its
    start is not counted.
    """
    sql = f"select sex, count(*) as people, avg(bmi) as bmi from clinic where age >= {low} group by sex"
    (standing,) = tree(os.getpid())[1:] or (0,)
    before = process_cpu_s(standing) if standing else 0.0
    with spent() as one:
        job = space.home.run("cleanroom.ask", space.insurer, Ask((contract,), sql)).reply.job
        while True:
            seen = space.home.bell.count
            if space.home.run("cleanroom.show", space.insurer, Show(job)).reply.done:
                break
            space.home.bell.wait(seen, 10.0)
    time.sleep(0.5)
    return one.wall_s, one.own_s, max(0.0, one.children_s - before)
