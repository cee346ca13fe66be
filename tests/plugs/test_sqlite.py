"""The database plug on one SQLite file: what it holds to, and its own errors."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from dujiang.kernel.errors import DatabaseLost
from dujiang.kernel.plugs import Database
from dujiang.kernel.tables import Sql
from dujiang.plugs.sqlite import SqliteDatabase, lost
from tests.plugs.database import ALL, DatabaseContract


class TestSqlite(DatabaseContract):
    """State in one SQLite file."""

    def opened(self, folder: Path) -> Database:
        """The database of a folder."""
        return SqliteDatabase(folder / "state.sqlite")

    def test_a_commit_is_synchronous_to_the_disk(self, database: Database) -> None:
        with database.reading() as db:
            assert db.run(Sql(text("PRAGMA synchronous"))) == [(2,)]
            assert db.run(Sql(text("PRAGMA journal_mode"))) == [("wal",)]

    def test_a_file_that_is_no_database_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "state.sqlite").write_bytes(b"not a database" * 100)
        with pytest.raises(DatabaseLost) as failed, self.opened(tmp_path).reading() as db:
            db.run(ALL)
        assert failed.value.code.name == "database_failed"

    def test_a_file_in_a_missing_folder_is_unavailable(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseLost):
            self.opened(tmp_path / "missing").writing()

    def test_another_writer_is_waited_for_and_then_given_up(self, database: Database, tmp_path: Path) -> None:
        database.writing().begin()
        other = SqliteDatabase(tmp_path / "state.sqlite", busy_ms=10)
        with pytest.raises(DatabaseLost):
            other.writing().begin()
        database.writing().commit()
        other.writing().begin()
        other.writing().commit()
        other.close()

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("SQLITE_FULL", "disk_full"),
            ("SQLITE_READONLY", "home_read_only"),
            ("SQLITE_READONLY_DBMOVED", "home_read_only"),
            ("SQLITE_CANTOPEN", "home_read_only"),
            ("SQLITE_IOERR_WRITE", "database_failed"),
            ("SQLITE_CORRUPT", "database_failed"),
        ],
    )
    def test_an_error_of_the_disk_has_a_code_of_its_own(self, name: str, code: str) -> None:
        error = sqlite3.OperationalError("text with a row value")
        error.sqlite_errorname = name  # type: ignore[misc]
        assert lost(error).code.name == code
