"""The tables of contracts: one side's negotiations, the remarks in them, and agreements."""

from __future__ import annotations

from typing import cast

import msgspec
from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    update,
)  # fmt: skip

from dujiang.contract.model import Allowance, Comment, Contract, Kind, Negotiation, Side, State, Use
from dujiang.kernel.tables import META, Row, Session, Sql

_NEG = Table(
    "contract_negotiation", META, Column("org", Text, nullable=False), Column("id", Text, nullable=False),
    Column("side", Text, nullable=False), Column("peer_did", Text, nullable=False), Column("peer_pid", Text),
    Column("product", Text, nullable=False), Column("version", Text, nullable=False),
    Column("purpose", Text, nullable=False), Column("terms", Text, nullable=False),
    Column("terms_sha256", Text, nullable=False), Column("state", Text, nullable=False), Column("contract", Text),
    Column("reason", Text), Column("held_until", Text),
    Column("changed_ms", Integer, nullable=False, server_default="0"), PrimaryKeyConstraint("org", "id"),
    Index("contract_negotiation_contract", "org", "contract"),
    Index("contract_negotiation_state", "org", "state", "id"),
)  # fmt: skip
_COMMENT = Table(
    "contract_comment", META, Column("org", Text), Column("negotiation", Text), Column("id", Text),
    Column("side", Text, nullable=False), Column("text", Text, nullable=False),
    Column("time_ms", Integer, nullable=False), PrimaryKeyConstraint("org", "negotiation", "id"),
)  # fmt: skip
_SEEN = Table(
    "contract_seen", META, Column("person", Text, primary_key=True), Column("entry", Integer, nullable=False)
)
_CON = Table(
    "contract_contract", META, Column("org", Text, nullable=False), Column("id", Text, nullable=False),
    Column("side", Text, nullable=False), Column("peer_did", Text, nullable=False),
    Column("product", Text, nullable=False), Column("version", Text, nullable=False),
    Column("purpose", Text, nullable=False), Column("terms", Text, nullable=False),
    Column("terms_sha256", Text, nullable=False), Column("agreed_ms", Integer, nullable=False),
    Column("state", Text, nullable=False), Column("provider_signature", Text, nullable=False),
    Column("consumer_signature", Text), Column("questions_used", Integer, nullable=False),
    Column("negotiation", Text, nullable=False), PrimaryKeyConstraint("org", "id"),
    Index("contract_contract_id", "id", "side"),
)  # fmt: skip
_ALLOWANCE = Table(
    "contract_allowance", META, Column("org", Text, nullable=False), Column("contract", Text, nullable=False),
    Column("currency", Text, nullable=False), Column("available_minor", Integer, nullable=False),
    Column("held_minor", Integer, nullable=False), Column("spent_minor", Integer, nullable=False),
    Column("ended", Integer, nullable=False), Column("billed", Integer, nullable=False),
    PrimaryKeyConstraint("org", "contract"),
    CheckConstraint("available_minor >= 0 AND held_minor >= 0 AND spent_minor >= 0 AND billed <= ended"),
)  # fmt: skip
_USE = Table(
    "contract_use", META, Column("org", Text, nullable=False), Column("contract", Text, nullable=False),
    Column("id", Text, nullable=False), Column("kind", Text, nullable=False), Column("what", Text, nullable=False),
    Column("at_ms", Integer, nullable=False), Column("quantity", Integer, nullable=False),
    Column("unit_minor", Integer, nullable=False), Column("rows", Integer, nullable=False),
    Column("row_minor", Integer, nullable=False), Column("held_minor", Integer, nullable=False),
    Column("amount_minor", Integer, nullable=False), Column("ended_ms", Integer), Column("no", Integer),
    PrimaryKeyConstraint("id", "org", "contract"), Index("contract_use_no", "org", "contract", "no", unique=True),
    Index("contract_use_what", "org", "contract", "what"),
)  # fmt: skip
_NEG_ADD = Sql(insert(_NEG))
_NEG_COLUMNS = (
    _NEG.c.org, _NEG.c.id, _NEG.c.side, _NEG.c.peer_did, _NEG.c.peer_pid, _NEG.c.product, _NEG.c.version,
    _NEG.c.purpose, _NEG.c.terms, _NEG.c.terms_sha256, _NEG.c.state, _NEG.c.contract, _NEG.c.reason,
    _NEG.c.held_until, _NEG.c.changed_ms,
)  # fmt: skip
_NEG_GET = Sql(select(*_NEG_COLUMNS).where(_NEG.c.org == bindparam("org"), _NEG.c.id == bindparam("id")))
_NEG_PEER = Sql(
    select(*_NEG_COLUMNS).where(
        _NEG.c.org == bindparam("org"),
        _NEG.c.peer_did == bindparam("peer_did"),
        _NEG.c.peer_pid == bindparam("peer_pid"),
    )
)
_NEG_SET = Sql(
    update(_NEG).where(_NEG.c.org == bindparam("of_org"), _NEG.c.id == bindparam("of_id")).values(
        state=bindparam("to_state"), peer_pid=bindparam("to_peer_pid"), contract=bindparam("to_contract"),
        reason=bindparam("to_reason"), terms=bindparam("to_terms"), terms_sha256=bindparam("to_sha256"),
        changed_ms=bindparam("to_changed_ms"),
    )
)  # fmt: skip
# Not counted to the end: whether there is one at that place is all that is asked, at every request.
_NEG_OPEN = Sql(
    text(
        "SELECT 1 FROM contract_negotiation WHERE org = :org AND side = 'consumer'"
        " AND state IN ('REQUESTED', 'OFFERED', 'ACCEPTED') LIMIT 1 OFFSET :place"
    )
)
_NEG_BY_CONTRACT = Sql(
    select(*_NEG_COLUMNS).where(_NEG.c.org == bindparam("org"), _NEG.c.contract == bindparam("contract"))
)
_CON_ADD = Sql(insert(_CON))
_CON_COLUMNS = (
    _CON.c.org, _CON.c.id, _CON.c.side, _CON.c.peer_did, _CON.c.product, _CON.c.version, _CON.c.purpose, _CON.c.terms,
    _CON.c.terms_sha256, _CON.c.agreed_ms, _CON.c.state, _CON.c.provider_signature, _CON.c.consumer_signature,
    _CON.c.questions_used, _CON.c.negotiation,
)  # fmt: skip
_CON_GET = Sql(select(*_CON_COLUMNS).where(_CON.c.org == bindparam("org"), _CON.c.id == bindparam("id")))
_BOTH = (
    select(*_NEG_COLUMNS, *_CON_COLUMNS)
    .select_from(_NEG.outerjoin(_CON, and_(_CON.c.org == _NEG.c.org, _CON.c.id == _NEG.c.contract)))
    .where(
        _NEG.c.org == bindparam("org"),
        _NEG.c.id < bindparam("before"),
        or_(bindparam("side") == "", _NEG.c.side == bindparam("side")),
        or_(
            bindparam("state") == "",
            _NEG.c.state == func.upper(bindparam("state")),
            _CON.c.state == func.lower(bindparam("state")),
        ),
    )
    .order_by(_NEG.c.id.desc()).limit(bindparam("count"))
)  # fmt: skip
_CON_FINAL = Sql(
    select(_CON.c.id, _CON.c.questions_used).where(
        _CON.c.side == Side.provider.value, _CON.c.consumer_signature.is_not(None)
    )
)
_LIST = Sql(_BOTH)
_WAITING = Sql(
    _BOTH.where(
        or_(
            and_(
                _NEG.c.state == State.requested.value,
                _NEG.c.side == Side.provider.value,
                or_(_NEG.c.held_until.is_(None), _NEG.c.held_until <= bindparam("today")),
            ),
            and_(_NEG.c.state == State.offered.value, _NEG.c.side == Side.consumer.value),
        )
    )
)
_COMMENT_ADD = Sql(insert(_COMMENT))
_COMMENT_LIST = Sql(
    select(_COMMENT.c.id, _COMMENT.c.side, _COMMENT.c.text, _COMMENT.c.time_ms)
    .where(_COMMENT.c.org == bindparam("org"), _COMMENT.c.negotiation == bindparam("negotiation"))
    .order_by(_COMMENT.c.id).limit(bindparam("count"))
)  # fmt: skip
_COMMENT_COUNT = Sql(
    select(func.count()).select_from(_COMMENT).where(
        _COMMENT.c.org == bindparam("org"), _COMMENT.c.negotiation == bindparam("negotiation"),
        _COMMENT.c.side == bindparam("side"),
    )
)  # fmt: skip
_SEEN_GET = Sql(select(_SEEN.c.entry).where(_SEEN.c.person == bindparam("person")))
_SEEN_SET = Sql(
    text(
        "INSERT INTO contract_seen (person, entry) VALUES (:person, :entry) ON CONFLICT (person) "
        "DO UPDATE SET entry = excluded.entry WHERE excluded.entry > contract_seen.entry"
    )
)
_CON_STATE = Sql(
    text(
        "UPDATE contract_contract SET state = :state, consumer_signature = coalesce(:signature, consumer_signature) "
        "WHERE org = :org AND id = :id"
    )
)
_CON_USE = Sql(
    text(
        "UPDATE contract_contract SET questions_used = questions_used + 1 WHERE id = :id AND state = 'active'"
    )
)
_CON_USED = Sql(
    select(func.coalesce(func.sum(_CON.c.questions_used), 0)).where(
        _CON.c.org == bindparam("org"), _CON.c.side == Side.provider.value,
        _CON.c.peer_did == bindparam("peer"), _CON.c.product == bindparam("product"),
    )
)  # fmt: skip
_CON_PROVIDER = Sql(
    select(*_CON_COLUMNS).where(_CON.c.id == bindparam("id"), _CON.c.side == Side.provider.value)
)
_ALLOWANCE_GET = Sql(
    select(
        _ALLOWANCE.c.currency, _ALLOWANCE.c.available_minor, _ALLOWANCE.c.held_minor, _ALLOWANCE.c.spent_minor,
        _ALLOWANCE.c.ended, _ALLOWANCE.c.billed,
    ).where(_ALLOWANCE.c.org == bindparam("org"), _ALLOWANCE.c.contract == bindparam("contract"))
)  # fmt: skip
_ALLOWANCE_SET = Sql(
    text(
        "INSERT INTO contract_allowance (org, contract, currency, available_minor, held_minor, spent_minor, ended, "
        "billed) VALUES (:org, :contract, :currency, :available, :held, :spent, :ended, :billed) "
        "ON CONFLICT (org, contract) DO UPDATE SET available_minor = excluded.available_minor, "
        "held_minor = excluded.held_minor, spent_minor = excluded.spent_minor, ended = excluded.ended, "
        "billed = excluded.billed"
    )
)
_ALLOWANCE_SUMS = Sql(
    text("SELECT contract, available_minor + held_minor + spent_minor FROM contract_allowance")
)
_USE_ADD = Sql(insert(_USE))
_USE_COLUMNS = (
    _USE.c.org, _USE.c.contract, _USE.c.id, _USE.c.kind, _USE.c.what, _USE.c.at_ms, _USE.c.quantity,
    _USE.c.unit_minor, _USE.c.rows, _USE.c.row_minor, _USE.c.held_minor, _USE.c.amount_minor, _USE.c.no,
)  # fmt: skip
_USE_ALL = Sql(select(*_USE_COLUMNS).where(_USE.c.id == bindparam("id")).order_by(_USE.c.contract))
_USE_EVERY = Sql(
    select(_USE.c.id, _USE.c.contract, _USE.c.kind, _USE.c.held_minor, _USE.c.amount_minor, _USE.c.no)
)
_USE_RANGE = Sql(
    select(*_USE_COLUMNS).where(
        _USE.c.org == bindparam("org"), _USE.c.contract == bindparam("contract"), _USE.c.no > bindparam("after"),
        _USE.c.no <= bindparam("last"),
    ).order_by(_USE.c.no).limit(bindparam("count"))
)  # fmt: skip
_USE_GET = Sql(
    select(_USE.c.id).where(
        _USE.c.id == bindparam("id"), _USE.c.org == bindparam("org"), _USE.c.contract == bindparam("contract")
    )
)
_USE_DONE = Sql(
    select(_USE.c.id).where(
        _USE.c.org == bindparam("org"), _USE.c.contract == bindparam("contract"), _USE.c.what == bindparam("what"),
        _USE.c.no.is_not(None), _USE.c.quantity > 0,
    ).limit(1)
)  # fmt: skip
_USE_END = Sql(
    text(
        "UPDATE contract_use SET quantity = :quantity, rows = :rows, held_minor = 0, amount_minor = :amount, "
        "ended_ms = :ended_ms, no = :no WHERE id = :id AND org = :org AND contract = :contract AND no IS NULL"
    )
)
_USE_LAST = Sql(
    text(
        "SELECT max(no) FROM contract_use WHERE org = :org AND contract = :contract AND no > :after "
        "AND ended_ms < :until_ms"
    )
)
_USE_SUMS = Sql(
    text(
        "SELECT kind, unit_minor, row_minor, sum(quantity), sum(rows), sum(amount_minor) FROM contract_use "
        "WHERE org = :org AND contract = :contract AND no > :after AND no <= :last "
        "GROUP BY kind, unit_minor, row_minor ORDER BY kind, unit_minor, row_minor"
    )
)


def has_open(db: Session, org: str, most: int) -> bool:
    """Whether an organisation has begun as many negotiations that nobody has ended or agreed to."""
    return bool(db.run(_NEG_OPEN, org=org, place=most - 1))


def add_negotiation(db: Session, one: Negotiation) -> None:
    """Keeps a new negotiation."""
    row = (
        one.org, one.id, one.side, one.peer_did, one.peer_pid, one.product, one.version, one.purpose,
        msgspec.json.encode(one.terms).decode(), one.terms_sha256, one.state, one.contract, one.reason, one.held_until,
        one.changed_ms,
    )  # fmt: skip
    db.later(_NEG_ADD, [row])


def negotiation(db: Session, org: str, own_id: str) -> Negotiation | None:
    """An organisation's negotiation by its own process id."""
    rows = db.run(_NEG_GET, org=org, id=own_id)
    return _negotiation(rows[0]) if rows else None


def negotiation_with(db: Session, org: str, peer_did: str, peer_pid: str) -> Negotiation | None:
    """An organisation's negotiation by the other side's process id."""
    rows = db.run(_NEG_PEER, org=org, peer_did=peer_did, peer_pid=peer_pid)
    return _negotiation(rows[0]) if rows else None


def negotiation_of(db: Session, org: str, contract: str) -> Negotiation | None:
    """The negotiation an agreement came from."""
    rows = db.run(_NEG_BY_CONTRACT, org=org, contract=contract)
    return _negotiation(rows[0]) if rows else None


def save_negotiation(db: Session, one: Negotiation, now_ms: int) -> None:
    """Keeps what may change of a negotiation: state, terms, peer's id, contract, reason."""
    db.run(
        _NEG_SET, of_org=one.org, of_id=one.id, to_state=one.state, to_peer_pid=one.peer_pid, to_contract=one.contract,
        to_reason=one.reason, to_terms=msgspec.json.encode(one.terms).decode(), to_sha256=one.terms_sha256,
        to_changed_ms=now_ms,
    )  # fmt: skip


def add_contract(db: Session, one: Contract) -> None:
    """Keeps a new agreement."""
    db.run(
        _CON_ADD, org=one.org, id=one.id, side=one.side, peer_did=one.peer_did, product=one.product,
        version=one.version, purpose=one.purpose, terms=msgspec.json.encode(one.terms).decode(),
        terms_sha256=one.terms_sha256, agreed_ms=one.agreed_ms, state=one.state,
        provider_signature=one.provider_signature, consumer_signature=one.consumer_signature,
        questions_used=one.questions_used, negotiation=one.negotiation,
    )  # fmt: skip


def contract(db: Session, org: str, contract_id: str) -> Contract | None:
    """An organisation's own record of an agreement."""
    rows = db.run(_CON_GET, org=org, id=contract_id)
    return _contract(rows[0]) if rows else None


def page(
    db: Session, org: str, before: str, count: int, side: str = "", state: str = ""
) -> list[tuple[Negotiation, Contract | None]]:
    """An organisation's negotiations below an id with their agreements, newest first; "" is any side, any state."""
    return [_both(row) for row in db.run(_LIST, org=org, before=before, count=count, side=side, state=state)]


def waiting(
    db: Session, org: str, before: str, count: int, today: str, side: str = "", state: str = ""
) -> list[tuple[Negotiation, Contract | None]]:
    """Those of a `page` that wait for a person of the organisation on a day."""
    found = db.run(_WAITING, org=org, before=before, count=count, today=today, side=side, state=state)
    return [_both(row) for row in found]


def add_comment(db: Session, org: str, negotiation_id: str, made: Comment) -> None:
    """Keeps a remark."""
    db.run(
        _COMMENT_ADD, org=org, negotiation=negotiation_id, id=made.id, side=made.side, text=made.text,
        time_ms=made.time_ms,
    )  # fmt: skip


def comments(db: Session, org: str, negotiation_id: str, count: int) -> list[Comment]:
    """The remarks in a negotiation, oldest first."""
    rows = db.run(_COMMENT_LIST, org=org, negotiation=negotiation_id, count=count)
    return [Comment(_text(row[0]), Side(_text(row[1])), _text(row[2]), int(_text(row[3]))) for row in rows]


def comment_count(db: Session, org: str, negotiation_id: str, side: Side) -> int:
    """How many remarks a side made in a negotiation."""
    return int(_text(db.run(_COMMENT_COUNT, org=org, negotiation=negotiation_id, side=side)[0][0]))


def seen(db: Session, person: str) -> int:
    """The first log entry a person has not looked at."""
    rows = db.run(_SEEN_GET, person=person)
    return int(_text(rows[0][0])) if rows else 0


def see(db: Session, person: str, entry: int) -> None:
    """Says that a person has looked at everything below a log entry; it never goes back."""
    db.run(_SEEN_SET, person=person, entry=entry)


def final(db: Session) -> dict[str, int]:
    """How often each agreement that both sides signed was used, by its id, on the providers' records."""
    return {str(row[0]): cast("int", row[1]) for row in db.run(_CON_FINAL)}


def set_state(db: Session, org: str, contract_id: str, state: str, signature: str | None = None) -> None:
    """Says the state of an agreement and, once known, the consumer's signature."""
    db.run(_CON_STATE, org=org, id=contract_id, state=state, signature=signature)


def used_in_all(db: Session, one: Contract) -> int:
    """How many questions a provider's contract and all others with its consumer over its product were used for."""
    return _whole(db.run(_CON_USED, org=one.org, peer=one.peer_did, product=one.product)[0][0])


def count_use(db: Session, contract_id: str) -> None:
    """Counts one use on every record of the agreement in this home."""
    db.run(_CON_USE, id=contract_id)


def provided(db: Session, contract_id: str) -> Contract | None:
    """The provider's record of an agreement, whichever organisation that is."""
    rows = db.run(_CON_PROVIDER, id=contract_id)
    return _contract(rows[0]) if rows else None


def allowance(db: Session, org: str, contract_id: str) -> Allowance | None:
    """The money on a provider's contract, if any was ever put there."""
    rows = db.run(_ALLOWANCE_GET, org=org, contract=contract_id)
    if not rows:
        return None
    currency, *amounts = rows[0]
    return Allowance(_text(currency), *(_whole(amount) for amount in amounts))


def keep_allowance(db: Session, org: str, contract_id: str, one: Allowance) -> None:
    """Keeps what is on a contract; no part of it can be negative."""
    db.run(
        _ALLOWANCE_SET, org=org, contract=contract_id, currency=one.currency, available=one.available_minor,
        held=one.held_minor, spent=one.spent_minor, ended=one.ended, billed=one.billed,
    )  # fmt: skip


def allowance_totals(db: Session) -> dict[str, int]:
    """What is on each contract in all."""
    return {_text(contract): _whole(total) for contract, total in db.run(_ALLOWANCE_SUMS)}


def add_use(db: Session, one: Use, ended_ms: int | None) -> None:
    """Keeps a use that is held, or (with a number) has ended."""
    db.run(
        _USE_ADD, org=one.org, contract=one.contract, id=one.id, kind=one.kind, what=one.what, at_ms=one.at_ms,
        quantity=one.quantity, unit_minor=one.unit_minor, rows=one.rows, row_minor=one.row_minor,
        held_minor=one.held_minor, amount_minor=one.amount_minor, ended_ms=ended_ms, no=one.no,
    )  # fmt: skip


def every_use(db: Session) -> list[tuple[str, str, Kind, int, int | None]]:
    """Every use of a priced contract: id, contract, kind, what it held, and what it cost once it ended."""
    return [
        (
            str(name),
            str(contract),
            Kind(str(kind)),
            cast("int", held),
            None if no is None else cast("int", amount),
        )
        for name, contract, kind, held, amount, no in db.run(_USE_EVERY)
    ]


def uses(db: Session, use_id: str) -> list[Use]:
    """What one job is counted as, one record a contract."""
    return [_use(row) for row in db.run(_USE_ALL, id=use_id)]


def ended_uses(db: Session, org: str, contract_id: str, after: int, last: int, count: int) -> list[Use]:
    """The ended uses of a contract between two numbers, in their order."""
    rows = db.run(_USE_RANGE, org=org, contract=contract_id, after=after, last=last, count=count)
    return [_use(row) for row in rows]


def used(db: Session, org: str, contract_id: str, use_id: str) -> bool:
    """Whether a use was counted on a contract."""
    return bool(db.run(_USE_GET, id=use_id, org=org, contract=contract_id))


def paid(db: Session, org: str, contract_id: str, what: str) -> bool:
    """Whether the same thing was used and paid under a contract before."""
    return bool(db.run(_USE_DONE, org=org, contract=contract_id, what=what))


def end_use(db: Session, one: Use, ended_ms: int) -> bool:
    """Whether a use that held money ended now; it ends once."""
    return db.changed(
        _USE_END, id=one.id, org=one.org, contract=one.contract, quantity=one.quantity, rows=one.rows,
        amount=one.amount_minor, ended_ms=ended_ms, no=one.no,
    ) == 1  # fmt: skip


def last_use(db: Session, org: str, contract_id: str, after: int, until_ms: int) -> int | None:
    """The number of the last use that ended before a time, beyond a number."""
    rows = db.run(_USE_LAST, org=org, contract=contract_id, after=after, until_ms=until_ms)
    return None if rows[0][0] is None else _whole(rows[0][0])


def use_sums(db: Session, org: str, contract_id: str, after: int, last: int) -> list[tuple[Kind, list[int]]]:
    """The ended uses of a range by kind: unit, row price, quantity, rows, amount."""
    rows = db.run(_USE_SUMS, org=org, contract=contract_id, after=after, last=last)
    return [(Kind(_text(kind)), [_whole(part) for part in parts]) for kind, *parts in rows]


def _use(row: Row) -> Use:
    org, con, own, kind, what, at, quantity, unit, count, price, holds, amount, number = row
    return Use(
        _text(org), _text(con), _text(own), Kind(_text(kind)), _text(what), _whole(at), _whole(quantity), _whole(unit),
        _whole(count), _whole(price), _whole(holds), _whole(amount), None if number is None else _whole(number),
    )  # fmt: skip


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value


def _negotiation(row: Row) -> Negotiation:
    (
        org,
        own,
        side,
        peer_did,
        peer_pid,
        product,
        version,
        purpose,
        terms,
        sha,
        state,
        con,
        reason,
        held,
        ms,
    ) = map(_text, row)
    return Negotiation(
        org, own, Side(side), peer_did, peer_pid or None, product, version, purpose, msgspec.json.decode(terms), sha,
        State(state), con or None, reason or None, held or None, int(ms),
    )  # fmt: skip


def _both(row: Row) -> tuple[Negotiation, Contract | None]:
    own, theirs = row[: len(_NEG_COLUMNS)], row[len(_NEG_COLUMNS) :]
    return _negotiation(own), None if theirs[0] is None else _contract(theirs)


def _contract(row: Row) -> Contract:
    org, own, side, peer, product, version, purpose, terms, sha, agreed, state, theirs, ours, used, neg = row
    assert isinstance(agreed, int) and isinstance(used, int)
    return Contract(
        _text(org), _text(own), Side(_text(side)), _text(peer), _text(product), _text(version), _text(purpose),
        msgspec.json.decode(_text(terms)), _text(sha), agreed, _text(state), _text(theirs), _text(ours) or None, used,
        _text(neg),
    )  # fmt: skip


def _text(value: object) -> str:
    return "" if value is None else str(value)
