"""Whether an organisation may offer a resource under some terms, now; and what it should know before it does.

1. It may by its own right to operate: by registration under any terms, by a grant within what was granted.
2. The question is asked again whenever a product is found, agreed or used: who may not offer it any more does not
   offer it, and its contracts answer nothing from that moment.
"""

from __future__ import annotations

from dujiang.catalogue import store
from dujiang.catalogue.model import EXACT_AND_NOISED, RIGHT_ENDED, TERMS_BEYOND_RIGHT, Product, State
from dujiang.kernel.errors import Refused
from dujiang.kernel.tables import Session
from dujiang.policy.model import Noise, Terms
from dujiang.policy.rules import ceiling_of, purpose_word
from dujiang.registry import acts as registry
from dujiang.registry.model import Note, Version
from dujiang.registry.right import RIGHT_MISSING, Grant, Limits

_LOOKED_AT = 200
"""How many of a provider's products are compared with a new one."""


def may_offer(db: Session, org: str, resource: str, terms: Terms, now_ms: int) -> None:
    """Nothing, where an organisation may offer a resource under these terms now.

    Raises: Refused right_missing, terms_beyond_right, exact_and_noised.
    """
    grants = registry.operating(db, org, resource, now_ms)
    if not grants:
        raise Refused(RIGHT_MISSING)
    wider = [beyond(terms, each) for each in grants]
    if all(wider):
        raise Refused(TERMS_BEYOND_RIGHT, fields=", ".join(min(wider, key=len)))
    _one_kind_of_noise(db, resource, terms)


def stands(db: Session, product: Product, now_ms: int) -> bool:
    """Whether a product's provider still has the right to offer it under its terms."""
    grants = registry.operating(db, product.org, product.resource, now_ms)
    return any(not beyond(product.terms, each) for each in grants)


def check_stands(db: Session, product: Product, now_ms: int) -> None:
    """Nothing, where a product's provider still has the right to offer it.

    Raises: Refused right_ended.
    """
    if not stands(db, product, now_ms):
        raise Refused(RIGHT_ENDED)


def beyond(terms: Terms, grant: Grant) -> tuple[str, ...]:
    """The fields in which terms promise more than a grant to operate allows."""
    found: list[str] = []
    if grant.purposes is not None:
        known = {purpose_word(each) for each in grant.purposes}
        if terms.purposes is None or not {purpose_word(each) for each in terms.purposes} <= known:
            found.append("purposes")
    if grant.limits is not None:
        promised = Limits(
            terms.group_min, terms.statistics, ceiling_of(terms), terms.rho_micro, terms.dominance_percent,
            terms.noise is Noise.exact, terms.columns, terms.recipients, terms.join_keys, terms.partners,
        )  # fmt: skip
        wider = promised.beyond(grant.limits)
        found += ["noise" if each == "exact" else each for each in wider]
    return tuple(found)


def offered_before(db: Session, product: Product, version: Version) -> tuple[Note, ...]:
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


def _one_kind_of_noise(db: Session, resource: str, terms: Terms) -> None:
    """Exact answers would undo the noise of every answer over the same rows."""
    exact = terms.noise is Noise.exact
    if any((noise == Noise.exact) != exact for noise in store.noises(db, resource)):
        raise Refused(EXACT_AND_NOISED)
