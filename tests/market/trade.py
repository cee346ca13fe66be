"""A priced product and what is done with it, for tests of money."""

from __future__ import annotations

from typing import Any

from dujiang.kernel.act import Caller
from dujiang.kernel.errors import Declined
from dujiang.market import acts as market
from dujiang.policy.model import Price, TermsFile
from tests.life import Life

PRICE = Price("CNY", agreement_minor=10_000, month_minor=2_000, question_minor=200, row_minor=5)
SQL = "select 性别, count(*) as n from 就诊 where 体重 > {} group by 性别 limit {}"


def agreed(life: Life, price: Price | None = PRICE, people: int = 200, **terms: Any) -> str:
    """The id of the insurer's active contract for a product at a price; a table of its own each time."""
    return life.agree(life.offer(TermsFile(price=price, **terms), salt=life.size(), people=people).product)


def deposited(
    life: Life, caller: Caller, amount: str, reference: str, currency: str = "CNY"
) -> market.Booked:
    """An organisation credited by the operator."""
    return life.run("market.deposit", life.hospital, market.Deposit(caller.org, amount, currency, reference))


def funded(life: Life, contract: str, amount: str, reference: str = "bank-1") -> market.Ordered:
    """A contract with money on it that came in just now."""
    deposited(life, life.insurer, amount, reference)
    return life.run("market.order", life.insurer, market.Order(contract, amount))


def used(life: Life, contract: str, kg: int = 50, limit: int = 2) -> int:
    """How many rows a question gave; it was asked, paid and answered."""
    reply = life.ask(contract, SQL.format(kg, limit))
    assert not isinstance(reply, Declined), reply
    assert reply.state == "done"
    return len(reply.rows)


def billed(life: Life, contract: str) -> market.Shown:
    """The bill of what was used."""
    return life.run("market.bill", life.hospital, market.MakeBill(contract))


def accounts(life: Life, caller: Caller, org: str | None = None) -> dict[str, int]:
    """What is on an organisation's accounts in CNY, by kind, contracts together."""
    found: dict[str, int] = {}
    for one in life.run("market.list", caller, market.List(org)).accounts:
        if one.currency == "CNY":
            found[one.account] = found.get(one.account, 0) + one.amount_minor
    return found


def right(life: Life) -> None:
    """The books are right, as they say themselves."""
    checked = life.run("market.check", life.auditor, market.Check())
    assert checked.right, checked.problems
