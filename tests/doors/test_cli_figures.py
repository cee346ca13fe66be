"""Figures on the command line: a table, its entries, and the receipt of one, verified without the node."""

from __future__ import annotations

import json
from pathlib import Path

from tests.doors.shell import INSURER, QUESTION, Life, Shell, dujiang, files, home, life

__all__ = ["dujiang", "files", "home", "life"]


def test_a_figure_leads_down_to_a_receipt_that_verifies(life: Life, dujiang: Shell, tmp_path: Path) -> None:
    dujiang("identity", "describe", "--province", "福建", "--sector", "Q")
    dujiang("identity", "describe", "--province", "Guangdong", "--as", INSURER)
    life.ask(QUESTION)
    found = dujiang.json("figures", "--exact")
    cells = {cell["key"]: cell["value"] for cell in found["cells"]}
    assert cells["35-44"] == cells["total"] == 1 and found["form"] == "exact"
    (entry,) = dujiang.json("observatory", "list", "35-44")["items"]
    receipt = dujiang.json("receipt", str(entry["entry"]))["receipt"]
    (told,) = receipt["opened"]["figures"]["value"]
    assert (told["from_province"], told["to_province"], told["questions"]) == ("35", "44", 1)
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(receipt), encoding="utf-8")
    assert dujiang.json("verify", str(path))["ok"]


def test_figures_are_told_in_both_languages(life: Life, dujiang: Shell) -> None:
    del life
    assert "Between provinces" in dujiang("figures", "--exact").out
    assert "跨省" in dujiang("figures", "--exact", "--lang", "zh").out
    published = dujiang.json("figures")
    assert published["form"] == "published" and all(cell["value"] is None for cell in published["cells"])
    assert dujiang.json("reconcile")["agrees"]
    assert dujiang.json("figures", "--period", "soon", ok=False)["code"] == "period_unfit"
    assert dujiang.json("figures", "--by", "weather", ok=False)["code"]
    assert dujiang.json("reconcile", "--as", INSURER, ok=False)["code"] == "forbidden"
