"""How far the log of a home has come, kept beside the home: a database put back from yesterday is found out.

1. The file lies beside the home, as the master key does: whoever puts an older home back leaves it as it was.
2. It is written after a commit is durable and before anybody is answered, so it is never ahead of the database.
3. It reaches the disk within some two seconds, on a thread of its own: a killed process loses nothing of it, a
   power cut may set it back by as much.
4. Where it was removed or replaced while the home is open, it is made anew: what is committed must not be forgotten.
5. Two places are written in turn, each with its hash: one that was torn leaves the other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from dujiang.kernel.errors import Code, Exit, Unavailable
from dujiang.plugs.folder import sync_folder

HIGH_WATER_FAILED = Code(
    "high_water_failed", 503, Exit.failure,
    "The file beside the home that says how far its log has come cannot be written.",
    "Make the folder of the home writable for this user, or name another file in DUJIANG_HIGH_WATER.",
    "无法写入节点目录旁记录日志进度的文件。",
    "请使当前用户可写该目录的上级目录，或用 DUJIANG_HIGH_WATER 指定其他文件。",
)  # fmt: skip
CODES = (HIGH_WATER_FAILED,)
_PLACE_BYTES = 4096
_SYNC_S = 2.0


@dataclass(frozen=True, slots=True)
class Mark:
    """The newest signed checkpoint a home has answered for."""

    home: str
    """The home's own mark, as in its home.json: the file of another home says nothing about this one."""
    note: str
    """The signed checkpoint."""
    turn: int = 0
    """Counts up; the higher of two places is the newer one."""


def path_of(home: Path) -> Path:
    """Where the file of a home lies: beside it, unless DUJIANG_HIGH_WATER names a file.

    By whatever name a home is reached, through links or not, the file is the one: two would each be behind the other.
    """
    if named := os.environ.get("DUJIANG_HIGH_WATER"):
        return Path(named)
    real = home.resolve()
    return real.parent / f"{real.name}.high"


def read(path: Path) -> Mark | None:
    """The mark of a file, or None where there is none that can be read."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    found = [_mark(raw[at : at + _PLACE_BYTES]) for at in (0, _PLACE_BYTES)]
    return max((each for each in found if each is not None), key=lambda each: each.turn, default=None)


def write(path: Path, mark: Mark) -> None:
    """Makes the file anew, durably, whatever it said before.

    Raises: Unavailable high_water_failed.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(_place(mark) * 2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
        sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise Unavailable(HIGH_WATER_FAILED) from None


class HighWater:
    """The open file of one home; `raise_to` is called by the writer's thread alone."""

    def __init__(self, path: Path, mark: Mark) -> None:
        """`mark`: what the file says now.

        Raises: Unavailable high_water_failed.
        """
        try:
            self._handle = os.open(path, os.O_WRONLY)
        except OSError:
            raise Unavailable(HIGH_WATER_FAILED) from None
        self._path = path
        self._mark = mark
        self.failed = False
        """Whether the last write failed: then the file is behind, and guards less than it could."""
        self._written, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._sync, name="high-water", daemon=True)
        self._thread.start()

    @property
    def note(self) -> str:
        """The checkpoint last written."""
        return self._mark.note

    def raise_to(self, note: str) -> None:
        """Writes a newer checkpoint; never raises: what is committed is committed."""
        if note == self._mark.note:
            return
        mark = Mark(self._mark.home, note, self._mark.turn + 1)
        try:
            if os.fstat(self._handle).st_nlink:
                os.pwrite(self._handle, _place(mark), _PLACE_BYTES * (mark.turn % 2))
            else:
                self._again(mark)
        except (OSError, Unavailable):
            self.failed = True
            return
        self._mark, self.failed = mark, False
        self._written.set()

    def close(self) -> None:
        """Ends the thread; what was written is on the disk then. A second call does nothing."""
        if self._end.is_set():
            return
        self._end.set()
        self._written.set()
        self._thread.join()
        handle, self._handle = self._handle, -1  # its number may be another file's from now on
        os.close(handle)

    def _again(self, mark: Mark) -> None:
        write(self._path, mark)
        # In the place of the handle itself: the thread that syncs it knows no other.
        fresh = os.open(self._path, os.O_WRONLY)
        os.dup2(fresh, self._handle)
        os.close(fresh)

    def _sync(self) -> None:
        while not self._end.is_set():
            self._written.wait()
            self._written.clear()
            with contextlib.suppress(OSError):
                os.fdatasync(self._handle)
            self._end.wait(_SYNC_S)
        with contextlib.suppress(OSError):
            os.fdatasync(self._handle)


def _place(mark: Mark) -> bytes:
    said = json.dumps([mark.turn, mark.home, mark.note]).encode()
    return (hashlib.sha256(said).hexdigest().encode() + b" " + said).ljust(_PLACE_BYTES - 1) + b"\n"


def _mark(place: bytes) -> Mark | None:
    digest, _, said = place.strip().partition(b" ")
    if hashlib.sha256(said).hexdigest().encode() != digest:
        return None
    turn, home, note = json.loads(said)
    return Mark(home, note, turn)
