"""Witnesses: who cosigns the log, the logs that are cosigned, and the evidence of forks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Adds the tables; the keys of the witness are made at its first use."""
    op.create_table(
        "ledger_cosigner", sa.Column("name", sa.Text()), sa.Column("kind", sa.Integer()),
        sa.Column("public", sa.LargeBinary(), nullable=False), sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", "kind"),
    )  # fmt: skip
    op.create_table(
        "ledger_cosignature", sa.Column("size", sa.Integer()), sa.Column("name", sa.Text()),
        sa.Column("kind", sa.Integer()), sa.Column("own", sa.Integer(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False), sa.Column("time_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("size", "name", "kind"),
    )  # fmt: skip
    op.create_table(
        "ledger_witness", sa.Column("name", sa.Text(), primary_key=True), sa.Column("url", sa.Text(), nullable=False),
        sa.Column("vkeys", sa.Text(), nullable=False), sa.Column("known", sa.Integer(), nullable=False),
        sa.Column("cosigned", sa.Integer(), nullable=False), sa.Column("cosigned_ms", sa.Integer(), nullable=False),
        sa.Column("asked_ms", sa.Integer(), nullable=False), sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
    )  # fmt: skip
    op.create_table(
        "ledger_quorum", sa.Column("one", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("least", sa.Integer(), nullable=False), sa.Column("fresh_s", sa.Integer(), nullable=False),
    )  # fmt: skip
    op.create_table(
        "ledger_watched", sa.Column("origin", sa.Text(), primary_key=True),
        sa.Column("place", sa.Text(), nullable=False, unique=True), sa.Column("vkeys", sa.Text(), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False), sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("root", sa.LargeBinary()), sa.Column("note", sa.Text()),
        sa.Column("time_ms", sa.Integer(), nullable=False),
    )  # fmt: skip
    op.create_table(
        "ledger_seen", sa.Column("origin", sa.Text()), sa.Column("size", sa.Integer()),
        sa.Column("root", sa.LargeBinary(), nullable=False), sa.PrimaryKeyConstraint("origin", "size"),
    )  # fmt: skip
    op.create_table(
        "ledger_fork", sa.Column("origin", sa.Text()), sa.Column("size", sa.Integer()),
        sa.Column("root", sa.LargeBinary()), sa.Column("conflict", sa.Text(), nullable=False),
        sa.Column("known", sa.Integer(), nullable=False), sa.Column("time_ms", sa.Integer(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False), sa.PrimaryKeyConstraint("origin", "size", "root"),
    )  # fmt: skip
