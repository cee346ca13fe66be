"""Canonical JSON is RFC 8785: number forms, key order and escapes, beside another implementation."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from dujiang.kernel.canonical import canonical, sha256_hex

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
    ],
)
def test_numbers_have_the_form_of_appendix_b(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number).decode() == text


def test_keys_are_sorted_by_utf16_code_units() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    assert list(json.loads(canonical(dict.fromkeys(keys)))) == [
        "\r",
        "1",
        "\u0080",
        "\u00f6",
        "\u20ac",
        "\U0001f600",
        "\ufb33",
    ]


def test_only_what_must_be_is_escaped() -> None:
    given_text = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/\b\f\t\r\x7f\u2028é"
    assert canonical(given_text).decode() == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/\\b\\f\\t\\r\x7f\u2028é"'


@given(JSON)
@example([1e21, 1e-7, -0.0, 0.1 + 0.2, {"é": 1, "e\u0301": 2}])
def test_another_implementation_writes_the_same_bytes(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(JSON)
def test_reading_gives_the_value_and_writing_again_the_bytes(value: Any) -> None:
    # A float beyond 2**53 may be written without a point, as ECMAScript does: it is read as the float it was.
    again = json.loads(
        canonical(value), parse_int=lambda text: float(text) if abs(int(text)) >= 2**53 else int(text)
    )
    assert again == value
    assert canonical(again) == canonical(value)


@given(JSON, JSON)
def test_equal_values_have_equal_bytes_and_others_do_not(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) is _same(one, other)
    assert (sha256_hex(one) == sha256_hex(other)) is _same(one, other)


@given(st.dictionaries(TEXT, NUMBERS, min_size=2, max_size=6))
def test_the_order_of_members_does_not_matter(members: dict[str, Any]) -> None:
    assert canonical(dict(reversed(members.items()))) == canonical(members)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**53,
        -(2**53),
        [2**70],
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        b"x",
        {1, 2},
        1j,
        object(),
    ],
    ids=repr,
)
def test_what_json_cannot_carry_is_an_error(value: Any) -> None:
    with pytest.raises(ValueError):
        canonical(value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool) or type(one) in (str, type(None)):
        return type(one) is type(other) and one == other
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(_same(one[k], other[k]) for k in one)
        )
    return isinstance(other, (int, float)) and one == other
