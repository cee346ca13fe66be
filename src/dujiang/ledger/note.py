"""Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature), several signatures each.

1. A note is a text, an empty line and signature lines `— NAME BASE64(key id ‖ signature)`.
2. A checkpoint's text is the origin, the tree size and the base64 root, a line each, then extension lines.
3. Keys: 01 Ed25519 over the text; 04 Ed25519 cosignature, 06 ML-DSA-44 cosignature, both with a time.
4. Lines of unknown keys are passed over; one line of a known key that is not true spoils the note.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519, COSIGNATURE, MLDSA44 = 1, 4, 6
_PUBLIC_BYTES = {ED25519: 32, COSIGNATURE: 32, MLDSA44: 1312}
_NOTE_CHARACTERS_MAX = 131_072
_SIGNATURES_MAX = 64
"""At least 16 must be accepted; an ML-DSA-44 line has 3.3 kB."""
_TIME_BYTES = 8
Sign = Callable[[bytes], bytes]


class NotANote(ValueError):
    """The text is not a note or checkpoint in the expected form."""


class Spoiled(NotANote):
    """A signature of a known key is not true."""


@dataclass(frozen=True, slots=True)
class Key:
    """A verifier key."""

    name: str
    public: bytes
    kind: int = ED25519

    @property
    def id(self) -> bytes:
        """The 4 bytes that stand before its signatures."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def line(self) -> str:
        """The key in one line: NAME+HEX+BASE64."""
        return f"{self.name}+{self.id.hex()}+{in_base64(bytes([self.kind]) + self.public)}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed tree head as read: what it says, not yet whether it is true."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: tuple[tuple[str, bytes], ...]
    """(name, key id ‖ signature)."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A true signature of a known key."""

    key: Key
    line: str
    time_s: int | None
    """When a cosigner says it signed, in seconds since 1970."""


def read_key(line: str) -> Key:
    """A verifier key of any known kind.

    Raises: NotANote.
    """
    try:
        name, digits, encoded = line.split("+", 2)
        raw = unbase64(encoded)
    except ValueError:
        raise NotANote("not a verifier key") from None
    kind, public = raw[0] if raw else 0, raw[1:]
    whole = _named(name) and len(public) == _PUBLIC_BYTES.get(kind)
    key = Key(name, public, kind)
    if not whole or digits != key.id.hex():
        raise NotANote("not a verifier key")
    return key


def read_vkey(line: str) -> tuple[str, bytes]:
    """The name and the public key of an Ed25519 verifier key, as logs have one.

    Raises: NotANote.
    """
    key = read_key(line)
    if key.kind != ED25519:
        raise NotANote("not a log's verifier key")
    return key.name, key.public


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The text that is signed."""
    return f"{origin}\n{size}\n{in_base64(root)}\n"


def signed(text: str, name: str, public: bytes, signature: bytes) -> str:
    """The note of a text with one signature line of an Ed25519 key."""
    return f"{text}\n{_line(name, Key(name, public).id + signature)}"


def cosigned(head: Checkpoint, key: Key, time_s: int, sign: Sign) -> str:
    """The cosignature line of a key of kind 04 or 06; `sign` signs what it is handed."""
    signature = sign(_message(head, key, time_s))
    return _line(key.name, key.id + time_s.to_bytes(_TIME_BYTES, "big") + signature)


def with_lines(note: str, lines: Iterable[str]) -> str:
    """The note with more signature lines; one that it has already is not repeated."""
    known = note.rpartition("\n\n")[2].splitlines(keepends=True)
    return note + "".join(line for line in lines if line not in known)


def read_checkpoint(note: str) -> Checkpoint:
    """The parts of a checkpoint note, nothing verified yet.

    Raises: NotANote.
    """
    body, separator, tail = note.rpartition("\n\n")
    lines = body.split("\n")
    whole = bool(separator) and tail.endswith("\n") and len(note) <= _NOTE_CHARACTERS_MAX
    if not whole or len(lines) < 3 or not all(lines) or any(c < " " and c != "\n" for c in body):
        raise NotANote("not a checkpoint")
    if not (lines[1].isascii() and lines[1].isdigit()) or (lines[1] != "0" and lines[1][0] == "0"):
        raise NotANote("not a tree size")
    try:
        root = unbase64(lines[2])
    except ValueError:
        raise NotANote("not base64") from None
    if len(root) != 32 or len(lines[1]) > 18:
        raise NotANote("not a root")
    return Checkpoint(lines[0], int(lines[1]), root, body + "\n", read_lines(tail))


def read_lines(text: str) -> tuple[tuple[str, bytes], ...]:
    """The signature lines of a note or of a witness's answer: (name, key id ‖ signature).

    Raises: NotANote.
    """
    lines = text.removesuffix("\n").split("\n")
    if not text.endswith("\n") or len(lines) > _SIGNATURES_MAX:
        raise NotANote("not signature lines")
    try:
        return tuple(_signature(line) for line in lines)
    except ValueError:
        raise NotANote("not base64") from None


def in_base64(raw: bytes) -> str:
    """The one form of bytes in base64."""
    return base64.b64encode(raw).decode()


def unbase64(text: str) -> bytes:
    """The bytes of base64 in its one canonical form.

    Raises: ValueError also for stray bits before the padding, which would let a text change unseen.
    """
    raw = base64.b64decode(text, validate=True)
    if in_base64(raw) != text:
        raise ValueError("not canonical base64")
    return raw


def signatures(head: Checkpoint, keys: Iterable[Key]) -> list[Signed]:
    """The true signatures of known keys, in the order of the lines; each key counts once.

    Raises: Spoiled where a line of a known key is not true.
    """
    known = {(key.name, key.id): key for key in keys}
    found: dict[Key, Signed] = {}
    for name, raw in head.signatures:
        key = known.get((name, raw[:4]))
        if key is None:
            continue
        time_s = None if key.kind == ED25519 else int.from_bytes(raw[4 : 4 + _TIME_BYTES], "big")
        if not _true(head, key, raw, time_s):
            raise Spoiled("a signature of a known key is not true")
        found.setdefault(key, Signed(key, _line(name, raw), time_s))
    return list(found.values())


def signed_by(head: Checkpoint, name: str, public: bytes) -> bool:
    """Whether the checkpoint carries a true signature of that Ed25519 key under that name, and no false one."""
    try:
        return bool(signatures(head, (Key(name, public),)))
    except Spoiled:
        return False


@lru_cache(maxsize=256)
def _ed25519(public: bytes, signature: bytes, text: str) -> None:
    """Nothing where the signature is true; the receipts of one commit share their checkpoint.

    Raises: InvalidSignature, ValueError.
    """
    Ed25519PublicKey.from_public_bytes(public).verify(signature, text.encode())


def _true(head: Checkpoint, key: Key, raw: bytes, time_s: int | None) -> bool:
    try:
        if key.kind == ED25519:
            _ed25519(key.public, raw[4:], head.text)
            return True
        if time_s is None or len(raw) <= 4 + _TIME_BYTES:
            return False
        message, signature = _message(head, key, time_s), raw[4 + _TIME_BYTES :]
        if key.kind == COSIGNATURE:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
            return True
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

        MLDSA44PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(head: Checkpoint, key: Key, time_s: int) -> bytes:
    """What a cosigner signs: the text with a time (04), or the tree as a subtree from 0 (06)."""
    if key.kind == COSIGNATURE:
        return f"cosignature/v1\ntime {time_s}\n{head.text}".encode()
    if key.kind != MLDSA44:
        raise ValueError("not a cosigner's key")
    return b"".join((
        b"subtree/v1\n\0", _prefixed(key.name), time_s.to_bytes(_TIME_BYTES, "big"), _prefixed(head.origin),
        (0).to_bytes(8, "big"), head.size.to_bytes(8, "big"), head.root,
    ))  # fmt: skip


def _prefixed(name: str) -> bytes:
    raw = name.encode()
    if len(raw) > 255:
        raise ValueError("a name longer than 255 bytes")
    return bytes([len(raw)]) + raw


def _line(name: str, raw: bytes) -> str:
    return f"\u2014 {name} {in_base64(raw)}\n"


def _named(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() or c < " " for c in name)


def _signature(line: str) -> tuple[str, bytes]:
    mark, name, encoded = line.split(" ")
    raw = unbase64(encoded)
    if mark != "\u2014" or len(raw) < 5 or not _named(name):
        raise ValueError
    return name, raw
