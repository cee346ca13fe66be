"""What a question reads (关系): one registered table, or several joined on declared keys; how far an entity reaches.

1. Every table keeps its own columns, rules and entity; the strictest rule of all holds for the answer.
2. Removing one entity of a table removes its rows of the joined rows and, where the table stands on the
   optional side of a LEFT JOIN, puts at most as many rows with NULLs in their place.
3. An entity has at most R rows of its own; each further table multiplies them by at most F, the declared
   rows of one key value. So no measure of the data bounds anything, and no row is left out for a bound.
4. Nothing here depends on the order in which an inner join was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from dujiang.cleanroom.model import Guard, Noise
from dujiang.cleanroom.sqltype import Value, stored
from dujiang.registry.model import Column, Table

_READ = re.compile(r"\bt(\d+)(?:(e)|c(\d+))\b")
_MET = re.compile(r"\bt(\d+)j(\d+)\b")
_STRENGTH = (Noise.exact, Noise.gaussian, Noise.laplace)
"""Laplace noise of a given rho has a guarantee of its own (pure epsilon) beside that of Gaussian noise."""


@dataclass(frozen=True, slots=True)
class Member:
    """One table a question may read and the rules of its contract; `name`: another name it may be given."""

    table: Table
    guard: Guard
    name: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """One step of a join: the table `part` met on pairs of columns (its own, and another's as part and place)."""

    part: int
    on: tuple[tuple[int, int, int], ...]
    left: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """What the removal of one entity of a table can do to the joined rows."""

    rows: int
    """At most so many rows of it in the joined rows."""
    moved: int
    """At most so many rows vanish or appear."""
    met: tuple[int, ...]
    """Per table: at most so many of its entities share rows with it."""
    own: tuple[int, ...]
    """Per table: at most so many of its rows share rows with it."""


@dataclass(frozen=True)
class Relation:
    """Tables by their place in a fixed order, and how a question joins them (`links`, in the order written)."""

    members: tuple[Member, ...]
    links: tuple[Link, ...] = ()

    @cached_property
    def single(self) -> bool:
        """Whether the question has one table only."""
        return len(self.members) == 1

    @cached_property
    def guard(self) -> Guard:
        """The strictest of all rules; a table with exact answers asks for no noise, and hence for no cost."""
        guards = [member.guard for member in self.members]
        noised = [guard for guard in guards if guard.noise is not Noise.exact] or guards
        return replace(
            guards[0],
            noise=max((guard.noise for guard in guards), key=_STRENGTH.index),
            rho_micro=min(guard.rho_micro for guard in noised),
            group_min=max(guard.group_min for guard in guards),
            dominance_percent=min(guard.dominance_percent for guard in guards),
            delta_exponent=max(guard.delta_exponent for guard in noised),
            cells_max=min(guard.cells_max for guard in guards),
            memory_mb=min(guard.memory_mb for guard in guards),
        )

    @cached_property
    def noised(self) -> tuple[int, ...]:
        """The tables whose entities the noise hides; all of them where every answer is exact."""
        found = tuple(i for i, m in enumerate(self.members) if m.guard.noise is not Noise.exact)
        return found or tuple(range(len(self.members)))

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns of all tables, one after the other."""
        return tuple(column for member in self.members for column in member.table.columns)

    @cached_property
    def bases(self) -> tuple[int, ...]:
        """Where the columns of each table begin."""
        sizes = [len(member.table.columns) for member in self.members]
        return tuple(sum(sizes[:place]) for place in range(len(sizes)))

    def owner(self, index: int) -> int:
        """The table a column belongs to."""
        return max(place for place, base in enumerate(self.bases) if base <= index)

    def entity_of(self, index: int) -> int | None:
        """The table whose entity a column identifies, None where it identifies none."""
        place = self.owner(index)
        return place if self.columns[index].name == self.members[place].table.entity else None

    def value(self, index: int) -> Value:
        """The typed value of a column; NULL is possible where its table need not be met."""
        found = stored(index, self.columns[index])
        if self.single:
            return found
        place = self.owner(index)
        sql = f"t{place}c{index - self.bases[place]}"
        return replace(found, sql=sql, nullable=found.nullable or place in self.optional)

    def eid(self, place: int) -> str:
        """The SQL of the number of an entity of a table."""
        return "eid" if self.single else f"t{place}e"

    @cached_property
    def mandatory(self) -> frozenset[int]:
        """The tables that are in every joined row: not, or not only, on the optional side of a LEFT JOIN."""
        if not self.links:
            return frozenset(range(len(self.members)))
        return self._with({self._first, *(link.part for link in self.links if not link.left)})

    @cached_property
    def optional(self) -> frozenset[int]:
        """The tables that a joined row may be without."""
        return frozenset(range(len(self.members))) - self.mandatory

    def _with(self, places: Iterable[int]) -> frozenset[int]:
        """Tables and those they were met through: a row that has the former has the latter."""
        found: set[int] = set()
        waiting = list(places)
        while waiting:
            place = waiting.pop()
            if place not in found:
                found.add(place)
                waiting += [part for link in self.links if link.part == place for _, part, _ in link.on]
        return frozenset(found)

    def classes(self, present: frozenset[int]) -> dict[tuple[int, int], int]:
        """Columns (table, place) that are equal in every row that has these tables, as the number of their class."""
        known: dict[tuple[int, int], int] = {}
        pairs = [
            ((link.part, own), (p, c)) for link in self.links if link.part in present for own, p, c in link.on
        ]
        for number, ends in enumerate(pairs):
            merged = {known[end] for end in ends if end in known}
            known.update({end: number for end, old in known.items() if old in merged})
            known.update(dict.fromkeys(ends, number))
        return known

    def same_entity(self, one: int, other: int) -> bool:
        """Whether two tables are joined on the entity of both: a row that has both is about one entity."""
        if one == other:
            return True
        known = self.classes(self._with((one, other)) | self.mandatory)
        found = [
            known.get((place, table.names.index(table.entity))) if table.entity is not None else None
            for place, table in ((one, self.members[one].table), (other, self.members[other].table))
        ]
        return found[0] is not None and found[0] == found[1]

    def _fan(self, place: int, columns: set[int]) -> int | None:
        """At most so many rows of a table have one value of these columns; None: no declared key among them."""
        table = self.members[place].table
        names = {table.names[column] for column in columns}
        return min((key.rows for key in table.joins if set(key.columns) <= names), default=None)

    def _spread(self, start: int, rows: int) -> tuple[int, list[int]]:
        """Joined rows that `rows` rows of a table can be in, and the rows of each table met on the way.

        First the tables that every such row has, by what is equal in all of them and the smallest step first;
        then each optional one, by its own ON alone: it adds a row with NULLs where it is not met, which is
        within its F of one or more.
        """
        met = {start: rows}
        present = self._with((start,)) | self.mandatory
        classes = self.classes(present)
        while len(met) < len(present):
            bound = {number for (place, _), number in classes.items() if place in met}
            steps: list[tuple[int, int]] = []
            for place in present - met.keys():
                keys = {
                    column for (part, column), number in classes.items() if part == place and number in bound
                }
                if (fan := self._fan(place, keys)) is not None:
                    steps.append((fan, place))
            fan, place = min(steps)
            rows *= fan
            met[place] = rows
        for link in self.links:
            if link.part not in met:
                rows *= self._fan(link.part, {own for own, _, _ in link.on}) or 1
                met[link.part] = rows
        return rows, [met[place] for place in range(len(self.members))]

    @cached_property
    def reaches(self) -> tuple[Reach, ...]:
        """The reach of an entity of each table."""
        found: list[Reach] = []
        for place, member in enumerate(self.members):
            rows, own = self._spread(place, member.table.rows_per_entity)
            met = [1 if self.same_entity(place, other) else own[other] for other in range(len(own))]
            found.append(Reach(rows, rows * (2 if place in self.optional else 1), tuple(met), tuple(own)))
        return tuple(found)

    @cached_property
    def rows_max(self) -> int:
        """A declared upper bound of joined rows."""
        return min(self._spread(place, self.members[place].table.rows_max)[0] for place in self.mandatory)

    def constant(self, place: int, index: int) -> bool:
        """Whether all joined rows of an entity of a table have one value, or none of them has one, in a column."""
        other = self.owner(index)
        if place in self.optional:
            return False  # those that met it get a NULL when it goes
        if other not in self.optional and self.columns[index].constant and self.same_entity(place, other):
            return True
        # An optional table is counted after all it hangs on: one row of it is one row of these, met or not.
        return self.reaches[place].own[other] == 1

    def touched(self, place: int, columns: Iterable[int], most: int | None) -> int:
        """L0: cells of these keys that one entity of a table may touch; `most`: how many cells are shown at all."""
        if all(self.constant(place, index) for index in columns):
            return 1
        moved = self.reaches[place].moved
        return moved if most is None else min(moved, most)

    def source(self, used: str) -> str:
        """The FROM of a question whose SQL so far is `used`, each table bounded to the rows that count."""
        if self.single:
            return f"t0 WHERE rn <= {self.members[0].table.rows_per_entity}"
        joins = "".join(
            f" {'LEFT ' if link.left else ''}JOIN {{{link.part}}} ON "
            + " AND ".join(sorted(f"t{link.part}j{own} = t{part}j{place}" for own, part, place in link.on))
            for link in self.links
        )
        shown: list[set[str]] = [set() for _ in self.members]
        for part, entity, number in self._names(used):
            shown[part].add(f"eid AS t{part}e" if entity else f"c{number} AS t{part}c{number}")
        for part, number in _MET.findall(joins):
            shown[int(part)].add(f"j{number} AS t{part}j{number}")
        parts = [self._part(place, sorted(names)) for place, names in enumerate(shown)]
        return f"{{{self._first}}}{joins}".format(*parts)

    def named(self, used: str) -> list[str]:
        """The names of columns and entities in the SQL of a joined question, each once, sorted."""
        return sorted(
            {f"t{part}e" if entity else f"t{part}c{number}" for part, entity, number in self._names(used)}
        )

    def _names(self, used: str) -> list[tuple[int, str, str]]:
        # A text constant may look like a column: one that is there is read in vain, no other.
        sizes = [len(member.table.columns) for member in self.members]
        return [
            (int(part), entity, number)
            for part, entity, number in _READ.findall(used)
            if int(part) < len(sizes) and (entity or int(number) < sizes[int(part)])
        ]

    @cached_property
    def _first(self) -> int:
        """The table that the others are joined to."""
        joined = {link.part for link in self.links}
        return next(place for place in range(len(self.members)) if place not in joined)

    def _part(self, place: int, shown: list[str]) -> str:
        rows = self.members[place].table.rows_per_entity
        return f"(SELECT {', '.join(shown)} FROM t{place} WHERE rn <= {rows}) AS s{place}"

    @cached_property
    def text(self) -> str:
        """The canonical text of the join, equal for equal joins; empty for one table."""
        steps: list[str] = []
        for link in self.links:
            on = sorted(
                " = ".join(sorted((f"t{link.part}j{own}", f"t{part}j{place}")))
                for own, part, place in link.on
            )
            steps.append(("left " if link.left else "") + f"t{link.part} on {' and '.join(on)}")
        if not any(link.left for link in self.links):
            equal: dict[int, list[str]] = {}
            for (place, column), number in sorted(self.classes(self.mandatory).items()):
                equal.setdefault(number, []).append(f"t{place}j{column}")
            steps = sorted(" = ".join(names) for names in equal.values())
        return " joined " + ", ".join(steps) if steps else ""
