"""The tables of money: accounts, transactions with their postings, quotes, bills with their lines."""

from __future__ import annotations

from typing import cast

from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    insert,
    text,
)

from dujiang.kernel.money import Money
from dujiang.kernel.tables import META, Row, Session, Sql
from dujiang.market.model import (
    Account,
    Bill,
    BillLine,
    Cause,
    Kind,
    Paper,
    Posting,
    Quote,
    State,
    Transaction,
)

_ACCOUNT = Table(
    "market_account", META, Column("org", Text, nullable=False), Column("kind", Text, nullable=False),
    Column("contract", Text, nullable=False), Column("currency", Text, nullable=False),
    Column("balance_minor", Integer, nullable=False),
    PrimaryKeyConstraint("org", "kind", "contract", "currency"),
    CheckConstraint("(kind = 'clearing' AND balance_minor <= 0) OR (kind <> 'clearing' AND balance_minor >= 0)"),
    Index("market_account_contract", "contract"),
)  # fmt: skip
_TRANSACTION = Table(
    "market_transaction", META, Column("no", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False), Column("cause", Text, nullable=False), Column("at_ms", Integer, nullable=False),
    Column("currency", Text, nullable=False), Column("subject", Text, nullable=False),
    Column("reference", Text, nullable=False), Column("reverses", Text), Column("entry", Integer, nullable=False),
    Index("market_transaction_id", "id", unique=True), Index("market_transaction_reverses", "reverses", unique=True),
)  # fmt: skip
_POSTING = Table(
    "market_posting", META, Column("no", Integer, nullable=False), Column("line", Integer, nullable=False),
    Column("org", Text, nullable=False), Column("kind", Text, nullable=False), Column("contract", Text, nullable=False),
    Column("currency", Text, nullable=False), Column("amount_minor", Integer, nullable=False),
    Column("at_ms", Integer, nullable=False), PrimaryKeyConstraint("no", "line"),
    Index("market_posting_org", "org", "at_ms"),
)  # fmt: skip
_QUOTE = Table(
    "market_quote", META, Column("id", Text, primary_key=True), Column("org", Text, nullable=False),
    Column("product", Text, nullable=False), Column("contract", Text), Column("terms_sha256", Text, nullable=False),
    Column("currency", Text, nullable=False), Column("amount_minor", Integer, nullable=False),
    Column("until_ms", Integer, nullable=False), Index("market_quote_until", "until_ms"),
)  # fmt: skip
_BILL = Table(
    "market_bill", META, Column("id", Text, primary_key=True), Column("paper", Text, nullable=False),
    Column("org", Text, nullable=False), Column("number", Integer, nullable=False),
    Column("consumer", Text, nullable=False), Column("contract", Text, nullable=False),
    Column("product", Text, nullable=False), Column("currency", Text, nullable=False),
    Column("amount_minor", Integer, nullable=False), Column("fee_bp", Integer, nullable=False),
    Column("at_ms", Integer, nullable=False), Column("state", Text, nullable=False),
    Column("first", Integer), Column("last", Integer), Column("of", Text), Column("reason", Text),
    Index("market_bill_number", "org", "paper", "number", unique=True),
    Index("market_bill_first", "contract", "first", unique=True), Index("market_bill_of", "of"),
    Index("market_bill_consumer", "consumer", "id"), Index("market_bill_org", "org", "id"),
)  # fmt: skip
_LINE = Table(
    "market_line", META, Column("bill", Text, nullable=False), Column("line", Integer, nullable=False),
    Column("kind", Text, nullable=False), Column("quantity", Integer, nullable=False),
    Column("unit_minor", Integer, nullable=False), Column("amount_minor", Integer, nullable=False),
    Column("credited_by", Text), PrimaryKeyConstraint("bill", "line"),
)  # fmt: skip

_BALANCE = Sql(
    text(
        "SELECT balance_minor FROM market_account "
        "WHERE org = :org AND kind = :kind AND contract = :contract AND currency = :currency"
    )
)
_BALANCES = Sql(
    text(
        "SELECT org, kind, contract, currency, balance_minor FROM market_account "
        "WHERE org = :org OR :org IS NULL ORDER BY org, kind, contract, currency"
    )
)
_ADD = Sql(
    text(
        "INSERT INTO market_account (org, kind, contract, currency, balance_minor) "
        "VALUES (:org, :kind, :contract, :currency, :balance) "
        "ON CONFLICT (org, kind, contract, currency) DO UPDATE SET balance_minor = excluded.balance_minor"
    )
)
_TRANSACTION_ADD = Sql(insert(_TRANSACTION))
_POSTING_ADD = Sql(insert(_POSTING))
_NEXT = Sql(text("SELECT coalesce(max(no), 0) + 1 FROM market_transaction"))
_TRANSACTION_GET = Sql(
    text("SELECT no, cause, currency, subject, reference, reverses FROM market_transaction WHERE id = :id")
)
_REVERSED = Sql(text("SELECT id FROM market_transaction WHERE reverses = :id"))
_POSTINGS = Sql(
    text("SELECT org, kind, contract, amount_minor FROM market_posting WHERE no = :no ORDER BY line")
)
_SUMS = Sql(
    text(
        "SELECT kind, contract, currency, sum(amount_minor) FROM market_posting "
        "WHERE org = :org AND at_ms < :until_ms GROUP BY kind, contract, currency ORDER BY kind, contract, currency"
    )
)
_MOVES = Sql(
    text(
        "SELECT t.no, t.id, t.cause, t.at_ms, t.currency, t.subject, t.reference, t.entry, p.org, p.kind, p.contract, "
        "p.amount_minor FROM market_posting p JOIN market_transaction t ON t.no = p.no "
        "WHERE (p.org = :org OR :org IS NULL) AND p.at_ms >= :since_ms AND p.at_ms < :until_ms AND p.no > :after "
        "ORDER BY p.no, p.line LIMIT :count"
    )
)
_WRONG = {
    "transaction_unbalanced": Sql(
        text(
            "SELECT no FROM market_posting GROUP BY no HAVING sum(amount_minor) <> 0 OR count(*) < 2 LIMIT 100"
        )
    ),
    "balance_differs": Sql(
        text(
            "SELECT a.kind FROM market_account a LEFT JOIN (SELECT org, kind, contract, currency, sum(amount_minor) s "
            "FROM market_posting GROUP BY 1, 2, 3, 4) p ON p.org = a.org AND p.kind = a.kind "
            "AND p.contract = a.contract AND p.currency = a.currency "
            "WHERE a.balance_minor <> coalesce(p.s, 0) LIMIT 100"
        )
    ),
    "currency_differs": Sql(
        text(
            "SELECT t.no FROM market_transaction t LEFT JOIN market_posting p ON p.no = t.no "
            "WHERE p.no IS NULL OR p.currency <> t.currency OR p.at_ms <> t.at_ms LIMIT 100"
        )
    ),
    "bill_differs": Sql(
        text(
            "SELECT b.id FROM market_bill b LEFT JOIN market_line l ON l.bill = b.id GROUP BY b.id, b.amount_minor "
            "HAVING b.amount_minor <> coalesce(sum(l.amount_minor), 0) "
            "OR max(CASE WHEN l.quantity * l.unit_minor <> l.amount_minor THEN 1 ELSE 0 END) = 1 LIMIT 100"
        )
    ),
}
_QUOTE_ADD = Sql(insert(_QUOTE))
_QUOTE_GET = Sql(
    text(
        "SELECT id, org, product, contract, terms_sha256, amount_minor, currency, until_ms FROM market_quote "
        "WHERE id = :id AND org = :org"
    )
)
_QUOTE_SWEEP = Sql(text("DELETE FROM market_quote WHERE until_ms < :before_ms"))
_BILL_ALL = Sql(text("SELECT id, paper, state, amount_minor FROM market_bill"))
_MOVED = Sql(
    text(
        "SELECT t.entry, t.currency, coalesce(sum(CASE WHEN p.amount_minor > 0 THEN p.amount_minor ELSE 0 END), 0) "
        "FROM market_transaction t LEFT JOIN market_posting p ON p.no = t.no GROUP BY t.entry, t.currency"
    )
)
_BILL_ADD = Sql(insert(_BILL))
_BILL_COLUMNS = (
    "SELECT id, paper, org, number, consumer, contract, product, amount_minor, currency, fee_bp, at_ms, state, "
    "coalesce(first, 0), coalesce(last, 0), of, reason FROM market_bill "
)
_BILL_GET = Sql(text(_BILL_COLUMNS + "WHERE id = :id"))
_BILL_LIST = Sql(
    text(
        _BILL_COLUMNS + "WHERE (org = :org OR consumer = :org) AND id < :before ORDER BY id DESC LIMIT :count"
    )
)
_BILL_CREDITS = Sql(text(_BILL_COLUMNS + "WHERE of = :of ORDER BY id"))
_BILL_NUMBER = Sql(
    text("SELECT coalesce(max(number), 0) + 1 FROM market_bill WHERE org = :org AND paper = :paper")
)
_BILL_STATE = Sql(text("UPDATE market_bill SET state = :state WHERE id = :id AND state = :before"))
_LINE_ADD = Sql(insert(_LINE))
_LINES = Sql(
    text(
        "SELECT line, kind, quantity, unit_minor, amount_minor, credited_by FROM market_line "
        "WHERE bill = :bill ORDER BY line"
    )
)
_LINE_CREDIT = Sql(
    text(
        "UPDATE market_line SET credited_by = :note WHERE bill = :bill AND line = :line AND credited_by IS NULL"
    )
)


def balance(db: Session, account: Account, currency: str) -> int:
    """What is on an account, in minor units."""
    rows = db.run(_BALANCE, org=account.org, kind=account.kind, contract=account.contract, currency=currency)
    return _whole(rows[0][0]) if rows else 0


def balances(db: Session, org: str | None) -> list[tuple[Account, Money]]:
    """The accounts of an organisation (None: all of them) and what is on each."""
    return [
        (Account(str(owner), Kind(str(kind)), str(contract)), Money(_whole(amount), str(currency)))
        for owner, kind, contract, currency, amount in db.run(_BALANCES, org=org)
    ]


def keep_balance(db: Session, account: Account, currency: str, amount_minor: int) -> None:
    """Keeps what is on an account; the table refuses a negative balance."""
    db.run(
        _ADD, org=account.org, kind=account.kind, contract=account.contract, currency=currency,
        balance=amount_minor,
    )  # fmt: skip


def add_transaction(db: Session, one: Transaction, at_ms: int, entry: int) -> None:
    """Keeps a transaction and its postings, for ever; its name and what it reverses are unique."""
    number = _whole(db.run(_NEXT)[0][0])
    db.run(
        _TRANSACTION_ADD, no=number, id=one.id, cause=one.cause, at_ms=at_ms, currency=one.currency,
        subject=one.subject, reference=one.reference, reverses=one.reverses, entry=entry,
    )  # fmt: skip
    for place, posting in enumerate(one.postings, 1):
        db.run(
            _POSTING_ADD, no=number, line=place, org=posting.account.org, kind=posting.account.kind,
            contract=posting.account.contract, currency=one.currency, amount_minor=posting.amount_minor, at_ms=at_ms,
        )  # fmt: skip


def transaction(db: Session, name: str) -> Transaction | None:
    """The transaction of a name."""
    rows = db.run(_TRANSACTION_GET, id=name)
    if not rows:
        return None
    number, cause, currency, subject, reference, reverses = rows[0]
    postings = tuple(
        Posting(Account(str(org), Kind(str(kind)), str(contract)), _whole(amount))
        for org, kind, contract, amount in db.run(_POSTINGS, no=number)
    )
    return Transaction(
        name, Cause(str(cause)), str(currency), postings, str(subject), str(reference), _maybe(reverses)
    )


def reversed_by(db: Session, name: str) -> str | None:
    """The name of the transaction that took one back, if one did."""
    rows = db.run(_REVERSED, id=name)
    return str(rows[0][0]) if rows else None


def sums(db: Session, org: str, until_ms: int) -> list[tuple[Account, Money]]:
    """What was on each account of an organisation before a time, from postings alone."""
    return [
        (Account(org, Kind(str(kind)), str(contract)), Money(_whole(amount), str(currency)))
        for kind, contract, currency, amount in db.run(_SUMS, org=org, until_ms=until_ms)
    ]


def moves(
    db: Session, org: str | None, since_ms: int, until_ms: int, after: int, count: int
) -> list[tuple[int, int, int, Transaction]]:
    """Each posting of an organisation (None: all) in a period: transaction number, time, entry, and it alone."""
    found: list[tuple[int, int, int, Transaction]] = []
    for number, name, cause, at, currency, subject, reference, entry, owner, kind, contract, amount in db.run(
        _MOVES, org=org, since_ms=since_ms, until_ms=until_ms, after=after, count=count
    ):
        posting = Posting(Account(str(owner), Kind(str(kind)), str(contract)), _whole(amount))
        one = Transaction(
            str(name), Cause(str(cause)), str(currency), (posting,), str(subject), str(reference)
        )
        found.append((_whole(number), _whole(at), _whole(entry), one))
    return found


def wrong(db: Session) -> list[str]:
    """What is wrong with the books, by code: nothing, unless somebody changed them."""
    return [code for code, statement in _WRONG.items() for _ in db.run(statement)]


def add_quote(db: Session, one: Quote) -> None:
    """Keeps a quote."""
    db.run(
        _QUOTE_ADD, id=one.id, org=one.org, product=one.product, contract=one.contract,
        terms_sha256=one.terms_sha256, currency=one.amount.currency, amount_minor=one.amount.amount_minor,
        until_ms=one.until_ms,
    )  # fmt: skip


def quote(db: Session, org: str, quote_id: str) -> Quote | None:
    """A quote an organisation was given."""
    rows = db.run(_QUOTE_GET, id=quote_id, org=org)
    if not rows:
        return None
    own, owner, product, contract, sha, amount, currency, until_ms = rows[0]
    return Quote(
        str(own), str(owner), str(product), _maybe(contract), str(sha), Money(_whole(amount), str(currency)),
        _whole(until_ms),
    )  # fmt: skip


def sweep_quotes(db: Session, before_ms: int) -> None:
    """Forgets quotes that ended before a time."""
    db.run(_QUOTE_SWEEP, before_ms=before_ms)


def add_bill(db: Session, one: Bill, lines: tuple[BillLine, ...]) -> None:
    """Keeps a bill or credit note with its lines; its number and the uses it covers are unique."""
    db.run(
        _BILL_ADD, id=one.id, paper=one.paper, org=one.org, number=one.number, consumer=one.consumer,
        contract=one.contract, product=one.product, currency=one.amount.currency,
        amount_minor=one.amount.amount_minor, fee_bp=one.fee_bp, at_ms=one.at_ms, state=one.state,
        first=one.first or None, last=one.last or None, of=one.of, reason=one.reason,
    )  # fmt: skip
    for line in lines:
        db.run(
            _LINE_ADD, bill=one.id, line=line.line, kind=line.kind, quantity=line.quantity,
            unit_minor=line.unit_minor, amount_minor=line.amount_minor, credited_by=None,
        )  # fmt: skip


def bill(db: Session, bill_id: str) -> Bill | None:
    """The bill or credit note with an id."""
    rows = db.run(_BILL_GET, id=bill_id)
    return _bill(rows[0]) if rows else None


def bills(db: Session, org: str, before: str, count: int) -> list[Bill]:
    """The bills and credit notes an organisation wrote or was written, newest first."""
    return [_bill(row) for row in db.run(_BILL_LIST, org=org, before=before, count=count)]


def papers(db: Session) -> list[tuple[str, Paper, State, int]]:
    """Every bill and credit note of the node with its state and amount in minor units."""
    return [
        (str(row[0]), Paper(str(row[1])), State(str(row[2])), _whole(row[3])) for row in db.run(_BILL_ALL)
    ]


def moved(db: Session) -> dict[tuple[int, str], int]:
    """What the transactions of each entry moved, by entry and currency, in minor units."""
    return {
        (_whole(entry), str(currency)): int(cast("int", amount)) for entry, currency, amount in db.run(_MOVED)
    }


def credits(db: Session, bill_id: str) -> list[Bill]:
    """The credit notes to a bill."""
    return [_bill(row) for row in db.run(_BILL_CREDITS, of=bill_id)]


def lines(db: Session, bill_id: str) -> tuple[BillLine, ...]:
    """The lines of a bill."""
    return tuple(
        BillLine(_whole(line), str(kind), _whole(quantity), _whole(unit), _whole(amount), _maybe(note))
        for line, kind, quantity, unit, amount, note in db.run(_LINES, bill=bill_id)
    )


def next_number(db: Session, org: str, paper: Paper) -> int:
    """The number of a provider's next bill or credit note."""
    return _whole(db.run(_BILL_NUMBER, org=org, paper=paper)[0][0])


def set_state(db: Session, bill_id: str, before: State, after: State) -> bool:
    """Whether a bill went from one state to another now."""
    return db.changed(_BILL_STATE, id=bill_id, before=before, state=after) == 1


def credit_line(db: Session, bill_id: str, line: int, note: str) -> bool:
    """Whether a line was given back now; it is once."""
    return db.changed(_LINE_CREDIT, bill=bill_id, line=line, note=note) == 1


def _bill(row: Row) -> Bill:
    own, paper, org, number, consumer, contract, product, amount, currency, fee, at, state, *rest = row
    first, last, of, reason = rest
    return Bill(
        str(own), Paper(str(paper)), str(org), _whole(number), str(consumer), str(contract), str(product),
        Money(_whole(amount), str(currency)), _whole(fee), _whole(at), State(str(state)), _whole(first), _whole(last),
        _maybe(of), _maybe(reason),
    )  # fmt: skip


def _whole(value: object) -> int:
    return cast(int, value)


def _maybe(value: object) -> str | None:
    return None if value is None else str(value)
