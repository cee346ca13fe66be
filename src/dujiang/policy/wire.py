"""Terms in foreign bytes: an ODRL 2.2 offer within the Dataspace Protocol's profile, and a terms file.

1. One permission to `use`, one constraint per field; standard operands where ODRL has them, otherwise ours.
2. A price is one obligation to `compensate` per part (payAmount in major units), and one per share.
3. Numbers are written as decimal text: the profile's schema has no numbers (DSP 2025-1, contract schema).
4. Whatever is not understood (member, action, operand, operator, duty, prohibition) denies the whole policy.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, cast

from dujiang.kernel.errors import Refused
from dujiang.kernel.money import decimal, minor
from dujiang.kernel.shape import build
from dujiang.policy.model import (
    LIST_ITEMS_MAX,
    NAMESPACE,
    PROFILE,
    TERMS_UNKNOWN_OPERAND,
    TERMS_UNREADABLE,
    TERMS_WRONG,
    Noise,
    Price,
    Share,
    Terms,
    TermsFile,
)
from dujiang.policy.rules import amounts, check

# field -> (left operand, operator); the first four are terms of the ODRL vocabulary §4.
_CONSTRAINTS: dict[str, tuple[str, str]] = {
    "purposes": ("purpose", "isAnyOf"),
    "until": ("dateTime", "lteq"),
    "questions": ("count", "lteq"),
    "recipients": ("recipient", "isAnyOf"),
    "days": (f"{NAMESPACE}days", "lteq"),
    "columns": (f"{NAMESPACE}columns", "isAnyOf"),
    "group_min": (f"{NAMESPACE}groupMin", "gteq"),
    "statistics": (f"{NAMESPACE}statistics", "lteq"),
    "ceiling_statistics": (f"{NAMESPACE}ceilingStatistics", "lteq"),
    "rho_micro": (f"{NAMESPACE}rhoMicro", "lteq"),
    "noise": (f"{NAMESPACE}noise", "eq"),
    "dominance_percent": (f"{NAMESPACE}dominancePercent", "lteq"),
    "join_keys": (f"{NAMESPACE}joinKeys", "isAnyOf"),
    "partners": (f"{NAMESPACE}partners", "isAnyOf"),
}
_FIELDS = {left: (name, operator) for name, (left, operator) in _CONSTRAINTS.items()}
_LISTS = frozenset({"purposes", "recipients", "columns", "join_keys", "partners"})
_TEXTS = frozenset({"until", "noise"})
_MEMBERS = frozenset(
    {
        "@context", "@id", "@type", "profile", "permission", "obligation", "target", "assigner", "assignee",
        "timestamp",
    }
)  # fmt: skip
_PAY, _CURRENCY, _PER, _WEIGHT = "payAmount", f"{NAMESPACE}currency", f"{NAMESPACE}per", f"{NAMESPACE}weight"
_PARTS = ("agreement", "month", "question", "row")
_DIGITS = re.compile(r"0|[1-9][0-9]{0,11}")


def odrl_offer(terms: Terms, offer_id: str, target: str | None = None) -> dict[str, Any]:
    """The terms as an ODRL offer; with `target` in a message, without it in a catalogue (DSP 2025-1)."""
    constraints: list[dict[str, object]] = []
    for name, (left, operator) in _CONSTRAINTS.items():
        value = getattr(terms, name)
        if value is not None:
            right = list(value) if name in _LISTS else value.value if name == "noise" else str(value)
            constraints.append({"leftOperand": left, "operator": operator, "rightOperand": right})
    made: dict[str, Any] = {"@id": offer_id, "@type": "Offer", "profile": PROFILE}
    if target is not None:
        made["target"] = target
    made["permission"] = [{"action": "use", "constraint": constraints}]
    if terms.price is not None:
        made["obligation"] = _duties(terms.price)
    return made


def _duties(price: Price) -> list[dict[str, Any]]:
    paid = [
        {_PAY: decimal(amount, price.currency), _CURRENCY: price.currency, _PER: per}
        for per, amount in amounts(price)
    ]
    shared = [{"recipient": share.recipient, _WEIGHT: str(share.weight)} for share in price.shares]
    return [
        {
            "action": "compensate",
            "constraint": [
                {"leftOperand": left, "operator": "eq", "rightOperand": right} for left, right in duty.items()
            ],
        }
        for duty in [*paid, *shared]
    ]


def terms_of_odrl(policy: object) -> Terms:
    """The terms of an ODRL offer or agreement; fields it does not constrain are at their defaults.

    Raises: Refused terms_unknown_operand, terms_wrong.
    """
    rule = _permission(policy)
    constraints = rule.get("constraint", [])
    if not isinstance(constraints, list):
        raise _denied("constraint")
    found: dict[str, Any] = {}
    for place, constraint in enumerate(cast("list[object]", constraints)):
        name, value = _constraint(constraint, f"constraint[{place}]")
        if name in found:
            raise _denied(f"constraint[{place}]")
        found[name] = value
    terms = Terms(**found, price=_price(cast("Mapping[str, object]", policy).get("obligation")))
    if problems := check(terms):
        raise Refused(TERMS_WRONG, problems="; ".join(map(str, problems)))
    return terms


def _permission(policy: object) -> Mapping[str, object]:
    members = _object(policy, "policy")
    if members.keys() - _MEMBERS or members.get("@type") not in ("Offer", "Agreement"):
        raise _denied("policy")
    if members.get("profile", PROFILE) not in (PROFILE, [PROFILE]):
        raise _denied("profile")
    permissions = members.get("permission")
    if not isinstance(permissions, list) or len(cast("list[object]", permissions)) != 1:
        raise _denied("permission")
    rule = _object(cast("list[object]", permissions)[0], "permission")
    if rule.keys() - {"action", "constraint"} or rule.get("action") != "use":
        raise _denied("permission")
    return rule


def _constraint(constraint: object, place: str) -> tuple[str, Any]:
    parts = _object(constraint, place)
    left = parts.get("leftOperand")
    if parts.keys() != {"leftOperand", "operator", "rightOperand"} or not isinstance(left, str):
        raise _denied(place)
    name, operator = _FIELDS.get(left, ("", ""))
    if not name or parts["operator"] != operator:
        raise _denied(place)
    return name, _right(name, parts["rightOperand"], place)


def _right(name: str, right: object, place: str) -> Any:
    if name in _LISTS:
        items = cast("list[object]", right) if isinstance(right, list) else [right]
        if len(items) > LIST_ITEMS_MAX or not all(isinstance(item, str) for item in items):
            raise _denied(place)
        return tuple(cast("list[str]", items))
    if not isinstance(right, str):
        raise _denied(place)
    if name == "noise":
        if right not in [blur.value for blur in Noise]:
            raise _denied(place)
        return Noise(right)
    if name in _TEXTS:
        return right
    if not _DIGITS.fullmatch(right):
        raise _denied(place)
    return int(right)


def _price(duties: object) -> Price | None:
    """The price some obligations ask for; each must be understood whole."""
    if duties is None:
        return None
    if not isinstance(duties, list) or not duties:
        raise _denied("obligation")
    found: dict[str, Any] = {}
    shares: list[Share] = []
    for place, duty in enumerate(cast("list[object]", duties)):
        at = f"obligation[{place}]"
        said = _duty(duty, at)
        if said.keys() == {"recipient", _WEIGHT} and _DIGITS.fullmatch(said[_WEIGHT]):
            shares.append(Share(said["recipient"], int(said[_WEIGHT])))
            continue
        if said.keys() != {_PAY, _CURRENCY, _PER} or said[_PER] not in _PARTS:
            raise _denied(at)
        amount = minor(said[_PAY], said[_CURRENCY])
        if f"{said[_PER]}_minor" in found or found.setdefault("currency", said[_CURRENCY]) != said[_CURRENCY]:
            raise _denied(at)
        if not amount or decimal(amount, said[_CURRENCY]) != said[_PAY]:
            raise _denied(at)  # one amount, one way to write it
        found[f"{said[_PER]}_minor"] = amount
    if not found:
        raise _denied("obligation")
    return Price(**found, shares=tuple(shares))


def _duty(duty: object, place: str) -> dict[str, str]:
    """The operands of a duty to compensate and their values."""
    rule = _object(duty, place)
    constraints = rule.get("constraint")
    if rule.keys() != {"action", "constraint"} or rule["action"] != "compensate":
        raise _denied(place)
    if not isinstance(constraints, list) or len(cast("list[object]", constraints)) > len(_PARTS):
        raise _denied(place)
    said: dict[str, str] = {}
    for constraint in cast("list[object]", constraints):
        parts = _object(constraint, place)
        left, right = parts.get("leftOperand"), parts.get("rightOperand")
        if parts.keys() != {"leftOperand", "operator", "rightOperand"} or parts["operator"] != "eq":
            raise _denied(place)
        if not isinstance(left, str) or not isinstance(right, str) or left in said:
            raise _denied(place)
        said[left] = right
    return said


def _object(value: object, place: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _denied(place)
    return cast("Mapping[str, object]", value)


def _denied(place: str) -> Refused:
    return Refused(TERMS_UNKNOWN_OPERAND, place=place)


def terms_file(text: str) -> TermsFile:
    """The terms file written in `text` (TOML, or JSON where it begins with a brace).

    Raises: Refused terms_unreadable (with the line), unknown_field, malformed.
    """
    text = text.removeprefix("\ufeff")
    try:
        raw: object = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise Refused(TERMS_UNREADABLE, line=error.lineno) from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise Refused(TERMS_UNREADABLE, line=line[1] if line else text.count("\n") + 1) from None
    except RecursionError:
        raise Refused(TERMS_UNREADABLE, line=1) from None
    return build(TermsFile, _plain_dates(raw))


def _plain_dates(value: object) -> object:
    """TOML has dates; the form has ISO text."""
    if isinstance(value, dict):
        return {key: _plain_dates(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_plain_dates(item) for item in cast("list[object]", value)]
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return value
