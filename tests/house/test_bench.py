"""The published numbers have the promised shape and come from a run."""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

import pytest
from bench import page
from bench.__main__ import FAMILIES
from bench.figure import RESULTS, Figure, holds, keep, read, rounded

from tests.house.source import fail_with

FIELDS = ("name", "value", "unit", "goal", "met", "beside")


def rows() -> list[dict[str, Any]]:
    """The figures as they are published."""
    return read()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["name"])
def test_a_figure_has_its_fields_and_is_judged_by_its_own_goal(row: dict[str, Any]) -> None:
    assert tuple(row) == FIELDS
    assert isinstance(row["name"], str) and row["name"]
    assert isinstance(row["value"], (int, float)) and not isinstance(row["value"], bool)
    assert isinstance(row["unit"], str) and isinstance(row["beside"], dict)
    if row["goal"] is None:
        assert row["met"] is None
    else:
        assert re.fullmatch(r"[≤≥=] \d+(\.\d+)?", row["goal"])
        assert row["met"] is holds(row["value"], row["goal"])


def test_every_figure_promised_is_on_the_page_and_none_else_in_the_results() -> None:
    names = [row["name"] for row in rows()]
    assert names == [name for name in page.ORDER if name in names] and names
    text = page.PAGE.read_text("utf-8")
    fail_with([name for name in page.ORDER if text.count(f"| {name} |") != 1], "one row for every figure")


def test_the_page_is_what_the_results_draw() -> None:
    text = page.PAGE.read_text("utf-8")
    assert text == page.drawn(text, rows()), "run `make bench`, or python -m bench.page"


def test_a_miss_is_named_in_the_text() -> None:
    _, _, told = page.PAGE.read_text("utf-8").partition("## What is missed")
    missing = [row["name"] for row in rows() if row["met"] is False and row["name"] not in told]
    fail_with(missing, "docs/BENCHMARKS.md says why a goal is missed")


def test_a_goal_is_judged_as_the_value_is_printed() -> None:
    assert Figure("a", 0.3004, "s", "≤ 0.3").met is True
    assert Figure("a", 0.3006, "s", "≤ 0.3").met is False
    assert Figure("a", 1199.6, "1/s", "≥ 1200").met is True
    assert Figure("a", 1199.4, "1/s", "≥ 1200").met is False
    assert Figure("a", 0.999, "", "= 1").met is False
    assert Figure("a", 7, "s").met is None
    assert rounded(0.0012345) == 0.00123 and rounded(12345.6) == 12346


def test_keeping_a_figure_replaces_only_itself(tmp_path: Any) -> None:
    path = tmp_path / "results.json"
    keep([Figure("b", 1, "s"), Figure("a", 2, "s")], ("a", "b"), path)
    keep([Figure("b", 3, "s", None, {"x": 0.00123456})], ("a", "b"), path)
    kept = json.loads(path.read_text("utf-8"))
    assert [(row["name"], row["value"]) for row in kept] == [("a", 2), ("b", 3)]
    assert kept[1]["beside"] == {"x": 0.00123}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_finds_what_it_measures(family: str) -> None:
    assert callable(importlib.import_module(f"bench.{family}").figures)


def test_results_are_beside_the_benchmarks() -> None:
    assert RESULTS.parent.name == "bench" and RESULTS.is_file()
