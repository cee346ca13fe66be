"""A log may have several keys under one name: until when a rotated one signs, and which are disowned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Makes the table anew: it was one row a name; what is there stays, and signs as it did."""
    op.rename_table("ledger_key", "ledger_key_before")
    op.create_table(
        "ledger_key",
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.Integer(), nullable=False),
        sa.Column("until_ms", sa.Integer(), nullable=True),
        sa.Column("disowned", sa.Integer(), nullable=True),
        sa.Column("disowned_by", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("public"),
    )
    op.execute(
        "INSERT INTO ledger_key (public, origin, sealed, since) "
        "SELECT public, origin, sealed, since FROM ledger_key_before"
    )
    op.drop_table("ledger_key_before")
