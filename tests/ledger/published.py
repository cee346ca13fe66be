"""A log as a dictionary of files, made of nothing but entries, for tests of what outsiders read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from dujiang.ledger.tile import Place, bundle, places
from dujiang.ledger.tree import WIDTH, leaf_hash, perfect_root


@cache
def levels(entries: tuple[bytes, ...]) -> list[list[bytes]]:
    """All hashes of complete subtrees of 256**L leaves, by level L."""
    found = [[leaf_hash(entry) for entry in entries]]
    while len(found[-1]) >= WIDTH:
        row = found[-1]
        found.append([perfect_root(row[at : at + WIDTH]) for at in range(0, len(row) - WIDTH + 1, WIDTH)])
    return found


def log_of(entries: Sequence[bytes]) -> dict[str, bytes]:
    """Every tile and bundle of the log of these entries, by path."""
    rows = levels(tuple(entries))
    files: dict[str, bytes] = {}
    for place in places(len(entries)):
        first = place.number * WIDTH
        part = slice(first, first + place.width)
        files[place.path] = (
            bundle(entries[part]) if place.level is None else b"".join(rows[place.level][part])
        )
    return files


def entries(count: int) -> list[bytes]:
    """So many entries, of lengths from 0 up."""
    return [b"%d " % n * (n % 5) for n in range(count)]


def reader(files: dict[str, bytes]) -> Callable[[Place], bytes | None]:
    """The function that a walk reads these files by."""

    def read(place: Place) -> bytes | None:
        return files.get(place.path)

    return read
