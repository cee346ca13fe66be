"""The log as everybody may read it: `GET /log/…`, by no account and without a word of who reads (C2SP tlog-tiles).

1. A tile or bundle only grows until it is full: each part of it may be kept for ever, and is cut here from the
   longest that was read.
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
from dujiang.ledger.tile import NotATile, Place, beginning, place_of
from dujiang.ledger.tree import WIDTH

_PREFIX = "/log/"
_KEPT_BYTES_MAX = 32 << 20
_OVERHEAD_BYTES = 200
_OPEN = ((b"access-control-allow-origin", b"*"), (b"cross-origin-resource-policy", b"cross-origin"))
_FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")
_ANEW = (b"cache-control", b"no-cache")
_TEXT, _JSON, _BYTES = b"text/plain; charset=utf-8", b"application/json", b"application/octet-stream"


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
        changes = published.changes(path)
        headers = [*_OPEN, _ANEW if changes else _FOREVER, (b"etag", mark.encode())]
        if _has(scope, mark):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        kind = _JSON if path == published.KEYS else _TEXT if changes else _BYTES
        headers += [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _found(self, path: str) -> bytes | None:
        """The bytes at an address: of a tile or bundle that is kept, as much as is asked for."""
        if published.changes(path):
            return await self._desk.read(self._read, path)
        try:
            place = place_of(path)
        except NotATile:
            return None
        whole = place._replace(width=WIDTH).path
        kept = self._shelf.get(whole)
        found = None if kept is None else beginning(kept, place)
        if found is None:
            # Whatever part of it is asked for next is in what is read now, until the log grows.
            kept = await self._desk.read(self._piece, place)
            if kept is None:
                return None
            self._shelf.put(whole, kept)
            found = beginning(kept, place)
        return found

    def _read(self, path: str) -> bytes | None:
        node = self._desk.home.node
        with node.database.reading() as db:
            body = published.file(db, path, node.clock.now_ms(), self._given)
        if body is not None and path == published.CHECKPOINT:
            self._given = max(self._given, int(body.split(b"\n", 2)[1]))
        return body

    def _piece(self, place: Place) -> bytes | None:
        with self._desk.home.node.database.reading() as db:
            return published.piece(db, place)


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
        """Keeps a piece in place of what it had of it, and lets go of those nobody asked for the longest."""
        before = self._kept.pop(path, None)
        self.bytes += len(body) + _OVERHEAD_BYTES
        self.bytes -= 0 if before is None else len(before) + _OVERHEAD_BYTES
        self._kept[path] = body
        while self.bytes > self._bytes_max:
            _, gone = self._kept.popitem(last=False)
            self.bytes -= len(gone) + _OVERHEAD_BYTES


def _has(scope: Scope, mark: str) -> bool:
    """Whether the sender has what is marked so already (RFC 9110 §13.1.2)."""
    known = gate.header(scope, b"if-none-match")
    if known is None:
        return False
    return known.strip() == "*" or mark in (each.strip().removeprefix("W/") for each in known.split(","))
