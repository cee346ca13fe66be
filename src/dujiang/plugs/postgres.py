"""State in a PostgreSQL database: one writing connection, readers of one snapshot each.

1. There is one writer. Its connection holds an advisory lock of the database, and every transaction of it begins
   by locking a row whose number rises with every opening: who finds another number there was followed by another
   writer, and writes nothing any more.
2. When `commit` returns, the server has flushed its write-ahead log: `fsync` and `synchronous_commit` are on, or
   the database is refused. A commit whose answer was lost is a failure; the tree is then read again.
3. Texts are compared by their bytes and whole numbers have 64 bits, as in SQLite: other collations are refused.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.dialects import postgresql as _dialects
from sqlalchemy.engine.interfaces import BindTyping

from dujiang.kernel.errors import Code, DatabaseLost, Exit, Unavailable
from dujiang.kernel.tables import Row, Sql, Value
from dujiang.plugs.sqlite import DATABASE_FAILED, DISK_FULL, READ_ONLY
from dujiang.plugs.waiting import Waiting, fit

if TYPE_CHECKING:
    from psycopg import Connection

DATABASE_HELD = Code(
    "database_held", 503, Exit.conflict,
    "Another node writes to this database.", "Stop the other node, or name another database.",
    "另一节点正在写入该数据库。", "请停止另一节点，或指定其他数据库。",
)  # fmt: skip
WRITER_FENCED = Code(
    "writer_fenced", 503, Exit.conflict,
    "Another node has taken this database over: this one writes nothing any more.",
    "Stop this node. If it is the one that should write, stop the other one and start this one again.",
    "另一节点已接管该数据库：本节点不再写入任何内容。",
    "请停止本节点；若应由本节点写入，请停止另一节点后再启动本节点。",
)  # fmt: skip
DATABASE_UNFIT = Code(
    "database_unfit", 500, Exit.failure,
    "The PostgreSQL database cannot be used: its {name} does not fit.",
    "Give fsync and synchronous_commit on, and a database made by "
    "`createdb --template=template0 --encoding=UTF8 --locale=C NAME`.",
    "该 PostgreSQL 数据库不能使用：{name} 不符合要求。",
    "须启用 fsync 与 synchronous_commit，并用 "
    "`createdb --template=template0 --encoding=UTF8 --locale=C NAME` 创建数据库。",
)  # fmt: skip
DATABASE_UNREACHABLE = Code(
    "database_unreachable", 503, Exit.failure,
    "The PostgreSQL database of this home does not answer.",
    "Start it, and check its address in home.json; a password comes from DUJIANG_DATABASE, PGPASSWORD or ~/.pgpass.",
    "本节点的 PostgreSQL 数据库没有应答。",
    "请启动它并检查 home.json 中的地址；口令来自 DUJIANG_DATABASE、PGPASSWORD 或 ~/.pgpass。",
)  # fmt: skip
DRIVER_MISSING = Code(
    "driver_missing", 500, Exit.failure,
    "The driver for PostgreSQL is not installed.", "Install it: `pip install 'dujiang[postgres]'`.",
    "未安装 PostgreSQL 驱动。", "请安装：`pip install 'dujiang[postgres]'`。",
)  # fmt: skip
CODES = (DATABASE_HELD, WRITER_FENCED, DATABASE_UNFIT, DATABASE_UNREACHABLE, DRIVER_MISSING)
FENCE = "dujiang_writer"
"""The table of the fence; its one row is no state of the home and is in no backup."""
_READERS_IDLE_MAX = 16
_READERS_MAX = 48
_WAIT_S = 10.0
_AGAIN_S = 2.0
"""How long a cut connection's lock is waited for: requests wait meanwhile."""
_LOCK = 0x64756A69616E67
"""The key of the advisory lock; the server keeps one lock of a key in each database."""
_IS_NULL = re.compile(r"%\((\w+)\)s IS NULL\b")
_INSERT = re.compile(r"INSERT INTO (\w+ \([^)]*\)) VALUES")
_COLLATIONS = ("C", "POSIX", "C.UTF-8", "C.utf8")
_ALIVE = {
    "connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}  # fmt: skip
# The server, too, must notice that a node is gone: as long as it does not, the lock stands.
_SETTINGS = (
    b"SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; "
    b"SET timezone = 'UTC'; SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0"
)
_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_FENCE_MAKE = (
    f"CREATE TABLE IF NOT EXISTS {FENCE} (one integer PRIMARY KEY CHECK (one = 1), token bigint NOT NULL)",
    f"INSERT INTO {FENCE} (one, token) VALUES (1, 0) ON CONFLICT DO NOTHING",
)


def dialect() -> Any:
    """The dialect statements are made in: without casts, which would make every whole number one of 32 bits."""
    made = _dialects.dialect(paramstyle="pyformat")
    made.bind_typing = BindTyping.NONE
    return made


def driver() -> Any:
    """The module psycopg, imported when it is first needed.

    Raises: Unavailable driver_missing.
    """
    try:
        import psycopg
    except ImportError:
        raise Unavailable(DRIVER_MISSING) from None
    return psycopg


def connect(url: str) -> Connection[Any]:
    """A connection without a transaction; whole numbers are sent as 64 bits and sums come back whole.

    Raises: DatabaseLost database_unreachable; Unavailable driver_missing.
    """
    psycopg = driver()
    from dujiang.plugs.pgtypes import adapt

    try:
        connection = psycopg.connect(
            url, autocommit=True, prepare_threshold=1, application_name=f"dujiang {os.getpid()}", **_ALIVE
        )
        connection.prepared_max = None
        adapt(connection)
        _send(connection, _SETTINGS)
    except (psycopg.Error, ValueError):
        raise DatabaseLost(DATABASE_UNREACHABLE) from None
    return connection


def lost(error: Exception) -> DatabaseLost:
    """The error to raise for an error of the server or of the way to it, without a word of its text."""
    state = getattr(error, "sqlstate", None) or ""
    if state == "53100":  # disk_full
        return DatabaseLost(DISK_FULL)
    if state in ("25006", "42501"):  # read_only_sql_transaction, insufficient_privilege
        return DatabaseLost(READ_ONLY)
    return DatabaseLost(DATABASE_FAILED)


def _failed(error: Exception) -> Unavailable:
    """A broken constraint or a value that fits nowhere is one act's fault: it must not take the batch with it."""
    psycopg = driver()
    if isinstance(error, psycopg.IntegrityError | psycopg.DataError) or not isinstance(error, psycopg.Error):
        return Unavailable(DATABASE_FAILED)
    if str(getattr(error, "sqlstate", "")).startswith(
        "54"
    ):  # program_limit_exceeded: a key of more than 2,700 bytes, say
        return Unavailable(DATABASE_FAILED)
    return lost(error)


def _send(connection: Connection[Any], command: bytes) -> Any:
    """The result of commands without parameters, past psycopg: it forgets prepared statements at every ROLLBACK."""
    psycopg = driver()
    try:
        result = connection.pgconn.exec_(command)
    except psycopg.Error as error:
        raise lost(error) from None
    if result.status not in (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK):
        error = psycopg.OperationalError()
        error.sqlstate = (result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"").decode()
        raise lost(error)
    return result


def _rows(connection: Connection[Any], command: bytes) -> list[tuple[str, ...]]:
    result = _send(connection, command)
    width = range(result.nfields)
    return [
        tuple((result.get_value(row, at) or b"").decode() for at in width) for row in range(result.ntuples)
    ]


class _Session:
    def __init__(self, connection: Connection[Any], dialect: Any) -> None:
        self._dialect = dialect
        self._cursor: Any = connection.cursor(binary=True)
        psycopg = driver()
        # Beside what the server says: numbers beyond 64 bits, halves of surrogate pairs.
        self._errors = (psycopg.Error, UnicodeError, OverflowError, ValueError)

    def run(self, statement: Sql, /, **values: Value) -> list[Row]:
        try:
            cursor = self._done(*statement.bound(self._dialect, values))
            return cast("list[Row]", cursor.fetchall() if cursor.pgresult.nfields else [])
        except self._errors as error:
            raise _failed(error) from None

    def changed(self, statement: Sql, /, **values: Value) -> int:
        try:
            return self._done(*statement.bound(self._dialect, values)).rowcount
        except self._errors as error:
            raise _failed(error) from None

    def many(self, statement: Sql, rows: Sequence[Row]) -> None:
        """Inserts rows by COPY: one message of the protocol, whatever their number."""
        head = _INSERT.match(statement.bound(self._dialect, {})[0])
        assert head is not None
        try:
            with self._cursor.copy(f"COPY {head[1]} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        except self._errors as error:
            raise _failed(error) from None

    def later(self, statement: Sql, rows: Sequence[Row]) -> None:
        self.many(statement, rows)

    def _done(self, command: str, values: dict[str, Value]) -> Any:
        return self._cursor.execute(*_asked(command, values))


class _WritingSession(_Session):
    def __init__(self, connection: Connection[Any], dialect: Any) -> None:
        super().__init__(connection, dialect)
        self.waiting = Waiting(self.many)

    def later(self, statement: Sql, rows: Sequence[Row]) -> None:
        if not fit(rows):
            raise Unavailable(DATABASE_FAILED)
        self.waiting.add(statement, statement.bound(self._dialect, {})[0], rows)

    def _done(self, command: str, values: dict[str, Value]) -> Any:
        self.waiting.before(command)
        return super()._done(command, values)


@cache
def _rewritten(command: str) -> tuple[str, tuple[str, ...]]:
    """A statement in which `:x IS NULL` is a parameter of its own, and the parameters it asks that of.

    The server must know the type of every parameter, and `:x IS NULL` says none.
    """
    names = tuple(dict.fromkeys(_IS_NULL.findall(command)))
    return _IS_NULL.sub(r"%(\1__null)s = 1", command), names


def _asked(command: str, values: dict[str, Value]) -> tuple[str, dict[str, Value]]:
    command, names = _rewritten(command)
    return command, {
        **values,
        **{f"{name}__null": int(values[name] is None) for name in names},
    } if names else values


class PostgresDatabase:
    """One home's PostgreSQL database."""

    def __init__(self, url: str, *, wait_s: float = _WAIT_S) -> None:
        """`wait_s`: how long another writer is waited for."""
        self._url = url
        self._wait_s = wait_s
        self._dialect = dialect()
        self._idle: list[tuple[Connection[Any], _Session]] = []
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(_READERS_MAX)
        self._writing: _Writing | None = None

    def writing(self) -> _Writing:
        """The one writing connection, which holds the lock of the database from then on.

        Raises: Unavailable database_held, database_unfit, database_unreachable.
        """
        if self._writing is None:
            self._writing = _Writing(self._url, self._dialect, self._wait_s)
        return self._writing

    @contextmanager
    def reading(self) -> Iterator[_Session]:
        """A read-only snapshot; the connection goes back to the pool."""
        psycopg = driver()
        if not self._room.acquire(timeout=_WAIT_S):
            raise DatabaseLost(DATABASE_FAILED)
        try:
            connection, session = self._begun()
            try:
                yield session
            except psycopg.Error as error:
                raise lost(error) from None
            finally:
                self._give_back(connection, session)
        finally:
            self._room.release()

    def close(self) -> None:
        """Ends every connection, and with the writing one the lock."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _begun(self) -> tuple[Connection[Any], _Session]:
        """A connection in a new transaction: one that waited, if it still lives."""
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection, session = self._idle.pop()
            try:
                _send(connection, _READ)
            except DatabaseLost:
                connection.close()
                continue
            return connection, session
        connection = connect(self._url)
        _send(connection, _READ)
        return connection, _Session(connection, self._dialect)

    def _give_back(self, connection: Connection[Any], session: _Session) -> None:
        with suppress(DatabaseLost):
            _send(connection, b"ROLLBACK")
            with self._lock:
                if len(self._idle) < _READERS_IDLE_MAX:
                    self._idle.append((connection, session))
                    return
        connection.close()


class _Writing:
    def __init__(self, url: str, dialect: Any, wait_s: float) -> None:
        self._url = url
        self._dialect = dialect
        self._token = 0
        """The number of this opening; 0 before the first one."""
        self._fenced = False
        self._marked = False
        self._connection: Connection[Any] | None = None
        self._open(wait_s)

    def begin(self) -> _Session:
        self._marked = False
        self._session.waiting.clear()
        if self._fenced:
            raise DatabaseLost(WRITER_FENCED)
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._open(_AGAIN_S)
            # Whoever began this transaction read the tree before the lock was held again: once more.
            raise DatabaseLost(DATABASE_FAILED)
        # Until the transaction ends, nobody can raise the number: what is checked now holds at the commit.
        found = _rows(self._connection, f"BEGIN; SELECT token FROM {FENCE} FOR SHARE".encode())
        if found != [(str(self._token),)]:
            self.rollback()
            self._fenced = True
            raise DatabaseLost(WRITER_FENCED)
        return self._session

    def savepoint(self) -> None:
        self._do(b"RELEASE SAVEPOINT act; SAVEPOINT act" if self._marked else b"SAVEPOINT act")
        self._marked = True
        self._session.waiting.mark()

    def undo(self) -> None:
        self._do(b"ROLLBACK TO SAVEPOINT act")
        self._session.waiting.undo()

    def commit(self) -> None:
        self._session.waiting.finish()
        # Of a transaction that failed, COMMIT says that it rolled back, and no error.
        if self._do(b"COMMIT") != b"COMMIT":
            raise DatabaseLost(DATABASE_FAILED)

    def rollback(self) -> None:
        with suppress(DatabaseLost):
            self._do(b"ROLLBACK")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _do(self, command: bytes) -> bytes | None:
        if self._connection is None:
            raise DatabaseLost(DATABASE_FAILED)
        return _send(self._connection, command).command_status

    def _open(self, wait_s: float) -> None:
        """Connects, takes the lock and raises the number.

        Raises: Unavailable database_held, database_unfit, database_unreachable; DatabaseLost writer_fenced.
        """
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        connection = connect(self._url)
        try:
            _fit(connection)
            _hold(connection, time.monotonic() + wait_s)
            self._token = self._raised(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._session = _WritingSession(connection, self._dialect)

    def _raised(self, connection: Connection[Any]) -> int:
        if not self._token:
            for command in _FENCE_MAKE:
                _send(connection, command.encode())
        mine = f"WHERE token = {self._token}" if self._token else ""
        found = _rows(connection, f"UPDATE {FENCE} SET token = token + 1 {mine} RETURNING token".encode())
        if not found:
            self._fenced = True
            raise DatabaseLost(WRITER_FENCED)
        return int(found[0][0])


def _fit(connection: Connection[Any]) -> None:
    ((encoding, provider, collation, fsync, synchronous),) = _rows(
        connection,
        b"SELECT pg_encoding_to_char(encoding), datlocprovider, datcollate, current_setting('fsync'), "
        b"current_setting('synchronous_commit') FROM pg_database WHERE datname = current_database()",
    )
    if encoding != "UTF8":
        raise Unavailable(DATABASE_UNFIT, name="encoding")
    if provider != "c" or collation not in _COLLATIONS:
        raise Unavailable(DATABASE_UNFIT, name="collation")
    if fsync != "on":
        raise Unavailable(DATABASE_UNFIT, name="fsync")
    if synchronous not in ("on", "remote_apply"):
        raise Unavailable(DATABASE_UNFIT, name="synchronous_commit")


def _hold(connection: Connection[Any], deadline_s: float) -> None:
    while _rows(connection, f"SELECT pg_try_advisory_lock({_LOCK})".encode()) != [("t",)]:
        if time.monotonic() > deadline_s:
            raise Unavailable(DATABASE_HELD)
        time.sleep(0.02)
