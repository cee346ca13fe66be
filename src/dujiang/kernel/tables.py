"""Tables and statements: what a store declares and a database plug runs.

A statement is written once as a module constant (SQLAlchemy Core or `text`) with bind parameters and
compiled once per database: building one per call costs seven times an act's time (measured).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import MetaData
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ClauseElement

META = MetaData()

Value = int | str | bytes | float | None
Row = tuple[Value, ...]


class Sql:
    """One statement, compiled once: bind names are the parameters of `Session.run`."""

    __slots__ = ("_clause", "_known")

    def __init__(self, clause: ClauseElement) -> None:
        self._clause = clause
        self._known: dict[str, tuple[str, dict[str, Value]]] = {}

    def bound(self, dialect: Dialect, values: dict[str, Value]) -> tuple[str, dict[str, Value]]:
        """The statement in the words of `dialect`, and `values` with the statement's own literals."""
        known = self._known.get(dialect.name)
        if known is None:
            made = self._clause.compile(dialect=dialect)
            own = {name: value for name, value in (made.params or {}).items() if value is not None}
            known = self._known[dialect.name] = (str(made), own)
        return known[0], {**known[1], **values} if known[1] else values


class Session(Protocol):
    """One connection in one transaction; what a store is handed."""

    def run(self, statement: Sql, /, **values: Value) -> list[Row]:
        """Every row of a statement (none for an insert or update).

        Raises: Unavailable when the database fails; nothing of the statement is then done.
        """
        ...

    def many(self, statement: Sql, rows: Sequence[Row]) -> None:
        """Inserts rows, each in the order of the statement's columns; as few round trips as there can be."""

    def later(self, statement: Sql, rows: Sequence[Row]) -> None:
        """The same before the commit, or before the next statement that names their table."""

    def changed(self, statement: Sql, /, **values: Value) -> int:
        """The number of rows an update or delete changed."""
        ...
