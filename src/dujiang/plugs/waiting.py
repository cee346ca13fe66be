"""Rows that wait for the end of their transaction: those of all its acts go in together, table by table.

1. They are written before the commit, and before any other statement that names their table: nobody misses one.
2. What no database takes is refused when it is left: a row that fails later would take the whole batch with it.
3. What an act left is taken back with it. What earlier acts left stays, also where it was written for its sake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dujiang.kernel.tables import Row, Sql, Value

_INSERT = "INSERT INTO "


def fit(rows: Sequence[Row]) -> bool:
    """Whether every value is one that a column of each database can hold."""
    return all(_fit(value) for row in rows for value in row)


def _fit(value: Value) -> bool:
    if isinstance(value, str):
        if "\0" in value:
            return False
        try:
            return value.isascii() or bool(value.encode())
        except UnicodeEncodeError:
            return False
    return not isinstance(value, int) or -(1 << 63) <= value < 1 << 63


@dataclass(slots=True)
class _Rows:
    table: str
    rows: list[Row] = field(default_factory=list[Row])
    written: int = 0
    """How many of them are in the database; they are kept until no `undo` can take them out again."""
    earlier: int = 0
    """How many of them earlier acts left."""


class Waiting:
    """The waiting rows of one writing connection."""

    def __init__(self, write: Callable[[Sql, Sequence[Row]], None]) -> None:
        self._write = write
        self._kept: dict[Sql, _Rows] = {}

    def add(self, statement: Sql, command: str, rows: Sequence[Row]) -> None:
        """Rows for an insert, which is `command` in the words of the database."""
        kept = self._kept.get(statement)
        if kept is None:
            table = command.removeprefix(_INSERT).partition(" ")[0]
            kept = self._kept[statement] = _Rows(table)
        kept.rows.extend(rows)

    def before(self, command: str) -> None:
        """Writes what a statement that is about to run may ask for or change."""
        for statement, kept in self._kept.items():
            if len(kept.rows) > kept.written and kept.table in command:
                self._write(statement, kept.rows[kept.written :])
                kept.written = len(kept.rows)

    def finish(self) -> None:
        """Writes what waits still."""
        for kept in self._kept.values():
            self.before(kept.table)

    def mark(self) -> None:
        """An act begins: what waits until now is not its own."""
        for kept in self._kept.values():
            del kept.rows[: kept.written]
            kept.written, kept.earlier = 0, len(kept.rows)

    def undo(self) -> None:
        """Everything since `mark` was taken back, in the database too."""
        for kept in self._kept.values():
            del kept.rows[kept.earlier :]
            kept.written = 0

    def clear(self) -> None:
        """Forgets everything: a transaction begins."""
        for kept in self._kept.values():
            kept.rows.clear()
            kept.written = kept.earlier = 0
