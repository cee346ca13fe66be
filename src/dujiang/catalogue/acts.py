"""Acts of the catalogue: offer, publish, withdraw, search, show, list.

1. `offer` registers and publishes in one act, with one entry; `publish` makes the next version.
2. A withdrawn product stays readable by its id, so that contracts on it can be understood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dujiang.catalogue import rules, store
from dujiang.catalogue.model import (
    DECLARATION_NEEDS_FILE,
    EXACT_AND_NOISED,
    PAGE_WRONG,
    PRODUCT_WITHDRAWN,
    SEARCH_CHARACTERS_MAX,
    SEARCH_LONG,
    ColumnCard,
    Offered,
    Product,
    State,
)
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.policy import rules as policy
from dujiang.policy import wire as policy_wire
from dujiang.policy.model import TERMS_WRONG, Noise, Problem, Terms, TermsFile
from dujiang.registry import acts as registry
from dujiang.registry.model import Declared, Loss, Note, Proposal, Version

_LOOKED_AT = 200
"""How many of a provider's products are compared with a new one."""


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


@dataclass(frozen=True, slots=True)
class Publish:
    """The next version of a product: new terms, a new file, or both."""

    product: str
    """The product's id."""
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
class Withdraw:
    """The product to withdraw."""

    product: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The product that is withdrawn."""

    product: str


@dataclass(frozen=True, slots=True)
class Search:
    """Words, all of which a product must have; none: the newest products."""

    words: str = ""
    limit: int = 20
    after: str | None = None
    """The last product of the page before."""


@dataclass(frozen=True, slots=True)
class Item:
    """A product in a list."""

    product: str
    title: str
    title_zh: str
    provider: str
    version: int
    state: str
    sentence: str
    sentence_zh: str


@dataclass(frozen=True, slots=True)
class Found:
    """Products, and where the next page goes on."""

    items: tuple[Item, ...]
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Show:
    """A product, and a version of it (none: the latest)."""

    id: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A product as everybody may see it."""

    product: str
    version: int
    state: str
    title: str
    title_zh: str
    description: str
    provider: str
    provider_did: str
    table: str
    columns: tuple[ColumnCard, ...]
    entity: str | None
    rows_per_entity: int
    """At most so many rows of one entity count."""
    terms: Terms
    terms_sha256: str
    sentence: str
    sentence_zh: str
    odrl: dict[str, Any]
    published_ms: int


@dataclass(frozen=True, slots=True)
class List:
    """The caller's own products, withdrawn ones too."""

    limit: int = 20
    after: str | None = None


def prepare_offer(node: Node, caller: Caller, ask: Offer) -> registry.Prepared:
    """The registered files of the upload.

    Raises: Refused terms_wrong and the codes of registration.
    """
    file = ask.terms or TermsFile()
    _check(file, ask.title)
    declared = _declared(ask.upload, ask.entity, file, ask.name, ask.title)
    return _fitting(node, registry.prepare_version(node, caller, declared), policy.terms_of(file))


def offer(tx: Tx, caller: Caller, ask: Offer, prepared: registry.Prepared) -> Published:
    """Registers an upload and publishes it as version 1 of a new product.

    Raises: Refused exact_and_noised, registration_raced.
    """
    file = ask.terms or TermsFile()
    with registry.kept_or_dropped(tx.node, prepared):
        version = registry.add_version(tx, caller, prepared)
        terms = policy.normal(policy.terms_of(file))
        _one_kind_of_noise(tx.db, version.resource, terms)
        product = Product(
            id=tx.new_id("prd"),
            org=caller.org,
            resource=version.resource,
            state=State.published,
            number=1,
            registered=version.id,
            offer=tx.new_id("ofr"),
            title=ask.title or file.title or file.title_zh or version.table.name,
            title_zh=file.title_zh or "",
            description=file.description or "",
            terms=terms,
            terms_sha256=policy.terms_sha256(terms),
            created_ms=tx.now_ms,
        )
        warned = _offered_before(tx.db, product, version)
        store.add_product(tx.db, caller.org, product)
        made = _published(tx, product, version, prepared)
        return replace(made, notes=(*made.notes, *warned))


def prepare_publish(node: Node, caller: Caller, ask: Publish) -> registry.Prepared | None:
    """The registered files of the new file, if there is one.

    Raises: Refused not_found, product_withdrawn, terms_wrong, declaration_needs_file, and the codes of
    registration.
    """
    with node.database.reading() as db:
        before = _mine(db, caller.org, ask.product)
        table = registry.version(db, before.registered).table
    file = ask.terms or TermsFile()
    _check(file, ask.title)
    terms = policy.terms_of(file) if ask.terms is not None else before.terms
    if ask.upload is None:
        declares = (ask.entity, ask.name, file.rows_per_entity, file.entities_max)
        if file.fields or any(each is not None for each in declares):
            raise Refused(DECLARATION_NEEDS_FILE)
        _refuse(policy.check_columns(terms, table.names, table.joinable))
        return None
    declared = _declared(ask.upload, ask.entity, file, ask.name or table.name, ask.title or before.title)
    return _fitting(node, registry.prepare_version(node, caller, declared), terms)


def publish(tx: Tx, caller: Caller, ask: Publish, prepared: registry.Prepared | None) -> Published:
    """The next version of a product of the caller's organisation, over the same resource.

    Raises: Refused not_found, product_withdrawn, exact_and_noised, content_elsewhere, registration_raced.
    """
    with registry.kept_or_dropped(tx.node, prepared):
        before = _mine(tx.db, caller.org, ask.product)
        if prepared is None:
            version = registry.version(tx.db, before.registered)
        else:
            version = registry.add_version(tx, caller, prepared, before.resource)
        file = ask.terms or TermsFile()
        terms = before.terms if ask.terms is None else policy.normal(policy.terms_of(file))
        # `prepare` judged another version's columns if one was published meanwhile.
        _refuse(policy.check_columns(terms, version.table.names, version.table.joinable))
        _one_kind_of_noise(tx.db, before.resource, terms)
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


def withdraw(tx: Tx, caller: Caller, ask: Withdraw) -> Withdrawn:
    """Withdraws a product of the caller's organisation; its contracts go on.

    Raises: Refused not_found, product_withdrawn.
    """
    product = _mine(tx.db, caller.org, ask.product)
    store.withdraw(tx.db, caller.org, product.id)
    tx.tell(product=product.id, resource=product.resource)
    return Withdrawn(product.id)


def search(tx: Tx, caller: Caller, ask: Search) -> Found:
    """Published products that have all the words, hits in titles first where they are few.

    Raises: Refused search_long, page_wrong.
    """
    del caller
    if len(ask.words) > SEARCH_CHARACTERS_MAX:
        raise Refused(SEARCH_LONG, limit=SEARCH_CHARACTERS_MAX)
    _page(tx.node, ask.limit)
    ranges = rules.search_ranges(ask.words)
    if ask.words.strip() and not ranges:
        return Found(())
    if not ranges:
        found = store.newest(tx.db, ask.limit + 1, ask.after)
    else:
        ids = store.search(tx.db, ranges, ask.limit + 1, ask.after)
        found = [product for each in ids if (product := store.find(tx.db, each)) is not None]
    return _listed(tx.db, found, ask.limit)


def show(tx: Tx, caller: Caller, ask: Show) -> Card:
    """The card of a product, the same for everybody.

    Raises: Refused not_found.
    """
    del caller
    product = store.find(tx.db, ask.id, ask.version)
    if product is None:
        raise Refused(NOT_FOUND)
    table = registry.version(tx.db, product.registered).table
    provider = identity.organisation(tx.db, product.org)
    return Card(
        product=product.id,
        version=product.number,
        state=product.state.value,
        title=product.title,
        title_zh=product.title_zh,
        description=product.description,
        provider=provider.name,
        provider_did=provider.did,
        table=table.name,
        columns=tuple(ColumnCard.of(column) for column in table.columns),
        entity=table.entity,
        rows_per_entity=table.rows_per_entity,
        terms=product.terms,
        terms_sha256=product.terms_sha256,
        sentence=policy.sentence(product.terms, "en"),
        sentence_zh=policy.sentence(product.terms, "zh"),
        odrl=policy_wire.odrl_offer(product.terms, product.offer),
        published_ms=product.created_ms,
    )


def list_(tx: Tx, caller: Caller, ask: List) -> Found:
    """The caller's own products, the newest first.

    Raises: Refused page_wrong.
    """
    _page(tx.node, ask.limit)
    return _listed(tx.db, store.own(tx.db, caller.org, ask.limit + 1, ask.after), ask.limit)


def offered(db: Session, product_id: str) -> Offered:
    """What can be agreed on under a product now, for the packages downstream.

    Raises: Refused not_found, product_withdrawn.
    """
    product = store.find(db, product_id)
    if product is None:
        raise Refused(NOT_FOUND)
    if product.state is State.withdrawn:
        raise Refused(PRODUCT_WITHDRAWN)
    return _offered(product)


def offered_version(db: Session, product_id: str, number: int) -> Offered:
    """A version of a product as it was offered, whether or not it still is.

    Raises: Refused not_found.
    """
    product = store.find(db, product_id, number)
    if product is None:
        raise Refused(NOT_FOUND)
    return _offered(product)


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
    )


def _declared(
    upload: str, entity: str | None, file: TermsFile, name: str | None, title: str | None
) -> Declared:
    return Declared(
        upload=upload,
        entity=entity,
        name=name,
        title=title or file.title,
        fields=file.fields,
        rows_per_entity=file.rows_per_entity,
        entities_max=file.entities_max,
        join_keys=file.join_keys or (),
    )


def _check(file: TermsFile, title: str | None) -> None:
    _refuse(policy.check_file(file if title is None else replace(file, title=title)))


def _refuse(problems: tuple[Problem, ...]) -> None:
    if problems:
        raise Refused(TERMS_WRONG, problems="; ".join(map(str, problems)))


def _fitting(node: Node, prepared: registry.Prepared, terms: Terms) -> registry.Prepared:
    """The prepared files, if the terms name only their columns."""
    with registry.kept_or_dropped(node, prepared):
        _refuse(policy.check_columns(terms, prepared.table.names, prepared.table.joinable))
    return prepared


def _mine(db: Session, org: str, product_id: str) -> Product:
    product = store.find(db, product_id)
    if product is None or product.org != org:
        raise Refused(NOT_FOUND)
    if product.state is State.withdrawn:
        raise Refused(PRODUCT_WITHDRAWN)
    return product


def _one_kind_of_noise(db: Session, resource: str, terms: Terms) -> None:
    """Exact answers would undo the noise of every answer over the same rows."""
    exact = terms.noise is Noise.exact
    if any((noise == Noise.exact) != exact for noise in store.noises(db, resource)):
        raise Refused(EXACT_AND_NOISED)


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


def _offered_before(db: Session, product: Product, version: Version) -> tuple[Note, ...]:
    """A warning where the provider offers a table of that name already: two accounts over the same people."""
    shape = (version.table.name, tuple(column.name for column in version.table.columns))
    for other in store.own(db, product.org, _LOOKED_AT, None):
        table = registry.version(db, other.registered).table
        same = (table.name, tuple(column.name for column in table.columns)) == shape
        if same and other.state is State.published and other.resource != product.resource:
            return (
                Note(
                    f"A table of this name and form is offered as {other.id} already; if it is about the same "
                    "people, each consumer now has two accounts. Use `dujiang catalogue publish` for new content.",
                    f"同名同结构的表已作为 {other.id} 上架；若涉及同一批主体，每个使用方将有两个账户。"
                    "更新内容请用 `dujiang catalogue publish`。",
                ),
            )
    return ()


def _page(node: Node, limit: int) -> None:
    if not 1 <= limit <= node.config.page_rows_max:
        raise Refused(PAGE_WRONG, limit=node.config.page_rows_max)


def _listed(db: Session, found: list[Product], limit: int) -> Found:
    items: list[Item] = []
    names: dict[str, str] = {}
    for product in found[:limit]:
        if product.org not in names:
            names[product.org] = identity.organisation(db, product.org).name
        items.append(
            Item(
                product=product.id,
                title=product.title,
                title_zh=product.title_zh,
                provider=names[product.org],
                version=product.number,
                state=product.state.value,
                sentence=policy.sentence(product.terms, "en"),
                sentence_zh=policy.sentence(product.terms, "zh"),
            )
        )
    return Found(tuple(items), items[-1].product if items and len(found) > limit else None)
