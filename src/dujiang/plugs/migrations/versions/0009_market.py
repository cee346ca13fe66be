"""Allowances and metered uses of contracts; accounts, transactions, quotes and bills of the market."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Creates the tables of money."""
    _performance()
    _books()
    _bills()


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=null)


def _number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=null)


def _performance() -> None:
    op.create_table(
        "contract_allowance",
        _text("org"),
        _text("contract"),
        _text("currency"),
        _number("available_minor"),
        _number("held_minor"),
        _number("spent_minor"),
        _number("ended"),
        _number("billed"),
        sa.PrimaryKeyConstraint("org", "contract"),
        sa.CheckConstraint(
            "available_minor >= 0 AND held_minor >= 0 AND spent_minor >= 0 AND billed <= ended"
        ),
    )
    op.create_table(
        "contract_use",
        _text("org"),
        _text("contract"),
        _text("id"),
        _text("kind"),
        _text("what"),
        _number("at_ms"),
        _number("quantity"),
        _number("unit_minor"),
        _number("rows"),
        _number("row_minor"),
        _number("held_minor"),
        _number("amount_minor"),
        _number("ended_ms", null=True),
        _number("no", null=True),
        sa.PrimaryKeyConstraint("id", "org", "contract"),
    )
    op.create_index("contract_use_no", "contract_use", ["org", "contract", "no"], unique=True)
    op.create_index("contract_use_what", "contract_use", ["org", "contract", "what"])


def _books() -> None:
    op.create_table(
        "market_account",
        _text("org"),
        _text("kind"),
        _text("contract"),
        _text("currency"),
        _number("balance_minor"),
        sa.PrimaryKeyConstraint("org", "kind", "contract", "currency"),
        sa.CheckConstraint(
            "(kind = 'clearing' AND balance_minor <= 0) OR (kind <> 'clearing' AND balance_minor >= 0)"
        ),
    )
    op.create_index("market_account_contract", "market_account", ["contract"])
    op.create_table(
        "market_transaction",
        sa.Column("no", sa.Integer(), primary_key=True, autoincrement=False),
        _text("id"),
        _text("cause"),
        _number("at_ms"),
        _text("currency"),
        _text("subject"),
        _text("reference"),
        _text("reverses", null=True),
        _number("entry"),
    )
    op.create_index("market_transaction_id", "market_transaction", ["id"], unique=True)
    op.create_index("market_transaction_reverses", "market_transaction", ["reverses"], unique=True)
    op.create_table(
        "market_posting",
        _number("no"),
        _number("line"),
        _text("org"),
        _text("kind"),
        _text("contract"),
        _text("currency"),
        _number("amount_minor"),
        _number("at_ms"),
        sa.PrimaryKeyConstraint("no", "line"),
    )
    op.create_index("market_posting_org", "market_posting", ["org", "at_ms"])
    op.create_table(
        "market_quote",
        sa.Column("id", sa.Text(), primary_key=True, nullable=False),
        _text("org"),
        _text("product"),
        _text("contract", null=True),
        _text("terms_sha256"),
        _text("currency"),
        _number("amount_minor"),
        _number("until_ms"),
    )
    op.create_index("market_quote_until", "market_quote", ["until_ms"])


def _bills() -> None:
    op.create_table(
        "market_bill",
        sa.Column("id", sa.Text(), primary_key=True, nullable=False),
        _text("paper"),
        _text("org"),
        _number("number"),
        _text("consumer"),
        _text("contract"),
        _text("product"),
        _text("currency"),
        _number("amount_minor"),
        _number("fee_bp"),
        _number("at_ms"),
        _text("state"),
        _number("first", null=True),
        _number("last", null=True),
        _text("of", null=True),
        _text("reason", null=True),
    )
    op.create_index("market_bill_number", "market_bill", ["org", "paper", "number"], unique=True)
    op.create_index("market_bill_first", "market_bill", ["contract", "first"], unique=True)
    op.create_index("market_bill_of", "market_bill", ["of"])
    op.create_index("market_bill_consumer", "market_bill", ["consumer", "id"])
    op.create_index("market_bill_org", "market_bill", ["org", "id"])
    op.create_table(
        "market_line",
        _text("bill"),
        _number("line"),
        _text("kind"),
        _number("quantity"),
        _number("unit_minor"),
        _number("amount_minor"),
        _text("credited_by", null=True),
        sa.PrimaryKeyConstraint("bill", "line"),
    )
