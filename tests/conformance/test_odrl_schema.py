"""Our offers hold to the Dataspace Protocol's own schema (DSP 2025-1, contract-schema.json)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from jsonschema import Draft201909Validator

from dujiang.policy import wire
from dujiang.policy.model import Terms
from tests.policy.test_rules import TERMS

JUDGES = Path(os.environ.get("DUJIANG_JUDGES", Path(__file__).parents[3] / "shared"))
SCHEMA = JUDGES / "dsp-2025-1" / "negotiation" / "contract-schema.json"
pytestmark = pytest.mark.skipif(
    not SCHEMA.is_file(), reason="the protocol's schemas are not beside the clone"
)


def _judge(definition: str) -> Draft201909Validator:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    return Draft201909Validator({**schema, "allOf": [{"$ref": f"#/definitions/{definition}"}]})


@given(TERMS)
def test_a_message_carries_an_offer_with_its_target(terms: Terms) -> None:
    _judge("MessageOffer").validate(json.loads(json.dumps(wire.odrl_offer(terms, "ofr_1", "prd_1"))))


@given(TERMS)
def test_a_catalogue_carries_an_offer_without_target(terms: Terms) -> None:
    _judge("Offer").validate(json.loads(json.dumps(wire.odrl_offer(terms, "ofr_1"))))


def test_the_judge_says_no() -> None:
    offer = wire.odrl_offer(Terms(), "ofr_1", "prd_1")
    assert not _judge("Offer").is_valid(offer)
    offer["permission"][0]["constraint"][0]["rightOperand"] = 7
    assert not _judge("MessageOffer").is_valid(offer)
