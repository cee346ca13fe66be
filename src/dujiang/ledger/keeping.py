"""Receipts of others that are kept (留存对方回执), so that a party of a contract can prove alone.

1. Only what verifies is kept: under a key of the log that is to be believed at the size of the checkpoint.
2. An organisation keeps one receipt of an entry of a log, as it came first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec

from dujiang.kernel.tables import Session
from dujiang.ledger import keyring, note, rules, store, witness_store


@dataclass(frozen=True, slots=True)
class Proof:
    """A receipt that verifies: which entry of which log, and what it opens."""

    origin: str
    index: int
    facts: dict[str, Any]
    receipt: dict[str, Any]


def proof_of(db: Session, receipt: dict[str, Any]) -> Proof | None:
    """What a receipt of this home's log proves; None unless all of it verifies under a key of the log."""
    signed = receipt.get("checkpoint")
    try:
        size = note.read_checkpoint(cast("str", signed)).size
        key = keyring.believed(store.keys(db), size, cast("str", signed))
    except (note.NotANote, AttributeError, TypeError, ValueError):
        return None
    verdict = rules.verify(receipt, keyring.vkey(key)) if key is not None else None
    if verdict is None or not verdict.ok or verdict.index is None:
        return None
    return Proof(verdict.signer, verdict.index, verdict.facts or {}, receipt)


def keep(db: Session, org: str, about: str, proof: Proof) -> None:
    """Keeps a receipt for an organisation, found again by what it is about."""
    told = msgspec.json.encode(proof.receipt).decode()
    witness_store.keep(db, org, about, proof.origin, proof.index, told)


def kept(db: Session, org: str, about: str) -> tuple[dict[str, Any], ...]:
    """The receipts an organisation keeps about an id, in the order of their logs and entries."""
    return tuple(msgspec.json.decode(told) for told in witness_store.kept(db, org, about))


def kept_count(db: Session, org: str, about: str) -> int:
    """How many receipts an organisation keeps about an id."""
    return witness_store.kept_count(db, org, about)
