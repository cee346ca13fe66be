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
from typing import Any

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
from sqlalchemy import text

from dujiang import home
from dujiang.doors.local import Options
from dujiang.doors.restore import restore
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import DatabaseLost, Refused
from dujiang.kernel.tables import Sql
from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck, note, rules, store
from dujiang.ledger.lot import receipts_of
from dujiang.ledger.model import Verdict
from dujiang.plugs.sqlite import DISK_FULL
from tests.ledger.homes import Database, OnPostgres, OnSqlite
from tests.ledger.rfc6962 import Leaves

KINDS = ("act", "act", "refused", "bug", "attest 1", "attest 3", "attest 300", "repeat", "twin")
ENTRIES = {"act": 1, "attest 1": 1, "attest 3": 3, "attest 300": 300}
"""How many entries a request of a kind leaves."""
KEYS = Sql(text("SELECT count(*) FROM identity_key"))
MOMENTS = ("idle", "in the transaction", "committed", "answering")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its act, its ask and its idempotency key."""

    act: str
    ask: Any
    key: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A request, and the receipts that acknowledged it."""

    asked: Asked
    receipts: list[dict[str, Any]]


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
        self.vkeys: dict[str, list[str]] = {}
        self.older: Older | None = None
        self.open(self.database.copy(self.template[0], self.fresh()))

    def fresh(self) -> Path:
        """An empty folder."""
        return Path(tempfile.mkdtemp(dir=self.place))

    def open(self, path: Path) -> None:
        """Opens a home and learns what its log holds beyond what was heard: that may be, the reverse may not."""
        self.path, self.home = path, home.open_home(path, wait_s=10)
        found = self.home.caller_of_key(self.template[1])
        assert found is not None
        self.caller: Caller = found
        self.knows(self.home.book.vkey)
        with self.home.node.database.reading() as db:
            # Both, since the head alone is quick: it must be right too where nothing else is looked at.
            assert (fsck.head(db), fsck.whole(db)) == (None, None)
        self.seen(0)

    def seen(self, since: int) -> None:
        """Invariants 1 to 3 over the entries and checkpoints of the log from an index on; learns the new ones."""
        with self.home.node.database.reading() as db:
            size, _ = store.last(db)
            leaves = [store.entry(db, index).leaf.encode() for index in range(since, size)]  # type: ignore[union-attr]
            ((keys,),) = db.run(KEYS)
            notes = [(at, said) for at in range(since, size + 1) if (said := store.checkpoint_at(db, at))]
        known = self.leaves[since:]
        assert leaves[: len(known)] == known, "an entry is gone or another"
        self.leaves[since:] = leaves
        granted = sum(
            leaf.startswith((b'{"act":"identity.grant"', b'{"act":"identity.register"'))
            for leaf in self.leaves
        )
        assert keys == granted, "work without an entry, or an entry without its work"
        tree = Leaves(self.leaves)
        assert not self.leaves or notes[-1][0] == size, "entries that no checkpoint covers"
        for at, said in notes:
            head = note.read_checkpoint(said)
            assert head.size == at and head.root == tree.root(at)
            assert self.heads.setdefault((head.origin, at), head.root) == head.root, "two roots for one size"
            assert any(note.signed_by(head, *note.read_vkey(key)) for key in self.vkeys[head.origin])

    def knows(self, vkey: str) -> None:
        """Learns a verifier key of the log."""
        known = self.vkeys.setdefault(vkey.partition("+")[0], [])
        if vkey not in known:
            known.append(vkey)

    def run(self, asked: Asked) -> Any:
        """One request and its answer."""
        return self.home.run(asked.act, self.caller, asked.ask, asked.key)

    def new(self, kind: str = "act") -> Asked:
        """A request of a kind that nobody has made yet."""
        self.count += 1
        key = f"key {self.count}"
        if kind.startswith("attest"):
            records = tuple({"reading": self.count, "n": n} for n in range(ENTRIES[kind]))
            return Asked("ledger.attest", ledger.Attest(records), key)
        role = "no such role" if kind == "refused" else "operator"
        return Asked("identity.grant", identity.Grant((role,)), key)

    def hear(self, asked: Asked, receipt: Any) -> None:
        """Keeps an acknowledgement; it must be of entries nobody was told of, and verify."""
        given = receipts(asked, receipt)
        taken = {each["index"] for heard in self.heard for each in heard.receipts}
        assert [each["index"] for each in given] == list(
            range(given[0]["index"], given[0]["index"] + len(given))
        )
        for each in given:
            assert self.verdict(each).act == asked.act and each["index"] not in taken
        self.heard.append(Heard(asked, given))

    @property
    def heard_last(self) -> Asked | None:
        """What was acknowledged last."""
        return self.heard[-1].asked if self.heard else None

    def fails(self, tx: Tx) -> None:
        """The work of an act, up to where its entry would be left, and then a bug."""
        identity.grant(tx, self.caller, identity.Grant(("operator",)))
        raise ZeroDivisionError

    def verdict(self, receipt: dict[str, Any]) -> Verdict:
        """The verdict on a receipt, by a key this log is known to have had; it must be good."""
        name = note.read_checkpoint(receipt["checkpoint"]).origin
        assert receipt["vkey"] in self.vkeys[name]
        verdict = rules.verify(receipt, receipt["vkey"])
        assert verdict.ok and verdict.index == receipt["index"]
        return verdict

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

    def ask_all(self, kinds: list[str]) -> list[tuple[str, Asked, Future[Any]]]:
        """Asks of these kinds, queued in order before the writer looks at any of them."""
        queued: list[tuple[str, Asked, Future[Any]]] = []
        for kind in kinds:
            before = self.home.writer.waiting
            asked = self.heard[-1].asked if kind == "repeat" and self.heard else self.new(kind)
            if kind == "twin" and queued and queued[-1][0] in ENTRIES:
                asked = queued[-1][1]
            bug = kind == "bug"
            future = self.home.writer.submit(self.fails) if bug else self.pool.submit(self.run, asked)
            queued.append((kind, asked, future))
            deadline = time.monotonic() + 30
            while self.home.writer.waiting == before and not future.done() and time.monotonic() < deadline:
                time.sleep(0.0005)
        return queued

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=12))
    def batch(self, kinds: list[str]) -> None:
        """Several requests in one transaction: each fails for itself alone."""
        last = self.heard[-1] if self.heard else None
        with self.held() as go:
            queued = self.ask_all(kinds)
            go()
            for kind, asked, future in queued:
                if kind in ("refused", "bug"):
                    with pytest.raises(Refused if kind == "refused" else ZeroDivisionError):
                        future.result(30)
                elif kind == "repeat" and last is not None:
                    assert first_of(future.result(30).receipt) == last.receipts[0]["index"]
                elif kind == "twin" and asked == self.heard_last:
                    assert first_of(future.result(30).receipt) == self.heard[-1].receipts[0]["index"]
                else:
                    self.hear(asked, future.result(30).receipt)

    @rule(kinds=st.lists(st.sampled_from(KINDS[:6]), min_size=1, max_size=5), at=st.integers(0, 5))
    def lost_batch(self, kinds: list[str], at: int) -> None:
        """The database fails in the middle of a batch: nothing of it happened, and the next one goes on."""
        with self.held() as go:
            queued = self.ask_all(kinds[:at])
            broken = self.home.writer.submit(_breaks)
            queued += self.ask_all(kinds[at:])
            go()
            for *_, future in queued:
                with pytest.raises((DatabaseLost, Refused)):
                    future.result(30)
            with pytest.raises(DatabaseLost):
                broken.result(30)
        asked = self.new()
        self.hear(asked, self.run(asked).receipt)

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """A request under the key of an earlier one is that one: the same entry, and nothing new."""
        earlier = data.draw(st.sampled_from(self.heard))
        before = len(self.leaves)
        again = receipts(earlier.asked, self.run(earlier.asked).receipt)
        told = [[(each["index"], each["leaf"]) for each in given] for given in (again, earlier.receipts)]
        assert told[0] == told[1]
        self.seen(before)
        assert len(self.leaves) == before

    @rule()
    def rotate(self) -> None:
        """A new key under the same name, and both sign; a second time while they do is refused."""
        if len(self.vkeys[self.home.book.origin]) > 1:
            with pytest.raises(Refused):
                self.home.run("ledger.rotate", self.caller, ledger.Rotate())
            return
        outcome = self.home.run("ledger.rotate", self.caller, ledger.Rotate())
        self.knows(outcome.reply.new)
        self.verdict(outcome.receipt)

    @rule()
    def disown(self) -> None:
        """The key that signs is disowned: the log goes on under another name at once."""
        old = self.home.book.vkey
        outcome = self.home.run("ledger.disown", self.caller, ledger.Disown(old))
        assert outcome.reply.origin not in self.vkeys, "the log went on under a name it had"
        self.knows(outcome.reply.new)
        self.verdict(outcome.receipt)

    @rule(data=st.data())
    def prove(self, data: st.DataObject) -> None:
        """Any entry is proved under a checkpoint of its log, by the path RFC 6962 gives."""
        index = data.draw(st.integers(0, len(self.leaves) - 1))
        receipt = self.home.run("ledger.prove", self.caller, ledger.Show(index)).reply.receipt
        head = note.read_checkpoint(receipt["checkpoint"])
        self.verdict(receipt)
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

    @rule(moment=st.sampled_from(MOMENTS), kinds=st.lists(st.sampled_from(KINDS[:6]), min_size=1, max_size=6))
    def killed(self, moment: str, kinds: list[str]) -> None:
        """`kill -9` at a moment of a batch: nobody hears of it, and it is there whole or not at all."""
        folder, before = self.fresh(), len(self.leaves)
        kinds = [*kinds, "act"]
        if moment == "idle":
            left = self.database.killed(self.path, folder)
        else:
            left = self._killed_in_batch(moment, kinds, folder)
        self.home.close()
        self.open(left)
        assert len(self.leaves) - before == (
            sum(ENTRIES.get(kind, 0) for kind in kinds) if moment in MOMENTS[2:] else 0
        )

    def _killed_in_batch(self, moment: str, kinds: list[str], folder: Path) -> Path:
        left: list[Path] = []

        def copy(_: object) -> None:
            if not left:
                left.append(self.database.killed(self.path, folder))

        raised = self.home.mark.raise_to
        if moment == "committed":
            self.home.book.follow(lambda signed: (copy(signed), raised(signed))[1])
        elif moment == "answering":
            self.home.book.follow(lambda signed: (raised(signed), copy(signed))[0])
        with self.held() as go:
            queued = self.ask_all(kinds)
            if moment == "in the transaction":
                self.home.writer.submit(copy)
            go()
            for *_, future in queued:
                future.exception(30)
        self.home.writer.submit(lambda _: None).exception(30)
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
        self.home.close()
        self.older = Older(self.database.copy(self.path, self.fresh()), len(self.leaves))
        self.open(self.path)

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
        size = self.older.size
        self.lost += [each for each in self.heard if each.receipts[0]["index"] >= size]
        self.heard = [each for each in self.heard if each.receipts[0]["index"] < size]
        del self.leaves[self.older.size :]
        names = set(self.vkeys)
        with home.opened(self.path) as held:
            self.knows(held.book.vkey)
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
        for heard in self.heard:
            for each in heard.receipts:
                assert self.leaves[each["index"]] == each["leaf"].encode()

    def teardown(self) -> None:
        """Invariants 4 and 5, and everything once more from the beginning."""
        if not hasattr(self, "home"):
            return
        try:
            self.seen(0)
            for each in (receipt for heard in (*self.heard, *self.lost) for receipt in heard.receipts):
                head = note.read_checkpoint(each["checkpoint"])
                assert self.verdict(each) and self.heads[head.origin, head.size] == head.root
            oracle = InmemoryTree(algorithm="sha256")
            for leaf in self.leaves:
                oracle.append_entry(leaf)
            assert oracle.get_root(len(self.leaves)) == Leaves(self.leaves).root(len(self.leaves))
        finally:
            self.home.close()
            self.pool.shutdown()
            shutil.rmtree(self.place)


def receipts(asked: Asked, receipt: Any) -> list[dict[str, Any]]:
    """The receipt of each entry of a request."""
    return receipts_of(receipt, asked.ask.records) if asked.act == "ledger.attest" else [receipt]


def first_of(receipt: Any) -> int:
    """The index of the first entry a receipt speaks of."""
    return receipt["first"] if "first" in receipt else receipt["index"]


def _breaks(_: object) -> None:
    raise DatabaseLost(DISK_FULL)


@pytest.fixture(params=[OnSqlite, OnPostgres], ids=["sqlite", "postgres"])
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
            max_examples=database.lives, stateful_step_count=25, deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )  # fmt: skip
