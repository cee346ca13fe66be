"""The files of a registration to come: read, written under the id of a version that does not exist yet, dropped."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from dujiang.kernel.act import Caller, Node
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.kernel.ids import new_id, prefix_of
from dujiang.registry import rules, store
from dujiang.registry.model import (
    TABLES,
    UPLOAD_UNKNOWN,
    Declared,
    Loss,
    NoiseRow,
    Proposal,
    Registered,
    Sketch,
    Table,
    keys_of,
)

_NAME_BYTES_MAX = 4096


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
        return proposal_of(self.sketch, self.table, noise)

    @property
    def loss(self) -> Loss:
        """What registration left out."""
        return Loss(self.made.dropped_null_entity, self.made.dropped_beyond)


def prepare_version(node: Node, caller: Caller, declared: Declared) -> Prepared:
    """The normalised and the registered file of an upload, written under the id of a version to come.

    Raises: Refused upload_unknown, entity_unknown, declaration_wrong, the codes of reading a table.
    """
    sketch, table = inspected(node, caller, declared)
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


def drop_files(node: Node, version_id: str) -> None:
    """Removes the files of a version that does not exist after all."""
    node.blobs.drop(f"{TABLES}/{version_id}")


def inspected(node: Node, caller: Caller, declared: Declared) -> tuple[Sketch, Table]:
    """What an upload of the caller's organisation is, and what it would be registered as.

    Raises: Refused upload_unknown, entity_unknown, declaration_wrong, the codes of reading a table.
    """
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


def salt_of(node: Node, org: str, sealed: bytes) -> bytes | None:
    """An organisation's salt, or None where it was lost with the master key that sealed it."""
    try:
        return node.vault.open(sealed, f"registry-salt:{org}")
    except Unavailable:
        return None


def _salt(node: Node, org: str) -> tuple[bytes, bytes | None]:
    """The organisation's salt; and, if it is a fresh one, the same sealed."""
    with node.database.reading() as db:
        sealed = store.salt(db, org)
    known = None if sealed is None else salt_of(node, org, sealed)
    if known is not None:
        return known, None
    salt = secrets.token_bytes(32)
    return salt, node.vault.seal(salt, f"registry-salt:{org}")


def proposal_of(sketch: Sketch, table: Table, noise: tuple[NoiseRow, ...]) -> Proposal:
    """What a table would be registered as, with the noise that follows."""
    entities = sketch.rows if table.entity is None else sketch.entities or 0
    return Proposal(
        table, sketch.rows, entities, sketch.format, sketch.encoding, noise, rules.notes(sketch, table)
    )
