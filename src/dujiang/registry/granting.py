"""What is done with the rights in a resource: entered, granted on, revoked, transferred, withdrawn, told.

1. A grant is given under one of the granter's own and lies within it on the day it is given; so a live chain
   needs no second look at what its links allow.
2. A transfer moves the registration with everything under it: who bought the resource stands where the seller
   stood, and what the seller granted goes on until its end (the new holder may revoke it, as the seller could).
3. A withdrawal ends every right in the resource; its account of privacy stays, also for a new registration.
4. To grant is to operate: a registrant without the right to operate grants nothing.
"""

from __future__ import annotations

from dataclasses import replace

from dujiang.identity import acts as identity
from dujiang.kernel.act import Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.tables import Session
from dujiang.registry import right as rules
from dujiang.registry import store, wire
from dujiang.registry.model import Version
from dujiang.registry.right import (
    BASIS_FIXED,
    CHAIN_MAX,
    CORE_DATA,
    GRANT_WRONG,
    GRANTS_MANY,
    GRANTS_MAX,
    RIGHT_BEYOND,
    RIGHT_MISSING,
    Basis,
    Case,
    CaseKind,
    DataClass,
    End,
    Estate,
    Grant,
    Limits,
    Right,
    Source,
    Standing,
)


def today(now_ms: int) -> str:
    """The UTC day of a time, ISO."""
    return wire.instant(now_ms)[:10]


def enter(tx: Tx, org: str, version: Version, source: Source) -> None:
    """Enters a new version: the first of a resource (or the first after a withdrawal) with its rights.

    Raises: Refused core_data, basis_fixed.
    """
    if source.data_class is DataClass.core:
        raise Refused(CORE_DATA)
    known = store.resource(tx.db, version.resource)
    first = known is None or not known.registered
    if known is None:
        estate = Estate(version.resource, org, source.basis, source.data_class, True, tx.now_ms)
        store.add_resource(tx.db, org, estate)
    else:
        estate = _completed(known, source, first)
        if estate != known:
            store.save_resource(tx.db, estate)
    kind = CaseKind.first if first else CaseKind.change
    store.add_case(tx.db, Case(version.registration, kind, version.resource, org, tx.now_ms, version.id))
    if first:
        for right in rules.rights_of(estate.basis):
            store.add_grant(tx.db, _root(tx, org, version.resource, right))
    tx.tell(case=kind.value, basis=estate.basis.value, data_class=estate.data_class.value)


def _completed(known: Estate, source: Source, first: bool) -> Estate:
    """The resource with what is declared now: anew after a withdrawal, else only what was not declared."""
    if first:
        return replace(known, registered=True, basis=source.basis, data_class=source.data_class)
    basis, data_class = known.basis, known.data_class
    if source.basis is not Basis.unstated:
        # Declaring later that it was gathered in public would take a right away that others may rely on.
        if known.basis not in (source.basis, Basis.unstated) or Basis.crawled in {source.basis} - {
            known.basis
        }:
            raise Refused(BASIS_FIXED)
        basis = source.basis
    if source.data_class is not DataClass.unstated:
        if known.data_class not in (source.data_class, DataClass.unstated):
            raise Refused(BASIS_FIXED)
        data_class = source.data_class
    return replace(known, basis=basis, data_class=data_class)


def _root(tx: Tx, org: str, resource: str, right: Right) -> Grant:
    return Grant(
        id=tx.new_id("rgt"), resource=resource, right=right, org=org, granter=org, parent=None,
        start=today(tx.now_ms), until=None, onward=True, purposes=None, scope="", limits=None,
        created_ms=tx.now_ms,
    )  # fmt: skip


def number(tx: Tx) -> str:
    """The next registration number (登记编号) of this home."""
    month = wire.instant(tx.now_ms)[:7].replace("-", "")
    return f"DJ{month}{store.next_serial(tx.db, month):06d}"


def live(db: Session, org: str, resource: str, right: Right, now_ms: int) -> list[tuple[Grant, ...]]:
    """The chains by which an organisation has a right in a resource now; none where it has not."""
    chains = [chain(db, each) for each in store.grants_of(db, org, resource, right)]
    return [each for each in chains if rules.standing(each, today(now_ms)) is Standing.live]


def chain(db: Session, leaf: Grant) -> tuple[Grant, ...]:
    """A grant and those above it, up to its registration."""
    found = [leaf]
    while (parent := found[-1].parent) is not None and len(found) < CHAIN_MAX:
        above = store.grant(db, parent)
        if above is None:
            break
        found.append(above)
    return tuple(found)


def give(tx: Tx, wanted: Grant, under: str | None) -> Grant:
    """The kept grant: under the grant named, else under the first of the granter's that it lies within.

    `wanted`: as asked; where it names no start, end or limits, those of the one above are taken.
    Raises: Refused right_missing, right_beyond, grant_wrong, grants_many.
    """
    chains = live(tx.db, wanted.granter, wanted.resource, wanted.right, tx.now_ms)
    chains = [each for each in chains if under in (None, each[0].id)]
    registrant = [each for each in chains if each[0].parent is None]
    operates = live(tx.db, wanted.granter, wanted.resource, Right.operate, tx.now_ms)
    if registrant and not operates:
        chains = [each for each in chains if each not in registrant]
    if not chains:
        raise Refused(RIGHT_MISSING)
    if len(store.grants(tx.db, wanted.resource)) >= GRANTS_MAX or len(chains[0]) >= CHAIN_MAX:
        raise Refused(GRANTS_MANY, limit=GRANTS_MAX, depth=CHAIN_MAX)
    wider: tuple[str, ...] = ()
    for above, *_ in chains:
        made = _filled(wanted, above, today(tx.now_ms))
        wrong = rules.misstated(made, today(tx.now_ms))
        if wrong:
            raise Refused(GRANT_WRONG, problems="; ".join(wrong))
        fields = rules.beyond(made, above)
        if not fields:
            store.add_grant(tx.db, made)
            return made
        wider = wider or fields
    raise Refused(RIGHT_BEYOND, fields=", ".join(wider))


def _filled(wanted: Grant, above: Grant, day: str) -> Grant:
    limits = wanted.limits
    if limits is None and wanted.right is Right.operate:
        limits = above.limits or Limits()
    return replace(
        wanted,
        parent=above.id,
        start=wanted.start or max(day, above.start),
        until=wanted.until if wanted.until is not None else above.until,
        purposes=wanted.purposes if wanted.purposes is not None else above.purposes,
        limits=limits,
    )


def end(tx: Tx, resource: str, top: str, why: End) -> tuple[Grant, ...]:
    """The grants ended: one and everything below it."""
    ended = rules.with_below(store.grants(tx.db, resource), top)
    for each in ended:
        store.end_grant(tx.db, each.id, tx.now_ms, why)
    return ended


def end_all(tx: Tx, resource: str) -> tuple[Grant, ...]:
    """The grants ended by a withdrawal: every one of the resource."""
    ended = tuple(store.grants(tx.db, resource))
    for each in ended:
        store.end_grant(tx.db, each.id, tx.now_ms, End.withdrawn)
    return ended


def move(tx: Tx, estate: Estate, to: str, keep: frozenset[Right]) -> tuple[Case, tuple[Grant, ...]]:
    """The case of a transfer and the grants the seller keeps: the registration's grants become the buyer's.

    Raises: Refused right_missing where the seller has not all three rights by registration.
    """
    standing = store.grants(tx.db, estate.id)
    roots = {each.id: each for each in standing if each.parent is None and each.org == estate.org}
    if {each.right for each in roots.values()} != set(Right):
        raise Refused(RIGHT_MISSING)
    for each in standing:
        if each.id in roots:
            store.move_grant(tx.db, each.id, to, to)
        elif each.parent in roots:
            store.move_grant(tx.db, each.id, each.org, to)
    store.save_resource(tx.db, replace(estate, org=to))
    store.move_versions(tx.db, estate.id, to)
    made = Case(number(tx), CaseKind.transfer, estate.id, to, tx.now_ms, from_org=estate.org)
    store.add_case(tx.db, made)
    kept = tuple(_kept(tx, each, estate.org, to) for each in roots.values() if each.right in keep)
    return made, kept


def _kept(tx: Tx, root: Grant, seller: str, buyer: str) -> Grant:
    """What the seller keeps, on its terms of before, until the buyer revokes it."""
    made = replace(
        root, id=tx.new_id("rgt"), org=seller, granter=buyer, parent=root.id, onward=False,
        start=today(tx.now_ms), created_ms=tx.now_ms,
    )  # fmt: skip
    store.add_grant(tx.db, made)
    return made


def certify(tx: Tx, version: Version) -> str:
    """A fresh certificate of a version, as its register stands now, signed by the home's operator."""
    estate = store.resource(tx.db, version.resource)
    assert estate is not None
    signer = identity.operator(tx.db)
    names = {each: identity.organisation(tx.db, each).did for each in _orgs(tx.db, version)}
    roots = [g for g in store.grants(tx.db, version.resource) if g.parent is None and g.org == estate.org]
    claims = wire.certificate(
        version, estate, roots, store.cases(tx.db, version.resource), names, signer.did, tx.now_ms
    )
    return identity.sign_jws(tx, signer, {**wire.HEADER, "jwk": wire.jwk(signer.public)}, claims)


def certify_grant(tx: Tx, leaf: Grant, version: Version) -> str:
    """A fresh certificate of a grant with its chain, as the register stands now."""
    signer = identity.operator(tx.db)
    links = chain(tx.db, leaf)
    orgs = {org for each in links for org in (each.org, each.granter)}
    names = {each: identity.organisation(tx.db, each).did for each in orgs}
    claims = wire.grant_certificate(
        links, version, rules.standing(links, today(tx.now_ms)), names, signer.did, tx.now_ms
    )
    return identity.sign_jws(tx, signer, {**wire.HEADER, "jwk": wire.jwk(signer.public)}, claims)


def recertify(tx: Tx, org: str, resource: str) -> None:
    """Signs the certificates of a resource's versions anew, after a case that is about all of them."""
    for version in store.versions(tx.db, org, resource):
        store.certify(tx.db, org, version.id, certify(tx, version))


def _orgs(db: Session, version: Version) -> set[str]:
    found = {version.org}
    for case in store.cases(db, version.resource):
        found |= {case.org, *([case.from_org] if case.from_org else [])}
    return found
