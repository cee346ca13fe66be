"""A home whose state lies in PostgreSQL: made, opened by one program, grown out of a file and back into one."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dujiang import home
from dujiang.doors import backup, profiles, restore
from dujiang.doors.doctor import examine
from dujiang.doors.local import Options
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck, rules
from dujiang.plugs import databases, migrations, postgres
from tests import cluster, life

ONE = [("甲", ("operator", "provider"))]


def code(call: Callable[[], Any]) -> str:
    """The code of a call that fails."""
    with pytest.raises((Refused, Unavailable)) as failed:
        call()
    assert isinstance(failed.value, (Refused, Unavailable))
    return failed.value.code.name


def register(held: home.Home, name: str) -> Any:
    """The receipt of one more organisation."""
    return held.run("identity.register", NODE, identity.Register(name)).receipt


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every table of the home, whatever it lies in, with its rows in order."""
    copied = path.parent / "contents.sqlite"
    home.place_of(path).copy(copied)
    found = rows_of(copied)
    copied.unlink()
    return found


def rows_of(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every table of a SQLite file with its rows in order."""
    with closing(sqlite3.connect(file)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        mine = [name for name in names if not name.startswith("sqlite_")]
        return {name: sorted(db.execute(f"SELECT * FROM {name}"), key=repr) for name in mine}


def test_a_home_in_a_database_is_made_and_opens_again(tmp_path: Path) -> None:
    path, url = tmp_path / "home", cluster.fresh()
    secret = url.replace("dujiang@", "dujiang:hidden@")
    first, made = home.create(path, ONE, database=secret)
    vkey = first.book.vkey
    first.close()
    said = (path / "home.json").read_text()
    assert json.loads(said)["database"] == url and "hidden" not in said
    assert not (path / "state.sqlite").exists()
    with home.opened(path) as again:
        assert again.book.vkey == vkey and again.caller_of_key(made[0]["api_key"]) is not None
        receipt = register(again, "乙")
        assert receipt["index"] == 1 and rules.verify(receipt, vkey).ok
        assert again.place.size_bytes(again.node.database) > 1 << 20
    assert [found["ok"] for found in examine(path, 0, "en") if found["name"] in ("database", "log", "high_water")] == [
        True, True, True,
    ]  # fmt: skip


def test_a_database_holds_one_home_and_a_failed_beginning_leaves_none(tmp_path: Path) -> None:
    url = cluster.fresh()
    assert code(lambda: home.create(tmp_path / "a", [("甲", ("king",))], database=url)) == "role_unknown"
    assert not (tmp_path / "a").exists()
    home.create(tmp_path / "a", ONE, database=url)[0].close()
    before = contents(tmp_path / "a")
    assert code(lambda: home.create(tmp_path / "b", ONE, database=url)) == "database_taken"
    assert not (tmp_path / "b").exists() and contents(tmp_path / "a") == before


@pytest.mark.parametrize(
    "given", ["mysql://x/y", "postgresql://host", "postgresql://h:port/x", "x", "postgresql:///a\nb", "//h/x"]
)
def test_what_is_no_address_of_a_database_is_refused(given: str, tmp_path: Path) -> None:
    assert code(lambda: home.create(tmp_path / "a", ONE, database=given)) == "database_name_unfit"
    assert not (tmp_path / "a").exists()


def test_an_address_is_kept_without_its_password() -> None:
    assert databases.named("postgres://me:pw@db.example:5432/x?sslmode=require&sslpassword=a") == (
        "postgresql://me@db.example:5432/x?sslmode=require"
    )


def test_two_homes_on_one_database_are_one_too_many(tmp_path: Path) -> None:
    """A copied folder on another machine: its own lock file is free, the database is held."""
    url = cluster.fresh()
    home.create(tmp_path / "home", ONE, database=url)[0].close()
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "home", other)
    for beside in ("key", "high"):
        shutil.copy(tmp_path / f"home.{beside}", tmp_path / f"other.{beside}")
    with home.opened(tmp_path / "home") as held:
        assert code(lambda: home.open_home(other, wait_s=0.1)) == "database_held"
        register(held, "乙")
    with home.opened(other) as followed:
        register(followed, "丙")
    # What the first folder's file says is behind: its log grew elsewhere, and it goes on from there.
    with home.opened(tmp_path / "home") as again:
        assert register(again, "丁")["index"] == 3


def test_an_older_copy_of_the_database_is_refused(tmp_path: Path) -> None:
    path, url = tmp_path / "home", cluster.fresh()
    home.create(path, ONE, database=url)[0].close()
    name = url.partition("@/")[2].partition("?")[0]
    with psycopg.connect(cluster.shared().url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE old_{name} TEMPLATE {name}")
    with home.opened(path) as held:
        register(held, "乙")
    described = json.loads((path / "home.json").read_text())
    described["database"] = url.replace(f"/{name}?", f"/old_{name}?")
    (path / "home.json").write_text(json.dumps(described))
    assert code(lambda: home.open_home(path, wait_s=0)) == "log_would_fork"
    assert code(lambda: restore.restore()(Options(path))) == "log_would_fork"
    said: Any = restore.restore(new_log=True)(Options(path)).body
    assert said["log"] == "new" and rules.verify(said["receipt"], said["vkey"]).ok
    with home.opened(path) as again, again.node.database.reading() as db:
        assert fsck.whole(db) is None and again.place.url.endswith(described["database"].partition("@")[2])


def test_a_home_without_its_server_is_unreachable_and_doctor_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "home"
    home.create(path, ONE, database=cluster.fresh())[0].close()
    monkeypatch.setenv(databases.SECRET, f"postgresql://x@/y?host={tmp_path}")
    assert code(lambda: home.open_home(path, wait_s=0)) == "database_unreachable"
    (found,) = [each for each in examine(path, 0, "en") if each["name"] == "database"]
    assert not found["ok"] and "home.json" in found["fix"]
    assert code(lambda: backup.make(path, tmp_path / "backup")) == "database_unreachable"
    assert not (tmp_path / "backup").exists()


def test_a_home_grows_into_a_database_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "home"
    with life.opened(tmp_path) as lived:
        product = lived.offer()
        contract = lived.agree(product.product)
        lived.ask(contract, "select 性别, count(*) as n from 就诊 group by 性别")
        receipt: Any = lived.home.run("ledger.prove", NODE, ledger.Show(2)).reply.receipt
        profiles.write(path, lived.made)
    before, vkey = contents(path), lived.home.book.vkey
    url = cluster.fresh()
    for turn, database in enumerate((url, "")):
        into = tmp_path / f"backup{turn}"
        made = backup.make(path, into)
        shutil.rmtree(path)
        said: Any = restore.restore(into, database=database)(Options(path)).body
        assert (said["entries"], said["log"], said["vkey"]) == (made.size, "same", vkey)
        assert (path / "state.sqlite").exists() != bool(database)
        assert contents(path) == before
        with home.opened(path) as held:
            assert held.place.url == database
            assert rules.verify(receipt, held.book.vkey).ok and held.book.holds(receipt["checkpoint"])
            assert rules.verify(register(held, f"机构{turn}"), held.book.vkey).ok
            # Numbers that the database gives go on where they were.
            lived_on = life.Life(
                held, lived.clock, *(getattr(lived, one) for one in life_callers()), lived.made
            )
            lived_on.agree(product.product)
            with held.node.database.reading() as db:
                assert fsck.whole(db) is None
        before = contents(path)


def life_callers() -> tuple[str, ...]:
    """The callers of a life, in the order in which it is made of them."""
    return ("hospital", "insurer", "rival", "auditor")


def test_a_copy_is_of_one_moment_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "home"
    held, _ = home.create(path, ONE, database=cluster.fresh())
    with closing(held):
        stopping, seen = threading.Event(), list[int]()

        def write() -> None:
            for number in range(10_000):
                if stopping.is_set():
                    return
                register(held, f"机构{number}")

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for turn in range(3):
                made = backup.make(path, tmp_path / f"backup{turn}")
                seen.append(made.size)
                copied = databases.Place(tmp_path / f"backup{turn}").opened()
                with closing(copied), copied.reading() as db:
                    assert fsck.whole(db) is None
        finally:
            stopping.set()
            writer.join()
        assert seen == sorted(seen) and seen[-1] > seen[0]


def test_a_database_that_is_taken_is_not_restored_over(tmp_path: Path) -> None:
    url = cluster.fresh()
    home.create(tmp_path / "a", ONE, database=url)[0].close()
    home.create(tmp_path / "b", ONE)[0].close()
    backup.make(tmp_path / "b", tmp_path / "backup")
    shutil.rmtree(tmp_path / "b")
    before = contents(tmp_path / "a")
    wish = restore.restore(tmp_path / "backup", database=url)
    assert code(lambda: wish(Options(tmp_path / "b"))) == "database_taken"
    assert contents(tmp_path / "a") == before and not (tmp_path / "b").exists()


def test_the_row_of_the_fence_is_in_no_backup(tmp_path: Path) -> None:
    home.create(tmp_path / "home", ONE, database=cluster.fresh())[0].close()
    assert postgres.FENCE not in contents(tmp_path / "home")


def test_a_copy_of_an_older_schema_upgraded_is_the_upgraded_database_copied(tmp_path: Path) -> None:
    """The steps do the same to rows on both databases; a copy is made in the version the database has."""
    url, place = cluster.fresh(), databases.Place(tmp_path)
    migrations.upgrade(url, "0010")
    with psycopg.connect(url) as db:
        for index in range(300):
            commitments = {name: f"{index:064x}" for name in ("org", "person", "contract")}
            leaf = {
                "v": 1,
                "act": "contract.offer",
                "time_ms": 2**41,
                "suite": "intl",
                "commitments": commitments,
            }
            facts = {"org": "org_a", "person": "per_a", "contract": f"ctr_{index:026d}"}
            salts = dict.fromkeys(facts, f"{index:032x}")
            db.execute(
                "INSERT INTO ledger_entry (idx, act, time_ms, org, leaf, facts, salts) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [index, "contract.offer", 2**41, "org_a", *map(json.dumps, (leaf, facts, salts))],
            )
    grown = databases.Place(tmp_path, url)
    assert grown.version() == "0010"
    grown.copy(place.file)
    assert place.version() == "0010"
    place.upgrade()
    grown.upgrade()
    assert grown.version() == place.version() == migrations.HEAD
    found = rows_of(place.file)
    assert len(found["ledger_entry"]) == 300
    grown.copy(tmp_path / "after.sqlite")
    assert rows_of(tmp_path / "after.sqlite") == found
