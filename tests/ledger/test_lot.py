"""Many records in one call: each with an entry and a receipt of its own, all of them or none."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.identity import acts as identity
from dujiang.kernel.act import Outcome
from dujiang.kernel.canonical import canonical
from dujiang.kernel.errors import DatabaseLost, Refused
from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck, lot, note, rules, store
from dujiang.ledger.tree import Edge, Prover, Stretch, leaf_hash
from dujiang.plugs.sqlite import DISK_FULL
from tests import cluster
from tests.ledger.test_rules import KEY, ORIGIN, PUBLIC, VKEY
from tests.life import Life, opened

COUNTED = "select 性别, count(*) as n from 就诊 group by 性别"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6,
)  # fmt: skip
READING = {"meter": "m-1", "kwh": 1.5, "时刻": "2026-11-24"}


def fetch_of(leaves: list[bytes]) -> Any:
    """The tiles over leaves."""
    edge, tiles = Edge(), dict[tuple[int, int], list[bytes]]()
    for leaf in leaves:
        for level, number, row in edge.append(leaf):
            tiles[level, number] = list(row)
    tiles |= {(level, number): list(row) for level, number, row in edge.partial()}
    return lambda level, number: tiles[level, number]


@given(st.data(), st.sampled_from([1, 2, 3, 7, 255, 256, 257, 600]))
@settings(max_examples=60, deadline=None)
def test_the_paths_of_a_stretch_are_those_of_the_whole_tree(data: st.DataObject, size: int) -> None:
    leaves = [leaf_hash(bytes([n % 256, n // 256])) for n in range(size)]
    first = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(first + 1, size))
    prover = Prover(size, fetch_of(leaves))
    around = prover.surroundings(first, end)
    stretch = Stretch(size, first, leaves[first:end], around)
    assert stretch.root() == prover.root()
    for index in {first, (first + end) // 2, end - 1}:
        assert stretch.inclusion(index) == prover.inclusion(index)
    for wrong in (around[1:], [*around, b"\0" * 32]):
        if wrong != around:
            with pytest.raises(ValueError):
                Stretch(size, first, leaves[first:end], wrong)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_an_edge_grows_by_many_as_by_one_each(parts: list[int]) -> None:
    one, many, at = Edge(), Edge(), 0
    for count in parts:
        leaves = [leaf_hash(n.to_bytes(4)) for n in range(at, at + count)]
        at += count
        full = [(level, number, list(row)) for leaf in leaves for level, number, row in one.append(leaf)]
        assert [(level, number, list(row)) for level, number, row in many.extend(leaves)] == full
        assert (many.size, many.root(), many.partial()) == (one.size, one.root(), one.partial())


def received(records: list[Any], before: int = 5, after: int = 3) -> dict[str, Any]:
    """The receipt of a lot in the middle of a small log."""
    common = {"org": "org_1", "person": "per_1", "kind": "meter.reading"}
    salts = bytes(range(1, 65)) * len(records)
    made = lot.lot_of(common, (), [canonical(each) for each in records], salts)
    inside = lot.hashes_of(made.heads, 1_780_000_000_000)
    leaves = [bytes([n]) * 32 for n in range(before)] + inside + [bytes([n]) * 32 for n in range(after)]
    prover = Prover(len(leaves), fetch_of(leaves))
    text = note.checkpoint_text(ORIGIN, len(leaves), prover.root())
    signed = note.signed(text, ORIGIN, PUBLIC, KEY.sign(text.encode()))
    digits, width = salts.hex(), 2 * made.salt_bytes
    hexed = [digits[at : at + width] for at in range(0, len(digits), width)]
    around = prover.surroundings(before, before + len(records))
    told = lot.receipt_of(before, 1_780_000_000_000, made.common, hexed, around, signed, VKEY)
    return json.loads(json.dumps(told))


@given(st.lists(VALUES, min_size=1, max_size=6), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_record_of_a_lot_is_proved_alone(records: list[Any], before: int, after: int) -> None:
    receipts = lot.receipts_of(received(records, before, after), records)
    for place, (receipt, record) in enumerate(zip(receipts, records, strict=True)):
        verdict = rules.verify(json.loads(json.dumps(receipt)), VKEY)
        assert (
            verdict.ok
            and verdict.trusted
            and verdict.index == before + place
            and verdict.act == "ledger.attest"
        )
        facts = {"kind": "meter.reading", "org": "org_1", "person": "per_1", "record": record}
        assert verdict.facts == facts


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_wound_anywhere_in_a_lot_proves_nothing(data: st.DataObject) -> None:
    text = json.dumps(WOUNDED, separators=(",", ":"))
    place = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.characters(codec="ascii", exclude_characters=text[place]))
    try:
        changed = json.loads(text[:place] + new + text[place + 1 :])
        receipts = lot.receipts_of(changed, [READING, 2])
    except ValueError:
        return
    if changed != WOUNDED:
        assert not any(rules.verify(receipt, VKEY).ok for receipt in receipts)


WOUNDED = received([READING, 2])


@pytest.mark.parametrize("records", [[READING, 3], [2, READING], [{**READING, "kwh": 1.6}, 2]], ids=str)
def test_another_record_is_not_proved_by_it(records: list[Any]) -> None:
    with pytest.raises(ValueError):
        lot.receipts_of(WOUNDED, records)


NONE = [
    None, [], {}, {**WOUNDED, "more": 1}, {**WOUNDED, "salts": []}, {**WOUNDED, "facts": 1},
    {**WOUNDED, "facts": {"z": "1"}}, {**WOUNDED, "around": []}, {**WOUNDED, "first": 10**6},
    {**WOUNDED, "first": "5"}, {**WOUNDED, "count": 3}, {**WOUNDED, "salts": ["00", "00"]},
]  # fmt: skip


@pytest.mark.parametrize("wrong", NONE, ids=str)
def test_what_is_no_receipt_of_a_lot_is_said(wrong: object) -> None:
    with pytest.raises(ValueError):
        lot.receipts_of(wrong, [READING, 2])


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node with one contract between the insurer and the hospital."""
    database = cluster.fresh() if request.param == "postgres" else ""
    with opened(tmp_path_factory.mktemp("lots"), database) as made:
        yield made


def attested(life: Life, *records: Any, key: str | None = None, **more: Any) -> Outcome:
    """A lot of the insurer, each of its receipts verified."""
    ask = ledger.Attest(records, **more)
    outcome = life.whole("ledger.attest", life.insurer, ask, key)
    first = outcome.reply.first
    for place, receipt in enumerate(lot.receipts_of(outcome.receipt, records)):
        verdict = rules.verify(json.loads(json.dumps(receipt)), life.home.book.vkey)
        assert (
            verdict.ok
            and verdict.index == first + place
            and (verdict.facts or {})["record"] == records[place]
        )
    return outcome


def test_each_record_is_an_entry_that_is_shown_and_proved_as_any_other(life: Life) -> None:
    size = life.size()
    outcome = attested(life, *({"n": n} for n in range(300)), kind="运行")
    assert outcome.reply == ledger.Attested(size, 300) and life.size() == size + 300
    page = life.run("ledger.list", life.insurer, ledger.List(limit=300)).items
    assert [entry.index for entry in page] == list(range(size + 299, size - 1, -1))
    assert page[0].facts == {
        "kind": "运行", "org": life.insurer.org, "person": life.insurer.person, "record": {"n": 299},
    }  # fmt: skip
    for index in (size, size + 299):
        receipt = life.run("ledger.prove", life.insurer, ledger.Show(index)).receipt
        assert receipt == lot.receipts_of(outcome.receipt, [{"n": n} for n in range(300)])[index - size]
    with life.home.node.database.reading() as db:
        assert fsck.whole(db) is None


def test_nobody_else_sees_them_but_the_other_side_of_a_contract_that_is_named(life: Life) -> None:
    on = life.agree(life.offer().product)
    alone, both = attested(life, {"a": 1}).reply.first, attested(life, {"a": 2}, contract=on).reply.first
    for index, caller, seen in (
        (alone, life.rival, False), (both, life.rival, False), (both, life.auditor, True), (both, life.insurer, True),
    ):  # fmt: skip
        if seen:
            assert life.run("ledger.show", caller, ledger.Show(index)).facts["record"]
        else:
            assert life.refused("ledger.show", caller, ledger.Show(index)) == "not_found"
    with life.home.node.database.reading() as db:
        assert store.sees(db, life.hospital.org, both) and not store.sees(db, life.hospital.org, alone)
        assert not store.sees(db, life.hospital.org, both + 1)
        record = store.entry(db, both)
    assert record is not None
    assert set(rules.visible(record, life.hospital.org, oversees=False)) == {"contract", "org", "record"}
    for contract in ("", "ctr_nobody", on + "x", "x" * 200_000):
        assert life.refused("ledger.attest", life.insurer, ledger.Attest((1,), None, contract)) == "not_found"
    assert life.refused("ledger.attest", life.rival, ledger.Attest((1,), None, on)) == "not_found"


BAD: dict[str, tuple[ledger.Attest, str]] = {
    "none": (ledger.Attest(()), "records_count"),
    "too many": (ledger.Attest((1,) * 1025), "records_count"),
    "too large": (ledger.Attest((1, "x" * 65_535)), "entry_too_large"),
    "not finite": (ledger.Attest((float("nan"),)), "malformed"),
    "unsafe": (ledger.Attest((2**53,)), "malformed"),
    "no kind": (ledger.Attest((1,), ""), "malformed"),
    "long kind": (ledger.Attest((1,), "k" * 101), "malformed"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_refused_lot_leaves_nothing(life: Life, what: str) -> None:
    ask, code = BAD[what]
    assert life.refused("ledger.attest", life.insurer, ask) == code


def test_the_largest_record_and_the_largest_lot_are_taken(life: Life) -> None:
    attested(life, "x" * 65_534)
    assert attested(life, *range(1024)).reply.count == 1024


def test_the_same_key_gives_the_same_entries_and_their_receipt(life: Life) -> None:
    records = [{"n": n} for n in range(40)]
    once = attested(life, *records, key="lot-1")
    size = life.size()
    again = attested(life, *records, key="lot-1")
    assert again.reply == once.reply and life.size() == size and again.receipt == once.receipt
    assert life.refused("ledger.attest", life.insurer, ledger.Attest((1,)), "lot-1") == "key_reused"
    attested(life, 1)  # any act: erasing is one
    life.at(lambda tx: store.erase(tx.db, once.reply.first + 3, {"person"}))
    left = life.whole("ledger.attest", life.insurer, ledger.Attest(tuple(records)), "lot-1")
    assert left.reply == once.reply and left.receipt is None
    own = life.run("ledger.prove", life.insurer, ledger.Show(once.reply.first + 3)).receipt
    assert rules.verify(own, life.home.book.vkey).erased == ("person",)


def test_what_was_erased_a_moment_ago_is_in_no_receipt(life: Life) -> None:
    """A repeat right after an erasure is answered from the tables, not from what the last batch had in memory."""
    asked = identity.Invite(f"人{life.size()}", ("consumer",)), "erased-1"
    once = life.whole("identity.invite", life.insurer, *asked)
    index = life.size() - 1
    attested(life, 1)  # any act: erasing is one
    life.at(lambda tx: store.erase(tx.db, index, {"person"}))
    again = life.whole("identity.invite", life.insurer, *asked)
    assert once.receipt is not None and again.receipt is not None
    assert rules.verify(once.receipt, None).erased == () and rules.verify(again.receipt, None).erased == (
        "person",
    )


def test_in_one_batch_lots_acts_and_failures_keep_out_of_each_other_s_way(life: Life) -> None:
    size, asked = life.size(), list[tuple[str, Any]]()

    def begin(tx: Any) -> list[Future[Outcome]]:
        def start(name: str, ask: Any) -> Future[Outcome]:
            asked.append((name, ask))
            call = life.home.runner._admit(name, life.insurer, ask, None)  # pyright: ignore[reportPrivateUsage]
            begun = life.home.runner.prepare(call)
            assert isinstance(begun, Future)
            return begun

        return [
            start("ledger.attest", ledger.Attest(tuple(range(300)))),
            start("identity.invite", identity.Invite("甲", ("consumer",))),
            start("ledger.attest", ledger.Attest((1,), None, "ctr_nobody")),
            start("ledger.attest", ledger.Attest(tuple("abc"))),
            start("identity.invite", identity.Invite("甲", ("no such role",))),
            start("ledger.attest", ledger.Attest((None,))),
        ]

    # Begun on the writer's thread: all of them are in the next batch.
    first, invited, strange, second, wrong, last = life.at(begin)
    assert [each.result().reply.first for each in (first, second, last)] == [size, size + 301, size + 304]
    for failed in (strange, wrong):
        with pytest.raises(Refused):
            failed.result()
    assert life.size() == size + 305
    heads = set()
    for begun, records in ((first, range(300)), (second, "abc"), (last, [None])):
        receipts = lot.receipts_of(begun.result().receipt, list(records))
        assert all(rules.verify(receipt, life.home.book.vkey).ok for receipt in receipts)
        heads |= {receipt["checkpoint"] for receipt in receipts}
    assert rules.verify(invited.result().receipt, life.home.book.vkey).index == size + 300
    assert len(heads | {invited.result().receipt["checkpoint"]}) == 1, "they were not in one batch"
    with life.home.node.database.reading() as db:
        assert fsck.whole(db) is None


def test_a_lost_batch_takes_its_lots_with_it_and_the_tree_goes_on(life: Life) -> None:
    size = life.size()

    def lost(tx: Any) -> None:
        common = {"org": life.insurer.org, "person": life.insurer.person}
        tx.many = lot.lot_of(common, (), [b"1"] * 700, b"\1" * 48 * 700)
        life.home.book.extend(tx, tx.many)
        raise DatabaseLost(DISK_FULL)

    with pytest.raises(DatabaseLost):
        life.at(lost)
    assert life.size() == size
    assert attested(life, *range(300)).reply.first == size
    with life.home.node.database.reading() as db:
        assert fsck.whole(db) is None


def test_a_receipt_of_a_lot_is_not_taken_for_that_of_an_entry() -> None:
    assert rules.verify(copy.deepcopy(WOUNDED), VKEY).step == "1 form of the receipt"
