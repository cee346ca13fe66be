"""One life in which every act of the table of contents is run, with what each left in the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dujiang.catalogue import acts as catalogue
from dujiang.catalogue.model import Strategy
from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contract
from dujiang.identity import acts as identity
from dujiang.kernel.act import NOBODY, NODE, Caller
from dujiang.kernel.errors import Refused
from dujiang.ledger import acts as ledger
from dujiang.ledger import note
from dujiang.market import acts as market
from dujiang.observatory import acts as observatory
from dujiang.observatory.model import By
from dujiang.policy.model import Price, TermsFile
from dujiang.post import acts as post
from dujiang.quality import acts as quality
from dujiang.registry import acts as registry
from dujiang.registry.right import Basis, Right
from tests.ledger.foreign import ForeignLog
from tests.life import Life

PASSWORD = "a sentence is a good password"
NEW_PASSWORD = "another sentence is as good"
COUNTED = "select 性别, count(*) as n from 就诊 group by 性别"


@dataclass(frozen=True, slots=True)
class Played:
    """One act as it was run: who asked what, what came of it, and how many entries it left."""

    act: str
    caller: Caller
    ask: object
    reply: Any
    code: str | None
    entries: int
    receipt: dict[str, Any] | None


@dataclass(slots=True)
class Scenario:
    """A life, everything that was run in it, and the id of the contract it is about."""

    life: Life
    played: list[Played] = field(default_factory=list[Played])
    contract: str = ""

    def run(self, name: str, caller: Caller, ask: object) -> Any:
        """The reply of an act, noted."""
        before = self.life.size()
        outcome = self.life.home.run(name, caller, ask)
        entries = self.life.size() - before
        self.played.append(Played(name, caller, ask, outcome.reply, None, entries, outcome.receipt))
        return outcome.reply

    def refuse(self, name: str, caller: Caller, ask: object) -> None:
        """Runs an act that is refused, noted."""
        before = self.life.size()
        try:
            self.life.home.run(name, caller, ask)
        except Refused as refused:
            code = refused.code.name
            self.played.append(Played(name, caller, ask, None, code, self.life.size() - before, None))
        else:
            raise AssertionError(f"{name} was not refused")

    def deliver(self) -> None:
        """Delivers every message and marks it, as the loop does."""
        while letters := self.run("post.list", NODE, post.List()).items:
            for letter in letters:
                self.run("contract.hear", NODE, contract.Hear(letter.envelope))
                self.run("post.deliver", NODE, post.Deliver(letter.id, True))


def play(life: Life) -> Scenario:
    """The whole life; what it is about still stands at its end."""
    made = Scenario(life)
    _pruning(made)
    _people(made)
    product = _table(made)
    _rights(made)
    _contract(made, product)
    _questions(made)
    _money(made)
    _log(made)
    _figures(made)
    _keys(made)
    return made


def _people(made: Scenario) -> None:
    life, run = made.life, made.run
    run("identity.register", life.hospital, identity.Register("新机构", ("consumer",)))
    made.refuse("identity.register", life.hospital, identity.Register("新机构", ("consumer",)))
    run("identity.describe", life.hospital, identity.Describe("福建", "Q"))
    run("identity.describe", life.insurer, identity.Describe("44", "J"))
    made.refuse("identity.describe", life.insurer, identity.Describe("Atlantis"))
    person = run("identity.invite", life.insurer, identity.Invite("李", ("consumer",), PASSWORD)).person
    granted = run("identity.grant", life.insurer, identity.Grant(("consumer",), person))
    run("identity.revoke", life.insurer, identity.Revoke(granted.key))
    run("identity.grant", life.insurer, identity.Grant(("consumer",)))
    run("identity.show", NOBODY, identity.Show("保险公司"))
    run("identity.show", life.insurer, identity.Show())
    run("identity.list", life.insurer, identity.List())
    run("identity.login", NOBODY, identity.Login("保险公司", "李", PASSWORD))
    li = Caller(life.insurer.org, person, frozenset({"consumer"}))
    run("identity.password", li, identity.Password(PASSWORD, NEW_PASSWORD))
    run("identity.unlock", life.insurer, identity.Unlock(person))
    run("identity.assign", life.insurer, identity.Assign(person, ("consumer",)))
    made.refuse("identity.erase", life.insurer, identity.Erase(person))
    invited = run("identity.invite", life.insurer, identity.Invite("孙", ("consumer",)))
    run("identity.enter", NOBODY, identity.Enter(invited.token, PASSWORD))
    token = run("identity.link", life.insurer, identity.Link()).token
    session = run("identity.enter", NOBODY, identity.Enter(token)).session
    run("identity.leave", NOBODY, identity.Leave(session))
    made.refuse("identity.enter", NOBODY, identity.Enter(token))
    left = run("identity.invite", life.insurer, identity.Invite("周", ("consumer",))).person
    run("identity.revoke", life.insurer, identity.Revoke(left))
    run("identity.erase", life.insurer, identity.Erase(left))


def _table(made: Scenario) -> str:
    life, run = made.life, made.run
    upload = life.upload(life.hospital, 1, people=1500)
    run("registry.check", life.hospital, registry.Check(upload=upload, entity="编号"))
    product = run("catalogue.offer", life.hospital, catalogue.Offer(upload, "编号")).product
    registered = run(
        "registry.register",
        life.hospital,
        registry.Register(upload=life.upload(life.hospital, 2), entity="编号"),
    )
    run("registry.show", life.hospital, registry.Show(registered.resource))
    run("registry.export", life.hospital, registry.Export(registered.version))
    made.refuse("quality.show", life.hospital, quality.Show(registered.version))
    run("quality.grade", life.hospital, quality.Grade(registered.version))
    run("quality.show", life.hospital, quality.Show(registered.version))
    run("quality.show", life.insurer, quality.Show(registered.version))
    run("quality.export", life.hospital, quality.Export(registered.version))
    made.refuse("quality.export", life.insurer, quality.Export(registered.version))
    other = run(
        "catalogue.offer", life.hospital, catalogue.Offer(life.upload(life.hospital, 3), "编号")
    ).product
    run("catalogue.publish", life.hospital, catalogue.Publish(other, life.upload(life.hospital, 4), "编号"))
    run("catalogue.withdraw", life.hospital, catalogue.Withdraw(other))
    made.refuse("contract.request", life.insurer, contract.Request(other, "analyse"))
    run("catalogue.search", life.insurer, catalogue.Search("就诊"))
    run("catalogue.show", life.insurer, catalogue.Show(product))
    run("catalogue.list", life.hospital, catalogue.List())
    return product


def _rights(made: Scenario) -> None:
    life, run = made.life, made.run
    upload = life.upload(life.hospital, 5)
    basis = registry.Register(upload=upload, entity="编号", basis=Basis.collected)
    registered = run("registry.register", life.hospital, basis)
    to_rival = registry.Grant(registered.resource, "Rival Clinic", Right.operate, purposes=("analyse",))
    made.refuse("registry.grant", life.rival, to_rival)
    granted = run("registry.grant", life.hospital, to_rival)
    run("registry.list", life.hospital, registry.List())
    run("registry.list", life.rival, registry.List())
    shown = run("registry.export", life.rival, registry.Export(granted.grant)).certificate
    run("registry.verify", NOBODY, registry.Verify(shown))
    terms = TermsFile(purposes=("analyse",))
    operated = run(
        "catalogue.publish", life.rival, catalogue.Publish(registered.resource, terms=terms)
    ).product
    run("registry.revoke", life.hospital, registry.Revoke(granted.grant))
    made.refuse("contract.request", life.insurer, contract.Request(operated, "analyse"))
    run("registry.transfer", life.hospital, registry.Transfer(registered.resource, "Rival Clinic"))
    made.refuse("registry.withdraw", life.hospital, registry.Withdraw(registered.resource))
    run("registry.withdraw", life.rival, registry.Withdraw(registered.resource))


def _contract(made: Scenario, product: str) -> None:
    life, run = made.life, made.run
    begun = run("contract.request", life.insurer, contract.Request(product, "analyse"))
    made.deliver()
    made.contract = run("contract.show", life.insurer, contract.Show(begun.contract)).contract
    ended = run("contract.request", life.insurer, contract.Request(product, "analyse"))
    run("contract.terminate", life.insurer, contract.Terminate(ended.contract))
    run("contract.show", life.hospital, contract.Show(made.contract))
    run("contract.list", life.insurer, contract.List())
    run("contract.list", life.hospital, contract.List())
    _talk(made, product)


def _talk(made: Scenario, product: str) -> None:
    """A negotiation of people: asked, countered both ways, remarked on, accepted; and one that is refused."""
    life, run = made.life, made.run
    run("catalogue.answer", life.hospital, catalogue.Answer(product, Strategy.ask))
    for end in ("accept", "refuse"):
        begun = run("contract.request", life.insurer, contract.Request(product, "analyse")).contract
        made.deliver()
        (waiting,) = run("contract.inbox", life.hospital, contract.Inside()).waiting
        run("contract.comment", life.hospital, contract.Remark(waiting.contract, "请说明用途"))
        run("contract.counter", life.hospital, contract.Counter(waiting.contract, days=30, comment="30 天"))
        made.deliver()
        if end == "refuse":
            run("contract.refuse", life.insurer, contract.Refuse(begun, "太短"))
        else:
            run("contract.counter", life.insurer, contract.Counter(begun, days=20))
            made.deliver()
            run("contract.accept", life.hospital, contract.Accept(waiting.contract))
        made.deliver()
    run(
        "contract.look",
        life.insurer,
        contract.Look(run("contract.inbox", life.insurer, contract.Inside()).upto),
    )
    run("catalogue.answer", life.hospital, catalogue.Answer(product, Strategy.agree))


def _questions(made: Scenario) -> None:
    life, run = made.life, made.run
    run("cleanroom.check", life.insurer, cleanroom.Check((made.contract,), COUNTED))
    asked = run("cleanroom.ask", life.insurer, cleanroom.Ask((made.contract,), COUNTED))
    (job,) = run("cleanroom.pending", NODE, cleanroom.Pending()).jobs
    assert job == asked.job
    run("cleanroom.complete", NODE, cleanroom.Complete(job))
    made.refuse("cleanroom.complete", NODE, cleanroom.Complete(job))
    run("cleanroom.show", life.insurer, cleanroom.Show(job))
    run("cleanroom.show", life.hospital, cleanroom.Show(job))
    run("cleanroom.ask", life.insurer, cleanroom.Ask((made.contract,), COUNTED))
    run("cleanroom.ask", life.insurer, cleanroom.Ask((made.contract,), "select * from 就诊"))
    unwanted = run(
        "cleanroom.ask",
        life.insurer,
        cleanroom.Ask((made.contract,), COUNTED.replace("group", "where 体重 > 50 group")),
    )
    run("cleanroom.stop", life.hospital, cleanroom.Stop(unwanted.job))
    made.refuse("cleanroom.stop", life.insurer, cleanroom.Stop(unwanted.job))
    run("cleanroom.list", life.insurer, cleanroom.List())
    run("cleanroom.list", life.hospital, cleanroom.List())


def _money(made: Scenario) -> None:
    life, run = made.life, made.run
    life.quiet()  # what the ended negotiation left behind
    terms = TermsFile(price=Price("CNY", question_minor=300, row_minor=50))
    upload = life.upload(life.hospital, 5, people=1500)
    product = run("catalogue.offer", life.hospital, catalogue.Offer(upload, "编号", terms)).product
    begun = run("contract.request", life.insurer, contract.Request(product, "analyse"))
    made.deliver()
    paid = run("contract.show", life.insurer, contract.Show(begun.contract)).contract
    run("market.quote", life.insurer, market.Quote(product))
    quote = run("market.quote", life.insurer, market.Quote(contract=paid, sql=f"{COUNTED} limit 4"))
    run("market.deposit", life.hospital, market.Deposit("保险公司", "100", "CNY", "bank-1"))
    made.refuse("market.deposit", life.hospital, market.Deposit("保险公司", "100", "CNY", "bank-1"))
    run("market.order", life.insurer, market.Order(paid, quote=quote.quote))
    asked = run("cleanroom.ask", life.insurer, cleanroom.Ask((paid,), f"{COUNTED} limit 4"))
    run("cleanroom.complete", NODE, cleanroom.Complete(asked.job))
    run("cleanroom.show", life.insurer, cleanroom.Show(asked.job))
    run("market.order", life.insurer, market.Order(paid, "0.50", release=True))
    bill = run("market.bill", life.hospital, market.MakeBill(paid)).bill
    made.refuse("market.bill", life.hospital, market.MakeBill(paid))
    run("market.settle", life.hospital, market.Settle(bill))
    run("market.withdraw", life.hospital, market.Withdraw("市立医院", "3", "CNY", "bank-2"))
    note = run("market.refund", life.hospital, market.Refund(bill, "a wrong row", 2)).bill
    for caller in (life.insurer, life.hospital):
        run("market.show", caller, market.Show(bill))
        run("market.show", caller, market.Show(note))
        run("market.list", caller, market.List())
        run("market.statement", caller, market.Statement())
        run("market.export", caller, market.Export("beancount"))
    run("market.check", life.auditor, market.Check())


def _log(made: Scenario) -> None:
    life, run = made.life, made.run
    last = life.size() - 1
    for caller in (life.insurer, life.auditor):
        run("ledger.list", caller, ledger.List(limit=200))
        run("ledger.show", caller, ledger.Show(last))
        run("ledger.prove", caller, ledger.Show(last))
    run("ledger.list", life.insurer, ledger.List(about=made.contract))
    for caller in (life.insurer, life.auditor):
        run("ledger.search", caller, ledger.Search(contract=made.contract, act="cleanroom.ask"))
        run("ledger.replay", caller, ledger.Replay(made.contract))
        run("ledger.export", caller, ledger.Export(made.contract))
    assert run("ledger.fsck", life.auditor, ledger.Fsck()).agrees
    run("ledger.consistency", life.insurer, ledger.Consistency(3))
    readings = ({"meter": "m-1", "kwh": 1.5}, {"meter": "m-2", "kwh": 2})
    run("ledger.attest", life.insurer, ledger.Attest(readings, "meter.reading", made.contract))
    _witnesses(made)
    run("ledger.restore", NODE, ledger.Restore("data.example.org", 3, "00" * 32))


def _pruning(made: Scenario) -> None:
    """Records that are kept as long as a policy says, which was published before."""
    life, run = made.life, made.run
    run("ledger.attest", life.insurer, ledger.Attest(({"meter": "m-0"},), "meter.reading"))
    made.refuse("ledger.retain", life.hospital, ledger.Retain(179))
    run("ledger.retain", life.hospital, ledger.Retain(180))
    made.refuse("ledger.prune", life.hospital, ledger.Prune())
    life.clock.move(181 * 86_400_000)
    assert run("ledger.prune", life.hospital, ledger.Prune()).pruned == 1


def _witnesses(made: Scenario) -> None:
    """A log that is cosigned and then forks; a witness that answers."""
    life, run = made.life, made.run
    log, witness = ForeignLog().grow(7), ForeignLog("witness.example.org", 9)
    made.refuse("ledger.watch", life.insurer, ledger.Watch(()))
    run("ledger.watch", life.hospital, ledger.Watch(log.vkeys))
    assert run("ledger.cosign", NODE, ledger.Cosign(log.request(0).decode())).status == 200
    log.leaves[3] = bytes(32)
    assert run("ledger.cosign", NODE, ledger.Cosign(log.grow(9).request(7).decode())).status == 422
    run("ledger.forks", life.auditor, ledger.Forks())
    run("ledger.unwatch", life.hospital, ledger.Unwatch(log.origin))
    made.refuse("ledger.cosign", NODE, ledger.Cosign(log.request(7).decode()))
    key = note.Key(witness.origin, witness.keys[0].public, note.COSIGNATURE)
    run("ledger.appoint", life.hospital, ledger.Appoint("http://127.0.0.1:1/log", (key.line,)))
    run("ledger.quorum", life.hospital, ledger.Quorum(1))
    published = run("ledger.publish", NODE, ledger.Publish())
    head = note.read_checkpoint(published.note)
    line = note.cosigned(head, key, 1_780_000_000, witness.private.sign)
    assert run("ledger.collect", NODE, ledger.Collect(key.name, published.size, line)).kept == 1
    for caller in (life.hospital, life.insurer):
        run("ledger.witnesses", caller, ledger.Witnesses())
    run("ledger.quorum", life.hospital, ledger.Quorum(0))
    run("ledger.dismiss", life.hospital, ledger.Dismiss(key.name))


def _figures(made: Scenario) -> None:
    life, run = made.life, made.run
    for caller in (life.insurer, life.hospital, life.auditor):
        for by in By:
            run("observatory.show", caller, observatory.Show(by, period="2026-11", exact=True))
        run("observatory.list", caller, observatory.List("35-44"))
    run("observatory.show", life.auditor, observatory.Show())
    found = run("observatory.reconcile", life.auditor, observatory.Reconcile())
    assert found.findings == (), found.findings
    made.refuse("observatory.show", life.insurer, observatory.Show(period="2026-13"))
    made.refuse("observatory.list", life.insurer, observatory.List("35-Atlantis"))


def _keys(made: Scenario) -> None:
    """Last: what was signed before stays signed by the first key."""
    life, run = made.life, made.run
    run("identity.rotate", NODE, identity.Rotate((life.rival.org,)))
    made.refuse("identity.rotate", NODE, identity.Rotate())
    rotated = run("ledger.rotate", life.hospital, ledger.Rotate())
    made.refuse("ledger.rotate", life.hospital, ledger.Rotate())
    run("ledger.disown", life.hospital, ledger.Disown(rotated.old))
    made.refuse("ledger.disown", life.hospital, ledger.Disown("x"))
    run("ledger.keys", NOBODY, ledger.Keys())
