"""Money is exact: it splits to the last minor unit, and is written and read without loss."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.kernel.money import Money, decimal, minor

AMOUNTS = st.integers(0, 10**12 - 1)
CURRENCIES = st.sampled_from(["CNY", "USD", "JPY", "KWD"])
WEIGHTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=8).filter(any).map(tuple)


@given(AMOUNTS, WEIGHTS)
def test_a_split_sums_exactly_and_is_fair_to_a_minor_unit(amount: int, weights: tuple[int, ...]) -> None:
    shares = Money(amount, "CNY").split(weights)
    assert sum(share.amount_minor for share in shares) == amount
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share.amount_minor * sum(weights) - amount * weight) < sum(weights)
        assert share.amount_minor == 0 or weight > 0


def test_an_odd_unit_goes_to_the_largest_remainder_and_a_tie_to_the_earlier() -> None:
    def split(amount: int, *weights: int) -> list[int]:
        return [share.amount_minor for share in Money(amount, "CNY").split(weights)]

    assert split(1, 1, 1) == [1, 0]
    assert split(100, 1, 1, 1) == [34, 33, 33]
    assert split(10, 3, 1) == [8, 2]  # 7.5 and 2.5
    assert split(11, 1, 2) == [4, 7]  # 3.67 and 7.33
    assert split(0, 5, 1) == [0, 0]


@pytest.mark.parametrize("weights", [(), (0, 0), (1, -1)])
def test_weights_that_split_nothing_are_no_weights(weights: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="weights"):
        Money(1, "CNY").split(weights)


def test_two_currencies_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="currencies"):
        _ = Money(1, "CNY") + Money(1, "USD")
    with pytest.raises(ValueError, match="capital"):
        Money(1, "cny")


@given(AMOUNTS, CURRENCIES)
def test_what_is_written_is_read_back(amount: int, currency: str) -> None:
    assert minor(decimal(amount, currency), currency) == amount
    assert decimal(-amount, currency) == (f"-{decimal(amount, currency)}" if amount else decimal(0, currency))


@pytest.mark.parametrize(
    ("text", "currency", "found"),
    [
        ("12.50", "CNY", 1250), ("12.5", "CNY", 1250), ("12", "CNY", 1200), ("0.01", "CNY", 1), ("7", "JPY", 7),
        ("1.234", "KWD", 1234), ("0.005", "CNY", None), ("1.5", "JPY", None), ("-1", "CNY", None), ("+1", "CNY", None),
        ("1e3", "CNY", None), ("01", "CNY", None), (".5", "CNY", None), ("5.", "CNY", None), ("1,000", "CNY", None),
        ("", "CNY", None), ("NaN", "CNY", None), ("１", "CNY", None), ("9" * 13, "CNY", None), ("1 ", "CNY", None),
    ],
)  # fmt: skip
def test_an_amount_is_read_exactly_or_not_at_all(text: str, currency: str, found: int | None) -> None:
    assert minor(text, currency) == found
