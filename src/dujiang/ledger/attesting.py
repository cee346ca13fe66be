"""Attesting (存证) what another system did: up to 1,024 records in one call, an entry and a receipt for each.

1. The log commits to records; it does not judge them. Time and order are the log's, the content is the sender's.
2. Records are seen by who sent them and, where a contract is named, by the other side of it: nobody else's list
   of entries can be written into.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.canonical import canonical
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.shape import MALFORMED
from dujiang.ledger import lot, store
from dujiang.ledger.model import ENTRY_TOO_LARGE, RECORDS_COUNT
from dujiang.ledger.rules import SALT_BYTES

_RECORD_BYTES_MAX = 65_536
_WORD_CHARACTERS_MAX = 100
_OWN_WORDS = "ledger."


@dataclass(frozen=True, slots=True)
class Attest:
    """Records of another system: meter readings, deliveries, runs of a model."""

    records: tuple[Any, ...]
    """1 to 1,024 JSON values, each at most 64 KiB in canonical form; on the command line a .jsonl file."""
    kind: str | None = None
    """What they are, in a word of your own: meter.reading; none that begins with `ledger.`."""
    contract: str | None = None
    """A contract of yours they belong to: its other side sees them, too."""


@dataclass(frozen=True, slots=True)
class Attested:
    """Where the records stand in the log: `count` entries from `first` on, in the order they were given."""

    first: int
    count: int


def prepare_attest(node: Node, caller: Caller, ask: Attest) -> lot.Lot:
    """The entries, committed to but for their time and who sees them beside the caller.

    Raises: Refused records_count, entry_too_large, malformed, not_found.
    """
    del node
    if not 1 <= len(ask.records) <= lot.RECORDS_MAX:
        raise Refused(RECORDS_COUNT, most=lot.RECORDS_MAX)
    common = {"org": caller.org, "person": caller.person}
    if ask.kind is not None:
        # The log finds its own policies and prunings by the names of their acts: no crowd may stand among them.
        if not 1 <= len(ask.kind) <= _WORD_CHARACTERS_MAX or ask.kind.startswith(_OWN_WORDS):
            raise Refused(MALFORMED, place="$.kind")
        common["kind"] = ask.kind
    if ask.contract is not None:
        if len(ask.contract) > _WORD_CHARACTERS_MAX:
            raise Refused(NOT_FOUND)
        common["contract"] = ask.contract
    made: list[bytes] = []
    for place, record in enumerate(ask.records, 1):
        # The runner has hashed the ask: what has no canonical form was refused there.
        raw = canonical(record)
        if len(raw) > _RECORD_BYTES_MAX:
            raise Refused(ENTRY_TOO_LARGE, place=place, most=_RECORD_BYTES_MAX)
        made.append(raw)
    return lot.lot_of(common, (), made, os.urandom(SALT_BYTES * (len(common) + 1) * len(made)))


def attest(tx: Tx, caller: Caller, ask: Attest, made: lot.Lot) -> Attested:
    """Leaves an entry for each record; the receipt is that of all of them, from which each one's is made.

    Raises: Refused not_found: the contract was not concluded in this log, or is not yours.
    """
    parties: tuple[str, ...] = ()
    if ask.contract is not None:
        parties = store.sides(tx.db, ask.contract)
        if caller.org not in parties:
            raise Refused(NOT_FOUND)
    tx.many = replace(made, parties=parties)
    return Attested(tx.entry, len(made))
