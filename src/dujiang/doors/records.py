"""Records of other systems put into the log from Python, in calls of 1,024 that may be sent again.

1. A call that was not answered is sent again with its key; it is done once, whatever the node had done of it.
2. Where the caller names the key, so is the whole: begun again after a crash, nothing is attested twice.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dujiang.doors import markup
from dujiang.doors.calls import Calls, Refusal
from dujiang.doors.objects import Receipt
from dujiang.kernel.errors import Refused
from dujiang.kernel.shape import MALFORMED
from dujiang.ledger.lot import calls_of, receipts_of
from dujiang.ledger.model import NOT_A_RECEIPT

_TOO_LARGE = "ask_too_large"
WAIT_S = 60.0
"""How long a call that is not answered is sent again where nothing else is said."""
_PAUSE_S, _PAUSE_S_MAX = 0.2, 5.0
_TOLD_MAX = 5
_SAID = {
    "en": "{count} records attested: entries {places}{more}",
    "zh": "已存证 {count} 条记录：条目 {places}{more}",
}


class Attested(Sequence[Receipt]):
    """The receipts of records, in their order; they are opened when they are looked at, a call's at a time."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._answered: list[tuple[range, dict[str, Any], list[Any]]] = []
        self._open: tuple[int, list[dict[str, Any]]] = (-1, [])

    @property
    def entries(self) -> list[range]:
        """The numbers of the entries in the log, a range for each call."""
        return [entries for entries, _, _ in self._answered]

    def save(self, path: str | Path) -> Path:
        """The file they were written to: a whole receipt a line (JSON lines)."""
        place = Path(path)
        with place.open("w", encoding="utf-8") as file:
            for receipt in self:
                file.write(json.dumps(receipt.json, ensure_ascii=False) + "\n")
        return place

    def __len__(self) -> int:
        return sum(map(len, self.entries))

    def __getitem__(self, place: Any) -> Any:
        """The receipt of the record at a place, or a list of those of a slice."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        left = range(len(self))[place]
        for call, entries in enumerate(self.entries):
            if left < len(entries):
                return Receipt(self._calls, self._opened(call)[left])
            left -= len(entries)
        raise IndexError(place)

    def __iter__(self) -> Iterator[Receipt]:
        for call in range(len(self._answered)):
            for receipt in self._opened(call):
                yield Receipt(self._calls, receipt)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._told()}>"

    def _repr_html_(self) -> str:
        marks = [self[place] for place in sorted({0, len(self) - 1}) if len(self)]
        return markup.block(self._told(), *(markup.line(each._told()[1]) for each in marks))

    def _told(self) -> str:
        """How many records, and which entries they are."""
        places = ", ".join(f"{each.start}–{each.stop - 1}" for each in self.entries[:_TOLD_MAX])
        return _SAID[self._calls.options.language].format(
            count=len(self), places=places, more=", …" if len(self._answered) > _TOLD_MAX else ""
        )

    def _add(self, reply: Mapping[str, Any], records: list[Any]) -> None:
        self._answered.append(
            (range(reply["first"], reply["first"] + reply["count"]), reply["receipt"], records)
        )

    def _opened(self, call: int) -> list[dict[str, Any]]:
        """The whole receipts of a call, kept until another one is looked at.

        Raises: Refusal not_a_receipt where the node sent none of these records.
        """
        if self._open[0] != call:
            _, receipt, records = self._answered[call]
            try:
                self._open = call, receipts_of(receipt, records)
            except ValueError:
                raise self._calls.refusal(Refused(NOT_A_RECEIPT)) from None
        return self._open[1]


def attested(
    calls: Calls,
    records: Iterable[Any],
    more: Mapping[str, Any],
    key: str | None,
    wait_s: float,
) -> Attested:
    """The receipts of records, once all are in the log; what was done before a refusal stands in its `done`.

    Raises: Refusal.
    """
    found, name = Attested(calls), key or uuid.uuid4().hex
    try:
        for some in calls_of(_wired(calls, records)):
            waiting = [some]
            while waiting:
                part = waiting.pop(0)
                try:
                    reply = _answered(calls, {"records": part, **more}, f"{name}-{len(found)}", wait_s)
                except Refusal as refused:
                    if refused.code != _TOO_LARGE or len(part) == 1:
                        raise
                    # This node takes smaller requests than others do.
                    waiting[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
                else:
                    found._add(reply, part)
    except Refusal as refused:
        refused.done = found
        raise
    return found


def _wired(calls: Calls, records: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """The records as the wire tells them, with their bytes: what becomes of the caller's own is not ours.

    Raises: Refusal malformed.
    """
    for record in records:
        try:
            text = json.dumps(record, ensure_ascii=False, allow_nan=False)
            size = len(text.encode())
        except (TypeError, ValueError, RecursionError):
            raise calls.refusal(Refused(MALFORMED, place="$.records")) from None
        yield size, json.loads(text)


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
