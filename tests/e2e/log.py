"""A second reading of a home's database, with its own tree: what the log and the counters must be.

Everything is read in one snapshot, straight from the file, so it may be looked at while a node works.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from dujiang.home import place_of
from dujiang.ledger import note, rules

TILE = 256
_ENTRY = "idx, act, time_ms, org, facts, commitments, salts"


class Tree:
    """RFC 6962 §2.1 by its peaks: append leaves, ask for the root at any moment."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []

    def append(self, leaf: bytes) -> None:
        """Adds one leaf hash; equal neighbours become one."""
        height, found = 0, leaf
        while self._peaks and self._peaks[-1][0] == height:
            found = sha256(b"\x01" + self._peaks.pop()[1] + found).digest()
            height += 1
        self._peaks.append((height, found))
        self.size += 1

    def root(self) -> bytes:
        """The root over everything so far."""
        if not self._peaks:
            return sha256(b"").digest()
        found = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            found = sha256(b"\x01" + peak + found).digest()
        return found


@contextmanager
def snapshot(home: Path) -> Iterator[sqlite3.Connection]:
    """One committed state of a home's database, or of a backup's; of PostgreSQL, what a copy of it holds."""
    with tempfile.TemporaryDirectory() as folder:
        file = home / "state.sqlite"
        if (home / "home.json").is_file() and (place := place_of(home)).url:
            file = Path(folder) / "copied.sqlite"
            place.copy(file)
        db = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None, timeout=30)
        try:
            db.execute("BEGIN")
            yield db
        finally:
            db.close()


class Reading:
    """A log read again and again while it grows: everything new is derived anew, what was read must not have changed.

    1. Indices have no gap, times never decrease. 2. Records open their leaves. 3. Every checkpoint is signed,
    is the only one of its size and has the root of the leaves before it; the last covers all. 4. Every tile
    holds the hashes of its leaves. 5. Rows that were read before are there as they were.
    """

    def __init__(self) -> None:
        self.leaves: list[str] = []
        self.told: Counter[str] = Counter()
        """How many entries each act has."""
        self._tree = Tree()
        self.roots = [self._tree.root()]
        """By size of the log."""
        self._hashes: list[bytes] = []
        self._before = 0
        self._seen: dict[str, tuple[int, int]] = {}
        self._acts: list[str] = []
        self._asked: list[tuple[int, dict[str, Any]]] = []
        self._ended: dict[str, int] = {}
        self._requested = 0

    def verify(self, db: sqlite3.Connection, vkey: str) -> list[str]:
        """The leaves of the log, every statement of which about itself was derived again."""
        self.entries(db)
        name, public = note.read_vkey(vkey)
        for size, text in self._new(db, "ledger_checkpoint", "size, note"):
            head = note.read_checkpoint(text)
            assert head.size == size and head.root == self.roots[size] and note.signed_by(head, name, public)
        sizes = [size for (size,) in db.execute("SELECT size FROM ledger_checkpoint")]
        assert len(sizes) == len(set(sizes)) and max(sizes) == len(self.leaves)
        _tiles(db, self._hashes)
        return self.leaves

    def entries(self, db: sqlite3.Connection) -> None:
        """Reads the entries; rules 1, 2 and 5."""
        for index, act, time_ms, _, facts, commitments, salts in self._new(db, "ledger_entry", _ENTRY):
            assert index == len(self.leaves) and time_ms >= self._before, index
            self._before = time_ms
            told = json.loads(facts)
            _opens(told, commitments, salts)
            self._learn(index, act, leaf_of(act, time_ms, facts, commitments), told)

    def _new(self, db: sqlite3.Connection, table: str, columns: str) -> Iterator[Any]:
        """The rows that were not read before; those that were must be the same, bit by bit, and all there."""
        count, known = self._seen.get(table, (0, 0))
        seen = number = 0
        for number, row in enumerate(db.execute(f"SELECT {columns} FROM {table} ORDER BY 1"), 1):
            seen = hash((seen, row))
            assert number != count or seen == known, f"{table}: what was there is another"
            if number > count:
                yield row
        assert number >= count, f"{table}: what was there is gone"
        self._seen[table] = number, seen

    def _learn(self, index: int, act: str, leaf: str, facts: dict[str, Any]) -> None:
        self.leaves.append(leaf)
        self._hashes.append(sha256(b"\x00" + leaf.encode()).digest())
        self._tree.append(self._hashes[-1])
        self.roots.append(self._tree.root())
        self._acts.append(act)
        self.told[act] += 1
        self._requested += act == "contract.request" and "negotiation" in facts
        if act == "cleanroom.ask" and "job" in facts:
            self._asked.append((index, facts))
        if act == "cleanroom.complete":
            assert facts["job"] not in self._ended, "a question was completed twice"
            self._ended[facts["job"]] = index

    def balance(self, db: sqlite3.Connection) -> Counter[str]:
        """How many entries each act has; every count and charge of the home agrees with them, as verified before."""
        granted = self.told["identity.grant"] + self.told["identity.register"]
        assert granted == _one(db, "SELECT count(*) FROM identity_key")
        sides = "SELECT count(*) FROM contract_negotiation WHERE side='consumer'"
        assert self._requested == _one(db, sides)
        _questions(db, self._asked)
        ended = dict(self._ended)
        jobs = "SELECT id, entry FROM cleanroom_job WHERE id IN (SELECT value FROM json_each(?))"
        for job, index in db.execute(jobs, (json.dumps(list(ended)),)):
            assert ended.pop(job) == index
        assert not ended
        for act, index in db.execute("SELECT act, entry FROM kernel_done WHERE entry IS NOT NULL"):
            assert self._acts[index] == act
        return self.told


def verify(db: sqlite3.Connection, vkey: str) -> list[str]:
    """The leaves of a log that is read once; see Reading."""
    return Reading().verify(db, vkey)


def balance(db: sqlite3.Connection) -> Counter[str]:
    """How many entries each act has; every count and charge of the home agrees with them."""
    reading = Reading()
    reading.entries(db)
    return reading.balance(db)


def leaf_of(act: str, time_ms: int, facts: str, commitments: bytes) -> str:
    """The public text of an entry, made of its row: canonical JSON."""
    named = {
        field: commitments[32 * at : 32 * at + 32].hex() for at, field in enumerate(json.loads(facts))
    }  # fmt: skip
    leaf = {"v": 1, "act": act, "time_ms": time_ms, "suite": "intl", "commitments": named}
    return json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _opens(facts: dict[str, Any], commitments: bytes, salts: bytes) -> None:
    assert len(commitments) == 32 * len(facts) and len(salts) == 16 * len(facts)
    for at, (field, value) in enumerate(facts.items()):
        salt, committed = salts[16 * at : 16 * at + 16], commitments[32 * at : 32 * at + 32]
        if any(salt):  # else it was erased
            assert committed.hex() == rules.commitment(field, value, salt), field


def _tiles(db: sqlite3.Connection, hashes: list[bytes]) -> None:
    """Every tile there should be is there and holds what it must."""
    level, row = 0, hashes
    kept = {(level, number): raw for level, number, raw in db.execute("SELECT * FROM ledger_tile")}
    while row:
        parts = [b"".join(row[at : at + TILE]) for at in range(0, len(row), TILE)]
        for number, part in enumerate(parts):
            assert kept.pop((level, number)) == part
        row = [_perfect(part) for part in parts if len(part) == 32 * TILE]
        level += 1
    assert not kept


@lru_cache(100_000)
def _perfect(part: bytes) -> bytes:
    tree = Tree()
    for at in range(0, len(part), 32):
        tree.append(part[at : at + 32])
    return tree.root()


def _questions(db: sqlite3.Connection, asked: list[tuple[int, dict[str, Any]]]) -> None:
    """Uses are counted, accounts charged and statistics paid once for each entry that says so."""
    jobs = dict(db.execute("SELECT id, charged_micro FROM cleanroom_job").fetchall())
    assert {facts["job"]: facts["charged_micro"] for _, facts in asked} == jobs and len(asked) == len(jobs)
    spent, used = Counter[tuple[str, str]](), Counter[str]()
    for _, facts in asked:
        assert facts["charged_micro"] == sum(part["charged_micro"] for part in facts["parts"])
        for part in facts["parts"]:
            spent[part["resource"], facts["org"]] += part["charged_micro"]
            used[part["contract"]] += part["statistics"] > 0
    accounts = db.execute("SELECT resource, org, spent_micro FROM cleanroom_account").fetchall()
    assert {(resource, org): micro for resource, org, micro in accounts} == +spent
    for contract, count in db.execute("SELECT id, questions_used FROM contract_contract"):
        assert count == used[contract]
    assert sum(facts["statistics"] for _, facts in asked) == _one(db, "SELECT count(*) FROM cleanroom_paid")


def at_rest(db: sqlite3.Connection) -> None:
    """Nothing is on its way: every question answered, every message delivered, both sides of one mind."""
    assert {state for (state,) in db.execute("SELECT state FROM cleanroom_job")} <= {"done"}
    assert {state for (state,) in db.execute("SELECT state FROM post_outbox")} <= {"delivered"}
    sides: dict[str, list[tuple[Any, ...]]] = {}
    for row in db.execute(
        "SELECT contract, state, product, version, purpose, terms_sha256 FROM contract_negotiation"
    ):
        sides.setdefault(row[0], []).append(row[1:])
    assert all(
        len(each) == 2 and len(set(each)) == 1 and each[0][0] == "FINALIZED" for each in sides.values()
    )
    missing = (
        "SELECT count(*) FROM cleanroom_paid p LEFT JOIN cleanroom_noised n USING (org, version, statistic)"
    )
    assert _one(db, missing + " WHERE n.statistic IS NULL") == 0, "a statistic was paid for and never decided"


def _one(db: sqlite3.Connection, sql: str) -> int:
    return int(db.execute(sql).fetchone()[0])
