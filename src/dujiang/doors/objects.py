"""What every object of a Python program is: JSON that draws itself; and lists, receipts and log entries.

1. An object is the JSON an act answered with (`json`) and the calls it came by; it keeps no state of its own.
2. A printed object is one line, a list a table; a notebook shows a card or a table.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Generic, TypeVar

from dujiang.doors import flow, markup, show
from dujiang.doors.calls import Calls
from dujiang.ledger.model import Verdict
from dujiang.ledger.rules import verify

_WIDE = 120
_MARKED: dict[str, dict[markup.Mark, str]] = {
    "en": {
        "good": "receipt {index} verified, signed by {signer}",
        "unknown": "receipt {index} holds; signer {signer} unknown: pin its key with verify(vkey)",
        "bad": "receipt {index} does not verify: {step}",
    },
    "zh": {
        "good": "回执 {index} 验证通过，签名者 {signer}",
        "unknown": "回执 {index} 自身成立；签名者 {signer} 未知：请用 verify(vkey) 指定公钥",
        "bad": "回执 {index} 验证失败：{step}",
    },
}


class Thing:
    """Anything an act answered with."""

    LISTED: tuple[str, ...] = ()
    """The members a list shows; none: all."""

    def __init__(self, calls: Calls, body: Mapping[str, Any]) -> None:
        self._calls = calls
        self.json: dict[str, Any] = dict(body)
        """The answer as it came: JSON."""

    @property
    def _language(self) -> str:
        return self._calls.options.language

    def _own(self, name: str) -> str:
        """A member in the chosen language."""
        other = self.json.get(f"{name}_zh") if self._language == "zh" else None
        return str(other or self.json.get(name) or self.json.get(f"{name}_zh") or "")

    def _title(self) -> str:
        return ""

    def _shown(self) -> Mapping[str, Any]:
        """The members people see."""
        return self.json

    def __repr__(self) -> str:
        return show.clean(f"<{type(self).__name__} {self._title()}>")

    def _repr_html_(self) -> str:
        return markup.block(self._title(), markup.card(self._shown(), self._language))


Item = TypeVar("Item", bound=Thing)


class Listed(Sequence[Item], Generic[Item]):
    """A list of objects that draws itself as a table."""

    def __init__(self, items: Iterable[Item], language: str) -> None:
        self._items = list(items)
        self._language = language

    def __getitem__(self, place: Any) -> Any:
        """The object at a place, or a list of those at a slice."""
        found = self._items[place]
        return Listed(found, self._language) if isinstance(found, list) else found

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return printed(self._rows(), self._language)

    def _rows(self) -> list[dict[str, Any]]:
        named = [item.LISTED or tuple(item.json) for item in self._items]
        return [
            {name: item.json[name] for name in names if name in item.json}
            for item, names in zip(self._items, named, strict=True)
        ]

    def _repr_html_(self) -> str:
        rows = self._rows()
        return markup.block("", markup.value(rows, self._language) if rows else "–")


class Reply(dict[str, Any]):
    """The JSON object an act answered with, drawn as a card."""

    def __init__(self, body: Mapping[str, Any], language: str) -> None:
        super().__init__(body)
        self._language = language

    def __repr__(self) -> str:
        return printed(dict(self), self._language)

    def _repr_html_(self) -> str:
        return markup.block("", markup.card(self, self._language))


class Receipt(Thing):
    """The proof of one log entry; it verifies offline and can be kept as a file."""

    @property
    def index(self) -> int:
        """The number of the entry in its log."""
        return int(self.json["index"])

    @property
    def facts(self) -> dict[str, Any]:
        """What the receipt opens of the entry, as the node says it; `verify` proves it."""
        return verify(self.json, None).facts or {}

    def verify(self, vkey: str | None = None) -> Verdict:
        """The verdict, offline; `trusted` only where a key is pinned: here, or in `connect(vkey=…)`."""
        return verify(self.json, vkey or self._calls.vkey)

    def save(self, path: str | Path) -> Path:
        """The file it was written to; beside it the same as `.tlog-proof` and `.entry`, for other programs."""
        place = Path(path)
        flow.write_receipt(self.json, place)
        return place

    def _told(self) -> tuple[markup.Mark, str]:
        verdict = self.verify()
        kind: markup.Mark = ("good" if verdict.trusted else "unknown") if verdict.ok else "bad"
        words = {"index": self.json.get("index"), "signer": verdict.signer, "step": verdict.step or ""}
        return kind, _MARKED[self._language][kind].format(**words)

    def _title(self) -> str:
        return self._told()[1]

    def _repr_html_(self) -> str:
        verdict = self.verify()
        facts = (
            {"act": verdict.act, "time_ms": verdict.time_ms, **(verdict.facts or {})} if verdict.ok else {}
        )
        return markup.block("", markup.mark(*self._told()), markup.card(facts, self._language))


class Entry(Thing):
    """存证条目: one entry of the log as its reader may see it."""

    @property
    def index(self) -> int:
        """Its number in the log."""
        return int(self.json["index"])

    @property
    def receipt(self) -> Receipt:
        """Its receipt.

        Raises: Refusal.
        """
        return Receipt(self._calls, self._calls.run("ledger.prove", {"entry": self.index})["receipt"])

    def _title(self) -> str:
        return f"{self.index} · {self.json.get('act', '')}"


def printed(body: Any, language: str) -> str:
    """A JSON value as text for a terminal: a table or a card."""
    from rich.console import Console

    width = max(_WIDE, shutil.get_terminal_size((_WIDE, 24)).columns)
    console = Console(file=StringIO(), width=width, markup=False, highlight=False, emoji=False, no_color=True)
    with console.capture() as told:
        console.print(show.rendered(body, language))
    return "\n".join(line.rstrip() for line in told.get().splitlines())
