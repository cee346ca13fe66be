"""Homes on every kind of database, as a test makes, copies, kills and sets them back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg

from dujiang import home
from tests import cluster


class Database(Protocol):
    """Homes on one kind of database: how they are made, how they are copied while they work, how one is set back."""

    lives: int
    """How many lives of a log are worth the time a life takes there."""

    def make(self, folder: Path) -> tuple[Path, str]:
        """A new home of one organisation in an empty folder, closed; and an API key of its operator."""
        ...

    def copy(self, path: Path, folder: Path) -> Path:
        """A closed home once more, in an empty folder."""
        ...

    def killed(self, path: Path, folder: Path) -> Path:
        """The home in an empty folder as it is found if its process is killed right now; the other one is done with."""
        ...

    def put_back(self, older: Path, path: Path) -> None:
        """Sets what the database of a closed home holds back to what that of its older copy holds."""
        ...


class OnSqlite:
    """Homes with their database in a file."""

    lives = 25

    def make(self, folder: Path) -> tuple[Path, str]:
        """See Database."""
        made, organisations = home.create(folder / "home", [("甲", ("operator",))], "data.example.org")
        made.close()
        return folder / "home", organisations[0]["api_key"]

    def copy(self, path: Path, folder: Path) -> Path:
        """See Database."""
        return files(path, folder)

    def killed(self, path: Path, folder: Path) -> Path:
        """See Database: a killed process loses nothing of what it gave to the system, written or synced."""
        return files(path, folder)

    def put_back(self, older: Path, path: Path) -> None:
        """See Database."""
        for name in ("state.sqlite", "state.sqlite-wal"):
            (path / name).unlink(missing_ok=True)
            if (older / name).exists():
                shutil.copy(older / name, path / name)


class OnPostgres:
    """Homes with their database on the server of this test run."""

    lives = 8

    def make(self, folder: Path) -> tuple[Path, str]:
        """See Database."""
        made, organisations = home.create(
            folder / "home", [("甲", ("operator",))], "data.example.org", database=cluster.fresh()
        )
        made.close()
        return folder / "home", organisations[0]["api_key"]

    def copy(self, path: Path, folder: Path) -> Path:
        """See Database."""
        made, url = files(path, folder), cluster.fresh()
        self._fill(named(url), self._of(path))
        described = json.loads((made / "home.json").read_text("utf-8"))
        (made / "home.json").write_text(json.dumps({**described, "database": url}), "utf-8")
        return made

    def killed(self, path: Path, folder: Path) -> Path:
        """See Database: the server ends what a process had begun whose connection is gone."""
        made = files(path, folder)
        self._run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", self._of(path))
        return made

    def put_back(self, older: Path, path: Path) -> None:
        """See Database."""
        self._fill(self._of(path), self._of(older))

    def _fill(self, name: str, source: str) -> None:
        self._run(f"DROP DATABASE {name} WITH (FORCE)")
        self._run(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY wal_log")

    def _of(self, path: Path) -> str:
        return named(json.loads((path / "home.json").read_text("utf-8"))["database"])

    def _run(self, statement: str, *values: str) -> None:
        with psycopg.connect(cluster.shared().url(), autocommit=True) as connection:
            connection.execute(statement, values or None)


def named(url: str) -> str:
    """The name of a database in its address."""
    return urlsplit(url).path[1:]


def files(path: Path, folder: Path) -> Path:
    """The files of a home and beside it, in an empty folder."""
    shutil.copytree(path, folder / "home", ignore=shutil.ignore_patterns("*-shm", "lock"))
    for beside in ("home.key", "home.high"):
        shutil.copy(path.with_name(beside), folder / beside)
    return folder / "home"
