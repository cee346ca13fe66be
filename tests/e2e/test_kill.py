"""A killed node: what it acknowledged is there once, whatever it was doing, fifty times in a row."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from tests.e2e.crash import Space
from tests.e2e.node import HOSPITAL, Node, make

KILLS = int(os.environ.get("DUJIANG_KILLS", "50"))


def test_what_was_acknowledged_is_there_once(tmp_path: Path) -> None:
    """`kill -9` of the whole node at random moments while two organisations work over HTTP and CLI."""
    space = Space(tmp_path)
    try:
        space.live(KILLS, random.Random())
    finally:
        space.stopping.set()
        space.node.kill()
    assert sum(caller.repeats for caller in space.callers) > KILLS / 4, "the kills hit nobody at work"
    assert all(caller.heard for caller in space.callers)
    assert not left(space.home)


def left(home: Path) -> list[str]:
    """Files that belong to nothing: of a version no commit knows, or an upload that did not arrive whole."""
    found = [*home.glob("files/uploads/*/*.part"), *home.glob("**/*.draft"), *home.glob("profiles/.*")]
    return [str(each) for each in found]


def test_a_killed_node_leaves_no_process(tmp_path: Path) -> None:
    """The locked workers of a node end with it, also the one that stands by."""
    home = tmp_path / "home"
    key = make(home)["organisations"][0]["api_key"]
    with Node(home) as node:
        sent = node.upload("t.csv", b"id,x\n" + b"".join(b"%d,%d\n" % (n, n % 7) for n in range(300)), key)
        node.said("catalogue.offer", {"upload": sent.json()["upload"], "entity": "id"}, key)
        children = offspring(node.pid)
        assert children, f"no worker stands by for {HOSPITAL}"
        node.kill()
        deadline = time.monotonic() + 10
        while (alive := [pid for pid in children if running(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not alive


def offspring(pid: int) -> list[int]:
    """The processes a process has started and that still run."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found + [each for child in found for each in offspring(child)]


def running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
