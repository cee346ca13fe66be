"""RFC 6962 §2.1 word for word, by recursion over all leaves: slow, and of one mind with nobody else's code."""

from __future__ import annotations

from functools import cache
from hashlib import sha256


class Leaves:
    """A tree as the list of its leaf hashes; what is under a range of them is computed once."""

    def __init__(self, entries: list[bytes]) -> None:
        self._hashes = [sha256(b"\x00" + entry).digest() for entry in entries]
        self._under = cache(self._root_of)

    def root(self, size: int) -> bytes:
        """MTH of the first `size` leaves."""
        return self._under(0, size)

    def path(self, index: int, size: int) -> list[bytes]:
        """PATH(index, D[size]), §2.1.1."""
        return self._path(index, 0, size)

    def proof(self, old: int, size: int) -> list[bytes]:
        """PROOF(old, D[size]), §2.1.2."""
        return self._subproof(old, 0, size, True)

    def _root_of(self, low: int, high: int) -> bytes:
        if high == low:
            return sha256(b"").digest()
        if high - low == 1:
            return self._hashes[low]
        half = _below(high - low)
        return sha256(b"\x01" + self._under(low, low + half) + self._under(low + half, high)).digest()

    def _path(self, index: int, low: int, high: int) -> list[bytes]:
        if high - low == 1:
            return []
        half = low + _below(high - low)
        if index < half:
            return [*self._path(index, low, half), self._under(half, high)]
        return [*self._path(index, half, high), self._under(low, half)]

    def _subproof(self, old: int, low: int, high: int, whole: bool) -> list[bytes]:
        if old == high:
            return [] if whole else [self._under(low, high)]
        half = low + _below(high - low)
        if old <= half:
            return [*self._subproof(old, low, half, whole), self._under(half, high)]
        return [*self._subproof(old, half, high, False), self._under(low, half)]


def _below(count: int) -> int:
    """The largest power of two smaller than `count`."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power
