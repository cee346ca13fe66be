"""The negotiation is the Dataspace Protocol's table: every cell, both senders; and what an agreement pins."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from dujiang.contract import rules, wire
from dujiang.contract.model import NEGOTIATION, Contract, Negotiation, Side, State
from dujiang.kernel.errors import Refused
from dujiang.policy.model import Terms
from dujiang.policy.rules import terms_sha256
from dujiang.policy.wire import odrl_offer

WORDS = ("request", "offer", "accept", "agree", "verify", "finalize", "terminate")
# Written from the protocol's figure of states, not from the code: state, message, sender -> state.
LEGAL = {
    ("START", "request", "consumer"): "REQUESTED",
    ("START", "offer", "provider"): "OFFERED",
    ("REQUESTED", "offer", "provider"): "OFFERED",
    ("REQUESTED", "agree", "provider"): "AGREED",
    ("REQUESTED", "terminate", "consumer"): "TERMINATED",
    ("REQUESTED", "terminate", "provider"): "TERMINATED",
    ("OFFERED", "request", "consumer"): "REQUESTED",
    ("OFFERED", "accept", "consumer"): "ACCEPTED",
    ("OFFERED", "terminate", "consumer"): "TERMINATED",
    ("OFFERED", "terminate", "provider"): "TERMINATED",
    ("ACCEPTED", "agree", "provider"): "AGREED",
    ("ACCEPTED", "terminate", "provider"): "TERMINATED",
    ("AGREED", "verify", "consumer"): "VERIFIED",
    ("AGREED", "terminate", "consumer"): "TERMINATED",
    ("VERIFIED", "finalize", "provider"): "FINALIZED",
    ("VERIFIED", "terminate", "provider"): "TERMINATED",
}
CELLS = list(itertools.product(State, WORDS, Side))
OFFER = odrl_offer(Terms(days=9), "ofr_1", "prd_1")
ASKED = Negotiation(
    "org_2",
    "neg_2",
    Side.consumer,
    "did:web:p",
    None,
    "prd_1",
    "1",
    "analyse",
    OFFER,
    terms_sha256(Terms(days=9)),
    State.requested,
)
AGREED: dict[str, Any] = wire.agreed_of(
    "ctr_1",
    "prd_1",
    OFFER,
    "did:web:p",
    "did:web:c",
    "2026-01-01T00:00:00Z",
    "analyse",
    ASKED.terms_sha256,
    "1",
)


@pytest.mark.parametrize(("state", "word", "sender"), CELLS, ids=lambda one: str(one))
def test_a_cell_steps_as_the_protocol_says_or_is_out_of_turn(state: State, word: str, sender: Side) -> None:
    after = LEGAL.get((state, word, sender))
    if after is None:
        with pytest.raises(Refused) as refused:
            rules.stepped(state, word, sender)
        assert refused.value.code.name == "out_of_turn"
    else:
        assert rules.stepped(state, word, sender) == after


def test_the_table_has_these_sixteen_cells_and_no_other() -> None:
    assert len(CELLS) == 112 and len(LEGAL) == 16
    assert {tuple(map(str, cell)): str(after) for cell, after in NEGOTIATION.table.items()} == LEGAL
    assert {state for state in State if NEGOTIATION.terminal(state)} == {State.finalized, State.terminated}


def test_every_message_has_its_word_and_nothing_else_has() -> None:
    said = [wire.word_of({"@type": kind}) for kind in wire.MESSAGES] + [
        wire.word_of(wire.event("p", "c", kind)) for kind in ("ACCEPTED", "FINALIZED")
    ]
    assert set(said) == {*WORDS, "end", "comment", "acknowledge"}
    for other in (
        {},
        {"@type": 1},
        {"@type": ["ContractRequestMessage"]},
        {"@type": "x"},
        wire.event("p", "c", "OTHER"),
    ):
        assert wire.word_of(other) is None


def test_an_agreement_as_asked_fits() -> None:
    assert rules.fits_request(AGREED, ASKED, "did:web:c")
    assert rules.pinned(AGREED) == Terms(days=9)


@pytest.mark.parametrize(
    "change",
    [
        {"assigner": "did:web:x"},
        {"assignee": "did:web:x"},
        {"target": "prd_2"},
        {wire.PURPOSE: "train"},
        {wire.TERMS: "0" * 64},
        {wire.VERSION: "2"},
        {"permission": []},
        {"permission": odrl_offer(Terms(days=8), "o")["permission"]},
        {"@id": ""},
        {"@id": None},
        {"@id": 1},
        {"prohibition": [{"action": "use"}]},
        {"obligation": [{"action": "pay"}]},
        {"profile": "other"},
    ],
    ids=str,
)
def test_an_agreement_that_differs_from_what_was_asked_does_not_fit(change: dict[str, Any]) -> None:
    assert not rules.fits_request({**AGREED, **change}, ASKED, "did:web:c")
    for member in change:
        less = {word: value for word, value in AGREED.items() if word != member}
        assert member not in AGREED or not rules.fits_request(less, ASKED, "did:web:c")


def test_what_is_signed_changes_with_every_word_of_the_agreement() -> None:
    signed = {str(rules.signing({**AGREED, word: "x"})) for word in AGREED} | {str(rules.signing(AGREED))}
    assert len(signed) == len(AGREED) + 1


@pytest.mark.parametrize(
    ("asked", "purpose", "recipient", "code"),
    [
        (Terms(), "analyse", "did:web:c", None),
        (Terms(days=364), "analyse", "did:web:c", "terms_differ"),
        (Terms(statistics=51), "analyse", "did:web:c", "terms_differ"),
        (Terms(questions=1), "analyse", "did:web:c", "terms_differ"),
    ],
)
def test_only_the_offered_terms_are_agreed_at_once(
    asked: Terms, purpose: str, recipient: str, code: str | None
) -> None:
    request = rules.Request("neg_2", "prd_1", purpose, OFFER, asked)
    found = rules.answer_at_once(request, Terms(), (recipient,), date(2026, 1, 1))
    assert (found.name if found else None) == code


def test_a_purpose_or_recipient_the_terms_do_not_permit_is_not_agreed() -> None:
    terms = Terms(purposes=("train",), recipients=("did:web:c",))
    request = rules.Request("neg_2", "prd_1", "train", OFFER, terms)
    day = date(2026, 1, 1)
    assert rules.answer_at_once(request, terms, ("did:web:c",), day) is None
    assert rules.answer_at_once(request, terms, ("did:web:d",), day) is not None
    assert rules.answer_at_once(replace(request, purpose="trade"), terms, ("did:web:c",), day) is not None


@pytest.mark.parametrize(
    ("terms", "used", "later_days", "permitted"),
    [
        (Terms(questions=2), 1, 0, True),
        (Terms(questions=2), 2, 0, False),
        (Terms(days=3), 0, 2, True),
        (Terms(days=3), 0, 3, False),
        (Terms(days=1), 0, 0, True),
        (Terms(until="2026-01-05"), 0, 4, True),
        (Terms(until="2026-01-05"), 0, 5, False),
        (Terms(recipients=("x",)), 0, 0, False),
        (Terms(purposes=("train",)), 0, 0, False),
    ],
)
def test_a_use_is_within_the_terms_or_refused(
    terms: Terms, used: int, later_days: int, permitted: bool
) -> None:
    agreed_ms = 1_767_225_600_000  # 2026-01-01T00:00Z
    held = Contract(
        "org_1",
        "ctr_1",
        Side.provider,
        "did:web:c",
        "prd_1",
        "1",
        "analyse",
        AGREED,
        "",
        agreed_ms,
        "active",
        "",
        "",
        used,
        "neg_1",
    )
    refused = rules.use_refused(held, terms, ("Consumer", "did:web:c"), agreed_ms + later_days * 86_400_000)
    assert (refused is None) is permitted, refused


@pytest.mark.parametrize("lost", ["consumerPid", "offer", wire.PURPOSE])
def test_a_request_without_one_of_its_parts_is_not_read(lost: str) -> None:
    message = wire.request("neg_2", "https://x/dsp", OFFER, "analyse")
    read = rules.read_request(message)
    assert read is not None and (read.consumer_pid, read.product, read.purpose, read.terms) == (
        "neg_2",
        "prd_1",
        "analyse",
        Terms(days=9),
    )
    assert rules.read_request({word: value for word, value in message.items() if word != lost}) is None


def test_text_is_read_at_a_path_or_not_at_all() -> None:
    assert wire.text_at({"a": {"b": "c"}}, "a", "b") == "c"
    for message in ({}, {"a": 1}, {"a": []}, {"a": {"b": 1}}, {"a": {"b": ""}}, {"a": {"b": "x" * 501}}):
        assert wire.text_at(message, "a", "b") is None
