"""A demonstration that is kept: its receipts and its whole log are checked from outside, and it is served again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from dujiang.ledger import note, proof
from tests.house.source import SRC


def dujiang(*line: str, ok: bool = True) -> dict[str, object]:
    """The JSON document of a line, run as a process of its own and with no home of this machine."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("DUJIANG_")}
    code = "from dujiang.doors.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *line, "--json"], capture_output=True, text=True, timeout=300,
        env={**env, "PYTHONPATH": str(SRC), "LANG": "C.UTF-8"},
    )  # fmt: skip
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home a demonstration left."""
    home = tmp_path_factory.mktemp("demo") / "home"
    said = dujiang("demo", "--once", "--keep", str(home))
    assert said["home"] == str(home) and said["receipts"] == str(home / "receipts")
    return home


def test_its_receipts_verify_offline_in_both_forms_and_stay_their_owners(kept: Path) -> None:
    key = (kept / "receipts" / "log.vkey").read_text("utf-8").strip()
    name, public = note.read_vkey(key)
    receipts = sorted((kept / "receipts").glob("receipt-*.json"))
    assert len(receipts) > 20
    for receipt in receipts:
        read = proof.read(receipt.with_suffix(".tlog-proof").read_text("utf-8"))
        entry = receipt.with_suffix(".entry").read_bytes()
        assert proof.holds(read, entry)
        assert note.signed_by(note.read_checkpoint(read.checkpoint), name, public)
        assert {path.stat().st_mode & 0o777 for path in (receipt, receipt.with_suffix(".entry"))} == {0o600}
    for path in (receipts[-1], receipts[-1].with_suffix(".tlog-proof")):
        assert dujiang("verify", str(path), "--vkey", key)["trusted"] is True


def test_it_is_served_again_and_its_log_is_the_same_from_there_and_from_files(
    kept: Path, tmp_path: Path
) -> None:
    key = str(kept / "receipts" / "log.vkey")
    dujiang("ledger", "tiles", str(tmp_path / "files"), "--home", str(kept))
    files = dujiang("verify", str(tmp_path / "files"), "--vkey", key)
    code = "from dujiang.doors.cli import main; main()"
    served = subprocess.Popen(
        [sys.executable, "-c", code, "up", "--port", "0", "--json", "--home", str(kept)], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": str(SRC)},
    )  # fmt: skip
    try:
        assert served.stdout is not None
        url = json.loads(served.stdout.readline())["url"]
        there = dujiang(
            "verify", f"{url}/log/", "--vkey", key, "--old", str(tmp_path / "files" / "checkpoint")
        )
        assert there["extends"] == files["size"] and there["root"] == files["root"]
        assert httpx2.get(f"{url}/log/vkeys").text.startswith(Path(key).read_text("utf-8"))
        assert dujiang("ledger", "tiles", str(tmp_path / "more"), "--node", url)["size"] == files["size"]
        assert (
            dujiang("ledger", "tiles", str(tmp_path / "held"), "--home", str(kept))["size"] == files["size"]
        )
    finally:
        served.terminate()
        served.wait(30)
    for folder in ("more", "held"):
        assert _tree(tmp_path / folder) == _tree(tmp_path / "files")


def _tree(folder: Path) -> dict[str, bytes]:
    """Its tiles and bundles; of the head what is signed: who signs it beside may have grown."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("tile/**/*")
        if path.is_file()
    }
    return {**files, "checkpoint": (folder / "checkpoint").read_bytes().partition(b"\n\n")[0]}
