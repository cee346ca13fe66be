"""A log of somebody else with its keys, growing as it is told to, honestly or with another past."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from dujiang.ledger import note, witness
from dujiang.ledger.tree import Edge, Prover, leaf_hash

ORIGIN = "other.example.org/log"


@dataclass(slots=True)
class ForeignLog:
    """Leaves, keys and heads of a log; `leaves` may be changed: that is another past."""

    origin: str = ORIGIN
    seed: int = 7
    leaves: list[bytes] = field(default_factory=list[bytes])

    @property
    def private(self) -> Ed25519PrivateKey:
        """The key that signs its heads."""
        return Ed25519PrivateKey.from_private_bytes(sha256(f"{self.seed}".encode()).digest())

    @property
    def mldsa(self) -> MLDSA44PrivateKey:
        """The key of its second line."""
        return MLDSA44PrivateKey.from_seed_bytes(sha256(f"m{self.seed}".encode()).digest())

    @property
    def keys(self) -> tuple[note.Key, note.Key]:
        """Its two verifier keys."""
        return (
            note.Key(self.origin, self.private.public_key().public_bytes_raw()),
            note.Key(self.origin, self.mldsa.public_key().public_bytes_raw(), note.MLDSA44),
        )

    @property
    def vkeys(self) -> tuple[str, ...]:
        """The same as lines."""
        return tuple(key.line for key in self.keys)

    def grow(self, size: int, word: str = "entry") -> ForeignLog:
        """Itself, with as many leaves."""
        self.leaves += [leaf_hash(f"{word} {n}".encode()) for n in range(len(self.leaves), size)]
        return self

    def root(self, size: int) -> bytes:
        """The root of its first leaves."""
        edge = Edge()
        for leaf in self.leaves[:size]:
            edge.append(leaf)
        return edge.root()

    def head(self, size: int | None = None, *, second: bool = False) -> str:
        """The signed head of a size; with the ML-DSA-44 line if it is to have one."""
        size = len(self.leaves) if size is None else size
        text = note.checkpoint_text(self.origin, size, self.root(size))
        signed = note.signed(text, self.origin, self.keys[0].public, self.private.sign(text.encode()))
        if not second:
            return signed
        line = note.cosigned(note.read_checkpoint(signed), self.keys[1], 1_780_000_000, self.mldsa.sign)
        return note.with_lines(signed, [line])

    def proof(self, old: int, new: int) -> list[str]:
        """The proof in base64 that it grew from one size to another."""
        if not 0 < old < new:
            return []
        rows = self.leaves[:new]
        found = Prover(
            new, lambda level, number: rows[number * 256 : number * 256 + 256] if level == 0 else []
        )
        return [base64.b64encode(step).decode() for step in found.consistency(old)]

    def request(self, old: int, new: int | None = None, *, second: bool = False) -> bytes:
        """The request to cosign a head, for a witness that knows `old`."""
        new = len(self.leaves) if new is None else new
        return witness.write_request(old, self.proof(old, new), self.head(new, second=second))
