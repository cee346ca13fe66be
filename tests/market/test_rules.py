"""Laws of money: splits are exact, transactions balance, a reversal restores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.kernel.errors import Refused
from dujiang.kernel.money import Money
from dujiang.market import rules
from dujiang.market.model import Account, Bill, BillLine, Cause, Kind, Paper, Posting, State, Transaction
from dujiang.policy.model import Price, Share

NAMES = ("医院", "Lab", "保险", "省疾控")
SHARES = st.lists(
    st.builds(Share, st.sampled_from(NAMES), st.integers(1, 1000)), max_size=4, unique_by=lambda share: share.recipient
).map(tuple)  # fmt: skip
KNOWN = {name: f"org_{place % 3}" for place, name in enumerate(NAMES)}
"""Two of the names are one organisation's."""


def bill(amount: int, fee_bp: int) -> Bill:
    """An open bill of one line."""
    money = Money(amount, "CNY")
    return Bill(
        "bil_1", Paper.bill, "org_p", 1, "org_c", "ctr_1", "prd_1", money, fee_bp, 0, State.open, 1, 1
    )


@given(st.integers(1, 10**12), st.integers(0, rules.BP), SHARES)
def test_a_line_is_split_to_the_last_minor_unit(amount: int, fee_bp: int, shares: tuple[Share, ...]) -> None:
    price = Price("CNY", question_minor=1, shares=shares)
    line = BillLine(1, "question", amount, 1, amount)
    one = rules.balanced(rules.settlement(bill(amount, fee_bp), line, price, KNOWN, "org_o"))
    assert sum(posting.amount_minor for posting in one.postings) == 0
    assert all(posting.amount_minor > 0 for posting in one.postings[1:])
    parts = rules.parts(one.postings)
    fee = parts.pop("platform", 0)
    assert abs(fee * rules.BP - amount * fee_bp) < rules.BP
    assert fee + sum(parts.values()) == amount
    assert set(parts) <= ({KNOWN[share.recipient] for share in shares} or {"org_p"})


@given(st.integers(1, 10**9), st.integers(0, rules.BP), SHARES, st.randoms())
def test_the_order_of_shares_in_the_terms_changes_nothing(amount: int, fee_bp: int, shares, chance) -> None:
    turned = tuple(chance.sample(shares, len(shares)))
    one, two = (
        rules.split(Money(amount, "CNY"), fee_bp, Price("CNY", question_minor=1, shares=each), "p", KNOWN)
        for each in (shares, turned)
    )
    assert one == two


def test_half_a_minor_unit_goes_to_the_provider() -> None:
    price = Price("CNY", question_minor=1)
    assert rules.split(Money(1, "CNY"), 5000, price, "p", {}) == (Money(0, "CNY"), {"p": Money(1, "CNY")})
    assert rules.split(Money(5, "CNY"), 1000, price, "p", {}) == (Money(0, "CNY"), {"p": Money(5, "CNY")})
    assert rules.split(Money(6, "CNY"), 1000, price, "p", {}) == (Money(1, "CNY"), {"p": Money(5, "CNY")})


ACCOUNTS = st.builds(
    Account, st.sampled_from(["a", "b"]), st.sampled_from(Kind), st.sampled_from(["", "ctr_1"])
)


@given(st.lists(st.tuples(ACCOUNTS, st.integers(-(10**9), 10**9)), max_size=6))
def test_postings_balance_or_are_no_transaction(postings: list[tuple[Account, int]]) -> None:
    one = Transaction("t", Cause.settle, "CNY", tuple(Posting(*posting) for posting in postings))
    sums: dict[Account, int] = {}
    for account, amount in postings:
        sums[account] = sums.get(account, 0) + amount
    left = {account: amount for account, amount in sums.items() if amount}
    if sum(left.values()) or len(left) < 2:
        with pytest.raises(ValueError, match="balance"):
            rules.balanced(one)
        return
    made = rules.balanced(one)
    assert {posting.account: posting.amount_minor for posting in made.postings} == left
    back = rules.balanced(rules.reversal(made, "r", "s"))
    assert {posting.account: -posting.amount_minor for posting in back.postings} == left
    assert (back.reverses, back.currency) == ("t", "CNY")


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        ("0", "CNY", "amount_unfit"), ("0.005", "CNY", "amount_unfit"), ("-1", "CNY", "amount_unfit"),
        ("x", "CNY", "amount_unfit"), ("1", "cny", "currency_unfit"), ("1", "CNYX", "currency_unfit"),
        ("1", "=A1", "currency_unfit"),
    ],
)  # fmt: skip
def test_an_amount_that_cannot_be_moved_is_refused_without_its_value(
    amount: str, currency: str, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        rules.money(amount, currency)
    assert (refused.value.code.name, refused.value.names) == (code, {})


@pytest.mark.parametrize("text", ["", "  ", "x" * 101, "a\nb", "a\x00b"])
def test_a_reference_is_short_and_printable(text: str) -> None:
    with pytest.raises(Refused):
        rules.stated(text)


def test_a_period_is_whole_days_of_utc() -> None:
    day = 86_400_000
    assert rules.period("1970-01-02", "1970-01-03", 0) == (day, 3 * day)
    assert rules.period(None, None, 5 * day + 1) == (0, 6 * day)
    for since, until in (("1970-01-03", "1970-01-02"), ("x", None), (None, "9999-12-31")):
        with pytest.raises(Refused):
            rules.period(since, until, 0)
