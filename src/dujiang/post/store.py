"""The tables of post."""

from __future__ import annotations

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
)

from dujiang.kernel.tables import META, Row, Session, Sql
from dujiang.post.model import GIVEN_UP, WAITING, Letter

_OUT = Table(
    "post_outbox", META, Column("id", Text, primary_key=True), Column("org", Text, nullable=False),
    Column("to_did", Text, nullable=False), Column("claims", Text, nullable=False),
    Column("state", Text, nullable=False), Column("attempts", Integer, nullable=False),
    Column("due_ms", Integer, nullable=False), Column("about", Text), Column("entry", Integer),
    Index("post_outbox_due", "state", "due_ms"), Index("post_outbox_org", "org", "state"),
)  # fmt: skip
_IN = Table(
    "post_inbox", META, Column("org", Text), Column("from_did", Text), Column("letter", Text),
    Column("time_ms", Integer, nullable=False), PrimaryKeyConstraint("org", "from_did", "letter"),
)  # fmt: skip
_OUT_ADD = Sql(insert(_OUT))
_COLUMNS = (
    _OUT.c.id, _OUT.c.org, _OUT.c.to_did, _OUT.c.claims, _OUT.c.state, _OUT.c.attempts, _OUT.c.due_ms, _OUT.c.about,
    _OUT.c.entry,
)  # fmt: skip
_DUE = Sql(
    select(*_COLUMNS).where(_OUT.c.state == WAITING, _OUT.c.due_ms <= bindparam("now_ms"))
    .order_by(_OUT.c.due_ms, _OUT.c.id).limit(bindparam("count"))
)  # fmt: skip
_NEXT = Sql(select(_OUT.c.due_ms).where(_OUT.c.state == WAITING).order_by(_OUT.c.due_ms).limit(1))
_WAITING = Sql(select(func.count()).select_from(_OUT).where(_OUT.c.state == WAITING))
_GET = Sql(select(*_COLUMNS).where(_OUT.c.id == bindparam("id")))
_SET = Sql(
    update(_OUT).where(_OUT.c.id == bindparam("of_id"), _OUT.c.state == WAITING)
    .values(state=bindparam("to_state"), attempts=bindparam("to_attempts"), due_ms=bindparam("to_due_ms"))
)  # fmt: skip
_GIVEN_UP = Sql(
    select(_OUT.c.about).distinct()
    .where(_OUT.c.org == bindparam("org"), _OUT.c.state == GIVEN_UP, _OUT.c.about.is_not(None))
)  # fmt: skip
_HEAR = Sql(
    text(
        "INSERT INTO post_inbox (org, from_did, letter, time_ms) VALUES (:org, :from_did, :letter, :time_ms) "
        "ON CONFLICT (org, from_did, letter) DO NOTHING"
    )
)


def add(db: Session, letter: Letter) -> None:
    """Puts a letter in the outbox."""
    row = (
        letter.id, letter.org, letter.to_did, letter.claims, letter.state, letter.attempts, letter.due_ms,
        letter.about, letter.entry,
    )  # fmt: skip
    db.later(_OUT_ADD, [row])


def due(db: Session, now_ms: int, count: int) -> list[Letter]:
    """The letters to deliver now, oldest first."""
    return [_letter(row) for row in db.run(_DUE, now_ms=now_ms, count=count)]


def next_due_ms(db: Session) -> int | None:
    """When the next waiting letter is due."""
    rows = db.run(_NEXT)
    return int(str(rows[0][0])) if rows else None


def waiting(db: Session) -> int:
    """How many letters are not delivered yet."""
    return int(str(db.run(_WAITING)[0][0]))


def letter(db: Session, letter_id: str) -> Letter | None:
    """The letter with an id."""
    rows = db.run(_GET, id=letter_id)
    return _letter(rows[0]) if rows else None


def given_up(db: Session, org: str) -> frozenset[str]:
    """What the letters of an organisation that were given up are about."""
    return frozenset(str(row[0]) for row in db.run(_GIVEN_UP, org=org))


def mark(db: Session, letter_id: str, state: str, attempts: int, due_ms: int) -> None:
    """Says what became of a waiting letter."""
    db.run(_SET, of_id=letter_id, to_state=state, to_attempts=attempts, to_due_ms=due_ms)


def hear(db: Session, org: str, from_did: str, letter_id: str, time_ms: int) -> bool:
    """Whether the letter is new to its receiver; it is from now on known."""
    return db.changed(_HEAR, org=org, from_did=from_did, letter=letter_id, time_ms=time_ms) == 1


def _letter(row: Row) -> Letter:
    letter_id, org, to_did, claims, state, attempts, due_ms, about, entry = row
    assert isinstance(attempts, int) and isinstance(due_ms, int)
    assert entry is None or isinstance(entry, int)
    return Letter(
        str(letter_id), str(org), str(to_did), str(claims), str(state), attempts, due_ms,
        None if about is None else str(about), entry,
    )  # fmt: skip
