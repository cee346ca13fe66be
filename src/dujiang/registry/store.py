"""Registry's tables: versions of resources, and the salt that ranks an organisation's rows."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Column, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, text

from dujiang.kernel.tables import META, Row, Session, Sql
from dujiang.registry.model import Version
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
_CERTIFICATE = Sql(text("SELECT certificate FROM registry_version WHERE org = :org AND id = :id"))
_SALT_GET = Sql(text("SELECT sealed FROM registry_salt WHERE org = :org"))
_SALT_ADD = Sql(text("INSERT INTO registry_salt (org, sealed) VALUES (:org, :sealed)"))
_SERIAL_UP = Sql(
    text(
        "INSERT INTO registry_serial (month, last) VALUES (:month, 1)"
        " ON CONFLICT (month) DO UPDATE SET last = registry_serial.last + 1"
    )
)
_SERIAL_GET = Sql(text("SELECT last FROM registry_serial WHERE month = :month"))


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


def certificate(db: Session, org: str, version_id: str) -> str | None:
    """The signed certificate of a version of an organisation."""
    rows = db.run(_CERTIFICATE, org=org, id=version_id)
    return str(rows[0][0]) if rows else None


def salt(db: Session, org: str) -> bytes | None:
    """The sealed salt of an organisation's registrations."""
    rows = db.run(_SALT_GET, org=org)
    return cast("bytes", rows[0][0]) if rows else None


def add_salt(db: Session, org: str, sealed: bytes) -> None:
    """Keeps an organisation's sealed salt, once and for all."""
    db.run(_SALT_ADD, org=org, sealed=sealed)


def next_serial(db: Session, month: str) -> int:
    """The next registration of this home in a month (YYYYMM), from 1."""
    db.run(_SERIAL_UP, month=month)
    return int(cast("int", db.run(_SERIAL_GET, month=month)[0][0]))


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
