"""One table of one's own, in GB18030 under Chinese names, from `init` to the regulator's check, in both languages."""

from __future__ import annotations

import csv
import json
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from tests.e2e.node import HOSPITAL, INSURER, Node, Ran, cli, make, said

TABLE = "门诊记录"
COLUMNS = ("病案号", "科室", "性别", "住院天数")
SQL = f'select 科室, count(*) as 人次, avg("住院天数") as 平均 from {TABLE} group by 科室 order by 科室'
TERMS = """
title = "门诊记录"
title_zh = "榕城医院门诊记录"
statistics = 60
[fields."科室"]
uses = ["group", "filter"]
keys = ["内科", "外科"]
[fields."性别"]
uses = ["filter"]
[fields."住院天数"]
uses = ["filter", "aggregate"]
lo = 0
hi = 60
"""
HANZI = re.compile("[\u4e00-\u9fff]")


def table(rows: int = 3000) -> bytes:
    """A CSV as a Chinese office suite saves it."""
    lines = [",".join(COLUMNS)]
    lines += [f"病案{n:06d},{'内外'[n % 2]}科,{'女男'[n // 2 % 2]},{n * 7 % 30}" for n in range(rows)]
    return ("\r\n".join(lines) + "\r\n").encode("gb18030")


@dataclass
class Told:
    """A home, its files, and what each step said."""

    home: Path
    folder: Path
    made: dict[str, Any]
    said: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The life of the table, by the verbs, as JSON."""
    folder = tmp_path_factory.mktemp("story")
    home = folder / "home"
    (folder / f"{TABLE}.csv").write_bytes(table())
    (folder / "terms.toml").write_text(TERMS, encoding="utf-8")
    story = Told(home, folder, make(home))
    line = [
        "offer",
        str(folder / f"{TABLE}.csv"),
        "--entity",
        "病案号",
        "--terms",
        str(folder / "terms.toml"),
    ]
    story.said["offer"] = said(home, *line, "--as", HOSPITAL)
    story.said["find"] = said(home, "find", "门诊", "--as", INSURER)
    product = story.said["find"]["items"][0]["product"]
    story.said["agree"] = said(home, "agree", product, "--purpose", "分析", "--as", INSURER)
    story.said["ask"] = said(home, "ask", story.said["agree"]["contract"], SQL, "--as", INSURER)
    return story


def test_what_scripts_rely_on(told: Told) -> None:
    """The shapes of JSON that are promised, member by member."""
    for made, name in zip(told.made["organisations"], (HOSPITAL, INSURER), strict=True):
        assert {"name", "did", "roles", "api_key"} <= made.keys() and made["name"] == name
        assert made["did"].startswith("did:web:") and isinstance(made["roles"], list)
    assert told.said["offer"]["product"].startswith("prd_")
    found = told.said["find"]["items"]
    assert [item["product"] for item in found] == [told.said["offer"]["product"]] and found[0][
        "title"
    ] == TABLE
    assert told.said["agree"]["state"] == "FINALIZED" and told.said["agree"]["contract"].startswith("ctr_")
    answer = told.said["ask"]
    assert answer["columns"] == ["科室", "人次", "平均"]
    assert all(isinstance(row, list) for row in answer["rows"]) and len(answer["plus_minus"]) == 3
    assert isinstance(answer["statistics_left"], int) and answer["receipt"]["type"] == "dujiang-receipt"
    assert json.loads(Path(answer["receipt_file"]).read_text()) == answer["receipt"]


def test_the_answer_is_near_the_truth(told: Told) -> None:
    rows = {row[0]: row[1:] for row in told.said["ask"]["rows"]}
    near = told.said["ask"]["plus_minus"]
    assert list(rows) == sorted(rows) and set(rows) == {"内科", "外科"}
    for count, mean in rows.values():
        assert abs(count - 1500) <= 4 * near[1] and abs(mean - 14.5) < 2


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_the_answer_as_a_file(told: Told, suffix: str) -> None:
    """The same question again is answered the same, at no cost, into a file others can read."""
    out = told.folder / f"答案.{suffix}"
    again = said(told.home, "ask", told.said["agree"]["contract"], SQL, "--out", str(out), "--as", INSURER)
    first = told.said["ask"]
    assert again["rows"] == first["rows"] and again["statistics_left"] == first["statistics_left"]
    if suffix == "csv":
        names, *rows = csv.reader(out.read_text(encoding="utf-8").splitlines())
        assert rows == [[row[0], str(row[1]), str(row[2])] for row in first["rows"]]
    elif suffix == "json":
        listed = json.loads(out.read_text(encoding="utf-8"))
        names = list(listed[0])
        assert [list(each.values()) for each in listed] == first["rows"]
    else:
        read = pyarrow.parquet.read_table(out)
        names = read.column_names
        assert [list(each.values()) for each in read.to_pylist()] == first["rows"]
    assert names == first["columns"]
    receipt = Path(again["receipt_file"])
    assert receipt.parent == told.folder and stat.S_IMODE(receipt.stat().st_mode) == 0o600


def test_a_receipt_verifies_without_a_home(told: Told, tmp_path: Path) -> None:
    """With the key pinned the signer is trusted; a single changed character is exit status 7."""
    receipt, nowhere = Path(told.said["ask"]["receipt_file"]), tmp_path / "nowhere"
    whole = said(nowhere, "verify", str(receipt), "--vkey", told.made["vkey"])
    assert whole["ok"] and whole["trusted"] and whole["signer"] and whole["facts"]["statistics"] > 0
    assert not said(nowhere, "verify", str(receipt))["trusted"]
    text = receipt.read_text()
    leaf = text.index('"leaf"') + 30
    for place in (
        leaf,
        text.index('"path"') + 12,
        text.index('"checkpoint"') + 40,
        text.index('"salt"') + 10,
    ):
        character = "0" if text[place] != "0" else "1"
        (tmp_path / "changed.json").write_text(text[:place] + character + text[place + 1 :])
        changed = said(nowhere, "verify", str(tmp_path / "changed.json"), exit=7)
        assert changed["ok"] is False and changed["code"] in ("not_verified", "not_a_receipt"), place
        assert changed["why"] and changed["fix"]
    other = make(tmp_path / "other")["vkey"]
    assert said(nowhere, "verify", str(receipt), "--vkey", other, exit=7)["code"] == "not_verified"


def both(told: Told, *line: str, exit: int = 0) -> Iterator[tuple[str, Ran]]:
    """A line as people see it, in both languages."""
    for language in ("en", "zh"):
        ran = cli(told.home, *line, "--lang", language)
        assert ran.exit == exit, ran
        yield language, ran


def test_people_read_it_in_their_language(told: Told) -> None:
    contract = told.said["agree"]["contract"]
    for line, word, word_zh in (
        (["ask", contract, SQL, "--as", INSURER], "Receipt", "回执"),
        (["show", contract, "--as", INSURER], "", ""),
        (["show", told.said["ask"]["job"], "--as", INSURER], "", ""),
        (["history", "--limit", "5", "--as", INSURER], "", ""),
        (["doctor", "--port", "0"], "", "引擎"),
    ):
        for language, ran in both(told, *line):
            assert (word_zh if language == "zh" else word) in ran.out + ran.err, (line, language)
            assert "Traceback" not in ran.err
    for language, ran in both(told, "ask", contract, f"select 病案号 from {TABLE}", "--as", INSURER, exit=4):
        assert bool(HANZI.search(ran.err.replace("病案号", "").replace(TABLE, ""))) is (language == "zh")
        assert "^^^" in ran.err


def test_the_refused_question_is_an_entry_that_verifies(told: Told) -> None:
    body = said(
        told.home,
        "ask",
        told.said["agree"]["contract"],
        f"select 病案号 from {TABLE}",
        "--as",
        INSURER,
        exit=4,
    )
    assert body["code"] and body["why"] and body["fix"] and body["where"]["length"] == 3
    facts = said(told.home, "verify", body["receipt_file"], "--vkey", told.made["vkey"])["facts"]
    assert facts["declined"] == body["code"]
    newest = said(told.home, "history", "--limit", "1", "--as", INSURER)["items"][0]
    assert newest["index"] == body["receipt"]["index"] and newest["act"] == "cleanroom.ask"


def test_doctor_finds_this_home_well(told: Told) -> None:
    findings = said(told.home, "doctor", "--port", "0")
    assert all(each["ok"] for each in findings), findings


def test_the_same_over_http_alone(tmp_path: Path) -> None:
    """No command after `init` and `up`: upload, offer, find, agree, ask, prove, with two keys."""
    made = make(tmp_path / "home")
    hospital, insurer = (each["api_key"] for each in made["organisations"])
    with Node(tmp_path / "home") as node:
        sent = node.upload(f"{TABLE}.csv", table(), hospital)
        assert sent.status_code == 201, sent.text
        fields = {"科室": {"uses": ["group", "filter"], "keys": ["内科", "外科"]},
                  "住院天数": {"uses": ["aggregate"], "lo": 0, "hi": 60}}  # fmt: skip
        offer = {
            "upload": sent.json()["upload"],
            "entity": "病案号",
            "terms": {"title": TABLE, "fields": fields},
        }
        offered = node.said("catalogue.offer", offer, hospital)
        found = node.said("catalogue.search", {"words": "门诊"}, insurer)["items"]
        assert [item["product"] for item in found] == [offered["product"]]
        agreed = node.said("contract.request", {"product": offered["product"], "purpose": "分析"}, insurer)
        assert agreed["done"] and agreed["state"] == "FINALIZED"
        asked = node.said("cleanroom.ask", {"contracts": [agreed["contract"]], "sql": SQL}, insurer)
        assert asked["done"] and [row[0] for row in asked["rows"]] == ["内科", "外科"]
        assert abs(asked["rows"][0][1] - 1500) < 300
        shown = node.said("cleanroom.show", {"job": asked["job"]}, hospital)
        assert shown["rows"] == [], "the provider sees that it was asked, not the answer"
        turned = node.post(
            "cleanroom.ask",
            {"contracts": [agreed["contract"]], "sql": f"select 病案号 from {TABLE}"},
            insurer,
        )
        assert turned.status_code == 422 and turned.json()["receipt"]
    (tmp_path / "receipt.json").write_text(json.dumps(asked["receipt"]))
    verdict = said(tmp_path / "nowhere", "verify", str(tmp_path / "receipt.json"), "--vkey", made["vkey"])
    assert verdict["ok"] and verdict["trusted"]
