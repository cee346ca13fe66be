"""A tlog-proof is read as it is written and in no other form; it proves one entry under one key."""

from __future__ import annotations

import base64
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.ledger import note, proof
from dujiang.ledger.tree import Edge, Prover, leaf_hash
from tests.ledger.test_rules import ORIGIN, PUBLIC, WHOLE, signed

HASHES = st.binary(min_size=32, max_size=32)
PROOFS = st.builds(
    proof.Proof, st.integers(0, 10**18 - 1), st.lists(HASHES, max_size=63).map(tuple),
    st.just(WHOLE["checkpoint"]), st.none() | st.binary(max_size=20),
)  # fmt: skip


def made(index: int = 3, size: int = 7) -> tuple[proof.Proof, bytes]:
    """A true proof of an entry, and the entry."""
    edge, leaves = Edge(), [leaf_hash(bytes([n])) for n in range(size)]
    for leaf in leaves:
        edge.append(leaf)
    path = Prover(size, lambda level, _: leaves if level == 0 else []).inclusion(index)
    return proof.Proof(index, tuple(path), signed(size, edge.root())), bytes([index])


@given(PROOFS)
def test_a_proof_is_read_back_from_its_text(one: proof.Proof) -> None:
    assert proof.read(proof.written(one)) == one


@given(PROOFS, st.data())
def test_what_is_read_is_written_so(one: proof.Proof, data: st.DataObject) -> None:
    text = proof.written(one)
    place = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.characters(codec="utf-8") | st.just("") | st.sampled_from("\n 0="))
    changed = text[:place] + new + text[place + 1 :]
    try:
        assert proof.written(proof.read(changed)) == changed
    except proof.NotAProof:
        return


def test_a_true_proof_holds_and_for_no_other_entry_index_or_path() -> None:
    one, entry = made()
    assert proof.holds(one, entry)
    assert not proof.holds(one, entry + b"x")
    for changed in (proof.Proof(2, one.path, one.checkpoint), proof.Proof(3, one.path[:-1], one.checkpoint)):
        assert not proof.holds(changed, entry)


def test_the_only_entry_of_a_log_has_an_empty_path() -> None:
    one, entry = made(0, 1)
    assert one.path == () and proof.read(proof.written(one)) == one
    assert proof.holds(one, entry)


TEXT = proof.written(made()[0])
LINE = TEXT.split("\n")[2]


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", TEXT.removesuffix("\n"), TEXT + "\n", "\n" + TEXT, TEXT.replace("@v1", "@v2"),
        TEXT.replace("index 3", "index 03"),
        TEXT.replace("index 3", "index -3"), TEXT.replace("index 3", "index"), TEXT.replace("index 3", "index ٣"),
        TEXT.replace("index 3", "index 3 "), TEXT.replace("index 3\n", ""),
        TEXT.replace("index 3", "index 3\nextra AA=="),
        TEXT.replace("index 3", "extra \nextra \nindex 3"), TEXT.replace("index 3", "extra A\nindex 3"),
        TEXT.replace(LINE, LINE[:-1]), TEXT.replace(LINE, base64.b64encode(b"x" * 31).decode()),
        TEXT.replace(LINE, LINE + " "),
        TEXT.replace("\n", "\r\n"), TEXT.replace(LINE, "\n".join([LINE] * 64)), TEXT.replace("\n\n", "\n", 1),
        TEXT + "x" * (1 << 17), TEXT.partition("\n\n")[0] + "\n\n", TEXT.replace("index 3", "index " + "9" * 19),
    ],
)  # fmt: skip
def test_another_form_is_no_proof(text: str) -> None:
    with pytest.raises(proof.NotAProof):
        proof.read(text)


def test_a_receipt_gives_the_same_proof_and_its_entry() -> None:
    text, entry = proof.of_receipt(WHOLE)
    read = proof.read(text)
    assert (read.index, read.checkpoint, entry) == (3, WHOLE["checkpoint"], WHOLE["leaf"].encode())
    assert proof.holds(read, entry)
    assert note.read_vkey(WHOLE["vkey"]) == (ORIGIN, PUBLIC)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("index", "3"),
        ("index", True),
        ("path", None),
        ("path", ["x"]),
        ("leaf", 1),
        ("checkpoint", "x"),
        ("index", -1),
    ],
)
def test_what_is_no_receipt_gives_none(member: str, value: object) -> None:
    wrong = copy.deepcopy(json.loads(json.dumps(WHOLE)))
    wrong[member] = value
    with pytest.raises(proof.NotAProof):
        proof.of_receipt(wrong)
