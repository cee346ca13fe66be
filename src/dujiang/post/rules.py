"""Rules of post, pure: the form of an envelope, and when a letter is tried again."""

from __future__ import annotations

from typing import Any, cast

from dujiang.identity.rules import JWS_CHARACTERS_MAX

CLAIMS_BYTES_MAX = JWS_CHARACTERS_MAX * 3 // 4 - 1024
"""What is signed, so that its envelope (base64 and a header) is not longer than a receiver reads."""


def payload(
    letter: str, from_did: str, to_did: str, time_ms: int, message: dict[str, Any]
) -> dict[str, object]:
    """What the sender signs."""
    return {"jti": letter, "iss": from_did, "aud": to_did, "iat": time_ms // 1000, "body": message}


def fits(claims: dict[str, Any], from_did: str, to_did: str) -> dict[str, Any] | None:
    """The message of a verified payload if it names that sender and receiver and has the form of one."""
    message = claims.get("body")
    known = claims.get("iss") == from_did and claims.get("aud") == to_did
    if not known or not isinstance(claims.get("jti"), str) or not 1 <= len(claims["jti"]) <= 100:
        return None
    if not isinstance(message, dict) or not isinstance(cast("dict[str, Any]", message).get("@type"), str):
        return None
    return cast("dict[str, Any]", message)


def thread_of(letter: str, message: dict[str, Any]) -> str:
    """What a message is part of, so that the messages of one negotiation are delivered in order.

    Every message of a negotiation carries its `consumerPid` (Dataspace Protocol 2025-1); one without is alone.
    """
    thread = message.get("consumerPid")
    return thread if isinstance(thread, str) else letter


def next_try_ms(now_ms: int, attempts: int, backoff_s_max: int) -> int:
    """When a letter is tried again after `attempts` failures: 1, 2, 4 … seconds, up to the longest."""
    return now_ms + 1000 * min(2 ** min(attempts - 1, 20), backoff_s_max)
