"""Entries kept in fewer bytes: commitments and salts as they are, the leaf made of them; sight by ranges.

An entry of before is taken over by its leaf: the commitments that stand there, in the order of its facts. A
leaf that was changed is still found out, since the tiles hold the hash of the one that was signed.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Makes the table of entries anew and adds the ranges of sight and of repeated acts."""
    op.create_table(
        "ledger_compact",
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("time_ms", sa.Integer(), nullable=False),
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("commitments", sa.LargeBinary(), nullable=False),
        sa.Column("salts", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("idx"),
    )
    _copy()
    op.drop_table("ledger_entry")
    op.rename_table("ledger_compact", "ledger_entry")
    op.add_column("ledger_sight", sa.Column("entries", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("kernel_done", sa.Column("entries", sa.Integer(), nullable=True))


def _copy() -> None:
    connection = op.get_bind()
    asked = sa.text(
        "SELECT idx, act, time_ms, org, leaf, facts, salts FROM ledger_entry WHERE idx >= :low ORDER BY idx LIMIT 10000"
    )
    add = sa.text(
        "INSERT INTO ledger_compact (idx, act, time_ms, org, facts, commitments, salts)"
        " VALUES (:idx, :act, :time_ms, :org, :facts, :commitments, :salts)"
    )
    low = 0
    while entries := connection.execute(asked, {"low": low}).fetchall():
        low = int(entries[-1][0]) + 1
        connection.execute(add, [_compact(row) for row in entries])


def _compact(row: Any) -> dict[str, Any]:
    index, act, time_ms, org, leaf, facts, salts = row
    commitments, told, opening = json.loads(leaf)["commitments"], json.loads(facts), json.loads(salts)
    # A fact that is no longer there, or cannot be opened, stands as erased: no salt, but its commitment.
    opening = {field: salt for field, salt in opening.items() if field in told}
    told.update(dict.fromkeys(commitments.keys() - opening.keys()))
    fields = [field for field in told if field in commitments]
    return {
        "idx": index, "act": act, "time_ms": time_ms, "org": org,
        "facts": json.dumps({field: told[field] for field in fields}, ensure_ascii=False, separators=(",", ":")),
        "commitments": b"".join(bytes.fromhex(commitments[field]) for field in fields),
        "salts": b"".join(bytes.fromhex(opening.get(field, "00" * 16)) for field in fields),
    }  # fmt: skip
