"""What people call what an entry holds: its act in words, the object it is about, its time in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dujiang.acts import ACTS
from dujiang.kernel.ids import prefix_of

_ABOUT = ("job", "bil", "ctr", "neg", "rgt", "prd", "ver", "res", "stl", "quo")
"""What an entry is about, by the prefix of its id: the first of these that it names."""
_ACTORS = frozenset({"org", "per"})


def when(time_ms: int) -> str:
    """A time in UTC, as `--since` takes days of it."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return str(time_ms)


def title(name: str, language: str) -> str:
    """What an act is called in words; its name, where this program does not know it."""
    act = ACTS.get(name)
    return name if act is None else act.title_zh if language == "zh" else act.title


def about(facts: Mapping[str, Any], named: Mapping[str, str] | None = None) -> str | None:
    """The object an entry is about: what it decided on, else whatever it names that did not act itself."""
    ids = [value for value in facts.values() if isinstance(value, str) and prefix_of(value)]
    for prefix in _ABOUT:
        if found := next((each for each in ids if prefix_of(each) == prefix), None):
            return found
    other = next((each for each in ids if prefix_of(each) not in _ACTORS), None)
    subject = facts.get("organisation", facts.get("subject"))
    if other is None and isinstance(subject, str):
        return (named or {}).get(subject, subject)
    return other
