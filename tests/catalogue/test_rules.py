"""Laws of the index: what is written is found by any of its words, in both scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.catalogue import rules
from dujiang.catalogue.model import SEARCH_TERMS_MAX

HAN = st.text("医院体检血压糖尿病数据", min_size=1, max_size=12)
LATIN = st.text("abcdefgé19", min_size=1, max_size=12)


def found(text: str, words: str) -> bool:
    """Whether a text is found by some words."""
    terms = rules.index_terms(text)
    return all(any(lo <= term < hi for term in terms) for lo, hi in rules.search_ranges(words))


@given(st.lists(HAN | LATIN, min_size=1, max_size=4), st.data())
def test_a_text_is_found_by_any_part_of_its_chinese_and_any_word(
    parts: list[str], data: st.DataObject
) -> None:
    text = " ".join(parts)
    part = data.draw(st.sampled_from(parts))
    if rules.index_terms(part) and part[0] >= "\u4e00":
        start = data.draw(st.integers(0, len(part) - 1))
        part = part[start : data.draw(st.integers(start + 1, len(part)))]
    assert found(text, part)
    assert found(text, part.upper())


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("市立医院体检数据", "体检", True),
        ("市立医院体检数据", "体 数据", True),
        ("市立医院体检数据", "检数", True),
        ("市立医院体检数据", "院医", False),
        ("市立医院体检数据", "血压", False),
        ("blood_pressure of adults", "Pressure", True),
        ("blood_pressure of adults", "press", True),
        ("blood_pressure of adults", "pr", False),
        ("blood_pressure of adults", "of", True),
        ("blood_pressure of adults", "ressure", False),
        ("ＨｂＡ１ｃ　水平", "hba1c", True),
        ("NHANES 2017血压", "2017 血", True),
        ("데이터 목록", "이터", True),
        ("カルテ", "ルテ", True),
    ],
)
def test_what_is_found(text: str, words: str, expected: bool) -> None:
    assert found(text, words) is expected


@given(st.text(max_size=300))
def test_any_search_is_bounded_and_ordered(words: str) -> None:
    ranges = rules.search_ranges(words)
    assert len(ranges) <= SEARCH_TERMS_MAX
    assert all(lo < hi and "\x00" not in lo + hi for lo, hi in ranges)


def test_words_of_a_title_weigh_more_and_terms_are_bounded() -> None:
    weights = rules.weighted_terms(["血压", "pressure"], ["pressure", "age", *map(str, range(9999))])
    assert (weights["血压"], weights["pressure"], weights["age"]) == (1, 1, 0)
    assert len(weights) == rules.TERMS_MAX
