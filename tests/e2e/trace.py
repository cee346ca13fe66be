"""System calls of a node as strace saw them, and what would be on the disk after a power cut at any of them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_CALLS = "write,pwrite64,writev,sendto,sendmsg,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink"
_LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)", re.S)
_CALL = re.compile(r"(?P<name>\w+)\((?P<rest>.*)", re.S)
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)", re.S)
_FILE = re.compile(r"\d+<(?P<path>[^>]*(?:\[[^\]]*\])?)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_HEX = re.compile(r"\\x([0-9a-f]{2})")
_UNFINISHED = " <unfinished ...>"


def before(out: Path) -> list[str]:
    """The command to put before a program: every byte it writes, and where, goes to `out`.

    A test that needs it and does not find it fails: durability unproved is not durability.
    """
    found = shutil.which("strace")
    assert found, "strace is missing: durability can not be shown without it (apt-get install strace)"
    return _command(found, out, 70_000)


def _command(program: str, out: Path, bytes_max: int) -> list[str]:
    shown = ["-f", "-qq", "-yy", "-xx", "-s", str(bytes_max), "-e", f"trace={_CALLS}"]
    return [program, *shown, "-o", str(out)]


@contextmanager
def attached(out: Path, pids: list[int], bytes_max: int) -> Iterator[None]:
    """One tracer on programs that run already and on what they start, all of whose calls stand in one order.

    Where strace is missing, or may not look at processes it did not start, the test is skipped and says so.
    """
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is missing (apt-get install strace)")
    words = [word for pid in pids for word in ("-p", str(pid))]
    with subprocess.Popen(
        [*_command(program, out, bytes_max), *words], stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while not all(_traced(pid) for pid in pids):
                if process.poll() is not None:
                    assert process.stderr is not None
                    pytest.skip(f"strace attaches to nothing here: {process.stderr.read()[-300:]!r}")
                assert time.monotonic() < deadline, "strace does not attach"
                time.sleep(0.02)
            yield
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


def _traced(pid: int) -> bool:
    """Whether every thread of a process has a tracer."""
    threads = [Path(f"/proc/{pid}/task/{each}/status") for each in os.listdir(f"/proc/{pid}/task")]
    return not any("\nTracerPid:\t0\n" in each.read_text() for each in threads)


@dataclass(frozen=True)
class Call:
    """One system call on a file or socket: `begun` at its entry, then once more when it has returned."""

    name: str
    path: str
    """Of the descriptor; a socket has a name such as TCP:[…]."""
    data: bytes
    """What was written."""
    at: int
    """Offset (pwrite64) or new length (ftruncate)."""
    begun: bool


def calls(out: Path) -> Iterator[Call]:
    """The calls in the order of their moments; one that was interrupted by others has two moments."""
    waiting: dict[str, str] = {}
    for line in out.read_text(encoding="ascii", errors="replace").splitlines():
        found = _LINE.fullmatch(line)
        assert found, line[:200]
        pid, rest = found["pid"], found["rest"]
        if resumed := _RESUMED.fullmatch(rest):
            whole = waiting.pop(pid) + resumed["rest"]
            yield _call(whole, begun=False)
        elif rest.endswith(_UNFINISHED):
            waiting[pid] = rest.removesuffix(_UNFINISHED)
            yield _call(waiting[pid], begun=True)
        elif _CALL.fullmatch(rest):
            yield _call(rest, begun=True)
            yield _call(rest, begun=False)


def _call(text: str, *, begun: bool) -> Call:
    found = _CALL.match(text)
    assert found, text[:200]
    on = _FILE.search(found["rest"])
    data = b"".join(bytes.fromhex(each.replace("\\x", "")) for each in _TEXT.findall(found["rest"]))
    last = found["rest"].rpartition(")")[0] if ")" in found["rest"] else found["rest"]
    digits = last.rpartition(", ")[2]
    path = _HEX.sub(lambda each: chr(int(each[1], 16)), on["path"]) if on else ""
    return Call(
        found["name"], path.encode("latin-1").decode(), data, int(digits) if digits.isdigit() else 0, begun
    )


@dataclass
class Disk:
    """Files as a program sees them, and as a disk holds them that keeps only what was synced."""

    seen: dict[str, bytearray]
    kept: dict[str, bytes]
    _syncing: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, *files: Path) -> Disk:
        """The files as they are now, all of them durable; a missing one is empty."""
        found = {str(path): path.read_bytes() if path.exists() else b"" for path in files}
        return cls({path: bytearray(raw) for path, raw in found.items()}, dict(found))

    def apply(self, call: Call) -> None:
        """One moment of a call; a sync keeps what had been written when it began, once it has returned."""
        if call.path not in self.seen:
            return
        file = self.seen[call.path]
        if call.name in ("fsync", "fdatasync"):
            if call.begun:
                self._syncing[call.path] = bytes(file)
            else:
                self.kept[call.path] = self._syncing[call.path]
        elif call.name == "pwrite64" and not call.begun:
            file.extend(bytes(max(0, call.at - len(file))))
            file[call.at : call.at + len(call.data)] = call.data
        elif call.name == "ftruncate" and not call.begun:
            del file[call.at :]

    def after_power_cut(self, folder: Path) -> Path:
        """The files as a power cut now would leave them, in a folder of their own."""
        folder.mkdir(parents=True, exist_ok=True)
        for path, raw in self.kept.items():
            place = folder / Path(path).name
            place.unlink(missing_ok=True)
            if raw:
                place.write_bytes(raw)
        for shared in folder.glob("*-shm"):
            shared.unlink()
        return folder
