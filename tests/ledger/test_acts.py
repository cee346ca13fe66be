"""The log on a real home: who sees what, receipts of old entries, and proofs that it only grew."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dujiang import home
from dujiang.identity import acts as identity
from dujiang.kernel.tables import Sql
from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck, rules, store
from dujiang.ledger.note import read_checkpoint, signed_by
from dujiang.ledger.tree import consistent
from tests import cluster
from tests.life import Life, opened

ENTRIES = 300


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node with more entries than a tile has."""
    database = cluster.fresh() if request.param == "postgres" else ""
    with opened(tmp_path_factory.mktemp("ledger"), database) as made:
        for n in range(ENTRIES):
            made.run(
                "identity.invite", (made.insurer, made.rival)[n % 2], identity.Invite(f"人{n}", ("consumer",))
            )
        yield made


def items(life: Life, caller: Any, **ask: Any) -> tuple[ledger.Entry, ...]:
    """A page of entries."""
    return life.run("ledger.list", caller, ledger.List(**ask)).items


def test_an_organisation_sees_its_own_entries_and_an_overseer_all(life: Life) -> None:
    own = items(life, life.insurer, limit=1000)
    assert len(own) == 1 + ENTRIES // 2 and {entry.facts["org"] for entry in own} <= {life.insurer.org, ""}
    for caller in (life.auditor, life.hospital):
        assert [entry.index for entry in items(life, caller, limit=1000)] == list(
            range(life.size() - 1, -1, -1)
        )


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_pages_go_on_without_gap_or_repeat(life: Life, limit: int) -> None:
    whole = [entry.index for entry in items(life, life.insurer, limit=1000)]
    found: list[int] = []
    before: int | None = None
    while True:
        page = life.run("ledger.list", life.insurer, ledger.List(before=before, limit=limit))
        found += [entry.index for entry in page.items]
        before = page.next
        if before is None:
            break
    assert found == whole


@pytest.mark.parametrize("start", [296, 297, 298])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_of_what_names_an_id_go_on_without_gap_or_repeat(life: Life, limit: int, start: int) -> None:
    # The node's own entries are the oldest: the last page is short and has more hits than there is room for.
    every = items(life, life.auditor, limit=1000)
    whole = [entry.index for entry in every if entry.facts["person"] == "node"]
    found: list[int] = []
    before: int | None = start
    while True:
        page = life.run("ledger.list", life.auditor, ledger.List("node", before, limit))
        assert len(page.items) <= limit
        found += [entry.index for entry in page.items]
        before = page.next
        if before is None:
            break
    assert found == whole


def test_about_finds_the_entries_that_name_an_id_the_reader_may_see(life: Life) -> None:
    member = life.run("identity.invite", life.insurer, identity.Invite("找", ("consumer",))).person
    assert [entry.facts["member"] for entry in items(life, life.insurer, about=member)] == [member]
    assert items(life, life.rival, about=member) == ()


@pytest.mark.parametrize("index", [-1, 10**6])
def test_an_entry_that_is_not_there_or_not_yours_is_not_found(life: Life, index: int) -> None:
    theirs = items(life, life.rival, limit=1)[0].index
    for act in ("ledger.show", "ledger.prove"):
        for entry in (index, theirs):
            assert life.refused(act, life.insurer, ledger.Show(entry)) == "not_found"
        assert life.run(act, life.auditor, ledger.Show(theirs))


@pytest.mark.parametrize("index", [0, 1, 254, 255, 256, 257, 299])
def test_the_receipt_of_any_entry_verifies(life: Life, index: int) -> None:
    receipt = life.run("ledger.prove", life.auditor, ledger.Show(index)).receipt
    verdict = rules.verify(receipt, life.home.book.vkey)
    assert verdict.ok and verdict.index == index and verdict.facts == life.records()[index].facts


@pytest.mark.parametrize(
    ("old", "new"), [(1, 1), (1, 256), (3, 257), (255, 300), (256, None), (257, None), (300, 300)]
)
def test_the_log_is_proved_to_have_only_grown(life: Life, old: int, new: int | None) -> None:
    grown = life.run("ledger.consistency", life.insurer, ledger.Consistency(old, new))
    one, other, *proof = (base64.b64decode(text) for text in (grown.old_root, grown.new_root, *grown.proof))
    assert consistent(grown.old, grown.new, one, other, proof)
    head = read_checkpoint(grown.checkpoint)
    with life.home.node.database.reading() as db:
        (key,) = store.keys(db)
    assert signed_by(head, key.origin, key.public)
    assert head.size == life.size() and (new is not None or head.root == other)


@pytest.mark.parametrize(("old", "new"), [(0, 5), (6, 5), (-1, None), (5, 10**6), (10**6, None)])
def test_a_tree_that_never_was_is_refused(life: Life, old: int, new: int | None) -> None:
    assert life.refused("ledger.consistency", life.insurer, ledger.Consistency(old, new)) == "no_such_tree"


def test_the_roots_of_all_kept_checkpoints_are_of_one_tree(life: Life) -> None:
    with life.home.node.database.reading() as db:
        heads = [
            read_checkpoint(found[1])
            for index in range(0, life.size(), 37)
            if (found := store.checkpoint(db, index))
        ]
    for head in heads:
        grown = life.run("ledger.consistency", life.insurer, ledger.Consistency(head.size))
        assert base64.b64decode(grown.old_root) == head.root


def test_a_home_opened_again_goes_on_with_the_same_tree(life: Life, tmp_path: Path) -> None:
    first, made = home.create(tmp_path / "home", [("甲", ("operator",))])
    caller = first.caller_of_key(made[0]["api_key"])
    assert caller is not None
    for n in range(257):
        first.run("identity.invite", caller, identity.Invite(f"人{n}", ("operator",)))
        if n in (0, 253, 254, 255):
            first.close()
            first = home.open_home(tmp_path / "home")
            assert first.book.next_index() == n + 2
    receipt = first.run("identity.invite", caller, identity.Invite("末", ("operator",))).receipt
    old = first.run("ledger.prove", caller, ledger.Show(3)).reply.receipt
    assert rules.verify(receipt, first.book.vkey).ok and rules.verify(old, first.book.vkey).ok
    first.close()


def test_what_is_erased_is_said_and_the_tree_stands(tmp_path: Path) -> None:
    with opened(tmp_path) as life:
        for fields in ({"person"}, {"org", "person"}, None):
            _erased(life, fields)


def _erased(life: Life, fields: set[str] | None) -> None:
    life.run("identity.invite", life.insurer, identity.Invite(f"人{life.size()}", ("consumer",)))
    at = life.size() - 1
    receipt = life.run("ledger.prove", life.auditor, ledger.Show(at)).receipt
    gone = life.at(lambda tx: store.erase(tx.db, at, fields))
    assert set(gone) == (fields or set(receipt["opened"]))
    assert life.at(lambda tx: fsck.whole(tx.db)) is None
    made = life.run("ledger.prove", life.auditor, ledger.Show(at)).receipt
    verdict = rules.verify(made, life.home.book.vkey)
    assert verdict.ok and set(verdict.erased) == set(gone) and made["leaf"] == receipt["leaf"]
    assert set(verdict.facts or {}) == set(receipt["opened"]) - set(gone)
    assert rules.verify(receipt, life.home.book.vkey).erased == ()
    with life.home.node.database.reading() as db:
        (raw,) = db.run(Sql(text("SELECT org, facts, hex(salts) FROM ledger_entry WHERE idx = :at")), at=at)
    for field in gone:
        opening = receipt["opened"][field]
        assert str(opening["value"]) not in str(raw) and opening["salt"].upper() not in str(raw)
