"""Acts of the clean room: quote, ask, complete, show, list.

`ask` admits: contract, plan, account, one transaction that charges and counts. A loop then runs
`complete`, whose preparation computes in the locked process and draws the noise; its transaction stores
noised statistics and the answer. True statistics exist in that preparation's memory and nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from dujiang.catalogue import acts as catalogue
from dujiang.catalogue.model import Offered
from dujiang.cleanroom import rules, store
from dujiang.cleanroom.model import (
    BUDGET_SPENT,
    CEILING_REACHED,
    ONE_CONTRACT,
    QUESTION_FAILED,
    STATISTIC_CLOSED,
    Guard,
    Noise,
    Plan,
    Released,
)  # fmt: skip
from dujiang.cleanroom.sql import plan
from dujiang.cleanroom.store import ADMITTED, DONE, FAILED, Cells, Job
from dujiang.contract import acts as contracts
from dujiang.contract import performance
from dujiang.contract.flow import flow
from dujiang.contract.model import NOT_CONSUMER, Contract
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.canonical import sha256_hex
from dujiang.kernel.errors import Code, Declined, Refused, Unavailable
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.policy.model import Terms
from dujiang.policy.rules import ceiling_of
from dujiang.registry import acts as registry

_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Check:
    """A contract and a question, to see what it would cost."""

    contract: str
    sql: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What a question takes and how exact its answer will be; the same whatever the data say."""

    contract: str
    columns: tuple[str, ...]
    plus_minus: tuple[float | None, ...]
    """Expected ± (2 standard deviations) of each column; a mean: for a group of 1,000."""
    statistics: int
    """How many statistics it takes; 0: answered before, or exact."""
    statistics_left: int | None
    """How many are left before it; None: exact answers have no account."""
    noise: str
    runs: str
    """The regenerated SQL that runs."""
    warnings: tuple[str, ...] = ()
    rows_max: int = 0
    """The most rows the answer can have."""
    charges: tuple[performance.Charge, ...] = ()
    """What it may cost in money; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One or several contracts and a question over their tables."""

    contracts: tuple[str, ...]
    """The contract to ask under; one in this version."""
    sql: str
    """A SELECT of aggregates over the contract's table."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The question was admitted and charged; `cleanroom.show` gives its answer."""

    job: str
    contract: str
    statistics: int
    statistics_left: int | None


@dataclass(frozen=True, slots=True)
class Complete:
    """An admitted job to run."""

    job: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The state a job ended in."""

    job: str
    state: str


@dataclass(frozen=True, slots=True)
class Pending:
    """How many jobs at most."""

    limit: int = 100


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs that wait to be run."""

    jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Show:
    """The id of a job."""

    job: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or that it is not there yet; only the asking organisation sees its rows."""

    job: str
    contract: str
    state: str
    done: bool
    question: str
    statistics: int
    """How many it took."""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    plus_minus: tuple[float | None, ...] = ()
    statistics_left: int | None = None
    entry: int | None = None
    declined: dict[str, Any] | None = None
    cost: tuple[performance.Spent, ...] = ()
    """What it cost in money under each contract that has a price, or holds while it runs."""


@dataclass(frozen=True, slots=True)
class List:
    """A page of questions, newest first."""

    before: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Answers:
    """Questions an organisation asked or that ran on its data; `next` continues below."""

    items: tuple[Answer, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """A question with everything that decides it."""

    contract: Contract
    offered: Offered
    terms: Terms
    guard: Guard
    plan: Plan


@dataclass(frozen=True, slots=True)
class _Computed:
    """What a run gave: fresh noised statistics, or (None) that the engine failed.

    No case: the question is not admitted any more, as after an upgrade of the checker.
    """

    case: _Case | None
    fresh: dict[str, Cells] | None


def prepare_check(node: Node, caller: Caller, ask: Check) -> _Case | Declined:
    """The checked question.

    Raises: Refused not_found and the codes of the contract.
    """
    return _prepared(node, caller, ask.contract, ask.sql)


def check(tx: Tx, caller: Caller, ask: Check, case: _Case | Declined) -> Quote | Declined:
    """What the question would take and how exact it would be, at no cost."""
    del ask
    if isinstance(case, Declined):
        return case
    known, closed = _decided(tx.db, caller.org, case)
    if closed:
        return Declined(STATISTIC_CLOSED)
    micro = rules.charge(case.plan, case.guard, _paid(tx.db, caller.org, case))
    return Quote(
        case.contract.id, tuple(name for name, _ in case.plan.columns), rules.expected(case.plan, case.guard),
        micro // case.guard.rho_micro, _left(tx.db, caller.org, case.offered.resource, case.terms), case.plan.noise,
        case.plan.sql, case.plan.warnings, rules.rows_max(case.plan),
        performance.charges(
            tx.db, (case.contract,), _key(case.plan.canonical), rules.rows_max(case.plan), tx.now_ms
        ),
    )  # fmt: skip


def prepare_ask(node: Node, caller: Caller, ask: Ask) -> _Case | Declined:
    """The checked question; its table and terms can not change, so only the contract is looked at again.

    Raises: Refused not_found, one_contract.
    """
    if len(ask.contracts) != 1:
        raise Refused(ONE_CONTRACT)
    return _prepared(node, caller, ask.contracts[0], ask.sql)


def ask(tx: Tx, caller: Caller, ask: Ask, case: _Case | Declined) -> Asked | Declined:
    """Admits a question: charges the account, counts the use, and leaves a job; or declines it.

    Raises: Refused not_found. Declined: the codes of the checker, the contract's terms and the account.
    """
    tx.tell(question_sha256=sha256(ask.sql.encode()).hexdigest())
    own = contracts.show(tx, caller, contracts.Show(ask.contracts[0]))
    tx.tell(
        contract=own.contract, product=own.product, version=own.version, purpose=own.purpose[:200],
        parties=[org.id for org in [identity.by_did(tx.db, own.peer_did)] if org],
    )  # fmt: skip
    if isinstance(case, Declined):
        return case
    try:
        held = contracts.usable(tx.db, caller.org, ask.contracts[0], tx.now_ms)
    except Refused as refusal:
        return Declined(refusal.code, refusal.names)
    known, closed = _decided(tx.db, caller.org, case)
    paid = _paid(tx.db, caller.org, case)
    micro = rules.charge(case.plan, case.guard, paid)
    refused = STATISTIC_CLOSED if closed else _beyond(tx.db, caller.org, case, micro)
    if refused:
        return Declined(
            refused,
            {
                "left": str(_left(tx.db, caller.org, case.offered.resource, case.terms) or 0),
                "needs": str(micro // case.guard.rho_micro),
            },
        )
    fresh = any(statistic.key not in known for statistic in case.plan.statistics)
    unpaid = {statistic.key for statistic in case.plan.statistics} - paid
    use, what = tx.new_id("job"), _key(case.plan.canonical)
    short = performance.hold_uses(tx, (held,), use, what, rules.rows_max(case.plan), counted=bool(unpaid))
    if short:
        return short
    for statistic in sorted(unpaid):
        store.pay(tx.db, caller.org, _version_key(case), _key(statistic))
    if micro:
        store.spend(tx.db, case.offered.resource, caller.org, micro)
    job = Job(
        use, caller.org, case.offered.provider_org, held.id, ask.sql, ADMITTED if fresh else DONE,
        micro, 0, None if fresh else _answer(rules.release(case.plan, case.guard, known)),
        None if fresh else tx.entry, tx.now_ms,
    )  # fmt: skip
    store.add_job(tx.db, job)
    if job.answer is not None:
        performance.end_use(tx, use, len(job.answer["rows"]), done=True)
    left = _left(tx.db, caller.org, case.offered.resource, case.terms)
    if not fresh:
        tx.tell(figures=[_counted(tx, job, held)])
    tx.tell(
        job=job.id, resource=case.offered.resource, statistics=micro // case.guard.rho_micro, charged_micro=micro,
        noise=case.plan.noise.value, **({} if fresh else {"answer_sha256": sha256_hex(_hashable(job.answer))}),
    )  # fmt: skip
    return Asked(job.id, held.id, micro // case.guard.rho_micro, left)


def pending(tx: Tx, caller: Caller, ask: Pending) -> Jobs:
    """The jobs that wait to be run, oldest first."""
    del caller
    return Jobs(tuple(store.admitted(tx.db, max(1, min(ask.limit, tx.node.config.page_rows_max)))))


def prepare_complete(node: Node, caller: Caller, ask: Complete) -> _Computed | None:
    """The noised statistics of a job: computed in the locked process, noise drawn here; None if it has ended."""
    del caller
    with node.database.reading() as db:
        job = store.job(db, ask.job)
        if job is None or job.state != ADMITTED:
            return None
        case = _case(node, db, job.org, job.contract, job.question)
        if isinstance(case, Declined):
            return _Computed(None, None)
        known, closed = _decided(db, job.org, case)
        blobs = node.blobs.path(registry.version(db, case.offered.registered).guarded_key)
    if closed:
        return _Computed(case, None)
    for attempt in range(_ATTEMPTS):
        try:
            rows = node.engine.compute(case.plan.sql, blobs)
        except Unavailable as failure:
            # A deadline may depend on the data: it is not tried again.
            if attempt + 1 == _ATTEMPTS or failure.code.name == "engine_deadline":
                return _Computed(case, None)
            continue
        blurred = rules.blur(case.plan, case.guard, node.uniform, rows, known)
        return _Computed(case, {key: dict(cells) for key, cells in blurred.items() if key not in known})
    return _Computed(case, None)


def complete(tx: Tx, caller: Caller, ask: Complete, made: _Computed | None) -> Completed:
    """Stores the answer of an admitted job, once; a failed run closes its statistics for the asker.

    Raises: Refused not_found when the job has ended already.
    """
    del caller
    job = store.job(tx.db, ask.job)
    if made is None or job is None or job.state != ADMITTED:
        raise Refused(NOT_FOUND)
    tx.tell(
        org=job.org, parties=[job.provider], job=job.id, contract=job.contract, charged_micro=job.charged_micro,
        question_sha256=sha256(job.question.encode()).hexdigest(),
    )  # fmt: skip
    answer = None if made.case is None else _decide(tx, job, made.case, made.fresh)
    state = FAILED if answer is None else DONE
    store.end_job(tx.db, job.id, state, answer, tx.entry)
    performance.end_use(tx, job.id, len(answer["rows"]) if answer else 0, done=answer is not None)
    if made.case is not None and answer is not None:
        tx.tell(figures=[_counted(tx, replace(job, answer=answer), made.case.contract)])
    tx.tell(
        state=state,
        **(
            {"answer_sha256": sha256_hex(_hashable(answer))} if answer else {"declined": QUESTION_FAILED.name}
        ),
    )
    return Completed(job.id, state)


def _decide(tx: Tx, job: Job, case: _Case, fresh: dict[str, Cells] | None) -> dict[str, Any] | None:
    """The answer from statistics decided now or before; None where one of them is closed."""
    tx.tell(
        product=case.offered.product, resource=case.offered.resource, purpose=case.contract.purpose[:200],
        statistics=job.charged_micro // case.guard.rho_micro,
    )  # fmt: skip
    version = _version_key(case)
    for statistic in case.plan.statistics:
        if fresh is None or statistic.key in fresh:
            cells = None if fresh is None else fresh[statistic.key]
            store.keep_noised(tx.db, job.org, version, _key(statistic.key), cells)
    known, closed = _decided(tx.db, job.org, case)
    return None if closed else _answer(rules.release(case.plan, case.guard, known))


def show(tx: Tx, caller: Caller, ask: Show) -> Answer:
    """The answer of a question; the provider sees that it was asked, not its rows.

    Raises: Refused not_found.
    """
    job = store.job(tx.db, ask.job)
    if job is None or caller.org not in (job.org, job.provider):
        raise Refused(NOT_FOUND)
    return _seen(tx.db, caller, job)


def list_(tx: Tx, caller: Caller, ask: List) -> Answers:
    """The questions the caller's organisation asked, and those asked of its tables, newest first."""
    count = max(1, min(ask.limit, tx.node.config.page_rows_max))
    found = store.jobs(tx.db, caller.org, ask.before or "~", count)
    items = tuple(_seen(tx.db, caller, job) for job in found)
    return Answers(items, found[-1].id if len(found) == count else None)


def _prepared(node: Node, caller: Caller, contract: str, sql: str) -> _Case | Declined:
    with node.database.reading() as db:
        try:
            contracts.usable(db, caller.org, contract, node.clock.now_ms())
        except Refused as refusal:
            if refusal.code in (NOT_FOUND, NOT_CONSUMER):
                raise
            return Declined(refusal.code, refusal.names)
        return _case(node, db, caller.org, contract, sql)


def _case(node: Node, db: Session, org: str, contract: str, sql: str) -> _Case | Declined:
    held, offered, terms = _pinned(db, org, contract)
    table = registry.version(db, offered.registered).table
    guard = guard_of(terms, table.entities, node.config.question_memory_mb)
    planned = plan(sql, table, guard)
    return planned if isinstance(planned, Declined) else _Case(held, offered, terms, guard, planned)


def _pinned(db: Session, org: str, contract: str) -> tuple[Contract, Offered, Terms]:
    held = contracts.held(db, org, contract)
    return held, catalogue.offered_version(db, held.product, int(held.version)), contracts.terms_of(held)


def guard_of(terms: Terms, entities: int, memory_mb: int) -> Guard:
    """The rules of a contract's terms; delta a statistic so that all of them stay below 1/(10 N)."""
    digits = math.ceil(math.log10(10 * max(1, entities) * terms.statistics))
    return Guard(
        terms.noise, terms.rho_micro, terms.group_min, terms.dominance_percent,
        max(6, min(digits, 15)), memory_mb=memory_mb, columns=terms.columns,
    )  # fmt: skip


def _decided(db: Session, org: str, case: _Case) -> tuple[dict[str, Cells], bool]:
    """The plan's statistics that are decided for the organisation, and whether one of them is closed."""
    known: dict[str, Cells] = {}
    version = _version_key(case)
    for statistic in case.plan.statistics:
        decided, cells = store.noised(db, org, version, _key(statistic.key))
        if decided and cells is None:
            return known, True
        if cells is not None:
            known[statistic.key] = cells
    return known, False


def _paid(db: Session, org: str, case: _Case) -> set[str]:
    """The plan's statistics that were charged before, also by a question that still runs."""
    version = _version_key(case)
    keys = {statistic.key for statistic in case.plan.statistics}
    return {key for key in keys if store.paid(db, org, version, _key(key))}


def _version_key(case: _Case) -> str:
    """What a noised statistic depends on beside its own meaning: the table's version and the guard."""
    guard = case.guard
    words = (guard.noise, guard.rho_micro, guard.group_min, guard.delta_exponent)
    return f"{case.offered.registered}:{':'.join(map(str, words))}"


def _key(statistic: str) -> str:
    return sha256(statistic.encode()).hexdigest()


def _left(db: Session, org: str, resource: str, terms: Terms) -> int | None:
    """How many statistics an organisation may still have of a resource; None: exact answers have no account."""
    if terms.noise is Noise.exact:
        return None
    price = terms.rho_micro
    own = rules.left(terms.statistics * price, store.spent_micro(db, resource, org), price)
    return min(own, rules.left(_ceiling(terms), store.spent_micro(db, resource, None), price))


def _beyond(db: Session, org: str, case: _Case, micro: int) -> Code | None:
    """The code where a charge is more than the account, or all accounts of the resource, may spend."""
    if not micro:
        return None
    if (
        store.spent_micro(db, case.offered.resource, org) + micro
        > case.terms.statistics * case.guard.rho_micro
    ):
        return BUDGET_SPENT
    if store.spent_micro(db, case.offered.resource, None) + micro > _ceiling(case.terms):
        return CEILING_REACHED
    return None


def _ceiling(terms: Terms) -> int:
    return ceiling_of(terms) * terms.rho_micro


def _counted(tx: Tx, job: Job, held: Contract) -> dict[str, str | int]:
    """An answered question in the figures: what it was charged, and the rows that were released."""
    price = contracts.terms_of(held).rho_micro
    rows = len(job.answer["rows"]) if job.answer else 0
    return flow(tx.db, held, questions=1, statistics=job.charged_micro // price, rows=rows)


def _answer(released: Released) -> dict[str, Any]:
    return {
        "columns": list(released.columns), "rows": [list(row) for row in released.rows],
        "plus_minus": list(released.plus_minus),
    }  # fmt: skip


def _hashable(answer: dict[str, Any] | None) -> Any:
    """The answer with its large integers as text, as canonical JSON carries only safe ones."""
    if answer is None:
        return None
    rows = [[str(v) if isinstance(v, int) and abs(v) >= 2**53 else v for v in row] for row in answer["rows"]]
    return {**answer, "rows": rows}


def _seen(db: Session, caller: Caller, job: Job) -> Answer:
    _, offered, terms = _pinned(db, job.org, job.contract)
    shown = Answer(
        job.id, job.contract, job.state, job.state != ADMITTED, job.question, job.charged_micro // terms.rho_micro,
        statistics_left=_left(db, job.org, offered.resource, terms), entry=job.entry,
        declined={"code": QUESTION_FAILED.name, "names": {}} if job.state == FAILED else None,
        cost=performance.spent(db, job.id),
    )  # fmt: skip
    if caller.org != job.org or job.answer is None:
        return shown
    return replace(
        shown, columns=tuple(job.answer["columns"]), rows=tuple(tuple(row) for row in job.answer["rows"]),
        plus_minus=tuple(job.answer["plus_minus"]),
    )  # fmt: skip
