"""Registry's tables: resources, versions, rights, cases, and the salt that ranks an organisation's rows."""

from __future__ import annotations

from typing import cast

import msgspec
from sqlalchemy import Column, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, text

from dujiang.kernel.shape import typed
from dujiang.kernel.tables import META, Row, Session, Sql
from dujiang.registry.model import Version
from dujiang.registry.right import Basis, Case, CaseKind, DataClass, End, Estate, Grant, Limits, Right
from dujiang.registry.wire import table_of, table_text

_VERSION = Table(
    "registry_version", META,
    Column("id", Text, primary_key=True), Column("org", Text, nullable=False),
    Column("resource", Text, nullable=False), Column("number", Integer, nullable=False),
    Column("title", Text, nullable=False), Column("shape", Text, nullable=False),
    Column("format", Text, nullable=False), Column("encoding", Text),
    Column("sha256_source", Text, nullable=False), Column("sha256_plain", Text, nullable=False),
    Column("sha256_guarded", Text, nullable=False), Column("registration", Text, nullable=False),
    Column("created_ms", Integer, nullable=False), Column("certificate", Text, nullable=False),
    UniqueConstraint("resource", "number"),
    Index("registry_version_content", "org", "sha256_plain"),
)  # fmt: skip
_SALT = Table(
    "registry_salt",
    META,
    Column("org", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)
_SERIAL = Table(
    "registry_serial", META, Column("month", Text, primary_key=True), Column("last", Integer, nullable=False)
)
_RESOURCE = Table(
    "registry_resource", META, Column("id", Text, primary_key=True), Column("org", Text, nullable=False),
    Column("basis", Text, nullable=False), Column("data_class", Text, nullable=False),
    Column("registered", Integer, nullable=False), Column("created_ms", Integer, nullable=False),
)  # fmt: skip
_GRANT = Table(
    "registry_grant", META, Column("id", Text, primary_key=True), Column("resource", Text, nullable=False),
    Column("kind", Text, nullable=False), Column("org", Text, nullable=False),
    Column("granter", Text, nullable=False), Column("parent", Text), Column("start", Text, nullable=False),
    Column("until", Text), Column("onward", Integer, nullable=False), Column("purposes", Text),
    Column("scope", Text, nullable=False), Column("limits", Text), Column("created_ms", Integer, nullable=False),
    Column("ended_ms", Integer), Column("ending", Text),
    Index("registry_grant_resource", "resource", "kind", "org"), Index("registry_grant_org", "org", "id"),
    Index("registry_grant_granter", "granter", "id"),
)  # fmt: skip
_CASE = Table(
    "registry_case", META, Column("number", Text, primary_key=True), Column("kind", Text, nullable=False),
    Column("resource", Text, nullable=False), Column("org", Text, nullable=False),
    Column("created_ms", Integer, nullable=False), Column("version", Text), Column("from_org", Text),
    Index("registry_case_resource", "resource"),
)  # fmt: skip

_FIELDS = (
    "id, resource, org, number, title, shape, format, encoding, sha256_source, sha256_plain, sha256_guarded,"
    " registration, created_ms"
)
_ADD = Sql(
    text(
        f"INSERT INTO registry_version ({_FIELDS}, certificate) VALUES (:id, :resource, :org, :number,"
        " :title, :shape, :format, :encoding, :sha256_source, :sha256_plain, :sha256_guarded, :registration,"
        " :created_ms, :certificate)"
    )
)
_GET = Sql(text(f"SELECT {_FIELDS} FROM registry_version WHERE id = :id"))
_IDS = Sql(text("SELECT id FROM registry_version"))
_EXISTS = Sql(text("SELECT 1 FROM registry_version WHERE id = :id"))
_OF_RESOURCE = Sql(
    text(
        f"SELECT {_FIELDS} FROM registry_version WHERE resource = :resource AND org = :org"
        " ORDER BY number DESC"
    )
)
_OF_CONTENT = Sql(
    text(
        f"SELECT {_FIELDS} FROM registry_version WHERE org = :org AND sha256_plain = :sha256 ORDER BY id DESC"
    )
)
_FILES = Sql(
    text(
        "SELECT id, sha256_plain, sha256_guarded FROM registry_version WHERE :org IS NULL OR org = :org ORDER BY id"
    )
)
_CERTIFICATE = Sql(text("SELECT certificate FROM registry_version WHERE org = :org AND id = :id"))
_SALT_GET = Sql(text("SELECT sealed FROM registry_salt WHERE org = :org"))
_SALT_ADD = Sql(
    text(
        "INSERT INTO registry_salt (org, sealed) VALUES (:org, :sealed) "
        "ON CONFLICT (org) DO UPDATE SET sealed = excluded.sealed"
    )
)
_SERIAL_UP = Sql(
    text(
        "INSERT INTO registry_serial (month, last) VALUES (:month, 1)"
        " ON CONFLICT (month) DO UPDATE SET last = registry_serial.last + 1"
    )
)
_SERIAL_GET = Sql(text("SELECT last FROM registry_serial WHERE month = :month"))
_RESOURCE_ADD = Sql(
    text(
        "INSERT INTO registry_resource (id, org, basis, data_class, registered, created_ms)"
        " VALUES (:id, :org, :basis, :data_class, 1, :created_ms)"
    )
)
_RESOURCE_GET = Sql(
    text("SELECT id, org, basis, data_class, registered, created_ms FROM registry_resource WHERE id = :id")
)
_RESOURCE_SET = Sql(
    text(
        "UPDATE registry_resource SET org = :org, basis = :basis, data_class = :data_class,"
        " registered = :registered WHERE id = :id"
    )
)
_VERSIONS_TO = Sql(text("UPDATE registry_version SET org = :org WHERE resource = :resource"))
_CERTIFY = Sql(text("UPDATE registry_version SET certificate = :certificate WHERE id = :id AND org = :org"))
_GRANT_FIELDS = (
    "id, resource, kind, org, granter, parent, start, until, onward, purposes, scope, limits, created_ms,"
    " ended_ms, ending"
)
_GRANT_ADD = Sql(
    text(
        f"INSERT INTO registry_grant ({_GRANT_FIELDS}) VALUES (:id, :resource, :kind, :org, :granter, :parent,"
        " :start, :until, :onward, :purposes, :scope, :limits, :created_ms, NULL, NULL)"
    )
)
_GRANT_GET = Sql(text(f"SELECT {_GRANT_FIELDS} FROM registry_grant WHERE id = :id"))
_GRANTS = Sql(
    text(
        f"SELECT {_GRANT_FIELDS} FROM registry_grant WHERE resource = :resource AND ended_ms IS NULL ORDER BY id"
    )
)
# Ordered here and not there: asked for an order, SQLite walks all grants of the organisation by their ids.
_GRANTS_OF = Sql(
    text(
        f"SELECT {_GRANT_FIELDS} FROM registry_grant WHERE resource = :resource AND kind = :kind AND org = :org"
        " AND ended_ms IS NULL"
    )
)
# One for each side: asked for both, SQLite reads and sorts every grant of the organisation.
_GRANTS_HAD, _GRANTS_GIVEN = (
    Sql(
        text(
            f"SELECT {_GRANT_FIELDS} FROM registry_grant WHERE {side} = :org AND id < :before"
            " ORDER BY id DESC LIMIT :count"
        )
    )
    for side in ("org", "granter")
)
_GRANTS_IN = Sql(
    text(
        f"SELECT {_GRANT_FIELDS} FROM registry_grant WHERE resource = :resource AND (org = :org OR granter = :org)"
        " AND id < :before"
    )
)
_GRANT_END = Sql(
    text(
        "UPDATE registry_grant SET ended_ms = :ended_ms, ending = :ending WHERE id = :id AND ended_ms IS NULL"
    )
)
_GRANT_TO = Sql(text("UPDATE registry_grant SET org = :org, granter = :granter WHERE id = :id"))
_CASE_ADD = Sql(
    text(
        "INSERT INTO registry_case (number, kind, resource, org, created_ms, version, from_org)"
        " VALUES (:number, :kind, :resource, :org, :created_ms, :version, :from_org)"
    )
)
_CASES = Sql(
    text(
        "SELECT number, kind, resource, org, created_ms, version, from_org FROM registry_case"
        " WHERE resource = :resource ORDER BY number"
    )
)
_PARTED = Sql(
    text(
        "SELECT 1 FROM registry_version v JOIN registry_case c ON c.resource = v.resource"
        " WHERE c.kind = 'transfer' AND c.from_org = :org AND v.sha256_plain = :sha256 AND v.org <> :org LIMIT 1"
    )
)


def add_version(db: Session, org: str, version: Version, certificate: str) -> None:
    """Keeps a new version with its signed certificate."""
    db.run(
        _ADD, id=version.id, resource=version.resource, org=org, number=version.number, title=version.title,
        shape=table_text(version.table), format=version.format, encoding=version.encoding,
        sha256_source=version.sha256_source, sha256_plain=version.sha256_plain,
        sha256_guarded=version.sha256_guarded, registration=version.registration,
        created_ms=version.created_ms, certificate=certificate,
    )  # fmt: skip


def find_version(db: Session, version_id: str) -> Version | None:
    """A version of any organisation: for the packages downstream, which know whose it is."""
    rows = db.run(_GET, id=version_id)
    return _version(rows[0]) if rows else None


def exists(db: Session, version_id: str) -> bool:
    """Whether a version was committed."""
    return bool(db.run(_EXISTS, id=version_id))


def ids(db: Session) -> list[str]:
    """The ids of all versions."""
    return [str(row[0]) for row in db.run(_IDS)]


def versions(db: Session, org: str, resource: str) -> list[Version]:
    """The versions of a resource of an organisation, the newest first."""
    return [_version(row) for row in db.run(_OF_RESOURCE, org=org, resource=resource)]


def of_content(db: Session, org: str, sha256_plain: str) -> list[Version]:
    """The versions of an organisation with this normalised content, the newest first."""
    return [_version(row) for row in db.run(_OF_CONTENT, org=org, sha256=sha256_plain)]


def files(db: Session, org: str | None) -> list[tuple[str, str, str]]:
    """Versions of an organisation, or of all, with the hashes of their normalised and registered files."""
    return [(str(row[0]), str(row[1]), str(row[2])) for row in db.run(_FILES, org=org)]


def certificate(db: Session, org: str, version_id: str) -> str | None:
    """The signed certificate of a version of an organisation."""
    rows = db.run(_CERTIFICATE, org=org, id=version_id)
    return str(rows[0][0]) if rows else None


def salt(db: Session, org: str) -> bytes | None:
    """The sealed salt of an organisation's registrations."""
    rows = db.run(_SALT_GET, org=org)
    return cast("bytes", rows[0][0]) if rows else None


def add_salt(db: Session, org: str, sealed: bytes) -> None:
    """Keeps an organisation's sealed salt, once and for all, or in place of one that nobody can open any more."""
    db.run(_SALT_ADD, org=org, sealed=sealed)


def next_serial(db: Session, month: str) -> int:
    """The next registration of this home in a month (YYYYMM), from 1."""
    db.run(_SERIAL_UP, month=month)
    return int(cast("int", db.run(_SERIAL_GET, month=month)[0][0]))


def add_resource(db: Session, org: str, one: Estate) -> None:
    """Keeps a resource of an organisation at its first registration."""
    db.run(
        _RESOURCE_ADD, id=one.id, org=org, basis=one.basis, data_class=one.data_class, created_ms=one.created_ms
    )  # fmt: skip


def resource(db: Session, resource_id: str) -> Estate | None:
    """A resource of any organisation."""
    rows = db.run(_RESOURCE_GET, id=resource_id)
    return _estate(rows[0]) if rows else None


def save_resource(db: Session, one: Estate) -> None:
    """Keeps what may change of a resource: its holder, what is declared of it, whether it is registered."""
    db.run(
        _RESOURCE_SET, id=one.id, org=one.org, basis=one.basis, data_class=one.data_class,
        registered=int(one.registered),
    )  # fmt: skip


def move_versions(db: Session, resource_id: str, org: str) -> None:
    """Makes the versions of a resource another organisation's."""
    db.run(_VERSIONS_TO, resource=resource_id, org=org)


def certify(db: Session, org: str, version_id: str, certificate: str) -> None:
    """Replaces the signed certificate of a version of an organisation."""
    db.run(_CERTIFY, org=org, id=version_id, certificate=certificate)


def add_grant(db: Session, one: Grant) -> None:
    """Keeps a new grant."""
    db.run(
        _GRANT_ADD, id=one.id, resource=one.resource, kind=one.right, org=one.org, granter=one.granter,
        parent=one.parent, start=one.start, until=one.until, onward=int(one.onward),
        purposes=None if one.purposes is None else msgspec.json.encode(one.purposes).decode(), scope=one.scope,
        limits=None if one.limits is None else msgspec.json.encode(one.limits).decode(), created_ms=one.created_ms,
    )  # fmt: skip


def grant(db: Session, grant_id: str) -> Grant | None:
    """A grant of any organisation, ended or not."""
    rows = db.run(_GRANT_GET, id=grant_id)
    return _grant(rows[0]) if rows else None


def grants(db: Session, resource_id: str) -> list[Grant]:
    """The grants of a resource that were not ended, the oldest first."""
    return [_grant(row) for row in db.run(_GRANTS, resource=resource_id)]


def grants_of(db: Session, org: str, resource_id: str, right: Right) -> list[Grant]:
    """The grants of a right an organisation has in a resource that were not ended, the oldest first."""
    rows = db.run(_GRANTS_OF, resource=resource_id, kind=right, org=org)
    return sorted(map(_grant, rows), key=lambda each: each.id)


def grants_seen(db: Session, org: str, resource_id: str | None, before: str, count: int) -> list[Grant]:
    """The grants an organisation has or gave below an id, the newest first, ended or not."""
    if resource_id is None:
        rows = [
            *db.run(_GRANTS_HAD, org=org, before=before, count=count),
            *db.run(_GRANTS_GIVEN, org=org, before=before, count=count),
        ]
    else:
        rows = db.run(_GRANTS_IN, org=org, resource=resource_id, before=before)
    found = {str(row[0]): row for row in rows}
    return [_grant(found[each]) for each in sorted(found, reverse=True)[:count]]


def end_grant(db: Session, grant_id: str, ended_ms: int, end: End) -> None:
    """Ends a grant, once and for all."""
    db.run(_GRANT_END, id=grant_id, ended_ms=ended_ms, ending=end)


def move_grant(db: Session, grant_id: str, org: str, granter: str) -> None:
    """Puts other organisations in the place of a grant's two sides."""
    db.run(_GRANT_TO, id=grant_id, org=org, granter=granter)


def add_case(db: Session, one: Case) -> None:
    """Keeps a registration case."""
    db.run(
        _CASE_ADD, number=one.number, kind=one.kind, resource=one.resource, org=one.org,
        created_ms=one.created_ms, version=one.version, from_org=one.from_org,
    )  # fmt: skip


def cases(db: Session, resource_id: str) -> list[Case]:
    """The registration cases of a resource, the oldest first."""
    return [_case(row) for row in db.run(_CASES, resource=resource_id)]


def parted_with(db: Session, org: str, sha256_plain: str) -> bool:
    """Whether an organisation transferred a resource with this content and does not hold it now."""
    return bool(db.run(_PARTED, org=org, sha256=sha256_plain))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _estate(row: Row) -> Estate:
    id_, org, basis, data_class, registered, created = row
    return Estate(
        str(id_), str(org), Basis(str(basis)), DataClass(str(data_class)), bool(registered),
        int(cast("int", created)),
    )  # fmt: skip


def _grant(row: Row) -> Grant:
    id_, res, kind, org, granter, parent, start, until, onward, purposes, scope, limits, made, ended, end = (
        row
    )
    return Grant(
        id=str(id_), resource=str(res), right=Right(str(kind)), org=str(org), granter=str(granter),
        parent=_text(parent), start=str(start), until=_text(until), onward=bool(onward),
        purposes=None if purposes is None else msgspec.json.decode(str(purposes), type=tuple[str, ...]),
        scope=str(scope), limits=None if limits is None else msgspec.json.decode(str(limits), type=typed(Limits)),
        created_ms=int(cast("int", made)), ended_ms=None if ended is None else int(cast("int", ended)),
        end=None if end is None else End(str(end)),
    )  # fmt: skip


def _case(row: Row) -> Case:
    number, kind, res, org, created, version, from_org = row
    return Case(
        str(number), CaseKind(str(kind)), str(res), str(org), int(cast("int", created)), _text(version),
        _text(from_org),
    )  # fmt: skip


def _version(row: Row) -> Version:
    (
        id_,
        resource,
        org,
        number,
        title,
        shape,
        format_,
        encoding,
        source,
        plain,
        guarded,
        registration,
        created,
    ) = row
    return Version(
        id=str(id_), resource=str(resource), org=str(org), number=int(cast("int", number)), title=str(title),
        table=table_of(str(shape)), format=str(format_), encoding=None if encoding is None else str(encoding),
        sha256_source=str(source), sha256_plain=str(plain), sha256_guarded=str(guarded),
        registration=str(registration), created_ms=int(cast("int", created)),
    )  # fmt: skip
