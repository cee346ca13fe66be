"""Rules of contracts, pure: the next state, what the *agree at once* strategy answers, what is signed."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from dujiang.contract import wire
from dujiang.contract.model import (
    COMMENT_CHARACTERS_MAX,
    COMMENT_UNFIT,
    NEGOTIATION,
    OUT_OF_TURN,
    TERMS_BASE,
    TERMS_BEYOND,
    TERMS_DIFFER,
    Contract,
    Kind,
    Negotiation,
    Side,
    State,
)
from dujiang.kernel.canonical import sha256_hex
from dujiang.kernel.errors import Code, Refused
from dujiang.kernel.machine import OutOfTurn
from dujiang.policy.model import Price, Terms
from dujiang.policy.rules import narrower_or_equal, permits
from dujiang.policy.wire import terms_of_odrl


def day(time_ms: int) -> date:
    """The UTC day of a time in milliseconds."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).date()


def stepped(state: State, word: str, sender: Side) -> State:
    """The state after a message.

    Raises: Refused out_of_turn.
    """
    try:
        return State(NEGOTIATION.step(state, word, sender))
    except OutOfTurn:
        raise Refused(OUT_OF_TURN) from None


_LEAVES = {"agree": State.agreed, "verify": State.verified, "finalize": State.finalized}
"""The messages that make a contract, and the state their sender's negotiation is in after one."""


def proves(facts: Mapping[str, Any], one: Negotiation, word: str | None, sender: str) -> bool:
    """Whether facts are those of the entry that wrote a message, as heard in a negotiation from an organisation."""
    of_message = {
        "org": sender, "negotiation": one.peer_pid, "contract": one.contract, "terms_sha256": one.terms_sha256,
        "state": _LEAVES.get(word or ""),
    }  # fmt: skip
    return all(value is not None and facts.get(name) == value for name, value in of_message.items())


@dataclass(frozen=True, slots=True)
class Request:
    """What a consumer's request says, as the provider reads it."""

    consumer_pid: str
    product: str
    purpose: str
    offer: dict[str, Any]
    terms: Terms


def read_request(message: dict[str, Any]) -> Request | None:
    """The parts of a ContractRequestMessage, or None where one is missing.

    Raises: Refused terms_unknown_operand and the like for a policy outside the profile.
    """
    pid, target = wire.text_at(message, "consumerPid"), wire.text_at(message, "offer", "target")
    purpose = wire.text_at(message, wire.PURPOSE)
    if pid is None or target is None or purpose is None:
        return None
    offer = message["offer"]
    return Request(pid, target, purpose, offer, terms_of_odrl(offer))


def answer_at_once(request: Request, offered: Terms, recipient: tuple[str, ...], today: date) -> Code | None:
    """None to agree at once, else the code of why not: other terms, or a use the terms do not permit."""
    if not (narrower_or_equal(request.terms, offered) and narrower_or_equal(offered, request.terms)):
        return TERMS_DIFFER
    return permits(
        offered, purpose=request.purpose, recipient=recipient, today=today, agreed_on=today, questions_used=0
    )


def waits_for(one: Negotiation) -> Side | None:
    """The side whose person is to answer, or None where nobody is: it moves by itself, or it has ended.

    A request waits for its provider once the provider has said that it has it; before, it is on its way.
    """
    if one.state is State.requested and (one.side is Side.provider or one.peer_pid is not None):
        return Side.provider
    return Side.consumer if one.state is State.offered else None


def waits_here(one: Negotiation, today: date) -> bool:
    """Whether it waits for a person of this side now; what is held does so from its day on."""
    held = one.held_until is not None and today.isoformat() < one.held_until
    return waits_for(one) is one.side and not held


def counter_refused(side: Side, changed: Terms, current: Terms, published: Terms) -> Code | None:
    """None where that side may propose the changed terms, else the code of why not.

    Consumer: nothing beyond what the provider offered, in the catalogue or last in this negotiation.
    Provider: whatever it likes, over the same noise, cost of a statistic and ceiling: the accounts of a
    resource are counted in these.
    """
    if side is Side.consumer:
        within = narrower_or_equal(changed, published) or narrower_or_equal(changed, current)
        return None if within else TERMS_BEYOND
    same = all(
        getattr(changed, name) == getattr(published, name)
        for name in ("noise", "rho_micro", "ceiling_statistics")
    )
    return None if same else TERMS_BASE


def fit_comment(text: str) -> str:
    """The comment without surrounding space.

    Raises: Refused comment_unfit.
    """
    text = text.strip()
    printable = all(sign.isprintable() or sign == "\u3000" for sign in text)
    if not 1 <= len(text) <= COMMENT_CHARACTERS_MAX or not printable:
        raise Refused(COMMENT_UNFIT, limit=COMMENT_CHARACTERS_MAX)
    return text


def signing(agreement: dict[str, Any]) -> dict[str, object]:
    """What both sides sign: the agreement by its hash and id."""
    return {"agreement": str(agreement["@id"]), "sha256": sha256_hex(agreement)}


def fits_request(agreement: dict[str, Any], one: Negotiation, own_did: str) -> bool:
    """Whether an agreement is the one the consumer asked for: parties, product, purpose, rules, hash."""
    rules = ("permission", "prohibition", "obligation", "profile")
    return (
        agreement.get("assigner") == one.peer_did
        and agreement.get("assignee") == own_did
        and agreement.get("target") == one.product
        and agreement.get(wire.PURPOSE) == one.purpose
        and agreement.get(wire.TERMS) == one.terms_sha256
        and agreement.get(wire.VERSION) == one.version
        and all(agreement.get(word) == one.terms.get(word) for word in rules)
        and wire.text_at(agreement, "@id") is not None
    )


def pinned(agreement: dict[str, Any]) -> Terms:
    """The terms an agreement pins: its rules without what this program adds to an agreement.

    Raises: Refused terms_unknown_operand and the like.
    """
    return terms_of_odrl({word: value for word, value in agreement.items() if not word.startswith(wire.NS)})


def use_refused(one: Contract, terms: Terms, recipient: tuple[str, ...], now_ms: int) -> Code | None:
    """None where the contract permits one more use now, else the code of the first rule it breaks."""
    return permits(
        terms, purpose=one.purpose, recipient=recipient, today=day(now_ms), agreed_on=day(one.agreed_ms),
        questions_used=one.questions_used,
    )  # fmt: skip


def month_begun(agreed_on: date, today: date) -> date:
    """The first day of the contract's month that `today` falls in: its day of the month, or the last there is."""
    ahead = (today.year - agreed_on.year) * 12 + today.month - agreed_on.month
    begun = _months_after(agreed_on, ahead)
    return begun if begun <= today else _months_after(agreed_on, ahead - 1)


def _months_after(day_one: date, months: int) -> date:
    year, month = divmod(day_one.year * 12 + day_one.month - 1 + months, 12)
    return date(year, month + 1, min(day_one.day, monthrange(year, month + 1)[1]))


def fees(price: Price, agreed_on: date, today: date) -> tuple[tuple[Kind, str, int], ...]:
    """The fees a use of `today` brings with it if they are not charged yet: kind, own name, amount."""
    month = month_begun(agreed_on, today).isoformat()
    found = (
        (Kind.agreement, "agreement", price.agreement_minor),
        (Kind.month, f"month-{month}", price.month_minor),
    )
    return tuple(fee for fee in found if fee[2])
