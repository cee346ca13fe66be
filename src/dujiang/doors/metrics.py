"""What a node measures of itself, in the text form Prometheus reads (version 0.0.4): `GET /metrics`.

1. Names of acts, codes and numbers; no organisation, no id and no value of anybody's data is a label.
2. Who may read: this machine without a key, by its own name and unless a proxy stands between
   (`metrics_loopback`), or a key of an operator or auditor. Everybody else is refused.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dujiang import __version__
from dujiang.cleanroom import acts as cleanroom
from dujiang.doors import gate
from dujiang.home import Home
from dujiang.kernel.act import NODE, Caller
from dujiang.ledger import acts as ledger
from dujiang.ledger import witnessing
from dujiang.post import acts as post

TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0)
_ROLES = frozenset({"operator", "auditor"})
_LOOPBACK = ("127.", "::1", "::ffff:127.")
_PROXIED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via")
_OWN_NAME = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")
"""What a browser on this machine says only to pages of this machine: a foreign name may be turned to it later."""
Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]


class Metrics:
    """Counts every act that ends; safe to share between threads."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._codes: dict[tuple[str, str], int] = {}
        self._took: dict[str, tuple[list[int], float]] = {}
        home.watchers.append(self.seen)

    def seen(self, act: str, caller: Caller, began_ns: int, seconds: float, code: str) -> None:
        """Counts one act."""
        del caller, began_ns
        place = next((at for at, most in enumerate(_SECONDS) if seconds <= most), len(_SECONDS))
        with self._lock:
            self._codes[act, code] = self._codes.get((act, code), 0) + 1
            buckets, total = self._took.get(act, ([0] * (len(_SECONDS) + 1), 0.0))
            buckets[place] += 1
            self._took[act] = (buckets, total + seconds)

    def text(self, limited: int, open_requests: int) -> str:
        """Everything there is to say now; asks the database and the disk, so not on the event loop."""
        parts: list[str] = []
        with self._lock:
            codes = dict(self._codes)
            took = {act: (list(buckets), total) for act, (buckets, total) in self._took.items()}
        parts += _family(
            "acts_total", "counter", "Acts that ended, by what came of them.",
            [("", (("act", act), ("code", code)), n) for (act, code), n in sorted(codes.items())],
        )  # fmt: skip
        samples: list[Sample] = []
        for act, (buckets, total) in sorted(took.items()):
            samples += _histogram((("act", act),), map(repr, _SECONDS), buckets, total)
        parts += _family("act_seconds", "histogram", "How long acts took, with their commit.", samples)
        batches = list(self._home.writer.batches)
        acts_in = [str(2**place) for place in range(len(batches) - 1)]
        parts += _family(
            "writer_batch_acts", "histogram", "Acts made durable together; the sum counts each at its bucket's end.",
            _histogram((), acts_in, batches, sum(n * 2**place for place, n in enumerate(batches))),
        )  # fmt: skip
        for name, kind, told, value in self._gauges(limited, open_requests):
            parts += _family(name, kind, told, [("", (), value)])
        parts += _family("info", "gauge", "The version that runs.", [("", (("version", __version__),), 1)])
        return "".join(parts)

    def _gauges(self, limited: int, open_requests: int) -> Iterator[tuple[str, str, str, float]]:
        home = self._home
        with home.node.database.reading() as db:
            messages, jobs = post.waiting(db), cleanroom.waiting(db)
            stand = witnessing.overview(db, home.node.clock.now_ms())
        size = home.runner.run("ledger.list", NODE, ledger.List(limit=1)).reply.size
        database = home.place.size_bytes(home.node.database)
        yield "requests_limited_total", "counter", "Requests refused by a limit at the door.", limited
        yield "requests_open", "gauge", "Requests of organisations that wait for an answer.", open_requests
        yield "writer_waiting_acts", "gauge", "Acts that wait for the writer.", home.writer.waiting
        yield "jobs_waiting", "gauge", "Questions that wait or run.", jobs
        yield "messages_waiting", "gauge", "Messages that are not delivered yet.", messages
        yield "log_entries", "gauge", "Entries in the log.", size
        yield (
            "log_cosigned_entries",
            "gauge",
            "Entries under the newest head the quorum cosigned.",
            stand.cosigned,
        )
        yield "log_cosigned_fresh", "gauge", "0: the quorum has not cosigned in time.", stand.fresh
        yield "log_witnesses_failing", "gauge", "Witnesses that failed when last asked.", _failing(stand)
        yield "log_forks", "gauge", "Proofs kept here that a watched log forked.", stand.forks
        yield "log_heads_unproved", "gauge", "Heads shown here without proof that they go on.", stand.unproved
        yield "database_bytes", "gauge", "Size of the database and its write-ahead log.", database
        yield "disk_free_bytes", "gauge", "Free bytes on the disk of the home.", home.node.blobs.free_bytes()
        yield "clock_jumps_total", "counter", "Jumps of the clock since the start.", home.book.clock_jumps
        yield "high_water_failed", "gauge", "1: the file beside the home cannot be written.", home.mark.failed
        yield "memory_pss_bytes", "gauge", "Memory of this process and those it started.", _pss()


def may_read(scope: gate.Scope, caller: Caller, loopback: int) -> bool:
    """Whether a request may see the metrics."""
    if caller.roles & _ROLES:
        return True
    proxied = any(name in _PROXIED for name, _ in scope["headers"])
    named = _OWN_NAME.fullmatch(gate.header(scope, b"host") or "")
    return bool(loopback) and not proxied and named is not None and gate.address(scope).startswith(_LOOPBACK)


def _failing(stand: witnessing.Overview) -> int:
    return sum(bool(each.failures) for each in stand.witnesses)


def _family(name: str, kind: str, told: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP dujiang_{name} {told}\n# TYPE dujiang_{name} {kind}\n"
    for tail, labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
        shown = repr(float(value)) if value != int(value) else str(int(value))
        yield f"dujiang_{name}{tail}{f'{{{inside}}}' if inside else ''} {shown}\n"


def _histogram(labels: Labels, edges: Iterable[str], buckets: list[int], total: float) -> list[Sample]:
    samples: list[Sample] = []
    count = 0
    for edge, inside in zip((*edges, "+Inf"), buckets, strict=True):
        count += inside
        samples.append(("_bucket", (*labels, ("le", edge)), count))
    return [*samples, ("_sum", labels, total), ("_count", labels, count)]


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _pss() -> int:
    """Proportional memory of this process and its children, in bytes; 0 where the system does not say."""
    return sum(_pss_of(pid) for pid in (os.getpid(), *_children()))


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            yield from map(int, task.read_text().split())
        except (OSError, ValueError):
            continue


def _pss_of(pid: int) -> int:
    try:
        lines: Any = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, ValueError, StopIteration):
        return 0
