"""Versions of resources: made of prepared files, found for whoever may know them, swept where no commit knows them."""

from __future__ import annotations

from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.registry import granting, store
from dujiang.registry.filing import Prepared, drop_files, salt_of
from dujiang.registry.model import CONTENT_ELSEWHERE, REGISTRATION_RACED, TABLES, Version, keys_of
from dujiang.registry.right import CONTENT_TRANSFERRED, Source


def add_version(
    tx: Tx, caller: Caller, prepared: Prepared, resource: str | None = None, source: Source | None = None
) -> Version:
    """The version made of prepared files: a new one, or the one that already says the same.

    `resource`: the resource it must belong to; None: the one of the same content, else a new one.
    Raises: Refused not_found, content_elsewhere, content_transferred, registration_raced, basis_fixed, core_data.
    """
    _keep_salt(tx, caller.org, prepared.salt)
    sha256_plain = prepared.made.sha256_plain
    same = store.of_content(tx.db, caller.org, sha256_plain)
    if resource is None:
        resource = same[0].resource if same else tx.new_id("res")
    elif not store.versions(tx.db, caller.org, resource):
        raise Refused(NOT_FOUND)
    elif same and all(each.resource != resource for each in same):
        raise Refused(CONTENT_ELSEWHERE)
    if not same and store.parted_with(tx.db, caller.org, sha256_plain):
        raise Refused(CONTENT_TRANSFERRED)
    estate = store.resource(tx.db, resource)
    known = next(
        (each for each in same if each.resource == resource and _says_the_same(each, prepared)), None
    )
    if estate is not None and not estate.registered:
        known = None  # withdrawn: registering again is a first registration, with a certificate of its own
    if known is not None:
        drop_files(tx.node, prepared.version)
    version = known or _new_version(tx, caller.org, prepared, resource, source or Source())
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


def newest_version(db: Session, resource: str) -> Version:
    """The newest registered version of a resource, whoever holds it.

    Raises: Refused not_found.
    """
    estate = store.resource(db, resource)
    found = store.versions(db, estate.org, resource) if estate else []
    if not found:
        raise Refused(NOT_FOUND)
    return found[0]


def sweep(node: Node) -> int:
    """How many versions' files were removed that no commit knows; only while nothing else runs in the home."""
    with node.database.reading() as db:
        lost = [key for key in node.blobs.below(TABLES) if not store.exists(db, key.rpartition("/")[2])]
    for key in lost:
        node.blobs.drop(key)
    return len(lost)


def files(db: Session, org: str | None = None) -> dict[str, str]:
    """The hash of every file that versions of the home, or of one organisation, stand on, by its key."""
    found: dict[str, str] = {}
    for version_id, plain, guarded in store.files(db, org):
        found.update(zip(keys_of(version_id), (plain, guarded), strict=True))
    return found


def _new_version(tx: Tx, org: str, prepared: Prepared, resource: str, source: Source) -> Version:
    earlier = store.versions(tx.db, org, resource)
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
        registration=granting.number(tx),
        created_ms=tx.now_ms,
    )
    store.add_version(tx.db, org, fresh, "")
    granting.enter(tx, org, fresh, source)
    store.certify(tx.db, org, fresh.id, granting.certify(tx, fresh))
    return fresh


def _says_the_same(version: Version, prepared: Prepared) -> bool:
    return version.sha256_source == prepared.made.sha256_source and version.table == prepared.table


def _keep_salt(tx: Tx, org: str, sealed: bytes | None) -> None:
    if sealed is None:
        return
    known = store.salt(tx.db, org)
    if known is not None and salt_of(tx.node, org, known) is not None:
        raise Refused(REGISTRATION_RACED)
    store.add_salt(tx.db, org, sealed)
