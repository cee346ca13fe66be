"""Acts of registration (登记): propose, register, show, export a certificate.

1. Files are read and written in `prepare`, under the id of a version that does not exist yet; the act makes
   it exist, or removes the files.
2. The same normalised content is the same resource of its organisation, whatever it is called.
3. One salt an organisation ranks its rows: a new version of a table keeps the rows an old one kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.ids import new_id, prefix_of
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.registry import rules, store, wire
from dujiang.registry.model import (
    CONTENT_ELSEWHERE,
    REGISTRATION_RACED,
    TABLES,
    UPLOAD_UNKNOWN,
    Declared,
    Loss,
    NoiseRow,
    Proposal,
    Registered,
    Sketch,
    Table,
    Version,
    keys_of,
)

DEFAULT_RHO_MICRO = 5000
_NAME_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Check(Declared):
    """An upload and what is declared of it, to see what would be registered."""

    rho_micro: int = DEFAULT_RHO_MICRO
    """Privacy cost of one statistic the noise is shown for."""


@dataclass(frozen=True, slots=True)
class Register(Declared):
    """An upload, what is declared of it, and the resource it is a new version of (none: by its content)."""

    resource: str | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """The registered version, what it was registered as, and what registration left out."""

    resource: str
    version: str
    number: int
    registration: str
    proposal: Proposal
    loss: Loss


@dataclass(frozen=True, slots=True)
class Show:
    """The id of a resource or of a version of the caller's organisation."""

    id: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A version with its signed certificate."""

    version: Version
    certificate: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource with its versions, the newest first."""

    resource: str
    title: str
    versions: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """The id of a version."""

    version: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A signed certificate (登记证书): a W3C credential as JWT."""

    version: str
    registration: str
    certificate: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """Facts of a registration: files written under the id of a version that does not exist yet."""

    version: str
    declared: Declared
    sketch: Sketch
    table: Table
    made: Registered
    salt: bytes | None
    """A fresh salt, sealed, if the organisation had none."""

    def proposal(self, rho_micro: int, *, laplace: bool = False, exact: bool = False) -> Proposal:
        """What was registered and the noise that follows (none with exact answers)."""
        noise = () if exact else rules.noise_table(self.sketch, self.table, rho_micro, laplace=laplace)
        return _proposal(self.sketch, self.table, noise)

    @property
    def loss(self) -> Loss:
        """What registration left out."""
        return Loss(self.made.dropped_null_entity, self.made.dropped_beyond)


def prepare_check(node: Node, caller: Caller, ask: Check) -> Proposal:
    """What the upload would be registered as.

    Raises: Refused upload_unknown, entity_unknown, declaration_wrong, the codes of reading a table.
    """
    sketch, table = _inspected(node, caller, ask)
    rho_micro = min(max(ask.rho_micro, 1), 10**7)
    return _proposal(sketch, table, rules.noise_table(sketch, table, rho_micro, laplace=False))


def check(tx: Tx, caller: Caller, ask: Check, proposal: Proposal) -> Proposal:
    """What the upload would be registered as, and the noise that follows."""
    del tx, caller, ask
    return proposal


def prepare_register(node: Node, caller: Caller, ask: Register) -> Prepared:
    """The files of a registration, see `prepare_version`."""
    return prepare_version(node, caller, ask)


def register(tx: Tx, caller: Caller, ask: Register, prepared: Prepared) -> Registration:
    """Registers an upload as a version of a resource, with a signed certificate.

    Raises: Refused not_found, content_elsewhere, registration_raced.
    """
    with kept_or_dropped(tx.node, prepared):
        made = add_version(tx, caller, prepared, ask.resource)
    proposal = prepared.proposal(DEFAULT_RHO_MICRO)
    return Registration(made.resource, made.id, made.number, made.registration, proposal, prepared.loss)


def show(tx: Tx, caller: Caller, ask: Show) -> Resource:
    """A resource of the caller's organisation with its versions and certificates.

    Raises: Refused not_found.
    """
    resource = ask.id
    if prefix_of(ask.id) == "ver":
        resource = _own(tx.db, caller.org, ask.id).resource
    found = store.versions(tx.db, caller.org, resource)
    if not found:
        raise Refused(NOT_FOUND)
    versions = tuple(Kept(each, store.certificate(tx.db, caller.org, each.id) or "") for each in found)
    return Resource(resource, found[0].title, versions)


def export(tx: Tx, caller: Caller, ask: Export) -> Certificate:
    """The certificate of a version of the caller's organisation.

    Raises: Refused not_found.
    """
    found = _own(tx.db, caller.org, ask.version)
    return Certificate(found.id, found.registration, store.certificate(tx.db, caller.org, found.id) or "")


def prepare_version(node: Node, caller: Caller, declared: Declared) -> Prepared:
    """The normalised and the registered file of an upload, written under the id of a version to come.

    Raises: Refused upload_unknown, entity_unknown, declaration_wrong, the codes of reading a table.
    """
    sketch, table = _inspected(node, caller, declared)
    salt, sealed = _salt(node, caller.org)
    version = new_id("ver", node.clock.now_ms())
    plain, guarded = (node.blobs.room(key) for key in keys_of(version))
    try:
        source = node.blobs.path(_upload_key(caller.org, declared.upload))
        made = cast("Registered", node.engine.register(source, sketch, table, salt, plain, guarded))
    except BaseException:
        drop_files(node, version)
        raise
    return Prepared(version, declared, sketch, table, made, sealed)


@contextmanager
def kept_or_dropped(node: Node, prepared: Prepared | None) -> Iterator[None]:
    """Removes the prepared files if the act fails inside."""
    try:
        yield
    except BaseException:
        if prepared is not None:
            drop_files(node, prepared.version)
        raise


def add_version(tx: Tx, caller: Caller, prepared: Prepared, resource: str | None = None) -> Version:
    """The version made of prepared files: a new one, or the one that already says the same.

    `resource`: the resource it must belong to; None: the one of the same content, else a new one.
    Raises: Refused not_found, content_elsewhere, registration_raced.
    """
    _keep_salt(tx, caller.org, prepared.salt)
    same = store.of_content(tx.db, caller.org, prepared.made.sha256_plain)
    if resource is None:
        resource = same[0].resource if same else tx.new_id("res")
    elif not store.versions(tx.db, caller.org, resource):
        raise Refused(NOT_FOUND)
    elif same and same[0].resource != resource:
        raise Refused(CONTENT_ELSEWHERE)
    known = next((each for each in same if _says_the_same(each, prepared)), None)
    if known is not None:
        drop_files(tx.node, prepared.version)
    version = known or _new_version(tx, caller.org, prepared, resource)
    tx.tell(
        resource=version.resource,
        version=version.id,
        registration=version.registration,
        table=version.table.name,
        sha256_source=version.sha256_source,
        sha256_plain=version.sha256_plain,
        sha256_guarded=version.sha256_guarded,
    )
    return version


def version(db: Session, version_id: str) -> Version:
    """A registered version of any organisation, for the packages downstream.

    Raises: Refused not_found.
    """
    found = store.find_version(db, version_id)
    if found is None:
        raise Refused(NOT_FOUND)
    return found


def sweep(node: Node) -> int:
    """How many versions' files were removed that no commit knows; only while nothing else runs in the home."""
    with node.database.reading() as db:
        lost = [key for key in node.blobs.below(TABLES) if not store.exists(db, key.rpartition("/")[2])]
    for key in lost:
        node.blobs.drop(key)
    return len(lost)


def drop_files(node: Node, version_id: str) -> None:
    """Removes the files of a version that does not exist after all."""
    node.blobs.drop(f"{TABLES}/{version_id}")


def _new_version(tx: Tx, org: str, prepared: Prepared, resource: str) -> Version:
    earlier = store.versions(tx.db, org, resource)
    month = wire.instant(tx.now_ms)[:7].replace("-", "")
    made = prepared.made
    fresh = Version(
        id=prepared.version,
        resource=resource,
        org=org,
        number=earlier[0].number + 1 if earlier else 1,
        title=prepared.declared.title or prepared.table.name,
        table=prepared.table,
        format=prepared.sketch.format,
        encoding=prepared.sketch.encoding,
        sha256_source=made.sha256_source,
        sha256_plain=made.sha256_plain,
        sha256_guarded=made.sha256_guarded,
        registration=f"DJ{month}{store.next_serial(tx.db, month):06d}",
        created_ms=tx.now_ms,
    )
    signer = identity.operator(tx.db)
    claims = wire.certificate(fresh, identity.organisation(tx.db, org).did, signer.did)
    store.add_version(tx.db, org, fresh, identity.sign_jws(tx, signer, wire.HEADER, claims))
    return fresh


def _says_the_same(version: Version, prepared: Prepared) -> bool:
    return version.sha256_source == prepared.made.sha256_source and version.table == prepared.table


def _inspected(node: Node, caller: Caller, declared: Declared) -> tuple[Sketch, Table]:
    key = _upload_key(caller.org, declared.upload)
    source = node.blobs.path(key)
    if not source.is_file():
        raise Refused(UPLOAD_UNKNOWN)
    label = node.blobs.path(f"{key}.name")
    name = label.read_bytes()[:_NAME_BYTES_MAX].decode("utf-8", "replace") if label.is_file() else "table"
    sketch = cast("Sketch", node.engine.inspect(source, name, declared.entity, declared.join_keys))
    return sketch, rules.propose(sketch, declared, rules.table_name(name))


def _upload_key(org: str, upload: str) -> str:
    # The organisation is part of the key: an upload of another organisation is simply not there.
    if prefix_of(upload) != "upl" or not org:
        raise Refused(UPLOAD_UNKNOWN)
    return f"uploads/{org}/{upload}"


def _salt(node: Node, org: str) -> tuple[bytes, bytes | None]:
    """The organisation's salt; and, if it is a fresh one, the same sealed."""
    purpose = f"registry-salt:{org}"
    with node.database.reading() as db:
        known = store.salt(db, org)
    if known is not None:
        return node.vault.open(known, purpose), None
    salt = secrets.token_bytes(32)
    return salt, node.vault.seal(salt, purpose)


def _keep_salt(tx: Tx, org: str, sealed: bytes | None) -> None:
    if sealed is None:
        return
    if store.salt(tx.db, org) is not None:
        raise Refused(REGISTRATION_RACED)
    store.add_salt(tx.db, org, sealed)


def _proposal(sketch: Sketch, table: Table, noise: tuple[NoiseRow, ...]) -> Proposal:
    entities = sketch.rows if table.entity is None else sketch.entities or 0
    return Proposal(
        table, sketch.rows, entities, sketch.format, sketch.encoding, noise, rules.notes(sketch, table)
    )


def _own(db: Session, org: str, version_id: str) -> Version:
    found = store.find_version(db, version_id)
    if found is None or found.org != org:
        raise Refused(NOT_FOUND)
    return found
