"""What every database holds to: savepoints, durable commits, snapshot readers, and no foreign exception."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from dujiang.kernel.errors import DatabaseLost, Unavailable
from dujiang.kernel.plugs import Database
from dujiang.kernel.tables import Row, Sql, Value

MAKE = Sql(text("CREATE TABLE t (n BIGINT PRIMARY KEY, word TEXT)"))
ADD = Sql(text("INSERT INTO t (n, word) VALUES (:n, :word)"))
ALL = Sql(text("SELECT n, word FROM t ORDER BY n"))
RENAME = Sql(text("UPDATE t SET word = :word WHERE n >= :n"))
NOT_SQL = Sql(text("SELECT nothing FROM nowhere"))


class DatabaseContract(ABC):
    """The obligations of the Database plug."""

    @abstractmethod
    def opened(self, folder: Path) -> Database:
        """The database of a folder, opened again if it is there."""

    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[Database]:
        """A database with the one table of these tests."""
        made = self.opened(tmp_path)
        made.writing().begin().run(MAKE)
        made.writing().commit()
        yield made
        made.close()

    def rows(self, database: Database) -> list[Row]:
        """What a reader sees."""
        with database.reading() as db:
            return db.run(ALL)

    def test_a_commit_is_seen_and_outlives_the_connection(self, database: Database, tmp_path: Path) -> None:
        database.writing().begin().run(ADD, n=1, word="一")
        assert self.rows(database) == []
        database.writing().commit()
        assert self.rows(database) == [(1, "一")]
        database.close()
        again = self.opened(tmp_path)
        assert self.rows(again) == [(1, "一")]
        again.close()

    def test_undo_takes_back_to_the_last_savepoint_and_no_further(self, database: Database) -> None:
        writing = database.writing()
        db = writing.begin()
        for n in (1, 2, 3):
            writing.savepoint()
            db.run(ADD, n=n, word="x")
            if n == 2:
                writing.undo()
        writing.commit()
        assert self.rows(database) == [(1, "x"), (3, "x")]

    def test_later_rows_are_there_for_whoever_asks_and_at_the_commit(self, database: Database) -> None:
        writing = database.writing()
        db = writing.begin()
        writing.savepoint()
        db.later(ADD, [(1, "x"), (2, "x")])
        assert db.run(ALL) == [(1, "x"), (2, "x")]
        db.later(ADD, [(3, "x")])
        assert db.changed(RENAME, n=2, word="y") == 2
        db.later(ADD, [(4, "x")])
        writing.commit()
        assert self.rows(database) == [(1, "x"), (2, "y"), (3, "y"), (4, "x")]

    @pytest.mark.parametrize("asked", [True, False])
    def test_later_rows_are_taken_back_with_their_act_alone(self, database: Database, asked: bool) -> None:
        """Also where it was for the sake of an act that is taken back that those of earlier acts were written."""
        writing = database.writing()
        db = writing.begin()
        kept: list[Row] = []
        for n in range(1, 9):
            writing.savepoint()
            db.later(ADD, [(n, "x")])
            if asked and n % 4 in (2, 3):
                assert db.run(ALL) == sorted([*kept, (n, "x")])
                db.later(ADD, [(n + 10, "x")])
            if n % 2 == 0:
                writing.undo()
            else:
                kept = db.run(ALL) if asked and n % 4 == 3 else [*kept, (n, "x")]
        writing.commit()
        expected = [1, 3, 5, 7, 13, 17] if asked else [1, 3, 5, 7]
        assert [row[0] for row in self.rows(database)] == expected

    @pytest.mark.parametrize("odd", ["a\0b", "\ud800", 1 << 63, -(1 << 63) - 1])
    def test_a_later_row_no_database_takes_is_its_own_acts_fault(
        self, database: Database, odd: Value
    ) -> None:
        writing = database.writing()
        db = writing.begin()
        writing.savepoint()
        db.later(ADD, [(1, "x"), (-(1 << 63), "𐀀"), ((1 << 63) - 1, None)])
        writing.savepoint()
        with pytest.raises(Unavailable) as failed:
            db.later(ADD, [(2, odd) if isinstance(odd, str) else (odd, "x")])
        assert not isinstance(failed.value, DatabaseLost)
        writing.undo()
        writing.commit()
        assert [row[0] for row in self.rows(database)] == [-(1 << 63), 1, (1 << 63) - 1]

    def test_later_rows_go_with_their_transaction(self, database: Database) -> None:
        writing = database.writing()
        writing.begin().later(ADD, [(1, "x")])
        writing.rollback()
        db = writing.begin()
        assert db.run(ALL) == []
        db.later(ADD, [(2, "x"), (2, "again")])
        with pytest.raises(Unavailable):
            writing.commit()
        writing.rollback()
        assert self.rows(database) == []
        writing.begin().later(ADD, [(3, "x")])
        writing.commit()
        assert [row[0] for row in self.rows(database)] == [3]

    def test_many_rows_are_inserted_at_once_or_none_of_them(self, database: Database) -> None:
        words = ["一", "", "a\tb\\n\n", None, "\\N", *(f"w{n}" for n in range(2500))]
        rows: list[Row] = list(enumerate(words))
        writing = database.writing()
        db = writing.begin()
        writing.savepoint()
        db.many(ADD, rows)
        writing.savepoint()
        with pytest.raises(Unavailable) as failed:
            db.many(ADD, [(9000, "x"), (7, "again")])
        assert not isinstance(failed.value, DatabaseLost)
        writing.undo()
        db.many(ADD, [])
        db.run(ADD, n=9001, word="after")
        writing.commit()
        assert self.rows(database) == [*rows, (9001, "after")]

    def test_rollback_takes_back_everything_and_never_raises(self, database: Database) -> None:
        writing = database.writing()
        writing.rollback()
        db = writing.begin()
        writing.savepoint()
        db.run(ADD, n=1, word="x")
        writing.rollback()
        writing.rollback()
        writing.begin()
        writing.commit()
        assert self.rows(database) == []

    def test_a_reader_sees_one_committed_state_whatever_is_written(self, database: Database) -> None:
        with database.reading() as db:
            before = db.run(ALL)
            database.writing().begin().run(ADD, n=1, word="x")
            database.writing().commit()
            assert db.run(ALL) == before == []
        assert self.rows(database) == [(1, "x")]

    def test_a_reader_cannot_write(self, database: Database) -> None:
        with pytest.raises(Unavailable), database.reading() as db:
            db.run(ADD, n=1, word="x")
        assert self.rows(database) == []

    def test_a_change_says_how_many_rows_it_changed(self, database: Database) -> None:
        db = database.writing().begin()
        for n in range(4):
            db.run(ADD, n=n, word="x")
        assert (db.changed(RENAME, n=2, word="y"), db.changed(RENAME, n=9, word="y")) == (2, 0)
        database.writing().commit()

    def test_many_rows_are_inserted_at_once_or_none(self, database: Database) -> None:
        writing = database.writing()
        db = writing.begin()
        odd = ["", "'", '"', "a\tb", "\\N", "\\", "a\nb\r", "一 😀", None]
        rows: list[Row] = [(n, odd[n % len(odd)]) for n in range(2500)]
        writing.savepoint()
        db.many(ADD, rows)
        writing.savepoint()
        with pytest.raises(Unavailable) as failed:
            db.many(ADD, [(9000, "x"), (17, "again")])
        assert not isinstance(failed.value, DatabaseLost)
        writing.undo()
        db.many(ADD, [])
        writing.commit()
        assert self.rows(database) == rows

    def test_there_is_one_writing_connection(self, database: Database) -> None:
        assert database.writing() is database.writing()

    def test_a_broken_constraint_fails_the_act_and_not_the_database(self, database: Database) -> None:
        writing = database.writing()
        db = writing.begin()
        db.run(ADD, n=1, word="first")
        writing.savepoint()
        with pytest.raises(Unavailable) as failed:
            db.run(ADD, n=1, word="a row value")
        assert not isinstance(failed.value, DatabaseLost) and "value" not in str(failed.value) + str(
            failed.value.names
        )
        writing.undo()
        writing.commit()
        assert self.rows(database) == [(1, "first")]

    def test_a_failing_statement_is_a_lost_database_without_its_text(self, database: Database) -> None:
        with pytest.raises(DatabaseLost) as failed, database.reading() as db:
            db.run(NOT_SQL)
        assert "nowhere" not in str(failed.value) and failed.value.__cause__ is None

    def test_many_readers_at_once_while_it_is_written(self, database: Database) -> None:
        seen: list[int] = []

        def read() -> None:
            for _ in range(20):
                seen.append(len(self.rows(database)))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for n in range(20):
            database.writing().begin().run(ADD, n=n, word="x")
            database.writing().commit()
        for thread in threads:
            thread.join(20)
        assert len(seen) == 160 and len(self.rows(database)) == 20
