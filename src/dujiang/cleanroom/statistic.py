"""Statistics (统计量) of a question: what is charged, how far one entity moves it, and its SQL.

1. Every sensitivity follows from declared shapes: the rows an entity moves, L0 cells, the interval of a value.
   In a join it is the largest of all tables', each weighed by what its provider asks one statistic to cost.
2. A statistic is known by its cells, condition and value; the same one is charged once however it is asked.
3. With exact answers the SQL is two-level where an entity has several rows, and holds k and dominance itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from dujiang.cleanroom import predicate, sqltype
from dujiang.cleanroom.model import (
    EXACT_DISTINCT,
    NUMBER_WIDE,
    QUESTION_LONG,
    TOO_MANY_CELLS,
    Aggregate,
    Form,
    Guard,
    Key,
    Noise,
    Statistic,
)
from dujiang.cleanroom.predicate import Pred
from dujiang.cleanroom.relation import Relation
from dujiang.cleanroom.sqltype import Value
from dujiang.kernel.errors import Refused
from dujiang.registry.model import Column, Kind

THREADS = 2
HASHED_MAX = 1 << 15
"""Up to so many pairs of cell and entity a hash set stays in the processor's cache and beats the bitmap."""
SUM_MAX = 2**126
SQL_TOTAL_MAX = 400_000
"""Longest regenerated question, in characters."""

OTHER = "other"
"""The key that text values outside a published list are registered as."""


_VALUES = re.compile(r"COUNT\((?:t\d+)?c\d+\)")
"""A count of the rows where one column has a value."""
MomentForm = Literal["mean", "var_pop", "var_samp", "stddev_pop", "stddev_samp"]


@dataclass(frozen=True, slots=True)
class Cells:
    """The groups of a question: their keys in canonical order, the condition, and how many there can be."""

    keys: tuple[Value, ...]
    where: Pred
    most: int
    touched: tuple[int, ...]
    """L0 of each table: cells one of its entities may touch."""
    joined: str = ""
    """The canonical text of the join."""

    @property
    def text(self) -> str:
        """The canonical text every statistic over these cells shares."""
        return f"by [{', '.join(key.sql for key in self.keys)}] where {self.where.sql}{self.joined}"


@dataclass(frozen=True, slots=True)
class Source:
    """How a statistic is computed: over all rows in one level, and per entity and then over entities."""

    flat: str
    inner: str
    outer: str
    test: Pred
    """The condition it rests on: where it leaves rows of the cell out, k must hold for the rest as well."""
    dominant: str = ""
    """The per-row value whose total must not be one entity's, for sums."""

    @property
    def filtered(self) -> bool:
        """Whether it rests on fewer rows than its cell."""
        return self.test.op != "true"


def declared(column: Column) -> tuple[object, ...] | None:
    """The published keys of a column in the form the engine returns them, None where they are private."""
    if column.kind is Kind.boolean:
        return (0, 1)
    if column.keys is None:
        return None
    if column.kind is Kind.text:
        return column.keys if OTHER in column.keys else (*column.keys, OTHER)
    if column.is_number:
        return tuple(sqltype.number(key).constant_at(column.scale) for key in column.keys)
    return tuple(sqltype.read_moment(key, column.kind).sql.split("'")[1] for key in column.keys)


def key_of(value: Value, relation: Relation) -> tuple[Key, int]:
    """The Key of a GROUP BY expression and an upper bound of how many values it has, NULL included."""
    listed = value.listed if value.bare is None else declared(relation.columns[value.bare])
    nullable = value.nullable
    if value.bare is not None and listed is not None and not nullable:
        # A value outside a published list is registered as NULL, unless it is text.
        nullable = value.kind not in (Kind.text, Kind.boolean)
    sizes = [relation.rows_max]
    if listed is not None:
        sizes.append(len(listed))
    if value.lo is not None and value.hi is not None and value.kind is not Kind.timestamp:
        sizes.append(value.hi - value.lo + 1)
    if value.spread is not None:
        sizes.append(value.spread)
    product = 1
    for index in value.columns:
        column = relation.columns[index]
        product *= (len(column.keys) + 1 if column.keys is not None else column.distinct_max) + 1
    sizes.append(product)
    key = Key(value.name, value.kind, value.scale, listed, nullable)
    return key, max(1, min(sizes)) + nullable


def cells_of(keys: Iterable[Value], where: Pred, relation: Relation) -> tuple[Cells, tuple[Key, ...]]:
    """The cells of a question and their keys, sizes judged from what is declared.

    Raises: too_many_cells.
    """
    ordered = tuple(sorted({key.sql: key for key in keys}.values(), key=lambda key: key.sql))
    named = [key_of(key, relation) for key in ordered]
    most = 1
    for _, size in named:
        most *= size
    all_listed = all(key.keys is not None for key, _ in named)
    # Listed keys are shown even where no row is, private ones only where rows are.
    most = most if all_listed else min(most, relation.rows_max)
    if most > relation.guard.cells_max:
        raise Refused(TOO_MANY_CELLS, limit=str(relation.guard.cells_max))
    columns = frozenset[int]().union(*(key.columns for key in ordered))
    shown = most if all_listed else None
    touched = tuple(relation.touched(place, columns, shown) for place in range(len(relation.members)))
    return Cells(ordered, where, most, touched, relation.text), tuple(key for key, _ in named)


@dataclass(slots=True)
class Tally:
    """The statistics a question has asked for so far, each once, with the SQL of each."""

    relation: Relation
    cells: Cells
    statistics: list[Statistic] = field(default_factory=list[Statistic])
    sources: list[Source] = field(default_factory=list[Source])

    @property
    def guard(self) -> Guard:
        """The rules of all its tables together."""
        return self.relation.guard

    def _add(
        self, form: Form, what: str, source: Source, delta: int, unit: Fraction = Fraction(1), of: int = 0
    ) -> int:
        """The index of a statistic, added where it is new; `delta` is what one row can move it.

        `of`: of which table distinct entities are counted.
        """
        key = f"{form} {what} {self.cells.text}"
        for index, known in enumerate(self.statistics):
            if known.key == key:
                return index
        delta = max(1, delta)
        if delta * self.relation.rows_max >= SUM_MAX:
            raise Refused(NUMBER_WIDE)
        moves = [self._moves(form, delta, place, of) for place in range(len(self.relation.members))]
        weighed = [self._weighed(moves[place], place) for place in self.relation.noised]
        delta1, delta2_squared = (max(each[at] for each in weighed) for at in (0, 1))
        self.statistics.append(
            Statistic(key, form, delta1, delta2_squared, max(cap for _, _, cap in moves), unit)
        )
        self.sources.append(source)
        return len(self.statistics) - 1

    def _moves(self, form: Form, delta: int, place: int, of: int) -> tuple[int, int, int]:
        """L1, squared L2 and largest change of a statistic where one entity of a table goes."""
        reach = self.relation.reaches[place]
        if form is not Form.entities:
            most = reach.moved * delta
            return most, most * most, most
        # So many of the counted entities go from at most so many cells, and from no more than there are rows.
        met, touched = reach.met[of], self.cells.touched[place]
        return min(reach.moved, met * touched), min(met * reach.moved, met * met * touched), met

    def _weighed(self, moves: tuple[int, int, int], place: int) -> tuple[int, int]:
        """L1 and squared L2 as they count at the cost of the whole question, rounded up."""
        all_micro, own_micro = self.guard.rho_micro, self.relation.members[place].guard.rho_micro
        if own_micro <= all_micro:
            return moves[0], moves[1]
        square = -(-(moves[0] ** 2) * all_micro // own_micro)
        return math.isqrt(square - 1) + 1, -(-moves[1] * all_micro // own_micro)

    def entities(self, test: Pred = predicate.TRUE, of: int = 0) -> int:
        """U: distinct entities of a table in a cell; rows, where an entity has one row of the joined rows."""
        if self.relation.reaches[of].rows == 1:
            return self.rows(predicate.both((test, self._met(of))))
        flat = self.distinct_entities(test, of)
        inner = f"MAX(CASE WHEN {test.sql} THEN 1 ELSE 0 END)" if test.op != "true" else "1"
        what = test.sql if self.relation.single else f"{self.relation.eid(of)} {test.sql}"
        source = Source(flat, inner, "SUM({})", test)
        return self._add(Form.entities, what, source, 1, of=of)

    def _met(self, of: int) -> Pred:
        """The condition that a row holds an entity of a table: always, but on the optional side of a join."""
        eid = replace(sqltype.whole(0), sql=self.relation.eid(of), constant=None, nullable=True)
        return predicate.is_null(eid, null=False) if of in self.relation.optional else predicate.TRUE

    def distinct_entities(self, test: Pred = predicate.TRUE, of: int = 0) -> str:
        """The SQL of distinct entities: a bitmap where it is quicker and fits, else COUNT(DISTINCT eid)."""
        eid, entities = self.relation.eid(of), self.relation.members[of].table.entities
        eid = eid if test.op == "true" else f"CASE WHEN {test.sql} THEN {eid} END"
        # Of every table one may stand, and a join needs room of its own.
        bytes_max = (self.guard.memory_mb << 20) // (4 * len(self.relation.members))
        room = self.cells.most * (entities // 8 + 1) * THREADS <= bytes_max
        if room and self.cells.most * entities > HASHED_MAX:
            return f"COALESCE(BIT_COUNT(BITSTRING_AGG({eid}, 0, {max(1, entities - 1)})), 0)"
        return f"COUNT(DISTINCT {eid})"

    def rows(self, test: Pred = predicate.TRUE) -> int:
        """N: rows of a cell for which a condition holds."""
        if test.op == "true":
            flat = "COUNT(*)"
        elif test.op == "not null":
            flat = f"COUNT({test.left})"
        else:
            flat = f"COUNT(CASE WHEN {test.sql} THEN 1 END)"
        return self._add(Form.rows, test.sql, Source(flat, flat, "SUM({})", test), 1)

    def known(self, value: Value, test: Pred) -> int:
        """N of a value: rows where it is not NULL and the condition holds."""
        if value.sql in predicate.rejects_null(self.cells.where):
            return self.rows(test)
        return self.rows(predicate.both((test, predicate.is_null(value, null=False))))

    def total(self, value: Value, test: Pred) -> int:
        """S: the sum of a value over the rows where a condition holds."""
        lo, hi = sqltype.interval(value)
        masked = _masked(value, test).sql
        source = Source(f"COALESCE(SUM({masked}), 0)", f"COALESCE(SUM({masked}), 0)", "SUM({})", test, masked)
        return self._add(Form.total, masked, source, max(abs(lo), abs(hi)), Fraction(1, 10**value.scale))

    def centred(self, value: Value, test: Pred) -> int:
        """S°: the sum of a value less its middle."""
        lo, hi = sqltype.interval(value)
        middle = (lo + hi) // 2
        masked = _masked(value, test).sql
        flat = f"COALESCE(SUM({masked}), 0)"
        if middle:
            flat = f"({flat} - CAST({middle} AS HUGEINT) * COUNT({masked}))"
        source = Source(flat, flat, "SUM({})", test, masked)
        return self._add(
            Form.centred, masked, source, max(hi - middle, middle - lo), Fraction(1, 10**value.scale)
        )

    def squared(self, value: Value, test: Pred) -> int:
        """Q: the sum of the squared distance from the middle, less half its largest value."""
        lo, hi = sqltype.interval(value)
        middle, half, offset = middle_of(lo, hi)
        masked = _masked(value, test)
        away = _minus(masked, middle)
        width = sqltype.bits(half * half)
        distance = sqltype.at(away, width)
        flat = f"COALESCE(SUM({distance} * {distance}), 0)"
        if offset:
            flat = f"({flat} - CAST({offset} AS HUGEINT) * COUNT({masked.sql}))"
        delta = max(offset, half * half - offset)
        source = Source(flat, flat, "SUM({})", test)
        return self._add(Form.squared, masked.sql, source, delta, Fraction(1, 10 ** (2 * value.scale)))

    def distinct(self, value: Value, test: Pred) -> int:
        """Distinct values of a column."""
        flat = f"COUNT(DISTINCT {_masked(value, test).sql})"
        return self._add(Form.distinct, flat, Source(flat, "", "", test), 1)

    def presence(self) -> tuple[int, ...]:
        """The statistics standing for distinct entities of every table, added if missing."""
        return tuple(self._presence(place) for place in self._counted())

    def _counted(self) -> list[int]:
        """The tables whose entities are counted: of tables joined on the entity of both, one stands for all."""
        optional, reaches = self.relation.optional, self.relation.reaches
        found: list[int] = []
        for place in range(len(reaches)):
            alike = (
                self.relation.same_entity(place, each) or reaches[place].rows == reaches[each].rows == 1
                for each in found
                if place not in optional and each not in optional
            )
            if not any(alike):
                found.append(place)
        return found

    def _presence(self, of: int) -> int:
        if self.relation.reaches[of].rows == 1 and of not in self.relation.optional:
            for index, known in enumerate(self.statistics):
                # Rows with a value are entities too, and not more of them: no further charge is needed.
                if known.form is Form.rows and self.sources[index].flat == "COUNT(*)":
                    return index
            for index, known in enumerate(self.statistics):
                if known.form is Form.rows and _VALUES.match(self.sources[index].flat):
                    return index
        for index, known in enumerate(self.statistics):
            # The same on the optional side of a join: who has a value of the table was met.
            met = known.form is Form.rows and self.sources[index].flat.startswith(f"COUNT(t{of}c")
            if met and self.relation.reaches[of].rows == 1:
                return index
        return self.entities(of=of)

    def _presences(self) -> list[str]:
        """The SQL of the true distinct entities behind `presence`, in its order."""
        return [self._true_entities(place) for place in self._counted()]

    def _true_entities(self, of: int, test: Pred = predicate.TRUE) -> str:
        if self.relation.reaches[of].rows > 1:
            return self.distinct_entities(test, of)
        met = predicate.both((test, self._met(of)))
        if met.op == "true":
            return "COUNT(*)"
        return f"COUNT({met.left})" if met.op == "not null" else f"COUNT(CASE WHEN {met.sql} THEN 1 END)"

    def sql(self) -> str:
        """The regenerated question over `t0`: keys, distinct entities, then one integer per statistic."""
        if self.guard.noise is not Noise.exact:
            sql = self._flat(self._presences(), "")
        elif self.relation.single:
            sql = self._exact()
        else:
            sql = self._exact_joined()
        if len(sql) > SQL_TOTAL_MAX:
            raise Refused(QUESTION_LONG, limit=f"{SQL_TOTAL_MAX}")
        return sql

    def _from(self, used: str) -> str:
        """FROM and WHERE of a question that reads what stands in `used`."""
        test = "" if self.cells.where.op == "true" else self.cells.where.sql
        joiner = " AND " if self.relation.single else " WHERE "
        return f"FROM {self.relation.source(used + test)}{joiner + test if test else ''}"

    def _flat(self, entities: list[str], having: str) -> str:
        keys = [key.sql for key in self.cells.keys]
        places = ", ".join(str(place + 1) for place in range(len(keys)))
        columns = ", ".join([*keys, *entities, *(source.flat for source in self.sources)])
        grouped = f" GROUP BY {places}" if keys else ""
        ordered = f" ORDER BY {places}" if keys else ""
        return f"SELECT {columns} {self._from(columns + having)}{grouped}{having}{ordered}"

    def _exact_joined(self) -> str:
        """The true statistics of cells in which every table holds k and no entity of any dominates a sum."""
        least, share = self.guard.group_min, self.guard.dominance_percent
        if any(known.form is Form.distinct for known in self.statistics) and any(
            source.filtered or source.dominant for source in self.sources
        ):
            raise Refused(EXACT_DISTINCT)
        places = range(len(self.relation.members))
        rules = [f"{self._true_entities(place)} >= {least}" for place in places]
        shown = {name: name for name in self._read()}
        keys = ", ".join(key.sql for key in self.cells.keys)
        for at, source in enumerate(self.sources):
            if source.filtered:
                rules += [f"{self._true_entities(place, source.test)} >= {least}" for place in places]
            for place in places if source.dominant else ():
                wide = f"ABS(CAST({source.dominant} AS HUGEINT))"
                held = wide
                if self.relation.reaches[place].rows > 1:
                    within = ", ".join(filter(None, (keys, self.relation.eid(place))))
                    held = shown.setdefault(f"SUM({wide}) OVER (PARTITION BY {within})", f"w{at}_{place}")
                rules.append(f"COALESCE(MAX({held}) * 100 <= {share} * SUM({wide}), TRUE)")
        having = f" HAVING {' AND '.join(dict.fromkeys(rules))}"
        if all(sql == name for sql, name in shown.items()):
            return self._flat(self._presences(), having)
        inner = ", ".join(f"{sql} AS {name}" for sql, name in shown.items())
        outer = ", ".join(
            [*(k.sql for k in self.cells.keys), *self._presences(), *(s.flat for s in self.sources)]
        )
        levels = ", ".join(str(place + 1) for place in range(len(self.cells.keys)))
        grouped, ordered = (f" GROUP BY {levels}", f" ORDER BY {levels}") if levels else ("", "")
        return f"SELECT {outer} FROM (SELECT {inner} {self._from(inner)}) AS e{grouped}{having}{ordered}"

    def _read(self) -> list[str]:
        """The columns and entities a joined question reads, by their names in its SQL."""
        texts = [*(key.sql for key in self.cells.keys), *(source.flat for source in self.sources)]
        texts += [self.relation.eid(place) for place in range(len(self.relation.members))]
        return self.relation.named(" ".join(texts))

    def _exact(self) -> str:
        """Template E: the true statistics of cells that hold k and dominance, for terms that say exact."""
        least, share = self.guard.group_min, self.guard.dominance_percent
        single = self.relation.members[0].table.rows_per_entity == 1
        if any(known.form is Form.distinct for known in self.statistics):
            if any(s.filtered or s.dominant for s in self.sources):
                raise Refused(EXACT_DISTINCT)
            entities = "COUNT(*)" if single else self.distinct_entities()
            return self._flat([entities], f" HAVING {entities} >= {least}")
        if single:
            rules = [f"COUNT(*) >= {least}"]
            for source in self.sources:
                if source.filtered:
                    rules.append(
                        f"{source.flat if not source.dominant else f'COUNT({source.dominant})'} >= {least}"
                    )
                if source.dominant:
                    rules.append(_undominated(source.dominant, share))
            return self._flat(["COUNT(*)"], f" HAVING {' AND '.join(dict.fromkeys(rules))}")
        names = [f"k{place}" for place in range(len(self.cells.keys))]
        inner = [f"{key.sql} AS {name}" for key, name in zip(self.cells.keys, names, strict=True)] + ["eid"]
        rules = [f"COUNT(*) >= {least}"]
        for place, source in enumerate(self.sources):
            inner.append(f"{source.inner} AS p{place}")
            touched = f"p{place}"
            if source.dominant:
                inner += [
                    f"COALESCE(SUM({source.dominant}), 0) AS v{place}",
                    f"COUNT({source.dominant}) AS w{place}",
                ]
                rules.append(_undominated(f"v{place}", share))
                touched = f"w{place}"
            if source.filtered and self.statistics[place].form is not Form.squared:
                rules.append(f"COUNT(CASE WHEN {touched} > 0 THEN 1 END) >= {least}")
        levels = ", ".join(str(place + 1) for place in range(len(names) + 1))
        outer = ", ".join(
            [*names, "COUNT(*)", *(s.outer.format(f"p{i}") for i, s in enumerate(self.sources))]
        )
        places = ", ".join(str(place + 1) for place in range(len(names)))
        grouped, ordered = (f" GROUP BY {places}", f" ORDER BY {places}") if names else ("", "")
        table = f"(SELECT {', '.join(inner)} {self._from('')} GROUP BY {levels})"
        return (
            f"SELECT {outer} FROM {table} AS e{grouped} HAVING {' AND '.join(dict.fromkeys(rules))}{ordered}"
        )


def middle_of(lo: int, hi: int) -> tuple[int, int, int]:
    """Middle, half width (rounded up) and half of its square, on the grid of an interval."""
    middle = (lo + hi) // 2
    half = max(hi - middle, middle - lo)
    return middle, half, half * half // 2


def _minus(value: Value, middle: int) -> Value:
    return sqltype.subtract(
        value, Value(str(middle), Kind.decimal, value.scale, middle, middle, constant=middle)
    )


def _masked(value: Value, test: Pred) -> Value:
    """The value where a condition holds, else NULL (FILTER as CASE)."""
    if test.op == "true":
        return value
    sql = f"CASE WHEN {test.sql} THEN {value.sql} END"
    return Value(
        sql,
        value.kind,
        value.scale,
        value.lo,
        value.hi,
        True,
        value.width,
        None,
        value.columns | test.columns,
    )


def _undominated(value: str, share: int) -> str:
    wide = f"ABS(CAST({value} AS HUGEINT))"
    return f"COALESCE(MAX({wide}) * 100 <= {share} * SUM({wide}), TRUE)"


def moments(value: Value, form: MomentForm, n: int, centred: int, squared: int | None) -> Aggregate:
    """The Aggregate of a mean, variance or deviation from its statistics, in the value's own units."""
    lo, hi = sqltype.interval(value)
    unit = Fraction(1, 10**value.scale)
    middle, half, offset = middle_of(lo, hi)
    return Aggregate(
        form,
        n=n,
        centred=centred,
        squared=squared,
        lo=lo * unit,
        hi=hi * unit,
        mid=middle * unit,
        half=half * unit,
        c=offset * unit * unit,
        scale=value.scale,
    )
