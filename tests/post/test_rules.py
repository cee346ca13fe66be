"""The form of an envelope and the times of delivery, as pure rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.post import rules

FROM, TO = "did:web:a:org:1", "did:web:b:org:2"
MESSAGE = {"@type": "ContractRequestMessage"}


def test_what_is_signed_fits() -> None:
    claims = rules.payload("ltr_1", FROM, TO, 1_780_000_000_999, MESSAGE)
    assert claims["iat"] == 1_780_000_000
    assert rules.fits(claims, FROM, TO) == MESSAGE


@pytest.mark.parametrize(
    "change",
    [
        {"iss": TO},
        {"iss": None},
        {"aud": FROM},
        {"aud": [TO]},
        {"jti": ""},
        {"jti": "x" * 101},
        {"jti": 1},
        {"body": []},
        {"body": None},
        {"body": {}},
        {"body": {"@type": 1}},
        {"body": "x"},
    ],
    ids=str,
)
def test_another_form_does_not_fit(change: dict[str, Any]) -> None:
    claims = {**rules.payload("ltr_1", FROM, TO, 0, MESSAGE), **change}
    assert rules.fits(claims, FROM, TO) is None


def test_waits_double_up_to_the_longest() -> None:
    waits = [rules.next_try_ms(0, attempts, 60) // 1000 for attempts in range(1, 10)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(st.integers(1, 10_000), st.integers(1, 10**6))
def test_a_wait_is_never_shorter_than_the_one_before_nor_longer_than_the_longest(
    attempts: int, longest: int
) -> None:
    one, other = (rules.next_try_ms(7, n, longest) - 7 for n in (attempts, attempts + 1))
    assert 1000 <= one <= other <= longest * 1000


def test_messages_of_one_negotiation_are_one_thread_and_any_other_is_alone() -> None:
    pid = {"consumerPid": "neg_1"}
    assert (
        rules.thread_of("ltr_1", pid) == rules.thread_of("ltr_2", {**pid, "providerPid": "neg_2"}) == "neg_1"
    )
    assert rules.thread_of("ltr_3", {"agreementId": "ctr_1"}) == "ltr_3"
