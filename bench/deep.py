"""Inclusion proofs at 10⁷ entries: a tree of real hashes put straight into the tables, receipts by `ledger.prove`."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure
from bench.readings import reading
from bench.space import Space, folder, opened
from dujiang import home as homes
from dujiang.kernel.act import Tx
from dujiang.kernel.tables import Session
from dujiang.ledger import keyring, note, rules, store
from dujiang.ledger.acts import Show
from dujiang.ledger.tree import WIDTH, Edge, leaf_hash

ENTRIES = 10_000_000
PROOFS = 2_000
_STEP = 250_000


def figures(entries: int = ENTRIES, proofs: int = PROOFS) -> Iterator[Figure]:
    """The time of a proof, opened receipt and all, and how long its check takes."""
    times: list[float] = []
    cpus: list[float] = []
    with folder() as place:
        begun = time.perf_counter()
        with opened(place) as space:
            insurer, chosen = space.insurer, filled(space, entries, proofs)
        filling = time.perf_counter() - begun
        with homes.opened(place / "home") as home:
            for index in chosen:
                begun, cpu = time.perf_counter(), time.process_time()
                receipt = home.run("ledger.prove", insurer, Show(index)).reply.receipt
                cpus.append(time.process_time() - cpu)
                times.append(time.perf_counter() - begun)
                verdict = rules.verify(receipt, home.book.vkey)
                assert verdict.trusted and (verdict.index, verdict.size) == (index, entries), verdict
        kept_mb = sum(path.stat().st_size for path in _files(place / "home")) / 1e6
    times.sort()
    cpus.sort()
    beside = {
        "p50_ms": times[len(times) // 2] * 1000, "cpu_p99_ms": cpus[len(cpus) * 99 // 100] * 1000,
        "proofs": len(times), "entries": entries, "filling_s": filling, "database_mb": kept_mb,
    }  # fmt: skip
    p99 = times[len(times) * 99 // 100] * 1000
    yield Figure("receipt with inclusion proof, log of 10⁷, p99", p99, "ms", "≤ 5", beside)


def filled(space: Space, entries: int, real: int) -> list[int]:
    """The indices of the entries that are whole; of all others the tree has the hash alone.

    A log of this size is not made by acts within minutes. The tree is the same: each leaf is a hash of other
    bytes, and the tiles are those the writer would have written.
    """
    writer, first = space.home.writer, space.home.book.next_index()
    chosen = random.Random(5).sample(range(first, entries), real)
    whole = {*chosen, entries - 1}
    edge = writer.submit(lambda tx: _edge(tx.db, first)).result()
    for start in range(first, entries, _STEP):
        end = min(entries, start + _STEP)
        writer.submit(lambda tx, start=start, end=end: _grown(tx, edge, space, start, end, whole)).result()
    writer.submit(lambda tx: _signed(tx, edge, space)).result()
    return chosen


def _signed(tx: Tx, edge: Edge, space: Space) -> None:
    """The last tiles and the checkpoint; whoever opens the home next finds that they fit."""
    for tile in edge.partial():
        store.put_tile(tx.db, *tile)
    ring = keyring.signers(store.keys(tx.db), edge.size, tx.now_ms)
    text = note.checkpoint_text(ring[-1].origin, edge.size, edge.root())
    store.add_checkpoint(tx.db, edge.size, keyring.signed(text, ring, space.home.node.vault))


def _grown(tx: Tx, edge: Edge, space: Space, start: int, end: int, whole: set[int]) -> None:
    for index in range(start, end):
        entry = _kept(tx, space, index) if index in whole else b"%d" % index
        for tile in edge.append(leaf_hash(entry)):
            store.put_tile(tx.db, *tile)


def _kept(tx: Tx, space: Space, index: int) -> bytes:
    """The leaf of an entry that is kept with its record."""
    caller, told = space.insurer, {"kind": "meter-reading", "record": reading(index)}
    facts = {"org": caller.org, "person": caller.person, **told}
    salts = os.urandom(rules.SALT_BYTES * len(facts))
    commitments = rules.commit(facts, salts)
    record = rules.record_of(index, "ledger.attest", tx.now_ms, caller.org, facts, commitments, salts)
    store.add_entry(tx.db, record, commitments, salts, [caller.org])
    return record.leaf.encode()


def _edge(db: Session, size: int) -> Edge:
    """The right edge of the tree as it is kept."""
    levels: list[list[bytes]] = []
    while size >> (8 * len(levels)):
        number, width = divmod(size >> (8 * len(levels)), WIDTH)
        levels.append(store.tile(db, len(levels), number)[:width])
    return Edge(size, levels)


def _files(home: Path) -> list[Path]:
    return [path for path in home.glob("state.sqlite*") if path.is_file()]
