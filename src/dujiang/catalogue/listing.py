"""What is read of the catalogue (目录): search, the card of a product, and an organisation's own list.

A withdrawn product stays readable by its id, so that contracts on it can be understood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dujiang.catalogue import authority, rules, store
from dujiang.catalogue.model import (
    PAGE_WRONG,
    RIGHT_ENDED,
    SEARCH_CHARACTERS_MAX,
    SEARCH_LONG,
    ColumnCard,
    Product,
    State,
    Strategy,
)
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.policy import rules as policy
from dujiang.policy import wire as policy_wire
from dujiang.policy.model import Terms
from dujiang.quality import acts as quality
from dujiang.quality.model import Public
from dujiang.registry import acts as registry


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
    strategy: Strategy | None = None
    """How requests are answered; in the provider's own list alone."""
    grade: str | None = None
    """Quality of its table, A to E; None: not graded."""
    formula: str | None = None
    """The formula of the grade, with its version."""
    graded_ms: int | None = None


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
    quality: Public | None = None
    """The grade of its table, per dimension; None: not graded."""
    holder: str = ""
    """Who holds the resource; another than the provider, where that one operates it by a grant."""


@dataclass(frozen=True, slots=True)
class List:
    """The caller's own products, withdrawn ones too."""

    limit: int = 20
    after: str | None = None


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
    return _listed(tx, found, ask.limit, offered=True)


def show(tx: Tx, caller: Caller, ask: Show) -> Card:
    """The card of a product, the same for everybody.

    Raises: Refused not_found.
    """
    del caller
    product = store.find(tx.db, ask.id, ask.version)
    if product is None:
        raise Refused(NOT_FOUND)
    version = registry.version(tx.db, product.registered)
    table = version.table
    provider = identity.organisation(tx.db, product.org)
    return Card(
        product=product.id,
        version=product.number,
        state=_state(tx, product),
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
        quality=quality.public(tx.db, product.registered),
        holder=identity.organisation(tx.db, version.org).name,
    )


def list_(tx: Tx, caller: Caller, ask: List) -> Found:
    """The caller's own products, the newest first.

    Raises: Refused page_wrong.
    """
    _page(tx.node, ask.limit)
    return _listed(tx, store.own(tx.db, caller.org, ask.limit + 1, ask.after), ask.limit, own=True)


def _page(node: Node, limit: int) -> None:
    if not 1 <= limit <= node.config.page_rows_max:
        raise Refused(PAGE_WRONG, limit=node.config.page_rows_max)


def _listed(tx: Tx, found: list[Product], limit: int, *, offered: bool = False, own: bool = False) -> Found:
    """A page of products; only those still offered by right, or each with its state."""
    items: list[Item] = []
    names: dict[str, str] = {}
    for product in found[:limit]:
        state = _state(tx, product)
        if offered and state != State.published:
            continue
        if product.org not in names:
            names[product.org] = identity.organisation(tx.db, product.org).name
        mark = quality.mark(tx.db, product.registered)
        items.append(
            Item(
                product=product.id,
                title=product.title,
                title_zh=product.title_zh,
                provider=names[product.org],
                version=product.number,
                state=state,
                sentence=policy.sentence(product.terms, "en"),
                sentence_zh=policy.sentence(product.terms, "zh"),
                strategy=product.answering.strategy if own else None,
                grade=mark.grade if mark else None,
                formula=mark.formula if mark else None,
                graded_ms=mark.graded_ms if mark else None,
            )
        )
    return Found(tuple(items), found[limit - 1].id if len(found) > limit else None)


def _state(tx: Tx, product: Product) -> str:
    """published, withdrawn, or right_ended where its provider may not offer it any more."""
    if product.state is State.published and not authority.stands(tx.db, product, tx.now_ms):
        return RIGHT_ENDED.name
    return product.state.value
