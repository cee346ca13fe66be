"""Figures on a real home: recounted from the log by another way, down to an entry and its receipt."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dujiang.catalogue import acts as catalogue
from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contract
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller
from dujiang.kernel.errors import DatabaseLost, Declined
from dujiang.kernel.tables import Sql
from dujiang.ledger import acts as ledger
from dujiang.ledger import rules as ledger_rules
from dujiang.ledger import store
from dujiang.observatory import acts as observatory
from dujiang.observatory.comparison import counted_by
from dujiang.observatory.model import By, Measure
from dujiang.plugs import migrations
from dujiang.plugs.sqlite import DISK_FULL, SqliteDatabase
from tests.cleanroom.test_joint import ask, two
from tests.life import Life, opened

DAY_MS = 86_400_000
COUNTED = "select 性别, count(*) as n from 就诊 group by 性别"
WEIGHED = "select 性别, avg(体重) as kg from 就诊 group by 性别"


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Two consumers in two provinces ask a hospital, over two months and for two purposes."""
    with opened(tmp_path_factory.mktemp("observatory")) as made:
        made.run("identity.describe", made.hospital, identity.Describe("福建", "Q"))
        made.run("identity.describe", made.insurer, identity.Describe("Guangdong", "J"))
        product = made.offer(people=1500).product
        first = made.agree(product, made.insurer, "分析")
        other = made.agree(product, made.rival, "our own study of 张三")
        made.ask(first, COUNTED)
        made.ask(first, WEIGHED)
        made.ask(first, COUNTED)
        assert isinstance(made.ask(first, "select * from 就诊"), Declined)
        made.clock.move(31 * DAY_MS)
        made.run("identity.describe", made.rival, identity.Describe("35"))
        made.ask(other, COUNTED, made.rival)
        yield made


def show(life: Life, caller: Caller, *ask: Any, **named: Any) -> observatory.Figures:
    """Figures as somebody sees them."""
    return life.run("observatory.show", caller, observatory.Show(*ask, **named))


def values(found: observatory.Figures) -> dict[str, int | None]:
    """The value of each cell."""
    return {cell.key: cell.value for cell in found.cells}


def answered(life: Life) -> list[dict[str, Any]]:
    """The facts of the entries that say a question was answered."""
    return [
        record.facts
        for record in life.records()
        if record.act in ("cleanroom.ask", "cleanroom.complete") and "answer_sha256" in record.facts
    ]


def test_provinces_are_those_of_the_moment(life: Life) -> None:
    found = values(show(life, life.auditor, exact=True))
    assert found == {
        "total": 4, "across": 3, "35-*": 3, "35-44": 3, "within": 1, "35-35": 1,
    }  # fmt: skip
    contracts = values(show(life, life.auditor, By.province, Measure.contracts, exact=True))
    assert contracts == {"total": 2, "across": 1, "35-*": 1, "35-44": 1, "unstated": 1, "35-none": 1}


def test_figures_are_what_another_count_of_the_log_gives(life: Life) -> None:
    facts = answered(life)
    assert len(facts) == 4
    by_purpose = Counter("analyse" if each["purpose"] == "分析" else "other" for each in facts)
    found = values(show(life, life.auditor, By.purpose, exact=True))
    assert found == {"total": 4, **by_purpose}
    statistics = values(show(life, life.auditor, By.purpose, Measure.statistics, exact=True))
    assert statistics["total"] == sum(each["statistics"] for each in facts)
    rows = values(show(life, life.auditor, By.consumer, Measure.rows, exact=True))
    assert rows == {"total": 8, life.insurer.org: 6, life.rival.org: 2}
    organisations = values(show(life, life.auditor, By.sector, Measure.organisations))
    assert organisations == {"total": 4, "none": 4}
    assert values(show(life, life.auditor, By.sector, Measure.products))["total"] == 1


def test_free_text_of_a_purpose_is_in_no_figure(life: Life) -> None:
    for by in By:
        for measure in Measure:
            found = show(life, life.auditor, by, measure, "2026-06", exact=True)
            assert "张三" not in repr(found) and "study" not in repr(found)


def test_time_and_growth(life: Life) -> None:
    months = show(life, life.auditor, By.month, exact=True)
    assert values(months) == {"total": 4, "2026-05": 3, "2026-06": 1}
    assert [cell.growth_percent for cell in months.cells] == [None, None, -66.7]
    june = show(life, life.auditor, By.purpose, period="2026-06", exact=True)
    assert values(june) == {"total": 1, "other": 1}
    assert june.cells[0].growth_percent == -66.7 and june.cells[1].growth_percent is None
    assert (june.first_day, june.last_day) == ("2026-06-01", "2026-06-30")
    days = show(life, life.auditor, By.day, period="2026-05", exact=True)
    assert list(values(days).values()) == [3, 3] and len(days.cells[1].key) == 10
    assert values(show(life, life.auditor, By.day, period="2026-07", exact=True)) == {"total": 0}
    for by, period in ((By.day, None), (By.day, "2026"), (By.day, "2026-01-01..2026-02-01")):
        ask = observatory.Show(by, period=period)
        assert life.refused("observatory.show", life.auditor, ask) == "period_long"


def test_small_cells_are_withheld_unless_an_overseer_asks_for_them(life: Life) -> None:
    for caller in (life.auditor, life.hospital):
        found = show(life, caller)
        assert found.form == "published" and found.suppressed == len(found.cells) == 6
        assert all(cell.suppressed and cell.entries is None for cell in found.cells)
        assert (found.organisations, found.contracts, found.products, found.concentration) == (None,) * 4
        assert show(life, caller, exact=True).form == "exact"


def test_an_organisation_sees_its_own_flows_and_no_other(life: Life) -> None:
    provider = Caller(life.hospital.org, life.hospital.person, frozenset({"provider"}))
    insurer, rival = (show(life, caller) for caller in (life.insurer, life.rival))
    assert insurer.form == rival.form == "own"
    assert values(insurer)["total"] == 3 and values(rival) == {"total": 1, "within": 1, "35-35": 1}
    assert (insurer.organisations, insurer.contracts, insurer.products) == (2, 1, 1)
    assert values(show(life, provider, By.consumer))["total"] == 4
    assert values(show(life, life.insurer, By.consumer, exact=True)) == {"total": 3, life.insurer.org: 3}
    stranger = Caller("org_nobody", "per_x", frozenset({"provider"}))
    assert values(show(life, stranger)) == {"total": 0}


def test_an_overseer_may_ask_for_its_own_flows_alone(life: Life) -> None:
    assert show(life, life.hospital, own=True).form == "own"
    assert values(show(life, life.hospital, own=True))["total"] == 4
    assert (
        values(show(life, life.auditor, own=True)) == {"total": 0}
        and listed(life, life.auditor, own=True) == []
    )


def test_amounts_of_two_currencies_are_never_added(tmp_path: Path) -> None:
    with opened(tmp_path) as life:
        told = {"from": life.hospital.org, "to": life.insurer.org, "contract": "ctr_1"}

        def settled(tx: Any) -> None:
            for amount, currency in ((500, "CNY"), (-200, "CNY"), (300, "USD")):
                counts = [{**told, "amount_minor": amount, "currency": currency}]
                life.home.book.append(tx, "market.settle", life.hospital, {"figures": counts})

        life.at(settled)
        for currency, total, entries in (("CNY", 300, 2), ("USD", 300, 1), ("EUR", 0, 0)):
            found = show(life, life.auditor, By.provider, Measure.amount, currency=currency, exact=True)
            assert found.cells[0].value == total and found.unit == f"{currency} minor units"
            items = listed(life, life.auditor, by=By.provider, measure=Measure.amount, currency=currency)
            assert len(items) == entries
        assert values(show(life, life.auditor, exact=True)) == {"total": 0}


def test_a_question_over_two_owners_is_a_use_of_each(tmp_path: Path) -> None:
    with opened(tmp_path) as life:
        made = two(life)
        assert ask(life, made.contracts).state == "done"
        found = show(life, life.auditor, By.provider, exact=True)
        assert values(found) == {"total": 2, life.hospital.org: 1, life.rival.org: 1}
        (entry,) = listed(life, life.auditor, by=By.provider)
        assert entry.value == 2
        assert [each.value for each in listed(life, life.rival, by=By.provider)] == [1]
        rows = show(life, life.auditor, By.provider, Measure.statistics, exact=True)
        assert values(rows) == {"total": 6, life.hospital.org: 3, life.rival.org: 3}
        assert life.run("observatory.reconcile", life.auditor, observatory.Reconcile()).agrees


def test_a_cell_leads_to_its_entries_and_each_proves_itself(life: Life) -> None:
    for cell in show(life, life.auditor, exact=True).cells:
        items = listed(life, life.auditor, cell=cell.key)
        assert len(items) == cell.entries and sum(item.value for item in items) == cell.value
        for item in items:
            receipt = life.run("ledger.prove", life.auditor, ledger.Show(item.entry)).receipt
            verdict = ledger_rules.verify(receipt, life.home.book.vkey)
            assert verdict.ok and verdict.trusted and verdict.facts is not None
            (told,) = verdict.facts["figures"]
            pair = f"{told['from_province']}-{told.get('to_province', 'none')}"
            assert cell.key in ("total", "across", "within", "35-*", pair)


def listed(life: Life, caller: Caller, **ask: Any) -> list[observatory.Entry]:
    """All entries of a cell, page by page."""
    found: list[observatory.Entry] = []
    before: int | None = None
    while True:
        page = life.run("observatory.list", caller, observatory.List(**ask, before=before, limit=2))
        found += page.items
        before = page.next
        if before is None:
            return found


def test_entries_are_listed_as_far_as_their_reader_may_see(life: Life) -> None:
    insurer = listed(life, life.insurer)
    assert len(insurer) == 3 and len(listed(life, life.auditor)) == 4
    for item in insurer:
        assert life.run("ledger.show", life.insurer, ledger.Show(item.entry)).act == item.act
    assert [item.entry for item in insurer] == sorted((item.entry for item in insurer), reverse=True)
    assert listed(life, life.rival, cell="35-44") == []
    assert listed(life, life.rival, cell=life.insurer.org, by=By.consumer) == []
    assert len(listed(life, life.auditor, cell="2026-06", by=By.month)) == 1
    assert listed(life, life.auditor, cell="2026-06", by=By.month, period="2026-05") == []
    assert life.refused("observatory.list", life.auditor, observatory.List("Fujian")) == "cell_unfit"


def test_the_log_and_the_packages_agree(life: Life) -> None:
    found = life.run("observatory.reconcile", life.auditor, observatory.Reconcile())
    assert found.agrees and found.entries == life.size() and found.findings == ()
    assert found.objects == {
        "organisation": 4,
        "version": 1,
        "product": 1,
        "contract": 2,
        "answer": 4,
        "bill": 0,
        "settlement": 0,
        "payment": 0,
        "hold": 0,
        "use": 0,
        "fee": 0,
    }
    for caller in (life.insurer, life.rival):
        assert life.refused("observatory.reconcile", caller, observatory.Reconcile()) == "forbidden"


TAMPERED = {
    "an answer is gone": ("DELETE FROM cleanroom_job WHERE id = :job", ("without_object", "answer")),
    "an answer names another entry": ("UPDATE cleanroom_job SET entry = 0 WHERE id = :job", ("differs", "answer")),
    "an answer without an entry": (
        "UPDATE cleanroom_job SET id = 'job_more' WHERE id = :job",
        ("without_entry", "answer"),
    ),
    "a contract is gone": ("DELETE FROM contract_contract WHERE side = 'provider'", ("without_object", "contract")),
    "a use was not counted": ("UPDATE contract_contract SET questions_used = 0", ("differs", "contract")),
    "a version is gone": ("DELETE FROM registry_version", ("without_object", "version")),
    "a product is gone": ("DELETE FROM catalogue_product", ("without_object", "product")),
    "a figure was raised": ("UPDATE ledger_figure SET rows = rows + 1 WHERE questions > 0", ("differs", "figure")),
    "a figure is gone": ("DELETE FROM ledger_figure WHERE questions > 0", ("differs", "figure")),
    "a figure was moved in time": ("UPDATE ledger_figure SET day = day + 1", ("differs", "figure")),
    "a flow goes elsewhere": ("UPDATE ledger_flow SET to_province = '11'", ("differs", "figure")),
    "a figure of no entry": (
        "INSERT INTO ledger_figure SELECT flow, month, day, 99999, organisations, products, contracts, questions,"
        " statistics, rows, amount_minor FROM ledger_figure LIMIT 1",
        ("without_entry", "figure"),
    ),
    "a record was changed": (
        "UPDATE ledger_entry SET facts = replace(facts, '\"statistics\":', '\"statistics\":1')",
        ("differs", "record"),
    ),
    "an entry is another act": ("UPDATE ledger_entry SET act = 'x' WHERE idx = 2", ("differs", "record")),
    "an entry is of another": ("UPDATE ledger_entry SET org = 'x' WHERE idx = 2", ("differs", "record")),
    "an entry is gone": ("DELETE FROM ledger_entry WHERE idx = 3", ("missing", "entry")),
    "the last entry is gone": (
        "DELETE FROM ledger_entry WHERE idx = (SELECT max(idx) FROM ledger_entry)", ("missing", "entry"),
    ),
    "the first entry is gone": ("DELETE FROM ledger_entry WHERE idx = 0", ("missing", "entry")),
}  # fmt: skip


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Life, str]]:
    """A life with one answered question, and its id."""
    with opened(tmp_path_factory.mktemp("tampered")) as life:
        answer = life.ask(life.agree(life.offer().product), COUNTED)
        assert isinstance(answer, cleanroom.Answer)
        yield life, answer.job


@pytest.mark.parametrize("what", TAMPERED)
def test_what_does_not_agree_is_named(asked: tuple[Life, str], what: str) -> None:
    life, job = asked
    statement, (said, kind) = TAMPERED[what]

    def tampered(tx: Any) -> observatory.Reconciled:
        tx.db.run(Sql(text(statement)), **({"job": job} if ":job" in statement else {}))
        found = observatory.reconcile(tx, life.auditor, observatory.Reconcile())
        raise Found(found)

    with pytest.raises(Found) as raised:
        life.at(tampered)
    found = raised.value.found
    assert not found.agrees and found.found >= 1
    assert (said, kind) in {(each.what, each.kind) for each in found.findings}, found.findings
    assert life.run("observatory.reconcile", life.auditor, observatory.Reconcile()).agrees


class Found(Exception):
    """Carries what was found out of a transaction that is taken back."""

    def __init__(self, found: observatory.Reconciled) -> None:
        self.found = found


def test_findings_are_counted_beyond_those_named(asked: tuple[Life, str]) -> None:
    life, _ = asked

    def tampered(tx: Any) -> None:
        tx.db.run(Sql(text("DELETE FROM ledger_figure")))
        raise Found(observatory.reconcile(tx, life.auditor, observatory.Reconcile(limit=2)))

    with pytest.raises(Found) as raised:
        life.at(tampered)
    assert len(raised.value.found.findings) == 2 < raised.value.found.found


def test_a_refused_act_and_a_lost_batch_leave_no_figure(tmp_path: Path) -> None:
    with opened(tmp_path) as life:
        product = life.offer().product
        life.refused("contract.request", life.hospital, contract.Request(product, "analyse"))
        on = life.agree(product)

        def lost(tx: Any) -> None:
            told = {"figures": [{"from": "x", "rows": 5}]}
            life.home.book.append(tx, "cleanroom.complete", life.insurer, told)
            raise DatabaseLost(DISK_FULL)

        for _ in range(2):
            with pytest.raises(DatabaseLost):
                life.at(lost)
        life.ask(on, COUNTED)
        questions = values(show(life, life.auditor, By.purpose, exact=True))
        assert questions == {"total": 1, "analyse": 1}
        assert life.run("observatory.reconcile", life.auditor, observatory.Reconcile()).agrees


def test_entries_of_before_are_counted_from_what_they_told_then(life: Life, tmp_path: Path) -> None:
    """A log under the schema before figures, brought up: its rows are those that are counted now, less places."""
    told = [replace(each, facts=before(each.facts)) for each in life.records()]
    url = f"sqlite:///{tmp_path / 'state.sqlite'}"
    migrations.upgrade(url, "0002")
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
        for one in told:
            row = (one.index, one.act, one.time_ms, one.org, one.leaf, json.dumps(one.facts), "{}")
            db.execute(
                "INSERT INTO ledger_entry (idx, act, time_ms, org, leaf, facts, salts) VALUES (?,?,?,?,?,?,?)",
                row,
            )
        db.commit()
    migrations.upgrade(url, "0003")
    database = SqliteDatabase(tmp_path / "state.sqlite")
    with database.reading() as db:
        kept = store.of_entries(db, 0, 2**53)
    database.close()
    counted = {(one.index, flow): each for one in told for flow, each in counted_by(one).items()}
    assert {(index, flow): each for index, _, _, flow, each in kept} == counted
    for index, day, month, _, _ in kept:
        assert day == told[index].time_ms // DAY_MS and month == ledger_rules.month_of(day)
    now = {
        (one.index, replace(flow, from_province="", to_province="", from_sector="", to_sector="")): {
            **each,
            "rows": 0,
        }
        for one in life.records()
        for flow, each in counted_by(one).items()
    }
    assert now == counted and len(now) == 4 + 1 + 2 + 4


def before(facts: dict[str, Any]) -> dict[str, Any]:
    """What an entry told before it told figures."""
    return {name: value for name, value in facts.items() if name not in ("figures", "uses")}


def test_a_total_that_is_withheld_as_one_has_most_of_it_has_no_published_concentration(
    tmp_path: Path,
) -> None:
    """Of one that has 25 of 30, the index alone tells its share."""
    with opened(tmp_path) as life:
        others = []
        for number in range(5):
            made = life.run("identity.register", life.hospital, identity.Register(f"供 {number}"))
            others.append(Caller(made.org, made.person, frozenset(made.roles)))
        for provider in (life.hospital, *others):
            upload = life.upload(provider, life.size(), 6)
            product = life.run("catalogue.offer", provider, catalogue.Offer(upload, "编号")).product
            most = provider is life.hospital
            for turn in range(25 if most else 1):
                consumers = [life.insurer, life.rival, *others]
                life.agree(product, consumers[turn % len(consumers)] if most else life.insurer)
        exact = show(life, life.auditor, measure=Measure.contracts, exact=True)
        assert exact.concentration is not None and exact.concentration.providers == 6
        found = show(life, life.auditor, measure=Measure.contracts)
        assert found.form == "published" and found.cells[0].suppressed
        assert found.concentration is None
