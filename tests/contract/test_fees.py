"""When fees of a priced contract fall due: once, and once for each month from the agreement that is used."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.contract import rules
from dujiang.contract.model import Kind
from dujiang.policy.model import Price

DAYS = st.dates(date(2000, 1, 1), date(2090, 1, 1))


@given(DAYS, st.integers(0, 2000))
def test_a_month_has_28_to_31_days_and_every_day_is_in_one(agreed: date, later: int) -> None:
    today = agreed + timedelta(days=later)
    begun = rules.month_begun(agreed, today)
    assert agreed <= begun <= today < begun + timedelta(days=31)
    following = rules.month_begun(agreed, begun + timedelta(days=31))
    assert 28 <= (following - begun).days <= 31
    assert rules.month_begun(agreed, following - timedelta(days=1)) == begun


@pytest.mark.parametrize(
    ("agreed", "today", "begun"),
    [
        ("2026-01-31", "2026-01-31", "2026-01-31"), ("2026-01-31", "2026-02-27", "2026-01-31"),
        ("2026-01-31", "2026-02-28", "2026-02-28"), ("2026-01-31", "2026-03-30", "2026-02-28"),
        ("2026-01-31", "2026-03-31", "2026-03-31"), ("2024-02-29", "2025-02-28", "2025-02-28"),
        ("2026-12-15", "2027-01-14", "2026-12-15"), ("2026-12-15", "2027-01-15", "2027-01-15"),
    ],
)  # fmt: skip
def test_a_month_begins_on_the_day_of_the_agreement_or_the_last_there_is(agreed, today, begun) -> None:
    assert rules.month_begun(date.fromisoformat(agreed), date.fromisoformat(today)) == date.fromisoformat(
        begun
    )


def test_only_what_costs_is_a_fee() -> None:
    day = date(2026, 3, 1)
    assert rules.fees(Price("CNY", question_minor=1), day, day) == ()
    assert rules.fees(Price("CNY", agreement_minor=5, month_minor=7), day, day + timedelta(40)) == (
        (Kind.agreement, "agreement", 5), (Kind.month, "month-2026-04-01", 7),
    )  # fmt: skip
