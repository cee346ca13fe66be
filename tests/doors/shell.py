"""The command line for its tests: lines run in this process on one home, and a table with its contract."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dujiang.doors import cli
from tests.house.source import SRC

HOSPITAL, INSURER = "榕城医院", "安心保险"


@dataclass(frozen=True)
class Ran:
    """What a line printed, and its exit status."""

    exit: int
    out: str
    err: str

    @property
    def body(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """Runs lines in this process as `dujiang` would, on one home."""

    home: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *line: str, ok: bool = True) -> Ran:
        """What a line does; it must succeed unless said otherwise."""
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(["--home", str(self.home), *line])
        printed = self.capture.readouterr()
        ran = Ran(int(ended.value.code or 0), printed.out, printed.err)
        assert (ran.exit == 0) is ok, ran
        return ran

    def json(self, *line: str, ok: bool = True) -> Any:
        """The JSON document a line prints."""
        return self(*line, "--json", ok=ok).body


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a hospital, which operates it, and an insurer."""
    path = tmp_path_factory.mktemp("cli") / "home"
    with pytest.raises(SystemExit) as ended:
        cli.main(["init", HOSPITAL, f"{INSURER}=consumer", "--home", str(path), "--json"])
    assert not ended.value.code
    return path


@pytest.fixture
def dujiang(
    home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    """The command line on that home, whatever this machine's own settings are."""
    for name in [name for name in os.environ if name.startswith("DUJIANG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    yield Shell(home, capfd)


def process(*line: str) -> subprocess.Popen[str]:
    """`dujiang` as a process of its own."""
    code = "from dujiang.doors.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *line], env={**os.environ, "PYTHONPATH": str(SRC), "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell that runs tests in the background has them ignore Ctrl-C, which a child would inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


QUESTION = 'select 性别, count(*) as 人数, avg("身高") as 平均 from 体检 group by 性别 order by 性别'
TERMS = """
title = "体检"
group_min = 10
statistics = 40
[fields."性别"]
uses = ["group", "filter"]
keys = ["女", "男"]
[fields."身高"]
uses = ["filter", "aggregate"]
lo = 100
hi = 220
"""


@dataclass(frozen=True)
class Life:
    """A product that was offered and the contract on it."""

    shell: Shell
    product: str
    contract: str

    def ask(self, sql: str, *more: str, ok: bool = True) -> Any:
        """What the insurer is answered."""
        return self.shell.json("ask", self.contract, sql, "--as", INSURER, *more, ok=ok)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table in GB18030 under Chinese names, and its terms."""
    folder = tmp_path_factory.mktemp("files")
    rows = [(f"患者{n:05d}", "女男"[n % 2], 150 + n % 40) for n in range(2000)]
    with (folder / "体检.csv").open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows([("编号", "性别", "身高"), *rows])
    (folder / "terms.toml").write_text(TERMS, encoding="utf-8")
    return folder


@pytest.fixture
def life(dujiang: Shell, files: Path) -> Life:
    """The product and the contract, made by the first test that needs them."""
    found = dujiang.json("find", "体检", "--as", INSURER)["items"]
    if not found:
        line = ["offer", str(files / "体检.csv"), "--entity", "编号", "--terms", str(files / "terms.toml")]
        product = dujiang.json(*line)["product"]
        agreed = dujiang.json("agree", product, "--purpose", "analyse", "--as", INSURER)
        assert agreed["state"] == "FINALIZED"
        return Life(dujiang, product, agreed["contract"])
    contract = dujiang.json("contract", "list", "--as", INSURER)["items"][0]["contract"]
    return Life(dujiang, found[0]["product"], contract)
