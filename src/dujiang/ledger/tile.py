"""Tiles and bundles of entries as everybody may read them (C2SP tlog-tiles); pure, knows no database and no network.

1. `tile/L/N` holds 256 hashes of 32 bytes, `tile/entries/N` 256 entries, each after its length in two bytes.
2. N is written in groups of three digits, all but the last with `x`: 1234067 is x001/x234/067.
3. The last ones of a tree are partial: `.p/W` with W hashes or entries, 0 < W < 256. Nothing has a second name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dujiang.ledger.tree import WIDTH

ENTRY_BYTES_MAX = 65_535
"""The longest entry that a length of two bytes can say."""
HASH_BYTES = 32
_LEVELS = 64
_NUMBER_DIGITS_MAX = 18
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<number>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


class NotATile(ValueError):
    """The bytes or the path are not those of a tile or bundle."""


class Place(NamedTuple):
    """Which tile, and how much of it."""

    level: int | None
    """Of hashes; None: the entries themselves."""
    number: int
    width: int = WIDTH
    """How many hashes or entries it holds."""

    @property
    def path(self) -> str:
        """Its address below the log's."""
        groups = [f"{self.number % 1000:03}"]
        rest = self.number // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03}")
            rest //= 1000
        part = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{'entries' if self.level is None else self.level}/{'/'.join(groups)}{part}"


def place_of(path: str) -> Place:
    """The place that a path names.

    Raises: NotATile: also for every other way to write the same place.
    """
    found = _PATH.fullmatch(path)
    if found is None or found["number"].startswith("x000"):
        raise NotATile("no path of a tile")
    digits = found["number"].replace("x", "").replace("/", "")
    width = int(found["width"] or WIDTH)
    level = None if found["level"] == "entries" else int(found["level"])
    if len(digits) > _NUMBER_DIGITS_MAX or (found["width"] and width >= WIDTH) or (level or 0) >= _LEVELS:
        raise NotATile("no path of a tile")
    return Place(level, int(digits), width)


def width_in(size: int, level: int | None, number: int) -> int:
    """How much of a tile a tree of `size` entries has: 0 to 256."""
    return max(0, min(WIDTH, (size >> 8 * (level or 0)) - number * WIDTH))


def places(size: int, since: int = 0) -> Iterator[Place]:
    """Every bundle and tile of a tree of `size` entries that the tree of `since` does not have, entries first."""
    for level in (None, *range((max(size, 1).bit_length() + 7) // 8)):
        shift = 8 * (level or 0)
        for number in range((since >> shift) // WIDTH, ((size >> shift) + WIDTH - 1) // WIDTH):
            if width_in(since, level, number) != (width := width_in(size, level, number)):
                yield Place(level, number, width)


def beginning(raw: bytes, place: Place) -> bytes | None:
    """As much of a tile or bundle as the place says, from one that may hold more; None if it holds less."""
    if place.level is not None:
        end = place.width * HASH_BYTES
        return raw[:end] if end <= len(raw) else None
    end = 0
    for _ in range(place.width):
        if end + 2 > len(raw):
            return None
        end += 2 + (raw[end] << 8 | raw[end + 1])
    return raw[:end] if end <= len(raw) else None


def bundle(entries: Iterable[bytes]) -> bytes:
    """Entries one after another, each after its length (2 bytes, big-endian).

    Raises: NotATile for an entry that is too long.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MAX:
            raise NotATile("an entry is too long")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def entries_of(raw: bytes, width: int) -> list[bytes]:
    """The first `width` entries of a bundle that has so many or is full.

    Raises: NotATile for another number of them, for one that is cut and for bytes that belong to none.
    """
    found: list[bytes] = []
    at, end = 0, len(raw)
    while at < end:
        start = at + 2
        at = start + (raw[start - 2] << 8 | raw[start - 1] if start <= end else end)
        if at > end:
            raise NotATile("an entry is cut")
        found.append(raw[start:at])
    if len(found) not in (width, WIDTH):
        raise NotATile("another number of entries")
    return found[:width]


def hashes_of(raw: bytes, width: int) -> list[bytes]:
    """The first `width` hashes of a tile that has so many or is full.

    Raises: NotATile for another number of them.
    """
    if len(raw) not in (width * HASH_BYTES, WIDTH * HASH_BYTES):
        raise NotATile("another number of hashes")
    return [raw[at : at + HASH_BYTES] for at in range(0, width * HASH_BYTES, HASH_BYTES)]
