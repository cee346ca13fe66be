"""Acts of the market: quote, deposit, order, bill, settle, refund, withdraw.

What is read of the books (show, list, statement, export, check) stands in `statement`.
The money of a contract's use is held by the contract's performance in the transaction of the use; here it
comes in, is put on contracts, and goes from there to those who earned it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dujiang.catalogue import acts as catalogue
from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contracts
from dujiang.contract import performance
from dujiang.contract.flow import flow
from dujiang.contract.model import ACTIVE, CONTRACT_FREE, NOT_ACTIVE, Contract
from dujiang.identity import acts as identity
from dujiang.identity.model import Organisation
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.config import CONFIG_MALFORMED
from dujiang.kernel.errors import Declined, Refused
from dujiang.kernel.money import Money
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.market import books, rules, store
from dujiang.market.model import (
    ACCOUNT_UNFIT,
    BALANCE_SHORT,
    BILL_OPEN,
    BILL_SETTLED,
    CURRENCY_DIFFERS,
    EARNED_SHORT,
    NOTHING_TO_BILL,
    QUOTE_DIFFERS,
    QUOTE_EXPIRED,
    QUOTE_WHAT,
    REFERENCE_USED,
    REFUNDED,
    Account,
    Bill,
    BillLine,
    Cause,
    Kind,
    Paper,
    Purse,
    State,
)  # fmt: skip
from dujiang.market.model import Quote as Quoted
from dujiang.market.statement import (
    Check,
    Checked,
    Export,
    Exported,
    List,
    Listed,
    Show,
    Shown,
    Stated,
    Statement,
    check,
    export,
    list_,
    show,
    shown,
    statement,
)
from dujiang.policy.rules import amounts

__all__ = [
    "Check",
    "Checked",
    "Export",
    "Exported",
    "List",
    "Listed",
    "Show",
    "Shown",
    "Stated",
    "Statement",
    "check",
    "export",
    "list_",
    "show",
    "statement",
]
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Quote:
    """What to know the price of: a product before agreeing, or a contract, or a question under it."""

    product: str | None = None
    """A product's id: what the first question under a contract would cost."""
    contract: str | None = None
    sql: str | None = None
    """A question under the contract; none: what any next one would cost without its rows."""


@dataclass(frozen=True, slots=True)
class Priced:
    """The most it can cost, and until when that holds."""

    quote: str | None
    """To order exactly that; none: it costs nothing."""
    product: str
    contract: str | None
    amount: str
    currency: str | None
    amount_minor: int
    available_minor: int | None
    """What is on the contract already."""
    parts: tuple[performance.Line, ...]
    rows_max: int
    row_minor: int
    """What each row of an answer costs."""
    statistics: int | None
    """What the question takes of the privacy account."""
    until_ms: int


@dataclass(frozen=True, slots=True)
class Deposit:
    """Money that arrived outside, to credit an organisation with."""

    org: str
    """Name, id or DID."""
    amount: str
    """In major units, such as 1200.50."""
    currency: str
    reference: str
    """The bank's reference; each is booked once for ever."""
    account: Purse = Purse.balance
    """balance; payable or (the operator's) platform to cover a refund of what was paid out already."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Money that was paid out, to debit an organisation with."""

    org: str
    amount: str
    currency: str
    reference: str
    """The bank's reference; each is booked once for ever."""
    account: Purse = Purse.payable


@dataclass(frozen=True, slots=True)
class Booked:
    """What was booked, and what is on the account now."""

    transaction: str
    org: str
    account: str
    amount: str
    balance: str
    balance_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Order:
    """Money to put on a contract, or with `release` to take back from it."""

    contract: str
    amount: str | None = None
    """In major units, such as 12.50; none: what the quote says."""
    quote: str | None = None
    """A quote's id; each is good for one order."""
    currency: str | None = None
    """To be sure of it; the contract's price decides."""
    release: bool = False
    """Take it back to the balance: what is not held and not used."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """What is on the contract and on the balance now, in minor units."""

    contract: str
    currency: str
    available_minor: int
    held_minor: int
    spent_minor: int
    balance_minor: int
    transaction: str


@dataclass(frozen=True, slots=True)
class MakeBill:
    """The contract whose ended uses to bill."""

    contract: str
    until: str | None = None
    """The last day of the uses to bill (ISO date); none: up to now."""


@dataclass(frozen=True, slots=True)
class Settle:
    """The bill to pay out of its contract's allowance."""

    bill: str


@dataclass(frozen=True, slots=True)
class Refund:
    """The settled bill, or one line of it, to give back, and why."""

    bill: str
    reason: str
    line: int | None = None
    """The number of a line; none: all that was not given back yet."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """The uses a bill would cover, summed before the transaction."""

    first: int
    last: int
    lines: tuple[performance.Line, ...]


def prepare_quote(node: Node, caller: Caller, ask: Quote) -> object:
    """The checked question, where one is quoted.

    Raises: Refused quote_what, not_found and the codes of the contract.
    """
    if (ask.product is None) == (ask.contract is None) or (ask.sql is not None and ask.contract is None):
        raise Refused(QUOTE_WHAT)
    if ask.contract is None or ask.sql is None:
        return None
    return cleanroom.prepare_check(node, caller, cleanroom.Check((ask.contract,), ask.sql))


def quote(tx: Tx, caller: Caller, ask: Quote, case: object) -> Priced | Declined:
    """The most it can cost, good for a while.

    Raises: Refused not_found, product_withdrawn. Declined: the codes of the checker, for a question.
    """
    until_ms = tx.now_ms + tx.node.config.quote_minutes * 60_000
    if ask.product is not None:
        return _first_cost(tx, caller, ask.product, until_ms)
    assert ask.contract is not None
    held = contracts.usable(tx.db, caller.org, ask.contract, tx.now_ms)
    rows_max, statistics = 0, None
    if ask.sql is not None:
        checked = cleanroom.check(tx, caller, cleanroom.Check((ask.contract,), ask.sql), case)  # type: ignore[arg-type]
        if isinstance(checked, Declined):
            return checked
        rows_max, statistics, found = checked.rows_max, checked.statistics, checked.charges
    else:
        found = performance.charges(tx.db, (held,), None, 0, tx.now_ms)
    price = performance.price_of(held)
    charge = found[0] if found else None
    made = _keep_quote(
        tx, caller, held.product, held.id, held.terms_sha256,
        Money(charge.amount_minor, charge.currency) if charge else None, until_ms,
    )  # fmt: skip
    return Priced(
        made, held.product, held.id, charge.amount if charge else "0", charge.currency if charge else None,
        charge.amount_minor if charge else 0, charge.available_minor if charge else None,
        charge.parts if charge else (), rows_max, price.row_minor if price else 0, statistics, until_ms,
    )  # fmt: skip


def _first_cost(tx: Tx, caller: Caller, product: str, until_ms: int) -> Priced:
    offered = catalogue.offered(tx.db, product, tx.now_ms)
    price = offered.terms.price
    parts = tuple(
        performance.line_of(per, 1, amount)
        for per, amount in (amounts(price) if price else ())
        if per != "row"
    )
    cost = sum(part.amount_minor for part in parts)
    total = Money(cost, price.currency) if price else None
    kept = total if cost else None
    made = _keep_quote(tx, caller, offered.product, None, offered.terms_sha256, kept, until_ms)
    return Priced(
        made, offered.product, None, str(total) if total else "0", price.currency if price else None, cost, None,
        parts, 0, price.row_minor if price else 0, None, until_ms,
    )  # fmt: skip


def _keep_quote(
    tx: Tx, caller: Caller, product: str, contract: str | None, sha: str, amount: Money | None, until_ms: int
) -> str | None:
    store.sweep_quotes(tx.db, tx.now_ms - _DAY_MS)
    if amount is None:
        return None
    made = Quoted(tx.new_id("quo"), caller.org, product, contract, sha, amount, until_ms)
    store.add_quote(tx.db, made)
    return made.id


def deposit(tx: Tx, caller: Caller, ask: Deposit) -> Booked:
    """Credits an organisation with money that arrived outside.

    Raises: Refused not_found, currency_unfit, amount_unfit, reference_unfit, reference_used, amount_beyond.
    """
    del caller
    return _outside(
        tx, Cause.deposit, ask.org, ask.account, ask.reference, rules.money(ask.amount, ask.currency)
    )


def withdraw(tx: Tx, caller: Caller, ask: Withdraw) -> Booked:
    """Debits an organisation with money that was paid out.

    Raises: Refused not_found, currency_unfit, amount_unfit, reference_unfit, reference_used, balance_short.
    """
    del caller
    return _outside(
        tx, Cause.withdraw, ask.org, ask.account, ask.reference, rules.money(ask.amount, ask.currency)
    )


def _outside(tx: Tx, cause: Cause, wanted: str, kind: Purse, reference: str, amount: Money) -> Booked:
    org, reference = _named(tx.db, wanted), rules.stated(reference)
    account, outside = Account(org.id, Kind(kind)), books.clearing(tx.db)
    if account.kind is Kind.platform and not org.operator:
        raise Refused(ACCOUNT_UNFIT)
    name = rules.outside_name(cause, reference)
    if any(store.transaction(tx.db, each) for each in (name, f"{cause}:{reference}")):
        raise Refused(REFERENCE_USED)
    giver, taker = (outside, account) if cause is Cause.deposit else (account, outside)
    books.post(tx, rules.moved(name, cause, amount, giver, taker, reference=reference))
    tx.tell(
        parties=[org.id], subject=org.id, account=account.kind.value, amount_minor=amount.amount_minor,
        currency=amount.currency, reference=reference,
    )  # fmt: skip
    left = store.balance(tx.db, account, amount.currency)
    text = str(Money(left, amount.currency))
    return Booked(name, org.id, account.kind, str(amount), text, left, amount.currency)


def order(tx: Tx, caller: Caller, ask: Order) -> Ordered:
    """Puts money of the consumer's balance on its contract, or takes back what is free there.

    Raises: Refused not_found, contract_not_yours_to_use, contract_free, contract_not_active, currency_differs,
    amount_unfit, quote_expired, quote_differs, balance_short, allowance_spent.
    """
    held = contracts.held(tx.db, caller.org, ask.contract)
    has = performance.allowance(tx.db, held)
    if ask.currency is not None and ask.currency != has.currency:
        raise Refused(CURRENCY_DIFFERS, currency=has.currency)
    if held.state != ACTIVE and not ask.release:
        raise Refused(NOT_ACTIVE)
    amount = _ordered(tx, caller, held, ask, has.currency)
    purse, there = Account(caller.org, Kind.balance), Account(caller.org, Kind.allowance, held.id)
    cause = Cause.release if ask.release else Cause.order
    giver, taker = (there, purse) if ask.release else (purse, there)
    has = performance.put(tx, held, -amount.amount_minor if ask.release else amount.amount_minor)
    name = f"{cause}:{ask.quote or tx.new_id('ord')}"
    books.post(tx, rules.moved(name, cause, amount, giver, taker, subject=held.id))
    tx.tell(
        parties=[held.org], contract=held.id, product=held.product, account=cause.value,
        amount_minor=amount.amount_minor, currency=amount.currency,
    )  # fmt: skip
    return Ordered(
        held.id, has.currency, has.available_minor, has.held_minor, has.spent_minor,
        store.balance(tx.db, purse, has.currency), name,
    )  # fmt: skip


def _ordered(tx: Tx, caller: Caller, held: Contract, ask: Order, currency: str) -> Money:
    if ask.quote is None:
        return rules.money(ask.amount or "", currency)
    found = store.quote(tx.db, caller.org, ask.quote)
    if found is None:
        raise Refused(NOT_FOUND)
    if found.until_ms < tx.now_ms:
        raise Refused(QUOTE_EXPIRED)
    fits = found.contract in (None, held.id) and found.product == held.product
    fits = fits and found.terms_sha256 == held.terms_sha256 and found.amount.currency == currency
    if not fits or ask.release or ask.amount is not None:
        raise Refused(QUOTE_DIFFERS)
    if store.transaction(tx.db, f"{Cause.order}:{found.id}") is not None:
        raise Refused(QUOTE_EXPIRED)  # an order that is sent again moves nothing twice
    return found.amount


def prepare_bill(node: Node, caller: Caller, ask: MakeBill) -> _Counted:
    """The ended uses that stand on no bill, summed off the writer's thread: they do not change any more.

    Raises: Refused not_found, contract_free, days_unfit.
    """
    until_ms = _until_ms(ask, node.clock.now_ms())
    with node.database.reading() as db:
        return _Counted(*performance.unbilled(db, _provided(db, caller, ask.contract), until_ms))


def bill(tx: Tx, caller: Caller, ask: MakeBill, counted: _Counted) -> Shown:
    """The numbered bill of every use that ended and stands on none.

    Raises: Refused not_found, contract_free, nothing_to_bill.
    """
    held = _provided(tx.db, caller, ask.contract)
    if performance.allowance(tx.db, held).billed != counted.first:  # somebody billed meanwhile
        counted = _Counted(*performance.unbilled(tx.db, held, _until_ms(ask, tx.now_ms)))
    if not counted.lines:
        raise Refused(NOTHING_TO_BILL)
    fee_bp = tx.node.config.platform_fee_bp
    if not 0 <= fee_bp <= rules.BP:
        raise Refused(CONFIG_MALFORMED, name="platform_fee_bp", kind=f"number of 0..{rules.BP}")
    price = performance.price_of(held)
    assert price is not None
    consumer = identity.by_did(tx.db, held.peer_did)
    if consumer is None:
        raise Refused(NOT_FOUND)
    lines = tuple(
        BillLine(place, line.kind, line.quantity, line.unit_minor, line.amount_minor)
        for place, line in enumerate(counted.lines, 1)
    )
    total = Money(sum(line.amount_minor for line in lines), price.currency)
    made = Bill(
        tx.new_id("bil"), Paper.bill, held.org, store.next_number(tx.db, held.org, Paper.bill), consumer.id, held.id,
        held.product, total, fee_bp, tx.now_ms, State.open, counted.first + 1, counted.last,
    )  # fmt: skip
    performance.billed(tx, held, counted.last)
    store.add_bill(tx.db, made, lines)
    _tell(tx, made, total, uses=counted.last - counted.first)
    return shown(tx.db, made)


def settle(tx: Tx, caller: Caller, ask: Settle) -> Shown:
    """Pays a bill out of its contract's allowance: the operator's fee, and the provider's part by its shares.

    Raises: Refused not_found, bill_settled, share_unknown.
    """
    made, held = _written(tx.db, caller, ask.bill)
    if not store.set_state(tx.db, made.id, State.open, State.settled):
        raise Refused(BILL_SETTLED)
    price = performance.price_of(held)
    assert price is not None
    known, operator = books.recipients(tx.db, price), identity.operator(tx.db).id
    for line in store.lines(tx.db, made.id):
        books.post(tx, rules.settlement(made, line, price, known, operator))
    performance.settled(tx, held, made.amount.amount_minor)
    counts = flow(tx.db, held, amount_minor=made.amount.amount_minor, currency=price.currency)
    # Who earned what of it is not the consumer's to know, who sees this entry: it stands in the postings.
    _tell(tx, made, made.amount, *known.values(), figures=[counts])
    return shown(tx.db, replace(made, state=State.settled))


def refund(tx: Tx, caller: Caller, ask: Refund) -> Shown:
    """The credit note that gives a settled bill, or one line of it, back to the contract's allowance.

    Raises: Refused not_found, bill_open, already_refunded, earned_short, reference_unfit.
    """
    reason = rules.stated(ask.reason)
    made, held = _written(tx.db, caller, ask.bill)
    if made.state is State.open:
        raise Refused(BILL_OPEN)
    lines = store.lines(tx.db, made.id)
    if ask.line is not None and ask.line not in [line.line for line in lines]:
        raise Refused(NOT_FOUND)
    chosen = [line for line in lines if ask.line in (None, line.line) and line.credited_by is None]
    if not chosen:
        raise Refused(REFUNDED)
    total = Money(sum(line.amount_minor for line in chosen), made.amount.currency)
    note = replace(
        made, id=tx.new_id("bil"), paper=Paper.credit, number=store.next_number(tx.db, made.org, Paper.credit),
        amount=total, at_ms=tx.now_ms, state=State.settled, first=0, last=0, of=made.id, reason=reason,
    )  # fmt: skip
    paid_back: set[str] = set()
    for line in chosen:
        if not store.credit_line(tx.db, made.id, line.line, note.id):
            raise Refused(REFUNDED)
        paid_back |= _take_back(tx, made, note, line)
    performance.put(tx, held, total.amount_minor)
    store.add_bill(tx.db, note, tuple(replace(line, credited_by=None) for line in chosen))
    if all(line.credited_by or line in chosen for line in lines):
        store.set_state(tx.db, made.id, State.settled, State.refunded)
    counts = flow(tx.db, held, amount_minor=-total.amount_minor, currency=total.currency)
    _tell(tx, note, total, *sorted(paid_back), of=made.id, figures=[counts])
    return shown(tx.db, note)


def _take_back(tx: Tx, made: Bill, note: Bill, line: BillLine) -> set[str]:
    """The organisations a line's money was taken back from."""
    one = store.transaction(tx.db, rules.settle_name(made.id, line.line))
    assert one is not None
    try:
        books.post(tx, rules.reversal(one, f"refund:{made.id}:{line.line}", note.id))
    except Refused as refused:
        # Whose earnings are short, and by how much, is not this caller's to know.
        raise Refused(EARNED_SHORT) if refused.code is BALANCE_SHORT else refused from None
    return {posting.account.org for posting in one.postings if posting.account.kind is Kind.payable}


def _until_ms(ask: MakeBill, now_ms: int) -> int:
    # Uses that ended are in the past, whatever a clock that was set back says.
    return 2**62 if ask.until is None else rules.period(None, ask.until, now_ms)[1]


def _named(db: Session, text: str) -> Organisation:
    org = identity.named(db, text)
    if org is None:
        raise Refused(NOT_FOUND)
    return org


def _provided(db: Session, caller: Caller, contract: str) -> Contract:
    """The provider's record of a contract of the caller's, or of anybody for the operator.

    Raises: Refused not_found, contract_free.
    """
    found = performance.provided(db, contract)
    if found is None or (found.org != caller.org and "operator" not in caller.roles):
        raise Refused(NOT_FOUND)
    if performance.price_of(found) is None:
        raise Refused(CONTRACT_FREE)
    return found


def _written(db: Session, caller: Caller, bill_id: str) -> tuple[Bill, Contract]:
    """A bill of the caller's, or of anybody for the operator, with its contract."""
    made = store.bill(db, bill_id)
    if made is None or made.paper is not Paper.bill:
        raise Refused(NOT_FOUND)
    return made, _provided(db, caller, made.contract)


def papers(db: Session) -> tuple[dict[str, int], dict[str, int]]:
    """The amounts of all bills and credit notes, and of the bills that were settled; for the packages downstream."""
    found = store.papers(db)
    settled = {
        name: amount
        for name, paper, state, amount in found
        if paper is Paper.bill and state is not State.open
    }
    return {name: amount for name, _, _, amount in found}, settled


def moved(db: Session) -> dict[tuple[int, str], int]:
    """What was moved by each entry, by entry and currency, in minor units; for the packages downstream."""
    return store.moved(db)


def _tell(tx: Tx, made: Bill, amount: Money, *parties: str, **facts: object) -> None:
    tx.tell(
        parties=list(dict.fromkeys([made.org, made.consumer, *parties])), bill=made.id, number=made.number,
        contract=made.contract, product=made.product, amount_minor=amount.amount_minor, currency=amount.currency,
        **facts,
    )  # fmt: skip
