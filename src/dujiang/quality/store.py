"""Quality's table: the gradings of versions, one a version and formula."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Column, Integer, Table, Text, text

from dujiang.kernel.tables import META, Session, Sql
from dujiang.quality.model import Graded, Mark
from dujiang.quality.wire import graded_of, graded_text

_GRADE = Table(
    "quality_grade", META,
    Column("version", Text, primary_key=True), Column("formula", Text, primary_key=True),
    Column("org", Text, nullable=False), Column("grade", Text, nullable=False),
    Column("graded", Text, nullable=False), Column("created_ms", Integer, nullable=False),
)  # fmt: skip
_KEEP = Sql(
    text(
        "INSERT INTO quality_grade (version, formula, org, grade, graded, created_ms)"
        " VALUES (:version, :formula, :org, :grade, :graded, :created_ms)"
        " ON CONFLICT (version, formula) DO UPDATE SET grade = excluded.grade, graded = excluded.graded,"
        " created_ms = excluded.created_ms"
    )
)
_LATEST = Sql(
    text(
        "SELECT graded, created_ms FROM quality_grade WHERE version = :version"
        " ORDER BY created_ms DESC, formula DESC LIMIT 1"
    )
)
_MARK = Sql(
    text(
        "SELECT grade, formula, created_ms FROM quality_grade WHERE version = :version"
        " ORDER BY created_ms DESC, formula DESC LIMIT 1"
    )
)


def keep(db: Session, org: str, version: str, graded: Graded, now_ms: int) -> None:
    """Keeps a grading; an earlier one of the same formula is replaced."""
    db.run(
        _KEEP, version=version, formula=graded.formula, org=org, grade=graded.grade,
        graded=graded_text(graded), created_ms=now_ms,
    )  # fmt: skip


def latest(db: Session, version: str) -> tuple[Graded, int] | None:
    """The newest grading of a version of any organisation, and when it was made."""
    rows = db.run(_LATEST, version=version)
    return (graded_of(str(rows[0][0])), int(cast("int", rows[0][1]))) if rows else None


def mark(db: Session, version: str) -> Mark | None:
    """The letter of the newest grading of a version, without reading the whole of it."""
    rows = db.run(_MARK, version=version)
    return Mark(str(rows[0][0]), str(rows[0][1]), int(cast("int", rows[0][2]))) if rows else None
