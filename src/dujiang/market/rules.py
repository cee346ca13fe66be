"""Rules of money, pure: how a bill's line is split, what its transactions are, whether postings balance.

1. A split is exact: by largest remainder in whole minor units, ties to the earlier share; the provider's
   part stands before the operator's, and shares stand in the order of their names.
2. Each line of a bill is settled by a transaction of its own, so that giving it back is that one reversed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

from dujiang.contract.rules import day
from dujiang.kernel.errors import Refused
from dujiang.kernel.money import Money, minor
from dujiang.market.model import (
    AMOUNT_UNFIT,
    CURRENCY_UNFIT,
    DAYS_UNFIT,
    REFERENCE_CHARACTERS_MAX,
    REFERENCE_UNFIT,
    Account,
    Bill,
    BillLine,
    Cause,
    Kind,
    Posting,
    Transaction,
)
from dujiang.policy.model import Price
from dujiang.policy.rules import normal_price

BP = 10_000
"""A whole, in 1/100 of a percent."""
_DAY_MS = 86_400_000


def money(amount: str, currency: str) -> Money:
    """The amount somebody wrote.

    Raises: Refused currency_unfit, amount_unfit.
    """
    if not re.fullmatch("[A-Z]{3}", currency, re.ASCII):
        raise Refused(CURRENCY_UNFIT)
    found = minor(amount, currency)
    if not found:
        raise Refused(AMOUNT_UNFIT)
    return Money(found, currency)


def stated(text: str) -> str:
    """A reference or reason as it is kept.

    Raises: Refused reference_unfit.
    """
    text = text.strip()
    if not 1 <= len(text) <= REFERENCE_CHARACTERS_MAX or not text.isprintable():
        raise Refused(REFERENCE_UNFIT, limit=REFERENCE_CHARACTERS_MAX)
    return text


def outside_name(cause: Cause, reference: str) -> str:
    """The name of a transaction with the world outside; one reference is one, however wide it was typed."""
    return f"{cause}:{unicodedata.normalize('NFKC', reference)}"


def period(since: str | None, until: str | None, now_ms: int) -> tuple[int, int]:
    """The times a period of days spans, the last day included: from, and the first millisecond after.

    Raises: Refused days_unfit.
    """
    try:
        first = date.fromisoformat(since) if since is not None else date(1970, 1, 1)
        last = date.fromisoformat(until) if until is not None else day(now_ms)
        after = last + timedelta(days=1)
    except (ValueError, OverflowError):
        raise Refused(DAYS_UNFIT) from None
    if first > last:
        raise Refused(DAYS_UNFIT)
    return _ms(first), _ms(after)


def _ms(one: date) -> int:
    return (one - date(1970, 1, 1)).days * _DAY_MS


def balanced(one: Transaction) -> Transaction:
    """The transaction with one posting an account, in order, zeros left out.

    Two or more postings that sum to zero are left; anything else is a bug and raises ValueError.
    """
    sums: dict[Account, int] = {}
    for posting in one.postings:
        sums[posting.account] = sums.get(posting.account, 0) + posting.amount_minor
    postings = tuple(Posting(account, amount) for account, amount in sums.items() if amount)
    if len(postings) < 2 or sum(posting.amount_minor for posting in postings):
        raise ValueError("postings do not balance")
    return replace(one, postings=postings)


def moved(
    name: str, cause: Cause, amount: Money, giver: Account, taker: Account, subject: str = "", reference: str = ""
) -> Transaction:  # fmt: skip
    """The transaction that moves an amount from one account to another."""
    postings = (Posting(giver, -amount.amount_minor), Posting(taker, amount.amount_minor))
    return Transaction(name, cause, amount.currency, postings, subject, reference)


def split(
    amount: Money, fee_bp: int, price: Price, provider: str, known: Mapping[str, str]
) -> tuple[Money, dict[str, Money]]:
    """What the operator keeps of an amount, and what each organisation earns; exact to the minor unit.

    `known`: the organisation of each recipient the price names.
    """
    earned, fee = amount.split((BP - fee_bp, fee_bp))
    shares = normal_price(price).shares
    if not shares:
        return fee, {provider: earned}
    parts = earned.split(tuple(share.weight for share in shares))
    found: dict[str, Money] = {}
    for share, part in zip(shares, parts, strict=True):
        org = known[share.recipient]
        found[org] = found[org] + part if org in found else part
    return fee, found


def settlement(
    bill: Bill, line: BillLine, price: Price, known: Mapping[str, str], operator: str
) -> Transaction:
    """The transaction that pays one line of a bill out of the contract's allowance."""
    amount = Money(line.amount_minor, bill.amount.currency)
    fee, earned = split(amount, bill.fee_bp, price, bill.org, known)
    postings = [
        Posting(Account(bill.consumer, Kind.allowance, bill.contract), -line.amount_minor),
        *(Posting(Account(org, Kind.payable), part.amount_minor) for org, part in earned.items()),
        Posting(Account(operator, Kind.platform), fee.amount_minor),
    ]
    name = settle_name(bill.id, line.line)
    return Transaction(name, Cause.settle, bill.amount.currency, tuple(postings), bill.id)


def settle_name(bill: str, line: int) -> str:
    """The name of the transaction that settles a line; used once for ever."""
    return f"settle:{bill}:{line}"


def reversal(one: Transaction, name: str, subject: str) -> Transaction:
    """The transaction that takes another one back, whole."""
    postings = tuple(Posting(posting.account, -posting.amount_minor) for posting in one.postings)
    return Transaction(name, Cause.refund, one.currency, postings, subject, reverses=one.id)


def parts(postings: Sequence[Posting]) -> dict[str, int]:
    """What each organisation earned and the operator kept, by organisation and `platform`."""
    found: dict[str, int] = {}
    for posting in postings:
        if posting.account.kind in (Kind.payable, Kind.platform):
            name = "platform" if posting.account.kind is Kind.platform else posting.account.org
            found[name] = found.get(name, 0) + posting.amount_minor
    return found
