"""The Dataspace Protocol's negotiation messages (2025-1), as plain JSON against the official schemas.

Own properties are absolute IRIs, so that JSON-LD peers keep them. Numbers in policies are text.
"""

from __future__ import annotations

from typing import Any, cast

CONTEXT = "https://w3id.org/dspace/2025/1/context.jsonld"
NS = "https://dujiang.dev/ns/"
PURPOSE, SIGNATURE, TERMS, VERSION, TEXT = (
    NS + word for word in ("purpose", "signature", "termsSha256", "productVersion", "text")
)

MESSAGES = {
    "ContractRequestMessage": "request",
    "ContractOfferMessage": "offer",
    "ContractAgreementMessage": "agree",
    "ContractAgreementVerificationMessage": "verify",
    "ContractNegotiationTerminationMessage": "terminate",
    "ContractNegotiation": "acknowledge",
    NS + "ContractCommentMessage": "comment",
    NS + "ContractEndMessage": "end",
}
_EVENTS = {"ACCEPTED": "accept", "FINALIZED": "finalize"}


def word_of(message: dict[str, Any]) -> str | None:
    """The negotiation's word for a message, or None for a message that is not of a negotiation."""
    kind = message.get("@type")
    if kind == "ContractNegotiationEventMessage":
        return _EVENTS.get(str(message.get("eventType")))
    return MESSAGES.get(kind) if isinstance(kind, str) else None


def request(consumer_pid: str, callback: str, offer: dict[str, Any], purpose: str) -> dict[str, Any]:
    """ContractRequestMessage: the first message, with the offer as the provider published it."""
    return _message(
        "ContractRequestMessage",
        consumerPid=consumer_pid,
        callbackAddress=callback,
        offer=offer,
        **{PURPOSE: purpose},
    )


def request_again(
    provider_pid: str, consumer_pid: str, offer: dict[str, Any], purpose: str
) -> dict[str, Any]:
    """ContractRequestMessage within a negotiation: the consumer's changed request."""
    return _message(
        "ContractRequestMessage",
        providerPid=provider_pid,
        consumerPid=consumer_pid,
        offer=offer,
        **{PURPOSE: purpose},
    )


def offer(provider_pid: str, consumer_pid: str, offered: dict[str, Any]) -> dict[str, Any]:
    """ContractOfferMessage within a negotiation: the provider's counter-offer."""
    return _message("ContractOfferMessage", providerPid=provider_pid, consumerPid=consumer_pid, offer=offered)


def acknowledgement(provider_pid: str, consumer_pid: str, state: str) -> dict[str, Any]:
    """ContractNegotiation: the provider has the request and will answer it; what its HTTP binding replies."""
    return _message("ContractNegotiation", providerPid=provider_pid, consumerPid=consumer_pid, state=state)


def comment(provider_pid: str, consumer_pid: str, text: str) -> dict[str, Any]:
    """A remark within a negotiation, which the protocol has no message for."""
    return _message(
        NS + "ContractCommentMessage", providerPid=provider_pid, consumerPid=consumer_pid, **{TEXT: text}
    )


def agreement(provider_pid: str, consumer_pid: str, agreed: dict[str, Any], signature: str) -> dict[str, Any]:
    """ContractAgreementMessage with the provider's signature over the agreement."""
    return _message(
        "ContractAgreementMessage", providerPid=provider_pid, consumerPid=consumer_pid, agreement=agreed,
        **{SIGNATURE: signature},
    )  # fmt: skip


def verification(provider_pid: str, consumer_pid: str, signature: str) -> dict[str, Any]:
    """ContractAgreementVerificationMessage with the consumer's signature over the same agreement."""
    return _message(
        "ContractAgreementVerificationMessage", providerPid=provider_pid, consumerPid=consumer_pid,
        **{SIGNATURE: signature},
    )  # fmt: skip


def event(provider_pid: str, consumer_pid: str, kind: str, terms_sha256: str | None = None) -> dict[str, Any]:
    """ContractNegotiationEventMessage: ACCEPTED (with the hash of what is accepted) or FINALIZED."""
    pinned = {} if terms_sha256 is None else {TERMS: terms_sha256}
    return _message(
        "ContractNegotiationEventMessage",
        providerPid=provider_pid,
        consumerPid=consumer_pid,
        eventType=kind,
        **pinned,
    )


def termination(provider_pid: str, consumer_pid: str, code: str) -> dict[str, Any]:
    """ContractNegotiationTerminationMessage with a code as the reason."""
    return _message(
        "ContractNegotiationTerminationMessage", providerPid=provider_pid, consumerPid=consumer_pid, code=code,
        reason=[code],
    )  # fmt: skip


def end(contract: str) -> dict[str, Any]:
    """The end of a final agreement, which the protocol has no message for."""
    return _message(NS + "ContractEndMessage", agreementId=contract)


def agreed_of(
    contract: str, product: str, offer: dict[str, Any], assigner: str, assignee: str, timestamp: str,
    purpose: str, terms_sha256: str, version: str,
) -> dict[str, Any]:  # fmt: skip
    """The Agreement: the offer's rules, between these two, from this time, for this purpose."""
    rules = {
        word: offer[word] for word in ("permission", "prohibition", "obligation", "profile") if word in offer
    }
    return {
        "@id": contract, "@type": "Agreement", "target": product, "assigner": assigner, "assignee": assignee,
        "timestamp": timestamp, **rules, PURPOSE: purpose, TERMS: terms_sha256, VERSION: version,
    }  # fmt: skip


def text_at(message: dict[str, Any], *path: str) -> str | None:
    """The text at a path of a message, if it is there and is short enough to be an id or a word."""
    value: Any = message
    for step in path:
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, Any]", value).get(step)
    return value if isinstance(value, str) and 0 < len(value) <= 500 else None


def _message(kind: str, **members: Any) -> dict[str, Any]:
    return {"@context": [CONTEXT], "@type": kind, **members}
