"""A client process of `ledger.attest`: `python -m bench.attester URL CONNECTIONS CALLS`, the API key on stdin.

Bodies are made before the clock starts, replies are read whole, and receipts are verified after it stops:
what is measured beside the node is what any client has to do.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections import deque
from typing import Any, cast

import uvloop

from bench.readings import CALL, readings
from dujiang.ledger.lot import receipts_of
from dujiang.ledger.rules import verify

_BODIES = 64
_KEPT_EVERY, _VERIFIED_EVERY = 8, 100


class Connection(asyncio.Protocol):
    """One connection that sends the next call as soon as the last is answered."""

    def __init__(self, bodies: list[bytes], calls: deque[int], head: str, over: asyncio.Future[None]) -> None:
        self._bodies, self._calls, self._head, self.over = bodies, calls, head, over
        self._parts: list[bytes] = []
        self._missing = -1
        self.times: list[float] = []
        self.kept: list[tuple[int, bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first call."""
        # uvloop's transports write but do not inherit from asyncio's class that says so.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Takes a piece of an answer; with the last one sends the next call.

        Raises: RuntimeError where the node did not do what it was asked.
        """
        self._parts.append(data)
        if self._missing < 0:
            whole = b"".join(self._parts)
            end = whole.find(b"\r\n\r\n")
            if end < 0:
                return
            if whole[9:11] != b"20":
                self.over.set_exception(RuntimeError(whole[:2000].decode("utf-8", "replace")))
                return
            at = whole.lower().index(b"content-length:", 0, end) + 15
            self._missing = int(whole[at : whole.index(b"\r\n", at)]) + end + 4 - len(whole)
            self._parts = [whole[end + 4 :]]
        else:
            self._missing -= len(data)
        if self._missing == 0:
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the run if the node hung up."""
        if not self.over.done():
            self.over.set_exception(exc or RuntimeError("the node hung up"))

    def _answered(self) -> None:
        self.times.append(time.perf_counter() - self._begun)
        if len(self.times) % _KEPT_EVERY == 1:
            self.kept.append((self._asked, b"".join(self._parts)))
        self._parts, self._missing = [], -1
        if self._calls:
            self._send()
        else:
            self.over.set_result(None)
            self._transport.close()

    def _send(self) -> None:
        self._asked = self._calls.popleft()
        body = self._bodies[self._asked]
        head = f"{self._head}Idempotency-Key: {uuid.uuid4().hex}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._begun = time.perf_counter()
        self._transport.writelines((head.encode(), body))


async def run(host: str, port: int, key: str, connections: int, calls: int) -> dict[str, float]:
    """Entries a second, microseconds of CPU an entry here, and how long a call took."""
    bodies = [
        json.dumps({"kind": "meter-reading", "records": readings(at * CALL)}, separators=(",", ":")).encode()
        for at in range(min(calls, _BODIES))
    ]
    left = deque(at % _BODIES for at in range(calls))
    head = (
        f"POST /v1/ledger/attest HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\n"
    )
    loop = asyncio.get_running_loop()
    made = [Connection(bodies, left, head, loop.create_future()) for _ in range(min(connections, calls))]
    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(loop.create_connection(lambda one=one: one, host, port) for one in made))
    await asyncio.gather(*(one.over for one in made))
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    times = sorted(took for one in made for took in one.times)
    count = len(times)
    assert count == calls
    return {
        "calls": count, "per_s": count * CALL / wall, "client_cpu_us": cpu * 1e6 / (count * CALL),
        "p50_ms": times[count // 2] * 1000, "p99_ms": times[count * 99 // 100] * 1000,
        "verified": sum(verified(asked, json.loads(body)) for one in made for asked, body in one.kept),
    }  # fmt: skip


def verified(asked: int, answer: dict[str, Any]) -> int:
    """How many receipts of an answer were verified, every hundredth; each must hold.

    Raises: AssertionError where one does not.
    """
    assert answer["count"] == CALL, answer["count"]
    receipts = receipts_of(answer["receipt"], readings(asked * CALL))
    chosen = range(0, CALL, _VERIFIED_EVERY)
    for place in chosen:
        verdict = verify(receipts[place], None)
        assert verdict.ok and verdict.index == answer["first"] + place, verdict.step
    return len(chosen)


def main() -> None:
    """Prints what it measured as JSON."""
    url, connections, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    host, _, port = url.partition("://")[2].partition(":")
    print(json.dumps(uvloop.run(run(host, int(port), sys.stdin.read().strip(), connections, calls))))


if __name__ == "__main__":
    main()
