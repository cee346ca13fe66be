"""How long records are kept (留存): a policy everybody can read before it applies, and the pruning under it.

1. Leaves, tiles, checkpoints and what cosigned them are never pruned: every receipt given stays true, and the
   tree stays whole. What goes are facts and their salts; a receipt says then that they were erased.
2. Nothing is pruned before a policy was published for 30 days, nor anything younger than every policy says that
   was in force within these 30 days. No policy is shorter than 180 days.
3. Only records of other systems that belong to no contract are pruned: on all others contracts, bills, answers or
   figures stand, which are compared with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.tables import Session
from dujiang.ledger import lot, store
from dujiang.ledger.model import DAY_MS, NOTHING_TO_PRUNE, POLICY_UNPUBLISHED, RETENTION_SHORT
from dujiang.ledger.subject import names_of

RETAIN, PRUNE = "ledger.retain", "ledger.prune"
DAYS_MIN, NOTICE_DAYS = 180, 30
_DAYS_MAX = 36_500
_PRUNED_MAX, _RUNS_MAX = 20_000, 10_000


@dataclass(frozen=True, slots=True)
class Retain:
    """For how many days records are kept, from 30 days after this is published."""

    days: int
    """180 at least."""


@dataclass(frozen=True, slots=True)
class Retained:
    """The policy as published; `GET /log/policy` gives it to everybody."""

    days: int
    applies_ms: int
    """From when on something may be pruned under it."""


@dataclass(frozen=True, slots=True)
class Prune:
    """Takes the facts out of records that were kept as long as the policy says; `limit` at most, about."""

    limit: int = _PRUNED_MAX
    """Records that came in one call go together."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many records were pruned, and whether more are due."""

    pruned: int
    more: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that was published: the entry that says so."""

    entry: int
    time_ms: int
    days: int


def retain(tx: Tx, caller: Caller, ask: Retain) -> Retained:
    """Publishes for how long records are kept.

    Raises: Refused retention_short.
    """
    del caller
    if not DAYS_MIN <= ask.days <= _DAYS_MAX:
        raise Refused(RETENTION_SHORT, least=DAYS_MIN, most=_DAYS_MAX)
    tx.tell(days=ask.days)
    return Retained(ask.days, tx.now_ms + NOTICE_DAYS * DAY_MS)


def prune(tx: Tx, caller: Caller, ask: Prune) -> Pruned:
    """Prunes what is older than the policy in force says.

    Raises: Refused policy_unpublished, nothing_to_prune.
    """
    del caller
    days = days_of(policies(tx.db), tx.now_ms)
    if days is None:
        raise Refused(POLICY_UNPUBLISHED, days=NOTICE_DAYS)
    before_ms = tx.now_ms - days * DAY_MS
    most, pruned, first = max(1, min(ask.limit, _PRUNED_MAX)), 0, -1
    after = _looked_at(tx.db)
    for _ in range(_RUNS_MAX):
        run = store.run_above(tx.db, lot.ACT, after)
        if run is None or store.time_at(tx.db, run[0]) >= before_ms or pruned >= most:
            break
        after = run[0]
        if count := _pruned(tx.db, *run):
            first, pruned = (run[0] if first < 0 else first), pruned + count
    else:
        run = None
    if not pruned:
        raise Refused(NOTHING_TO_PRUNE)
    tx.tell(pruned=pruned, first=first, last=after, days=days)
    return Pruned(pruned, run is not None and store.time_at(tx.db, run[0]) < before_ms)


def _looked_at(db: Session) -> int:
    """The records up to which an earlier pruning came: nothing below is due any more."""
    # The name of an act may stand as a word of their own in anybody's records.
    below = 2**53
    while found := store.runs(db, "name", PRUNE, below, 1):
        below = found[0][0]
        record = store.entry(db, below)
        if record is not None and record.act == PRUNE:
            return int(record.facts.get("last", -1))
    return -1


def _pruned(db: Session, first: int, entries: int) -> int:
    """How many entries of a lot were pruned: all or none. Who sent them stays, as it is who may see them."""
    record = store.entry(db, first)
    if record is None or record.act != lot.ACT or "contract" in record.facts or "contract" in record.erased:
        return 0
    store.unname(db, names_of(record.facts), first)
    for index in range(first, first + entries):
        store.erase(db, index, (record.facts.keys() | set(record.erased)) - {"org"})
    return entries


def policies(db: Session) -> list[Policy]:
    """The policies that were published, the oldest first."""
    found = (store.entry(db, index) for index in store.led(db, "name", RETAIN, -1))
    return [
        Policy(each.index, each.time_ms, int(each.facts["days"]))
        for each in found
        if each is not None and each.act == RETAIN and "days" in each.facts
    ]


def days_of(published: list[Policy], now_ms: int) -> int | None:
    """For how many days records are kept now; None: nothing may be pruned yet.

    The longest of the policy that was published last before the time of notice, and of all since.
    """
    settled = [each for each in published if each.time_ms <= now_ms - NOTICE_DAYS * DAY_MS]
    if not settled:
        return None
    return max(each.days for each in (settled[-1], *published[len(settled) :]))


def document(db: Session, now_ms: int) -> str:
    """The policy for everybody, a line for each thing it says."""
    published = policies(db)
    days = days_of(published, now_ms)
    lines = [
        "dujiang-retention/1",
        "leaves for-ever",
        "records-of-contracts for-ever",
        f"records-of-other-systems {'for-ever' if days is None else f'{days} days'}",
        *(f"published {each.entry} {each.time_ms} {each.days} days" for each in published),
        f"notice {NOTICE_DAYS} days",
    ]
    return "\n".join(lines) + "\n"
