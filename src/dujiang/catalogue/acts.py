"""Acts of the catalogue: offer, publish, answer, withdraw.

1. `offer` registers and publishes in one act, with one entry; `publish` makes the next version.
2. What is read of it (search, show, list) stands in `listing`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dujiang.catalogue import authority, draft, rules, store
from dujiang.catalogue.listing import Card, Found, Item, List, Search, Show, list_, search, show
from dujiang.catalogue.model import (
    DECLARATION_NEEDS_FILE,
    PRODUCT_WITHDRAWN,
    Offered,
    Product,
    State,
    Strategy,
)
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.ids import prefix_of
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.policy import rules as policy
from dujiang.policy.model import Noise, Terms, TermsFile
from dujiang.registry import acts as registry
from dujiang.registry.model import Loss, Note, Proposal, Version
from dujiang.registry.right import Basis, DataClass, Source

__all__ = ["Card", "Found", "Item", "List", "Search", "Show", "list_", "search", "show"]


@dataclass(frozen=True, slots=True)
class Offer:
    """An upload to be registered and published under terms (none: the defaults)."""

    upload: str
    """The table: CSV, Excel or Parquet."""
    entity: str | None = None
    """The column that says whom a row is about; without it every row is protected by itself."""
    terms: TermsFile | None = None
    """Purposes, period, recipients, columns and limits; `dujiang schema terms` gives the form."""
    name: str | None = None
    """Name of the table in questions; None: the stem of the file's name."""
    title: str | None = None
    """Title of the product; None: the terms file's, else the table's name."""
    basis: Basis = Basis.unstated
    """Where the data come from; crawled gives no right to operate."""
    data_class: DataClass = DataClass.unstated
    """How much depends on the data; core data are not registered."""
    strategy: Strategy = Strategy.agree
    """How requests are answered: agree (at once), ask (a person) or hold (until a day); nobody else sees it."""
    until: str | None = None
    """With `hold`: the day (YYYY-MM-DD) from which requests wait for a person."""


@dataclass(frozen=True, slots=True)
class Publish:
    """The next version of a product: new terms, a new file, or both; or the first over a registered resource."""

    product: str
    """The product's id; or that of a resource your organisation may operate, for a new product over it."""
    upload: str | None = None
    """The new table; none: the one before, under new terms."""
    entity: str | None = None
    """The column that says whom a row is about."""
    terms: TermsFile | None = None
    """None: the terms of the version before."""
    name: str | None = None
    """Name of the table in questions."""
    title: str | None = None
    """Title of the product."""


@dataclass(frozen=True, slots=True)
class Published:
    """The published version, its registration, and what was registered; for its provider alone."""

    product: str
    version: int
    resource: str
    registered: str
    certificate: str
    """Number of the registration certificate."""
    offer: str
    title: str
    sentence: str
    sentence_zh: str
    proposal: Proposal | None = None
    """What the file was registered as and the noise that follows; None without a file."""
    loss: Loss | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """How requests for a product are answered from now on; requests that wait already go on waiting."""

    product: str
    """The product's id."""
    strategy: Strategy
    """agree (at once), ask (a person) or hold (until a day)."""
    until: str | None = None
    """With `hold`: the day (YYYY-MM-DD) from which requests wait for a person."""


@dataclass(frozen=True, slots=True)
class Answered:
    """How requests for a product are answered."""

    product: str
    strategy: Strategy
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The product to withdraw."""

    product: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The product that is withdrawn."""

    product: str


def prepare_offer(node: Node, caller: Caller, ask: Offer) -> registry.Prepared:
    """The registered files of the upload.

    Raises: Refused terms_wrong, hold_needs_day and the codes of registration.
    """
    file = ask.terms or TermsFile()
    draft.check_file(file, ask.title)
    rules.answering(ask.strategy, ask.until)
    declared = draft.declared(ask.upload, ask.entity, file, ask.name, ask.title)
    return draft.fitting(node, registry.prepare_version(node, caller, declared), policy.terms_of(file))


def offer(tx: Tx, caller: Caller, ask: Offer, prepared: registry.Prepared) -> Published:
    """Registers an upload and publishes it as version 1 of a new product.

    Raises: Refused exact_and_noised, right_missing, and the codes of registration.
    """
    file = ask.terms or TermsFile()
    with registry.kept_or_dropped(tx.node, prepared):
        source = Source(ask.basis, ask.data_class)
        version = registry.add_version(tx, caller, prepared, source=source)
        product = _first(tx, caller, file, ask.title, version)
        product = replace(product, answering=rules.answering(ask.strategy, ask.until))
        warned = authority.offered_before(tx.db, product, version)
        store.add_product(tx.db, caller.org, product)
        made = _published(tx, product, version, prepared)
        return replace(made, notes=(*made.notes, *warned))


def _first(tx: Tx, caller: Caller, file: TermsFile, title: str | None, version: Version) -> Product:
    """Version 1 of a new product, which the caller's organisation may offer."""
    terms = policy.normal(policy.terms_of(file))
    authority.may_offer(tx.db, caller.org, version.resource, terms, tx.now_ms)
    made = tx.new_id("prd")
    tx.tell(figures=[identity.organisation(tx.db, caller.org).counted(product=made, products=1)])
    return Product(
        id=made,
        org=caller.org,
        resource=version.resource,
        state=State.published,
        number=1,
        registered=version.id,
        offer=tx.new_id("ofr"),
        title=title or file.title or file.title_zh or version.table.name,
        title_zh=file.title_zh or "",
        description=file.description or "",
        terms=terms,
        terms_sha256=policy.terms_sha256(terms),
        created_ms=tx.now_ms,
    )


def prepare_publish(node: Node, caller: Caller, ask: Publish) -> registry.Prepared | None:
    """The registered files of the new file, if there is one.

    Raises: Refused not_found, product_withdrawn, terms_wrong, declaration_needs_file, and the codes of
    registration.
    """
    with node.database.reading() as db:
        before = None if prefix_of(ask.product) == "res" else _mine(db, caller.org, ask.product)
        if before is None and not registry.operating(db, caller.org, ask.product, node.clock.now_ms()):
            raise Refused(NOT_FOUND)
        table = draft.newest(db, caller, before, ask.product).table
    file = ask.terms or TermsFile()
    draft.check_file(file, ask.title)
    terms = before.terms if ask.terms is None and before is not None else policy.terms_of(file)
    if ask.upload is None:
        declares = (ask.entity, ask.name, file.rows_per_entity, file.entities_max)
        if file.fields or any(each is not None for each in declares):
            raise Refused(DECLARATION_NEEDS_FILE)
        draft.check_columns(terms, table)
        return None
    title = ask.title or (before.title if before else None)
    declared = draft.declared(ask.upload, ask.entity, file, ask.name or table.name, title)
    return draft.fitting(node, registry.prepare_version(node, caller, declared), terms)


def publish(tx: Tx, caller: Caller, ask: Publish, prepared: registry.Prepared | None) -> Published:
    """The next version of a product of the caller's organisation, over the same resource.

    Raises: Refused not_found, product_withdrawn, exact_and_noised, content_elsewhere, registration_raced,
    right_missing, terms_beyond_right.
    """
    with registry.kept_or_dropped(tx.node, prepared):
        file = ask.terms or TermsFile()
        before = None if prefix_of(ask.product) == "res" else _mine(tx.db, caller.org, ask.product)
        if prepared is None:
            version = draft.newest(tx.db, caller, before, ask.product)
        else:
            version = registry.add_version(tx, caller, prepared, before.resource if before else ask.product)
        if before is None:
            product = _first(tx, caller, file, ask.title, version)
            draft.check_columns(product.terms, version.table)
            store.add_product(tx.db, caller.org, product)
            return _published(tx, product, version, prepared)
        terms = before.terms if ask.terms is None else policy.normal(policy.terms_of(file))
        # `prepare` judged another version's columns if one was published meanwhile.
        draft.check_columns(terms, version.table)
        authority.may_offer(tx.db, caller.org, before.resource, terms, tx.now_ms)
        product = replace(
            before,
            number=before.number + 1,
            registered=version.id,
            offer=tx.new_id("ofr"),
            title=ask.title or file.title or before.title,
            title_zh=file.title_zh or before.title_zh,
            description=file.description or before.description,
            terms=terms,
            terms_sha256=policy.terms_sha256(terms),
            created_ms=tx.now_ms,
        )
        store.add_version(tx.db, caller.org, product)
        return _published(tx, product, version, prepared)


def answer(tx: Tx, caller: Caller, ask: Answer) -> Answered:
    """How requests for a product of the caller's organisation are answered from now on.

    Raises: Refused not_found, product_withdrawn, hold_needs_day.
    """
    how = rules.answering(ask.strategy, ask.until)
    product = _mine(tx.db, caller.org, ask.product)
    store.answer(tx.db, caller.org, product.id, how)
    tx.tell(product=product.id, strategy=how.strategy.value, **({"until": how.until} if how.until else {}))
    return Answered(product.id, how.strategy, how.until)


def withdraw(tx: Tx, caller: Caller, ask: Withdraw) -> Withdrawn:
    """Withdraws a product of the caller's organisation; its contracts go on.

    Raises: Refused not_found, product_withdrawn.
    """
    product = _mine(tx.db, caller.org, ask.product)
    store.withdraw(tx.db, caller.org, product.id)
    tx.tell(product=product.id, resource=product.resource)
    return Withdrawn(product.id)


def offered(db: Session, product_id: str, now_ms: int) -> Offered:
    """What can be agreed on under a product now, for the packages downstream.

    Raises: Refused not_found, product_withdrawn, right_ended.
    """
    product = store.find(db, product_id)
    if product is None:
        raise Refused(NOT_FOUND)
    if product.state is State.withdrawn:
        raise Refused(PRODUCT_WITHDRAWN)
    authority.check_stands(db, product, now_ms)
    return _offered(product)


def check_right(db: Session, product_id: str, terms: Terms, now_ms: int) -> None:
    """Nothing, where a product's provider still has the right to let it be used under agreed terms.

    Raises: Refused not_found, right_ended.
    """
    product = store.find(db, product_id)
    if product is None:
        raise Refused(NOT_FOUND)
    authority.check_stands(db, replace(product, terms=terms), now_ms)


def offered_version(db: Session, product_id: str, number: int) -> Offered:
    """A version of a product as it was offered, whether or not it still is.

    Raises: Refused not_found.
    """
    product = store.find(db, product_id, number)
    if product is None:
        raise Refused(NOT_FOUND)
    return _offered(product)


def products(db: Session) -> list[str]:
    """The ids of all products of this home, for the observatory."""
    return store.ids(db)


def _offered(product: Product) -> Offered:
    return Offered(
        product=product.id,
        version=product.number,
        offer=product.offer,
        resource=product.resource,
        registered=product.registered,
        provider_org=product.org,
        terms=product.terms,
        terms_sha256=product.terms_sha256,
        title=product.title,
        answering=product.answering,
    )


def _mine(db: Session, org: str, product_id: str) -> Product:
    product = store.find(db, product_id)
    if product is None or product.org != org:
        raise Refused(NOT_FOUND)
    if product.state is State.withdrawn:
        raise Refused(PRODUCT_WITHDRAWN)
    return product


def _published(tx: Tx, product: Product, version: Version, prepared: registry.Prepared | None) -> Published:
    """Indexes a new version, tells the entry, and makes the reply."""
    provider = identity.organisation(tx.db, product.org)
    names = [version.table.name, provider.name, *(column.name for column in version.table.columns)]
    weights = rules.weighted_terms([product.title, product.title_zh], [*names, product.description])
    store.index(tx.db, product.id, weights)
    tx.tell(
        product=product.id,
        product_version=product.number,
        resource=product.resource,
        version=version.id,
        terms_sha256=product.terms_sha256,
    )
    terms, proposal = product.terms, None
    if prepared is not None:
        laplace, exact = terms.noise is Noise.laplace, terms.noise is Noise.exact
        proposal = prepared.proposal(terms.rho_micro, laplace=laplace, exact=exact)
    return Published(
        product=product.id,
        version=product.number,
        resource=product.resource,
        registered=version.id,
        certificate=version.registration,
        offer=product.offer,
        title=product.title,
        sentence=policy.sentence(terms, "en"),
        sentence_zh=policy.sentence(terms, "zh"),
        proposal=proposal,
        loss=prepared.loss if prepared else None,
        notes=proposal.notes if proposal else (),
    )
