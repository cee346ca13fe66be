"""Never two roots of one size: whatever is done to a home, it is noticed before anything is signed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dujiang import home as root
from dujiang.doors import profiles
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE
from dujiang.ledger import note
from dujiang.plugs import highwater
from tests.e2e import log
from tests.e2e.node import Node, cli, said


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home, the day after a copy of it was made; every root that was ever signed is compared at the end."""
    path = tmp_path / "home"
    held, made = root.create(path, [("甲", ("operator", "provider")), ("乙", ("consumer",))])
    profiles.write(path, made)
    held.close()
    shutil.copytree(path, tmp_path / "yesterday")
    with root.opened(path) as held:
        held.run("identity.register", NODE, identity.Register("丙"))
        vkey = held.book.vkey
    yield path
    with log.snapshot(path) as db:
        log.verify(db, vkey)


def invited(home: Path, name: str) -> Any:
    """What the command line says of one more entry."""
    return said(home, "identity", "invite", name, "--roles", "provider")


def key(home: Path) -> str:
    """An API key of the operator."""
    return profiles.read(home)[0].api_key


def signed(database: Path) -> dict[int, str]:
    """Every root that a database holds a signature of, by size."""
    with closing(sqlite3.connect(database)) as db:
        heads = [note.read_checkpoint(row[0]) for row in db.execute("SELECT note FROM ledger_checkpoint")]
    return {head.size: head.root.hex() for head in heads}


def refused(node: Node, name: str) -> str:
    """The code with which a node refuses one more entry."""
    response = node.post("identity.invite", {"name": name, "roles": ["provider"]}, key(node.home))
    assert response.status_code == 503, response.text
    return response.json()["code"]


def one_root(*databases: Path) -> None:
    """No size has two roots in all of them together."""
    known: dict[int, str] = {}
    for database in databases:
        for size, found in signed(database).items():
            assert known.setdefault(size, found) == found, f"two roots of {size}"


def test_a_database_that_is_replaced_under_a_node(home: Path) -> None:
    """The file of yesterday is moved over the one a node has open; the node signs nothing into either."""
    kept = home.parent / "kept.sqlite"
    with Node(home) as node:
        node.said("identity.invite", {"name": "first", "roles": ["provider"]}, key(home))
        os.link(home / "state.sqlite", kept)
        shutil.copy(home.parent / "yesterday" / "state.sqlite", home / "incoming")
        os.replace(home / "incoming", home / "state.sqlite")
        before = (home / "state.sqlite").read_bytes()
        assert [refused(node, f"n{n}") for n in range(3)] == ["database_replaced"] * 3
        node.stop()
    assert (home / "state.sqlite").read_bytes() == before
    # SQLite leaves the write-ahead log of the file that was moved away: it belongs to that file.
    os.rename(home / "state.sqlite-wal", kept.with_name(f"{kept.name}-wal"))
    one_root(kept, home / "state.sqlite")
    assert max(signed(kept)) == 4
    assert cli(home, "up", "--port", "0", "--json").body["code"] == "log_would_fork"
    shutil.copy(kept, home / "state.sqlite")
    with Node(home) as node:
        last = node.said("identity.invite", {"name": "last", "roles": ["provider"]}, key(home))["receipt"]
        assert last["index"] == 4


def test_a_database_that_is_removed_or_whose_write_ahead_log_is_under_a_node(home: Path) -> None:
    for name in ("state.sqlite", "state.sqlite-wal"):
        with Node(home) as node:
            node.said("identity.invite", {"name": f"before {name}", "roles": ["provider"]}, key(home))
            os.rename(home / name, home.parent / name)
            assert refused(node, "nobody") == "database_replaced"
            os.rename(home.parent / name, home / name)
            node.said("identity.invite", {"name": f"after {name}", "roles": ["provider"]}, key(home))
            node.kill()


def test_a_second_program_that_gets_past_the_lock(home: Path) -> None:
    """The lock file is removed: another program takes the home, and the node that had it signs no more."""
    with Node(home) as node:
        node.said("identity.invite", {"name": "first", "roles": ["provider"]}, key(home))
        (home / "lock").unlink()
        second = invited(home, "second")["receipt"]
        assert second["index"] == 4
        assert [refused(node, f"n{n}") for n in range(3)] == ["log_moved"] * 3
        assert max(signed(home / "state.sqlite")) == 5, "the node signed nothing"
        node.stop()
    assert invited(home, "third")["receipt"]["index"] == 5


def test_an_older_database_put_back_by_hand(home: Path) -> None:
    before = signed(home / "state.sqlite")
    for leftover in home.glob("state.sqlite-*"):
        leftover.unlink()
    shutil.copy(home / "state.sqlite", home.parent / "newest")
    shutil.copy(home.parent / "yesterday" / "state.sqlite", home / "state.sqlite")
    for line in (("up", "--port", "0"), ("identity", "invite", "x", "--roles", "provider")):
        ran = cli(home, *line, "--json")
        assert ran.exit == 5 and ran.body["code"] == "log_would_fork" and ran.body["fix"]
    assert len(signed(home / "state.sqlite")) == len(before) - 1, "nothing was signed"
    shutil.copy(home.parent / "newest", home / "state.sqlite")
    assert invited(home, "y")["receipt"]["index"] == len(before) - 1


def test_a_copy_of_the_home_elsewhere(home: Path) -> None:
    """The master key goes along, the file that says how far the log has come does not: the copy signs nothing."""
    copied = home.with_name("copied")
    shutil.copytree(home, copied)
    shutil.copy(home.with_name("home.key"), home.with_name("copied.key"))
    with Node(home) as node:
        node.said("identity.invite", {"name": "here", "roles": ["provider"]}, key(home))
        ran = cli(copied, "identity", "invite", "there", "--roles", "provider", "--json")
        assert ran.exit == 5 and ran.body["code"] == "log_end_unknown"
        node.stop()
    one_root(home / "state.sqlite", copied / "state.sqlite")
    assert max(signed(copied / "state.sqlite")) == 3


def test_the_file_beside_the_home_is_removed(home: Path) -> None:
    """While a node runs it comes back with the next entry; while none runs nothing is signed without it."""
    beside = highwater.path_of(home)
    with Node(home) as node:
        beside.unlink()
        size = (
            node.said("identity.invite", {"name": "first", "roles": ["provider"]}, key(home))["receipt"][
                "index"
            ]
            + 1
        )
        mark = highwater.read(beside)
        assert mark is not None and note.read_checkpoint(mark.note).size == size
        node.said("identity.invite", {"name": "second", "roles": ["provider"]}, key(home))
        node.kill()
    again = highwater.read(beside)
    assert again is not None and note.read_checkpoint(again.note).size == size + 1
    kept = beside.read_bytes()
    beside.unlink()
    assert cli(home, "up", "--port", "0", "--json").body["code"] == "log_end_unknown"
    assert max(signed(home / "state.sqlite")) == size + 1
    beside.write_bytes(kept)
