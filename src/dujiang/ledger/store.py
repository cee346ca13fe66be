"""The log's tables: entries, tiles, checkpoints, its key, and who may see an entry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any, cast

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    insert,
    select,
    text,
    update,
)

from dujiang.kernel.tables import META, Row, Session, Sql
from dujiang.ledger.model import QUANTITIES, Counted, Flow, LogKey, Record, Scope, Sum
from dujiang.ledger.rules import GONE, SALT_BYTES, leaf_of, month_of, record_of
from dujiang.ledger.subject import number_of
from dujiang.ledger.tree import Prover

_KEY = Table(
    "ledger_key", META, Column("public", LargeBinary, primary_key=True), Column("origin", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False), Column("since", Integer, nullable=False),
    Column("until_ms", Integer), Column("disowned", Integer), Column("disowned_by", Integer),
)  # fmt: skip
_ENTRY = Table(
    "ledger_entry", META, Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("act", Text, nullable=False), Column("time_ms", Integer, nullable=False),
    Column("org", Text, nullable=False), Column("facts", Text, nullable=False),
    Column("commitments", LargeBinary, nullable=False), Column("salts", LargeBinary, nullable=False),
)  # fmt: skip
"""Of each fact, in their order, 32 bytes of commitment and 16 of salt; the leaf is made of them."""
_SIGHT = Table(
    "ledger_sight", META, Column("org", Text), Column("idx", Integer),
    Column("entries", Integer, nullable=False, server_default="1"), PrimaryKeyConstraint("org", "idx"),
    sqlite_with_rowid=False,
)  # fmt: skip
"""An organisation may see `entries` entries from `idx` on; what it may see is named once."""
_ABOUT = Table(
    "ledger_about", META, Column("name", BigInteger), Column("idx", Integer),
    Column("entries", Integer, nullable=False, server_default="1"), PrimaryKeyConstraint("name", "idx"),
    sqlite_with_rowid=False,
)  # fmt: skip
"""Which entries hold a name, by its number (`subject.number_of`)."""
_TILE = Table(
    "ledger_tile", META, Column("level", Integer), Column("number", Integer),
    Column("hashes", LargeBinary, nullable=False), PrimaryKeyConstraint("level", "number"),
)  # fmt: skip
_CHECKPOINT = Table(
    "ledger_checkpoint", META, Column("size", Integer, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
)  # fmt: skip
_FLOW_COLUMNS = tuple(Flow.__slots__)
_FLOW = Table(
    "ledger_flow", META, Column("id", Integer, primary_key=True),
    *(Column(name, Text, nullable=False) for name in _FLOW_COLUMNS),
    Index("ledger_flow_once", "contract", *(name for name in _FLOW_COLUMNS if name != "contract"), unique=True),
    Index("ledger_flow_from", "from_org"), Index("ledger_flow_to", "to_org"),
)  # fmt: skip
_FIGURE = Table(
    "ledger_figure", META, Column("flow", Integer), Column("month", Integer), Column("day", Integer),
    Column("idx", Integer), *(Column(name, Integer, nullable=False) for name in QUANTITIES),
    PrimaryKeyConstraint("flow", "month", "day", "idx"),
    Index("ledger_figure_entry", "idx"), sqlite_with_rowid=False,
)  # fmt: skip
"""Its rows lie in the order in which figures sum them: by flow, then by time."""

_KEY_ADD = Sql(insert(_KEY))
_KEY_LIST = Sql(
    select(
        _KEY.c.origin, _KEY.c.public, _KEY.c.sealed, _KEY.c.since, _KEY.c.until_ms, _KEY.c.disowned, _KEY.c.disowned_by
    ).order_by(_KEY.c.since)
)  # fmt: skip
_KEY_END = Sql(text("UPDATE ledger_key SET until_ms = :until_ms WHERE public = :public"))
_KEY_DISOWN = Sql(
    text("UPDATE ledger_key SET disowned = :beyond, disowned_by = :entry WHERE public = :public")
)
_KEY_DROP = Sql(text("DELETE FROM ledger_key WHERE since > (SELECT max(size) FROM ledger_checkpoint)"))
_ENTRY_ADD = Sql(insert(_ENTRY))
_ENTRY_COLUMNS = (
    _ENTRY.c.idx, _ENTRY.c.act, _ENTRY.c.time_ms, _ENTRY.c.org, _ENTRY.c.facts, _ENTRY.c.commitments,
    _ENTRY.c.salts,
)  # fmt: skip
_ENTRY_GET = Sql(select(*_ENTRY_COLUMNS).where(_ENTRY.c.idx == bindparam("idx")))
_ENTRY_NAMING = Sql(
    text("SELECT idx FROM ledger_entry WHERE idx >= :first AND facts LIKE :naming ESCAPE '!' ORDER BY idx")
)
_ENTRY_LAST = Sql(select(_ENTRY.c.idx, _ENTRY.c.time_ms).order_by(_ENTRY.c.idx.desc()).limit(1))
_ENTRY_ERASE = Sql(
    update(_ENTRY).where(_ENTRY.c.idx == bindparam("at"))
    .values(org=bindparam("org"), facts=bindparam("facts"), salts=bindparam("salts"))
)  # fmt: skip
_STRETCH = Sql(
    select(*_ENTRY_COLUMNS).where(_ENTRY.c.idx.between(bindparam("first"), bindparam("last")))
    .order_by(_ENTRY.c.idx)
)  # fmt: skip
_SIDES = Sql(
    select(_FLOW.c.from_org, _FLOW.c.to_org).where(_FLOW.c.contract == bindparam("contract")).distinct()
)  # fmt: skip
_LEAVES = Sql(
    select(_ENTRY.c.act, _ENTRY.c.time_ms, _ENTRY.c.facts, _ENTRY.c.commitments)
    .where(_ENTRY.c.idx.between(bindparam("first"), bindparam("last"))).order_by(_ENTRY.c.idx)
)  # fmt: skip
_PAGE = Sql(
    select(*_ENTRY_COLUMNS).where(_ENTRY.c.idx < bindparam("before")).order_by(_ENTRY.c.idx.desc())
    .limit(bindparam("count"))
)  # fmt: skip
_SIGHT_ADD = Sql(insert(_SIGHT))
_SIGHT_GET = Sql(
    select(_SIGHT.c.idx + _SIGHT.c.entries)
    .where(_SIGHT.c.org == bindparam("org"), _SIGHT.c.idx <= bindparam("idx"))
    .order_by(_SIGHT.c.idx.desc())
    .limit(1)
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
_FLOW_LIST = ", ".join(f"w.{name}" for name in _FLOW_COLUMNS)
_FLOW_GET = Sql(
    text(f"SELECT id FROM ledger_flow WHERE {' AND '.join(f'{name} = :{name}' for name in _FLOW_COLUMNS)}")
)
_FLOW_ADD = Sql(
    text(
        f"INSERT INTO ledger_flow ({', '.join(_FLOW_COLUMNS)}) VALUES (:{', :'.join(_FLOW_COLUMNS)}) "
        "ON CONFLICT DO NOTHING"
    )
)
_FIGURE_ADD = Sql(insert(_FIGURE))
_SOUGHT = ("from_org", "to_org", "from_province", "to_province", "from_sector", "to_sector", "purpose")
_SCOPE = "f.day BETWEEN :first AND :last AND f.{quantity} <> 0"
_FLOWS = (
    "(:org IS NULL OR w.from_org = :org OR w.to_org = :org) AND (:currency = '' OR w.currency = :currency)"
)
_OWN = "AND (x.from_org = :org OR x.to_org = :org)"
_KIND = (
    "CASE WHEN w.from_province = '' OR w.to_province = '' THEN 'unstated' "
    "WHEN w.from_province = w.to_province THEN 'within' ELSE 'across' END"
)
# Flows first (CROSS JOIN keeps that order in SQLite), entries last: a broad cell has a million, a page has few.
_COUNTED = {
    quantity: Sql(
        text(
            f"SELECT t.idx, e.act, e.time_ms, t.v FROM (SELECT f.idx, sum(f.{quantity}) AS v "
            f"FROM ledger_flow w CROSS JOIN ledger_figure f WHERE f.flow = w.id AND f.idx < :before "
            f"AND {_SCOPE.format(quantity=quantity)} AND {_FLOWS} AND (:kind IS NULL OR {_KIND} = :kind) "
            + "".join(f"AND (:{name} IS NULL OR w.{name} = :{name}) " for name in _SOUGHT)
            + "GROUP BY f.idx ORDER BY f.idx DESC LIMIT :count) t JOIN ledger_entry e ON e.idx = t.idx "
            "ORDER BY t.idx DESC"
        )
    )
    for quantity in QUANTITIES
}
_OF_ENTRIES = Sql(
    text(
        f"SELECT f.idx, f.day, f.month, {', '.join(f'f.{name}' for name in QUANTITIES)}, {_FLOW_LIST} "
        "FROM ledger_figure f JOIN ledger_flow w ON w.id = f.flow WHERE f.idx >= :first AND f.idx < :before"
    )
)
_ACTIVE = {
    quantity: Sql(
        text(
            "SELECT count(DISTINCT w.contract), count(DISTINCT w.product) FROM ledger_flow w WHERE "
            f"{_FLOWS} AND EXISTS (SELECT 1 FROM ledger_figure f WHERE f.flow = w.id "
            f"AND {_SCOPE.format(quantity=quantity)})"
        )
    )
    for quantity in QUANTITIES
}


def add_key(db: Session, key: LogKey) -> None:
    """Keeps a new key of the log."""
    db.run(
        _KEY_ADD, origin=key.origin, public=key.public, sealed=key.sealed, since=key.since, until_ms=key.until_ms,
        disowned=key.disowned, disowned_by=key.disowned_by,
    )  # fmt: skip


def keys(db: Session) -> list[LogKey]:
    """Every key the log ever had, the first one first."""
    return [LogKey(*cast("Any", row)) for row in db.run(_KEY_LIST)]


def end_key(db: Session, public: bytes, until_ms: int) -> None:
    """Says until when a key signs."""
    db.run(_KEY_END, public=public, until_ms=until_ms)


def disown_key(db: Session, public: bytes, beyond: int, entry: int) -> None:
    """Says that a key is not trusted beyond a size, by which entry."""
    db.run(_KEY_DISOWN, public=public, beyond=beyond, entry=entry)


def drop_unused_keys(db: Session) -> None:
    """Removes keys that have not signed yet: a beginning that was cut short."""
    db.run(_KEY_DROP)


def add_entry(db: Session, record: Record, commitments: bytes, salts: bytes, sight: Iterable[str]) -> None:
    """Keeps an entry and who may see it; `commitments` and `salts` in the order of its facts."""
    facts = msgspec.json.encode(record.facts).decode()
    row = (record.index, record.act, record.time_ms, record.org, facts, commitments, salts)
    db.later(_ENTRY_ADD, [row])
    db.later(_SIGHT_ADD, [(org, record.index, 1) for org in sight])


def add_entries(
    db: Session, first: int, act: str, time_ms: int, org: str, rows: Iterable[tuple[str, bytes, bytes]],
    sight: Iterable[str],
) -> None:  # fmt: skip
    """Keeps entries side by side, of each its facts as JSON, commitments and salts, and who may see them all."""
    made = [(index, act, time_ms, org, *row) for index, row in enumerate(rows, first)]
    db.many(_ENTRY_ADD, made)
    for each in sight:
        db.run(_SIGHT_ADD, org=each, idx=first, entries=len(made))


def stretch(db: Session, first: int, count: int) -> list[tuple[Record, bytes]]:
    """Entries side by side, in order, with their salts."""
    rows = db.run(_STRETCH, first=first, last=first + count - 1)
    return [(_record(row), _bytes(row[6])) for row in rows]


def sides(db: Session, contract: str) -> tuple[str, ...]:
    """The organisations between which this log says that data flow under a contract."""
    rows = db.run(_SIDES, contract=contract) if contract else []
    return tuple(dict.fromkeys(str(side) for row in rows for side in row if side))


def erase(db: Session, index: int, fields: Collection[str] | None = None) -> tuple[str, ...]:
    """The facts of an entry that are erased now, with their salts: those named, or all; the leaf stands.

    What is erased cannot be brought back. The column of the acting organisation goes with the fact `org`.
    """
    rows = db.run(_ENTRY_GET, idx=index)
    if not rows:
        return ()
    facts = cast("dict[str, Any]", msgspec.json.decode(str(rows[0][4])))
    salts = bytearray(_bytes(rows[0][6]))
    gone = [(at, name) for at, name in enumerate(facts) if fields is None or name in fields]
    for at, name in gone:
        facts[name] = None
        salts[at * SALT_BYTES : (at + 1) * SALT_BYTES] = GONE
    org = "" if any(name == "org" for _, name in gone) else str(rows[0][3])
    db.run(
        _ENTRY_ERASE, at=index, org=org, facts=msgspec.json.encode(facts).decode(), salts=bytes(salts)
    )  # fmt: skip
    return tuple(name for _, name in gone)


def naming(db: Session, name: str, first: int) -> list[int]:
    """The entries from an index on whose facts hold a text of letters, digits and `_`; reads each of them."""
    rows = db.run(_ENTRY_NAMING, naming=f"%{name.replace('_', '!_')}%", first=first)
    return [_int(row[0]) for row in rows]


def flow_id(db: Session, flow: Flow) -> int:
    """The number of a flow, kept if it is new."""
    named = {name: getattr(flow, name) for name in _FLOW_COLUMNS}
    db.run(_FLOW_ADD, **named)
    return _int(db.run(_FLOW_GET, **named)[0][0])


def add_figure(db: Session, flow: int, month: int, day: int, index: int, counted: Mapping[str, int]) -> None:
    """Keeps what an entry counts of a flow."""
    db.run(_FIGURE_ADD, flow=flow, month=month, day=day, idx=index, **counted)


def sums(db: Session, quantity: str, by: tuple[str, ...], bucket: str, scope: Scope) -> list[Sum]:
    """A quantity by columns of its flows and by bucket: for each provider in each cell, then for each consumer."""
    statement = _sums(quantity, by, bucket, scope.org is not None)
    rows = db.run(
        statement, first=scope.first, last=scope.last, org=scope.org, currency=scope.currency,
        low=month_of(scope.first), high=month_of(scope.last),
    )  # fmt: skip
    return [Sum(bool(row[0]), row[1], row[2], row[3], row[4], row[5:]) for row in cast("list[Any]", rows)]


@cache
def _sums(quantity: str, by: tuple[str, ...], bucket: str, own: bool) -> Sql:
    """The statement of a sum: the figures of a flow first, as they lie; then by what was asked for."""
    time = f"f.{bucket}" if bucket else "0"
    flows = (
        f"SELECT f.flow, {time} AS bucket, sum(f.{quantity}) AS v, count(*) AS n "
        # Flow by flow, to the months that are asked for: a month of a year need not read the year.
        "FROM ledger_flow x CROSS JOIN ledger_figure f WHERE f.flow = x.id AND f.month BETWEEN :low AND :high "
        f"AND {_SCOPE.format(quantity=quantity)} {_OWN if own else ''} GROUP BY f.flow{bucket and f', {time}'}"
    )
    columns = "".join(f", w.{name}" for name in by)
    sides = (
        f"SELECT {side}, w.{org}, g.bucket, sum(g.v), sum(g.n){columns} FROM g JOIN ledger_flow w ON w.id = g.flow "
        f"WHERE {_FLOWS} GROUP BY w.{org}, g.bucket{columns}"
        for side, org in enumerate(("from_org", "to_org"))
    )
    return Sql(text(f"WITH g AS MATERIALIZED ({flows}) {' UNION ALL '.join(sides)}"))


def active(db: Session, quantity: str, scope: Scope) -> tuple[int, int]:
    """How many contracts and how many products a quantity comes from."""
    rows = db.run(
        _ACTIVE[quantity], first=scope.first, last=scope.last, org=scope.org, currency=scope.currency
    )  # fmt: skip
    return _int(rows[0][0]), _int(rows[0][1])


def of_entries(db: Session, first: int, before: int) -> list[tuple[int, int, int, Flow, dict[str, int]]]:
    """What is kept of entries from an index to before another: entry, day, month, flow, quantities."""
    found: list[tuple[int, int, int, Flow, dict[str, int]]] = []
    middle = 3 + len(QUANTITIES)
    for row in cast("list[Any]", db.run(_OF_ENTRIES, first=first, before=before)):
        index, day, month, *counts = row[:middle]
        found.append(
            (index, day, month, Flow(*row[middle:]), {n: v for n, v in zip(QUANTITIES, counts, strict=True)})
        )
    return found


def counted(
    db: Session, quantity: str, scope: Scope, only: Mapping[str, str], before: int, count: int
) -> list[Counted]:
    """The entries that count a quantity in flows that are as `only` says, newest first, below an index.

    `only`: columns of a flow, and `kind`: across, within or unstated provinces.
    """
    wanted = {name: only.get(name) for name in (*_SOUGHT, "kind")}
    rows = db.run(
        _COUNTED[quantity], first=scope.first, last=scope.last, org=scope.org, currency=scope.currency,
        before=before, count=count, **wanted,
    )  # fmt: skip
    return [Counted(*cast("tuple[int, str, int, int]", row)) for row in rows]


def entry(db: Session, index: int) -> Record | None:
    """The entry at an index."""
    rows = db.run(_ENTRY_GET, idx=index)
    return _record(rows[0]) if rows else None


def sees(db: Session, org: str, index: int) -> bool:
    """Whether an entry concerns the organisation."""
    rows = db.run(_SIGHT_GET, org=org, idx=index)
    return bool(rows) and index < _int(rows[0][0])


def page(db: Session, before: int, count: int) -> list[Record]:
    """Entries below `before`, newest first."""
    return [_record(row) for row in db.run(_PAGE, before=before, count=count)]


def leaves(db: Session, first: int, count: int) -> list[bytes]:
    """The public bytes of `count` entries from `first` on, in order; fewer at the end of the log."""
    rows = db.run(_LEAVES, first=first, last=first + count - 1)
    return [
        leaf_of(str(act), _int(time_ms), msgspec.json.decode(str(facts)), _bytes(commitments))
        for act, time_ms, facts, commitments in rows
    ]


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


def tree(db: Session, size: int) -> Prover:
    """The tree of the first `size` entries, by its tiles."""
    return Prover(size, partial(tile, db))


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


_RUNS_READ = 256

# What an entry is about, and who may see it, as runs: `entries` entries from an index on.
_LED = {"name": ("ledger_about", "name"), "org": ("ledger_sight", "org")}
_RUNS, _RUNS_UP = (
    {
        kind: Sql(
            text(
                f"SELECT idx, entries FROM {table} WHERE {column} = :value AND idx {bound} "
                f"ORDER BY idx {order} LIMIT :count"
            )
        )
        for kind, (table, column) in _LED.items()
    }
    for bound, order in (("< :below", "DESC"), ("> :after", "ASC"))
)
_ABOUT_ADD = Sql(insert(_ABOUT))
_UNNAME = Sql(text("DELETE FROM ledger_about WHERE name = :name AND idx = :idx"))
_FORGET = Sql(text("DELETE FROM ledger_about WHERE name = :name"))
_TIME_GET = Sql(text("SELECT time_ms FROM ledger_entry WHERE idx = :idx"))


def add_about(db: Session, names: Iterable[str], index: int, entries: int = 1) -> None:
    """Keeps what an entry, or each of so many from it on, is about."""
    db.later(_ABOUT_ADD, [(number, index, entries) for number in {number_of(name) for name in names}])


def forget(db: Session, names: Iterable[str]) -> None:
    """Takes names out of the index of what entries are about."""
    for name in names:
        db.run(_FORGET, name=number_of(name))


def unname(db: Session, names: Iterable[str], index: int) -> None:
    """Takes what the entries of a run that begins at an index are about out of the index."""
    for name in names:
        db.run(_UNNAME, name=number_of(name), idx=index)


def run_above(db: Session, name: str, after: int) -> tuple[int, int] | None:
    """The oldest run about a name that begins above an index."""
    rows = db.run(_RUNS_UP["name"], value=number_of(name), after=after, count=1)
    return cast("list[tuple[int, int]]", rows)[0] if rows else None


def runs(db: Session, kind: str, value: str, below: int, count: int) -> list[tuple[int, int]]:
    """The runs (first entry, how many) that begin below an index, newest first.

    `kind`: name, of the entries about it; org, of those it may see.
    """
    wanted = number_of(value) if kind == "name" else value
    return cast("list[tuple[int, int]]", db.run(_RUNS[kind], value=wanted, below=below, count=count))


def run_from(db: Session, kind: str, value: str, index: int) -> tuple[int, int] | None:
    """The run that holds an index, or the oldest one above it."""
    below = runs(db, kind, value, index + 1, 1)
    if below and sum(below[0]) > index:
        return below[0]
    wanted = number_of(value) if kind == "name" else value
    above = cast("list[tuple[int, int]]", db.run(_RUNS_UP[kind], value=wanted, after=index, count=1))
    return above[0] if above else None


def led(db: Session, kind: str, value: str, after: int) -> Iterator[int]:
    """The same entries above an index one by one, oldest first, read as they are taken."""
    wanted = number_of(value) if kind == "name" else value
    page = runs(db, kind, value, after + 1, 1)  # one that begins below may reach above
    while True:
        for first, entries in page:
            yield from range(max(first, after + 1), first + entries)
            after = max(after, first)
        rows = db.run(_RUNS_UP[kind], value=wanted, after=after, count=_RUNS_READ)
        page = cast("list[tuple[int, int]]", rows)
        if not page:
            return


def time_at(db: Session, index: int) -> int:
    """When the entry at an index that is there was written."""
    return _int(db.run(_TIME_GET, idx=index)[0][0])


# The examination of the whole log.
SIGHT_MODULUS = 32_749  # its square fits 32 bits
_CHECKPOINTS = Sql(
    select(_CHECKPOINT.c.size, _CHECKPOINT.c.note).where(_CHECKPOINT.c.size > bindparam("after"))
    .order_by(_CHECKPOINT.c.size).limit(bindparam("count"))
)  # fmt: skip
_SIGHT_SUMS = Sql(
    text(
        f"SELECT org, count(*), sum(idx), sum((idx % {SIGHT_MODULUS}) * (idx % {SIGHT_MODULUS})) FROM ledger_sight "
        "WHERE entries = 1 GROUP BY org"
    )
)
_SIGHT_LONG = Sql(text("SELECT org, idx, entries FROM ledger_sight WHERE entries <> 1"))


def raw(db: Session, first: int, before: int) -> list[Any]:
    """Entries from an index to before another as they are kept: the columns of the table."""
    return cast("list[Any]", db.run(_STRETCH, first=first, last=before - 1))


def checkpoints(db: Session) -> Iterator[tuple[int, str]]:
    """Every checkpoint, the smallest size first."""
    after = -1
    while rows := db.run(_CHECKPOINTS, after=after, count=_RUNS_READ):
        after = _int(rows[-1][0])
        yield from cast("list[tuple[int, str]]", rows)


def sight_sums(db: Session) -> dict[str, list[int]]:
    """By organisation: how many entries it may see, the sum of their indexes, and of their squared remainders."""
    found = {str(org): [int(cast("int", each)) for each in sums] for org, *sums in db.run(_SIGHT_SUMS)}
    for org, first, entries in cast("list[tuple[str, int, int]]", db.run(_SIGHT_LONG)):
        more = sight_of(first, entries)
        found[org] = [one + other for one, other in zip(found.get(org, [0, 0, 0]), more, strict=True)]
    return found


def sight_of(first: int, entries: int) -> list[int]:
    """The same sums of entries side by side."""
    indexes = range(first, first + entries)
    return [entries, sum(indexes), sum([(index % SIGHT_MODULUS) ** 2 for index in indexes])]


def _record(row: Row) -> Record:
    index, act, time_ms, org, facts, commitments, salts = row
    told = msgspec.json.decode(str(facts))
    return record_of(
        _int(index), str(act), _int(time_ms), str(org), told, _bytes(commitments), _bytes(salts)
    )  # fmt: skip


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
