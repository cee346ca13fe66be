"""A workbook on the command line: offered, agreed on and asked like any other table."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

from tests.doors.shell import INSURER, Shell, dujiang, home
from tests.plugs.books import book

__all__ = ["dujiang", "home"]  # fixtures

TERMS = """
title = "病历"
group_min = 10
statistics = 40
[fields."性别"]
uses = ["group", "filter"]
keys = ["女", "男"]
[fields."费用"]
uses = ["aggregate"]
lo = 0
hi = 100
"""


def test_a_workbook_is_offered_and_asked(dujiang: Shell, tmp_path: Path) -> None:
    day = datetime.date(2024, 1, 1)
    rows = [(f"{n:05d}", "女男"[n % 2], day + datetime.timedelta(n % 90), n % 50 + 0.5) for n in range(2000)]
    path = book(tmp_path / "病历.xlsx", [("编号", "性别", "就诊日期", "费用"), *rows, (None, None)])
    (tmp_path / "terms.toml").write_text(TERMS, encoding="utf-8")
    made = dujiang.json("offer", str(path), "--entity", "编号", "--terms", str(tmp_path / "terms.toml"))
    proposal, opened = made["proposal"], made["receipt"]["opened"]
    assert (proposal["format"], proposal["rows"], proposal["entities"]) == ("xlsx", 2000, 2000)
    assert opened["sha256_source"]["value"] == hashlib.sha256(path.read_bytes()).hexdigest()
    contract = dujiang.json("agree", made["product"], "--purpose", "analyse", "--as", INSURER)["contract"]
    question = 'select 性别, count(*), avg("费用") from 病历 group by 性别 order by 性别'
    said = dujiang.json("ask", contract, question, "--as", INSURER)
    assert [row[0] for row in said["rows"]] == ["女", "男"]
    assert all(abs(row[1] - 1000) < 200 and 15 < row[2] < 35 for row in said["rows"])


def test_a_workbook_without_a_header_is_refused_by_its_column(dujiang: Shell, tmp_path: Path) -> None:
    path = book(tmp_path / "病历.xlsx", [("二〇二四年病历",), ("编号", "性别"), ("机密7731", "女")])
    said = dujiang("offer", str(path), "--entity", "编号", "--json", ok=False)
    assert said.body["code"] == "header_missing" and " B " in said.body["why"]
    assert "机密7731" not in said.out + said.err
