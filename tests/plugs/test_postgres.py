"""The database plug on PostgreSQL: what it holds to, and that there is one writer."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from dujiang.acts import ACTS
from dujiang.kernel.act import bind
from dujiang.kernel.errors import DatabaseLost, Unavailable
from dujiang.kernel.plugs import Database
from dujiang.kernel.tables import Sql
from dujiang.plugs import migrations
from dujiang.plugs.postgres import FENCE, PostgresDatabase, _rewritten, dialect, lost
from tests import cluster
from tests.plugs.database import ADD, ALL, DatabaseContract


class TestPostgres(DatabaseContract):
    """State in a PostgreSQL database."""

    def opened(self, folder: Path) -> Database:
        """The database of a folder."""
        named = folder / "url"
        if not named.exists():
            named.write_text(cluster.fresh(), encoding="utf-8")
        return PostgresDatabase(named.read_text("utf-8"), wait_s=0.5)

    def test_text_that_no_column_can_hold_fails_the_act_and_not_the_database(
        self, database: Database
    ) -> None:
        writing = database.writing()
        db = writing.begin()
        for word in ("a\0b", "\ud800", 2**63):
            writing.savepoint()
            with pytest.raises(Unavailable) as failed:
                db.run(ADD, n=1, word=word) if isinstance(word, str) else db.run(ADD, n=word, word="x")
            assert not isinstance(failed.value, DatabaseLost)
            writing.undo()
        writing.savepoint()
        db.run(ADD, n=2, word="")
        writing.commit()
        assert self.rows(database) == [(2, "")]

    def test_a_key_that_no_index_takes_fails_the_act_and_not_the_database(self, database: Database) -> None:
        writing = database.writing()
        db = writing.begin()
        db.run(Sql(text("CREATE TABLE named (name text PRIMARY KEY)")))
        writing.savepoint()
        with pytest.raises(Unavailable) as failed:
            # Random, so that it cannot be compressed into the page.
            db.run(Sql(text("INSERT INTO named (name) VALUES (:name)")), name=os.urandom(4000).hex())
        assert not isinstance(failed.value, DatabaseLost)
        writing.undo()
        db.run(ADD, n=1, word="x")
        writing.commit()
        assert self.rows(database) == [(1, "x")]

    def test_times_of_today_and_sums_of_them_are_whole_numbers(self, database: Database) -> None:
        db = database.writing().begin()
        db.run(ADD, n=2**62, word="x")
        db.run(ADD, n=2**61, word="y")
        database.writing().commit()
        with database.reading() as db:
            ((total, count),) = db.run(Sql(text("SELECT sum(n), count(*) FROM t")))
            ((true, none),) = db.run(Sql(text("SELECT n IS NOT NULL, n IS NULL FROM t LIMIT 1")))
        assert (total, count) == (2**62 + 2**61, 2) and type(total) is int
        assert (true, none) == (1, 0)

    def test_a_parameter_may_be_asked_whether_it_is_there(self, database: Database) -> None:
        asked = Sql(text("SELECT n FROM t WHERE :word IS NULL OR word = :word ORDER BY n"))
        db = database.writing().begin()
        for n in range(2):
            db.run(ADD, n=n, word=f"w{n}")
        assert (db.run(asked, word=None), db.run(asked, word="w1")) == ([(0,), (1,)], [(1,)])
        database.writing().rollback()

    def test_a_commit_of_a_failed_transaction_is_no_commit(self, database: Database) -> None:
        writing = database.writing()
        db = writing.begin()
        db.run(ADD, n=1, word="x")
        with pytest.raises(Unavailable):
            db.run(ADD, n=1, word="x")
        with pytest.raises(DatabaseLost):
            writing.commit()
        writing.rollback()
        assert self.rows(database) == []


@pytest.fixture
def url() -> str:
    """A new database with the table of the contract's tests."""
    made = cluster.fresh()
    with psycopg.connect(made, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (n bigint PRIMARY KEY, word text)")
    return made


@pytest.fixture
def first(url: str) -> Iterator[PostgresDatabase]:
    """A database with a writer."""
    database = PostgresDatabase(url, wait_s=0)
    database.writing()
    yield database
    database.close()


def write(database: PostgresDatabase, n: int) -> None:
    """A transaction of one row."""
    writing = database.writing()
    writing.begin().run(ADD, n=n, word="x")
    writing.commit()


def numbers(url: str) -> list[int]:
    """What is committed."""
    with closing(PostgresDatabase(url)) as database, database.reading() as db:
        return [int(str(row[0])) for row in db.run(ALL)]


def cut(url: str) -> None:
    """Ends every connection to a database, as an operator or a broken network would."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def code(call: Callable[[], object]) -> str:
    """The code of a call that fails."""
    with pytest.raises(Unavailable) as failed:
        call()
    return failed.value.code.name


def test_a_second_writer_is_refused_and_reads(first: PostgresDatabase, url: str) -> None:
    write(first, 1)
    second = PostgresDatabase(url, wait_s=0.1)
    assert code(second.writing) == "database_held"
    with second.reading() as db:
        assert len(db.run(ALL)) == 1
    first.close()
    write(second, 2)
    second.close()
    assert numbers(url) == [1, 2]


def test_a_writer_whose_connection_was_cut_goes_on_if_nobody_followed_it(
    first: PostgresDatabase, url: str
) -> None:
    write(first, 1)
    db = first.writing().begin()
    db.run(ADD, n=2, word="of a transaction that is cut")
    cut(url)
    assert code(lambda: first.writing().commit()) == "database_failed"
    first.writing().rollback()
    # The tree is read again under the lock before anything is written under it.
    assert code(lambda: write(first, 3)) == "database_failed"
    write(first, 4)
    with first.reading() as db:
        assert db.run(ALL) == [(1, "x"), (4, "x")]


def test_a_writer_that_was_followed_writes_nothing_any_more(first: PostgresDatabase, url: str) -> None:
    write(first, 1)
    cut(url)
    assert code(lambda: first.writing().commit()) == "database_failed"
    second = PostgresDatabase(url, wait_s=1)
    write(second, 2)
    assert code(lambda: write(first, 3)) == "database_held"
    second.close()
    for n in (4, 5):
        assert code(lambda n=n: write(first, n)) == "writer_fenced"
    assert numbers(url) == [1, 2]


def test_a_raised_number_fences_a_writer_that_still_holds_its_connection(
    first: PostgresDatabase, url: str
) -> None:
    """Where a proxy gives the lock away while the connection lives, the number alone stands between two writers."""
    write(first, 1)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(f"UPDATE {FENCE} SET token = token + 1")
    for n in (2, 3):
        assert code(lambda n=n: write(first, n)) == "writer_fenced"
    assert numbers(url) == [1]


def test_a_number_cannot_be_raised_within_a_transaction_of_the_writer(
    first: PostgresDatabase, url: str
) -> None:
    first.writing().begin().run(ADD, n=1, word="x")
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SET lock_timeout = 200")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(f"UPDATE {FENCE} SET token = token + 1")
    first.writing().commit()
    assert numbers(url) == [1]


@pytest.mark.parametrize(
    ("made", "setting", "name"),
    [
        ("LOCALE 'C' ENCODING SQL_ASCII", "", "encoding"),
        ("ICU_LOCALE 'en' LOCALE_PROVIDER icu LOCALE 'C' ENCODING UTF8", "", "collation"),
        ("LOCALE 'C' ENCODING UTF8", "synchronous_commit = off", "synchronous_commit"),
    ],
)
def test_a_database_that_would_lose_or_order_otherwise_is_refused(made: str, setting: str, name: str) -> None:
    server = cluster.shared()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS unfit_{name}")
        connection.execute(f"CREATE DATABASE unfit_{name} TEMPLATE template0 {made}")
        if setting:
            connection.execute(f"ALTER DATABASE unfit_{name} SET {setting}")
    with pytest.raises(Unavailable) as refused:
        PostgresDatabase(server.url(f"unfit_{name}")).writing()
    assert (refused.value.code.name, refused.value.names) == ("database_unfit", {"name": name})


def test_a_server_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    database = PostgresDatabase(f"postgresql://nobody@/nothing?host={tmp_path}")
    assert code(database.writing) == "database_unreachable"
    with pytest.raises(DatabaseLost), database.reading() as db:
        db.run(ALL)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("53100", "disk_full"),
        ("25006", "home_read_only"),
        ("42501", "home_read_only"),
        ("57P01", "database_failed"),
        ("42601", "database_failed"),
        ("", "database_failed"),
    ],
)
def test_an_error_of_the_server_has_a_code_of_its_own(state: str, expected: str) -> None:
    error = psycopg.OperationalError("text with a row value")
    error.sqlstate = state
    assert lost(error).code.name == expected


def test_every_statement_of_every_store_is_understood() -> None:
    """Also those that no other test happens to run on this database."""
    for act in ACTS.values():
        bind(act)
    made = cluster.fresh()
    migrations.upgrade(made)
    words, checked = dialect(), 0
    with psycopg.connect(made, autocommit=True) as connection:
        for statement in [each for each in gc.get_objects() if isinstance(each, Sql)]:
            command, _ = statement.bound(words, {})
            if (
                not command.split()[0].isupper()
                or "nowhere" in command
                or re.search(r"\b(PRAGMA|t)\b", command)
            ):
                continue
            asked = _rewritten(command)[0]
            assert "::" not in asked
            names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", asked)))
            for place, name in enumerate(names, 1):
                asked = asked.replace(f"%({name})s", f"${place}")
            connection.execute(f"PREPARE asked AS {asked.replace('%%', '%')}")
            connection.execute("DEALLOCATE asked")
            checked += 1
    assert checked > 200
