"""Whether the log in the database is the log that was signed (检查): one walk from the first entry to the last.

1. Entries are numbered without a gap, in the order of their time. 2. A record opens its leaf, but for what was
erased. 3. Leaves are the hashes of level 0, full tiles give the level above. 4. A checkpoint has the root of its size,
and the signatures of the keys of that size; the newest is of all entries. 5. Whom an entry names as its sides may
see it, and nobody else. 6. What an entry counts is what the figures hold of it.

`head` proves 4 of the newest checkpoint from the tiles alone: quick, whatever the size of the log.
`whole` proves 1 to 4, of checkpoints the newest: that a copy may go on. `examine` proves all, and names what differs.
`entries` is the walk of both, and of who compares the log with what the packages keep (observatory's reconcile).
What a stranger proves of the published files, without a database, is `walk`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from dujiang.kernel.tables import Session
from dujiang.ledger import keyring, lot, note, rules, store
from dujiang.ledger.model import Flow, LogKey
from dujiang.ledger.tree import WIDTH, Edge, leaf_hash

_BLOCK = 1024
_ALL = 2**53
"""Beyond every entry, and with a minus before every one."""

Counts = dict[Flow, dict[str, int]]


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


@dataclass(slots=True)
class Entry:
    """What an entry tells, and what the tables of figures hold of it."""

    index: int
    act: str
    time_ms: int
    org: str
    facts: dict[str, Any]
    """Without those that were erased."""
    erased: tuple[str, ...]
    counted: Counts
    """Without figures on another day than the entry's: these are not its own."""


def head(db: Session) -> str | None:
    """What of the newest checkpoint is not so, or None; reads a few tiles."""
    newest, (size, _) = store.checkpoint(db), store.last(db)
    if newest is None or newest[0] != size:
        return "checkpoint"
    try:
        root = store.tree(db, size).root()
    except IndexError:
        return "tile"
    return _wrong(*newest, root, keyring.signing(db))


def whole(db: Session) -> str | None:
    """The first thing of the log that is not so, or None; reads every entry, of checkpoints the newest."""
    found, newest = Examination(1), store.checkpoint(db)
    for _ in entries(db, found, [newest] if newest else []):
        if found.found:
            break
    return next((f"{each.what} {each.at} {each.detail}".strip() for each in found.differences), None)


def examine(db: Session, limit: int) -> Examination:
    """Everything that differs; 10**6 entries take some 11 s, and each checkpoint the check of a signature."""
    found = Examination(limit)
    sight = _Sight(db, found)
    for entry in entries(db, found, store.checkpoints(db)):
        sight.add(entry)
        if "figures" in entry.facts and rules.figures_of(entry.facts) != entry.counted:
            found.differs("figure", entry.index)
    sight.end()
    return found


def entries(db: Session, found: Examination, heads: Iterable[tuple[int, str]]) -> Iterator[Entry]:
    """Every entry, oldest first, while all are held against records, leaves, tiles and these checkpoints.

    What differs may be found after the entry was given: records and leaves are held many at a time.
    """
    grown, last_ms = _Grown(db, found, heads), 0
    size, _ = store.last(db)
    for first in range(0, max(1, size), _BLOCK):
        low, end = first or -_ALL, min(size, first + _BLOCK)
        rows = store.raw(db, low, first + _BLOCK)
        counted = _figures(db, found, low, _ALL if end == size else end, rows)
        records = _Records(found)
        for row in rows:
            index, act, time_ms, org, text, commitments, _ = row
            facts, lines = rules.told(text)
            if time_ms < last_ms:
                found.differs("time", index)
            last_ms = max(last_ms, time_ms)
            grown.add(index, leaf_hash(rules.leaf_of(act, time_ms, facts, commitments)), time_ms)
            erased = records.add(row, facts, lines)
            yield Entry(index, act, time_ms, org, facts, erased, counted.pop(index, {}))
        records.hold()
        grown.hold(end)
        for index in counted:
            found.differs("figure", index)
        found.entries = end
    grown.end(size)


class _Records:
    """Whether records open their leaves: many together, and each alone where these do not."""

    def __init__(self, found: Examination) -> None:
        self._found = found
        self._rows: list[Sequence[Any]] = []
        self._lines: list[bytes] = []

    def add(self, row: Sequence[Any], facts: dict[str, Any], lines: bytes | None) -> tuple[str, ...]:
        """Takes in a record as it is kept and told; the names of what was erased, taken out of its facts."""
        index, _, _, org, _, commitments, salts = row
        width = len(facts)
        if lines is None or len(salts) != rules.SALT_BYTES * width or len(commitments) != 32 * width:
            self._found.differs("record", index)
            return ()
        if rules.GONE not in salts and facts.get("org") == org:
            self._rows.append(row)
            self._lines.append(lines)
            return ()
        erased = rules.erased_of(facts, salts)
        made = rules.committed(lines.split(b"\n")[:-1], salts)
        if ("org" not in erased and facts.get("org") != org) or not all(
            made[at : at + 32] == commitments[at : at + 32] or (facts[name] is None and name in erased)
            for name, at in zip(facts, range(0, 32 * width, 32), strict=True)
        ):
            self._found.differs("record", index)
        for name in erased:
            del facts[name]
        return erased

    def hold(self) -> None:
        """Holds the facts that were taken in against their commitments."""
        pairs = b"".join(self._lines).split(b"\n")[:-1]
        made = rules.committed(pairs, b"".join([row[6] for row in self._rows]))
        if made == b"".join([row[5] for row in self._rows]):
            return
        for row, lines in zip(self._rows, self._lines, strict=True):
            if rules.committed(lines.split(b"\n")[:-1], row[6]) != row[5]:
                self._found.differs("record", row[0])


def _wrong(size: int, signed: str, root: bytes, ring: Sequence[LogKey]) -> str | None:
    """What of a checkpoint is not so, of the tree of its size and the keys that sign it; None if all is."""
    try:
        told = note.read_checkpoint(signed)
    except note.NotANote:
        return "checkpoint"
    if told.size != size or told.root != root:
        return "root"
    return None if keyring.holds(told, ring) else "signature"


def _figures(
    db: Session, found: Examination, first: int, before: int, rows: Sequence[Any]
) -> dict[int, Counts]:
    """By entry the figures that are kept of it, on its day; those on any other are sums of no entry."""
    kept: dict[int, Counts] = {}
    counted = store.of_entries(db, first, before)
    days = {row[0]: rules.day_of(row[2]) for row in rows} if counted else {}
    for index, day, month, flow, quantities in counted:
        if days.get(index, day) == day and month == rules.month_of(day):
            kept.setdefault(index, {})[flow] = quantities
        else:
            found.differs("figure", index)
    return kept


class _Grown:
    """The tree as its leaves give it, held against tiles and checkpoints on the way."""

    def __init__(self, db: Session, found: Examination, heads: Iterable[tuple[int, str]]) -> None:
        self._db, self._found = db, found
        self._keys = store.keys(db)
        self._edge = Edge()
        self._leaves: list[bytes] = []
        self._times: list[int] = []
        self._next, self._time_ms = 0, 0
        self._heads = iter(heads)
        self._head = next(self._heads, None)
        self._check(0)

    def add(self, index: int, leaf: bytes, time_ms: int) -> None:
        """Takes in a leaf hash and the time of its entry."""
        if index != self._next:
            if index < 0:
                self._found.differs("number", index)
                return
            self._gap(index)
        self._next, self._time_ms = index + 1, time_ms
        self._leaves.append(leaf)
        self._times.append(time_ms)

    def _gap(self, before: int) -> None:
        """Takes in the place of entries that are gone the hashes that stand in their tiles."""
        for index in range(self._next, before):
            self._found.differs("number", index)
            row, at = store.tile(self._db, 0, index // WIDTH), index % WIDTH
            self._leaves.append(row[at] if at < len(row) else bytes(32))
            self._times.append(self._time_ms)
        self._next = before

    def hold(self, before: int) -> None:
        """Lets the tree grow to a size by what was taken in, from one checkpoint to the next."""
        self._gap(before)
        at = 0
        while at < len(self._leaves):
            reach = self._head[0] - self._edge.size if self._head else 0
            step = self._leaves[at : at + reach if reach > 0 else None]
            for full in self._edge.extend(step):
                self._held(*full)
            at += len(step)
            self._check(self._times[at - 1])
        self._leaves, self._times = [], []

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
        if what := _wrong(size, signed, self._edge.root(), keyring.signers(self._keys, size, time_ms)):
            self._found.differs(what, size)

    def end(self, size: int) -> None:
        """Holds what is left of the right edge, and what there is beyond it."""
        for partial in self._edge.partial():
            self._held(*partial)
        newest = store.checkpoint(self._db)
        if newest is None or newest[0] != size or self._head is not None:
            self._found.differs("checkpoint", size if newest is None else newest[0])


class _Sight:
    """Who may see entries, summed for each organisation as `store.sight_of` does.

    The rows are laid by organisation, the log by time: sums compare without a walk through both.
    """

    def __init__(self, db: Session, found: Examination) -> None:
        self._db, self._found = db, found
        self._sums: dict[str, list[int]] = {}
        self._contracts: dict[str, tuple[str, ...]] = {}
        self._first, self._end = 0, 0
        self._seen: tuple[str, ...] = ()
        """Who may see the entries of the run that goes on."""
        self._unsure = False

    def add(self, entry: Entry) -> None:
        """Takes in whom an entry names."""
        index, facts = entry.index, entry.facts
        if entry.erased and not {"org", "parties", "contract"}.isdisjoint(entry.erased):
            self._unsure = True  # whom an erased fact named nobody can say
        sides: Any = facts.get("parties") or ()
        if lot.EACH in facts and "contract" in facts:
            contract = str(facts["contract"])
            if contract not in self._contracts:
                self._contracts[contract] = store.sides(self._db, contract)
            sides = self._contracts[contract]
        seen = (entry.org, *sides)
        if seen != self._seen or index != self._end:
            self._sum()
            self._first, self._seen = index, seen
        self._end = index + 1

    def _sum(self) -> None:
        for org in {*map(str, self._seen)}:
            sums = self._sums.get(org, [0, 0, 0])
            more = store.sight_of(self._first, self._end - self._first)
            self._sums[org] = [one + other for one, other in zip(sums, more, strict=True)]

    def end(self) -> None:
        """Compares the sums with those of the rows."""
        self._sum()
        if self._unsure:
            return
        kept = store.sight_sums(self._db)
        for org in sorted(self._sums.keys() | kept.keys()):
            if self._sums.get(org) != kept.get(org):
                self._found.differs("sight", -1, org)
