"""Every negotiation message we send holds to the Dataspace Protocol's own schema (DSP 2025-1)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft201909Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT201909

from dujiang.catalogue import acts as catalogue
from dujiang.catalogue.model import Strategy
from dujiang.contract import acts as contract
from dujiang.contract import wire
from dujiang.identity import acts as identity
from dujiang.identity.rules import did_document, verified
from dujiang.kernel.errors import Refused
from dujiang.policy.model import TermsFile
from tests.life import Life, opened

JUDGES = Path(os.environ.get("DUJIANG_JUDGES", Path(__file__).parents[3] / "shared"))
SCHEMAS = JUDGES / "dsp-2025-1"
pytestmark = pytest.mark.skipif(
    not SCHEMAS.is_dir(), reason="the protocol's schemas are not beside the clone"
)
FILES = {
    "ContractRequestMessage": "contract-request-message-schema.json",
    "ContractOfferMessage": "contract-offer-message-schema.json",
    "ContractNegotiation": "contract-negotiation-schema.json",
    "ContractAgreementMessage": "contract-agreement-message-schema.json",
    "ContractAgreementVerificationMessage": "contract-agreement-verification-message-schema.json",
    "ContractNegotiationEventMessage": "contract-negotiation-event-message-schema.json",
    "ContractNegotiationTerminationMessage": "contract-negotiation-termination-message-schema.json",
}


@cache
def registry() -> Registry[Any]:
    """Every schema of the protocol by its own id."""
    found = [json.loads(path.read_text("utf-8")) for path in SCHEMAS.rglob("*-schema.json")]
    return Registry().with_resources(
        [(each["$id"], Resource(each, DRAFT201909)) for each in found if "$id" in each]
    )


def judge(kind: str) -> Draft201909Validator:
    """The protocol's validator of a message."""
    schema = json.loads((SCHEMAS / "negotiation" / FILES[kind]).read_text("utf-8"))
    return Draft201909Validator(schema, registry=registry())


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node whose messages are judged."""
    with opened(tmp_path_factory.mktemp("dsp")) as made:
        yield made


@pytest.fixture(scope="module")
def messages(life: Life) -> dict[str, dict[str, Any]]:
    """One of every message, as two organisations really sent it."""
    product = life.offer(TermsFile(purposes=("analyse",), columns=("体重", "性别"), questions=5)).product
    found: dict[str, dict[str, Any]] = {}
    for kinds in ("whole", "ended"):
        begun = life.run("contract.request", life.insurer, contract.Request(product, "analyse"))
        if kinds == "ended":
            life.run("contract.terminate", life.insurer, contract.Terminate(begun.contract))
        while envelopes := life.taken():
            for envelope in envelopes:
                body = _body(life, envelope)
                found.setdefault(body["@type"], body)
                with suppress(Refused):  # the answer to a request that was ended meanwhile is out of turn
                    life.hear(envelope)
    _countered(life, product, found)
    return found


def _countered(life: Life, product: str, found: dict[str, dict[str, Any]]) -> None:
    """Adds the messages of a negotiation in which people answer; the changed request is kept as `again`."""
    life.run("catalogue.answer", life.hospital, catalogue.Answer(product, Strategy.ask))
    begun = life.run("contract.request", life.insurer, contract.Request(product, "analyse")).contract
    _passed(life, found)
    (held,) = life.run("contract.inbox", life.hospital, contract.Inside()).waiting
    life.run("contract.counter", life.hospital, contract.Counter(held.contract, days=30))
    _passed(life, found)
    life.run("contract.counter", life.insurer, contract.Counter(begun, days=20))
    (envelope,) = life.taken()
    found["again"] = _body(life, envelope)
    life.hear(envelope)
    life.run("contract.counter", life.hospital, contract.Counter(held.contract, days=25))
    _passed(life, found)
    life.run("contract.accept", life.insurer, contract.Accept(begun))
    (envelope,) = life.taken()
    found["accepted"] = _body(life, envelope)


def _passed(life: Life, found: dict[str, dict[str, Any]]) -> None:
    for envelope in life.taken():
        body = _body(life, envelope)
        found.setdefault(body["@type"], body)
        life.hear(envelope)


def _body(life: Life, envelope: str) -> dict[str, Any]:
    with life.home.node.database.reading() as db:
        keys = [identity.organisation(db, caller.org).public for caller in (life.insurer, life.hospital)]
    return next(claims["body"] for key in keys if (claims := verified(envelope, key)))


@pytest.mark.parametrize("kind", sorted(FILES))
def test_a_message_as_sent_is_valid(messages: dict[str, dict[str, Any]], kind: str) -> None:
    judge(kind).validate(json.loads(json.dumps(messages[kind])))


@pytest.mark.parametrize("kind", sorted(FILES))
def test_the_judge_says_no(messages: dict[str, dict[str, Any]], kind: str) -> None:
    for member in ("@context", "@type", "consumerPid"):
        less = {word: value for word, value in messages[kind].items() if word != member}
        if kind == "ContractRequestMessage" and member == "consumerPid":
            less["consumerPid"] = 7
        assert not judge(kind).is_valid(less), (kind, member)


def test_messages_within_a_negotiation_are_valid_too(messages: dict[str, dict[str, Any]]) -> None:
    for name, kind in (("again", "ContractRequestMessage"), ("accepted", "ContractNegotiationEventMessage")):
        assert messages[name]["@type"] == kind
        judge(kind).validate(json.loads(json.dumps(messages[name])))


def test_what_the_protocol_has_no_message_for_is_our_own_word(messages: dict[str, dict[str, Any]]) -> None:
    for own in (wire.end("ctr_1"), wire.comment("neg_1", "neg_2", "text")):
        assert own["@type"].startswith("https://")
    assert set(messages) - {"again", "accepted"} == set(FILES)


def test_a_did_document_names_the_key_the_messages_are_signed_with(life: Life) -> None:
    document = did_document(life.did(life.insurer), b"k" * 32)
    assert document["id"] == life.did(life.insurer)
