"""Registered tables and certificates in their bytes: canonical JSON, and a W3C credential (VC 2.0, JOSE).

1. A table's text is canonical JSON: equal tables, equal text.
2. A certificate names columns and their kinds, never bounds, counts or values.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from dujiang.kernel.canonical import canonical, sha256_hex
from dujiang.registry.model import Table, Version

CREDENTIALS = "https://www.w3.org/ns/credentials/v2"
TYPES = ("VerifiableCredential", "DataRegistrationCredential")
HEADER: dict[str, object] = {"alg": "EdDSA", "typ": "vc+jwt", "cty": "vc"}


def table_text(table: Table) -> str:
    """The canonical JSON of a table."""
    return canonical(msgspec.to_builtins(table)).decode()


@lru_cache(maxsize=1024)
def table_of(text: str) -> Table:
    """The table of its canonical JSON; a table never changes, so the last ones read are kept."""
    return msgspec.json.decode(text.encode(), type=Table)


def schema_value(table: Table) -> list[dict[str, Any]]:
    """The columns of a table as a certificate names them."""
    return [{"name": column.name, "kind": column.kind.value} for column in table.columns]


def instant(time_ms: int) -> str:
    """A time as VC 2.0 writes it (XML Schema dateTimeStamp, UTC)."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def certificate(version: Version, holder: str, issuer: str) -> dict[str, Any]:
    """The claims of a registration certificate (登记证书): who holds which content since when.

    `holder`, `issuer`: DIDs of the organisation that registered and of the one that signs.
    """
    columns = schema_value(version.table)
    return {
        "@context": [CREDENTIALS, {"@vocab": "https://dujiang.dev/ns/registration/v1#"}],
        "id": f"urn:dujiang:registration:{version.registration}:{version.id}",
        "type": list(TYPES),
        "issuer": issuer,
        "validFrom": instant(version.created_ms),
        "credentialSubject": {
            "id": holder,
            "registration": version.registration,
            "resource": version.resource,
            "version": version.id,
            "versionNumber": version.number,
            "title": version.title,
            "table": version.table.name,
            "sha256Original": version.sha256_source,
            "sha256Normalised": version.sha256_plain,
            "sha256Registered": version.sha256_guarded,
            "schema": columns,
            "schemaSha256": sha256_hex(columns),
            "registeredAt": instant(version.created_ms),
        },
    }
