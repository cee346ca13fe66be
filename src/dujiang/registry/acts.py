"""Acts of registration (登记) and of the rights in what is registered (确权).

1. Files are read and written in `prepare`, under the id of a version that does not exist yet; the act makes
   it exist, or removes the files.
2. The same normalised content is the same resource of its organisation, whatever it is called.
3. One salt an organisation ranks its rows: a new version of a table keeps the rows an old one kept.
4. Registering gives the registrant the rights its declared source allows; every other right is granted.
"""

from __future__ import annotations

from dataclasses import dataclass

from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.ids import prefix_of
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.registry import granting, rules, store, wire
from dujiang.registry import right as rights
from dujiang.registry.filing import (
    Prepared,
    inspected,
    kept_or_dropped,
    prepare_version,
    proposal_of,
)
from dujiang.registry.model import (
    Declared,
    Loss,
    Proposal,
    Version,
)
from dujiang.registry.right import (
    GRANT_SELF,
    RESOURCE_WITHDRAWN,
    Basis,
    Case,
    CaseKind,
    DataClass,
    End,
    Estate,
    Limits,
    Right,
    Source,
)
from dujiang.registry.right import Grant as Given
from dujiang.registry.versions import add_version, newest_version
from dujiang.registry.versions import files as files
from dujiang.registry.versions import sweep as sweep
from dujiang.registry.versions import version as version

DEFAULT_RHO_MICRO = 5000


@dataclass(frozen=True, slots=True)
class Check(Declared):
    """An upload and what is declared of it, to see what would be registered."""

    rho_micro: int = DEFAULT_RHO_MICRO
    """Privacy cost of one statistic the noise is shown for."""


@dataclass(frozen=True, slots=True)
class Register(Declared):
    """An upload, what is declared of it, and the resource it is a new version of (none: by its content)."""

    resource: str | None = None
    basis: Basis = Basis.unstated
    """Where the data come from; crawled gives no right to operate."""
    data_class: DataClass = DataClass.unstated
    """How much depends on the data; core data are not registered."""


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
    """A resource with its registration and its versions, the newest first."""

    resource: str
    title: str
    state: str
    """registered or withdrawn."""
    basis: Basis
    data_class: DataClass
    rights: tuple[Right, ...]
    """The rights its holder has by registration."""
    cases: tuple[Case, ...]
    versions: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """What to certify: a version of the caller's organisation, or a grant it gave or has."""

    version: str
    """The id of a version (ver_…) or of a grant (rgt_…)."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A signed certificate (登记证书) as of now: a W3C credential as JWT; `dujiang verify` checks it offline."""

    version: str
    registration: str
    certificate: str


@dataclass(frozen=True, slots=True)
class Verify:
    """A certificate that somebody shows."""

    certificate: str
    """The JWT."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What the register says now of what a certificate certifies."""

    id: str
    holder: str
    """Who held it by the certificate."""
    stands: bool
    """Whether what it certifies is still so."""
    state: str
    """registered, transferred, withdrawn; of a grant: live, early, over, ended."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A right in a resource for another organisation, under one's own."""

    resource: str
    to: str
    """The organisation's name, id or DID."""
    right: Right
    """hold 持有, use 使用 or operate 经营."""
    start: str | None = None
    """First day, ISO date, UTC; default today."""
    until: str | None = None
    """Last day; default: as long as one's own."""
    onward: bool = False
    """Whether it may be granted on."""
    purposes: tuple[str, ...] | None = None
    """Purposes its products may name; default: those of one's own right."""
    scope: str = ""
    """What else was agreed, in words that no program judges."""
    limits: Limits | None = None
    """What its products may at most promise (operate alone); `dujiang schema registry.grant` gives the form.

    Default: those of the right it is given under, else the defaults of terms, with noise.
    """
    under: str | None = None
    """The grant it is given under; default: the first it lies within."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The grant."""

    grant: str
    resource: str
    right: Right
    to: str
    start: str
    until: str | None
    onward: bool
    purposes: tuple[str, ...] | None
    limits: Limits | None


@dataclass(frozen=True, slots=True)
class Revoke:
    """A grant that was given, or that is given back."""

    grant: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """What ended: the grant and everything that was granted under it."""

    grant: str
    resource: str
    ended: int
    """How many grants ended with it, itself among them."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A resource with all three rights, for another organisation."""

    resource: str
    to: str
    """The organisation's name, id or DID."""
    keep: tuple[Right, ...] = ()
    """Rights granted back to the one who transfers; none: it keeps nothing."""


@dataclass(frozen=True, slots=True)
class Transferred:
    """The registration case of the transfer."""

    resource: str
    to: str
    registration: str
    kept: tuple[str, ...]
    """The grants the one who transferred keeps."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """A resource whose registration ends."""

    resource: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The registration case of the withdrawal."""

    resource: str
    registration: str
    ended: int
    """How many rights ended."""


@dataclass(frozen=True, slots=True)
class List:
    """Rights the caller's organisation has or gave, the newest first."""

    resource: str | None = None
    """Only those in one resource."""
    before: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Item:
    """A right as one of its two sides sees it."""

    grant: str
    resource: str
    title: str
    right: Right
    side: str
    """registered, received or given."""
    chain: str
    """From whom to whom, the registrant first."""
    start: str
    until: str | None
    onward: bool
    state: str
    """live, early, over; or how it ended."""
    purposes: tuple[str, ...] | None
    scope: str
    limits: Limits | None


@dataclass(frozen=True, slots=True)
class Rights:
    """A page of rights; `next` continues below."""

    items: tuple[Item, ...]
    next: str | None = None


def prepare_check(node: Node, caller: Caller, ask: Check) -> Proposal:
    """What the upload would be registered as.

    Raises: Refused upload_unknown, entity_unknown, declaration_wrong, the codes of reading a table.
    """
    sketch, table = inspected(node, caller, ask)
    rho_micro = min(max(ask.rho_micro, 1), 10**7)
    return proposal_of(sketch, table, rules.noise_table(sketch, table, rho_micro, laplace=False))


def check(tx: Tx, caller: Caller, ask: Check, proposal: Proposal) -> Proposal:
    """What the upload would be registered as, and the noise that follows."""
    del tx, caller, ask
    return proposal


def prepare_register(node: Node, caller: Caller, ask: Register) -> Prepared:
    """The files of a registration, see `prepare_version`."""
    return prepare_version(node, caller, ask)


def register(tx: Tx, caller: Caller, ask: Register, prepared: Prepared) -> Registration:
    """Registers an upload as a version of a resource, with a signed certificate.

    Raises: Refused not_found, content_elsewhere, content_transferred, registration_raced, basis_fixed, core_data.
    """
    with kept_or_dropped(tx.node, prepared):
        made = add_version(tx, caller, prepared, ask.resource, Source(ask.basis, ask.data_class))
    proposal = prepared.proposal(DEFAULT_RHO_MICRO)
    return Registration(made.resource, made.id, made.number, made.registration, proposal, prepared.loss)


def show(tx: Tx, caller: Caller, ask: Show) -> Resource:
    """A resource of the caller's organisation with its rights, cases, versions and certificates.

    Raises: Refused not_found.
    """
    resource = ask.id
    if prefix_of(ask.id) == "ver":
        resource = _own(tx.db, caller.org, ask.id).resource
    found = store.versions(tx.db, caller.org, resource)
    estate = store.resource(tx.db, resource)
    if not found or estate is None:
        raise Refused(NOT_FOUND)
    versions = tuple(Kept(each, store.certificate(tx.db, caller.org, each.id) or "") for each in found)
    roots = [each for each in store.grants(tx.db, resource) if each.parent is None and each.org == caller.org]
    return Resource(
        resource, found[0].title, "registered" if estate.registered else "withdrawn", estate.basis,
        estate.data_class, tuple(each.right for each in roots), tuple(store.cases(tx.db, resource)), versions,
    )  # fmt: skip


def export(tx: Tx, caller: Caller, ask: Export) -> Certificate:
    """The certificate of a version of the caller's organisation, or of a grant it gave or has; as of now.

    Raises: Refused not_found.
    """
    if prefix_of(ask.version) == "rgt":
        found = store.grant(tx.db, ask.version)
        if found is None or caller.org not in (found.org, found.granter):
            raise Refused(NOT_FOUND)
        newest = newest_version(tx.db, found.resource)
        return Certificate(newest.id, newest.registration, granting.certify_grant(tx, found, newest))
    own = _own(tx.db, caller.org, ask.version)
    return Certificate(own.id, own.registration, granting.certify(tx, own))


def verify(tx: Tx, caller: Caller, ask: Verify) -> Verified:
    """What the register says now of what a certificate of this home certifies, for whoever shows it.

    Raises: Refused certificate_unverified, not_found.
    """
    del caller
    operator = identity.operator(tx.db)
    said = wire.examine(ask.certificate, operator.public)
    if not said.ok or said.issuer != operator.did or said.subject is None:
        raise Refused(rights.CERTIFICATE_UNVERIFIED, step=said.step or "issuer")
    subject, holder = said.subject, identity.by_did(tx.db, str(said.subject.get("id")))
    if holder is None:
        raise Refused(NOT_FOUND)
    if said.kind == wire.GRANT:
        found = store.grant(tx.db, str(subject.get("grant")))
        if found is None:
            raise Refused(NOT_FOUND)
        state = rights.standing(granting.chain(tx.db, found), granting.today(tx.now_ms)).value
        return Verified(found.id, holder.name, state == rights.Standing.live, state)
    estate = store.resource(tx.db, str(subject.get("resource")))
    if estate is None:
        raise Refused(NOT_FOUND)
    registration = str(subject.get("registration"))
    gone = rights.withdrawn(registration, store.cases(tx.db, estate.id))
    state = "withdrawn" if gone else "registered" if estate.org == holder.id else "transferred"
    return Verified(registration, holder.name, state == "registered", state)


def grant(tx: Tx, caller: Caller, ask: Grant) -> Granted:
    """Gives another organisation a right in a resource, within one's own.

    What follows from a right to operate: its holder may publish products over the newest registered version,
    within the grant's purposes and limits. What follows from a right to use or to hold is theirs to show (a
    certificate, `registry.list`); this program opens no rows for it.
    Raises: Refused not_found, grant_self, grant_wrong, right_missing, right_beyond, grants_many.
    """
    estate = _estate(tx.db, ask.resource)
    chains = store.grants_of(tx.db, caller.org, estate.id, ask.right)
    if not chains and estate.org != caller.org:
        raise Refused(NOT_FOUND)
    to = _other(tx, caller, ask.to)
    if ask.limits is not None and ask.right is not Right.operate:
        raise Refused(rights.GRANT_WRONG, problems="limits: of operate alone")
    wanted = Given(
        id=tx.new_id("rgt"), resource=estate.id, right=ask.right, org=to.org, granter=caller.org, parent=None,
        start=ask.start or "", until=ask.until, onward=ask.onward, purposes=ask.purposes, scope=ask.scope,
        limits=ask.limits, created_ms=tx.now_ms,
    )  # fmt: skip
    made = granting.give(tx, wanted, ask.under)
    tx.tell(
        resource=made.resource, grant=made.id, under=str(made.parent), right=made.right.value, to=made.org,
        start=made.start, until=made.until, onward=made.onward, parties=[made.org],
    )  # fmt: skip
    return Granted(
        made.id,
        made.resource,
        made.right,
        to.name,
        made.start,
        made.until,
        made.onward,
        made.purposes,
        made.limits,
    )


def revoke(tx: Tx, caller: Caller, ask: Revoke) -> Revoked:
    """Ends a grant the caller's organisation gave, or gives one back; everything granted under it ends too.

    From this moment its products are neither found nor agreed, contracts on them answer no further question and one
    that runs is stopped: rows are opened by a right that stands, and by nothing else. What was answered stays.
    Raises: Refused not_found.
    """
    found = store.grant(tx.db, ask.grant)
    if found is None or found.parent is None or caller.org not in (found.org, found.granter):
        raise Refused(NOT_FOUND)
    why = End.revoked if found.granter == caller.org else End.renounced
    ended = granting.end(tx, found.resource, found.id, why)
    if not ended:
        raise Refused(NOT_FOUND)
    tx.tell(
        resource=found.resource, grant=found.id, right=found.right.value, end=why.value, ended=len(ended),
        parties=_parties(caller.org, ended),
    )  # fmt: skip
    return Revoked(found.id, found.resource, len(ended))


def registered(db: Session) -> list[str]:
    """The ids of all versions of this home, for the observatory."""
    return store.ids(db)


def transfer(tx: Tx, caller: Caller, ask: Transfer) -> Transferred:
    """Moves a resource with all three rights to another organisation (转让登记).

    The one who transfers keeps nothing but what it names in `keep`. Grants it gave go on under the new holder,
    who may revoke them. Its own products and contracts over the resource stand while it keeps the right to
    operate, and not a moment longer. The account of privacy goes with the resource.
    Raises: Refused not_found, resource_withdrawn, grant_self, right_missing.
    """
    estate = _held(tx.db, caller.org, ask.resource)
    to = _other(tx, caller, ask.to)
    case, kept = granting.move(tx, estate, to.org, frozenset(ask.keep))
    granting.recertify(tx, to.org, estate.id)
    tx.tell(
        resource=estate.id, registration=case.number, case=case.kind.value, to=to.org,
        kept=sorted({each.right.value for each in kept}),
        parties=_parties(caller.org, store.grants(tx.db, estate.id)),
    )  # fmt: skip
    return Transferred(estate.id, to.name, case.number, tuple(each.id for each in kept))


def withdraw(tx: Tx, caller: Caller, ask: Withdraw) -> Withdrawn:
    """Withdraws the registration of a resource (注销登记): every right in it ends, also those granted.

    Nothing is offered or answered over it any more; its record and its account of privacy stay. The same content
    registered again is the same resource.
    Raises: Refused not_found, resource_withdrawn.
    """
    estate = _held(tx.db, caller.org, ask.resource)
    ended = granting.end_all(tx, estate.id)
    case = Case(granting.number(tx), CaseKind.cancellation, estate.id, caller.org, tx.now_ms)
    store.add_case(tx.db, case)
    store.save_resource(
        tx.db, Estate(estate.id, estate.org, estate.basis, estate.data_class, False, estate.created_ms)
    )
    granting.recertify(tx, caller.org, estate.id)
    tx.tell(
        resource=estate.id, registration=case.number, case=case.kind.value, ended=len(ended),
        parties=_parties(caller.org, ended),
    )  # fmt: skip
    return Withdrawn(estate.id, case.number, len(ended))


def list_(tx: Tx, caller: Caller, ask: List) -> Rights:
    """The rights the caller's organisation has or gave, with their chains, the newest first."""
    count = tx.node.config.rows(ask.limit)
    found = store.grants_seen(tx.db, caller.org, ask.resource, ask.before or "~", count)
    items = tuple(_item(tx, caller.org, each) for each in found)
    return Rights(items, found[-1].id if len(found) == count else None)


def operating(db: Session, org: str, resource: str, now_ms: int) -> list[Given]:
    """The grants by which an organisation may operate a resource now, for the packages that offer."""
    return [chain[0] for chain in granting.live(db, org, resource, Right.operate, now_ms)]


def _own(db: Session, org: str, version_id: str) -> Version:
    found = store.find_version(db, version_id)
    if found is None or found.org != org:
        raise Refused(NOT_FOUND)
    return found


def _estate(db: Session, resource: str) -> Estate:
    found = store.resource(db, resource)
    if found is None:
        raise Refused(NOT_FOUND)
    return found


def _held(db: Session, org: str, resource: str) -> Estate:
    """A resource the organisation is the registered holder of."""
    found = _estate(db, resource)
    if found.org != org:
        raise Refused(NOT_FOUND)
    if not found.registered:
        raise Refused(RESOURCE_WITHDRAWN)
    return found


def _other(tx: Tx, caller: Caller, wanted: str) -> identity.Card:
    """Another organisation of this home, by name, id or DID."""
    found = identity.show(tx, caller, identity.Show(wanted or "?"))
    if found.org == caller.org:
        raise Refused(GRANT_SELF)
    return found


def _parties(own: str, grants: tuple[Given, ...] | list[Given]) -> list[str]:
    return sorted({org for each in grants for org in (each.org, each.granter)} - {own})


def _item(tx: Tx, org: str, one: Given) -> Item:
    links = granting.chain(tx.db, one)
    orgs = [each.org for each in reversed(links)]
    if links[-1].parent is None and links[-1].granter != links[-1].org:
        orgs.insert(0, links[-1].granter)
    names = identity.names(tx.db, set(orgs))
    path = " → ".join(names[each] for each in orgs)
    state = rights.standing(links, granting.today(tx.now_ms)).value
    side = "registered" if one.parent is None else "received" if one.org == org else "given"
    return Item(
        one.id, one.resource, newest_version(tx.db, one.resource).title, one.right, side, path,
        one.start, one.until, one.onward, state if one.end is None else one.end.value, one.purposes, one.scope,
        one.limits,
    )  # fmt: skip
