"""A lot (批): records of another system attested in one call; each has its own entry, salts and receipt.

1. Every record has an entry with commitments of its own: nobody sees from two of them that they agree in anything.
2. What is kept and answered of a lot is small: salts, and the hashes around its entries in the tree. Who sent the
   records makes the leaves and the whole receipts of them again (`receipts_of`); each is then proved alone.
3. Fields stand in the order of the alphabet, in the leaf as in the record that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any, cast

from dujiang.kernel.canonical import canonical, canonical_pair
from dujiang.ledger.note import in_base64, read_checkpoint, unbase64
from dujiang.ledger.rules import SALT_BYTES, SUITE, VERSION
from dujiang.ledger.tree import Stretch

ACT = "ledger.attest"
EACH = "record"
"""The fact that holds the record; it comes last of a lot's fields."""
RECORDS_MAX, CALL_BYTES = 1024, 900_000
"""Records in one call, and about how many bytes of them are sent in one: a node takes a MiB if nothing else is set."""
_TYPE = "dujiang-receipts"
_MEMBERS = frozenset(
    {"type", "v", "first", "count", "time_ms", "facts", "salts", "around", "checkpoint", "vkey"}
)


@dataclass(frozen=True, slots=True)
class Lot:
    """Entries ready but for their time: of each the facts as JSON text, commitments, salts and leaf."""

    common: dict[str, str]
    """Facts that every entry has, by name in the order of the alphabet."""
    parties: tuple[str, ...]
    """Who sees the entries beside the acting organisation."""
    facts: list[str]
    commitments: list[bytes]
    salts: bytes
    """Of each entry one after another, of each field in order."""
    heads: list[bytes]
    """A zero byte and the leaf up to its time, which comes with the transaction."""

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def salt_bytes(self) -> int:
        """How many bytes of `salts` an entry has."""
        return SALT_BYTES * (len(self.common) + 1)


def calls_of(sized: Iterable[tuple[int, Any]]) -> Iterator[list[Any]]:
    """Records (bytes, value) call by call, as many in each as fit; one that is too large for any is alone in its."""
    part: list[Any] = []
    left = CALL_BYTES
    for length, record in sized:
        if part and (len(part) == RECORDS_MAX or length > left):
            yield part
            part, left = [], CALL_BYTES
        part.append(record)
        left -= length + 2
    if part:
        yield part


def lot_of(common: Mapping[str, str], parties: Sequence[str], records: list[bytes], salts: bytes) -> Lot:
    """A lot of canonical records; `salts`: 16 bytes for each field of each."""
    named = {name: common[name] for name in sorted(common)}
    if any(name >= EACH for name in named):
        raise ValueError("the record is the last of the fields")
    pairs = [canonical_pair(name, value) for name, value in named.items()]
    start = canonical(named)[:-1].decode() + (',"record":' if named else '"record":')
    members = ",".join(f'"{name}":"%s"' for name in [*named, EACH])
    head = f'\0{{"act":"{ACT}","commitments":{{{members}}},"suite":"{SUITE}","time_ms":'
    each = b'["record",'
    facts: list[str] = []
    commitments: list[bytes] = []
    heads: list[bytes] = []
    at = 0
    for record in records:
        digests: list[bytes] = []
        for pair in pairs:
            digests.append(sha256(salts[at : at + SALT_BYTES] + pair).digest())
            at += SALT_BYTES
        digests.append(sha256(salts[at : at + SALT_BYTES] + each + record + b"]").digest())
        at += SALT_BYTES
        facts.append(f"{start}{record.decode()}}}")
        commitments.append(b"".join(digests))
        heads.append((head % tuple([digest.hex() for digest in digests])).encode())
    return Lot(named, tuple(parties), facts, commitments, salts, heads)


def hashes_of(heads: list[bytes], time_ms: int) -> list[bytes]:
    """The leaf hashes of a lot whose entries are of that time."""
    tail = tail_of(time_ms)
    return [sha256(head + tail).digest() for head in heads]


def tail_of(time_ms: int) -> bytes:
    """What follows a lot's head in a leaf."""
    return f'{time_ms},"v":{VERSION}}}'.encode()


def receipt_of(
    first: int, time_ms: int, common: Mapping[str, str], salts: Sequence[str], around: Sequence[bytes],
    checkpoint: str, key: str,
) -> dict[str, object]:  # fmt: skip
    """The receipt of entries side by side, as JSON; `salts`: of each entry, in hexadecimal."""
    return {
        "type": _TYPE, "v": VERSION, "first": first, "count": len(salts), "time_ms": time_ms, "facts": common,
        "salts": salts, "around": [in_base64(step) for step in around],
        "checkpoint": checkpoint, "vkey": key,
    }  # fmt: skip


def receipts_of(receipt: object, records: Sequence[object]) -> list[dict[str, Any]]:
    """The whole receipt of each record, from the lot's receipt and the records that were sent, in their order.

    They lead to the root of the checkpoint: whether it is signed, and by whom, is left to `rules.verify`.

    Raises: ValueError where the receipt has not the form, or is not of these records.
    """
    parts = cast("dict[str, Any]", receipt)
    if not isinstance(receipt, dict) or frozenset(parts) != _MEMBERS or parts["type"] != _TYPE:
        raise ValueError("not the receipt of a lot")
    if parts["v"] != VERSION or any(type(parts[name]) is not int for name in ("first", "count", "time_ms")):
        raise ValueError("not the receipt of a lot")
    if parts["count"] != len(records):
        raise ValueError("not the receipt of as many records")
    try:
        return _opened(parts, records)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not the receipt of a lot") from error


def _opened(parts: dict[str, Any], records: Sequence[object]) -> list[dict[str, Any]]:
    salts = bytes.fromhex("".join(parts["salts"]))
    common: dict[str, str] = parts["facts"]
    made = lot_of(common, (), [canonical(record) for record in records], salts)
    tail, digits, first = tail_of(parts["time_ms"]), salts.hex(), parts["first"]
    width = 2 * made.salt_bytes
    if parts["salts"] != [digits[at : at + width] for at in range(0, len(records) * width, width)]:
        raise ValueError("not the salts of as many records")
    head = read_checkpoint(parts["checkpoint"])
    leaves = hashes_of(made.heads, parts["time_ms"])
    stretch = Stretch(head.size, first, leaves, [unbase64(step) for step in parts["around"]])
    if stretch.root() != head.root:
        raise ValueError("not the receipt of these records")
    written: dict[bytes, str] = {}
    found: list[dict[str, Any]] = []
    each = 2 * SALT_BYTES
    for place, record in enumerate(records):
        values: dict[str, object] = {**made.common, EACH: record}
        opened = {
            name: {"value": value, "salt": digits[at : at + each]}
            for at, (name, value) in zip(count(place * width, each), values.items(), strict=False)
        }
        path = stretch.inclusion(first + place)
        for step in path:
            if step not in written:
                written[step] = in_base64(step)
        found.append({
            "type": "dujiang-receipt", "v": VERSION, "index": first + place,
            "leaf": (made.heads[place] + tail)[1:].decode(), "opened": opened,
            "path": [written[step] for step in path], "checkpoint": parts["checkpoint"], "vkey": parts["vkey"],
        })  # fmt: skip
    return found
