"""Acts run for an agent: only those of its mandate, only what they are about in it, only what it may take.

1. By default an agent finds, looks, quotes, agrees and asks: reads of the packages below that are no matter of
   a role, and the two acts that begin and use a contract. Anything else is named in the mandate, or refused.
2. An act about a contract or a question is about its product and its purpose: both must be in the mandate.
   A list leaves out what is not; a card of the catalogue is there for everybody.
3. What an act takes is what its `preview` says; it is set aside in the mandate's count before the act runs.
4. Nothing secret is answered: an act that makes a key or a link answers an agent without it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from dujiang.acts import ACTS
from dujiang.doors.calls import Calls, Refusal
from dujiang.doors.flow import preview_asks
from dujiang.doors.local import Options
from dujiang.doors.mandate import ANY, OUTSIDE_MANDATE, Count, Mandate, count_of
from dujiang.kernel.act import Act, Effect, bind
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.kernel.runner import UNKNOWN_ACT
from dujiang.kernel.shape import SECRET, build
from dujiang.ledger.rules import verify

_PACKAGES = ("catalogue", "contract", "cleanroom", "market", "ledger")
_USES = ("contract.request", "cleanroom.ask")
_FOR_EVERYBODY = ("catalogue", "identity")
_ROLES = frozenset({"member", "consumer", "anyone"})


class Agent:
    """Runs acts for a program that acts by itself, within its mandate."""

    def __init__(self, calls: Calls, mandate: Mandate, count: Count, receipts: Path | None = None) -> None:
        """`receipts`: the home that receipts are kept in; none: where the agent is, nothing is kept."""
        self.calls = calls
        self.mandate = mandate
        self.receipts = receipts
        self._count = count
        self._one = threading.Lock()

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
            return max(0, self.mandate.statistics_max - self._count.used)
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
        needs = self._needs(act, raw)
        self._count.set_aside(needs, self.mandate.statistics_max)
        try:
            said = self.calls.run(act.name, raw)
        except Refusal as refusal:
            # No definite answer (a node that went away), or a run that failed after it was charged: it stays.
            declined = refusal.receipt is None or verify(refusal.receipt, None).act == act.name
            if declined and not refusal.again:
                self._count.give_back(needs)
            raise
        self._count.give_back(max(0, needs - int(said.get("statistics") or 0)))
        return said

    def _needs(self, act: Act, raw: Mapping[str, Any]) -> int:
        """The statistics an act would take, by its preview.

        Raises: Refusal: what the preview refuses, the act would.
        """
        if act.preview is None or act.effect is Effect.reads:
            return 0
        preview = ACTS[act.preview]
        asks = preview_asks({member.name for member in fields(bind(preview).ask)}, raw)
        try:
            return sum(int(self.calls.run(preview.name, ask).get("statistics") or 0) for ask in asks)
        except Refusal as refusal:
            # A text that is refused stays refused. The act turns it down too, takes nothing, and leaves the
            # entry by which a regulator sees that an agent tried.
            if refusal.where is None:
                raise
            return 0

    def _about(self, body: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
        """The products, and the purposes if they are known, that an ask or an answer is about."""
        if isinstance(product := body.get("product"), str):
            yield product, body.get("purpose")
            return
        named = [body.get("contract"), *(body.get("contracts") or ())]
        if job := body.get("job"):
            asked = self.calls.run("cleanroom.show", {"job": job})
            named += [asked.get("contract"), *(asked.get("contracts") or ())]
        for contract in dict.fromkeys(each for each in named if isinstance(each, str)):
            shown = self.calls.run("contract.show", {"contract": contract})
            yield shown["product"], shown["purpose"]

    def _seen(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of a read without what lies outside the mandate.

        Raises: Refused outside_mandate, where nothing else would be left.
        """
        if isinstance(items := body.get("items"), list):
            return {**body, "items": [item for item in items if self._inside(item)]}
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
    where = options.node or str(home)
    return Agent(calls, mandate, count_of(home, where, options.org or "", mandate.name), home)


def known(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if each is an act that somebody outside the node may run.

    Raises: Refused unknown_act.
    """
    if any(name not in ACTS or ACTS[name].roles == ("node",) for name in names):
        raise Refused(UNKNOWN_ACT)
    return names


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
