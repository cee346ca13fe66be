"""docs/LOG.md's check by hand, as it stands there: `sha256sum` and `openssl` accept a true proof and no wounded one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dujiang.catalogue import acts as catalogue
from dujiang.ledger import acts as ledger
from tests.house.source import ROOT, SRC
from tests.life import Life, opened

PAGE = (ROOT / "docs" / "LOG.md").read_text("utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
COMMANDS = re.findall(
    r"dujiang ((?:ledger |identity )?[a-z]+)\b([^`\n#]*)", "\n".join(re.findall(r"`+[^`]+`+", PAGE))
)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A log of a few entries under several heads."""
    with opened(tmp_path_factory.mktemp("life")) as made:
        product = made.offer().product
        made.agree(product)
        made.run("catalogue.withdraw", made.hospital, catalogue.Withdraw(product))
        yield made


@pytest.fixture
def kept(life: Life, tmp_path: Path) -> Path:
    """A folder with the proof and the entry of every number, and the page's script."""
    (tmp_path / "hand.sh").write_text(BLOCKS[0], encoding="utf-8")
    for index in range(life.size()):
        receipt = proved(life, index)
        steps = "".join(f"{step}\n" for step in receipt["path"])
        text = f"c2sp.org/tlog-proof@v1\nindex {index}\n{steps}\n{receipt['checkpoint']}"
        (tmp_path / f"{index}.tlog-proof").write_text(text, encoding="utf-8")
        (tmp_path / f"{index}.entry").write_text(receipt["leaf"], encoding="utf-8")
    return tmp_path


def proved(life: Life, index: int) -> dict[str, Any]:
    """The receipt of an entry, opened for who oversees the log."""
    return life.run("ledger.prove", life.auditor, ledger.Show(index)).receipt


def by_hand(folder: Path, name: str, vkey: str) -> subprocess.CompletedProcess[str]:
    """What the page's script says of a proof."""
    line = ["bash", "hand.sh", f"{name}.tlog-proof", f"{name}.entry", vkey]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


def test_every_proof_of_a_log_is_accepted(life: Life, kept: Path) -> None:
    size = life.size()
    assert size > 5
    for index in range(size):
        done = by_hand(kept, str(index), life.home.book.vkey)
        assert done.returncode == 0, done.stderr
        assert (
            done.stdout.startswith(f"entry {index} is in the tree of ") and "Verified Success" in done.stdout
        )


@pytest.mark.parametrize("wound", ["entry", "index", "path", "root", "signature", "key"])
def test_no_wounded_proof_is_accepted(life: Life, kept: Path, wound: str) -> None:
    index = life.size() - 2
    proof, entry = kept / f"{index}.tlog-proof", kept / f"{index}.entry"
    text, vkey = proof.read_text("utf-8"), life.home.book.vkey
    lines = text.split("\n")
    if wound == "entry":
        entry.write_text(entry.read_text("utf-8").replace('"time_ms":1', '"time_ms":2'), encoding="utf-8")
    elif wound == "index":
        lines[1] = f"index {index - 1}"
    elif wound == "path":
        lines[2] = changed(lines[2])
    elif wound == "root":
        at = lines.index("") + 3
        lines[at] = changed(lines[at])
    elif wound == "signature":
        at = next(at for at, line in enumerate(lines) if line.startswith("\u2014"))
        lines[at] = lines[at][:-8] + changed(lines[at][-8:])
    else:
        vkey = vkey[:-8] + changed(vkey[-8:])
    proof.write_text("\n".join(lines), encoding="utf-8")
    assert by_hand(kept, str(index), vkey).returncode != 0


def test_a_salt_opens_its_fact(life: Life) -> None:
    found = next(
        receipt
        for receipt in (proved(life, index) for index in range(life.size()))
        if "contract" in receipt["opened"]
    )
    opening = found["opened"]["contract"]
    script = BLOCKS[1].replace("ctr_01…", opening["value"])
    done = subprocess.run(
        ["bash", "-c", f"SALT={opening['salt']}\n{script}"], capture_output=True, text=True, check=True
    )
    assert f'"contract":"{done.stdout[:64]}"' in found["leaf"]


def changed(text: str) -> str:
    """The same text with another first letter."""
    return ("B" if text[0] == "A" else "A") + text[1:]


@pytest.mark.parametrize(("verb", "rest"), COMMANDS)
def test_a_command_of_the_page_is_one_and_takes_those_flags(verb: str, rest: str) -> None:
    line = [sys.executable, "-c", "from dujiang.doors.cli import main; main()", *verb.split(), "--help"]
    env = {**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "200"}
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [flag for flag in re.findall(r"(?<=\s)--[a-z-]+", rest) if flag not in done.stdout] == []


def test_the_page_names_its_commands() -> None:
    assert {"verify", "ledger tiles", "ledger watch", "ledger appoint", "reconcile"} <= {
        verb for verb, _ in COMMANDS
    }
