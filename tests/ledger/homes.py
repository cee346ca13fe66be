"""Homes on every kind of database, as a test makes, copies, kills and sets them back."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg

from dujiang import home
from tests import cluster

_NUMBER = itertools.count()


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
        made = files(path, folder)
        self._stand(made, path)
        return made

    def killed(self, path: Path, folder: Path) -> Path:
        """See Database: the server ends what a process had begun whose connection is gone."""
        made = files(path, folder)
        self._run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", self._of(path))
        return made

    def put_back(self, older: Path, path: Path) -> None:
        """See Database."""
        self._stand(path, older)

    def _stand(self, path: Path, source: Path) -> None:
        """Lets a home stand on a copy of another's database; nothing is dropped, since that takes seconds."""
        name = f"life{next(_NUMBER)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {self._of(source)} STRATEGY wal_log")
        described = json.loads((path / "home.json").read_text("utf-8"))
        address = urlsplit(described["database"])._replace(path=f"/{name}").geturl()
        (path / "home.json").write_text(json.dumps({**described, "database": address}), "utf-8")

    def _of(self, path: Path) -> str:
        return urlsplit(json.loads((path / "home.json").read_text("utf-8"))["database"]).path[1:]

    def _run(self, statement: str, *values: str) -> None:
        with psycopg.connect(cluster.shared().url(), autocommit=True) as connection:
            connection.execute(statement, values or None)


def files(path: Path, folder: Path) -> Path:
    """The files of a home and beside it, in an empty folder."""
    shutil.copytree(path, folder / "home", ignore=shutil.ignore_patterns("*-shm", "lock"))
    for beside in ("home.key", "home.high"):
        shutil.copy(path.with_name(beside), folder / beside)
    return folder / "home"
