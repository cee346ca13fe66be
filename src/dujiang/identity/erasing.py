"""Erasing a person (删除个人信息): the right of somebody who has left, kept without breaking the log.

1. Only who is revoked is erased: nobody who still acts loses their name.
2. Name, password and roles go; keys stay as rows of nobody, so that what they made can still be ended.
3. In every entry the facts that hold the person's id go with their salts; leaves, tiles and receipts stand.
   Records that another organisation attested are its evidence: only an operator takes the person out of them.
4. The entry of the erasing names nobody: a number of its own and how much was erased.
"""

from __future__ import annotations

from dataclasses import dataclass

from dujiang.identity import rules, store
from dujiang.identity.model import PERSON_ACTIVE, ROLE_BEYOND, Person, Role
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND, forget
from dujiang.kernel.tables import Session
from dujiang.ledger import acts as ledger


@dataclass(frozen=True, slots=True)
class Erase:
    """A revoked person of the caller's organisation; for an operator, of any."""

    person: str
    """The person's id, as `dujiang identity revoke` and the log said it."""


@dataclass(frozen=True, slots=True)
class Erased:
    """The number of the erasing, and in how many entries how many facts are gone. It cannot be taken back."""

    erasure: str
    entries: int
    facts: int


@dataclass(frozen=True, slots=True)
class Found:
    """The entries that name the person, up to a size of the log."""

    entries: tuple[int, ...]
    size: int


def prepare_erase(node: Node, caller: Caller, ask: Erase) -> Found:
    """Where the person is named; the log is read here, not while others wait.

    Raises: Refused not_found, role_beyond, person_active.
    """
    with node.database.reading() as db:
        holder = _revoked(db, caller, ask.person)
        return Found(tuple(ledger.naming(db, holder.id)), ledger.size(db))


def erase(tx: Tx, caller: Caller, ask: Erase, found: Found) -> Erased:
    """Takes a person out of the log and of identity, for good. Backups that were made before hold them still.

    Raises: Refused not_found, role_beyond, person_active.
    """
    holder = _revoked(tx.db, caller, ask.person)
    since = ledger.naming(tx.db, holder.id, found.size)
    by = None if Role.operator.value in caller.roles else caller.org
    counts = [ledger.erase_facts(tx.db, index, holder.id, by) for index in (*found.entries, *since)]
    ledger.unname(tx.db, holder.org, holder.id)
    organisation = store.organisation(tx.db, holder.org)
    store.forgive(tx.db, rules.person_subject(organisation.name if organisation else "", holder.name))
    store.erase_person(tx.db, holder.id)
    forget(tx.db, holder.id)
    entries, facts = sum(1 for count in counts if count), sum(counts)
    number = tx.new_id("era")
    # What was asked is the person's id: its hash would name them to who knows the id.
    tx.tell(erasure=number, entries=entries, facts=facts, ask_sha256="")
    return Erased(number, entries, facts)


def _revoked(db: Session, caller: Caller, person_id: str) -> Person:
    known = store.anybody(db, person_id)
    operates = Role.operator.value in caller.roles
    if known is None or (known.org != caller.org and not operates):
        raise Refused(NOT_FOUND)
    if not operates and not caller.roles.issuperset(known.roles):
        raise Refused(ROLE_BEYOND)
    if store.person(db, person_id) is not None:
        raise Refused(PERSON_ACTIVE)
    return known
