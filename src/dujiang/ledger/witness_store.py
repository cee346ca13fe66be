"""The tables of witnesses: who cosigns this log, which logs this node cosigns, what was shown that may not be;
and of the receipts that parties keep of each other.

It is the store's second half and as private: only this package's acts use it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
)

from dujiang.kernel.tables import META, Session, Sql

_COSIGNER = Table(
    "ledger_cosigner", META, Column("name", Text), Column("kind", Integer),
    Column("public", LargeBinary, nullable=False), Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("name", "kind"),
)  # fmt: skip
_COSIGNATURE = Table(
    "ledger_cosignature", META, Column("size", Integer), Column("name", Text), Column("kind", Integer),
    Column("own", Integer, nullable=False), Column("line", Text, nullable=False),
    Column("time_ms", Integer, nullable=False), PrimaryKeyConstraint("size", "name", "kind"),
)  # fmt: skip
"""Lines under this log's checkpoints beside their Ed25519 line; `own`: 1 for the log's other keys, 0 for witnesses."""
_WITNESS = Table(
    "ledger_witness", META, Column("name", Text, primary_key=True), Column("url", Text, nullable=False),
    Column("vkeys", Text, nullable=False), Column("known", Integer, nullable=False),
    Column("cosigned", Integer, nullable=False), Column("cosigned_ms", Integer, nullable=False),
    Column("asked_ms", Integer, nullable=False), Column("failures", Integer, nullable=False),
    Column("failure", Text, nullable=False),
)  # fmt: skip
_QUORUM = Table(
    "ledger_quorum", META, Column("one", Integer, primary_key=True, autoincrement=False),
    Column("least", Integer, nullable=False), Column("fresh_s", Integer, nullable=False),
)  # fmt: skip
_WATCHED = Table(
    "ledger_watched", META, Column("origin", Text, primary_key=True),
    Column("place", Text, nullable=False, unique=True), Column("vkeys", Text, nullable=False),
    Column("active", Integer, nullable=False),
    Column("size", Integer, nullable=False), Column("root", LargeBinary), Column("note", Text),
    Column("time_ms", Integer, nullable=False),
)  # fmt: skip
"""What was cosigned stays when a log is watched no more: whoever takes it up again goes on from there."""
_SEEN = Table(
    "ledger_seen", META, Column("origin", Text), Column("size", Integer), Column("root", LargeBinary, nullable=False),
    PrimaryKeyConstraint("origin", "size"),
)  # fmt: skip
_FORK = Table(
    "ledger_fork", META, Column("origin", Text), Column("size", Integer), Column("root", LargeBinary),
    Column("conflict", Text, nullable=False), Column("known", Integer, nullable=False),
    Column("time_ms", Integer, nullable=False), Column("request", LargeBinary, nullable=False),
    PrimaryKeyConstraint("origin", "size", "root"),
)  # fmt: skip

_KEPT = Table(
    "ledger_kept", META, Column("org", Text), Column("about", Text, nullable=False), Column("origin", Text),
    Column("idx", Integer), Column("receipt", Text, nullable=False), PrimaryKeyConstraint("org", "origin", "idx"),
    Index("ledger_kept_about", "org", "about"),
)  # fmt: skip
"""Receipts an organisation holds of others' entries, of this log or another, by what they are about."""

_COSIGNER_ADD = Sql(insert(_COSIGNER))
_COSIGNER_GET = Sql(
    select(_COSIGNER.c.kind, _COSIGNER.c.public, _COSIGNER.c.sealed).where(_COSIGNER.c.name == bindparam("name"))
    .order_by(_COSIGNER.c.kind)
)  # fmt: skip
_LINE_ADD = Sql(
    text(
        "INSERT INTO ledger_cosignature (size, name, kind, own, line, time_ms) "
        "VALUES (:size, :name, :kind, :own, :line, :time_ms) ON CONFLICT (size, name, kind) DO NOTHING"
    )
)
_LINE_THIN = Sql(
    text(
        "DELETE FROM ledger_cosignature WHERE kind = :kind AND name = :name AND size < :size "
        "AND time_ms >= :since"
    )
)
_LINES = Sql(
    select(_COSIGNATURE.c.line).where(_COSIGNATURE.c.size == bindparam("size"))
    .order_by(_COSIGNATURE.c.own.desc(), _COSIGNATURE.c.name, _COSIGNATURE.c.kind)
)  # fmt: skip
_COSIGNED_FOR = Sql(
    text(
        "SELECT size FROM ledger_cosignature WHERE size > :idx AND own = 0 "
        "GROUP BY size HAVING count(DISTINCT name) >= :least ORDER BY size LIMIT 1"
    )
)
_COSIGNED_LAST = Sql(
    text(
        "SELECT c.size FROM ledger_cosignature c JOIN ledger_witness w ON w.name = c.name WHERE c.own = 0 "
        "GROUP BY c.size HAVING count(DISTINCT c.name) >= :least ORDER BY c.size DESC LIMIT 1"
    )
)
_OWN_LAST = Sql(text("SELECT size, time_ms FROM ledger_cosignature WHERE own = 1 ORDER BY size DESC LIMIT 1"))
_WITNESS_PUT = Sql(
    text(
        "INSERT INTO ledger_witness (name, url, vkeys, known, cosigned, cosigned_ms, asked_ms, failures, failure) "
        "VALUES (:name, :url, :vkeys, 0, 0, 0, 0, 0, '') "
        "ON CONFLICT (name) DO UPDATE SET url = excluded.url, vkeys = excluded.vkeys, failures = 0, failure = ''"
    )
)
_WITNESS_DROP = Sql(delete(_WITNESS).where(_WITNESS.c.name == bindparam("name")))
_WITNESS_ALL = Sql(select(_WITNESS).order_by(_WITNESS.c.name))
_WITNESS_TRIED = Sql(
    text(
        "UPDATE ledger_witness SET known = :known, cosigned = :cosigned, cosigned_ms = :cosigned_ms, "
        "asked_ms = :asked_ms, failures = :failures, failure = :failure WHERE name = :name"
    )
)
_QUORUM_PUT = Sql(
    text(
        "INSERT INTO ledger_quorum (one, least, fresh_s) VALUES (1, :least, :fresh_s) "
        "ON CONFLICT (one) DO UPDATE SET least = excluded.least, fresh_s = excluded.fresh_s"
    )
)
_QUORUM_GET = Sql(select(_QUORUM.c.least, _QUORUM.c.fresh_s))
_WATCHED_PUT = Sql(
    text(
        "INSERT INTO ledger_watched (origin, place, vkeys, active, size, root, note, time_ms) "
        "VALUES (:origin, :place, :vkeys, 1, 0, NULL, NULL, 0) "
        "ON CONFLICT (origin) DO UPDATE SET vkeys = excluded.vkeys, active = 1"
    )
)
_WATCHED_END = Sql(text("UPDATE ledger_watched SET active = 0 WHERE origin = :origin AND active = 1"))
_WATCHED_ALL = Sql(select(_WATCHED).order_by(_WATCHED.c.origin))
_WATCHED_GET = Sql(select(_WATCHED).where(_WATCHED.c.origin == bindparam("origin")))
_WATCHED_AT = Sql(select(_WATCHED.c.note).where(_WATCHED.c.place == bindparam("place")))
_WATCHED_MOVE = Sql(
    text(
        "UPDATE ledger_watched SET size = :size, root = :root, note = :note, time_ms = :time_ms "
        "WHERE origin = :origin"
    )
)
_SEEN_ADD = Sql(
    text(
        "INSERT INTO ledger_seen (origin, size, root) VALUES (:origin, :size, :root) "
        "ON CONFLICT (origin, size) DO NOTHING"
    )
)
_SEEN_GET = Sql(
    select(_SEEN.c.root).where(_SEEN.c.origin == bindparam("origin"), _SEEN.c.size == bindparam("size"))
)
_SEEN_THIN = Sql(
    text(
        "DELETE FROM ledger_seen WHERE origin = :origin AND size < (SELECT size FROM ledger_seen "
        "WHERE origin = :origin ORDER BY size DESC LIMIT 1 OFFSET 1000)"
    )
)
_FORK_ADD = Sql(
    text(
        "INSERT INTO ledger_fork (origin, size, root, conflict, known, time_ms, request) "
        "VALUES (:origin, :size, :root, :conflict, :known, :time_ms, :request) "
        "ON CONFLICT (origin, size, root) DO UPDATE SET conflict = excluded.conflict, known = excluded.known, "
        "time_ms = excluded.time_ms, request = excluded.request "
        "WHERE ledger_fork.conflict = 'unproved' AND excluded.conflict <> 'unproved'"
    )
)
_FORK_COUNT = Sql(text("SELECT count(*) FROM ledger_fork WHERE origin = :origin AND conflict = :conflict"))
_FORK_CLEAR = Sql(
    text(
        "DELETE FROM ledger_fork WHERE origin = :origin AND size = :size AND root = :root "
        "AND conflict = 'unproved'"
    )
)
_FORK_PROVED = Sql(
    text(
        "UPDATE ledger_fork SET conflict = 'roots', known = :size WHERE origin = :origin AND size = :size "
        "AND root <> :root AND conflict = 'unproved'"
    )
)
_FORK_TWINS = Sql(
    text(
        "UPDATE ledger_fork SET conflict = 'roots' WHERE origin = :origin AND size = :size "
        "AND root <> :root AND conflict = 'unproved'"
    )
)
_FORK_PASSED = Sql(
    text(
        "DELETE FROM ledger_fork WHERE origin = :origin AND conflict = 'unproved' AND size = (SELECT size "
        "FROM ledger_fork WHERE origin = :origin AND conflict = 'unproved' AND size < :size "
        "ORDER BY time_ms, size LIMIT 1)"
    )
)
_FORK_ALL = Sql(select(_FORK).order_by(_FORK.c.time_ms, _FORK.c.origin, _FORK.c.size))
_FORK_TALLY = Sql(text("SELECT conflict, count(*) FROM ledger_fork GROUP BY conflict"))


class Witness(NamedTuple):
    """A witness of this log, and what came of asking it last."""

    name: str
    url: str
    vkeys: str
    """A line each, the Ed25519 one first."""
    known: int
    """The size it knows, as far as this node knows."""
    cosigned: int
    cosigned_ms: int
    asked_ms: int
    failures: int
    failure: str
    """A word of `witnessing.FAILURES`."""


class Log(NamedTuple):
    """A log that this node cosigns or did once, and the newest head it cosigned."""

    origin: str
    place: str
    vkeys: str
    """A line each."""
    active: int
    size: int
    root: bytes | None
    note: str | None
    time_ms: int


class Fork(NamedTuple):
    """A request that is kept as evidence."""

    origin: str
    size: int
    root: bytes
    conflict: str
    known: int
    time_ms: int
    request: bytes


def add_cosigner(db: Session, name: str, kind: int, public: bytes, sealed: bytes) -> None:
    """Keeps a cosigner's key of this node."""
    db.run(_COSIGNER_ADD, name=name, kind=kind, public=public, sealed=sealed)


def cosigner(db: Session, name: str) -> list[tuple[int, bytes, bytes]]:
    """The kind, public key and sealed private key of each cosigner's key under a name."""
    return [(_int(row[0]), _bytes(row[1]), _bytes(row[2])) for row in db.run(_COSIGNER_GET, name=name)]


def add_line(db: Session, size: int, name: str, kind: int, own: bool, line: str, time_ms: int) -> None:
    """Keeps a signature line of this log's checkpoint of a size."""
    db.run(_LINE_ADD, size=size, name=name, kind=kind, own=int(own), line=line, time_ms=time_ms)


def thin_lines(db: Session, size: int, name: str, kind: int, since: int) -> None:
    """Removes the lines of a key under earlier checkpoints that were made at or after a time."""
    db.run(_LINE_THIN, size=size, name=name, kind=kind, since=since)


def lines(db: Session, size: int) -> list[str]:
    """The lines kept of the checkpoint of a size: the log's own first."""
    return [str(row[0]) for row in db.run(_LINES, size=size)]


def cosigned_for(db: Session, index: int, least: int) -> int | None:
    """The size of the first checkpoint that covers the entry at an index and that so many witnesses cosigned."""
    rows = db.run(_COSIGNED_FOR, idx=index, least=least)
    return _int(rows[0][0]) if rows else None


def cosigned_last(db: Session, least: int) -> int:
    """The size of the newest checkpoint that so many of the witnesses cosigned, or 0."""
    rows = db.run(_COSIGNED_LAST, least=max(1, least))
    return _int(rows[0][0]) if rows else 0


def own_last(db: Session) -> tuple[int, int] | None:
    """The newest size under which this log's further line stands, and when it was signed."""
    rows = db.run(_OWN_LAST)
    return (_int(rows[0][0]), _int(rows[0][1])) if rows else None


def put_witness(db: Session, name: str, url: str, vkeys: str) -> None:
    """Keeps a witness of this log."""
    db.run(_WITNESS_PUT, name=name, url=url, vkeys=vkeys)


def drop_witness(db: Session, name: str) -> bool:
    """Whether there was such a witness; there is none afterwards."""
    return bool(db.changed(_WITNESS_DROP, name=name))


def witnesses(db: Session) -> list[Witness]:
    """The witnesses of this log, by name."""
    return [Witness(*cast("Any", row)) for row in db.run(_WITNESS_ALL)]


def tried(db: Session, name: str, **now: int | str) -> None:
    """Keeps what came of asking a witness."""
    db.run(_WITNESS_TRIED, name=name, **now)


def put_quorum(db: Session, least: int, fresh_s: int) -> None:
    """Keeps how many witnesses must cosign, and how soon."""
    db.run(_QUORUM_PUT, least=least, fresh_s=fresh_s)


def quorum(db: Session) -> tuple[int, int] | None:
    """How many witnesses must cosign, and within how many seconds."""
    rows = db.run(_QUORUM_GET)
    return (_int(rows[0][0]), _int(rows[0][1])) if rows else None


def put_watched(db: Session, origin: str, place: str, vkeys: str) -> None:
    """Keeps a log that this node cosigns; what it has cosigned of it stays."""
    db.run(_WATCHED_PUT, origin=origin, place=place, vkeys=vkeys)


def end_watched(db: Session, origin: str) -> bool:
    """Whether such a log was watched; it is not afterwards."""
    return bool(db.changed(_WATCHED_END, origin=origin))


def watched(db: Session) -> list[Log]:
    """The logs watched now or once, by origin."""
    return [Log(*cast("Any", row)) for row in db.run(_WATCHED_ALL)]


def log(db: Session, origin: str) -> Log | None:
    """The log of an origin, if it is watched or was once."""
    rows = db.run(_WATCHED_GET, origin=origin)
    return Log(*cast("Any", rows[0])) if rows else None


def watched_at(db: Session, place: str) -> str | None:
    """The last cosigned checkpoint of the log whose origin has this SHA-256 (hexadecimal)."""
    rows = db.run(_WATCHED_AT, place=place)
    return str(rows[0][0]) if rows and rows[0][0] is not None else None


def move_watched(db: Session, origin: str, size: int, root: bytes, note: str, time_ms: int) -> None:
    """Keeps a cosigned checkpoint as the newest one of a log."""
    db.run(_WATCHED_MOVE, origin=origin, size=size, root=root, note=note, time_ms=time_ms)
    db.run(_SEEN_ADD, origin=origin, size=size, root=root)
    db.run(_SEEN_THIN, origin=origin)
    db.run(_FORK_CLEAR, origin=origin, size=size, root=root)
    db.run(_FORK_PROVED, origin=origin, size=size, root=root)


def seen(db: Session, origin: str, size: int) -> bytes | None:
    """The root that was cosigned of a log's size, if it was, and not too long ago."""
    rows = db.run(_SEEN_GET, origin=origin, size=size)
    return _bytes(rows[0][0]) if rows else None


def add_fork(
    db: Session, origin: str, size: int, root: bytes, conflict: str, known: int, time_ms: int, request: bytes
) -> None:
    """Keeps a request as evidence; of the same checkpoint only the stronger one."""
    db.run(
        _FORK_ADD, origin=origin, size=size, root=root, conflict=conflict, known=known, time_ms=time_ms,
        request=request,
    )  # fmt: skip


def twins(db: Session, origin: str, size: int, root: bytes) -> bool:
    """Whether a head of that size with another root was shown before; each proves the fork with the other."""
    return bool(db.changed(_FORK_TWINS, origin=origin, size=size, root=root))


def drop_passed(db: Session, origin: str, size: int) -> bool:
    """Whether the oldest unproved head below the size that is cosigned by now made room for a newer one."""
    return bool(db.changed(_FORK_PASSED, origin=origin, size=size))


def forks_of(db: Session, origin: str, conflict: str) -> int:
    """How many pieces of evidence of a kind are kept of a log."""
    return _int(db.run(_FORK_COUNT, origin=origin, conflict=conflict)[0][0])


def forks(db: Session) -> list[Fork]:
    """The evidence, oldest first."""
    return [Fork(*cast("Any", row)) for row in db.run(_FORK_ALL)]


def tally(db: Session) -> dict[str, int]:
    """How many pieces of evidence there are of each kind."""
    return {str(row[0]): _int(row[1]) for row in db.run(_FORK_TALLY)}


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


# Receipts that are kept of others.
_KEEP = Sql(
    text(
        "INSERT INTO ledger_kept (org, about, origin, idx, receipt) VALUES (:org, :about, :origin, :idx, :receipt) "
        "ON CONFLICT (org, origin, idx) DO NOTHING"
    )
)
_KEPT_OF = Sql(
    select(_KEPT.c.receipt).where(_KEPT.c.org == bindparam("org"), _KEPT.c.about == bindparam("about"))
    .order_by(_KEPT.c.origin, _KEPT.c.idx)
)  # fmt: skip
_KEPT_COUNT = Sql(
    select(func.count()).select_from(_KEPT)
    .where(_KEPT.c.org == bindparam("org"), _KEPT.c.about == bindparam("about"))
)  # fmt: skip


def keep(db: Session, org: str, about: str, origin: str, index: int, receipt: str) -> None:
    """Keeps a receipt for an organisation; the first of an entry stands."""
    db.run(_KEEP, org=org, about=about, origin=origin, idx=index, receipt=receipt)


def kept(db: Session, org: str, about: str) -> list[str]:
    """The receipts an organisation keeps about an id, in the order of their logs and entries."""
    return [str(row[0]) for row in db.run(_KEPT_OF, org=org, about=about)]


def kept_count(db: Session, org: str, about: str) -> int:
    """How many these are."""
    return int(str(db.run(_KEPT_COUNT, org=org, about=about)[0][0]))
