"""The writer: one commit for a batch, a savepoint for each act, nothing said before it is durable."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from dujiang.kernel.act import NODE, Caller, Tx
from dujiang.kernel.config import Config
from dujiang.kernel.errors import DatabaseLost, Refused, Unavailable
from dujiang.kernel.plugs import Database, Writing
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Row, Session, Sql, Value
from dujiang.ledger import rules
from dujiang.ledger import store as ledger
from dujiang.ledger.model import LogKey
from dujiang.ledger.note import read_checkpoint
from dujiang.plugs.sqlite import DISK_FULL
from tests.life import Life, opened

WAIT_S = 20


class Watched:
    """A database that tells what it is asked, and is lost at the n-th command or statement that writes."""

    def __init__(self, inner: Database) -> None:
        self.inner = inner
        self.told: list[str] = []
        self.lost_after: int | None = None
        self.deaf = False

    def writing(self) -> Writing:
        """The writing connection, watched."""
        return _Writing(self)

    def reading(self) -> Any:
        """A reading session as it is."""
        if self.deaf:
            raise DatabaseLost(DISK_FULL)
        return self.inner.reading()

    def close(self) -> None:
        """Closes the database."""
        self.inner.close()

    def tell(self, what: str) -> None:
        """Notes a command, or loses the database at it."""
        if self.lost_after is not None:
            if self.lost_after == 0:
                self.told.append(f"lost at {what}")
                raise DatabaseLost(DISK_FULL)
            self.lost_after -= 1
        self.told.append(what)


class _Writing:
    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._inner = watched.inner.writing()

    def begin(self) -> Session:
        self._watched.tell("begin")
        return _Session(self._watched, self._inner.begin())

    def savepoint(self) -> None:
        self._watched.tell("savepoint")
        self._inner.savepoint()

    def undo(self) -> None:
        self._watched.tell("undo")
        self._inner.undo()

    def commit(self) -> None:
        self._watched.tell("commit")
        self._inner.commit()
        self._watched.told.append("durable")

    def rollback(self) -> None:
        self._watched.told.append("rollback")
        self._inner.rollback()


class _Session:
    def __init__(self, watched: Watched, inner: Session) -> None:
        self._watched = watched
        self._inner = inner

    def run(self, statement: Sql, /, **values: Value) -> list[Row]:
        self._watched.tell("statement")
        return self._inner.run(statement, **values)

    def many(self, statement: Sql, rows: Sequence[Row]) -> None:
        self._watched.tell("statement")
        self._inner.many(statement, rows)

    def later(self, statement: Sql, rows: Sequence[Row]) -> None:
        self._watched.tell("statement")
        self._inner.later(statement, rows)

    def changed(self, statement: Sql, /, **values: Value) -> int:
        self._watched.tell("statement")
        return self._inner.changed(statement, **values)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node on a watched database."""
    with opened(tmp_path_factory.mktemp("writer")) as plain:
        from tests import life as making

        watched = Watched(plain.home.node.database)
        again = making.rebuilt(plain.home, database=watched)
        object.__setattr__(plain, "home", again)
        yield plain


@pytest.fixture
def database(life: Life) -> Iterator[Watched]:
    """The watched database, healthy before and after."""
    found = life.home.node.database
    assert isinstance(found, Watched)
    found.told.clear()
    yield found
    found.lost_after, found.deaf = None, False


NEVER = 2**40
"""A size no log of a test reaches: a key from there on is a row like any other."""
KEYS = Sql(text("SELECT origin FROM ledger_key"))


def write(life: Life, name: str, fails: BaseException | None = None) -> Any:
    """Work that leaves one entry and one row, or fails after both."""

    def work(tx: Tx) -> int:
        index = life.home.book.append(tx, "test.write", NODE, {"name": name}) if fails is None else -1
        row = f"row {name} {tx.now_ms} {index}"
        ledger.add_key(tx.db, LogKey(row, row.encode(), b"", NEVER))
        if fails is not None:
            raise fails
        return index

    return work


def batch(life: Life, works: list[Any]) -> list[Future[Any]]:
    """The futures of works that are all in one batch: queued while the writer is held."""
    gate, begun = threading.Event(), threading.Event()

    def hold(_: Tx) -> None:
        begun.set()
        assert gate.wait(WAIT_S)

    held = life.home.writer.submit(hold)
    assert begun.wait(WAIT_S)
    futures = [life.home.writer.submit(work) for work in works]
    gate.set()
    held.result(WAIT_S)
    for future in futures:
        future.exception(WAIT_S)
    return futures


def agrees(life: Life) -> None:
    """The tree in memory, the entries, the tiles and the newest checkpoint say the same."""
    with life.home.node.database.reading() as db:
        size, _ = ledger.last(db)
        head = ledger.checkpoint(db)
        entries = [entry.index for entry in ledger.page(db, 2**53, 10_000)]
    assert head is not None
    assert life.home.book.next_index() == size == head[0] == len(entries)
    assert entries == list(range(size - 1, -1, -1))
    assert read_checkpoint(head[1]).root == life.home.book._edge.root()
    for index in {0, size - 1, size // 2}:
        assert rules.verify(life.home.book.receipt(index), life.home.book.vkey).ok


def rows(life: Life, name: str) -> int:
    """How many rows a work left."""
    with life.home.node.database.reading() as db:
        return sum(str(row[0]).startswith(f"row {name} ") for row in db.run(KEYS))


def test_a_batch_has_one_commit_and_one_checkpoint_over_its_different_entries(
    life: Life, database: Watched
) -> None:
    futures = batch(life, [write(life, f"one{n}") for n in range(5)])
    indices = [future.result() for future in futures]
    assert indices == list(range(indices[0], indices[0] + 5))
    assert database.told.count("commit") == 2, "the held act and the batch"
    notes = {str(life.home.book.receipt(index)["checkpoint"]) for index in indices}
    assert len(notes) == 1
    agrees(life)


@pytest.mark.parametrize(
    "fails", [Refused(NOT_FOUND), Unavailable(DISK_FULL), KeyError("a bug")], ids=["refusal", "plug", "bug"]
)
def test_a_failure_in_a_batch_takes_back_itself_alone(
    life: Life, database: Watched, fails: Exception
) -> None:
    name = type(fails).__name__
    futures = batch(life, [write(life, name + "a"), write(life, name + "b", fails), write(life, name + "c")])
    assert futures[1].exception() is fails
    assert futures[2].result() == futures[0].result() + 1
    assert [rows(life, name + x) for x in "abc"] == [1, 0, 1]
    agrees(life)


@settings(max_examples=25)
@given(lost_after=st.integers(0, 24), deaf=st.booleans())
def test_a_lost_database_fails_the_whole_batch_and_leaves_nothing(
    life: Life, lost_after: int, deaf: bool
) -> None:
    database = life.home.node.database
    assert isinstance(database, Watched)
    before = life.size()
    gate, begun = threading.Event(), threading.Event()

    def hold(_: Tx) -> None:
        begun.set()
        assert gate.wait(WAIT_S)

    held = life.home.writer.submit(hold)
    assert begun.wait(WAIT_S)
    futures = [life.home.writer.submit(write(life, "lost")) for _ in range(3)]
    held.add_done_callback(lambda _: _lose(database, lost_after, deaf))
    gate.set()
    errors = [future.exception(WAIT_S) for future in futures]
    lost = any("lost" in told for told in database.told)
    database.lost_after, database.deaf = None, False
    database.told.clear()
    if lost:
        assert all(isinstance(error, DatabaseLost) for error in errors)
        assert life.size() == before
    else:
        assert errors == [None] * 3 and life.size() == before + 3
    life.home.writer.submit(write(life, "after")).result(WAIT_S)
    agrees(life)


def _lose(database: Watched, after: int, deaf: bool) -> None:
    database.lost_after, database.deaf = after, deaf


def test_nothing_is_said_before_it_is_durable(life: Life, database: Watched) -> None:
    future = life.home.writer.submit(write(life, "order"))
    future.add_done_callback(lambda _: database.told.append("said"))
    future.result(WAIT_S)
    life.home.writer.submit(lambda tx: None).result(WAIT_S)
    told = [word for word in database.told if word in {"begin", "commit", "durable", "said"}]
    assert told == ["begin", "commit", "durable", "said", "begin", "commit", "durable"]


def test_a_caller_who_went_away_is_left_out_and_the_others_are_served(life: Life, database: Watched) -> None:
    gate, begun = threading.Event(), threading.Event()

    def hold(_: Tx) -> None:
        begun.set()
        assert gate.wait(WAIT_S)

    held = life.home.writer.submit(hold)
    assert begun.wait(WAIT_S)
    gone, stays = life.home.writer.submit(write(life, "gone")), life.home.writer.submit(write(life, "stays"))
    assert gone.cancel() and not held.cancel()
    gate.set()
    stays.result(WAIT_S)
    assert (rows(life, "gone"), rows(life, "stays")) == (0, 1)
    agrees(life)


def test_a_receipt_that_cannot_be_made_is_the_callers_error_and_the_writer_goes_on(
    life: Life, database: Watched
) -> None:
    def broken(_: object) -> None:
        raise KeyError("finish")

    with pytest.raises(KeyError):
        life.home.writer.submit(write(life, "finish"), broken).result(WAIT_S)
    assert rows(life, "finish") == 1
    agrees(life)


def test_the_bell_rings_after_a_commit_and_a_waiter_sees_it(life: Life, database: Watched) -> None:
    seen = life.home.bell.count
    assert life.home.bell.wait(seen, 0) == seen
    life.home.writer.submit(lambda tx: None).result(WAIT_S)
    assert life.home.bell.wait(seen, WAIT_S) > seen


def test_closing_finishes_the_queue_and_takes_no_more(tmp_path: Path) -> None:
    with opened(tmp_path) as life:
        gate = threading.Event()
        life.home.writer.submit(lambda tx: gate.wait(WAIT_S))
        futures = [life.home.writer.submit(write(life, f"late{n}")) for n in range(20)]
        closing = threading.Thread(target=life.home.writer.close)
        closing.start()
        gate.set()
        closing.join(WAIT_S)
        assert [future.result(0) - futures[0].result(0) for future in futures] == list(range(20))
        with pytest.raises(Unavailable) as closed:
            life.home.writer.submit(write(life, "after"))
        assert closed.value.code.name == "closed"
        life.home.writer.close()


def test_a_full_queue_says_busy(tmp_path: Path) -> None:
    with opened(tmp_path, config=Config(queue_acts_max=2)) as life:
        gate, begun = threading.Event(), threading.Event()

        def hold(_: Tx) -> None:
            begun.set()
            assert gate.wait(WAIT_S)

        life.home.writer.submit(hold)
        assert begun.wait(WAIT_S)
        waiting = [life.home.writer.submit(write(life, f"full{n}")) for n in range(2)]
        with pytest.raises(Unavailable) as busy:
            life.home.writer.submit(write(life, "full"))
        assert busy.value.code.name == "busy"
        gate.set()
        assert [future.result(WAIT_S) for future in waiting]


def test_many_callers_at_once_each_have_an_entry_of_their_own(life: Life, database: Watched) -> None:
    caller = Caller("", "node", frozenset({"node"}))
    assert caller == NODE
    found: list[int] = []
    threads = [
        threading.Thread(
            target=lambda n=n: found.append(life.home.writer.submit(write(life, f"many{n}")).result(WAIT_S))
        )
        for n in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(set(found)) == 32
    agrees(life)
