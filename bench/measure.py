"""What is measured with: CPU seconds, memory of a process tree, the disk, and the command as a process."""

from __future__ import annotations

import os
import resource
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COMMAND = "import sys; sys.argv[0] = 'dujiang'; from dujiang.doors.cli import main; main()"
SAMPLE_S = 0.05


@dataclass(slots=True)
class Spent:
    """Seconds something took: on the clock, on CPU here, and on CPU in processes that ended meanwhile."""

    wall_s: float = 0.0
    own_s: float = 0.0
    children_s: float = 0.0

    @property
    def cpu_s(self) -> float:
        """CPU seconds in all."""
        return self.own_s + self.children_s


@contextmanager
def spent() -> Iterator[Spent]:
    """What the block takes, known after it."""
    found = Spent()
    begun = time.perf_counter(), time.process_time(), children_s()
    try:
        yield found
    finally:
        now = time.perf_counter(), time.process_time(), children_s()
        found.wall_s, found.own_s, found.children_s = (b - a for a, b in zip(begun, now, strict=True))


def children_s() -> float:
    """CPU seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def process_cpu_s(pid: int) -> float:
    """CPU seconds of a running process, by its own account."""
    words = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def command(*words: str) -> list[str]:
    """The command line that runs `dujiang`: the installed script where there is one."""
    script = Path(sys.executable).with_name("dujiang")
    return [str(script), *words] if script.exists() else [sys.executable, "-c", COMMAND, *words]


def environment(home: Path) -> dict[str, str]:
    """The environment of such a process, its home a given one."""
    return {**os.environ, "DUJIANG_HOME": str(home), "NO_COLOR": "1"}


def memory_mb(pid: int) -> float:
    """Proportional memory (PSS) of a process and all below it, in MB of 10⁶ bytes."""
    total = 0
    for each in tree(pid):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text("ascii").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e6


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text("ascii").split()]
        except OSError:
            continue
        for child in children:
            found += tree(child)
    return found


@contextmanager
def peak_mb(pid: int) -> Iterator[list[float]]:
    """The largest memory of a process tree while the block runs, every 50 ms; the last of the list."""
    found, stop = [0.0], threading.Event()

    def look() -> None:
        while not stop.wait(SAMPLE_S):
            found.append(max(found[-1], memory_mb(pid)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def fdatasync_ms(folder: Path, count: int = 200) -> float:
    """The median time one fdatasync of 4 KiB takes in a folder."""
    with tempfile.TemporaryFile(dir=folder) as file:
        times: list[float] = []
        for _ in range(count):
            file.write(os.urandom(4096))
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def plain_inserts_s(folder: Path, seconds: float = 1.0) -> float:
    """How many single inserts a second SQLite alone makes durable (WAL, synchronous=FULL) in a folder."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        connection = sqlite3.connect(Path(place) / "plain.sqlite", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, body TEXT)")
        body, count, begun = "x" * 500, 0, time.perf_counter()
        while (now := time.perf_counter() - begun) < seconds:
            connection.execute("INSERT INTO entry (body) VALUES (?)", (body,))
            count += 1
        connection.close()
    return count / now
