"""Rules of the log, pure: how a leaf commits to facts, and the steps that verify a receipt.

Verification needs no home, no account and no network:
1. the receipt has the expected form; 2. every opened fact and its salt give the commitment in the leaf;
3. the leaf's hash and the path lead to the checkpoint's root; 4. the checkpoint is signed by the key;
5. with a policy: the checkpoint is cosigned as it demands (C2SP tlog-policy).
The caller must decide whether the key belongs to whom it should: pin it with `vkey`.
"""

from __future__ import annotations

import binascii
import json
from binascii import hexlify
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from hashlib import sha256
from itertools import count
from struct import Struct
from typing import Annotated, Any, cast

import msgspec

from dujiang.kernel.canonical import canonical_pair
from dujiang.ledger.model import DAY_MS, QUANTITIES, Flow, Record, Verdict
from dujiang.ledger.note import NotANote, in_base64, read_checkpoint, read_vkey, signed_by, unbase64
from dujiang.ledger.tree import included, leaf_hash
from dujiang.ledger.witness import Policy, names_of, satisfied

VERSION = 1
SUITE = "intl"
SALT_BYTES = 16
_MEMBERS = frozenset({"type", "v", "index", "leaf", "opened", "path", "checkpoint", "vkey"})
_PRIVATE = frozenset({"person", "ask_sha256"})
"""Facts only the acting organisation sees."""


_TOLD = {"from_org": "from", "to_org": "to"}
_EPOCH = date(1970, 1, 1)
GONE = bytes(SALT_BYTES)
"""What stands in place of the salt of a fact that was erased."""
_SAFE_INTEGER = 2**53 - 1
_DEPTH = 6


def _facts_type() -> Any:
    """Facts whose deterministic encoding by msgspec is RFC 8785's: no number but safe integers, some levels deep."""
    simple: Any = None | bool | str | Annotated[int, msgspec.Meta(ge=-_SAFE_INTEGER, le=_SAFE_INTEGER)]
    found = simple
    for _ in range(_DEPTH):
        found = simple | list[found] | dict[str, found]
    return dict[str, found]


_plain = msgspec.json.Decoder(_facts_type())
_encoder = msgspec.json.Encoder(order="deterministic")


def commitment(field: str, value: object, salt: bytes) -> str:
    """SHA-256(salt ‖ canonical([field, value])) in hexadecimal."""
    return sha256(salt + canonical_pair(field, value)).hexdigest()


def commit(facts: Mapping[str, object], salts: bytes) -> bytes:
    """The commitments to facts, 32 bytes each in their order; `salts`: 16 bytes each in their order."""
    return committed([canonical_pair(field, value) for field, value in facts.items()], salts)


def committed(pairs: Sequence[bytes], salts: bytes) -> bytes:
    """The same of facts as the canonical bytes of each [field, value]; of one entry or of many side by side.

    Raises: ValueError where there are not as many salts.
    """
    salt = [salts[at : at + SALT_BYTES] for at in range(0, len(salts), SALT_BYTES)]
    return b"".join([sha256(one + pair).digest() for one, pair in zip(salt, pairs, strict=True)])


def told(text: str) -> tuple[dict[str, Any], bytes | None]:
    """The facts of an entry from the text they are kept as, and of each a line: canonical bytes of [field, value].

    No facts where the text is none, no lines where one of them is no value of canonical JSON.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]: SQLite keeps what it is given
        return {}, None
    # RFC 8785 §3.2.3 sorts by UTF-16 code units; without characters beyond 16 bits that is msgspec's order.
    if ("\\" not in text or "\\u" not in text) and (
        text.isascii() or len(text.encode("utf-16-le")) == 2 * len(text)
    ):
        try:
            facts = _plain.decode(text)
            # A list: of any other iterable msgspec 0.22 keeps every item for ever.
            return facts, _encoder.encode_lines([*facts.items()])
        except (msgspec.DecodeError, RecursionError):
            pass
    try:
        facts = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {}, None
    try:
        return facts, b"".join([canonical_pair(*fact) + b"\n" for fact in facts.items()])
    except (ValueError, RecursionError):
        return facts, None


def leaf_of(act: str, time_ms: int, fields: Iterable[str], commitments: bytes) -> bytes:
    """The public bytes of an entry: canonical JSON; `commitments` as of `commit`, in the order of `fields`."""
    frame, gaps, order = _frame(act, tuple(fields))
    digits = hexlify(commitments)
    if len(digits) != gaps.size:  # a damaged record: its leaf is another one
        digits = digits[: gaps.size].ljust(gaps.size, b"0")
    named = gaps.unpack(digits)
    return frame % (*(named if order is None else [named[place] for place in order]), time_ms)


@lru_cache(maxsize=1024)
def _frame(act: str, fields: tuple[str, ...]) -> tuple[bytes, Struct, list[int] | None]:
    """The leaf of an act with these fields, the digits for its gaps, and which goes where if it is not in order."""
    order = sorted(range(len(fields)), key=fields.__getitem__)
    named = ",".join([f'"{fields[place].replace("%", "%%")}":"%b"' for place in order])
    head, tail = f'{{"act":"{act.replace("%", "%%")}","commitments":{{', f'"suite":"{SUITE}","time_ms":%a'
    gaps = Struct("64s" * len(fields))
    return f'{head}{named}}},{tail},"v":{VERSION}}}'.encode(), gaps, None if order == sorted(order) else order


def record_of(
    index: int, act: str, time_ms: int, org: str, facts: dict[str, Any], commitments: bytes, salts: bytes
) -> Record:
    """The record of an entry as it is kept: facts, and of each in their order 32 and 16 bytes.

    A salt of zeros was erased, and its fact with it.
    """
    leaf = leaf_of(act, time_ms, facts, commitments).decode()
    digits, gone = salts.hex(), erased_of(facts, salts)
    opening = {field: digits[32 * at : 32 * at + 32] for at, field in enumerate(facts)}
    for field in gone:
        del facts[field], opening[field]
    return Record(index, act, time_ms, leaf, org, facts, opening, gone)


def erased_of(fields: Iterable[str], salts: bytes) -> tuple[str, ...]:
    """The fields whose salts were erased; `salts` in their order."""
    if GONE not in salts:
        return ()
    places = zip(fields, count(0, SALT_BYTES), strict=False)
    return tuple(field for field, at in places if salts[at : at + SALT_BYTES] == GONE)


def visible(record: Record, org: str, *, oversees: bool) -> dict[str, Any]:
    """The facts of a record that an organisation may see."""
    if oversees or record.org == org:
        return record.facts
    return {field: value for field, value in record.facts.items() if field not in _PRIVATE}


def figures_of(facts: Mapping[str, Any]) -> dict[Flow, dict[str, int]]:
    """What an entry counts: its fact `figures` by flow, each with its quantities (those not told are 0)."""
    found: dict[Flow, dict[str, int]] = {}
    for told in facts.get("figures") or ():
        flow = Flow(**{name: str(told.get(_TOLD.get(name, name), "")) for name in Flow.__slots__})
        counted = found.setdefault(flow, dict.fromkeys(QUANTITIES, 0))
        for name in QUANTITIES:
            counted[name] += int(told.get(name, 0))
    return found


def day_of(time_ms: int) -> int:
    """The UTC day of a time, in days since 1970."""
    return time_ms // DAY_MS


def month_of(day: int) -> int:
    """The UTC month of a day since 1970, as 202611."""
    date = _EPOCH + timedelta(days=day)
    return date.year * 100 + date.month


def receipt_of(
    record: Record, fields: Mapping[str, Any], path: list[bytes], checkpoint: str, key: str
) -> dict[str, object]:
    """The receipt of an entry that opens `fields`, as JSON; it says of each erased fact that it was."""
    opened: dict[str, dict[str, Any]] = {
        field: {"value": fields[field], "salt": record.salts[field]}
        for field in fields
        if field in record.salts
    }
    for field in record.erased:
        opened[field] = {"erased": True}
    return {
        "type": "dujiang-receipt", "v": VERSION, "index": record.index, "leaf": record.leaf, "opened": opened,
        "path": [in_base64(step) for step in path], "checkpoint": checkpoint, "vkey": key,
    }  # fmt: skip


def verify(receipt: object, pinned: str | None, policy: Policy | None = None) -> Verdict:
    """The verdict on a receipt; `pinned`: the verifier key the caller trusts, `policy`: whose cosignatures it wants."""
    signer = ""
    try:
        parts = _parts(receipt)
        name, public = read_vkey(pinned.strip() if pinned else parts["vkey"])
        signer = name
        leaf = cast("dict[str, Any]", json.loads(parts["leaf"]))
        head = read_checkpoint(parts["checkpoint"])
        path = [unbase64(step) for step in parts["path"]]
        facts = {field: each["value"] for field, each in parts["opened"].items() if "erased" not in each}
        erased = tuple(field for field in parts["opened"] if field not in facts)
        step = _failed(parts, leaf, facts)
        if step is None and not included(
            leaf_hash(parts["leaf"].encode()), parts["index"], head.size, path, head.root
        ):
            step = "3 path to the root"
        # While a key is rotated two sign: the one the receipt names and the one that is pinned.
        named, claimed = read_vkey(parts["vkey"])
        true = head.origin == name == named and signed_by(head, name, public)
        if step is None and not (true and (claimed == public or signed_by(head, named, claimed))):
            step = "4 signature of the checkpoint"
        if step is None and policy is not None and not satisfied(policy, head):
            step = "5 cosignatures of the policy"
        by = names_of(policy, head) if step is None and policy is not None else ()
        known = {name, *by}
        others = dict.fromkeys(signer for signer, _ in head.signatures if signer not in known)
        return Verdict(
            step is None, signer, step is None and pinned is not None, step, leaf["act"], leaf["time_ms"],
            parts["index"], head.size, facts, erased, by, tuple(others),
        )  # fmt: skip
    except (NotANote, KeyError, TypeError, ValueError, AttributeError, binascii.Error, RecursionError):
        return Verdict(False, signer, False, "1 form of the receipt")


def _parts(receipt: object) -> dict[str, Any]:
    parts = cast("dict[str, Any]", receipt)
    if not isinstance(receipt, dict) or frozenset(parts) != _MEMBERS:
        raise ValueError
    if parts["type"] != "dujiang-receipt" or parts["v"] != VERSION or type(parts["index"]) is not int:
        raise ValueError
    if len(parts["path"]) > 64 or not isinstance(parts["leaf"], str):
        raise ValueError
    return parts


def _failed(parts: dict[str, Any], leaf: dict[str, Any], facts: dict[str, Any]) -> str | None:
    if leaf["v"] != VERSION or leaf["suite"] != SUITE or type(leaf["time_ms"]) is not int:
        return "1 form of the receipt"
    for field, opening in parts["opened"].items():
        if field not in facts and not (
            len(opening) == 1 and opening["erased"] is True and field in leaf["commitments"]
        ):
            return "1 form of the receipt"
    for field, value in facts.items():
        opening = parts["opened"][field]
        salt = bytes.fromhex(opening["salt"])
        if set(opening) != {"value", "salt"} or salt.hex() != opening["salt"]:
            return "1 form of the receipt"
        if len(salt) != SALT_BYTES or leaf["commitments"].get(field) != commitment(field, value, salt):
            return "2 opened facts"
    return None
