"""What is read of the books (对账): bills, accounts, statements of a period, files of them, and their check.

Everybody sees their own; the operator and the auditor see everybody's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dujiang.contract import performance
from dujiang.contract.rules import day
from dujiang.identity import acts as identity
from dujiang.identity.model import Organisation
from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.money import Money
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.ledger import acts as ledger
from dujiang.market import rules, store, wire
from dujiang.market.model import EXPORT_LONG, Account, Bill, BillLine, Form, Kind, Paper
from dujiang.market.wire import Holding, Move

POSTINGS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Show:
    """A bill's or credit note's id."""

    bill: str
    uses: bool = False
    """With the metered uses behind the bill."""
    after: int = 0
    """With the uses after this number."""


@dataclass(frozen=True, slots=True)
class Part:
    """What an organisation earned of a bill."""

    org: str
    name: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Metered:
    """One metered use behind a bill."""

    no: int
    """Its number among the ended uses of the contract."""
    use: str
    """The job of the question, or the fee's name."""
    kind: str
    at_ms: int
    quantity: int
    """0: it failed, or the same was paid before."""
    rows: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A bill or credit note."""

    bill: str
    paper: str
    number: int
    state: str
    provider: str
    consumer: str
    contract: str
    product: str
    amount: str
    amount_minor: int
    currency: str
    at_ms: int
    lines: tuple[BillLine, ...]
    first_use: int
    """Number of the first use it covers, of the contract's ended uses."""
    last_use: int
    of: str | None = None
    """The bill a credit note is to."""
    reason: str | None = None
    credits: tuple[str, ...] = ()
    """The credit notes to a bill."""
    platform_minor: int | None = None
    """The operator's part, where it is settled; for the provider and those who oversee."""
    earned: tuple[Part, ...] = ()
    uses: tuple[Metered, ...] = ()


@dataclass(frozen=True, slots=True)
class List:
    """A page of bills, newest first; `org`: of another organisation, for those who oversee the node."""

    org: str | None = None
    before: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Item:
    """A bill or credit note in a list."""

    bill: str
    paper: str
    number: int
    state: str
    provider: str
    consumer: str
    amount: str
    contract: str


@dataclass(frozen=True, slots=True)
class Balance:
    """What is on an account now."""

    account: str
    contract: str
    amount: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Listed:
    """An organisation's accounts and a page of its bills; `next` continues below."""

    org: str
    accounts: tuple[Balance, ...]
    items: tuple[Item, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """The days of a statement, the last included; none: from the beginning, up to today."""

    since: str | None = None
    until: str | None = None
    org: str | None = None
    """Another organisation, for those who oversee the node."""
    after: int = 0
    """Continues after this transaction."""
    limit: int = 200


@dataclass(frozen=True, slots=True)
class Stated:
    """A statement: each account before and after the period, and each posting in it."""

    org: str
    name: str
    since: str
    until: str
    accounts: tuple[Holding, ...]
    lines: tuple[Move, ...]
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """The form and the days of a statement file."""

    format: Form = Form.csv
    since: str | None = None
    until: str | None = None
    org: str | None = None
    """Another organisation, for those who oversee the node."""
    whole: bool = False
    """The books of the whole node, for those who oversee it."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file of a statement."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Check:
    """The books of the node."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether the books are right, and codes of what is not."""

    right: bool
    problems: tuple[str, ...]
    accounts: int


def show(tx: Tx, caller: Caller, ask: Show) -> Shown:
    """A bill or credit note, for its provider, its consumer and those who oversee the node.

    Raises: Refused not_found.
    """
    made = store.bill(tx.db, ask.bill)
    if made is None or not (caller.org in (made.org, made.consumer) or ledger.oversees(caller)):
        raise Refused(NOT_FOUND)
    found = shown(tx.db, made, split=caller.org == made.org or ledger.oversees(caller))
    held = performance.provided(tx.db, made.contract) if ask.uses and made.last else None
    if held is None:
        return found
    after = max(made.first - 1, ask.after)
    uses = performance.ended(tx.db, held, after, made.last, tx.node.config.page_rows_max)
    return replace(found, uses=tuple(
        Metered(one.no or 0, one.id, one.kind, one.at_ms, one.quantity, one.rows, one.amount_minor) for one in uses
    ))  # fmt: skip


def shown(db: Session, made: Bill, *, split: bool = True) -> Shown:
    """A bill or credit note with its lines; `split`: with who earned what."""
    lines = store.lines(db, made.id)
    earned = _earned(db, made, lines) if split else {}
    platform = earned.pop("platform", 0) if earned else None
    names = identity.names(db, {made.org, made.consumer, *earned})
    return Shown(
        made.id, made.paper, made.number, made.state, names[made.org], names[made.consumer], made.contract,
        made.product, str(made.amount), made.amount.amount_minor, made.amount.currency, made.at_ms, lines, made.first,
        made.last, made.of, made.reason, tuple(note.id for note in store.credits(db, made.id)), platform,
        tuple(Part(org, names[org], amount) for org, amount in earned.items()),
    )  # fmt: skip


def _earned(db: Session, made: Bill, lines: tuple[BillLine, ...]) -> dict[str, int]:
    """By organisation and `platform`: what a settled bill paid, or what a credit note took back (negative)."""
    found: dict[str, int] = {}
    for line in lines:
        settled = rules.settle_name(made.of or made.id, line.line)
        name = settled if made.paper is Paper.bill else store.reversed_by(db, settled)
        one = store.transaction(db, name) if name else None
        for part, amount in rules.parts(one.postings if one else ()).items():
            found[part] = found.get(part, 0) + amount
    return found


def list_(tx: Tx, caller: Caller, ask: List) -> Listed:
    """An organisation's accounts, and its bills and credit notes, newest first.

    Raises: Refused not_found.
    """
    org = _whose(tx.db, caller, ask.org)
    count = tx.node.config.rows(ask.limit)
    bills = store.bills(tx.db, org.id, ask.before or "~", count)
    accounts = tuple(
        Balance(account.kind, account.contract, str(money), money.amount_minor, money.currency)
        for account, money in store.balances(tx.db, org.id)
    )
    names = identity.names(tx.db, {org for one in bills for org in (one.org, one.consumer)})
    items = tuple(
        Item(
            one.id, one.paper, one.number, one.state, names[one.org], names[one.consumer],
            str(one.amount), one.contract,
        )
        for one in bills
    )  # fmt: skip
    return Listed(org.id, accounts, items, bills[-1].id if len(bills) == count else None)


def statement(tx: Tx, caller: Caller, ask: Statement) -> Stated:
    """What was on an organisation's accounts, what moved in a period, and what is there after it.

    Raises: Refused not_found, days_unfit.
    """
    org = _whose(tx.db, caller, ask.org)
    since_ms, until_ms = rules.period(ask.since, ask.until, tx.now_ms)
    count = tx.node.config.rows(ask.limit)
    lines = _moves(tx.db, org.id, since_ms, until_ms, ask.after, count + 1)
    further = None
    if len(lines) > count:
        # A transaction is not cut in two, unless it alone is longer than a page.
        whole = [line for line in lines if line.no != lines[-1].no]
        lines = whole or lines
        further = lines[-1].no
    return Stated(
        org.id, org.name, _day(since_ms), _day(until_ms - 1), _holdings(tx.db, org.id, since_ms, until_ms),
        tuple(lines), further,
    )  # fmt: skip


def export(tx: Tx, caller: Caller, ask: Export) -> Exported:
    """The statement as a file: CSV, or the journal of beancount or hledger.

    Raises: Refused not_found, days_unfit, export_too_long.
    """
    if ask.whole and (ask.org is not None or not ledger.oversees(caller)):
        raise Refused(NOT_FOUND)
    org = _whose(tx.db, caller, ask.org)
    since_ms, until_ms = rules.period(ask.since, ask.until, tx.now_ms)
    lines = _moves(tx.db, None if ask.whole else org.id, since_ms, until_ms, 0, POSTINGS_MAX + 1)
    if len(lines) > POSTINGS_MAX:
        raise Refused(EXPORT_LONG, limit=POSTINGS_MAX)
    owners = [one.id for one in identity.organisations(tx.db, POSTINGS_MAX)] if ask.whole else [org.id]
    holdings = [one for owner in owners for one in _holdings(tx.db, owner, since_ms, until_ms)]
    days = (_day(since_ms), _day(until_ms - 1))
    if ask.format is Form.csv:
        return Exported(f"statement-{days[1]}.csv", wire.csv_text(lines))
    words = wire.whole_books if ask.whole else wire.own_books
    journal = words(holdings, lines, days)
    if ask.format is Form.beancount:
        return Exported(f"statement-{days[1]}.beancount", wire.beancount(journal))
    return Exported(f"statement-{days[1]}.journal", wire.hledger(journal))


def check(tx: Tx, caller: Caller, ask: Check) -> Checked:
    """Whether the books balance and agree with the contracts: codes of what does not."""
    del caller, ask
    found = store.wrong(tx.db)
    accounts = store.balances(tx.db, None)
    on_contracts = {
        account.contract: money.amount_minor for account, money in accounts if account.kind is Kind.allowance
    }
    performed = performance.totals(tx.db)
    found += [
        "allowance_differs" for contract, total in on_contracts.items() if performed.get(contract) != total
    ]
    found += [
        "allowance_differs" for contract, total in performed.items() if total and contract not in on_contracts
    ]
    return Checked(not found, tuple(sorted(set(found))), len(accounts))


def _holdings(db: Session, org: str, since_ms: int, until_ms: int) -> tuple[Holding, ...]:
    before = {
        (account, money.currency): money.amount_minor for account, money in store.sums(db, org, since_ms)
    }
    after = {
        (account, money.currency): money.amount_minor for account, money in store.sums(db, org, until_ms)
    }
    return tuple(
        _holding(account, currency, before.get((account, currency), 0), amount)
        for (account, currency), amount in after.items()
    )


def _holding(account: Account, currency: str, opening: int, closing: int) -> Holding:
    return Holding(
        account.org, account.kind, account.contract, currency, opening, closing, str(Money(opening, currency)),
        str(Money(closing, currency)),
    )  # fmt: skip


def _moves(db: Session, org: str | None, since_ms: int, until_ms: int, after: int, count: int) -> list[Move]:
    found: list[Move] = []
    for number, at_ms, entry, one in store.moves(db, org, since_ms, until_ms, after, count):
        (posting,) = one.postings
        account, amount = posting.account, Money(posting.amount_minor, one.currency)
        found.append(
            Move(
                number, _day(at_ms), at_ms, one.id, one.cause, account.org, account.kind, account.contract, str(amount),
                amount.amount_minor, amount.currency, one.subject, one.reference, entry,
            )
        )  # fmt: skip
    return found


def _whose(db: Session, caller: Caller, wanted: str | None) -> Organisation:
    """The caller's organisation, or for those who oversee the node the one they name.

    Raises: Refused not_found.
    """
    found = identity.named(db, wanted or caller.org)
    if found is None or not (found.id == caller.org or ledger.oversees(caller)):
        raise Refused(NOT_FOUND)
    return found


def _day(time_ms: int) -> str:
    return day(time_ms).isoformat()
