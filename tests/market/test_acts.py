"""The life of money, and every way it must not go: refused or declined, it moved exactly once or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contract
from dujiang.contract import performance
from dujiang.identity import acts as identity
from dujiang.kernel.errors import Declined, Unavailable
from dujiang.kernel.tables import Sql
from dujiang.market import acts as market
from dujiang.market.model import Purse
from dujiang.observatory import acts as observatory
from dujiang.policy.model import Price, Share, TermsFile
from tests.cleanroom.asking import Failing
from tests.life import Life, code_of, opened, rebuilt
from tests.market.trade import PRICE, SQL, accounts, agreed, billed, deposited, funded, right, used


class Found(Exception):
    """Carries what was found out of a transaction that leaves nothing."""


QUESTION = Price("CNY", question_minor=250)
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A node whose operator keeps 10 % of a bill and whose engine can fail."""
    with opened(tmp_path_factory.mktemp("acts")) as made:
        plugs = made.home.node
        config = replace(plugs.config, platform_fee_bp=1000)
        life = replace(
            made, home=rebuilt(made.home, config=config, engine=Failing(plugs.engine, failing=False))
        )
        yield life
        life.home.writer.close()


@pytest.fixture
def life(node: Life) -> Iterator[Life]:
    """The node; after each test its books are right."""
    yield node
    right(node)


def purse(life: Life, amount: int) -> None:
    """Leaves so much on the insurer's balance, in minor units of CNY."""
    has = accounts(life, life.insurer).get("balance", 0)
    ref = f"level-{life.size()}"
    if has > amount:
        ask = market.Withdraw("保险公司", f"{(has - amount) / 100:.2f}", "CNY", ref, Purse.balance)
        life.run("market.withdraw", life.hospital, ask)
    elif has < amount:
        deposited(life, life.insurer, f"{(amount - has) / 100:.2f}", ref)


def allowance(life: Life, on: str) -> tuple[int, int, int]:
    """Available, held and spent of a contract."""
    has = life.run("contract.show", life.insurer, contract.Show(on)).allowance
    return has.available_minor, has.held_minor, has.spent_minor


def test_money_comes_in_is_used_settled_given_back_and_paid_out(life: Life) -> None:
    on = agreed(life)
    before = accounts(life, life.hospital)
    has = funded(life, on, "150.00")
    assert (has.available_minor, has.held_minor, has.spent_minor, has.balance_minor) == (15_000, 0, 0, 0)
    assert used(life, on) == 2
    assert allowance(life, on) == (15_000 - 12_210, 0, 12_210)
    bill = billed(life, on)
    assert [(line.kind, line.quantity, line.unit_minor) for line in bill.lines] == [
        ("agreement", 1, 10_000), ("month", 1, 2_000), ("question", 1, 200), ("row", 2, 5),
    ]  # fmt: skip
    assert (bill.paper, bill.number, bill.amount, bill.state) == ("bill", 1, "122.10 CNY", "open")
    settled = life.run("market.settle", life.hospital, market.Settle(bill.bill))
    assert (settled.state, settled.platform_minor) == ("settled", 1221)
    assert [(part.name, part.amount_minor) for part in settled.earned] == [("市立医院", 10_989)]
    after = accounts(life, life.hospital)
    assert after["payable"] - before.get("payable", 0) == 10_989
    assert after["platform"] - before.get("platform", 0) == 1221
    assert allowance(life, on) == (2790, 0, 0)
    note = life.run("market.refund", life.hospital, market.Refund(bill.bill, "wrong month", 2))
    assert (note.paper, note.amount, note.of, note.number, note.reason) == (
        "credit", "20.00 CNY", bill.bill, 1, "wrong month",
    )  # fmt: skip
    assert allowance(life, on) == (4790, 0, 0)
    released = life.run("market.order", life.insurer, market.Order(on, "47.90", release=True))
    assert (released.available_minor, released.balance_minor) == (0, 4790)
    shown = life.run("market.show", life.insurer, market.Show(bill.bill, uses=True))
    assert (shown.state, shown.credits, shown.platform_minor, shown.earned) == (
        "settled",
        (note.bill,),
        None,
        (),
    )
    assert [(use.kind, use.rows, use.amount_minor) for use in shown.uses] == [
        ("agreement", 0, 10_000), ("month", 0, 2_000), ("question", 2, 210),
    ]  # fmt: skip


def test_what_an_allowance_does_not_cover_is_declined_and_charges_nothing(life: Life) -> None:
    on = agreed(life)
    funded(life, on, "122.09", f"short-{on}")
    quoted = life.run("cleanroom.check", life.insurer, cleanroom.Check((on,), SQL.format(50, 2)))
    (charge,) = quoted.charges
    assert (charge.amount_minor, charge.available_minor, quoted.rows_max) == (12_210, 12_209, 2)
    size = life.size()
    declined = life.run("cleanroom.ask", life.insurer, cleanroom.Ask((on,), SQL.format(50, 2)))
    assert isinstance(declined, Declined) and declined.code.name == "allowance_spent"
    assert declined.names == {"needs": "122.10 CNY", "left": "122.09 CNY"}
    assert life.size() == size + 1 and life.records()[-1].facts["declined"] == "allowance_spent"
    again = life.run("cleanroom.check", life.insurer, cleanroom.Check((on,), SQL.format(50, 2)))
    assert (again.statistics_left, again.statistics) == (quoted.statistics_left, quoted.statistics)
    assert life.run("contract.show", life.insurer, contract.Show(on)).questions_used == 0
    assert allowance(life, on) == (12_209, 0, 0)
    assert used(life, on, limit=1) == 1  # with a row less the same money does


def test_a_free_contract_needs_no_money_and_takes_none(life: Life) -> None:
    on = agreed(life, None)
    assert used(life, on) == 2
    purse(life, 500)
    assert life.refused("market.order", life.insurer, market.Order(on, "1")) == "contract_free"
    assert life.refused("market.bill", life.hospital, market.MakeBill(on)) == "contract_free"
    quoted = life.run("market.quote", life.insurer, market.Quote(contract=on, sql=SQL.format(52, 2)))
    assert (quoted.quote, quoted.amount_minor, quoted.parts) == (None, 0, ())


def test_the_same_question_is_paid_once_and_every_other_is_paid(life: Life) -> None:
    """Also one over the same statistics: a narrower question first does not make the wider one free."""
    on = agreed(life, Price("CNY", row_minor=100))
    funded(life, on, "10", f"same-{on}")
    assert used(life, on, limit=1) == 1
    assert allowance(life, on) == (900, 0, 100)
    assert used(life, on, limit=1) == 1
    assert allowance(life, on) == (900, 0, 100)
    assert used(life, on, limit=2) == 2
    assert allowance(life, on) == (700, 0, 300)
    job = life.run("cleanroom.list", life.insurer, cleanroom.List(limit=1)).items[0]
    assert [(one.amount_minor, one.ended) for one in job.cost] == [(200, True)]


def test_two_equal_questions_at_once_are_held_twice_and_paid_once(life: Life) -> None:
    on = agreed(life, QUESTION)
    funded(life, on, "10", f"twice-{on}")
    jobs = [
        life.run("cleanroom.ask", life.insurer, cleanroom.Ask((on,), SQL.format(50, 2))).job for _ in "ab"
    ]
    assert allowance(life, on) == (500, 500, 0)
    life.quiet()
    assert allowance(life, on) == (750, 0, 250)
    costs = [
        life.run("cleanroom.show", life.insurer, cleanroom.Show(job)).cost[0].amount_minor for job in jobs
    ]
    assert sorted(costs) == [0, 250]


def test_a_failed_question_costs_nothing_but_the_fees_that_fell_due_stay(life: Life) -> None:
    on = agreed(life, PRICE)
    funded(life, on, "130", f"fail-{on}")
    engine: Any = life.home.node.engine
    engine.failing = True
    try:
        failed = life.ask(on, SQL.format(50, 2))
    finally:
        engine.failing = False
    assert isinstance(failed, cleanroom.Answer) and failed.state == "failed"
    assert allowance(life, on) == (1000, 0, 12_000)
    assert [line.kind for line in billed(life, on).lines] == ["agreement", "month"]


@pytest.mark.parametrize("how", ["stop", "terminate"])
def test_a_question_that_is_stopped_costs_nothing(life: Life, how: str) -> None:
    on = agreed(life, QUESTION)
    funded(life, on, "10", f"stop-{on}")
    job = life.run("cleanroom.ask", life.insurer, cleanroom.Ask((on,), SQL.format(50, 2))).job
    assert allowance(life, on) == (750, 250, 0)
    if how == "stop":
        life.run("cleanroom.stop", life.hospital, cleanroom.Stop(job))
    else:
        life.run("contract.terminate", life.hospital, contract.Terminate(on))
        life.quiet()
    assert life.run("cleanroom.show", life.insurer, cleanroom.Show(job)).state == "stopped"
    assert allowance(life, on) == (1000, 0, 0)


def test_a_month_is_charged_with_its_first_question_alone(life: Life) -> None:
    on = agreed(life, Price("CNY", month_minor=300))
    funded(life, on, "10", f"month-{on}")
    used(life, on, 50)
    used(life, on, 51)
    assert allowance(life, on) == (700, 0, 300)
    life.clock.move(62 * DAY_MS)
    used(life, on, 52)
    assert allowance(life, on) == (400, 0, 600)


def test_a_quote_is_ordered_exactly_until_it_expires(life: Life) -> None:
    made = life.offer(TermsFile(price=PRICE), salt=life.size(), people=200)
    before = life.run("market.quote", life.insurer, market.Quote(product=made.product))
    assert (before.amount, before.row_minor) == ("122.00 CNY", 5)
    on = life.agree(made.product)
    exact = life.run("market.quote", life.insurer, market.Quote(contract=on, sql=SQL.format(50, 2)))
    assert (exact.amount, exact.available_minor, exact.rows_max) == ("122.10 CNY", 0, 2)
    purse(life, 30_000)
    order = market.Order(on, quote=before.quote)
    life.clock.move(60 * 60_000)
    assert life.run("market.order", life.insurer, order).available_minor == 12_200
    declined = life.run("cleanroom.ask", life.insurer, cleanroom.Ask((on,), SQL.format(50, 2)))
    assert code_of(declined) is not None
    life.run("market.order", life.insurer, market.Order(on, quote=exact.quote))
    used(life, on)
    other = agreed(life, PRICE)
    assert life.refused("market.order", life.insurer, replace(order, contract=other)) == "quote_differs"
    assert life.refused("market.order", life.insurer, replace(order, quote="quo_x")) == "not_found"
    assert life.refused("market.quote", life.insurer, market.Quote()) == "quote_what"
    life.clock.move(1)
    assert life.refused("market.order", life.insurer, order) == "quote_expired"


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        ({"amount": "5.01"}, "balance_short"), ({"amount": "0.005"}, "amount_unfit"), ({"amount": "0"}, "amount_unfit"),
        ({"amount": "-1"}, "amount_unfit"), ({}, "amount_unfit"),
        ({"amount": "99", "release": True}, "allowance_spent"),
        ({"amount": "1", "currency": "USD"}, "currency_differs"), ({"amount": "1", "contract": "ctr_x"}, "not_found"),
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_is_refused_and_moves_nothing(
    life: Life, ask: dict[str, Any], code: str
) -> None:
    on = agreed(life, QUESTION)
    purse(life, 500)
    deposited(life, life.insurer, "100", f"usd-{life.size()}", "USD")
    assert life.refused("market.order", life.insurer, market.Order(**{"contract": on, **ask})) == code
    assert allowance(life, on) == (0, 0, 0)


def test_a_reference_is_booked_once_and_only_what_is_there_is_paid_out(life: Life) -> None:
    deposited(life, life.rival, "10", "REF-77")
    again = market.Deposit("Rival Clinic", "10", "CNY", " REF-77 ")
    assert life.refused("market.deposit", life.hospital, again) == "reference_used"
    out = market.Withdraw("Rival Clinic", "10.01", "CNY", "REF-77", Purse.balance)
    assert life.refused("market.withdraw", life.hospital, out) == "balance_short"
    assert (
        life.refused("market.withdraw", life.hospital, replace(out, amount="10", currency="USD"))
        == "balance_short"
    )
    assert (
        life.refused("market.withdraw", life.hospital, replace(out, account=Purse.platform))
        == "account_unfit"
    )
    beyond = market.Deposit("Rival Clinic", "999999999999", "CNY", "big")
    for number in range(90):
        life.run("market.deposit", life.hospital, replace(beyond, reference=f"big-{number}"))
    assert life.refused("market.deposit", life.hospital, replace(beyond, reference="over")) == "amount_beyond"
    for number in range(90):
        back = market.Withdraw("Rival Clinic", "999999999999", "CNY", f"big-{number}", Purse.balance)
        life.run("market.withdraw", life.hospital, back)
    assert life.run("market.withdraw", life.hospital, replace(out, amount="10")).balance_minor == 0


def test_shares_are_paid_and_taken_back_to_the_minor_unit(life: Life) -> None:
    shares = (Share("Rival Clinic", 1), Share("省疾控", 1), Share("市立医院", 1))
    on = agreed(life, Price("CNY", question_minor=100, row_minor=1, shares=shares))
    funded(life, on, "5", f"share-{on}")
    used(life, on)
    bill = billed(life, on).bill
    assert life.refused("market.settle", life.hospital, market.Settle(bill)) == "share_unknown"
    assert life.run("market.show", life.hospital, market.Show(bill)).state == "open"
    life.run("identity.register", life.hospital, identity.Register("省疾控", ("provider",)))
    settled = life.run("market.settle", life.hospital, market.Settle(bill))
    # 100: 10 to the operator, 90 in three; 2 rows: 0.2 rounds to 0, then 1 + 1 + 0 in the order of names.
    assert settled.platform_minor == 10
    assert {part.name: part.amount_minor for part in settled.earned} == {
        "Rival Clinic": 31, "市立医院": 31, "省疾控": 30,
    }  # fmt: skip
    parties = life.records()[-1].facts["parties"]
    assert life.rival.org in parties and life.insurer.org in parties
    paid_out = market.Withdraw("省疾控", "0.01", "CNY", f"out-{on}")
    life.run("market.withdraw", life.hospital, paid_out)
    back = market.Refund(bill, "the table was wrong")
    assert life.refused("market.refund", life.hospital, back) == "earned_short"
    assert life.run("market.refund", life.hospital, replace(back, line=2)).amount_minor == 2
    life.run(
        "market.deposit", life.hospital, market.Deposit("省疾控", "0.01", "CNY", f"in-{on}", Purse.payable)
    )
    note = life.run("market.refund", life.hospital, back)
    assert (note.amount_minor, note.platform_minor, note.number) == (100, -10, 3)
    assert life.refused("market.refund", life.hospital, back) == "already_refunded"
    assert life.run("market.show", life.hospital, market.Show(bill)).state == "refunded"
    assert allowance(life, on) == (500, 0, 0)
    assert accounts(life, life.auditor, "省疾控") == {"payable": 0}


def test_a_bill_is_open_then_settled_once_then_given_back_once(life: Life) -> None:
    on = agreed(life, QUESTION)
    funded(life, on, "10", f"once-{on}")
    assert life.refused("market.bill", life.hospital, market.MakeBill(on)) == "nothing_to_bill"
    used(life, on)
    bill = life.run("market.bill", life.hospital, market.MakeBill(on), key=f"bill-{on}").bill
    assert life.run("market.bill", life.hospital, market.MakeBill(on), key=f"bill-{on}").bill == bill
    assert life.refused("market.bill", life.hospital, market.MakeBill(on)) == "nothing_to_bill"
    assert life.refused("market.refund", life.hospital, market.Refund(bill, "x")) == "bill_open"
    life.run("market.settle", life.hospital, market.Settle(bill))
    assert life.refused("market.settle", life.hospital, market.Settle(bill)) == "bill_settled"
    assert life.refused("market.refund", life.hospital, market.Refund(bill, "x", 9)) == "not_found"
    note = life.run("market.refund", life.hospital, market.Refund(bill, "x"))
    for name, ask in (
        ("market.settle", market.Settle(note.bill)),
        ("market.refund", market.Refund(note.bill, "x")),
    ):
        assert life.refused(name, life.hospital, ask) == "not_found"
    for name, ask in (
        ("market.bill", market.MakeBill(on)), ("market.settle", market.Settle(bill)),
        ("market.refund", market.Refund(bill, "x")),
    ):  # fmt: skip
        assert life.refused(name, life.rival, ask) == "not_found"


def test_uses_up_to_a_day_are_billed_and_later_ones_come_next(life: Life) -> None:
    on = agreed(life, QUESTION)
    funded(life, on, "10", f"until-{on}")
    used(life, on, 50)
    today = life.run("market.statement", life.insurer, market.Statement()).until
    life.clock.move(DAY_MS)
    used(life, on, 51)
    first = life.run("market.bill", life.hospital, market.MakeBill(on, today))
    second = billed(life, on)
    assert (first.amount_minor, second.amount_minor) == (250, 250)
    assert (first.first_use, first.last_use, second.first_use, second.last_use) == (1, 1, 2, 2)


def test_the_money_of_an_ended_contract_goes_home(life: Life) -> None:
    on = agreed(life, QUESTION)
    funded(life, on, "10", f"end-{on}")
    used(life, on)
    life.run("contract.terminate", life.insurer, contract.Terminate(on))
    life.quiet()
    assert life.refused("market.order", life.insurer, market.Order(on, "1")) == "contract_not_active"
    life.run("market.order", life.insurer, market.Order(on, "7.50", release=True))
    life.run("market.settle", life.hospital, market.Settle(billed(life, on).bill))
    assert allowance(life, on) == (0, 0, 0)


def test_a_question_over_two_contracts_holds_on_both_or_on_none(life: Life) -> None:
    rich, poor = agreed(life, QUESTION), agreed(life, QUESTION)
    funded(life, rich, "10", f"rich-{rich}")

    def hold(tx: Any) -> Declined | None:
        both = [performance.provided(tx.db, each) for each in (rich, poor)]
        return performance.hold_uses(tx, both, f"job-{rich}", "what", 2)  # type: ignore[arg-type]

    declined = life.at(hold)
    assert code_of(declined) is not None and declined.code.name == "allowance_spent"
    assert allowance(life, rich) == (1000, 0, 0)
    assert life.run("contract.show", life.insurer, contract.Show(rich)).questions_used == 0
    funded(life, poor, "10", f"poor-{poor}")
    assert life.at(hold) is None
    assert allowance(life, rich) == allowance(life, poor) == (750, 250, 0)
    life.at(lambda tx: performance.end_use(tx, f"job-{rich}", 1, done=True))
    assert allowance(life, rich) == allowance(life, poor) == (750, 0, 250)


def test_a_fee_beyond_the_whole_is_refused_before_anything_is_billed(life: Life, tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        wrong = replace(made.home.node.config, platform_fee_bp=10_001)
        other = replace(made, home=rebuilt(made.home, config=wrong))
        on = agreed(other, QUESTION)
        funded(other, on, "5")
        used(other, on)
        assert other.refused("market.bill", other.hospital, market.MakeBill(on)) == "config_malformed"
        other.home.writer.close()


@pytest.mark.parametrize(
    ("statement", "said", "kind"),
    [
        ("UPDATE market_bill SET state = 'open' WHERE id = :bill", "without_object", "settlement"),
        ("UPDATE market_bill SET id = 'bil_other' WHERE id = :bill", "without_entry", "bill"),
    ],
)
def test_a_settled_sum_and_its_entry_are_held_against_each_other(
    life: Life, statement: str, said: str, kind: str
) -> None:
    on = agreed(life, QUESTION)
    funded(life, on, "10", f"held-{on}")
    used(life, on)
    bill = billed(life, on)
    life.run("market.settle", life.hospital, market.Settle(bill.bill))

    def tampered(tx: Any) -> None:
        tx.db.run(Sql(text(statement)), bill=bill.bill)
        raise Found(observatory.reconcile(tx, life.auditor, observatory.Reconcile()))

    before = life.run("observatory.reconcile", life.auditor, observatory.Reconcile()).findings
    assert not {each.kind for each in before} & {"bill", "settlement"}
    with pytest.raises(Found) as raised:
        life.at(tampered)
    found = raised.value.args[0].findings
    assert (said, kind) in {(each.what, each.kind) for each in found}, found


def test_a_disk_that_fills_anywhere_in_a_bill_or_settlement_moves_nothing(life: Life) -> None:
    """The database is given a page more each time, until the act fits; before that it fails whole."""
    on = agreed(life, PRICE)
    funded(life, on, "130", f"disk-{on}")
    used(life, on)
    failed = _until_it_fits(life, "market.bill", market.MakeBill(on))
    assert set(failed) == {"disk_full"}
    (bill,) = [
        one for one in life.run("market.list", life.hospital, market.List()).items if one.contract == on
    ]
    assert allowance(life, on) == (790, 0, 12_210)
    failed = _until_it_fits(life, "market.settle", market.Settle(bill.bill))
    assert set(failed) == {"disk_full"} and allowance(life, on) == (790, 0, 0)
    assert life.run("market.show", life.hospital, market.Show(bill.bill)).state == "settled"


def _until_it_fits(life: Life, name: str, ask: Any) -> list[str]:
    """The codes an act failed with while the database was too small, checking the books after each."""
    connection = life.home.node.database.writing().connection  # type: ignore[attr-defined]
    failed: list[str] = []
    filler = "CREATE TABLE IF NOT EXISTS filler (x)"
    connection.execute(filler)
    size, state = life.size(), accounts(life, life.auditor, "保险公司")
    for room in range(60):
        free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
        pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
        connection.execute(f"PRAGMA max_page_count={pages - free + room if not free else pages + room}")
        try:
            life.run(name, life.hospital, ask)
            break
        except Unavailable as error:
            failed.append(error.code.name)
            assert life.size() == size and accounts(life, life.auditor, "保险公司") == state
        finally:
            connection.execute("PRAGMA max_page_count=1073741823")
        right(life)
    assert life.size() == size + 1
    return failed
