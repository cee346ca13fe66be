"""What a log stands on may be damaged, moved or full: a clear refusal, nothing lost, and nothing signed on it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dujiang import home
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Unavailable
from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck, note, rules, store
from tests import life as lives
from tests.life import Life


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """A node with a few entries."""
    with lives.opened(tmp_path) as made:
        yield made


def live(life: Life, name: str) -> Any:
    """The receipt of one more entry."""
    return life.whole("identity.register", NODE, identity.Register(name)).receipt


def sql(life: Life, *statements: str) -> None:
    """Statements run on the database by somebody else."""
    with closing(sqlite3.connect(life.home.path / "state.sqlite")) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def failed(call: Callable[[], Any]) -> str:
    """The code of a call that fails."""
    with pytest.raises(Unavailable) as unavailable:
        call()
    return unavailable.value.code.name


def heads(life: Life) -> int:
    """How many checkpoints were signed."""
    with life.home.node.database.reading() as db:
        return sum(store.checkpoint_at(db, size) is not None for size in range(life.size() + 2))


@pytest.mark.parametrize(
    "wound", ["substr(hashes, 1, 32)", "substr(hashes, 1, 33)", "x''", "zeroblob(length(hashes))"]
)
def test_a_damaged_tile_gives_no_receipt_and_opens_no_home(life: Life, wound: str) -> None:
    sql(life, f"UPDATE ledger_tile SET hashes = {wound}")
    assert failed(lambda: life.run("ledger.prove", NODE, ledger.Show(3))) == "log_damaged"
    assert failed(lambda: life.run("ledger.consistency", NODE, ledger.Consistency(3))) == "log_damaged"
    with life.home.node.database.reading() as db:
        assert fsck.head(db) is not None
    life.home.close()
    before = (life.home.path / "state.sqlite").read_bytes()
    assert failed(lambda: home.open_home(life.home.path)) == "log_damaged"
    assert (life.home.path / "state.sqlite").read_bytes() == before


def test_a_damaged_entry_gives_no_receipt(life: Life) -> None:
    sql(life, "UPDATE ledger_entry SET commitments = zeroblob(length(commitments)) WHERE idx = 1")
    assert failed(lambda: life.run("ledger.prove", NODE, ledger.Show(1))) == "log_damaged"
    assert life.run("ledger.prove", NODE, ledger.Show(2))


def test_a_log_that_others_wrote_to_or_cut_is_not_signed_on(life: Life) -> None:
    """A checkpoint that this node did not sign, or the last one gone: no entry is made until the right one is back."""
    size, signed = life.size(), heads(life)
    newest = "(SELECT max(size) FROM ledger_checkpoint)"
    sql(
        life,
        "CREATE TABLE kept AS SELECT * FROM ledger_checkpoint",
        f"DELETE FROM ledger_checkpoint WHERE size = {newest}",
    )
    assert [failed(lambda name=name: live(life, name)) for name in "ab"] == ["log_moved"] * 2
    sql(life, "DELETE FROM ledger_checkpoint", "INSERT INTO ledger_checkpoint SELECT * FROM kept")
    sql(life, "UPDATE ledger_checkpoint SET note = replace(note, 'data.example.org', 'other.example.org')")
    assert [failed(lambda name=name: live(life, name)) for name in "cd"] == ["log_moved"] * 2
    sql(
        life,
        "DELETE FROM ledger_checkpoint",
        "INSERT INTO ledger_checkpoint SELECT * FROM kept",
        "DROP TABLE kept",
    )
    assert life.size() == size and heads(life) == signed
    receipt = live(life, "e")
    assert receipt["index"] == size and rules.verify(receipt, life.home.book.vkey).trusted
    with life.home.node.database.reading() as db:
        assert fsck.whole(db) is None


def test_a_database_that_fills_up_within_an_attested_batch_keeps_none_of_it(life: Life) -> None:
    """At every amount of room: all N entries with their receipts, or none, and the tree goes on."""
    records = [{"reading": number, "meter": "m" * 300} for number in range(300)]
    with life.home.node.database.reading() as db:
        assert fsck.whole(db) is None
    pages = life.home.writer.submit(lambda tx: tx.db).result()
    connection = life.home.node.database.writing().connection  # type: ignore[attr-defined]
    del pages
    done = refused = 0
    for room in (0, 1, 2, 5, 10, 20, 40, 80, 200, 400):
        count = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {count + room}")
        size = life.size()
        ask = ledger.Attest(tuple(records), "meter")
        try:
            reply = life.run("ledger.attest", life.insurer, ask)
        except Unavailable as full:
            assert full.code.name == "disk_full" and life.size() == size
            refused += 1
        else:
            assert (reply.first, reply.count) == (size, 300) and life.size() == size + 300
            done += 1
    connection.execute("PRAGMA max_page_count = 1073741823")
    assert done and refused
    receipt = live(life, "after")
    assert rules.verify(receipt, life.home.book.vkey).trusted
    with life.home.node.database.reading() as db:
        assert fsck.whole(db) is None


@pytest.mark.parametrize("step_ms", [-1, -1000, -86_400_000, -365 * 86_400_000])
def test_a_clock_that_goes_back_is_told_and_time_never_decreases(life: Life, step_ms: int) -> None:
    before = life.records()[-1].time_ms
    life.clock.jump(step_ms)
    receipts = [live(life, name) for name in ("一", "二")]
    times = [json.loads(receipt["leaf"])["time_ms"] for receipt in receipts]
    assert before <= times[0] <= times[1]
    told = [receipt["opened"].get("clock_jump_ms", {}).get("value") for receipt in receipts]
    big = abs(step_ms) > life.home.node.config.clock_step_s_max * 1000
    assert told == [step_ms if big else None, None]
    assert life.home.book.clock_jumps == int(big)


def test_a_rotation_ends_by_the_time_of_the_log_though_the_clock_goes_back(life: Life) -> None:
    """The old key does not come back when the clock does."""
    new = life.run("ledger.rotate", life.hospital, ledger.Rotate(1)).new
    life.clock.move(86_400_000)
    assert live(life, "一")["vkey"] == new
    life.clock.jump(-10 * 86_400_000)
    later = live(life, "二")
    assert later["vkey"] == new and len(note.read_checkpoint(later["checkpoint"]).signatures) == 1


def test_receipts_of_another_log_and_heads_of_an_unknown_key_are_refused(life: Life, tmp_path: Path) -> None:
    ours = live(life, "一")
    with lives.opened(tmp_path / "other") as other:
        theirs = live(other, "一")
        assert rules.verify(theirs, other.home.book.vkey).trusted
        # The two logs have one name: it is the key that tells them apart.
        assert other.home.book.origin == life.home.book.origin
        assert rules.verify(theirs, life.home.book.vkey).step == "4 signature of the checkpoint"
        crossed = {**ours, "checkpoint": theirs["checkpoint"]}
        assert str(rules.verify(crossed, life.home.book.vkey).step)[0] in "34"
    head = note.read_checkpoint(ours["checkpoint"])
    stranger = Ed25519PrivateKey.generate()
    public = stranger.public_key().public_bytes_raw()
    forged = {
        **ours, "checkpoint": note.signed(head.text, head.origin, public, stranger.sign(head.text.encode())),
        "vkey": note.Key(head.origin, public).line,
    }  # fmt: skip
    assert rules.verify(forged, None).ok, "it is a true receipt of a stranger's"
    assert rules.verify(forged, life.home.book.vkey).step == "4 signature of the checkpoint"
    assert rules.verify({**forged, "vkey": life.home.book.vkey}, None).step == "4 signature of the checkpoint"
    claims = {**ours, "vkey": note.Key(head.origin, public).line}
    assert rules.verify(claims, life.home.book.vkey).step == "4 signature of the checkpoint", (
        "it did not sign"
    )
    # A true line of the stranger beside ours harms nothing; ours is what counts.
    both = {**ours, "checkpoint": ours["checkpoint"] + forged["checkpoint"].rpartition("\n\n")[2]}
    assert rules.verify(both, life.home.book.vkey).trusted
