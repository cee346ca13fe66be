"""Who asked a question, and the key they came by; which key made a key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds the columns; what was asked and made before names nobody."""
    op.add_column("cleanroom_job", sa.Column("person", sa.Text(), nullable=True))
    op.add_column("cleanroom_job", sa.Column("key", sa.Text(), nullable=True))
    op.add_column("identity_key", sa.Column("made_by", sa.Text(), nullable=True))
