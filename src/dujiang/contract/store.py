"""The tables of contracts: one side's negotiations and agreements."""

from __future__ import annotations

from typing import cast

import msgspec
from sqlalchemy import (
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    insert,
    select,
    text,
    update,
)  # fmt: skip

from dujiang.contract.model import Contract, Negotiation, Side, State
from dujiang.kernel.tables import META, Row, Session, Sql

_NEG = Table(
    "contract_negotiation", META, Column("org", Text, nullable=False), Column("id", Text, nullable=False),
    Column("side", Text, nullable=False), Column("peer_did", Text, nullable=False), Column("peer_pid", Text),
    Column("product", Text, nullable=False), Column("version", Text, nullable=False),
    Column("purpose", Text, nullable=False), Column("terms", Text, nullable=False),
    Column("terms_sha256", Text, nullable=False), Column("state", Text, nullable=False), Column("contract", Text),
    Column("reason", Text), PrimaryKeyConstraint("org", "id"),
    Index("contract_negotiation_contract", "org", "contract"),
)  # fmt: skip
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
_NEG_ADD = Sql(insert(_NEG))
_NEG_COLUMNS = (
    _NEG.c.org, _NEG.c.id, _NEG.c.side, _NEG.c.peer_did, _NEG.c.peer_pid, _NEG.c.product, _NEG.c.version,
    _NEG.c.purpose, _NEG.c.terms, _NEG.c.terms_sha256, _NEG.c.state, _NEG.c.contract, _NEG.c.reason,
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
        reason=bindparam("to_reason"),
    )
)  # fmt: skip
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
_CON_LIST = Sql(
    select(*_CON_COLUMNS).where(_CON.c.org == bindparam("org"), _CON.c.id < bindparam("before"))
    .order_by(_CON.c.id.desc()).limit(bindparam("count"))
)  # fmt: skip
_CON_FINAL = Sql(
    select(_CON.c.id, _CON.c.questions_used).where(
        _CON.c.side == Side.provider.value, _CON.c.consumer_signature.is_not(None)
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


def add_negotiation(db: Session, one: Negotiation) -> None:
    """Keeps a new negotiation."""
    db.run(
        _NEG_ADD, org=one.org, id=one.id, side=one.side, peer_did=one.peer_did, peer_pid=one.peer_pid,
        product=one.product, version=one.version, purpose=one.purpose, terms=msgspec.json.encode(one.terms).decode(),
        terms_sha256=one.terms_sha256, state=one.state, contract=one.contract, reason=one.reason,
    )  # fmt: skip


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


def save_negotiation(db: Session, one: Negotiation) -> None:
    """Keeps what may change of a negotiation: state, peer's id, contract, reason."""
    db.run(
        _NEG_SET, of_org=one.org, of_id=one.id, to_state=one.state, to_peer_pid=one.peer_pid, to_contract=one.contract,
        to_reason=one.reason,
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


def contracts(db: Session, org: str, before: str, count: int) -> list[Contract]:
    """An organisation's agreements below an id, newest first."""
    return [_contract(row) for row in db.run(_CON_LIST, org=org, before=before, count=count)]


def final(db: Session) -> dict[str, int]:
    """How often each agreement that both sides signed was used, by its id, on the providers' records."""
    return {str(row[0]): cast("int", row[1]) for row in db.run(_CON_FINAL)}


def set_state(db: Session, org: str, contract_id: str, state: str, signature: str | None = None) -> None:
    """Says the state of an agreement and, once known, the consumer's signature."""
    db.run(_CON_STATE, org=org, id=contract_id, state=state, signature=signature)


def count_use(db: Session, contract_id: str) -> None:
    """Counts one use on every record of the agreement in this home."""
    db.run(_CON_USE, id=contract_id)


def _negotiation(row: Row) -> Negotiation:
    org, own, side, peer_did, peer_pid, product, version, purpose, terms, sha, state, con, reason = map(
        _text, row
    )
    return Negotiation(
        org, own, Side(side), peer_did, peer_pid or None, product, version, purpose, msgspec.json.decode(terms), sha,
        State(state), con or None, reason or None,
    )  # fmt: skip


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
