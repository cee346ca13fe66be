"""State in one SQLite file: WAL, synchronous=FULL, one writing connection, snapshot readers.

When `commit` returns, SQLite has fsynced the write-ahead log: the transaction survives power loss as far
as the disk keeps its word. Readers are pooled connections; each sees one committed state.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import cast

from sqlalchemy.dialects import sqlite as _dialects

from dujiang.kernel.errors import Code, DatabaseLost, Exit, Unavailable
from dujiang.kernel.tables import Row, Sql, Value
from dujiang.plugs.folder import sync_file
from dujiang.plugs.waiting import Waiting, fit

DATABASE_FAILED = Code(
    "database_failed", 503, Exit.failure,
    "The database of this home failed; nothing was written.",
    "Run `dujiang doctor`: it names the disk, the file and the permission.",
    "本节点的数据库出错；未写入任何内容。", "请运行 `dujiang doctor`，它会指出磁盘、文件和权限问题。",
)  # fmt: skip
DISK_FULL = Code(
    "disk_full", 507, Exit.failure,
    "The disk of this node is full; nothing was written.", "Free some space, then repeat the request.",
    "本节点磁盘已满；未写入任何内容。", "请清理空间后重试。",
)  # fmt: skip
READ_ONLY = Code(
    "home_read_only", 503, Exit.failure,
    "The home can be read but not written.", "Make its folder and files writable for this user.",
    "节点目录只可读、不可写。", "请使当前用户可写该目录及其文件。",
)  # fmt: skip
DATABASE_REPLACED = Code(
    "database_replaced", 503, Exit.conflict,
    "The database file was replaced or moved while this node had it open; nothing more is written.",
    "Stop the node, put its newest database back, then start it again.",
    "数据库文件在节点打开期间被替换或移走；不再写入任何内容。",
    "请停止节点，放回最新的数据库，然后重新启动。",
)  # fmt: skip
CODES = (DATABASE_FAILED, DISK_FULL, READ_ONLY, DATABASE_REPLACED)
_READERS_MAX = 16
_WIDTHS = (1024, 256, 64, 16, 4, 1)
"""Rows of one insert, few widths so that all stay prepared; SQLite takes 32,766 values in a statement."""


def _dialect() -> _dialects.dialect:
    return _dialects.dialect(paramstyle="named")


class _Session:
    def __init__(self, connection: sqlite3.Connection, dialect: _dialects.dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    def run(self, statement: Sql, /, **values: Value) -> list[Row]:
        return cast("list[Row]", self._done(*statement.bound(self._dialect, values)).fetchall())

    def changed(self, statement: Sql, /, **values: Value) -> int:
        return self._done(*statement.bound(self._dialect, values)).rowcount

    def many(self, statement: Sql, rows: Sequence[Row]) -> None:
        """Inserts rows, hundreds by one statement: each statement lets another thread take its turn."""
        command, at = statement.bound(self._dialect, {})[0], 0
        for width in _WIDTHS:
            while len(rows) - at >= width:
                values = [value for row in rows[at : at + width] for value in row]
                self._executed(_of_rows(command, width), values)
                at += width

    def later(self, statement: Sql, rows: Sequence[Row]) -> None:
        self.many(statement, rows)

    def _done(self, command: str, values: dict[str, Value]) -> sqlite3.Cursor:
        return self._executed(command, values)

    def _executed(self, command: str, values: dict[str, Value] | list[Value]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(command, values)
        except sqlite3.Error as error:
            raise _failed(error) from None


class _WritingSession(_Session):
    def __init__(self, connection: sqlite3.Connection, dialect: _dialects.dialect) -> None:
        super().__init__(connection, dialect)
        self.waiting = Waiting(self.many)

    def later(self, statement: Sql, rows: Sequence[Row]) -> None:
        if not fit(rows):
            raise Unavailable(DATABASE_FAILED)
        self.waiting.add(statement, statement.bound(self._dialect, {})[0], rows)

    def _done(self, command: str, values: dict[str, Value]) -> sqlite3.Cursor:
        self.waiting.before(command)
        return self._executed(command, values)


@cache
def _of_rows(command: str, count: int) -> str:
    """An insert of one row as one of so many, its values by their places."""
    head, _, names = command.rpartition("VALUES")
    row = f"({', '.join('?' * (names.count(',') + 1))})"
    return f"{head}VALUES {', '.join([row] * count)}"


def lost(error: sqlite3.Error) -> DatabaseLost:
    """The error to raise for a database error, without a word of its text."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL"):
        return DatabaseLost(DISK_FULL)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return DatabaseLost(READ_ONLY)
    return DatabaseLost(DATABASE_FAILED)


def _failed(error: sqlite3.Error) -> Unavailable:
    """A broken constraint is one act's fault, not the database's: it must not take the batch with it."""
    if getattr(error, "sqlite_errorname", "").startswith("SQLITE_CONSTRAINT"):
        return Unavailable(DATABASE_FAILED)
    return lost(error)


def copy(source: Path, target: Path) -> None:
    """Copies a database as it is at one moment, whatever is written meanwhile; then it is on the disk.

    Page by page, not `VACUUM INTO`: that may number the rows of tables without a key anew.
    Raises: Unavailable database_failed, disk_full, home_read_only.
    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            closing(sqlite3.connect(source, isolation_level=None)) as read,
            closing(sqlite3.connect(target, isolation_level=None)) as written,
        ):
            read.execute("PRAGMA query_only=ON")
            read.backup(written)
        sync_file(target)
    except sqlite3.Error as error:
        raise lost(error) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise Unavailable(DISK_FULL if full else DATABASE_FAILED) from None


class SqliteDatabase:
    """One home's database file."""

    def __init__(self, path: Path, *, busy_ms: int = 10_000) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._dialect = _dialect()
        self._busy_ms = busy_ms
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._writing: _Writing | None = None
        self._files: dict[Path, tuple[int, int]] = {}

    def writing(self) -> _Writing:
        """The one writing connection."""
        if self._writing is None:
            connection = self._connect()
            self._writing = _Writing(connection, _WritingSession(connection, self._dialect), self.unmoved)
        return self._writing

    @contextmanager
    def reading(self) -> Iterator[_Session]:
        """A read-only snapshot; the connection goes back to the pool."""
        connection = self._borrow()
        try:
            connection.execute("BEGIN")
            yield _Session(connection, self._dialect)
        except sqlite3.Error as error:
            raise lost(error) from None
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Ends every connection; a clean end folds the write-ahead log into the file."""
        with self._lock:
            idle, self._idle = self._idle, []
        self._files = {}
        for connection in idle:
            connection.close()
        if self._writing is not None:
            self._writing.connection.close()
            self._writing = None

    def unmoved(self) -> None:
        """Looks whether the files under the database's name are those it was opened with.

        SQLite goes on in a file that was replaced or removed: what it commits there nobody finds again.
        Raises: DatabaseLost database_replaced.
        """
        for path in (self._path, self._log):
            try:
                found = path.stat()
            except OSError:
                found = None
            held = (found.st_dev, found.st_ino) if found else (-1, -1)
            if self._files.setdefault(path, held) != held:
                raise DatabaseLost(DATABASE_REPLACED)

    def _borrow(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        connection = self._connect()
        try:
            connection.execute("PRAGMA query_only=ON")
        except sqlite3.Error as error:
            raise lost(error) from None
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.close()
            return
        with self._lock:
            if len(self._idle) < _READERS_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False,
                timeout=self._busy_ms / 1000, cached_statements=512,
            )  # fmt: skip
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA trusted_schema=OFF")
            # What is erased is overwritten on the disk, too; only some builds of SQLite do so by themselves.
            connection.execute("PRAGMA secure_delete=ON")
            if not self._files:
                connection.execute(
                    "SELECT count(*) FROM sqlite_schema"
                ).fetchall()  # opens the write-ahead log
        except sqlite3.Error as error:
            raise lost(error) from None
        try:
            self.unmoved()
        except DatabaseLost:
            connection.close()
            raise
        return connection


class _Writing:
    def __init__(
        self, connection: sqlite3.Connection, session: _WritingSession, unmoved: Callable[[], None]
    ) -> None:
        self.connection = connection
        self._unmoved = unmoved
        self._session = session
        self._marked = False

    def begin(self) -> _Session:
        self._marked = False
        self._session.waiting.clear()
        self._unmoved()
        self._do("BEGIN IMMEDIATE")
        return self._session

    def savepoint(self) -> None:
        if self._marked:
            self._do("RELEASE act")
        self._do("SAVEPOINT act")
        self._marked = True
        self._session.waiting.mark()

    def undo(self) -> None:
        self._do("ROLLBACK TO act")
        self._session.waiting.undo()

    def commit(self) -> None:
        self._session.waiting.finish()
        self._unmoved()
        self._do("COMMIT")

    def rollback(self) -> None:
        # SQLite rolls back by itself on some errors (SQLITE_FULL): then there is nothing to end.
        if self.connection.in_transaction:
            try:
                self.connection.execute("ROLLBACK")
            except sqlite3.Error:
                return

    def _do(self, command: str) -> None:
        try:
            self.connection.execute(command)
        except sqlite3.Error as error:
            raise lost(error) from None
