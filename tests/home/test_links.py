"""A home that is reached through a link is the same home: one master key, and one file that says how far it came."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dujiang import home
from dujiang.doors import backup, restore
from dujiang.doors.local import Options
from dujiang.kernel.errors import Refused
from dujiang.plugs import highwater, vault
from tests.home.test_fork import code, live, made, size

__all__ = ["made"]  # a fixture


@pytest.fixture
def link(made: Path, tmp_path: Path) -> Path:
    """Another name of the home, in a folder of its own."""
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "alias").symlink_to(made)
    return tmp_path / "links" / "alias"


def test_both_names_of_a_home_find_one_mark_and_one_key(made: Path, link: Path) -> None:
    assert highwater.path_of(link) == highwater.path_of(made) and vault.key_path(link) == vault.key_path(made)
    live(link, "乙")
    assert size(made) == size(link) == 2
    live(made, "丙")
    assert size(link) == 3 and not list(link.parent.glob("*.high"))


def test_a_copy_put_back_under_one_name_is_found_out_under_the_other(made: Path, link: Path) -> None:
    shutil.copytree(made, made.with_name("yesterday"))
    live(link, "乙")
    shutil.copy(made.with_name("yesterday") / "state.sqlite", made / "state.sqlite")
    assert code(made) == code(link) == "log_would_fork"


def test_a_home_made_through_a_link_is_found_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    home.create(tmp_path / "alias", [("甲", ("operator",))])[0].close()
    assert size(tmp_path / "real") == 1
    live(tmp_path / "real", "乙")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["alias", "real", "real.high", "real.key"]


def test_a_master_key_beside_the_link_still_opens_the_home(made: Path, link: Path) -> None:
    """As homes have it that were made through a link before both names were one."""
    vault.key_path(made).rename(link.with_name("alias.key"))
    live(link, "乙")
    assert size(made) == 2


def test_a_backup_is_put_back_to_where_a_link_leads(made: Path, link: Path, tmp_path: Path) -> None:
    backup.make(made, tmp_path / "kept")
    for each in sorted(made.rglob("*"), reverse=True):
        each.rmdir() if each.is_dir() else each.unlink()
    said = restore.restore(tmp_path / "kept")(Options(home=link)).body
    assert said["log"] == "same" and link.is_symlink() and size(link) == size(made) == 1


def test_a_home_that_is_not_there_is_refused_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refused) as refused:
        home.open_home(tmp_path / "alias", wait_s=0)
    assert refused.value.code.name == "home_missing"
