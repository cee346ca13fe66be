"""What names somebody is taken out of the entries (删除个人信息), for the packages upstream of which the ledger is.

The leaf stands, and with it the tree: the fact and its salt are gone, so nobody can say any more what it was.
"""

from __future__ import annotations

import json

from dujiang.kernel.tables import Session
from dujiang.ledger import store
from dujiang.ledger.lot import EACH
from dujiang.ledger.subject import own_name

_ASKED = "ask_sha256"
_ACTOR = "person"


def naming(db: Session, name: str, first: int = 0) -> list[int]:
    """The entries from an index on whose facts hold an id, oldest first; reads each of them."""
    return store.naming(db, name, first)


def erase(db: Session, index: int, name: str, by: str | None = None) -> int:
    """How many facts of an entry that hold an id were erased, with their salts.

    `by`: the organisation that erases; what another one attested is its own evidence, and stays. None: nothing stays.

    Where it is named by more than having acted, what was asked is erased, too: its plain hash could be guessed.
    """
    record = store.entry(db, index)
    if record is None:
        return 0
    fields = {
        field
        for field, value in record.facts.items()
        if name in json.dumps(value, ensure_ascii=False) and field not in record.erased
    }
    if by is not None and record.org != by:
        fields.discard(EACH)
    if fields - {_ACTOR} and _ASKED in record.facts and _ASKED not in record.erased:
        fields.add(_ASKED)
    # What is searched for by that id now is found no more, and its number is not left behind either.
    store.forget(db, (name, own_name(record.org, name)))
    return len(store.erase(db, index, fields)) if fields else 0


def unname(db: Session, org: str, name: str) -> None:
    """Takes an id of a person out of the index of what entries are about; of everybody's and of its organisation's."""
    store.forget(db, (name, own_name(org, name)))
