"""The tables of the clean room: privacy accounts, noised statistics that are reused, and jobs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import (
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)  # fmt: skip

from dujiang.kernel.tables import META, Row, Session, Sql

ADMITTED, DONE, FAILED, STOPPED = "admitted", "done", "failed", "stopped"

_ACCOUNT = Table(
    "cleanroom_account", META, Column("resource", Text, nullable=False), Column("org", Text, nullable=False),
    Column("spent_micro", Integer, nullable=False), PrimaryKeyConstraint("resource", "org"),
)  # fmt: skip
_NOISED = Table(
    "cleanroom_noised", META, Column("org", Text, nullable=False), Column("version", Text, nullable=False),
    Column("statistic", Text, nullable=False), Column("cells", Text),
    PrimaryKeyConstraint("org", "version", "statistic"),
)  # fmt: skip
_PAID = Table(
    "cleanroom_paid", META, Column("org", Text, nullable=False), Column("version", Text, nullable=False),
    Column("statistic", Text, nullable=False), PrimaryKeyConstraint("org", "version", "statistic"),
)  # fmt: skip
_JOB = Table(
    "cleanroom_job", META, Column("id", Text, primary_key=True), Column("org", Text, nullable=False),
    Column("question", Text, nullable=False), Column("state", Text, nullable=False),
    Column("charged_micro", Integer, nullable=False), Column("attempts", Integer, nullable=False),
    Column("answer", Text), Column("entry", Integer), Column("created_ms", Integer, nullable=False),
    Column("person", Text), Column("key", Text),
    Index("cleanroom_job_state", "state"), Index("cleanroom_job_org", "org", "id"),
)  # fmt: skip
_PART = Table(
    "cleanroom_part", META, Column("job", Text, nullable=False), Column("contract", Text, nullable=False),
    Column("provider", Text, nullable=False), Column("place", Integer, nullable=False),
    Column("charged_micro", Integer, nullable=False), PrimaryKeyConstraint("job", "contract"),
    Index("cleanroom_part_provider", "provider", "job"),
)  # fmt: skip
_SPENT = Sql(
    select(_ACCOUNT.c.spent_micro).where(
        _ACCOUNT.c.resource == bindparam("resource"), _ACCOUNT.c.org == bindparam("org")
    )
)
_SPENT_ALL = Sql(
    select(func.coalesce(func.sum(_ACCOUNT.c.spent_micro), 0)).where(
        _ACCOUNT.c.resource == bindparam("resource")
    )
)
_SPEND = Sql(
    text(
        "INSERT INTO cleanroom_account (resource, org, spent_micro) VALUES (:resource, :org, :micro) "
        "ON CONFLICT (resource, org) DO UPDATE SET spent_micro = cleanroom_account.spent_micro + excluded.spent_micro"
    )
)
_NOISED_GET = Sql(
    select(_NOISED.c.cells).where(
        _NOISED.c.org == bindparam("org"), _NOISED.c.version == bindparam("version"),
        _NOISED.c.statistic == bindparam("statistic"),
    )
)  # fmt: skip
_NOISED_ADD = Sql(
    text(
        "INSERT INTO cleanroom_noised (org, version, statistic, cells) VALUES (:org, :version, :statistic, :cells) "
        "ON CONFLICT (org, version, statistic) DO NOTHING"
    )
)
_PAID_GET = Sql(
    select(_PAID.c.statistic).where(
        _PAID.c.org == bindparam("org"), _PAID.c.version == bindparam("version"),
        _PAID.c.statistic == bindparam("statistic"),
    )
)  # fmt: skip
_PAID_ADD = Sql(insert(_PAID))
_JOB_ADD = Sql(insert(_JOB))
_JOB_COLUMNS = (
    _JOB.c.id, _JOB.c.org, _JOB.c.question, _JOB.c.state, _JOB.c.charged_micro, _JOB.c.attempts,
    _JOB.c.answer, _JOB.c.entry, _JOB.c.created_ms, _JOB.c.person, _JOB.c.key,
)  # fmt: skip
_PART_ADD = Sql(insert(_PART))
_PART_GET = Sql(
    select(_PART.c.contract, _PART.c.provider, _PART.c.charged_micro)
    .where(_PART.c.job == bindparam("job")).order_by(_PART.c.place)
)  # fmt: skip
_JOB_GET = Sql(select(*_JOB_COLUMNS).where(_JOB.c.id == bindparam("id")))
_JOB_DONE = Sql(select(_JOB.c.id, _JOB.c.entry).where(_JOB.c.state == DONE))
_JOB_WAITING = Sql(
    text("SELECT count(*) FROM cleanroom_job WHERE state = 'admitted' AND (:org IS NULL OR org = :org)")
)
_JOB_STATE = Sql(
    text(
        "SELECT id, org FROM (SELECT id, org, row_number() OVER (PARTITION BY org ORDER BY id) AS turn "
        "FROM cleanroom_job WHERE state = 'admitted') t ORDER BY turn, id LIMIT :count"
    )
)
_JOB_LIST = Sql(
    select(*_JOB_COLUMNS)
    .where(
        (_JOB.c.org == bindparam("org"))
        | _JOB.c.id.in_(select(_PART.c.job).where(_PART.c.provider == bindparam("org"))),
        _JOB.c.id < bindparam("before"),
    )
    .order_by(_JOB.c.id.desc()).limit(bindparam("count"))
)  # fmt: skip
_JOB_END = Sql(
    update(_JOB).where(_JOB.c.id == bindparam("of_id"), _JOB.c.state == ADMITTED)
    .values(state=bindparam("to_state"), answer=bindparam("to_answer"), entry=bindparam("to_entry"))
)  # fmt: skip

Cells = dict[tuple[object, ...], int]


@dataclass(frozen=True, slots=True)
class JobPart:
    """One contract of a question, whose table it is, and what its account was charged."""

    contract: str
    provider: str
    charged_micro: int


@dataclass(frozen=True, slots=True)
class Job:
    """A question that was admitted and charged (计算任务)."""

    id: str
    org: str
    question: str
    state: str
    charged_micro: int
    attempts: int
    answer: dict[str, Any] | None
    entry: int | None
    created_ms: int
    parts: tuple[JobPart, ...] = ()
    person: str = ""
    """Who asked; empty in homes older than this."""
    key: str = ""
    """The key it was asked with, if it was one."""

    @property
    def sides(self) -> tuple[str, ...]:
        """The organisations it concerns: who asked, and whose tables it reads."""
        return tuple(dict.fromkeys((self.org, *(part.provider for part in self.parts))))


def spent_micro(db: Session, resource: str, org: str | None) -> int:
    """What an organisation (None: all together) has spent on a resource, in 10**-6 of rho."""
    rows = (
        db.run(_SPENT_ALL, resource=resource) if org is None else db.run(_SPENT, resource=resource, org=org)
    )
    return cast(int, rows[0][0]) if rows else 0


def spend(db: Session, resource: str, org: str, micro: int) -> None:
    """Charges an account; nothing is ever given back."""
    db.run(_SPEND, resource=resource, org=org, micro=micro)


def noised(db: Session, org: str, version: str, statistic: str) -> tuple[bool, Cells | None]:
    """Whether a statistic was decided for an organisation, and its noised cells (None: closed)."""
    rows = db.run(_NOISED_GET, org=org, version=version, statistic=statistic)
    if not rows:
        return False, None
    return True, None if rows[0][0] is None else {
        tuple(key): count for key, count in json.loads(str(rows[0][0]))
    }


def keep_noised(db: Session, org: str, version: str, statistic: str, cells: Cells | None) -> None:
    """Decides a statistic once; a second decision changes nothing. None closes it."""
    made = (
        None
        if cells is None
        else json.dumps([[list(key), count] for key, count in cells.items()], ensure_ascii=False)
    )
    db.run(_NOISED_ADD, org=org, version=version, statistic=statistic, cells=made)


def paid(db: Session, org: str, version: str, statistic: str) -> bool:
    """Whether an organisation has paid for a statistic, decided or still to be."""
    return bool(db.run(_PAID_GET, org=org, version=version, statistic=statistic))


def pay(db: Session, org: str, version: str, statistic: str) -> None:
    """Says that a statistic is paid for, so that it is charged once, also while its first job runs."""
    db.run(_PAID_ADD, org=org, version=version, statistic=statistic)


def add_job(db: Session, job: Job) -> None:
    """Keeps an admitted job, or one that was answered at once."""
    db.run(
        _JOB_ADD, id=job.id, org=job.org, question=job.question, state=job.state, charged_micro=job.charged_micro,
        attempts=job.attempts, answer=_json(job.answer), entry=job.entry, created_ms=job.created_ms,
        person=job.person or None, key=job.key or None,
    )  # fmt: skip
    for place, part in enumerate(job.parts):
        db.run(
            _PART_ADD, job=job.id, contract=part.contract, provider=part.provider, place=place,
            charged_micro=part.charged_micro,
        )  # fmt: skip


def job(db: Session, job_id: str) -> Job | None:
    """The job with an id."""
    rows = db.run(_JOB_GET, id=job_id)
    return _job(db, rows[0]) if rows else None


def admitted(db: Session, count: int) -> list[tuple[str, str]]:
    """The jobs that wait to be run, each with who asked: the oldest of each organisation, then the second of each."""
    return [(str(row[0]), str(row[1])) for row in db.run(_JOB_STATE, count=count)]


def waiting(db: Session, org: str | None = None) -> int:
    """How many questions of an organisation, or of all, wait or run."""
    return int(str(db.run(_JOB_WAITING, org=org)[0][0]))


def jobs(db: Session, org: str, before: str, count: int) -> list[Job]:
    """The jobs an organisation asked or that ran on its data, newest first."""
    return [_job(db, row) for row in db.run(_JOB_LIST, org=org, before=before, count=count)]


def answered(db: Session) -> dict[str, int | None]:
    """The entry of each answered question, by its id."""
    return {str(row[0]): cast("int | None", row[1]) for row in db.run(_JOB_DONE)}


def end_job(db: Session, job_id: str, state: str, answer: dict[str, Any] | None, entry: int) -> bool:
    """Whether an admitted job ended now; a job ends once."""
    return db.changed(_JOB_END, of_id=job_id, to_state=state, to_answer=_json(answer), to_entry=entry) == 1


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _job(db: Session, row: Row) -> Job:
    own, org, question, state, charged, attempts, answer, entry, created, person, key = row
    parts = tuple(JobPart(str(c), str(p), cast(int, micro)) for c, p, micro in db.run(_PART_GET, job=own))
    return Job(
        str(own), str(org), str(question), str(state), cast(int, charged), cast(int, attempts),
        None if answer is None else json.loads(str(answer)), cast("int | None", entry), cast(int, created), parts,
        str(person or ""), str(key or ""),
    )  # fmt: skip
