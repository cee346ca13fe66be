"""A home whose database is behind what it has answered for does not open, so it cannot sign a second history."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dujiang import home
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Refused
from dujiang.ledger import acts as ledger
from dujiang.ledger import book, note
from dujiang.plugs import highwater
from dujiang.plugs.sqlite import SqliteDatabase


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A closed home with an operator."""
    home.create(tmp_path / "home", [("甲", ("operator", "provider"))])[0].close()
    return tmp_path / "home"


def live(path: Path, *names: str) -> Any:
    """The last receipt after organisations were admitted."""
    receipt = None
    with home.opened(path) as held:
        for name in names:
            receipt = held.run("identity.register", NODE, identity.Register(name)).receipt
    return receipt


def code(path: Path) -> str:
    """The code with which a home does not open."""
    with pytest.raises(Refused) as refused:
        home.open_home(path, wait_s=0)
    return refused.value.code.name


def size(path: Path) -> int:
    """Up to where the file beside a home says its log has come."""
    mark = highwater.read(highwater.path_of(path))
    assert mark is not None
    return note.read_checkpoint(mark.note).size


def test_the_file_says_what_was_answered_for(made: Path) -> None:
    assert size(made) == 1
    with home.opened(made) as held:
        for expected in (2, 3):
            held.run("identity.register", NODE, identity.Register(f"机构{expected}"))
            assert size(made) == expected
        held.run("ledger.list", NODE, ledger.List())
        assert size(made) == 3


def test_yesterdays_database_is_refused_and_nothing_is_signed(made: Path) -> None:
    shutil.copytree(made, made.with_name("yesterday"))
    live(made, "乙", "丙")
    shutil.copy(made.with_name("yesterday") / "state.sqlite", made / "state.sqlite")
    before = (made / "state.sqlite").read_bytes()
    assert code(made) == "log_would_fork"
    assert (made / "state.sqlite").read_bytes() == before and size(made) == 3
    shutil.rmtree(made)
    shutil.copytree(made.with_name("yesterday"), made)
    assert code(made) == "log_would_fork"


def test_another_history_of_the_same_length_is_refused(made: Path) -> None:
    """Not the size is compared but the signed checkpoint."""
    shutil.copytree(made, made.with_name("copy"))
    live(made, "乙")
    kept = highwater.path_of(made).read_bytes()
    shutil.copy(made / "state.sqlite", made.with_name("ours"))
    shutil.rmtree(made)
    shutil.copytree(made.with_name("copy"), made)
    mark = highwater.read(highwater.path_of(made))
    assert mark is not None
    with_less = highwater.Mark(mark.home, _note_of(made))
    highwater.write(highwater.path_of(made), with_less)
    live(made, "丙", "丁")
    highwater.path_of(made).write_bytes(kept)
    assert code(made) == "log_would_fork"
    shutil.copy(made.with_name("ours"), made / "state.sqlite")
    live(made, "戊")


def _note_of(path: Path) -> str:
    database = SqliteDatabase(path / "state.sqlite")
    with database.reading() as db:
        signed = book.head_of(db)[0]
    database.close()
    return signed


UNKNOWN: dict[str, Callable[[Path], object]] = {
    "gone": lambda beside: beside.unlink(),
    "of another home": lambda beside: highwater.write(beside, highwater.Mark("another", "x")),
    "rubbish": lambda beside: beside.write_bytes(b"x" * 8192),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_a_home_without_its_file_is_refused(made: Path, what: str) -> None:
    UNKNOWN[what](highwater.path_of(made))
    assert code(made) == "log_end_unknown"


def test_a_copy_beside_which_nothing_lies_is_refused(made: Path) -> None:
    """Two programs on two copies would sign two roots for one size."""
    copied = made.with_name("copied")
    shutil.copytree(made, copied)
    shutil.copy(made.with_name("home.key"), made.with_name("copied.key"))
    assert code(copied) == "log_end_unknown"
    live(made, "乙")


def test_a_home_of_a_version_that_kept_no_file_gets_one(made: Path) -> None:
    described = json.loads((made / "home.json").read_text())
    del described["mark"]
    (made / "home.json").write_text(json.dumps(described))
    highwater.path_of(made).unlink()
    live(made, "乙")
    assert size(made) == 2 and json.loads((made / "home.json").read_text())["mark"]
    highwater.path_of(made).unlink()
    assert code(made) == "log_end_unknown"


def test_a_file_left_by_another_home_is_not_written_over(made: Path) -> None:
    shutil.rmtree(made)
    made.with_name("home.key").unlink()
    before = highwater.path_of(made).read_bytes()
    with pytest.raises(Refused) as refused:
        home.create(made, [("甲", ("operator",))])
    assert refused.value.code.name == "home_exists" and highwater.path_of(made).read_bytes() == before
