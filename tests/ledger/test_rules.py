"""A receipt verifies as it was given and in no other form; a checkpoint is a signed note of its origin."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dujiang.kernel.canonical import canonical, canonical_pair
from dujiang.ledger import note, rules
from dujiang.ledger.model import Record
from dujiang.ledger.tree import Edge, Prover, leaf_hash

ORIGIN = "data.example.org"
KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
PUBLIC, OTHER_PUBLIC = (key.public_key().public_bytes_raw() for key in (KEY, OTHER))
VKEY = note.Key(ORIGIN, PUBLIC).line
FACTS: dict[str, Any] = {
    "org": "org_1",
    "person": "per_1",
    "ask_sha256": "00",
    "statistics": 3,
    "columns": ["性别"],
}


def signed(size: int, root: bytes, key: Ed25519PrivateKey = KEY, origin: str = ORIGIN) -> str:
    """A signed checkpoint."""
    text = note.checkpoint_text(origin, size, root)
    return note.signed(text, origin, key.public_key().public_bytes_raw(), key.sign(text.encode()))


def record_of(facts: dict[str, Any] = FACTS, index: int = 3) -> Record:
    """A record with fixed salts."""
    salts = b"".join(bytes([n + 1]) * rules.SALT_BYTES for n in range(len(facts)))
    made = rules.commit(facts, salts)
    return rules.record_of(index, "cleanroom.ask", 1_780_000_000_000, "org_1", dict(facts), made, salts)


def receipt(fields: dict[str, Any] = FACTS, record: Record | None = None) -> dict[str, Any]:
    """The receipt of the fourth of seven entries."""
    record, edge = record or record_of(), Edge()
    leaves = [leaf_hash(record.leaf.encode() if n == 3 else bytes([n])) for n in range(7)]
    for leaf in leaves:
        edge.append(leaf)
    path = Prover(7, lambda level, _: leaves if level == 0 else []).inclusion(3)
    return rules.receipt_of(record, fields, path, signed(7, edge.root()), VKEY)


WHOLE = json.loads(json.dumps(receipt()))


def test_a_receipt_verifies_and_says_whether_its_signer_is_known() -> None:
    unknown, pinned = rules.verify(WHOLE, None), rules.verify(WHOLE, VKEY + "\n")
    assert (unknown.ok, unknown.trusted, unknown.signer, unknown.step) == (True, False, ORIGIN, None)
    assert (pinned.ok, pinned.trusted) == (True, True)
    assert (pinned.index, pinned.size, pinned.act, pinned.facts) == (3, 7, "cleanroom.ask", FACTS)


@pytest.mark.parametrize(
    "key", [note.Key(ORIGIN, OTHER_PUBLIC).line, note.Key("other.example.org", PUBLIC).line]
)
def test_another_pinned_key_or_name_does_not_verify(key: str) -> None:
    verdict = rules.verify(WHOLE, key)
    assert (verdict.ok, verdict.trusted, verdict.step) == (False, False, "4 signature of the checkpoint")


@given(st.data())
def test_any_changed_character_of_any_part_fails(data: st.DataObject) -> None:
    text = json.dumps(WHOLE, ensure_ascii=False, separators=(",", ":"))
    place = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[place]))
    try:
        changed = json.loads(text[:place] + new + text[place + 1 :])
    except ValueError:
        return
    if changed != WHOLE:
        assert not rules.verify(changed, None).ok
        assert not rules.verify(changed, VKEY).ok


def _texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(value, str):
        yield path, value
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from _texts(inner, (*path, key))


@pytest.mark.parametrize("path", [path for path, _ in _texts(WHOLE)], ids=str)
def test_every_character_of_every_text_counts(path: tuple[Any, ...]) -> None:
    """Every position of every text, each with what a lenient reader would take for the same."""
    for place, old in enumerate(dict(_texts(WHOLE))[path]):
        for new in {old.swapcase(), " " + old, old + "\n", chr(ord(old) ^ 1), ""} - {old}:
            made = copy.deepcopy(WHOLE)
            owner = made
            for step in path[:-1]:
                owner = owner[step]
            owner[path[-1]] = owner[path[-1]][:place] + new + owner[path[-1]][place + 1 :]
            assert not rules.verify(made, None).ok, (path, place, new)


@pytest.mark.parametrize(
    ("member", "value", "step"),
    [
        ("type", "x", "1"),
        ("v", 2, "1"),
        ("index", 4, "3"),
        ("index", True, "1"),
        ("index", -1, "3"),
        ("index", "3", "1"),
        ("leaf", "{}", "1"),
        ("leaf", "[]", "1"),
        ("leaf", 3, "1"),
        ("path", [], "3"),
        ("path", None, "1"),
        ("path", [""] * 65, "1"),
        ("opened", {"org": 1}, "1"),
        ("opened", [], "1"),
        ("checkpoint", "x", "1"),
        ("vkey", "x", "1"),
        ("vkey", note.Key(ORIGIN, OTHER_PUBLIC).line, "4"),
        ("checkpoint", signed(7, b"r" * 32), "3"),
    ],
)
def test_the_first_failing_step_is_named(member: str, value: Any, step: str) -> None:
    verdict = rules.verify({**WHOLE, member: value}, None)
    assert not verdict.ok and str(verdict.step).startswith(step), verdict.step


def test_a_changed_fact_or_a_foreign_signature_is_named() -> None:
    changed = copy.deepcopy(WHOLE)
    changed["opened"]["statistics"]["value"] = 4
    assert rules.verify(changed, None).step == "2 opened facts"
    head = note.read_checkpoint(WHOLE["checkpoint"])
    forged = signed(7, head.root, OTHER)
    assert rules.verify({**WHOLE, "checkpoint": forged}, None).step == "4 signature of the checkpoint"


@pytest.mark.parametrize(
    "rubbish", [None, 1, "x", [], {}, {"type": "dujiang-receipt"}, {**WHOLE, "more": 1}], ids=str
)
def test_rubbish_is_no_receipt(rubbish: object) -> None:
    assert rules.verify(rubbish, None).step == "1 form of the receipt"


@given(st.sets(st.sampled_from(sorted(FACTS))))
def test_a_receipt_opens_the_given_fields_and_no_other(fields: set[str]) -> None:
    made = receipt({field: FACTS[field] for field in fields})
    assert rules.verify(made, VKEY).ok and set(made["opened"]) == fields
    for hidden in {"per_1", "性别"} - {str(FACTS[f][0] if f == "columns" else FACTS[f]) for f in fields}:
        assert hidden not in json.dumps(made, ensure_ascii=False)


def test_the_other_party_sees_no_person_and_the_overseer_all() -> None:
    record = record_of()
    assert (
        rules.visible(record, "org_1", oversees=False)
        == FACTS
        == rules.visible(record, "org_9", oversees=True)
    )
    assert set(rules.visible(record, "org_2", oversees=False)) == {"org", "statistics", "columns"}


def test_equal_facts_under_other_salts_have_other_commitments() -> None:
    one, other = (rules.commitment("org", "org_1", bytes([n]) * 16) for n in (1, 2))
    assert one != other and len(one) == 64


def test_erasing_a_salt_leaves_the_tree_standing_and_the_fact_closed() -> None:
    whole = record_of()
    salts = bytearray(b"".join(map(bytes.fromhex, whole.salts.values())))
    salts[16:32] = bytes(16)
    commitments = rules.commit(FACTS, b"".join(map(bytes.fromhex, whole.salts.values())))
    erased = rules.record_of(
        3, whole.act, whole.time_ms, "org_1", {**FACTS, "person": None}, commitments, bytes(salts)
    )
    assert erased.leaf == whole.leaf and erased.erased == ("person",)
    assert "person" not in erased.facts and "person" not in erased.salts
    made = receipt(erased.facts, erased)
    assert made["opened"]["person"] == {"erased": True}
    verdict = rules.verify(made, VKEY)
    assert verdict.ok and verdict.erased == ("person",) and verdict.facts == erased.facts
    assert rules.verify(WHOLE, VKEY).erased == (), "who kept the receipt of before can still prove it"


@pytest.mark.parametrize(
    "opening",
    [{"erased": False}, {"erased": 1}, {"erased": True, "salt": "00" * 16}, {"erased": True, "value": 1}, {}],
)
def test_erased_has_one_form(opening: dict[str, Any]) -> None:
    made = copy.deepcopy(WHOLE)
    made["opened"]["person"] = opening
    assert rules.verify(made, None).step == "1 form of the receipt"


def test_what_was_never_committed_cannot_be_said_to_be_erased() -> None:
    made = copy.deepcopy(WHOLE)
    made["opened"]["address"] = {"erased": True}
    assert rules.verify(made, None).step == "1 form of the receipt"


@given(
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True), st.text(max_size=20), min_size=1)
)
def test_a_leaf_is_canonical_json(facts: dict[str, Any]) -> None:
    salts = bytes(range(16)) * len(facts)
    leaf = rules.leaf_of("x.y", 5, facts, rules.commit(facts, salts))
    named = {field: rules.commitment(field, value, bytes(range(16))) for field, value in facts.items()}
    members = {"v": 1, "act": "x.y", "time_ms": 5, "suite": "intl", "commitments": named}
    assert leaf == canonical(members)


def test_a_verifier_key_is_read_as_written() -> None:
    assert note.read_vkey(VKEY) == (ORIGIN, PUBLIC)
    for wrong in ("", "a+b", VKEY[:-1], VKEY.replace("+", "+0", 1), "x" + VKEY, VKEY + "A", VKEY + "\n"):
        with pytest.raises(note.NotANote):
            note.read_vkey(wrong)


def test_a_checkpoint_is_read_as_written() -> None:
    head = note.read_checkpoint(signed(7, b"r" * 32))
    assert (head.origin, head.size, head.root) == (ORIGIN, 7, b"r" * 32)
    assert note.signed_by(head, ORIGIN, PUBLIC)
    assert not note.signed_by(head, "other", PUBLIC) and not note.signed_by(head, ORIGIN, OTHER_PUBLIC)


@given(st.data())
def test_a_truncated_checkpoint_is_none(data: st.DataObject) -> None:
    whole = signed(7, b"r" * 32)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        assert not note.signed_by(note.read_checkpoint(cut), ORIGIN, PUBLIC)
    except note.NotANote:
        return


@pytest.mark.parametrize("size", ["-1", "07", "", " 7", "7 ", "+7", "7.0", "٧", "9" * 19])
def test_a_size_has_one_form(size: str) -> None:
    text = f"{ORIGIN}\n{size}\n{base64.b64encode(b'r' * 32).decode()}\n"
    with pytest.raises(note.NotANote):
        note.read_checkpoint(note.signed(text, ORIGIN, PUBLIC, KEY.sign(text.encode())))


def test_a_cosigned_checkpoint_still_carries_its_own_signature() -> None:
    text = note.checkpoint_text(ORIGIN, 7, b"r" * 32)
    witness = note.signed(text, "witness", OTHER_PUBLIC, OTHER.sign(text.encode())).rpartition("\n\n")[2]
    head = note.read_checkpoint(signed(7, b"r" * 32) + witness)
    assert note.signed_by(head, ORIGIN, PUBLIC) and note.signed_by(head, "witness", OTHER_PUBLIC)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=400)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), VALUES, max_size=4), st.booleans())
@example({"a": {"\U0001f600": 1, "\uff00": 2}}, False)
@example({"a": {"\U0001f600": 1, "\uff00": 2}}, True)
@example({"\n": "\r\n\u2028"}, False)
@example({"a": 2**53 - 1}, False)
@example({"a": [1e22, -0.0, 1.0]}, False)
def test_what_is_committed_to_is_read_from_the_text_as_from_the_values(
    facts: dict[str, Any], ascii_only: bool
) -> None:
    """However it is read: quick where the text is plain, by the canonical rules everywhere."""
    text = json.dumps(facts, ensure_ascii=ascii_only)
    try:
        pairs = [canonical_pair(name, value) for name, value in json.loads(text).items()]
    except ValueError:
        assert rules.told(text)[1] is None
        return
    told, lines = rules.told(text)
    assert told == facts and lines is not None and lines.split(b"\n") == [*pairs, b""]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", '{"a":9007199254740992}', '{"a":' + "[" * 2000 + "]" * 2000 + "}"]
)
def test_a_text_of_no_facts_has_no_lines(text: str) -> None:
    assert rules.told(text)[1] is None
