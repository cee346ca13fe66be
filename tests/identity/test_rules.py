"""Names, roles, DIDs and signatures: one accepted form each, beside an independent JOSE implementation."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OKPKey

from dujiang.identity import rules
from dujiang.kernel.canonical import canonical
from dujiang.kernel.errors import Refused
from tests.kernel.test_canonical import TEXT

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32).public_key().public_bytes_raw()
JWK = {"kty": "OKP", "crv": "Ed25519", "x": rules.encode(PUBLIC), "d": rules.encode(b"k" * 32)}
PAYLOADS = st.dictionaries(TEXT, TEXT | st.integers(-(2**53) + 1, 2**53 - 1) | st.none(), max_size=4)


def made(header: dict[str, Any], payload: bytes) -> str:
    """A JWS of exactly this header and payload, truly signed."""
    first = f"{rules.encode(canonical(header))}.{rules.encode(payload)}"
    return f"{first}.{rules.encode(KEY.sign(first.encode()))}"


def signed(payload: dict[str, Any]) -> str:
    """A JWS as this program makes it."""
    first = rules.signing_input({"kid": "did:web:x#key-1"}, payload)
    return f"{first}.{rules.encode(KEY.sign(first.encode()))}"


@given(PAYLOADS)
def test_another_implementation_verifies_ours(payload: dict[str, Any]) -> None:
    read = jws.deserialize_compact(signed(payload), OKPKey.import_key(JWK), algorithms=["EdDSA"])
    assert json.loads(read.payload) == payload


@given(PAYLOADS)
def test_ours_verifies_another_implementations(payload: dict[str, Any]) -> None:
    text = jws.serialize_compact(
        {"alg": "EdDSA"}, json.dumps(payload), OKPKey.import_key(JWK), algorithms=["EdDSA"]
    )
    assert rules.verified(text, PUBLIC) == payload
    assert rules.verified(text, OTHER) is None


@given(PAYLOADS, st.data())
def test_any_changed_character_is_not_verified(payload: dict[str, Any], data: st.DataObject) -> None:
    text = signed(payload)
    place = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.sampled_from("ABab019-_.=+/ \n").filter(lambda c: c != text[place]))
    assert rules.verified(text[:place] + new + text[place + 1 :], PUBLIC) is None
    assert rules.verified(text[:place] + text[place + 1 :], PUBLIC) is None


def test_stray_bits_and_padding_are_not_read() -> None:
    text = signed({"a": 1})
    head, body, signature = text.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    stray = signature[:-1] + alphabet[alphabet.index(signature[-1]) ^ 1]
    loose = base64.urlsafe_b64decode(stray + "==")
    assert loose == rules.decode(signature), "a lenient reader takes both for the same"
    for other in (
        f"{head}.{body}.{stray}",
        text + "==",
        f"{head}.{body}.{signature}.",
        f"{head}.{body}",
        f"{text}.{signature}",
    ):
        assert rules.verified(other, PUBLIC) is None


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES256"},
        {"alg": "eddsa"},
        {"alg": ["EdDSA"]},
        {},
        {"alg": None},
        {"alg": "EdDSA", "crit": ["exp"]},
        {"alg": "EdDSA", "crit": []},
        {"alg": "EdDSA", "b64": False},
    ],
    ids=str,
)
def test_any_other_algorithm_or_a_critical_header_is_not_verified(header: dict[str, Any]) -> None:
    assert rules.verified(made(header, b"{}"), PUBLIC) is None
    assert rules.verified(made({"alg": "EdDSA"}, b"{}"), PUBLIC) == {}


def test_an_unsigned_token_and_one_signed_with_the_public_key_as_secret_are_not_verified() -> None:
    import hmac

    head = rules.encode(b'{"alg":"HS256"}')
    mac = hmac.digest(PUBLIC, f"{head}.e30".encode(), "sha256")
    none = rules.encode(b'{"alg":"none"}')
    for text in (f"{rules.encode(b'{}')}.e30.", f"{head}.e30.{rules.encode(mac)}", f"{none}.e30."):
        assert rules.verified(text, PUBLIC) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"1",
        b"",
        b"{",
        b'"x"',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":9007199254740993}',
        b'{"a":"\\ud800"}',
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    ],
    ids=lambda raw: raw[:12].decode("latin1"),
)
def test_a_payload_without_a_canonical_form_is_not_verified(payload: bytes) -> None:
    assert rules.verified(made({"alg": "EdDSA"}, payload), PUBLIC) is None


@pytest.mark.parametrize(
    "text", ["", ".", "..", "...", "a.b.c", "é.é.é", "x" * (rules.JWS_CHARACTERS_MAX + 1), "W10.e30.AA"]
)
def test_rubbish_has_no_header_and_is_not_verified(text: str) -> None:
    assert rules.header_of(text) is None and rules.verified(text, PUBLIC) is None


def test_a_did_document_says_the_key_in_the_forms_resolvers_read() -> None:
    did = rules.did_web("data.example.org:8443", "org_1")
    assert did == "did:web:data.example.org%3A8443:org:org_1"
    document = rules.did_document(did, PUBLIC)
    assert document["id"] == did and document["assertionMethod"] == document["authentication"] == [
        f"{did}#key-1"
    ]
    (method,) = document["verificationMethod"]  # type: ignore[misc]
    assert (method["id"], method["controller"], method["type"]) == (f"{did}#key-1", did, "JsonWebKey")
    assert OKPKey.import_key(method["publicKeyJwk"]).raw_value.public_bytes_raw() == PUBLIC
    assert "d" not in method["publicKeyJwk"]


@pytest.mark.parametrize(
    ("name", "fit"), [(" 医院 ", "医院"), ("a", "a"), ("x" * 100, "x" * 100), ("A B", "A B")]
)
def test_a_name_is_kept_without_surrounding_space(name: str, fit: str) -> None:
    assert rules.fit_name(name) == fit


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\x00", "a\u202eb", "\ud800"])
def test_an_unfit_name_is_refused(name: str) -> None:
    with pytest.raises(Refused) as refused:
        rules.fit_name(name)
    assert refused.value.code.name == "name_unfit"


@pytest.mark.parametrize(
    ("wanted", "granter", "code"),
    [
        ([], None, "role_unknown"),
        (["king"], None, "role_unknown"),
        (["provider", "king"], None, "role_unknown"),
        (["provider"], {"consumer"}, "role_beyond"),
        (["consumer", "operator"], {"consumer"}, "role_beyond"),
        (["provider"], set(), "role_beyond"),
    ],
)
def test_roles_that_do_not_exist_or_that_the_granter_lacks_are_refused(
    wanted: list[str], granter: set[str] | None, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        rules.fit_roles(wanted, None if granter is None else frozenset(granter))
    assert refused.value.code.name == code


def test_roles_are_kept_once_and_in_their_own_order() -> None:
    assert rules.fit_roles(["auditor", "provider", "auditor"], None) == ("provider", "auditor")
    assert rules.fit_roles(["consumer"], frozenset({"consumer", "provider"})) == ("consumer",)
