"""Durable writes: `contract.request` by 64 callers, in process and over HTTP, and the disk beside them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from bench.figure import Figure
from bench.measure import fdatasync_ms, plain_inserts_s, process_cpu_s, spent
from bench.space import Space, folder, opened
from dujiang.contract.acts import Request
from dujiang.kernel.act import Outcome

CALLERS = 64
_EACH = 100
_ROUNDS = 3


def figures() -> Iterator[Figure]:
    """The figures of writing acts."""
    with folder() as place:
        disk = {
            "fdatasync_ms": fdatasync_ms(place),
            "sqlite_full_single_inserts_per_s": plain_inserts_s(place),
        }
        with opened(place) as space:
            found = [callers(space) for _ in range(_ROUNDS + 1)][1:]
            threaded = [threads(space) for _ in range(_ROUNDS)]
            size = int(space.home.book.next_index())
        rate = statistics.median(rate for rate, _ in found)
        beside = {
            **disk, "callers": CALLERS, "acts": CALLERS * _EACH, "entries_in_log": size,
            "a_thread_each_per_s": statistics.median(rate for rate, _ in threaded),
        }  # fmt: skip
        yield Figure("`contract.request` durable, 64 callers, in process", rate, "1/s", "≥ 3000", beside)
        cpu = statistics.median(cpu for _, cpu in found)
        yield Figure("`contract.request` CPU, in process", cpu * 1000, "ms", "≤ 0.3", {
            "callers": CALLERS, "a_thread_each_ms": statistics.median(cpu for _, cpu in threaded) * 1000,
        })  # fmt: skip
    yield from _over_http()


def callers(space: Space) -> tuple[float, float]:
    """Acts a second and CPU seconds an act of 64 callers, each asking again when its receipt is there.

    As the HTTP door does, the callers wait for futures and have no thread each.
    """
    total = CALLERS * _EACH
    left, done, over = [total], [0], threading.Event()

    def again(answered: Future[Outcome] | None = None) -> None:
        if answered is not None:
            assert answered.result().receipt
            done[0] += 1
            if done[0] == total:
                over.set()
        if left[0]:
            left[0] -= 1
            begun = space.home.start("contract.request", space.insurer, Request(space.product, "analyse"))
            assert begun is not None
            begun.add_done_callback(again)

    with spent() as one:
        # The first calls are made in one batch, so that callbacks and this thread never ask at once.
        space.home.writer.submit(lambda tx: [again() for _ in range(CALLERS)]).result()
        over.wait()
    return total / one.wall_s, one.own_s / total


def threads(space: Space) -> tuple[float, float]:
    """The same of 64 threads that each block until their receipt is there."""

    def call() -> None:
        ready.wait()
        for _ in range(_EACH):
            space.home.run("contract.request", space.insurer, Request(space.product, "analyse"))

    ready = threading.Barrier(CALLERS + 1)
    running = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in running:
        thread.start()
    ready.wait()
    with spent() as one:
        for thread in running:
            thread.join()
    return CALLERS * _EACH / one.wall_s, one.own_s / (CALLERS * _EACH)


def _over_http() -> Iterator[Figure]:
    with folder() as place:
        disk = {"fdatasync_ms": fdatasync_ms(place)}
        with opened(place) as space:
            ask = {"key": space.insurer_key, "product": space.product}
        # first, while no message of another round waits to be delivered
        whole = _served(place, ask, 20, loops=True)
        alone = [_served(place, ask, 50, loops=False) for _ in range(_ROUNDS)]
    alone.sort(key=lambda one: one["per_s"])
    middle = alone[_ROUNDS // 2]
    beside = {
        **disk, "connections": CALLERS, "node_cpu_ms": middle["node_cpu_ms"],
        "client_cpu_ms": middle["client_cpu_ms"], "p50_ms": middle["p50_ms"], "p99_ms": middle["p99_ms"],
        "with_the_delivery_loop_per_s": whole["per_s"],
    }  # fmt: skip
    yield Figure("`contract.request` durable, 64 connections, HTTP", middle["per_s"], "1/s", "≥ 1200", beside)


def _served(place: Path, ask: dict[str, Any], each: int, *, loops: bool) -> dict[str, float]:
    """What a client process measured against a node process, each with its own CPU."""
    line = [sys.executable, "-m", "bench.node", str(place / "home"), "loops" if loops else "no-loops"]
    node = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert node.stdout is not None and node.stdin is not None
        url = node.stdout.readline().strip()
        _client(url, ask, 2)
        before = process_cpu_s(node.pid)
        found = _client(url, ask, each)
        found["node_cpu_ms"] = (process_cpu_s(node.pid) - before) * 1000 / (CALLERS * each)
        return found
    finally:
        node.terminate()
        node.wait(60)
        time.sleep(0.2)


def _client(url: str, ask: dict[str, Any], each: int) -> dict[str, float]:
    line = [sys.executable, "-m", "bench.caller", url, str(CALLERS), str(each)]
    done = subprocess.run(line, input=json.dumps(ask), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
