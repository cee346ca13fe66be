"""The tables of identity."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    bindparam,
    insert,
    select,
    text,
    update,
)

from dujiang.identity.model import Key, Organisation, Person
from dujiang.kernel.tables import META, Row, Session, Sql

_ORG = Table(
    "identity_organisation", META, Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False), Column("folded", Text, nullable=False, unique=True),
    Column("did", Text, nullable=False, unique=True), Column("public", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False), Column("operator", Integer, nullable=False),
    Column("province", Text, nullable=False, server_default=""),
    Column("sector", Text, nullable=False, server_default=""),
)  # fmt: skip
_PERSON = Table(
    "identity_person", META, Column("id", Text, primary_key=True), Column("org", Text, nullable=False, index=True),
    Column("name", Text, nullable=False), Column("roles", Text, nullable=False), Column("password", Text),
    Column("revoked", Integer, nullable=False),
)  # fmt: skip
_KEY = Table(
    "identity_key", META, Column("id", Text, primary_key=True), Column("org", Text, nullable=False, index=True),
    Column("person", Text, nullable=False), Column("roles", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True), Column("revoked", Integer, nullable=False),
    Column("made_by", Text),
)  # fmt: skip
_PASS = Table(
    "identity_pass", META, Column("hash", Text, primary_key=True), Column("kind", Text, nullable=False),
    Column("person", Text, nullable=False), Column("until_ms", Integer, nullable=False), Column("made_by", Text),
)  # fmt: skip
_FAILURE = Table(
    "identity_failure", META, Column("subject", Text, primary_key=True), Column("failures", Integer, nullable=False),
    Column("last_ms", Integer, nullable=False), Column("until_ms", Integer, nullable=False),
    Index("identity_failure_last", "last_ms"),
)  # fmt: skip

_ORG_ADD = Sql(insert(_ORG))
_ORG_KEY = Sql(text("UPDATE identity_organisation SET public = :public, sealed = :sealed WHERE id = :of_id"))
_ORG_COLUMNS = (
    _ORG.c.id, _ORG.c.name, _ORG.c.did, _ORG.c.public, _ORG.c.sealed, _ORG.c.operator, _ORG.c.province, _ORG.c.sector,
)  # fmt: skip
_ORG_GET = Sql(select(*_ORG_COLUMNS).where(_ORG.c.id == bindparam("id")))
_ORG_DID = Sql(select(*_ORG_COLUMNS).where(_ORG.c.did == bindparam("did")))
_ORG_NAME = Sql(select(*_ORG_COLUMNS).where(_ORG.c.folded == bindparam("folded")))
_ORG_OPERATOR = Sql(select(*_ORG_COLUMNS).where(_ORG.c.operator == 1))
_ORG_LIST = Sql(select(*_ORG_COLUMNS).order_by(_ORG.c.id).limit(bindparam("count")))
_NAMED = 8
"""Names looked up in one statement."""
_SLOTS = ", ".join(f":w{slot}" for slot in range(_NAMED))
_ORG_NAMES = Sql(
    text(f"SELECT id, did, name FROM identity_organisation WHERE did IN ({_SLOTS}) OR id IN ({_SLOTS})")
)
_ORG_DESCRIBE = Sql(
    update(_ORG).where(_ORG.c.id == bindparam("of_id"))
    .values(province=bindparam("to_province"), sector=bindparam("to_sector"))
)  # fmt: skip
_PERSON_ADD = Sql(insert(_PERSON))
_PERSON_COLUMNS = (_PERSON.c.id, _PERSON.c.org, _PERSON.c.name, _PERSON.c.roles, _PERSON.c.password)
_PERSON_GET = Sql(select(*_PERSON_COLUMNS).where(_PERSON.c.id == bindparam("id"), _PERSON.c.revoked == 0))
_PERSON_LIST = Sql(
    select(*_PERSON_COLUMNS)
    .where(_PERSON.c.org == bindparam("org"), _PERSON.c.revoked == 0)
    .order_by(_PERSON.c.id)
)
_PERSON_REVOKE = Sql(
    update(_PERSON)
    .where(_PERSON.c.org == bindparam("of_org"), _PERSON.c.id == bindparam("of_id"), _PERSON.c.revoked == 0)
    .values(revoked=1)
)
_PERSON_ROLES = Sql(
    update(_PERSON).where(_PERSON.c.org == bindparam("of_org"), _PERSON.c.id == bindparam("of_id"))
    .values(roles=bindparam("to_roles"))
)  # fmt: skip
_PERSON_PASSWORD = Sql(
    update(_PERSON).where(_PERSON.c.org == bindparam("of_org"), _PERSON.c.id == bindparam("of_id"))
    .values(password=bindparam("to_password"))
)  # fmt: skip
_KEY_ADD = Sql(insert(_KEY))
_KEY_COLUMNS = (_KEY.c.id, _KEY.c.org, _KEY.c.person, _KEY.c.roles, _KEY.c.revoked, _KEY.c.made_by)
_KEY_HASH = Sql(select(*_KEY_COLUMNS).where(_KEY.c.hash == bindparam("hash"), _KEY.c.revoked == 0))
_KEY_LIST = Sql(select(*_KEY_COLUMNS).where(_KEY.c.org == bindparam("org")).order_by(_KEY.c.id))
_PERSON_ANY = Sql(
    select(_PERSON.c.id, _PERSON.c.org, _PERSON.c.name, _PERSON.c.roles, _PERSON.c.password)
    .where(_PERSON.c.id == bindparam("id"))
)  # fmt: skip
_PERSON_ERASE = Sql(_PERSON.delete().where(_PERSON.c.id == bindparam("of_id")))
_KEY_ERASE = Sql(text("UPDATE identity_key SET revoked = 1, person = '', hash = id WHERE person = :person"))
_KEY_REVOKE = Sql(
    update(_KEY).where(_KEY.c.org == bindparam("of_org"), _KEY.c.id == bindparam("of_id"), _KEY.c.revoked == 0)
    .values(revoked=1)
)  # fmt: skip
_PASS_ADD = Sql(insert(_PASS))
_PASS_GET = Sql(
    select(_PASS.c.person, _PASS.c.made_by).where(
        _PASS.c.hash == bindparam("hash"),
        _PASS.c.kind == bindparam("kind"),
        _PASS.c.until_ms > bindparam("now_ms"),
    )
)
_PASS_DROP = Sql(_PASS.delete().where(_PASS.c.hash == bindparam("hash"), _PASS.c.kind == bindparam("kind")))
_PASS_DROP_ALL = Sql(_PASS.delete().where(_PASS.c.person == bindparam("person")))
_PASS_DROP_MADE = Sql(_PASS.delete().where(_PASS.c.made_by == bindparam("made_by")))
_PASS_DROP_KIND = Sql(
    _PASS.delete().where(_PASS.c.person == bindparam("person"), _PASS.c.kind == bindparam("kind"))
)
_FAILURE_GET = Sql(
    select(_FAILURE.c.failures, _FAILURE.c.last_ms, _FAILURE.c.until_ms).where(
        _FAILURE.c.subject == bindparam("subject")
    )
)
_FAILURE_PUT = Sql(
    text(
        "INSERT INTO identity_failure (subject, failures, last_ms, until_ms) "
        "VALUES (:subject, :failures, :last_ms, :until_ms) ON CONFLICT (subject) DO UPDATE SET "
        "failures = excluded.failures, last_ms = excluded.last_ms, until_ms = excluded.until_ms"
    )
)
_FAILURE_DROP = Sql(_FAILURE.delete().where(_FAILURE.c.subject == bindparam("subject")))
_FAILURE_SWEEP = Sql(_FAILURE.delete().where(_FAILURE.c.last_ms < bindparam("before_ms")))
_FAILURE_LOCKS = Sql(
    select(_FAILURE.c.subject, _FAILURE.c.until_ms)
    .where(_FAILURE.c.until_ms > bindparam("now_ms"))
    .limit(10_000)
)
_PASS_SWEEP = Sql(_PASS.delete().where(_PASS.c.until_ms <= bindparam("now_ms")))


def add_organisation(db: Session, org: Organisation) -> None:
    """Keeps a new organisation; the caller has looked that the name is free."""
    db.run(
        _ORG_ADD, id=org.id, name=org.name, folded=folded(org.name), did=org.did, public=org.public,
        sealed=org.sealed, operator=int(org.operator), province=org.province, sector=org.sector,
    )  # fmt: skip


def describe(db: Session, org: str, province: str, sector: str) -> None:
    """Says an organisation's province and sector."""
    db.run(_ORG_DESCRIBE, of_id=org, to_province=province, to_sector=sector)


def set_key(db: Session, org: str, public: bytes, sealed: bytes) -> None:
    """Says an organisation's signing key."""
    db.run(_ORG_KEY, of_id=org, public=public, sealed=sealed)


def organisation(db: Session, org: str) -> Organisation | None:
    """The organisation with an id."""
    return _org(db.run(_ORG_GET, id=org))


def by_did(db: Session, did: str) -> Organisation | None:
    """The organisation with a DID."""
    return _org(db.run(_ORG_DID, did=did))


def names(db: Session, wanted: Collection[str]) -> dict[str, str]:
    """The names of organisations by whichever of DID and id was wanted."""
    found: dict[str, str] = {}
    rest = sorted(wanted)
    while rest:
        some, rest = rest[:_NAMED], rest[_NAMED:]
        slots = {f"w{slot}": some[slot] if slot < len(some) else "" for slot in range(_NAMED)}
        for org, did, name in db.run(_ORG_NAMES, **slots):
            found |= {str(org): str(name), str(did): str(name)}
    return {each: found[each] for each in wanted if each in found}


def by_name(db: Session, name: str) -> Organisation | None:
    """The organisation with a name, ignoring case and the width and form of its characters."""
    # Homes older than this kept the width of a name.
    return _org(db.run(_ORG_NAME, folded=folded(name))) or _org(db.run(_ORG_NAME, folded=name.casefold()))


def folded(name: str) -> str:
    """The name as terms compare recipients and partners: two that are one there are one here."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def operator(db: Session) -> Organisation | None:
    """The organisation that operates this home."""
    return _org(db.run(_ORG_OPERATOR))


def organisations(db: Session, count: int = 1000) -> list[Organisation]:
    """The first organisations of this home, at most `count`."""
    return [_organisation(row) for row in db.run(_ORG_LIST, count=count)]


def add_person(db: Session, person: Person) -> None:
    """Keeps a new person."""
    db.run(
        _PERSON_ADD, id=person.id, org=person.org, name=person.name, roles=" ".join(person.roles),
        password=person.password, revoked=0,
    )  # fmt: skip


def person(db: Session, person_id: str) -> Person | None:
    """The person with an id, unless revoked."""
    rows = db.run(_PERSON_GET, id=person_id)
    return _person(rows[0]) if rows else None


def anybody(db: Session, person_id: str) -> Person | None:
    """The person with an id, also a revoked one."""
    rows = db.run(_PERSON_ANY, id=person_id)
    return _person(rows[0]) if rows else None


def erase_person(db: Session, person_id: str) -> None:
    """Forgets a person; their keys stay as ended keys of nobody, without the hash of a secret."""
    db.run(_PERSON_ERASE, of_id=person_id)
    db.run(_KEY_ERASE, person=person_id)
    drop_passes(db, person_id)


def people(db: Session, org: str) -> list[Person]:
    """The people of an organisation."""
    return [_person(row) for row in db.run(_PERSON_LIST, org=org)]


def revoke_person(db: Session, org: str, person_id: str) -> bool:
    """Whether a person of the organisation was revoked."""
    return db.changed(_PERSON_REVOKE, of_org=org, of_id=person_id) == 1


def set_roles(db: Session, org: str, person_id: str, roles: Collection[str]) -> None:
    """Says the roles of a person of the organisation."""
    db.run(_PERSON_ROLES, of_org=org, of_id=person_id, to_roles=" ".join(roles))


def set_password(db: Session, org: str, person_id: str, known: str) -> None:
    """Says the hash of a person's password."""
    db.run(_PERSON_PASSWORD, of_org=org, of_id=person_id, to_password=known)


def add_key(db: Session, key: Key, secret_hash: str) -> None:
    """Keeps a new API key by the hash of its secret."""
    db.run(
        _KEY_ADD,
        id=key.id,
        org=key.org,
        person=key.person,
        roles=" ".join(key.roles),
        hash=secret_hash,
        revoked=0,
        made_by=key.made_by,
    )


def key_by_hash(db: Session, secret_hash: str) -> Key | None:
    """The key with a secret, unless revoked."""
    rows = db.run(_KEY_HASH, hash=secret_hash)
    return _key(rows[0]) if rows else None


def keys(db: Session, org: str) -> list[Key]:
    """The keys of an organisation."""
    return [_key(row) for row in db.run(_KEY_LIST, org=org)]


def revoke_key(db: Session, org: str, key_id: str) -> bool:
    """Whether a key of the organisation was revoked."""
    return db.changed(_KEY_REVOKE, of_org=org, of_id=key_id) == 1


def add_pass(db: Session, secret_hash: str, kind: str, person_id: str, until_ms: int, via: str) -> None:
    """Keeps a session or single-use link by the hash of its secret; `via`: the key it was made with, if any."""
    db.run(
        _PASS_ADD, hash=secret_hash, kind=kind, person=person_id, until_ms=until_ms, made_by=via or None,
    )  # fmt: skip


def pass_holder(db: Session, secret_hash: str, kind: str, now_ms: int) -> tuple[str, str] | None:
    """The person a session or link is for, while it is good, and the key it was made with or nothing."""
    rows = db.run(_PASS_GET, hash=secret_hash, kind=kind, now_ms=now_ms)
    return (str(rows[0][0]), str(rows[0][1] or "")) if rows else None


def drop_pass(db: Session, secret_hash: str, kind: str) -> bool:
    """Whether a session or link was ended; a link is used once because only one caller gets True."""
    return db.changed(_PASS_DROP, hash=secret_hash, kind=kind) == 1


def drop_passes(db: Session, person_id: str, kind: str | None = None) -> None:
    """Ends the sessions and links of a person, of one kind or all."""
    if kind is None:
        db.run(_PASS_DROP_ALL, person=person_id)
    else:
        db.run(_PASS_DROP_KIND, person=person_id, kind=kind)


def drop_passes_made(db: Session, key_id: str) -> None:
    """Ends the sessions and links that were made with a key."""
    db.run(_PASS_DROP_MADE, made_by=key_id)


def failures(db: Session, subject: str) -> tuple[int, int, int]:
    """How often signing in failed, when last, and until when nothing is looked at (ms); zeros for never."""
    rows = db.run(_FAILURE_GET, subject=subject)
    return (_int(rows[0][0]), _int(rows[0][1]), _int(rows[0][2])) if rows else (0, 0, 0)


def fail(db: Session, subject: str, count: int, now_ms: int, until_ms: int) -> None:
    """Keeps a failure."""
    db.run(_FAILURE_PUT, subject=subject, failures=count, last_ms=now_ms, until_ms=until_ms)


def forgive(db: Session, subject: str) -> None:
    """Forgets the failures of one subject."""
    db.run(_FAILURE_DROP, subject=subject)


def forget_failures(db: Session, before_ms: int) -> None:
    """Forgets failures that are older."""
    db.run(_FAILURE_SWEEP, before_ms=before_ms)


def locks(db: Session, now_ms: int) -> dict[str, int]:
    """Until when each locked subject is locked (ms)."""
    return {str(row[0]): _int(row[1]) for row in db.run(_FAILURE_LOCKS, now_ms=now_ms)}


def sweep_passes(db: Session, now_ms: int) -> None:
    """Forgets what has ended."""
    db.run(_PASS_SWEEP, now_ms=now_ms)


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _org(rows: list[Row]) -> Organisation | None:
    return _organisation(rows[0]) if rows else None


def _organisation(row: Row) -> Organisation:
    org, name, did, public, sealed, operates, province, sector = row
    assert isinstance(public, bytes) and isinstance(sealed, bytes)
    return Organisation(
        str(org), str(name), str(did), public, sealed, bool(operates), str(province), str(sector)
    )


def _person(row: Row) -> Person:
    person_id, org, name, roles, password = row
    return Person(
        str(person_id),
        str(org),
        str(name),
        tuple(str(roles).split()),
        None if password is None else str(password),
    )


def _key(row: Row) -> Key:
    key_id, org, holder, roles, revoked, made_by = row
    by = None if made_by is None else str(made_by)
    return Key(str(key_id), str(org), str(holder), tuple(str(roles).split()), bool(revoked), by)
