"""Whether the log in the database is the log that was signed: every record, leaf, tile and the newest checkpoint.

1. Entries are numbered without a gap. 2. A record's facts and salts give its leaf. 3. The leaves give the tiles.
4. The tiles give the root of the newest checkpoint, of that size. 5. It is signed by the log's keys of that size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import zip_longest
from typing import Any, cast

import msgspec

from dujiang.kernel.tables import Session
from dujiang.ledger import keyring, lot, note, rules, store
from dujiang.ledger.model import Flow, Record
from dujiang.ledger.tree import WIDTH, Edge, leaf_hash, node_hash

_PAGE = 1000
_BLOCK = 4096


def head(db: Session) -> str | None:
    """The first of rules 4 and 5 that does not hold, or None: quick, whatever the size of the log."""
    newest = store.checkpoint(db)
    size, _ = store.last(db)
    if newest is None or newest[0] != size:
        return "4 size"
    try:
        checkpoint = note.read_checkpoint(newest[1])
    except note.NotANote:
        return "5 checkpoint"
    if not keyring.holds(checkpoint, keyring.signing(db)):
        return "5 signature"
    try:
        root = store.tree(db, size).root()
    except IndexError:
        return "3 tiles"
    return None if checkpoint.size == size and checkpoint.root == root else "4 root"


def whole(db: Session) -> str | None:
    """The first rule that does not hold, or None; reads every entry."""
    size, _ = store.last(db)
    edge = Edge()
    for first in range(0, size, _PAGE):
        page = store.page(db, min(size, first + _PAGE), min(_PAGE, size - first))
        for place, record in enumerate(reversed(page), first):
            if record.index != place:
                return "1 numbers"
            if not rules.opens(record):
                return "2 records"
            for level, number, hashes in edge.append(leaf_hash(record.leaf.encode())):
                if store.tile(db, level, number) != hashes:
                    return "3 tiles"
    if edge.size != size:
        return "1 numbers"
    if any(store.tile(db, level, number) != hashes for level, number, hashes in edge.partial()):
        return "3 tiles"
    return head(db)


def strange(db: Session, page: Sequence[Record]) -> frozenset[int]:
    """The entries of a page whose leaf is not the one in the tree, or whose record does not open it."""
    found: set[int] = set()
    tiles: dict[int, list[bytes]] = {}
    for record in page:
        number, place = divmod(record.index, WIDTH)
        if number not in tiles:
            tiles[number] = store.tile(db, 0, number)
        if tiles[number][place : place + 1] != [leaf_hash(record.leaf.encode())] or not rules.opens(record):
            found.add(record.index)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which the log in the database is not the log that was signed."""

    what: str
    """number, record, time, leaf, tile, root, signature, checkpoint, sight or figure."""
    at: int
    """The entry, of a checkpoint its size, of a tile the first entry below it."""
    detail: str = ""
    """The tile, or the organisation whose sight differs."""


@dataclass(slots=True)
class Examination:
    """What an examination of the whole log found; all differences are counted, the first `limit` named."""

    limit: int
    entries: int = 0
    checkpoints: int = 0
    found: int = 0
    differences: list[Difference] = field(default_factory=list[Difference])

    def differs(self, what: str, at: int, detail: str = "") -> None:
        """Takes in a difference."""
        self.found += 1
        if len(self.differences) < self.limit:
            self.differences.append(Difference(what, at, detail))


def examine(db: Session, limit: int) -> Examination:
    """Everything that differs, from the first entry to the last; 10**6 entries take some 15 s.

    1. Entries are numbered without a gap, in the order of their time. 2. A record opens its leaf, but for what was
    erased. 3. Leaves are the hashes of level 0, full tiles give the level above. 4. Every checkpoint has the root of
    its size, and the signatures of the keys of that size. 5. Whom an entry names as its sides may see it, and nobody
    else. 6. What an entry counts is what the figures hold of it.
    """
    found = Examination(limit)
    grown, sight = _Grown(db, found), _Sight(db, found)
    size, _ = store.last(db)
    last_ms = 0
    for first in range(0, size, _BLOCK):
        rows = store.raw(db, first, _BLOCK)
        kept = _figures(db, first, _BLOCK)
        for index, act, time_ms, org, text, commitments, salts in rows:
            while found.entries < index:
                found.differs("number", found.entries)
                grown.add(None, last_ms)
                found.entries += 1
            found.entries += 1
            if time_ms < last_ms:
                found.differs("time", index)
            last_ms = max(last_ms, time_ms)
            facts = _facts(text)
            if not _opens(facts, org, commitments, salts):
                found.differs("record", index)
            grown.add(leaf_hash(rules.leaf_of(act, time_ms, facts, commitments).encode()), time_ms)
            sight.add(index, org, facts, salts)
            if "figures" in facts and rules.figures_of(facts) != kept.get(index, {}):
                found.differs("figure", index)
    grown.end(size)
    sight.end()
    return found


def _facts(text: str) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}


def _opens(facts: dict[str, Any], org: str, commitments: bytes, salts: bytes) -> bool:
    width = rules.SALT_BYTES
    if len(commitments) != 32 * len(facts) or len(salts) != width * len(facts):
        return False
    if "org" in facts and facts["org"] != org and facts["org"] is not None:
        return False
    try:
        made = rules.commit(facts, salts)
    except ValueError:
        return False
    if made == commitments:
        return True
    for at, value in enumerate(facts.values()):
        erased = value is None and not any(salts[width * at : width * (at + 1)])
        if not erased and made[32 * at : 32 * (at + 1)] != commitments[32 * at : 32 * (at + 1)]:
            return False
    return True


def _figures(db: Session, first: int, count: int) -> dict[int, dict[Flow, dict[str, int]]]:
    kept: dict[int, dict[Flow, dict[str, int]]] = {}
    for index, _, _, flow, counted in store.of_entries(db, first, first + count):
        kept.setdefault(index, {})[flow] = counted
    return kept


class _Grown:
    """The tree as its leaves give it, held against tiles and checkpoints on the way."""

    def __init__(self, db: Session, found: Examination) -> None:
        self._db, self._found = db, found
        self._keys = store.keys(db)
        self._edge = Edge()
        self._peaks: list[bytes] = []
        """Roots of the perfect trees it consists of: there may be a checkpoint of every size."""
        self._heads = store.checkpoints(db)
        self._head = next(self._heads, None)
        self._check(0)

    def add(self, leaf: bytes | None, time_ms: int) -> None:
        """Takes in the next leaf hash; of an entry that is gone the one that stands in its tile."""
        if leaf is None:
            number, at = divmod(self._edge.size, WIDTH)
            row = store.tile(self._db, 0, number)
            leaf = row[at] if at < len(row) else bytes(32)
        place, peak = self._edge.size, leaf
        while place & 1:
            peak, place = node_hash(self._peaks.pop(), peak), place >> 1
        self._peaks.append(peak)
        for full in self._edge.append(leaf):
            self._held(*full)
        self._check(time_ms)

    def _held(self, level: int, number: int, row: list[bytes]) -> None:
        kept = store.tile(self._db, level, number)
        if kept == row:
            return
        place = number * WIDTH ** (level + 1)
        if level:
            self._found.differs("tile", place, f"{level}/{number}")
            return
        pairs = [(a, b) for a, b in zip_longest(row, kept) if a is not None]
        for at, (own, there) in enumerate(pairs):
            if own != there:
                self._found.differs("leaf", place + at)
        if len(kept) > len(row):
            self._found.differs("tile", place, f"{level}/{number}")

    def _check(self, time_ms: int) -> None:
        """Holds the checkpoint of this size against the tree, if there is one."""
        if self._head is None or self._head[0] != self._edge.size:
            return
        (size, signed), self._head = self._head, next(self._heads, None)
        self._found.checkpoints += 1
        try:
            head = note.read_checkpoint(signed)
        except note.NotANote:
            self._found.differs("checkpoint", size)
            return
        if head.size != size or head.root != self._root():
            self._found.differs("root", size)
        if not keyring.holds(head, keyring.signers(self._keys, size, time_ms)):
            self._found.differs("signature", size)

    def _root(self) -> bytes:
        if not self._peaks:
            return sha256(b"").digest()
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def end(self, size: int) -> None:
        """Holds what is left of the right edge, and what there is beyond it."""
        for partial in self._edge.partial():
            self._held(*partial)
        newest = store.checkpoint(self._db)
        if newest is None or newest[0] != size or self._head is not None:
            self._found.differs("checkpoint", size if newest is None else newest[0])


class _Sight:
    """Who may see entries, summed for each organisation: how many, their indexes, and the squares of the remainders.

    The rows are laid by organisation, the log by time: sums compare without a walk through both.
    """

    def __init__(self, db: Session, found: Examination) -> None:
        self._db, self._found = db, found
        self._sums: dict[str, list[int]] = {}
        self._sides: dict[str, tuple[str, ...]] = {}
        self._unsure = False

    def add(self, index: int, org: str, facts: dict[str, Any], salts: bytes) -> None:
        """Takes in whom an entry names."""
        if rules.GONE in salts and any(
            name in facts and facts[name] is None for name in ("org", "parties", "contract")
        ):
            self._unsure = True  # whom an erased fact named nobody can say
        sides: Any = facts.get("parties") or ()
        if lot.EACH in facts and "contract" in facts:
            contract = str(facts["contract"])
            if contract not in self._sides:
                self._sides[contract] = store.sides(self._db, contract)
            sides = self._sides[contract]
        for each in {org, *sides}:
            sums = self._sums.setdefault(str(each), [0, 0, 0])
            sums[0] += 1
            sums[1] += index
            sums[2] += (index % store.SIGHT_MODULUS) ** 2

    def end(self) -> None:
        """Compares the sums with those of the rows."""
        if self._unsure:
            return
        kept = store.sight_sums(self._db)
        for org in sorted(self._sums.keys() | kept.keys()):
            if self._sums.get(org) != kept.get(org):
                self._found.differs("sight", -1, org)
