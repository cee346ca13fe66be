"""The Merkle tree of RFC 6962 §2.1 over tiles of 256 hashes; pure, knows no entry and no database.

1. Leaf: SHA-256(0x00 ‖ entry). Node: SHA-256(0x01 ‖ left ‖ right). Empty tree: SHA-256("").
2. Tile (level L, number n) holds up to 256 hashes of complete subtrees of 256**L leaves each.
3. A full tile's root is one hash of the level above; a partial tile is a prefix of the full one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256

WIDTH = 256
Fetch = Callable[[int, int], list[bytes]]
"""(level, tile number) -> the hashes of that tile that exist."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry (32 bytes)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def above(hashes: list[bytes]) -> list[bytes]:
    """The row above a row of hashes: the node of each pair that is complete."""
    pairs = zip(hashes[::2], hashes[1::2], strict=False)
    return [sha256(b"\x01" + left + right).digest() for left, right in pairs]


def perfect_root(hashes: list[bytes]) -> bytes:
    """The root over a power-of-two number of hashes."""
    while len(hashes) > 1:
        hashes = above(hashes)
    return hashes[0]


class Edge:
    """The right edge of a growing tree: for each level the hashes of its unfinished tile.

    The rows above these stay, too: the roots of all sizes on the way cost together what the tree does.
    """

    def __init__(self, size: int = 0, levels: list[list[bytes]] | None = None) -> None:
        self.size = size
        self._tiles = [[row] for row in levels or [[]]]

    def append(self, leaf: bytes) -> list[tuple[int, int, list[bytes]]]:
        """Adds a leaf hash; the tiles that became full by it: (level, number, 256 hashes)."""
        return self.extend([leaf])

    def extend(self, leaves: list[bytes]) -> list[tuple[int, int, list[bytes]]]:
        """Adds leaf hashes; the tiles that became full by them, as `append` says them."""
        full: list[tuple[int, int, list[bytes]]] = []
        at, level = 0, 0
        while at < len(leaves):
            row = self._tiles[0][0]
            take = leaves[at : at + WIDTH - len(row)]
            row += take
            self.size, at, level = self.size + len(take), at + len(take), 0
            while len(row) == WIDTH:
                full.append((level, self.size // WIDTH ** (level + 1) - 1, row))
                root, self._tiles[level] = _risen(self._tiles[level])[-1][0], [[]]
                level += 1
                if level == len(self._tiles):
                    self._tiles.append([[]])
                row = self._tiles[level][0]
                row.append(root)
        return full

    def partial(self) -> list[tuple[int, int, list[bytes]]]:
        """The unfinished tiles: (level, number, hashes)."""
        return [
            (level, self.size // WIDTH ** (level + 1), row)
            for level, (row, *_) in enumerate(self._tiles)
            if row
        ]

    def root(self) -> bytes:
        """The root of the whole tree."""
        if not self.size:
            return sha256(b"").digest()
        peaks: list[bytes] = []
        for rows in reversed(self._tiles):
            _risen(rows)
            # Where the first row has a bit of its length, the row of that height has a node without a sibling.
            peaks += [row[-1] for row in reversed(rows) if len(row) & 1]
        root = peaks.pop()
        while peaks:
            root = node_hash(peaks.pop(), root)
        return root


def _risen(rows: list[list[bytes]]) -> list[list[bytes]]:
    """The rows of a tile, the ones above its hashes made as long as these allow."""
    for height, row in enumerate(rows):
        if len(row) > 1 and height + 1 == len(rows):
            rows.append([])
        if len(row) > 1:
            rows[height + 1] += above(row[2 * len(rows[height + 1]) :])
    return rows


class Prover:
    """Proofs over the tree of one size, from tiles; keeps inner hashes it has computed."""

    def __init__(self, size: int, fetch: Fetch) -> None:
        self._size = size
        self._fetch = fetch
        self._tiles: dict[tuple[int, int], list[list[bytes]]] = {}

    def root(self) -> bytes:
        """The root of the tree of this size."""
        return self._range(0, self._size) if self._size else sha256(b"").digest()

    def inclusion(self, index: int) -> list[bytes]:
        """The audit path of a leaf (RFC 6962 §2.1.1), from the leaf up."""
        if not 0 <= index < self._size:
            raise ValueError("no such leaf")
        return [self._range(low, high) for low, high in _beside(index, self._size)]

    def surroundings(self, first: int, end: int) -> list[bytes]:
        """The hashes around the leaves from `first` to before `end`, from left to right.

        With the leaves themselves they give the root and the path of each: see `Stretch`.
        """
        if not 0 <= first < end <= self._size:
            raise ValueError("no such leaves")
        return [self._range(low, high) for low, high in _around(0, self._size, first, end)]

    def consistency(self, old: int) -> list[bytes]:
        """The proof that the tree of `old` leaves is a prefix (RFC 6962 §2.1.2)."""
        if not 0 < old <= self._size:
            raise ValueError("no such earlier tree")
        proof: list[bytes] = []
        low, high, whole = 0, self._size, True
        while old != high:
            middle = low + _split(high - low)
            if old <= middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low, whole = middle, False
        if not whole:
            proof.append(self._range(low, high))
        proof.reverse()
        return proof

    def _range(self, low: int, high: int) -> bytes:
        count = high - low
        if count & (count - 1):
            middle = low + _split(count)
            return node_hash(self._range(low, middle), self._range(middle, high))
        height = count.bit_length() - 1
        level, inner = divmod(height, 8)
        place = low >> (8 * level)
        rows = self._tile(level, place // WIDTH)
        return rows[inner][(place % WIDTH) >> inner]

    def _tile(self, level: int, number: int) -> list[list[bytes]]:
        """The tile's hashes and the complete inner rows above them."""
        known = self._tiles.get((level, number))
        if known is None:
            known = self._tiles[level, number] = _risen([self._fetch(level, number)])
        return known


class Stretch:
    """Leaves side by side in the tree of one size, with the hashes around them: the path of each leaf."""

    def __init__(self, size: int, first: int, leaves: list[bytes], around: list[bytes]) -> None:
        """Raises: ValueError where the hashes around are not as many as the shape of the tree asks for."""
        if not leaves or not 0 <= first <= first + len(leaves) <= size:
            raise ValueError("no such leaves")
        self._size = size
        self._first = first
        self._end = first + len(leaves)
        self._known = dict(zip(_around(0, size, first, self._end), around, strict=True))
        self._known |= {(at, at + 1): leaf for at, leaf in enumerate(leaves, first)}

    def root(self) -> bytes:
        """The root these leaves and the hashes around them give."""
        return self._range(0, self._size)

    def inclusion(self, index: int) -> list[bytes]:
        """The audit path of one of the leaves, from the leaf up."""
        if not self._first <= index < self._end:
            raise ValueError("no such leaf")
        return [self._range(low, high) for low, high in _beside(index, self._size)]

    def _range(self, low: int, high: int) -> bytes:
        known = self._known.get((low, high))
        if known is None:
            middle = low + _split(high - low)
            known = node_hash(self._range(low, middle), self._range(middle, high))
            self._known[low, high] = known
        return known


def _beside(index: int, size: int) -> list[tuple[int, int]]:
    """The subtrees beside the way from a leaf up to the root."""
    found: list[tuple[int, int]] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            found.append((middle, high))
            high = middle
        else:
            found.append((low, middle))
            low = middle
    found.reverse()
    return found


def _around(low: int, high: int, first: int, end: int) -> Iterator[tuple[int, int]]:
    """The largest subtrees within `low`..`high` that hold none of the leaves from `first` to before `end`."""
    if high <= first or low >= end:
        yield low, high
    elif low < first or high > end:
        middle = low + _split(high - low)
        yield from _around(low, middle, first, end)
        yield from _around(middle, high, first, end)


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def included(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    """Whether the audit path leads from the leaf hash to the root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, current = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            current = node_hash(sibling, current)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and current == root


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> bool:
    """Whether the tree of `old` leaves is a prefix of the tree of `new` (RFC 9162 §2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    return led_to(old, new, old_root, proof) == (old_root, new_root)


def led_to(old: int, new: int, old_root: bytes, proof: list[bytes]) -> tuple[bytes, bytes] | None:
    """The roots of both sizes that a consistency proof leads to, 0 < old < new; None if it has another length.

    Where `old` is no power of two the first root comes from the proof alone: with the true second one it is
    the root that the tree of `new` leaves has at `old`, whoever made the proof.
    """
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return None
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return None
        if place & 1 or place == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        place, last = place >> 1, last >> 1
    return (first, second) if last == 0 else None
