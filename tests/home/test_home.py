"""A home is made whole or not at all, opened by one program, and refused by name when it is broken."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dujiang import home
from dujiang.identity import acts as identity
from dujiang.kernel.act import NOBODY, NODE
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.ledger import fsck, rules
from dujiang.plugs import migrations, vault
from tests.e2e import log
from tests.life import NOON_MS

TWO = [("甲", ("operator", "provider")), ("乙", ("consumer",))]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a closed home and its key, to be copied."""
    folder = tmp_path_factory.mktemp("template")
    home.create(folder / "home", [(name, roles) for name, roles in TWO])[0].close()
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Path:
    """A closed home of this test's own."""
    subprocess.run(["cp", "-a", f"{template}/.", str(tmp_path)], check=True)
    return tmp_path / "home"


def tree(folder: Path) -> list[tuple[str, bytes]]:
    """Every file and folder below a folder."""
    return sorted(
        (str(p.relative_to(folder)), p.read_bytes() if p.is_file() else b"/") for p in folder.rglob("*")
    )


def code(call: Callable[[], Any]) -> str:
    """The code of a call that fails."""
    with pytest.raises((Refused, Unavailable)) as failed:
        call()
    assert isinstance(failed.value, (Refused, Unavailable))
    return failed.value.code.name


def opening(path: Path, **options: Any) -> str:
    """The code with which a home does not open; afterwards it is not locked."""
    found = code(lambda: home.open_home(path, wait_s=0, **options))
    if (path / "lock").exists():
        with open(path / "lock", encoding="utf-8") as lock:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return found


def test_a_new_home_has_its_organisations_log_and_key_and_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "home"
    first, organisations = home.create(path, [(name, roles) for name, roles in TWO], "Data.Example.org:8443")
    vkey = first.book.vkey
    first.close()
    assert [each["name"] for each in organisations] == ["甲", "乙"] and vkey.startswith(
        "data.example.org:8443+"
    )
    assert organisations[0]["did"].startswith("did:web:data.example.org%3A8443:org:org_")
    for place in (
        path,
        path / "files",
        path / "profiles",
        path / "state.sqlite",
        path / "lock",
        vault.key_path(path),
    ):
        assert place.stat().st_mode & 0o077 == 0, place
    with home.opened(path) as again:
        caller = again.caller_of_key(organisations[1]["api_key"])
        assert caller is not None and caller.roles == {"consumer"} and again.book.vkey == vkey
        assert again.run("identity.show", NOBODY, identity.Show("甲")).reply.name == "甲"
        receipt = again.run("identity.register", NODE, identity.Register("丙")).receipt
        assert receipt is not None and receipt["index"] == 2 and rules.verify(receipt, vkey).ok


def test_no_copy_of_the_home_holds_a_secret_in_the_clear(tmp_path: Path) -> None:
    path = tmp_path / "home"
    first, organisations = home.create(path, [("甲", ("operator",))])
    first.close()
    held = b"".join(content for _, content in tree(path))
    master = vault.read_master(path, {})
    assert organisations[0]["api_key"].encode() not in held and master not in held
    assert base64.b64encode(master) not in held


@pytest.mark.parametrize(
    ("organisations", "authority", "expected"),
    [
        ([("甲", ("operator",)), ("", ("consumer",))], None, "name_unfit"),
        ([("甲", ("operator",)), ("甲", ("consumer",))], None, "name_taken"),
        ([("甲", ("king",))], None, "role_unknown"),
        (TWO, "no host", "authority_unfit"),
        (TWO, "", "authority_unfit"),
        (TWO, "-x", "authority_unfit"),
        (TWO, "主机", "authority_unfit"),
        (TWO, "a/b", "authority_unfit"),
    ],
)
def test_a_failing_creation_leaves_exactly_what_was_there(
    tmp_path: Path, organisations: list[Any], authority: str | None, expected: str
) -> None:
    (tmp_path / "other").write_text("x")
    (tmp_path / "empty").mkdir()
    before = tree(tmp_path)
    for path in (tmp_path / "home", tmp_path / "new" / "deep" / "home", tmp_path / "empty"):
        assert code(lambda path=path: home.create(path, organisations, authority)) == expected
        assert tree(tmp_path) == before, path


def test_what_is_there_already_is_not_touched(made: Path) -> None:
    (made.parent / "full").mkdir()
    (made.parent / "full" / "x").write_text("x")
    (made.parent / "file").write_text("x")
    vault.key_path(made.parent / "orphan").write_text("a key of something else")
    before = tree(made.parent)
    for name in ("home", "full", "file", "orphan"):
        assert code(lambda name=name: home.create(made.parent / name, TWO)) == "home_exists"
    assert tree(made.parent) == before


def test_a_key_from_the_environment_leaves_a_key_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUJIANG_MASTER_KEY", base64.b64encode(b"m" * 32).decode())
    vault.key_path(tmp_path / "home").write_text("a key of something else")
    before = tree(tmp_path)
    assert code(lambda: home.create(tmp_path / "home", [("", ("operator",))])) == "name_unfit"
    assert tree(tmp_path) == before


def test_a_parent_that_cannot_hold_a_home_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    before = tree(tmp_path)
    assert code(lambda: home.create(tmp_path / "file" / "home", TWO)) in ("files_failed", "home_exists")
    assert tree(tmp_path) == before


def test_a_parent_that_may_not_be_written_is_said() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        (closed := Path(folder) / "closed").mkdir(mode=0o555)
        root = os.geteuid() == 0
        if root:  # who may write everywhere
            os.seteuid(65534)
        try:
            assert code(lambda: home.create(closed / "home", TWO)) == "files_failed"
        finally:
            if root:
                os.seteuid(0)
        assert list(closed.iterdir()) == []


def test_a_missing_home_is_missing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "home"):
        assert code(lambda path=path: home.open_home(path)) == "home_missing"
    assert tree(tmp_path) == []


def test_a_home_is_held_by_one_program_at_a_time(made: Path) -> None:
    with home.opened(made) as first:
        assert code(lambda: home.open_home(made, wait_s=0.05)) == "home_busy"
        assert home.holder(made) is None
        first.serving("http://127.0.0.1:1")
        assert home.holder(made) == "http://127.0.0.1:1"
        script = (
            "import sys; from pathlib import Path; from dujiang import home; path = Path(sys.argv[1])\n"
            "try: home.open_home(path, wait_s=0)\n"
            "except home.Refused as refused: print(refused.code.name, home.holder(path))"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(home.__file__).parents[1])}
        said = subprocess.run(
            [sys.executable, "-c", script, str(made)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.strip() == "home_busy http://127.0.0.1:1"
    assert home.holder(made) is None
    home.open_home(made, wait_s=0).close()


def test_a_home_is_waited_for(made: Path) -> None:
    import threading

    first = home.open_home(made)
    threading.Timer(0.2, first.close).start()
    home.open_home(made, wait_s=10).close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "home_broken"),
        ("{", "home_broken"),
        ("[]", "home_broken"),
        ("{}", "home_broken"),
        ('{"v": 1}', "home_broken"),
        ('{"v": "1", "authority": "a"}', "home_broken"),
        ('{"v": true, "authority": "a"}', "home_broken"),
        ('{"v": 0, "authority": "a"}', "home_broken"),
        ('{"v": 1, "authority": 7}', "home_broken"),
        ('{"v": 2, "authority": "a"}', "home_newer"),
        ("\udcff", "home_broken"),
    ],
)
def test_a_broken_or_newer_description_is_refused(made: Path, text: str, expected: str) -> None:
    (made / "home.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    before = tree(made)
    assert opening(made) == expected
    assert [item for item in tree(made) if item[0] != "lock"] == [
        item for item in before if item[0] != "lock"
    ]


def _version(path: Path, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(path / "state.sqlite")) as db:
        db.execute(sql)
        db.commit()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "home_newer"),
        ("DELETE FROM alembic_version", "home_broken"),
    ],
)
def test_a_database_of_a_newer_version_is_refused_unchanged(made: Path, sql: str, expected: str) -> None:
    _version(made, sql)
    assert opening(made) == expected
    with contextlib.closing(sqlite3.connect(made / "state.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM identity_organisation").fetchall() == [(2,)]


def test_a_home_of_an_earlier_version_is_upgraded_when_it_opens(made: Path) -> None:
    """As a home of schema 0001 lies on the disk: later tables and columns are not there yet."""
    old, now = made / "old.sqlite", made / "state.sqlite"
    migrations.upgrade(f"sqlite:///{old}", "0001")
    with contextlib.closing(sqlite3.connect(old)) as db:
        db.execute("ATTACH ? AS now", (str(now),))
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table not in ("alembic_version", "ledger_entry"):
                kept = {row[1] for row in db.execute(f"PRAGMA now.table_info({table})")}
                columns = ", ".join(
                    row[1] for row in db.execute(f"PRAGMA main.table_info({table})") if row[1] in kept
                )
                db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM now.{table}")
        entries = db.execute("SELECT idx, act, time_ms, org, facts, commitments, salts FROM now.ledger_entry")
        for index, act, time_ms, org, facts, commitments, salts in entries.fetchall():
            opening = {
                field: salts[16 * at : 16 * at + 16].hex() for at, field in enumerate(json.loads(facts))
            }
            leaf = log.leaf_of(act, time_ms, facts, commitments)
            row = (index, act, time_ms, org, leaf, facts, json.dumps(opening))
            db.execute("INSERT INTO main.ledger_entry VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        db.commit()
    for part in ("", "-wal", "-shm"):
        now.with_name(f"{now.name}{part}").unlink(missing_ok=True)
    before = old.rename(now).read_bytes()
    with home.opened(made) as again:
        assert again.run("identity.register", NODE, identity.Register("丙")).reply.name == "丙"
        with again.node.database.reading() as db:
            assert fsck.whole(db) is None
    with contextlib.closing(sqlite3.connect(now)) as db:
        assert db.execute("SELECT version_num FROM alembic_version").fetchall() == [(migrations.HEAD,)]
        assert db.execute("SELECT count(*) FROM quality_grade").fetchall() == [(0,)]
    kept = made / f"state.before-{migrations.HEAD}.sqlite"
    assert kept.read_bytes()[100:] == before[100:] and kept.stat().st_mode & 0o077 == 0


def test_an_upgrade_that_fails_is_said_and_leaves_the_database_as_it_was_beside(made: Path) -> None:
    _version(made, "UPDATE alembic_version SET version_num = '0001'")  # its later tables are there already
    assert opening(made) == "home_not_upgraded"
    assert (made / f"state.before-{migrations.HEAD}.sqlite").stat().st_size > 0


def test_a_missing_or_ruined_database_is_said(made: Path) -> None:
    (made / "state.sqlite").write_bytes(b"no database at all, " * 300)
    assert opening(made) == "database_failed"
    (made / "state.sqlite").unlink()
    assert opening(made) == "home_broken"


def _lose(key: Path) -> None:
    key.unlink()


KEYS: dict[str, Callable[[Path], object]] = {
    "missing": _lose,
    "readable by all": lambda key: key.chmod(0o644),
    "malformed": lambda key: key.write_text("x"),
    "short": lambda key: key.write_text("AAAA"),
}


@pytest.mark.parametrize("what", KEYS)
def test_a_missing_or_loose_master_key_is_unreadable(made: Path, what: str) -> None:
    KEYS[what](vault.key_path(made))
    assert opening(made) == "key_unreadable"


def test_a_master_key_of_another_home_is_unreadable_at_once_and_nothing_is_written(made: Path) -> None:
    vault.key_path(made).write_text(base64.b64encode(b"o" * 32).decode())
    before = (made / "state.sqlite").read_bytes()
    assert opening(made) == "key_unreadable"
    assert (made / "state.sqlite").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [("colour = 1", "config_unknown"), ("link_minutes = 'x'", "config_malformed"), ("=", "config_malformed")],
)
def test_settings_that_do_not_exist_or_fit_are_refused(made: Path, text: str, expected: str) -> None:
    (made / "config.toml").write_text(text)
    assert opening(made) == expected


def test_settings_of_the_home_are_its_nodes(made: Path) -> None:
    (made / "config.toml").write_text("link_minutes = 3")
    with home.opened(made) as opened:
        assert opened.node.config.link_minutes == 3


def test_a_clock_before_the_last_entry_is_told_and_the_times_go_on(made: Path) -> None:
    from dujiang.ledger import store
    from dujiang.plugs.clocks import SetClock

    with home.opened(made) as opened, opened.node.database.reading() as db:
        last_ms = store.last(db)[1]
    early = min(NOON_MS, last_ms) - 86_400_000
    with home.opened(made, clock=SetClock(early)) as opened:
        opened.run("identity.register", NODE, identity.Register("丙"))
        with opened.node.database.reading() as db:
            (entry,) = store.page(db, 2**53, 1)
    assert entry.time_ms == last_ms and entry.facts["clock_jump_ms"] == early - last_ms


def test_every_refusal_of_the_program_has_one_code() -> None:
    table = home.codes()
    assert {
        "home_missing",
        "key_unreadable",
        "disk_full",
        "busy",
        "files_failed",
        "not_found",
        "budget_spent",
    } <= set(table)
    assert all(name == found.name for name, found in table.items())
    assert json.dumps(sorted(table))
