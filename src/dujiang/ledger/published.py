"""What everybody may read of the log, by its address below `/log/` (C2SP tlog-tiles); the log of one home.

1. `checkpoint` is the newest head (while it is fresh, the newest that the quorum cosigned), `vkeys` the keys that sign
   it and those of this node as a witness, a line each; `keys` every key of the log there was, with the receipts by
   which one follows from the other.
2. `witness-policy` says whose cosignatures its heads carry (C2SP tlog-policy); `<SHA-256 of an origin>/checkpoint` is
   the last head of another log that this node cosigned (C2SP tlog-witness). `policy` says how long records are kept.
3. A tile or bundle is there once a committed tree has it; it never changes, nor does what is left of it.
"""

from __future__ import annotations

import re

import msgspec

from dujiang.kernel.tables import Session
from dujiang.ledger import cosigning, keyring, rekeying, retaining, store, witness_store, witnessing
from dujiang.ledger.tile import HASH_BYTES, NotATile, Place, beginning, bundle, place_of, width_in
from dujiang.ledger.tree import WIDTH

CHECKPOINT, VKEYS, KEYS = "checkpoint", "vkeys", "keys"
POLICY, WITNESS_POLICY = "policy", "witness-policy"
_LAST = re.compile(r"([0-9a-f]{64})/checkpoint")
_NUMBER_MAX = 2**48


def file(db: Session, path: str, now_ms: int, least_size: int = 0) -> bytes | None:
    """The bytes at an address, or None where there is nothing.

    `least_size`: of the checkpoint given before, so that who reads on finds a log that only grows.
    """
    if path == CHECKPOINT:
        return cosigning.published(db, now_ms, least_size)[1].encode()
    if path == VKEYS:
        return "".join(f"{key}\n" for key in (*keyring.vkeys(db), *cosigning.vkeys(db))).encode()
    if path == KEYS:
        return msgspec.json.encode(rekeying.document(db)) + b"\n"
    if path == POLICY:
        return retaining.document(db, now_ms).encode()
    if path == WITNESS_POLICY:
        return witnessing.policy_text(db).encode()
    if (other := _LAST.fullmatch(path)) is not None:
        found = witness_store.watched_at(db, other[1])
        return None if found is None else found.encode()
    try:
        place = place_of(path)
    except NotATile:
        return None
    raw = piece(db, place)
    return None if raw is None else beginning(raw, place)


def changes(path: str) -> bool:
    """Whether what is at an address may be another thing later."""
    return path in (CHECKPOINT, VKEYS, KEYS, POLICY, WITNESS_POLICY) or _LAST.fullmatch(path) is not None


def piece(db: Session, place: Place) -> bytes | None:
    """All that the newest tree has of a tile or bundle; None if it has less than the place says."""
    if place.number > _NUMBER_MAX:
        return None
    if place.level is not None:
        raw = b"".join(store.tile(db, place.level, place.number))
        return raw if len(raw) >= place.width * HASH_BYTES else None
    width = width_in(store.last(db)[0], None, place.number)
    return bundle(store.leaves(db, place.number * WIDTH, width)) if width >= place.width else None
