"""Whatever this program or another log hands out, checked without a home, an account or, of files, a network.

1. A receipt, many of them (`.jsonl`) or a registration certificate. 2. A `.tlog-proof` with its `.entry`.
3. A whole log, in a folder or at an address (C2SP tlog-tiles): each entry and each tile of it is read.
The first step that does not hold is named. Who pinned an earlier key of the log gives its document of keys beside.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dujiang.doors.local import FILE_MISSING, Answer, Options, reading
from dujiang.kernel.errors import Code, Exit, Refused, spoken

if TYPE_CHECKING:
    from dujiang.doors.mirror import Source
    from dujiang.ledger.model import Verdict
    from dujiang.ledger.note import Checkpoint, Key
    from dujiang.ledger.witness import Policy

Deed = Callable[[Options], Answer]
LOG_NOT_VERIFIED = Code(
    "log_not_verified", 422, Exit.unverified,
    "The log does not verify; it fails at step {step}.",
    "Keep it as it is, and ask who runs the log; trust nothing it says.",
    "日志验证失败，失败步骤：{step}。", "请原样保留并询问日志运营方；在此之前不要采信其内容。",
)  # fmt: skip
NOT_A_POLICY = Code(
    "not_a_policy", 422, Exit.usage,
    "This is not a trust policy.", "Give a tlog-policy file, such as a node's /log/witness-policy.",
    "这不是信任策略文件。", "请提供 tlog-policy 文件，例如节点的 /log/witness-policy。",
)  # fmt: skip
NO_LOG_HERE = Code(
    "no_log_here", 404, Exit.unverified,
    "There is no log there: no checkpoint is found.",
    "Give the log itself: the address of a Dujiang node's ends in /log, a folder of it has a file `checkpoint`.",
    "此处没有日志：未找到检查点。", "请填写日志本身：都江节点的日志地址以 /log 结尾，日志目录内有 `checkpoint` 文件。",
)  # fmt: skip
IS_A_BUNDLE = Code(
    "is_a_bundle", 400, Exit.usage,
    "This is an evidence bundle: it is checked by the program it brings.",
    "Unpack it, run `python3 verify.py --vkey KEY` in it, and see its README.md; each entries/…/N.json is a receipt.",
    "这是证据包，由其自带的程序验证。",
    "请解压后在其中运行 `python3 verify.py --vkey KEY`，并参阅其 README.md；entries/…/N.json 均为回执。",
)  # fmt: skip
CODES = (LOG_NOT_VERIFIED, NOT_A_POLICY, NO_LOG_HERE, IS_A_BUNDLE)
_FILE_BYTES_MAX = 16 << 20
_WHOLE_S = 3600.0
"""How long the log at an address may take: whoever writes its head may say any size."""
_HEADS_PROOF = b"c2sp.org/tlog-proof@"
_SIGNER_UNKNOWN = {
    "en": "Signer unknown: pin the log's key with --vkey to know who signed.",
    "zh": "签名方未知：请用 --vkey 指定日志公钥以确认签名者。",
}
_UNCHECKED = {
    "en": "The cosignatures beside were not checked: say with --policy whose count.",
    "zh": "所附联署未经核验：请用 --policy 指明采信哪些见证方。",
}


class Ring(NamedTuple):
    """Whom somebody believes."""

    pinned: list[str]
    trusted: list[str]
    """Those, and what a document proves to follow from them."""
    ends: Mapping[str, int]
    """The sizes beyond which keys are not trusted."""
    document: object
    """Of the log's keys, or None."""
    policy: Policy | None
    """Whose cosignatures are wanted beside."""


def verify(
    what: str,
    /,
    *,
    vkey: list[str] | None = None,
    entry: Path | None = None,
    old: Path | None = None,
    keys: Path | None = None,
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
    keys
        The document of the log's keys (GET /log/keys; lies in a log's folder): the pinned key's followers are trusted.
    policy
        Which witnesses must have cosigned, and how many (a tlog-policy file).
    did_key
        Of a certificate: its issuer's key, as did:key, as x of a JWK, or a file with its DID document.
    """

    def deed(options: Options) -> Answer:
        from dujiang.doors.usage import key_lines

        demand = None if policy is None else _policy(policy)
        ring = _ring(key_lines(vkey), None if keys is None else _file(keys), demand)
        if _is_bundle(Path(what)):
            raise Refused(IS_A_BUNDLE)
        if _remote(what) or Path(what).is_dir():
            return _log(what, ring, old, options)
        given = _small(what, ring, entry, did_key, options)
        return _hinted(given, ring, options) if given.exit else given

    return deed


def _hinted(given: Answer, ring: Ring, options: Options) -> Answer:
    from dujiang.doors import followers

    return followers.hinted(given, ring.pinned, ring.document, options)


def _small(what: str, ring: Ring, entry: Path | None, did_key: str | None, options: Options) -> Answer:
    """The answer about a file: receipts, a proof or a certificate."""
    if what.endswith(".jsonl"):
        return _receipts(_each_line(Path(what)), ring, options.language)
    raw = _file(Path(what))
    if raw.startswith(_HEADS_PROOF):
        return _proof(Path(what), raw, ring, entry, options.language)
    opened = _opened(raw)
    if not isinstance(opened, dict) or "leaf" not in opened:
        from dujiang.doors import certificate

        shown = certificate.found_in(raw)
        if shown is not None:
            return certificate.checked(shown, did_key, options.language)
    return _told(_verdict(opened, ring), options.language)


def _is_bundle(path: Path) -> bool:
    """Whether a path is what `dujiang ledger export` wrote: a folder or a .zip."""
    if path.is_dir():
        return (path / "SHA256SUMS").is_file() and (path / "entries").is_dir()
    return path.suffix.lower() == ".zip" and path.is_file() and zipfile.is_zipfile(path)


def _ring(pinned: list[str], raw: bytes | None, policy: Policy | None) -> Ring:
    """The keys to believe: the pinned ones and those that a document proves to follow from them.

    Raises: Refused argument_wrong: it is no such document.
    """
    if raw is None:
        return Ring(pinned, pinned, {}, None, policy)
    from dujiang.doors.usage import ARGUMENT_WRONG
    from dujiang.ledger import trust

    try:
        document = json.loads(raw)
        known = [key for each in pinned for key in trust.trusted(each, document)]
        return Ring(pinned, list(dict.fromkeys(known)), trust.ends(document), document, policy)
    except (trust.NotKeys, ValueError, RecursionError):
        raise Refused(ARGUMENT_WRONG, name="--keys") from None


def _verdict(receipt: object, ring: Ring) -> Verdict:
    from dujiang.ledger import rules, trust

    own = receipt.get("vkey") if isinstance(receipt, dict) else None
    pinned = own if own in ring.pinned else ring.pinned[0] if ring.pinned else None
    if ring.document is None:
        return rules.verify(receipt, pinned, ring.policy)
    return trust.verify(receipt, pinned, ring.document, ring.policy)


def _told(found: Verdict, language: str, place: int | None = None) -> Answer:
    from dujiang.ledger.model import NOT_A_RECEIPT, NOT_VERIFIED

    body: dict[str, Any] = {
        "ok": found.ok, "signer": found.signer, "trusted": found.trusted, "act": found.act,
        "time_ms": found.time_ms, "index": found.index, "size": found.size, "facts": found.facts,
    }  # fmt: skip
    if found.cosigned_by:
        body["cosigned_by"] = list(found.cosigned_by)
    if found.unchecked:
        body["unchecked"] = list(found.unchecked)
    if found.erased:
        body["erased"] = list(found.erased)
    if found.ok:
        notes = ([] if found.trusted else [_SIGNER_UNKNOWN[language]]) + (
            [_UNCHECKED[language]] if found.unchecked else []
        )
        return Answer({**body, "note": " ".join(notes) or None})
    step = f"{found.step}" if place is None else f"{found.step} (line {place})"
    return _no(
        NOT_A_RECEIPT if str(found.step).startswith("1") else NOT_VERIFIED, found.signer, step, language
    )


def _receipts(lines: Iterator[bytes], ring: Ring, language: str) -> Answer:
    """The answer about receipts, one a line: the first that does not verify, or how many do."""
    signer, trusted, indexes = "", True, list[int]()
    for place, line in enumerate(lines, 1):
        found = _verdict(_opened(line), ring)
        if not found.ok:
            return _told(found, language, place)
        signer, trusted = found.signer, trusted and found.trusted
        indexes.append(found.index or 0)
    if not indexes:
        return _told(_verdict(None, ring), language)
    note = None if trusted else _SIGNER_UNKNOWN[language]
    body = {"ok": True, "signer": signer, "trusted": trusted, "receipts": len(indexes), "first": min(indexes)}
    return Answer({**body, "last": max(indexes), "note": note})


def _proof(path: Path, raw: bytes, ring: Ring, entry: Path | None, language: str) -> Answer:
    from dujiang.doors.usage import ARGUMENT_MISSING
    from dujiang.ledger import proof
    from dujiang.ledger.walk import Broken

    if not ring.pinned:
        raise Refused(ARGUMENT_MISSING, name="--vkey")
    leaf = _file(entry or path.with_suffix(".entry"))
    try:
        found = proof.read(raw.decode())
    except (proof.NotAProof, UnicodeDecodeError):
        return _not_verified("", "1 form of the proof", language)
    try:
        head, signer = _signed(found.checkpoint.encode(), ring, "")
    except Broken as broken:
        return _not_verified("", str(broken), language)
    if not proof.holds(found, leaf):
        return _not_verified(signer, "3 path to the root", language)
    by = _cosigned(ring, head)
    if by is None:
        return _not_verified(signer, "4 cosignatures of the policy", language)
    said = {"ok": True, "signer": signer, "trusted": True, **_said(leaf), "index": found.index}
    return Answer({**said, "size": head.size, **by})


def _log(what: str, ring: Ring, old: Path | None, options: Options) -> Answer:
    from dujiang.doors import mirror
    from dujiang.doors.usage import ARGUMENT_MISSING
    from dujiang.ledger.walk import Broken

    with mirror.at(what, _WHOLE_S) if _remote(what) else nullcontext(mirror.below(Path(what))) as source:
        if ring.document is None and (said := source("keys")) is not None:
            # It need not be trusted: it proves what it adds, and else only takes away.
            ring = _ring(ring.pinned, said, ring.policy)
        known = ring if ring.pinned else _ring(mirror.vkeys_of(source), None, ring.policy)
        if not known.pinned:
            raise Refused(ARGUMENT_MISSING, name="--vkey")
        try:
            body = _walked(source, known, None if old is None else _file(old))
        except Broken as broken:
            no = _no(LOG_NOT_VERIFIED, "", str(broken), options.language)
            return _hinted(no, ring, options)
    trusted = bool(ring.pinned)
    note = None if trusted else _SIGNER_UNKNOWN[options.language]
    return Answer({**body, "trusted": trusted, "note": note})


def _remote(what: str) -> bool:
    return what.startswith(("http://", "https://"))


def _walked(source: Source, ring: Ring, old: bytes | None) -> dict[str, Any]:
    """What a log says, once everything in it was found to be so.

    Raises: ledger.walk.Broken; Refused no_log_here.
    """
    from dujiang.ledger.note import in_base64
    from dujiang.ledger.walk import Broken, roots

    raw = source("checkpoint")
    if raw is None:
        raise Refused(NO_LOG_HERE)
    head, signer = _signed(raw, ring, "")
    by = _cosigned(ring, head)
    if by is None:
        raise Broken("7 cosignatures of the policy")
    before = None if old is None else _signed(old, ring, "6 the checkpoint that was kept: ")[0]
    if before is not None and before.size > head.size:
        raise Broken("6 growth: the checkpoint that was kept is newer")
    found = roots(head.size, lambda place: source(place.path), None if before is None else before.size)
    if found.root != head.root:
        raise Broken("5 root: the entries give another one than the checkpoint says")
    if before is not None and found.earlier != before.root:
        raise Broken("6 growth: the log does not continue the checkpoint that was kept")
    body: dict[str, Any] = {"ok": True, "signer": signer, "size": head.size, **by}
    body["root"] = in_base64(head.root)
    return body if before is None else {**body, "extends": before.size}


def _signed(raw: bytes, ring: Ring, where: str) -> tuple[Checkpoint, str]:
    """A checkpoint that one of the keys has signed, and its signer; a false line of a known key spoils it.

    Raises: ledger.walk.Broken.
    """
    from dujiang.ledger import note
    from dujiang.ledger.walk import Broken

    try:
        head = note.read_checkpoint(raw.decode())
    except (note.NotANote, UnicodeDecodeError):
        raise Broken(f"{where}1 form of the checkpoint") from None
    try:
        lines = note.signatures(head, _own(ring.trusted, head.origin))
    except note.Spoiled:
        lines = []
    if not lines:
        raise Broken(f"{where}2 signature of the checkpoint")
    if all(head.size > ring.ends.get(each.key.line, head.size) for each in lines):
        beyond = max(ring.ends[each.key.line] for each in lines)
        raise Broken(f"{where}2 key disowned beyond {beyond} entries")
    return head, head.origin


def _own(keys: list[str], origin: str) -> list[Key]:
    """The keys that may sign for an origin; those of a kind nobody here can read are passed over."""
    from dujiang.ledger import note

    found: list[Key] = []
    for line in keys:
        try:
            found.append(note.read_key(line))
        except note.NotANote:
            continue
    return [key for key in found if key.name == origin]


def _policy(path: Path) -> Policy:
    from dujiang.ledger import note, witness

    try:
        return witness.read_policy(_file(path).decode())
    except (note.NotANote, UnicodeDecodeError):
        raise Refused(NOT_A_POLICY) from None


def _cosigned(ring: Ring, head: Checkpoint) -> dict[str, Any] | None:
    """By whom a head is cosigned, where a policy asks; None if not as it demands."""
    from dujiang.ledger import witness

    if ring.policy is None:
        return {}
    if not witness.satisfied(ring.policy, head):
        return None
    return {"cosigned_by": list(witness.names_of(ring.policy, head))}


def _said(leaf: bytes) -> dict[str, Any]:
    """What the public side of one of our entries says; of another log's, nothing."""
    try:
        found = json.loads(leaf)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or not {"v", "act", "time_ms", "commitments"} <= found.keys():
        return {}
    return {"act": found["act"], "time_ms": found["time_ms"]}


def _file(path: Path) -> bytes:
    try:
        with reading(path) as file:
            return file.read(_FILE_BYTES_MAX)
    except OSError:
        raise Refused(FILE_MISSING, name=path.name) from None


def _each_line(path: Path) -> Iterator[bytes]:
    """The lines of a file of any size: every one is looked at, or it is not said that all verify."""
    try:
        with reading(path) as file:
            while line := file.readline(_FILE_BYTES_MAX):
                yield line
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
