"""Whatever this program or another log hands out, checked without a home, an account or, of files, a network.

1. A receipt or a registration certificate. 2. A `.tlog-proof` with its `.entry` (C2SP tlog-proof).
3. A whole log, in a folder or at an address (C2SP tlog-tiles): each entry and each tile of it is read.
The first step that does not hold is named.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from dujiang.doors.local import FILE_MISSING, Answer, Options
from dujiang.kernel.errors import Code, Exit, Refused, spoken

if TYPE_CHECKING:
    from dujiang.doors.mirror import Source
    from dujiang.ledger.note import Checkpoint
    from dujiang.ledger.witness import Policy

Deed = Callable[[Options], Answer]
LOG_NOT_VERIFIED = Code(
    "log_not_verified", 422, Exit.unverified,
    "The log does not verify: {step}.", "Keep it as it is, and ask who runs the log; trust nothing it says.",
    "日志验证失败：{step}。", "请原样保留并询问日志运营方；在此之前不要采信其内容。",
)  # fmt: skip
NOT_A_POLICY = Code(
    "not_a_policy", 422, Exit.usage,
    "This is not a trust policy.", "Give a tlog-policy file, such as a node's /log/witness-policy.",
    "这不是信任策略文件。", "请提供 tlog-policy 文件，例如节点的 /log/witness-policy。",
)  # fmt: skip
CODES = (LOG_NOT_VERIFIED, NOT_A_POLICY)
_FILE_BYTES_MAX = 16 << 20
_HEADS_PROOF = b"c2sp.org/tlog-proof@"
_SIGNER_UNKNOWN = {
    "en": "Signer unknown: pin the log's key with --vkey to know who signed.",
    "zh": "签名方未知：请用 --vkey 指定日志公钥以确认签名者。",
}


def verify(
    what: Annotated[str, Parameter(name="WHAT")],
    *,
    vkey: list[str] | None = None,
    entry: Path | None = None,
    old: Path | None = None,
    policy: Path | None = None,
    did_key: str | None = None,
) -> Deed:
    """Check a receipt, a proof, a certificate or a whole log, without a home or an account.

    Parameters
    ----------
    what
        The file of a receipt, certificate or .tlog-proof (- reads standard input), or a log: its folder or address.
    vkey
        The verifier key of the log you expect, one line, or a file that holds it or several.
    entry
        Of a .tlog-proof: the file with the entry, if it does not lie beside it.
    old
        Of a log: a checkpoint you kept, which the log must continue.
    policy
        Which witnesses must have cosigned, and how many (a tlog-policy file).
    did_key
        Of a certificate: its issuer's key, as did:key, as x of a JWK, or a file with its DID document.
    """

    def deed(options: Options) -> Answer:
        keys = _lines(vkey)
        trust = None if policy is None else _policy(policy)
        if what.startswith(("http://", "https://")) or Path(what).is_dir():
            return _log(what, keys, old, trust, options.language)
        raw = _file(Path(what))
        if raw.startswith(_HEADS_PROOF):
            return _proof(Path(what), raw, keys, entry, trust, options.language)
        from dujiang.doors import certificate

        shown = certificate.found_in(raw)
        if shown is not None:
            return certificate.checked(shown, did_key, options.language)
        return _receipt(raw, keys, trust, options.language)

    return deed


def _receipt(raw: bytes, keys: list[str], policy: Policy | None, language: str) -> Answer:
    from dujiang.ledger import rules
    from dujiang.ledger.model import NOT_A_RECEIPT

    receipt = _opened(raw)
    own = receipt.get("vkey") if isinstance(receipt, dict) else None
    found = rules.verify(receipt, own if own in keys else keys[0] if keys else None, policy)
    body: dict[str, Any] = {
        "ok": found.ok, "signer": found.signer, "trusted": found.trusted, "act": found.act,
        "time_ms": found.time_ms, "index": found.index, "size": found.size, "facts": found.facts,
    }  # fmt: skip
    if policy is not None:
        body["cosigned_by"] = list(found.cosigned_by)
    if found.unchecked:
        body["unchecked"] = list(found.unchecked)
    if found.erased:
        body["erased"] = list(found.erased)
    if found.ok:
        return Answer({**body, "note": None if found.trusted else _SIGNER_UNKNOWN[language]})
    if str(found.step).startswith("1"):
        return _no(NOT_A_RECEIPT, found.signer, found.step or "", language)
    return _not_verified(found.signer, found.step or "", language)


def _proof(
    path: Path, raw: bytes, keys: list[str], entry: Path | None, policy: Policy | None, language: str
) -> Answer:
    from dujiang.doors.usage import ARGUMENT_MISSING
    from dujiang.ledger import note, proof

    if not keys:
        raise Refused(ARGUMENT_MISSING, name="--vkey")
    leaf = _file(entry or path.with_suffix(".entry"))
    try:
        found = proof.read(raw.decode())
    except (proof.NotAProof, UnicodeDecodeError):
        return _not_verified("", "1 form of the proof", language)
    head = note.read_checkpoint(found.checkpoint)
    for name, public in _own(keys, head.origin):
        step = proof.failed(found, leaf, name, public)
        if step is None:
            by = _cosigned(policy, head)
            if by is None:
                return _not_verified(name, "4 cosignatures of the policy", language)
            said = {"ok": True, "signer": name, "trusted": True, **_said(leaf), "index": found.index}
            return Answer({**said, "size": head.size, **by})
        if step.startswith("3"):
            return _not_verified(name, step, language)
    return _not_verified(head.origin, "2 signature of the checkpoint", language)


def _log(what: str, keys: list[str], old: Path | None, policy: Policy | None, language: str) -> Answer:
    from dujiang.doors import mirror
    from dujiang.doors.usage import ARGUMENT_MISSING
    from dujiang.ledger.walk import Broken

    here = not what.startswith(("http://", "https://"))
    with nullcontext(mirror.below(Path(what))) if here else mirror.at(what) as source:
        pinned = keys or mirror.vkeys_of(source)
        if not pinned:
            raise Refused(ARGUMENT_MISSING, name="--vkey")
        try:
            body = _walked(source, pinned, None if old is None else _file(old), policy)
        except Broken as broken:
            step = str(broken)
            code, why, fix = LOG_NOT_VERIFIED, *spoken(LOG_NOT_VERIFIED, {"step": step}, language)
            said = {"ok": False, "trusted": False, "step": step, "code": code.name, "why": why, "fix": fix}
            return Answer(said, int(code.exit))
    return Answer({**body, "trusted": bool(keys), "note": None if keys else _SIGNER_UNKNOWN[language]})


def _walked(source: Source, keys: list[str], old: bytes | None, policy: Policy | None) -> dict[str, Any]:
    """What a log says, once everything in it was found to be so.

    Raises: ledger.walk.Broken.
    """
    from dujiang.ledger.walk import Broken, roots

    raw = source("checkpoint")
    if raw is None:
        raise Broken("1 checkpoint is missing")
    head, signer = _signed(raw, keys, "")
    by = _cosigned(policy, head)
    if by is None:
        raise Broken("7 cosignatures of the policy")
    before = None if old is None else _signed(old, keys, "6 the checkpoint that was kept: ")[0]
    if before is not None and before.size > head.size:
        raise Broken("6 growth: the checkpoint that was kept is newer")
    found = roots(head.size, lambda place: source(place.path), None if before is None else before.size)
    if found.root != head.root:
        raise Broken("5 root: the entries give another one than the checkpoint says")
    if before is not None and found.earlier != before.root:
        raise Broken("6 growth: the log does not continue the checkpoint that was kept")
    body: dict[str, Any] = {"ok": True, "signer": signer, "size": head.size, **by}
    body["root"] = base64.b64encode(head.root).decode()
    return body if before is None else {**body, "extends": before.size}


def _signed(raw: bytes, keys: list[str], where: str) -> tuple[Checkpoint, str]:
    """A checkpoint that one of the keys has signed, and its signer.

    Raises: ledger.walk.Broken.
    """
    from dujiang.ledger import note
    from dujiang.ledger.walk import Broken

    try:
        head = note.read_checkpoint(raw.decode())
    except (note.NotANote, UnicodeDecodeError):
        raise Broken(f"{where}1 form of the checkpoint") from None
    for name, public in _own(keys, head.origin):
        if note.signed_by(head, name, public):
            return head, name
    raise Broken(f"{where}2 signature of the checkpoint")


def _policy(path: Path) -> Policy:
    from dujiang.ledger import note, witness

    try:
        return witness.read_policy(_file(path).decode())
    except (note.NotANote, UnicodeDecodeError):
        raise Refused(NOT_A_POLICY) from None


def _cosigned(policy: Policy | None, head: Checkpoint) -> dict[str, Any] | None:
    """By whom a head is cosigned, where a policy asks; None if not as it demands."""
    from dujiang.ledger import witness

    if policy is None:
        return {}
    return {"cosigned_by": list(witness.cosigners(policy, head))} if witness.satisfied(policy, head) else None


def _own(keys: list[str], origin: str) -> list[tuple[str, bytes]]:
    """The keys that may sign for an origin; those of a kind nobody here can read are passed over."""
    from dujiang.ledger import note

    found: list[tuple[str, bytes]] = []
    for line in keys:
        try:
            name, public = note.read_vkey(line)
        except note.NotANote:
            continue
        if name == origin:
            found.append((name, public))
    return found


def _said(leaf: bytes) -> dict[str, Any]:
    """What the public side of one of our entries says; of another log's, nothing."""
    try:
        found = json.loads(leaf)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or not {"v", "act", "time_ms", "commitments"} <= found.keys():
        return {}
    return {"act": found["act"], "time_ms": found["time_ms"]}


def _lines(given: list[str] | None) -> list[str]:
    from dujiang.doors.usage import key_line

    return [line.strip() for each in given or () for line in key_line(each).splitlines() if line.strip()]


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX)
    except OSError:
        raise Refused(FILE_MISSING, name=path.name) from None


def _opened(raw: bytes) -> Any:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found["receipt"] if isinstance(found, dict) and isinstance(found.get("receipt"), dict) else found


def _not_verified(signer: str, step: str, language: str) -> Answer:
    from dujiang.ledger.model import NOT_VERIFIED

    return _no(NOT_VERIFIED, signer, step, language)


def _no(code: Code, signer: str, step: str, language: str) -> Answer:
    why, fix = spoken(code, {"step": step}, language)
    said = {"ok": False, "signer": signer, "trusted": False, "step": step}
    return Answer({**said, "code": code.name, "why": why, "fix": fix}, int(code.exit))
