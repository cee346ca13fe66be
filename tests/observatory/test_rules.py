"""Periods, the places of flows, growth and concentration against other ways to compute them."""

from __future__ import annotations

from datetime import date, timedelta
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.identity.model import PROVINCES
from dujiang.kernel.errors import Refused
from dujiang.ledger.model import Sum
from dujiang.observatory import rules
from dujiang.observatory.disclosure import Node
from dujiang.observatory.model import By

PLACES = ("", *list(PROVINCES)[:4])
AMOUNTS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2), st.integers(1, 10**9), min_size=1, max_size=30
)


def days(first: str, last: str) -> rules.Period:
    """The period between two ISO dates."""
    begin, end = ((date.fromisoformat(text) - date(1970, 1, 1)).days for text in (first, last))
    return rules.Period(begin, end)


@pytest.mark.parametrize(
    ("text", "now", "before"),
    [
        ("2026", days("2026-01-01", "2026-12-31"), days("2025-01-01", "2025-12-31")),
        ("2026-01", days("2026-01-01", "2026-01-31"), days("2025-12-01", "2025-12-31")),
        ("2026-12", days("2026-12-01", "2026-12-31"), days("2026-11-01", "2026-11-30")),
        ("2024-02", days("2024-02-01", "2024-02-29"), days("2024-01-01", "2024-01-31")),
        ("2026-03-01", days("2026-03-01", "2026-03-01"), days("2026-02-28", "2026-02-28")),
        ("2026-11-10..2026-11-12", days("2026-11-10", "2026-11-12"), days("2026-11-07", "2026-11-09")),
        ("2026-01..2026-02", days("2026-01-01", "2026-02-28"), days("2025-11-03", "2025-12-31")),
    ],
)
def test_a_period_and_the_one_before_it(text: str, now: rules.Period, before: rules.Period) -> None:
    assert rules.period_of(text) == (now, before)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "26",
        "2026-13",
        "2026-1",
        "2026-02-30",
        "2026-11-12..2026-11-10",
        "2026..",
        "..2026",
        "0000",
        "0001",
        "1969-12-31",
        "٢٠٢٦",
    ],
)
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        rules.period_of(text)
    assert refused.value.code.name == "period_unfit"


@given(st.dates(date(1971, 1, 1), date(2999, 1, 1)))
def test_periods_lie_against_each_other_without_gap_or_overlap(day: date) -> None:
    for text in (day.isoformat(), day.isoformat()[:7], day.isoformat()[:4]):
        now, before = rules.period_of(text)
        assert before.last == now.first - 1 and before.days >= 1
        assert now.first <= (day - date(1970, 1, 1)).days <= now.last
    assert rules.day_text((day - date(1970, 1, 1)).days) == day.isoformat()


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(PLACES), st.integers(1, 99)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_each_node_is_the_sum_of_its_parts_and_leads_to_the_flows_it_is_made_of(
    flows: list[tuple[str, str, int]],
) -> None:
    sums = [
        Sum(side, f"o{n}", 0, value, 1, (a, b))
        for n, (a, b, value) in enumerate(flows)
        for side in (False, True)
    ]
    root = rules.table(By.province, sums)
    assert root.value == sum(value for *_, value in flows) and root.entries == len(flows)
    for node in root.walk():
        assert not node.children or node.value == sum(child.value for child in node.children.values())
        only, narrow = rules.sought(By.province, node.key)
        assert narrow is None
        assert node.value == sum(value for a, b, value in flows if matches(only, a, b)), node.key
    for leaf in root.leaves() if flows else []:
        assert leaf.value == sum(leaf.parties.providers.values()) == sum(leaf.parties.consumers.values())


def matches(only: dict[str, str], here: str, there: str) -> bool:
    """Whether a flow is one that the log is asked for."""
    kind = "unstated" if not (here and there) else "within" if here == there else "across"
    has = {"from_province": here, "to_province": there, "kind": kind}
    return all(has[name] == value for name, value in only.items())


@pytest.mark.parametrize(
    "key", ["", "35", "35-", "-35", "99-35", "35-99", "*-35", "*-*", "35-44-11", "elsewhere"]
)
def test_a_key_of_no_cell_is_refused(key: str) -> None:
    with pytest.raises(Refused) as refused:
        rules.sought(By.province, key)
    assert refused.value.code.name == "cell_unfit"
    with pytest.raises(Refused):
        rules.sought(By.month, "November")


def test_the_first_and_the_last_period_there_are() -> None:
    assert rules.period_of("1970") == (days("1970-01-01", "1970-12-31"), days("1969-01-01", "1969-12-31"))
    whole, before = rules.period_of("1970..9998")
    assert whole.last == days("9998-12-31", "9998-12-31").last and before == rules.Period(0, -1)


def test_times_narrow_the_period() -> None:
    assert rules.sought(By.month, "2026-11") == ({}, days("2026-11-01", "2026-11-30"))
    assert rules.sought(By.day, "2026-11-24") == ({}, days("2026-11-24", "2026-11-24"))
    assert rules.sought(By.purpose, "none") == ({"purpose": ""}, None)
    assert rules.sought(By.month, "total") == ({}, None)


@given(AMOUNTS, st.integers(1, 5))
def test_concentration_is_what_its_definitions_say(amounts: dict[str, int], top: int) -> None:
    found = rules.concentration(amounts, top)
    assert found is not None
    values = sorted(amounts.values(), reverse=True)
    shares = [value / sum(values) for value in values]
    assert found.providers == len(values) and found.top == min(top, len(values))
    assert found.share_percent == pytest.approx(100 * sum(shares[:top]), abs=0.01)
    assert found.hhi == pytest.approx(sum(share**2 for share in shares), abs=1e-5)
    assert 1 / len(values) - 1e-6 <= found.hhi <= 1
    differences = mean(abs(a - b) for a in values for b in values)
    assert found.gini == pytest.approx(differences / (2 * mean(values)), abs=1e-5)
    rest = values[top:]
    expected = mean(values[:top]) / mean(rest) if rest else None
    assert found.ratio_of_means == (None if expected is None else pytest.approx(expected, rel=1e-3, abs=0.01))
    assert rules.concentration({name: 2 * value for name, value in amounts.items()}, top) == found


def test_equal_providers_are_not_concentrated() -> None:
    found = rules.concentration({str(n): 7 for n in range(10)}, 3)
    assert found is not None and (found.gini, found.hhi, found.ratio_of_means) == (0, 0.1, 1)
    assert rules.concentration({}, 3) is None and rules.concentration({"a": -1}, 3) is None


def test_the_survey_s_ratio() -> None:
    """Three of 140 times what each of the others has."""
    amounts = {f"large{n}": 1400 for n in range(3)} | {f"small{n}": 10 for n in range(97)}
    found = rules.concentration(amounts, 3)
    assert found is not None and found.ratio_of_means == 140


def test_growth_is_told_only_where_both_figures_are() -> None:
    now, before = Node("a", 150), Node("a", 100)
    assert rules.growth_percent(now, before) == 50
    assert rules.growth_percent(before, now) == -33.3
    assert rules.growth_percent(now, None) is None and rules.growth_percent(now, Node("a", 0)) is None
    for hidden in (Node("a", 100, hidden=True),):
        assert rules.growth_percent(now, hidden) is None and rules.growth_percent(hidden, now) is None


def test_a_month_is_compared_with_the_month_before() -> None:
    assert rules.key_before(By.month, "2026-01") == "2025-12"
    assert rules.key_before(By.day, "2026-03-01") == "2026-02-28"
    assert rules.key_before(By.purpose, "train") == "train" and rules.key_before(By.month, "total") == "total"


def test_every_province_and_purpose_has_both_names() -> None:
    for key in ("across", "within", "unstated", "35-*", "35-44", "35-none", "35", "none"):
        english, chinese = rules.label(By.province, key, {})
        assert english and chinese and english != chinese
    assert rules.label(By.purpose, "train", {}) == ("train", "训练")
    assert rules.label(By.purpose, "other", {}) == ("other", "其他")
    assert date(1970, 1, 1) + timedelta(days=20_000) == date.fromisoformat(rules.day_text(20_000))
