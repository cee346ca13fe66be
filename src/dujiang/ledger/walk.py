"""A whole log re-derived from what it publishes, as a stranger would (C2SP tlog-tiles); pure, reads by a function.

1. Every bundle holds the entries its place in the tree asks for. 2. Their leaf hashes are the tiles of level 0.
3. The roots of full tiles are the tiles of the level above. 4. What is left at the right edge gives the root.
It goes from left to right once and keeps one unfinished tile of each level, whatever the size of the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dujiang.ledger.tile import HASH_BYTES, NotATile, Place, entries_of, width_in
from dujiang.ledger.tree import WIDTH, Edge, leaf_hash

Read = Callable[[Place], bytes | None]
"""The bytes of a tile or bundle, or None where there is none."""


class Broken(ValueError):
    """What is published does not hold together; its text is the first step that failed."""


@dataclass(frozen=True, slots=True)
class Roots:
    """The root of the whole tree, and the root it had at the earlier size that was asked about."""

    root: bytes
    earlier: bytes | None


def roots(size: int, read: Read, earlier: int | None = None) -> Roots:
    """The roots that the published entries give, once each tile was found to be what lies below it.

    Raises: Broken.
    """
    edge, before = Edge(), None
    for number in range((size + WIDTH - 1) // WIDTH):
        hashes = _leaves(read, Place(None, number, width_in(size, None, number)))
        if earlier is not None and 0 <= (cut := earlier - edge.size) < len(hashes):
            edge.extend(hashes[:cut])
            before, hashes = edge.root(), hashes[cut:]
        for level, place, row in edge.extend(hashes):
            _held(read, Place(level, place), row)
    for level, place, row in edge.partial():
        _held(read, Place(level, place, len(row)), row)
    root = edge.root()
    return Roots(root, root if earlier == size else before)


def _leaves(read: Read, place: Place) -> list[bytes]:
    raw = _read(read, place)
    try:
        return [leaf_hash(entry) for entry in entries_of(raw, place.width)]
    except NotATile as wrong:
        raise Broken(f"3 entries: {place.path}: {wrong}") from None


def _held(read: Read, place: Place, hashes: list[bytes]) -> None:
    """Nothing where the tile says what lies below it."""
    raw, own = _read(read, place), b"".join(hashes)
    # Where a partial tile is gone the full one is read: it begins with the same hashes.
    if raw != own and not (len(raw) == WIDTH * HASH_BYTES and raw.startswith(own)):
        raise Broken(f"4 tiles: {place.path} is not what lies below it")


def _read(read: Read, place: Place) -> bytes:
    raw = read(place)
    if raw is None and place.width < WIDTH:
        raw = read(place._replace(width=WIDTH))
    if raw is None:
        raise Broken(f"{'3 entries' if place.level is None else '4 tiles'}: {place.path} is missing")
    return raw
