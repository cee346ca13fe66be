"""Schema migrations: `upgrade` brings a database to this program's version (Alembic)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

HEAD = "0015"
"""The schema this program works with."""


def upgrade(url: str, to: str = "head") -> None:
    """Brings a database to `HEAD`, or to an earlier version, in one transaction per step.

    `url`: `sqlite:///…`, or the address of a PostgreSQL database as libpq reads it.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, to)


def version_of(database: Path) -> str:
    """The schema version of a database file, or nothing where it says none."""
    try:
        with closing(sqlite3.connect(database)) as db:
            rows = db.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return ""
    return str(rows[0][0]) if len(rows) == 1 else ""


def known(revision: str) -> bool:
    """Whether this program has the steps from a schema version on."""
    return any(
        path.name.startswith(f"{revision}_") for path in (Path(__file__).parent / "versions").glob("*.py")
    )
