"""Acts of contracts: request, accept, refuse, counter, comment, hear the other side, terminate.

What an organisation sees of them (show, list, inbox) stands in `inbox`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from typing import Any

from dujiang.catalogue import acts as catalogue
from dujiang.contract import hearing, rules, store, wire
from dujiang.contract.inbox import (
    Contracts,
    Inbox,
    Inside,
    List,
    Look,
    Looked,
    Show,
    Shown,
    find,
    inbox,
    list_,
    look,
    show,
)
from dujiang.contract.model import (
    ACTIVE,
    COMMENTS_FULL,
    COMMENTS_MAX,
    ENDED,
    NEGOTIATIONS_OPEN,
    NOT_ACTIVE,
    NOT_CONSUMER,
    OUT_OF_TURN,
    OWN_PRODUCT,
    TERMS_SAME,
    Comment,
    Contract,
    Negotiation,
    Side,
    State,
)  # fmt: skip
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Declined, Refused
from dujiang.kernel.runner import FORBIDDEN, NOT_FOUND
from dujiang.kernel.shape import MALFORMED, SECRET
from dujiang.kernel.tables import Session
from dujiang.ledger import acts as ledger
from dujiang.ledger.acts import Proof
from dujiang.policy.model import PURPOSE_LONG, TERMS_WRONG, TEXT_CHARACTERS_MAX, Noise, Price, Terms
from dujiang.policy.rules import check, check_columns, normal, permits, terms_sha256
from dujiang.policy.wire import odrl_offer, terms_of_odrl
from dujiang.post import acts as post
from dujiang.post.model import Heard
from dujiang.registry import acts as registry

__all__ = [
    "Contracts",
    "Inbox",
    "Inside",
    "List",
    "Look",
    "Looked",
    "Show",
    "Shown",
    "inbox",
    "list_",
    "look",
    "show",
]


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
    """A signed message of another organisation, and its receipt of the entry that wrote it, if one came along."""

    envelope: str
    # Not part of what a repeat must equal: sent again, it may be under a newer key.
    receipt: dict[str, Any] | None = field(default=None, metadata={SECRET: True})


@dataclass(frozen=True, slots=True)
class Heeded:
    """What the message led to."""

    negotiation: str
    state: str
    kept: bool = False
    """Whether the receipt that came along is kept."""


@dataclass(frozen=True, slots=True)
class Terminate:
    """A contract or negotiation to end."""

    contract: str


@dataclass(frozen=True, slots=True)
class Accept:
    """What waits for this side: a request (the provider agrees) or a counter-offer (the consumer accepts)."""

    contract: str
    """The negotiation's id, from the inbox."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """What waits for this side and is not wanted; the negotiation ends."""

    contract: str
    """The negotiation's id, from the inbox."""
    comment: str | None = None
    """Why, for the other side to read."""


@dataclass(frozen=True, slots=True)
class Counter:
    """What this side would agree to instead: the terms that change; those not named stay as they were last.

    A provider answers a request; a consumer a counter-offer, with nothing beyond what was offered.
    """

    contract: str
    """The negotiation's id, from the inbox."""
    days: int | None = None
    """Days of use from the agreement."""
    until: str | None = None
    """Last day of use, YYYY-MM-DD."""
    questions: int | None = None
    """Most questions under the contract."""
    statistics: int | None = None
    """Allotment of the privacy account, in statistics."""
    group_min: int | None = None
    """Fewest distinct entities of a group that is shown."""
    purposes: tuple[str, ...] | None = None
    """Purposes that are permitted."""
    columns: tuple[str, ...] | None = None
    """Columns the contract opens."""
    price: Price | None = None
    """What it costs; a provider's alone to change."""
    comment: str | None = None
    """A remark that goes with it."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A remark in a negotiation or on a contract; both sides keep and see it."""

    contract: str
    """The negotiation's or contract's id."""
    text: str
    """Up to 1000 characters on one line."""


@dataclass(frozen=True, slots=True)
class Remarked:
    """The remark that was sent."""

    contract: str
    comment: str


def request(tx: Tx, caller: Caller, ask: Request) -> Requested | Declined:
    """Begins a negotiation for a product on the terms it is offered on.

    Raises: Refused purpose_too_long, not_found, product_withdrawn, own_product, negotiations_open. Declined: a
    purpose, recipient or period the terms do not permit.
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
    most = tx.node.config.org_negotiations_open_max
    if most and store.has_open(tx.db, own.id, most):
        raise Refused(NEGOTIATIONS_OPEN, most=most)
    offer = odrl_offer(offered.terms, offered.offer, offered.product)
    one = Negotiation(
        own.id, tx.new_id("neg"), Side.consumer, provider.did, None, offered.product, str(offered.version), ask.purpose,
        offer, offered.terms_sha256, rules.stepped(State.start, "request", Side.consumer), changed_ms=tx.now_ms,
    )  # fmt: skip
    store.add_negotiation(tx.db, one)
    message = wire.request(one.id, hearing.callback(own.did), offer, ask.purpose)
    letter = post.send(tx, own, provider.did, message, one.id)
    tx.tell(negotiation=one.id, terms_sha256=one.terms_sha256, message=letter, state=one.state)
    return Requested(one.id, one.state, one.product)


def prepare_hear(node: Node, caller: Caller, ask: Hear) -> tuple[Heard, Proof | None]:
    """The message, its signature verified, and what its receipt proves if that verifies.

    Raises: Refused message_unverified.
    """
    del caller
    with node.database.reading() as db:
        heard = post.opened(db, ask.envelope)
        return heard, ledger.proof_of(db, ask.receipt) if ask.receipt is not None else None


def hear(tx: Tx, caller: Caller, ask: Hear, found: tuple[Heard, Proof | None]) -> Heeded:
    """Answers a message of the other side, in the same transaction; whatever its receipt is worth.

    Raises: Refused message_unverified, message_known, out_of_turn, not_found.
    """
    del caller, ask
    heard, proof = found
    one = hearing.answer(tx, heard)
    return Heeded(one.id, one.state, hearing.keep(tx, heard, one, proof))


def accept(tx: Tx, caller: Caller, ask: Accept) -> Shown | Declined:
    """Agrees to what waits for the caller's organisation: its terms are pinned as they were said last.

    Raises: Refused not_found, out_of_turn, forbidden. Declined: the terms no longer permit it, product_withdrawn.
    """
    one = _waiting(tx, caller, ask.contract)
    if one.side is Side.consumer:
        one = replace(one, state=rules.stepped(one.state, "accept", Side.consumer))
        store.save_negotiation(tx.db, one, tx.now_ms)
        hearing.say(tx, one, wire.event(*hearing.pids(one), "ACCEPTED", one.terms_sha256))
    else:
        refused = hearing.standing(tx, one)
        if refused:
            return Declined(refused)
        one = hearing.agree(tx, one)
        tx.tell(contract=one.contract)
    tx.tell(state=one.state)
    return show(tx, caller, Show(one.id))


def refuse(tx: Tx, caller: Caller, ask: Refuse) -> Shown:
    """Ends a negotiation that waits for the caller's organisation.

    Raises: Refused not_found, out_of_turn, forbidden, comment_unfit, comments_full.
    """
    one = _waiting(tx, caller, ask.contract)
    if ask.comment is not None:
        _remark(tx, one, ask.comment)
    after = rules.stepped(one.state, "terminate", one.side)
    hearing.close(tx, replace(one, state=after, reason="refused"), "refused")
    tx.tell(state=after)
    return show(tx, caller, Show(one.id))


def counter(tx: Tx, caller: Caller, ask: Counter) -> Shown:
    """Answers what waits for the caller's organisation with changed terms, which then wait for the other side.

    Raises: Refused not_found, out_of_turn, forbidden, terms_same, terms_wrong, terms_beyond, terms_base_differ,
    the codes of terms that do not permit the purpose, comment_unfit, comments_full.
    """
    one = _waiting(tx, caller, ask.contract)
    provider = one.side is Side.provider
    word = "offer" if provider else "request"
    after = rules.stepped(one.state, word, one.side)
    current = terms_of_odrl(one.terms)
    published = catalogue.offered_version(tx.db, one.product, int(one.version))
    changed = _changed(tx, ask, current, published.registered)
    refused = rules.counter_refused(one.side, changed, current, published.terms)
    if refused:
        raise Refused(refused)
    made = odrl_offer(changed, tx.new_id("ofr"), one.product)
    one = replace(one, state=after, terms=made, terms_sha256=terms_sha256(changed))
    if provider and (refused := hearing.standing(tx, one)):
        raise Refused(refused)
    if ask.comment is not None:
        _remark(tx, one, ask.comment)
    store.save_negotiation(tx.db, one, tx.now_ms)
    ids = hearing.pids(one)
    hearing.say(tx, one, wire.offer(*ids, made) if provider else wire.request_again(*ids, made, one.purpose))
    tx.tell(state=after, terms_sha256=one.terms_sha256)
    return show(tx, caller, Show(one.id))


def comment(tx: Tx, caller: Caller, ask: Remark) -> Remarked:
    """Sends the other side a remark, which both keep.

    Raises: Refused not_found, out_of_turn (the negotiation was terminated), comment_unfit, comments_full.
    """
    one = _negotiation(tx.db, caller.org, ask.contract)
    if one.state is State.terminated:
        raise Refused(OUT_OF_TURN)
    _told(tx, one)
    return Remarked(ask.contract, _remark(tx, one, ask.text))


def terminate(tx: Tx, caller: Caller, ask: Terminate) -> Shown:
    """Ends an active contract; or a negotiation where it is this side's turn to, or where what it said last was
    given up as undeliverable: for the other side the message before that stands, from which it may.

    Raises: Refused not_found, out_of_turn, contract_not_active.
    """
    one = _negotiation(tx.db, caller.org, ask.contract)
    found = store.contract(tx.db, caller.org, one.contract) if one.contract else None
    _told(tx, one)
    if one.state is State.finalized and found is not None:
        if found.state != ACTIVE:
            raise Refused(NOT_ACTIVE)
        store.set_state(tx.db, caller.org, found.id, ENDED)
        hearing.say(tx, one, wire.end(found.id))
        tx.tell(contract=found.id, state=ENDED)
        return show(tx, caller, Show(found.id))
    after, reason = State.terminated, "undelivered"
    lost = one.id in post.undelivered(tx.db, caller.org)
    if not lost or one.state is State.terminated:
        after, reason = rules.stepped(one.state, "terminate", one.side), "terminated"
    hearing.close(tx, replace(one, state=after, reason=reason), reason)
    if lost and one.contract:
        hearing.say(tx, one, wire.end(one.contract))
    tx.tell(state=after)
    return show(tx, caller, Show(one.id))


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
    consumer, terms = identity.organisation(db, org), terms_of(held)
    counted = held
    if terms.questions is not None and terms.noise is Noise.exact:
        # No account bounds exact answers: agreeing again must not be a way to ask more of them.
        counted = replace(held, questions_used=store.used_in_all(db, held))
    refused = rules.use_refused(counted, terms, (consumer.name, consumer.did), now_ms)
    if refused:
        raise Refused(refused)
    return held


def held(db: Session, org: str, contract_id: str) -> Contract:
    """The provider's record of a consumer's contract, in whatever state.

    Raises: Refused not_found, contract_not_yours_to_use.
    """
    own = store.contract(db, org, contract_id)
    if own is not None and own.side is not Side.consumer:
        raise Refused(NOT_CONSUMER)  # from the provider's side the other record would be the consumer's
    found = _providers(db, own) if own else None
    if found is None:
        raise Refused(NOT_FOUND)
    return found


def performed(db: Session) -> dict[str, int]:
    """How often each agreed contract of this home's providers was used, by its id, for the observatory."""
    return store.final(db)


def _providers(db: Session, own: Contract) -> Contract | None:
    """The provider's record of a consumer's contract."""
    provider = identity.by_did(db, own.peer_did)
    return store.contract(db, provider.id, own.id) if provider else None


def _waiting(tx: Tx, caller: Caller, wanted: str) -> Negotiation:
    """A negotiation that waits for the caller's organisation, and whose side the caller may speak for.

    Raises: Refused not_found, out_of_turn, forbidden.
    """
    one = _negotiation(tx.db, caller.org, wanted)
    if one.side.value not in caller.roles:
        raise Refused(FORBIDDEN, roles=one.side.value)
    if rules.waits_for(one) is not one.side:
        raise Refused(OUT_OF_TURN)
    _told(tx, one)
    return one


def _told(tx: Tx, one: Negotiation) -> None:
    """Tells the entry which negotiation it is about; both organisations may see it."""
    peer = identity.by_did(tx.db, one.peer_did)
    tx.tell(
        negotiation=one.id, product=one.product, version=one.version, purpose=one.purpose[:200],
        terms_sha256=one.terms_sha256, parties=[peer.id] if peer else [],
    )  # fmt: skip


def _remark(tx: Tx, one: Negotiation, text: str) -> str:
    """The id of a remark that was kept and sent.

    Raises: Refused comment_unfit, comments_full.
    """
    text = rules.fit_comment(text)
    if store.comment_count(tx.db, one.org, one.id, one.side) >= COMMENTS_MAX:
        raise Refused(COMMENTS_FULL, limit=COMMENTS_MAX)
    made = Comment(tx.new_id("cmt"), one.side, text, tx.now_ms)
    store.add_comment(tx.db, one.org, one.id, made)
    hearing.say(tx, one, wire.comment(*hearing.pids(one), text), made.id)
    tx.tell(comment=made.id, comment_sha256=sha256(text.encode()).hexdigest())
    return made.id


def _changed(tx: Tx, ask: Counter, current: Terms, registered: str) -> Terms:
    """The terms of the last offer or request with what the ask changes.

    Raises: Refused terms_same, terms_wrong.
    """
    named = {part.name: getattr(ask, part.name, None) for part in fields(Terms)}
    changed = normal(replace(current, **{name: value for name, value in named.items() if value is not None}))
    if terms_sha256(changed) == terms_sha256(current):
        raise Refused(TERMS_SAME)
    known = [column.name for column in registry.version(tx.db, registered).table.columns]
    problems = (*check(changed), *check_columns(changed, known))
    if problems:
        raise Refused(TERMS_WRONG, problems="; ".join(map(str, problems)))
    return changed


def _negotiation(db: Session, org: str, wanted: str) -> Negotiation:
    one = find(db, org, wanted)
    if one is None:
        raise Refused(NOT_FOUND)
    return one
