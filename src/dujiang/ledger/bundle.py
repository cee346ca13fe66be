"""The auditor's bundle (证据包): the entries of a contract, of an id or of a period, opened by permission.

1. Every entry is proved under one head, the first page's: later pages name its size.
2. From the first head that covered the oldest of them to that head a proof leads that the log only grew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.ledger import cosigning, keeping, keyring, store, witness_store
from dujiang.ledger.model import NO_SUCH_TREE, Record
from dujiang.ledger.searching import between, head, linked, may_see, oversees, taken, told, visible

_PAGE_MAX = 500


@dataclass(frozen=True, slots=True)
class Export:
    """Which entries: of a contract, of another id, of a period, or those of an id in a period; oldest first."""

    contract: str | None = None
    """A contract: its negotiation, its questions, its bills."""
    about: str | None = None
    """Any other id: of a question, a product, a bill."""
    since: str | None = None
    """Only entries of this UTC day (2026-11-24) or instant (2026-11-24T12:00:00Z) and later."""
    until: str | None = None
    """Only entries up to this UTC day, all of it, or before this instant."""
    after: int = -1
    """Only entries above this index: the `next` of the page before."""
    size: int | None = None
    """The size of the head they are proved under: that of the first page."""
    limit: int = _PAGE_MAX
    """How many at most."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A page of receipts under one head, and what is needed to check them."""

    receipts: tuple[dict[str, Any], ...]
    size: int
    checkpoint: str
    vkeys: tuple[str, ...]
    """The keys of the log that signed these heads, and those of its witnesses, a line each."""
    first_size: int | None = None
    """Of the first page: the head that covered its first entry when that was written."""
    first_checkpoint: str | None = None
    consistency: tuple[str, ...] = ()
    """Base64 (RFC 6962, 2.1.2): the tree of `first_size` is a prefix of that of `size`."""
    next: int | None = None
    kept: tuple[dict[str, Any], ...] = ()
    """Of the first page: the receipts of the other side's entries of the contract that the caller's side keeps."""


def export(tx: Tx, caller: Caller, ask: Export) -> Exported:
    """The receipts of what was asked for, page by page, by permission.

    Raises: Refused not_found, no_such_tree, time_unfit.
    """
    low, high = between(tx.db, ask.since, ask.until)
    names = _names(tx, caller, ask)
    if ask.size is not None and not 0 < ask.size <= store.last(tx.db)[0]:
        raise Refused(NO_SUCH_TREE, size=store.last(tx.db)[0])
    size, signed, key, prove = head(tx.db, _last(tx, names, high), ask.size)
    if ask.size is not None and size != ask.size:
        raise Refused(NO_SUCH_TREE, size=store.last(tx.db)[0])
    after, high = max(ask.after, low - 1), min(size, high)
    count = max(1, min(ask.limit, _PAGE_MAX))
    records = list(taken(_wanted(tx, caller, names, after, high), count + 1))
    if not records and names and ask.after < 0:
        raise Refused(NOT_FOUND)
    receipts = tuple(prove(record, visible(record, caller)) for record in records[:count])
    more = records[count - 1].index if len(records) > count else None
    if ask.after >= 0 or not records:
        return Exported(receipts, size, signed, (key,), next=more)
    first, old_note, old = keyring.head_for(tx.db, records[0].index)
    proof = tuple(cosigning.growth(tx.db, first, size))
    others = [line for each in witness_store.witnesses(tx.db) for line in each.vkeys.split()]
    held = keeping.kept(tx.db, caller.org, ask.contract) if ask.contract else ()
    signed_by = [str(each["vkey"]) for each in held]
    vkeys = tuple(dict.fromkeys([keyring.vkey(old), key, *signed_by, *cosigning.vkeys(tx.db), *others]))
    return Exported(receipts, size, signed, vkeys, first, old_note, proof, more, held)


def _names(tx: Tx, caller: Caller, ask: Export) -> tuple[str, ...]:
    named = [name for name in (ask.contract, ask.about) if name is not None]
    return tuple(dict.fromkeys(each for name in named for each in linked(tx, caller, name)))


def _last(tx: Tx, names: tuple[str, ...], high: int) -> int:
    """The newest entry there can be among what is asked for."""
    if not names:
        return high - 1
    newest = [run for name in names for run in store.runs(tx.db, "name", name, high, 1)]
    return min(high, max((first + entries for first, entries in newest), default=0)) - 1


def _wanted(tx: Tx, caller: Caller, names: tuple[str, ...], after: int, high: int) -> Iterator[Record]:
    if names:
        found = told(tx, caller, names, after)
    else:
        indexes = range(after + 1, high) if oversees(caller) else store.led(tx.db, "org", caller.org, after)
        found = (record for index in indexes if (record := may_see(tx, caller, index)) is not None)
    for record in found:
        if record.index >= high:
            return
        yield record
