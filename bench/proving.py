"""Receipts from a log of 10⁵ entries that acts made: how long one takes, how large it is."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator

from bench.figure import Figure
from bench.measure import spent
from bench.space import Space, folder, opened
from dujiang.contract.acts import Request
from dujiang.ledger.acts import Show
from dujiang.ledger.rules import verify

ENTRIES = 100_000
_WINDOW = 2000
_PROOFS = 500


def figures() -> Iterator[Figure]:
    """The figures of the log's proofs."""
    with folder() as place, opened(place) as space:
        with spent() as filling:
            _filled(space)
        size = int(space.home.book.next_index())
        first = size - ENTRIES
        chosen = random.Random(3).choices(range(first, size), k=_PROOFS)
        times: list[float] = []
        receipts: list[dict[str, object]] = []
        for entry in chosen:
            begun = time.perf_counter()
            receipts.append(space.home.run("ledger.prove", space.insurer, Show(entry)).reply.receipt)
            times.append(time.perf_counter() - begun)
        begun = time.process_time()
        assert all(verify(receipt, space.home.book.vkey).ok for receipt in receipts)
        checking = (time.process_time() - begun) / _PROOFS
    times.sort()
    beside = {
        "entries": size,
        "p50_ms": times[_PROOFS // 2] * 1000,
        "acts_per_s_while_filling": ENTRIES / filling.wall_s,
    }
    yield Figure("receipt of an entry of 10⁵, p99", times[_PROOFS * 99 // 100] * 1000, "ms", None, beside)
    sizes = [len(json.dumps(receipt, separators=(",", ":"))) for receipt in receipts]
    beside = {"largest": max(sizes)}
    yield Figure("size of a receipt, 10⁵ entries", sum(sizes) / _PROOFS, "bytes", None, beside)
    yield Figure(
        "verification of a receipt, in process", checking * 1000, "ms CPU", None, {"receipts": _PROOFS}
    )


def _filled(space: Space) -> None:
    """The log filled by requests the terms do not permit: each is declined and leaves an entry."""
    left = ENTRIES
    while left:
        count = min(left, _WINDOW)
        ask = Request(space.product, "advertise")
        futures = [space.home.start("contract.request", space.insurer, ask) for _ in range(count)]
        for future in futures:
            assert future is not None
            future.result()
        left -= count
