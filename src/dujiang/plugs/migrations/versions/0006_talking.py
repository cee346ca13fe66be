"""How requests are answered, comments, what is undelivered, what was seen, and failed sign-ins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds the columns with what old homes did: every request was answered at once."""
    op.add_column(
        "catalogue_product", sa.Column("strategy", sa.Text(), nullable=False, server_default="agree")
    )
    op.add_column("catalogue_product", sa.Column("hold_until", sa.Text(), nullable=True))
    op.add_column("contract_negotiation", sa.Column("held_until", sa.Text(), nullable=True))
    op.add_column(
        "contract_negotiation", sa.Column("changed_ms", sa.Integer(), nullable=False, server_default="0")
    )
    op.create_index(
        "contract_negotiation_state", "contract_negotiation", ["org", "state", "id"], unique=False
    )
    op.create_table(
        "contract_comment",
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("negotiation", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("time_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("org", "negotiation", "id"),
    )
    op.create_table(
        "contract_seen",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("person"),
    )
    op.add_column("post_outbox", sa.Column("about", sa.Text(), nullable=True))
    op.create_index("post_outbox_org", "post_outbox", ["org", "state"], unique=False)
    op.create_table(
        "identity_failure",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_ms", sa.Integer(), nullable=False),
        sa.Column("until_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
    )
    op.create_index("identity_failure_last", "identity_failure", ["last_ms"], unique=False)
