"""Every error of Dujiang in one file.

    Exception
    ├── Refused(code)       a rule said no: rolls everything back, leaves no entry
    ├── Unavailable(code)   a plug or a peer failed: nothing happened, try again later
    │   └── DatabaseLost    the database itself failed: the whole batch is taken back
    └── anything else       a bug: the doors answer `internal` and strip the detail

    Declined(code)          not an exception: a *reply* that commits with its entry

A code is declared once, by the room whose rule it states, with why and fix in both languages.
`where` points into the caller's own text (start, length), never at a row of a table.
No error ever carries an input value or a row value; `names` carries identifiers the caller may
see anyway (a column's name, a limit), and only those the code's texts have places for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class Exit(IntEnum):
    """The exit status of the command line, one per family of outcome."""

    ok = 0
    failure = 1
    usage = 2
    not_found = 3
    refused = 4
    conflict = 5
    spent = 6
    unverified = 7


@dataclass(frozen=True, slots=True)
class Code:
    """One stable refusal: its name, why it is said and how to go on, in English and Chinese.

    `status` is the HTTP status, `exit` the exit status of the command line.
    """

    name: str
    status: int
    exit: Exit
    why: str
    fix: str
    why_zh: str
    fix_zh: str


@dataclass(frozen=True, slots=True)
class Span:
    """A place in the caller's own text: first character and length, in characters."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Declined:
    """A refusal that is a reply: it commits with its entry because a regulator wants to see it."""

    code: Code
    names: dict[str, str] = field(default_factory=dict[str, str])
    where: Span | None = None
    offer: str | None = None
    """A rewrite of the caller's text that would be allowed, if there is one."""


class Refused(Exception):
    """A rule said no: the act is rolled back and leaves no entry."""

    def __init__(self, code: Code, /, where: Span | None = None, **names: object) -> None:
        super().__init__(code.name)
        self.code = code
        self.where = where
        self.names = {key: str(value) for key, value in names.items()}


class Unavailable(Exception):
    """The world failed (disk, database, engine, peer): nothing happened, it may work later."""

    def __init__(self, code: Code, /, **names: object) -> None:
        super().__init__(code.name)
        self.code = code
        self.names = {key: str(value) for key, value in names.items()}


class DatabaseLost(Unavailable):
    """The database failed (full disk, lost file): nothing of the transaction happened."""


def spoken(code: Code, names: dict[str, str], language: str) -> tuple[str, str]:
    """The why and the fix of a code in `language` ("en" or "zh"), with its names filled in."""
    why, fix = (code.why_zh, code.fix_zh) if language == "zh" else (code.why, code.fix)
    return _fill(why, names), _fill(fix, names)


def _fill(text: str, names: dict[str, str]) -> str:
    for key, value in names.items():
        text = text.replace("{" + key + "}", value)
    return text
