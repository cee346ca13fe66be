"""The story the demonstration tells: the life of real tables of two fields, by the same acts as production.

Each step does its work, checks what came of it, and gives the line a person reads with what stands below it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from dujiang import acts
from dujiang import home as homes
from dujiang.doors.data import keep_upload
from dujiang.doors.local import pieces
from dujiang.doors.loops import Loops
from dujiang.kernel.act import Caller, bind
from dujiang.kernel.config import Config
from dujiang.kernel.errors import Declined, spoken
from dujiang.kernel.money import Money
from dujiang.kernel.shape import build, plain
from dujiang.ledger.rules import verify
from dujiang.policy.wire import terms_file

Told = tuple[str, list[str]]
"""The line of a step, and the lines below it."""

PARTIES: dict[str, tuple[str, ...]] = {
    "operator": ("operator",),
    "auditor": ("auditor",),
    "hospital": ("provider", "consumer"),
    "laboratory": ("provider", "consumer"),
    "insurer": ("provider", "consumer"),
    "transport": ("provider", "consumer"),
}
"""Who takes part, by the names of their texts, with their roles."""
_STEPS = (
    "offer", "grade", "find", "agree", "quote", "ask", "refuse", "join", "budget", "meter", "settle", "refund",
    "figures", "verify",
)  # fmt: skip
_FEE_BP = 250
"""What the operator keeps of what is settled, in hundredths of a percent."""
_PRICE = {"currency": "CNY", "agreement_minor": 10_000, "question_minor": 2_000, "row_minor": 50}
_SHARES = (("hospital", 2), ("laboratory", 1))
"""The price of the hospital's table, and how what it earns is split."""
_PLACES = {
    "operator": ("35", "I"),
    "auditor": ("35", "S"),
    "hospital": ("35", "Q"),
    "laboratory": ("31", "M"),
    "insurer": ("44", "J"),
    "transport": ("33", "G"),
}
"""Province (GB/T 2260) and sector (GB/T 4754) of each."""
_TABLES = (
    ("clinic", "hospital", "seqn"),
    ("laboratory", "laboratory", "seqn"),
    ("household", "insurer", "seqn"),
    ("flights", "transport", None),
    ("weather", "laboratory", None),
    ("planes", "insurer", "tailnum"),
)
_QUESTION = (
    "select sex, count(*) as people, avg(systolic_1) as systolic from clinic where age >= 18 group by sex"
)
_SAME = (
    "SELECT sex, COUNT(*) AS people, AVG(systolic_1) AS systolic FROM clinic WHERE NOT (age < 18) GROUP BY 1"
)
_PERSONS = (
    "select sex, count(*) as people, avg(hba1c) as hba1c from clinic join laboratory using (seqn)"
    " where age >= 40 group by sex"
)
_RAIN = (
    "select precip > 0 as rain, count(*) as departures, avg(dep_delay) as delay from flights"
    " join weather using (origin, time_hour) group by precip > 0"
)
_FORBIDDEN = "select * from clinic limit 10"
_NEXT = "select avg(bmi) as bmi, stddev(bmi) as spread from clinic where age between {low} and {high}"
_AGES = ((20, 39), (40, 59), (60, 79), (18, 29), (30, 49), (50, 69))


@dataclass(slots=True)
class Story:
    """The parties and what they have made so far; `steps` names what is told, in order."""

    home: homes.Home
    language: str
    made: list[dict[str, Any]]
    """What making the home said of each party, in the order of `PARTIES`."""
    loops: Loops = field(init=False)
    people: dict[str, Caller] = field(default_factory=dict[str, Caller])
    product: dict[str, str] = field(default_factory=dict[str, str])
    version: dict[str, str] = field(default_factory=dict[str, str])
    contracts: dict[str, str] = field(default_factory=dict[str, str])
    """The insurer's contracts, by table."""
    bill: str = ""
    receipt: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of the entry a figure was followed to."""
    receipts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Of everything that was done and left an entry, as it was handed out."""

    def __post_init__(self) -> None:
        """Finds who each key speaks for."""
        self.loops = Loops(self.home)
        for name, one in zip(PARTIES, self.made, strict=True):
            caller = self.home.caller_of_key(one["api_key"])
            assert caller is not None
            self.people[name] = caller
            province, sector = _PLACES[name]
            self._do(name, "identity.describe", province=province, sector=sector)

    @classmethod
    def begun(cls, path: Path, language: str, database: str = "") -> Story:
        """A story at its start: a new home with the parties in it, in an empty PostgreSQL database if one is named.

        Raises: Refused and Unavailable of `home.create`.
        """
        named = [(words()[name][language], roles) for name, roles in PARTIES.items()]
        home, made = homes.create(path, named, config=Config(platform_fee_bp=_FEE_BP), database=database)
        (path / "config.toml").write_text(f"platform_fee_bp = {_FEE_BP}\n", "utf-8")
        try:
            return cls(home, language, made)
        except BaseException:
            home.close()
            raise

    def parties(self) -> str:
        """The names of those who have data."""
        return ("、" if self.language == "zh" else ", ").join(map(self.say, list(PARTIES)[2:]))

    def steps(self) -> list[tuple[str, Callable[[], Told]]]:
        """Every step with its name."""
        return [(name, getattr(self, name)) for name in _STEPS]

    def offer(self) -> Told:
        """Six tables are registered and published by their owners."""
        by_owner: dict[str, list[str]] = {}
        for table, owner, entity in _TABLES:
            made = self._offered(table, owner, entity)
            self.product[table], self.version[table] = made["product"], made["registered"]
            by_owner.setdefault(owner, []).append(table)
        lines = [
            self.say("offered_by", self.say(owner), ", ".join(tables)) for owner, tables in by_owner.items()
        ]
        return self.say("offer", len(_TABLES)), ["; ".join(lines)]

    def _offered(self, table: str, owner: str, entity: str | None) -> dict[str, Any]:
        samples = resources.files("dujiang") / "samples"
        with resources.as_file(samples / f"{table}.parquet") as path:
            upload = keep_upload(self.home, self.people[owner], path.name, pieces(path))
        terms = plain(terms_file((samples / f"{table}.toml").read_text("utf-8")))
        if table == "clinic":
            shares = [{"recipient": self.say(name), "weight": weight} for name, weight in _SHARES]
            terms["price"] = {**_PRICE, "shares": shares}
        return self._do(owner, "catalogue.offer", upload=upload, entity=entity, terms=terms)

    def grade(self) -> Told:
        """The insurer has its interviews graded; what is wrong in them is found."""
        graded = self._do("insurer", "quality.grade", version=self.version["household"])
        found = [
            f"{each['column']} {', '.join(each['values'])}"
            for each in graded["graded"]["findings"]
            if each["fault"] in ("missing_code", "odd_category")
        ]  # fmt: skip
        assert len(found) >= 4
        public = graded["public"]
        line = self.say("grade", self.say("insurer"), "household", public["grade"], public["formula"])
        return line, [self.say("fault", "; ".join(found))]

    def find(self) -> Told:
        """The insurer searches in its own language."""
        found = self._do("insurer", "catalogue.search", words=self.say("word"))["items"]
        assert found[0]["product"] == self.product["clinic"]
        title = found[0]["title_zh" if self.language == "zh" else "title"]
        return self.say("find", self.say("insurer"), self.say("word"), title), []

    def agree(self) -> Told:
        """The insurer and the hospital negotiate and both sign."""
        shown = self._agreed("insurer", "clinic")
        self.contracts["clinic"] = shown["contract"]
        entries = self._do("insurer", "ledger.list", about=shown["product"], limit=100)["items"]
        count = sum(entry["act"].startswith("contract.") for entry in entries)
        line = self.say("agree", self.say("insurer"), self.say("hospital"), shown["state"], count)
        return line, [shown["terms_zh" if self.language == "zh" else "terms"]]

    def quote(self) -> Told:
        """What the question would cost; it is not asked on credit, so money is put on the contract."""
        contract = self.contracts["clinic"]
        quoted = self._do("insurer", "market.quote", contract=contract, sql=_QUESTION)
        unpaid = self._ask("insurer", (contract,), _QUESTION)
        assert isinstance(unpaid, Declined) and unpaid.code.name == "allowance_spent"
        paid = {
            "org": self.say("insurer"),
            "amount": "500.00",
            "currency": "CNY",
            "reference": "BANK-2026-0001",
        }
        self._do("operator", "market.deposit", **paid)
        ordered = self._do("insurer", "market.order", contract=contract, amount="300.00")
        parts = ", ".join(
            f"{self.say(part['kind'])} {self._money(part['quantity'] * part['unit_minor'])}"
            for part in quoted["parts"]
        )
        return self.say("quote", self.say("insurer"), quoted["amount"], parts), [
            self._refusal(unpaid),
            self.say(
                "ordered", self._money(ordered["available_minor"]), self._money(ordered["balance_minor"])
            ),
        ]

    def ask(self) -> Told:
        """A question, its cost before and after, and the same in other words for nothing."""
        quote = self._do("insurer", "cleanroom.check", contracts=(self.contracts["clinic"],), sql=_QUESTION)
        answer = self._answer("insurer", (self.contracts["clinic"],), _QUESTION)
        again = self._answer("insurer", (self.contracts["clinic"],), _SAME)
        assert again["rows"] == answer["rows"] and again["statistics"] == 0
        errors = ", ".join(f"{error:g}" for error in quote["plus_minus"] if error is not None)
        left = answer["statistics_left"]
        return self.say("ask", self.say("insurer"), _QUESTION), [
            *_table(answer),
            self.say("cost", errors, answer["statistics"], quote["statistics_left"], left),
            self.say("again", again["statistics_left"]),
        ]

    def refuse(self) -> Told:
        """Rows are asked for, and are not given."""
        said = self._ask("insurer", (self.contracts["clinic"],), _FORBIDDEN)
        assert isinstance(said, Declined)
        lines = [self._refusal(said)]
        if said.offer:
            lines.append(self.say("rewrite", said.offer))
        return self.say("ask", self.say("insurer"), _FORBIDDEN), lines

    def join(self) -> Told:
        """Two questions over tables of two owners each; every owner's account is charged."""
        lines: list[str] = []
        for sql, tables in ((_PERSONS, ("clinic", "laboratory")), (_RAIN, ("flights", "weather"))):
            answer = self._answer("insurer", tuple(map(self._contract, tables)), sql)
            charged = "; ".join(
                self.say("charged", part["provider"], part["statistics"], part["statistics_left"])
                for part in sorted(answer["parts"], key=lambda part: part["provider"])
                if part["statistics_left"] is not None  # a public table has no account
            )
            assert len({part["provider"] for part in answer["parts"]}) == 2
            rows = "; ".join(" ".join(map(_cell, row)) for row in answer["rows"])
            lines += [
                self.say("ask", self.say("insurer"), sql),
                f"{', '.join(answer['columns'])}: {rows}. {charged}",
            ]
        return self.say("join"), lines

    def budget(self) -> Told:
        """The insurer goes on asking until its account is spent."""
        for count, (low, high) in enumerate(_AGES):
            said = self._ask("insurer", (self.contracts["clinic"],), _NEXT.format(low=low, high=high))
            if isinstance(said, Declined):
                assert said.code.name == "budget_spent"
                return self.say("budget", count, self._refusal(said)), []
        raise AssertionError("the account did not run out")

    def meter(self) -> Told:
        """What was used stands on a numbered bill."""
        bill = self._do("hospital", "market.bill", contract=self.contracts["clinic"])
        self.bill = bill["bill"]
        lines = [
            f"{self.say(each['kind'])}: {each['quantity']} x {self._money(each['unit_minor'])} "
            f"= {self._money(each['amount_minor'])}"
            for each in bill["lines"]
        ]
        return self.say("meter", self.say("hospital"), bill["number"], bill["amount"]), ["; ".join(lines)]

    def settle(self) -> Told:
        """The operator settles: its fee, and each provider's share, to the minor unit."""
        settled = self._do("operator", "market.settle", bill=self.bill)
        earned = [f"{part['name']} {self._money(part['amount_minor'])}" for part in settled["earned"]]
        total = settled["platform_minor"] + sum(part["amount_minor"] for part in settled["earned"])
        assert total == settled["amount_minor"]
        fee = self._money(settled["platform_minor"])
        return self.say("settle", settled["amount"], self.say("operator"), fee, ", ".join(earned)), []

    def refund(self) -> Told:
        """One line is given back, and the books balance."""
        note = self._do("hospital", "market.refund", bill=self.bill, line=2, reason=self.say("reason"))
        checked = self._do("auditor", "market.check")
        assert checked["right"]
        return self.say("refund", self.say("hospital"), note["amount"], note["reason"]), []

    def figures(self) -> Told:
        """The auditor's figures come from the log alone; one of them is followed down to an entry."""
        shown = self._do("auditor", "observatory.show", exact=True)
        total, flows = shown["cells"][0], [each for each in shown["cells"] if "*" not in each["key"]][2:]
        label = "label_zh" if self.language == "zh" else "label"
        lines = [self.say("flow", each[label], each["value"]) for each in flows]
        entry = self._do("auditor", "observatory.list", cell=flows[0]["key"])["items"][-1]
        self.receipt = self._do("auditor", "ledger.prove", entry=entry["entry"])["receipt"]
        assert self._do("auditor", "observatory.reconcile")["agrees"]
        lines = ["; ".join(lines), self.say("leads", flows[0][label], entry["entry"], entry["act"])]
        return self.say("figures", self.say("auditor"), total["value"]), lines

    def verify(self) -> Told:
        """The receipt of that entry, checked without the home."""
        verdict = verify(json.loads(json.dumps(self.receipt)), self.home.book.vkey)
        assert verdict.ok and verdict.trusted
        return self.say("verify", verdict.index, verdict.size, verdict.signer), []

    def say(self, word: str, *names: Any) -> str:
        """A sentence of the story in its language."""
        return words()[word][self.language].format(*names)

    @staticmethod
    def _money(amount_minor: int) -> str:
        return str(Money(amount_minor, _PRICE["currency"]))

    def _do(self, who: str, act: str, **ask: Any) -> dict[str, Any]:
        """The reply of an act that must be done, in JSON values."""
        reply = self._run(who, act, ask)
        assert not isinstance(reply, Declined), (act, reply.code.name)
        return plain(reply)

    def _run(self, who: str, act: str, ask: dict[str, Any]) -> Any:
        outcome = self.home.run(act, self.people[who], build(bind(acts.ACTS[act]).ask, ask))
        if isinstance(outcome.receipt, dict):
            self.receipts.append(outcome.receipt)
        return outcome.reply

    def _agreed(self, who: str, table: str) -> dict[str, Any]:
        begun = self._do(who, "contract.request", product=self.product[table], purpose="analyse")
        self.loops.until_quiet()
        shown = self._do(who, "contract.show", contract=begun["contract"])
        assert shown["status"] == "active", shown
        return shown

    def _contract(self, table: str) -> str:
        """The insurer's contract on a table, agreed when it is first needed."""
        if table not in self.contracts:
            self.contracts[table] = self._agreed("insurer", table)["contract"]
        return self.contracts[table]

    def _ask(self, who: str, contracts: tuple[str, ...], sql: str) -> Any:
        said = self._run(who, "cleanroom.ask", {"contracts": list(contracts), "sql": sql})
        self.loops.until_quiet()
        return said

    def _answer(self, who: str, contracts: tuple[str, ...], sql: str) -> dict[str, Any]:
        said = self._ask(who, contracts, sql)
        assert not isinstance(said, Declined), (sql, said.code.name, said.names)
        answer = self._do(who, "cleanroom.show", job=said.job)
        assert answer["state"] == "done"
        return answer

    def _refusal(self, said: Declined) -> str:
        why, _ = spoken(said.code, said.names, self.language)
        return self.say("refused", why, said.code.name)


def words() -> dict[str, dict[str, str]]:
    """Every sentence of the story, by name and language."""
    return tomllib.loads((Path(__file__).parent / "templates" / "story.toml").read_text(encoding="utf-8"))


def _table(answer: dict[str, Any]) -> list[str]:
    """An answer as lines of aligned cells."""
    rows = [answer["columns"], *answer["rows"]]
    widths = [max(len(_cell(row[i])) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(_cell(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
