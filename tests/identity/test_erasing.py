"""Erasing a person: nothing in the home names them any more, and the log stands."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dujiang.identity import acts as identity
from dujiang.identity import erasing
from dujiang.kernel.act import NODE, Caller
from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck, rules
from dujiang.ledger.subject import number_of, own_name
from tests import life as lives
from tests.life import Life

NAME = "欧阳某某"


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """A node with its four organisations."""
    with lives.opened(tmp_path) as made:
        yield made


def joined(life: Life) -> Caller:
    """A person of the insurer who has acted, with a key; invited with an idempotency key."""
    ask = identity.Invite(NAME, ("consumer",), "a sentence is a good password")
    person = life.run("identity.invite", life.insurer, ask, "invite-1").person
    own = Caller(life.insurer.org, person, frozenset({"consumer"}))
    for _ in range(3):
        life.run("identity.grant", own, identity.Grant(("consumer",)), f"grant-{_}")
    life.run("identity.assign", life.insurer, identity.Assign(person, ("consumer",)))
    return own


def gone(life: Life) -> Caller:
    """The person once revoked."""
    own = joined(life)
    life.run("identity.revoke", life.insurer, identity.Revoke(own.person))
    return own


def rows(life: Life) -> dict[str, str]:
    """Every row of every table of the home as text, by table."""
    life.home.node.database.close()
    found: dict[str, str] = {}
    with closing(sqlite3.connect(life.home.path / "state.sqlite")) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            found[table] = repr(db.execute(f"SELECT * FROM {table}").fetchall())
    return found


def test_no_row_names_the_person_afterwards_and_the_log_is_whole(life: Life) -> None:
    own = gone(life)
    before = {
        index: life.run("ledger.prove", NODE, ledger.Show(index)).receipt for index in range(life.size())
    }
    assert any(own.person in table for table in rows(life).values())
    said = life.run("identity.erase", life.insurer, identity.Erase(own.person), "erase-1")
    assert said.entries == 6 and said.facts >= 2 * said.entries - 3
    for table, text in rows(life).items():
        assert own.person not in text and NAME not in text, table
    with life.home.node.database.reading() as db:
        assert fsck.whole(db) is None
    changed = 0
    for index, old in before.items():
        new = life.run("ledger.prove", NODE, ledger.Show(index)).receipt
        verdict = rules.verify(new, life.home.book.vkey)
        assert verdict.ok and new["leaf"] == old["leaf"] and own.person not in str(new)
        assert bool(verdict.erased) == (own.person in str(old)), index
        changed += bool(verdict.erased)
        assert rules.verify(old, life.home.book.vkey).ok, "who kept a receipt can still show what it opened"
    assert changed == said.entries


def test_a_search_for_the_person_finds_nothing_any_more(life: Life) -> None:
    own, other = (
        gone(life),
        life.run("identity.invite", life.insurer, identity.Invite("别人", ("consumer",))).person,
    )

    def found(person: str) -> list[int]:
        return [
            len(life.run("ledger.list", each, ledger.List(person)).items)
            for each in (life.insurer, life.auditor)
        ]

    assert found(own.person) == [6, 6] and found(other) == [1, 1]
    life.run("identity.erase", life.insurer, identity.Erase(own.person))
    assert found(own.person) == [0, 0] and found(other) == [1, 1]
    numbers = {number_of(name) for name in (own.person, own_name(own.org, own.person))}
    assert not any(str(number) in rows(life)["ledger_about"] for number in numbers)


def test_its_own_entry_names_an_erasure_and_how_much(life: Life) -> None:
    own = gone(life)
    whole = life.whole("identity.erase", life.hospital, identity.Erase(own.person))
    assert whole.receipt is not None and own.person not in str(whole.receipt)
    opened: Any = whole.receipt["opened"]
    facts = {field: each["value"] for field, each in opened.items()}
    assert facts["erasure"] == whole.reply.erasure and facts["entries"] == whole.reply.entries
    assert facts["person"] == life.hospital.person and facts["facts"] == whole.reply.facts


def test_what_is_listed_says_erased(life: Life) -> None:
    own = gone(life)
    life.run("identity.erase", life.insurer, identity.Erase(own.person))
    shown = life.run("ledger.list", life.insurer, ledger.List(limit=10)).items
    assert sum("member" in entry.erased for entry in shown) == 5
    assert [entry.act for entry in shown if "person" in entry.erased] == ["identity.grant"] * 3
    assert all(
        ("ask_sha256" in entry.erased) is ("member" in entry.erased or "revoked" in entry.erased)
        for entry in shown
    )
    assert all(not entry.facts.get(field) for entry in shown for field in entry.erased)


def test_who_still_acts_or_belongs_to_others_is_not_erased(life: Life) -> None:
    own = joined(life)
    assert life.refused("identity.erase", life.insurer, identity.Erase(own.person)) == "person_active"
    life.run("identity.revoke", life.insurer, identity.Revoke(own.person))
    for caller in (life.rival, life.auditor):
        assert life.refused("identity.erase", caller, identity.Erase(own.person)) == "not_found"
    weak = Caller(life.insurer.org, life.insurer.person)
    assert life.refused("identity.erase", weak, identity.Erase(own.person)) == "role_beyond"
    assert life.refused("identity.erase", life.insurer, identity.Erase("per_x%")) == "not_found"
    life.run("identity.erase", life.insurer, identity.Erase(own.person))
    assert life.refused("identity.erase", life.insurer, identity.Erase(own.person)) == "not_found"


def test_a_repeat_of_what_named_the_person_is_refused_and_not_run_again(life: Life) -> None:
    own = gone(life)
    life.run("identity.erase", life.insurer, identity.Erase(own.person))
    ask = identity.Invite(NAME, ("consumer",), "a sentence is a good password")
    assert life.refused("identity.invite", life.insurer, ask, "invite-1") == "key_reused"


def test_keys_a_key_of_theirs_made_can_still_be_ended(life: Life) -> None:
    """The row of the key stays, without a person and without the hash of its secret."""
    own = gone(life)
    keys = life.run("identity.list", life.insurer, identity.List()).keys
    theirs = [key for key in keys if key.name == ""]
    life.run("identity.erase", life.insurer, identity.Erase(own.person))
    after = {key.id: key for key in life.run("identity.list", life.insurer, identity.List()).keys}
    assert theirs and all(after[key.id].revoked for key in theirs)


def test_what_was_written_after_the_log_was_read_is_erased_too(life: Life) -> None:
    own = gone(life)
    ask = identity.Erase(own.person)
    nothing = erasing.Found((), 0)
    said = life.home.writer.submit(lambda tx: identity.erase(tx, life.insurer, ask, nothing)).result()
    assert said.entries == 6 and own.person not in rows(life)["ledger_entry"]


@pytest.mark.parametrize("operator", [False, True])
def test_only_an_operator_takes_a_person_out_of_what_others_attested(life: Life, operator: bool) -> None:
    """Who was told that somebody accepted must not lose the proof because their employer erases them."""
    own = joined(life)
    said = life.run("ledger.attest", life.hospital, ledger.Attest(({"accepted_by": own.person},)))
    mine = life.run("ledger.attest", life.insurer, ledger.Attest(({"read_by": own.person},)))
    life.run("identity.revoke", life.insurer, identity.Revoke(own.person))
    life.run("identity.erase", life.hospital if operator else life.insurer, identity.Erase(own.person))

    def erased(index: int) -> bool:
        return "record" in life.run("ledger.show", life.auditor, ledger.Show(index)).erased

    assert erased(mine.first) and erased(said.first) is operator


def test_the_file_holds_nothing_of_the_person_once_it_was_closed(life: Life) -> None:
    own, place = gone(life), life.home.path / "state.sqlite"

    def count() -> int:
        life.home.node.database.close()
        with closing(sqlite3.connect(place)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return place.read_bytes().count(own.person.encode())

    assert count()
    life.run("identity.erase", life.insurer, identity.Erase(own.person))
    assert not count()
