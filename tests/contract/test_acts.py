"""Contracts on a real home: two sides that know only messages end equal, whatever is done to these."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from dujiang.contract import acts as contract
from dujiang.contract import rules, store, wire
from dujiang.contract.model import Contract, Negotiation, Side, State
from dujiang.identity import acts as identity
from dujiang.identity.rules import verified
from dujiang.kernel.act import NODE, Caller
from dujiang.kernel.errors import Declined, Refused
from dujiang.kernel.ids import new_id
from dujiang.policy.model import Terms, TermsFile
from dujiang.policy.rules import terms_sha256
from dujiang.policy.wire import odrl_offer
from tests.contract.test_rules import LEGAL
from tests.life import Life, opened

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node for the tests of this file."""
    with opened(tmp_path_factory.mktemp("contract")) as made:
        yield made


@pytest.fixture(scope="module")
def product(life: Life) -> str:
    """A product of the hospital on the default terms."""
    return life.offer().product


def begin(life: Life, product: str) -> str:
    """The insurer's negotiation that began; its request waits in the outbox."""
    return life.run("contract.request", life.insurer, contract.Request(product, "analyse")).contract


def step(life: Life) -> list[str]:
    """Hears every waiting message; the envelopes that were heard."""
    envelopes = life.taken()
    for envelope in envelopes:
        life.hear(envelope)
    return envelopes


def body(life: Life, envelope: str, sender: Caller) -> dict[str, Any]:
    """The message in an envelope."""
    with life.home.node.database.reading() as db:
        claims = verified(envelope, identity.organisation(db, sender.org).public)
    assert claims is not None
    return claims["body"]


def both(life: Life, negotiation: str) -> tuple[Negotiation, Negotiation]:
    """The consumer's and the provider's record of a negotiation."""
    with life.home.node.database.reading() as db:
        own = store.negotiation(db, life.insurer.org, negotiation)
        assert own is not None
        theirs = store.negotiation_with(db, life.hospital.org, life.did(life.insurer), negotiation)
        assert theirs is not None
    return own, theirs


def contracts(life: Life, contract_id: str | None) -> list[Contract]:
    """Both sides' records of an agreement."""
    with life.home.node.database.reading() as db:
        found = [store.contract(db, org, str(contract_id)) for org in (life.insurer.org, life.hospital.org)]
    return [one for one in found if one is not None]


def ended(life: Life, negotiation: str, reason: str) -> None:
    """Both sides say terminated for that reason, and no contract is usable."""
    life.quiet()
    own, theirs = both(life, negotiation)
    assert own.state == theirs.state == State.terminated
    assert reason in (own.reason, theirs.reason)
    assert all(one.state != "active" for one in contracts(life, theirs.contract))


def test_a_negotiation_ends_with_equal_records_signed_by_both(life: Life, product: str) -> None:
    negotiation = begin(life, product)
    seen = [[type_of(life, e) for e in step(life)] for _ in range(4)]
    assert seen == [["request"], ["agree"], ["verify"], ["finalize"]] and life.letters() == []
    own, theirs = both(life, negotiation)
    assert (own.state, theirs.state) == (State.finalized, State.finalized)
    assert (own.peer_pid, theirs.peer_pid, own.contract) == (theirs.id, own.id, theirs.contract)
    one, other = contracts(life, own.contract)
    assert (one.terms, one.terms_sha256, one.state, other.state) == (
        other.terms,
        other.terms_sha256,
        "active",
        "active",
    )
    assert (one.provider_signature, one.consumer_signature) == (
        other.provider_signature,
        other.consumer_signature,
    )
    with life.home.node.database.reading() as db:
        keys = {org: identity.organisation(db, org).public for org in (life.insurer.org, life.hospital.org)}
    assert verified(one.provider_signature, keys[life.hospital.org]) == rules.signing(one.terms)
    assert verified(str(one.consumer_signature), keys[life.insurer.org]) == rules.signing(one.terms)


def type_of(life: Life, envelope: str) -> str | None:
    """The word of a message."""
    for sender in (life.insurer, life.hospital):
        try:
            return wire.word_of(body(life, envelope, sender))
        except AssertionError:
            continue
    return None


def test_every_message_twice_and_late_changes_nothing(life: Life, product: str) -> None:
    negotiation = begin(life, product)
    told: list[str] = []
    while envelopes := life.taken():
        for envelope in envelopes:
            life.hear(envelope)
            before = both(life, negotiation), life.size()
            for earlier in [*told, envelope]:
                assert life.refused("contract.hear", NODE, contract.Hear(earlier)) == "message_known"
            assert (both(life, negotiation), life.size()) == before
            told.append(envelope)
    assert [one.state for one in both(life, negotiation)] == [State.finalized] * 2


def test_a_lost_acknowledgement_is_answered_with_the_first_reply(life: Life, product: str) -> None:
    begin(life, product)
    (letter,) = life.letters()
    first = life.whole("contract.hear", NODE, contract.Hear(letter.envelope), letter.id)
    again = life.whole("contract.hear", NODE, contract.Hear(letter.envelope), letter.id)
    assert again.reply == first.reply
    life.quiet()


def test_messages_out_of_order_are_refused_and_heard_when_their_turn_comes(life: Life, product: str) -> None:
    negotiation = begin(life, product)
    step(life)
    own, theirs = both(life, negotiation)
    final = life.envelope(life.hospital, life.insurer, wire.event(theirs.id, own.id, "FINALIZED"))
    assert life.refused("contract.hear", NODE, contract.Hear(final)) == "out_of_turn"
    step(life)
    step(life)
    life.taken()
    life.hear(final)
    assert [one.state for one in both(life, negotiation)] == [State.finalized] * 2


@pytest.mark.parametrize(
    "change",
    [{"providerPid": "neg_x"}, {"consumerPid": "neg_x"}, {"consumerPid": None}, {"providerPid": 1}],
    ids=str,
)
def test_a_message_with_another_pid_is_not_found(life: Life, product: str, change: dict[str, Any]) -> None:
    negotiation = begin(life, product)
    step(life)
    step(life)
    own, theirs = both(life, negotiation)
    message = {**wire.event(theirs.id, own.id, "FINALIZED"), **change}
    assert (
        life.refused(
            "contract.hear", NODE, contract.Hear(life.envelope(life.hospital, life.insurer, message))
        )
        == "not_found"
    )
    life.quiet()


def test_a_third_organisation_is_heard_in_no_negotiation_but_its_own(life: Life, product: str) -> None:
    negotiation = begin(life, product)
    step(life)
    step(life)
    own, theirs = both(life, negotiation)
    for message in (
        wire.event(theirs.id, own.id, "FINALIZED"),
        wire.termination(theirs.id, own.id, "x"),
        wire.verification(theirs.id, own.id, "x"),
    ):
        for receiver in (life.insurer, life.hospital):
            envelope = life.envelope(life.rival, receiver, message)
            assert life.refused("contract.hear", NODE, contract.Hear(envelope)) == "not_found"
    life.quiet()
    assert [one.state for one in both(life, negotiation)] == [State.finalized] * 2


def test_a_request_for_anothers_product_is_not_found(life: Life, product: str) -> None:
    offered = life.run("catalogue.show", life.insurer, _card(product))
    message = wire.request(new_id("neg", 0), "https://x/dsp", offered.odrl | {"target": product}, "analyse")
    envelope = life.envelope(life.insurer, life.rival, message)
    assert life.refused("contract.hear", NODE, contract.Hear(envelope)) == "not_found"


def _card(product: str) -> Any:
    from dujiang.catalogue import acts as catalogue

    return catalogue.Show(product)


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        (
            "terms_differ",
            lambda m: m["offer"]["permission"][0]["constraint"].append(
                {"leftOperand": "count", "operator": "lteq", "rightOperand": "5"}
            ),
        ),
        ("terms_differ", lambda m: m["offer"].update({"@id": "ofr_other"})),
        ("product_withdrawn|not_found", lambda m: m["offer"].update({"target": "prd_x"})),
    ],
    ids=["terms", "offer", "product"],
)
def test_a_request_for_other_terms_is_terminated_by_the_provider(
    life: Life, product: str, reason: str, change: Callable[[dict[str, Any]], None]
) -> None:
    negotiation = begin(life, product)
    (envelope,) = life.taken()
    message = copy.deepcopy(body(life, envelope, life.insurer))
    change(message)
    life.hear(life.envelope(life.insurer, life.hospital, message))
    life.quiet()
    own, theirs = both(life, negotiation)
    assert (
        own.state == theirs.state == State.terminated
        and theirs.reason in reason.split("|")
        and own.reason == theirs.reason
    )


def test_a_policy_that_is_not_understood_is_refused(life: Life, product: str) -> None:
    begin(life, product)
    (envelope,) = life.taken()
    message = copy.deepcopy(body(life, envelope, life.insurer))
    message["offer"]["permission"][0]["constraint"][0]["leftOperand"] = "moonPhase"
    ask = contract.Hear(life.envelope(life.insurer, life.hospital, message))
    assert life.refused("contract.hear", NODE, ask) == "terms_unknown_operand"


def _signed_again(life: Life, message: dict[str, Any]) -> None:
    message[wire.SIGNATURE] = life.sign(
        life.hospital, {"typ": "agreement+jws"}, rules.signing(message["agreement"])
    )


ALTERED: dict[str, Callable[[Life, dict[str, Any]], None]] = {
    "terms": lambda life, m: m["agreement"]["permission"][0]["constraint"].pop(),
    "hash": lambda life, m: m["agreement"].update({wire.TERMS: "0" * 64}),
    "purpose": lambda life, m: m["agreement"].update({wire.PURPOSE: "train"}),
    "version": lambda life, m: m["agreement"].update({wire.VERSION: "9"}),
    "duty": lambda life, m: m["agreement"].update({"obligation": [{"action": "pay"}]}),
    "assignee": lambda life, m: m["agreement"].update({"assignee": life.did(life.rival)}),
    "missing": lambda life, m: m.update({"agreement": None}),
}


@pytest.mark.parametrize(("what", "signed"), [*itertools.product(sorted(ALTERED), [True, False])])
def test_an_altered_agreement_is_terminated_by_the_consumer_even_if_truly_signed(
    life: Life, product: str, what: str, signed: bool
) -> None:
    negotiation = begin(life, product)
    step(life)
    (envelope,) = life.taken()
    message = copy.deepcopy(body(life, envelope, life.hospital))
    ALTERED[what](life, message)
    if signed and message["agreement"]:
        _signed_again(life, message)
    life.hear(life.envelope(life.hospital, life.insurer, message))
    ended(life, negotiation, "agreement_differs")


@pytest.mark.parametrize("signature", ["", "x", "rival", "other agreement"])
def test_a_wrong_signature_of_the_provider_is_terminated_by_the_consumer(
    life: Life, product: str, signature: str
) -> None:
    negotiation = begin(life, product)
    step(life)
    (envelope,) = life.taken()
    message = copy.deepcopy(body(life, envelope, life.hospital))
    message[wire.SIGNATURE] = _wrong(life, life.hospital, signature, message["agreement"])
    life.hear(life.envelope(life.hospital, life.insurer, message))
    ended(life, negotiation, "agreement_differs")


@pytest.mark.parametrize("signature", ["", "x", "rival", "other agreement"])
def test_a_wrong_signature_of_the_consumer_is_terminated_by_the_provider(
    life: Life, product: str, signature: str
) -> None:
    negotiation = begin(life, product)
    step(life)
    step(life)
    (envelope,) = life.taken()
    message = copy.deepcopy(body(life, envelope, life.insurer))
    (held, _) = contracts(life, both(life, negotiation)[0].contract)
    message[wire.SIGNATURE] = _wrong(life, life.insurer, signature, held.terms)
    life.hear(life.envelope(life.insurer, life.hospital, message))
    ended(life, negotiation, "signature_differs")


def _wrong(life: Life, sender: Caller, kind: str, agreed: dict[str, Any]) -> str:
    if kind == "rival":
        return life.sign(life.rival, {"typ": "agreement+jws"}, rules.signing(agreed))
    if kind == "other agreement":
        return life.sign(sender, {"typ": "agreement+jws"}, rules.signing({**agreed, "timestamp": "x"}))
    return kind


def test_an_agreement_with_the_id_of_another_contract_is_terminated(life: Life, product: str) -> None:
    known = life.agree(product)
    negotiation = begin(life, product)
    step(life)
    (envelope,) = life.taken()
    message = copy.deepcopy(body(life, envelope, life.hospital))
    message["agreement"]["@id"] = known
    _signed_again(life, message)
    life.hear(life.envelope(life.hospital, life.insurer, message))
    ended(life, negotiation, "agreement_differs")
    assert life.run("contract.show", life.insurer, contract.Show(known)).status == "active"


CELLS = [
    (state, word, sender)
    for state, word, sender in itertools.product(
        State, ["offer", "accept", "agree", "verify", "finalize", "terminate"], Side
    )
    if state is not State.start
]


@pytest.mark.parametrize(("state", "word", "sender"), CELLS, ids=str)
def test_every_cell_heard_from_the_other_side(life: Life, state: State, word: str, sender: Side) -> None:
    speaker, hearer = (
        (life.insurer, life.hospital) if sender is Side.consumer else (life.hospital, life.insurer)
    )
    own, theirs = new_id("neg", 0), new_id("neg", 0)
    placed = Negotiation(
        hearer.org,
        own,
        sender.other(),
        life.did(speaker),
        theirs,
        "prd_x",
        "1",
        "analyse",
        odrl_offer(Terms(), "o", "prd_x"),
        terms_sha256(Terms()),
        state,
    )
    life.at(lambda tx: store.add_negotiation(tx.db, placed))
    pids = (theirs, own) if sender is Side.provider else (own, theirs)
    message = {
        "offer": wire.offer(*pids, odrl_offer(Terms(days=9), "o", "prd_x")),
        "accept": wire.event(*pids, "ACCEPTED"),
        "agree": wire.agreement(*pids, {}, "x"),
        "verify": wire.verification(*pids, "x"),
        "finalize": wire.event(*pids, "FINALIZED"),
        "terminate": wire.termination(*pids, "because"),
    }[word]
    ask = contract.Hear(life.envelope(speaker, hearer, message))
    legal = LEGAL.get((state, word, sender))
    if legal is None:
        assert life.refused("contract.hear", NODE, ask) == "out_of_turn"
    else:
        # An agreement or signature without worth is heard in its turn, and then answered with the end.
        # So is an acceptance of what is no longer there.
        ended_at_once = {"AGREED", "VERIFIED", "ACCEPTED"}
        expected = "TERMINATED" if legal in ended_at_once else legal
        assert life.run("contract.hear", NODE, ask).state == expected
    with life.home.node.database.reading() as db:
        after = store.negotiation(db, hearer.org, own)
    assert after is not None and (after == placed) is (legal is None)
    life.taken()


def test_a_negotiation_is_terminated_in_turn_and_the_other_side_hears(life: Life, product: str) -> None:
    negotiation = begin(life, product)
    step(life)
    agreed = both(life, negotiation)[1]
    assert life.refused("contract.terminate", life.hospital, contract.Terminate(agreed.id)) == "out_of_turn"
    life.quiet()
    assert [one.state for one in both(life, negotiation)] == [State.finalized] * 2
    early = begin(life, product)
    assert life.run("contract.terminate", life.insurer, contract.Terminate(early)).state == State.terminated
    assert life.refused("contract.terminate", life.insurer, contract.Terminate(early)) == "out_of_turn"
    life.quiet()
    assert [one.state for one in both(life, early)] == [State.terminated] * 2, (
        "also before it knew the provider's id"
    )
    assert [one.state for one in contracts(life, both(life, early)[1].contract)] == ["terminated"]
    late = begin_two(life, product)
    assert (
        life.run("contract.terminate", life.hospital, contract.Terminate(both(life, late)[1].id)).state
        == State.terminated
    )
    life.taken()


def begin_two(life: Life, product: str) -> str:
    """A negotiation whose provider stands where it may terminate: verified, not yet final."""
    negotiation = begin(life, product)
    (envelope,) = [letter for letter in life.taken() if type_of(life, letter) == "request"]
    life.hear(envelope)
    life.taken()
    own, theirs = both(life, negotiation)
    life.at(lambda tx: store.save_negotiation(tx.db, replace(theirs, state=State.verified), tx.now_ms))
    return negotiation


def test_a_contract_is_ended_once_by_either_side_and_for_both(life: Life, product: str) -> None:
    for caller, other in ((life.insurer, life.hospital), (life.hospital, life.insurer)):
        agreed = life.agree(product)
        shown = life.run("contract.terminate", caller, contract.Terminate(agreed))
        assert (shown.state, shown.status) == ("FINALIZED", "terminated")
        assert life.refused("contract.terminate", caller, contract.Terminate(agreed)) == "contract_not_active"
        life.quiet()
        assert life.run("contract.show", other, contract.Show(agreed)).status == "terminated"
        assert [one.state for one in contracts(life, agreed)] == ["terminated", "terminated"]


def test_a_request_that_the_terms_do_not_permit_is_declined_with_one_entry(life: Life) -> None:
    named = life.offer(TermsFile(recipients=("Rival Clinic",), purposes=("train",)), salt=2).product
    size = life.size()
    for caller, purpose, code in (
        (life.insurer, "train", "recipient_not_permitted"),
        (life.rival, "trade", "purpose_not_permitted"),
    ):
        reply = life.run("contract.request", caller, contract.Request(named, purpose))
        assert isinstance(reply, Declined) and reply.code.name == code
    assert life.size() == size + 2 and life.letters() == []
    life.agree(named, life.rival, "train")


def test_a_purpose_that_the_other_side_would_not_read_is_refused_before_a_message_is_sent(
    life: Life, product: str
) -> None:
    ask = contract.Request(product, "用" * 201)
    assert life.refused("contract.request", life.insurer, ask) == "purpose_too_long"
    assert life.letters() == []
    life.agree(product, life.insurer, "用" * 200)


def test_nobody_agrees_with_themselves_or_on_what_is_withdrawn_or_unknown(life: Life) -> None:
    from dujiang.catalogue import acts as catalogue

    own = Caller(life.hospital.org, life.hospital.person, frozenset({"consumer"}))
    gone = life.offer(salt=3).product
    assert life.refused("contract.request", own, contract.Request(gone, "analyse")) == "own_product"
    life.run("catalogue.withdraw", life.hospital, catalogue.Withdraw(gone))
    assert (
        life.refused("contract.request", life.insurer, contract.Request(gone, "analyse"))
        == "product_withdrawn"
    )
    assert life.refused("contract.request", life.insurer, contract.Request("prd_x", "analyse")) == "not_found"


def test_a_contract_is_usable_by_its_consumer_within_its_period(life: Life) -> None:
    agreed = life.agree(life.offer(TermsFile(days=2), salt=4).product)

    def usable(caller: Caller) -> str:
        with life.home.node.database.reading() as db:
            try:
                return contract.usable(db, caller.org, agreed, life.clock.now_ms()).org
            except Refused as refused:
                return refused.code.name

    assert usable(life.insurer) == life.hospital.org
    assert (usable(life.hospital), usable(life.rival)) == ("contract_not_yours_to_use", "not_found")
    life.clock.move(DAY_MS)
    assert usable(life.insurer) == life.hospital.org
    life.clock.move(DAY_MS)
    assert usable(life.insurer) == "period_over"


def negotiation_id(life: Life, wanted: str) -> str:
    """The insurer's own id of a negotiation, by any of its ids."""
    with life.home.node.database.reading() as db:
        one = store.negotiation(db, life.insurer.org, wanted)
        one = one or store.negotiation_of(db, life.insurer.org, wanted)
    assert one is not None
    return one.id


def test_lists_page_through_all_contracts_newest_first(life: Life, product: str) -> None:
    first = life.run("contract.list", life.insurer, contract.List(limit=1000))
    ids = [item.contract for item in first.items]
    begun = [negotiation_id(life, each) for each in ids]
    assert begun == sorted(begun, reverse=True) and first.next is None and len(ids) > 2
    paged: list[str] = []
    before = None
    while True:
        page = life.run("contract.list", life.insurer, contract.List(before, 20))
        paged += [item.contract for item in page.items]
        before = page.next
        if before is None:
            break
    assert paged == ids
