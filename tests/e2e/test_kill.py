"""A killed node: what it acknowledged is there once, whatever it was doing, fifty times in a row."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

from tests.e2e.crash import Space

KILLS = int(os.environ.get("DUJIANG_KILLS", "50"))


def test_what_was_acknowledged_is_there_once(tmp_path: Path) -> None:
    """`kill -9` of the whole node at random moments while two organisations work over HTTP and CLI."""
    space = Space(tmp_path)
    try:
        space.live(KILLS, random.Random())
    finally:
        space.stopping.set()
        space.node.kill()
        space.node.cut()
    assert sum(caller.repeats for caller in space.callers) > KILLS / 4, "the kills hit nobody at work"
    assert all(caller.heard for caller in space.callers)
    assert not left(space.home)


def left(home: Path) -> list[str]:
    """Files that belong to nothing: of a version no commit knows, or an upload that did not arrive whole."""
    found = [*home.glob("files/uploads/*/*.part"), *home.glob("**/*.draft"), *home.glob("profiles/.*")]
    return [str(each) for each in found]


def test_a_killed_node_leaves_no_process(tmp_path: Path) -> None:
    """The locked workers of a node end with it: the one that stands by, and one at work."""
    space = Space(tmp_path)
    with space.node as node:
        children = set[int]()
        for number in range(3):
            sql = f"select count(*) as n from visits where visits < {5000 + number}"
            node.post(
                "cleanroom.ask", {"contracts": [space.contract], "sql": sql}, space.insurer, wait="wait=0"
            )
            deadline = time.monotonic() + 10
            while not (found := offspring(node.pid)) and time.monotonic() < deadline:
                time.sleep(0.01)
            children.update(found)
        assert children, "no worker was seen"
        node.kill()
        deadline = time.monotonic() + 10
        while (alive := [pid for pid in children if running(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not alive


def offspring(pid: int) -> list[int]:
    """The processes a process has started, and those they have, that are there."""
    parents: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(place.parent.name)] = int(place.read_text().rpartition(")")[2].split()[1])
    found = [child for child, parent in parents.items() if parent == pid]
    return found + [each for child in found for each in offspring(child)]


def running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
