"""Acts of contracts: request, hear the other side, terminate, show, list."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dujiang.catalogue import acts as catalogue
from dujiang.contract import hearing, rules, store, wire
from dujiang.contract.model import (
    ACTIVE,
    DECLINED,
    ENDED,
    NOT_ACTIVE,
    NOT_CONSUMER,
    OWN_PRODUCT,
    Allowance,
    Contract,
    Negotiation,
    Side,
    State,
)  # fmt: skip
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Declined, Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.shape import MALFORMED
from dujiang.kernel.tables import Session
from dujiang.policy.model import PURPOSE_LONG, TEXT_CHARACTERS_MAX, Terms
from dujiang.policy.rules import last_day, permits, sentence
from dujiang.policy.wire import odrl_offer, terms_of_odrl
from dujiang.post import acts as post
from dujiang.post.model import Heard


@dataclass(frozen=True, slots=True)
class Request:
    """The product to use and what for."""

    product: str
    """The product's id, from `dujiang find`."""
    purpose: str
    """What it is for, in your words or one the terms name (analyse, train, infer, share, …)."""


@dataclass(frozen=True, slots=True)
class Requested:
    """The negotiation that began; `contract` shows it until there is an agreement."""

    contract: str
    state: str
    product: str


@dataclass(frozen=True, slots=True)
class Hear:
    """A signed message of another organisation."""

    envelope: str


@dataclass(frozen=True, slots=True)
class Heeded:
    """What the message led to."""

    negotiation: str
    state: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """A contract or negotiation to end."""

    contract: str


@dataclass(frozen=True, slots=True)
class Show:
    """A contract's or negotiation's id."""

    contract: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A contract as its own side sees it."""

    contract: str
    state: str
    side: str
    peer: str
    peer_did: str
    product: str
    version: str
    purpose: str
    terms: str
    terms_zh: str
    terms_sha256: str
    done: bool
    status: str | None = None
    last_day: str | None = None
    questions_used: int | None = None
    agreed_ms: int | None = None
    declined: dict[str, Any] | None = None
    allowance: Allowance | None = None
    """Money on a contract that has a price."""


@dataclass(frozen=True, slots=True)
class List:
    """A page of contracts, newest first."""

    before: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Contracts:
    """An organisation's contracts; `next` continues below."""

    items: tuple[Shown, ...]
    next: str | None = None


def request(tx: Tx, caller: Caller, ask: Request) -> Requested | Declined:
    """Begins a negotiation for a product on the terms it is offered on.

    Raises: Refused purpose_too_long, not_found, product_withdrawn, own_product. Declined: a purpose,
    recipient or period the terms do not permit.
    """
    if len(ask.purpose) > TEXT_CHARACTERS_MAX:
        raise Refused(PURPOSE_LONG, limit=TEXT_CHARACTERS_MAX)
    if not ask.purpose.isprintable():
        raise Refused(MALFORMED, place="$.purpose")
    offered = catalogue.offered(tx.db, ask.product, tx.now_ms)
    own = identity.organisation(tx.db, caller.org)
    provider = identity.organisation(tx.db, offered.provider_org)
    if provider.id == own.id:
        raise Refused(OWN_PRODUCT)
    today = rules.day(tx.now_ms)
    tx.tell(
        product=offered.product, version=offered.version, purpose=ask.purpose[:200], parties=[provider.id]
    )
    refused = permits(
        offered.terms, purpose=ask.purpose, recipient=(own.name, own.did), today=today, agreed_on=today,
        questions_used=0,
    )  # fmt: skip
    if refused:
        return Declined(refused)
    offer = odrl_offer(offered.terms, offered.offer, offered.product)
    one = Negotiation(
        own.id, tx.new_id("neg"), Side.consumer, provider.did, None, offered.product, str(offered.version), ask.purpose,
        offer, offered.terms_sha256, rules.stepped(State.start, "request", Side.consumer),
    )  # fmt: skip
    store.add_negotiation(tx.db, one)
    message = wire.request(one.id, hearing.callback(own.did), offer, ask.purpose)
    letter = post.send(tx, own, provider.did, message)
    tx.tell(negotiation=one.id, terms_sha256=one.terms_sha256, message=letter, state=one.state)
    return Requested(one.id, one.state, one.product)


def prepare_hear(node: Node, caller: Caller, ask: Hear) -> Heard:
    """The message, its signature verified.

    Raises: Refused message_unverified.
    """
    del caller
    with node.database.reading() as db:
        return post.opened(db, ask.envelope)


def hear(tx: Tx, caller: Caller, ask: Hear, heard: Heard) -> Heeded:
    """Answers a message of the other side, in the same transaction.

    Raises: Refused message_unverified, message_known, out_of_turn, not_found.
    """
    del caller, ask
    one = hearing.answer(tx, heard)
    return Heeded(one.id, one.state)


def terminate(tx: Tx, caller: Caller, ask: Terminate) -> Shown:
    """Ends an active contract, or a negotiation where it is this side's turn to.

    Raises: Refused not_found, out_of_turn, contract_not_active.
    """
    one = _negotiation(tx.db, caller.org, ask.contract)
    found = store.contract(tx.db, caller.org, one.contract) if one.contract else None
    peer = identity.by_did(tx.db, one.peer_did)
    tx.tell(negotiation=one.id, product=one.product, parties=[peer.id] if peer else [])
    if one.state is State.finalized and found is not None:
        if found.state != ACTIVE:
            raise Refused(NOT_ACTIVE)
        store.set_state(tx.db, caller.org, found.id, ENDED)
        post.send(tx, identity.organisation(tx.db, caller.org), one.peer_did, wire.end(found.id))
        tx.tell(contract=found.id, state=ENDED)
        return show(tx, caller, Show(found.id))
    after = rules.stepped(one.state, "terminate", one.side)
    hearing.close(tx, replace(one, state=after, reason="terminated"), "terminated")
    tx.tell(state=after)
    return show(tx, caller, Show(one.id))


def show(tx: Tx, caller: Caller, ask: Show) -> Shown:
    """A contract or a negotiation of the caller's organisation.

    Raises: Refused not_found.
    """
    one = _negotiation(tx.db, caller.org, ask.contract)
    return _shown(tx, one, store.contract(tx.db, caller.org, one.contract) if one.contract else None)


def list_(tx: Tx, caller: Caller, ask: List) -> Contracts:
    """The contracts of the caller's organisation, newest first."""
    count = max(1, min(ask.limit, tx.node.config.page_rows_max))
    found = store.contracts(tx.db, caller.org, ask.before or "~", count)
    items: list[Shown] = []
    for contract in found:
        one = store.negotiation(tx.db, caller.org, contract.negotiation)
        if one is not None:
            items.append(_shown(tx, one, contract))
    return Contracts(tuple(items), found[-1].id if len(found) == count else None)


def terms_of(contract: Contract) -> Terms:
    """The terms an agreement pins."""
    return rules.pinned(contract.terms)


def usable(db: Session, org: str, contract_id: str, now_ms: int) -> Contract:
    """The provider's record of a contract its consumer may use now; for the packages downstream.

    Raises: Refused not_found, contract_not_yours_to_use, contract_not_active, right_ended, and the codes of the
    terms.
    """
    own = store.contract(db, org, contract_id)
    if own is None:
        raise Refused(NOT_FOUND)
    if own.side is not Side.consumer:
        raise Refused(NOT_CONSUMER)
    held = _providers(db, own)
    if own.state != ACTIVE or held is None or held.state != ACTIVE:
        raise Refused(NOT_ACTIVE)
    catalogue.check_right(db, held.product, terms_of(held), now_ms)
    consumer = identity.organisation(db, org)
    refused = rules.use_refused(held, terms_of(held), (consumer.name, consumer.did), now_ms)
    if refused:
        raise Refused(refused)
    return held


def held(db: Session, org: str, contract_id: str) -> Contract:
    """The provider's record of a consumer's contract, in whatever state.

    Raises: Refused not_found.
    """
    own = store.contract(db, org, contract_id)
    found = _providers(db, own) if own else None
    if found is None:
        raise Refused(NOT_FOUND)
    return found


def _providers(db: Session, own: Contract) -> Contract | None:
    """The provider's record of a consumer's contract."""
    provider = identity.by_did(db, own.peer_did)
    return store.contract(db, provider.id, own.id) if provider else None


def _negotiation(db: Session, org: str, wanted: str) -> Negotiation:
    one = store.negotiation(db, org, wanted) or store.negotiation_of(db, org, wanted)
    if one is None:
        raise Refused(NOT_FOUND)
    return one


def _allowance(db: Session, own: Contract) -> Allowance | None:
    price = terms_of(own).price
    held = store.performed(db, own.id) if price else None
    if price is None or held is None:
        return None
    return store.allowance(db, held.org, held.id) or Allowance(price.currency)


def _shown(tx: Tx, one: Negotiation, found: Contract | None) -> Shown:
    terms = terms_of_odrl(one.terms)
    peer = identity.by_did(tx.db, one.peer_did)
    rejected = one.reason is not None and one.reason != "terminated"
    return Shown(
        found.id if found else one.id, one.state, one.side, peer.name if peer else one.peer_did, one.peer_did,
        one.product, one.version, one.purpose, sentence(terms, "en"), sentence(terms, "zh"), one.terms_sha256,
        one.state in (State.finalized, State.terminated), found.state if found else None,
        last_day(terms, rules.day(found.agreed_ms)).isoformat() if found else None,
        found.questions_used if found else None, found.agreed_ms if found else None,
        {"code": DECLINED.name, "names": {"reason": str(one.reason)}} if rejected else None,
        _allowance(tx.db, found) if found else None,
    )  # fmt: skip
