"""What every door says: one form of an answer, one form of a refusal, one way to wait for a long act.

1. An answer is flat JSON: the reply's own fields, and `receipt` when the act wrote an entry.
2. A refusal is `code`, `why`, `fix`, and `where` and `offer` if it means a place in the caller's text.
3. An act with `until` is followed by its read act until `done`; the last read's fields win.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, cast

import msgspec

from dujiang.kernel.act import Act, Bound, Outcome, bind
from dujiang.kernel.errors import Code, Declined, Refused, Span, spoken
from dujiang.kernel.runner import INTERNAL, spoken_error
from dujiang.kernel.shape import plain

ERRORS = "https://dujiang.dev/errors/"
"""A refusal's code after this address is its RFC 9457 type."""


@dataclass(frozen=True, slots=True)
class Following:
    """The read act a door asks again, and the reply's field that says what to ask it."""

    bound: Bound
    field: str

    def ask(self, said: Mapping[str, Any]) -> Any | None:
        """The ask of the next read, or None if the reply names nothing to read."""
        wanted = said.get(self.field)
        return None if wanted is None else self.bound.ask(**{_place(self.bound.ask, self.field): wanted})


def following(act: Act, table: Mapping[str, Act]) -> Following | None:
    """How an act is waited for, or None if it is done when it answers."""
    if act.until is None:
        return None
    name, field = act.until
    return Following(bind(table[name]), field)


def flat(outcome: Outcome) -> dict[str, Any]:
    """The answer of an outcome whose reply is not a `Declined`."""
    said = cast("dict[str, Any]", plain(outcome.reply))
    return said if outcome.receipt is None else {**said, "receipt": outcome.receipt}


def declined(said: Mapping[str, Any], codes: Mapping[str, Code]) -> Declined | None:
    """The refusal that a followed reply carries in its field `declined`, if it does."""
    found = said.get("declined")
    if not isinstance(found, dict):
        return None
    told = cast("dict[str, Any]", found)
    code = codes.get(str(told.get("code")), INTERNAL)
    where = told.get("where")
    names = {str(key): str(value) for key, value in (told.get("names") or {}).items()}
    return Declined(code, names, None if where is None else msgspec.convert(where, Span), told.get("offer"))


def code_of(error: BaseException | Declined) -> str:
    """The name of a refusal's code; of a bug, `internal`."""
    return error.code.name if isinstance(error, Declined) else spoken_error(error)[0].name


def refusal(error: BaseException | Declined, language: str) -> tuple[Code, dict[str, Any]]:
    """The code of a refusal (a bug is `internal`) and its body in `language` ("en" or "zh")."""
    if isinstance(error, Declined):
        code, names, where, offer = error.code, error.names, error.where, error.offer
    else:
        code, found = spoken_error(error)
        names, offer = dict(found), None
        where = error.where if isinstance(error, Refused) else None
    why, fix = spoken(code, names, language)
    body: dict[str, Any] = {"code": code.name, "why": why, "fix": fix}
    if where is not None:
        body["where"] = {"start": where.start, "length": where.length}
    if offer is not None:
        body["offer"] = offer
    return code, body


def _place(ask: type, field: str) -> str:
    names = [member.name for member in fields(ask)]
    if field in names:
        return field
    return next(m.name for m in fields(ask) if m.default is MISSING and m.default_factory is MISSING)
