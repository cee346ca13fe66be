"""Files of a home in a folder: 0700, whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import threading
from pathlib import Path

from dujiang.kernel.errors import Code, Exit, Unavailable

FILES_FAILED = Code(
    "files_failed", 503, Exit.failure,
    "The home's files cannot be written.", "Run `dujiang doctor`: it names the disk, the folder and the permission.",
    "无法写入本节点的文件。", "请运行 `dujiang doctor`，它会指出磁盘、目录和权限问题。",
)  # fmt: skip
CODES = (FILES_FAILED,)
_KEY = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+(\.[a-z0-9]+)*)*")


class Folder:
    """Blobs in a local folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._making = threading.Lock()

    def path(self, key: str) -> Path:
        """Where the file of `key` lies; keys are lower-case words, digits and slashes."""
        if not _KEY.fullmatch(key):
            raise ValueError("not a key")
        return self._root / key

    def room(self, key: str) -> Path:
        """A place for a new file: its folder exists, durably."""
        place = self.path(key)
        try:
            # One at a time: nobody may use a folder that somebody else has made and not yet synced.
            with self._making:
                _make(place.parent)
        except OSError:
            raise Unavailable(FILES_FAILED) from None
        return place

    def drop(self, key: str) -> None:
        """Removes the file, or the folder with all in it, if there is one."""
        place = self.path(key)
        try:
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
        except OSError:
            raise Unavailable(FILES_FAILED) from None

    def below(self, key: str) -> list[str]:
        """The keys one step below a key; names that are no keys are left out."""
        place = self.path(key)
        names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
        return [f"{key}/{name}" for name in names if _KEY.fullmatch(f"{key}/{name}")]

    def free_bytes(self) -> int:
        """Bytes left on the disk."""
        try:
            return shutil.disk_usage(self._root).free
        except OSError:
            raise Unavailable(FILES_FAILED) from None


def sync_file(place: Path) -> None:
    """Nothing; when this returns, the bytes of the file survive a power cut.

    Raises: OSError.
    """
    _sync(place, os.O_RDONLY)


def sync_folder(place: Path) -> None:
    """Nothing; when this returns, what the folder says is in it survives a power cut.

    Raises: OSError.
    """
    _sync(place, os.O_RDONLY | os.O_DIRECTORY)


def _sync(place: Path, how: int) -> None:
    handle = os.open(place, how)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make(place: Path) -> None:
    if place.is_dir():
        return
    _make(place.parent)
    place.mkdir(mode=0o700, exist_ok=True)
    sync_folder(place.parent)
