"""Signed notes and checkpoints (C2SP signed-note v1.0.0, tlog-checkpoint v1.0.0), Ed25519.

A note is a text, an empty line and signature lines `— NAME BASE64(key id ‖ signature)`. A checkpoint's
text is the origin, the tree size and the base64 root, a line each.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_ED25519 = b"\x01"
_NOTE_CHARACTERS_MAX = 16_384


class NotANote(ValueError):
    """The text is not a note or checkpoint in the expected form."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed tree head as read: what it says, not yet whether it is true."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: tuple[tuple[str, bytes], ...]
    """(name, key id ‖ signature)."""


def key_id(name: str, public: bytes) -> bytes:
    """The 4-byte id of an Ed25519 key (32 bytes) under a name."""
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def vkey(name: str, public: bytes) -> str:
    """The verifier key in one line: NAME+HEX+BASE64."""
    return f"{name}+{key_id(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def read_vkey(line: str) -> tuple[str, bytes]:
    """The name and the public key of a verifier key.

    Raises: NotANote.
    """
    try:
        name, digits, encoded = line.split("+", 2)
        raw = unbase64(encoded)
    except ValueError:
        raise NotANote("not a verifier key") from None
    if len(raw) != 33 or raw[:1] != _ED25519 or digits != key_id(name, raw[1:]).hex():
        raise NotANote("not a verifier key")
    return name, raw[1:]


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The text that is signed."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def signed(text: str, name: str, public: bytes, signature: bytes) -> str:
    """The note of a text with one signature line."""
    return f"{text}\n\u2014 {name} {base64.b64encode(key_id(name, public) + signature).decode()}\n"


def read_checkpoint(note: str) -> Checkpoint:
    """The parts of a checkpoint note, nothing verified yet.

    Raises: NotANote.
    """
    body, separator, tail = note.rpartition("\n\n")
    lines = body.split("\n")
    whole = bool(separator) and tail.endswith("\n") and len(note) <= _NOTE_CHARACTERS_MAX
    if not whole or len(lines) < 3 or not lines[0]:
        raise NotANote("not a checkpoint")
    if not (lines[1].isascii() and lines[1].isdigit()) or (lines[1] != "0" and lines[1][0] == "0"):
        raise NotANote("not a tree size")
    try:
        root = unbase64(lines[2])
        signatures = tuple(_signature(line) for line in tail.removesuffix("\n").split("\n"))
    except ValueError:
        raise NotANote("not base64") from None
    if len(root) != 32 or len(lines[1]) > 18:
        raise NotANote("not a root")
    return Checkpoint(lines[0], int(lines[1]), root, body + "\n", signatures)


def unbase64(text: str) -> bytes:
    """The bytes of base64 in its one canonical form.

    Raises: ValueError also for stray bits before the padding, which would let a text change unseen.
    """
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not canonical base64")
    return raw


def signed_by(head: Checkpoint, name: str, public: bytes) -> bool:
    """Whether the checkpoint carries a true signature of that key under that name."""
    known = key_id(name, public)
    for signer, raw in head.signatures:
        if signer == name and raw[:4] == known:
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], head.text.encode())
            except InvalidSignature:
                return False
            return True
    return False


def _signature(line: str) -> tuple[str, bytes]:
    mark, name, encoded = line.split(" ")
    raw = unbase64(encoded)
    if mark != "\u2014" or len(raw) < 5:
        raise ValueError
    return name, raw
