"""Paths, tiles and bundles have one form each, and every other is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.ledger.tile import (
    ENTRY_BYTES_MAX,
    NotATile,
    Place,
    beginning,
    bundle,
    entries_of,
    hashes_of,
    place_of,
    places,
    width_in,
)

PLACES = st.builds(
    Place,
    st.none() | st.integers(0, 63),
    st.integers(0, 10**18 - 1) | st.integers(0, 2000),
    st.integers(1, 256),
)
SIZES = st.sampled_from([0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 65_792]) | st.integers(0, 3000)


@given(PLACES)
def test_a_place_is_read_back_from_its_path(place: Place) -> None:
    assert place_of(place.path) == place


@given(st.text("tile/0123x.pentrsW \n", max_size=40).map("tile/".__add__) | st.text(max_size=30))
def test_what_is_read_as_a_place_is_written_so(path: str) -> None:
    try:
        assert place_of(path).path == path
    except NotATile:
        return


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (Place(0, 0), "tile/0/000"),
        (Place(None, 273, 44), "tile/entries/273.p/44"),
        (Place(1, 1_234_067), "tile/1/x001/x234/067"),
        (Place(63, 1000, 1), "tile/63/x001/000.p/1"),
    ],
)
def test_the_standards_own_examples(place: Place, path: str) -> None:
    assert (place.path, place_of(path)) == (path, place)


@pytest.mark.parametrize(
    "path",
    [
        "", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000", "tile/01/000",
        "tile/64/000", "tile/-1/000", "tile/0/x000/000", "tile/0/x001", "tile/0/001/000", "tile/0/x1/000",
        "tile/0/000.p", "tile/0/000.p/", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/999", "tile/0/000.p/01",
        "tile/0/000.p/1/", "tile/0/000/", "/tile/0/000", "tile//0/000", "tile/0/../0/000", "tile/0/000\n", "tile/0/٠٠٠",
        "tile/8/0/000", "tile/entries/0", "tile/Entries/000", "TILE/0/000", "tile/0/" + "x999/" * 6 + "999",
        "tile/0/000.P/1", "tile/0/000?x=1", "tile/0/000%2ep/1", "tile/0/ 00", "tile/0/000.p/+1",
    ],
)  # fmt: skip
def test_no_place_has_a_second_name(path: str) -> None:
    with pytest.raises(NotATile):
        place_of(path)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=256))
def test_entries_are_read_back_from_their_bundle(entries: list[bytes]) -> None:
    assert entries_of(bundle(entries), len(entries)) == entries


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=20), st.data())
def test_a_bundle_that_is_cut_lengthened_or_short_of_an_entry_is_refused(
    entries: list[bytes], data: st.DataObject
) -> None:
    raw = bundle(entries)
    cut = data.draw(st.integers(0, len(raw) - 1))
    for wrong in (raw[:cut], raw + b"\0", raw + bundle([b""])):
        with pytest.raises(NotATile):
            entries_of(wrong, len(entries))


@given(st.binary(max_size=60), st.integers(1, 20))
def test_whatever_is_read_as_a_bundle_is_written_so(raw: bytes, width: int) -> None:
    try:
        assert bundle(entries_of(raw, width)) == raw
    except NotATile:
        return


def test_a_full_bundle_gives_the_entries_of_an_earlier_partial_one() -> None:
    whole = [b"%d" % n for n in range(256)]
    assert entries_of(bundle(whole), 44) == whole[:44]


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=30), st.integers(1, 40), st.booleans())
def test_the_beginning_of_a_piece_is_the_piece_of_an_earlier_tree(
    entries: list[bytes], width: int, hashed: bool
) -> None:
    row = [entry.ljust(32) for entry in entries]
    raw, part = (
        (b"".join(row), b"".join(row[:width])) if hashed else (bundle(entries), bundle(entries[:width]))
    )
    place = Place(0 if hashed else None, 0, width)
    assert beginning(raw, place) == (part if width <= len(entries) else None)
    assert beginning(raw[:-1], place._replace(width=len(entries))) is None


def test_the_longest_entry_fits_and_a_longer_one_is_refused() -> None:
    assert entries_of(bundle([b"x" * ENTRY_BYTES_MAX]), 1) == [b"x" * ENTRY_BYTES_MAX]
    with pytest.raises(NotATile):
        bundle([b"x" * (ENTRY_BYTES_MAX + 1)])


@given(st.integers(1, 256), st.integers(0, 300))
def test_a_tile_has_as_many_hashes_as_it_says_or_all(width: int, count: int) -> None:
    raw = bytes(range(32)) * count
    if count in (width, 256):
        assert hashes_of(raw, width) == [bytes(range(32))] * width
    else:
        with pytest.raises(NotATile):
            hashes_of(raw, width)
    with pytest.raises(NotATile):
        hashes_of(raw + b"\0", width)


@given(SIZES, SIZES)
def test_what_a_tree_adds_is_what_the_earlier_one_does_not_have(one: int, other: int) -> None:
    since, size = sorted((one, other))
    whole, before = set(places(size)), set(places(since))
    assert set(places(size, since)) == whole - before
    for place in whole:
        assert place.width == width_in(size, place.level, place.number)
        assert place.level is None or (size >> 8 * place.level) >= place.number * 256 + place.width
    assert {place for place in whole if place.level == 0} == {
        place._replace(level=0) for place in whole if place.level is None
    }


def test_the_tiles_of_a_tree_of_65537() -> None:
    found = [place.path for place in places(65_537)]
    assert len(found) == 2 * 257 + 1 + 1
    assert found[-3:] == ["tile/0/256.p/1", "tile/1/000", "tile/2/000.p/1"]
