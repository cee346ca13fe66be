"""Durable before acknowledged on PostgreSQL: the system calls of the server and of the node, in one order.

What counts is the server's write-ahead log, `pg_wal`: at every answer of the node the bytes that were synced by then
are looked at, and at some of them a server recovers from those bytes alone.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dujiang.ledger.lot import receipts_of
from tests import cluster
from tests.e2e import log, trace
from tests.e2e.node import ORGANISATIONS, Node, make
from tests.e2e.test_durability import acknowledged

ACTS_EACH, CALLERS = 25, 2
LOTS = (1, 200, 17, 90)
_PAGE, _HEAD, _FIRST_HEAD = 8192, 24, 40
"""Of a segment of the write-ahead log: its pages, and what stands before the records in each and in the first."""
_WAL_BYTES_MAX = 16 << 20
COMMITTED = b"C\0\0\0\x0bCOMMIT\0"
"""How the server says that a transaction is committed (CommandComplete)."""


@dataclass(frozen=True)
class Traced:
    """What the server kept before, everything both programs wrote since, and what was answered."""

    server: cluster.Cluster
    before: Path
    """A copy of the server's data, all of which was on the disk."""
    url: str
    calls: list[trace.Call]
    heard: dict[int, list[dict[str, Any]]]
    """By the index of its first entry, the receipts of each request that was answered."""

    def disk(self) -> trace.Disk:
        """The write-ahead log as it was before."""
        now, then = self.server.folder / "data" / "pg_wal", self.before / "data" / "pg_wal"
        files = {path.name: path.read_bytes() for path in then.iterdir() if path.is_file()}
        return trace.Disk(
            {str(now / name): bytearray(raw) for name, raw in files.items()},
            {str(now / name): raw for name, raw in files.items()},
        )

    def step(self, disk: trace.Disk, call: trace.Call) -> None:
        """One moment of a call; the server writes in no other part of its log than those we know."""
        if "/pg_wal/" in call.path and call.name == "pwrite64":
            assert call.path in disk.seen and len(call.data) % _PAGE == 0, "whole pages of a known segment"
        disk.apply(call)


@pytest.fixture(scope="module")
def traced() -> Iterator[Traced]:
    """A node and its server under one tracer: keys granted by several callers at once, and lots attested."""
    with tempfile.TemporaryDirectory(prefix="dujiang-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "server").mkdir()
        server = cluster.Cluster(folder / "server", "checkpoint_timeout = 1d", "max_wal_size = 4GB")
        try:
            yield lived(folder, server)
        finally:
            server.stop()


def lived(folder: Path, server: cluster.Cluster) -> Traced:
    """A short life of a node on a server, traced."""
    home, url = folder / "home", server.fresh()
    made = make(home, *ORGANISATIONS, "--database", url)
    key = made["organisations"][0]["api_key"]
    heard: list[list[dict[str, Any]]] = []
    with Node(home) as node:
        before = durable(server, folder / "before")
        with trace.attached(folder / "calls", [*server.pids(), node.pid], _WAL_BYTES_MAX):

            def grants() -> None:
                for _ in range(ACTS_EACH):
                    heard.append([node.said("identity.grant", {"roles": ["provider"]}, key)["receipt"]])

            def attests() -> None:
                for number, size in enumerate(LOTS):
                    records = [{"lot": number, "n": n} for n in range(size)]
                    receipt = node.said("ledger.attest", {"records": records}, key)["receipt"]
                    heard.append(receipts_of(receipt, records))

            callers = [threading.Thread(target=grants) for _ in range(CALLERS)]
            callers.append(threading.Thread(target=attests))
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
            node.kill()
    assert len(heard) == ACTS_EACH * CALLERS + len(LOTS)
    by_index = {receipts[0]["index"]: receipts for receipts in heard}
    return Traced(server, before, url, list(trace.calls(folder / "calls")), by_index)


def durable(server: cluster.Cluster, to: Path) -> Path:
    """A copy of the server's data while all of it is on the disk, with a fresh segment of its log begun."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
        ((method,),) = connection.execute("SELECT current_setting('wal_sync_method')").fetchall()
        assert method in ("fdatasync", "fsync"), "else no system call says that the log was synced"
    to.mkdir(mode=0o755)
    subprocess.run(["cp", "-a", str(server.folder / "data"), str(to)], check=True)
    (to / "data" / "postmaster.pid").unlink()
    return to


def records(segment: bytes) -> bytes:
    """The records of a segment, without what stands at the top of its pages: none is cut any more."""
    pages = (segment[at : at + _PAGE] for at in range(0, len(segment), _PAGE))
    return b"".join(page[_HEAD if number else _FIRST_HEAD :] for number, page in enumerate(pages))


def test_a_sync_of_the_servers_log_stands_between_the_last_write_and_the_answer(traced: Traced) -> None:
    """Each answer leaves after the server has said COMMIT, and that only when entry and head were synced."""
    disk, answers, commits = traced.disk(), 0, 0
    segment, synced, told = "", b"", b""
    for call in traced.calls:
        traced.step(disk, call)
        if "/pg_wal/" in call.path and call.name in ("fsync", "fdatasync") and not call.begun:
            assert segment in ("", call.path), "all of it is in one segment"
            segment, synced = call.path, records(disk.kept[call.path].rstrip(b"\0"))
        elif call.path.startswith("UNIX-STREAM:") and call.begun and COMMITTED in call.data:
            # What was synced when the server says so is all that the node may speak of.
            told, commits = synced, commits + 1
        elif (first := acknowledged(call)) is not None:
            answers += 1
            for receipt in traced.heard[first]:
                for each in json.loads(receipt["leaf"])["commitments"].values():
                    assert bytes.fromhex(each) in told, receipt["index"]
            root = traced.heard[first][0]["checkpoint"].split("\n")[2].encode()
            assert root in told, "its checkpoint"
    assert answers == len(traced.heard) and commits > answers / (CALLERS + 2)


def test_what_a_power_cut_leaves_recovers_to_every_acknowledged_act(traced: Traced) -> None:
    """Halfway and at the last answer a server starts on the synced part of its log: it is all there."""
    disk, answered, number = traced.disk(), dict[int, str](), count(1)
    wanted = {len(traced.heard) // 2, len(traced.heard)}
    for call in traced.calls:
        traced.step(disk, call)
        if (first := acknowledged(call)) is None:
            continue
        answered |= {receipt["index"]: receipt["leaf"] for receipt in traced.heard[first]}
        if (place := next(number)) not in wanted:
            continue
        wanted.remove(place)
        left = traced.before.with_name(f"cut{place}")
        subprocess.run(["cp", "-a", str(traced.before), str(left)], check=True)
        for path, raw in disk.kept.items():
            (left / "data" / "pg_wal" / Path(path).name).write_bytes(raw)
        found, heads = recovered(left, traced.url)
        assert answered.items() <= found.items(), place
        assert traced.heard[first][0]["checkpoint"] in heads, place
    assert not wanted


def recovered(left: Path, url: str) -> tuple[dict[int, str], set[str]]:
    """The leaves and the heads that a server finds which starts on what another one left."""
    server = cluster.Cluster(left)
    try:
        name = url.partition("@/")[2].partition("?")[0]
        with psycopg.connect(server.url(name)) as connection:
            rows = connection.execute(
                "SELECT idx, act, time_ms, facts, commitments FROM ledger_entry"
            ).fetchall()
            heads = {note for (note,) in connection.execute("SELECT note FROM ledger_checkpoint").fetchall()}
    finally:
        server.stop()
    return {index: log.leaf_of(*row) for index, *row in rows}, heads
