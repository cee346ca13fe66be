"""Alembic's environment: one connection, one transaction per step; on PostgreSQL whole numbers have 64 bits."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import create_engine, pool
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler

url = context.config.get_main_option("sqlalchemy.url")
assert url is not None


class _Types(PGTypeCompiler):
    """SQLite's whole numbers have 64 bits: times in milliseconds would not fit in 32."""

    def visit_INTEGER(self, type_: Any, **kw: Any) -> str:
        """The type of a whole number."""
        return "BIGINT"


def _connected() -> Any:
    """A connection as libpq reads the address: SQLAlchemy's own reading of it is another one."""
    import psycopg

    return psycopg.connect(url or "")


if url.startswith("sqlite:"):
    engine = create_engine(url, poolclass=pool.NullPool)
else:
    engine = create_engine("postgresql+psycopg://", creator=_connected, poolclass=pool.NullPool)
    engine.dialect.type_compiler_instance = _Types(engine.dialect)
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
