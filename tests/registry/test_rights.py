"""Rights on a real home: who may offer what, when it ends, and what that does to products and contracts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from dujiang.catalogue import acts as catalogue
from dujiang.catalogue.model import Strategy
from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contract
from dujiang.kernel.act import Caller
from dujiang.kernel.errors import Declined, Refused
from dujiang.ledger import acts as ledger
from dujiang.policy.model import Noise, TermsFile
from dujiang.registry import acts
from dujiang.registry.right import Basis, CaseKind, DataClass, Limits, Right
from tests.life import Life, opened

DAY_MS = 86_400_000
HOSPITAL, INSURER, RIVAL = "市立医院", "保险公司", "Rival Clinic"
COUNTED = "select 性别, count(*) as n from 就诊 group by 性别"
_salt = iter(range(100, 10_000))


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node for the tests of this file; each brings content of its own."""
    with opened(tmp_path_factory.mktemp("rights")) as made:
        yield made


def registered(life: Life, **said: Any) -> acts.Registration:
    """A resource of the hospital with content of its own."""
    upload = life.upload(life.hospital, next(_salt), people=200)
    return life.run("registry.register", life.hospital, acts.Register(upload, "编号", **said))


def granted(life: Life, resource: str, to: str = RIVAL, **said: Any) -> acts.Granted:
    """A right the hospital grants: to operate, unless said otherwise."""
    ask = acts.Grant(resource, to, **{"right": Right.operate, **said})
    return life.run("registry.grant", life.hospital, ask)


def operated(life: Life, resource: str, **terms: Any) -> str:
    """A product of the rival over a resource it does not hold."""
    ask = catalogue.Publish(resource, terms=TermsFile(**terms))
    return life.run("catalogue.publish", life.rival, ask).product


def found(life: Life) -> list[str]:
    """The products anybody finds."""
    return [each.product for each in life.run("catalogue.search", life.insurer, catalogue.Search()).items]


def day(life: Life, ahead: int = 0) -> str:
    """A UTC day from the node's today."""
    from dujiang.registry.wire import instant

    return instant(life.clock.now_ms() + ahead * DAY_MS)[:10]


def test_registering_gives_all_three_rights_and_the_case_says_on_what_ground(life: Life) -> None:
    made = registered(life, basis=Basis.collected, data_class=DataClass.general)
    shown = life.run("registry.show", life.hospital, acts.Show(made.resource))
    assert (shown.state, shown.basis, shown.data_class) == ("registered", "collected", "general")
    assert set(shown.rights) == set(Right)
    assert [(case.number, case.kind, case.version) for case in shown.cases] == [
        (made.registration, CaseKind.first, made.version)
    ]
    items = life.run("registry.list", life.hospital, acts.List(made.resource)).items
    assert {(item.right, item.side, item.chain, item.state) for item in items} == {
        (right, "registered", HOSPITAL, "live") for right in Right
    }


def test_a_new_version_is_a_change_and_the_ground_is_declared_once(life: Life) -> None:
    first = registered(life)
    upload = life.upload(life.hospital, next(_salt))
    ask = acts.Register(upload, "编号", resource=first.resource, basis=Basis.derived)
    life.run("registry.register", life.hospital, ask)
    shown = life.run("registry.show", life.hospital, acts.Show(first.resource))
    assert [case.kind for case in shown.cases] == [CaseKind.first, CaseKind.change]
    assert shown.basis == "derived"
    for other in (Basis.licensed, Basis.crawled):
        again = acts.Register(
            life.upload(life.hospital, next(_salt)), "编号", resource=first.resource, basis=other
        )
        assert life.refused("registry.register", life.hospital, again) == "basis_fixed"
    assert len(life.run("registry.show", life.hospital, acts.Show(first.resource)).versions) == 2


def test_core_data_are_not_registered_and_public_gathering_gives_nothing_to_offer(life: Life) -> None:
    upload = life.upload(life.hospital, next(_salt))
    core = acts.Register(upload, "编号", data_class=DataClass.core)
    assert life.refused("registry.register", life.hospital, core) == "core_data"
    offer = catalogue.Offer(upload, "编号", basis=Basis.crawled)
    assert life.refused("catalogue.offer", life.hospital, offer) == "right_missing"
    made = registered(life, basis=Basis.crawled)
    ask = acts.Grant(made.resource, RIVAL, Right.use)
    assert life.refused("registry.grant", life.hospital, ask) == "right_missing"
    move = acts.Transfer(made.resource, RIVAL)
    assert life.refused("registry.transfer", life.hospital, move) == "right_missing"


def test_an_operator_publishes_over_a_resource_of_another_and_no_row_changes_hands(life: Life) -> None:
    made = registered(life)
    publish = catalogue.Publish(made.resource, terms=TermsFile())
    assert life.refused("catalogue.publish", life.rival, publish) == "not_found"
    granted(life, made.resource)
    reply = life.run("catalogue.publish", life.rival, publish)
    assert (reply.registered, reply.proposal, reply.loss) == (made.version, None, None)
    card = life.run("catalogue.show", life.insurer, catalogue.Show(reply.product))
    assert (card.provider, card.holder) == (RIVAL, HOSPITAL)
    assert life.refused("registry.show", life.rival, acts.Show(made.resource)) == "not_found"
    assert life.refused("registry.export", life.rival, acts.Export(made.version)) == "not_found"
    new = acts.Register(life.upload(life.rival, next(_salt)), "编号", resource=made.resource)
    assert life.refused("registry.register", life.rival, new) == "not_found"
    file = catalogue.Publish(reply.product, life.upload(life.rival, next(_salt)), "编号")
    assert life.refused("catalogue.publish", life.rival, file) == "not_found"
    newer = life.run(
        "registry.register",
        life.hospital,
        acts.Register(life.upload(life.hospital, next(_salt), 200), "编号", resource=made.resource),
    )
    assert (
        life.run("catalogue.publish", life.rival, catalogue.Publish(reply.product)).registered
        == newer.version
    )


def test_who_holds_the_rows_sees_each_question_that_reads_them(life: Life) -> None:
    made = registered(life)
    granted(life, made.resource)
    product = operated(life, made.resource)
    agreed = life.agree(product)
    assert not isinstance(life.ask(agreed, COUNTED), Declined)
    provider = Caller(life.hospital.org, life.hospital.person, frozenset({"provider"}))
    seen = life.run("ledger.list", provider, ledger.List(about=product)).items
    told = {entry.act: entry.facts for entry in seen}
    assert {"cleanroom.ask", "cleanroom.complete"} <= set(told)
    assert told["cleanroom.ask"]["org"] == life.insurer.org and "person" not in told["cleanroom.ask"]
    job = told["cleanroom.ask"]["job"]
    assert life.refused("cleanroom.show", provider, cleanroom.Show(job)) == "not_found"


def test_two_products_of_one_resource_spend_one_account(life: Life) -> None:
    """Whoever offers the rows, what is answered about them is counted once and together."""
    made = registered(life)
    granted(life, made.resource)
    own = life.run(
        "catalogue.publish", life.hospital, catalogue.Publish(made.resource, terms=TermsFile(statistics=10))
    )
    theirs = operated(life, made.resource, statistics=10)
    first, second = life.agree(own.product), life.agree(theirs)
    left = life.ask(first, COUNTED)
    quote = life.run("cleanroom.check", life.insurer, cleanroom.Check((second,), COUNTED))
    assert not isinstance(left, Declined)
    assert quote.statistics_left == left.statistics_left == 10 - left.statistics


@pytest.mark.parametrize(
    "terms",
    [
        {"statistics": 51},
        {"ceiling_statistics": 201},
        {"rho_micro": 5001},
        {"group_min": 9},
        {"dominance_percent": 51},
        {"noise": Noise.exact},
        {"join_keys": ("编号",)},
        {"purposes": None},
        {"purposes": ("analyse", "train")},
    ],
    ids=str,
)
def test_an_operator_promises_nothing_beyond_its_grant(life: Life, terms: dict[str, Any]) -> None:
    made = registered(life, join_keys=("编号",))
    granted(life, made.resource, purposes=("分析",))
    ask = catalogue.Publish(made.resource, terms=TermsFile(**{"purposes": ("analyse",), **terms}))
    assert life.refused("catalogue.publish", life.rival, ask) == "terms_beyond_right"
    product = operated(life, made.resource, purposes=("analyse",))
    again = catalogue.Publish(product, terms=ask.terms)
    assert life.refused("catalogue.publish", life.rival, again) == "terms_beyond_right"


def test_an_operator_agrees_to_nothing_beyond_its_grant_in_a_negotiation(life: Life) -> None:
    made = registered(life)
    granted(life, made.resource, limits=Limits(statistics=20))
    product = operated(life, made.resource, statistics=10)
    life.run("catalogue.answer", life.rival, catalogue.Answer(product, Strategy.ask))
    begun = life.run("contract.request", life.insurer, contract.Request(product, "analyse"))
    life.quiet()
    waiting = life.run("contract.inbox", life.rival, contract.Inside()).waiting
    (waits,) = [each for each in waiting if each.product == product]
    wider = contract.Counter(waits.contract, statistics=21)
    assert life.refused("contract.counter", life.rival, wider) == "right_ended"
    life.run("contract.counter", life.rival, contract.Counter(waits.contract, statistics=20))
    life.quiet()
    life.run("contract.accept", life.insurer, contract.Accept(begun.contract))
    life.quiet()
    shown = life.run("contract.show", life.insurer, contract.Show(begun.contract))
    assert shown.status == "active" and not isinstance(life.ask(shown.contract, COUNTED), Declined)


def test_what_the_holder_limits_stays_so(life: Life) -> None:
    made = registered(life, join_keys=("编号", "性别"))
    limits = Limits(columns=("性别",), recipients=(INSURER,), join_keys=("编号",), partners=(HOSPITAL,))
    granted(life, made.resource, limits=limits)
    good: dict[str, Any] = {"columns": ("性别",), "recipients": (INSURER,)}
    for wrong in (
        {"columns": None},
        {"columns": ("性别", "体重")},
        {"recipients": None},
        {"recipients": (INSURER, HOSPITAL)},
        {"join_keys": ("编号", "性别")},
        {"join_keys": ("编号",)},
        {"join_keys": ("编号",), "partners": (HOSPITAL, INSURER)},
    ):
        ask = catalogue.Publish(made.resource, terms=TermsFile(**{**good, **wrong}))
        assert life.refused("catalogue.publish", life.rival, ask) == "terms_beyond_right", wrong
    assert operated(life, made.resource, **good)
    assert operated(life, made.resource, **good, join_keys=("编号",), partners=(HOSPITAL,))


def test_revoking_ends_the_product_its_negotiations_and_its_contracts_at_once(life: Life) -> None:
    made = registered(life)
    grant = granted(life, made.resource)
    product = operated(life, made.resource)
    agreed = life.agree(product)
    assert not isinstance(life.ask(agreed, COUNTED), Declined)
    begun = life.run("contract.request", life.insurer, contract.Request(product, "analyse"))
    assert product in found(life)
    life.run("registry.revoke", life.hospital, acts.Revoke(grant.grant))
    assert product not in found(life)
    life.quiet()
    late = life.run("contract.show", life.insurer, contract.Show(begun.contract))
    assert late.state == "TERMINATED" and late.declined["names"]["reason"] == "right_ended"
    ask = contract.Request(product, "analyse")
    assert life.refused("contract.request", life.insurer, ask) == "right_ended"
    other = "select count(*) from 就诊"
    for name, question in (
        ("cleanroom.ask", cleanroom.Ask((agreed,), other)),
        ("cleanroom.check", cleanroom.Check((agreed,), other)),
    ):
        reply = life.run(name, life.insurer, question)
        assert isinstance(reply, Declined) and reply.code.name == "right_ended"
    (item,) = [
        i for i in life.run("catalogue.list", life.rival, catalogue.List()).items if i.product == product
    ]
    assert item.state == "right_ended"
    assert life.refused("registry.revoke", life.hospital, acts.Revoke(grant.grant)) == "not_found"


def test_a_page_of_what_is_found_goes_on_past_what_is_not_offered_any_more(life: Life) -> None:
    made = registered(life)
    grant = granted(life, made.resource)
    first = operated(life, made.resource)
    gone = [operated(life, made.resource) for _ in range(3)]
    other = life.run("catalogue.publish", life.hospital, catalogue.Publish(registered(life).resource)).product
    life.run("registry.revoke", life.hospital, acts.Revoke(grant.grant))
    seen: list[str] = []
    after: str | None = None
    for _ in range(50):
        page = life.run("catalogue.search", life.insurer, catalogue.Search(limit=2, after=after))
        seen += [item.product for item in page.items]
        after = page.after
        if after is None:
            break
    assert other in seen and not {first, *gone} & set(seen)
    assert len(seen) == len(set(seen))


def test_revoking_stops_a_question_that_runs(life: Life) -> None:
    made = registered(life)
    grant = granted(life, made.resource)
    agreed = life.agree(operated(life, made.resource))
    asked = life.run("cleanroom.ask", life.insurer, cleanroom.Ask((agreed,), COUNTED))
    life.run("registry.revoke", life.hospital, acts.Revoke(grant.grant))
    life.quiet()
    shown = life.run("cleanroom.show", life.insurer, cleanroom.Show(asked.job))
    assert (shown.state, shown.rows) == ("stopped", ())


def test_a_right_ends_with_its_last_day(life: Life) -> None:
    made = registered(life)
    granted(life, made.resource, start=day(life, 1), until=day(life, 2))
    publish = catalogue.Publish(made.resource, terms=TermsFile())
    assert life.refused("catalogue.publish", life.rival, publish) == "not_found"
    life.clock.move(DAY_MS)
    product = operated(life, made.resource)
    agreed = life.agree(product)
    life.clock.move(DAY_MS)
    assert product in found(life)
    life.clock.move(DAY_MS)
    assert product not in found(life)
    reply = life.run("cleanroom.check", life.insurer, cleanroom.Check((agreed,), COUNTED))
    assert isinstance(reply, Declined) and reply.code.name == "right_ended"


def test_a_chain_ends_from_the_link_that_is_cut(life: Life) -> None:
    made = registered(life)
    first = granted(life, made.resource, onward=True, until=day(life, 30))
    to_insurer = acts.Grant(made.resource, INSURER, Right.operate)
    second = life.run("registry.grant", life.rival, to_insurer)
    assert (second.until, second.limits) == (first.until, Limits())
    beyond = acts.Grant(made.resource, INSURER, Right.operate, until=day(life, 31))
    assert life.refused("registry.grant", life.rival, beyond) == "right_beyond"
    onward = acts.Grant(made.resource, HOSPITAL, Right.operate)
    operator = Caller(life.insurer.org, life.insurer.person, frozenset({"provider"}))
    assert life.refused("registry.grant", operator, onward) == "right_beyond"
    (item,) = life.run("registry.list", operator, acts.List(made.resource)).items
    assert (item.chain, item.side) == (f"{HOSPITAL} → {RIVAL} → {INSURER}", "received")
    assert life.run("registry.revoke", life.hospital, acts.Revoke(first.grant)).ended == 2
    (item,) = life.run("registry.list", operator, acts.List(made.resource)).items
    assert item.state == "revoked"
    assert life.records()[-1].facts["parties"] == sorted([life.rival.org, life.insurer.org])


def test_rights_come_in_pages_each_once(life: Life) -> None:
    made = registered(life)
    for to in (RIVAL, INSURER):
        granted(life, made.resource, to)
    for resource in (made.resource, None):
        whole = life.run("registry.list", life.hospital, acts.List(resource, limit=1000)).items
        seen: list[acts.Item] = []
        before: str | None = None
        while True:
            page = life.run("registry.list", life.hospital, acts.List(resource, before, limit=2))
            seen += page.items
            before = page.next
            if before is None:
                break
        assert tuple(seen) == whole
        assert {item.side for item in whole} == {"registered", "given"} and len(whole) >= 5


def test_only_who_gave_a_grant_or_has_it_ends_it(life: Life) -> None:
    made = registered(life)
    grant = granted(life, made.resource, onward=True)
    below = life.run("registry.grant", life.rival, acts.Grant(made.resource, INSURER, Right.operate))
    ask = acts.Revoke(below.grant)
    assert life.refused("registry.revoke", life.hospital, ask) == "not_found"
    operator = Caller(life.insurer.org, life.insurer.person, frozenset({"provider"}))
    assert life.refused("registry.revoke", operator, acts.Revoke(grant.grant)) == "not_found"
    assert life.run("registry.revoke", operator, ask).ended == 1
    assert life.records()[-1].facts["end"] == "renounced"
    roots = life.run("registry.list", life.hospital, acts.List(made.resource)).items
    root = next(item.grant for item in roots if item.side == "registered")
    assert life.refused("registry.revoke", life.hospital, acts.Revoke(root)) == "not_found"


def test_a_transfer_leaves_nothing_but_what_was_granted_goes_on(life: Life) -> None:
    made = registered(life)
    own = life.run("catalogue.publish", life.hospital, catalogue.Publish(made.resource, terms=TermsFile()))
    agreed = life.agree(own.product)
    grant = granted(life, made.resource, INSURER, right=Right.use)
    moved = life.run("registry.transfer", life.hospital, acts.Transfer(made.resource, RIVAL))
    assert moved.kept == ()
    for name, ask in (
        ("registry.show", acts.Show(made.resource)),
        ("registry.grant", acts.Grant(made.resource, INSURER, Right.use)),
        ("registry.revoke", acts.Revoke(grant.grant)),
        ("registry.transfer", acts.Transfer(made.resource, INSURER)),
        ("registry.withdraw", acts.Withdraw(made.resource)),
    ):
        assert life.refused(name, life.hospital, ask) == "not_found"
    reply = life.run("cleanroom.check", life.insurer, cleanroom.Check((agreed,), COUNTED))
    assert isinstance(reply, Declined) and reply.code.name == "right_ended"
    shown = life.run("registry.show", life.rival, acts.Show(made.version))
    assert [(case.kind, case.org) for case in shown.cases] == [
        (CaseKind.first, life.hospital.org),
        (CaseKind.transfer, life.rival.org),
    ]
    (item,) = life.run("registry.list", life.insurer, acts.List(made.resource)).items
    assert (item.state, item.chain) == ("live", f"{RIVAL} → {INSURER}")
    assert life.run("registry.revoke", life.rival, acts.Revoke(grant.grant)).ended == 1


def test_who_keeps_the_right_to_operate_goes_on_until_it_is_revoked(life: Life) -> None:
    made = registered(life)
    terms = TermsFile(statistics=80, group_min=5)
    own = life.run("catalogue.publish", life.hospital, catalogue.Publish(made.resource, terms=terms))
    agreed = life.agree(own.product)
    ask = acts.Transfer(made.resource, RIVAL, keep=(Right.operate,))
    (kept,) = life.run("registry.transfer", life.hospital, ask).kept
    assert own.product in found(life) and not isinstance(life.ask(agreed, COUNTED), Declined)
    life.run("registry.revoke", life.rival, acts.Revoke(kept))
    assert own.product not in found(life)


def test_content_sold_is_not_registered_again_by_the_seller(life: Life) -> None:
    """A fresh registration would be a fresh account of privacy over the rows, and a right that was sold."""
    salt = next(_salt)
    upload = life.upload(life.hospital, salt, people=200)
    made = life.run("registry.register", life.hospital, acts.Register(upload, "编号"))
    life.run("registry.transfer", life.hospital, acts.Transfer(made.resource, RIVAL))
    again = acts.Register(life.upload(life.hospital, salt, people=200), "编号")
    assert life.refused("registry.register", life.hospital, again) == "content_transferred"
    by_buyer = acts.Register(life.upload(life.rival, salt, people=200), "编号")
    assert life.run("registry.register", life.rival, by_buyer).resource == made.resource
    life.run("registry.transfer", life.rival, acts.Transfer(made.resource, HOSPITAL))
    assert life.run("registry.register", life.hospital, again).resource == made.resource


def test_a_withdrawal_ends_every_right_and_forgets_no_account(life: Life) -> None:
    salt = next(_salt)
    upload = life.upload(life.hospital, salt, people=200)
    own = life.run(
        "catalogue.offer", life.hospital, catalogue.Offer(upload, "编号", TermsFile(statistics=10))
    )
    granted(life, own.resource)
    theirs = operated(life, own.resource, statistics=10)
    agreed = life.agree(own.product)
    spent = life.ask(agreed, COUNTED)
    assert not isinstance(spent, Declined)
    ended = life.run("registry.withdraw", life.hospital, acts.Withdraw(own.resource))
    assert ended.ended == 4
    assert {own.product, theirs} & set(found(life)) == set()
    assert (
        life.refused("registry.withdraw", life.hospital, acts.Withdraw(own.resource)) == "resource_withdrawn"
    )
    publish = catalogue.Publish(own.resource, terms=TermsFile())
    assert life.refused("catalogue.publish", life.hospital, publish) == "not_found"
    assert life.run("registry.show", life.hospital, acts.Show(own.resource)).state == "withdrawn"
    again = life.run("registry.register", life.hospital, acts.Register(upload, "编号", basis=Basis.licensed))
    assert again.resource == own.resource and again.registration not in (own.certificate, ended.registration)
    shown = life.run("registry.show", life.hospital, acts.Show(own.resource))
    kinds = [CaseKind.first, CaseKind.cancellation, CaseKind.first]
    assert (shown.state, [case.kind for case in shown.cases]) == ("registered", kinds)
    assert theirs not in found(life), "what was granted before does not come back"
    quote = life.run(
        "cleanroom.check", life.insurer, cleanroom.Check((agreed,), "select avg(体重) from 就诊")
    )
    assert quote.statistics_left == spent.statistics_left


def test_a_grant_is_refused_to_oneself_and_to_nobody_and_for_what_is_not_one_s_own(life: Life) -> None:
    made = registered(life)
    for ask, code in (
        (acts.Grant(made.resource, HOSPITAL, Right.use), "grant_self"),
        (acts.Grant(made.resource, "nobody", Right.use), "not_found"),
        (acts.Grant("res_x", RIVAL, Right.use), "not_found"),
        (acts.Grant(made.resource, RIVAL, Right.use, limits=Limits()), "grant_wrong"),
        (acts.Grant(made.resource, RIVAL, Right.use, until="tomorrow"), "grant_wrong"),
        (acts.Grant(made.resource, RIVAL, Right.use, start=day(life, -1)), "grant_wrong"),
        (acts.Grant(made.resource, RIVAL, Right.use, under="rgt_x"), "right_missing"),
    ):
        assert life.refused("registry.grant", life.hospital, ask) == code
    theirs = acts.Grant(made.resource, INSURER, Right.use)
    assert life.refused("registry.grant", life.rival, theirs) == "not_found"


@pytest.mark.parametrize("seed", range(4))
def test_who_may_operate_is_what_a_plain_account_of_the_acts_says(life: Life, seed: int) -> None:
    """Random grants, revocations, transfers and days against a naive book of who gave what to whom."""
    chance = random.Random(seed)
    made = registered(life)
    people = {
        HOSPITAL: life.hospital,
        RIVAL: life.rival,
        INSURER: Caller(life.insurer.org, life.insurer.person, frozenset({"provider"})),
    }
    book: dict[str, tuple[str, str, str, str, str | None, bool]] = {}
    """grant -> giver, taker, parent ("" the registration), first day, last day, onward."""
    holder = HOSPITAL

    def valid(name: str, today: str) -> bool:
        if name == "":
            return True
        if name not in book:
            return False
        _, _, parent, start, until, _ = book[name]
        return start <= today and (until is None or today <= until) and valid(parent, today)

    for _ in range(25):
        giver, taker = chance.sample(sorted(people), 2)
        step = chance.random()
        if step < 0.6:
            start = day(life, chance.randrange(3))
            until = chance.choice([None, day(life, 2 + chance.randrange(3))])
            onward = chance.random() < 0.7
            ask = acts.Grant(made.resource, taker, Right.operate, start, until, onward)
            try:
                done = life.run("registry.grant", people[giver], ask)
            except Refused:
                continue
            under = life.records()[-1].facts["under"]
            parent = under if under in book else ""
            assert valid(parent, day(life)) and (parent == "" or book[parent][5])
            assert parent or giver == holder
            book[done.grant] = (giver, taker, parent, done.start, done.until, done.onward)
        elif step < 0.8 and book:
            name = chance.choice(sorted(book))
            try:
                life.run("registry.revoke", people[giver], acts.Revoke(name))
            except Refused:
                assert giver not in book[name][:2]
                continue
            gone = {name}
            while more := {n for n, each in book.items() if each[2] in gone} - gone:
                gone |= more
            book = {n: each for n, each in book.items() if n not in gone}
        elif step < 0.9 and giver == holder:
            life.run("registry.transfer", people[holder], acts.Transfer(made.resource, taker))
            holder = taker
            book = {n: (taker, *each[1:]) if each[2] == "" else each for n, each in book.items()}
        else:
            life.clock.move(DAY_MS)
        today = day(life)
        with life.home.node.database.reading() as db:
            for name, caller in people.items():
                has = bool(acts.operating(db, caller.org, made.resource, life.clock.now_ms()))
                expected = name == holder or any(
                    each[1] == name and valid(n, today) for n, each in book.items()
                )
                assert has == expected, (name, book)
