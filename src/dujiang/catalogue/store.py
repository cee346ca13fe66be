"""Catalogue's tables: products, their versions, and the inverted index they are found by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import cast

import msgspec
from sqlalchemy import Column, Index, Integer, PrimaryKeyConstraint, Table, Text, text

from dujiang.catalogue.model import RANKED_MAX, SEARCH_TERMS_MAX, Answering, Product, State, Strategy
from dujiang.kernel.canonical import canonical
from dujiang.kernel.shape import typed
from dujiang.kernel.tables import META, Row, Session, Sql
from dujiang.policy.model import Terms
from dujiang.policy.rules import terms_value

# Ranges of terms are compared by code point, which PostgreSQL does only under the collation "C".
_TERM = Text().with_variant(Text(collation="C"), "postgresql")

_PRODUCT = Table(
    "catalogue_product", META,
    Column("id", Text, primary_key=True), Column("org", Text, nullable=False),
    Column("resource", Text, nullable=False), Column("state", Text, nullable=False),
    Column("latest", Integer, nullable=False),
    Column("strategy", Text, nullable=False, server_default="agree"), Column("hold_until", Text),
    Index("catalogue_product_org", "org", "id"), Index("catalogue_product_resource", "resource"),
)  # fmt: skip
_VERSION = Table(
    "catalogue_version", META,
    Column("product", Text), Column("number", Integer), Column("registered", Text, nullable=False),
    Column("offer", Text, nullable=False), Column("title", Text, nullable=False),
    Column("title_zh", Text, nullable=False), Column("description", Text, nullable=False),
    Column("terms", Text, nullable=False), Column("terms_sha256", Text, nullable=False),
    Column("noise", Text, nullable=False), Column("created_ms", Integer, nullable=False),
    PrimaryKeyConstraint("product", "number"),
)  # fmt: skip
_WORD = Table(
    "catalogue_word", META,
    Column("term", _TERM), Column("product", Text), Column("weight", Integer, nullable=False),
    PrimaryKeyConstraint("term", "product"), Index("catalogue_word_product", "product", "term", "weight"),
    sqlite_with_rowid=False,
)  # fmt: skip

_FIELDS = (
    "p.id, p.org, p.resource, p.state, v.number, v.registered, v.offer, v.title, v.title_zh, v.description,"
    " v.terms, v.terms_sha256, v.created_ms, p.strategy, p.hold_until"
)
_JOINED = f"SELECT {_FIELDS} FROM catalogue_product p JOIN catalogue_version v ON v.product = p.id"
_PRODUCT_ADD = Sql(
    text(
        "INSERT INTO catalogue_product (id, org, resource, state, latest, strategy, hold_until)"
        " VALUES (:id, :org, :resource, 'published', 1, :strategy, :until)"
    )
)
_VERSION_ADD = Sql(
    text(
        "INSERT INTO catalogue_version (product, number, registered, offer, title, title_zh, description,"
        " terms, terms_sha256, noise, created_ms) VALUES (:product, :number, :registered, :offer, :title,"
        " :title_zh, :description, :terms, :terms_sha256, :noise, :created_ms)"
    )
)
_LATEST_UP = Sql(text("UPDATE catalogue_product SET latest = :number WHERE id = :id AND org = :org"))
_ANSWER = Sql(
    text(
        "UPDATE catalogue_product SET strategy = :strategy, hold_until = :until WHERE id = :id AND org = :org"
    )
)
_WITHDRAW = Sql(text("UPDATE catalogue_product SET state = 'withdrawn' WHERE id = :id AND org = :org"))
_GET = Sql(text(f"{_JOINED} AND v.number = p.latest WHERE p.id = :id"))
_GET_NUMBER = Sql(text(f"{_JOINED} WHERE p.id = :id AND v.number = :number"))
_IDS = Sql(text("SELECT id FROM catalogue_product"))
_OWN = Sql(
    text(
        f"{_JOINED} AND v.number = p.latest WHERE p.org = :org AND p.id < :before"
        " ORDER BY p.id DESC LIMIT :count"
    )
)
_NEWEST = Sql(
    text(
        f"{_JOINED} AND v.number = p.latest WHERE p.state = 'published' AND p.id < :before"
        " ORDER BY p.id DESC LIMIT :count"
    )
)
_NOISES = Sql(
    text(
        "SELECT DISTINCT v.noise FROM catalogue_product p JOIN catalogue_version v ON v.product = p.id"
        " WHERE p.resource = :resource"
    )
)
_WORD_ADD = Sql(text("INSERT INTO catalogue_word (term, product, weight) VALUES (:term, :product, :weight)"))
_WORDS_DROP = Sql(text("DELETE FROM catalogue_word WHERE product = :product"))
_HITS = Sql(
    text(
        "SELECT count(*) FROM (SELECT 1 AS hit FROM catalogue_word WHERE term >= :lo AND term < :hi"
        " LIMIT :most) h"
    )
)


def _search(terms: int) -> str:
    """The select of products with a term in each of so many ranges, the first being the rarest."""
    others = "".join(
        f" AND EXISTS (SELECT 1 FROM catalogue_word w{i} WHERE w{i}.product = w.product"
        f" AND w{i}.term >= :lo{i} AND w{i}.term < :hi{i})"
        for i in range(1, terms)
    )
    return f"FROM catalogue_word w WHERE w.term >= :lo0 AND w.term < :hi0{others}"


def _ranked(terms: int) -> str:
    weights = "".join(
        f" + (SELECT max(r{i}.weight) FROM catalogue_word r{i} WHERE r{i}.product = w.product"
        f" AND r{i}.term >= :lo{i} AND r{i}.term < :hi{i})"
        for i in range(1, terms)
    )
    return (
        f"SELECT w.product, max(w.weight){weights} AS rank {_search(terms)} GROUP BY w.product"
        " ORDER BY rank DESC, w.product DESC"
    )


_RANKED = tuple(Sql(text(_ranked(count))) for count in range(1, SEARCH_TERMS_MAX + 1))
_UNRANKED = tuple(
    Sql(
        text(
            f"SELECT DISTINCT w.product {_search(count)} AND w.product < :before"
            " ORDER BY w.product DESC LIMIT :count"
        )
    )
    for count in range(1, SEARCH_TERMS_MAX + 1)
)
_LAST = "zzzz"
"""Above every id, in every collation."""


def add_product(db: Session, org: str, product: Product) -> None:
    """Keeps a new product with its first version."""
    how = product.answering
    db.run(
        _PRODUCT_ADD,
        id=product.id,
        org=org,
        resource=product.resource,
        strategy=how.strategy.value,
        until=how.until,
    )
    _add_version(db, product)


def add_version(db: Session, org: str, product: Product) -> None:
    """Keeps the next version of a product."""
    _add_version(db, product)
    db.run(_LATEST_UP, id=product.id, org=org, number=product.number)


def answer(db: Session, org: str, product_id: str, how: Answering) -> None:
    """Says how requests for a product are answered from now on."""
    db.run(_ANSWER, id=product_id, org=org, strategy=how.strategy.value, until=how.until)


def withdraw(db: Session, org: str, product_id: str) -> None:
    """Withdraws a product: it is no longer found."""
    db.run(_WITHDRAW, id=product_id, org=org)
    db.run(_WORDS_DROP, product=product_id)


def find(db: Session, product_id: str, number: int | None = None) -> Product | None:
    """A product of any organisation with its latest version, or with the version of a number."""
    rows = (
        db.run(_GET, id=product_id) if number is None else db.run(_GET_NUMBER, id=product_id, number=number)
    )
    return _product(rows[0]) if rows else None


def ids(db: Session) -> list[str]:
    """The ids of all products, withdrawn ones too."""
    return [str(row[0]) for row in db.run(_IDS)]


def own(db: Session, org: str, count: int, before: str | None) -> list[Product]:
    """Products of an organisation, the newest first, before an id."""
    return [_product(row) for row in db.run(_OWN, org=org, before=before or _LAST, count=count)]


def newest(db: Session, count: int, before: str | None) -> list[Product]:
    """Published products of all organisations, the newest first, before an id."""
    return [_product(row) for row in db.run(_NEWEST, before=before or _LAST, count=count)]


def noises(db: Session, resource: str) -> set[str]:
    """How the answers of every version ever published over a resource are blurred."""
    return {str(row[0]) for row in db.run(_NOISES, resource=resource)}


def index(db: Session, product_id: str, weights: Mapping[str, int]) -> None:
    """Replaces what a product is found by."""
    db.run(_WORDS_DROP, product=product_id)
    for term, weight in weights.items():
        db.run(_WORD_ADD, term=term, product=product_id, weight=weight)


def search(db: Session, ranges: Sequence[tuple[str, str]], count: int, before: str | None) -> list[str]:
    """Ids of published products with a term in each range, at most `count`, after the id `before`.

    Up to RANKED_MAX candidates the hits in titles come first, else the newest.
    """
    counted = [(_hits(db, lo, hi), lo, hi) for lo, hi in ranges]
    counted.sort()
    bounds: dict[str, str] = {}
    for place, (_, lo, hi) in enumerate(counted):
        bounds |= {f"lo{place}": lo, f"hi{place}": hi}
    if counted[0][0] > RANKED_MAX:
        rows = db.run(_UNRANKED[len(counted) - 1], **bounds, before=before or _LAST, count=count)
        return [str(row[0]) for row in rows]
    ids = [str(row[0]) for row in db.run(_RANKED[len(counted) - 1], **bounds)]
    start = ids.index(before) + 1 if before in ids else 0
    return ids[start : start + count]


def _hits(db: Session, lo: str, hi: str) -> int:
    return int(cast("int", db.run(_HITS, lo=lo, hi=hi, most=RANKED_MAX + 1)[0][0]))


def _add_version(db: Session, product: Product) -> None:
    db.run(
        _VERSION_ADD, product=product.id, number=product.number, registered=product.registered,
        offer=product.offer, title=product.title, title_zh=product.title_zh, description=product.description,
        terms=canonical(terms_value(product.terms)).decode(), terms_sha256=product.terms_sha256,
        noise=product.terms.noise.value, created_ms=product.created_ms,
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _terms(text_: str) -> Terms:
    return msgspec.json.decode(text_.encode(), type=typed(Terms))


def _product(row: Row) -> Product:
    (
        id_,
        org,
        resource,
        state,
        number,
        registered,
        offer,
        title,
        title_zh,
        description,
        terms,
        sha,
        created,
        strategy,
        until,
    ) = row
    return Product(
        id=str(id_), org=str(org), resource=str(resource), state=State(str(state)),
        number=int(cast("int", number)), registered=str(registered), offer=str(offer), title=str(title),
        title_zh=str(title_zh), description=str(description), terms=_terms(str(terms)), terms_sha256=str(sha),
        created_ms=int(cast("int", created)),
        answering=Answering(Strategy(str(strategy)), None if until is None else str(until)),
    )  # fmt: skip
