"""The auditor's bundle (证据包): the entries of a contract, of an id or of a period, opened by permission.

1. Every entry is proved under one head, the first page's: later pages name its size.
2. From the first head that covered the oldest of them to that head a proof leads that the log only grew.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.ledger import keyring, store
from dujiang.ledger.model import NO_SUCH_TREE, Record
from dujiang.ledger.searching import between, head, linked, may_see, oversees, taken, told, visible
from dujiang.ledger.tree import Prover

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
    """The keys of the log that signed these heads, a line each."""
    first_size: int | None = None
    """Of the first page: the head that covered its first entry when that was written."""
    first_checkpoint: str | None = None
    consistency: tuple[str, ...] = ()
    """Base64 (RFC 6962, 2.1.2): the tree of `first_size` is a prefix of that of `size`."""
    next: int | None = None


def export(tx: Tx, caller: Caller, ask: Export) -> Exported:
    """The receipts of what was asked for, page by page, by permission.

    Raises: Refused not_found, no_such_tree, time_unfit.
    """
    size, signed, key, prove = head(tx.db, ask.size)
    if ask.size is not None and size != ask.size:
        raise Refused(NO_SUCH_TREE, size=store.last(tx.db)[0])
    low, high = between(tx.db, ask.since, ask.until)
    after, high = max(ask.after, low - 1), min(size, high)
    count = max(1, min(ask.limit, _PAGE_MAX))
    records = list(taken(_wanted(tx, caller, ask, after, high), count + 1))
    wanted = ask.contract or ask.about
    if not records and wanted is not None and ask.after < 0:
        raise Refused(NOT_FOUND)
    receipts = tuple(prove(record, visible(record, caller)) for record in records[:count])
    more = records[count - 1].index if len(records) > count else None
    if ask.after >= 0 or not records:
        return Exported(receipts, size, signed, (key,), next=more)
    first, note, old = keyring.head_for(tx.db, records[0].index)
    steps = Prover(size, partial(store.tile, tx.db)).consistency(first)
    proof = tuple(base64.b64encode(step).decode() for step in steps)
    vkeys = tuple(dict.fromkeys([keyring.vkey(old), key]))
    return Exported(receipts, size, signed, vkeys, first, note, proof, more)


def _wanted(tx: Tx, caller: Caller, ask: Export, after: int, high: int) -> Iterator[Record]:
    names = [name for name in (ask.contract, ask.about) if name is not None]
    if names:
        all_names = tuple(dict.fromkeys(each for name in names for each in linked(tx, caller, name)))
        for record in told(tx, caller, all_names, after):
            if record.index >= high:
                return
            yield record
        return
    indexes = range(after + 1, high) if oversees(caller) else store.led(tx.db, "org", caller.org, after)
    for index in indexes:
        if index >= high:
            return
        record = may_see(tx, caller, index)
        if record is not None:
            yield record
