"""New signing keys for organisations whose keys are lost with the master key: only the node itself may.

What an organisation signed before verifies with its former key, which the entry names; nothing is signed again.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dujiang.identity import store
from dujiang.identity.model import Organisation
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.kernel.plugs import Vault
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session

_EVERY = 2**31


@dataclass(frozen=True, slots=True)
class Rotate:
    """Organisations that get a new signing key; none: all whose key the master key does not open."""

    orgs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rotated:
    """The organisations whose DID documents show a new key from now on."""

    orgs: tuple[str, ...]


def lost(db: Session, vault: Vault) -> list[Organisation]:
    """The organisations whose key the master key does not open."""
    return [each for each in store.organisations(db, _EVERY) if not _opens(vault, each)]


def prepare_rotate(node: Node, caller: Caller, ask: Rotate) -> dict[str, tuple[bytes, bytes]]:
    """A fresh key pair for each of them: public, and sealed private.

    Raises: Refused not_found.
    """
    del caller
    with node.database.reading() as db:
        known = {each.id for each in store.organisations(db, _EVERY)} if ask.orgs else set[str]()
        wanted = ask.orgs or tuple(each.id for each in lost(db, node.vault))
    if not wanted or not known.issuperset(ask.orgs):
        raise Refused(NOT_FOUND)
    made: dict[str, tuple[bytes, bytes]] = {}
    for org in wanted:
        private = Ed25519PrivateKey.generate()
        sealed = node.vault.seal(private.private_bytes_raw(), f"org:{org}")
        made[org] = private.public_key().public_bytes_raw(), sealed
    return made


def rotate(tx: Tx, caller: Caller, ask: Rotate, made: dict[str, tuple[bytes, bytes]]) -> Rotated:
    """Gives organisations new signing keys, and writes which they were and are.

    Raises: Refused not_found.
    """
    del caller, ask
    keys: dict[str, dict[str, str]] = {}
    for org, (public, sealed) in made.items():
        before = store.organisation(tx.db, org)
        if before is None:
            raise Refused(NOT_FOUND)
        store.set_key(tx.db, org, public, sealed)
        keys[org] = {"old": _text(before.public), "new": _text(public)}
    tx.tell(keys=keys, parties=list(keys))
    return Rotated(tuple(keys))


def _text(public: bytes) -> str:
    return base64.b64encode(public).decode()


def _opens(vault: Vault, org: Organisation) -> bool:
    try:
        vault.open(org.sealed, f"org:{org.id}")
    except Unavailable:
        return False
    return True
