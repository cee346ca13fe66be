"""Several programs on one home: they take turns, or one asks the other, and a dead one holds nobody up."""

from __future__ import annotations

import fcntl
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import log
from tests.e2e.node import HOSPITAL, Node, cli, make, said, start


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home nobody holds."""
    make(tmp_path / "home")
    return tmp_path / "home"


def names(home: Path) -> list[str]:
    """The people of the hospital by name."""
    return [person["name"] for person in said(home, "identity", "list", "--as", HOSPITAL)["people"]]


def seconds_of(home: Path, name: str) -> float:
    """How long an invitation takes, whatever else this machine does."""
    begun = time.monotonic()
    said(home, "identity", "invite", name, "--roles", "provider")
    return time.monotonic() - begun


def verified(home: Path) -> None:
    """The log of a home verifies and its counters agree."""
    vkey = said(home, "receipt", "0")["receipt"]["vkey"]
    with log.snapshot(home) as db:
        log.verify(db, vkey)
        log.balance(db)


def test_commands_at_once_take_turns(home: Path) -> None:
    """Four at the same moment: each is done once, whoever was first."""
    invited = [f"person {number}" for number in range(4)]
    running = [start(home, "identity", "invite", name, "--roles", "provider", "--json") for name in invited]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert json.loads(out)["person"]
    assert sorted(name for name in names(home) if name in invited) == invited
    verified(home)


def test_who_waits_too_long_is_told(home: Path) -> None:
    """A program that keeps the home and serves nothing: after ten seconds the next one gives up, and does nothing."""
    with (home / "lock").open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        begun = time.monotonic()
        first = start(home, "identity", "invite", "王五", "--roles", "provider", "--json")
        second = start(home, "history", "--lang", "zh")
        out, err = first.communicate(timeout=60)
        waited = time.monotonic() - begun
        body: dict[str, Any] = json.loads(out)
        assert first.returncode == 5 and body["code"] == "home_busy" and body["why"] and body["fix"], err
        assert 9 < waited < 40
        _, told = second.communicate(timeout=60)
        assert second.returncode == 5 and "另一程序正在使用该节点目录" in told.decode()
    assert "王五" not in names(home)


def test_a_command_beside_a_node_asks_the_node(home: Path) -> None:
    """Many at once beside a node that serves the home; the node has seen each of their requests."""
    with Node(home) as node:
        running = [
            start(home, "identity", "invite", f"p{number}", "--roles", "provider", "--json")
            for number in range(3)
        ]
        for process in running:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0 and json.loads(out)["receipt"], err
        assert sorted(name for name in names(home) if name.startswith("p")) == ["p0", "p1", "p2"]
        second = cli(home, "up", "--port", "0", "--json")
        assert second.exit == 5 and second.body["code"] == "home_busy"
        node.stop()
        asked = [json.loads(line) for line in node.log.read_text().splitlines()]
    assert [line["path"] for line in asked].count("/v1/identity/invite") == 3
    verified(home)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_node_that_has_ended_holds_nobody_up(home: Path, number: signal.Signals) -> None:
    """The lock file of a dead node still names it; the next command sees that nobody is there."""
    usual = seconds_of(home, "before")
    with Node(home) as node:
        assert "p0" not in names(home)
        if number is signal.SIGKILL:
            node.kill()
            assert json.loads((home / "lock").read_text())["url"] == node.url
        else:
            node.stop()
        assert seconds_of(home, "p0") - usual < 9, "it waited for the dead"
        assert "p0" in names(home)
    verified(home)


def test_a_command_during_a_start_waits_for_the_node(home: Path) -> None:
    """A node that holds the home and does not answer yet is waited for."""
    node = Node(home)
    try:
        node.begin()
        time.sleep(0.3)
        said(home, "identity", "invite", "p0", "--roles", "provider")
        node.ready()
        assert "p0" in names(home)
    finally:
        node.kill()
    verified(home)
