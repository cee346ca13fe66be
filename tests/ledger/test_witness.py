"""Notes of many signatures, the verdict of a witness, and trust policies: pure laws."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.ledger import note, witness
from dujiang.ledger.witness import Conflict, Verdict
from tests.ledger.foreign import ForeignLog

LOG = ForeignLog().grow(40)
FORKED = ForeignLog().grow(11)
FORKED.leaves[10] = bytes(32)
FORKED.grow(40)
WITNESSES = [ForeignLog(f"w{n}.example.org", n) for n in range(20)]
KEYS = [note.Key(each.origin, each.keys[0].public, note.COSIGNATURE) for each in WITNESSES]


def cosigned(count: int, size: int = 40) -> note.Checkpoint:
    """A head with both lines of its log and the cosignatures of so many witnesses."""
    signed = LOG.head(size, second=True)
    head = note.read_checkpoint(signed)
    lines = [
        note.cosigned(head, key, 1_780_000_000 + n, each.private.sign)
        for n, (key, each) in enumerate(zip(KEYS[:count], WITNESSES, strict=False))
    ]
    return note.read_checkpoint(note.with_lines(signed, lines))


def wounded(head: note.Checkpoint, place: int) -> note.Checkpoint:
    """The head with one bit of one signature changed."""
    lines = list(head.signatures)
    name, raw = lines[place]
    lines[place] = (name, raw[:-1] + bytes([raw[-1] ^ 1]))
    return note.Checkpoint(head.origin, head.size, head.root, head.text, tuple(lines))


def test_every_line_of_every_kind_is_true_and_says_when() -> None:
    head = cosigned(20)
    found = note.signatures(head, [*LOG.keys, *KEYS])
    assert [each.key for each in found] == [*LOG.keys, *KEYS] and len(head.signatures) == 22
    assert [each.time_s for each in found[:3]] == [None, 1_780_000_000, 1_780_000_000]


@pytest.mark.parametrize("place", range(4))
def test_a_false_line_of_a_known_key_spoils_the_note_and_one_of_a_stranger_does_not(place: int) -> None:
    head = wounded(cosigned(2), place)
    known = [*LOG.keys, *KEYS[:2]]
    with pytest.raises(note.Spoiled):
        note.signatures(head, known)
    others = [key for n, key in enumerate(known) if n != place]
    assert [each.key for each in note.signatures(head, others)] == others


@pytest.mark.parametrize("size", [0, 39])
def test_a_cosignature_is_of_one_tree_alone(size: int) -> None:
    lines = cosigned(1).signatures
    moved = note.read_checkpoint(LOG.head(size))
    with pytest.raises(note.Spoiled):
        note.signatures(note.Checkpoint(moved.origin, moved.size, moved.root, moved.text, lines), KEYS)
    with pytest.raises(note.Spoiled):
        note.signatures(
            note.Checkpoint(moved.origin, moved.size, moved.root, moved.text, lines), LOG.keys[1:]
        )


@pytest.mark.parametrize("key", [*LOG.keys, KEYS[0]])
def test_a_verifier_key_reads_as_it_was_written_and_in_no_other_form(key: note.Key) -> None:
    assert note.read_key(key.line) == key
    name, digits, raw = key.line.split("+", 2)
    other = "00000000" if digits != "00000000" else "11111111"
    for wrong in (f"{name}+{other}+{raw}", f"x{key.line}", f"{name}+{digits}+{raw[4:]}", key.line + "\n", ""):
        with pytest.raises(note.NotANote):
            note.read_key(wrong)
    if key.kind != note.ED25519:
        with pytest.raises(note.NotANote):
            note.read_vkey(key.line)


def test_more_lines_than_anybody_needs_are_no_note() -> None:
    head = cosigned(0)
    signed = LOG.head()
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    lines = [
        note.cosigned(head, note.Key(f"n{n}", other.public_key().public_bytes_raw(), 4), n, other.sign)
        for n in range(64)
    ]
    assert note.read_checkpoint(note.with_lines(signed, lines[:63]))
    with pytest.raises(note.NotANote):
        note.read_checkpoint(note.with_lines(signed, lines))


def verdict(request: bytes, size: int = 10, root: bytes | None = None, known: bytes | None = None) -> Verdict:
    """The verdict of a witness that cosigned the honest log at a size."""
    return witness.verdict(
        witness.read_request(request), size, root or (LOG.root(size) if size else None), known
    )


def test_what_extends_the_known_tree_is_cosigned() -> None:
    assert (
        verdict(LOG.request(0), 0) == verdict(LOG.request(10)) == verdict(LOG.request(10, 10)) == Verdict(200)
    )
    empty = ForeignLog()
    assert witness.verdict(witness.read_request(empty.request(0)), 0, None, None) == Verdict(200)
    assert verdict(LOG.request(0, 5), 0, empty.root(0)) == Verdict(200)


def test_an_old_size_that_is_not_the_known_one_is_a_conflict_and_another_known_root_is_evidence() -> None:
    for old in (0, 9, 11):
        assert verdict(LOG.request(old)) == Verdict(409)
    assert verdict(FORKED.request(0, 30), 35, known=LOG.root(30)) == Verdict(409, Conflict.roots)


def test_another_past_is_refused_and_known_for_what_it_is() -> None:
    assert verdict(FORKED.request(11, 11), 11) == Verdict(422, Conflict.roots)
    assert verdict(FORKED.request(11), 11) == Verdict(422, Conflict.rewritten)
    assert verdict(FORKED.request(16), 16) == Verdict(422, Conflict.unproved)
    # What anybody can send with a true head is no proof against the log.
    broken = LOG.request(11).replace(LOG.proof(11, 40)[2].encode(), LOG.proof(11, 40)[0].encode())
    assert verdict(broken, 11) == Verdict(422, Conflict.unproved)
    longer = witness.write_request(10, LOG.proof(10, 11), LOG.head(10))
    assert verdict(longer) == Verdict(422)


@given(st.integers(1, 39), st.integers(1, 40), st.booleans(), st.data())
@settings(max_examples=120, deadline=None)
def test_only_a_true_extension_is_ever_cosigned(size: int, new: int, fork: bool, data: st.DataObject) -> None:
    log = FORKED if fork else LOG
    old = data.draw(st.sampled_from([size, new, 0, 40]))
    proof = data.draw(st.permutations(log.proof(size, new))) if size < new else []
    if old > new:
        return
    found = verdict(witness.write_request(old, proof, log.head(new)), size)
    honest = old == size <= new and (not fork or size <= 10)
    right = proof == log.proof(size, new)
    assert (found.status == 200) == (honest and right)
    if found.conflict is not None and found.conflict.proves:
        assert fork and size > 10


@pytest.mark.parametrize(
    "wrong",
    [
        b"", b"old 5\n", b"old -1\n\n", b"old 05\n\n", b"new 5\n\n", b"old 5 \n\n", b"old \n\n", b"\xff\n\n",
        b"old 0\nAAAA\n\n", b"old 0\n!\n\n", b"old 41\n\n", b"old 9999999999999999999\n\n", b"old 5\r\n\n",
        b"old 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\n",
    ],
)  # fmt: skip
def test_what_is_no_request_is_none(wrong: bytes) -> None:
    with pytest.raises(note.NotANote):
        witness.read_request(wrong + (LOG.head().encode() if wrong.endswith(b"\n\n") else b""))


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_bytes_of_a_stranger_are_a_request_or_not_a_note(raw: bytes) -> None:
    for text in (raw, b"old 0\n\n" + raw):
        try:
            witness.read_request(text)
        except note.NotANote:
            continue


A = f"witness a {KEYS[0].line}\n"
TREE = f"""# ours
log {LOG.keys[0].line} https://log.example.org/

witness a {KEYS[0].line} https://a.example.org
witness\tb  {KEYS[1].line}
  witness c {KEYS[2].line}
group ab any a b
group top all ab c
quorum top
"""


@pytest.mark.parametrize(
    ("who", "enough"), [((0, 2), True), ((1, 2), True), ((0, 1), False), ((2,), False), ((), False)]
)
def test_a_policy_counts_its_groups(who: tuple[int, ...], enough: bool) -> None:
    signed = LOG.head()
    head = note.read_checkpoint(signed)
    lines = [note.cosigned(head, KEYS[n], 1, WITNESSES[n].private.sign) for n in who]
    policy = witness.read_policy(TREE)
    cosigned_head = note.read_checkpoint(note.with_lines(signed, lines))
    assert witness.satisfied(policy, cosigned_head) is enough
    assert set(witness.cosigners(policy, cosigned_head)) == {"abc"[n] for n in who}


def test_a_policy_wants_its_log_and_true_lines() -> None:
    policy = witness.read_policy(TREE)
    assert witness.satisfied(policy, cosigned(3)) and not witness.satisfied(policy, wounded(cosigned(3), 2))
    other = ForeignLog("third.example.org", 3).grow(3)
    assert not witness.satisfied(policy, note.read_checkpoint(other.head()))
    assert witness.satisfied(witness.read_policy("quorum none"), note.read_checkpoint(other.head()))
    assert witness.satisfied(witness.read_policy(f"witness a {KEYS[0].line}\nquorum a\n"), cosigned(1))


@pytest.mark.parametrize("least", range(4))
def test_the_policy_this_program_writes_is_read_again(least: int) -> None:
    text = witness.write_policy([LOG.keys[0]], [(key, "http://w") for key in KEYS[:3]], least)
    policy = witness.read_policy(text)
    assert [witness.satisfied(policy, cosigned(n)) for n in range(4)] == [n >= least for n in range(4)]


@pytest.mark.parametrize(
    "wrong",
    [
        "", "quorum x", "quorum none\nquorum none", A.strip(), "group g any", "witness a b\nquorum a",
        f"{A}witness a {KEYS[1].line}\nquorum a", f"{A}witness b {KEYS[0].line}\nquorum a",
        f"witness all {KEYS[0].line}\nquorum all", f"witness a {LOG.keys[0].line}\nquorum a",
        f"{A}group g 0 a\nquorum g", f"{A}group g 2 a\nquorum g", f"{A}group g -1 a\nquorum g",
        f"{A}group g any a a\nquorum g", f"{A}group g any a\ngroup h any a\nquorum g",
        f"group g any a\n{A}quorum g", f"log {KEYS[0].line}\nquorum none",
        f"log {LOG.keys[0].line}\nlog {LOG.keys[0].line}\nquorum none", "quorum none\r\n", "trust me\nquorum none",
        f"witness a {KEYS[0].line} u v\nquorum a",
    ],
)  # fmt: skip
def test_what_is_no_policy_is_none(wrong: str) -> None:
    with pytest.raises(note.NotANote):
        witness.read_policy(wrong)
