"""What doctor finds in a home and its files: each finding breaks alone, with its way out."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dujiang import home
from dujiang.doors import backup
from dujiang.doors.doctor import examine
from dujiang.ledger import acts as ledger
from dujiang.plugs import highwater
from tests import life


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A closed home with a product and a question that waits."""
    folder = tmp_path_factory.mktemp("doctor")
    with life.opened(folder) as made:
        made.offer()
    yield folder / "home"


def found(path: Path, language: str = "en") -> dict[str, dict[str, Any]]:
    """Every finding by its name."""
    return {each["name"]: each for each in examine(path, 0, language)}


def sql(path: Path, statement: str) -> None:
    """Runs a statement on the database of a home."""
    with closing(sqlite3.connect(path / "state.sqlite")) as db:
        db.execute(statement)
        db.commit()


def test_a_home_that_is_well_has_advice_at_most(lived: Path) -> None:
    every = found(lived)
    assert all(each["ok"] for each in every.values()), every
    assert every["backup"]["fix"] and "none" in every["backup"]["detail"]
    backup.make(lived, lived.parent / "backup")
    assert not found(lived)["backup"]["fix"]
    fresh = lived / backup.LAST
    fresh.write_text('{"made_ms": 1, "entries": 1}')
    assert found(lived)["backup"]["fix"] and found(lived)["backup"]["ok"]


def test_a_home_that_is_served_is_looked_into_as_well(lived: Path) -> None:
    with home.opened(lived) as held:
        held.serving("http://127.0.0.1:1")
        every = found(lived)
    assert {"log", "high_water", "backup", "waiting", "uploads"} <= set(every) and "database" not in every
    assert all(each["ok"] for each in every.values())


def _tile(path: Path) -> None:
    sql(
        path,
        "UPDATE ledger_tile SET hashes = CAST(zeroblob(32) || substr(hashes, 33) AS BLOB) WHERE level = 0",
    )


def _signature(path: Path) -> None:
    sql(path, "UPDATE ledger_checkpoint SET note = replace(note, '\u2014 ', '\u2014 x')")


def _unreadable(path: Path) -> None:
    sql(
        path,
        "UPDATE ledger_tile SET hashes = zeroblob(32) || substr(hashes, 33) WHERE level = 0 AND number = 0",
    )


def _entry(path: Path) -> None:
    sql(path, "DELETE FROM ledger_entry WHERE idx = (SELECT max(idx) FROM ledger_entry)")


def _ahead(path: Path) -> None:
    os.utime(path / "home.json", (time.time() + 7200, time.time() + 7200))


def _unsaid(path: Path) -> None:
    highwater.path_of(path).write_bytes(b"x")


BROKEN: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a tile": ("log", _tile),
    "a tile that cannot be read": ("log", _unreadable),
    "a signature": ("log", _signature),
    "an entry that is missing": ("log", _entry),
    "a file of tomorrow": ("clock", _ahead),
    "the file beside it": ("high_water", _unsaid),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_named_with_its_way_out(lived: Path, tmp_path: Path, what: str) -> None:
    shutil.copytree(lived.parent, tmp_path / "place", copy_function=shutil.copy2)
    path = tmp_path / "place" / "home"
    name, breaking = BROKEN[what]
    assert found(path)[name]["ok"]
    breaking(path)
    for language in ("en", "zh"):
        finding = found(path, language)[name]
        assert not finding["ok"] and finding["fix"], finding


def test_what_nobody_fetched_is_told(lived: Path) -> None:
    stale = lived / "files" / "uploads" / "org_x" / "upl_x"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_bytes(b"x" * (2 << 20))
    assert found(lived)["uploads"]["fix"] is None
    os.utime(stale, (1, 1))
    told = found(lived)["uploads"]
    stale.unlink()
    assert told["ok"] and told["fix"] and "2 MB" in told["detail"]


def test_a_rotation_and_a_disowned_key_are_said(tmp_path: Path) -> None:
    with life.opened(tmp_path) as made:
        path, old = made.home.path, made.home.book.vkey
        assert "1 signs" in found(path)["keys"]["detail"] and not found(path)["keys"]["fix"]
        made.run("ledger.rotate", made.hospital, ledger.Rotate(1))
        running = found(path)["keys"]
        assert (
            running["ok"] and "2 sign, the old one until 2026-05-29" in running["detail"] and running["fix"]
        )
        made.run("ledger.disown", made.hospital, ledger.Disown(old, 4))
        assert "is disowned beyond 4 entries" in found(path)["keys"]["detail"]
        assert "仅前 4 条可信" in found(path, "zh")["keys"]["detail"]
