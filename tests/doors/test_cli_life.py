"""The life of a dataset on the command line: a table of one's own in GB18030 under Chinese names."""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from dujiang.kernel.errors import Exit
from tests.doors.shell import INSURER, QUESTION, Life, dujiang, files, home, life
from tests.house.source import SRC

__all__ = ["dujiang", "files", "home", "life"]  # fixtures

OTHER = "other"
"""Values beyond the published keys: there are none, and noise alone shows the group once in 300 times."""


def test_a_question_is_answered_with_a_receipt_that_verifies(life: Life) -> None:
    said = life.ask(QUESTION)
    assert said["columns"] == ["性别", "人数", "平均"]
    named = [row for row in said["rows"] if row[0] != OTHER]
    assert [row[0] for row in named] == ["女", "男"]
    assert all(abs(row[1] - 1000) < 200 and 160 < row[2] < 180 for row in named)
    assert said["statistics_left"] < 40 and len(said["plus_minus"]) == 3
    kept = Path(said["receipt_file"])
    assert json.loads(kept.read_text()) == said["receipt"] and stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert life.shell.json("verify", str(kept))["ok"]
    again = life.ask(QUESTION)
    assert again["rows"] == said["rows"] and again["statistics_left"] == said["statistics_left"]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_an_answer_goes_to_a_file(life: Life, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"answer.{suffix}"
    said = life.ask(QUESTION, "--out", str(out))
    assert said["receipt_file"] == f"{out}.receipt.json" and Path(said["receipt_file"]).is_file()
    if suffix == "csv":
        with out.open(encoding="utf-8", newline="") as file:
            names, *rows = csv.reader(file)
        assert rows == [[row[0], str(row[1]), str(row[2])] for row in said["rows"]]
    elif suffix == "json":
        listed = json.loads(out.read_text())
        names, rows = list(listed[0]), [list(each.values()) for each in listed]
        assert rows == said["rows"]
    else:
        table = pyarrow.parquet.read_table(out)
        names = table.column_names
        assert [key for key in table.to_pydict()["性别"] if key != OTHER] == ["女", "男"]
    assert names == said["columns"]


def test_where_the_answer_cannot_go_nothing_is_asked(life: Life, tmp_path: Path) -> None:
    before = life.shell.json("history", "--limit", "1")["size"]
    assert life.ask(QUESTION, "--out", str(tmp_path / "a.xlsx"), ok=False)["code"] == "out_kind"
    assert life.ask(QUESTION, "--out", str(tmp_path / "no" / "a.csv"), ok=False)["code"] == "out_failed"
    assert life.shell.json("history", "--limit", "1")["size"] == before


def test_a_refused_question_points_into_the_text_and_is_an_entry(life: Life) -> None:
    sql = "select 编号 from 体检"
    ran = life.shell("ask", life.contract, sql, "--as", INSURER, "--json", ok=False)
    assert ran.exit == Exit.refused
    where = ran.body["where"]
    assert sql[where["start"] :][: where["length"]] == "编号" and ran.body["offer"]
    assert life.shell.json("verify", ran.body["receipt_file"])["facts"]["declined"] == ran.body["code"]
    spoken = life.shell("ask", life.contract, sql, "--as", INSURER, ok=False).err
    assert (
        "  select 编号 from 体检\n         ^^^^\n" in "\n".join(map(str.rstrip, spoken.splitlines())) + "\n"
    )


def test_a_question_may_come_on_standard_input(life: Life, home: Path) -> None:
    code = "from dujiang.doors.cli import main; main()"
    line = ["ask", life.contract, "-", "--as", INSURER, "--json", "--home", str(home)]
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run(
        [sys.executable, "-c", code, *line], env=env, input=QUESTION.encode(), capture_output=True
    )
    assert json.loads(done.stdout)["rows"] == life.ask(QUESTION)["rows"]
