"""Canonical JSON (RFC 8785): equal values, equal bytes, so that a hash of a document means something."""

from __future__ import annotations

import hashlib
import math
from json.encoder import encode_basestring as _quote
from typing import cast

import msgspec

_SAFE_INTEGER = 2**53 - 1
_encoder = msgspec.json.Encoder(order="deterministic")


def canonical(value: object) -> bytes:
    """The RFC 8785 bytes of a JSON value (dict, list, tuple, str, int, float, bool, None).

    Raises: ValueError for numbers JSON cannot carry safely (|integer| > 2**53 - 1, NaN, infinity),
    lone surrogates, keys that are not text and values that are not JSON.
    """
    if _simple(value):
        return _encoder.encode(value)
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts).encode("utf-8")


def canonical_pair(name: str, value: object) -> bytes:
    """The bytes of `canonical([name, value])`, quicker where both are text."""
    if type(value) is str:
        return f"[{_quote(name)},{_quote(value)}]".encode()
    return canonical([name, value])


def sha256_hex(value: object) -> str:
    """The SHA-256 of the canonical bytes of a JSON value, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _simple(value: object) -> bool:
    """Whether msgspec's bytes are RFC 8785's: no float, safe integers, ASCII keys (26 times faster)."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return -_SAFE_INTEGER <= cast(int, value) <= _SAFE_INTEGER
    if kind is dict:
        members = cast("dict[object, object]", value)
        ascii_keys = all(type(key) is str and key.isascii() for key in members)
        return ascii_keys and all(map(_simple, members.values()))
    return (kind is list or kind is tuple) and all(map(_simple, cast("list[object]", value)))


def _write(value: object, parts: list[str]) -> None:
    if value is None:
        parts.append("null")
    elif value is True:
        parts.append("true")
    elif value is False:
        parts.append("false")
    elif isinstance(value, str):
        parts.append(_quote(value))
    elif isinstance(value, int):
        if abs(value) > _SAFE_INTEGER:
            raise ValueError("an integer beyond 2**53 - 1 is not safe in JSON")
        parts.append(str(int(value)))
    elif isinstance(value, float):
        parts.append(_number(value))
    elif isinstance(value, dict):
        _write_object(cast("dict[object, object]", value), parts)
    elif isinstance(value, (list, tuple)):
        _write_array(cast("list[object]", value), parts)
    else:
        raise ValueError("not a JSON value")


def _write_array(items: list[object], parts: list[str]) -> None:
    parts.append("[")
    for position, item in enumerate(items):
        if position:
            parts.append(",")
        _write(item, parts)
    parts.append("]")


def _write_object(members: dict[object, object], parts: list[str]) -> None:
    for key in members:
        if not isinstance(key, str):
            raise ValueError("a JSON key is text")
    keys = cast("list[str]", list(members))
    # RFC 8785 §3.2.3 sorts by UTF-16 code units; for ASCII keys plain order is the same.
    keys.sort(key=None if all(map(str.isascii, keys)) else _utf16)
    parts.append("{")
    for position, key in enumerate(keys):
        if position:
            parts.append(",")
        parts.append(_quote(key))
        parts.append(":")
        _write(members[key], parts)
    parts.append("}")


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-be")


def _number(value: float) -> str:
    """ECMAScript's Number::toString (ECMA-262 §6.1.6.1.20), from Python's shortest digits."""
    if not math.isfinite(value):
        raise ValueError("NaN and infinity are not JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    return sign + _place(digits, point)


def _place(digits: str, point: int) -> str:
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    power = point - 1
    tail = "." + digits[1:] if count > 1 else ""
    return f"{digits[0]}{tail}e{'+' if power >= 0 else '-'}{abs(power)}"
