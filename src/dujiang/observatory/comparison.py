"""Comparison (核对) of the log with what the packages keep: pure, reads records one page at a time.

1. An entry says that an object came about; the object is there, and of answers it names that entry.
2. An object that stands in a table has its entry.
3. A contract was used as often as entries say.
4. A record opens its leaf: what figures are summed from is what was committed to.
5. The tables that figures are summed from hold, of each entry, what its record tells and nothing else.
6. Money that was moved, billed, settled, held or charged is what an entry says of it, to the last minor unit, and
   what an entry says of it was: a deposit, an order, a settlement or a refund without its entry is found, and one
   of which only the entry is left, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dujiang.ledger.fsck import Difference, Entry
from dujiang.ledger.model import QUANTITIES, Flow, Record
from dujiang.ledger.rules import figures_of
from dujiang.observatory.model import Finding
from dujiang.policy.rules import purpose_class

Held = Mapping[str, Mapping[str, int | None]]
"""By kind and id: the entry an object names, how often it was used, its amount in minor units, or None."""
_MOVING = frozenset({"market.deposit", "market.withdraw", "market.order", "market.settle", "market.refund"})
_SUMMED = frozenset({"payment", "bill", "settlement", "use", "fee"})
_WALKED = {
    "number": ("missing", "entry"), "checkpoint": ("missing", "entry"), "record": ("differs", "record"),
    "leaf": ("differs", "record"), "figure": ("without_entry", "figure"),
}  # fmt: skip
"""What a difference within the log says of its records and figures."""
_VERSIONS = frozenset({"registry.register", "catalogue.offer", "catalogue.publish"})


@dataclass(slots=True)
class Comparison:
    """What the records said so far, and what of it does not agree."""

    entries: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])
    _said: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    _uses: Counter[str] = field(default_factory=Counter[str])
    _sums: dict[str, Counter[str]] = field(default_factory=dict[str, "Counter[str]"])
    """By kind and id what entries say of it, in minor units."""
    _unpriced: set[str] = field(default_factory=set[str])
    """Contracts used by entries of a time when these did not say which part of what was held are fees."""
    _uncounted: set[str] = field(default_factory=set[str])
    """Contracts used by entries of a time when these did not say whether a use was counted."""

    def read(self, entry: Entry) -> None:
        """Takes in the next entry, oldest first."""
        self.entries += 1
        for kind, made in objects_of(entry):
            self._said.setdefault(kind, {})[made] = entry.index
        for kind, made, amount in sums_of(entry):
            self._said.setdefault(kind, {})[made] = entry.index
            self._sums.setdefault(kind, Counter())[made] += amount
        self._unpriced.update(
            str(told["contract"]) for told in entry.facts.get("held", ()) if "fees_minor" not in told
        )
        self._count(entry)
        if counted_by(entry) != entry.counted:
            self._found("differs", "figure", entry.index, str(entry.index))

    def end(self, held: Held, walked: Iterable[Difference]) -> None:
        """Compares what the whole log said with what the packages hold; `walked`: what the log's own walk found."""
        named = {
            (*_WALKED[each.what], each.at - (each.what == "checkpoint"))
            for each in walked
            if each.what in _WALKED
        }
        for what, kind, at in sorted(named):
            self._found(what, kind, at, str(at))
        for kind, objects in held.items():
            said = self._said.get(kind, {})
            if kind == "fee":
                objects = {each: fees for each, fees in objects.items() if each not in self._unpriced}
                said = {each: entry for each, entry in said.items() if each not in self._unpriced}
            for made in said.keys() - objects.keys():
                self._found("without_object", kind, said[made], made)
            for made in objects.keys() - said.keys():
                self._found("without_entry", kind, None, made)
            for made in said.keys() & objects.keys():
                if not self._fits(kind, made, said[made], objects[made]):
                    self._found("differs", kind, said[made], made)

    def _fits(self, kind: str, made: str, entry: int, held: int | None) -> bool:
        if kind == "answer":
            return held == entry
        if kind == "hold":
            return held is None or held == self._sums[kind][made]
        if kind in _SUMMED:
            return held == self._sums[kind][made]
        return kind != "contract" or made in self._uncounted or held == self._uses[made]

    def _count(self, entry: Entry | Record) -> None:
        if entry.act != "cleanroom.ask" or "declined" in entry.facts:
            return
        if "figures" not in entry.facts and "uses" not in entry.facts and entry.facts.get("statistics") == 0:
            self._uncounted.add(str(entry.facts.get("contract")))
        old = [entry.facts.get("contract")] if entry.facts.get("statistics") else []
        self._uses.update(str(each) for each in entry.facts.get("uses", old))

    def _found(self, what: str, kind: str, entry: int | None, made: str) -> None:
        self.findings.append(Finding(what, kind, entry, made))


def objects_of(entry: Entry | Record) -> Iterator[tuple[str, str]]:
    """The kinds and ids of the objects an entry says came about."""
    facts = entry.facts
    if "declined" in facts:
        return
    if entry.act == "identity.register":
        yield "organisation", str(facts.get("organisation"))
    if entry.act in ("catalogue.offer", "catalogue.publish") and facts.get("product_version") == 1:
        yield "product", str(facts.get("product"))
    if entry.act in _VERSIONS:
        yield "version", str(facts.get("version"))
    if _finalizes(entry):
        yield "contract", str(facts.get("contract"))
    if entry.act in ("market.bill", "market.refund"):
        yield "bill", str(facts.get("bill"))
    if entry.act == "market.settle":
        yield "settlement", str(facts.get("bill"))
    if entry.act in ("cleanroom.ask", "cleanroom.complete") and "answer_sha256" in facts:
        yield "answer", str(facts.get("job"))


def sums_of(entry: Entry | Record) -> Iterator[tuple[str, str, int]]:
    """What an entry says of money: kind, id and minor units.

    `payment`: what it moved, under its own index and currency; `hold` and `use`: what a question held under a
    contract and what it cost; `fee`: the fees due with it.
    """
    facts = entry.facts
    if "declined" in facts and entry.act.startswith("market."):
        return
    amount = facts.get("amount_minor")
    if isinstance(amount, int):
        if entry.act in _MOVING:
            yield "payment", f"{entry.index} {facts.get('currency')}", amount
        if entry.act in ("market.bill", "market.refund"):
            yield "bill", str(facts.get("bill")), amount
        if entry.act == "market.settle":
            yield "settlement", str(facts.get("bill")), amount
    if "job" not in facts:
        return
    for told in facts.get("held", ()):
        fees = int(told.get("fees_minor", 0))
        yield "hold", f"{facts['job']} {told['contract']}", int(told["amount_minor"]) - fees
        if fees:
            yield "fee", str(told["contract"]), fees
    for told in facts.get("cost", ()):
        yield "use", f"{facts['job']} {told['contract']}", int(told["amount_minor"])


def counted_by(entry: Entry | Record) -> dict[Flow, dict[str, int]]:
    """What an entry counts; one of a time when entries did not tell it, by what it names."""
    if "figures" in entry.facts:
        return figures_of(entry.facts)
    told = {name: value for name, value in _counted_before(entry).items() if value != ""}
    return figures_of({"figures": [told]}) if any(name in told for name in QUANTITIES) else {}


def _counted_before(entry: Entry | Record) -> dict[str, Any]:
    facts = entry.facts
    other = (facts.get("parties") or [""])[0]
    named = {
        "product": facts.get("product", ""), "contract": facts.get("contract", ""),
        "purpose": purpose_class(str(facts.get("purpose", ""))),
    }  # fmt: skip
    if "declined" in facts:
        return {}
    if entry.act == "identity.register":
        return {"from": facts.get("organisation", ""), "organisations": 1}
    if entry.act == "catalogue.offer":
        return {"from": entry.org, "product": named["product"], "products": 1}
    if _finalizes(entry):
        return {"from": entry.org, "to": other, **named, "contracts": 1}
    if entry.act in ("cleanroom.ask", "cleanroom.complete") and "answer_sha256" in facts:
        return {
            "from": other, "to": entry.org, **named, "questions": 1, "statistics": facts.get("statistics", 0)
        }  # fmt: skip
    return {}


def _finalizes(entry: Entry | Record) -> bool:
    """Whether an entry makes a contract final, on the provider's side."""
    return (
        entry.act == "contract.hear"
        and entry.facts.get("kind") == "verify"
        and entry.facts.get("state") == "FINALIZED"
    )
