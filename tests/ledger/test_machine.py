"""One log through every life it may have, against a model that keeps nothing but leaves and what was said.

Rules: acts one by one and in batches, refused and failing ones among them, a database that fails a whole batch,
repeats by key, proofs, a second opener, closing, `kill -9` at each moment of a commit, an older copy put back.

1. What was acknowledged is in the log, at the index its receipt says.  2. One root per size and log name.
3. Checkpoints only grow.  4. Every receipt given verifies, then and later.  5. The tree is RFC 6962's and pymerkle's.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pymerkle import InmemoryTree

from dujiang import home
from dujiang.doors.local import Options
from dujiang.doors.restore import restore
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller
from dujiang.kernel.errors import DatabaseLost, Refused
from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck, note, rules, store
from dujiang.plugs.sqlite import DISK_FULL
from tests.ledger.rfc6962 import Leaves

KINDS = ("act", "act", "refused", "bug", "repeat")
MOMENTS = ("idle", "in the transaction", "committed", "answering")


class Database(Protocol):
    """Homes on one kind of database: how they are made, how they are copied while they work, how one is set back."""

    def make(self, folder: Path) -> tuple[Path, str]:
        """A new home of one organisation in an empty folder, closed; and an API key of its operator."""
        ...

    def copy(self, path: Path, folder: Path) -> Path:
        """The home in an empty folder as it would be found if its process had been killed right now."""
        ...

    def put_back(self, older: Path, path: Path) -> None:
        """Sets what the database of a closed home holds back to what that of its older copy holds."""
        ...


class OnSqlite:
    """Homes with their database in a file."""

    def make(self, folder: Path) -> tuple[Path, str]:
        """See Database."""
        made, organisations = home.create(folder / "home", [("甲", ("operator",))], "data.example.org")
        made.close()
        return folder / "home", organisations[0]["api_key"]

    def copy(self, path: Path, folder: Path) -> Path:
        """See Database: a killed process loses nothing of what it gave to the system, written or synced."""
        shutil.copytree(path, folder / "home", ignore=shutil.ignore_patterns("*-shm", "lock"))
        for beside in ("home.key", "home.high"):
            shutil.copy(path.with_name(beside), folder / beside)
        return folder / "home"

    def put_back(self, older: Path, path: Path) -> None:
        """See Database."""
        for name in ("state.sqlite", "state.sqlite-wal"):
            (path / name).unlink(missing_ok=True)
            if (older / name).exists():
                shutil.copy(older / name, path / name)


@dataclass(frozen=True, slots=True)
class Heard:
    """A request, and the receipt that acknowledged it."""

    key: str
    ask: object
    receipt: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Older:
    """A copy of the home from before, and how many entries its log had."""

    path: Path
    size: int


class Life(RuleBasedStateMachine):
    """The home of the moment, and the model."""

    database: Database
    template: tuple[Path, str]
    folder: Path

    @initialize()
    def begin(self) -> None:
        """A new home, as a copy of the one made for all runs."""
        self.place = Path(tempfile.mkdtemp(dir=self.folder))
        self.pool = ThreadPoolExecutor(16)
        self.count = 0
        self.leaves: list[bytes] = []
        self.heads: dict[tuple[str, int], bytes] = {}
        self.heard: list[Heard] = []
        self.newest: dict[str, int] = {}
        self.lost: list[Heard] = []
        self.vkeys: dict[str, str] = {}
        self.older: Older | None = None
        self.open(self.database.copy(self.template[0], self.fresh()))

    def fresh(self) -> Path:
        """An empty folder."""
        return Path(tempfile.mkdtemp(dir=self.place))

    def open(self, path: Path) -> None:
        """Opens a home and learns what its log holds beyond what was heard: that may be, the reverse may not."""
        self.path, self.home = path, home.open_home(path, wait_s=0)
        found = self.home.caller_of_key(self.template[1])
        assert found is not None
        self.caller: Caller = found
        self.vkeys[self.home.book.origin] = self.home.book.vkey
        with self.home.node.database.reading() as db:
            # Both, since the head alone is quick: it must be right too where nothing else is looked at.
            assert (fsck.head(db), fsck.whole(db)) == (None, None)
        self.seen(0)

    def seen(self, since: int) -> None:
        """Invariants 1 to 3 over the entries and checkpoints of the log from an index on; learns the new ones."""
        with self.home.node.database.reading() as db:
            size, _ = store.last(db)
            leaves = [store.entry(db, index).leaf.encode() for index in range(since, size)]  # type: ignore[union-attr]
            notes = [(at, said) for at in range(since, size + 1) if (said := store.checkpoint_at(db, at))]
        known = self.leaves[since:]
        assert leaves[: len(known)] == known, "an entry is gone or another"
        self.leaves[since:] = leaves
        tree = Leaves(self.leaves)
        assert not self.leaves or notes[-1][0] == size, "entries that no checkpoint covers"
        for at, said in notes:
            head = note.read_checkpoint(said)
            assert head.size == at and head.root == tree.root(at)
            assert self.heads.setdefault((head.origin, at), head.root) == head.root, "two roots for one size"
            assert note.signed_by(head, *note.read_vkey(self.vkeys[head.origin]))

    def run(self, ask: object, key: str) -> Any:
        """One request and its answer."""
        return self.home.run("identity.grant", self.caller, ask, key)

    def new(self, *roles: str) -> tuple[object, str]:
        """A request nobody has made yet."""
        self.count += 1
        return identity.Grant(roles or ("operator",)), f"key {self.count}"

    def hear(self, ask: object, key: str, receipt: Any) -> None:
        """Keeps an acknowledgement; it must be of an entry nobody was told of, and verify."""
        verdict = rules.verify(receipt, self.home.book.vkey)
        assert verdict.ok and verdict.index == receipt["index"] and verdict.act == "identity.grant"
        assert all(each.receipt["index"] != receipt["index"] for each in self.heard)
        self.heard.append(Heard(key, ask, receipt))

    @contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        """The writer is busy until what is given is called: what is asked meanwhile is one batch."""
        busy, go = threading.Event(), threading.Event()

        def wait(_: object) -> None:
            busy.set()
            assert go.wait(30)

        waiting = self.home.writer.submit(wait)
        assert busy.wait(30)
        try:
            yield go.set
        finally:
            go.set()
            waiting.result(30)

    def ask_all(self, kinds: list[str]) -> list[tuple[str, object, str, Future[Any]]]:
        """Asks of these kinds, queued in order before the writer looks at any of them."""
        asked: list[tuple[str, object, str, Future[Any]]] = []
        for kind in kinds:
            before = self.home.writer.waiting
            if kind == "bug":
                ask, key, future = None, "", self.home.writer.submit(_fails)
            else:
                ask, key = self.new(*(("no such role",) if kind == "refused" else ()))
                if kind == "repeat" and self.heard:
                    ask, key = self.heard[-1].ask, self.heard[-1].key
                future = self.pool.submit(self.run, ask, key)
            asked.append((kind, ask, key, future))
            deadline = time.monotonic() + 30
            while self.home.writer.waiting == before and not future.done() and time.monotonic() < deadline:
                time.sleep(0.0005)
        return asked

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=12))
    def batch(self, kinds: list[str]) -> None:
        """Several requests in one transaction: each fails for itself alone."""
        last = self.heard[-1] if self.heard else None
        with self.held() as go:
            asked = self.ask_all(kinds)
            go()
            for kind, ask, key, future in asked:
                if kind in ("refused", "bug"):
                    with pytest.raises(Refused if kind == "refused" else ZeroDivisionError):
                        future.result(30)
                elif kind == "repeat" and last is not None:
                    assert future.result(30).receipt["index"] == last.receipt["index"]
                else:
                    self.hear(ask, key, future.result(30).receipt)

    @rule(kinds=st.lists(st.sampled_from(KINDS[:3]), min_size=1, max_size=5), at=st.integers(0, 5))
    def lost_batch(self, kinds: list[str], at: int) -> None:
        """The database fails in the middle of a batch: nothing of it happened, and the next one goes on."""
        with self.held() as go:
            asked = self.ask_all(kinds[:at])
            broken = self.home.writer.submit(_breaks)
            asked += self.ask_all(kinds[at:])
            go()
            for *_, future in asked:
                with pytest.raises((DatabaseLost, Refused)):
                    future.result(30)
            with pytest.raises(DatabaseLost):
                broken.result(30)
        ask, key = self.new()
        self.hear(ask, key, self.run(ask, key).receipt)

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """A request under the key of an earlier one is that one: the same entry, and nothing new."""
        earlier = data.draw(st.sampled_from(self.heard))
        before = len(self.leaves)
        again = self.run(earlier.ask, earlier.key).receipt
        assert (again["index"], again["leaf"]) == (earlier.receipt["index"], earlier.receipt["leaf"])
        self.seen(before)
        assert len(self.leaves) == before

    @rule(data=st.data())
    def prove(self, data: st.DataObject) -> None:
        """Any entry is proved under a checkpoint of its log, by the path RFC 6962 gives."""
        index = data.draw(st.integers(0, len(self.leaves) - 1))
        receipt = self.home.run("ledger.prove", self.caller, ledger.Show(index)).reply.receipt
        head = note.read_checkpoint(receipt["checkpoint"])
        assert rules.verify(receipt, self.vkeys[head.origin]).ok
        assert (receipt["index"], receipt["leaf"].encode()) == (index, self.leaves[index])
        assert self.heads[head.origin, head.size] == head.root
        path = Leaves(self.leaves).path(index, head.size)
        assert [base64.b64decode(step) for step in receipt["path"]] == path

    @rule(data=st.data())
    def grown(self, data: st.DataObject) -> None:
        """Between any two sizes the log only grew, by the proof RFC 6962 gives."""
        sizes = sorted({size for _, size in self.heads if 0 < size <= len(self.leaves)})
        old = data.draw(st.sampled_from(sizes))
        new = data.draw(st.sampled_from([size for size in sizes if size >= old]))
        said = self.home.run("ledger.consistency", self.caller, ledger.Consistency(old, new)).reply
        tree = Leaves(self.leaves)
        roots = [base64.b64decode(text) for text in (said.old_root, said.new_root)]
        assert roots == [tree.root(old), tree.root(new)]
        assert [base64.b64decode(step) for step in said.proof] == tree.proof(old, new)

    @rule(moment=st.sampled_from(MOMENTS), kinds=st.lists(st.sampled_from(KINDS[:4]), min_size=1, max_size=6))
    def killed(self, moment: str, kinds: list[str]) -> None:
        """`kill -9` at a moment of a batch: nobody hears of it, and it is there whole or not at all."""
        folder, before = self.fresh(), len(self.leaves)
        kinds = [*kinds, "act"]
        if moment == "idle":
            left = self.database.copy(self.path, folder)
        else:
            left = self._killed_in_batch(moment, kinds, folder)
        self.home.close()
        self.open(left)
        assert len(self.leaves) - before == (kinds.count("act") if moment in MOMENTS[2:] else 0)

    def _killed_in_batch(self, moment: str, kinds: list[str], folder: Path) -> Path:
        left: list[Path] = []

        def copy(_: object) -> None:
            if not left:
                left.append(self.database.copy(self.path, folder))

        raised = self.home.mark.raise_to
        if moment == "committed":
            self.home.book.follow(lambda signed: (copy(signed), raised(signed))[1])
        elif moment == "answering":
            self.home.book.follow(lambda signed: (raised(signed), copy(signed))[0])
        with self.held() as go:
            asked = self.ask_all(kinds)
            if moment == "in the transaction":
                self.home.writer.submit(copy)
            go()
            for *_, future in asked:
                future.exception(30)
        self.home.writer.submit(lambda _: None).result(30)
        return left[0]

    @rule()
    def opened_again(self) -> None:
        """Closed in order and opened: the same log."""
        self.home.close()
        before = len(self.leaves)
        self.open(self.path)
        assert len(self.leaves) == before

    @rule()
    def opened_twice(self) -> None:
        """A second program does not get hold of the home."""
        with pytest.raises(Refused) as refused:
            home.open_home(self.path, wait_s=0)
        assert refused.value.code is home.HOME_BUSY

    @rule()
    def remember(self) -> None:
        """A copy is put aside, as a backup by hand."""
        self.older = Older(self.database.copy(self.path, self.fresh()), len(self.leaves))

    @precondition(lambda self: self.older is not None and self.older.size < len(self.leaves))
    @rule()
    def put_back(self) -> None:
        """An older copy does not open; told to, it goes on under another name, and the lost receipts still verify."""
        assert self.older is not None
        self.home.close()
        self.database.put_back(self.older.path, self.path)
        with pytest.raises(Refused) as refused:
            home.open_home(self.path, wait_s=0)
        assert refused.value.code is home.LOG_WOULD_FORK
        restore(new_log=True)(Options(self.path))
        self.lost += [each for each in self.heard if each.receipt["index"] >= self.older.size]
        self.heard = [each for each in self.heard if each.receipt["index"] < self.older.size]
        del self.leaves[self.older.size :]
        names = set(self.vkeys)
        with home.opened(self.path) as held:
            self.vkeys[held.book.origin] = held.book.vkey
        assert self.vkeys.keys() > names, "the log went on under a name it had"
        self.older = None
        self.open(self.path)

    @invariant()
    def as_the_model_says(self) -> None:
        """Invariants 1 to 3 of what is new, and of what was acknowledged."""
        if not hasattr(self, "home"):
            return
        self.seen(len(self.leaves))
        head = note.read_checkpoint(self.home.book.head)
        assert head.size == len(self.leaves) >= self.newest.get(head.origin, 0)
        self.newest[head.origin] = head.size
        for each in self.heard:
            assert self.leaves[each.receipt["index"]] == each.receipt["leaf"].encode()

    def teardown(self) -> None:
        """Invariants 4 and 5, and everything once more from the beginning."""
        if not hasattr(self, "home"):
            return
        try:
            self.seen(0)
            for each in (*self.heard, *self.lost):
                head = note.read_checkpoint(each.receipt["checkpoint"])
                assert rules.verify(each.receipt, self.vkeys[head.origin]).ok
                assert self.heads[head.origin, head.size] == head.root
            oracle = InmemoryTree(algorithm="sha256")
            for leaf in self.leaves:
                oracle.append_entry(leaf)
            assert oracle.get_root(len(self.leaves)) == Leaves(self.leaves).root(len(self.leaves))
        finally:
            self.home.close()
            self.pool.shutdown()
            shutil.rmtree(self.place)


def _fails(_: object) -> None:
    raise ZeroDivisionError


def _breaks(_: object) -> None:
    raise DatabaseLost(DISK_FULL)


@pytest.fixture(params=[OnSqlite], ids=["sqlite"])
def database(request: pytest.FixtureRequest) -> Database:
    """Every kind of database a home may have."""
    return request.param()


def test_a_log_through_every_life(database: Database, tmp_path: Path) -> None:
    (tmp_path / "template").mkdir()
    made = database.make(tmp_path / "template")
    machine = type("Life", (Life,), {"database": database, "template": made, "folder": tmp_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )  # fmt: skip
