"""The file beside a home: it keeps the newest of what was written, whatever is torn, and never speaks of another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.kernel.errors import Unavailable
from dujiang.plugs.highwater import HighWater, Mark, path_of, read, write

_PLACE = 4096


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that says how far a home has come."""
    write(tmp_path / "home.high", Mark("a home", "checkpoint 0"))
    return tmp_path / "home.high"


def test_what_was_written_last_is_read(file: Path) -> None:
    held = HighWater(file, Mark("a home", "checkpoint 0"))
    for number in range(1, 6):
        held.raise_to(f"checkpoint {number}")
        assert read(file) == Mark("a home", f"checkpoint {number}", number)
    held.close()
    found = read(file)
    assert found is not None and found.note == "checkpoint 5" and file.stat().st_mode & 0o077 == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2 * _PLACE - 1), st.integers(1, 600))
def test_a_torn_write_leaves_the_mark_before_it(
    tmp_path_factory: pytest.TempPathFactory, writes: int, at: int, length: int
) -> None:
    """Whatever is torn of the place written last, the other place still says what it said."""
    file = tmp_path_factory.mktemp("torn") / "home.high"
    write(file, Mark("a home", "checkpoint 0"))
    held = HighWater(file, Mark("a home", "checkpoint 0"))
    for number in range(1, writes + 1):
        held.raise_to(f"checkpoint {number}")
    held.close()
    raw = bytearray(file.read_bytes())
    last = _PLACE * (writes % 2)
    begin = last + at % _PLACE
    for place in range(begin, min(begin + length, last + _PLACE)):
        raw[place] ^= 0xFF
    file.write_bytes(raw)
    found = read(file)
    assert found is not None and found.note in (f"checkpoint {writes}", f"checkpoint {writes - 1}")
    if at % _PLACE < 40:
        assert found.note == f"checkpoint {writes - 1}"


def test_a_file_of_rubbish_or_none_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "none") is None
    (tmp_path / "rubbish").write_bytes(os.urandom(2 * _PLACE))
    (tmp_path / "empty").write_bytes(b"")
    assert read(tmp_path / "rubbish") is None and read(tmp_path / "empty") is None


def test_a_file_that_cannot_be_written_is_said_where_it_is_made_and_noted_where_it_is_raised(
    file: Path, tmp_path: Path
) -> None:
    for place in (tmp_path / "no" / "folder", tmp_path):
        with pytest.raises(Unavailable) as failed:
            write(place, Mark("a home", "x"))
        assert failed.value.code.name == "high_water_failed"
    with pytest.raises(Unavailable):
        HighWater(tmp_path / "none", Mark("a home", "x"))
    held = HighWater(file, Mark("a home", "checkpoint 0"))
    held.close()
    held.raise_to("checkpoint 1")  # its descriptor is closed: what is committed is committed all the same
    assert held.failed and held.note == "checkpoint 0"


def test_the_environment_may_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert path_of(tmp_path / "home") == tmp_path / "home.high"
    monkeypatch.setenv("DUJIANG_HIGH_WATER", str(tmp_path / "elsewhere"))
    assert path_of(tmp_path / "home") == tmp_path / "elsewhere"
