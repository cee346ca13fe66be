"""Money and the log, each without the other: whatever was planted on either side is named, in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from dujiang.cleanroom import acts as cleanroom
from dujiang.kernel.errors import DatabaseLost
from dujiang.kernel.tables import Sql
from dujiang.market import acts as market
from dujiang.observatory import acts as observatory
from dujiang.plugs.sqlite import DISK_FULL
from tests.life import Life, opened
from tests.market.trade import SQL, agreed, billed, funded, used


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Money that came in, was put on a contract, held, charged, billed, settled, refunded and paid out."""
    with opened(tmp_path_factory.mktemp("money")) as made:
        on = agreed(made)
        funded(made, on, "500.00")
        used(made, on)
        used(made, on, kg=55)
        bill = billed(made, on).bill
        made.run("market.settle", made.hospital, market.Settle(bill))
        made.run("market.refund", made.hospital, market.Refund(bill, "one line", 1))
        made.run("market.order", made.insurer, market.Order(on, "10.00", release=True))
        made.run("market.withdraw", made.hospital, market.Withdraw("市立医院", "1.00", "CNY", "bank-9"))
        used(made, on, kg=60)
        billed(made, on)
        made.run("cleanroom.ask", made.insurer, cleanroom.Ask((on,), SQL.format(65, 2)))
        yield made


class Found(Exception):
    """Carries what was found out of a transaction that is taken back."""

    def __init__(self, found: observatory.Reconciled) -> None:
        self.found = found


def planted(life: Life, *work: Any) -> set[tuple[str, str]]:
    """What is named once statements were run, or entries appended; all is taken back."""

    def done(tx: Any) -> None:
        for each in work:
            if isinstance(each, str):
                tx.db.run(Sql(text(each)))
            else:
                each(tx)
        raise Found(observatory.reconcile(tx, life.auditor, observatory.Reconcile(limit=1000)))

    with pytest.raises(Found) as raised:
        life.at(done)
    found = raised.value.found
    assert found.agrees == (not found.findings)
    return {(each.what, each.kind) for each in found.findings}


def test_money_and_log_agree_to_the_last_minor_unit(life: Life) -> None:
    found = life.run("observatory.reconcile", life.auditor, observatory.Reconcile())
    assert found.findings == ()
    assert found.objects["bill"] == 3 and found.objects["settlement"] == 1 and found.objects["payment"] == 6
    assert found.objects["hold"] == 4 and found.objects["use"] == 3 and found.objects["fee"] == 1


_OF = "(SELECT no FROM market_transaction WHERE cause = '{cause}' ORDER BY no LIMIT 1)"


def gone(cause: str) -> tuple[str, str]:
    """A transaction that is gone, with its postings."""
    one = _OF.format(cause=cause)
    return (
        f"DELETE FROM market_posting WHERE no = {one}",
        f"DELETE FROM market_transaction WHERE no = {one}",
    )


def elsewhere(cause: str) -> str:
    """A transaction that names an entry which does not tell it."""
    return f"UPDATE market_transaction SET entry = 0 WHERE no = {_OF.format(cause=cause)}"


def changed(cause: str) -> str:
    """A transaction of which both sides are larger by 1, so that it still balances."""
    return (
        "UPDATE market_posting SET amount_minor = amount_minor + CASE WHEN amount_minor > 0 THEN 1 ELSE -1 END "
        f"WHERE no = {_OF.format(cause=cause)}"
    )


CAUSES = ("deposit", "withdraw", "order", "release")


@pytest.mark.parametrize("cause", CAUSES)
def test_a_payment_of_which_only_the_entry_is_left_is_named(life: Life, cause: str) -> None:
    assert planted(life, *gone(cause)) == {("without_object", "payment")}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_payment_without_an_entry_is_named(life: Life, cause: str) -> None:
    assert planted(life, elsewhere(cause)) == {("without_entry", "payment"), ("without_object", "payment")}


@pytest.mark.parametrize("cause", [*CAUSES, "settle"])
def test_a_payment_of_another_amount_is_named(life: Life, cause: str) -> None:
    assert ("differs", "payment") in planted(life, changed(cause))


PLANTED: dict[str, tuple[str, set[tuple[str, str]]]] = {
    "a settled sum without its entry": (
        "UPDATE market_bill SET state = 'settled' WHERE state = 'open'", {("without_entry", "settlement")},
    ),
    "an entry of a settled sum without the row": (
        "UPDATE market_bill SET state = 'open' WHERE state <> 'open' AND paper = 'bill'",
        {("without_object", "settlement")},
    ),
    "a bill of another amount": (
        "UPDATE market_bill SET amount_minor = amount_minor + 1 WHERE state = 'open'", {("differs", "bill")},
    ),
    "a settled bill of another amount": (
        "UPDATE market_bill SET amount_minor = amount_minor + 1 WHERE paper = 'bill' AND state <> 'open'",
        {("differs", "bill"), ("differs", "settlement")},
    ),
    "a credit note that is gone": ("DELETE FROM market_bill WHERE paper = 'credit'", {("without_object", "bill")}),
    "a bill without an entry": (
        "UPDATE market_bill SET id = 'bil_x' WHERE state = 'open'",
        {("without_entry", "bill"), ("without_object", "bill")},
    ),
    "a use that cost another amount": (
        "UPDATE contract_use SET amount_minor = amount_minor + 1 WHERE kind = 'question' AND no IS NOT NULL",
        {("differs", "use")},
    ),
    "a use that is gone": (
        "DELETE FROM contract_use WHERE kind = 'question' AND no IS NULL", {("without_object", "hold")},
    ),
    "a use without an entry": (
        "UPDATE contract_use SET id = 'job_x' WHERE kind = 'question' AND no IS NULL",
        {("without_entry", "hold"), ("without_object", "hold")},
    ),
    "a use that ended without an entry": (
        "UPDATE contract_use SET no = 9999 WHERE kind = 'question' AND no IS NULL", {("without_entry", "use")},
    ),
    "a fee that is gone": ("DELETE FROM contract_use WHERE kind = 'agreement'", {("differs", "fee")}),
    "all fees gone": ("DELETE FROM contract_use WHERE kind <> 'question'", {("without_object", "fee")}),
    "a fee of another amount": (
        "UPDATE contract_use SET amount_minor = amount_minor + 1 WHERE kind = 'month'", {("differs", "fee")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_in_the_rooms_is_named(life: Life, what: str) -> None:
    statement, expected = PLANTED[what]
    assert planted(life, statement) == expected


@pytest.mark.parametrize(
    "act", ["market.deposit", "market.order", "market.settle", "market.refund", "market.bill"]
)
def test_an_entry_of_money_that_nothing_stands_behind_is_named(life: Life, act: str) -> None:
    told = {"bill": "bil_x", "amount_minor": 7, "currency": "CNY", "parties": [life.insurer.org]}

    found: list[observatory.Reconciled] = []

    def lost(tx: Any) -> None:
        life.home.book.append(tx, act, life.hospital, told)
        found.append(observatory.reconcile(tx, life.auditor, observatory.Reconcile()))
        raise DatabaseLost(DISK_FULL)  # takes the entry back, in the tree in memory, too

    with pytest.raises(DatabaseLost):
        life.at(lost)
    kinds = {
        "market.bill": {"bill"},
        "market.settle": {"settlement", "payment"},
        "market.refund": {"bill", "payment"},
    }
    named = {each.kind for each in found[0].findings if each.what == "without_object"}
    assert named == kinds.get(act, {"payment"})
