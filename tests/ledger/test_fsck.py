"""The examination of a whole log: an untouched one agrees, and every wound in the database is named at its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from dujiang.kernel.tables import Session, Sql
from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck, store
from dujiang.ledger.fsck import Examination
from tests.acts.scenario import play
from tests.life import Life, opened

RECORDS = 300


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A whole life, and records of another system over the end of a tile."""
    with opened(tmp_path_factory.mktemp("examined")) as made:
        scenario = play(made)
        for contract in (None, scenario.contract):
            records = tuple({"reading": n} for n in range(RECORDS))
            made.run("ledger.attest", made.insurer, ledger.Attest(records, "meter.reading", contract))
        yield made


class Found(Exception):
    """Carries what was found out of a transaction that is taken back."""

    def __init__(self, found: Examination) -> None:
        self.found = found


def wounded(life: Life, *statements: str, limit: int = 1000, **values: Any) -> Examination:
    """What is found once the statements were run; they are taken back."""

    def work(tx: Any) -> None:
        for statement in statements:
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            tx.db.run(Sql(text(statement)), **used)
        raise Found(fsck.examine(tx.db, limit))

    with pytest.raises(Found) as raised:
        life.at(work)
    return raised.value.found


def test_an_untouched_log_agrees(life: Life) -> None:
    found = life.run("ledger.fsck", life.auditor, ledger.Fsck())
    assert (found.agrees, found.found, found.differences) == (True, 0, ())
    assert found.entries == life.size() > 2 * RECORDS
    with life.home.node.database.reading() as db:
        assert found.checkpoints == len(list(store.checkpoints(db))) > 100
    assert life.refused("ledger.fsck", life.insurer, ledger.Fsck()) == "forbidden"


WOUNDS: dict[str, tuple[str, str, int | None]] = {
    "a fact of a record": (
        "UPDATE ledger_entry SET facts = replace(facts, '\"kind\":\"meter.reading\"', '\"kind\":\"meter.weather\"')"
        " WHERE idx = :last", "record", -1,
    ),
    "facts that are no text": ("UPDATE ledger_entry SET facts = CAST(facts AS BLOB) WHERE idx = 5", "record", 5),
    "facts that are no JSON": ("UPDATE ledger_entry SET facts = '{' WHERE idx = 5", "record", 5),
    "the act": ("UPDATE ledger_entry SET act = 'x.y' WHERE idx = 9", "leaf", 9),
    "the time": ("UPDATE ledger_entry SET time_ms = time_ms + 1 WHERE idx = :last", "leaf", -1),
    "half a millisecond": ("UPDATE ledger_entry SET time_ms = time_ms + 0.5 WHERE idx = 9", "leaf", 9),
    "the order of time": ("UPDATE ledger_entry SET time_ms = 5 WHERE idx = 9", "time", 9),
    "the organisation": ("UPDATE ledger_entry SET org = 'org_x' WHERE idx = 9", "record", 9),
    "the salts": ("UPDATE ledger_entry SET salts = commitments WHERE idx = 3", "record", 3),
    "the commitments": ("UPDATE ledger_entry SET commitments = zeroblob(64) WHERE idx = 3", "record", 3),
    "a leaf": ("UPDATE ledger_tile SET hashes = zeroblob(8192) WHERE level = 0 AND number = 1", "leaf", 256),
    "a tile above": ("UPDATE ledger_tile SET hashes = zeroblob(64) WHERE level = 1", "tile", 0),
    "a tile that is gone": ("DELETE FROM ledger_tile WHERE level = 0 AND number = 0", "leaf", 0),
    "a tile that is too long": (
        "UPDATE ledger_tile SET hashes = zeroblob(3200) WHERE level = 1", "tile", 0,
    ),
    "a commitment too many": (
        "UPDATE ledger_entry SET commitments = CAST(commitments || zeroblob(32) AS BLOB) WHERE idx = 7",
        "record", 7,
    ),
    "an entry before the first": (
        "INSERT INTO ledger_entry SELECT -5, act, time_ms, org, facts, commitments, salts FROM ledger_entry"
        " WHERE idx = 0", "number", None,
    ),
    "an entry that is gone": ("DELETE FROM ledger_entry WHERE idx = 11", "number", 11),
    "the root of a checkpoint": (
        "UPDATE ledger_checkpoint SET note = (SELECT note FROM ledger_checkpoint WHERE size = 20) WHERE size = 21",
        "root", 21,
    ),
    "a signature": (
        "UPDATE ledger_checkpoint SET note = replace(note, substr(note, -20, 6), 'AAAAAA') WHERE size = 30",
        "signature", 30,
    ),
    "a checkpoint that is none": ("UPDATE ledger_checkpoint SET note = 'x' WHERE size = 30", "checkpoint", 30),
    "the newest checkpoint": ("DELETE FROM ledger_checkpoint WHERE size = :size", "checkpoint", None),
    "a checkpoint beyond the log": (
        "INSERT INTO ledger_checkpoint SELECT size + 5, note FROM ledger_checkpoint WHERE size = :size", "checkpoint",
        None,
    ),
    "a sight that is gone": ("DELETE FROM ledger_sight WHERE org = :org AND idx = (SELECT min(idx) FROM ledger_sight"
                             " WHERE org = :org)", "sight", -1),
    "a sight of a stranger": ("INSERT INTO ledger_sight (org, idx) VALUES ('org_stranger', 4)", "sight", -1),
    "a sight of another entry": (
        "UPDATE ledger_sight SET idx = 0 WHERE org = :org AND idx = (SELECT min(idx) FROM ledger_sight"
        " WHERE org = :org AND idx > 20)", "sight", -1,
    ),
    "a figure": ("UPDATE ledger_figure SET rows = rows + 1 WHERE questions > 0", "figure", None),
    "a figure of no entry": (
        "INSERT INTO ledger_figure SELECT flow, month, day, 99999, organisations, products, contracts, questions,"
        " statistics, rows, amount_minor FROM ledger_figure LIMIT 1", "figure", None,
    ),
    "a figure on another day": (
        "INSERT INTO ledger_figure SELECT flow, month, day + 1, idx, organisations, products, contracts, questions,"
        " statistics, rows, amount_minor FROM ledger_figure LIMIT 1", "figure", None,
    ),
    "a figure that is gone": ("DELETE FROM ledger_figure WHERE questions > 0", "figure", None),
}  # fmt: skip


@pytest.mark.parametrize("what", WOUNDS)
def test_a_wound_is_named_at_its_place(life: Life, what: str) -> None:
    statement, said, place = WOUNDS[what]
    size = life.size()
    found = wounded(life, statement, last=size - 1, size=size, org=life.insurer.org)
    at = [each.at for each in found.differences if each.what == said]
    assert at and found.found == len(found.differences), found.differences[:5]
    if place is not None and said != "sight":
        assert min(at) == (size - 1 if place < 0 else place), found.differences[:5]
    assert life.run("ledger.fsck", life.auditor, ledger.Fsck()).agrees


def test_all_wounds_are_counted_and_the_first_named(life: Life) -> None:
    statements = [
        f"UPDATE ledger_entry SET org = 'org_x' WHERE idx = {index}" for index in (2, 200, 300, 400)
    ]
    found = wounded(
        life, *statements, "UPDATE ledger_tile SET hashes = zeroblob(64) WHERE level = 1", limit=2
    )
    assert [(each.what, each.at) for each in found.differences] == [("record", 2), ("record", 200)]
    assert found.found >= 6 and found.entries == life.size()


def test_what_was_erased_is_no_difference(life: Life) -> None:
    with pytest.raises(Found) as raised:

        def work(tx: Any) -> None:
            db: Session = tx.db
            for index in (3, 40, life.size() - 1):
                store.erase(db, index, {"person", "org"})
            raise Found(fsck.examine(db, 10))

        life.at(work)
    assert raised.value.found.found == 0, raised.value.found.differences
