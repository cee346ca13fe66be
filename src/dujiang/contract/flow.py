"""Flow (流通): what one use of a contract is in the figures of the log.

1. It is told once, by the entry in which the use came about, on the provider's side.
2. Provinces and sectors are those of the moment; a later change counts from then on.
3. A purpose in free text is told as `other`: figures are grouped by it and may be published.
"""

from __future__ import annotations

from dujiang.contract.model import Contract
from dujiang.identity import acts as identity
from dujiang.kernel.tables import Session
from dujiang.policy.rules import purpose_class


def flow(db: Session, held: Contract, **counted: str | int) -> dict[str, str | int]:
    """One item of an entry's fact `figures`: the sides of a contract (the provider's record) and what is counted.

    Quantities: contracts, questions, statistics, rows, amount_minor (with `currency`).
    """
    provider = identity.organisation(db, held.org)
    return provider.counted(
        identity.by_did(db, held.peer_did), purpose=purpose_class(held.purpose), product=held.product,
        contract=held.id, **counted,
    )  # fmt: skip
