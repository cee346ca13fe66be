"""The book: the ledger as the act runner sees it; appends on the writer's thread, one per home.

Within one transaction: entries and their leaf hashes, then tiles and one signed checkpoint. If the
transaction fails, the tree's right edge is read again from the tiles.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from dujiang.kernel.act import Caller, Tx
from dujiang.kernel.errors import DatabaseLost, Unavailable
from dujiang.kernel.plugs import Clock, Database, Vault
from dujiang.kernel.tables import Session
from dujiang.ledger import keyring, note, rules, store
from dujiang.ledger.lot import ACT, EACH, Lot, hashes_of, receipt_of
from dujiang.ledger.model import LOG_DAMAGED, LOG_MOVED, Flow, LogKey, Record
from dujiang.ledger.subject import names_of
from dujiang.ledger.tree import WIDTH, Edge, Prover, included, leaf_hash

_FLOWS_MAX = 4096
"""Flows whose numbers are kept in memory; forgotten with a transaction that failed."""


def found(db: Session, vault: Vault, origin: str) -> str:
    """The signed checkpoint of the empty tree of a new log, kept with its key."""
    key = keyring.forge(vault, origin, 0, origin)
    store.add_key(db, key)
    signed = keyring.signed(note.checkpoint_text(origin, 0, Edge().root()), [key], vault)
    store.add_checkpoint(db, 0, signed)
    return signed


def renew(db: Session, vault: Vault, authority: str) -> str:
    """The new name under which the log goes on, with a new key; what was signed stays under the old ones."""
    store.drop_unused_keys(db)
    key = keyring.forge(vault, authority, store.last(db)[0] + 1)
    store.add_key(db, key)
    return key.origin


def opens(db: Session, vault: Vault) -> bool:
    """Whether the master key opens the key the log goes on with."""
    try:
        vault.open(store.keys(db)[-1].sealed, keyring.PURPOSE)
    except Unavailable:
        return False
    return True


def unsigned(db: Session) -> bool:
    """Whether the log goes on under a key that has signed nothing yet: a beginning that was cut short."""
    return store.keys(db)[-1].since > store.last(db)[0]


def head_of(db: Session) -> tuple[str, str]:
    """The newest checkpoint of a database, and the verifier key of the log as it goes on."""
    newest = store.checkpoint(db)
    assert newest is not None
    return newest[1], keyring.vkey(store.keys(db)[-1])


def stands_on(db: Session, signed: str) -> bool:
    """Whether a checkpoint is one the log of a database signed and still stands on."""
    try:
        size = note.read_checkpoint(signed).size
    except note.NotANote:
        return False
    return store.checkpoint_at(db, size) == signed


class LedgerBook:
    """The log of one home."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, step_ms_max: int) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._step_ms_max = step_ms_max
        self._lock = threading.Lock()
        self._batch: _Batch | None = None
        self._open: dict[int, Record] = {}
        self._lots: dict[int, _Sent] = {}
        self._jumped_ms = 0
        self._follower: Callable[[str], None] | None = None
        with database.reading() as db:
            self._head = self._sealed_head = ""
            self.reload(db)
            # A master key that does not fit is told now, not at the first write.
            for key in keyring.signers(store.keys(db), self._edge.size + 1, self._last_ms):
                vault.open(key.sealed, keyring.PURPOSE)
        # A clock that stands before the last entry of an earlier run has jumped, too.
        self._wall_ms, self._steady_s = max(clock.now_ms(), self._last_ms), clock.monotonic_s()
        self.clock_jumps = 0
        """How often the legal clock jumped since this node started."""

    def reload(self, db: Session) -> None:
        """The right edge of the tree as committed.

        Raises: DatabaseLost log_moved, where it is not the log that was signed last; log_damaged, where its tiles
        do not give the signed root.
        """
        size, self._last_ms = store.last(db)
        head = store.checkpoint(db)
        assert head is not None
        if self._head and head[1] not in (self._head, self._sealed_head):
            raise DatabaseLost(LOG_MOVED)
        with self._lock:
            # What a failed commit took back was sealed, too.
            self._batch = None
            self._head = self._sealed_head = head[1]
        self._name(keyring.signers(store.keys(db), size + 1, self._last_ms))
        levels: list[list[bytes]] = []
        level = 0
        while size >> (8 * level):
            place = size >> (8 * level)
            levels.append(store.tile(db, level, place // WIDTH)[: place % WIDTH] if place % WIDTH else [])
            level += 1
        self._edge = _edge(size, levels, head[1])
        self._open, self._lots = {}, {}
        self._flows: dict[Flow, int] = {}
        self._full: list[tuple[int, int, list[bytes]]] = []

    @property
    def head(self) -> str:
        """The newest signed checkpoint of what is committed."""
        return self._head

    def _name(self, ring: list[LogKey]) -> None:
        """The newest key is the one to pin from now on; the name of the log is its name."""
        self.origin, self.vkey = ring[-1].origin, keyring.vkey(ring[-1])

    def follow(self, follower: Callable[[str], None]) -> None:
        """Calls `follower` with every new checkpoint, once it is committed and before anybody is answered."""
        self._follower = follower

    def committed(self) -> None:
        """Gives the checkpoint of the committed transaction to who follows."""
        if self._sealed_head != self._head:
            self._head = self._sealed_head
            self._name(self._ring)
            if self._follower is not None:
                self._follower(self._head)

    def holds(self, signed: str) -> bool:
        """Whether a checkpoint is one this log signed and still stands on."""
        with self._database.reading() as db:
            return stands_on(db, signed)

    def next_index(self) -> int:
        """The index the next entry will have."""
        return self._edge.size

    def append(self, tx: Tx, act: str, caller: Caller, facts: Mapping[str, object]) -> int:
        """The index of a new entry that commits to the facts, the organisation and the person.

        Raises: DatabaseLost log_moved.
        """
        self._stands(tx.db)
        told: dict[str, Any] = {"org": caller.org, "person": caller.person, **facts}
        if jump := self._jumped_ms + self._jump():
            told["clock_jump_ms"] = jump
            self._jumped_ms = 0
        self._last_ms = max(self._last_ms, tx.now_ms)
        salts = os.urandom(rules.SALT_BYTES * len(told))
        commitments = rules.commit(told, salts)
        org = str(told["org"])
        record = rules.record_of(self._edge.size, act, self._last_ms, org, told, commitments, salts)
        parties = cast("list[str]", told.get("parties") or [])
        store.add_entry(tx.db, record, commitments, salts, dict.fromkeys([org, *parties]))
        store.add_about(tx.db, {act, *names_of(told)}, record.index)
        if told.get("figures"):
            self._count(tx.db, record)
        self._full += self._edge.append(leaf_hash(record.leaf.encode()))
        self._open[record.index] = record
        return record.index

    def extend(self, tx: Tx, many: Lot) -> int:
        """How many entries a lot has, now that they are in the log.

        Raises: DatabaseLost log_moved.
        """
        self._stands(tx.db)
        # A lot is committed to before its transaction; the next entry of one act tells of a jump.
        self._jumped_ms += self._jump()
        self._last_ms = max(self._last_ms, tx.now_ms)
        first, width, org = self._edge.size, many.salt_bytes, many.common["org"]
        salts = [many.salts[at : at + width] for at in range(0, len(many.salts), width)]
        rows = zip(many.facts, many.commitments, salts, strict=True)
        sight = dict.fromkeys([org, *many.parties])
        store.add_entries(tx.db, first, ACT, self._last_ms, org, rows, sight)
        store.add_about(tx.db, {ACT, *names_of(many.common)}, first, len(many))
        # The database first: where it refuses, the act is undone and the tree has not grown.
        self._full += self._edge.extend(hashes_of(many.heads, self._last_ms))
        self._lots[first] = _Sent(many.common, many.salts, many.salt_bytes, self._last_ms)
        return len(many)

    def _stands(self, db: Session) -> None:
        """Before the first entry of a transaction: the newest checkpoint must be the one that was signed last.

        Another program may have got past the lock, or the file be another one: then no entry is made, so none signed.
        """
        if self._open or self._lots:
            return
        head = store.checkpoint(db)
        if head is None or head[1] != self._head:
            raise DatabaseLost(LOG_MOVED)

    def _count(self, db: Session, record: Record) -> None:
        """Keeps what an entry counts, in its transaction."""
        day = rules.day_of(record.time_ms)
        for flow, counted in rules.figures_of(record.facts).items():
            number = self._flows.get(flow)
            if number is None:
                if len(self._flows) >= _FLOWS_MAX:
                    self._flows.clear()
                number = self._flows[flow] = store.flow_id(db, flow)
            store.add_figure(db, number, rules.month_of(day), day, record.index, counted)

    def seal(self, db: Session) -> None:
        """Writes the tiles and signs the checkpoint of the transaction; nothing if it has no entry."""
        if not (self._open or self._lots):
            return
        for level, number, hashes in [*self._full, *self._edge.partial()]:
            store.put_tile(db, level, number, hashes)
        self._ring = keyring.signers(store.keys(db), self._edge.size, self._last_ms)
        text = note.checkpoint_text(self._ring[-1].origin, self._edge.size, self._edge.root())
        signed = keyring.signed(text, self._ring, self._vault)
        store.add_checkpoint(db, self._edge.size, signed)
        tiles = {(level, number): list(row) for level, number, row in [*self._full, *self._edge.partial()]}
        batch = _Batch(
            min([*self._open, *self._lots]),
            self._edge.size,
            signed,
            self._open,
            self._lots,
            Prover(self._edge.size, self._fetch(tiles)),
            keyring.vkey(self._ring[0]),
        )
        with self._lock:
            # Only this one: of an earlier batch something may have been erased since.
            self._batch = batch
            self._sealed_head = signed
        self._open, self._lots, self._full = {}, {}, []

    def receipt(self, index: int, entries: int | None = None) -> dict[str, object] | None:
        """The receipt of an entry or of a lot, opened for the organisation that acted.

        None of a lot of which something was erased: what is left is proved entry by entry.
        """
        with self._lock:
            if self._batch is not None and self._batch.first <= index < self._batch.size:
                return self._batch.receipt(index, entries)
        with self._database.reading() as db:
            if entries is not None:
                return lot_receipt(db, index, entries)
            record = store.entry(db, index)
            assert record is not None
            return receipt(db, record, record.facts)

    def receipt_for(self, org: str, index: int) -> dict[str, object] | None:
        """The receipt of an entry opened as far as an organisation may see; None where it may not see it."""
        with self._lock:
            batch = self._batch
            if batch is not None and (record := batch.records.get(index)) is not None:
                parties = cast("list[str]", record.facts.get("parties") or [])
                seen = org == record.org or org in parties
                return batch.opened(record, rules.visible(record, org, oversees=False)) if seen else None
        with self._database.reading() as db:
            found = store.entry(db, index)
            if found is None or not store.sees(db, org, index):
                return None
            return receipt(db, found, rules.visible(found, org, oversees=False))

    def _fetch(self, fresh: dict[tuple[int, int], list[bytes]]) -> Any:
        def fetch(level: int, number: int) -> list[bytes]:
            known = fresh.get((level, number))
            if known is not None:
                return known
            with self._database.reading() as db:
                return store.tile(db, level, number)

        return fetch

    def _jump(self) -> int:
        """By how much the legal clock left the steady one since the last entry, if more than allowed."""
        # The clock itself, not the transaction's time: that one never goes back, so it hides a jump.
        now_ms, steady = self._clock.now_ms(), self._clock.monotonic_s()
        drift = now_ms - self._wall_ms - round((steady - self._steady_s) * 1000)
        self._wall_ms, self._steady_s = now_ms, steady
        if abs(drift) <= self._step_ms_max:
            return 0
        self.clock_jumps += 1
        return drift


def _edge(size: int, levels: list[list[bytes]], signed: str) -> Edge:
    """The right edge of the tree, if it gives the root that was signed.

    Raises: DatabaseLost log_damaged.
    """
    edge = Edge(size, levels)
    try:
        head = note.read_checkpoint(signed)
        if head.size == size and head.root == edge.root():
            return edge
    except (note.NotANote, IndexError):
        pass
    raise DatabaseLost(LOG_DAMAGED)


class _Sent(NamedTuple):
    """What the receipt of a lot needs of it: a tenth of its bytes."""

    common: dict[str, str]
    salts: bytes
    salt_bytes: int
    time_ms: int


class _Batch:
    __slots__ = ("first", "lots", "note", "prover", "records", "size", "vkey")

    def __init__(
        self, first: int, size: int, signed: str, records: dict[int, Record],
        lots: dict[int, _Sent], prover: Prover, vkey: str,
    ) -> None:  # fmt: skip
        self.first = first
        self.size = size
        self.note = signed
        self.records = records
        self.lots = lots
        self.prover = prover
        self.vkey = vkey

    def receipt(self, index: int, entries: int | None) -> dict[str, object]:
        """The receipt of an entry or of a lot of this batch."""
        if entries is None:
            record = self.records[index]
            return self.opened(record, record.facts)
        sent = self.lots[index]
        digits, width = sent.salts.hex(), 2 * sent.salt_bytes
        salts = [digits[at : at + width] for at in range(0, len(digits), width)]
        around = self.prover.surroundings(index, index + entries)
        return receipt_of(index, sent.time_ms, sent.common, salts, around, self.note, self.vkey)

    def opened(self, record: Record, fields: Mapping[str, Any]) -> dict[str, object]:
        """The receipt of an entry of this batch that opens these facts."""
        return rules.receipt_of(record, fields, self.prover.inclusion(record.index), self.note, self.vkey)


def receipt(
    db: Session, record: Record, fields: Mapping[str, Any], under: tuple[int, str] | None = None
) -> dict[str, object]:
    """The receipt of a committed entry under a checkpoint (size, note) that covers it.

    By default under the first that covers it and that a trusted key signed.

    The entry must exist.
    Raises: Unavailable log_damaged, where the tiles or the entry are not what was signed.
    """
    prover, signed, vkey = _covering(db, record.index, under)
    try:
        path = prover.inclusion(record.index)
    except IndexError:
        path = []
    head = note.read_checkpoint(signed)
    if not included(leaf_hash(record.leaf.encode()), record.index, head.size, path, head.root):
        raise Unavailable(LOG_DAMAGED)
    return rules.receipt_of(record, fields, path, signed, vkey)


def lot_receipt(db: Session, first: int, entries: int) -> dict[str, object] | None:
    """The receipt of a committed lot under the first checkpoint that covers it; None if some of it was erased.

    Raises: Unavailable log_damaged.
    """
    found = store.stretch(db, first, entries)
    if any(record.erased for record, _ in found):
        return None
    prover, signed, vkey = _covering(db, first)
    common = {name: value for name, value in found[0][0].facts.items() if name != EACH}
    salts = [raw.hex() for _, raw in found]
    try:
        around = prover.surroundings(first, first + entries)
    except IndexError:
        raise Unavailable(LOG_DAMAGED) from None
    return receipt_of(first, found[0][0].time_ms, common, salts, around, signed, vkey)


def _covering(db: Session, index: int, under: tuple[int, str] | None = None) -> tuple[Prover, str, str]:
    """Of a checkpoint that covers an entry and a trusted key signed: its tree, itself and that key."""
    key = keyring.believed(store.keys(db), *under) if under else None
    if under is None or key is None:
        size, signed, key = keyring.head_for(db, index)
    else:
        size, signed = under
    return store.tree(db, size), signed, keyring.vkey(key)
