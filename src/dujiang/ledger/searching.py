"""Reading the log: its entries as somebody may see them, a search among them, and the replay of one life.

Nothing here says that an entry exists that the reader may not see: what is not seen is not counted either.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.ids import prefix_of
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.shape import MALFORMED
from dujiang.kernel.tables import Session
from dujiang.ledger import keyring, note, rules, store, witness_store
from dujiang.ledger.model import SOUGHT_BY_ID, TIME_UNFIT, Record
from dujiang.ledger.subject import ORGANISATION, PERSON, Ahead, Led, first_ms, names_of, own_name, sought

_OVERSEERS = frozenset({"auditor", "operator", "node"})
CONTRACT, PRODUCT = "ctr", "prd"
_WANTED_MAX = 16
"""Names of one search: each is looked for at every step."""
_LINKED_MAX = 200
"""Entries of a negotiation that are looked through for the other names of it: it is settled in fewer."""
_REPLAYED_MAX = 200
"""Steps of one page of a replay: each carries its receipt."""


Prove = Callable[[Record, Mapping[str, Any]], dict[str, Any]]
"""The receipt of a record that opens these facts."""


@dataclass(frozen=True, slots=True)
class List:
    """Which entries: newest first, below index `before`; only those naming the id `about`."""

    about: str | None = None
    """Only entries that name this id."""
    before: int | None = None
    """Only entries below this index: the `next` of the page before."""
    limit: int = 20
    """How many at most."""


@dataclass(frozen=True, slots=True)
class Search:
    """Which entries: all that is given must hold of an entry; newest first."""

    about: tuple[str, ...] = ()
    """Only entries that name each of these ids: of a contract, product, question, bill, negotiation, resource …"""
    contract: str | None = None
    product: str | None = None
    organisation: str | None = None
    """Only entries this organisation is part of."""
    person: str | None = None
    """Only entries that name this person; of your own organisation, unless you oversee the log."""
    act: str | None = None
    """Only entries of this act, such as cleanroom.ask."""
    kind: str | None = None
    """Only entries of this kind: of a message between organisations, or of attested records."""
    since: str | None = None
    """Only entries of this UTC day (2026-11-24) or instant (2026-11-24T12:00:00Z) and later."""
    until: str | None = None
    """Only entries up to this UTC day, all of it, or before this instant."""
    before: int | None = None
    """Only entries below this index: the `next` of the page before."""
    limit: int = 20
    """How many at most."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as its reader may see it."""

    index: int
    act: str
    time_ms: int
    facts: dict[str, Any]
    erased: tuple[str, ...] = ()
    """Facts that were erased: nobody can say any more what they were."""


@dataclass(frozen=True, slots=True)
class Entries:
    """A page of entries; `next` continues below it, also where this page is short."""

    items: tuple[Entry, ...]
    size: int
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """The life to replay, oldest entry first."""

    id: str
    """A question (job_…), a negotiation (neg_…), a contract (ctr_…), or any other id entries name."""
    after: int = -1
    """Only entries above this index: the `next` of the page before."""
    limit: int = 100
    """How many at most."""


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a replay: what it says, and the receipt that proves it."""

    index: int
    act: str
    time_ms: int
    facts: dict[str, Any]
    receipt: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What happened, in order; every receipt stands under the same checkpoint."""

    id: str
    names: tuple[str, ...]
    """The ids that were followed: of a negotiation both sides' ids."""
    steps: tuple[Step, ...]
    size: int
    """How many entries the checkpoint covers."""
    checkpoint: str
    vkey: str
    next: int | None = None


def list_(tx: Tx, caller: Caller, ask: List) -> Entries:
    """The entries that concern the caller's organisation; the auditor and the operator see all."""
    return _found(tx, caller, [] if ask.about is None else [ask.about], (0, ask.before), ask.limit)


def search(tx: Tx, caller: Caller, ask: Search) -> Entries:
    """The entries all that is asked for holds of, as far as the caller may see them.

    Raises: Refused time_unfit, malformed: more than 16 ids; sought_by_id: "nothing there" would be no answer to
    somebody's name.
    """
    if len(set(ask.about)) > _WANTED_MAX:
        raise Refused(MALFORMED, place="$.about")
    ids = {CONTRACT: ask.contract, PRODUCT: ask.product, ORGANISATION: ask.organisation, PERSON: ask.person}
    for prefix, given in ids.items():
        if given is not None and not given.startswith(f"{prefix}_"):
            raise Refused(SOUGHT_BY_ID, known=f"{prefix}_")
    low, high = between(tx.db, ask.since, ask.until)
    before = high if ask.before is None else min(ask.before, high)
    given = (*ids.values(), ask.act, ask.kind)
    wanted = list(dict.fromkeys([*ask.about, *(each for each in given if each is not None)]))
    return _found(tx, caller, wanted, (low, before), ask.limit)


def replay(tx: Tx, caller: Caller, ask: Replay) -> Replayed:
    """One question, negotiation or contract from its first entry on, each entry with its proof.

    Raises: Refused not_found.
    """
    names = linked(tx, caller, ask.id)
    count = max(1, min(ask.limit, _REPLAYED_MAX))
    records = list(taken(told(tx, caller, names, ask.after), count + 1))
    if not records and ask.after < 0:
        raise Refused(NOT_FOUND)
    size, signed, key, prove = head(tx.db, records[-1].index if records else ask.after)
    steps: list[Step] = []
    for record in records[:count]:
        facts = visible(record, caller)
        steps.append(Step(record.index, record.act, record.time_ms, facts, prove(record, facts)))
    more = steps[-1].index if len(records) > count else None
    return Replayed(ask.id, names, tuple(steps), size, signed, key, more)


def head(db: Session, covers: int, size: int | None = None) -> tuple[int, str, str, Prove]:
    """The newest head a witness cosigned, if it covers the entry `covers`, else the newest head; or that of `size`.

    Its size, its note with every line, the log's verifier key under it, and what proves entries under it.
    """
    at = (witness_store.cosigned_last(db, 1) if size is None else size) - 1
    if size is None and at < covers:
        at = store.last(db)[0] - 1
    size, signed, key = keyring.head_for(db, at)
    signed, line = note.with_lines(signed, witness_store.lines(db, size)), keyring.vkey(key)
    prover = store.tree(db, size)

    def prove(record: Record, fields: Mapping[str, Any]) -> dict[str, Any]:
        return rules.receipt_of(record, fields, prover.inclusion(record.index), signed, line)

    return size, signed, line, prove


def oversees(caller: Caller) -> bool:
    """Whether the caller may see the entries of all organisations."""
    return bool(caller.roles & _OVERSEERS)


def own(tx: Tx, caller: Caller, index: int) -> Record:
    """The record of an entry the caller may see.

    Raises: Refused not_found.
    """
    record = may_see(tx, caller, index)
    if record is None:
        raise Refused(NOT_FOUND)
    return record


def seen(record: Record, caller: Caller) -> Entry:
    """An entry as the caller may see it."""
    return Entry(record.index, record.act, record.time_ms, visible(record, caller), record.erased)


def _found(tx: Tx, caller: Caller, wanted: list[str], between: tuple[int, int | None], limit: int) -> Entries:
    size, _ = store.last(tx.db)
    if any("\n" in name for name in wanted):
        return Entries((), size)
    led = [_led(tx.db, "org", caller.org)] if not oversees(caller) else []
    for name in wanted:
        kind = "org" if prefix_of(name) == ORGANISATION else "name"
        hidden = prefix_of(name) == PERSON and not oversees(caller)
        led.append(_led(tx.db, kind, own_name(caller.org, name) if hidden else name))
    items: list[Entry] = []

    def keep(index: int) -> bool:
        record = store.entry(tx.db, index)
        if record is None or not all(_names(record, caller, name) for name in wanted):
            return False
        items.append(seen(record, caller))
        return True

    low, before = between
    before = size if before is None else max(0, min(before, size))
    more = sought(led, max(0, low), before, tx.node.config.rows(limit), keep)
    return Entries(tuple(items), size, more)


def _led(db: Session, kind: str, value: str) -> Led:
    return Led(partial(store.runs, db, kind, value))


def _names(record: Record, caller: Caller, name: str) -> bool:
    """Whether what the caller may see of an entry holds a name; an organisation is known by its sight."""
    if prefix_of(name) == ORGANISATION or record.act == name:
        return True
    if prefix_of(name) == PERSON and record.org != caller.org and not oversees(caller):
        return False
    return name in names_of(visible(record, caller))


def linked(tx: Tx, caller: Caller, wanted: str) -> tuple[str, ...]:
    """The names under which a life stands in the log: each side of a negotiation has an id of its own for it."""
    if prefix_of(wanted) not in ("neg", "ctr"):
        return (wanted,)
    # The messages link the two sides until there is a contract, which both name.
    found, fresh = {wanted: None}, [wanted]
    while fresh:
        for record in taken(told(tx, caller, (fresh.pop(),), -1), _LINKED_MAX):
            facts = visible(record, caller)
            linked = [facts[field] for field in ("negotiation", "contract", "message") if field in facts]
            if "negotiation" in facts:
                fresh += [name for name in linked if name not in found]
                found.update(dict.fromkeys(linked))
    return tuple(n for n in found if n == wanted or prefix_of(n) == "neg")


def told(tx: Tx, caller: Caller, names: tuple[str, ...], after: int) -> Iterator[Record]:
    """The entries above an index that name any of these and that the caller may see, oldest first."""
    for index in _led_to(tx.db, names, None if oversees(caller) else caller.org, after):
        record = may_see(tx, caller, index)
        if record is not None and any(_names(record, caller, name) for name in names):
            yield record


def _led_to(db: Session, names: tuple[str, ...], org: str | None, after: int) -> Iterator[int]:
    """The entries above an index that any of the names leads to, oldest first; of those an organisation may see.

    Its own are leapt to: what others do under a name costs nobody a look at each of it.
    """
    led = [Ahead(partial(store.run_from, db, "name", name)) for name in names]
    own = None if org is None else Ahead(partial(store.run_from, db, "org", org))
    index = after + 1
    while True:
        found = [at for each in led if (at := each.first(index)) is not None]
        if not found:
            return
        index = min(found)
        seen = index if own is None else own.first(index)
        if seen is None:
            return
        if seen == index:
            yield index
            seen += 1
        index = seen


def taken(records: Iterator[Record], count: int) -> Iterator[Record]:
    """The first of the records."""
    for record, _ in zip(records, range(count), strict=False):
        yield record


def may_see(tx: Tx, caller: Caller, index: int) -> Record | None:
    """The record of an entry, if the caller may see it."""
    record = store.entry(tx.db, index)
    if record is None or not (oversees(caller) or store.sees(tx.db, caller.org, index)):
        return None
    return record


def visible(record: Record, caller: Caller) -> dict[str, Any]:
    """The facts of a record the caller may see."""
    return rules.visible(record, caller.org, oversees=oversees(caller))


def between(db: Session, since: str | None, until: str | None) -> tuple[int, int]:
    """The first entry of a period, and the first after it: entries are in the order of their time.

    Raises: Refused time_unfit.
    """
    size, _ = store.last(db)
    found: list[int] = []
    for text, end in ((since, False), (until, True)):
        wanted = (end and 2**62) if text is None else first_ms(text, end=end)
        if wanted is None:
            raise Refused(TIME_UNFIT)
        found.append(bisect_left(range(size), wanted, key=partial(store.time_at, db)))
    return found[0], found[1]
