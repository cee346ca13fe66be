"""Which key a link or session was made with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Adds the column; what was made before names no key."""
    op.add_column("identity_pass", sa.Column("made_by", sa.Text(), nullable=True))
