"""The keys of the log (日志密钥) as dated facts: which of them sign a tree, and the first one of its checkpoint.

1. The newest key whose `since` the tree has reached signs it, under its name.
2. A rotated key of the same name signs beside it, and before it, while the last entry is older than its `until_ms`.
3. A key of an earlier name never signs again, nor does a disowned one beyond the size it is trusted for.
4. Size and time of the last entry decide, never the clock: whoever reads the log finds the same keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dujiang.kernel.plugs import Vault
from dujiang.kernel.tables import Session
from dujiang.ledger import note, store
from dujiang.ledger.model import LogKey

PURPOSE = "ledger"
"""What the private halves are sealed for."""


def signers(keys: Sequence[LogKey], size: int, time_ms: int) -> list[LogKey]:
    """The keys that sign the tree of `size` entries, the last of `time_ms`: the oldest first.

    `keys`: all of the log, in the order of their `since`; none sign only where there is none.
    """
    reached = [key for key in keys if key.since <= size]
    newest = reached[-1] if reached else None
    return [
        key
        for key in reached
        if newest is None
        or key is newest
        or (
            key.origin == newest.origin
            and trusted(key, size)
            and key.until_ms is not None
            and time_ms < key.until_ms
        )
    ]


def trusted(key: LogKey, size: int) -> bool:
    """Whether a checkpoint of that size by this key is to be believed."""
    return key.disowned is None or size <= key.disowned


def forge(vault: Vault, authority: str, since: int, origin: str | None = None) -> LogKey:
    """A fresh key for the log's name, or for a new name: the authority and the beginning of the key.

    Two copies of a home that go on so have two names.
    """
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    named = f"{authority}/{public[:6].hex()}" if origin is None else origin
    return LogKey(named, public, vault.seal(private.private_bytes_raw(), PURPOSE), since)


def signed(text: str, ring: Sequence[LogKey], vault: Vault) -> str:
    """The note of a checkpoint's text with the line of every key."""
    first, *others = (
        note.signed(text, key.origin, key.public, vault.sign(key.sealed, PURPOSE, text.encode()))
        for key in ring
    )
    return first + "".join(other[len(text) + 1 :] for other in others)


def holds(head: note.Checkpoint, ring: Sequence[LogKey]) -> bool:
    """Whether a checkpoint bears the name and a true signature of each of these keys."""
    return bool(ring) and all(
        head.origin == key.origin and note.signed_by(head, key.origin, key.public) for key in ring
    )


def vkey(key: LogKey) -> str:
    """The verifier key of a key in one line."""
    return note.Key(key.origin, key.public).line


def signing(db: Session) -> list[LogKey]:
    """The keys that signed the newest checkpoint, the oldest first."""
    head = store.checkpoint(db)
    return signers(store.keys(db), head[0] if head else 0, store.last(db)[1])


def vkeys(db: Session) -> list[str]:
    """The verifier keys the newest checkpoint verifies with, the oldest first."""
    return [vkey(key) for key in signing(db)]


def believed(keys: Sequence[LogKey], size: int, signed: str) -> LogKey | None:
    """The first of the log's keys that signed a checkpoint of that size and is to be believed there."""
    lines = {(name, raw[:4]) for name, raw in note.read_checkpoint(signed).signatures}
    for key in keys:
        if (key.origin, note.Key(key.origin, key.public).id) in lines and trusted(key, size):
            return key
    return None


def overview(db: Session) -> tuple[list[LogKey], list[LogKey]]:
    """The keys that signed the newest checkpoint, the oldest first, and those that are disowned."""
    return signing(db), [key for key in store.keys(db) if key.disowned is not None]


def head_for(db: Session, index: int) -> tuple[int, str, LogKey]:
    """The first checkpoint that covers an entry and that a trusted key signed: size, note and that key.

    The entry must exist. An entry that only a disowned key covers is proved under the key that came after it.
    """
    keys = store.keys(db)
    for at in (index, *(key.since - 1 for key in keys if key.since - 1 > index)):
        head = store.checkpoint(db, at)
        if head is None:
            break
        if (key := believed(keys, *head)) is not None:
            return *head, key
    raise ValueError("no checkpoint of a trusted key covers the entry")
