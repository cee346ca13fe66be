"""What entries are about, for the search: by a number of each name, in runs of entries."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from dujiang.ledger.subject import names_of, number_of

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Creates the table and fills it; by today's names, as it is today's search that looks them up."""
    op.create_table(
        "ledger_about",
        sa.Column("name", sa.BigInteger(), nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False, server_default="1"),
        sa.PrimaryKeyConstraint("name", "idx"),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    asked = sa.text("SELECT idx, act, facts FROM ledger_entry WHERE idx >= :low ORDER BY idx LIMIT 10000")
    add = sa.text("INSERT INTO ledger_about (name, idx) VALUES (:name, :idx)")
    low = 0
    while entries := connection.execute(asked, {"low": low}).fetchall():
        low = int(entries[-1][0]) + 1
        rows = [
            {"name": number, "idx": int(index)}
            for index, act, facts in entries
            for number in {number_of(name) for name in (str(act), *names_of(json.loads(str(facts))))}
        ]
        connection.execute(add, rows)
