"""Schema migrations: `upgrade` brings a database to this program's version (Alembic)."""

from __future__ import annotations

from pathlib import Path

HEAD = "0005"
"""The schema this program works with."""


def upgrade(url: str) -> None:
    """Brings a database to `HEAD`, in one transaction per step."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, "head")


def known(revision: str) -> bool:
    """Whether this program has the steps from a schema version on."""
    return any(
        path.name.startswith(f"{revision}_") for path in (Path(__file__).parent / "versions").glob("*.py")
    )
