"""The accounts a question is charged to (隐私账户): what is decided, paid for, left, and beyond.

1. A statistic is charged once to the account of every table it is computed from, whatever asks for it again.
2. Every account is charged, or none.
"""

from __future__ import annotations

from dataclasses import dataclass

from dujiang.cleanroom import rules, store
from dujiang.cleanroom.case import Case, Part
from dujiang.cleanroom.model import BUDGET_SPENT, CEILING_REACHED, STATISTIC_CLOSED, Noise
from dujiang.cleanroom.store import Cells
from dujiang.kernel.errors import Declined
from dujiang.kernel.tables import Session
from dujiang.policy.model import Terms
from dujiang.policy.rules import ceiling_of


@dataclass(frozen=True, slots=True)
class State:
    """Where a question's statistics stand for one organisation."""

    known: dict[str, Cells]
    """Noised already, by canonical text."""
    closed: bool
    """One of them was closed."""
    unpaid: tuple[str, ...]
    """Not charged yet, sorted."""
    takes: int
    """How many the question takes of every account; exact answers take none."""


def state(db: Session, org: str, case: Case) -> State:
    """The statistics of a question as they stand for an organisation."""
    known, closed = decided(db, org, case)
    unpaid = sorted(text for text, key in case.keys.items() if not store.paid(db, org, case.version, key))
    return State(known, closed, tuple(unpaid), 0 if case.plan.noise is Noise.exact else len(unpaid))


def decided(db: Session, org: str, case: Case) -> tuple[dict[str, Cells], bool]:
    """The statistics that are decided for an organisation, and whether one of them is closed."""
    known: dict[str, Cells] = {}
    for text, key in case.keys.items():
        there, cells = store.noised(db, org, case.version, key)
        if there and cells is None:
            return known, True
        if cells is not None:
            known[text] = cells
    return known, False


def close(db: Session, org: str, case: Case) -> None:
    """Closes every statistic of a question that was not decided before."""
    for key in case.keys.values():
        store.keep_noised(db, org, case.version, key, None)


def refused(db: Session, org: str, case: Case, found: State) -> Declined | None:
    """Why the statistics may not be charged: one is closed, or an account has too little left."""
    code, short = STATISTIC_CLOSED if found.closed else None, None
    for part in case.parts:
        if code is None and (micro := part.price_micro * found.takes):
            own = store.spent_micro(db, part.offered.resource, org) + micro
            every = store.spent_micro(db, part.offered.resource, None) + micro
            if own > part.terms.statistics * part.terms.rho_micro:
                code, short = BUDGET_SPENT, part
            elif every > _ceiling(part.terms):
                code, short = CEILING_REACHED, part
    if code is None:
        return None
    remaining = left(db, org, short) if short else left_of_all(db, org, case.parts)
    return Declined(code, {"left": str(remaining or 0), "needs": str(found.takes)})


def charge(db: Session, org: str, case: Case, found: State) -> None:
    """Charges the unpaid statistics to every account, once."""
    for text in found.unpaid:
        store.pay(db, org, case.version, case.keys[text])
    for part in case.parts:
        if micro := part.price_micro * found.takes:
            store.spend(db, part.offered.resource, org, micro)


def left(db: Session, org: str, part: Part) -> int | None:
    """How many statistics an organisation may still have of a resource; None: exact answers have no account."""
    price = part.price_micro
    if not price:
        return None
    terms, resource = part.terms, part.offered.resource
    own = rules.left(terms.statistics * price, store.spent_micro(db, resource, org), price)
    return min(own, rules.left(_ceiling(terms), store.spent_micro(db, resource, None), price))


def left_of_all(db: Session, org: str, parts: tuple[Part, ...]) -> int | None:
    """How many statistics the scarcest account still has; None where none has an account."""
    found = [each for part in parts if (each := left(db, org, part)) is not None]
    return min(found, default=None)


def _ceiling(terms: Terms) -> int:
    return ceiling_of(terms) * terms.rho_micro
