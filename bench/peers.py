"""The tree beside pymerkle's on the same entries, to the same root: appending in memory and durably, proofs."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from pymerkle import InmemoryTree, SqliteTree

from bench.figure import Figure
from bench.measure import spent
from bench.readings import CALL, reading
from bench.space import Space, folder, opened
from dujiang.kernel.canonical import canonical
from dujiang.ledger.acts import Attest
from dujiang.ledger.tree import Edge, Prover, leaf_hash

ENTRIES = 100_000
_PROOFS = 1_000


def figures(entries: int = ENTRIES) -> Iterator[Figure]:
    """Ours to theirs, as ratios of one run."""
    records = [reading(number) for number in range(entries)]
    whole = [canonical(record) for record in records]
    tiles: dict[tuple[int, int], list[bytes]] = {}
    edge, theirs = Edge(), InmemoryTree(algorithm="sha256")
    with spent() as ours_took:
        for entry in whole:
            for level, number, hashes in edge.append(leaf_hash(entry)):
                tiles[level, number] = hashes
    with spent() as theirs_took:
        for entry in whole:
            theirs.append_entry(entry)
    tiles |= {(level, number): hashes for level, number, hashes in edge.partial()}
    assert edge.root() == theirs.get_state()
    beside = {
        "entries": entries,
        "per_s": entries / ours_took.cpu_s,
        "pymerkle_per_s": entries / theirs_took.cpu_s,
    }
    ratio = ours_took.cpu_s / theirs_took.cpu_s
    yield Figure("appending 10⁵ entries in memory, CPU to pymerkle", ratio, "×", "≤ 1", beside)
    yield _proofs(tiles, theirs, entries)
    yield _durable(records, whole)


def _proofs(tiles: dict[tuple[int, int], list[bytes]], theirs: Any, entries: int) -> Figure:
    """Inclusion proofs at random; ours each from tiles nobody has read before, theirs from its memory."""
    chosen = random.Random(3).choices(range(entries), k=_PROOFS)
    theirs.prove_inclusion(1)
    with spent() as ours:
        for index in chosen:
            Prover(entries, lambda level, number: tiles[level, number]).inclusion(index)
    with spent() as other:
        for index in chosen:
            theirs.prove_inclusion(index + 1)
    beside = {"ours_us": ours.cpu_s * 1e6 / _PROOFS, "pymerkle_us": other.cpu_s * 1e6 / _PROOFS}
    return Figure("an inclusion proof at 10⁵, CPU to pymerkle", ours.cpu_s / other.cpu_s, "×", None, beside)


def _durable(records: list[dict[str, object]], whole: list[bytes]) -> Figure:
    """Ours by `ledger.attest` in process, with commitments and receipts; theirs appends and commits once a call."""
    with folder() as place, opened(place) as space:
        ours = _attested(space, records)
        theirs = SqliteTree(str(place / "peer.sqlite"), algorithm="sha256")
        begun = time.perf_counter()
        for first in range(0, len(whole), CALL):
            theirs.append_entries(whole[first : first + CALL])
        other = time.perf_counter() - begun
        theirs.close()
    beside = {"per_s": len(records) / ours, "pymerkle_per_s": len(whole) / other, "records_a_call": CALL}
    name = "durable entries with receipts in process, time to pymerkle's SqliteTree without"
    return Figure(name, ours / other, "×", None, beside)


def _attested(space: Space, records: list[dict[str, object]]) -> float:
    begun = time.perf_counter()
    for first in range(0, len(records), CALL):
        ask = Attest(records=tuple(records[first : first + CALL]), kind="meter-reading")
        space.home.run("ledger.attest", space.insurer, ask)
    return time.perf_counter() - begun
