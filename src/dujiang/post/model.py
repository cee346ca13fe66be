"""Words of 邮驿 (post): letter, envelope, outbox, inbox.

1. A letter is written in the transaction of the state change it tells of; it cannot be lost or invented.
2. Its body is a Dataspace Protocol message; its envelope a JWS of the sender, verified by every receiver,
   also between two organisations of one node.
3. A letter is heard once: its id is kept with its receiver.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dujiang.kernel.errors import Code, Exit

LETTER_UNFIT = Code(
    "message_unverified", 400, Exit.refused,
    "The message is not one this node accepts.", "Check sender, receiver, signature and form of the message.",
    "本节点不接受该消息。", "请检查消息的发送方、接收方、签名和格式。",
)  # fmt: skip
LETTER_LARGE = Code(
    "message_large", 413, Exit.refused,
    "A message has at most {limit} bytes.", "Send a smaller message.",
    "消息不得超过 {limit} 字节。", "请发送较小的消息。",
)  # fmt: skip
MESSAGE_KNOWN = Code(
    "message_known", 409, Exit.conflict,
    "This message was heard before.", "Nothing: it was answered then.",
    "该消息此前已收到。", "无需处理：当时已作答复。",
)  # fmt: skip
CODES = (LETTER_UNFIT, LETTER_LARGE, MESSAGE_KNOWN)

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given up"
TYPE = "dsp+jws"


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter in the outbox."""

    id: str
    org: str
    """The sender."""
    to_did: str
    claims: str
    """What is signed when it leaves, as JSON."""
    state: str
    attempts: int
    due_ms: int
    about: str | None = None
    """The sender's own id of what it is about, to find what became of it."""
    entry: int | None = None
    """The log entry that wrote it, where its receipt goes with it."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A letter as received and verified."""

    id: str
    from_did: str
    org: str
    """The receiver, an organisation of this home."""
    to_did: str
    message: dict[str, Any]
