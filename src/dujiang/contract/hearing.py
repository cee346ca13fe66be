"""What a side answers to each message of the other, in one transaction: state, records, letter, facts.

The signature of the envelope was verified before; here the sender must be the other side of the
negotiation, the message in turn, and what it says true: terms by hash, both signatures over one agreement.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from dujiang.catalogue import acts as catalogue
from dujiang.contract import rules, store, wire
from dujiang.contract.flow import flow
from dujiang.contract.model import ACTIVE, ENDED, PENDING, Contract, Negotiation, Side, State
from dujiang.identity import acts as identity
from dujiang.identity.rules import verified
from dujiang.kernel.act import Tx
from dujiang.kernel.canonical import sha256_hex
from dujiang.kernel.errors import Code, Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.policy.rules import terms_sha256
from dujiang.post import acts as post
from dujiang.post.model import LETTER_UNFIT, MESSAGE_KNOWN, Heard


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
    if word == "request":
        one = _requested(tx, heard)
    elif word == "end":
        one = _ended(tx, heard)
    else:
        one = _find(tx.db, heard)
        one = replace(one, state=rules.stepped(one.state, word, one.side.other()))
        one = {
            "agree": _agreed, "verify": _verified, "finalize": _finalized, "terminate": _terminated,
        }.get(word, _kept)(tx, heard, one)  # fmt: skip
    tx.tell(
        negotiation=one.id, product=one.product, version=one.version, purpose=one.purpose[:200], state=one.state,
        terms_sha256=one.terms_sha256, **({"contract": one.contract} if one.contract else {}),
    )  # fmt: skip
    return one


def close(tx: Tx, one: Negotiation, reason: str) -> Negotiation:
    """A negotiation terminated by this side: kept, and the other side told."""
    store.save_negotiation(tx.db, one)
    if one.contract:
        store.set_state(tx.db, one.org, one.contract, ENDED)
    _send(tx, one, wire.termination(*_pids(one), reason))
    return one


def _requested(tx: Tx, heard: Heard) -> Negotiation:
    """Provider: *agree at once* where the terms are the offered ones and permit the purpose, else terminate."""
    asked = rules.read_request(heard.message)
    if asked is None:
        raise Refused(LETTER_UNFIT)
    try:
        offered = catalogue.offered(tx.db, asked.product, tx.now_ms)
    except Refused as refusal:
        return _decline(tx, _begun(tx, heard, asked, ""), refusal.code)
    if offered.provider_org != heard.org or store.negotiation_with(
        tx.db, heard.org, heard.from_did, asked.consumer_pid
    ):
        raise Refused(NOT_FOUND)
    one = _begun(tx, heard, asked, str(offered.version))
    sender = identity.by_did(tx.db, heard.from_did)
    names = (sender.name, sender.did) if sender else (heard.from_did,)
    refused = rules.answer_at_once(asked, offered.terms, names, rules.day(tx.now_ms))
    if wire.text_at(heard.message, "offer", "@id") != offered.offer:
        refused = refused or rules.TERMS_DIFFER
    if refused:
        return _decline(tx, one, refused)
    return _agree(tx, heard, replace(one, state=rules.stepped(one.state, "agree", Side.provider)))


def _begun(tx: Tx, heard: Heard, asked: rules.Request, version: str) -> Negotiation:
    return Negotiation(
        heard.org, tx.new_id("neg"), Side.provider, heard.from_did, asked.consumer_pid, asked.product, version,
        asked.purpose, asked.offer, terms_sha256(asked.terms), rules.stepped(State.start, "request", Side.consumer),
    )  # fmt: skip


def _decline(tx: Tx, one: Negotiation, code: Code) -> Negotiation:
    store.add_negotiation(tx.db, one)
    after = rules.stepped(one.state, "terminate", Side.provider)
    tx.tell(declined=code.name)
    return close(tx, replace(one, state=after, reason=code.name), code.name)


def _agree(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    contract = tx.new_id("ctr")
    agreed = wire.agreed_of(
        contract, one.product, one.terms, heard.to_did, heard.from_did, rules.stamp(tx.now_ms), one.purpose,
        one.terms_sha256, one.version,
    )  # fmt: skip
    signature = identity.sign_jws(
        tx, identity.organisation(tx.db, one.org), {"typ": "agreement+jws"}, rules.signing(agreed)
    )
    one = replace(one, contract=contract)
    store.add_negotiation(tx.db, one)
    _keep(tx, one, agreed, signature, None)
    _send(tx, one, wire.agreement(one.id, str(one.peer_pid), agreed, signature))
    return one


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
    store.save_negotiation(tx.db, one)
    _send(tx, one, wire.verification(*_pids(one), own))
    return one


def _verified(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Provider: the consumer signed the same agreement, so it is final; else terminate."""
    signature = wire.text_at(heard.message, wire.SIGNATURE)
    held = store.contract(tx.db, one.org, str(one.contract))
    if held is None or not _signed(tx.db, heard.from_did, signature, held.terms):
        after = rules.stepped(one.state, "terminate", Side.provider)
        return close(tx, replace(one, state=after, reason="signature_differs"), "signature_differs")
    one = replace(one, state=rules.stepped(one.state, "finalize", Side.provider))
    store.save_negotiation(tx.db, one)
    store.set_state(tx.db, one.org, held.id, ACTIVE, signature)
    tx.tell(figures=[flow(tx.db, held, contracts=1)])
    _send(tx, one, wire.event(*_pids(one), "FINALIZED"))
    return one


def _finalized(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Consumer: the contract is in force."""
    del heard
    store.save_negotiation(tx.db, one)
    store.set_state(tx.db, one.org, str(one.contract), ACTIVE)
    return one


def _terminated(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """Either: the other side ended the negotiation."""
    one = replace(one, reason=(wire.text_at(heard.message, "code") or "terminated")[:60])
    store.save_negotiation(tx.db, one)
    if one.contract:
        store.set_state(tx.db, one.org, one.contract, ENDED)
    return one


def _kept(tx: Tx, heard: Heard, one: Negotiation) -> Negotiation:
    """A message this node has no strategy for yet: kept, answered by hand."""
    del heard
    store.save_negotiation(tx.db, one)
    return one


def _ended(tx: Tx, heard: Heard) -> Negotiation:
    contract = wire.text_at(heard.message, "agreementId")
    one = store.negotiation_of(tx.db, heard.org, contract) if contract else None
    if one is None or contract is None or one.peer_did != heard.from_did:
        raise Refused(NOT_FOUND)
    store.set_state(tx.db, heard.org, contract, ENDED)
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


def _send(tx: Tx, one: Negotiation, message: dict[str, Any]) -> None:
    post.send(tx, identity.organisation(tx.db, one.org), one.peer_did, message)


def _pids(one: Negotiation) -> tuple[str, str]:
    """(providerPid, consumerPid)."""
    theirs = one.peer_pid or ""
    return (one.id, theirs) if one.side is Side.provider else (theirs, one.id)
