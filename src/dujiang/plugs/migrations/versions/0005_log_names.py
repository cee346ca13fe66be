"""A log may go on under a new name and key: from which size each of them signs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds the size from which a key signs; the first one signs from the empty tree on."""
    op.add_column("ledger_key", sa.Column("since", sa.Integer(), nullable=False, server_default="0"))
