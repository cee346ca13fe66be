"""Durable before acknowledged: shown by system calls, since a killed process loses nothing even without fsync."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dujiang.ledger import rules
from dujiang.ledger.lot import receipts_of
from tests.e2e import log, trace
from tests.e2e.node import Node, make, said, start

ACTS_EACH = 100
CALLERS = 2
LOTS = (1, 40, 200, 2, 17, 90)
"""How many records of another system are attested in one call after the other."""
ROWS = b"id,x\n" + b"".join(b"%d,%d\n" % (number, number % 7) for number in range(300))


@dataclass(frozen=True)
class Traced:
    """A home before a node served it, and everything that node wrote since."""

    before: Path
    home: Path
    calls: list[trace.Call]
    vkey: str
    heard: dict[int, list[dict[str, Any]]]
    """By the index of its first entry, the receipts of each request that was answered."""

    @property
    def size(self) -> int:
        """How many entries the log must have."""
        return max(index + len(given) for index, given in self.heard.items())


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """A node under strace: a file and its offer, then keys granted by several callers at once, and lots attested."""
    folder = tmp_path_factory.mktemp("durability")
    home, out = folder / "home", folder / "calls"
    made = make(home)
    key, vkey = made["organisations"][0]["api_key"], made["vkey"]
    shutil.copytree(home, folder / "before")
    shutil.copy(home.with_name("home.high"), folder / "before.high")
    heard: list[dict[str, Any]] = []
    lots: list[list[dict[str, Any]]] = []
    with Node(home, before=trace.before(out)) as node:
        sent = node.upload("t.csv", ROWS, key)
        assert sent.status_code == 201, sent.text
        heard.append(node.said("catalogue.offer", {"upload": sent.json()["upload"], "entity": "id"}, key))

        def grants() -> None:
            heard.extend(node.said("identity.grant", {"roles": ["provider"]}, key) for _ in range(ACTS_EACH))

        def attests() -> None:
            for number, count in enumerate(LOTS):
                records = [{"lot": number, "n": n} for n in range(count)]
                receipt = node.said("ledger.attest", {"records": records}, key)["receipt"]
                lots.append(receipts_of(receipt, records))

        callers = [threading.Thread(target=grants) for _ in range(CALLERS)]
        callers.append(threading.Thread(target=attests))
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        node.kill()
    given = [*([each["receipt"]] for each in heard), *lots]
    assert len(given) == ACTS_EACH * CALLERS + 1 + len(LOTS) and [len(lot) for lot in lots] == list(LOTS)
    assert all(rules.verify(receipt, vkey).ok for lot in lots for receipt in lot)
    by_index = {receipts[0]["index"]: receipts for receipts in given}
    return Traced(folder / "before", home, list(trace.calls(out)), vkey, by_index)


def acknowledged(call: trace.Call) -> int | None:
    """The index of the first entry of the receipt that is being sent to a caller now, if there is one."""
    if not call.begun or not call.path.startswith("TCP:") or b'"receipt"' not in call.data:
        return None
    receipt = json.loads(call.data[call.data.index(b"{") :])["receipt"]
    return int(receipt["first"] if "first" in receipt else receipt["index"])


def written_of(leaf: str, raw: bytes) -> bool:
    """Whether bytes hold the row of an entry: most of its commitments (an edge of a page may cut one)."""
    commitments = json.loads(leaf)["commitments"].values()
    return sum(bytes.fromhex(each) in raw for each in commitments) >= len(commitments) - 2


def test_a_sync_stands_between_the_last_write_and_the_answer(traced: Traced) -> None:
    """An answer leaves only when the write-ahead log was synced after the act's entry was written to it."""
    wal = str(traced.home / "state.sqlite-wal")
    durable: list[bytes] = []
    written, syncing, answers = bytearray(), b"", 0
    for call in traced.calls:
        if call.path == wal and call.name == "pwrite64" and not call.begun:
            written += call.data
        elif call.path == wal and call.name in ("fsync", "fdatasync"):
            if call.begun:
                syncing, written = bytes(written), bytearray()
            else:
                durable.append(syncing)
        elif (first := acknowledged(call)) is not None:
            answers += 1
            for receipt in traced.heard[first]:
                assert any(written_of(receipt["leaf"], raw) for raw in reversed(durable)), receipt["index"]
            root = receipt["checkpoint"].split("\n")[2].encode()
            assert any(root in raw for raw in reversed(durable)), "its checkpoint"
    assert answers == len(traced.heard)


def test_what_a_power_cut_leaves_holds_every_acknowledged_act(traced: Traced, tmp_path: Path) -> None:
    """At every answer, the files as last synced are opened as a database: what was answered is there."""
    names = ("state.sqlite", "state.sqlite-wal")
    disk = trace.Disk.of(*(traced.before / name for name in names))
    disk.seen = {str(traced.home / Path(path).name): raw for path, raw in disk.seen.items()}
    disk.kept = {str(traced.home / Path(path).name): raw for path, raw in disk.kept.items()}
    answered: dict[int, str] = {}
    answers = folds = 0
    for call in traced.calls:
        disk.apply(call)
        folds += call.begun and call.name == "pwrite64" and call.path == str(traced.home / "state.sqlite")
        if (first := acknowledged(call)) is None:
            continue
        answers += 1
        answered |= {receipt["index"]: receipt["leaf"] for receipt in traced.heard[first]}
        head = traced.heard[first][0]["checkpoint"]
        left = disk.after_power_cut(tmp_path / "cut")
        db = sqlite3.connect(left / "state.sqlite")
        rows = db.execute("SELECT idx, act, time_ms, facts, commitments FROM ledger_entry").fetchall()
        leaves = {index: log.leaf_of(*row) for index, *row in rows}
        assert answered.items() <= leaves.items(), first
        assert (head,) in db.execute("SELECT note FROM ledger_checkpoint").fetchall(), first
        db.close()
    assert answers == len(traced.heard)
    assert folds, "the write-ahead log was never folded into the database: too few acts to show that"


def test_a_home_after_a_power_cut_opens_and_verifies(traced: Traced, tmp_path: Path) -> None:
    """The whole product on the files as last synced: the log verifies and goes on."""
    disk = trace.Disk.of(*(traced.before / name for name in ("state.sqlite", "state.sqlite-wal")))
    disk.seen = {str(traced.home / Path(path).name): raw for path, raw in disk.seen.items()}
    disk.kept = {str(traced.home / Path(path).name): raw for path, raw in disk.kept.items()}
    for call in traced.calls:
        disk.apply(call)
    home = tmp_path / "home"
    shutil.copytree(traced.before, home)
    shutil.copytree(traced.home / "files", home / "files", dirs_exist_ok=True)
    shutil.copy(traced.home.with_name("home.key"), home.with_name("home.key"))
    # A power cut may set the file beside the home back, as far as it goes; ahead of the database it never is.
    shutil.copy(traced.before.with_name("before.high"), home.with_name("home.high"))
    disk.after_power_cut(home)
    size = said(home, "history", "--limit", "1")["size"]
    assert size == traced.size
    said(home, "identity", "invite", "王五", "--roles", "provider")
    with log.snapshot(home) as db:
        assert len(log.verify(db, traced.vkey)) == size + 1
        log.balance(db)


def test_files_are_on_the_disk_before_the_act_that_names_them(traced: Traced) -> None:
    """An upload before its 201; both files of a version, and their folder, before the offer is committed."""
    synced: list[str] = []
    sent = offered = None
    for call in traced.calls:
        if call.name in ("fsync", "fdatasync") and not call.begun:
            synced.append(call.path)
        if call.begun and call.path.startswith("TCP:") and b" 201 " in call.data:
            sent = list(synced)
        if acknowledged(call) is not None and offered is None:
            offered = list(synced)
    assert sent is not None and offered is not None
    uploads = str(traced.home / "files" / "uploads")
    assert any(path.startswith(uploads) and path.endswith(".part") for path in sent)
    assert any(Path(path).parent == Path(uploads) for path in sent), "the folder of the upload was not synced"
    version = next((traced.home / "files" / "tables").iterdir())
    wal = len(offered) - 1 - offered[::-1].index(str(traced.home / "state.sqlite-wal"))
    parts = [path for path in offered[:wal] if Path(path).parent == version]
    assert len(set(parts)) == 2, "the normalised and the registered file"
    assert str(version) in offered[:wal] and str(version.parent) in offered[:wal], "a folder was not synced"


def test_a_home_is_on_the_disk_before_its_keys_are_printed(tmp_path: Path) -> None:
    """`init` says keys that are shown this once: what they belong to must be there after a power cut."""
    home, out = tmp_path / "home", tmp_path / "calls"
    with start(home, "init", "医院", "--json", before=trace.before(out)) as process:
        printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    calls = list(trace.calls(out))
    printing = next(
        place
        for place, call in enumerate(calls)
        if call.path.startswith("pipe:") and b'"api_key"' in call.data
    )
    synced = {
        call.path for call in calls[:printing] if call.name in ("fsync", "fdatasync") and not call.begun
    }
    profile = next((home / "profiles").iterdir())
    # Written under a passing name, synced, then named: with their folders, they are there whole or not at all.
    renamed = [home / "home.json.new", home.with_name("home.high.new")]
    files = [*renamed, home.with_name("home.key"), profile]
    folders = [home, tmp_path, home / "profiles"]
    assert {str(place) for place in (*files, *folders)} <= synced
    assert json.loads(printed)["organisations"]
