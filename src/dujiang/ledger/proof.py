"""The proof that an entry is in the log as one text file (C2SP tlog-proof): for whoever has no Dujiang.

    c2sp.org/tlog-proof@v1
    index 256
    the path from the leaf up, a hash in base64 on each line
    an empty line, then the checkpoint as it stands

A line `extra BASE64` may stand before the index; nothing vouches for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dujiang.ledger.note import NotANote, in_base64, read_checkpoint, unbase64
from dujiang.ledger.tree import included, leaf_hash

_HEAD = "c2sp.org/tlog-proof@v1"
_EXTRA, _INDEX = "extra ", "index "
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_PATH_MAX = 63
_CHARACTERS_MAX = 1 << 17


class NotAProof(ValueError):
    """The text is not a tlog-proof in its one form."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A tlog-proof as read: what it says, not yet whether it is true."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None


def written(proof: Proof) -> str:
    """The text of a proof."""
    lines = [_HEAD]
    if proof.extra is not None:
        lines.append(_EXTRA + in_base64(proof.extra))
    lines += [f"{_INDEX}{proof.index}", *(in_base64(step) for step in proof.path)]
    return "\n".join(lines) + "\n\n" + proof.checkpoint


def of_receipt(receipt: Mapping[str, object]) -> tuple[str, bytes]:
    """The tlog-proof of a receipt and the bytes of its entry.

    Raises: NotAProof if it is none.
    """
    index, path, leaf, head = (receipt.get(name) for name in ("index", "path", "leaf", "checkpoint"))
    if type(index) is not int or not isinstance(path, list) or not isinstance(leaf, str):
        raise NotAProof("not a receipt")
    try:
        text = written(Proof(index, tuple(unbase64(str(step)) for step in path), str(head)))
        read(text)
        return text, leaf.encode()
    except ValueError:
        raise NotAProof("not a receipt") from None


def read(text: str) -> Proof:
    """The parts of a proof, nothing verified yet.

    Raises: NotAProof.
    """
    above, gap, checkpoint = text.partition("\n\n")
    lines = above.split("\n")
    extra: bytes | None = None
    try:
        if len(text) > _CHARACTERS_MAX or not gap or lines.pop(0) != _HEAD:
            raise NotAProof("no head")
        if lines[0].startswith(_EXTRA):
            extra = unbase64(lines.pop(0).removeprefix(_EXTRA))
        first = lines.pop(0)
        if not first.startswith(_INDEX) or not _NUMBER.fullmatch(first.removeprefix(_INDEX)):
            raise NotAProof("no index")
        path = tuple(unbase64(line) for line in lines)
        read_checkpoint(checkpoint)
    except (NotANote, IndexError, ValueError):
        raise NotAProof("not a tlog-proof") from None
    if len(path) > _PATH_MAX or any(len(step) != 32 for step in path):
        raise NotAProof("not a path")
    return Proof(int(first.removeprefix(_INDEX)), path, checkpoint, extra)


def holds(proof: Proof, entry: bytes) -> bool:
    """Whether the path leads from the entry to the root of the checkpoint, whoever signed that."""
    head = read_checkpoint(proof.checkpoint)
    return included(leaf_hash(entry), proof.index, head.size, list(proof.path), head.root)
