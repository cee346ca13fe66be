"""Records of other systems put into the log from Python, in calls of 1,024 that may be sent again.

1. A call that was not answered is sent again with its key; it is done once, whatever the node had done of it.
2. Where the caller names the key, so is the whole: begun again after a crash, nothing is attested twice.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from dujiang.doors import markup
from dujiang.doors.calls import Calls, Refusal
from dujiang.doors.objects import Receipt

CALL = 1_024
"""Records in one call, the most a node takes."""
WAIT_S = 60.0
"""How long a call that is not answered is sent again where nothing else is said."""
_PAUSE_S, _PAUSE_S_MAX = 0.2, 5.0
_TOLD_MAX = 5
_SAID = {
    "en": "{count} records attested: entries {places}{more}",
    "zh": "已存证 {count} 条记录：条目 {places}{more}",
}


class Attested(Sequence[Receipt]):
    """The receipts of records, in their order; each is opened when it is looked at."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._replies: list[dict[str, Any]] = []

    @property
    def entries(self) -> list[range]:
        """The numbers of the entries in the log, a range for each call."""
        return [range(reply["first"], reply["first"] + reply["count"]) for reply in self._replies]

    def save(self, path: str | Path) -> Path:
        """The file they were written to: a whole receipt a line (JSON lines)."""
        place = Path(path)
        with place.open("w", encoding="utf-8") as file:
            for receipt in self:
                file.write(json.dumps(receipt.json, ensure_ascii=False) + "\n")
        return place

    def __len__(self) -> int:
        return sum(reply["count"] for reply in self._replies)

    def __getitem__(self, place: Any) -> Any:
        """The receipt of the record at a place, or a list of those of a slice."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        left = range(len(self))[place]
        for reply in self._replies:
            if left < reply["count"]:
                return Receipt(self._calls, opened(reply, left))
            left -= reply["count"]
        raise IndexError(place)

    def __iter__(self) -> Iterator[Receipt]:
        for reply in self._replies:
            for place in range(reply["count"]):
                yield Receipt(self._calls, opened(reply, place))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._told()}>"

    def _repr_html_(self) -> str:
        marks = [self[place] for place in sorted({0, len(self) - 1}) if len(self)]
        return markup.block(self._told(), *(markup.line(each._told()[1]) for each in marks))

    def _told(self) -> str:
        """How many records, and which entries they are."""
        places = ", ".join(f"{each.start}–{each.stop - 1}" for each in self.entries[:_TOLD_MAX])
        return _SAID[self._calls.options.language].format(
            count=len(self), places=places, more=", …" if len(self._replies) > _TOLD_MAX else ""
        )

    def _add(self, reply: dict[str, Any]) -> None:
        self._replies.append(reply)


def attested(
    calls: Calls,
    records: Iterable[Mapping[str, Any]],
    more: Mapping[str, Any],
    key: str | None,
    wait_s: float,
) -> Attested:
    """The receipts of records, once all are in the log; what was done before a refusal stands in its `done`.

    Raises: Refusal.
    """
    found, rest = Attested(calls), iter(records)
    name = key or uuid.uuid4().hex
    while some := list(islice(rest, CALL)):
        ask = {"records": [dict(record) for record in some], **more}
        try:
            found._add(_answered(calls, ask, f"{name}-{len(found)}", wait_s))
        except Refusal as refused:
            refused.done = found
            raise
    return found


def opened(reply: Mapping[str, Any], place: int) -> dict[str, Any]:
    """The whole receipt of one record of an answer."""
    return reply["receipts"][place]


def _answered(calls: Calls, ask: Mapping[str, Any], key: str, wait_s: float) -> dict[str, Any]:
    deadline, pause = time.monotonic() + wait_s, _PAUSE_S
    while True:
        try:
            return calls.run("ledger.attest", ask, key)
        except Refusal as refused:
            if not refused.again or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _PAUSE_S_MAX)
