"""The child process of the engine plug: one locked database, used for one job, then killed.

Run as a script by path (`python -I worker.py`), so it imports nothing but the standard library
and duckdb. Descriptor 0 is a socket to the parent. What the worker does, in order:

1. gives up its rights (other user, no new privileges, no network, no core file) and says `ready`;
2. receives the job with the open files it may use, and locks the database to exactly these;
3. limits its own address space, then runs statements and answers rows, until the parent kills it.

A message is 8 bytes of length, big-endian, then JSON. Errors leave as a class name and a line
number, never as the engine's text, which may hold a value. The worker ends with its parent: a
thread waits for the socket to close (PR_SET_PDEATHSIG would follow the parent's *thread*).
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import decimal
import json
import os
import re
import resource
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import duckdb

NOBODY = 65534
JOB_BYTES_MAX = 1 << 26
FILES_MAX = 8
FIRST_FILE = 100
"""The job's descriptors are moved to this number and on, so that the parent knows their paths."""
CHUNK_ROWS = 1024
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38
CLONE_NEWIPC_AND_NEWNET = 0x08000000 | 0x40000000


class Limit(Exception):
    """The answer is larger than the job allows."""


class Channel(Protocol):
    """What reading and writing messages needs of a socket."""

    def recv(self, bufsize: int, /) -> bytes:
        """At most `bufsize` bytes; none when the other end is closed."""
        ...

    def sendall(self, data: bytes, /) -> None:
        """Write all of `data`."""
        ...


def path_of(index: int) -> str:
    """The path by which the worker opens the job's file number `index`."""
    return f"/proc/self/fd/{FIRST_FILE + index}"


def main() -> None:
    """Serve one parent until it goes away."""
    import duckdb  # here, so that the parent can share the words above without loading an engine

    channel = socket.socket(fileno=0)
    threading.Thread(target=end_with_parent, args=(channel.fileno(),), daemon=True).start()
    connection = duckdb.connect(":memory:")
    connection.execute("select sum(range), count(*) from range(10)").fetchall()
    give_up_rights()
    send(channel, {"ready": True})
    job, files = receive_job(channel)
    try:
        _lock(connection, job, files)
    except Exception as error:  # whatever it was, the job must not run on an unlocked database
        send(channel, _told(error))
        return
    send(channel, {"ready": True})
    while True:
        step = json.loads(receive(channel, JOB_BYTES_MAX))
        try:
            answer = _rows(connection, step["sql"], step["rows"], step["bytes"])
        except Exception as error:  # MemoryError as well: the parent decides what it means
            answer = json.dumps(_told(error)).encode()
        send_bytes(channel, answer)


def end_with_parent(descriptor: int) -> None:
    """Nothing, ever: ends this process when the other end of the socket is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll(None)
    os._exit(0)


def give_up_rights() -> None:
    """Leave no way to write a file, to gain rights or to reach a network, even outside SQL."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(AttributeError):
        libc.unshare(CLONE_NEWIPC_AND_NEWNET)  # allowed to root only; the lock forbids it to all
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        if os.geteuid() == 0:
            raise PermissionError
    with contextlib.suppress(AttributeError):
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir("/")
    os.umask(0o077)


def _lock(connection: duckdb.DuckDBPyConnection, job: dict[str, Any], files: list[int]) -> None:
    """Close the database to everything but the job's files; nothing can be set afterwards.

    `job`: `memory` (bytes), `beside` (bytes of address space above it), `threads`, `question` (read
    only), `scratch` (bytes to spill; when not 0 the last descriptor is a folder), `setup` (SQL).
    """
    for index, number in enumerate(files):
        os.dup2(number, FIRST_FILE + index, inheritable=False)
        os.close(number)
    paths = [path_of(index) for index in range(len(files))]
    scratch = paths.pop() if job["scratch"] else ""
    if job["question"] and any(os.access(path, os.W_OK) for path in paths):
        raise PermissionError
    allowed = ", ".join(f"'{path}'" for path in paths)
    for setting in (
        f"memory_limit = '{int(job['memory'])}B'",
        f"threads = {int(job['threads'])}",
        f"temp_directory = '{scratch}'",
        f"max_temp_directory_size = '{int(job['scratch'])}B'",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "allow_community_extensions = false",
        "allow_unsigned_extensions = false",
        "allow_persistent_secrets = false",
        "python_enable_replacements = false",
        "python_scan_all_frames = false",
        "enable_logging = false",
        "enable_progress_bar = false",
        "TimeZone = 'UTC'",
        f"preserve_insertion_order = {'false' if job['question'] else 'true'}",
        f"allowed_paths = [{allowed}]",
        "enable_external_access = false",
    ):
        connection.execute(f"set {setting}")
    for statement in job["setup"]:
        connection.execute(statement)
    connection.execute("set lock_configuration = true")
    if job["question"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    limit_memory(int(job["memory"]) + int(job["beside"]))


def limit_memory(more_bytes: int) -> None:
    """Nothing; the process gets no more address space than `more_bytes` above what it has."""
    with open("/proc/self/statm") as status:
        now = int(status.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more_bytes, now + more_bytes))


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, rows_max: int, bytes_max: int) -> bytes:
    """The answer of one statement as JSON, never larger than asked."""
    cursor = connection.execute(sql)
    rows: list[str] = []
    size = 0
    while chunk := cursor.fetchmany(CHUNK_ROWS):
        for row in chunk:
            text = json.dumps([_plain(value) for value in row], ensure_ascii=False)
            size += len(text.encode()) + 1
            if len(rows) == rows_max or size > bytes_max:
                raise Limit
            rows.append(text)
    return ('{"rows":[' + ",".join(rows) + "]}").encode()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str, float)):
        return value
    if isinstance(value, (datetime.date, datetime.datetime, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return str(value)


def _told(error: BaseException) -> dict[str, Any]:
    found = re.search(r"CSV Error on Line: (\d{1,12})", str(error)[:200])
    return {"failed": type(error).__name__, "line": int(found[1]) if found else None}


def send(channel: Channel, message: dict[str, Any]) -> None:
    """Write one message."""
    send_bytes(channel, json.dumps(message).encode())


def send_bytes(channel: Channel, body: bytes) -> None:
    """Write one message that is JSON already."""
    channel.sendall(struct.pack(">Q", len(body)))
    channel.sendall(body)


def receive(channel: Channel, bytes_max: int) -> bytes:
    """The body of the next message; nothing of it is read when it is longer than `bytes_max`."""
    return _exactly(channel, _length(_exactly(channel, 8), bytes_max))


def receive_job(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The job and the descriptors that came with the first byte of its message."""
    head, files, _, _ = socket.recv_fds(channel, 8, FILES_MAX)
    head += _exactly(channel, 8 - len(head))
    return json.loads(_exactly(channel, _length(head, JOB_BYTES_MAX))), files


def _length(head: bytes, bytes_max: int) -> int:
    (length,) = struct.unpack(">Q", head)
    if length > bytes_max:
        raise Limit
    return length


def _exactly(channel: Channel, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = channel.recv(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    with contextlib.suppress(EOFError, OSError):
        main()
