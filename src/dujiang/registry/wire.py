"""Registered tables and certificates in their bytes: canonical JSON, and a W3C credential (VC 2.0, JOSE).

1. A table's text is canonical JSON: equal tables, equal text.
2. A certificate names columns and their kinds, never bounds, counts or values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

import msgspec

from dujiang.identity.rules import decode, encode, header_of, key_of, verified
from dujiang.kernel.canonical import canonical, sha256_hex
from dujiang.kernel.shape import typed
from dujiang.registry.model import Table, Version
from dujiang.registry.right import RIGHTS_ZH, Case, Estate, Grant, Standing, withdrawn

CREDENTIALS = "https://www.w3.org/ns/credentials/v2"
REGISTRATION, GRANT = "DataRegistrationCredential", "DataRightCredential"
YEARS_VALID = 5
"""A registration is evidence for at most so long (数据产权登记工作指引 2026)."""
HEADER: dict[str, object] = {"alg": "EdDSA", "typ": "vc+jwt", "cty": "vc"}


def table_text(table: Table) -> str:
    """The canonical JSON of a table."""
    return canonical(msgspec.to_builtins(table)).decode()


@lru_cache(maxsize=1024)
def table_of(text: str) -> Table:
    """The table of its canonical JSON; a table never changes, so the last ones read are kept."""
    return msgspec.json.decode(text.encode(), type=typed(Table))


def schema_value(table: Table) -> list[dict[str, Any]]:
    """The columns of a table as a certificate names them."""
    return [{"name": column.name, "kind": column.kind.value} for column in table.columns]


def instant(time_ms: int) -> str:
    """A time as VC 2.0 writes it (XML Schema dateTimeStamp, UTC)."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def jwk(public: bytes) -> dict[str, str]:
    """An Ed25519 public key as a JSON Web Key (RFC 8037)."""
    return {"kty": "OKP", "crv": "Ed25519", "x": encode(public)}


def certificate(
    version: Version, estate: Estate, roots: Sequence[Grant], cases: Sequence[Case], dids: Mapping[str, str],
    issuer: str, now_ms: int,
) -> dict[str, Any]:  # fmt: skip
    """The claims of a registration certificate (登记证书): who has which rights in which content, since when.

    `roots`: the holder's own rights that stand. `dids`: of every organisation named. `issuer`: the DID that signs.
    """
    columns = schema_value(version.table)
    return {
        **_envelope(f"{version.registration}:{version.id}", REGISTRATION, issuer, version.created_ms),
        "validUntil": instant(_five_years(version.created_ms)),
        "credentialSubject": {
            "id": dids[version.org],
            "registration": version.registration,
            "resource": version.resource,
            "version": version.id,
            "versionNumber": version.number,
            "title": version.title,
            "table": version.table.name,
            "form": "structured table",
            "sha256Original": version.sha256_source,
            "sha256Normalised": version.sha256_plain,
            "sha256Registered": version.sha256_guarded,
            "schema": columns,
            "schemaSha256": sha256_hex(columns),
            "registeredAt": instant(version.created_ms),
            "sourceBasis": estate.basis.value,
            "dataClass": estate.data_class.value,
            "rights": [
                {"right": each.right.value, "name": RIGHTS_ZH[each.right], "since": each.start}
                for each in roots
            ],
            "cases": [_case_value(each, dids) for each in cases],
            "state": "withdrawn" if withdrawn(version.registration, cases) else "registered",
            "asOf": instant(now_ms),
        },
    }


def grant_certificate(
    chain: Sequence[Grant],
    version: Version,
    standing: Standing,
    dids: Mapping[str, str],
    issuer: str,
    now_ms: int,
) -> dict[str, Any]:
    """The claims of a certificate of a grant (授权凭证): which right, and by which chain from the registration."""
    leaf = chain[0]
    return {
        **_envelope(leaf.id, GRANT, issuer, leaf.created_ms),
        **({"validUntil": f"{leaf.until}T23:59:59Z"} if leaf.until else {}),
        "credentialSubject": {
            "id": dids[leaf.org],
            "grant": leaf.id,
            "resource": leaf.resource,
            "registration": version.registration,
            "title": version.title,
            "right": leaf.right.value,
            "name": RIGHTS_ZH[leaf.right],
            "chain": [_link_value(each, dids) for each in reversed(chain)],
            "state": standing.value,
            "asOf": instant(now_ms),
        },
    }


def _envelope(name: str, kind: str, issuer: str, since_ms: int) -> dict[str, Any]:
    return {
        "@context": [CREDENTIALS, {"@vocab": "https://dujiang.dev/ns/registration/v1#"}],
        "id": f"urn:dujiang:registration:{name}",
        "type": ["VerifiableCredential", kind],
        "issuer": issuer,
        "validFrom": instant(since_ms),
        "credentialStatus": {"type": "DujiangRegister", "statusPurpose": "revocation"},
    }


def _case_value(case: Case, dids: Mapping[str, str]) -> dict[str, str]:
    found = {"number": case.number, "kind": case.kind.value, "date": instant(case.created_ms)[:10]}
    found["holder"] = dids[case.org]
    return found if case.from_org is None else {**found, "from": dids[case.from_org]}


def _link_value(grant: Grant, dids: Mapping[str, str]) -> dict[str, Any]:
    return {
        "from": dids[grant.granter],
        "to": dids[grant.org],
        "by": "registration" if grant.parent is None else "grant",
        "start": grant.start,
        "until": grant.until,
        "onward": grant.onward,
        "purposes": None if grant.purposes is None else list(grant.purposes),
        "scope": grant.scope,
        "limits": None if grant.limits is None else msgspec.to_builtins(grant.limits),
        "ended": None if grant.ended_ms is None else instant(grant.ended_ms),
    }


def _five_years(time_ms: int) -> int:
    """The end of a registration's validity: five years on, less a second (a 29th of February: the day before)."""
    start = datetime.fromtimestamp(time_ms / 1000, UTC)
    day = 28 if (start.month, start.day) == (2, 29) else start.day
    return round(start.replace(year=start.year + YEARS_VALID, day=day).timestamp() * 1000) - 1000


@dataclass(frozen=True, slots=True)
class Examined:
    """What an offline look at a certificate found; only a pinned key says who signed."""

    ok: bool
    step: str | None = None
    """The first step that failed."""
    kind: str | None = None
    issuer: str | None = None
    subject: dict[str, Any] | None = None
    valid_from: str | None = None
    valid_until: str | None = None


def is_certificate(text: str) -> bool:
    """Whether a text has the form of a certificate: a compact JWS of type vc+jwt."""
    header = header_of(text)
    return text.count(".") == 2 and header is not None and header.get("typ") == HEADER["typ"]


def examine(text: str, pinned: bytes | None) -> Examined:
    """What a certificate says, after these steps; without a home, an account or a network.

    1. It is a compact JWS of type vc+jwt. 2. Its signature is by `pinned` or, without a pin, by the key it
    carries itself, which shows that nothing was changed and not who signed. 3. It is a credential of this
    register, its key named by its issuer. 4. The hash of its schema is the schema's.
    Whether it was revoked or transferred since stands in the register alone.
    """
    header = header_of(text)
    if header is None or header.get("typ") != HEADER["typ"]:
        return Examined(False, "1 form of the certificate")
    try:
        claims = verified(text, decode(str(header["jwk"]["x"])) if pinned is None else pinned)
    except (KeyError, TypeError, ValueError):
        return Examined(False, "1 form of the certificate")
    if claims is None:
        return Examined(False, "2 signature")
    subject, kinds = claims.get("credentialSubject"), claims.get("type")
    kind = next((each for each in (REGISTRATION, GRANT) if isinstance(kinds, list) and each in kinds), None)
    issuer = claims.get("issuer")
    if kind is None or not isinstance(subject, dict) or not isinstance(issuer, str):
        return Examined(False, "3 credential of a register")
    context = claims.get("@context")
    if header.get("kid") != key_of(issuer) or not isinstance(context, list) or context[:1] != [CREDENTIALS]:
        return Examined(False, "3 credential of a register")
    said = cast("dict[str, Any]", subject)
    if kind == REGISTRATION and sha256_hex(said.get("schema")) != said.get("schemaSha256"):
        return Examined(False, "4 schema")
    since, until = claims.get("validFrom"), claims.get("validUntil")
    return Examined(
        True, None, kind, issuer, said, str(since) if since else None, str(until) if until else None
    )


def public_of(text: str) -> bytes | None:
    """The Ed25519 public key a text names: a did:key, the `x` of a JWK, or a JSON text that holds one JWK.

    JSON: a JWK, a DID document, or an answer of `identity.show`.
    """
    text = text.strip()
    try:
        raw = _multibase(text.removeprefix("did:key:")) if text.startswith("did:key:z") else None
        if raw is None and text.startswith("{"):
            raw = decode(str(_jwk_in(json.loads(text))["x"]))
        elif raw is None:
            raw = decode(text)
    except (KeyError, TypeError, ValueError, IndexError, RecursionError):
        return None
    return raw if len(raw) == 32 else None


def _jwk_in(value: Any) -> Any:
    document = value.get("did_document", value)
    methods = document.get("verificationMethod")
    return methods[0]["publicKeyJwk"] if methods else document


def _multibase(text: str) -> bytes:
    """The key of a did:key: base58btc after `z`, two bytes 0xed01 for Ed25519, 32 of the key."""
    number = 0
    for sign in text[1:64]:
        number = number * 58 + _BASE58.index(sign)
    raw = number.to_bytes(34, "big")
    if raw[:2] != b"\xed\x01":
        raise ValueError("no Ed25519 key")
    return raw[2:]


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
