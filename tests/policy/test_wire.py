"""Terms in ODRL and in files: what is written is read back, what is not understood is denied."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.kernel.errors import Refused
from dujiang.policy import wire
from dujiang.policy.model import Noise, Terms
from tests.policy.test_rules import OTHER, TERMS

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(TERMS)
def test_an_offer_is_read_back_as_the_same_terms(terms: Terms) -> None:
    assert wire.terms_of_odrl(json.loads(json.dumps(wire.odrl_offer(terms, "ofr_1")))) == terms


def test_an_agreement_is_read_too() -> None:
    agreed = {
        **wire.odrl_offer(Terms(**OTHER), "a", "prd_1"),
        "@type": "Agreement",
        "assigner": "did:web:p",
        "assignee": "did:web:c",
        "timestamp": "2026-03-01T00:00:00Z",
    }
    assert wire.terms_of_odrl(agreed) == Terms(**OTHER)


def _rule(offer: dict[str, Any]) -> dict[str, Any]:
    return offer["permission"][0]


def _first(offer: dict[str, Any]) -> dict[str, Any]:
    return _rule(offer)["constraint"][0]


FOREIGN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "prohibition": lambda offer: offer.update(prohibition=[{"action": "distribute"}]),
    "obligation": lambda offer: offer.update(obligation=[{"action": "delete"}]),
    "another member": lambda offer: offer.update(inheritFrom="x"),
    "another type": lambda offer: offer.update({"@type": "Set"}),
    "another profile": lambda offer: offer.update(profile="https://example.org/profile"),
    "two permissions": lambda offer: offer["permission"].append(copy.deepcopy(_rule(offer))),
    "no permission": lambda offer: offer.update(permission=[]),
    "another action": lambda offer: _rule(offer).update(action="distribute"),
    "an action object": lambda offer: _rule(offer).update(action={"@id": "use"}),
    "a duty": lambda offer: _rule(offer).update(duty=[{"action": "compensate"}]),
    "a target in the rule": lambda offer: _rule(offer).update(target="x"),
    "another operand": lambda offer: _first(offer).update(leftOperand="spatial"),
    "an operand of another namespace": lambda offer: _first(offer).update(leftOperand="https://x/ns#days"),
    "another operator": lambda offer: _first(offer).update(operator="neq"),
    "a number": lambda offer: _rule(offer)["constraint"][2].update(rightOperand=7),
    "a padded number": lambda offer: _rule(offer)["constraint"][2].update(rightOperand="07"),
    "a unit": lambda offer: _first(offer).update(unit="x"),
    "a constraint twice": lambda offer: _rule(offer)["constraint"].append(copy.deepcopy(_first(offer))),
    "a logical constraint": lambda offer: _rule(offer)["constraint"].append({"or": []}),
    "constraints that are no list": lambda offer: _rule(offer).update(constraint={}),
    "a refinement": lambda offer: _first(offer).update(rightOperandReference="x"),
    "a payment of another form": lambda offer: _paid(offer).update(rightOperand="100.0"),
    "a payment of a half unit": lambda offer: _paid(offer).update(rightOperand="100.005"),
    "a payment of nothing": lambda offer: _paid(offer).update(rightOperand="0.00"),
    "a payment as a number": lambda offer: _paid(offer).update(rightOperand=100),
    "at most a payment": lambda offer: _paid(offer).update(operator="lteq"),
    "two currencies": lambda offer: _paid(offer, 1, 1).update(rightOperand="USD"),
    "a payment for another part": lambda offer: _paid(offer, 0, 2).update(rightOperand="download"),
    "a payment twice": lambda offer: offer["obligation"].append(copy.deepcopy(offer["obligation"][0])),
    "a payment and more": lambda offer: offer["obligation"][0].update(consequence=[]),
    "an empty obligation": lambda offer: offer.update(obligation=[]),
    "shares of nothing": lambda offer: offer.update(obligation=offer["obligation"][-1:]),
    "a share without a number": lambda offer: _paid(offer, -1, 1).update(rightOperand="half"),
    "another noise": lambda offer: _noise(offer).update(rightOperand="none"),
    "list of numbers": lambda offer: _first(offer).update(rightOperand=[1]),
}


def _paid(offer: dict[str, Any], duty: int = 0, operand: int = 0) -> dict[str, Any]:
    return offer["obligation"][duty]["constraint"][operand]


def _noise(offer: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in _rule(offer)["constraint"] if each["rightOperand"] == "laplace")


@pytest.mark.parametrize("name", list(FOREIGN))
def test_what_is_not_understood_is_denied(name: str) -> None:
    offer = wire.odrl_offer(Terms(**OTHER), "ofr_1")
    FOREIGN[name](offer)
    with pytest.raises(Refused) as refused:
        wire.terms_of_odrl(offer)
    assert refused.value.code.name == "terms_unknown_operand"


@given(JUNK)
def test_junk_is_denied_and_never_crashes(junk: object) -> None:
    with pytest.raises(Refused):
        wire.terms_of_odrl(junk)


def test_understood_terms_out_of_their_limits_are_refused() -> None:
    offer = wire.odrl_offer(Terms(group_min=1), "ofr_1")
    with pytest.raises(Refused) as refused:
        wire.terms_of_odrl(offer)
    assert refused.value.code.name == "terms_wrong"


TOML = """
purposes = ["分析"]
until = 2027-01-31
noise = "laplace"
title_zh = "体检"

[fields.age]
uses = ["filter", "aggregate"]
lo = 0
hi = 120

[fields."出生日期"]
lo = 1900-01-01
hi = "2029-12-31"
"""


def test_a_toml_and_a_json_file_say_the_same() -> None:
    file = wire.terms_file("\ufeff" + TOML)
    assert (file.until, file.noise, file.fields["出生日期"].lo) == ("2027-01-31", Noise.laplace, "1900-01-01")
    written = {
        "purposes": ["分析"],
        "until": "2027-01-31",
        "noise": "laplace",
        "title_zh": "体检",
        "fields": {
            "age": {"uses": ["filter", "aggregate"], "lo": 0, "hi": 120},
            "出生日期": {"lo": "1900-01-01", "hi": "2029-12-31"},
        },
    }
    assert wire.terms_file(json.dumps(written)) == file


@pytest.mark.parametrize(
    ("text", "code", "names"),
    [
        ('days = 3\nnoise = "secret', "terms_unreadable", {"line": "2"}),
        ('{"days": 3,\n "x" 1}', "terms_unreadable", {"line": "2"}),
        ("{" + "[" * 100_000, "terms_unreadable", {"line": "1"}),
        ("dayz = 3", "unknown_field", {"name": "dayz"}),
        ('days = "secret"', "malformed", {"place": "$.days"}),
        ('noise = "secret"', "malformed", {"place": "$.noise"}),
    ],
)
def test_a_wrong_file_is_refused_without_its_values(text: str, code: str, names: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        wire.terms_file(text)
    assert refused.value.code.name == code
    assert names.items() <= refused.value.names.items()
    assert "secret" not in str(refused.value.names)
