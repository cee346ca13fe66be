"""What an entry is about (事项): the names by which it is searched for, and the search over them; pure.

1. A name is the act, an id anywhere in the facts, or what stands in a field that holds an id or a kind.
2. Organisations are no names: who may see an entry is kept apart, and is searched by that.
3. The index holds a number made of a name, not the name: what was found is held against the facts a reader may
   see, so that neither two names of one number nor a fact that was erased gives anything away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, cast

from dujiang.kernel.ids import prefix_of
from dujiang.ledger.model import DAY_MS

ORGANISATION, PERSON = "org", "per"
"""Prefixes of the ids of organisations and of people."""
_HOLDING = frozenset(
    {
        "contract",
        "contracts",
        "negotiation",
        "product",
        "version",
        "resource",
        "job",
        "bill",
        "person",
        "kind",
    }
)
"""Fields whose text is a name in any form: a foreign system's contract has an id of its own."""
_SKIPPED = frozenset({"org", "parties", "record", "figures", "ask_sha256"})
_NAME_CHARACTERS_MAX = 200


def names_of(facts: Mapping[str, Any]) -> set[str]:
    """The names in the facts of an entry."""
    found: set[str] = set()
    for member, value in facts.items():
        # Most facts are texts that are no ids: they are passed over here, as every write comes by.
        if type(value) is str and member not in _HOLDING and not 29 <= len(value) <= 31:
            continue
        if member not in _SKIPPED:
            found.update(_names(member, value))
    org = str(facts.get("org", ""))
    found.update([own_name(org, name) for name in found if name.startswith(f"{PERSON}_")])
    return found


def own_name(org: str, person: str) -> str:
    """The name under which an organisation finds what a person of its own did.

    Who acted is seen by the acting organisation alone, though others see the entry: they must not even learn it
    from how long a search takes or how far a page goes. No name from outside holds a line break.
    """
    return f"{org}\n{person}"


def _names(member: str, value: object) -> Iterator[str]:
    if isinstance(value, str):
        # An id has a prefix of 2 to 4 letters: most texts are passed over without a closer look.
        if member in _HOLDING:
            if 0 < len(value) <= _NAME_CHARACTERS_MAX and "\n" not in value:
                yield value
        elif 29 <= len(value) <= 31 and prefix_of(value) not in (None, ORGANISATION):
            yield value
    elif isinstance(value, dict):
        for name, part in cast("dict[str, object]", value).items():
            yield from _names(name, part)
    elif isinstance(value, (list, tuple)):
        for part in cast("list[object]", value):
            yield from _names(member, part)


Runs = Callable[[int, int], list[tuple[int, int]]]
"""(below an index, how many) -> the runs that begin below it, newest first: (first entry, how many entries)."""
_FETCHED = 256
STEPS_MAX = 16_000
"""How much one page of a search looks at, in steps of about a microsecond; the next page goes on there."""
_KEPT_STEPS = 40
"""What it takes to read an entry."""


@dataclass(slots=True)
class Led:
    """The entries one thing that is sought leads to, walked from the newest on."""

    runs: Runs
    _known: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    _place: int = 0

    def at(self, index: int) -> tuple[int, int] | None:
        """The run that holds the entry, or the newest below it: (first, last) with `last` at most `index`."""
        if self._known and self._known[-1][0] > index:
            self._known = []
        if not self._known:
            self._known, self._place = self.runs(index + 1, _FETCHED), 0
        while self._place < len(self._known):
            first, entries = self._known[self._place]
            if first <= index:
                return first, min(index, first + entries - 1)
            self._place += 1
        return None


@dataclass(slots=True)
class Ahead:
    """The entries one thing leads to, walked from the oldest on."""

    run_from: Callable[[int], tuple[int, int] | None]
    """An index -> the run that holds it, or the oldest above it: (first entry, how many entries)."""
    _known: tuple[int, int] | None = None
    _through: bool = False

    def first(self, index: int) -> int | None:
        """The oldest entry at an index or above it, or None; the indexes that are asked for never go back."""
        if not self._through and (self._known is None or self._known[1] <= index):
            run = self.run_from(index)
            self._known, self._through = (None, True) if run is None else ((run[0], sum(run)), False)
        return None if self._known is None else max(index, self._known[0])


def sought(
    led: Sequence[Led], low: int, before: int, count: int, keep: Callable[[int], bool], steps: int = STEPS_MAX
) -> int | None:
    """Below which entry the search goes on, or None where it is through: after `count` kept ones, or `steps`.

    `keep` is called with each entry of `low` or above and below `before` that everything leads to, newest first,
    and says whether it counts. Where it goes on is told by the first of `led` alone: what that leads to is the
    reader's own, and where the others lead to may be nothing the reader may learn.
    """
    index, kept = before - 1, 0
    while index >= low:
        floor = low
        for each in led:
            steps -= 1
            run = each.at(index)
            if run is None:
                return None
            if run[1] < index:
                index = run[1]
                break
            floor = max(floor, run[0])
        else:
            while index >= floor:
                steps -= _KEPT_STEPS
                kept += keep(index)
                if kept == count:
                    return index if index > low else None
                index -= 1
                if steps <= 0:
                    break
        if steps <= 0 and index >= low:
            run = led[0].at(index) if led else (low, index)
            return None if run is None or run[1] < low else run[1] + 1
    return None


@lru_cache(maxsize=4096)
def number_of(name: str) -> int:
    """The number (63 bits) a name is kept under in the index."""
    return int.from_bytes(sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def first_ms(text: str, *, end: bool = False) -> int | None:
    """The first millisecond of a UTC day or instant; of a day's `end` the first after it. None: it is neither.

    A day is 2026-11-24, an instant 2026-11-24T12:00:00Z or with an offset.
    """
    try:
        if len(text) == len("2026-11-24"):
            days = (date.fromisoformat(text) - date(1970, 1, 1)).days
            return (days + end) * DAY_MS
        told = datetime.fromisoformat(text)
    except ValueError:
        return None
    if told.tzinfo is None:
        return None
    return int((told - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
