"""What everybody may read of the log, by its address below `/log/` (C2SP tlog-tiles); the log of one home.

1. `checkpoint` is the newest signed head, `vkeys` the keys that sign it, a line each.
2. A tile or bundle is there once a committed tree has it; it never changes, nor does what is left of it.
"""

from __future__ import annotations

from dujiang.kernel.tables import Session
from dujiang.ledger import cosigning, keyring, store
from dujiang.ledger.tile import HASH_BYTES, NotATile, Place, bundle, place_of, width_in
from dujiang.ledger.tree import WIDTH

CHECKPOINT, VKEYS = "checkpoint", "vkeys"


def file(db: Session, path: str, now_ms: int, least_size: int = 0) -> bytes | None:
    """The bytes at an address, or None where there is nothing.

    `least_size`: of the checkpoint given before, so that who reads on finds a log that only grows.
    """
    if path == CHECKPOINT:
        return cosigning.published(db, now_ms, least_size)[1].encode()
    if path == VKEYS:
        return "".join(f"{key}\n" for key in (*keyring.vkeys(db), *cosigning.vkeys(db))).encode()
    try:
        place = place_of(path)
    except NotATile:
        return None
    return _entries(db, place) if place.level is None else _hashes(db, place.level, place)


def _hashes(db: Session, level: int, place: Place) -> bytes | None:
    raw = b"".join(store.tile(db, level, place.number)) if place.number < 2**48 else b""
    return raw[: place.width * HASH_BYTES] if len(raw) >= place.width * HASH_BYTES else None


def _entries(db: Session, place: Place) -> bytes | None:
    first = place.number * WIDTH
    if width_in(store.last(db)[0], None, place.number) < place.width:
        return None
    return bundle(store.leaves(db, first, place.width))
