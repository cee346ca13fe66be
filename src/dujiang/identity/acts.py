"""Acts of identity: admit organisations and people, grant and revoke keys, sign in."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dujiang.identity import rules, store
from dujiang.identity.model import (
    BAD_LOGIN,
    NAME_TAKEN,
    PASSWORD_SHORT,
    ROLE_BEYOND,
    Key,
    Organisation,
    Person,
)
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.ids import new_id
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.shape import SECRET
from dujiang.kernel.tables import Session

_ARGON = threading.BoundedSemaphore(2)
"""A password hash takes 64 MiB and 0.1-0.3 s: two at a time."""


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


@dataclass(frozen=True, slots=True)
class Invited:
    """The new person."""

    person: str
    roles: tuple[str, ...]


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


@dataclass(frozen=True, slots=True)
class Members:
    """People and keys of an organisation."""

    people: tuple[Member, ...]
    keys: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Login:
    """Organisation, person and password."""

    organisation: str
    person: str
    password: str = field(metadata={SECRET: True})


@dataclass(frozen=True, slots=True)
class Opened:
    """A session's secret, for a cookie, and its end in milliseconds since 1970."""

    until_ms: int
    session: str | None = field(default=None, metadata={SECRET: True})


@dataclass(frozen=True, slots=True)
class Link:
    """A single-use sign-in link for a person (default: the caller)."""

    person: str | None = None


@dataclass(frozen=True, slots=True)
class Linked:
    """The secret of a link, good once and for a short time."""

    until_ms: int
    token: str | None = field(default=None, metadata={SECRET: True})


@dataclass(frozen=True, slots=True)
class Enter:
    """The secret of a single-use link."""

    token: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The secret of the session to end."""

    session: str


@dataclass(frozen=True, slots=True)
class Left:
    """The session has ended."""


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
    if ask.password is None:
        return None
    if not 12 <= len(ask.password) <= 200:
        raise Refused(PASSWORD_SHORT)
    with _ARGON:
        return _argon().hash(ask.password)


def invite(tx: Tx, caller: Caller, ask: Invite, password: str | None) -> Invited:
    """Adds a person to the caller's organisation, with roles the caller has.

    Raises: Refused name_unfit, name_taken, role_unknown, role_beyond.
    """
    name = rules.fit_name(ask.name)
    roles = rules.fit_roles(ask.roles, caller.roles)
    if any(person.name == name for person in store.people(tx.db, caller.org)):
        raise Refused(NAME_TAKEN)
    person = Person(tx.new_id("per"), caller.org, name, roles, password)
    store.add_person(tx.db, person)
    tx.tell(member=person.id, roles=list(roles))
    return Invited(person.id, roles)


def grant(tx: Tx, caller: Caller, ask: Grant) -> Granted:
    """A new API key, with roles the caller has.

    Raises: Refused role_unknown, not_found, role_beyond: also for a key in the name of somebody with more roles.
    """
    roles = rules.fit_roles(ask.roles, caller.roles)
    holder = _person(tx.db, caller.org, ask.person or caller.person)
    if holder.id != caller.person and not caller.roles.issuperset(holder.roles):
        raise Refused(ROLE_BEYOND)
    key, secret = _issue(tx, holder, roles)
    tx.tell(key=key, member=holder.id, roles=list(roles))
    return Granted(key, roles, secret)


def revoke(tx: Tx, caller: Caller, ask: Revoke) -> Revoked:
    """Ends a key, or a person with all their keys and sessions; of roles the caller has, so that a weak
    key that was stolen locks nobody out.

    Raises: Refused not_found, role_beyond.
    """
    if not caller.roles.issuperset(_roles_of(tx.db, caller.org, ask.id)):
        raise Refused(ROLE_BEYOND)
    if not (store.revoke_key(tx.db, caller.org, ask.id) or store.revoke_person(tx.db, caller.org, ask.id)):
        raise Refused(NOT_FOUND)
    tx.tell(revoked=ask.id)
    return Revoked(ask.id)


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
    people = tuple(Member(p.id, p.name, p.roles) for p in store.people(tx.db, caller.org))
    names = {person.id: person.name for person in people}
    keys = tuple(
        Member(k.id, names.get(k.person, ""), k.roles, k.revoked) for k in store.keys(tx.db, caller.org)
    )
    return Members(people, keys)


def prepare_login(node: Node, caller: Caller, ask: Login) -> str | None:
    """The person whose password fits, or None; takes the same time for an unknown name."""
    del caller
    with node.database.reading() as db:
        org = store.by_name(db, ask.organisation)
        people = store.people(db, org.id) if org else []
    found = next((person for person in people if person.name == ask.person), None)
    known = found.password if found and found.password else _decoy()
    with _ARGON:
        good = _fits(known, ask.password[:200])
    return found.id if found and found.password and good else None


def login(tx: Tx, caller: Caller, ask: Login, person: str | None) -> Opened:
    """A session for a person whose password fits.

    Raises: Refused bad_login.
    """
    del caller, ask
    if person is None or store.person(tx.db, person) is None:
        raise Refused(BAD_LOGIN)
    return _session(tx, person)


def link(tx: Tx, caller: Caller, ask: Link) -> Linked:
    """A single-use sign-in link for a person of the caller's organisation; the node makes one for anybody.

    Raises: Refused not_found, role_beyond: a link is worth all roles of its person.
    """
    wanted, node = ask.person or caller.person, "node" in caller.roles
    holder = store.person(tx.db, wanted) if node else _person(tx.db, caller.org, wanted)
    if holder is None:
        raise Refused(NOT_FOUND)
    if not node and not caller.roles.issuperset(holder.roles):
        raise Refused(ROLE_BEYOND)
    secret = secrets.token_urlsafe(32)
    until_ms = tx.now_ms + tx.node.config.link_minutes * 60_000
    store.add_pass(tx.db, rules.secret_hash(secret), "link", holder.id, until_ms)
    return Linked(until_ms, secret)


def enter(tx: Tx, caller: Caller, ask: Enter) -> Opened:
    """A session for the holder of a single-use link, which ends with it.

    Raises: Refused bad_login.
    """
    del caller
    secret_hash = rules.secret_hash(ask.token)
    person = store.pass_holder(tx.db, secret_hash, "link", tx.now_ms)
    if (
        person is None
        or not store.drop_pass(tx.db, secret_hash, "link")
        or store.person(tx.db, person) is None
    ):
        raise Refused(BAD_LOGIN)
    return _session(tx, person)


def leave(tx: Tx, caller: Caller, ask: Leave) -> Left:
    """Ends a session."""
    del caller
    store.drop_pass(tx.db, rules.secret_hash(ask.session), "session")
    return Left()


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
    return Caller(key.org, key.person, frozenset(key.roles) & frozenset(person.roles))


def caller_of_session(db: Session, secret: str, now_ms: int) -> Caller | None:
    """Who a browser session speaks for."""
    holder = store.pass_holder(db, rules.secret_hash(secret), "session", now_ms)
    person = store.person(db, holder) if holder else None
    return Caller(person.org, person.id, frozenset(person.roles)) if person else None


def authority(node: Node) -> str:
    """The host name the home's DIDs stand under."""
    return node.origin.partition("/")[0]


def _person(db: Session, org: str, person_id: str) -> Person:
    found = store.person(db, person_id)
    if found is None or found.org != org:
        raise Refused(NOT_FOUND)
    return found


def _roles_of(db: Session, org: str, wanted: str) -> frozenset[str]:
    """What a key or a person of the organisation is worth; nothing where there is none."""
    people = {person.id: frozenset(person.roles) for person in store.people(db, org)}
    keys = {key.id: frozenset(key.roles) & people.get(key.person, frozenset()) for key in store.keys(db, org)}
    return people.get(wanted) or keys.get(wanted) or frozenset()


def _issue(tx: Tx, person: Person, roles: tuple[str, ...]) -> tuple[str, str]:
    secret = f"djk_{secrets.token_urlsafe(32)}"
    key = Key(tx.new_id("key"), person.org, person.id, roles, False)
    store.add_key(tx.db, key, rules.secret_hash(secret))
    return key.id, secret


def _session(tx: Tx, person: str) -> Opened:
    store.sweep_passes(tx.db, tx.now_ms)
    secret = secrets.token_urlsafe(32)
    until_ms = tx.now_ms + tx.node.config.session_hours * 3_600_000
    store.add_pass(tx.db, rules.secret_hash(secret), "session", person, until_ms)
    return Opened(until_ms, secret)


@cache
def _argon() -> Any:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _decoy() -> str:
    return str(_argon().hash(secrets.token_urlsafe(16)))


def _fits(known: str, password: str) -> bool:
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return bool(_argon().verify(known, password))
    except (Argon2Error, InvalidHashError):
        return False
