"""Acts of the log: list and show entries, prove one, prove that the log only grew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.kernel.tables import Session
from dujiang.ledger import book, rules, store
from dujiang.ledger import fsck as fsck_rules
from dujiang.ledger.attesting import Attest, Attested, attest, prepare_attest
from dujiang.ledger.bundle import Export, Exported, export
from dujiang.ledger.cosigning import (
    Collect,
    Cosign,
    Publish,
    collect,
    cosign,
    covering,
    prepare_cosign,
    publish,
)
from dujiang.ledger.erasing import erase as erase_facts
from dujiang.ledger.erasing import naming, unname
from dujiang.ledger.keeping import Proof, keep, kept_count, proof_of
from dujiang.ledger.model import LOG_DAMAGED, NO_SUCH_TREE, Counted, Scope, Sum
from dujiang.ledger.note import in_base64, read_checkpoint
from dujiang.ledger.rekeying import (
    Disown,
    Disowned,
    Keys,
    Known,
    Listed,
    Rotate,
    Rotated,
    disown,
    keys,
    rotate,
)
from dujiang.ledger.retaining import Prune, Pruned, Retain, Retained, prune, retain
from dujiang.ledger.searching import (
    Entries,
    Entry,
    List,
    Replay,
    Replayed,
    Search,
    Step,
    list_,
    oversees,
    own,
    replay,
    search,
    seen,
)
from dujiang.ledger.witnessing import (
    Appoint,
    Dismiss,
    Forks,
    Quorum,
    Unwatch,
    Watch,
    Witnesses,
    appoint,
    dismiss,
    forks,
    quorum,
    unwatch,
    watch,
    witnesses,
)

__all__ = [
    "Appoint", "Attest", "Attested", "Collect", "Cosign", "Dismiss", "Disown", "Disowned", "Entries", "Entry",
    "Export", "Exported", "Forks", "Keys", "Known", "List", "Listed", "Proof", "Prune", "Pruned", "Publish",
    "Quorum", "Replay", "Replayed", "Retain", "Retained", "Rotate", "Rotated", "Search", "Step", "Unwatch",
    "Watch", "Witnesses", "appoint", "attest", "collect", "cosign", "dismiss", "disown", "erase_facts",
    "export", "forks", "keep", "kept_count", "keys", "list_", "naming", "oversees", "prepare_attest",
    "prepare_cosign", "proof_of", "prune", "publish", "quorum", "replay", "retain", "rotate", "search",
    "unname", "unwatch", "watch", "witnesses",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Show:
    """The entry with index `entry`."""

    entry: int


@dataclass(frozen=True, slots=True)
class Consistency:
    """Two tree sizes, old and new (default: the newest)."""

    old: int
    new: int | None = None


@dataclass(frozen=True, slots=True)
class Grown:
    """The proof (base64, RFC 6962 §2.1.2) that the tree of `old` is a prefix of `new`, and the newest head."""

    old: int
    new: int
    old_root: str
    new_root: str
    proof: tuple[str, ...]
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Fsck:
    """The whole log in the database, against what was signed; `limit` differences are named."""

    limit: int = 100
    """How many differences at most are named; all are counted."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What was read and what of it is not what was signed; nothing is changed."""

    agrees: bool
    entries: int
    checkpoints: int
    found: int
    differences: tuple[fsck_rules.Difference, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt to keep; `dujiang verify` checks it offline."""

    receipt: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Restore:
    """The newest checkpoint of the log that an older copy of the home was put back to."""

    origin: str
    size: int
    root: str
    """In hexadecimal."""
    parties: tuple[str, ...] = ()
    """The organisations of the home: what they count on since that checkpoint may be lost."""
    lost_key: bool = False
    """Whether the old name's key is lost; no entry is lost then."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The entry is written: everybody who follows the log sees where its new name begins."""


def show(tx: Tx, caller: Caller, ask: Show) -> Entry:
    """One entry.

    Raises: Refused not_found.
    """
    return seen(own(tx, caller, ask.entry), caller)


def prove(tx: Tx, caller: Caller, ask: Show) -> Receipt:
    """The receipt of an entry, opened as far as the caller may see; under a head that witnesses cosigned, if one is.

    Raises: Refused not_found.
    """
    record = own(tx, caller, ask.entry)
    fields = rules.visible(record, caller.org, oversees=oversees(caller))
    return Receipt(book.receipt(tx.db, record, fields, covering(tx.db, record.index)))


def consistency(tx: Tx, caller: Caller, ask: Consistency) -> Grown:
    """The proof that the log only grew between two sizes.

    Raises: Refused no_such_tree; Unavailable log_damaged.
    """
    del caller
    head = store.checkpoint(tx.db)
    assert head is not None
    size, signed = head
    new = size if ask.new is None else ask.new
    if not 0 < ask.old <= new <= size:
        raise Refused(NO_SUCH_TREE, size=size)
    grown = store.tree(tx.db, new)
    try:
        proof = tuple(in_base64(step) for step in grown.consistency(ask.old))
        found = store.tree(tx.db, ask.old).root(), grown.root()
    except IndexError:
        raise Unavailable(LOG_DAMAGED) from None
    for at, root in zip((ask.old, new), found, strict=True):
        known = store.checkpoint_at(tx.db, at)
        if known is not None and read_checkpoint(known).root != root:
            raise Unavailable(LOG_DAMAGED)
    roots = [in_base64(root) for root in found]
    return Grown(ask.old, new, roots[0], roots[1], proof, signed)


def fsck(tx: Tx, caller: Caller, ask: Fsck) -> Examined:
    """Everything in which the log in the database is not the log that was signed, however much it is."""
    del caller
    found = fsck_rules.examine(tx.db, max(0, ask.limit))
    named = tuple(found.differences)
    return Examined(not found.found, found.entries, found.checkpoints, found.found, named)


def restore(tx: Tx, caller: Caller, ask: Restore) -> Restored:
    """Writes that the log goes on under a new name, and from which checkpoint of the old one."""
    del caller
    tx.tell(before=ask.origin, size=ask.size, root=ask.root, parties=list(ask.parties))
    if ask.lost_key:
        tx.tell(lost_key=True)
    return Restored()


def sums(db: Session, quantity: str, by: tuple[str, ...], bucket: str, scope: Scope) -> list[Sum]:
    """What the log counts, for the packages downstream: a quantity by columns of `Flow` and by time.

    `bucket`: day, month, or empty: together.
    """
    return store.sums(db, quantity, by, bucket, scope)


def active(db: Session, quantity: str, scope: Scope) -> tuple[int, int]:
    """How many contracts and how many products a quantity in the log comes from."""
    return store.active(db, quantity, scope)


def counted(
    db: Session, quantity: str, scope: Scope, only: Mapping[str, str], before: int | None, count: int
) -> list[Counted]:
    """The entries behind such a sum, newest first; `only` as `store.counted` takes it."""
    return store.counted(db, quantity, scope, only, store.last(db)[0] if before is None else before, count)


def size(db: Session) -> int:
    """How many entries the newest checkpoint covers."""
    head = store.checkpoint(db)
    return head[0] if head else 0
