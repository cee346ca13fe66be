"""The books (账簿): money moves by whole transactions only, each in the database transaction of its act."""

from __future__ import annotations

from dujiang.identity import acts as identity
from dujiang.kernel.act import Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.money import Money
from dujiang.kernel.tables import Session
from dujiang.market import rules, store
from dujiang.market.model import (
    AMOUNT_BEYOND,
    AMOUNT_MAX,
    BALANCE_SHORT,
    SHARE_UNKNOWN,
    Account,
    Kind,
    Transaction,
)
from dujiang.policy.model import Price


def post(tx: Tx, one: Transaction) -> Transaction:
    """The transaction as it was kept, every balance it touches kept beside it.

    Raises: Refused balance_short, amount_beyond; nothing is kept then.
    """
    one = rules.balanced(one)
    for posting in one.postings:
        has = store.balance(tx.db, posting.account, one.currency)
        left = has + posting.amount_minor
        if left < 0 and posting.account.kind is not Kind.clearing:
            needs, there = Money(-posting.amount_minor, one.currency), Money(has, one.currency)
            raise Refused(BALANCE_SHORT, needs=needs, left=there)
        if abs(left) > AMOUNT_MAX:
            raise Refused(AMOUNT_BEYOND)
        store.keep_balance(tx.db, posting.account, one.currency, left)
    store.add_transaction(tx.db, one, tx.now_ms, tx.entry)
    return one


def clearing(db: Session) -> Account:
    """The mirror of the money outside."""
    return Account(identity.operator(db).id, Kind.clearing)


def recipients(db: Session, price: Price) -> dict[str, str]:
    """The organisation of each recipient a price names.

    Raises: Refused share_unknown.
    """
    found: dict[str, str] = {}
    for share in price.shares:
        org = identity.named(db, share.recipient)
        if org is None:
            raise Refused(SHARE_UNKNOWN)
        found[share.recipient] = org.id
    return found
