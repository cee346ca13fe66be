"""A disk that is truly full while a node works: lots and batches of single acts are refused whole, and it goes on."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from dujiang.ledger import note
from dujiang.ledger.lot import receipts_of
from tests import cluster
from tests.e2e import log
from tests.e2e.node import ORGANISATIONS, Node, environment, make
from tests.e2e.test_bad_input import fill

ROOMS_KB = (0, 100, 300, 1500)
TURNS_MAX = 60
RECORDS = 200
SEGMENTS = 2
"""Of a server's write-ahead log, 16 MB each: more than is written here. Without room for a new one it ends itself."""
FULL = (507, "disk_full")


@contextmanager
def small_disk(size_mb: int) -> Iterator[Path]:
    """A disk of so many MB, in a folder where another user may look for it, or a skip."""
    with tempfile.TemporaryDirectory(prefix="dujiang-disk-") as folder:
        Path(folder).chmod(0o755)
        line = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "tmpfs", folder]
        made = subprocess.run(line, capture_output=True)
        if made.returncode:
            pytest.skip(f"nothing may be mounted here, so no disk is full: {made.stderr[-200:]!r}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def on_sqlite(folder: Path) -> Iterator[tuple[Path, Path, tuple[str, ...]]]:
    """The disk that fills up, a home with its database on it, and what it is made with."""
    del folder
    with small_disk(24) as disk:
        yield disk, disk / "home", ()


@contextmanager
def on_postgres(folder: Path) -> Iterator[tuple[Path, Path, tuple[str, ...]]]:
    """The same, where what is on the disk is the server's: the next segments of its log are there, tables must grow."""
    with small_disk(160) as disk:
        (disk / "server").mkdir()
        server = cluster.Cluster(disk / "server")
        try:
            url = server.fresh()
            with psycopg.connect(url, autocommit=True) as connection:
                for _ in range(SEGMENTS):
                    connection.execute("SELECT pg_switch_wal()")
                    connection.execute("CHECKPOINT")
            assert len(list((disk / "server" / "data" / "pg_wal").glob("0*"))) >= SEGMENTS
            yield disk, folder / "home", ("--database", url)
        finally:
            server.stop()


@dataclass
class Callers:
    """Callers of a node at once: one attests lots, the others invite somebody, until they are refused."""

    node: Node
    key: str
    lots: list[tuple[dict[str, Any], list[dict[str, Any]]]] = field(default_factory=list[Any])
    """Receipt and records of each that was acknowledged."""
    invited: dict[str, dict[str, Any]] = field(default_factory=dict[str, Any])
    """By the name, the receipt."""
    refused: list[tuple[int, str]] = field(default_factory=list[Any])

    def work(self) -> None:
        """Works until each has been refused, or for so many turns."""
        threads = [threading.Thread(target=self._turns, args=(act,)) for act in (self._lot, *[self._one] * 3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    def _turns(self, act: Any) -> None:
        for _ in range(TURNS_MAX):
            if not act():
                return

    def _lot(self) -> bool:
        records = [{"reading": uuid.uuid4().hex, "n": n, "meter": "m" * 200} for n in range(RECORDS)]
        answer = self.node.post("ledger.attest", {"records": records}, self.key)
        if answer.status_code == 200:
            self.lots.append((answer.json()["receipt"], records))
        return self._told(answer)

    def _one(self) -> bool:
        name = uuid.uuid4().hex
        answer = self.node.post("identity.invite", {"name": name, "roles": ["provider"]}, self.key)
        if answer.status_code == 200:
            self.invited[name] = answer.json()["receipt"]
        return self._told(answer)

    def _told(self, answer: Any) -> bool:
        if answer.status_code == 200:
            return True
        body = answer.json()
        assert body["why"] and body["fix"]
        self.refused.append((answer.status_code, body["code"]))
        return False


Where = Callable[[Path], AbstractContextManager[tuple[Path, Path, tuple[str, ...]]]]


@pytest.mark.parametrize("where", [on_sqlite, on_postgres])
def test_a_full_disk_refuses_lots_and_batches_whole_and_the_node_goes_on(
    where: Where, tmp_path: Path
) -> None:
    """What was acknowledged is in the log and nothing else; every head that was shown is one of its own."""
    with where(tmp_path) as (disk, home, more):
        made = make(home, *ORGANISATIONS, *more)
        lived(disk, home, made["organisations"][0]["api_key"], made["vkey"])


def lived(disk: Path, home: Path, key: str, vkey: str) -> None:
    """A life of a node on whose disk there is little room, again and again."""
    shown, env = list[str](), environment(DUJIANG_SET_DISK_FREE_MB_MIN="0")
    with Node(home, env=env) as node:
        pid, callers = node.pid, Callers(node, key)
        for room in ROOMS_KB:
            filler = fill(disk, room)
            before = len(callers.refused)
            callers.work()
            assert len(callers.refused) > before, "the disk was not full"
            shown.append(httpx2.get(f"{node.url}/log/checkpoint").text)
            filler.unlink()
            done = len(callers.lots), len(callers.invited)
            assert callers._lot() and callers._one(), callers.refused[-1]
            assert (len(callers.lots), len(callers.invited)) == (done[0] + 1, done[1] + 1)
            shown.append(httpx2.get(f"{node.url}/log/checkpoint").text)
        assert node.pid == pid and set(callers.refused) == {FULL}, set(callers.refused)
        node.stop()
        node.start()
        assert callers._one()
    check(home, vkey, callers, shown)


def check(home: Path, vkey: str, callers: Callers, shown: list[str]) -> None:
    """The log is whole, holds what was acknowledged and no other record or person, and every head that was told."""
    reading = log.Reading()
    with log.snapshot(home) as db:
        leaves = reading.verify(db, vkey)
        names = {name for (name,) in db.execute("SELECT name FROM identity_person")}
        heads = {text for (text,) in db.execute("SELECT note FROM ledger_checkpoint")}
        log.balance(db)
    told = [each for receipt, records in callers.lots for each in receipts_of(receipt, records)]
    assert reading.told["ledger.attest"] == len(told) == RECORDS * len(callers.lots)
    assert reading.told["identity.invite"] == len(callers.invited) and callers.invited.keys() <= names
    for each in (*told, *callers.invited.values()):
        assert leaves[each["index"]] == each["leaf"] and each["checkpoint"] in heads
    first = {text.partition("\n\n")[0] for text in heads}
    sizes = [note.read_checkpoint(text).size for text in shown]
    assert {text.partition("\n\n")[0] for text in shown} <= first and sizes == sorted(sizes)
