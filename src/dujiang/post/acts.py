"""Acts of post: what the delivery loop reads and marks; and how other packages send and open letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from dujiang.identity import acts as identity
from dujiang.identity.model import Organisation
from dujiang.identity.rules import header_of, verified
from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.tables import Session
from dujiang.post import rules, store
from dujiang.post.model import DELIVERED, GIVEN_UP, LETTER_LARGE, LETTER_UNFIT, TYPE, WAITING, Heard, Letter


@dataclass(frozen=True, slots=True)
class List:
    """How many letters at most."""

    limit: int = 100


@dataclass(frozen=True, slots=True)
class Due:
    """A letter to deliver now."""

    id: str
    org: str
    to_did: str
    envelope: str
    thread: str
    """Letters of one thread are delivered one after the other, in this order."""
    entry: int | None = None
    """The log entry whose receipt goes with it, if one does."""
    to_org: str = ""
    """The receiver as an organisation of this home, where a receipt goes with it."""


@dataclass(frozen=True, slots=True)
class Letters:
    """The letters to deliver now, and when (milliseconds since 1970) the next one is due."""

    items: tuple[Due, ...]
    next_ms: int | None


@dataclass(frozen=True, slots=True)
class Deliver:
    """What became of a letter: delivered, refused for good, or (neither) to be tried again."""

    letter: str
    delivered: bool
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Marked:
    """The letter's state."""

    letter: str
    state: str


def list_(tx: Tx, caller: Caller, ask: List) -> Letters:
    """The letters to deliver now, oldest first."""
    del caller
    items = store.due(tx.db, tx.now_ms, tx.node.config.rows(ask.limit))
    return Letters(tuple(_signed(tx, letter) for letter in items), store.next_due_ms(tx.db))


def waiting(db: Session) -> int:
    """How many messages are not delivered yet."""
    return store.waiting(db)


def deliver(tx: Tx, caller: Caller, ask: Deliver) -> Marked:
    """Marks a letter after an attempt to deliver it; a letter marked before stays as it is."""
    del caller
    letter = store.letter(tx.db, ask.letter)
    if letter is None or letter.state != WAITING:
        return Marked(ask.letter, letter.state if letter else GIVEN_UP)
    attempts = letter.attempts + 1
    over = ask.refused or attempts >= tx.node.config.delivery_attempts_max
    state = DELIVERED if ask.delivered else GIVEN_UP if over else WAITING
    due_ms = rules.next_try_ms(tx.now_ms, attempts, tx.node.config.delivery_backoff_s_max)
    store.mark(tx.db, letter.id, state, attempts, due_ms)
    return Marked(letter.id, state)


def send(
    tx: Tx, sender: Organisation, to_did: str, message: dict[str, Any], about: str | None = None,
    *, proved: bool = False,
) -> str:  # fmt: skip
    """The id of a new letter from an organisation, in this transaction's outbox; signed when it leaves.

    `about`: the sender's own id of what it is about, as `undelivered` gives it back; `proved`: the receipt
    of this transaction's entry goes with it.

    Raises: Refused message_large.
    """
    letter = tx.new_id("ltr")
    claims = msgspec.json.encode(rules.payload(letter, sender.did, to_did, tx.now_ms, message))
    if len(claims) > rules.CLAIMS_BYTES_MAX:
        raise Refused(LETTER_LARGE, limit=rules.CLAIMS_BYTES_MAX)
    entry = tx.entry if proved else None
    store.add(tx.db, Letter(letter, sender.id, to_did, claims.decode(), WAITING, 0, tx.now_ms, about, entry))
    return letter


def undelivered(db: Session, org: str) -> frozenset[str]:
    """What an organisation's letters that were given up are about: the other side never answered for them."""
    return store.given_up(db, org)


def _signed(tx: Tx, letter: Letter) -> Due:
    """A letter in its envelope; Ed25519 is deterministic, so a letter sent again is the same bytes."""
    sender = identity.organisation(tx.db, letter.org)
    claims = msgspec.json.decode(letter.claims)
    envelope = identity.sign_jws(tx, sender, {"typ": TYPE}, claims)
    thread = rules.thread_of(letter.id, claims["body"])
    receiver = identity.by_did(tx.db, letter.to_did) if letter.entry is not None else None
    return Due(
        letter.id, letter.org, letter.to_did, envelope, thread, letter.entry, receiver.id if receiver else ""
    )


def opened(db: Session, envelope: str) -> Heard:
    """A letter as its receiver may believe it: known sender, this receiver, true signature.

    Raises: Refused message_unverified (one constant refusal, whatever is wrong).
    """
    header = header_of(envelope)
    kid = header.get("kid") if header and header.get("typ") == TYPE else None
    sender = identity.by_did(db, kid.partition("#")[0]) if isinstance(kid, str) else None
    claims = verified(envelope, sender.public) if sender else None
    to_did = claims.get("aud") if claims else None
    receiver = identity.by_did(db, to_did) if isinstance(to_did, str) else None
    if sender is None or claims is None or receiver is None:
        raise Refused(LETTER_UNFIT)
    message = rules.fits(claims, sender.did, receiver.did)
    if message is None:
        raise Refused(LETTER_UNFIT)
    return Heard(claims["jti"], sender.did, receiver.id, receiver.did, message)


def hear(tx: Tx, heard: Heard) -> bool:
    """Whether a letter is heard for the first time; from now on it is known."""
    return store.hear(tx.db, heard.org, heard.from_did, heard.id, tx.now_ms)
