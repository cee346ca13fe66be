"""What people see: tables and cards on standard output, talk on standard error, colour only on a terminal.

1. With `--json` standard output is one JSON document and nothing else.
2. Text from others (titles, names, answers) is data: no markup, no control character reaches the terminal.
"""

from __future__ import annotations

import json
import math
import re
import sys
import threading
import unicodedata
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dujiang.doors import chinese
from dujiang.doors.local import Answer, Options
from dujiang.kernel.money import Money

_WIDE = 200
_STATUS_AFTER_S = 0.4
_LINE_CHARACTERS = 100
_CELL_CHARACTERS, _FACTS_CHARACTERS, _ID_CHARACTERS = 72, 200, 32
_WORD_CHARACTERS = 128
_INNER_ROWS = 4
_COLUMNS_MIN = 5
_MACHINES = re.compile(r"\b(sha256|did)$")
_LEFT_OUT = {"en": "Not shown: {names} (--json has all).", "zh": "未显示：{names}（--json 含全部内容）。"}
_DIGEST = re.compile("[0-9a-f]{64}")
_CURRENCY = re.compile("[A-Z]{3}")
_YEAR_9999_MS = 253_370_764_800_000
_AT = {"en": "at", "zh": "（时间）"}
_NOTHING = {"en": "Nothing there yet.", "zh": "暂无内容。"}


def console(*, talk: bool = False) -> Console:
    """The console of standard output, or of standard error for talk."""
    stream = sys.stderr if talk else sys.stdout
    # Off a terminal lines are not broken at 80: another program or a file reads them.
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width)


def answer(given: Answer, options: Options) -> None:
    """Nothing; prints an answer or a refusal in the form asked for."""
    if given.body is None:
        return
    if options.json:
        document(given.body)
    elif given.exit and "code" in given.body:
        refusal(given, options)
    elif isinstance(given.body, dict) and list(given.body) == ["receipt"] and given.human != {}:
        # To keep in a file: nothing may break its lines.
        sys.stdout.write(json.dumps(given.body["receipt"], ensure_ascii=False, indent=2) + "\n")
    elif isinstance(given.body, dict) and list(given.body) == ["name", "text"]:
        sys.stdout.write(given.body["text"])  # a file, for another program
    elif (body := given.body if given.human is None else given.human) not in (None, {}, []):
        console().print(rendered(body, options.language))
        if isinstance(body, dict) and body.get("items") == []:
            say(_NOTHING[options.language])
        if given.after:
            say(given.after)


def document(body: Any) -> None:
    """Nothing; prints one JSON document."""
    sys.stdout.write(json.dumps(body, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def refusal(given: Answer, options: Options) -> None:
    """Nothing; says why and how to go on, and underlines the place in the caller's own text."""
    del options
    body = given.body
    out = console(talk=True)
    out.print(Text("✗ ", style="bold red") + Text(clean(body["why"]), style="bold"))
    if given.text is not None and isinstance(body.get("where"), dict):
        out.print(underlined(given.text, body["where"]["start"], body["where"]["length"]))
    if body.get("offer"):
        out.print(Text("  ≈ ", style="green") + Text(clean(body["offer"]), style="green"))
    out.print(Text("→ ", style="bold green") + Text(clean(body["fix"])))
    out.print(Text(f"  {body['code']}", style="dim"))


def underlined(text: str, start: int, length: int) -> Text:
    """The line of `text` in which the place begins, with the place underlined below it."""
    begin = text.rfind("\n", 0, start) + 1
    end = text.find("\n", start)
    line = text[begin : len(text) if end < 0 else end]
    at = min(start - begin, len(line))
    # A long line is cut around the place.
    cut = max(0, at - _LINE_CHARACTERS // 2)
    line = line[cut : cut + _LINE_CHARACTERS]
    at -= cut
    marked = line[at : at + max(1, length)]
    carets = "^" * max(1, _cells(marked))
    return Text(f"  {clean(line)}") + Text("\n  " + " " * _cells(line[:at]) + carets, style="bold red")


def say(text: str, style: str = "dim") -> None:
    """Nothing; talks to people on standard error."""
    console(talk=True).print(Text(clean(text), style=style))


def interactive(options: Options) -> bool:
    """Whether a person sits there who can be asked."""
    return not (options.json or options.yes) and all(s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr))


def confirmed(question: str) -> bool:
    """Whether a person says yes."""
    console(talk=True).print(Text(f"{question} [y/N] ", style="bold"), end="")
    return sys.stdin.readline().strip().casefold() in {"y", "yes", "是", "好"}


@contextmanager
def waiting(text: str, options: Options) -> Iterator[None]:
    """Shows on a terminal that work goes on, once it has taken a moment."""
    if options.json or not sys.stderr.isatty():
        yield
        return
    status = console(talk=True).status(Text(text))
    timer = threading.Timer(_STATUS_AFTER_S, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def shallow(value: Any, depth: int = 40) -> Any:
    """The value down to a depth nothing of ours has: what a file or a node far away nests is not walked to its end."""
    if not isinstance(value, (Mapping, list)) or not value:
        return value
    if not depth:
        return "…"
    if isinstance(value, Mapping):
        return {name: shallow(each, depth - 1) for name, each in value.items()}
    return [shallow(each, depth - 1) for each in value]


def rendered(body: Any, language: str) -> RenderableType:
    """The rich form of a JSON value: an answer's table, a list's table or a card."""
    body = shallow(body)
    if isinstance(body, list):
        return _listed(body, language)
    if not isinstance(body, dict):
        return Text(cell(body))
    if isinstance(body.get("columns"), list) and isinstance(body.get("rows"), list):
        rest = {name: value for name, value in body.items() if name not in ("columns", "rows", "plus_minus")}
        noise = body.get("plus_minus") or []
        rows, places = body["rows"], range(len(body["columns"]))
        numeric = {place for place in places if rows and all(_is_number(row[place]) for row in rows)}
        if fits := len(noise) == len(places):
            rows = [[figure(value, near) for value, near in zip(row, noise, strict=True)] for row in rows]
        table = _grid(body["columns"], rows, numeric)
        if fits:
            table.add_row(*(Text(f"± {figure(float(n), n)}" if n else "", style="dim") for n in noise))
        return Group(table, Text(), rendered(rest, language))
    return _card(body, language)


def clean(text: str) -> str:
    """The text without what a terminal would obey: control, format and direction characters."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "�" for c in text
    )


def _card(body: Mapping[str, Any], language: str, around: str = "") -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    parts: list[RenderableType] = []
    around = _currency(body, around)
    for name, value in spoken(body, language, around):
        said = label(name, language)
        if is_document(value):
            grid.add_row(said, Text("(--json)", style="dim"))
        elif is_table(value):
            parts += [Text(f"\n{said}", style="bold"), _listed(value, language, around)]
        elif isinstance(value, dict):
            parts += [Text(f"\n{said}", style="bold"), _card(value, language, around)]
        else:
            grid.add_row(said, Text(cell(value, name, language)))
    return Group(grid, *parts) if grid.row_count else Group(*parts)


def _listed(items: Sequence[Any], language: str, around: str = "") -> RenderableType:
    if not is_table(items):
        return Text("\n".join(cell(item) for item in items) or "-")
    rows = [
        row
        for item in items
        for row in _flat(dict(spoken(item, language, around)), language, _currency(item, around))
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if names in (["text"], ["text_zh"]):
        return Text("\n".join(f"• {cell(row[names[0]])}" for row in rows))
    lines = _merged([[_brief(row.get(name), name, language) for name in names] for row in rows])
    numeric = {place for place, name in enumerate(names) if all(_is_number(row.get(name)) for row in rows)}
    labels = _labels(names, language)
    return _Fitting(labels, lines, numeric, _LEFT_OUT[language])


def _labels(names: Sequence[str], language: str) -> list[str]:
    """What columns are called: a number and the time of it, called alike, are told apart."""
    found = [label(name, language) for name in names]
    return [
        f"{said} {_AT[language]}" if name.endswith("_ms") and found.count(said) > 1 else said
        for name, said in zip(names, found, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Fitting:
    """A list as a table where it fits, without its widest columns where enough are left (it says which).

    Else a paragraph for each line: no name and no id is cut.
    """

    labels: Sequence[str]
    lines: Sequence[Sequence[str]]
    numeric: Container[int]
    left_out: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        places = list(range(len(self.labels)))
        for gone in [None, *self._widest()]:
            places = [place for place in places if place != gone]
            table = self._table(places)
            wanted = Measurement.get(console, options.update(width=_WIDE * 4), table).maximum
            if wanted <= options.max_width:
                yield table
                if names := [label for place, label in enumerate(self.labels) if place not in places]:
                    yield Text(self.left_out.format(names=", ".join(names)), style="dim")
                return
        for first, *rest in self.lines:
            yield Text(first, style="bold")
            told = [(name, text) for name, text in zip(self.labels[1:], rest, strict=True) if text]
            yield Padding(Text(" · ".join(f"{name}: {text}" for name, text in told)), (0, 0, 0, 2))

    def _table(self, places: Sequence[int]) -> Table:
        rows = [[line[place] for place in places] for line in self.lines]
        numeric = {at for at, place in enumerate(places) if place in self.numeric}
        return _grid([self.labels[place] for place in places], rows, numeric)

    def _widest(self) -> list[int]:
        """The columns that may be left out: digests and DIDs first, then the widest; never the first one."""
        wide = {
            place: max(_cells(line[place]) for line in self.lines) for place in range(1, len(self.labels))
        }
        order = sorted(wide, key=lambda place: (not _MACHINES.search(self.labels[place]), -wide[place]))
        return order[: max(0, len(self.labels) - _COLUMNS_MIN)]


def _flat(row: dict[str, Any], language: str, around: str) -> Iterator[dict[str, Any]]:
    """The row, or one for each member of a short table it holds (noise: a row for each measure).

    A long one (the values of a column) would repeat its row over the screen; it is in `--json`.
    """
    row = {name: value for name, value in row.items() if not is_table(value) or len(value) <= _INNER_ROWS}
    inner = next((name for name, value in row.items() if is_table(value)), None)
    if inner is None:
        yield row
        return
    outer = {name: value for name, value in row.items() if name != inner}
    for item in row[inner]:
        yield outer | dict(spoken(item, language, around))


def _merged(lines: Sequence[list[str]]) -> list[list[str]]:
    """The lines, those that differ only in their first cell as one."""
    found: dict[tuple[str, ...], list[str]] = {}
    if not all(lines):
        return list(lines)
    for first, *rest in lines:
        found.setdefault(tuple(rest), []).append(first)
    if len(found) == len(lines) or any(len(set(firsts)) < len(firsts) for firsts in found.values()):
        return list(lines)
    return [[", ".join(firsts), *rest] for rest, firsts in found.items()]


def _grid(columns: Sequence[str], rows: Sequence[Sequence[Any]], numeric: Container[int] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        right = place in numeric or (bool(rows) and all(_is_number(row[place]) for row in rows))
        # An id is copied: it stays in one piece.
        whole = all(" " not in str(row[place]) and len(str(row[place])) <= _ID_CHARACTERS for row in rows)
        justify = "right" if right else "left"
        table.add_column(Text(clean(str(column))), justify=justify, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    return table


def _currency(body: Mapping[str, Any], around: str) -> str:
    """The currency its amounts are in: its own, or that of what it stands in."""
    own = body.get("currency")
    return own if isinstance(own, str) and _CURRENCY.fullmatch(own) else around


def spoken(body: Mapping[str, Any], language: str, around: str = "") -> Iterator[tuple[str, Any]]:
    """The members worth showing: in one language, without what is empty and without the receipt's bytes.

    Amounts in minor units are shown as people write them, where their currency is known; `around`: that of
    what the body stands in.
    """
    currency = _currency(body, around)
    for name, value in body.items():
        if value in (None, [], {}, "") or name == "receipt":
            continue
        other = name.removesuffix("_zh") if name.endswith("_zh") else f"{name}_zh"
        hidden = (language == "zh") != name.endswith("_zh")
        if body.get(other) and hidden:
            continue
        if name.endswith("_minor") and type(value) is int and currency:
            if (amount := name.removesuffix("_minor")) not in body:
                yield amount, str(Money(value, currency))
            continue
        yield name, value


def is_table(value: Any) -> bool:
    """Whether a value is a list of objects, and not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def is_document(value: Any) -> bool:
    """Whether a value is a document in a foreign form (DID, ODRL), which is for programs."""
    return isinstance(value, dict) and any(name.startswith("@") for name in value)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    return value is None or type(value) in (int, float)


def label(name: str, language: str = "en") -> str:
    """What a member is called where people read it."""
    if language == "zh" and (said := chinese.label(name)):
        return said
    if name.endswith("_utc"):
        return f"{clean(name.removesuffix('_utc').replace('_', ' '))} (UTC)"
    return clean(name.removesuffix("_zh").removesuffix("_ms").replace("_", " "))


def cell(value: Any, name: str = "", language: str = "en") -> str:
    """A value of the member `name` as one line of text without control characters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if name.endswith("_ms") and value == 0:
        return "–"
    if name.endswith("_ms") and isinstance(value, int) and 0 <= value < _YEAR_9999_MS:
        return datetime.fromtimestamp(value / 1000, UTC).astimezone().isoformat(sep=" ", timespec="seconds")
    if isinstance(value, float):
        return f"{value:.10g}"
    value = shallow(value)
    if isinstance(value, dict):
        # In a cell a digest is only recognised; its full text is in the object's own card.
        told = {
            key: f"{each[:12]}…" if _is_digest(each) else each for key, each in value.items() if each != ""
        }
        return "; ".join(
            f"{label(key, language)} {cell(each, key, language)}"
            for key, each in told.items()
            if each is not None
        )
    if isinstance(value, list):
        mark = " | " if any(isinstance(item, dict) for item in value) else ", "
        return mark.join("–" if item is None else cell(item, "", language) for item in value)
    return clean(str(value))


def figure(value: Any, near: Any) -> Any:
    """A value with the digits its noise leaves it; the file and `--json` have them all."""
    if type(value) is not float or not near or not math.isfinite(near):
        return value
    return f"{value:.{min(10, max(0, 1 - math.floor(math.log10(abs(near)))))}f}"


def _brief(value: Any, name: str, language: str) -> str:
    """A cell of a list: long texts are cut, keys to copy are not; the object's own card has them whole."""
    most = _FACTS_CHARACTERS if isinstance(value, dict) else _CELL_CHARACTERS
    text = f"{value[:12]}…" if _is_digest(value) else cell(value, name, language)
    most = max(most, _WORD_CHARACTERS) if " " not in text else most
    return text if len(text) <= most else text[: most - 1] + "…"


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
