"""Bytes in (数据门): a file of an organisation becomes an upload, whole and durable, or nothing is left.

1. The bytes go to `uploads/<organisation>/<upl id>.part`; the name of the file lies beside it in `.name`.
2. Both are on the disk before the file gets its own name; only a file with its own name exists for anybody.
3. Uploads are for registering soon: what is older than a day, and every part, is swept when a node starts.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from typing import Any

from dujiang.home import Home
from dujiang.kernel.act import Caller
from dujiang.kernel.errors import Code, Exit, Refused, Unavailable
from dujiang.kernel.ids import new_id
from dujiang.kernel.plugs import Blobs
from dujiang.kernel.runner import FORBIDDEN
from dujiang.plugs.folder import sync_folder
from dujiang.registry import acts as registry

UPLOAD_TOO_LARGE = Code(
    "upload_too_large", 413, Exit.usage,
    "The file is larger than the {most} bytes this node takes.",
    "Give a smaller file, or raise upload_bytes_max in config.toml.",
    "文件超过本节点允许的 {most} 字节。", "请提供较小的文件，或在 config.toml 中调大 upload_bytes_max。",
)  # fmt: skip
DISK_LOW = Code(
    "disk_low", 507, Exit.failure,
    "There is too little free disk here for this file.", "Make room on this node's disk, then try again.",
    "本节点剩余磁盘空间不足以接收该文件。", "请在本节点磁盘上腾出空间后重试。",
)  # fmt: skip
UPLOAD_FAILED = Code(
    "upload_failed", 503, Exit.failure,
    "The file could not be kept here; nothing of it was.", "Run `dujiang doctor`, then try again.",
    "文件未能保存；未留下任何部分。", "请运行 `dujiang doctor` 后重试。",
)  # fmt: skip
UPLOAD_CUT = Code(
    "upload_cut", 400, Exit.failure,
    "The file did not arrive whole; nothing of it was kept.", "Send it again.",
    "文件未完整到达；未留下任何部分。", "请重新发送。",
)  # fmt: skip
STORED_TOO_MUCH = Code(
    "stored_too_much", 413, Exit.refused,
    "Your organisation keeps {most} MB here, which is all it may.",
    "Ask the operator to raise org_stored_mb_max in config.toml.",
    "贵机构在此存储已达 {most} MB 上限。", "请联系运营方在 config.toml 中调大 org_stored_mb_max。",
)  # fmt: skip
CODES = (UPLOAD_TOO_LARGE, DISK_LOW, UPLOAD_FAILED, UPLOAD_CUT, STORED_TOO_MUCH)
_ROLE = "provider"
_DAY_MS = 86_400_000
_NAME_CHARACTERS_MAX = 200
_LOOK_AT_DISK_BYTES = 16 * 1024 * 1024
_READ_BYTES = 1024 * 1024


class Upload:
    """A file on its way in: `write` its bytes, then `keep` it or `abandon` it."""

    def __init__(self, home: Home, caller: Caller, name: str, expected: int | None = None) -> None:
        """Opens a place for a file of the caller's organisation.

        `expected`: its size in bytes, if the sender said it; `name`: as the sender calls it.
        Raises: Refused forbidden, upload_too_large, stored_too_much; Unavailable disk_low, upload_failed, ….
        """
        if not caller.org or _ROLE not in caller.roles:
            raise Refused(FORBIDDEN, roles=_ROLE)
        self._blobs, config = home.node.blobs, home.node.config
        self._most, self._reserve = config.upload_bytes_max, config.disk_free_mb_min * 1024 * 1024
        self._size, self._looked = 0, 0
        self._stored = _stored_bytes(home, caller.org)
        self._stored_mb_max = config.org_stored_mb_max
        self._fits(expected or 0)
        self.id = new_id("upl", home.node.clock.now_ms())
        self._key = f"uploads/{caller.org}/{self.id}"
        self._part = self._blobs.room(f"{self._key}.part")
        self._name = name
        with _kept_honest():
            self._file = open(self._part, "xb", opener=_private)  # noqa: SIM115

    def write(self, chunk: bytes) -> None:
        """Adds bytes.

        Raises: Refused upload_too_large; Unavailable disk_low, upload_failed.
        """
        self._size += len(chunk)
        if self._size > self._most or self._size - self._looked > _LOOK_AT_DISK_BYTES:
            self._fits(self._size, len(chunk))
            self._looked = self._size
        with _kept_honest():
            self._file.write(chunk)

    def keep(self) -> str:
        """The upload's id; when this returns, the bytes are durable.

        Raises: Unavailable upload_failed.
        """
        label = self._blobs.path(f"{self._key}.name")
        with _kept_honest():
            _durable(self._file)
            with open(label, "xb", opener=_private) as named:
                named.write(file_name(self._name).encode())
                _durable(named)
            os.rename(self._part, self._blobs.path(self._key))
            for place in (self._part.parent, self._part.parent.parent):
                sync_folder(place)
        return self.id

    def abandon(self) -> None:
        """Removes whatever there is of it; never raises."""
        with contextlib.suppress(OSError, Unavailable):
            self._file.close()
        _drop(self._blobs, self._key)

    def _fits(self, size: int, more: int | None = None) -> None:
        if size > self._most:
            raise Refused(UPLOAD_TOO_LARGE, most=self._most)
        if self._stored_mb_max and self._stored + size > self._stored_mb_max << 20:
            raise Refused(STORED_TOO_MUCH, most=self._stored_mb_max)
        if self._blobs.free_bytes() - (size if more is None else more) < self._reserve:
            raise Unavailable(DISK_LOW)


def keep_upload(home: Home, caller: Caller, name: str, chunks: Iterable[bytes]) -> str:
    """The id of a kept file; when this returns, its bytes are durable.

    Raises: Refused forbidden, upload_too_large; Unavailable disk_low, upload_failed, files_failed.
    """
    upload = Upload(home, caller, name)
    try:
        for chunk in chunks:
            upload.write(chunk)
        return upload.keep()
    except BaseException:
        upload.abandon()
        raise


def drop_upload(home: Home, caller: Caller, upload: str) -> None:
    """Removes an upload of the caller's organisation, if it is there; never raises."""
    _drop(home.node.blobs, f"uploads/{caller.org}/{upload}")


async def receive(
    home: Home, work: Callable[..., Awaitable[Any]], caller: Caller, name: str, expected: int | None,
    chunks: AsyncIterable[bytes],
) -> str:  # fmt: skip
    """The id of a file kept while it streams in; `work` runs a blocking function on a thread.

    Raises: as `keep_upload`; whatever ends the stream early leaves nothing.
    """
    upload: Upload = await work(Upload, home, caller, name, expected)
    try:
        waiting, size = list[bytes](), 0
        async for chunk in chunks:
            waiting.append(chunk)
            size += len(chunk)
            if size >= _READ_BYTES:
                await work(upload.write, b"".join(waiting))
                waiting, size = [], 0
        await work(upload.write, b"".join(waiting))
        return await work(upload.keep)
    except BaseException:
        upload.abandon()
        raise


def sweep(home: Home) -> int:
    """The number of files removed: parts nobody is writing any more, and uploads older than a day."""
    root = home.node.blobs.path("uploads")
    oldest = home.node.clock.now_ms() - _DAY_MS
    swept = 0
    for file in root.glob("*/upl_*"):
        with contextlib.suppress(OSError):
            if file.suffix == ".part" or file.stat().st_mtime_ns // 1_000_000 < oldest:
                file.unlink()
                swept += 1
    return swept


def file_name(given: str) -> str:
    """The last part of a name a sender gave, printable and of modest length; "table" if nothing is left."""
    last = given.replace("\\", "/").rpartition("/")[2]
    kept = "".join(character for character in last if character.isprintable())[-_NAME_CHARACTERS_MAX:]
    return kept.encode("utf-8", "ignore").decode().strip(". ") or "table"


def _stored_bytes(home: Home, org: str) -> int:
    """Bytes of an organisation's uploads and registered files, as they lie on the disk."""
    with home.node.database.reading() as db:
        keys = registry.files(db, org)
    places = [home.node.blobs.path(key) for key in keys]
    places += home.node.blobs.path("uploads").glob(f"{org}/*")
    size = 0
    for place in places:
        with contextlib.suppress(OSError):
            size += place.stat().st_size
    return size


def _drop(blobs: Blobs, key: str) -> None:
    for tail in ("", ".part", ".name"):
        with contextlib.suppress(Unavailable):
            blobs.drop(f"{key}{tail}")


@contextlib.contextmanager
def _kept_honest() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise Unavailable(DISK_LOW if full else UPLOAD_FAILED) from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _durable(file: object) -> None:
    file.flush()  # type: ignore[attr-defined]
    os.fsync(file.fileno())  # type: ignore[attr-defined]
    file.close()  # type: ignore[attr-defined]
