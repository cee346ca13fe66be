"""What a side answers to each message of the other, in one transaction: state, records, letter, facts.

The signature of the envelope was verified before; here the sender must be the other side of the
negotiation, the message in turn, and what it says true: terms by hash, both signatures over one agreement.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from dujiang.catalogue import acts as catalogue
from dujiang.catalogue.model import Answering, Strategy
from dujiang.contract import rules, store, wire
from dujiang.contract.flow import flow
from dujiang.contract.model import (
    ACTIVE,
    COMMENTS_MAX,
    ENDED,
    PENDING,
    Comment,
    Contract,
    Negotiation,
    Side,
    State,
)
from dujiang.identity import acts as identity
from dujiang.identity.rules import verified
from dujiang.kernel.act import Tx
from dujiang.kernel.canonical import sha256_hex
from dujiang.kernel.errors import Code, Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.ledger import acts as ledger
from dujiang.ledger.acts import Proof
from dujiang.policy.rules import permits, terms_sha256
from dujiang.policy.wire import terms_of_odrl
from dujiang.post import acts as post
from dujiang.post.model import LETTER_UNFIT, MESSAGE_KNOWN, Heard
from dujiang.registry.wire import instant


def callback(did: str) -> str:
    """Where a side's own endpoints stand, from its DID (did:web:HOST:org:ID)."""
    host, _, path = did.removeprefix("did:web:").partition(":")
    return f"https://{host.replace('%3A', ':')}/{path.replace(':', '/')}/dsp"


def answer(tx: Tx, heard: Heard) -> Negotiation:
    """The receiver's negotiation after a message, its answer (if any) in the outbox.

    Raises: Refused message_known, message_unverified, out_of_turn, not_found, codes of foreign policies.
    """
    if not post.hear(tx, heard):
        raise Refused(MESSAGE_KNOWN)
    word = wire.word_of(heard.message)
    sender = identity.by_did(tx.db, heard.from_did)
    tx.tell(
        org=heard.org, message=heard.id, kind=str(word), message_sha256=sha256_hex(heard.message),
        parties=[sender.id] if sender else [],
    )  # fmt: skip
    if word is None:
        raise Refused(LETTER_UNFIT)
    if word == "request" and not heard.message.get("providerPid"):
        one = _requested(tx, heard)
    elif word == "end":
        one = _ended(tx, heard)
    elif word == "comment":
        one = _commented(tx, heard, _find(tx.db, heard))
    elif word == "acknowledge":
        one = _acknowledged(tx, heard, _find(tx.db, heard))
    else:
        one = _find(tx.db, heard)
        one = replace(one, state=rules.stepped(one.state, word, one.side.other()))
        one = {
            "request": _requested_again, "offer": _offered, "accept": _accepted, "agree": _agreed,
            "verify": _verified, "finalize": _finalized, "terminate": _terminated,
        }[word](tx, heard, one)  # fmt: skip
    tx.tell(
        negotiation=one.id, product=one.product, version=one.version, purpose=one.purpose[:200], state=one.state,
        terms_sha256=one.terms_sha256, **({"contract": one.contract} if one.contract else {}),
    )  # fmt: skip
    return one


def keep(tx: Tx, heard: Heard, one: Negotiation, proof: Proof | None) -> bool:
    """Whether the sender's receipt of the entry that wrote a message is kept: if it is of that very message."""
    sender = identity.by_did(tx.db, heard.from_did) if proof is not None else None
    if proof is None or sender is None:
        return False
    if not rules.proves(proof.facts, one, wire.word_of(heard.message), sender.id):
        return False
    ledger.keep(tx.db, one.org, str(one.contract), proof)
    return True


def close(tx: Tx, one: Negotiation, reason: str) -> Negotiation:
    """A negotiation terminated by this side: kept, and the other side told."""
    store.save_negotiation(tx.db, one, tx.now_ms)
    if one.contract:
        store.set_state(tx.db, one.org, one.contract, ENDED)
    say(tx, one, wire.termination(*pids(one), reason))
    return one


def agree(tx: Tx, one: Negotiation) -> Negotiation:
    """Provider: the agreement on what was offered or requested last, signed; the consumer signs next."""
    contract = tx.new_id("ctr")
    own = identity.organisation(tx.db, one.org)
    agreed = wire.agreed_of(
        contract, one.product, one.terms, own.did, one.peer_did, instant(tx.now_ms), one.purpose,
        one.terms_sha256, one.version,
    )  # fmt: skip
    signature = identity.sign_jws(tx, own, {"typ": "agreement+jws"}, rules.signing(agreed))
    one = replace(one, state=rules.stepped(one.state, "agree", Side.provider), contract=contract)
    store.save_negotiation(tx.db, one, tx.now_ms)
    _keep(tx, one, agreed, signature, None)
    say(tx, one, wire.agreement(one.id, str(one.peer_pid), agreed, signature), proved=True)
    return one


def standing(tx: Tx, one: Negotiation) -> Code | None:
    """Provider: None where what was offered or requested last can be agreed on today, else why not."""
    try:
        offered = catalogue.offered(tx.db, one.product, tx.now_ms)
        terms = terms_of_odrl(one.terms)
        catalogue.check_right(tx.db, one.product, terms, tx.now_ms)
    except Refused as refusal:
        return refusal.code
    if offered.provider_org != one.org:
        return NOT_FOUND
    today = rules.day(tx.now_ms)
    return permits(
        terms, purpose=one.purpose, recipient=_recipient(tx.db, one.peer_did), today=today, agreed_on=today,
        questions_used=0,
    )  # fmt: skip


def _recipient(db: Session, did: str) -> tuple[str, ...]:
    """What terms may name an organisation by: its DID, and its name where it is of this home."""
    found = identity.by_did(db, did)
    return (found.name, found.did) if found else (did,)


def _requested(tx: Tx, heard: Heard) -> Negotiation:
    """Provider: a request on the offered terms that permit it is answered as the product says, else declined."""
    asked = rules.read_request(heard.message)
    if asked is None:
        raise Refused(LETTER_UNFIT)
    try:
        offered = catalogue.offered(tx.db, asked.product, tx.now_ms)
    except Refused as refusal:
        return _decline(tx, _begun(tx, heard, asked, "", Answering()), refusal.code)
    if offered.provider_org != heard.org or store.negotiation_with(
        tx.db, heard.org, heard.from_did, asked.consumer_pid
    ):
        raise Refused(NOT_FOUND)
    one = _begun(tx, heard, asked, str(offered.version), offered.answering)
    recipient = _recipient(tx.db, heard.from_did)
    refused = rules.answer_at_once(asked, offered.terms, recipient, rules.day(tx.now_ms))
    if wire.text_at(heard.message, "offer", "@id") != offered.offer:
        refused = refused or rules.TERMS_DIFFER
    if refused:
        return _decline(tx, one, refused)
    if offered.answering.strategy is Strategy.agree:
        return agree(tx, one)
    # Nothing waits for it: if it is given up, the answer itself may still arrive.
    say(tx, one, wire.acknowledgement(*pids(one), one.state), f"{one.id}/received")
    return one


def _requested_again(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Provider: a changed request waits for a person, if it asks for nothing beyond what was offered."""
    asked = rules.read_request(heard.message)
    if asked is None or asked.product != one.product:
        raise Refused(LETTER_UNFIT)
    published = catalogue.offered_version(tx.db, one.product, int(one.version)).terms
    current = terms_of_odrl(one.terms)
    one = replace(one, terms=asked.offer, terms_sha256=terms_sha256(asked.terms))
    refused = rules.counter_refused(Side.consumer, asked.terms, current, published)
    if asked.purpose != one.purpose:
        refused = refused or rules.TERMS_DIFFER
    if refused:
        return _decline(tx, one, refused)
    store.save_negotiation(tx.db, one, tx.now_ms)
    return one


def _offered(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Consumer: a counter-offer waits for a person; its terms are what an acceptance means from now on."""
    offer = heard.message.get("offer")
    if wire.text_at(heard.message, "offer", "target") != one.product:
        raise Refused(LETTER_UNFIT)
    one = replace(one, terms=cast("dict[str, Any]", offer), terms_sha256=terms_sha256(terms_of_odrl(offer)))
    store.save_negotiation(tx.db, one, tx.now_ms)
    return one


def _accepted(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Provider: its own counter-offer was accepted, so it agrees at once, if that can still be agreed on."""
    named = heard.message.get(wire.TERMS)
    differs = None if named in (None, one.terms_sha256) else rules.TERMS_DIFFER
    refused = differs or standing(tx, one)
    return _decline(tx, one, refused) if refused else agree(tx, one)


def _commented(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Either: a remark of the other side is kept."""
    text = heard.message.get(wire.TEXT)
    side = one.side.other()
    if not isinstance(text, str) or store.comment_count(tx.db, one.org, one.id, side) >= COMMENTS_MAX:
        raise Refused(LETTER_UNFIT)
    store.add_comment(
        tx.db, one.org, one.id, Comment(tx.new_id("cmt"), side, rules.fit_comment(text), tx.now_ms)
    )
    return one


def _acknowledged(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Consumer: the provider has the request, and a person there will answer it."""
    del heard
    if one.side is not Side.consumer:
        raise Refused(LETTER_UNFIT)
    if one.state is State.requested:
        store.save_negotiation(tx.db, one, tx.now_ms)
    return one


def _begun(tx: Tx, heard: Heard, asked: rules.Request, version: str, how: Answering) -> Negotiation:
    one = Negotiation(
        heard.org, tx.new_id("neg"), Side.provider, heard.from_did, asked.consumer_pid, asked.product, version,
        asked.purpose, asked.offer, terms_sha256(asked.terms), rules.stepped(State.start, "request", Side.consumer),
        held_until=how.until, changed_ms=tx.now_ms,
    )  # fmt: skip
    store.add_negotiation(tx.db, one)
    return one


def _decline(tx: Tx, one: Negotiation, code: Code) -> Negotiation:
    after = rules.stepped(one.state, "terminate", Side.provider)
    tx.tell(declined=code.name)
    return close(tx, replace(one, state=after, reason=code.name), code.name)


def _agreed(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Consumer: sign the agreement if it is what was asked for and truly signed, else terminate."""
    agreed = cast("dict[str, Any]", heard.message.get("agreement"))
    signature = wire.text_at(heard.message, wire.SIGNATURE)
    provider_pid = wire.text_at(heard.message, "providerPid")
    fits = isinstance(agreed, dict) and rules.fits_request(agreed, one, heard.to_did)
    fits = fits and store.contract(tx.db, one.org, str(agreed["@id"])) is None
    if provider_pid is None or not fits or not _signed(tx.db, heard.from_did, signature, agreed):
        after = rules.stepped(one.state, "terminate", Side.consumer)
        return close(tx, replace(one, state=after, reason="agreement_differs"), "agreement_differs")
    one = replace(one, peer_pid=provider_pid, contract=str(agreed["@id"]))
    own = identity.sign_jws(
        tx, identity.organisation(tx.db, one.org), {"typ": "agreement+jws"}, rules.signing(agreed)
    )
    _keep(tx, one, agreed, str(signature), own)
    one = replace(one, state=rules.stepped(one.state, "verify", Side.consumer))
    store.save_negotiation(tx.db, one, tx.now_ms)
    say(tx, one, wire.verification(*pids(one), own), proved=True)
    return one


def _verified(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Provider: the consumer signed the same agreement, so it is final; else terminate."""
    signature = wire.text_at(heard.message, wire.SIGNATURE)
    held = store.contract(tx.db, one.org, str(one.contract))
    if held is None or not _signed(tx.db, heard.from_did, signature, held.terms):
        after = rules.stepped(one.state, "terminate", Side.provider)
        return close(tx, replace(one, state=after, reason="signature_differs"), "signature_differs")
    one = replace(one, state=rules.stepped(one.state, "finalize", Side.provider))
    store.save_negotiation(tx.db, one, tx.now_ms)
    store.set_state(tx.db, one.org, held.id, ACTIVE, signature)
    tx.tell(figures=[flow(tx.db, held, contracts=1)])
    say(tx, one, wire.event(*pids(one), "FINALIZED"), proved=True)
    return one


def _finalized(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Consumer: the contract is in force."""
    del heard
    store.save_negotiation(tx.db, one, tx.now_ms)
    store.set_state(tx.db, one.org, str(one.contract), ACTIVE)
    return one


def _terminated(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Either: the other side ended the negotiation."""
    one = replace(one, reason=(wire.text_at(heard.message, "code") or "terminated")[:60])
    store.save_negotiation(tx.db, one, tx.now_ms)
    if one.contract:
        store.set_state(tx.db, one.org, one.contract, ENDED)
    return one


def _ended(tx: Tx, heard: Heard) -> Negotiation:
    contract = wire.text_at(heard.message, "agreementId")
    one = store.negotiation_of(tx.db, heard.org, contract) if contract else None
    if one is None or contract is None or one.peer_did != heard.from_did:
        raise Refused(NOT_FOUND)
    store.set_state(tx.db, heard.org, contract, ENDED)
    if one.state is State.verified:
        # It was final for the provider and ended before this side heard so.
        one = replace(one, state=State.terminated, reason="terminated")
        store.save_negotiation(tx.db, one, tx.now_ms)
    return one


def _find(db: Session, heard: Heard) -> Negotiation:
    """The receiver's own negotiation, if the sender is its other side."""
    for member in ("consumerPid", "providerPid"):
        own = wire.text_at(heard.message, member)
        one = store.negotiation(db, heard.org, own) if own else None
        if (
            one is not None
            and one.peer_did == heard.from_did
            and one.side.value == member.removesuffix("Pid")
        ):
            theirs = wire.text_at(
                heard.message, "providerPid" if one.side is Side.consumer else "consumerPid"
            )
            if one.peer_pid is None or one.peer_pid == theirs:
                return replace(one, peer_pid=theirs)
    # A consumer that ends its request before it knows our id names its own alone.
    theirs = wire.text_at(heard.message, "consumerPid")
    if theirs is not None and heard.message.get("providerPid") in (None, ""):
        one = store.negotiation_with(db, heard.org, heard.from_did, theirs)
        if one is not None and one.side is Side.provider:
            return one
    raise Refused(NOT_FOUND)


def _keep(tx: Tx, one: Negotiation, agreed: dict[str, Any], provider: str, consumer: str | None) -> None:
    store.add_contract(
        tx.db,
        Contract(
            one.org, str(one.contract), one.side, one.peer_did, one.product, one.version, one.purpose, agreed,
            one.terms_sha256, tx.now_ms, PENDING, provider, consumer, 0, one.id,
        ),
    )  # fmt: skip


def _signed(db: Session, did: str, signature: str | None, agreed: dict[str, Any]) -> bool:
    signer = identity.by_did(db, did)
    if signer is None or signature is None:
        return False
    return verified(signature, signer.public) == rules.signing(agreed)


def say(
    tx: Tx, one: Negotiation, message: dict[str, Any], about: str | None = None, *, proved: bool = False
) -> str:
    """The id of a message to the other side of a negotiation; `about`: what it is about, else the negotiation.

    `proved`: the other side is to keep the receipt of this transaction's entry.
    """
    sender = identity.organisation(tx.db, one.org)
    return post.send(tx, sender, one.peer_did, message, about or one.id, proved=proved)


def pids(one: Negotiation) -> tuple[str, str]:
    """(providerPid, consumerPid) of a negotiation, "" where it is not known yet."""
    theirs = one.peer_pid or ""
    return (one.id, theirs) if one.side is Side.provider else (theirs, one.id)
