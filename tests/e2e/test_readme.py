"""What the READMEs show is what a run prints, and their commands work in the order they stand."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}
IDS = {
    name: rf"\b{prefix}_[0-9a-z]{{26}}\b"
    for name, prefix in {"PRODUCT": "prd", "VERSION": "ver", "CONTRACT": "ctr", "BILL": "bil"}.items()
} | {"ENTRY": r"(?m)^\s*\d+(?=\s+(cleanroom|market|contract)\.)"}
"""What the commands name by a word in capitals, as the ones before print it."""
DUJIANG = [sys.executable, "-c", "import sys; from dujiang.doors.cli import main; sys.exit(main())"]


def _run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "DUJIANG_HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
    }
    return subprocess.run(
        [*DUJIANG, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


def _masked(text: str) -> str:
    """The text without what differs from run to run: numbers, ids, authorities, and padding."""
    text = re.sub(r"\b[a-z]{3}_[0-9a-z]{26}\b", "ID", text)
    text = re.sub(r"\b[0-9a-z]{12}\.home\.arpa\b", "LOG", text)
    return re.sub(r" +", " ", re.sub(r"\d+(\.\d+)?", "N", text)).strip()


def _lines(text: str) -> list[str]:
    """What is said, without the group of other values: there are none, but noise alone may show it."""
    kept = [_masked(line) for line in text.splitlines()]
    return [
        re.sub(r"\bother -?N N; |; other -?N N\b", "", line) for line in kept if not line.startswith("other ")
    ]


@pytest.mark.parametrize("language", READMES)
def test_the_output_shown_is_what_a_run_prints(language: str, tmp_path: Path) -> None:
    done = _run(["demo", "--once", "--lang", language], tmp_path)
    assert done.returncode == 0, done.stderr
    shown = re.search(r"<!-- demo -->\n```\n(.*?)```", READMES[language].read_text("utf-8"), re.S)
    assert shown is not None
    assert _lines(shown[1]) == _lines(done.stdout)


@pytest.mark.parametrize("language", READMES)
def test_the_commands_shown_work_in_order(language: str, tmp_path: Path) -> None:
    chance = random.Random(3)
    rows = [f"P{n},{chance.choice(['north', 'south'])},{chance.randint(1, 30)}" for n in range(2000)]
    (tmp_path / "visits.csv").write_text("patient,ward,days\n" + "\n".join(rows) + "\n", "utf-8")
    text = READMES[language].read_text("utf-8")
    blocks = {form: re.search(rf"```{form}\n(.*?)```", text, re.S) for form in ("sh", "toml")}
    assert blocks["sh"] is not None and blocks["toml"] is not None
    (tmp_path / "terms.toml").write_text(blocks["toml"][1], "utf-8")
    known: dict[str, str] = {}
    lines = [line for line in blocks["sh"][1].splitlines() if not line.startswith("#")]
    for line in (each for joined in lines for each in joined.split(" && ")):
        words = [known.get(word, word) for word in shlex.split(line)[1:]]
        done = _run(words, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        for name, form in IDS.items():
            found = re.search(form, done.stdout)
            if found:
                known.setdefault(name, found[0])
    assert set(known) == set(IDS)
    receipt = json.loads((tmp_path / "answer.csv.receipt.json").read_text("utf-8"))
    assert receipt["type"] == "dujiang-receipt"
    assert (tmp_path / "answer.csv").read_text("utf-8").startswith("ward,")
