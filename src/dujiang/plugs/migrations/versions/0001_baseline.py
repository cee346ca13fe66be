"""The tables of the first version."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates every table."""
    import dujiang.home  # noqa: F401
    from dujiang.kernel.tables import META

    META.create_all(op.get_bind())
