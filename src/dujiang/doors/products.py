"""What can be used, and what it was agreed to be used for: products and contracts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dujiang.acts import ACTS
from dujiang.doors.answers import WAIT_S, Answer, Quote, asked, quoted
from dujiang.doors.objects import Thing


class Product(Thing):
    """数据产品: a table that may be used on its terms, without its rows being seen."""

    @property
    def id(self) -> str:
        """Its id, `prd_…`."""
        return str(self.json["product"])

    @property
    def title(self) -> str:
        """Its title in the chosen language."""
        return self._own("title")

    @property
    def provider(self) -> str:
        """The organisation that offers it."""
        return str(self.json.get("provider", ""))

    @property
    def terms(self) -> str:
        """Its terms as one sentence in the chosen language."""
        return self._own("sentence")

    @property
    def card(self) -> dict[str, Any]:
        """What everybody may see of it: columns and their uses, terms, the entity."""
        return self._calls.run("catalogue.show", {"id": self.id})

    def agree(self, purpose: str, **more: Any) -> Contract:
        """A contract for a purpose, after both sides signed; not `done` where the provider thinks it over.

        Raises: Refusal: also the one the negotiation ended with.
        """
        asked_for = {"product": self.id, "purpose": purpose, **more}
        return Contract(self._calls, self._calls.run("contract.request", asked_for))

    def _title(self) -> str:
        return " · ".join(filter(None, (self.title, self.provider, self.id)))

    def _shown(self) -> Mapping[str, Any]:
        hidden = ("title", "title_zh", "provider_did", "terms", "terms_sha256", "odrl")
        return {name: value for name, value in self.card.items() if name not in hidden}


class Contract(Thing):
    """合约: what one organisation may ask of another's table, signed by both."""

    LISTED = ("contract", "peer", "product", "purpose", "state", "status", "last_day", "questions_used")

    @property
    def id(self) -> str:
        """Its id, `ctr_…` (before both signed: the negotiation's)."""
        return str(self.json["contract"])

    @property
    def product(self) -> str:
        """The id of the product it is about."""
        return str(self.json["product"])

    @property
    def status(self) -> str | None:
        """`active` and the like; None while it is negotiated."""
        return self.json.get("status")

    @property
    def done(self) -> bool:
        """Whether its negotiation has ended."""
        return self.json.get("done") is True

    @property
    def terms(self) -> str:
        """Its terms as one sentence in the chosen language."""
        return self._own("terms")

    def wait(self, seconds: float = WAIT_S) -> Contract:
        """The contract once its negotiation has ended, or as it stands after so many seconds.

        Raises: Refusal: the one the negotiation ended with.
        """
        fresh = self._calls.run("contract.show", {"contract": self.id})
        return Contract(self._calls, self._calls.wait(ACTS["contract.request"], fresh, seconds))

    def quote(self, sql: str) -> Quote:
        """What a question would take and how exact its answer would be, at no cost.

        Raises: Refusal.
        """
        return quoted(self._calls, [self.id], sql)

    def ask(self, sql: str, wait: float = WAIT_S) -> Answer:
        """The answer of a question, waited for so many seconds; what it takes is charged.

        Raises: Refusal.
        """
        return asked(self._calls, [self.id], sql, wait)

    def terminate(self) -> Contract:
        """The contract after it was ended by this side.

        Raises: Refusal.
        """
        self._calls.run("contract.terminate", {"contract": self.id})
        return Contract(self._calls, self._calls.run("contract.show", {"contract": self.id}))

    def _title(self) -> str:
        state = self.status or str(self.json.get("state", ""))
        return " · ".join(filter(None, (self.id, str(self.json.get("peer", "")), state)))
