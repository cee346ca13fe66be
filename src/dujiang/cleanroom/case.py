"""A question with everything that decides it (查询要件): its contracts, its tables, its rules and its plan.

1. Tables stand in the order of their registered versions, whatever the order of the contracts: one question,
   one plan, one noise.
2. A version that is published later changes nothing: a contract pins the version it was agreed on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from dujiang.catalogue import acts as catalogue
from dujiang.catalogue.model import Offered
from dujiang.cleanroom.model import CONTRACTS_WRONG, TABLE_TWICE, Guard, Noise, Plan
from dujiang.cleanroom.relation import Member, Relation
from dujiang.cleanroom.sql import plan_joined
from dujiang.cleanroom.store import Job
from dujiang.contract import acts as contracts
from dujiang.contract.model import NOT_CONSUMER, Contract
from dujiang.identity import acts as identity
from dujiang.kernel.act import Node
from dujiang.kernel.errors import Declined, Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.policy.model import PERIOD_OVER, QUESTIONS_SPENT, Terms
from dujiang.policy.rules import join_refused
from dujiang.registry import acts as registry

CONTRACTS_MAX = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One contract of a question: what it is about, and its provider's record of it."""

    contract: Contract
    offered: Offered
    terms: Terms

    @property
    def price_micro(self) -> int:
        """What one statistic charges its account; exact answers have no account."""
        return 0 if self.terms.noise is Noise.exact else self.terms.rho_micro


@dataclass(frozen=True, slots=True)
class Case:
    """A checked question: its contracts in the order of the plan's tables, the strictest rules, the plan."""

    parts: tuple[Part, ...]
    guard: Guard
    plan: Plan

    @property
    def version(self) -> str:
        """What a noised statistic depends on beside its own meaning: the tables' versions and the rules."""
        guard = self.guard
        words = (guard.noise, guard.rho_micro, guard.group_min, guard.delta_exponent)
        tables = "+".join(part.offered.registered for part in self.parts)
        costs = [str(part.price_micro) for part in self.parts] if len(self.parts) > 1 else []
        return ":".join([tables, *map(str, words), *costs])

    @property
    def contracts(self) -> tuple[Contract, ...]:
        """The providers' records of its contracts."""
        return tuple(part.contract for part in self.parts)

    @property
    def meaning(self) -> str:
        """Equal for equal questions over the same versions: what is paid for once."""
        return sha256(f"{self.version}|{self.plan.canonical}".encode()).hexdigest()

    @property
    def keys(self) -> dict[str, str]:
        """The plan's statistics: their canonical text and the key they are kept under, each once.

        With exact answers a cell is withheld by the rules of all statistics of a question together, so that what
        one question withheld must not stand for another's: there they are kept by question.
        """
        texts = [each.key for each in self.plan.statistics]
        beside = ""
        if self.plan.noise is Noise.exact:
            beside = f" beside {self.guard.dominance_percent} {sorted(set(texts))}"
        return {text: sha256(f"{text}{beside}".encode()).hexdigest() for text in texts}


def prepared(node: Node, org: str, names: Sequence[str], sql: str) -> Case | Declined:
    """The checked question of an organisation under its contracts.

    Raises: Refused contracts_wrong, not_found, contract_not_yours_to_use. Declined: what the contracts, the
    terms together, and the checker say.
    """
    if not 1 <= len(names) <= CONTRACTS_MAX or len(set(names)) != len(names):
        raise Refused(CONTRACTS_WRONG, limit=CONTRACTS_MAX)
    with node.database.reading() as db:
        refused: Refused | None = None
        for name in names:
            try:
                contracts.usable(db, org, name, node.clock.now_ms())
            except Refused as each:
                if each.code in (NOT_FOUND, NOT_CONSUMER):
                    raise
                refused = refused or each
        if refused:
            return Declined(refused.code, refused.names)
        return read(node, db, org, names, sql)


def read(node: Node, db: Session, org: str, names: Sequence[str], sql: str) -> Case | Declined:
    """The question under contracts in whatever state."""
    parts = sorted(
        (pinned(db, org, name) for name in names), key=lambda one: (one.offered.registered, one.contract.id)
    )
    for one, other in itertools.combinations(parts, 2):
        if one.offered.resource == other.offered.resource:
            return Declined(TABLE_TWICE, {"table": other.offered.title})
    if len(parts) > 1 and (apart := _kept_apart(db, parts)):
        return apart
    members: list[Member] = []
    for part in parts:
        table = registry.version(db, part.offered.registered).table
        guard = guard_of(part.terms, table.entities, node.config.question_memory_mb)
        members.append(Member(table, guard, part.contract.id))
    planned = plan_joined(sql, members)
    if isinstance(planned, Declined):
        return planned
    return Case(tuple(parts), Relation(tuple(members)).guard, planned)


def _kept_apart(db: Session, parts: Sequence[Part]) -> Declined | None:
    """Why the terms of one of the tables do not let it be joined with the others; its own provider's may be."""
    for part in parts:
        others = [each for each in parts if each is not part]
        owners = [
            identity.organisation(db, each.offered.provider_org)
            for each in others
            if each.offered.provider_org != part.offered.provider_org
        ]
        code = join_refused(
            part.terms,
            partners=[(owner.name, owner.did) for owner in owners],
            purposes=[each.contract.purpose for each in others],
        )
        if code:
            return Declined(code)
    return None


def pinned(db: Session, org: str, name: str) -> Part:
    """A contract with the version and terms it pins.

    Raises: Refused not_found.
    """
    held = contracts.held(db, org, name)
    offered = catalogue.offered_version(db, held.product, int(held.version))
    return Part(held, offered, contracts.terms_of(held))


def is_halted(db: Session, job: Job, now_ms: int) -> bool:
    """Whether a contract of an admitted question may not be used any more, or who asked may not ask any more.

    A question that was admitted in time and within its number is answered, though the next one would not be.
    """
    if job.person and not identity.speaks(db, job.org, job.person, job.key, "consumer"):
        return True
    for part in job.parts:
        try:
            contracts.usable(db, job.org, part.contract, now_ms)
        except Refused as refused:
            if refused.code not in (PERIOD_OVER, QUESTIONS_SPENT):
                return True
    return False


def guard_of(terms: Terms, entities: int, memory_mb: int) -> Guard:
    """The rules of a contract's terms; delta a statistic so that all of them stay below 1/(10 N)."""
    digits = math.ceil(math.log10(10 * max(1, entities) * terms.statistics))
    return Guard(
        terms.noise, terms.rho_micro, terms.group_min, terms.dominance_percent,
        max(6, min(digits, 15)), memory_mb=memory_mb, columns=terms.columns, join_keys=terms.join_keys or (),
    )  # fmt: skip
