"""The log as everybody may read it: `GET /log/…`, by no account and without a word of who reads (C2SP tlog-tiles).

1. A tile or bundle never changes: it may be kept for ever, also by this door, which keeps the full ones it gave.
2. The newest checkpoint and the keys are asked for anew each time; who has them already is told so.
3. What is not there, was never there or has no such name gets one and the same answer, which nobody keeps.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256

from dujiang.doors import gate
from dujiang.doors.desk import Desk
from dujiang.doors.gate import Receive, Scope, Send
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.ledger import published

_PREFIX = "/log/"
_KEPT_BYTES_MAX = 32 << 20
_OVERHEAD_BYTES = 200
_PATH_CHARACTERS_MAX = 64
_OPEN = ((b"access-control-allow-origin", b"*"), (b"cross-origin-resource-policy", b"cross-origin"))
_FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")
_ANEW = (b"cache-control", b"no-cache")
_BYTES, _TEXT = (
    (b"content-type", b"application/octet-stream"),
    (b"content-type", b"text/plain; charset=utf-8"),
)


class LogDoor:
    """The log of one home, as a bare ASGI application."""

    path = "/log/{path}"
    """How its requests are called in the journal."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._shelf = Shelf(_KEPT_BYTES_MAX)
        self._given = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        del receive
        scope["route"] = self
        self._desk.count_reader(scope)
        path = scope["path"].removeprefix(_PREFIX)
        body = await self._found(path)
        if body is None:
            raise Refused(NOT_FOUND)
        mark = f'"{sha256(body).hexdigest()[:32]}"'
        lasting = path.startswith("tile/")
        headers = [*_OPEN, _FOREVER if lasting else _ANEW, (b"etag", mark.encode())]
        if _has(scope, mark):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        headers += [_BYTES if lasting else _TEXT, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _found(self, path: str) -> bytes | None:
        if len(path) > _PATH_CHARACTERS_MAX:
            return None
        kept = self._shelf.get(path)
        if kept is not None:
            return kept
        body = await self._desk.read(self._read, path)
        if body is not None and path.startswith("tile/") and ".p/" not in path:
            self._shelf.put(path, body)
        return body

    def _read(self, path: str) -> bytes | None:
        node = self._desk.home.node
        with node.database.reading() as db:
            body = published.file(db, path, node.clock.now_ms(), self._given)
        if body is not None and path == published.CHECKPOINT:
            self._given = max(self._given, int(body.split(b"\n", 2)[1]))
        return body


class Shelf:
    """The pieces that were asked for last, up to so many bytes; on the event loop's thread alone."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self.bytes = 0
        """How many bytes are kept, with what keeping them costs."""

    def get(self, path: str) -> bytes | None:
        """The piece of a path, if it is kept."""
        found = self._kept.get(path)
        if found is not None:
            self._kept.move_to_end(path)
        return found

    def put(self, path: str, body: bytes) -> None:
        """Keeps a piece, and lets go of those nobody asked for the longest."""
        if path in self._kept:
            return
        self._kept[path] = body
        self.bytes += len(body) + _OVERHEAD_BYTES
        while self.bytes > self._bytes_max:
            _, gone = self._kept.popitem(last=False)
            self.bytes -= len(gone) + _OVERHEAD_BYTES


def _has(scope: Scope, mark: str) -> bool:
    """Whether the sender has what is marked so already (RFC 9110 §13.1.2)."""
    known = gate.header(scope, b"if-none-match")
    if known is None:
        return False
    return known.strip() == "*" or mark in (each.strip().removeprefix("W/") for each in known.split(","))
