"""Performance (履约): uses of a priced contract are held, ended and summed; money here only counts down.

1. Nothing is used that was not paid for: the most a use can cost is held before it is admitted, or it is not.
2. A use ends once: done, it costs what it was and never more than was held; failed, it costs nothing.
3. available + held + spent changes only by what the market puts on a contract, takes back or settles.
4. Fees (agreement, month) fall due with the first use they cover and stay due if that use fails.
5. The same question under the same contract is paid once; ended uses are numbered without a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dujiang.contract import rules, store
from dujiang.contract.model import ALLOWANCE_SPENT, CONTRACT_FREE, Allowance, Contract, Kind, Use
from dujiang.kernel.act import Tx
from dujiang.kernel.errors import Declined, Refused
from dujiang.kernel.money import Money
from dujiang.kernel.tables import Session
from dujiang.policy.model import Price


@dataclass(frozen=True, slots=True)
class Cost:
    """What one more use would hold: fees that fall due with it, and the question with all its rows."""

    price: Price
    fees: tuple[tuple[Kind, str, int], ...]
    question_minor: int
    rows_max: int

    @property
    def amount_minor(self) -> int:
        """The most the use can cost."""
        return sum(amount for _, _, amount in self.fees) + self.question_minor


@dataclass(frozen=True, slots=True)
class Line:
    """Ended uses of one kind at one price: quantity x unit = amount."""

    kind: str
    """agreement, month, question or row."""
    quantity: int
    unit_minor: int
    amount_minor: int


def line_of(kind: str, quantity: int, unit_minor: int) -> Line:
    """A line with its amount."""
    return Line(kind, quantity, unit_minor, quantity * unit_minor)


def price_of(contract: Contract) -> Price | None:
    """What a contract costs, or None."""
    return rules.pinned(contract.terms).price


def cost(db: Session, contract: Contract, what: str | None, rows_max: int, now_ms: int) -> Cost | None:
    """What one more use would hold; None where the contract is free, or the same was paid before.

    `what` None: a question that was never asked.
    """
    price = price_of(contract)
    if price is None or (what is not None and store.paid(db, contract.org, contract.id, what)):
        return None
    fees = tuple(
        fee for fee in rules.fees(price, rules.day(contract.agreed_ms), rules.day(now_ms))
        if not store.used(db, contract.org, contract.id, fee[1])
    )  # fmt: skip
    return Cost(price, fees, price.question_minor + price.row_minor * rows_max, rows_max)


@dataclass(frozen=True, slots=True)
class Charge:
    """What a use may cost under one contract, and what is there to pay it with."""

    contract: str
    currency: str
    amount_minor: int
    """The most it can cost; that much is held, and what it does not take is given back."""
    amount: str
    """The same as people write it."""
    available_minor: int
    parts: tuple[Line, ...]


def charges(
    db: Session, contracts: Sequence[Contract], what: str | None, rows_max: int, now_ms: int
) -> tuple[Charge, ...]:
    """What one more use may cost, for each contract it costs anything under."""
    found: list[Charge] = []
    for one in contracts:
        wanted = cost(db, one, what, rows_max, now_ms)
        if wanted is None or not wanted.amount_minor:
            continue
        price = wanted.price
        parts = [
            *(line_of(kind.value, 1, amount) for kind, _, amount in wanted.fees),
            line_of("question", 1, price.question_minor), line_of("row", rows_max, price.row_minor),
        ]  # fmt: skip
        text = str(Money(wanted.amount_minor, price.currency))
        available = _of(db, one, price).available_minor
        kept = tuple(part for part in parts if part.amount_minor)
        found.append(Charge(one.id, price.currency, wanted.amount_minor, text, available, kept))
    return tuple(found)


def hold_uses(
    tx: Tx, contracts: Sequence[Contract], use: str, what: str, rows_max: int, *, counted: bool = True
) -> Declined | None:
    """None, with the use counted on all contracts and paid for in advance; or why on none of them.

    `contracts`: the providers' records. `what`: equal for equal questions. `counted`: False for one that
    takes nothing new and is not counted against the terms' number of questions.
    """
    found: list[tuple[Contract, Cost | None, Allowance]] = []
    for one in contracts:
        wanted = cost(tx.db, one, what, rows_max, tx.now_ms)
        has = _of(tx.db, one, wanted.price) if wanted else Allowance("")
        if wanted and wanted.amount_minor > has.available_minor:
            needs, left = (
                Money(amount, has.currency) for amount in (wanted.amount_minor, has.available_minor)
            )
            return Declined(ALLOWANCE_SPENT, {"needs": str(needs), "left": str(left)})
        found.append((one, wanted, has))
    for one, wanted, has in found:
        if counted:
            store.count_use(tx.db, one.id)
        if wanted is not None:
            _hold(tx, one, wanted, has, use, what)
    priced = [(one.id, wanted) for one, wanted, _ in found if wanted is not None]
    if priced:
        tx.tell(
            held=[
                {
                    **_told(contract, wanted.amount_minor, wanted.price.currency),
                    "fees_minor": wanted.amount_minor - wanted.question_minor,
                }
                for contract, wanted in priced
            ]
        )
    return None


def _hold(tx: Tx, one: Contract, wanted: Cost, has: Allowance, use: str, what: str) -> None:
    fees = sum(amount for _, _, amount in wanted.fees)
    for place, (kind, name, amount) in enumerate(wanted.fees, 1):
        fee = Use(one.org, one.id, name, kind, name, tx.now_ms, 1, amount, 0, 0, 0, amount, has.ended + place)
        store.add_use(tx.db, fee, tx.now_ms)
    held = Use(
        one.org, one.id, use, Kind.question, what, tx.now_ms, 1, wanted.price.question_minor, wanted.rows_max,
        wanted.price.row_minor, wanted.question_minor,
    )  # fmt: skip
    store.add_use(tx.db, held, None)
    store.keep_allowance(
        tx.db, one.org, one.id,
        replace(
            has, available_minor=has.available_minor - fees - held.held_minor,
            held_minor=has.held_minor + held.held_minor, spent_minor=has.spent_minor + fees,
            ended=has.ended + len(wanted.fees),
        ),
    )  # fmt: skip


def _told(contract: str, amount_minor: int, currency: str) -> dict[str, object]:
    return {"contract": contract, "amount_minor": amount_minor, "currency": currency}


@dataclass(frozen=True, slots=True)
class Spent:
    """What a use has cost under one contract, or holds while it runs."""

    contract: str
    amount: str
    amount_minor: int
    currency: str
    ended: bool


def spent(db: Session, use: str) -> tuple[Spent, ...]:
    """What one use cost, or holds, under each contract that has a price; without fees."""
    found: list[Spent] = []
    for one in store.uses(db, use):
        has = store.allowance(db, one.org, one.contract)
        assert has is not None
        amount = one.held_minor if one.no is None else one.amount_minor
        text = str(Money(amount, has.currency))
        found.append(Spent(one.contract, text, amount, has.currency, one.no is not None))
    return tuple(found)


def end_use(tx: Tx, use: str, rows: int, *, done: bool) -> None:
    """Ends what a use holds on every contract: charged for its rows if done, given back if not."""
    told: list[dict[str, object]] = []
    for one in store.uses(tx.db, use):
        if one.no is not None:
            continue
        has = store.allowance(tx.db, one.org, one.contract)
        assert has is not None
        charged = done and not store.paid(tx.db, one.org, one.contract, one.what)
        ended = replace(
            one, quantity=int(charged), rows=min(rows, one.rows) if charged else 0, no=has.ended + 1
        )
        ended = replace(ended, amount_minor=ended.cost_minor)
        store.end_use(tx.db, ended, tx.now_ms)
        store.keep_allowance(
            tx.db, one.org, one.contract,
            replace(
                has, available_minor=has.available_minor + one.held_minor - ended.amount_minor,
                held_minor=has.held_minor - one.held_minor, spent_minor=has.spent_minor + ended.amount_minor,
                ended=has.ended + 1,
            ),
        )  # fmt: skip
        told.append(_told(one.contract, ended.amount_minor, has.currency))
    if told:
        tx.tell(cost=told)


def costs(
    db: Session,
) -> tuple[dict[tuple[str, str], int | None], dict[tuple[str, str], int], dict[str, int]]:
    """What uses hold (None: they ended) and what they cost, by use and contract, and each contract's fees.

    In minor units; a question's fees are not in what it holds.
    """
    held: dict[tuple[str, str], int | None] = {}
    cost: dict[tuple[str, str], int] = {}
    fees: dict[str, int] = {}
    for use, contract, kind, held_minor, amount in store.every_use(db):
        if kind is not Kind.question:
            fees[contract] = fees.get(contract, 0) + (amount or 0)
            continue
        held[use, contract] = held_minor if amount is None else None
        if amount is not None:
            cost[use, contract] = amount
    return held, cost, fees


def provided(db: Session, contract_id: str) -> Contract | None:
    """The provider's record of a contract, whoever asks: the caller judges who may."""
    return store.provided(db, contract_id)


def shown(db: Session, contract_id: str | None) -> Allowance | None:
    """The money on a contract, None where it has no price or there is no contract yet."""
    found = provided(db, contract_id) if contract_id else None
    return allowance(db, found) if found and price_of(found) else None


def allowance(db: Session, contract: Contract) -> Allowance:
    """The money on a contract, in the provider's record.

    Raises: Refused contract_free.
    """
    price = price_of(contract)
    if price is None:
        raise Refused(CONTRACT_FREE)
    return _of(db, contract, price)


def _of(db: Session, contract: Contract, price: Price) -> Allowance:
    return store.allowance(db, contract.org, contract.id) or Allowance(price.currency)


def totals(db: Session) -> dict[str, int]:
    """What every contract with an allowance holds: available, held and spent together."""
    return store.allowance_totals(db)


def put(tx: Tx, contract: Contract, amount_minor: int) -> Allowance:
    """The allowance with an amount more (or, negative, less) available.

    Raises: Refused contract_free, allowance_spent.
    """
    has = allowance(tx.db, contract)
    left = has.available_minor + amount_minor
    if left < 0:
        needs, there = Money(-amount_minor, has.currency), Money(has.available_minor, has.currency)
        raise Refused(ALLOWANCE_SPENT, needs=needs, left=there)
    return _kept(tx, contract, replace(has, available_minor=left))


def settled(tx: Tx, contract: Contract, amount_minor: int) -> Allowance:
    """The allowance after what was used is paid out: that much less is owed."""
    has = allowance(tx.db, contract)
    return _kept(tx, contract, replace(has, spent_minor=has.spent_minor - amount_minor))


def unbilled(db: Session, contract: Contract, until_ms: int) -> tuple[int, int, tuple[Line, ...]]:
    """The uses that ended before a time and stand on no bill: (last billed, last of them, lines)."""
    after = allowance(db, contract).billed
    last = store.last_use(db, contract.org, contract.id, after, until_ms)
    if last is None:
        return after, after, ()
    lines: list[Line] = []
    for kind, (unit, row, quantity, rows, amount) in store.use_sums(
        db, contract.org, contract.id, after, last
    ):
        made = [line_of(kind.value, quantity, unit), line_of("row", rows, row)]
        assert sum(line.amount_minor for line in made) == amount
        lines += [line for line in made if line.amount_minor]
    return after, last, tuple(lines)


def ended(db: Session, contract: Contract, after: int, last: int, count: int) -> list[Use]:
    """The ended uses of a contract between two numbers, at most `count`: what stands behind a bill."""
    return store.ended_uses(db, contract.org, contract.id, after, last, count)


def billed(tx: Tx, contract: Contract, last: int) -> None:
    """Says up to which number uses stand on a bill."""
    _kept(tx, contract, replace(allowance(tx.db, contract), billed=last))


def _kept(tx: Tx, contract: Contract, one: Allowance) -> Allowance:
    store.keep_allowance(tx.db, contract.org, contract.id, one)
    return one
