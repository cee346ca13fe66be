"""What a careless or hostile side can try with money: it moved right, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from dujiang.catalogue import acts as catalogue
from dujiang.ledger import acts as ledger
from dujiang.market import acts as market
from dujiang.market.model import Purse
from dujiang.market.wire import inert
from dujiang.policy.model import TermsFile
from tests.life import Life, opened, rebuilt
from tests.market.trade import PRICE, SQL, accounts, agreed, billed, deposited, funded, right, used


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A node whose operator keeps 10 % of a bill."""
    with opened(tmp_path_factory.mktemp("node")) as one:
        kept = rebuilt(one.home, config=replace(one.home.node.config, platform_fee_bp=1000))
        yield replace(one, home=kept)


def test_a_provider_puts_no_money_on_a_contract_it_provides(life: Life) -> None:
    """An organisation that is provider and consumer: the contract's money is its consumer's alone."""
    upload = life.upload(life.rival, life.size(), 60)
    offer = catalogue.Offer(upload, "编号", TermsFile(price=PRICE))
    on = life.agree(life.run("catalogue.offer", life.rival, offer).product)
    deposited(life, life.insurer, "500", "bank-own")
    deposited(life, life.rival, "500", "bank-rival")
    life.run("market.order", life.insurer, market.Order(on, "200"))
    refused = life.refused("market.order", life.rival, market.Order(on, "50"))
    assert refused == "contract_not_yours_to_use"
    right(life)


def test_a_refund_is_possible_after_the_operator_took_its_fees(life: Life) -> None:
    on = agreed(life)
    funded(life, on, "200", "bank-2")
    used(life, on)
    bill = billed(life, on)
    life.run("market.settle", life.hospital, market.Settle(bill.bill))
    fees = accounts(life, life.auditor, life.hospital.org)["platform"]
    taken = market.Withdraw(
        life.hospital.org, f"{fees // 100}.{fees % 100:02d}", "CNY", "out-1", Purse.platform
    )
    life.run("market.withdraw", life.hospital, taken)
    assert life.refused("market.refund", life.hospital, market.Refund(bill.bill, "wrong")) == "earned_short"
    back = market.Deposit(life.hospital.org, taken.amount, "CNY", "in-1", Purse.platform)
    life.run("market.deposit", life.hospital, back)
    life.run("market.refund", life.hospital, market.Refund(bill.bill, "wrong"))
    right(life)


def test_names_of_files_are_no_formula_in_any_width() -> None:
    for sign in "=+-@＝＋－＠":
        assert inert(f"{sign}cmd|' /C calc'!A0").startswith("'")


def test_who_earned_what_is_in_no_entry_that_the_consumer_sees(life: Life) -> None:
    """`market.show` keeps the split from the consumer; so does the log."""
    on = agreed(life)
    funded(life, on, "200", "bank-3")
    used(life, on)
    bill = billed(life, on)
    settled = life.run("market.settle", life.hospital, market.Settle(bill.bill))
    assert settled.platform_minor
    seen = life.run("ledger.show", life.insurer, ledger.Show(life.records()[-1].index))
    assert seen.act == "market.settle" and "platform_minor" not in seen.facts


def test_a_reference_is_booked_once_however_wide_it_was_typed(life: Life) -> None:
    deposited(life, life.insurer, "1", "ICBC-20261124-7")
    for text in ("ＩＣＢＣ-２０２６１１２４-７", " ICBC－20261124－7 "):
        again = market.Deposit(life.insurer.org, "1", "CNY", text)
        assert life.refused("market.deposit", life.hospital, again) == "reference_used"


def test_a_quote_is_ordered_by_once(life: Life) -> None:
    """Who repeats an order because its answer was lost does not move the money twice."""
    on = agreed(life)
    deposited(life, life.insurer, "500", "bank-4")
    ask = market.Quote(contract=on, sql=SQL.format(50, 2))
    quote = life.run("market.quote", life.insurer, ask).quote
    has = life.run("market.order", life.insurer, market.Order(on, quote=quote))
    assert life.refused("market.order", life.insurer, market.Order(on, quote=quote)) == "quote_expired"
    assert life.run("market.quote", life.insurer, ask).available_minor == has.available_minor
