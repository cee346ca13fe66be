"""What a question gives: a quote before, an answer after, each with what is uncertain about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dujiang.acts import ACTS
from dujiang.doors import frames, markup
from dujiang.doors.calls import NO_RECEIPT, NOT_DONE, Calls
from dujiang.doors.objects import Receipt, Thing, printed
from dujiang.kernel.errors import Refused

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports]
    import pyarrow  # pyright: ignore[reportMissingImports]

WAIT_S = 600.0
"""How long an answer is waited for where nothing else is said."""
_TAKEN = {"en": "{took} statistics taken, {left} left", "zh": "消耗 {took} 个统计量，剩余 {left}"}
_WOULD = {"en": "would take {took} of {left} statistics left", "zh": "将消耗 {took} 个统计量，现余 {left}"}
_EXACT = {"en": "no account (exact answers)", "zh": "无账户（精确结果）"}
_RUNS = {"en": "still running; answer.wait()", "zh": "仍在运行；answer.wait()"}


class Quote(Thing):
    """What a question would take, and the expected ± of each column; the same whatever the data say."""

    @property
    def columns(self) -> list[str]:
        """The names of the columns the answer would have."""
        return list(self.json["columns"])

    @property
    def plus_minus(self) -> list[float | None]:
        """Expected ± (2 standard deviations) of each column; None: a key, or exact."""
        return list(self.json["plus_minus"])

    @property
    def statistics(self) -> int:
        """How many statistics it would take."""
        return int(self.json["statistics"])

    @property
    def statistics_left(self) -> int | None:
        """How many are left before it; None: there is no account."""
        return self.json.get("statistics_left")

    @property
    def parts(self) -> list[dict[str, Any]]:
        """What each provider's account would be charged, if the question is over several."""
        return list(self.json.get("parts") or ())

    @property
    def charges(self) -> list[dict[str, Any]]:
        """What it may cost in money, at most, under each contract that has a price."""
        return list(self.json.get("charges") or ())

    def _title(self) -> str:
        return " · ".join(filter(None, (taken(self.json, self._language, _WOULD), _money(self.charges))))


class Answer(Thing):
    """答案: the rows of an answer, what is uncertain about them, and the receipt of how it came to be."""

    LISTED = ("job", "question", "state", "statistics", "entry")

    @property
    def job(self) -> str:
        """The id of the question, `job_…`."""
        return str(self.json["job"])

    @property
    def done(self) -> bool:
        """Whether the answer is there."""
        return self.json.get("done") is True

    @property
    def columns(self) -> list[str]:
        """The names of the columns.

        Raises: Refusal not_done.
        """
        return list(self._there()["columns"])

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows, cells as in JSON: numbers, text (also dates) and None.

        Raises: Refusal not_done.
        """
        return [tuple(row) for row in self._there()["rows"]]

    @property
    def plus_minus(self) -> list[float | None]:
        """± (2 standard deviations) of each column; None: a key, or exact.

        Raises: Refusal not_done.
        """
        return list(self._there()["plus_minus"])

    def dicts(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    @property
    def statistics(self) -> int:
        """How many statistics it took."""
        return int(self.json.get("statistics") or 0)

    @property
    def statistics_left(self) -> int | None:
        """How many are left; None: there is no account."""
        return self.json.get("statistics_left")

    @property
    def parts(self) -> list[dict[str, Any]]:
        """What each provider's account was charged, if the question was over several."""
        return list(self.json.get("parts") or ())

    @property
    def cost(self) -> list[dict[str, Any]]:
        """What it cost in money under each contract that has a price."""
        return list(self.json.get("cost") or ())

    @property
    def receipt(self) -> Receipt:
        """The receipt of the entry that answered.

        Raises: Refusal no_receipt.
        """
        if not isinstance(self.json.get("receipt"), dict):
            if not isinstance(entry := self.json.get("entry"), int):
                raise self._calls.refusal(Refused(NO_RECEIPT))
            self.json |= self._calls.run("ledger.prove", {"entry": entry})
        return Receipt(self._calls, self.json["receipt"])

    def wait(self, seconds: float = WAIT_S) -> Answer:
        """The answer once it is there, or as it stands after so many seconds.

        Raises: Refusal: the one it ended with.
        """
        return Answer(self._calls, self._calls.wait(ACTS["cleanroom.ask"], self.json, seconds))

    def df(self) -> pandas.DataFrame:
        """The answer as a pandas table; `attrs` has ±, job and entry.

        Raises: Refusal not_done, library_missing.
        """
        return self._made(frames.frame)

    def arrow(self) -> pyarrow.Table:
        """The answer as an Arrow table; its metadata has ±, job and entry.

        Raises: Refusal not_done, library_missing.
        """
        return self._made(frames.arrow)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The Arrow stream by which polars, DuckDB and others read an answer as it is: `polars.DataFrame(answer)`."""
        return self.arrow().__arrow_c_stream__(requested_schema)

    def _made(self, make: Any) -> Any:
        more = {"job": self.job, "entry": self.json.get("entry")}
        try:
            return make(self.columns, self.rows, self.plus_minus, more)
        except Refused as error:
            raise self._calls.refusal(error) from None

    def _there(self) -> dict[str, Any]:
        if not self.done:
            raise self._calls.refusal(Refused(NOT_DONE))
        return self.json

    def __len__(self) -> int:
        return len(self._there()["rows"])

    def __repr__(self) -> str:
        if not self.done:
            return f"<{type(self).__name__} {self.job}: {_RUNS[self._language]}>"
        table = {name: self.json[name] for name in ("columns", "rows", "plus_minus")}
        return printed(table, self._language) + f"\n{self._told()}"

    def _told(self) -> str:
        return " · ".join(filter(None, (taken(self.json, self._language), _money(self.cost))))

    def _repr_html_(self) -> str:
        if not self.done:
            return markup.block(self.job, markup.line(_RUNS[self._language]))
        receipt = (
            Receipt(self._calls, self.json["receipt"]) if isinstance(self.json.get("receipt"), dict) else None
        )
        return markup.block(
            "", markup.figures(self.columns, self.rows, self.plus_minus, self._language),
            markup.line(self._told()), markup.mark(*receipt._told()) if receipt else "",
        )  # fmt: skip


def quoted(calls: Calls, contracts: Sequence[str], sql: str) -> Quote:
    """What a question under contracts would take.

    Raises: Refusal.
    """
    return Quote(calls, calls.run("cleanroom.check", {"contracts": list(contracts), "sql": sql}))


def asked(calls: Calls, contracts: Sequence[str], sql: str, wait_s: float) -> Answer:
    """The answer of a question under contracts, waited for so many seconds.

    Raises: Refusal.
    """
    answer = Answer(calls, calls.run("cleanroom.ask", {"contracts": list(contracts), "sql": sql}))
    return answer if answer.done else answer.wait(wait_s)


def _money(costs: Sequence[Mapping[str, Any]]) -> str:
    """Amounts of money as people write them, one for each contract."""
    return " + ".join(f"{each['amount']} {each['currency']}" for each in costs)


def taken(body: Mapping[str, Any], language: str, words: Mapping[str, str] = _TAKEN) -> str:
    """What a question takes of its account, in words."""
    if body.get("statistics_left") is None:
        return _EXACT[language]
    return words[language].format(took=body.get("statistics", 0), left=body["statistics_left"])
