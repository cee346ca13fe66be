"""Statements as files: accountants' own programs accept them and find the same balances; text stays text."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.market import acts as market
from dujiang.market import wire
from dujiang.market.model import Form
from dujiang.policy.model import Price, Share
from tests.life import Life, opened
from tests.market.trade import accounts, agreed, billed, deposited, funded, used

BEAN_CHECK = Path(sys.executable).with_name("bean-check")
HLEDGER = shutil.which("hledger")
DAY_MS = 86_400_000
FORMULA = '=cmd|"/c calc"!A1'


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A node where money of two currencies moved on three days in every way there is."""
    with opened(tmp_path_factory.mktemp("files")) as made:
        shares = (Share("Rival Clinic", 1), Share("市立医院", 2))
        price = Price("CNY", agreement_minor=1000, question_minor=199, row_minor=7, shares=shares)
        on = agreed(made, price)
        funded(made, on, "100.00")
        deposited(made, made.insurer, "12.34", FORMULA, "USD")
        used(made, on)
        made.clock.move(DAY_MS)
        bill = billed(made, on).bill
        made.run("market.settle", made.hospital, market.Settle(bill))
        made.run("market.refund", made.hospital, market.Refund(bill, '"why"; not\\', 2))
        made.clock.move(DAY_MS)
        made.run("market.order", made.insurer, market.Order(on, "5", release=True))
        made.run("market.withdraw", made.hospital, market.Withdraw("Rival Clinic", "0.50", "CNY", "out-1"))
        used(made, on, 60)
        made.run("market.settle", made.hospital, market.Settle(billed(made, on).bill))
        yield made


def file(life: Life, form: Form, org: str | None, since: str | None = None, until: str | None = None) -> str:
    """A statement file as the auditor gets it; `org` None: the whole books."""
    ask = market.Export(form, since, until, org, whole=org is None)
    return life.run("market.export", life.auditor, ask).text


PERIODS = [(None, None), ("2026-05-29", "2026-05-29"), ("2026-05-30", None), ("2026-05-28", "2026-05-29")]
EVERY = pytest.mark.parametrize("org", ["保险公司", "市立医院", "Rival Clinic", None])


@EVERY
@pytest.mark.parametrize("days", PERIODS)
def test_beancount_accepts_the_journal_of_any_period(
    life: Life, tmp_path: Path, org: str | None, days
) -> None:
    path = tmp_path / "books.beancount"
    path.write_text(file(life, Form.beancount, org, *days), encoding="utf-8")
    done = subprocess.run([str(BEAN_CHECK), str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_beancount_finds_a_balance_that_is_a_minor_unit_off(life: Life, tmp_path: Path) -> None:
    path = tmp_path / "books.beancount"
    lines = file(life, Form.beancount, None).splitlines()
    last = next(
        place for place in reversed(range(len(lines))) if " balance Liabilities:Balance" in lines[place]
    )
    amount = lines[last].split()[3]
    lines[last] = lines[last].replace(amount, str(Decimal(amount) + Decimal("0.01")))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = subprocess.run([str(BEAN_CHECK), str(path)], capture_output=True, text=True)
    assert done.returncode != 0 and f":{last + 1}:" in done.stderr


@pytest.mark.skipif(HLEDGER is None, reason="hledger is not installed (apt-get install hledger)")
@EVERY
@pytest.mark.parametrize("days", PERIODS)
def test_hledger_accepts_the_journal_of_any_period(life: Life, tmp_path: Path, org: str | None, days) -> None:
    path = tmp_path / "books.journal"
    path.write_text(file(life, Form.hledger, org, *days), encoding="utf-8")
    done = subprocess.run([str(HLEDGER), "-f", str(path), "check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(HLEDGER is None, reason="hledger is not installed (apt-get install hledger)")
def test_hledger_has_our_balances(life: Life, tmp_path: Path) -> None:
    """Every account of every organisation, summed by a program that knows nothing of our balances."""
    path = tmp_path / "books.journal"
    path.write_text(file(life, Form.hledger, None), encoding="utf-8")
    command = [str(HLEDGER), "-f", str(path), "balance", "--flat", "-O", "json"]
    rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[0]
    found: dict[str, Decimal] = {}
    for name, _, _, amounts in rows:
        for each in amounts:
            quantity = each["aquantity"]
            found[f"{name} {each['acommodity']}"] = Decimal(quantity["decimalMantissa"]).scaleb(
                -quantity["decimalPlaces"]
            )
    ours: dict[str, Decimal] = {}
    for caller in (life.insurer, life.hospital, life.rival):
        for one in life.run("market.list", life.auditor, market.List(caller.org)).accounts:
            name = wire._books_account(caller.org, one.account, one.contract)  # pyright: ignore[reportPrivateUsage]
            ours[f"{name} {one.currency}"] = -Decimal(one.amount_minor) / 100
    assert {name: amount for name, amount in ours.items() if amount} == found
    assert len(found) >= 6


def test_a_statement_opens_where_the_one_before_closed(life: Life) -> None:
    for org in ("保险公司", "市立医院", "Rival Clinic"):
        days = [("2026-05-28", "2026-05-28"), ("2026-05-29", "2026-05-29"), ("2026-05-30", "2026-05-30")]
        parts = [
            life.run("market.statement", life.auditor, market.Statement(*each, org=org)) for each in days
        ]
        whole = life.run("market.statement", life.auditor, market.Statement(org=org))
        assert [line for part in parts for line in part.lines] == list(whole.lines)
        for before, after in zip(parts, parts[1:], strict=False):
            closing = {
                (one.account, one.contract, one.currency): one.closing_minor for one in before.accounts
            }
            opening = {(one.account, one.contract, one.currency): one.opening_minor for one in after.accounts}
            assert {key: amount for key, amount in opening.items() if amount} == {
                key: amount for key, amount in closing.items() if amount
            }
        for one in whole.accounts:
            moved = sum(
                line.amount_minor for line in whole.lines
                if (line.account, line.contract, line.currency) == (one.account, one.contract, one.currency)
            )  # fmt: skip
            assert (one.opening_minor, one.closing_minor) == (0, moved)
        closing_minor = sum(one.closing_minor for one in whole.accounts if one.currency == "CNY")
        assert closing_minor == sum(accounts(life, life.auditor, org).values())


def test_a_statement_is_read_page_by_page_without_cutting_a_transaction(life: Life) -> None:
    whole = life.run("market.statement", life.insurer, market.Statement())
    after, lines = 0, []
    while True:
        page = life.run("market.statement", life.insurer, market.Statement(after=after, limit=1))
        lines += page.lines
        if page.next is None:
            break
        after = page.next
    assert lines == list(whole.lines) and len(lines) > 5


def test_a_spreadsheet_sees_no_formula(life: Life) -> None:
    text = file(life, Form.csv, "保险公司")
    assert text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert "'" + FORMULA in {row["reference"] for row in rows}
    assert sum(Decimal(row["amount"]) for row in rows if row["currency"] == "USD") == Decimal("12.34")
    assert not any(str(value).startswith("=") for row in rows for value in row.values())


@given(st.text(max_size=20))
def test_no_text_begins_a_formula_and_none_is_lost(text: str) -> None:
    made = wire.inert(text)
    assert made.lstrip()[:1] not in ("=", "+", "-", "@") and made.removeprefix("'").endswith(
        text.removeprefix("'")
    )


@given(st.text(max_size=40), st.text(max_size=40))
def test_text_of_people_is_one_quoted_line_of_a_journal(one: str, two: str) -> None:
    entry = wire.Entry("2026-01-01", f"settle {one}", (), f"t {two}")
    journal = wire.Journal("2026-01-01", "2026-01-02", (entry,), ())
    _, head, note, *rest = wire.beancount(journal).split("\n")
    assert not any(rest)
    for line in (head, note):
        bare = line.replace("\\\\", "").replace('\\"', "")
        assert bare.count('"') == 2 and bare.endswith('"') and len(line.splitlines()) == 1
    assert len(wire.hledger(journal).splitlines()) == 3


def test_only_those_who_oversee_see_other_books(life: Life) -> None:
    for ask in (market.Export(whole=True), market.Export(org="市立医院")):
        assert life.refused("market.export", life.insurer, ask) == "not_found"
    for name, ask in (
        ("market.list", market.List("市立医院")),
        ("market.statement", market.Statement(org="市立医院")),
    ):
        assert life.refused(name, life.rival, ask) == "not_found"
