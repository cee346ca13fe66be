"""`ledger.attest` over HTTP: durable entries with receipts a second, and how long a call takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figure import Figure
from bench.measure import fdatasync_ms, process_cpu_s
from bench.readings import BYTES, CALL
from bench.space import folder, opened

CALLS = 240
"""Calls of one round, over all its connections together."""
CONNECTIONS = (1, 2, 4, 8)
_GOAL_PER_S, _GOAL_MS = 20_000, 150


def figures(calls: int = CALLS, connections: tuple[int, ...] = CONNECTIONS) -> Iterator[Figure]:
    """The rate and the waiting time of the round that is quickest of those that keep the goal for waiting."""
    with folder() as place:
        disk = fdatasync_ms(place)
        with opened(place) as space:
            key = space.insurer_key
        rounds = served(place / "home", key, calls, connections)
    yield from told(rounds, "SQLite", {"fdatasync_ms": disk})


def told(rounds: dict[int, dict[str, float]], database: str, disk: dict[str, float]) -> Iterator[Figure]:
    """The two figures of such rounds."""
    in_time = {count: one for count, one in rounds.items() if one["p99_ms"] <= _GOAL_MS} or rounds
    best = max(in_time, key=lambda count: in_time[count]["per_s"])
    one = rounds[best]
    beside: dict[str, Any] = {
        **disk, "connections": best, "records_a_call": CALL, "record_bytes": BYTES, "calls": one["calls"],
        "node_cpu_us_an_entry": one["node_cpu_us"], "client_cpu_us_an_entry": one["client_cpu_us"],
        "receipts_verified": one["verified"],
        "per_s_by_connections": {str(count): each["per_s"] for count, each in rounds.items()},
        "p99_ms_by_connections": {str(count): each["p99_ms"] for count, each in rounds.items()},
    }  # fmt: skip
    name = f"`ledger.attest` durable over HTTP, {database}"
    yield Figure(f"{name}, entries", one["per_s"], "1/s", f"≥ {_GOAL_PER_S}", beside)
    yield Figure(
        f"{name}, a call of 1,024, p99", one["p99_ms"], "ms", f"≤ {_GOAL_MS}", {"p50_ms": one["p50_ms"]}
    )


def served(home: Path, key: str, calls: int, connections: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """What a client process measured against a node process of its own, by number of connections."""
    line = [sys.executable, "-m", "bench.node", str(home), "no-loops"]
    node = subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert node.stdout is not None
        url = node.stdout.readline().strip()
        _client(url, key, 2, 4)
        found: dict[int, dict[str, float]] = {}
        for count in connections:
            before = process_cpu_s(node.pid)
            one = _client(url, key, count, calls)
            spent_s = process_cpu_s(node.pid) - before
            found[count] = {**one, "node_cpu_us": spent_s * 1e6 / (one["calls"] * CALL)}
        return found
    finally:
        node.terminate()
        node.wait(60)


def _client(url: str, key: str, connections: int, calls: int) -> dict[str, float]:
    line = [sys.executable, "-m", "bench.attester", url, str(connections), str(calls)]
    done = subprocess.run(line, input=key, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)
