"""Rules of a witness and of who relies on witnesses, pure (C2SP tlog-witness, tlog-policy).

A request `old SIZE`, a consistency proof and a checkpoint is judged in this order:
1. 400: it has not that form, or `old` is beyond the checkpoint. 2. 404: nobody watches a log of that origin.
3. 403: no key that the log is known by has signed it, or a line of a known key is not true.
4. 409 with the size that is known: `old` is another one. 5. 422: the tree does not extend the one that is known.
6. 200: it does, and nothing but a true extension is ever cosigned.
A truly signed checkpoint that fails (or, at 4, has another root than a known size) is kept as evidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from dujiang.ledger.note import (
    COSIGNATURE,
    MLDSA44,
    Checkpoint,
    Key,
    NotANote,
    Signed,
    Spoiled,
    read_checkpoint,
    read_key,
    signatures,
    unbase64,
)
from dujiang.ledger.tree import consistent, led_to

REQUEST_BYTES_MAX = 131_072
_PROOF_MAX = 63
_EMPTY = sha256(b"").digest()
_POLICY_BYTES_MAX = 262_144
_POLICY_LINES_MAX = 1024
_WORDS = frozenset({"log", "witness", "group", "any", "all", "none", "quorum"})


class Conflict(StrEnum):
    """How a truly signed checkpoint stands against what was cosigned before."""

    roots = "roots"
    """Two signed roots of one size: proof that the log forked."""
    rewritten = "rewritten"
    """The signed tree itself shows another root at a size that was cosigned: proof that the log forked."""
    unproved = "unproved"
    """Nothing shows that the signed tree extends the known one; a stranger may have broken the proof."""

    @property
    def proves(self) -> bool:
        """Whether the log's own signatures prove a fork."""
        return self is not Conflict.unproved


@dataclass(frozen=True, slots=True)
class Request:
    """A checkpoint to be cosigned, and the proof that it extends the tree of `old` leaves."""

    old: int
    proof: list[bytes]
    head: Checkpoint
    note: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The HTTP status of a request, and what it is evidence of, if it is."""

    status: int
    conflict: Conflict | None = None


def address_of(origin: str) -> str:
    """The name under which a witness gives the last head of a log it cosigned: SHA-256 of the origin, hexadecimal."""
    return sha256(origin.encode()).hexdigest()


def read_request(body: bytes) -> Request:
    """A request as it came.

    Raises: NotANote: status 400.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise NotANote("not a text") from None
    top, separator, note = text.partition("\n\n")
    first, *lines = top.split("\n")
    word, _, digits = first.partition(" ")
    if not separator or word != "old" or not _whole(digits) or len(lines) > _PROOF_MAX:
        raise NotANote("not a request")
    try:
        proof = [unbase64(line) for line in lines]
    except ValueError:
        raise NotANote("not base64") from None
    old, head = int(digits), read_checkpoint(note)
    if any(len(each) != 32 for each in proof) or old > head.size:
        raise NotANote("not a proof")
    return Request(old, proof, head, note)


def write_request(old: int, proof: Iterable[str], note: str) -> bytes:
    """The bytes of a request; `proof` in base64."""
    return "".join([f"old {old}\n", *(f"{each}\n" for each in proof), "\n", note]).encode()


def verdict(request: Request, size: int, root: bytes | None, known: bytes | None) -> Verdict:
    """The verdict on a request whose checkpoint is truly signed.

    `size`, `root`: the newest head that was cosigned (0 and None: none was);
    `known`: the root that was cosigned of the checkpoint's own size, if one was.
    """
    head = request.head
    other = known is not None and known != head.root
    if request.old != size:
        return Verdict(409, Conflict.roots if other else None)
    if other:
        return Verdict(422, Conflict.roots)
    if size == 0 or root is None:
        fit = not request.proof and (head.size > 0 or head.root == _EMPTY)
        return Verdict(200 if fit else 422)
    if consistent(size, head.size, root, head.root, request.proof):
        return Verdict(200)
    return Verdict(422, _conflict(request, size, root))


def _conflict(request: Request, size: int, root: bytes) -> Conflict | None:
    head = request.head
    if head.size == size:
        # The root is the known one: only the proof is too long.
        return None if head.root == root else Conflict.roots
    led = led_to(size, head.size, root, request.proof)
    shown = led is not None and led[1] == head.root and led[0] != root
    return Conflict.rewritten if shown else Conflict.unproved


@dataclass(frozen=True, slots=True)
class Group:
    """So many of these must have cosigned."""

    least: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A trust policy (tlog-policy): which logs, which witnesses, and how many of them."""

    logs: tuple[Key, ...]
    witnesses: dict[str, Key]
    groups: dict[str, Group]
    quorum: str
    """The name of a witness or group, or `none`."""
    urls: dict[str, str]


def read_policy(text: str) -> Policy:
    """The policy of a file.

    Raises: NotANote.
    """
    if len(text) > _POLICY_BYTES_MAX or any(c < " " and c not in "\t\n" for c in text):
        raise NotANote("not a policy")
    made = Policy((), {}, {}, "", {})
    logs: list[Key] = []
    quorum = ""
    lines = text.split("\n")
    if len(lines) > _POLICY_LINES_MAX:
        raise NotANote("a policy of too many lines")
    for line in lines:
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        if not words or words[0].startswith("#"):
            continue
        match words:
            case ["log", key, *url] if len(url) <= 1:
                logs.append(_log_key(key, logs))
            case ["witness", name, key, *url] if len(url) <= 1 and _new(made, name):
                made.witnesses[name] = _witness_key(key, made)
                made.urls[name] = url[0] if url else ""
            case ["group", name, least, *members] if members and _new(made, name):
                made.groups[name] = _group(made, least, members)
            case ["quorum", name] if not quorum and (name == "none" or _known(made, name)):
                quorum = name
            case _:
                raise NotANote("not a line of a policy")
    if not quorum:
        raise NotANote("a policy without a quorum")
    return Policy(tuple(logs), made.witnesses, made.groups, quorum, made.urls)


def write_policy(log: Iterable[Key], witnesses: Iterable[tuple[Key, str]], least: int) -> str:
    """The policy file of a log; witnesses: (key, URL), one key each; `least` of them must have cosigned."""
    made, members = [f"log {key.line}\n" for key in log], list[str]()
    for place, (key, url) in enumerate(witnesses):
        members.append(f"w{place}")
        made.append(f"witness w{place} {key.line} {url}".rstrip() + "\n")
    if not members or not least:
        return "".join([*made, "quorum none\n"])
    return "".join([*made, f"group witnesses {least} {' '.join(members)}\n", "quorum witnesses\n"])


def cosigners(policy: Policy, head: Checkpoint) -> dict[str, Signed]:
    """The witnesses of a policy that truly cosigned a checkpoint, by their names in the policy.

    Raises: Spoiled.
    """
    names = {key: name for name, key in policy.witnesses.items()}
    return {names[each.key]: each for each in signatures(head, policy.witnesses.values())}


def names_of(policy: Policy, head: Checkpoint) -> tuple[str, ...]:
    """The names of the keys that cosigned a checkpoint: a policy's own names say nothing to who did not write it.

    Raises: Spoiled.
    """
    return tuple(dict.fromkeys(each.key.name for each in cosigners(policy, head).values()))


def satisfied(policy: Policy, head: Checkpoint) -> bool:
    """Whether a checkpoint is signed by a log of the policy (any, if it lists none) and cosigned by its quorum."""
    try:
        if policy.logs and not _by_a_log(policy, head):
            return False
        have = set(cosigners(policy, head))
    except Spoiled:
        return False
    for name, group in policy.groups.items():  # each knows only what stands before it
        if sum(member in have for member in group.members) >= group.least:
            have.add(name)
    return policy.quorum == "none" or policy.quorum in have


def _by_a_log(policy: Policy, head: Checkpoint) -> bool:
    own = [key for key in policy.logs if key.name == head.origin]
    return bool(signatures(head, own))


def _new(made: Policy, name: str) -> bool:
    return name not in _WORDS and not _known(made, name)


def _known(made: Policy, name: str) -> bool:
    return name in made.witnesses or name in made.groups


def _log_key(line: str, logs: list[Key]) -> Key:
    key = read_key(line)
    if key.kind == COSIGNATURE or any(key.public == each.public for each in logs):
        raise NotANote("not a new log key")
    return key


def _witness_key(line: str, made: Policy) -> Key:
    key = read_key(line)
    if key.kind not in (COSIGNATURE, MLDSA44):
        raise NotANote("not a witness's key")
    if any(key.public == each.public for each in made.witnesses.values()):
        raise NotANote("a witness twice")
    return key


def _group(made: Policy, least: str, members: list[str]) -> Group:
    taken = {member for group in made.groups.values() for member in group.members}
    once = len(set(members)) == len(members) and not taken & set(members)
    if not once or not all(_known(made, member) for member in members):
        raise NotANote("a group of strangers")
    count = {"any": 1, "all": len(members)}.get(least) or (int(least) if _whole(least) else 0)
    if not 1 <= count <= len(members):
        raise NotANote("not a number of members")
    return Group(count, tuple(members))


def _whole(digits: str) -> bool:
    fit = digits.isascii() and digits.isdigit() and len(digits) <= 18
    return fit and (digits == "0" or digits[0] != "0")
