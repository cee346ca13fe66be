"""Which database a home's state lies in: a file in its folder, or a PostgreSQL database; and the way between them.

A copy is always one SQLite file, whatever it was taken of: a home grows into PostgreSQL and comes back by it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from dujiang.kernel.errors import Code, DatabaseLost, Exit, Refused, Unavailable
from dujiang.kernel.plugs import Database
from dujiang.kernel.tables import Sql
from dujiang.plugs import migrations, postgres, sqlite
from dujiang.plugs.folder import sync_file

DATABASE_NAME_UNFIT = Code(
    "database_name_unfit", 400, Exit.usage,
    "This is not the address of a database.",
    "Give postgresql://USER@HOST/NAME; leave it out for a file in the home's folder.",
    "这不是数据库地址。", "请填写 postgresql://用户@主机/名称；留空则使用节点目录中的文件。",
)  # fmt: skip
DATABASE_TAKEN = Code(
    "database_taken", 409, Exit.conflict,
    "There is a home in this database already.", "Name an empty database.",
    "该数据库中已有节点数据。", "请指定一个空数据库。",
)  # fmt: skip
CODES = (DATABASE_NAME_UNFIT, DATABASE_TAKEN)
FILE = "state.sqlite"
SECRET = "DUJIANG_DATABASE"
"""The environment variable with the whole address of a PostgreSQL database, for a password libpq does not find."""
_PIECE_ROWS = 2000
_VERSION = Sql(text("SELECT version_num FROM alembic_version"))
_SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the state of a home lies."""

    folder: Path
    url: str = ""
    """The address of its PostgreSQL database, without a password; "" where it is a file in the folder."""
    secret: str = field(default="", repr=False)
    """The address with its password, where somebody has just given it."""

    @property
    def file(self) -> Path:
        """The file of a home without a PostgreSQL database."""
        return self.folder / FILE

    @property
    def missing(self) -> bool:
        """Whether the file of the home is not there; of a server only an opening tells."""
        return not self.url and not self.file.is_file()

    def opened(self, wait_s: float = 10.0) -> Database:
        """The database; of a server for reading, until `writing` takes its lock within `wait_s`."""
        return (
            postgres.PostgresDatabase(self._address, wait_s=wait_s)
            if self.url
            else sqlite.SqliteDatabase(self.file)
        )

    def version(self) -> str:
        """The version of its schema, or nothing where it says none.

        Raises: Unavailable.
        """
        with closing(self.opened()) as database, database.reading() as db:
            if self.url and not db.run(_IS_THERE, name="alembic_version"):
                return ""
            rows = db.run(_VERSION)
        return str(rows[0][0]) if len(rows) == 1 else ""

    def upgrade(self) -> None:
        """Brings the schema to this program's version; the steps that were done are whole.

        Raises: sqlalchemy.exc.SQLAlchemyError; Unavailable.
        """
        migrations.upgrade(self._address if self.url else f"sqlite:///{self.file}")

    def copy(self, target: Path) -> None:
        """Copies the state as it is at one moment into a new SQLite file, whatever is written meanwhile.

        Raises: Unavailable.
        """
        if not self.url:
            sqlite.copy(self.file, target)
            return
        _unloaded(self._address, target, self.version())

    def load(self, source: Path) -> None:
        """Fills an empty PostgreSQL database with what is in a SQLite file of this program's version, or leaves it.

        Raises: Refused database_taken; Unavailable.
        """
        with closing(self.opened()) as database:
            database.writing()  # nobody else begins there meanwhile
            self.claim()
            try:
                self.upgrade()
                _loaded(source, self._address)
            except SQLAlchemyError:
                raise DatabaseLost(sqlite.DATABASE_FAILED) from None

    def claim(self) -> None:
        """Nothing, if no home has its state in the PostgreSQL database yet.

        Raises: Refused database_taken; Unavailable.
        """
        if not self.url:
            return
        with closing(self.opened()) as database, database.reading() as db:
            if db.run(_IS_THERE, name="ledger_checkpoint") and db.run(_HAS_LOG):
                raise Refused(DATABASE_TAKEN)

    def clear(self) -> None:
        """Takes back a beginning: the tables of a server stay, and are empty.

        Raises: Unavailable.
        """
        if self.url:
            connection = postgres.connect(self._address)
            with closing(connection):
                names = [
                    name for name in _tables(connection) if name not in (postgres.FENCE, "alembic_version")
                ]
                _run(connection, f"TRUNCATE {', '.join(_quoted(names))}" if names else "SELECT 1")

    def size_bytes(self, database: Database) -> int:
        """How much room the state takes."""
        if self.url:
            with database.reading() as db:
                return int(str(db.run(_SIZE)[0][0]))
        return sum(_bytes(self.file.with_name(f"{FILE}{part}")) for part in ("", "-wal"))

    @property
    def _address(self) -> str:
        return self.secret or os.environ.get(SECRET) or self.url


_IS_THERE = Sql(
    text(
        "SELECT 1 FROM information_schema.tables "
        "WHERE table_schema = current_schema() AND table_name = CAST(:name AS text)"
    )
)
_HAS_LOG = Sql(text("SELECT 1 FROM ledger_checkpoint LIMIT 1"))
_SIZE = Sql(text("SELECT pg_database_size(current_database())"))


def at(folder: Path, given: str) -> Place:
    """Where the state of a home in a folder is to lie: at an address that was given, or in a file for "".

    Raises: Refused database_name_unfit.
    """
    return Place(folder, named(given), given) if given else Place(folder)


def named(given: str) -> str:
    """The address of a PostgreSQL database as a home keeps it: without its password.

    Raises: Refused database_name_unfit.
    """
    try:
        parts = urlsplit(given)
        _ = parts.port
    except ValueError:
        raise Refused(DATABASE_NAME_UNFIT) from None
    if parts.scheme not in _SCHEMES or not given.isprintable() or parts.path.strip("/") == "":
        raise Refused(DATABASE_NAME_UNFIT)
    before, at, host = parts.netloc.rpartition("@")
    user = quote(unquote(before.partition(":")[0]), safe="")
    options = [(key, value) for key, value in parse_qsl(parts.query) if "password" not in key.lower()]
    return urlunsplit((_SCHEMES[0], f"{user}{at}{host}", parts.path, urlencode(options, safe="/"), ""))


def _unloaded(address: str, target: Path, version: str) -> None:
    """Writes what a database holds into a new SQLite file of the same version, from one snapshot."""
    try:
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_empty(version))
        with closing(postgres.connect(address)) as source, closing(sqlite3.connect(target)) as written:
            written.execute("PRAGMA synchronous=OFF")  # the whole file is flushed at the end
            _run(source, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for name, columns in _columns(written):
                marks = ", ".join("?" * len(columns))
                written.execute(f'DELETE FROM "{name}"')
                for piece in _pieces(source, name, columns):
                    written.executemany(f'INSERT INTO "{name}" ({_list(columns)}) VALUES ({marks})', piece)
            _run(source, "ROLLBACK")
            written.commit()
        sync_file(target)
    except sqlite3.Error as error:
        raise sqlite.lost(error) from None
    except SQLAlchemyError:
        raise Unavailable(sqlite.DATABASE_FAILED) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise Unavailable(sqlite.DISK_FULL if full else sqlite.DATABASE_FAILED) from None


@cache
def _empty(version: str) -> bytes:
    """A SQLite file with the tables of a version and nothing in them; its steps take a second."""
    with tempfile.TemporaryDirectory() as folder:
        migrations.upgrade(f"sqlite:///{folder}/empty.sqlite", version)
        return (Path(folder) / "empty.sqlite").read_bytes()


def _loaded(source: Path, address: str) -> None:
    """Copies every table of a SQLite file into a database that has them, empty, in one transaction."""
    psycopg = postgres.driver()
    with closing(sqlite3.connect(source)) as read, closing(postgres.connect(address)) as written:
        target: Any = written  # its statements are made here, of names out of the migrations
        try:
            target.execute("BEGIN")
            for name, columns in _columns(read):
                target.execute(f'DELETE FROM "{name}"')
                types = _types(target, name, columns)
                with target.cursor().copy(
                    f'COPY "{name}" ({_list(columns)}) FROM STDIN (FORMAT BINARY)'
                ) as copy:
                    copy.set_types(types)
                    for row in read.execute(f'SELECT {_list(columns)} FROM "{name}"'):
                        copy.write_row(row)
            for name, column in _serials(target):
                target.execute(
                    f"SELECT setval(pg_get_serial_sequence('{name}', '{column}'), "
                    f'coalesce((SELECT max("{column}") FROM "{name}"), 0) + 1, false)'
                )
            if target.execute("COMMIT").statusmessage != "COMMIT":
                raise DatabaseLost(sqlite.DATABASE_FAILED)
            target.execute("ANALYZE")
        except (psycopg.Error, sqlite3.Error) as error:
            raise (sqlite.lost(error) if isinstance(error, sqlite3.Error) else postgres.lost(error)) from None


def _pieces(source: Any, name: str, columns: Sequence[str]) -> Iterator[list[Any]]:
    """The rows of a table, some at a time."""
    psycopg = postgres.driver()
    try:
        with source.cursor("unload", binary=True) as cursor:
            cursor.execute(f'SELECT {_list(columns)} FROM "{name}"')
            while rows := cursor.fetchmany(_PIECE_ROWS):
                yield rows
    except psycopg.Error as error:
        raise postgres.lost(error) from None


def _columns(file: sqlite3.Connection) -> list[tuple[str, list[str]]]:
    """The tables of a file with their columns."""
    names = [
        name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ]
    return [
        (name, [row[1] for row in file.execute(f'PRAGMA table_info("{name}")')])
        for name in names
        if not name.startswith("sqlite_")
    ]


def _tables(connection: Any) -> list[str]:
    return [
        str(name)
        for (name,) in _run(
            connection,
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()",
        )
    ]


def _types(connection: Any, name: str, columns: Sequence[str]) -> list[str]:
    """The types of a table's columns, which a binary copy must be told."""
    known = dict(
        _run(
            connection,
            "SELECT column_name::text, udt_name::text FROM information_schema.columns "
            f"WHERE table_schema = current_schema() AND table_name = '{name}'",
        )
    )
    return [known[column] for column in columns]


def _serials(connection: Any) -> list[tuple[str, str]]:
    """The columns that number their rows by themselves."""
    return _run(
        connection,
        "SELECT table_name::text, column_name::text FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND column_default LIKE 'nextval(%'",
    )


def _run(connection: Any, command: str) -> list[Any]:
    psycopg = postgres.driver()
    try:
        cursor = connection.execute(command)
        return cursor.fetchall() if cursor.description else []
    except psycopg.Error as error:
        raise postgres.lost(error) from None


def _list(columns: Sequence[str]) -> str:
    return ", ".join(_quoted(columns))


def _quoted(names: Sequence[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
