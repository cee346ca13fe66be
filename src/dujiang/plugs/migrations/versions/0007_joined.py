"""A question may be asked under several contracts: each with what its account was charged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Moves the contract of a question into a table of its contracts."""
    op.create_table(
        "cleanroom_part",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("charged_micro", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job", "contract"),
    )
    op.create_index("cleanroom_part_provider", "cleanroom_part", ["provider", "job"], unique=False)
    op.execute(
        "INSERT INTO cleanroom_part (job, contract, provider, place, charged_micro) "
        "SELECT id, contract, provider, 0, charged_micro FROM cleanroom_job"
    )
    op.drop_index("cleanroom_job_provider", "cleanroom_job")
    op.drop_column("cleanroom_job", "provider")
    op.drop_column("cleanroom_job", "contract")
