"""How objects draw themselves in a notebook: HTML that stands alone, without scripts, sheets or addresses.

1. Text from others (titles, names, answers) is data: every text is cleaned and escaped here, once.
2. Colours are the notebook's own, light or dark; only the mark of a receipt has one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from html import escape
from typing import Any, Literal

from dujiang.doors import show

Mark = Literal["good", "unknown", "bad"]
_ROWS_MAX = 200
_MARKS: dict[Mark, tuple[str, str]] = {
    "good": ("✓", "#1a7f37"), "unknown": ("?", "#8a6d00"), "bad": ("✗", "#c62828"),
}  # fmt: skip
_MORE = {"en": "… {count} more rows", "zh": "……另有 {count} 行"}
_CELL = "padding:2px 12px 2px 0;text-align:{side};vertical-align:top;border:0;background:none"
_HEAD = _CELL + ";font-weight:600;border-bottom:1px solid rgba(128,128,128,.5)"
_FAINT = "opacity:.65"


def text(value: Any, name: str = "") -> str:
    """A value of the member `name`, cleaned and escaped."""
    return escape(show.cell(value, name))


def refused(lines: Sequence[str]) -> str:
    """A refusal: its lines as they are."""
    return f'<pre style="white-space:pre-wrap;margin:0">{"<br>".join(map(_escaped, lines))}</pre>'


def mark(kind: Mark, said: str) -> str:
    """One line with a mark: verified, unknown or broken."""
    sign, colour = _MARKS[kind]
    return f'<span data-mark="{kind}"><b style="color:{colour}">{sign}</b> {_escaped(said)}</span>'


def block(title: str, *parts: str) -> str:
    """An object: what it is called, and its parts below."""
    head = f'<div style="font-weight:600;margin-bottom:4px">{_escaped(title)}</div>' if title else ""
    return f'<div class="dujiang" style="line-height:1.5;max-width:72em">{head}{"".join(filter(None, parts))}</div>'


def line(said: str) -> str:
    """A faint line of text."""
    return f'<div style="{_FAINT}">{_escaped(said)}</div>' if said else ""


def figures(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], near: Sequence[float | None], language: str
) -> str:
    """An answer: its rows, each number with the digits its noise leaves it, and ± in a line below."""
    fits = len(near) == len(columns)
    shown = [
        [show.figure(value, noise) for value, noise in zip(row, near, strict=True)] if fits else row
        for row in rows[:_ROWS_MAX]
    ]
    foot = (
        [f"± {show.figure(float(noise), noise)}" if noise else "" for noise in near]
        if fits and any(near)
        else None
    )
    return _table(columns, shown, _numeric(columns, rows), foot) + line(_more(len(rows), language))


def value(body: Any, language: str, name: str = "") -> str:
    """Any JSON value: an object as a card, a list of objects as a table, the rest as text."""
    if isinstance(body, Mapping):
        return card(body, language)
    if show.is_table(body):
        return _listed(body, language)
    if isinstance(body, list):
        return "<br>".join(text(item, name) for item in body)
    return text(body, name)


def card(body: Mapping[str, Any], language: str) -> str:
    """An object: a line for each member, what has parts below it."""
    lines: list[str] = []
    below: list[str] = []
    for name, member in show.spoken(show.shallow(body), language):
        if show.is_document(member):
            continue
        if isinstance(member, Mapping) or show.is_table(member):
            below.append(
                f'<div style="margin-top:6px;font-weight:600">{_escaped(show.label(name, language))}</div>'
            )
            below.append(value(member, language, name))
        else:
            lines.append(
                _row([show.label(name, language), show.cell(member, name, language)], "td", _CELL, faint=0)
            )
    top = f'<table style="border-collapse:collapse;border:0">{"".join(lines)}</table>' if lines else ""
    return top + "".join(below)


def _listed(items: Sequence[Mapping[str, Any]], language: str) -> str:
    rows = [dict(show.spoken(item, language)) for item in show.shallow(list(items[:_ROWS_MAX]))]
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[show.cell(row.get(name), name) for name in names] for row in rows]
    raw = [
        [str(row[name]) if name.endswith("_ms") and name in row else row.get(name) for name in names]
        for row in rows
    ]
    labels = [show.label(name, language) for name in names]
    return _table(labels, cells, _numeric(labels, raw)) + line(_more(len(items), language))


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    right: Container[int],
    foot: Sequence[str] | None = None,
) -> str:
    body = "".join(_row(row, "td", _CELL, right) for row in rows)
    below = "" if foot is None else f"<tfoot>{_row(foot, 'td', f'{_CELL};{_FAINT}', right)}</tfoot>"
    return (
        '<table style="border-collapse:collapse;border:0">'
        f"<thead>{_row(columns, 'th', _HEAD, right)}</thead><tbody>{body}</tbody>{below}</table>"
    )


def _row(
    cells: Iterable[Any], tag: str, style: str, right: Container[int] = (), faint: int | None = None
) -> str:
    made: list[str] = []
    for place, cell in enumerate(cells):
        own = style.format(side="right" if place in right else "left") + (
            f";{_FAINT}" if place == faint else ""
        )
        made.append(f'<{tag} style="{own}">{text(cell)}</{tag}>')
    return f"<tr>{''.join(made)}</tr>"


def _more(count: int, language: str) -> str:
    return _MORE[language].format(count=count - _ROWS_MAX) if count > _ROWS_MAX else ""


def _numeric(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> set[int]:
    """The places of columns that hold numbers and nothing else: they stand to the right."""
    kinds = [{type(row[place]) for row in rows} - {type(None)} for place in range(len(columns))]
    return {place for place, found in enumerate(kinds) if found and found <= {int, float}}


def _escaped(said: str) -> str:
    return escape(show.clean(said))
