"""A node killed while money moves: every act happened once or not at all, whatever was on its way.

Two consumers deposit, order, ask, are billed, settled and refunded, one act after another, each repeated under
its idempotency key until it is acknowledged. After every kill the file itself is read.
"""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e import log
from tests.e2e.node import HOSPITAL, INSURER, Node, make, said

KILLS = int(os.environ.get("DUJIANG_KILLS", "20"))
TERMS = """
statistics = 100000
ceiling_statistics = 1000000
[fields.visits]
uses = ["filter"]
lo = 0
hi = 10000
[price]
currency = "CNY"
agreement_minor = 1000
question_minor = 199
row_minor = 7
shares = [{recipient = "榕城医院", weight = 2}, {recipient = "第二保险", weight = 1}]
"""
SECOND = "第二保险"


class Trader(threading.Thread):
    """A consumer and those who bill it, one act after another until told to stop."""

    def __init__(
        self, node: Node, keys: tuple[str, str], org: str, contract: str, stopping: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self._node, self._keys, self._org, self._contract, self._stopping = (
            node,
            keys,
            org,
            contract,
            stopping,
        )
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.repeats = 0
        self.wrong = ""

    def run(self) -> None:
        """Works until told to stop; what was begun is finished."""
        consumer, operator = self._keys
        for number in itertools.count():
            if self._stopping.is_set() or self.wrong:
                return
            reference = f"{self._org}-{number}"
            deposit = {"org": self._org, "amount": "20.00", "currency": "CNY", "reference": reference}
            self._until_heard("market.deposit", deposit, operator)
            self._until_heard("market.order", {"contract": self._contract, "amount": "20.00"}, consumer)
            sql = f"select count(*) as n from visits where visits < {number + 1}"
            self._until_heard("cleanroom.ask", {"contracts": [self._contract], "sql": sql}, consumer)
            bill = self._until_heard("market.bill", {"contract": self._contract}, operator)
            if bill and "bill" in bill:
                self._until_heard("market.settle", {"bill": bill["bill"]}, operator)
                if number % 3 == 0:
                    self._until_heard("market.refund", {"bill": bill["bill"], "reason": "a test"}, operator)

    def _until_heard(self, act: str, ask: dict[str, Any], key: str) -> dict[str, Any] | None:
        once = uuid.uuid4().hex
        while not self.wrong:
            self._node.up.wait()
            try:
                response = self._node.post(act, ask, key, once)
            except (httpx2.HTTPError, OSError):
                self.repeats += 1
                time.sleep(0.02)
                continue
            body = response.json()
            if response.status_code == 200:
                self.heard.append((act, body))
                return body
            if body.get("code") == "nothing_to_bill":
                return None  # a question that still runs is on the next bill
            if response.status_code not in (202, 503):
                self.wrong = f"{act} {response.text}"
            time.sleep(0.02)
        return None


def test_money_moves_once_or_not_at_all(tmp_path: Path) -> None:
    home, chance = tmp_path / "home", random.Random()
    keys = {each["name"]: each["api_key"] for each in make(home, HOSPITAL, INSURER, SECOND)["organisations"]}
    rows = "".join(f"p{n},{n * 37 % 10_000}\n" for n in range(400))
    (tmp_path / "visits.csv").write_text(f"patient,visits\n{rows}", encoding="utf-8")
    (tmp_path / "terms.toml").write_text(TERMS, encoding="utf-8")
    offer = [
        "offer",
        str(tmp_path / "visits.csv"),
        "--entity",
        "patient",
        "--terms",
        str(tmp_path / "terms.toml"),
    ]
    product = said(home, *offer, "--as", HOSPITAL)["product"]
    stopping = threading.Event()
    node = Node(home, env=None)
    traders = [
        Trader(node, (keys[org], keys[HOSPITAL]), org, _agreed(home, product, org), stopping)
        for org in (INSURER, SECOND)
    ]
    node.start()
    try:
        for trader in traders:
            trader.start()
        for _ in range(KILLS):
            node.begin()
            time.sleep(chance.uniform(0.0, 0.8))
            node.kill()
            node.ready()
            _right(home, traders)
        stopping.set()
        for trader in traders:
            trader.join(timeout=120)
            assert not trader.is_alive()
        _right(home, traders)
    finally:
        stopping.set()
        node.kill()
        node.cut()
    assert sum(trader.repeats for trader in traders) > KILLS / 4, "the kills hit nobody at work"
    heard = Counter(act for trader in traders for act, _ in trader.heard)
    assert set(heard) >= {
        "market.deposit",
        "market.order",
        "cleanroom.ask",
        "market.bill",
        "market.settle",
    }, heard


def _agreed(home: Path, product: str, org: str) -> str:
    agreed = said(home, "agree", product, "--purpose", "analyse", "--as", org)
    assert agreed["state"] == "FINALIZED"
    return str(agreed["contract"])


def _right(home: Path, traders: list[Trader]) -> None:
    """The file's own sums, and everything that was acknowledged so far, once."""
    assert not any(trader.wrong for trader in traders), [trader.wrong for trader in traders]
    heard = [each for trader in traders for each in list(trader.heard)]
    with log.snapshot(home) as db:
        _balanced(db)
        names = [name for (name,) in db.execute("SELECT id FROM market_transaction")]
        bills = dict(db.execute("SELECT id, state FROM market_bill WHERE paper = 'bill'").fetchall())
        lines = Counter(bill for (bill,) in db.execute("SELECT bill FROM market_line"))
    assert len(names) == len(set(names))
    for act, body in heard:
        if act in ("market.deposit", "market.order"):
            assert body["transaction"] in names
        elif act == "market.settle":
            assert bills[body["bill"]] in ("settled", "refunded")
            assert sum(name.startswith(f"settle:{body['bill']}:") for name in names) == lines[body["bill"]]
        elif act == "market.refund":
            assert bills[body["of"]] == "refunded"
    for bill, state in bills.items():
        settled = sum(name.startswith(f"settle:{bill}:") for name in names)
        assert settled == (0 if state == "open" else lines[bill]), (bill, state)


def _balanced(db: sqlite3.Connection) -> None:
    """Transactions sum to zero, balances are their sums, contracts agree with accounts, uses are billed once."""

    def rows(sql: str) -> list[tuple[Any, ...]]:
        return db.execute(sql).fetchall()

    assert not rows("SELECT no FROM market_posting GROUP BY no HAVING sum(amount_minor) <> 0 OR count(*) < 2")
    key = "org, kind, contract, currency"
    sums = {
        row[:4]: row[4] for row in rows(f"SELECT {key}, sum(amount_minor) FROM market_posting GROUP BY {key}")
    }
    assert {row[:4]: row[4] for row in rows(f"SELECT {key}, balance_minor FROM market_account")} == sums
    assert all(amount >= 0 or name[1] == "clearing" for name, amount in sums.items())
    on = {name[2]: amount for name, amount in sums.items() if name[1] == "allowance"}
    held = rows(
        "SELECT contract, available_minor + held_minor + spent_minor, ended, billed FROM contract_allowance"
    )
    assert {contract: total for contract, total, _, _ in held} == on
    for contract, _, ended, billed in held:
        numbers = rows(
            f"SELECT no FROM contract_use WHERE contract = '{contract}' AND no IS NOT NULL ORDER BY no"
        )
        assert [number for (number,) in numbers] == list(range(1, ended + 1))
        ranges = rows(
            f"SELECT first, last FROM market_bill WHERE contract = '{contract}' AND paper = 'bill' ORDER BY 1"
        )
        ends = [0, *(last for _, last in ranges)]
        assert [first for first, _ in ranges] == [end + 1 for end in ends[:-1]] and ends[-1] == billed
    spent = dict(rows("SELECT contract, spent_minor FROM contract_allowance"))
    owed = Counter[str]()
    for contract, amount in rows("SELECT contract, amount_minor FROM contract_use WHERE no IS NOT NULL"):
        owed[contract] += amount
    for contract, amount in rows(
        "SELECT contract, amount_minor FROM market_bill WHERE paper = 'bill' AND state <> 'open'"
    ):
        owed[contract] -= amount
    assert spent == {contract: owed[contract] for contract in spent}
