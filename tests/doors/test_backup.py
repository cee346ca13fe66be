"""A backup holds the whole home; a restored home is that home, and never signs a second history of its log."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dujiang import home
from dujiang.doors import backup, mirror, profiles, restore, verify
from dujiang.doors.local import Answer, Options
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck, rules
from tests import life

PASSPHRASE = "十二个字符以上的一句口令"


class Place:
    """A folder with a lived-in home, its vkey and a receipt."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.into = folder, folder / "home", folder / "backup"
        with life.opened(folder) as lived:
            lived.offer()
            self.receipt: Any = lived.home.run("ledger.prove", NODE, ledger.Show(2)).reply.receipt
            self.vkey = lived.home.book.vkey
            profiles.write(self.home, lived.made)

    def backup(self, passphrase: str | None = None) -> backup.Manifest:
        """A backup of the home as it is now."""
        return backup.make(self.home, self.into, passphrase)

    def more(self) -> Any:
        """The receipt of one more entry."""
        with home.opened(self.home) as held:
            return held.run("ledger.restore", NODE, ledger.Restore("x", 1, "00")).receipt

    def lose(self) -> None:
        """The home is gone; what lies beside it is not."""
        shutil.rmtree(self.home)

    def restore(self, **wish: bool) -> Answer:
        """What the command says."""
        return restore.restore(self.into, **wish)(Options(self.home))

    def files(self) -> dict[str, bytes]:
        """What the home's registered files hold."""
        root = self.home / "files" / "tables"
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.parquet")}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place to be copied."""
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture
def place(template: Place, tmp_path: Path) -> Place:
    """A place of this test's own."""
    shutil.copytree(template.folder, tmp_path, dirs_exist_ok=True, copy_function=shutil.copy2)
    made = Place.__new__(Place)
    made.folder, made.home, made.into = tmp_path, tmp_path / "home", tmp_path / "backup"
    made.receipt, made.vkey = template.receipt, template.vkey
    return made


def code(call: Callable[[], Any]) -> str:
    """The code of a call that fails."""
    with pytest.raises((Refused, Unavailable)) as failed:
        call()
    assert isinstance(failed.value, (Refused, Unavailable))
    return failed.value.code.name


def test_a_home_that_was_lost_comes_back_whole(place: Place) -> None:
    before, known = place.files(), profiles.read(place.home)
    made = place.backup()
    assert before and set(made.files) >= {f"files/tables/{name}" for name in before}
    place.lose()
    said = place.restore().body
    assert said["log"] == "same" and said["vkey"] == place.vkey and said["entries"] == made.size
    assert place.files() == before and profiles.read(place.home) == known
    with home.opened(place.home) as held:
        assert held.caller_of_key(known[0].api_key) is not None
        assert held.run("ledger.prove", NODE, ledger.Show(2)).reply.receipt == place.receipt
        with held.node.database.reading() as db:
            assert fsck.whole(db) is None
    assert place.more()["index"] == made.size


def test_a_restore_that_would_fork_the_log_is_refused_and_a_new_name_goes_on(place: Place) -> None:
    size = place.backup().size
    lost = place.more()
    place.lose()
    assert code(place.restore) == code(lambda: place.restore(same_log=True)) == "log_would_fork"
    assert not place.home.exists()
    said = place.restore(new_log=True).body
    assert said["log"] == "new" and said["vkey"] != place.vkey and said["entries"] == size + 1
    begun = said["receipt"]
    assert begun["index"] == size == lost["index"] and rules.verify(begun, said["vkey"]).ok
    assert begun["opened"]["before"]["value"] == place.vkey.partition("+")[0]
    for receipt in (place.receipt, lost):  # also the one whose entry is lost
        assert rules.verify(receipt, place.vkey).ok and rules.verify(receipt, place.vkey).trusted
    with home.opened(place.home) as held:
        old = held.run("ledger.prove", NODE, ledger.Show(2)).reply.receipt
        assert old == place.receipt, "what the old name signed is proved under the old name"
        every = held.run("ledger.show", NODE, ledger.Show(size)).reply.facts["parties"]
        assert len(every) == len(profiles.read(place.home))
    after = place.more()
    assert after["index"] == size + 1 and rules.verify(after, said["vkey"]).ok
    assert not rules.verify(after, place.vkey).ok


def test_a_folder_that_follows_the_log_follows_it_under_its_new_name_and_verifies(place: Place) -> None:
    kept, here = place.folder / "log", Options(place.home)
    mirror.tiles(kept)(here)
    old = (kept / "checkpoint").read_bytes()
    (place.folder / "old").write_bytes(old)
    place.backup()
    place.lose()
    said = place.restore(new_log=True).body
    followed = mirror.tiles(kept)(here).body
    assert followed["origin"] == said["vkey"].partition("+")[0] != place.vkey.partition("+")[0]
    assert (kept / "vkeys").read_text("utf-8").splitlines()[0] == said["vkey"]
    known = {"vkey": [said["vkey"], place.vkey], "old": place.folder / "old"}
    found = verify.verify(str(kept), **known)(here).body
    assert found["ok"] and found["extends"] < found["size"] and found["signer"] == followed["origin"]
    alone = verify.verify(str(kept), vkey=[place.vkey])(here).body
    assert alone["step"] == "2 signature of the checkpoint"


def test_where_nothing_says_how_far_the_log_came_a_person_must(place: Place) -> None:
    place.backup()
    place.lose()
    (place.folder / "home.high").unlink()
    assert code(place.restore) == "log_end_unknown"
    assert place.restore(same_log=True).body["vkey"] == place.vkey
    assert place.more()


def test_an_older_copy_put_back_by_hand_may_go_on_in_its_place(place: Place) -> None:
    shutil.copy(place.home / "state.sqlite", place.folder / "old")
    place.more()
    shutil.copy(place.folder / "old", place.home / "state.sqlite")
    here = Options(place.home)
    assert code(lambda: home.open_home(place.home)) == "log_would_fork"
    assert code(lambda: restore.restore(same_log=True)(here)) == "log_would_fork"
    first = restore.restore(new_log=True)(here).body
    second = restore.restore(new_log=True)(here).body
    assert len({place.vkey, first["vkey"], second["vkey"]}) == 3
    assert place.more()["index"] == second["entries"]


def test_a_backup_while_the_home_is_open_is_of_one_moment(place: Place) -> None:
    with home.opened(place.home) as held:
        made = place.backup()
        held.run("ledger.restore", NODE, ledger.Restore("x", 1, "00"))
    place.lose()
    (place.folder / "home.high").unlink()
    assert place.restore(same_log=True).body["entries"] == made.size


def test_the_key_is_in_it_only_when_asked_for_and_then_under_a_passphrase(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (place.folder / "home.key").read_bytes()
    secrets = [key.strip(), *(each.api_key.encode() for each in profiles.read(place.home))]
    assert code(lambda: place.backup("short")) == "passphrase_unfit"
    place.backup(PASSPHRASE)
    held = b"".join(path.read_bytes() for path in place.into.rglob("*") if path.is_file())
    assert all(secret not in held for secret in secrets)
    assert all(path.stat().st_mode & 0o077 == 0 for path in [place.into, *place.into.rglob("*")])
    place.lose()
    (place.folder / "home.key").unlink()
    monkeypatch.setenv(backup.PASSPHRASE, PASSPHRASE + "x")
    assert code(place.restore) == "passphrase_unfit"
    monkeypatch.setenv(backup.PASSPHRASE, PASSPHRASE)
    place.restore()
    assert (place.folder / "home.key").read_bytes() == key


def test_a_backup_without_the_key_needs_it_beside_the_home(place: Place) -> None:
    place.backup()
    place.lose()
    key = place.folder / "home.key"
    key.rename(place.folder / "safe")
    assert code(place.restore) == "key_unreadable"
    (place.folder / "safe").rename(key)
    place.restore()


def _cut(file: Path) -> None:
    os.chmod(file, 0o600)
    file.write_bytes(file.read_bytes()[:-1])


def _turn(file: Path) -> None:
    os.chmod(file, 0o600)
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


def _forge(folder: Path) -> None:
    """A changed database whose hash in the manifest was changed with it."""
    _turn(folder / "state.sqlite")
    said = json.loads((folder / "manifest.json").read_text())
    said["files"]["state.sqlite"] = backup._hashed(folder / "state.sqlite")
    (folder / "manifest.json").write_text(json.dumps(said))


def _climb(folder: Path) -> None:
    said = json.loads((folder / "manifest.json").read_text())
    said["files"]["../outside"] = [0, "0" * 64]
    (folder / "manifest.json").write_text(json.dumps(said))


BROKEN: dict[str, Callable[[Path], object]] = {
    "a byte of the database": lambda folder: _turn(folder / "state.sqlite"),
    "a byte of a file": lambda folder: _turn(next(folder.rglob("plain.parquet"))),
    "the end of a file": lambda folder: _cut(next(folder.rglob("guarded.parquet"))),
    "a missing file": lambda folder: next(folder.rglob("guarded.parquet")).unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "an empty manifest": lambda folder: (folder / "manifest.json").write_text("{}"),
    "a forged manifest": _forge,
    "a path out of it": _climb,
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_backup_that_was_changed_is_refused_and_nothing_is_left(place: Place, what: str) -> None:
    place.backup()
    BROKEN[what](place.into)
    place.lose()
    before = sorted(path.name for path in place.folder.iterdir())
    assert code(place.restore) == "backup_broken"
    assert sorted(path.name for path in place.folder.iterdir()) == before


def test_a_registered_file_that_was_changed_is_not_backed_up_in_silence(place: Place) -> None:
    _turn(next((place.home / "files").rglob("plain.parquet")))
    assert code(place.backup) == "file_damaged"
    assert not place.into.exists()


def test_where_something_is_nothing_is_written(place: Place) -> None:
    place.into.mkdir()
    (place.into / "x").write_text("x")
    assert code(place.backup) == "backup_exists"
    place.into = place.home / "files" / "backup"
    assert code(place.backup) == "backup_inside"
    place.into = place.folder / "new" / "deep"
    place.backup()
    assert code(place.restore) == "home_exists"
    place.lose()
    (place.folder / "home.high").write_bytes(b"")
    with life.opened(place.folder / "other") as other:
        shutil.copy(other.home.path.with_name("home.high"), place.folder / "home.high")
    assert code(lambda: place.restore(same_log=True)) == "home_exists", "another home's file beside it"


def test_a_log_that_does_not_verify_is_not_restored(place: Place) -> None:
    db = sqlite3.connect(place.home / "state.sqlite")
    db.execute("UPDATE ledger_entry SET facts = replace(facts, 'provider', 'prouider') WHERE idx = 1")
    db.execute("UPDATE ledger_entry SET act = replace(act, 'identity', 'identitx') WHERE idx = 1")
    db.commit()
    db.close()
    place.backup()
    place.lose()
    assert code(place.restore) == "backup_broken"
