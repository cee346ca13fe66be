"""A registration certificate checked offline: what it says, by whose key, and what it cannot say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dujiang.doors.local import FILE_MISSING, Answer, reading
from dujiang.kernel.errors import Code, Exit, Refused, spoken
from dujiang.registry import wire
from dujiang.registry.right import CERTIFICATE_UNVERIFIED

DID_KEY_UNREADABLE = Code(
    "did_key_unreadable", 400, Exit.usage,
    "That is no Ed25519 key of an issuer.",
    "Give a did:key, the x of its JWK, or a file with its DID document (`dujiang identity show ISSUER --json`).",
    "这不是签发方的 Ed25519 公钥。",
    "请给出 did:key、JWK 的 x 值，或含其 DID 文档的文件（`dujiang identity show 签发方 --json`）。",
)  # fmt: skip
CODES = (DID_KEY_UNREADABLE,)
_FILE_BYTES_MAX = 1 << 20
_ISSUER_UNKNOWN = {
    "en": "Issuer unknown: pin its key with --did-key to know who signed. ",
    "zh": "签发方未知：请用 --did-key 指定其公钥以确认签发者。",
}
_SINCE = {
    "en": "What it says held at {as_of}; whether it was revoked, transferred or withdrawn since only the "
    "register knows: `dujiang registry verify CERTIFICATE`.",
    "zh": "其内容为 {as_of} 的状态；此后是否撤销、转让或注销须向登记簿查询：`dujiang registry verify 证书`。",
}
_OVER = {"en": "Its validity has ended. ", "zh": "该证书的有效期已过。"}


def found_in(raw: bytes) -> str | None:
    """The certificate in a file: a JWT alone, or the answer of `registry.export`; None where there is none."""
    text = raw.decode("utf-8", "replace").strip()
    if text.startswith("{"):
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            return None
        text = str(body.get("certificate"))
    return text if wire.is_certificate(text) else None


def checked(text: str, did_key: str | None, language: str) -> Answer:
    """What a certificate says, or the step at which it failed.

    Raises: Refused did_key_unreadable, file_missing.
    """
    said = wire.examine(text, None if did_key is None else _pinned(did_key))
    if not said.ok:
        why, fix = spoken(CERTIFICATE_UNVERIFIED, {"step": said.step or ""}, language)
        failed = {"ok": False, "trusted": False, "step": said.step, "code": CERTIFICATE_UNVERIFIED.name}
        return Answer({**failed, "why": why, "fix": fix}, int(CERTIFICATE_UNVERIFIED.exit))
    subject = said.subject or {}
    expired = said.valid_until is not None and said.valid_until < _now()
    note = _SINCE[language].format(as_of=str(subject.get("asOf"))[:40])
    note = (_OVER[language] if expired else "") + note
    if did_key is None:
        note = _ISSUER_UNKNOWN[language] + note
    body: dict[str, Any] = {
        "ok": True, "issuer": said.issuer, "trusted": did_key is not None, "kind": said.kind,
        "valid_from": said.valid_from, "valid_until": said.valid_until, "expired": expired, "subject": subject,
        "note": note,
    }  # fmt: skip
    return Answer(body)


def _pinned(did_key: str) -> bytes:
    """The issuer's key from a text, or from a file of that name."""
    found = wire.public_of(did_key)
    if found is None and not did_key.startswith("did:"):
        try:
            with reading(Path(did_key)) as file:
                found = wire.public_of(file.read(_FILE_BYTES_MAX).decode("utf-8-sig", "replace"))
        except (OSError, ValueError):
            raise Refused(FILE_MISSING, name=Path(did_key).name) from None
    if found is None:
        raise Refused(DID_KEY_UNREADABLE)
    return found


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
