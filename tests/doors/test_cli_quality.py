"""Grading on the command line: rules in a file of TOML, their evidence, and documents to publish."""

from __future__ import annotations

from pathlib import Path

from tests.doors.shell import INSURER, Life, dujiang, files, home, life
from tests.house.source import fail_with

__all__ = ["dujiang", "files", "home", "life"]  # fixtures

RULES = """
[[quality]]
property = "身高"
metric = "invalidValues"
arguments = { minimum = 150, maximum = 180 }
mustBeLessOrEqualTo = 30
unit = "percent"

[[quality]]
property = "编号"
metric = "duplicateValues"

[[quality]]
metric = "rowCount"
mustBe = 2000
"""


def test_declared_rules_come_from_a_file_and_their_evidence_is_told(life: Life, tmp_path: Path) -> None:
    version = life.shell.json("show", life.product)["quality"]
    assert version is None
    registered = _registered(life)
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES, encoding="utf-8")
    said = life.shell.json("grade", registered, "--rules", str(rules))
    told = [
        (e["check"], e["checked"], e["failed"], e["kept"]) for e in said["graded"]["rules"] if e["declared"]
    ]
    assert told == [("in_range", 2000, 450, True), ("unique", 2000, 0, True), ("row_count", 2000, 0, True)]
    assert said["public"]["rules_declared"] == 3 and said["receipt"]
    seen = life.shell.json("find", "体检", "--as", INSURER)["items"][0]
    assert (seen["grade"], seen["formula"]) == (said["public"]["grade"], said["public"]["formula"])


def test_a_wrong_rule_is_refused_by_its_field_and_without_its_value(life: Life, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES.replace("minimum = 150", 'minimum = "一百五"'), encoding="utf-8")
    ran = life.shell("grade", _registered(life), "--rules", str(rules), "--json", ok=False)
    assert ran.exit == 2 and ran.body["code"] == "rules_wrong"
    assert "quality[0].arguments.minimum" in ran.body["why"] and "一百五" not in ran.out + ran.err
    rules.write_text("[[quality]\n", encoding="utf-8")
    ran = life.shell("grade", _registered(life), "--rules", str(rules), "--json", ok=False)
    assert ran.body["code"] == "file_unreadable"


def test_card_and_contract_are_printed_for_a_program(life: Life) -> None:
    registered = _registered(life)
    life.shell.json("grade", registered)
    card = life.shell.json("quality", "export", registered)["document"]
    contract = life.shell.json("quality", "export", registered, "--form", "odcs")["document"]
    assert card["conformsTo"] == "http://mlcommons.org/croissant/1.1" and contract["apiVersion"] == "v3.1.0"
    missing = [
        each for each in ("编号", "性别", "身高") if each not in str(card) or each not in str(contract)
    ]
    fail_with(missing, "a document names every column")


def _registered(life: Life) -> str:
    """The registered version of the product."""
    entries = life.shell.json("history", "--limit", "200")["items"]
    return next(str(each["facts"]["version"]) for each in entries if each["act"] == "catalogue.offer")
