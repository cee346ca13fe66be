"""Rules of identity, pure: names, roles, DIDs, and signatures in compact JWS with EdDSA only.

A JWS is accepted in one form: three canonical base64url parts, `alg` exactly EdDSA, no `crit`, and the
key the caller chose; nothing in the header selects a key or an algorithm.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dujiang.identity.model import (
    NAME_UNFIT,
    PROVINCE_UNKNOWN,
    PROVINCES,
    ROLE_BEYOND,
    ROLE_UNKNOWN,
    SECTOR_UNKNOWN,
    SECTORS,
    Role,
)
from dujiang.kernel.canonical import canonical
from dujiang.kernel.errors import Refused

JWS_CHARACTERS_MAX = 512 * 1024
INVITATION = "inv_"
"""How the secret of an invitation begins: a page sees that a password is to be set, without asking anybody."""
INVITATION_MS = 7 * 86_400_000
FAILURES_MS = 86_400_000
"""Failures are forgotten when there was none for so long."""
_FREE = {"person": 5, "address": 20}
"""Failures without a lock."""
_LOCK_MS_MAX = {"person": 3_600_000, "address": 900_000}
_ADDRESS = "@"


def fit_name(name: str) -> str:
    """The name without surrounding space.

    Raises: Refused name_unfit.
    """
    name = name.strip()
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise Refused(NAME_UNFIT)
    return name


def fit_province(given: str) -> str:
    """The two digits of a province given by them or by its name in either language; empty stays empty.

    Raises: Refused province_unknown.
    """
    found = _coded(given, PROVINCES)
    if found is None:
        raise Refused(PROVINCE_UNKNOWN)
    return found


def fit_sector(given: str) -> str:
    """The letter of a section of GB/T 4754 given by it or by its title in either language; empty stays empty.

    Raises: Refused sector_unknown.
    """
    found = _coded(given, SECTORS)
    if found is None:
        raise Refused(SECTOR_UNKNOWN)
    return found


def _coded(given: str, table: Mapping[str, tuple[str, str]]) -> str | None:
    wanted = given.strip().casefold()
    if not wanted:
        return ""
    for code, names in table.items():
        if wanted in (code.casefold(), *(name.casefold() for name in names)):
            return code
    return None


def fit_roles(roles: Iterable[str], granter: frozenset[str] | None) -> tuple[str, ...]:
    """The roles in their own order, each once; `granter` None grants any.

    Raises: Refused role_unknown, role_beyond.
    """
    wanted = set(roles)
    known = [role.value for role in Role]
    if not wanted or not wanted <= set(known):
        raise Refused(ROLE_UNKNOWN, known=", ".join(known))
    if granter is not None and not wanted <= granter:
        raise Refused(ROLE_BEYOND)
    return tuple(role for role in known if role in wanted)


def person_subject(organisation: str, person: str) -> str:
    """What failures of a person are counted by: the names as they were tried, whether or not they are known."""
    return "person:" + sha256(f"{organisation.casefold()}\0{person}".encode("utf-8", "replace")).hexdigest()


def stranger(host: str) -> str:
    """Who nobody is, to a door that knows where they call from."""
    return _ADDRESS + host


def address_of(org: str, person: str) -> str | None:
    """What failures of an address are counted by; of IPv6 its network, as one host has many addresses.

    Who is signed in and tries names is counted by their organisation, which may have any number of people; the
    node by nothing.
    """
    if org:
        return f"address:{sha256(org.encode('utf-8', 'replace')).hexdigest()}"
    if not person.startswith(_ADDRESS):
        return None
    host = person.removeprefix(_ADDRESS)
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return f"address:{sha256(host.encode('utf-8', 'replace')).hexdigest()}"
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return f"address:{mapped or ipaddress.ip_network((int(address), 64), strict=False)}"
    return f"address:{address}"


def lock_ms(subject: str, failures: int) -> int:
    """How long nothing is looked at after so many failures: nothing at first, then 1 s, doubling up to a limit."""
    kind = subject.partition(":")[0]
    over = failures - _FREE[kind]
    return 0 if over < 0 else min(1000 << min(over, 30), _LOCK_MS_MAX[kind])


def made_below(top: str, made: Iterable[tuple[str, str | None]]) -> list[str]:
    """The keys that a key made, and those that these made, in no order but each once."""
    by: dict[str, list[str]] = {}
    for key, maker in made:
        if maker is not None:
            by.setdefault(maker, []).append(key)
    found, look = list[str](), [top]
    while look:
        next_ = [key for key in by.pop(look.pop(), []) if key not in found and key != top]
        found += next_
        look += next_
    return found


def did_web(authority: str, org: str) -> str:
    """The did:web of an organisation id under a host name (a port would be %3A)."""
    return f"did:web:{authority.replace(':', '%3A')}:org:{org}"


def did_document(did: str, public: bytes) -> dict[str, object]:
    """The DID document (W3C DID Core) that says an organisation's key."""
    method = key_of(did)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode(public)}
    return {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/jwk/v1"],
        "id": did,
        "verificationMethod": [{"id": method, "type": "JsonWebKey", "controller": did, "publicKeyJwk": jwk}],
        "assertionMethod": [method],
        "authentication": [method],
    }


def key_of(did: str) -> str:
    """The key id (`kid`) of an organisation's signing key."""
    return f"{did}#key-1"


def secret_hash(secret: str) -> str:
    """What is kept of a random secret of 256 bits."""
    return sha256(secret.encode()).hexdigest()


def encode(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str) -> bytes:
    """The bytes of canonical base64url.

    Raises: ValueError for padding, other characters and stray bits.
    """
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if encode(raw) != text:
        raise ValueError("not canonical base64url")
    return raw


def signing_input(header: dict[str, object], payload: dict[str, object]) -> str:
    """The first two parts of a compact JWS."""
    return f"{encode(canonical({'alg': 'EdDSA', **header}))}.{encode(canonical(payload))}"


def header_of(jws: str) -> dict[str, Any] | None:
    """The unverified header of a compact JWS, to find the signer by; None if it is not one."""
    if len(jws) > JWS_CHARACTERS_MAX:
        return None
    try:
        header = json.loads(decode(jws.partition(".")[0]))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return cast("dict[str, Any]", header) if isinstance(header, dict) else None


def verified(jws: str, public: bytes) -> dict[str, Any] | None:
    """The payload of a compact JWS signed by the Ed25519 key, or None."""
    header = header_of(jws)
    if header is None or header.get("alg") != "EdDSA" or "crit" in header or "b64" in header:
        return None
    try:
        head, body, signature = jws.split(".")
        Ed25519PublicKey.from_public_bytes(public).verify(decode(signature), f"{head}.{body}".encode())
        payload = json.loads(decode(body))
        # What has no canonical form (NaN, integers beyond 2**53 - 1, lone surrogates) is hashed nowhere later.
        canonical(payload)
    except (ValueError, binascii.Error, InvalidSignature, RecursionError):
        return None
    return cast("dict[str, Any]", payload) if isinstance(payload, dict) else None
