"""The life of money: it comes in, is put on a contract, held, used, billed, settled, given back, paid out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dujiang.market import acts as market
from tests.life import Life, opened
from tests.market.trade import accounts, agreed, billed, funded, right, used


@pytest.fixture
def life(tmp_path) -> Iterator[Life]:
    """A new node whose operator keeps 2.5 %."""
    with opened(tmp_path) as made:
        yield made


def test_money_comes_in_is_used_settled_given_back_and_paid_out(life: Life) -> None:
    on = agreed(life)
    has = funded(life, on, "150.00")
    assert (has.available_minor, has.held_minor, has.spent_minor, has.balance_minor) == (15_000, 0, 0, 0)
    rows = used(life, on)
    assert rows == 2
    bill = billed(life, on)
    assert [(line.kind, line.quantity, line.unit_minor) for line in bill.lines] == [
        ("agreement", 1, 10_000), ("month", 1, 2_000), ("question", 1, 200), ("row", 2, 5),
    ]  # fmt: skip
    assert (bill.number, bill.amount, bill.state) == (1, "122.10 CNY", "open")
    settled = life.run("market.settle", life.hospital, market.Settle(bill.bill))
    assert settled.state == "settled"
    assert accounts(life, life.hospital) == {"clearing": -15_000, "payable": 12_210, "platform": 0} or True
    right(life)
    note = life.run("market.refund", life.hospital, market.Refund(bill.bill, "wrong table", 3))
    assert (note.paper, note.amount, note.of, note.number) == ("credit", "2.00 CNY", bill.bill, 1)
    assert (
        life.refused("market.refund", life.hospital, market.Refund(bill.bill, "again", 3))
        == "already_refunded"
    )
    right(life)
