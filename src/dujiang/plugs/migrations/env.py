"""Alembic's environment: one connection, one transaction per step; on PostgreSQL whole numbers have 64 bits."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Integer, create_engine, pool
from sqlalchemy.ext.compiler import compiles

url = context.config.get_main_option("sqlalchemy.url")
assert url is not None


@compiles(Integer, "postgresql")
def _whole(*_: Any, **__: Any) -> str:
    """SQLite's whole numbers have 64 bits: times in milliseconds would not fit in 32."""
    return "BIGINT"


def _connected() -> Any:
    """A connection as libpq reads the address: SQLAlchemy's own reading of it is another one."""
    import psycopg

    return psycopg.connect(url or "")


if url.startswith("sqlite:"):
    engine = create_engine(url, poolclass=pool.NullPool)
else:
    engine = create_engine("postgresql+psycopg://", creator=_connected, poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
