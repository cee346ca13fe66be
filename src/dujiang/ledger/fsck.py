"""Whether the log in the database is the log that was signed: every record, leaf, tile and the newest checkpoint.

1. Entries are numbered without a gap. 2. A record's facts and salts give its leaf. 3. The leaves give the tiles.
4. The tiles give the root of the newest checkpoint, of that size. 5. It is signed by the log's key of that size.
"""

from __future__ import annotations

from collections.abc import Sequence

from dujiang.kernel.tables import Session
from dujiang.ledger import note, rules, store
from dujiang.ledger.model import Record
from dujiang.ledger.tree import WIDTH, Edge, Prover, leaf_hash

_PAGE = 1000


def head(db: Session) -> str | None:
    """The first of rules 4 and 5 that does not hold, or None: quick, whatever the size of the log."""
    newest = store.checkpoint(db)
    size, _ = store.last(db)
    if newest is None or newest[0] != size:
        return "4 size"
    known = store.key(db, size)
    try:
        checkpoint = note.read_checkpoint(newest[1])
    except note.NotANote:
        return "5 checkpoint"
    if known is None or checkpoint.origin != known[0] or not note.signed_by(checkpoint, known[0], known[1]):
        return "5 signature"
    try:
        root = Prover(size, lambda level, number: store.tile(db, level, number)).root()
    except IndexError:
        return "3 tiles"
    return None if checkpoint.size == size and checkpoint.root == root else "4 root"


def whole(db: Session) -> str | None:
    """The first rule that does not hold, or None; reads every entry."""
    size, _ = store.last(db)
    edge = Edge()
    for first in range(0, size, _PAGE):
        page = store.page(db, None, min(size, first + _PAGE), min(_PAGE, size - first))
        for place, record in enumerate(reversed(page), first):
            if record.index != place:
                return "1 numbers"
            if not rules.opens(record):
                return "2 records"
            for level, number, hashes in edge.append(leaf_hash(record.leaf.encode())):
                if store.tile(db, level, number) != hashes:
                    return "3 tiles"
    if edge.size != size:
        return "1 numbers"
    if any(store.tile(db, level, number) != hashes for level, number, hashes in edge.partial()):
        return "3 tiles"
    return head(db)


def strange(db: Session, page: Sequence[Record]) -> frozenset[int]:
    """The entries of a page whose leaf is not the one in the tree, or whose record does not open it."""
    found: set[int] = set()
    tiles: dict[int, list[bytes]] = {}
    for record in page:
        number, place = divmod(record.index, WIDTH)
        if number not in tiles:
            tiles[number] = store.tile(db, 0, number)
        if tiles[number][place : place + 1] != [leaf_hash(record.leaf.encode())] or not rules.opens(record):
            found.add(record.index)
    return frozenset(found)
