"""Acts of witnesses: who cosigns this log and how many must, which logs this node cosigns, what was shown to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.ledger import cosigning, keyring, note, store, witness, witness_store
from dujiang.ledger.cosigning import FRESH_S, keys_of
from dujiang.ledger.model import NOT_A_URL, NOT_A_VKEY, QUORUM_TOO_LARGE
from dujiang.ledger.note import COSIGNATURE, ED25519, MLDSA44, Key, NotANote, in_base64

_VKEYS_MAX = 8
_URL_CHARACTERS_MAX = 300
FAILURES = {
    "": ("", ""),
    "unreachable": ("It did not answer in time.", "未按时应答。"),
    "odd": ("It did not answer as a witness does.", "其应答不符合见证方协议。"),
    "lied": ("Its signature is not true under the keys it was appointed with.", "其签名与任命时的公钥不符。"),
    "unknown": ("It does not watch this log (404).", "其未监看本日志（404）。"),
    "unsigned": ("It does not know this log's key (403).", "其不识别本日志的密钥（403）。"),
    "refused": (
        "It was shown another history of this log and refuses this one (422).",
        "其收到过本日志的另一份历史，拒绝联署当前历史（422）。",
    ),
    "ahead": (
        "It has cosigned more of this log than this home holds: an older copy was put back, or it lies.",
        "其已联署的长度超过本节点目录所存：曾放回较旧副本，或其说谎。",
    ),
    "contradiction": (
        "This home's tree is not the one that was cosigned: nothing was sent.",
        "本节点的树与已联署的不一致：未发送任何内容。",
    ),
}
"""What can have come of asking a witness, by the word it is kept by, in English and in Chinese."""
ALARMS = frozenset({"refused", "ahead", "contradiction", "lied"})
"""What does not pass by itself."""


@dataclass(frozen=True, slots=True)
class Appoint:
    """A node, or another witness, that is to cosign this log."""

    url: str
    """Its address: checkpoints go to URL/add-checkpoint; of a Dujiang node http://HOST:PORT/log."""
    vkeys: tuple[str, ...]
    """Its verifier keys (types 04 and 06), all of one name."""


@dataclass(frozen=True, slots=True)
class Appointed:
    """The witness as it is kept."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Dismiss:
    """A witness that is asked no more; what it cosigned stays."""

    name: str
    """The name in its verifier keys."""


@dataclass(frozen=True, slots=True)
class Dismissed:
    """Nothing is sent to it any more."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A log that this node is to cosign."""

    vkeys: tuple[str, ...]
    """Its verifier keys (types 01 and 06), all of one name, which is the log's origin."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The log as it is watched, and the size that was cosigned of it last."""

    origin: str
    size: int


@dataclass(frozen=True, slots=True)
class Unwatch:
    """A log that is cosigned no more; what was cosigned of it is remembered."""

    origin: str
    """Its origin."""


@dataclass(frozen=True, slots=True)
class Unwatched:
    """Its heads are refused from now on."""


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many of the appointed witnesses must cosign a head, and how soon."""

    least: int
    """At least so many; 0: none is needed."""
    fresh_s: int = FRESH_S
    """Within so many seconds after the head was made; later the node says that it is behind."""


@dataclass(frozen=True, slots=True)
class Required:
    """The policy as it is published (`GET /log/witness-policy`)."""

    policy: str


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Whoever is a member sees them."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A witness of this log: what it cosigned last, and what came of asking it last."""

    name: str
    url: str
    cosigned: int
    cosigned_ms: int
    failures: int
    """Failed tries since it last cosigned."""
    failure: str
    why: str
    why_zh: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A log that this node watches, and what it cosigned of it last."""

    origin: str
    active: bool
    size: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Overview:
    """How this log stands with its witnesses, and this node with the logs it watches."""

    size: int
    cosigned: int
    """The newest size that the quorum has cosigned."""
    fresh: bool
    """Whether the quorum has cosigned all that is older than `fresh_s`."""
    least: int
    fresh_s: int
    witnesses: tuple[Standing, ...]
    watched: tuple[Seen, ...]
    forks: int
    """Proofs that a watched log forked."""
    unproved: int
    """Heads that were not shown to extend what was cosigned; a stranger may have sent them."""
    vkey: str | None
    """This node's own Ed25519 key as a witness; all its keys stand at /log/vkeys."""


@dataclass(frozen=True, slots=True)
class Forks:
    """The evidence of all logs."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A checkpoint with the log's own signature that this node did not cosign, and why."""

    origin: str
    size: int
    root: str
    """In base64."""
    conflict: str
    """roots: two roots of one size; rewritten: it shows another past; unproved: no proof that it goes on."""
    proves: bool
    """Whether the log's signatures alone prove that it forked."""
    known: int
    """The size that had been cosigned."""
    time_ms: int
    request: str
    """The whole request as it came: with the head cosigned before it can be shown to anybody."""


@dataclass(frozen=True, slots=True)
class Found:
    """All that is kept, oldest first."""

    items: tuple[Evidence, ...]


def appoint(tx: Tx, caller: Caller, ask: Appoint) -> Appointed:
    """The witness is asked for every head from now on.

    Raises: Refused not_a_vkey, not_a_url.
    """
    del caller
    keys = _keys_of(ask.vkeys, (COSIGNATURE, MLDSA44))
    url = ask.url.rstrip("/").removesuffix("/add-checkpoint")
    plain = url.isascii() and url.isprintable() and not set(url) & set(' "<>@#?')
    if not plain or not url.startswith(("http://", "https://")) or len(url) > _URL_CHARACTERS_MAX:
        raise Refused(NOT_A_URL)
    name, lines = keys[0].name, tuple(key.line for key in keys)
    if name == cosigning.witness_name(tx.db):
        raise Refused(NOT_A_VKEY)
    witness_store.put_witness(tx.db, name, url, "\n".join(lines))
    tx.tell(witness=name, url=url, **_named(keys))
    return Appointed(name, url)


def dismiss(tx: Tx, caller: Caller, ask: Dismiss) -> Dismissed:
    """The witness is asked no more.

    Raises: Refused not_found, quorum_too_large.
    """
    del caller
    if not witness_store.drop_witness(tx.db, ask.name):
        raise Refused(NOT_FOUND)
    required, left = witness_store.quorum(tx.db), len(witness_store.witnesses(tx.db))
    if required is not None and required[0] > left:
        raise Refused(QUORUM_TOO_LARGE, most=left)
    tx.tell(witness=ask.name)
    return Dismissed()


def watch(tx: Tx, caller: Caller, ask: Watch) -> Watched:
    """The log's heads are cosigned from now on; of a log that was watched before, from where that ended.

    Raises: Refused not_a_vkey.
    """
    del caller
    keys = _keys_of(ask.vkeys, (ED25519, MLDSA44))
    origin = keys[0].name
    if not any(key.kind == ED25519 for key in keys) or origin in {key.origin for key in store.keys(tx.db)}:
        raise Refused(NOT_A_VKEY)
    before, lines = witness_store.log(tx.db, origin), [key.line for key in keys]
    witness_store.put_watched(tx.db, origin, witness.address_of(origin), "\n".join(lines))
    tx.tell(log=origin, **_named(keys))
    return Watched(origin, before.size if before else 0)


def unwatch(tx: Tx, caller: Caller, ask: Unwatch) -> Unwatched:
    """The log's heads are refused from now on.

    Raises: Refused not_found.
    """
    del caller
    if not witness_store.end_watched(tx.db, ask.origin):
        raise Refused(NOT_FOUND)
    tx.tell(log=ask.origin)
    return Unwatched()


def quorum(tx: Tx, caller: Caller, ask: Quorum) -> Required:
    """The policy from now on.

    Raises: Refused quorum_too_large.
    """
    del caller
    most = len(witness_store.witnesses(tx.db))
    if not 0 <= ask.least <= most or not 1 <= ask.fresh_s <= 86_400:
        raise Refused(QUORUM_TOO_LARGE, most=most)
    witness_store.put_quorum(tx.db, ask.least, ask.fresh_s)
    tx.tell(least=ask.least, fresh_s=ask.fresh_s)
    return Required(policy_text(tx.db))


def witnesses(tx: Tx, caller: Caller, ask: Witnesses) -> Overview:
    """How this log stands with its witnesses, and this node with the logs it watches."""
    del caller, ask
    return overview(tx.db, tx.now_ms)


def forks(tx: Tx, caller: Caller, ask: Forks) -> Found:
    """The evidence that is kept."""
    del caller, ask
    return Found(
        tuple(
            Evidence(
                each.origin, each.size, in_base64(each.root), each.conflict,
                witness.Conflict(each.conflict).proves, each.known, each.time_ms, each.request.decode(),
            )
            for each in witness_store.forks(tx.db)
        )
    )  # fmt: skip


def policy_text(db: Session) -> str:
    """The trust policy of this log as a file (C2SP tlog-policy)."""
    log = [Key(key.origin, key.public) for key in keyring.signing(db)]
    least, _ = cosigning.quorum_of(db)
    chosen = [(keys_of(each.vkeys)[0], each.url) for each in witness_store.witnesses(db)]
    return witness.write_policy(log, chosen, least)


def overview(db: Session, now_ms: int) -> Overview:
    """How this log stands with its witnesses, and this node with the logs it watches."""
    newest = store.checkpoint(db)
    size = newest[0] if newest else 0
    least, fresh_s = cosigning.quorum_of(db)
    cosigned = witness_store.cosigned_last(db, least) if least else 0
    fresh = not least or cosigned >= size or cosigning.lag_ms(db, cosigned, now_ms) <= fresh_s * 1000
    tally = witness_store.tally(db)
    unproved = tally.pop(witness.Conflict.unproved.value, 0)
    return Overview(
        size, cosigned, fresh, least, fresh_s,
        tuple(
            Standing(
                each.name, each.url, each.cosigned, each.cosigned_ms, each.failures, each.failure,
                *FAILURES.get(each.failure, ("", "")),
            )
            for each in witness_store.witnesses(db)
        ),
        tuple(Seen(each.origin, bool(each.active), each.size, each.time_ms) for each in witness_store.watched(db)),
        sum(tally.values()), unproved, _own_vkey(db),
    )  # fmt: skip


def _named(keys: list[Key]) -> dict[str, object]:
    """How an entry names keys: those of Ed25519 as they are, and the hash of all lines (ML-DSA-44 keys are long)."""
    lines = [key.line for key in keys]
    short = [key.line for key in keys if key.kind != MLDSA44]
    return {"vkeys": short, "vkeys_sha256": sha256("\n".join(lines).encode()).hexdigest()}


def _own_vkey(db: Session) -> str | None:
    own = cosigning.keys_under(db, cosigning.witness_name(db))
    return own[0].line if own else None


def _keys_of(lines: Iterable[str], kinds: tuple[int, ...]) -> list[Key]:
    """Keys of one name, each once, in the order of their kinds."""
    try:
        keys = sorted({note.read_key(line.strip()) for line in lines}, key=lambda key: (key.kind, key.id))
    except NotANote:
        raise Refused(NOT_A_VKEY) from None
    fit = 0 < len(keys) <= _VKEYS_MAX and all(key.kind in kinds and len(key.name) <= 250 for key in keys)
    if not fit or len({key.name for key in keys}) != 1:
        raise Refused(NOT_A_VKEY)
    return keys
