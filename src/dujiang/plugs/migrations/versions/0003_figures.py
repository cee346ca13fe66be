"""What entries count, kept for the figures; an organisation's province and sector.

Entries of before are counted from their records: they named organisations, contract, product and purpose,
but neither provinces nor how many rows an answer had.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_FLOW = (
    "from_org", "to_org", "from_province", "to_province", "from_sector", "to_sector", "purpose", "product", "contract",
    "currency",
)  # fmt: skip
_QUANTITIES = ("organisations", "products", "contracts", "questions", "statistics", "rows", "amount_minor")
_WORDS = {
    "train": "train", "训练": "train", "infer": "infer", "推理": "infer", "analyse": "analyse", "分析": "analyse",
    "share": "share", "共享": "share", "open": "open", "开放": "open", "operate": "operate", "运营": "operate",
    "trade": "trade", "交易": "trade",
}  # fmt: skip


def upgrade() -> None:
    """Creates the tables of figures, the columns of organisations, and counts the entries there are."""
    for name in ("province", "sector"):
        op.add_column("identity_organisation", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "ledger_flow",
        # PostgreSQL numbers by a sequence, of which every flow that is known already takes a number, too.
        sa.Column("id", sa.Integer().with_variant(sa.BigInteger(), "postgresql"), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _FLOW),
        sa.PrimaryKeyConstraint("id"),
    )
    once = ["contract", *(name for name in _FLOW if name != "contract")]
    op.create_index("ledger_flow_once", "ledger_flow", once, unique=True)
    op.create_index("ledger_flow_from", "ledger_flow", ["from_org"], unique=False)
    op.create_index("ledger_flow_to", "ledger_flow", ["to_org"], unique=False)
    op.create_table(
        "ledger_figure",
        sa.Column("flow", sa.Integer(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in _QUANTITIES),
        sa.PrimaryKeyConstraint("flow", "month", "day", "idx"),
        sqlite_with_rowid=False,
    )
    op.create_index("ledger_figure_entry", "ledger_figure", ["idx"], unique=False)
    _count()


def _count() -> None:
    connection = op.get_bind()
    flows: dict[tuple[str, ...], int] = {}
    asked = sa.text(
        "SELECT idx, act, time_ms, facts FROM ledger_entry WHERE idx >= :low ORDER BY idx LIMIT 10000"
    )
    low = 0
    while entries := connection.execute(asked, {"low": low}).fetchall():
        low = int(entries[-1][0]) + 1
        rows: list[dict[str, int]] = []
        for index, act, time_ms, facts in entries:
            for told in _counted(str(act), json.loads(str(facts))):
                key = tuple(str(told.get(name, "")) for name in _FLOW)
                day = int(time_ms) // 86_400_000
                date = datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
                rows.append({
                    "flow": flows.setdefault(key, len(flows) + 1), "month": date.year * 100 + date.month, "day": day,
                    "idx": int(index), **{name: int(told.get(name, 0)) for name in _QUANTITIES},
                })  # fmt: skip
        _add(connection, "ledger_figure", ("flow", "month", "day", "idx", *_QUANTITIES), rows)
    named = [{"id": number, **dict(zip(_FLOW, key, strict=True))} for key, number in flows.items()]
    _add(connection, "ledger_flow", ("id", *_FLOW), named)


def _add(connection: sa.Connection, table: str, columns: tuple[str, ...], rows: list[Any]) -> None:
    if rows:
        text = f"INSERT INTO {table} ({', '.join(columns)}) VALUES (:{', :'.join(columns)})"
        connection.execute(sa.text(text), rows)


def _counted(act: str, facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What an entry of that time counts."""
    if "declined" in facts:
        return
    org, parties = facts.get("org", ""), [*facts.get("parties", []), ""]
    purpose = str(facts.get("purpose", "")).strip().casefold()
    named = {
        "product": facts.get("product", ""), "contract": facts.get("contract", ""),
        "purpose": _WORDS.get(purpose, "other"),
    }  # fmt: skip
    if act == "identity.register":
        yield {"from_org": facts.get("organisation", ""), "organisations": 1}
    elif act == "catalogue.offer":
        yield {"from_org": org, "product": named["product"], "products": 1}
    elif act == "contract.hear" and facts.get("kind") == "verify" and facts.get("state") == "FINALIZED":
        yield {"from_org": org, "to_org": parties[0], **named, "contracts": 1}
    elif act in ("cleanroom.complete", "cleanroom.ask") and "answer_sha256" in facts:
        counted = {"questions": 1, "statistics": facts.get("statistics", 0)}
        yield {"from_org": parties[0], "to_org": org, **named, **counted}
