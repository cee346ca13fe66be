"""Any order of deposits, orders, questions, bills, settlements and refunds: the books stay right.

A model of plain integers stands beside the node; every step compares them, and asks the books themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dujiang.contract import performance
from dujiang.kernel.errors import Declined, Refused
from dujiang.market import acts as market
from dujiang.policy.model import Price, Share, TermsFile
from tests.life import Life, opened, rebuilt
from tests.market.trade import right

FEE_BP = 333
PRICES = (
    Price("CNY", question_minor=199, row_minor=7, shares=(Share("Rival Clinic", 1), Share("市立医院", 2))),
    Price("CNY", agreement_minor=1000, month_minor=501, question_minor=3),
    Price("CNY", month_minor=250, row_minor=11),
)
MONTH_MS = 32 * 86_400_000
_lives: list[tuple[Life, list[str]]] = []
_names = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def trade(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One node with a product at each price; an example agrees contracts of its own."""
    from dataclasses import replace

    with opened(tmp_path_factory.mktemp("machine")) as life:
        config = replace(life.home.node.config, platform_fee_bp=FEE_BP)
        life = replace(life, home=rebuilt(life.home, config=config))
        products = [
            life.offer(TermsFile(price=price), salt=salt).product for salt, price in enumerate(PRICES)
        ]
        _lives.append((life, products))
        yield
        _lives.clear()
        life.home.writer.close()


class Trade(RuleBasedStateMachine):
    """One contract, used by one consumer, and what should be on each of its accounts."""

    @initialize(place=st.sampled_from(range(len(PRICES))))
    def begin(self, place: int) -> None:
        """A new contract; whatever earlier examples left on the balance is known."""
        self.life, products = _lives[0]
        self.price = PRICES[place]
        self.contract = self.life.agree(products[place])
        with self.life.home.node.database.reading() as db:
            self.held_by = performance.provided(db, self.contract)
        self.purse = self._on("balance")
        self.available = self.spent = 0
        self.running: dict[str, tuple[int, str]] = {}
        self.bought: set[str] = set()
        self.fees: set[str] = set()
        self.unbilled = 0
        self.open: dict[str, int] = {}
        self.settled: dict[str, dict[int, int]] = {}

    def _on(self, kind: str) -> int:
        listed = self.life.run("market.list", self.life.insurer, market.List(limit=1))
        return sum(one.amount_minor for one in listed.accounts if one.account == kind)

    def _tried(self, name: str, caller: Any, ask: Any) -> Any:
        """The reply, or the code of the refusal as text."""
        try:
            return self.life.run(name, caller, ask)
        except Refused as refused:
            return refused.code.name

    @rule(cents=st.integers(1, 5000), again=st.booleans())
    def deposit(self, cents: int, again: bool) -> None:
        """Money arrives; the same reference a second time changes nothing."""
        ask = market.Deposit("保险公司", f"{cents / 100:.2f}", "CNY", f"ref-{next(_names)}")
        assert self._tried("market.deposit", self.life.hospital, ask).amount
        self.purse += cents
        if again:
            assert self._tried("market.deposit", self.life.hospital, ask) == "reference_used"

    @rule(cents=st.integers(1, 4000), release=st.booleans())
    def order(self, cents: int, release: bool) -> None:
        """Money goes on the contract or comes back; never more than is there."""
        reply = self._tried("market.order", self.life.insurer,
                            market.Order(self.contract, f"{cents / 100:.2f}", release=release))  # fmt: skip
        if cents > (self.available if release else self.purse):
            assert reply == ("allowance_spent" if release else "balance_short")
            return
        self.available += -cents if release else cents
        self.purse += cents if release else -cents

    @rule(what=st.sampled_from("abc"), rows=st.integers(0, 20), later=st.booleans())
    def use(self, what: str, rows: int, later: bool) -> None:
        """A question is admitted, paid in advance, or declined without a trace."""
        if later:
            self.life.clock.move(MONTH_MS)
        job = f"job-{next(_names)}"
        declined = self.life.at(
            lambda tx: (performance.hold_uses(tx, (self.held_by,), job, what, rows), tx.now_ms)
        )
        said, now_ms = declined
        if what in self.bought:
            assert said is None
            return
        fees = self._due(now_ms)
        cost = self.price.question_minor + rows * self.price.row_minor
        if sum(fees.values()) + cost > self.available:
            assert isinstance(said, Declined) and said.code.name == "allowance_spent"
            return
        assert said is None
        self.fees |= fees.keys()
        self.available -= sum(fees.values()) + cost
        self.spent += sum(fees.values())
        self.unbilled += sum(fees.values())
        self.running[job] = (rows, what)

    def _due(self, now_ms: int) -> dict[str, int]:
        from dujiang.contract import rules

        agreed, today = rules.day(self.held_by.agreed_ms), rules.day(now_ms)
        return {
            name: amount for _, name, amount in rules.fees(self.price, agreed, today) if name not in self.fees
        }

    @precondition(lambda self: self.running)
    @rule(data=st.data(), done=st.booleans(), twice=st.booleans())
    def end(self, data: Any, done: bool, twice: bool) -> None:
        """A question ends with some of its rows, or fails; a second end changes nothing."""
        job = data.draw(st.sampled_from(sorted(self.running)))
        most, what = self.running.pop(job)
        rows = data.draw(st.integers(0, most))
        for _ in range(1 + twice):
            self.life.at(lambda tx: performance.end_use(tx, job, rows, done=done))
        held = self.price.question_minor + most * self.price.row_minor
        cost = self.price.question_minor + rows * self.price.row_minor
        charged = cost if done and what not in self.bought else 0
        if done:
            self.bought.add(what)
        self.available += held - charged
        self.spent += charged
        self.unbilled += charged

    @rule()
    def bill(self) -> None:
        """What ended is billed, once."""
        reply = self._tried("market.bill", self.life.hospital, market.MakeBill(self.contract))
        if not self.unbilled:
            assert reply == "nothing_to_bill"
            return
        assert reply.amount_minor == self.unbilled == sum(line.amount_minor for line in reply.lines)
        self.open[reply.bill], self.unbilled = self.unbilled, 0

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: Any) -> None:
        """A bill is paid to its parties, once; the parts are the whole."""
        bill = data.draw(st.sampled_from(sorted(self.open)))
        amount = self.open.pop(bill)
        reply = self._tried("market.settle", self.life.hospital, market.Settle(bill))
        assert reply.platform_minor + sum(part.amount_minor for part in reply.earned) == amount
        assert self._tried("market.settle", self.life.hospital, market.Settle(bill)) == "bill_settled"
        self.spent -= amount
        self.settled[bill] = {line.line: line.amount_minor for line in reply.lines}

    @precondition(lambda self: self.settled)
    @rule(data=st.data(), whole=st.booleans())
    def refund(self, data: Any, whole: bool) -> None:
        """A line or the rest of a bill comes back exactly, once."""
        bill = data.draw(st.sampled_from(sorted(self.settled)))
        left = self.settled[bill]
        line = None if whole else data.draw(st.integers(1, 4))
        reply = self._tried("market.refund", self.life.hospital, market.Refund(bill, "why", line))
        chosen = dict(left) if line is None else {line: left[line]} if line in left else {}
        if not chosen:
            assert reply in ("already_refunded", "not_found")
            return
        assert reply.amount_minor == sum(chosen.values())
        assert reply.platform_minor + sum(part.amount_minor for part in reply.earned) == -reply.amount_minor
        self.available += reply.amount_minor
        for each in chosen:
            left.pop(each)

    @invariant()
    def agrees(self) -> None:
        """The node has what the model has, and says itself that its books are right."""
        held = sum(
            self.price.question_minor + most * self.price.row_minor for most, _ in self.running.values()
        )
        with self.life.home.node.database.reading() as db:
            has = performance.allowance(db, self.held_by)
        assert (has.available_minor, has.held_minor, has.spent_minor) == (self.available, held, self.spent)
        assert self._on("balance") == self.purse
        right(self.life)


Trade.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
test_any_order_of_steps_leaves_the_books_right = Trade.TestCase
