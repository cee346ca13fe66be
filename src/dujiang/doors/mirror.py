"""A log as files (C2SP tlog-tiles): read from a folder, an address or a home, and a folder that follows one.

1. A folder never shows a head whose tiles are not all there: the checkpoint is the last file and is put in whole.
2. It follows one log that only grows: a head that does not continue the folder's own is refused, nothing is replaced.
3. Only what is new is fetched; partial tiles stay for every head the folder has shown.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from dujiang.doors.local import FILE_MISSING, NODE_UNREACHABLE, Answer, Options, reading
from dujiang.kernel.errors import Code, Exit, Refused, Unavailable
from dujiang.ledger.note import Checkpoint, NotANote, read_checkpoint
from dujiang.ledger.tile import NotATile, Place, entries_of, hashes_of, places, width_in
from dujiang.ledger.tree import Prover

if TYPE_CHECKING:
    import httpx2

LOG_ELSEWHERE = Code(
    "log_elsewhere", 409, Exit.conflict,
    "The folder holds another log, or a head that this one does not continue; nothing was changed.",
    "Choose an empty folder; if it is the same log, keep this one: the log was rewritten.",
    "该目录保存的是另一份日志，或其检查点不是本日志的前缀；未作任何更改。",
    "请另选空目录；若为同一日志，请保留该目录：日志曾被改写。",
)  # fmt: skip
LOG_INCOMPLETE = Code(
    "log_incomplete", 502, Exit.failure,
    "The log cannot be copied: {path} is missing or not what the checkpoint says.",
    "Try again; if it stays so, `dujiang verify` says what is wrong with that log.",
    "无法复制日志：{path} 缺失，或与检查点不符。", "请重试；若依旧如此，用 `dujiang verify` 查看该日志的问题。",
)  # fmt: skip
LOG_SLOW = Code(
    "log_slow", 504, Exit.failure,
    "The log at this address is too slow: a part of it took longer than a minute, or the whole longer than an hour.",
    "Try again later, or have whoever runs it send you the log as a folder.",
    "该地址的日志过慢：单个部分超过一分钟，或全部超过一小时。", "请稍后重试，或请日志运营方以目录形式提供该日志。",
)  # fmt: skip
CODES = (LOG_ELSEWHERE, LOG_INCOMPLETE, LOG_SLOW)
Deed = Callable[[Options], Answer]
Source = Callable[[str], bytes | None]
"""The bytes at an address below the log's, or None where there is nothing."""
_PIECE_BYTES_MAX = 256 * 65_537
_TRIES = 5
_PIECE_S = 60.0
_WAIT_S_MAX = 10.0


def tiles(folder: Path) -> Deed:
    """Write the log as files that everybody can check (C2SP tlog-tiles), or bring such a folder up to date.

    Parameters
    ----------
    folder
        Where: a new folder, or one this command has written before.
    """

    def deed(options: Options) -> Answer:
        with _source(options) as source:
            before, head, count = followed(folder, source)
        body = {
            "folder": str(folder),
            "origin": head.origin,
            "before": before,
            "size": head.size,
            "files": count,
        }
        return Answer(body)

    return deed


@contextmanager
def _source(options: Options) -> Iterator[Source]:
    """The log the options mean: of the node that is named or holds the home, or of the home itself."""
    from dujiang import home
    from dujiang.ledger import published

    url = options.node or home.holder(options.home)
    if url:
        with at(f"{url.rstrip('/')}/log") as source:
            yield source
        return
    with home.opened(options.home) as held, held.node.database.reading() as db:
        yield lambda path: published.file(db, path, held.node.clock.now_ms())


def below(folder: Path) -> Source:
    """The log that lies in a folder."""

    def read(path: str) -> bytes | None:
        try:
            with reading(folder / path) as file:
                return file.read(_PIECE_BYTES_MAX + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            raise Refused(FILE_MISSING, name=path.rpartition("/")[2]) from None

    return read


@contextmanager
def at(url: str, whole_s: float = math.inf) -> Iterator[Source]:
    """The log at an address, waited for where it says that it is asked too much.

    No part of it takes longer than a minute, and all of them together no longer than `whole_s`: whoever sends a byte
    now and then keeps nobody. The requests are made on a thread of their own, which is left behind then.
    Raises: Unavailable node_unreachable, log_slow.
    """
    asked: SimpleQueue[str | None] = SimpleQueue()
    answers: SimpleQueue[bytes | None | Exception] = SimpleQueue()
    ends = time.monotonic() + whole_s
    threading.Thread(target=_fetch, args=(url, asked, answers), name="log", daemon=True).start()

    def read(path: str) -> bytes | None:
        asked.put(path)
        try:
            found = answers.get(timeout=min(_PIECE_S, max(0.0, ends - time.monotonic())))
        except Empty:
            raise Unavailable(LOG_SLOW) from None
        if isinstance(found, Exception):
            raise found
        return found

    try:
        yield read
    finally:
        asked.put(None)


def _fetch(url: str, asked: SimpleQueue[str | None], answers: SimpleQueue[bytes | None | Exception]) -> None:
    """Answers one request after another, until there is none."""
    import httpx2

    with httpx2.Client(timeout=httpx2.Timeout(30.0, connect=10.0), follow_redirects=False) as client:
        while (path := asked.get()) is not None:
            try:
                answers.put(_got(client, f"{url.rstrip('/')}/{path}"))
            except Exception as error:
                answers.put(error)


def _got(client: httpx2.Client, place: str) -> bytes | None:
    """What lies at an address, or None where nothing does.

    Raises: Unavailable node_unreachable.
    """
    import httpx2

    for turn in range(_TRIES):
        try:
            with client.stream("GET", place) as reply:
                if reply.status_code == 200:
                    return _bounded(reply.iter_bytes())
                if reply.status_code in (404, 410):
                    return None
                wait = reply.headers.get("retry-after", "")
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL):
            break
        except httpx2.HTTPError:
            wait = ""
        time.sleep(min(_WAIT_S_MAX, float(wait) if wait.isdecimal() else 0.2 * (turn + 1)))
    raise Unavailable(NODE_UNREACHABLE)


def followed(folder: Path, source: Source) -> tuple[int, Checkpoint, int]:
    """The size a folder had, the head it has now and how many files that took.

    Raises: Refused log_elsewhere; Unavailable log_incomplete, node_unreachable.
    """
    own, raw = below(folder)("checkpoint"), source("checkpoint")
    head = _head(raw)
    old = None if own is None else _head(own)
    since = 0 if old is None else old.size
    # A log that goes on under a new name continues the old one; two that are empty still are two.
    if old is not None and not since and head.origin != old.origin:
        raise Refused(LOG_ELSEWHERE)
    if old is not None and head.size < since:
        # A log may show an older head for a while, which witnesses have cosigned: the folder stays ahead.
        try:
            _check(below(folder), old, head)
        except Unavailable:
            raise Refused(LOG_ELSEWHERE) from None
        return since, old, 0
    _check(source, head, old)
    fresh = list(places(head.size, since))
    for place in fresh:
        _write(folder / place.path, _piece(source, place))
    _check(below(folder), head, old)
    if raw != own:
        for name in ("vkeys", "keys"):  # another program's log has none
            if (said := source(name)) is not None:
                _write(folder / name, said)
        os.sync()  # the tiles are on the disk before a head says so, also after a loss of power
        assert raw is not None
        _write(folder / "checkpoint", raw)
    return since, head, len(fresh)


def _head(raw: bytes | None) -> Checkpoint:
    try:
        return read_checkpoint((raw or b"").decode())
    except (NotANote, UnicodeDecodeError):
        raise Unavailable(LOG_INCOMPLETE, path="checkpoint") from None


def _piece(source: Source, place: Place) -> bytes:
    """The bytes of a place, as many as it says."""
    raw = source(place.path)
    try:
        if raw is None:
            raise NotATile
        parts = (entries_of if place.level is None else hashes_of)(raw, place.width)
        if len(raw) != sum(map(len, parts)) + (2 * len(parts) if place.level is None else 0):
            raise NotATile
    except NotATile:
        raise Unavailable(LOG_INCOMPLETE, path=place.path) from None
    return raw


def _check(read: Source, head: Checkpoint, old: Checkpoint | None) -> None:
    """Nothing where the tiles give the new root and, of their beginning, the old one."""

    def fetch(level: int, number: int) -> list[bytes]:
        count = width_in(head.size, level, number)
        return hashes_of(_piece(read, Place(level, number, count)), count)

    if Prover(head.size, fetch).root() != head.root:
        raise Unavailable(LOG_INCOMPLETE, path="checkpoint")
    if old is not None and Prover(old.size, fetch).root() != old.root:
        raise Refused(LOG_ELSEWHERE)


def _write(place: Path, raw: bytes) -> None:
    """Puts a file in whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(raw)
        if place.name == "checkpoint":
            file.flush()
            os.fsync(file.fileno())
    draft.replace(place)


def _bounded(parts: Iterator[bytes]) -> bytes:
    found = bytearray()
    for part in parts:
        found += part
        if len(found) > _PIECE_BYTES_MAX:
            raise Unavailable(NODE_UNREACHABLE)
    return bytes(found)


def vkeys_of(source: Source) -> list[str]:
    """The keys that a log says are its own."""
    raw = source("vkeys") or b""
    return [line for line in raw.decode("utf-8", "replace").splitlines() if line]
