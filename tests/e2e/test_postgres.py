"""A node on PostgreSQL that is killed, and a server that is: what was acknowledged is there once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from dujiang.kernel.errors import Exit
from tests import cluster
from tests.e2e import log
from tests.e2e.crash import Space
from tests.e2e.node import ORGANISATIONS, Node, cli, environment, make

KILLS = int(os.environ.get("DUJIANG_KILLS_POSTGRES", "6"))


def test_what_a_killed_node_acknowledged_is_there_once(tmp_path: Path) -> None:
    """`kill -9` of the node at random moments while two organisations work over HTTP and CLI."""
    space = Space(tmp_path, cluster.fresh())
    try:
        space.live(KILLS, random.Random())
    finally:
        space.stopping.set()
        space.node.kill()
        space.node.cut()
    assert all(caller.heard for caller in space.callers)


class Work(threading.Thread):
    """A caller that registers organisations, each repeated under its key until it is acknowledged."""

    def __init__(self, node: Node, key: str) -> None:
        super().__init__(daemon=True)
        self.node, self.key = node, key
        self.stopping = threading.Event()
        self.heard: list[dict[str, Any]] = []
        self.repeats, self.wrong = 0, ""

    def run(self) -> None:
        """Works until told to stop, or until the node says something else than that its database failed."""
        while not self.stopping.is_set() and not self.wrong:
            ask, once = {"name": uuid.uuid4().hex, "roles": ["consumer"]}, uuid.uuid4().hex
            while not self.stopping.is_set():
                try:
                    response = self.node.post("identity.invite", ask, self.key, once)
                except (httpx2.HTTPError, OSError):
                    self.repeats += 1
                    time.sleep(0.05)
                    continue
                if response.status_code == 200:
                    self.heard.append({"once": once, "name": ask["name"], **response.json()})
                    break
                if response.status_code != 503:
                    self.wrong = response.text
                    return
                self.repeats += 1
                time.sleep(0.05)

    def more(self, count: int) -> None:
        """Returns when so many more were acknowledged."""
        wanted, deadline = len(self.heard) + count, time.monotonic() + 60
        while len(self.heard) < wanted:
            assert not self.wrong and time.monotonic() < deadline, self.wrong
            time.sleep(0.01)


@contextmanager
def working(node: Node, key: str, callers: int = 4) -> Iterator[list[Work]]:
    """Callers at work on a node; afterwards they have ended and nobody was told anything odd."""
    made = [Work(node, key) for _ in range(callers)]
    for each in made:
        each.start()
    try:
        yield made
    finally:
        for each in made:
            each.stopping.set()
        for each in made:
            each.join(60)
    assert not any(each.wrong for each in made), [each.wrong for each in made]


def cut(url: str, pid: int) -> None:
    """Ends every connection of a process to a database, as an operator or a broken network would."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = %s",
            [f"dujiang {pid}"],
        )


def proved(home: Path, vkey: str, made: list[Work]) -> None:
    """The log verifies and everything acknowledged is there, once, where its receipt says."""
    with log.snapshot(home) as db:
        leaves = log.Reading().verify(db, vkey)
        done = dict(db.execute("SELECT key, entry FROM kernel_done"))
        names = [name for (name,) in db.execute("SELECT name FROM identity_person")]
    heard = [each for one in made for each in one.heard]
    assert heard
    for each in heard:
        assert done[each["once"]] == each["receipt"]["index"]
        assert leaves[each["receipt"]["index"]] == each["receipt"]["leaf"]
        assert names.count(each["name"]) == 1


@pytest.fixture
def server() -> Iterator[cluster.Cluster]:
    """A server of this test's own, to be killed."""
    with tempfile.TemporaryDirectory(prefix="dujiang-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        made = cluster.Cluster(Path(folder))
        try:
            yield made
        finally:
            made.stop()


def test_a_killed_server_has_what_was_acknowledged_and_the_node_goes_on(
    server: cluster.Cluster, tmp_path: Path
) -> None:
    """`kill -9` of every process of PostgreSQL under load, three times; the node is not started again."""
    home = tmp_path / "home"
    made = make(home, *ORGANISATIONS, "--database", server.fresh())
    key = made["organisations"][0]["api_key"]
    with Node(home) as node:
        first = node.pid
        with working(node, key) as callers:
            for _ in range(3):
                callers[0].more(20)
                server.kill()
                time.sleep(random.uniform(0, 0.5))
                server.start()
                callers[0].more(5)
        assert node.pid == first and sum(each.repeats for each in callers) > 3
        proved(home, made["vkey"], callers)


def test_a_writer_whose_connection_is_cut_again_and_again_loses_nothing(tmp_path: Path) -> None:
    home, url = tmp_path / "home", cluster.fresh()
    made = make(home, *ORGANISATIONS, "--database", url)
    key = made["organisations"][0]["api_key"]
    with Node(home) as node, working(node, key) as callers:
        for _ in range(10):
            callers[0].more(3)
            cut(url, node.pid)
        callers[0].more(3)
    proved(home, made["vkey"], callers)


def test_two_homes_on_one_database_never_write_both(tmp_path: Path) -> None:
    """A second node is refused; one that takes over after a cut fences the first, which writes nothing any more."""
    home, other, url = tmp_path / "home", tmp_path / "other", cluster.fresh()
    made = make(home, *ORGANISATIONS, "--database", url)
    key = made["organisations"][0]["api_key"]
    other.mkdir()
    (other / "home.json").write_bytes((home / "home.json").read_bytes())
    for part in ("files", "profiles"):
        (other / part).mkdir()
    for beside in ("key", "high"):
        shutil.copy(tmp_path / f"home.{beside}", tmp_path / f"other.{beside}")
    with Node(home) as node:
        node.said("identity.invite", {"name": "a", "roles": ["consumer"]}, key)
        line = ("identity", "invite", "b", "--roles", "consumer", "--json")
        refused = cli(other, *line, env=environment(DUJIANG_KEY=key))
        assert refused.exit == Exit.conflict and refused.body["code"] == "database_held"
        with working(node, key) as callers:
            callers[0].more(5)
            # The first one stands still, as a machine that is moved does; somebody ends its connections meanwhile.
            os.kill(node.pid, signal.SIGSTOP)
            cut(url, node.pid)
            second = Node(other)
            try:
                second.start()
                os.kill(node.pid, signal.SIGCONT)
                for number in range(20):
                    second.said("identity.invite", {"name": f"second {number}", "roles": ["consumer"]}, key)
                    time.sleep(0.02)
                held = node.post("identity.invite", {"name": "c", "roles": ["consumer"]}, key)
                assert held.status_code >= 400 and held.json()["code"] in ("database_held", "log_moved")
            finally:
                os.kill(node.pid, signal.SIGCONT)
                second.kill()
        fenced = node.post("identity.invite", {"name": "c", "roles": ["consumer"]}, key)
        assert fenced.status_code >= 400 and fenced.json()["code"] in ("writer_fenced", "log_moved")
    proved(home, made["vkey"], callers)
