"""Acts on the log's keys: rotate one with overlap, disown one that was stolen, say which there are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.tables import Session
from dujiang.ledger import book, keyring, store
from dujiang.ledger.model import DAY_MS, NOT_OUR_KEY, OVERLAP_UNFIT, ROTATION_RUNS, LogKey
from dujiang.ledger.note import read_checkpoint

_OVERLAP_DAYS_MAX = 366
_SHOWN = ("origin", "old", "new", "until_ms", "before", "size", "root", "disowned", "beyond", "lost_key")
"""What the entries about keys open to everybody: never an organisation or a person."""


@dataclass(frozen=True, slots=True)
class Rotate:
    """A new key for the log, under the same name."""

    overlap_days: int = 30
    """For how many days the old key signs beside it, so that whoever pinned it has time to pin the new one."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """Both verifier keys, and until when both sign."""

    old: str
    new: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Disown:
    """A verifier key of the log that is not to be trusted any more."""

    vkey: str
    """As `dujiang ledger keys` lists it."""
    size: int | None = None
    """What it signed of up to so many entries stands: the newest size that others cosigned or keep a receipt of.
    None: all that this node signed with it."""


@dataclass(frozen=True, slots=True)
class Disowned:
    """From which size on the key is not trusted, and the name and verifier key of the log from now on."""

    vkey: str
    beyond: int
    origin: str
    new: str


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the log of this home."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One verifier key: it signs trees of `since` entries and more; not trusted beyond `disowned`, if that is said."""

    vkey: str
    since: int
    signs: bool
    """Whether it signed the newest checkpoint."""
    until_ms: int | None = None
    """Until when it signs beside its follower; it signs no longer where `signs` is false."""
    disowned: int | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """Every key the log ever had, the first one first, and the receipts of the entries that changed them.

    `dujiang verify --keys FILE` follows these receipts from the key you pinned to the one that signs now.
    """

    keys: tuple[Listed, ...]
    changes: tuple[dict[str, Any], ...]
    type: str = "dujiang-log-keys"
    v: int = 1


def rotate(tx: Tx, caller: Caller, ask: Rotate) -> Rotated:
    """A new key signs from this entry on, beside the old one, which vouches for it; then alone.

    Raises: Refused overlap_unfit, rotation_runs.
    """
    del caller
    if not 1 <= ask.overlap_days <= _OVERLAP_DAYS_MAX:
        raise Refused(OVERLAP_UNFIT)
    now_ms = max(tx.now_ms, store.last(tx.db)[1])
    ring = keyring.signers(store.keys(tx.db), tx.entry + 1, now_ms)
    if len(ring) > 1:
        day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime((ring[0].until_ms or 0) / 1000))
        raise Refused(ROTATION_RUNS, until=day)
    (old,) = ring
    until_ms = now_ms + ask.overlap_days * DAY_MS
    new = keyring.forge(tx.node.vault, tx.node.origin, tx.entry + 1, old.origin)
    store.end_key(tx.db, old.public, until_ms)
    store.add_key(tx.db, new)
    said = Rotated(keyring.vkey(old), keyring.vkey(new), until_ms)
    tx.tell(origin=old.origin, old=said.old, new=said.new, until_ms=until_ms)
    return said


def disown(tx: Tx, caller: Caller, ask: Disown) -> Disowned:
    """Says that a key is not trusted beyond a size. Where it still signs, the log goes on at once under a new key
    and a new name: what the thief signs from now on is of a log that has ended.

    Raises: Refused not_our_key.
    """
    del caller
    keys = store.keys(tx.db)
    stolen = next((key for key in keys if keyring.vkey(key) == ask.vkey.strip()), None)
    if stolen is None:
        raise Refused(NOT_OUR_KEY)
    head = store.checkpoint(tx.db)
    assert head is not None
    most = _reach(tx.db, keys, stolen, head[0])
    beyond = most if ask.size is None else min(ask.size, most)
    if beyond < 0 or (stolen.disowned is not None and stolen.disowned <= beyond):
        raise Refused(NOT_OUR_KEY)
    ring = keyring.signers(keys, tx.entry + 1, max(tx.now_ms, store.last(tx.db)[1]))
    store.disown_key(tx.db, stolen.public, beyond, tx.entry)
    tx.tell(disowned=keyring.vkey(stolen), beyond=beyond)
    now = ring[-1]
    if stolen in ring:
        now = keyring.forge(tx.node.vault, tx.node.origin, tx.entry + 1)
        store.add_key(tx.db, now)
        root = read_checkpoint(head[1]).root.hex()
        tx.tell(before=stolen.origin, size=head[0], root=root, new=keyring.vkey(now))
    return Disowned(keyring.vkey(stolen), beyond, now.origin, keyring.vkey(now))


def keys(tx: Tx, caller: Caller, ask: Keys) -> Known:
    """The keys of the log and what vouches for each."""
    del caller, ask
    return document(tx.db)


def document(db: Session) -> Known:
    """The keys of the log as everybody may read them."""
    known = store.keys(db)
    ring = keyring.signing(db)
    listed = tuple(
        Listed(keyring.vkey(key), key.since, key in ring, key.until_ms, key.disowned) for key in known
    )
    entries = {key.since - 1 for key in known if key.since} | {
        key.disowned_by for key in known if key.disowned_by is not None
    }
    changes: list[dict[str, Any]] = []
    for index in sorted(entries):
        record = store.entry(db, index)
        if record is not None and record.act in ("ledger.rotate", "ledger.disown", "ledger.restore"):
            fields = {name: record.facts[name] for name in _SHOWN if name in record.facts}
            changes.append(book.receipt(db, record, fields))
    return Known(listed, tuple(changes))


def _reach(db: Session, keys: list[LogKey], key: LogKey, size: int) -> int:
    """The largest size a key signed by the rules, at most `size`."""
    later = [other for other in keys if other.since > key.since]
    renamed = next((other.since - 1 for other in later if other.origin != key.origin), size)
    if key.until_ms is None or not later:
        return min(size, renamed)
    low, high = later[0].since, min(size, renamed)
    while low < high:  # the first tree whose last entry is too late for it
        middle = (low + high + 1) // 2
        record = store.entry(db, middle - 1)
        low, high = (middle, high) if record and record.time_ms < key.until_ms else (low, middle - 1)
    return low
