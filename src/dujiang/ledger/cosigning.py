"""Acts of cosigning, which the node itself runs: heads of other logs, this log's published head, witnesses' answers.

1. A head is cosigned and kept in one transaction of the writer, and answered only once that is durable.
2. Nothing is cosigned but a true extension of what was cosigned before: never two roots of one size.
3. This log's own further line (ML-DSA-44) is signed when a head is published, never while an act waits.
4. A witness's answer is kept line by line, and only lines that are true under the keys it was appointed with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.plugs import Vault
from dujiang.kernel.tables import Session
from dujiang.ledger import keyring, note, store, witness, witness_store
from dujiang.ledger.model import HEAD_NOT_SIGNED, LOG_NOT_WATCHED, NOT_A_WITNESS_REQUEST
from dujiang.ledger.note import COSIGNATURE, ED25519, MLDSA44, Key, NotANote, in_base64

_PURPOSE = "witness"
_EVIDENCE_MAX = 16
"""Of each kind and log; the first proofs of a fork are among them."""
_HOUR_MS = 3_600_000
LEAST, FRESH_S = 1, 30
"""The quorum before anybody set one: any witness, within half a minute."""


@dataclass(frozen=True, slots=True)
class Cosign:
    """A request as it came to `POST /log/add-checkpoint`."""

    request: str


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The status of the answer; the lines if it is 200, and the size that is known."""

    status: int
    size: int
    lines: str = ""


@dataclass(frozen=True, slots=True)
class Publish:
    """Signs this log's further line under its newest head."""


@dataclass(frozen=True, slots=True)
class Published:
    """The newest head with all its lines."""

    size: int
    note: str


@dataclass(frozen=True, slots=True)
class Collect:
    """What came of asking a witness for a head of `size`."""

    name: str
    size: int
    lines: str = ""
    """What it answered; empty if it failed."""
    failure: str = ""
    """The word for what failed."""
    known: int | None = None
    """The size it says it knows."""


@dataclass(frozen=True, slots=True)
class Collected:
    """How many true lines were kept."""

    kept: int


def prepare_cosign(node: Node, caller: Caller, ask: Cosign) -> tuple[witness.Request, str]:
    """The request as read, and the keys under which its head is truly signed.

    Raises: Refused not_a_witness_request, log_not_watched, head_not_signed.
    """
    del caller
    try:
        request = witness.read_request(ask.request.encode())
    except (NotANote, UnicodeEncodeError):
        raise Refused(NOT_A_WITNESS_REQUEST) from None
    with node.database.reading() as db:
        vkeys = _watched(db, request.head.origin).vkeys
    _truly_signed(request.head, vkeys)
    return request, vkeys


def cosign(tx: Tx, caller: Caller, ask: Cosign, facts: tuple[witness.Request, str]) -> Cosigned:
    """The answer to a request: what is cosigned is kept in this transaction, what may be evidence too.

    Raises: Refused log_not_watched, head_not_signed.
    """
    del caller
    request, checked = facts
    head = request.head
    log = _watched(tx.db, head.origin)
    if log.vkeys != checked:
        _truly_signed(head, log.vkeys)
    size = log.size
    found = witness.verdict(request, size, log.root, witness_store.seen(tx.db, head.origin, head.size))
    if found.status == 200:
        lines = _cosigned(tx, head)
        signed = note.with_lines(_log_lines_only(request.note, head, log.vkeys), lines)
        witness_store.move_watched(tx.db, head.origin, head.size, head.root, signed, tx.now_ms)
        return Cosigned(200, head.size, "".join(lines))
    conflict = found.conflict
    if conflict is witness.Conflict.unproved and witness_store.twins(
        tx.db, head.origin, head.size, head.root
    ):
        conflict = witness.Conflict.roots
    if conflict is not None and _room(tx.db, head.origin, conflict, size):
        witness_store.add_fork(
            tx.db, head.origin, head.size, head.root, conflict.value, size, tx.now_ms, ask.request.encode()
        )  # fmt: skip
    return Cosigned(found.status, size)


def _room(db: Session, origin: str, conflict: witness.Conflict, size: int) -> bool:
    """Whether one more piece of evidence is kept. A stranger can send true heads with broken proofs by the dozen:
    those the log has passed since make room, so that they never stand for good in the way of others."""
    if witness_store.forks_of(db, origin, conflict.value) < _EVIDENCE_MAX:
        return True
    return not conflict.proves and witness_store.drop_passed(db, origin, size)


def publish(tx: Tx, caller: Caller, ask: Publish) -> Published:
    """The newest head, under which this log's further line is signed now if it was not."""
    del caller, ask
    own_keys(tx)
    newest, origin = store.checkpoint(tx.db), _origin(tx.db)
    assert newest is not None
    size, signed = newest
    kept = witness_store.lines(tx.db, size)
    if not any(f" {origin} " in line for line in kept):
        head = note.read_checkpoint(signed)
        for key, sign in _signers(tx.db, tx.node.vault, origin):
            line = note.cosigned(head, key, tx.now_ms // 1000, sign)
            witness_store.add_line(tx.db, size, origin, key.kind, True, line, tx.now_ms)
            _thin(tx.db, size, origin, tx.now_ms)
            kept = [line, *kept]
    return Published(size, note.with_lines(signed, kept))


def collect(tx: Tx, caller: Caller, ask: Collect) -> Collected:
    """How many true lines a witness's answer had; they are kept, and what came of asking it."""
    del caller
    known = next((each for each in witness_store.witnesses(tx.db) if each.name == ask.name), None)
    if known is None:
        return Collected(0)
    before, cosigned, cosigned_ms = known.known, known.cosigned, known.cosigned_ms
    kept, failure = 0, ask.failure
    if ask.lines:
        try:
            kept = _keep(tx, ask.size, ask.lines, keys_of(known.vkeys))
        except NotANote as odd:
            failure = "lied" if isinstance(odd, note.Spoiled) else "odd"
        else:
            failure = "" if kept else "odd"
    if kept:
        before, cosigned, cosigned_ms = ask.size, max(ask.size, cosigned), tx.now_ms
    elif ask.known is not None:
        before = ask.known
    witness_store.tried(
        tx.db, ask.name, known=before, cosigned=cosigned, cosigned_ms=cosigned_ms, asked_ms=tx.now_ms,
        failures=known.failures + 1 if failure else 0, failure=failure,
    )  # fmt: skip
    return Collected(kept)


def own_keys(tx: Tx) -> None:
    """Makes this node's keys as a witness, and the log's further key, where there are none yet."""
    origin = _origin(tx.db)
    for name, kinds in ((origin, (MLDSA44,)), (f"{origin}/witness", (COSIGNATURE, MLDSA44))):
        have = {kind for kind, _, _ in witness_store.cosigner(tx.db, name)}
        for kind in kinds:
            if kind not in have:
                public, private = _made(kind)
                sealed = tx.node.vault.seal(private, _PURPOSE)
                witness_store.add_cosigner(tx.db, name, kind, public, sealed)


def witness_name(db: Session) -> str:
    """This node's name as a witness: a home that goes on under a new log name is another witness, too."""
    return f"{_origin(db)}/witness"


def vkeys(db: Session) -> list[str]:
    """The verifier keys of this node beside the log's Ed25519 ones: its ML-DSA-44 key, then those of the witness."""
    origin = _origin(db)
    return [key.line for name in (origin, f"{origin}/witness") for key in keys_under(db, name)]


def keys_under(db: Session, name: str) -> list[Key]:
    """The keys this node cosigns with under a name, in the order of their kinds."""
    return [Key(name, public, kind) for kind, public, _ in witness_store.cosigner(db, name)]


def quorum_of(db: Session) -> tuple[int, int]:
    """How many witnesses must cosign, and within how many seconds; none where none is appointed."""
    least, fresh_s = witness_store.quorum(db) or (LEAST, FRESH_S)
    return (least, fresh_s) if witness_store.witnesses(db) else (0, fresh_s)


def published(db: Session, now_ms: int, least_size: int = 0) -> tuple[int, str]:
    """The head that is published, with its lines: the newest that the quorum cosigned while fresh, else the newest.

    `least_size`: what was published before; no smaller tree is given then, so that what is read only grows.
    """
    newest = store.checkpoint(db)
    assert newest is not None
    least, fresh_s = quorum_of(db)
    size = witness_store.cosigned_last(db, least) if least else 0
    if least_size <= size < newest[0] and size and lag_ms(db, size, now_ms) <= fresh_s * 1000:
        signed = store.checkpoint_at(db, size)
        if signed is not None:
            return size, note.with_lines(signed, witness_store.lines(db, size))
    return newest[0], note.with_lines(newest[1], witness_store.lines(db, newest[0]))


def covering(db: Session, index: int) -> tuple[int, str] | None:
    """The first head that covers an entry and that the quorum cosigned, or else any witness, with its lines."""
    least, _ = quorum_of(db)
    size = witness_store.cosigned_for(db, index, max(least, 1)) or witness_store.cosigned_for(db, index, 1)
    signed = store.checkpoint_at(db, size) if size is not None else None
    if size is None or signed is None:
        return None
    return size, note.with_lines(signed, witness_store.lines(db, size))


@dataclass(frozen=True, slots=True)
class Turn:
    """A witness to be asked now."""

    name: str
    url: str
    known: int
    """The size it knows, as far as this node knows."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the loop has to do now."""

    due: tuple[Turn, ...]
    unsigned: bool
    """Whether the newest head lacks this log's further line, or this node its keys."""
    pause_s: float
    """In how many seconds somebody is due if nothing is committed."""


def look(db: Session, now_ms: int) -> Look:
    """What the loop has to do now: whom to ask, and whether a head is to be signed."""
    newest = store.checkpoint(db)
    size = newest[0] if newest else 0
    _, fresh_s = quorum_of(db)
    due: list[Turn] = []
    pause_s = float(fresh_s)
    last = witness_store.own_last(db)
    left_s = 0 if last is None else (last[1] - now_ms) / 1000 + fresh_s / 10
    unsigned = last is None or (last[0] < size and (left_s <= 0 or left_s > fresh_s))
    if last is not None and last[0] < size and not unsigned:
        pause_s = min(pause_s, left_s)
    for each in witness_store.witnesses(db):
        if each.cosigned >= size and not each.failure:
            continue
        wait_ms = _wait_ms(fresh_s, each.failures)
        left_ms = each.asked_ms + wait_ms - now_ms
        # A clock that was put back must not silence a witness.
        if left_ms <= 0 or left_ms > wait_ms:
            due.append(Turn(each.name, each.url, each.known))
        else:
            pause_s = min(pause_s, left_ms / 1000)
    return Look(tuple(due), unsigned, pause_s)


def contradicts(db: Session) -> bool:
    """Whether this home's tree is not the one whose head was cosigned last: then nothing may be sent."""
    size = witness_store.cosigned_last(db, 1)
    signed = store.checkpoint_at(db, size) if size else None
    if not size:
        return False
    if signed is None:
        return True
    try:
        root = store.tree(db, size).root()
    except IndexError:
        return True
    return note.read_checkpoint(signed).root != root


def growth(db: Session, old: int, new: int) -> list[str]:
    """The proof in base64 that the tree of `old` leaves is a prefix of the one of `new`; none from 0 or to itself."""
    if not 0 < old < new:
        return []
    proof = store.tree(db, new).consistency(old)
    return [in_base64(step) for step in proof]


def _wait_ms(fresh_s: int, failures: int) -> int:
    """How long a witness is left alone: a busy log is not sent at every commit, nor one that fails at every turn."""
    return min(60_000, 250 << min(failures, 12)) if failures else min(60_000, fresh_s * 100)


def lag_ms(db: Session, size: int, now_ms: int) -> int:
    """How long the first entry beyond a size has waited."""
    beyond = store.entry(db, size)
    return 0 if beyond is None else now_ms - beyond.time_ms


def _origin(db: Session) -> str:
    """The name that the newest head has: what signs beside it and what watches have that name, too."""
    return keyring.signing(db)[-1].origin


def keys_of(vkeys: str) -> list[Key]:
    """The keys of a text as it is kept, one a line."""
    return [note.read_key(line) for line in vkeys.split("\n")]


def _watched(db: Session, origin: str) -> witness_store.Log:
    known = witness_store.log(db, origin)
    if known is None or not known.active:
        raise Refused(LOG_NOT_WATCHED)
    return known


def _truly_signed(head: note.Checkpoint, vkeys: str) -> None:
    """By an Ed25519 key of the log at least, and by no key falsely."""
    try:
        found = note.signatures(head, keys_of(vkeys))
    except note.Spoiled:
        raise Refused(HEAD_NOT_SIGNED) from None
    if not any(each.key.kind == ED25519 for each in found):
        raise Refused(HEAD_NOT_SIGNED)


def _log_lines_only(text: str, head: note.Checkpoint, vkeys: str) -> str:
    """The note with the log's own lines: what strangers added is not handed on."""
    own = [each.line for each in note.signatures(head, keys_of(vkeys))]
    return text.rpartition("\n\n")[0] + "\n\n" + "".join(own)


def _cosigned(tx: Tx, head: note.Checkpoint) -> list[str]:
    own_keys(tx)
    signers = _signers(tx.db, tx.node.vault, witness_name(tx.db))
    return [note.cosigned(head, key, tx.now_ms // 1000, sign) for key, sign in signers]


def _keep(tx: Tx, size: int, lines: str, keys: list[Key]) -> int:
    signed = store.checkpoint_at(tx.db, size)
    if signed is None:
        return 0
    note.read_lines(lines)
    found = note.signatures(
        note.read_checkpoint(note.with_lines(signed, lines.splitlines(keepends=True))), keys
    )
    for each in found:
        witness_store.add_line(tx.db, size, each.key.name, each.key.kind, False, each.line, tx.now_ms)
    if found:
        _thin(tx.db, size, found[0].key.name, tx.now_ms)
    return len(found)


def _thin(db: Session, size: int, name: str, now_ms: int) -> None:
    """One ML-DSA-44 line (3.3 kB) an hour stays of each key; of Ed25519 every one."""
    witness_store.thin_lines(db, size, name, MLDSA44, now_ms // _HOUR_MS * _HOUR_MS)


def _signers(db: Session, vault: Vault, name: str) -> list[tuple[Key, Callable[[bytes], bytes]]]:
    found: list[tuple[Key, Callable[[bytes], bytes]]] = []
    for kind, public, sealed in witness_store.cosigner(db, name):
        found.append((Key(name, public, kind), _signer(vault, kind, sealed)))
    return found


def _signer(vault: Vault, kind: int, sealed: bytes) -> Callable[[bytes], bytes]:
    if kind == COSIGNATURE:
        return lambda message: vault.sign(sealed, _PURPOSE, message)
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

    return MLDSA44PrivateKey.from_seed_bytes(vault.open(sealed, _PURPOSE)).sign


def _made(kind: int) -> tuple[bytes, bytes]:
    """The public and the private bytes of a new key."""
    private: Any
    if kind == COSIGNATURE:
        private = Ed25519PrivateKey.generate()
    else:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

        private = MLDSA44PrivateKey.generate()
    return private.public_key().public_bytes_raw(), private.private_bytes_raw()
