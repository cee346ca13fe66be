"""Acts of the clean room: quote, ask, complete, stop, show, list.

`ask` admits: contracts, plan, accounts, one transaction that charges and counts. A loop then runs
`complete`, whose preparation computes in the locked process and draws the noise; its transaction stores
noised statistics and the answer. True statistics exist in that preparation's memory and nowhere else.
Until then any side may `stop` it, and a contract that ends stops it: its process is killed, nothing leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, cast

from dujiang.cleanroom import account, rules, store
from dujiang.cleanroom.case import Case, Part, is_halted, pinned, prepared, read
from dujiang.cleanroom.model import (
    QUESTION_ENDED,
    QUESTION_FAILED,
    QUESTION_STOPPED,
    QUESTIONS_WAITING,
    STATISTIC_CLOSED,
    Released,
)
from dujiang.cleanroom.store import ADMITTED, DONE, FAILED, STOPPED, Cells, Job, JobPart
from dujiang.contract import acts as contracts
from dujiang.contract import performance
from dujiang.contract.flow import flow
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.canonical import sha256_hex
from dujiang.kernel.errors import Declined, Refused, Unavailable
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.registry import acts as registry

_ATTEMPTS = 2
_NO_RETRY = ("engine_deadline", "engine_stopped")
"""A deadline may depend on the data, and what was stopped is not wanted any more: neither is tried again."""


@dataclass(frozen=True, slots=True)
class Check:
    """One or several contracts and a question over their tables, to see what it would cost."""

    contracts: tuple[str, ...]
    """The contract of every table the question reads."""
    sql: str
    """A SELECT of aggregates."""


@dataclass(frozen=True, slots=True)
class Share:
    """One contract of a question: whose table it reads, and what the account for it is charged."""

    contract: str
    product: str
    title: str
    provider: str
    statistics: int
    """How many the question takes of this account; 0: answered before, or exact."""
    statistics_left: int | None
    """How many are left now; None: exact answers have no account."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What a question takes and how exact its answer will be; the same whatever the data say."""

    contracts: tuple[str, ...]
    columns: tuple[str, ...]
    plus_minus: tuple[float | None, ...]
    """Expected ± (2 standard deviations) of each column; a mean: for a group of 1,000."""
    statistics: int
    """How many statistics it takes of every account; 0: answered before, or exact."""
    statistics_left: int | None
    """How many are left before it, of the scarcest account; None: exact answers have no account."""
    noise: str
    runs: str
    """The regenerated SQL that runs."""
    warnings: tuple[str, ...] = ()
    parts: tuple[Share, ...] = ()
    """What each provider's account would be charged."""
    rows_max: int = 0
    """The most rows the answer can have."""
    charges: tuple[performance.Charge, ...] = ()
    """What it may cost in money under each contract that has a price; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One or several contracts and a question over their tables."""

    contracts: tuple[str, ...]
    """The contract of every table the question reads."""
    sql: str
    """A SELECT of aggregates over the contracts' tables, joined on keys that all of them list."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The question was admitted and charged; `cleanroom.show` gives its answer."""

    job: str
    contracts: tuple[str, ...]
    statistics: int
    statistics_left: int | None
    parts: tuple[Share, ...] = ()


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
class Stop:
    """An admitted question to stop before its answer."""

    job: str


@dataclass(frozen=True, slots=True)
class Pending:
    """How many jobs at most; `halted`: only those whose contract has ended."""

    limit: int = 100
    halted: bool = False


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs that wait to be run, and who asked each."""

    jobs: tuple[str, ...]
    organisations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Show:
    """The id of a job."""

    job: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or that it is not there yet; only the asking organisation sees its rows."""

    job: str
    contracts: tuple[str, ...]
    state: str
    done: bool
    question: str
    statistics: int
    """How many it took of every account."""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    plus_minus: tuple[float | None, ...] = ()
    statistics_left: int | None = None
    entry: int | None = None
    declined: dict[str, Any] | None = None
    parts: tuple[Share, ...] = ()
    """What each provider's account was charged."""
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
class _Computed:
    """What a run gave: fresh noised statistics, or (None) that the engine failed.

    No case: the question is not admitted any more, as after an upgrade of the checker.
    """

    case: Case | None
    fresh: dict[str, Cells] | None
    halted: bool = False


def prepare_check(node: Node, caller: Caller, ask: Check) -> Case | Declined:
    """The checked question.

    Raises: Refused contracts_wrong, not_found and the codes of the contracts.
    """
    return prepared(node, caller.org, ask.contracts, ask.sql)


def check(tx: Tx, caller: Caller, ask: Check, case: Case | Declined) -> Quote | Declined:
    """What the question would take and how exact it would be, at no cost."""
    del ask
    if isinstance(case, Declined):
        return case
    found = account.state(tx.db, caller.org, case)
    if found.closed:
        return Declined(STATISTIC_CLOSED)
    return Quote(
        tuple(part.contract.id for part in case.parts), tuple(name for name, _ in case.plan.columns),
        rules.expected(case.plan, case.guard), found.takes, account.left_of_all(tx.db, caller.org, case.parts),
        case.plan.noise, case.plan.sql, case.plan.warnings, _shares(tx.db, caller.org, case, found.takes),
        rules.rows_max(case.plan),
        performance.charges(tx.db, case.contracts, case.meaning, rules.rows_max(case.plan), tx.now_ms),
    )  # fmt: skip


def prepare_ask(node: Node, caller: Caller, ask: Ask) -> Case | Declined:
    """The checked question; its tables and terms can not change, so only the contracts are looked at again.

    Raises: Refused contracts_wrong, not_found.
    """
    return prepared(node, caller.org, ask.contracts, ask.sql)


def ask(tx: Tx, caller: Caller, ask: Ask, case: Case | Declined) -> Asked | Declined:
    """Admits a question: charges every account, counts every use, and leaves a job; or declines it.

    Raises: Refused not_found, questions_waiting. Declined: the codes of the checker, the contracts' terms and the
    accounts.
    """
    tx.tell(question_sha256=sha256(ask.sql.encode()).hexdigest())
    _tell_contracts(tx, caller, ask.contracts)
    if isinstance(case, Declined):
        return case
    held = {part.contract.id: part.contract for part in case.parts}
    most = tx.node.config.org_questions_at_once_max
    if most and store.waiting(tx.db, caller.org) >= most:
        raise Refused(QUESTIONS_WAITING, most=most)
    try:
        for each in held:
            held[each] = contracts.usable(tx.db, caller.org, each, tx.now_ms)
    except Refused as refusal:
        return Declined(refusal.code, refusal.names)
    found = account.state(tx.db, caller.org, case)
    if refused := account.refused(tx.db, caller.org, case, found):
        return refused
    use, rows_max = tx.new_id("job"), rules.rows_max(case.plan)
    if short := performance.hold_uses(
        tx, case.contracts, use, case.meaning, rows_max, counted=bool(found.unpaid)
    ):
        return short
    tx.tell(uses=list(held) if found.unpaid else [])
    account.charge(tx.db, caller.org, case, found)
    fresh = len(found.known) < len(case.keys)
    charged = [
        JobPart(part.contract.id, part.offered.provider_org, part.price_micro * found.takes)
        for part in case.parts
    ]
    job = Job(
        use, caller.org, ask.sql, ADMITTED if fresh else DONE, sum(each.charged_micro for each in charged),
        0, None if fresh else _answer(rules.release(case.plan, case.guard, found.known)),
        None if fresh else tx.entry, tx.now_ms, tuple(charged), caller.person, caller.via,
    )  # fmt: skip
    store.add_job(tx.db, job)
    if job.answer is not None:
        performance.end_use(tx, use, len(job.answer["rows"]), done=True)
    _tell_case(tx, job, case, found.takes)
    if not fresh:
        tx.tell(figures=_counted(tx, job, case))
    tx.tell(
        noise=case.plan.noise.value, **({} if fresh else {"answer_sha256": sha256_hex(_hashable(job.answer))})
    )
    left = account.left_of_all(tx.db, caller.org, case.parts)
    shares = _shares(tx.db, caller.org, case, found.takes)
    return Asked(job.id, tuple(held), found.takes, left, shares)


def pending(tx: Tx, caller: Caller, ask: Pending) -> Jobs:
    """The jobs that wait to be run, or of these only those that must not be; organisations take turns."""
    del caller
    found = store.admitted(tx.db, tx.node.config.rows(ask.limit))
    if ask.halted:
        jobs = (job for each, _ in found if (job := store.job(tx.db, each)))
        found = [(job.id, job.org) for job in jobs if is_halted(tx.db, job, tx.now_ms)]
    return Jobs(tuple(job for job, _ in found), tuple(org for _, org in found))


def waiting(db: Session) -> int:
    """How many questions wait or run."""
    return store.waiting(db)


def prepare_complete(node: Node, caller: Caller, ask: Complete) -> _Computed | None:
    """The noised statistics of a job: computed in the locked process, noise drawn here; None if it has ended."""
    del caller
    with node.database.reading() as db:
        job = store.job(db, ask.job)
        if job is None or job.state != ADMITTED:
            return None
        if is_halted(db, job, node.clock.now_ms()):
            return _Computed(None, None, halted=True)
        case = read(node, db, job.org, [part.contract for part in job.parts], job.question)
        if isinstance(case, Declined):
            return _Computed(None, None)
        known, closed = account.decided(db, job.org, case)
        versions = [registry.version(db, part.offered.registered) for part in case.parts]
    if closed:
        return _Computed(case, None)
    files = [node.blobs.path(version.guarded_key) for version in versions]
    for attempt in range(_ATTEMPTS):
        try:
            rows = node.engine.compute(case.plan.sql, *files, stopped=lambda: _is_over(node, ask.job))
        except Unavailable as failure:
            halted = failure.code.name == "engine_stopped"
            if halted or attempt + 1 == _ATTEMPTS or failure.code.name in _NO_RETRY:
                return _Computed(case, None, halted)
            continue
        blurred = rules.blur(case.plan, case.guard, node.uniform, rows, known)
        return _Computed(case, {key: dict(cells) for key, cells in blurred.items() if key not in known})
    return _Computed(case, None)


def _is_over(node: Node, job_id: str) -> bool:
    """Whether a job that runs is not wanted any more."""
    with node.database.reading() as db:
        job = store.job(db, job_id)
        return job is None or job.state != ADMITTED or is_halted(db, job, node.clock.now_ms())


def complete(tx: Tx, caller: Caller, ask: Complete, made: _Computed | None) -> Completed:
    """Stores the answer of an admitted job, once; a failed run closes its statistics for the asker.

    Where a contract ended meanwhile, nothing is stored and nothing closed. Raises: Refused not_found when
    the job has ended already.
    """
    del caller
    job = store.job(tx.db, ask.job)
    if made is None or job is None or job.state != ADMITTED:
        raise Refused(NOT_FOUND)
    _tell_job(tx, job)
    if made.halted or is_halted(tx.db, job, tx.now_ms):
        return _ended(tx, job, STOPPED, None)
    answer = None if made.case is None else _decide(tx, job, made.case, made.fresh)
    if made.case is not None and answer is not None:
        tx.tell(figures=_counted(tx, replace(job, answer=answer), made.case))
    return _ended(tx, job, FAILED if answer is None else DONE, answer)


def prepare_stop(node: Node, caller: Caller, ask: Stop) -> Case | None:
    """The question that is to be stopped; None where it can not be read any more."""
    with node.database.reading() as db:
        job = store.job(db, ask.job)
        if job is None or caller.org not in job.sides:
            return None
        case = read(node, db, job.org, [part.contract for part in job.parts], job.question)
        return None if isinstance(case, Declined) else case


def stop(tx: Tx, caller: Caller, ask: Stop, case: Case | None) -> Completed:
    """Ends an admitted question before its answer; what it was charged stays charged.

    By a provider it also closes the question's undecided statistics for the asker; by the asker itself they
    stay paid for. Raises: Refused not_found, question_ended.
    """
    job = store.job(tx.db, ask.job)
    if job is None or caller.org not in job.sides:
        raise Refused(NOT_FOUND)
    if job.state != ADMITTED:
        raise Refused(QUESTION_ENDED)
    _tell_job(tx, job)
    tx.tell(org=caller.org, parties=[side for side in job.sides if side != caller.org])
    if case is not None:
        _tell_case(tx, job, case)
        if caller.org != job.org:
            account.close(tx.db, job.org, case)
    return _ended(tx, job, STOPPED, None)


def _ended(tx: Tx, job: Job, state: str, answer: dict[str, Any] | None) -> Completed:
    """Ends a job, once, and says how."""
    store.end_job(tx.db, job.id, state, answer, tx.entry)
    performance.end_use(tx, job.id, len(answer["rows"]) if answer else 0, done=answer is not None)
    tx.tell(state=state)
    if answer is not None:
        tx.tell(answer_sha256=sha256_hex(_hashable(answer)))
    else:
        tx.tell(declined=(QUESTION_STOPPED if state == STOPPED else QUESTION_FAILED).name)
    return Completed(job.id, state)


def _decide(tx: Tx, job: Job, case: Case, fresh: dict[str, Cells] | None) -> dict[str, Any] | None:
    """The answer from statistics decided now or before; None where one of them is closed."""
    _tell_case(tx, job, case)
    for text, key in case.keys.items():
        if fresh is None or text in fresh:
            store.keep_noised(tx.db, job.org, case.version, key, None if fresh is None else fresh[text])
    known, closed = account.decided(tx.db, job.org, case)
    return None if closed else _answer(rules.release(case.plan, case.guard, known))


def _tell_contracts(tx: Tx, caller: Caller, names: Sequence[str]) -> None:
    """Says under which contracts a question is asked; the first by itself, as a question of one table has it."""
    own = [contracts.show(tx, caller, contracts.Show(name)) for name in names]
    owners = [org.id for each in own if (org := identity.by_did(tx.db, each.peer_did))]
    tx.tell(
        contract=own[0].contract, product=own[0].product, version=own[0].version, purpose=own[0].purpose[:200],
        contracts=[each.contract for each in own], parties=list(dict.fromkeys(owners)),
        parts=[
            {"contract": each.contract, "product": each.product, "version": each.version, "purpose": each.purpose[:200]}
            for each in own
        ],
    )  # fmt: skip


def _tell_job(tx: Tx, job: Job) -> None:
    tx.tell(
        org=job.org, parties=[side for side in job.sides if side != job.org], job=job.id,
        contract=job.parts[0].contract, contracts=[part.contract for part in job.parts],
        charged_micro=job.charged_micro, question_sha256=sha256(job.question.encode()).hexdigest(),
    )  # fmt: skip


def _tell_case(tx: Tx, job: Job, case: Case, takes: int | None = None) -> None:
    """Says what each table of a question is and what its account was charged."""
    takes = _taken(case, job) if takes is None else takes
    first = case.parts[0]
    # Whose rows are read sees it also where another organisation offers them.
    told = cast("list[str]", tx.told.get("parties", []))
    holders = {registry.version(tx.db, part.offered.registered).org for part in case.parts}
    tx.tell(parties=[*told, *sorted(holders - {*told, *job.sides})])
    tx.tell(
        job=job.id, contract=first.contract.id, product=first.offered.product, version=first.contract.version,
        purpose=first.contract.purpose[:200], resource=first.offered.resource, statistics=takes,
        charged_micro=job.charged_micro,
        parts=[
            {
                "contract": part.contract.id, "product": part.offered.product, "version": part.contract.version,
                "purpose": part.contract.purpose[:200], "provider": part.offered.provider_org,
                "resource": part.offered.resource, "charged_micro": charged.charged_micro,
                "statistics": takes if part.price_micro else 0,
            }
            for part, charged in zip(case.parts, job.parts, strict=True)
        ],
    )  # fmt: skip


def _taken(case: Case, job: Job) -> int:
    """How many statistics a job took of every account."""
    found = zip(case.parts, job.parts, strict=True)
    return max(part.charged_micro // each.price_micro if each.price_micro else 0 for each, part in found)


def show(tx: Tx, caller: Caller, ask: Show) -> Answer:
    """The answer of a question; a provider sees that it was asked, not its rows.

    Raises: Refused not_found.
    """
    job = store.job(tx.db, ask.job)
    if job is None or caller.org not in job.sides:
        raise Refused(NOT_FOUND)
    return _seen(tx.db, caller, job)


def list_(tx: Tx, caller: Caller, ask: List) -> Answers:
    """The questions the caller's organisation asked, and those asked of its tables, newest first."""
    count = tx.node.config.rows(ask.limit)
    found = store.jobs(tx.db, caller.org, ask.before or "~", count)
    items = tuple(_seen(tx.db, caller, job) for job in found)
    return Answers(items, found[-1].id if len(found) == count else None)


def answered(db: Session) -> dict[str, int | None]:
    """The entry of each answered question of this home, by the question's id, for the observatory."""
    return store.answered(db)


def _counted(tx: Tx, job: Job, case: Case) -> list[dict[str, str | int]]:
    """An answered question in the figures: a use of each table, what its account was charged, the rows released."""
    rows = len(job.answer["rows"]) if job.answer else 0
    return [
        flow(
            tx.db, part.contract, questions=1, rows=rows,
            statistics=kept.charged_micro // part.price_micro if part.price_micro else 0,
        )
        for part, kept in zip(case.parts, job.parts, strict=True)
    ]  # fmt: skip


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


def _shares(db: Session, org: str, case: Case, takes: int) -> tuple[Share, ...]:
    return tuple(_share(db, org, part, takes if part.price_micro else 0) for part in case.parts)


def _share(db: Session, org: str, part: Part, statistics: int) -> Share:
    provider = identity.organisation(db, part.offered.provider_org).name
    return Share(
        part.contract.id, part.offered.product, part.offered.title, provider, statistics, account.left(db, org, part)
    )  # fmt: skip


def _seen(db: Session, caller: Caller, job: Job) -> Answer:
    parts = tuple(pinned(db, job.org, part.contract) for part in job.parts)
    shares = tuple(
        _share(db, job.org, part, kept.charged_micro // part.price_micro if part.price_micro else 0)
        for part, kept in zip(parts, job.parts, strict=True)
    )
    ended = {FAILED: QUESTION_FAILED, STOPPED: QUESTION_STOPPED}.get(job.state)
    shown = Answer(
        job.id, tuple(part.contract for part in job.parts), job.state, job.state != ADMITTED, job.question,
        max(each.statistics for each in shares), statistics_left=account.left_of_all(db, job.org, parts),
        entry=job.entry, declined={"code": ended.name, "names": {}} if ended else None, parts=shares,
        cost=performance.spent(db, job.id),
    )  # fmt: skip
    if caller.org != job.org or job.answer is None:
        return shown
    return replace(
        shown, columns=tuple(job.answer["columns"]), rows=tuple(tuple(row) for row in job.answer["rows"]),
        plus_minus=tuple(job.answer["plus_minus"]),
    )  # fmt: skip
