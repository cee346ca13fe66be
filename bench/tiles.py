"""A log of 10⁶ attested entries: bytes on disk, the tree as files, its check by whoever reads it, tiles over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figure import Figure
from bench.measure import command, environment, process_cpu_s, spent
from bench.readings import BYTES, CALL, readings
from bench.space import folder, opened
from dujiang import home as homes
from dujiang.acts import ACTS
from dujiang.kernel.act import Caller, bind
from dujiang.ledger import store
from dujiang.ledger.acts import Attest, Search

ENTRIES = 1_000_000
_READS = 10_000
_RUNS = 3
_SOUGHT = {
    "all of a kind": Search(kind="meter-reading", limit=100), "a rare act": Search(act="catalogue.offer", limit=100),
    "no such kind": Search(kind="none", limit=100), "no such id": Search(about=("ctr_none",), limit=100),
    "no such day": Search(since="2020-01-01", until="2020-01-02", limit=100),
    "a rare act among many": Search(act="catalogue.offer", kind="meter-reading", limit=100),
}  # fmt: skip


def figures(entries: int = ENTRIES) -> Iterator[Figure]:
    """The figures of a log that is published."""
    with folder() as place:
        with opened(place) as space:
            key, operator, insurer = space.insurer_key, space.operator, space.insurer
        before = _bytes(place / "home")
        with homes.opened(place / "home") as home:
            caller, vkey = home.caller_of_key(key), home.book.vkey
            assert caller is not None
            with spent() as filling:
                count = attested(home, caller, entries)
            found = [searched(home, operator, insurer), *_examined(home, operator)]
        yield from found
        yield _size(place / "home", before, count, filling.wall_s)
        yield from _files(place, vkey, count)
        yield _door(place / "home", count)


def attested(home: homes.Home, caller: Caller, entries: int) -> int:
    """How many entries were attested in process, 1,024 a call, one call after the other."""
    done = 0
    for first in range(0, entries, CALL):
        ask = Attest(records=tuple(readings(first)), kind="meter-reading")
        home.run("ledger.attest", caller, ask)
        done += CALL
    return done


def searched(home: homes.Home, operator: Caller, insurer: Caller) -> Figure:
    """The slowest page of a search, whatever is sought: what all have, what few have, what none has."""
    times: dict[str, float] = {}
    for name, ask in _SOUGHT.items():
        for caller in (operator, insurer):
            for _ in range(_RUNS):
                begun = time.perf_counter()
                page = home.run("ledger.search", caller, ask).reply
                times[name] = max(times.get(name, 0.0), (time.perf_counter() - begun) * 1000)
                assert (len(page.items) == ask.limit) is (name == "all of a kind"), (name, len(page.items))
    return Figure(
        "search of the log, 10⁶ entries, slowest page", max(times.values()), "ms", "≤ 50", {"by": times}
    )


def _examined(home: homes.Home, operator: Caller) -> Iterator[Figure]:
    """The time of `ledger.fsck`, which reads every record, leaf, tile and checkpoint."""
    act = ACTS.get("ledger.fsck")
    if act is None:
        return
    with spent() as one:
        said = home.run(act.name, operator, bind(act).ask()).reply
    assert not said.differences, said
    yield Figure("`ledger.fsck` of 10⁶ entries", one.wall_s, "s", "≤ 15", {"cpu_s": one.own_s})


def _size(home: Path, before: int, count: int, wall_s: float) -> Figure:
    with homes.opened(home) as held, held.node.database.reading() as db:
        leaves = store.leaves(db, held.book.next_index() - CALL, CALL)
    own = sum(map(len, leaves)) / CALL
    beside = {
        "entries": count, "its_own_size_bytes": own, "the_records_own_bytes": BYTES,
        "in_process_per_s_one_caller": count / wall_s,
    }  # fmt: skip
    value = (_bytes(home) - before) / count
    return Figure("bytes on disk per attested entry", value, "bytes", f"≤ {round(2 * own + 200)}", beside)


def _files(place: Path, vkey: str, count: int) -> Iterator[Figure]:
    """The tree as files, and the whole check of it by a process that knows the key and nothing else."""
    env, log = environment(place / "home"), place / "log"
    with spent() as writing:
        subprocess.run(command("ledger", "tiles", str(log)), env=env, check=True, capture_output=True)
    runs: list[float] = []
    cpu, said = 0.0, {}
    for _ in range(_RUNS):
        with spent() as one:
            line = command("verify", str(log), "--vkey", vkey, "--json")
            found = subprocess.run(line, env=env, check=True, capture_output=True)
        runs.append(one.wall_s)
        cpu, said = one.children_s, json.loads(found.stdout)
    assert said["ok"] and said["trusted"] and said["size"] >= count, said
    size_mb = sum(path.stat().st_size for path in log.rglob("*") if path.is_file()) / 1e6
    beside = {
        "entries": count,
        "cpu_s": cpu,
        "files_mb": size_mb,
        "writing_them_s": writing.wall_s,
        "runs": _RUNS,
    }
    yield Figure(
        "`verify` of 10⁶ entries from tiles, whole process", sorted(runs)[_RUNS // 2], "s", "≤ 5", beside
    )


def _door(home: Path, count: int) -> Figure:
    """Full tiles and entry bundles a second over one connection, without an account."""
    line = [sys.executable, "-m", "bench.node", str(home), "no-loops"]
    # One reader asks for more here than one address may in earnest.
    env = {**os.environ, "DUJIANG_SET_LOG_REQUESTS_PER_S_MAX": "0"}
    node = subprocess.Popen(
        line, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert node.stdout is not None
        host = node.stdout.readline().strip().partition("://")[2]
        connection = http.client.HTTPConnection(host, timeout=30)
        full = count // 256
        tiles = _reads(connection, [f"/log/tile/0/{_path(n % full)}" for n in range(_READS)], node.pid)
        bundles = _reads(connection, [f"/log/tile/entries/{_path(n % full)}" for n in range(full)], node.pid)
        connection.close()
    finally:
        node.terminate()
        node.wait(60)
    beside: dict[str, Any] = {
        "node_cpu_us": tiles["cpu_us"], "connections": 1, "reads": _READS,
        "entry_bundles_per_s": bundles["per_s"], "node_cpu_us_a_bundle": bundles["cpu_us"],
    }  # fmt: skip
    return Figure("tiles read over HTTP, one connection", tiles["per_s"], "1/s", None, beside)


def _reads(connection: http.client.HTTPConnection, paths: list[str], pid: int) -> dict[str, float]:
    begun, cpu = time.perf_counter(), process_cpu_s(pid)
    for path in paths:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200 and body, (answer.status, path)
    took = time.perf_counter() - begun
    return {"per_s": len(paths) / took, "cpu_us": (process_cpu_s(pid) - cpu) * 1e6 / len(paths)}


def _path(number: int) -> str:
    """The number of a tile as its path writes it: x001/x234/067."""
    text = f"{number % 1000:03d}"
    while number := number // 1000:
        text = f"x{number % 1000:03d}/{text}"
    return text


def _bytes(home: Path) -> int:
    """What the database of a home nobody holds takes on disk, the write-ahead log taken in."""
    with sqlite3.connect(home / "state.sqlite") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return sum(path.stat().st_size for path in home.glob("state.sqlite*"))
