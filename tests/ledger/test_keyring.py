"""Keys of the log: which sign, what a rotation proves, and that a disowned key is believed no further."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.identity import acts as identity
from dujiang.kernel.act import NOBODY, NODE
from dujiang.kernel.shape import plain
from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck, keyring, note, rules, store, trust
from dujiang.ledger.model import LogKey
from tests import life as lives
from tests.life import Life

DAY_MS = 86_400_000
SIZES = st.integers(0, 40)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """A node whose clock is set."""
    with lives.opened(tmp_path) as made:
        yield made


def live(life: Life, name: str) -> Any:
    """The receipt of one more entry."""
    return life.whole("identity.register", NODE, identity.Register(name)).receipt


def keys(life: Life) -> Any:
    """The document of the log's keys as it would come from a file."""
    return json.loads(json.dumps(plain(life.run("ledger.keys", NOBODY, ledger.Keys()))))


def lines(receipt: Any) -> int:
    """How many keys signed the head of a receipt."""
    return len(note.read_checkpoint(receipt["checkpoint"]).signatures)


def heads(life: Life) -> list[note.Checkpoint]:
    """Every checkpoint of the log."""
    with life.home.node.database.reading() as db:
        found = {at: store.checkpoint_at(db, at) for at in range(life.size() + 1)}
    return [note.read_checkpoint(text) for text in found.values() if text]


@st.composite
def rings(draw: st.DrawFn) -> list[LogKey]:
    """The keys of a log as rotations, new names and disownings make them."""
    found, size, origin, time_ms = [LogKey("log/0", b"\0" * 32, b"", 0)], 0, 0, 0
    for number in range(1, draw(st.integers(0, 6)) + 1):
        size, time_ms = size + draw(st.integers(1, 8)), time_ms + draw(st.integers(1, 100))
        kind = draw(st.sampled_from(("rotate", "rename", "disown")))
        before = found[-1]
        if kind == "rotate":
            found[-1] = LogKey(
                before.origin, before.public, b"", before.since, time_ms + draw(st.integers(1, 100))
            )
        else:
            origin = number
            if kind == "disown":
                beyond = draw(st.integers(0, size - 1))
                found[-1] = LogKey(
                    before.origin, before.public, b"", before.since, before.until_ms, beyond, size
                )
        found.append(LogKey(f"log/{origin}", bytes([number]) * 32, b"", size))
    return found


@settings(max_examples=200)
@given(rings(), SIZES, st.integers(0, 800))
def test_a_tree_has_keys_of_one_name_and_no_disowned_one(keys: list[LogKey], size: int, time_ms: int) -> None:
    ring = keyring.signers(keys, size, time_ms)
    assert ring and len({key.origin for key in ring}) == 1
    assert [key.since for key in ring] == sorted(key.since for key in ring)
    assert all(key.since <= size for key in ring)
    assert all(keyring.trusted(key, size) for key in ring[:-1])
    newest = max((key for key in keys if key.since <= size), key=lambda key: key.since)
    assert ring[-1] is newest
    later = keyring.signers(keys, size, time_ms + 1)
    assert set(later) <= set(ring), "with time keys only go"


def test_a_rotation_overlaps_and_then_the_old_key_is_silent(life: Life) -> None:
    old = life.home.book.vkey
    before = live(life, "一")
    said = life.whole("ledger.rotate", life.hospital, ledger.Rotate(overlap_days=2))
    new = said.reply.new
    assert said.reply.old == old != new == life.home.book.vkey
    assert new.partition("+")[0] == old.partition("+")[0], "the log keeps its name"
    life.clock.move(2 * DAY_MS - 1)
    during = live(life, "二")
    for receipt in (said.receipt, during):
        assert lines(receipt) == 2 and receipt["vkey"] == old
        assert rules.verify(receipt, old).trusted and rules.verify(receipt, new).trusted
    life.clock.move(1)
    after = live(life, "三")
    assert lines(after) == 1 and after["vkey"] == new
    assert rules.verify(after, new).trusted and not rules.verify(after, old).ok
    assert rules.verify(before, old).ok and not rules.verify(before, new).ok
    with life.home.node.database.reading() as db:
        assert fsck.whole(db) is None and keyring.vkeys(db) == [new]
    for index in range(life.size()):
        receipt = life.run("ledger.prove", NODE, ledger.Show(index)).receipt
        assert rules.verify(receipt, receipt["vkey"]).ok


def test_who_pinned_the_first_key_follows_two_rotations(life: Life) -> None:
    first = life.home.book.vkey
    for _ in range(2):
        life.run("ledger.rotate", life.hospital, ledger.Rotate(overlap_days=1))
        life.clock.move(DAY_MS)
        receipt = live(life, f"机构{life.size()}")
    document = keys(life)
    assert not rules.verify(receipt, first).ok
    verdict = trust.verify(receipt, first, document)
    assert verdict.ok and verdict.trusted and trust.trusted(first, document)[-1] == life.home.book.vkey
    assert [key["signs"] for key in document["keys"]] == [False, False, True]
    named = {life.hospital.person, life.hospital.org}
    assert not any(name in json.dumps(document) for name in named), "the receipts of rotations name nobody"
    # What does not prove itself is not followed, and a stranger's key leads nowhere.
    without = {**document, "changes": document["changes"][1:]}
    assert not trust.verify(receipt, first, without).ok
    other = note.Key("elsewhere.example.org", b"\1" * 32).line
    assert trust.trusted(other, document) == [other]
    forged = json.loads(json.dumps(document))
    forged["changes"][0]["opened"]["new"]["value"] = other
    assert not trust.verify(receipt, first, forged).ok


def test_one_rotation_at_a_time_and_of_a_sensible_length(life: Life) -> None:
    for days in (0, -1, 367):
        assert life.refused("ledger.rotate", life.hospital, ledger.Rotate(days)) == "overlap_unfit"
    life.run("ledger.rotate", life.hospital, ledger.Rotate(30))
    assert life.refused("ledger.rotate", life.hospital, ledger.Rotate(30)) == "rotation_runs"
    for caller in (life.insurer, life.auditor, life.rival):
        for act, ask in (("ledger.rotate", ledger.Rotate()), ("ledger.disown", ledger.Disown("x"))):
            assert life.refused(act, caller, ask) == "forbidden"


def test_a_stolen_key_is_disowned_and_the_log_goes_on_under_a_new_name(life: Life) -> None:
    old = life.home.book.vkey
    receipts = [live(life, name) for name in ("一", "二", "三")]
    beyond = life.size() - 1
    said = life.whole("ledger.disown", life.hospital, ledger.Disown(old, beyond))
    assert said.reply.beyond == beyond and said.reply.new == life.home.book.vkey != old
    assert rules.verify(said.receipt, said.reply.new).ok, "the very entry stands under the new key"
    assert not rules.verify(said.receipt, old).ok
    document = keys(life)
    assert [key["disowned"] for key in document["keys"]] == [beyond, None]
    assert trust.verify(receipts[1], old, document).trusted, "what it signed before stands"
    late = trust.verify(receipts[2], old, document)
    assert not late.ok and not late.trusted and late.step == f"5 key disowned beyond {beyond} entries"
    assert not trust.verify(receipts[2], None, document).ok, "also where nothing is pinned"
    assert not trust.verify(said.receipt, old, document).ok, "a stolen key vouches for no follower"
    # What only the stolen key covered is proved anew under the new one.
    again = life.run("ledger.prove", NODE, ledger.Show(receipts[2]["index"])).receipt
    assert again["leaf"] == receipts[2]["leaf"] and trust.verify(again, said.reply.new, document).trusted
    with life.home.node.database.reading() as db:
        assert fsck.whole(db) is None
    assert life.refused("ledger.disown", life.hospital, ledger.Disown(old)) == "not_our_key"
    assert life.refused("ledger.disown", life.hospital, ledger.Disown("x+y+z")) == "not_our_key"


def test_a_retired_key_is_disowned_and_the_name_stays(life: Life) -> None:
    old = life.home.book.vkey
    rotated = life.whole("ledger.rotate", life.hospital, ledger.Rotate(overlap_days=1))
    during = live(life, "一")
    life.clock.move(DAY_MS)
    after = live(life, "二")
    said = life.run("ledger.disown", life.hospital, ledger.Disown(old))
    assert said.new == rotated.reply.new == life.home.book.vkey
    assert said.beyond == note.read_checkpoint(during["checkpoint"]).size, "as far as it did sign"
    document = keys(life)
    for receipt in (during, after):
        assert trust.verify(receipt, old, document).trusted
    assert live(life, "三")["vkey"] == said.new


def test_a_key_disowned_within_its_overlap_ends_at_once(life: Life) -> None:
    old = life.home.book.vkey
    new = life.run("ledger.rotate", life.hospital, ledger.Rotate()).new
    said = life.run("ledger.disown", life.hospital, ledger.Disown(old))
    assert said.new not in (old, new)
    receipt = live(life, "一")
    assert lines(receipt) == 1 and receipt["vkey"] == said.new
    assert {head.origin for head in heads(life)} == {old.partition("+")[0], said.origin}


@pytest.mark.parametrize(
    "document", [None, [], {}, {"type": "dujiang-log-keys", "v": 1, "keys": [1], "changes": []}]
)
def test_what_is_no_document_of_keys_is_refused(document: Any) -> None:
    with pytest.raises(trust.NotKeys):
        trust.verify({}, None, document)


def test_a_rotation_and_its_follower_survive_a_new_opening(tmp_path: Path) -> None:
    with lives.opened(tmp_path) as life:
        new = life.run("ledger.rotate", life.hospital, ledger.Rotate()).new
        old = live(life, "一")["vkey"]
    from dujiang import home
    from dujiang.plugs.clocks import SetClock

    with home.opened(tmp_path / "home", clock=SetClock(lives.NOON_MS)) as held:
        assert held.book.vkey == new
        receipt: Any = held.run("identity.register", NODE, identity.Register("二")).receipt
        assert receipt["vkey"] == old and rules.verify(receipt, new).ok
