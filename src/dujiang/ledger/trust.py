"""Which keys of a log to believe, pure: from the key somebody pinned along the log's own entries to the one that signs.

Works offline on the document of the log's keys (`GET /log/keys`):
1. The pinned key is trusted. 2. A rotation whose receipt verifies by a trusted key makes its new key trusted.
3. A key that is disowned beyond a size is not believed for a larger one, whoever asks and whatever it vouches for.
4. A key after a theft or a loss is not vouched for by the one before: it must be pinned anew.
The document need not be trusted: what it adds is proved by receipts, and what it takes away makes a check stricter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from dujiang.ledger import rules
from dujiang.ledger.model import Verdict
from dujiang.ledger.note import NotANote, read_vkey
from dujiang.ledger.witness import Policy

TYPE = "dujiang-log-keys"
_STEP = "5 key disowned beyond {size} entries"


class NotKeys(ValueError):
    """The text is not a document of a log's keys."""


def verify(receipt: object, pinned: str | None, document: object, policy: Policy | None = None) -> Verdict:
    """The verdict on a receipt, by the keys a document proves from the pinned one, or (None) by the receipt's own.

    Raises: NotKeys.
    """
    disowned = ends(document)
    if pinned is None:
        return _standing(rules.verify(receipt, None, policy), _named(receipt), disowned)
    verdicts = [
        _standing(rules.verify(receipt, key, policy), key, disowned)
        for key in trusted(pinned.strip(), document)
    ]
    # The pinned key's own verdict where no key says yes: it names the step that failed, or the theft.
    good = [verdict for verdict in verdicts if verdict.ok]
    stolen = [verdict for verdict in verdicts if verdict.step and verdict.step.startswith("5 key")]
    return [*good, *stolen, *verdicts][0]


def trusted(pinned: str, document: object) -> list[str]:
    """The verifier keys that follow from the pinned one, itself the first.

    Raises: NotKeys.
    """
    disowned, known = ends(document), [pinned]
    for change in _changes(document):
        for key in list(known):
            verdict = _standing(rules.verify(change, key), key, disowned)
            facts = verdict.facts or {}
            if verdict.ok and verdict.act == "ledger.rotate" and facts.get("old") == key:
                new = str(facts.get("new"))
                if _name(new) == _name(key) != "" and new not in known:
                    known.append(new)
    return known


def _standing(verdict: Verdict, key: str, disowned: Mapping[str, int]) -> Verdict:
    beyond = disowned.get(key)
    if not verdict.ok or beyond is None or (verdict.size or 0) <= beyond:
        return verdict
    return replace(verdict, ok=False, trusted=False, step=_STEP.format(size=beyond))


def _named(receipt: object) -> str:
    return str(cast("dict[str, Any]", receipt).get("vkey")) if isinstance(receipt, dict) else ""


def _name(vkey: str) -> str:
    try:
        return read_vkey(vkey)[0]
    except NotANote:
        return ""


def ends(document: object) -> dict[str, int]:
    """The sizes beyond which keys are not trusted, as the document says or a receipt in it opens.

    Raises: NotKeys.
    """
    parts = _parts(document)
    said: list[tuple[Any, Any]] = [(key.get("vkey"), key.get("disowned")) for key in parts["keys"]]
    for change in parts["changes"]:
        facts = rules.verify(change, None).facts or {}
        said.append((facts.get("disowned"), facts.get("beyond")))
    found: dict[str, int] = {}
    for key, beyond in said:
        if isinstance(key, str) and type(beyond) is int:
            found[key] = min(beyond, found.get(key, beyond))
    return found


def _changes(document: object) -> list[Any]:
    """The receipts by their place in the log."""
    found = [change for change in _parts(document)["changes"] if type(change.get("index")) is int]
    return sorted(found, key=lambda change: change["index"])


def _parts(document: object) -> dict[str, list[dict[str, Any]]]:
    parts = cast("dict[str, Any]", document)
    if not isinstance(document, dict) or parts.get("type") != TYPE or parts.get("v") != 1:
        raise NotKeys
    for name in ("keys", "changes"):
        rows = parts.get(name)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in cast("list[Any]", rows)):
            raise NotKeys
    return parts
