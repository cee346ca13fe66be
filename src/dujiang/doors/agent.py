"""Acts run for an agent: only those of its mandate, only what they are about in it, only what it may take.

1. By default an agent finds, looks, quotes, agrees and asks: reads of the packages below that are no matter of
   a role, and the two acts that begin and use a contract. Anything else is named in the mandate, or refused.
2. An act about a contract or a question is about its product and its purpose: both must be in the mandate.
   A list leaves out what is not; a card of the catalogue is there for everybody.
3. What an act takes is what its `preview` says; it is set aside in the mandate's count before the act runs.
4. Nothing secret is answered: an act that makes a key or a link answers an agent without it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from dujiang.acts import ACTS
from dujiang.doors.calls import Calls, Refusal
from dujiang.doors.flow import preview_asks
from dujiang.doors.local import NODE_ODD, Options
from dujiang.doors.mandate import ANY, OUTSIDE_MANDATE, STATISTICS, Counts, Mandate, counts_of
from dujiang.doors.profiles import choose, read
from dujiang.kernel.act import Act, Effect, bind
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.kernel.ids import prefix_of
from dujiang.kernel.runner import UNKNOWN_ACT
from dujiang.kernel.shape import SECRET, build
from dujiang.ledger.rules import verify

_PACKAGES = ("catalogue", "contract", "cleanroom", "market", "ledger")
_USES = ("contract.request", "cleanroom.ask")
_FOR_EVERYBODY = ("catalogue", "identity")
_OF_A_QUESTION = ("question", "row")
_OF_A_LIST = ("next", "size")
"""What an agent sees of a list beside its items."""
_CURRENCY = re.compile("[A-Z]{3}")
_ROLES = frozenset({"member", "consumer", "anyone"})


class Agent:
    """Runs acts for a program that acts by itself, within its mandate."""

    def __init__(self, calls: Calls, mandate: Mandate, counts: Counts, receipts: Path | None = None) -> None:
        """`receipts`: the home that receipts are kept in; none: where the agent is, nothing is kept."""
        self.calls = calls
        self.mandate = mandate
        self.receipts = receipts
        self._counts = counts
        self._one = threading.Lock()
        self._contracts: dict[str, tuple[str, str]] = {}

    @property
    def acts(self) -> list[Act]:
        """The acts it may run, in the order of the table."""
        return [act for act in ACTS.values() if act.name in self.mandate.acts or _by_default(act)]

    @property
    def left(self) -> int:
        """How many statistics it may still take.

        Raises: Refusal mandate_broken.
        """
        try:
            return max(0, self.mandate.statistics_max - self._counts.used(STATISTICS))
        except Unavailable as error:
            raise self.calls.refusal(error) from None

    def run(self, name: str, ask: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of an act, within the mandate; one at a time.

        Raises: Refusal.
        """
        with self._one, self.calls:
            try:
                act = next((act for act in self.acts if act.name == name), None)
                if act is None:
                    raise Refused(OUTSIDE_MANDATE, part="act")
                build(bind(act).ask, dict(ask))  # of the right form before anything in it is compared
                return self._public(act, self._within(act, dict(ask)))
            except (Refused, Unavailable) as error:
                raise self.calls.refusal(error) from None

    def _within(self, act: Act, raw: dict[str, Any]) -> dict[str, Any]:
        if act.room in _FOR_EVERYBODY and act.effect is Effect.reads:
            return self.calls.run(act.name, raw)
        for product, purpose in self._about(raw):
            self.mandate.check_product(product)
            if purpose is not None:
                self.mandate.check_purpose(purpose)
        if act.effect is Effect.reads:
            return self._seen(self.calls.run(act.name, raw))
        if isinstance(product := raw.get("product"), str):
            self._affordable(product)
        needs, fixed = self._needs(act, raw)
        self._counts.set_aside(needs, self.mandate)
        try:
            said = self.calls.run(act.name, raw)
        except Refusal as refusal:
            # No definite answer (a node that went away), or a run that failed after it was charged: it stays.
            declined = refusal.receipt is None or verify(refusal.receipt, None).act == act.name
            if declined and not refusal.again:
                self._counts.give_back(needs)
            raise
        took = _sum(_taken(said), fixed)
        if all(each.get("ended", True) for each in said.get("cost") or ()):
            self._counts.give_back(
                {measure: count - took.get(measure, 0) for measure, count in needs.items()}
            )
        return said

    def _affordable(self, product: str) -> None:
        """Nothing, for a product without a price or with one in a currency of the mandate.

        Raises: Refused outside_mandate.
        """
        price = (self.calls.run("catalogue.show", {"id": product}).get("terms") or {}).get("price")
        if price is not None and not self.mandate.most(str(price.get("currency"))):
            raise Refused(OUTSIDE_MANDATE, part="price")

    def _needs(self, act: Act, raw: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
        """What an act would take at most, by its preview, and what of it is due whatever comes out (fees).

        Raises: Refusal: what the preview refuses, the act would.
        """
        needs: dict[str, int] = {}
        fixed: dict[str, int] = {}
        if act.preview is None or act.effect is Effect.reads:
            return needs, fixed
        preview = ACTS[act.preview]
        try:
            for ask in preview_asks({member.name for member in fields(bind(preview).ask)}, raw):
                seen = self.calls.run(preview.name, ask)
                needs = _sum(needs, _taken(seen))
                fixed = _sum(fixed, _fees(seen))
        except Refusal as refusal:
            # A text that is refused stays refused. The act turns it down too, takes nothing, and leaves the
            # entry by which a regulator sees that an agent tried.
            if refusal.where is None:
                raise
            return {}, {}
        return needs, fixed

    def _about(self, body: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
        """The products, and the purposes if they are known, that an ask or an answer is about."""
        if isinstance(product := body.get("product"), str):
            yield product, body.get("purpose")
        parts = [part for part in body.get("parts") or () if isinstance(part, dict)]
        named = [
            body.get("contract"),
            *(body.get("contracts") or ()),
            *(part.get("contract") for part in parts),
        ]
        if (job := body.get("job")) and not any(named):
            asked = self.calls.run("cleanroom.show", {"job": job})
            named = [asked.get("contract"), *(asked.get("contracts") or ())]
        for contract in dict.fromkeys(each for each in named if isinstance(each, str)):
            # What it is about is what the node says; of a signed contract (not a negotiation) that stays.
            if (about := self._contracts.get(contract)) is None:
                shown = self.calls.run("contract.show", {"contract": contract})
                about = (shown["product"], shown["purpose"])
                if prefix_of(contract) == "ctr":
                    self._contracts[contract] = about
            yield about

    def _seen(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of a read without what lies outside the mandate.

        Raises: Refused outside_mandate, where nothing else would be left.
        """
        if isinstance(items := body.get("items"), list):
            # What stands beside the items (balances of accounts) is of no product.
            beside = body if ANY in self.mandate.products else {n: body[n] for n in _OF_A_LIST if n in body}
            return {**beside, "items": [item for item in items if self._inside(item)]}
        if not self._inside(body):
            raise Refused(OUTSIDE_MANDATE, part="product")
        return body

    def _inside(self, body: Mapping[str, Any]) -> bool:
        try:
            about = list(self._about(_facts(body)))
            for product, purpose in about:
                self.mandate.check_product(product)
                if purpose is not None:
                    self.mandate.check_purpose(purpose)
        except (Refused, Refusal):
            return False
        # What names no product (a person added, a log's own proof) is for an agent with every product alone.
        return bool(about) or ANY in self.mandate.products

    def _public(self, act: Act, said: dict[str, Any]) -> dict[str, Any]:
        hidden = {member.name for member in fields(bind(act).reply) if member.metadata.get(SECRET)}
        return {name: value for name, value in said.items() if name not in hidden}


def open_agent(options: Options, mandate: Mandate, vkey: str | None) -> Agent:
    """An agent for the organisation of the options, if its key is good where it is to be used.

    Raises: Refused, Unavailable, Refusal: whatever stands in the way.
    """
    home = options.home.absolute()
    calls = Calls(replace(options, home=home), vkey)
    with calls:
        calls.run("catalogue.search", {"limit": 1})
    # However the organisation was named: the count is its own.
    org = sha256(options.key.encode()).hexdigest() if options.key else choose(read(home), options.org).org
    # Beside the home, not in it, where the agent works for a node far away: there may be no home here.
    far = home.with_name(f"{home.name}-mandates")
    folder = home / "mandates" if options.node is None else far
    return Agent(calls, mandate, counts_of(folder, options.node or "", org, mandate.name), home)


def known(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if each is an act that somebody outside the node may run.

    Raises: Refused unknown_act.
    """
    if any(name not in ACTS or ACTS[name].roles == ("node",) for name in names):
        raise Refused(UNKNOWN_ACT)
    return names


def _taken(body: Mapping[str, Any]) -> dict[str, int]:
    """What a quote or an answer says is taken: statistics of every account together, and money by currency.

    Raises: Unavailable node_odd: a count below nothing would fill the mandate up, and a measure names a file.
    """
    parts = body.get("parts") or [body]
    counts = [(STATISTICS, int(part.get("statistics") or 0)) for part in parts]
    for charge in (*(body.get("charges") or ()), *(body.get("cost") or ())):
        counts.append((str(charge["currency"]), int(charge["amount_minor"])))
        if _CURRENCY.fullmatch(counts[-1][0]) is None:
            raise Unavailable(NODE_ODD)
    found: dict[str, int] = {}
    for measure, count in counts:
        if count < 0:
            raise Unavailable(NODE_ODD)
        found = _sum(found, {measure: count})
    return found


def _fees(body: Mapping[str, Any]) -> dict[str, int]:
    """What of a quote is due with the use, however it ends: all lines but those of the question itself."""
    found: dict[str, int] = {}
    for charge in body.get("charges") or ():
        due = sum(int(line["amount_minor"]) for line in charge["parts"] if line["kind"] not in _OF_A_QUESTION)
        found = _sum(found, {str(charge["currency"]): due})
    return found


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in (*one, *other)}


def _by_default(act: Act) -> bool:
    if act.name in _USES:
        return True
    reads = act.effect is Effect.reads and bool(_ROLES.intersection(act.roles))
    sends = "upload" in {member.name for member in fields(bind(act).ask)}
    return reads and not sends and (act.room in _PACKAGES or "anyone" in act.roles)


def _facts(body: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer says it is about: its own members, those of a log entry, or those a receipt opens."""
    found = dict(body)
    if isinstance(facts := body.get("facts"), dict):
        found |= facts
    opened = body["receipt"].get("opened") if isinstance(body.get("receipt"), dict) else None
    if isinstance(opened, dict) and "entry" not in body:
        found |= {name: each.get("value") for name, each in opened.items()}
    return found
