"""Receipts that parties of a contract keep of each other, and the entry whose receipt goes with a message."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Adds the table and the column; a message that waits already goes without a receipt."""
    op.add_column("post_outbox", sa.Column("entry", sa.Integer(), nullable=True))
    op.create_table(
        "ledger_kept", sa.Column("org", sa.Text()), sa.Column("about", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text()), sa.Column("idx", sa.Integer()),
        sa.Column("receipt", sa.Text(), nullable=False), sa.PrimaryKeyConstraint("org", "origin", "idx"),
    )  # fmt: skip
    op.create_index("ledger_kept_about", "ledger_kept", ["org", "about"])
