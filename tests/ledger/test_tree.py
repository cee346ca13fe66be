"""The tree is RFC 6962's: roots and proofs equal pymerkle's, also at tile borders; nothing else verifies."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from dujiang.ledger.tree import WIDTH, Edge, Prover, consistent, included, leaf_hash, node_hash, perfect_root

BORDERS = (1, 2, 3, 7, 8, 9, 254, 255, 256, 257, 511, 512, 513)
SIZES = st.sampled_from(BORDERS) | st.integers(1, 600)
LARGE = (65_535, 65_536, 65_537, 65_792)


class Grown:
    """A tree grown leaf by leaf, its tiles kept as a store would keep them."""

    def __init__(self, size: int) -> None:
        self.edge = Edge()
        self.tiles: dict[tuple[int, int], list[bytes]] = {}
        for index in range(size):
            for level, number, row in self.edge.append(leaf_hash(_entry(index))):
                assert len(row) == WIDTH
                self.tiles[level, number] = list(row)
        for level, number, row in self.edge.partial():
            self.tiles[level, number] = list(row)

    def prover(self, size: int) -> Prover:
        """Proofs of an earlier size from the tiles of the newest."""
        return Prover(size, lambda level, number: self.tiles.get((level, number), []))


@cache
def grown(size: int) -> Grown:
    """A tree of a size."""
    return Grown(size)


@cache
def oracle() -> InmemoryTree:
    """The same leaves in an independent implementation."""
    tree = InmemoryTree(algorithm="sha256")
    for index in range(601):
        tree.append_entry(_entry(index))
    return tree


def test_the_empty_tree() -> None:
    assert Edge().root() == sha256(b"").digest() == Prover(0, lambda *_: []).root()


@given(SIZES)
def test_roots_are_the_oracles(size: int) -> None:
    root = oracle().get_root(size)
    assert grown(size).edge.root() == root
    assert grown(600).prover(size).root() == root


@given(SIZES, st.data())
def test_inclusion_proofs_are_the_oracles(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = grown(600).prover(size).inclusion(index)
    theirs = oracle().prove_inclusion(index + 1, size).serialize()["path"]
    assert [bytes.fromhex(step) for step in theirs][1:] == path
    assert included(leaf_hash(_entry(index)), index, size, path, oracle().get_root(size))


@given(SIZES, st.data())
def test_consistency_proofs_lead_to_the_oracles_roots(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    proof = grown(600).prover(size).consistency(old)
    assert consistent(old, size, oracle().get_root(old), oracle().get_root(size), proof)
    assert proof == _subproof(old, 0, size, whole=True)


def _subproof(old: int, low: int, high: int, *, whole: bool) -> list[bytes]:
    """RFC 6962 §2.1.2 word by word (the oracle writes consistency proofs in a form of its own)."""
    size = high - low
    if old == size:
        return [] if whole else [_mth(low, high)]
    split = 1 << (size - 1).bit_length() - 1
    if old <= split:
        return [*_subproof(old, low, low + split, whole=whole), _mth(low + split, high)]
    return [*_subproof(old - split, low + split, high, whole=False), _mth(low, low + split)]


def _mth(low: int, high: int) -> bytes:
    if high - low == 1:
        return leaf_hash(_entry(low))
    split = 1 << (high - low - 1).bit_length() - 1
    return node_hash(_mth(low, low + split), _mth(low + split, high))


@given(SIZES, st.data())
def test_no_other_path_leaf_index_or_root_is_included(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path, leaf, root = (
        grown(600).prover(size).inclusion(index),
        leaf_hash(_entry(index)),
        grown(size).edge.root(),
    )
    bad = data.draw(st.binary(min_size=32, max_size=32))
    for place in range(len(path)):
        assert not included(leaf, index, size, [*path[:place], bad, *path[place + 1 :]], root)
        assert not included(leaf, index, size, [*path[:place], *path[place + 1 :]], root)
    assert not included(leaf, index, size, [*path, bad], root)
    assert not included(bad, index, size, path, root) and not included(leaf, index, size, path, bad)
    for other in {0, size - 1, size, -1, index + 1, index - 1} - {index}:
        assert not included(leaf, other, size, path, root)


@given(SIZES, st.data())
def test_no_other_proof_or_root_is_consistent(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    proof = grown(600).prover(size).consistency(old)
    before, after = grown(old).edge.root(), grown(size).edge.root()
    bad = data.draw(st.binary(min_size=32, max_size=32))
    for place in range(len(proof)):
        assert not consistent(old, size, before, after, [*proof[:place], bad, *proof[place + 1 :]])
        assert not consistent(old, size, before, after, [*proof[:place], *proof[place + 1 :]])
    assert not consistent(old, size, before, after, [*proof, bad])
    assert not consistent(old, size, bad, after, proof) and not consistent(old, size, before, bad, proof)
    assert not consistent(0, size, before, after, proof) and not consistent(
        size + 1, size, before, after, proof
    )


@given(SIZES)
def test_an_edge_read_from_tiles_goes_on_as_the_grown_one(size: int) -> None:
    tiles = grown(size).tiles
    levels: list[list[bytes]] = []
    level = 0
    while size >> (8 * level):
        place = size >> (8 * level)
        levels.append(list(tiles[level, place // WIDTH])[: place % WIDTH] if place % WIDTH else [])
        level += 1
    again, fresh = Edge(size, levels), Grown(size).edge
    for index in range(size, size + 3):
        assert again.root() == fresh.root()
        assert again.append(leaf_hash(_entry(index))) == fresh.append(leaf_hash(_entry(index)))
    assert again.partial() == fresh.partial()


@settings(max_examples=10)
@given(st.sampled_from(LARGE), st.data())
def test_three_levels_of_tiles_prove_as_two(size: int, data: st.DataObject) -> None:
    """Around 256**2 leaves, all equal, so that every complete subtree of a height has one known hash."""
    heights = [leaf_hash(b"same")]
    while len(heights) < 18:
        heights.append(node_hash(heights[-1], heights[-1]))

    def fetch(level: int, number: int) -> list[bytes]:
        return [heights[8 * level]] * max(0, min(WIDTH, (size >> (8 * level)) - number * WIDTH))

    prover = Prover(size, fetch)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.sampled_from([1, 255, 65_280, 65_535]))
    assert included(heights[0], index, size, prover.inclusion(index), prover.root())
    assert consistent(old, size, Prover(old, fetch).root(), prover.root(), prover.consistency(old))
    if size == 65_536:
        assert prover.root() == perfect_root([heights[8]] * 256) == heights[16]


@pytest.mark.parametrize("index", [-1, 9, 10])
def test_what_does_not_exist_is_not_proved(index: int) -> None:
    with pytest.raises(ValueError):
        grown(9).prover(9).inclusion(index)
    with pytest.raises(ValueError):
        grown(9).prover(9).consistency(index if index != 9 else 0)


def _entry(index: int) -> bytes:
    return f"entry {index}".encode()
