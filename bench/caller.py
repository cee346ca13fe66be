"""A light client process: `python -m bench.caller URL CONNECTIONS EACH`, key and product on stdin.

Requests are bytes made once and answers are only counted by their length: what is measured is the node.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import uvloop


class Connection(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes, count: int, done: asyncio.Future[None], times: list[float]) -> None:
        self._request, self._left, self._done, self._times = request, count, done, times
        self._got = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the first time."""
        # uvloop's transports write but do not inherit from asyncio's class that says so.
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Counts a whole answer and asks again.

        Raises: RuntimeError where the node did not do what it was asked.
        """
        self._got += data
        head = self._got.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._got.lower().index(b"content-length:", 0, head) + 15
        length = int(self._got[at : self._got.index(b"\r\n", at)])
        if len(self._got) < head + 4 + length:
            return
        if self._got[9:11] != b"20":
            self._done.set_exception(RuntimeError(bytes(self._got).decode()))
            return
        self._got.clear()
        self._times.append(time.perf_counter() - self._begun)
        self._left -= 1
        if self._left:
            self._ask()
        else:
            self._transport.close()
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the run if the node hung up."""
        if not self._done.done():
            self._done.set_exception(exc or RuntimeError("the node hung up"))

    def _ask(self) -> None:
        self._begun = time.perf_counter()
        self._transport.write(self._request)


async def run(host: str, port: int, request: bytes, connections: int, each: int) -> dict[str, float]:
    """Requests a second, milliseconds of CPU a request here, and how long one waited."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    done = [loop.create_future() for _ in range(connections)]
    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(
        *(loop.create_connection(lambda f=f: Connection(request, each, f, times), host, port) for f in done)
    )
    await asyncio.gather(*done)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    times.sort()
    count = len(times)
    return {
        "per_s": count / wall, "client_cpu_ms": cpu * 1000 / count,
        "p50_ms": times[count // 2] * 1000, "p99_ms": times[count * 99 // 100] * 1000,
    }  # fmt: skip


def main() -> None:
    """Prints what it measured as JSON."""
    url, connections, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    host, _, port = url.partition("://")[2].partition(":")
    ask = json.load(sys.stdin)
    body = json.dumps({"product": ask["product"], "purpose": "analyse"}).encode()
    head = (
        f"POST /v1/contract/request HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {ask['key']}\r\n"
        f"Prefer: respond-async\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    print(json.dumps(uvloop.run(run(host, int(port), head.encode() + body, connections, each))))


if __name__ == "__main__":
    main()
