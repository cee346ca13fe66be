"""What an organisation sees of its negotiations and contracts: one, a page, and the inbox (收件箱).

1. A list is of negotiations, newest first; one that led to an agreement shows that.
2. The inbox is what waits for a person of the organisation, what could not be delivered, and what others did
   since this person last looked; it is drawn from tables and the log, nothing is written for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from dujiang.catalogue import acts as catalogue
from dujiang.contract import performance, rules, store
from dujiang.contract.model import COMMENTS_MAX, DECLINED, Allowance, Contract, Negotiation, Side, State
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.ledger import acts as ledger
from dujiang.policy.model import Terms
from dujiang.policy.rules import last_day, sentence
from dujiang.policy.wire import terms_of_odrl
from dujiang.post import acts as post

_BY_ITSELF = ("terminated", "undelivered")
"""Reasons this side gave by ending it; every other reason is a request that was declined."""
_HEARD = frozenset({"request", "offer", "comment", "verify", "finalize", "terminate", "end"})
"""The messages that are news; the others are steps between these."""
_PAGE, _PAGES_MAX = 200, 5
_LAST = "~"


@dataclass(frozen=True, slots=True)
class Show:
    """A contract's or negotiation's id."""

    contract: str


@dataclass(frozen=True, slots=True)
class Change:
    """A term that is not as the product's version publishes it."""

    term: str
    published: str | None
    now: str | None


@dataclass(frozen=True, slots=True)
class Said:
    """A remark as a reader sees it."""

    side: Side
    text: str
    time_ms: int
    undelivered: bool | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A contract as its own side sees it."""

    contract: str
    state: str
    side: str
    peer: str
    peer_did: str
    product: str
    version: str
    purpose: str
    terms: str
    terms_zh: str
    terms_sha256: str
    done: bool
    """Whether nothing more happens until a person does something."""
    status: str | None = None
    last_day: str | None = None
    questions_used: int | None = None
    agreed_ms: int | None = None
    declined: dict[str, Any] | None = None
    waits_for: Side | None = None
    """The side whose person is to answer."""
    held_until: str | None = None
    """Provider alone: the day from which a held request waits."""
    undelivered: bool | None = None
    """A message to the other side was given up: `terminate` ends it."""
    changed_ms: int | None = None
    """When this side last changed it."""
    changes: tuple[Change, ...] = ()
    """What was negotiated: in `show` alone."""
    comments: tuple[Said, ...] = ()
    """Remarks of both sides, oldest first: in `show` alone."""
    allowance: Allowance | None = None
    """Money on a contract that has a price: in `show` alone."""
    kept: int | None = None
    """How many receipts of the other side's entries are kept: in `show` alone."""


@dataclass(frozen=True, slots=True)
class List:
    """A page of contracts and negotiations, newest first."""

    before: str | None = None
    """The `next` of the page before."""
    limit: int = 50
    side: Side | None = None
    """Only those in which this organisation is the provider, or the consumer."""
    state: str | None = None
    """Only in this state, of the negotiation (requested, offered, terminated, …) or the contract (active, …)."""
    waiting: bool = False
    """Only those that wait for a person of this organisation."""


@dataclass(frozen=True, slots=True)
class Contracts:
    """An organisation's contracts and negotiations; `next` continues below."""

    items: tuple[Shown, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """Below which log entry everything was looked at: the `upto` of the inbox."""

    upto: int


@dataclass(frozen=True, slots=True)
class Looked:
    """The inbox begins there from now on, for this person."""

    upto: int


@dataclass(frozen=True, slots=True)
class Inside:
    """How much of the inbox."""

    limit: int = 20
    """How many of each kind at most."""
    all: bool = False
    """Also what was looked at before."""


@dataclass(frozen=True, slots=True)
class News:
    """Something another organisation, or the node, did that concerns this one."""

    entry: int
    act: str
    kind: str | None
    """Of a message: request, offer, comment, finalize, verify (final for the provider), terminate, end."""
    time_ms: int
    about: str | None
    """The contract, negotiation or job."""
    peer: str | None
    """The other organisation."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a person is to answer: `show` has all of it."""

    contract: str
    side: Side
    """provider: a request to agree to; consumer: a counter-offer to accept."""
    peer: str
    product: str
    purpose: str
    terms: str
    terms_zh: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Inbox:
    """What waits for a person of this organisation, what was not delivered, and the news, newest first."""

    waiting: tuple[Waiting, ...]
    undelivered: tuple[Waiting, ...]
    news: tuple[News, ...]
    upto: int
    """The size of the log: what to give to `contract look`."""


def show(tx: Tx, caller: Caller, ask: Show) -> Shown:
    """A contract or a negotiation of the caller's organisation, with its terms' changes and remarks.

    Raises: Refused not_found.
    """
    one = find(tx.db, caller.org, ask.contract)
    if one is None:
        raise Refused(NOT_FOUND)
    lost = post.undelivered(tx.db, caller.org)
    (shown,) = _seen(tx, [(one, _agreement(tx.db, one))], lost)
    said = store.comments(tx.db, caller.org, one.id, 2 * COMMENTS_MAX)
    return replace(
        shown,
        changes=_changes(tx.db, one),
        comments=tuple(Said(c.side, c.text, c.time_ms, True if c.id in lost else None) for c in said),
        allowance=performance.shown(tx.db, one.contract),
        kept=ledger.kept_count(tx.db, caller.org, one.contract) if one.contract else None,
    )


def list_(tx: Tx, caller: Caller, ask: List) -> Contracts:
    """The contracts and negotiations of the caller's organisation, newest first."""
    count = tx.node.config.rows(ask.limit)
    before, side, state = ask.before or _LAST, ask.side or "", ask.state or ""
    if ask.waiting:
        today = rules.day(tx.now_ms).isoformat()
        found = store.waiting(tx.db, caller.org, before, count, today, side, state)
    else:
        found = store.page(tx.db, caller.org, before, count, side, state)
    items = _seen(tx, found, post.undelivered(tx.db, caller.org))
    return Contracts(tuple(items), found[-1][0].id if len(found) == count else None)


def inbox(tx: Tx, caller: Caller, ask: Inside) -> Inbox:
    """What waits for the caller's organisation, and what happened since this person last looked."""
    count = tx.node.config.rows(ask.limit)
    lost = post.undelivered(tx.db, caller.org)
    gone = [one for each in sorted(lost) if (one := store.negotiation(tx.db, caller.org, each)) is not None]
    stuck = [one for one in gone if not _over(one)][:count]
    today = rules.day(tx.now_ms).isoformat()
    waiting = [one for one, _ in store.waiting(tx.db, caller.org, _LAST, count, today)]
    names = identity.names(tx.db, {one.peer_did for one in (*waiting, *stuck)})
    news, size = _news(tx, caller, 0 if ask.all else store.seen(tx.db, caller.person), count)
    return Inbox(
        tuple(_waits(one, names) for one in waiting), tuple(_waits(one, names) for one in stuck), news, size
    )


def look(tx: Tx, caller: Caller, ask: Look) -> Looked:
    """Marks everything below a log entry as looked at by this person; what has not happened can not be."""
    store.see(tx.db, caller.person, max(0, min(ask.upto, ledger.size(tx.db))))
    return Looked(store.seen(tx.db, caller.person))


def find(db: Session, org: str, wanted: str) -> Negotiation | None:
    """An organisation's negotiation by its own id or by its agreement's."""
    return store.negotiation(db, org, wanted) or store.negotiation_of(db, org, wanted)


def _agreement(db: Session, one: Negotiation) -> Contract | None:
    return store.contract(db, one.org, one.contract) if one.contract else None


def _over(one: Negotiation) -> bool:
    return one.state in (State.finalized, State.terminated)


def _seen(tx: Tx, found: Iterable[tuple[Negotiation, Contract | None]], lost: frozenset[str]) -> list[Shown]:
    found = list(found)
    names = identity.names(tx.db, {one.peer_did for one, _ in found})
    return [_shown(one, contract, names, one.id in lost) for one, contract in found]


def _waits(one: Negotiation, names: dict[str, str]) -> Waiting:
    terms = terms_of_odrl(one.terms)
    return Waiting(
        one.id, one.side, names.get(one.peer_did, one.peer_did), one.product, one.purpose, sentence(terms, "en"),
        sentence(terms, "zh"), one.changed_ms,
    )  # fmt: skip


def _shown(one: Negotiation, found: Contract | None, names: dict[str, str], lost: bool) -> Shown:
    terms = terms_of_odrl(one.terms)
    rejected = one.reason is not None and one.reason not in _BY_ITSELF
    waits = rules.waits_for(one)
    over = _over(one)
    return Shown(
        found.id if found else one.id, one.state, one.side, names.get(one.peer_did, one.peer_did), one.peer_did,
        one.product, one.version, one.purpose, sentence(terms, "en"), sentence(terms, "zh"), one.terms_sha256,
        over or waits is not None or lost, found.state if found else None,
        last_day(terms, rules.day(found.agreed_ms)).isoformat() if found else None,
        found.questions_used if found else None, found.agreed_ms if found else None,
        {"code": DECLINED.name, "names": {"reason": str(one.reason)}} if rejected else None,
        waits, one.held_until if waits else None, True if lost and not over else None, one.changed_ms or None,
    )  # fmt: skip


def _changes(db: Session, one: Negotiation) -> tuple[Change, ...]:
    """The terms that are not as published; none where this home does not know the version."""
    try:
        offered = catalogue.offered_version(db, one.product, int(one.version or "0"))
    except Refused:
        return ()
    if offered.terms_sha256 == one.terms_sha256:
        return ()
    published, now = offered.terms, terms_of_odrl(one.terms)
    pairs = ((part.name, getattr(published, part.name), getattr(now, part.name)) for part in fields(Terms))
    return tuple(Change(name, _word(old), _word(new)) for name, old, new in pairs if old != new)


def _word(value: object) -> str | None:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return None if value is None else str(value)


def _news(tx: Tx, caller: Caller, since: int, count: int) -> tuple[tuple[News, ...], int]:
    """The news at or above a log entry, newest first, and the size of the log."""
    # Who oversees the log sees all of it; their inbox is their own organisation's.
    own = Caller(caller.org, caller.person)
    found: list[News] = []
    before: int | None = None
    size = 0
    for _ in range(_PAGES_MAX):
        page = ledger.list_(tx, own, ledger.List(before=before, limit=_PAGE))
        size = max(size, page.size)
        found += [_one(each) for each in page.items if each.index >= since and _is_news(each, caller.org)]
        before = page.next
        if before is None or before <= since or len(found) >= count:
            break
    found = found[:count]
    named = identity.names(tx.db, {each.peer for each in found if each.peer})
    return tuple(replace(each, peer=named.get(each.peer or "")) for each in found), size


def _is_news(entry: ledger.Entry, org: str) -> bool:
    """Whether somebody else did it and it says something: each step of others is told once, when it is heard."""
    ours = entry.facts.get("org") == org
    if entry.act == "contract.hear":
        return ours and entry.facts.get("kind") in _HEARD
    if entry.act == "cleanroom.complete":
        return ours
    return not ours and not entry.act.startswith("contract.")


def _one(entry: ledger.Entry) -> News:
    facts = entry.facts
    about = next(
        (
            facts[name]
            for name in ("contract", "negotiation", "job", "product", "grant", "resource")
            if name in facts
        ),
        None,
    )
    about = facts.get("job", about) if entry.act.startswith("cleanroom.") else about
    parties = facts.get("parties") or []
    peer = parties[0] if entry.act == "contract.hear" and parties else facts.get("org")
    return News(entry.index, entry.act, facts.get("kind"), entry.time_ms, about, peer)
