"""Acts of identity: admit organisations and people, grant and revoke keys, sign in."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dujiang.identity import rules, store
from dujiang.identity.erasing import Erase, Erased, erase, prepare_erase
from dujiang.identity.login import (
    Enter,
    Leave,
    Left,
    Link,
    Linked,
    Login,
    Opened,
    Password,
    caller_of_session,
    enter,
    hashed,
    invitation,
    leave,
    link,
    login,
    member,
    password,
    prepare_enter,
    prepare_login,
    prepare_password,
)
from dujiang.identity.model import (
    LAST_OPERATOR,
    LAST_PERSON,
    NAME_TAKEN,
    NAME_UNFIT,
    ROLE_BEYOND,
    Key,
    Organisation,
    Person,
    Role,
)
from dujiang.identity.rekeying import Rotate, Rotated, lost, prepare_rotate, rotate
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.ids import new_id
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.shape import SECRET
from dujiang.kernel.tables import Session

__all__ = [
    "Enter", "Leave", "Left", "Link", "Linked", "Login", "Opened", "Password", "caller_of_session", "enter", "leave",
    "link", "login", "password", "prepare_enter", "prepare_login", "prepare_password",
    "Erase", "Erased", "erase", "prepare_erase", "Rotate",
    "Rotated", "lost", "prepare_rotate", "rotate",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Register:
    """A new organisation and the roles of its first person (经办人)."""

    name: str
    roles: tuple[str, ...] = ("provider", "consumer")
    person: str = "经办人"
    province: str = ""
    """Where it sits: two digits of GB/T 2260 or the short name (35, Fujian, 福建)."""
    sector: str = ""
    """Its field: a section letter of GB/T 4754 (Q: health)."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The organisation and its first API key, shown this once."""

    org: str
    name: str
    did: str
    person: str
    roles: tuple[str, ...]
    api_key: str | None = field(default=None, metadata={SECRET: True})


@dataclass(frozen=True, slots=True)
class Describe:
    """What the caller's organisation says of itself; what is not given stays, an empty text clears it."""

    province: str | None = None
    """Where it sits: two digits of GB/T 2260 or the short name (35, Fujian, 福建)."""
    sector: str | None = None
    """Its field: a section letter of GB/T 4754 (Q: health)."""


@dataclass(frozen=True, slots=True)
class Described:
    """The organisation's province and sector from now on; what was counted before stays as it was."""

    org: str
    province: str
    sector: str


@dataclass(frozen=True, slots=True)
class Invite:
    """A new person of the caller's organisation."""

    name: str
    roles: tuple[str, ...]
    password: str | None = field(default=None, metadata={SECRET: True})
    """None: the person sets one, by the link of the reply."""


@dataclass(frozen=True, slots=True)
class Invited:
    """The new person; and, this once, the secret of the link `/enter/TOKEN` and until when it is good."""

    person: str
    roles: tuple[str, ...]
    until_ms: int | None = None
    token: str | None = field(default=None, metadata={SECRET: True})


@dataclass(frozen=True, slots=True)
class Assign:
    """The roles a person of the caller's organisation has from now on."""

    person: str
    """The person's id, from `dujiang identity list`."""
    roles: tuple[str, ...]
    """All of them, also those the person has already."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The person and their roles."""

    person: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unlock:
    """A person of the caller's organisation who failed to sign in too often."""

    person: str
    """The person's id, from `dujiang identity list`."""


@dataclass(frozen=True, slots=True)
class Unlocked:
    """The person may try again at once."""

    person: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A new API key with these roles, for a person of the caller's organisation (default: the caller)."""

    roles: tuple[str, ...]
    person: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """The key's id and, this once, its secret."""

    key: str
    roles: tuple[str, ...]
    api_key: str | None = field(default=None, metadata={SECRET: True})


@dataclass(frozen=True, slots=True)
class Revoke:
    """The id of a key or a person of the caller's organisation."""

    id: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """What is no longer valid."""

    id: str
    with_it: tuple[str, ...] = ()
    """Keys that it made, and that those made."""


@dataclass(frozen=True, slots=True)
class Show:
    """An organisation's id, DID or name; none: the caller's own."""

    id: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """An organisation as everybody here may see it, and the caller's own roles."""

    org: str
    name: str
    did: str
    did_document: dict[str, Any]
    roles: tuple[str, ...] = ()
    province: str = ""
    sector: str = ""


@dataclass(frozen=True, slots=True)
class List:
    """The people and keys of the caller's organisation."""


@dataclass(frozen=True, slots=True)
class Member:
    """A person or key: never a secret."""

    id: str
    name: str
    roles: tuple[str, ...]
    revoked: bool = False
    password: bool = False
    """Whether the person signs in by a password."""
    locked_until_ms: int | None = None
    """Until when no password of the person is looked at, after too many failures."""


@dataclass(frozen=True, slots=True)
class Members:
    """People and keys of an organisation."""

    people: tuple[Member, ...]
    keys: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class _Fresh:
    id: str
    public: bytes
    sealed: bytes


def prepare_register(node: Node, caller: Caller, ask: Register) -> _Fresh:
    """A fresh key pair, its private half sealed."""
    del caller, ask
    org = new_id("org", node.clock.now_ms())
    private = Ed25519PrivateKey.generate()
    sealed = node.vault.seal(private.private_bytes_raw(), f"org:{org}")
    return _Fresh(org, private.public_key().public_bytes_raw(), sealed)


def register(tx: Tx, caller: Caller, ask: Register, fresh: _Fresh) -> Registered:
    """Admits an organisation to this home.

    Raises: Refused name_unfit, name_taken, role_unknown, province_unknown, sector_unknown.
    """
    del caller
    name = rules.fit_name(ask.name)
    roles = rules.fit_roles(ask.roles, None)
    place = rules.fit_province(ask.province), rules.fit_sector(ask.sector)
    if store.by_name(tx.db, name):
        raise Refused(NAME_TAKEN)
    if store.folded(name).startswith(("did:", "org_")):
        raise Refused(NAME_UNFIT)  # terms name organisations by DID, too
    did = rules.did_web(authority(tx.node), fresh.id)
    first = store.operator(tx.db) is None
    org = Organisation(fresh.id, name, did, fresh.public, fresh.sealed, first, *place)
    store.add_organisation(tx.db, org)
    person = Person(tx.new_id("per"), fresh.id, rules.fit_name(ask.person), roles, None)
    store.add_person(tx.db, person)
    secret = _issue(tx, person, roles)[1]
    tx.tell(organisation=fresh.id, did=did, parties=[fresh.id], figures=[org.counted(organisations=1)])
    return Registered(fresh.id, name, did, person.id, roles, secret)


def describe(tx: Tx, caller: Caller, ask: Describe) -> Described:
    """Says where the caller's organisation sits and what its field is, for the figures from now on.

    Raises: Refused province_unknown, sector_unknown.
    """
    own = organisation(tx.db, caller.org)
    province = own.province if ask.province is None else rules.fit_province(ask.province)
    sector = own.sector if ask.sector is None else rules.fit_sector(ask.sector)
    store.describe(tx.db, own.id, province, sector)
    tx.tell(organisation=own.id, province=province, sector=sector)
    return Described(own.id, province, sector)


def prepare_invite(node: Node, caller: Caller, ask: Invite) -> str | None:
    """The argon2id hash of the password, if there is one.

    Raises: Refused password_short.
    """
    del node, caller
    return None if ask.password is None else hashed(ask.password)


def invite(tx: Tx, caller: Caller, ask: Invite, known: str | None) -> Invited:
    """Adds a person to the caller's organisation, with roles the caller has; without a password, by a link
    that is good once and lets its holder set one.

    Raises: Refused name_unfit, name_taken, role_unknown, role_beyond.
    """
    name = rules.fit_name(ask.name)
    roles = rules.fit_roles(ask.roles, caller.roles)
    if any(person.name == name for person in store.people(tx.db, caller.org)):
        raise Refused(NAME_TAKEN)
    person = Person(tx.new_id("per"), caller.org, name, roles, known)
    store.add_person(tx.db, person)
    tx.tell(member=person.id, roles=list(roles))
    if known is not None:
        return Invited(person.id, roles)
    made = invitation(tx, person.id)
    return Invited(person.id, roles, made.until_ms, made.token)


def grant(tx: Tx, caller: Caller, ask: Grant) -> Granted:
    """A new API key, with roles the caller has.

    Raises: Refused role_unknown, not_found, role_beyond: also for a key in the name of somebody with more roles.
    """
    roles = rules.fit_roles(ask.roles, caller.roles)
    holder = member(tx.db, caller.org, ask.person or caller.person)
    if holder.id != caller.person and not caller.roles.issuperset(holder.roles):
        raise Refused(ROLE_BEYOND)
    key, secret = _issue(tx, holder, roles, caller.via or None)
    tx.tell(key=key, member=holder.id, roles=list(roles))
    return Granted(key, roles, secret)


def assign(tx: Tx, caller: Caller, ask: Assign) -> Assigned:
    """Gives a person other roles; the caller has both the old and the new ones. Keys and sessions of the person
    are worth no more from the next request on.

    Raises: Refused not_found, role_unknown, role_beyond, last_operator.
    """
    holder = member(tx.db, caller.org, ask.person)
    roles = rules.fit_roles(ask.roles, caller.roles)
    if not caller.roles.issuperset(holder.roles):
        raise Refused(ROLE_BEYOND)
    _operators_remain(tx.db, holder, roles)
    store.set_roles(tx.db, caller.org, holder.id, roles)
    tx.tell(member=holder.id, roles=list(roles))
    return Assigned(holder.id, roles)


def unlock(tx: Tx, caller: Caller, ask: Unlock) -> Unlocked:
    """Forgets the failed sign-ins of a person, of roles the caller has.

    Raises: Refused not_found, role_beyond.
    """
    holder = member(tx.db, caller.org, ask.person)
    if not caller.roles.issuperset(holder.roles):
        raise Refused(ROLE_BEYOND)
    name = organisation(tx.db, caller.org).name
    store.forgive(tx.db, rules.person_subject(name, holder.name))
    tx.tell(member=holder.id)
    return Unlocked(holder.id)


def revoke(tx: Tx, caller: Caller, ask: Revoke) -> Revoked:
    """Ends a key, or a person with all their keys, links and sessions; of roles the caller has, so that a weak
    key that was stolen locks nobody out. Keys, links and sessions that a key made end with it, and what was asked
    with any of them.

    Raises: Refused not_found, role_beyond, last_person, last_operator.
    """
    if not caller.roles.issuperset(_roles_of(tx.db, caller.org, ask.id)):
        raise Refused(ROLE_BEYOND)
    holder = store.person(tx.db, ask.id)
    if holder is not None and holder.org == caller.org:
        if len(store.people(tx.db, caller.org)) == 1:
            raise Refused(LAST_PERSON)
        _operators_remain(tx.db, holder, ())
        store.drop_passes(tx.db, holder.id)
    if not (store.revoke_key(tx.db, caller.org, ask.id) or store.revoke_person(tx.db, caller.org, ask.id)):
        raise Refused(NOT_FOUND)
    below = rules.made_below(ask.id, [(key.id, key.made_by) for key in store.keys(tx.db, caller.org)])
    ended = [key for key in below if store.revoke_key(tx.db, caller.org, key)]
    for key in (ask.id, *below):
        store.drop_passes_made(tx.db, key)
    tx.tell(revoked=ask.id, **({"with_it": ended} if ended else {}))
    return Revoked(ask.id, tuple(ended))


def show(tx: Tx, caller: Caller, ask: Show) -> Card:
    """The card of an organisation with its DID document.

    Raises: Refused not_found.
    """
    org = named(tx.db, ask.id or caller.org)
    if org is None:
        raise Refused(NOT_FOUND)
    own = tuple(sorted(caller.roles)) if org.id == caller.org else ()
    document = rules.did_document(org.did, org.public)
    return Card(org.id, org.name, org.did, document, own, org.province, org.sector)


def list_(tx: Tx, caller: Caller, ask: List) -> Members:
    """The people and keys of the caller's organisation."""
    del ask
    locks = store.locks(tx.db, tx.now_ms)
    own = store.organisation(tx.db, caller.org)
    people = tuple(
        Member(
            p.id, p.name, p.roles, password=p.password is not None,
            locked_until_ms=locks.get(rules.person_subject(own.name if own else "", p.name)),
        )
        for p in store.people(tx.db, caller.org)
    )  # fmt: skip
    names = {person.id: person.name for person in people}
    keys = tuple(
        Member(k.id, names.get(k.person, ""), k.roles, k.revoked) for k in store.keys(tx.db, caller.org)
    )
    return Members(people, keys)


def organisation(db: Session, org: str) -> Organisation:
    """An organisation of this home, for the packages downstream.

    Raises: Refused not_found.
    """
    found = store.organisation(db, org)
    if found is None:
        raise Refused(NOT_FOUND)
    return found


def named(db: Session, text: str) -> Organisation | None:
    """The organisation of this home with an id, a DID or a name, if there is one."""
    return store.organisation(db, text) or store.by_did(db, text) or store.by_name(db, text)


def by_did(db: Session, did: str) -> Organisation | None:
    """The organisation of this home with a DID, if it is one."""
    return store.by_did(db, did)


def organisations(db: Session, count: int = 1000) -> list[Organisation]:
    """The first organisations of this home, at most `count`."""
    return store.organisations(db, count)


def names(db: Session, wanted: Collection[str]) -> dict[str, str]:
    """The names of organisations of this home by DID or id."""
    return store.names(db, wanted)


def operator(db: Session) -> Organisation:
    """The organisation that operates this home and signs its certificates."""
    found = store.operator(db)
    if found is None:
        raise Refused(NOT_FOUND)
    return found


def sign_jws(tx: Tx, signer: Organisation, header: dict[str, object], payload: dict[str, object]) -> str:
    """A compact JWS (EdDSA) of an organisation, with its key id in the header."""
    first = rules.signing_input({"kid": rules.key_of(signer.did), **header}, payload)
    return f"{first}.{rules.encode(tx.node.vault.sign(signer.sealed, f'org:{signer.id}', first.encode()))}"


def caller_of_key(db: Session, secret: str) -> Caller | None:
    """Who an API key speaks for."""
    key = store.key_by_hash(db, rules.secret_hash(secret))
    person = store.person(db, key.person) if key else None
    if key is None or person is None:
        return None
    return Caller(key.org, key.person, frozenset(key.roles) & frozenset(person.roles), key.id)


def speaks(db: Session, org: str, person: str, key: str, role: str) -> bool:
    """Whether a person still acts for an organisation in a role; and the key they came by is still good."""
    found = store.person(db, person)
    known = not key or any(each.id == key and not each.revoked for each in store.keys(db, org))
    return found is not None and found.org == org and role in found.roles and known


def authority(node: Node) -> str:
    """The host name the home's DIDs stand under."""
    return node.origin.partition("/")[0]


def _operators_remain(db: Session, holder: Person, roles: Collection[str]) -> None:
    """Somebody can still operate the home once a person has these roles.

    Raises: Refused last_operator.
    """
    role = Role.operator.value
    if role in roles or role not in holder.roles or operator(db).id != holder.org:
        return
    if all(person.id == holder.id or role not in person.roles for person in store.people(db, holder.org)):
        raise Refused(LAST_OPERATOR)


def _roles_of(db: Session, org: str, wanted: str) -> frozenset[str]:
    """What a key or a person of the organisation is worth; nothing where there is none."""
    people = {person.id: frozenset(person.roles) for person in store.people(db, org)}
    keys = {key.id: frozenset(key.roles) & people.get(key.person, frozenset()) for key in store.keys(db, org)}
    return people.get(wanted) or keys.get(wanted) or frozenset()


def _issue(tx: Tx, person: Person, roles: tuple[str, ...], made_by: str | None = None) -> tuple[str, str]:
    secret = f"djk_{secrets.token_urlsafe(32)}"
    key = Key(tx.new_id("key"), person.org, person.id, roles, False, made_by)
    store.add_key(tx.db, key, rules.secret_hash(secret))
    return key.id, secret
