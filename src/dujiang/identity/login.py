"""Signing in (登录): passwords, single-use links, invitations, sessions, and the lock after failures.

1. A refusal is the same, and takes the same time, whatever is wrong: nobody learns who is here.
2. Failures are counted by the names that were tried, known or not, and by the address they came from; the lock
   doubles with each, outlives a restart, and is looked at again in the transaction that would open a session.
3. A secret is random and kept as its hash; a link is used up by the one who gets through; a session never
   outlives its person, a change of their password, nor the key its link was made with.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from dujiang.identity import rules, store
from dujiang.identity.model import BAD_LOGIN, PASSWORD_SHORT, ROLE_BEYOND, Person
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Declined, Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.shape import SECRET
from dujiang.kernel.tables import Session

_ARGON = threading.BoundedSemaphore(2)
"""A password hash takes 64 MiB and 0.1-0.3 s: two at a time."""
_LINK, _INVITE, _SESSION = "link", "invite", "session"


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
    password: bool = False
    """Whether its holder sets a new password, as by an invitation: for who forgot theirs."""


@dataclass(frozen=True, slots=True)
class Linked:
    """The secret of a link, good once and until then."""

    until_ms: int
    token: str | None = field(default=None, metadata={SECRET: True})


@dataclass(frozen=True, slots=True)
class Enter:
    """The secret of a single-use link; with an invitation, the password to set."""

    token: str
    password: str | None = field(default=None, metadata={SECRET: True})
    """12 to 200 characters; a sign-in link sets none."""


@dataclass(frozen=True, slots=True)
class Password:
    """The caller's own password and the new one."""

    old: str = field(metadata={SECRET: True})
    new: str = field(metadata={SECRET: True})


@dataclass(frozen=True, slots=True)
class Leave:
    """The secret of the session to end."""

    session: str


@dataclass(frozen=True, slots=True)
class Left:
    """The session has ended."""


@dataclass(frozen=True, slots=True)
class _Tried:
    """What trying a password gave: the person it fits, and the new one's hash where one is set."""

    person: str | None
    known: str | None = None


def prepare_login(node: Node, caller: Caller, ask: Login) -> _Tried:
    """The person whose password fits, or nobody; takes the same time for an unknown name."""
    with node.database.reading() as db:
        if _locked(db, _subjects(caller, ask), node.clock.now_ms()):
            return _Tried(None)
        org = store.by_name(db, ask.organisation)
        people = store.people(db, org.id) if org else []
    found = next((person for person in people if person.name == ask.person), None)
    good = _fits(found.password if found else None, ask.password)
    return _Tried(found.id if found and good else None)


def login(tx: Tx, caller: Caller, ask: Login, tried: _Tried) -> Opened | Declined:
    """A session for a person whose password fits. Declined: bad_login, whatever is wrong; it counts as a failure."""
    subjects = _subjects(caller, ask)
    if _locked(tx.db, subjects, tx.now_ms):
        return Declined(BAD_LOGIN)
    if tried.person is None or store.person(tx.db, tried.person) is None:
        _failed(tx, subjects)
        return Declined(BAD_LOGIN)
    store.forgive(tx.db, subjects[0])
    return _session(tx, tried.person, "")


def prepare_password(node: Node, caller: Caller, ask: Password) -> _Tried:
    """Whether the old password fits, and the hash of the new one.

    Raises: Refused password_short.
    """
    _fit_length(ask.new)
    with node.database.reading() as db:
        found = store.person(db, caller.person)
        if found is None or _locked(db, (_subject_of(db, found),), node.clock.now_ms()):
            return _Tried(None)
    good = _fits(found.password, ask.old)
    return _Tried(found.id, hashed(ask.new)) if good else _Tried(None)


def password(tx: Tx, caller: Caller, ask: Password, tried: _Tried) -> Opened | Declined:
    """Changes the caller's own password; every session of theirs ends, and a fresh one begins.

    Raises: Refused not_found. Declined: bad_login, and it counts as a failed sign-in.
    """
    del ask
    holder = member(tx.db, caller.org, caller.person)
    subject = _subject_of(tx.db, holder)
    tx.tell(member=holder.id)
    if _locked(tx.db, (subject,), tx.now_ms):
        return Declined(BAD_LOGIN)
    if tried.person != holder.id or tried.known is None:
        _failed(tx, (subject,))
        return Declined(BAD_LOGIN)
    _set_password(tx, holder, tried.known)
    return _session(tx, holder.id, caller.via)


def link(tx: Tx, caller: Caller, ask: Link) -> Linked:
    """A single-use sign-in link for a person of the caller's organisation; the node makes one for anybody.

    Raises: Refused not_found, role_beyond: a link is worth all roles of its person.
    """
    wanted, node = ask.person or caller.person, "node" in caller.roles
    holder = store.person(tx.db, wanted) if node else member(tx.db, caller.org, wanted)
    if holder is None:
        raise Refused(NOT_FOUND)
    if not node and not caller.roles.issuperset(holder.roles):
        raise Refused(ROLE_BEYOND)
    if ask.password:
        return invitation(tx, holder.id, caller.via)
    secret = secrets.token_urlsafe(32)
    until_ms = tx.now_ms + tx.node.config.link_minutes * 60_000
    store.add_pass(tx.db, rules.secret_hash(secret), _LINK, holder.id, until_ms, caller.via)
    return Linked(until_ms, secret)


def invitation(tx: Tx, person: str, via: str = "") -> Linked:
    """A link whose holder sets the person's password; one made before ends, and this one with the key `via`."""
    store.drop_passes(tx.db, person, _INVITE)
    secret = rules.INVITATION + secrets.token_urlsafe(32)
    until_ms = tx.now_ms + rules.INVITATION_MS
    store.add_pass(tx.db, rules.secret_hash(secret), _INVITE, person, until_ms, via)
    return Linked(until_ms, secret)


def prepare_enter(node: Node, caller: Caller, ask: Enter) -> str | None:
    """The hash of the password an invitation sets; None with a sign-in link.

    Raises: Refused bad_login, password_short.
    """
    del caller
    if not ask.token.startswith(rules.INVITATION):
        return None
    with node.database.reading() as db:
        if store.pass_holder(db, rules.secret_hash(ask.token), _INVITE, node.clock.now_ms()) is None:
            raise Refused(BAD_LOGIN)
    return hashed(ask.password or "")


def enter(tx: Tx, caller: Caller, ask: Enter, known: str | None) -> Opened:
    """A session for the holder of a single-use link, which ends with it; an invitation sets the password.

    Raises: Refused bad_login, password_short.
    """
    del caller
    kind = _LINK if known is None else _INVITE
    secret_hash = rules.secret_hash(ask.token)
    found = store.pass_holder(tx.db, secret_hash, kind, tx.now_ms)
    if found is None or not store.drop_pass(tx.db, secret_hash, kind):
        raise Refused(BAD_LOGIN)
    holder = store.person(tx.db, found[0])
    if holder is None:
        raise Refused(BAD_LOGIN)
    if known is not None:
        _set_password(tx, holder, known)
    return _session(tx, holder.id, found[1])


def leave(tx: Tx, caller: Caller, ask: Leave) -> Left:
    """Ends a session."""
    del caller
    store.drop_pass(tx.db, rules.secret_hash(ask.session), _SESSION)
    return Left()


def caller_of_session(db: Session, secret: str, now_ms: int) -> Caller | None:
    """Who a browser session speaks for: as the key its link was made with, so that what it makes ends with that."""
    holder = store.pass_holder(db, rules.secret_hash(secret), _SESSION, now_ms)
    person = store.person(db, holder[0]) if holder else None
    if holder is None or person is None:
        return None
    return Caller(person.org, person.id, frozenset(person.roles), holder[1])


def member(db: Session, org: str, person_id: str) -> Person:
    """A person of an organisation.

    Raises: Refused not_found.
    """
    found = store.person(db, person_id)
    if found is None or found.org != org:
        raise Refused(NOT_FOUND)
    return found


def hashed(text: str) -> str:
    """The argon2id hash of a password.

    Raises: Refused password_short.
    """
    _fit_length(text)
    with _ARGON:
        return str(_argon().hash(text))


def _fit_length(text: str) -> None:
    if not 12 <= len(text) <= 200:
        raise Refused(PASSWORD_SHORT)


def _fits(known: str | None, text: str) -> bool:
    """Whether a password is the known one; takes the same time where there is none."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    with _ARGON:
        try:
            return bool(_argon().verify(known or _decoy(), text[:200])) and known is not None
        except (Argon2Error, InvalidHashError):
            return False


def _subjects(caller: Caller, ask: Login) -> tuple[str, ...]:
    """What a failure is counted by: the names first, then the address, where a door knows one."""
    names = rules.person_subject(ask.organisation, ask.person)
    address = rules.address_of(caller.org, caller.person)
    return (names,) if address is None else (names, address)


def _subject_of(db: Session, holder: Person) -> str:
    org = store.organisation(db, holder.org)
    return rules.person_subject(org.name if org else "", holder.name)


def _locked(db: Session, subjects: tuple[str, ...], now_ms: int) -> bool:
    return any(store.failures(db, subject)[2] > now_ms for subject in subjects)


def _failed(tx: Tx, subjects: tuple[str, ...]) -> None:
    store.forget_failures(tx.db, tx.now_ms - rules.FAILURES_MS)
    for subject in subjects:
        count = store.failures(tx.db, subject)[0] + 1
        store.fail(tx.db, subject, count, tx.now_ms, tx.now_ms + rules.lock_ms(subject, count))


def _set_password(tx: Tx, holder: Person, known: str) -> None:
    store.set_password(tx.db, holder.org, holder.id, known)
    store.drop_passes(tx.db, holder.id)
    store.forgive(tx.db, _subject_of(tx.db, holder))


def _session(tx: Tx, person: str, via: str) -> Opened:
    store.sweep_passes(tx.db, tx.now_ms)
    secret = secrets.token_urlsafe(32)
    until_ms = tx.now_ms + tx.node.config.session_hours * 3_600_000
    store.add_pass(tx.db, rules.secret_hash(secret), _SESSION, person, until_ms, via)
    return Opened(until_ms, secret)


@cache
def _argon() -> Any:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _decoy() -> str:
    return str(_argon().hash(secrets.token_urlsafe(16)))
