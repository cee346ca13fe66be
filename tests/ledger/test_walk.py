"""A whole log is what its entries make it: roots are pymerkle's, and every wound is found and named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from dujiang.ledger.tile import Place, bundle
from dujiang.ledger.tree import Edge, leaf_hash
from dujiang.ledger.walk import Broken, roots
from tests.ledger.published import entries, log_of, reader

SIZES = st.sampled_from([0, 1, 2, 255, 256, 257, 511, 512, 513, 700]) | st.integers(0, 700)
SIZE = 600


def root_of(found: list[bytes]) -> bytes:
    """The root by an independent implementation."""
    tree = InmemoryTree(algorithm="sha256")
    for entry in found:
        tree.append_entry(entry)
    return tree.get_root(len(found))


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES)
def test_roots_are_the_oracles(one: int, other: int) -> None:
    earlier, size = sorted((one, other))
    found = roots(size, reader(log_of(entries(size))), earlier)
    assert found.root == root_of(entries(size)) and found.earlier == root_of(entries(earlier))


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537])
def test_three_levels_are_walked_as_two(size: int) -> None:
    edge = Edge()
    for entry in entries(size):
        edge.append(leaf_hash(entry))
    assert roots(size, reader(log_of(entries(size))), 65_280).root == edge.root()


def test_an_earlier_size_beyond_the_log_has_no_root() -> None:
    assert roots(10, reader(log_of(entries(10))), 11).earlier is None


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(log_of(entries(SIZE)))), st.data())
def test_a_flipped_bit_a_cut_a_longer_and_a_missing_file_are_each_found(
    path: str, data: st.DataObject
) -> None:
    whole = log_of(entries(SIZE))
    raw = whole[path]
    at = data.draw(st.integers(0, len(raw) - 1))
    flipped = bytes([*raw[:at], raw[at] ^ 1 << data.draw(st.integers(0, 7)), *raw[at + 1 :]])
    for wrong in (flipped, raw[:at], raw + b"\0", raw + raw, b"", None):
        files = {name: body for name, body in {**whole, path: wrong}.items() if body is not None}
        with pytest.raises(Broken):
            roots(SIZE, reader(files))


@pytest.mark.parametrize(
    ("wound", "step"),
    [
        (lambda log: log.pop("tile/entries/001"), "3 entries: tile/entries/001 is missing"),
        (lambda log: log.pop("tile/0/002.p/88"), "4 tiles: tile/0/002.p/88 is missing"),
        (
            lambda log: log.update({"tile/1/000.p/2": b"x" * 64}),
            "4 tiles: tile/1/000.p/2 is not what lies below it",
        ),
        (
            lambda log: log.update({"tile/entries/000": b"\0\1"}),
            "3 entries: tile/entries/000: an entry is cut",
        ),
        (
            lambda log: log.update({"tile/entries/000": bundle([b""])}),
            "3 entries: tile/entries/000: another number of entries",
        ),
        (
            lambda log: log.update({"tile/entries/000": log["tile/entries/001"]}),
            "4 tiles: tile/0/000 is not what lies below it",
        ),
    ],
)
def test_the_first_step_that_fails_is_named(wound: Callable[[dict[str, bytes]], object], step: str) -> None:
    files = log_of(entries(SIZE))
    wound(files)
    with pytest.raises(Broken, match=f"^{step}$"):
        roots(SIZE, reader(files))


def test_a_partial_tile_that_is_gone_is_read_from_the_full_one() -> None:
    """The log grew on, and what was partial at this size is full now."""
    files = {path: body for path, body in log_of(entries(1024)).items() if ".p/" not in path}
    whole = log_of(entries(1024))
    files["tile/1/000.p/2"] = whole["tile/1/000.p/4"][:64]
    assert roots(SIZE, reader(files)).root == root_of(entries(SIZE))
    files["tile/0/002"] = files["tile/0/002"][:-1] + b"x"
    assert roots(SIZE, reader(files)).root == root_of(entries(SIZE))
    files["tile/0/002"] = b"x" + files["tile/0/002"][1:]
    with pytest.raises(Broken):
        roots(SIZE, reader(files))


def test_it_reads_each_piece_once_and_keeps_one_unfinished_tile_of_each_level() -> None:
    asked: list[Place] = []
    files = log_of(entries(70_000))

    def read(place: Place) -> bytes | None:
        asked.append(place)
        return files.get(place.path)

    roots(70_000, read)
    assert len(asked) == len(set(asked)) == len(files)
