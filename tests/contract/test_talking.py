"""Negotiations in which people answer: what waits for whom, and that what is agreed is what was said last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dujiang.catalogue import acts as catalogue
from dujiang.catalogue.model import Strategy
from dujiang.contract import acts as contract
from dujiang.contract import rules, store, wire
from dujiang.contract.model import COMMENTS_MAX, Side, State
from dujiang.identity import acts as identity
from dujiang.identity.rules import verified
from dujiang.kernel.act import NODE, Caller
from dujiang.kernel.errors import Declined, Refused
from dujiang.policy.model import Noise, Price, Terms, TermsFile
from dujiang.policy.rules import terms_sha256
from dujiang.policy.wire import odrl_offer
from dujiang.post import acts as post
from tests.life import Life, opened

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node for the tests of this file."""
    with opened(tmp_path_factory.mktemp("talking")) as made:
        yield made


@pytest.fixture(scope="module")
def product(life: Life) -> str:
    """A product of the hospital whose requests a person answers."""
    made = life.offer(TermsFile(days=100, purposes=("analyse", "train")), salt=11).product
    life.run("catalogue.answer", life.hospital, catalogue.Answer(made, Strategy.ask))
    return made


def asked(life: Life, product: str, purpose: str = "analyse") -> tuple[str, str]:
    """The consumer's and the provider's id of a negotiation whose request was delivered."""
    own = life.run("contract.request", life.insurer, contract.Request(product, purpose)).contract
    life.quiet()
    with life.home.node.database.reading() as db:
        theirs = store.negotiation_with(db, life.hospital.org, life.did(life.insurer), own)
    assert theirs is not None
    return own, theirs.id


def show(life: Life, caller: Caller, wanted: str) -> contract.Shown:
    """What a side sees."""
    return life.run("contract.show", caller, contract.Show(wanted))


def waiting(life: Life, caller: Caller) -> list[str]:
    """The ids of what waits for an organisation, by its inbox and by its list alike."""
    inbox = [
        each.contract for each in life.run("contract.inbox", caller, contract.Inside(limit=1000)).waiting
    ]
    listed = life.run("contract.list", caller, contract.List(waiting=True, limit=1000)).items
    assert [each.contract for each in listed] == inbox
    return inbox


def final(life: Life, own: str, theirs: str) -> tuple[Terms, contract.Shown]:
    """The terms both sides pinned and signed in an active contract, and what the consumer sees."""
    life.quiet()
    shown = show(life, life.insurer, own)
    assert (shown.state, shown.status) == ("FINALIZED", "active")
    with life.home.node.database.reading() as db:
        found = [store.contract(db, org, shown.contract) for org in (life.insurer.org, life.hospital.org)]
        keys = [identity.organisation(db, org).public for org in (life.insurer.org, life.hospital.org)]
    mine, held = (each for each in found if each is not None)
    assert (mine.terms, mine.terms_sha256) == (held.terms, held.terms_sha256)
    for one in (mine, held):
        assert verified(str(one.consumer_signature), keys[0]) == rules.signing(one.terms)
        assert verified(one.provider_signature, keys[1]) == rules.signing(one.terms)
    terms = contract.terms_of(held)
    assert terms_sha256(terms) == held.terms_sha256 == show(life, life.hospital, theirs).terms_sha256
    return terms, shown


def test_a_request_waits_for_a_person_and_both_sides_know_it(life: Life, product: str) -> None:
    own, theirs = asked(life, product)
    mine, held = show(life, life.insurer, own), show(life, life.hospital, theirs)
    assert (mine.state, mine.waits_for, mine.done) == ("REQUESTED", "provider", True)
    assert (held.state, held.waits_for, held.done) == ("REQUESTED", "provider", True)
    assert theirs in waiting(life, life.hospital) and own not in waiting(life, life.insurer)
    size = life.size()
    accepted = life.run("contract.accept", life.hospital, contract.Accept(theirs))
    assert (accepted.state, life.size()) == ("AGREED", size + 1)
    terms, _ = final(life, own, theirs)
    assert terms == Terms(days=100, purposes=("analyse", "train"))
    assert theirs not in waiting(life, life.hospital)
    assert life.refused("contract.accept", life.hospital, contract.Accept(theirs)) == "out_of_turn"


def test_before_the_provider_has_it_a_request_waits_for_nobody(life: Life, product: str) -> None:
    own = life.run("contract.request", life.insurer, contract.Request(product, "analyse")).contract
    shown = show(life, life.insurer, own)
    assert (shown.waits_for, shown.done) == (None, False)
    life.quiet()
    assert show(life, life.insurer, own).waits_for is Side.provider


def test_a_refused_request_ends_on_both_sides_with_its_reason(life: Life, product: str) -> None:
    own, theirs = asked(life, product)
    life.run("contract.refuse", life.hospital, contract.Refuse(theirs, "not this year"))
    life.quiet()
    for caller, wanted in ((life.insurer, own), (life.hospital, theirs)):
        shown = show(life, caller, wanted)
        assert shown.state == "TERMINATED" and shown.declined == {
            "code": "request_declined", "names": {"reason": "refused"},
        }  # fmt: skip
        assert [(each.side, each.text) for each in shown.comments] == [("provider", "not this year")]
    assert life.refused("contract.refuse", life.hospital, contract.Refuse(theirs)) == "out_of_turn"


def test_what_is_agreed_is_what_was_said_last(life: Life, product: str) -> None:
    """A counter-offer, a changed request, another counter-offer, accepted: each pins its own terms."""
    own, theirs = asked(life, product)
    seen = {show(life, life.insurer, own).terms_sha256}
    for caller, wanted, other, days in (
        (life.hospital, theirs, (life.insurer, own), 30),
        (life.insurer, own, (life.hospital, theirs), 20),
        (life.hospital, theirs, (life.insurer, own), 25),
    ):
        made = life.run("contract.counter", caller, contract.Counter(wanted, days=days))
        life.quiet()
        heard = show(life, *other)
        assert heard.terms_sha256 == made.terms_sha256 not in seen
        assert [(c.term, c.published, c.now) for c in heard.changes] == [("days", "100", str(days))]
        assert other[1] in waiting(life, other[0]) and wanted not in waiting(life, caller)
        seen.add(made.terms_sha256)
    accepted = life.run("contract.accept", life.insurer, contract.Accept(own))
    assert accepted.state == "ACCEPTED" and not accepted.done
    terms, _ = final(life, own, theirs)
    assert terms == Terms(days=25, purposes=("analyse", "train"))


def test_a_provider_may_also_offer_more_and_the_consumer_then_ask_within_that(
    life: Life, product: str
) -> None:
    own, theirs = asked(life, product)
    life.run("contract.counter", life.hospital, contract.Counter(theirs, days=200, questions=9))
    life.quiet()
    life.run("contract.counter", life.insurer, contract.Counter(own, days=150))
    life.quiet()
    life.run("contract.accept", life.hospital, contract.Accept(theirs))
    terms, _ = final(life, own, theirs)
    assert (terms.days, terms.questions) == (150, 9)


def test_a_consumer_asks_for_nothing_beyond_what_was_offered(life: Life, product: str) -> None:
    own, theirs = asked(life, product)
    assert life.refused("contract.counter", life.insurer, contract.Counter(own, days=3)) == "out_of_turn"
    life.run("contract.counter", life.hospital, contract.Counter(theirs, days=30, questions=5))
    life.quiet()
    for more in ({"days": 101}, {"statistics": 51}, {"group_min": 2}, {"days": 101, "questions": 1}):
        ask = contract.Counter(own, **more)
        assert life.refused("contract.counter", life.insurer, ask) == "terms_beyond", more
    for wrong, code in (
        ({"days": 30}, "terms_same"), ({}, "terms_same"), ({"days": 0}, "terms_wrong"),
        ({"columns": ("nowhere",)}, "terms_wrong"), ({"days": 9, "comment": "\n\x07"}, "comment_unfit"),
    ):  # fmt: skip
        assert life.refused("contract.counter", life.insurer, contract.Counter(own, **wrong)) == code


def test_a_request_beyond_what_was_offered_is_ended_by_the_provider_even_if_its_node_sends_it(
    life: Life, product: str
) -> None:
    for change, purpose in ((Terms(days=999), "analyse"), (Terms(days=9, noise=Noise.exact), "analyse")):
        own, theirs = asked(life, product)
        life.run("contract.counter", life.hospital, contract.Counter(theirs, days=30))
        life.quiet()
        message = wire.request_again(theirs, own, odrl_offer(change, "ofr_x", product), purpose)
        life.hear(life.envelope(life.insurer, life.hospital, message))
        assert show(life, life.hospital, theirs).declined == {
            "code": "request_declined", "names": {"reason": "terms_beyond"},
        }  # fmt: skip
        life.quiet()


def test_a_changed_request_keeps_its_purpose_and_product(life: Life, product: str) -> None:
    other = life.offer(TermsFile(days=100), salt=12).product
    for target, purpose, expected in ((product, "train", "TERMINATED"), (other, "analyse", "refused")):
        own, theirs = asked(life, product)
        life.run("contract.counter", life.hospital, contract.Counter(theirs, days=30))
        life.quiet()
        terms = Terms(days=9, purposes=("analyse", "train"))
        message = wire.request_again(theirs, own, odrl_offer(terms, "ofr_x", target), purpose)
        ask = contract.Hear(life.envelope(life.insurer, life.hospital, message))
        if expected == "refused":
            assert life.refused("contract.hear", NODE, ask) == "message_unverified"
        else:
            assert life.run("contract.hear", NODE, ask).state == expected
        life.quiet()


def test_a_price_is_the_providers_to_change_and_what_is_agreed(life: Life, product: str) -> None:
    own, theirs = asked(life, product)
    cheap, dear = Price("CNY", question_minor=5), Price("CNY", question_minor=50)
    life.run("contract.counter", life.hospital, contract.Counter(theirs, days=10, price=dear))
    life.quiet()
    ask = contract.Counter(own, price=cheap)
    assert life.refused("contract.counter", life.insurer, ask) == "terms_beyond"
    life.run("contract.counter", life.insurer, contract.Counter(own, days=9))
    life.quiet()
    life.run("contract.accept", life.hospital, contract.Accept(theirs))
    terms, _ = final(life, own, theirs)
    assert (terms.days, terms.price) == (9, dear)


def test_a_counter_offer_keeps_what_accounts_are_counted_in(life: Life) -> None:
    exact = life.offer(TermsFile(noise=Noise.laplace), salt=13).product
    life.run("catalogue.answer", life.hospital, catalogue.Answer(exact, Strategy.ask))
    _, theirs = asked(life, exact)
    current = Terms(noise=Noise.laplace)
    for name, value in (("noise", Noise.exact), ("rho_micro", 1), ("ceiling_statistics", 9999)):
        changed = _with(current, name, value)
        refused = rules.counter_refused(Side.provider, changed, current, current)
        assert refused is not None and refused.name == "terms_base_differ"
    assert (
        life.refused("contract.counter", life.hospital, contract.Counter(theirs, purposes=("train",)))
        == "purpose_not_permitted"
    )


def _with(terms: Terms, name: str, value: Any) -> Terms:
    from dataclasses import replace

    return replace(terms, **{name: value})


def test_an_acceptance_of_other_terms_is_ended(life: Life, product: str) -> None:
    own, theirs = asked(life, product)
    life.run("contract.counter", life.hospital, contract.Counter(theirs, days=30))
    life.quiet()
    message = wire.event(theirs, own, "ACCEPTED", "0" * 64)
    heeded = life.hear(life.envelope(life.insurer, life.hospital, message))
    assert heeded.state == State.terminated
    life.quiet()
    assert show(life, life.insurer, own).state == "TERMINATED"


def test_a_withdrawn_product_is_not_agreed_on_by_anybody(life: Life) -> None:
    gone = life.offer(salt=14).product
    life.run("catalogue.answer", life.hospital, catalogue.Answer(gone, Strategy.ask))
    (one, kept), (two, other) = asked(life, gone), asked(life, gone)
    life.run("contract.counter", life.hospital, contract.Counter(other, days=3))
    life.quiet()
    life.run("catalogue.withdraw", life.hospital, catalogue.Withdraw(gone))
    size = life.size()
    reply = life.run("contract.accept", life.hospital, contract.Accept(kept))
    assert isinstance(reply, Declined) and reply.code.name == "product_withdrawn" and life.size() == size + 1
    assert show(life, life.hospital, kept).state == "REQUESTED", "refused by hand, or left"
    life.run("contract.accept", life.insurer, contract.Accept(two))
    life.quiet()
    assert show(life, life.insurer, two).declined is not None and one


def test_a_held_request_waits_from_its_day_on_and_may_be_answered_before(life: Life) -> None:
    day = rules.day(life.clock.now_ms() + 2 * DAY_MS).isoformat()
    upload = life.upload(life.hospital, 15)
    ask = catalogue.Offer(upload, "编号", strategy=Strategy.hold, until=day)
    held = life.run("catalogue.offer", life.hospital, ask).product
    (_, early), (_, late) = asked(life, held), asked(life, held)
    assert show(life, life.hospital, early).held_until == day
    assert {early, late}.isdisjoint(waiting(life, life.hospital))
    assert life.run("contract.accept", life.hospital, contract.Accept(early)).state == "AGREED"
    life.quiet()
    life.clock.move(2 * DAY_MS)
    assert late in waiting(life, life.hospital) and early not in waiting(life, life.hospital)


@pytest.mark.parametrize(
    ("strategy", "until"),
    [
        (Strategy.hold, None), (Strategy.hold, "tomorrow"), (Strategy.hold, "2026-02-30"), (Strategy.hold, "20260201"),
        (Strategy.ask, "2026-02-01"), (Strategy.agree, "2026-02-01"),
    ],
)  # fmt: skip
def test_only_what_is_held_has_a_day(life: Life, product: str, strategy: Strategy, until: str | None) -> None:
    ask = catalogue.Answer(product, strategy, until)
    assert life.refused("catalogue.answer", life.hospital, ask) == "hold_needs_day"


def test_a_strategy_is_its_providers_affair(life: Life, product: str) -> None:
    ask = catalogue.Answer(product, Strategy.agree)
    assert life.refused("catalogue.answer", life.rival, ask) == "not_found"
    shown = life.run("catalogue.show", life.insurer, catalogue.Show(product))
    assert not {"strategy", "answering", "until"} & set(type(shown).__dataclass_fields__)
    found = life.run("catalogue.search", life.insurer, catalogue.Search(limit=100)).items
    assert {each.strategy for each in found} == {None}
    own = life.run("catalogue.list", life.hospital, catalogue.List(limit=100)).items
    assert {each.product: each.strategy for each in own}[product] is Strategy.ask


def test_who_has_no_role_for_that_side_does_not_answer(life: Life, product: str) -> None:
    own, theirs = asked(life, product)
    weak = Caller(life.hospital.org, life.hospital.person, frozenset({"consumer"}))
    for act, ask in (
        ("contract.accept", contract.Accept(theirs)),
        ("contract.refuse", contract.Refuse(theirs)),
        ("contract.counter", contract.Counter(theirs, days=1)),
    ):
        assert life.refused(act, weak, ask) == "forbidden"
        assert life.refused(act, life.rival, ask) == "not_found"
        assert life.refused(
            act, life.insurer, type(ask)(own, days=1) if act.endswith("er") else type(ask)(own)
        ) == ("out_of_turn")


def test_remarks_are_kept_by_both_sides_in_order_and_bounded(life: Life, product: str) -> None:
    own, theirs = asked(life, product)
    for number in range(3):
        life.run("contract.comment", life.insurer, contract.Remark(own, f"c{number}"))
        life.run("contract.comment", life.hospital, contract.Remark(theirs, f"provider says {number}"))
    life.quiet()
    mine = [(each.side, each.text) for each in show(life, life.insurer, own).comments]
    held = [(each.side, each.text) for each in show(life, life.hospital, theirs).comments]
    for side in Side:
        assert [each for each in mine if each[0] is side] == [each for each in held if each[0] is side]
    assert len(mine) == 6
    for text in ("", "   ", "a\nb", "\x1b[2J", "x" * 1001, "\u202e"):
        assert life.refused("contract.comment", life.insurer, contract.Remark(own, text)) == "comment_unfit"
    for number in range(3, COMMENTS_MAX):
        life.run("contract.comment", life.insurer, contract.Remark(own, f"c{number}"))
    assert life.refused("contract.comment", life.insurer, contract.Remark(own, "more")) == "comments_full"
    life.quiet()
    ask = contract.Hear(life.envelope(life.insurer, life.hospital, wire.comment(theirs, own, "more")))
    assert life.refused("contract.hear", NODE, ask) == "message_unverified"
    told = [record.facts for record in life.records() if record.act in ("contract.comment", "contract.hear")]
    assert not any("provider says" in str(facts) for facts in told), "the log keeps the hash alone"


def test_a_third_organisation_remarks_nowhere(life: Life, product: str) -> None:
    own, theirs = asked(life, product)
    for receiver in (life.insurer, life.hospital):
        for message in (wire.comment(theirs, own, "hello"), wire.acknowledgement(theirs, own, "REQUESTED")):
            ask = contract.Hear(life.envelope(life.rival, receiver, message))
            assert life.refused("contract.hear", NODE, ask) == "not_found"
    assert show(life, life.insurer, own).comments == ()


def given_up(life: Life) -> None:
    """Every waiting message is given up, as after the last attempt."""
    for letter in life.letters():
        life.run("post.deliver", NODE, post.Deliver(letter.id, False, refused=True))


def test_what_cannot_be_delivered_is_shown_and_can_be_ended(life: Life, product: str) -> None:
    """At every step of a negotiation: whose message was given up may end it, and the other side hears that."""
    for steps, speaker, stuck in (
        (0, life.insurer, "REQUESTED"), (1, life.hospital, "AGREED"), (2, life.insurer, "VERIFIED"),
    ):  # fmt: skip
        life.run("catalogue.answer", life.hospital, catalogue.Answer(product, Strategy.agree))
        own = life.run("contract.request", life.insurer, contract.Request(product, "analyse")).contract
        for _ in range(steps):
            for envelope in life.taken():
                life.hear(envelope)
        given_up(life)
        with life.home.node.database.reading() as db:
            theirs = store.negotiation_with(db, life.hospital.org, life.did(life.insurer), own)
        wanted = own if speaker is life.insurer else theirs.id if theirs else ""
        shown = show(life, speaker, wanted)
        assert (shown.state, shown.undelivered, shown.done) == (stuck, True, True)
        inbox = life.run("contract.inbox", speaker, contract.Inside(limit=100))
        assert wanted in [each.contract for each in inbox.undelivered]
        ended = life.run("contract.terminate", speaker, contract.Terminate(wanted))
        assert (ended.state, ended.declined, ended.status) in (
            ("TERMINATED", None, None), ("TERMINATED", None, "terminated"),
        )  # fmt: skip
        if theirs is not None:
            life.quiet()
            assert (
                show(life, life.insurer, own).state
                == show(life, life.hospital, theirs.id).state
                == "TERMINATED"
            )
        assert life.refused("contract.terminate", speaker, contract.Terminate(wanted)) == "out_of_turn"
        given_up(life)
    life.run("catalogue.answer", life.hospital, catalogue.Answer(product, Strategy.ask))


def test_what_was_heard_though_nobody_knew_is_ended_too(life: Life, product: str) -> None:
    """Every acknowledgement of the consumer's signature was lost: the provider's contract is final, and ends."""
    life.run("catalogue.answer", life.hospital, catalogue.Answer(product, Strategy.agree))
    own = life.run("contract.request", life.insurer, contract.Request(product, "analyse")).contract
    for _ in range(2):
        for envelope in life.taken():
            life.hear(envelope)
    (verification,) = life.letters()
    life.hear(verification.envelope)
    given_up(life)
    agreed = show(life, life.insurer, own).contract
    assert show(life, life.hospital, agreed).status == "active"
    life.run("contract.terminate", life.insurer, contract.Terminate(own))
    for envelope in life.taken():
        message = contract.Hear(envelope)
        try:
            life.run("contract.hear", NODE, message)
        except Refused as refused:
            assert refused.code.name == "out_of_turn"
    assert show(life, life.hospital, agreed).status == show(life, life.insurer, agreed).status == "terminated"
    life.run("catalogue.answer", life.hospital, catalogue.Answer(product, Strategy.ask))


def test_an_acceptance_that_was_not_delivered_can_be_ended(life: Life, product: str) -> None:
    own, theirs = asked(life, product)
    life.run("contract.counter", life.hospital, contract.Counter(theirs, days=5))
    life.quiet()
    life.run("contract.accept", life.insurer, contract.Accept(own))
    assert life.refused("contract.terminate", life.insurer, contract.Terminate(own)) == "out_of_turn"
    given_up(life)
    life.run("contract.terminate", life.insurer, contract.Terminate(own))
    life.quiet()
    assert show(life, life.hospital, theirs).state == "TERMINATED"


def test_the_inbox_tells_what_others_did_once_and_to_each_person(life: Life, product: str) -> None:
    start = life.run("contract.inbox", life.hospital, contract.Inside(limit=1000)).upto
    life.run("contract.look", life.hospital, contract.Look(start))
    assert life.run("contract.inbox", life.hospital, contract.Inside()).news == ()
    own, theirs = asked(life, product)
    life.run("contract.comment", life.insurer, contract.Remark(own, "please"))
    life.quiet()
    life.run("contract.accept", life.hospital, contract.Accept(theirs))
    life.quiet()
    inbox = life.run("contract.inbox", life.hospital, contract.Inside())
    assert [each.kind for each in inbox.news] == ["verify", "comment", "request"]
    assert {each.peer for each in inbox.news} == {"保险公司"}
    mine = life.run("contract.inbox", life.insurer, contract.Inside(limit=1))
    assert [each.kind for each in mine.news] == ["finalize"]
    agreed = show(life, life.insurer, own).contract
    life.ask(agreed, "select count(*) as n from 就诊")
    asked_news = life.run("contract.inbox", life.hospital, contract.Inside(limit=1)).news
    assert [(each.act, each.peer) for each in asked_news] == [("cleanroom.ask", "保险公司")]
    done = life.run("contract.inbox", life.insurer, contract.Inside(limit=1)).news
    assert done[0].act == "cleanroom.complete" and (done[0].about or "").startswith("job_")
    life.run("contract.look", life.hospital, contract.Look(inbox.upto))
    assert len(life.run("contract.inbox", life.hospital, contract.Inside()).news) == 1
    life.run("contract.look", life.hospital, contract.Look(0))
    assert life.run("contract.look", life.insurer, contract.Look(2**52)).upto == len(life.records()), (
        "unheard of"
    )
    assert len(life.run("contract.inbox", life.hospital, contract.Inside()).news) == 1, "it does not go back"
    colleague = Caller(life.hospital.org, "per_other", life.hospital.roles)
    assert len(life.run("contract.inbox", colleague, contract.Inside()).news) > 3
    assert life.run("contract.inbox", life.rival, contract.Inside()).waiting == ()


def test_lists_are_filtered_by_side_state_and_what_waits(life: Life, product: str) -> None:
    own, _ = asked(life, product)
    listed = life.run("contract.list", life.insurer, contract.List(limit=1000)).items
    assert {"REQUESTED", "FINALIZED", "TERMINATED"} <= {each.state for each in listed}
    for state in ("requested", "TERMINATED", "active"):
        found = life.run("contract.list", life.insurer, contract.List(state=state, limit=1000)).items
        assert found and found == tuple(
            each for each in listed if state.lower() in (each.state.lower(), each.status)
        )
    assert life.run("contract.list", life.insurer, contract.List(side=Side.provider)).items == ()
    assert life.run("contract.list", life.hospital, contract.List(side=Side.consumer)).items == ()
    first = life.run("contract.list", life.insurer, contract.List(limit=1))
    assert first.items[0].contract == own == first.next
    assert life.run("contract.list", life.insurer, contract.List(first.next, 1)).items[0] == listed[1]


def test_what_waits_on_one_side_is_not_lost_behind_a_page_of_the_other(life: Life, product: str) -> None:
    begun = life.run("contract.request", life.rival, contract.Request(product, "analyse")).contract
    life.quiet()
    with life.home.node.database.reading() as db:
        theirs = store.negotiation_with(db, life.hospital.org, life.did(life.rival), begun)
    assert theirs is not None
    life.run("contract.counter", life.hospital, contract.Counter(theirs.id, days=20))
    life.quiet()
    made = life.run(
        "catalogue.offer",
        life.rival,
        catalogue.Offer(life.upload(life.rival, 12), "编号", strategy=Strategy.ask),
    )
    life.run("contract.request", life.insurer, contract.Request(made.product, "analyse"))
    life.quiet()
    both = life.run("contract.list", life.rival, contract.List(waiting=True)).items
    assert [each.side for each in both] == [Side.provider, Side.consumer]
    for side, state in ((Side.consumer, None), (None, "offered"), (Side.consumer, "OFFERED")):
        found = life.run(
            "contract.list", life.rival, contract.List(limit=1, side=side, state=state, waiting=True)
        )
        assert [each.contract for each in found.items] == [begun], (side, state)
