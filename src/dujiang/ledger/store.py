"""The log's tables: entries, tiles, checkpoints, its key, and who may see an entry."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    insert,
    select,
    text,
)

from dujiang.kernel.tables import META, Row, Session, Sql
from dujiang.ledger.model import Record

_KEY = Table(
    "ledger_key", META, Column("origin", Text, primary_key=True),
    Column("public", LargeBinary, nullable=False), Column("sealed", LargeBinary, nullable=False),
    Column("since", Integer, nullable=False, server_default="0"),
)  # fmt: skip
_ENTRY = Table(
    "ledger_entry", META, Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("act", Text, nullable=False), Column("time_ms", Integer, nullable=False),
    Column("org", Text, nullable=False), Column("leaf", Text, nullable=False),
    Column("facts", Text, nullable=False), Column("salts", Text, nullable=False),
)  # fmt: skip
_SIGHT = Table(
    "ledger_sight", META, Column("org", Text), Column("idx", Integer), PrimaryKeyConstraint("org", "idx"),
    sqlite_with_rowid=False,
)  # fmt: skip
_TILE = Table(
    "ledger_tile", META, Column("level", Integer), Column("number", Integer),
    Column("hashes", LargeBinary, nullable=False), PrimaryKeyConstraint("level", "number"),
)  # fmt: skip
_CHECKPOINT = Table(
    "ledger_checkpoint", META, Column("size", Integer, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
)  # fmt: skip

_EVER = 2**62
_KEY_ADD = Sql(insert(_KEY))
_KEY_GET = Sql(
    select(_KEY.c.origin, _KEY.c.public, _KEY.c.sealed).where(_KEY.c.since <= bindparam("size"))
    .order_by(_KEY.c.since.desc()).limit(1)
)  # fmt: skip
_KEY_DROP = Sql(text("DELETE FROM ledger_key WHERE since > (SELECT max(size) FROM ledger_checkpoint)"))
_ENTRY_ADD = Sql(insert(_ENTRY))
_ENTRY_COLUMNS = (
    _ENTRY.c.idx, _ENTRY.c.act, _ENTRY.c.time_ms, _ENTRY.c.leaf, _ENTRY.c.org, _ENTRY.c.facts, _ENTRY.c.salts,
)  # fmt: skip
_ENTRY_GET = Sql(select(*_ENTRY_COLUMNS).where(_ENTRY.c.idx == bindparam("idx")))
_ENTRY_LAST = Sql(select(_ENTRY.c.idx, _ENTRY.c.time_ms).order_by(_ENTRY.c.idx.desc()).limit(1))
_PAGE_ALL = Sql(
    select(*_ENTRY_COLUMNS).where(_ENTRY.c.idx < bindparam("before")).order_by(_ENTRY.c.idx.desc())
    .limit(bindparam("count"))
)  # fmt: skip
_PAGE_OWN = Sql(
    select(*_ENTRY_COLUMNS).join(_SIGHT, _SIGHT.c.idx == _ENTRY.c.idx)
    .where(_SIGHT.c.org == bindparam("org"), _SIGHT.c.idx < bindparam("before")).order_by(_SIGHT.c.idx.desc())
    .limit(bindparam("count"))
)  # fmt: skip
_SIGHT_ADD = Sql(insert(_SIGHT))
_SIGHT_GET = Sql(
    select(_SIGHT.c.idx).where(_SIGHT.c.org == bindparam("org"), _SIGHT.c.idx == bindparam("idx"))
)
_TILE_PUT = Sql(
    text(
        "INSERT INTO ledger_tile (level, number, hashes) VALUES (:level, :number, :hashes) "
        "ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes"
    )
)
_TILE_GET = Sql(
    select(_TILE.c.hashes).where(_TILE.c.level == bindparam("level"), _TILE.c.number == bindparam("number"))
)
_CHECKPOINT_ADD = Sql(insert(_CHECKPOINT))
_CHECKPOINT_LAST = Sql(
    select(_CHECKPOINT.c.size, _CHECKPOINT.c.note).order_by(_CHECKPOINT.c.size.desc()).limit(1)
)
_CHECKPOINT_AT = Sql(select(_CHECKPOINT.c.note).where(_CHECKPOINT.c.size == bindparam("size")))
_CHECKPOINT_FOR = Sql(
    select(_CHECKPOINT.c.size, _CHECKPOINT.c.note).where(_CHECKPOINT.c.size > bindparam("idx"))
    .order_by(_CHECKPOINT.c.size).limit(1)
)  # fmt: skip


def add_key(db: Session, origin: str, public: bytes, sealed: bytes, since: int = 0) -> None:
    """Keeps a key of the log, which signs checkpoints of `since` entries and more."""
    db.run(_KEY_ADD, origin=origin, public=public, sealed=sealed, since=since)


def drop_unused_keys(db: Session) -> None:
    """Removes keys that have not signed yet: a beginning that was cut short."""
    db.run(_KEY_DROP)


def key(db: Session, size: int = _EVER) -> tuple[str, bytes, bytes] | None:
    """The origin, public key (32 bytes) and sealed private key that sign a checkpoint of `size` entries."""
    rows = db.run(_KEY_GET, size=size)
    return (str(rows[0][0]), _bytes(rows[0][1]), _bytes(rows[0][2])) if rows else None


def add_entry(db: Session, record: Record, sight: Iterable[str]) -> None:
    """Keeps an entry and who may see it."""
    db.run(
        _ENTRY_ADD, idx=record.index, act=record.act, time_ms=record.time_ms, org=record.org, leaf=record.leaf,
        facts=msgspec.json.encode(record.facts).decode(), salts=msgspec.json.encode(record.salts).decode(),
    )  # fmt: skip
    for org in sight:
        db.run(_SIGHT_ADD, org=org, idx=record.index)


def entry(db: Session, index: int) -> Record | None:
    """The entry at an index."""
    rows = db.run(_ENTRY_GET, idx=index)
    return _record(rows[0]) if rows else None


def sees(db: Session, org: str, index: int) -> bool:
    """Whether an entry concerns the organisation."""
    return bool(db.run(_SIGHT_GET, org=org, idx=index))


def page(db: Session, org: str | None, before: int, count: int) -> list[Record]:
    """Entries below `before`, newest first; of one organisation or (None) all."""
    if org is None:
        return [_record(row) for row in db.run(_PAGE_ALL, before=before, count=count)]
    return [_record(row) for row in db.run(_PAGE_OWN, org=org, before=before, count=count)]


def last(db: Session) -> tuple[int, int]:
    """The number of entries and the time of the last one in milliseconds."""
    rows = db.run(_ENTRY_LAST)
    return (_int(rows[0][0]) + 1, _int(rows[0][1])) if rows else (0, 0)


def put_tile(db: Session, level: int, number: int, hashes: list[bytes]) -> None:
    """Writes a tile, full or partial."""
    db.run(_TILE_PUT, level=level, number=number, hashes=b"".join(hashes))


def tile(db: Session, level: int, number: int) -> list[bytes]:
    """The hashes of a tile that exist."""
    rows = db.run(_TILE_GET, level=level, number=number)
    raw = _bytes(rows[0][0]) if rows else b""
    return [raw[at : at + 32] for at in range(0, len(raw), 32)]


def add_checkpoint(db: Session, size: int, note: str) -> None:
    """Keeps a signed checkpoint; one root per size, so a second one of the same size fails."""
    db.run(_CHECKPOINT_ADD, size=size, note=note)


def checkpoint(db: Session, index: int | None = None) -> tuple[int, str] | None:
    """The newest checkpoint, or the first that covers the entry at `index`: (size, note)."""
    rows = db.run(_CHECKPOINT_LAST) if index is None else db.run(_CHECKPOINT_FOR, idx=index)
    return (_int(rows[0][0]), str(rows[0][1])) if rows else None


def checkpoint_at(db: Session, size: int) -> str | None:
    """The checkpoint that was signed of exactly `size` entries, if one was."""
    rows = db.run(_CHECKPOINT_AT, size=size)
    return str(rows[0][0]) if rows else None


def _record(row: Row) -> Record:
    index, act, time_ms, leaf, org, facts, salts = row
    return Record(
        _int(index),
        str(act),
        _int(time_ms),
        str(leaf),
        str(org),
        msgspec.json.decode(str(facts)),
        msgspec.json.decode(str(salts)),
    )


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
