"""The diagram of flows: one scale, everything in words too, nothing that a page's policy would refuse."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.doors.sankey import sankey
from dujiang.observatory import rules
from dujiang.observatory.acts import Figures
from dujiang.observatory.model import By, Cell

SVG = "{http://www.w3.org/2000/svg}"
PAIRS = {"35-44": 60, "35-11": 5, "11-44": 30, "44-44": 5, "none-35": 1}


def figures(pairs: dict[str, int], total: int | None = None, hidden: int = 0) -> Figures:
    """Figures by province with these flows."""
    whole = sum(pairs.values()) if total is None else total
    cells = [Cell("total", "Total", "合计", 0, whole, suppressed=False)]
    cells.append(Cell("across", "Between provinces", "跨省", 1, whole, suppressed=False))
    cells += [
        Cell(key, *rules.label(By.province, key, {}), 2, value, suppressed=False)
        for key, value in pairs.items()
    ]
    cells += [Cell(f"37-4{n}", "a → b", "甲 → 乙", 2, None, suppressed=True) for n in range(hidden)]
    return Figures(
        "province", "questions", "questions", "published", tuple(cells), None, "2026-11-24", hidden, 9, 9, 9, None
    )  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_flow_is_drawn_and_said(language: str) -> None:
    svg = sankey(figures(PAIRS), language)
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg" and root.get("role") == "img"
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None and desc is not None and title.text and desc.text
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    bands = root.findall(f"{SVG}path")
    assert len(bands) == len(PAIRS)
    for key, value in PAIRS.items():
        here, there = rules.label(By.province, key, {})[language == "zh"].split(" → ")
        assert f"{here} → {there}: {value}" in [band.findtext(f"{SVG}title") for band in bands]
        assert re.search(f"{here} (to|至) {there}(: |：){value}", desc.text)


def test_nothing_in_it_is_run_fetched_or_styled() -> None:
    svg = sankey(figures(PAIRS, hidden=2))
    assert not re.search(r"<script|style=|<style|href|url\(|on[a-z]+=", svg)
    assert svg.count("http") == 1


def test_names_are_text_and_not_markup() -> None:
    cell = Cell("35-44", "<b>x</b> → &y", "甲 → 乙", 2, 3, suppressed=False)
    svg = sankey(Figures(
        "province", "questions", "questions", "own", (cell,), None, "2026-11-24", 0, 2, 1, 1, None
    ), name='a"b')  # fmt: skip
    assert "<b>" not in svg and ElementTree.fromstring(svg).get("aria-labelledby") == 'a"b-title a"b-desc'


def test_what_is_withheld_is_one_band() -> None:
    root = ElementTree.fromstring(sankey(figures({"35-44": 60}, total=100, hidden=3)))
    assert [band.findtext(f"{SVG}title") for band in root.findall(f"{SVG}path")] == [
        "Fujian → Guangdong: 60", "withheld → withheld: 40",
    ]  # fmt: skip
    assert "3 figures are withheld" in (root.findtext(f"{SVG}desc") or "")


def test_a_diagram_without_flows_says_so() -> None:
    for language, said in (("en", "No flows yet."), ("zh", "暂无流通。")):
        root = ElementTree.fromstring(sankey(figures({}), language))
        assert root.findtext(f"{SVG}text") == said


@given(st.dictionaries(st.sampled_from([f"{a}-{b}" for a in (11, 35, 44, 50) for b in (11, 35, 44)]),
                       st.integers(1, 10**12), min_size=1))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_bars_are_as_high_as_their_bands_and_do_not_overlap(pairs: dict[str, int]) -> None:
    root = ElementTree.fromstring(sankey(figures(pairs)))
    height = float(str(root.get("viewBox")).split()[3])
    for x in sorted({bar.get("x") for bar in root.findall(f"{SVG}rect")}, key=str):
        at = 0.0
        for bar in root.findall(f"{SVG}rect"):
            if bar.get("x") == x:
                assert float(str(bar.get("y"))) >= at
                at = float(str(bar.get("y"))) + float(str(bar.get("height")))
        assert at <= height
    texts = [
        float(str(text.get("y"))) for text in root.findall(f"{SVG}text") if text.get("text-anchor") == "end"
    ]
    assert all(after - before >= 13 for before, after in zip(texts, texts[1:], strict=False))


def contrast(colour: str) -> float:
    """The contrast of a colour with white (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def test_colours_stand_out() -> None:
    colours = set(re.findall('fill="(#[0-9a-f]{6})"', sankey(figures(PAIRS))))
    assert len(colours) >= 4 and all(contrast(colour) >= 4.5 for colour in colours)
