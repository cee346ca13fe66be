"""FROM (数据来源): tables, simple sub-queries looked through, and joins on the keys both sides list.

1. Every table of the question belongs to one contract, and is there once.
2. Tables are joined by JOIN or LEFT JOIN on equalities of columns, AND only; both columns are listed in the
   terms of their table, were kept at registration, and are of one kind.
3. On the optional side of a LEFT JOIN stands a plain table: a condition on it would have to come before the join.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.expressions.core import Expr

from dujiang.cleanroom.grammar import AGGREGATES, span
from dujiang.cleanroom.model import (
    COLUMN_AMBIGUOUS,
    COLUMN_UNKNOWN,
    CONSTRUCT_REFUSED,
    JOIN_FORM,
    JOIN_KEY_NOT_KEPT,
    JOIN_KEY_NOT_LISTED,
    NOT_A_QUESTION,
    QUESTION_DEEP,
    SEVERAL_TABLES,
    TABLE_AMBIGUOUS,
    TABLE_TWICE,
    TABLE_UNKNOWN,
    TABLE_UNUSED,
    TYPE_MIXED,
)
from dujiang.cleanroom.predicate import Pred
from dujiang.cleanroom.reading import Reader, Scope, flattened
from dujiang.cleanroom.relation import Link, Member, Relation
from dujiang.kernel.errors import Refused, Span

LEVELS_MAX = 5
"""Sub-queries and CTEs inside one another."""

KINDS = (("", ""), ("", "INNER"), ("LEFT", ""), ("LEFT", "OUTER"))


@dataclass(slots=True)
class Sources:
    """The FROM of one question being read; what conditions its sub-queries hold is added to `tests`."""

    text: str
    members: Sequence[Member]
    reader: Reader
    tests: list[Pred] = field(default_factory=list[Pred])
    seen: list[int] = field(default_factory=list[int])
    links: list[Link] = field(default_factory=list[Link])

    def scope(self, tree: exp.Select) -> Scope:
        """What names mean in the question; the reader knows its relation from here on.

        Raises: not_a_question, table_unknown, and the codes of joins and sub-queries.
        """
        found = self._select(tree, {}, 0)
        missing = next((p for p in range(len(self.members)) if p not in self.seen), None)
        if missing is not None:
            where = span(tree.args["from_"], self.text)
            raise Refused(TABLE_UNUSED, where=where, table=self.members[missing].table.name)
        self.reader.relation = Relation(tuple(self.members), tuple(self.links))
        return found

    def _select(self, tree: exp.Select, ctes: dict[str, Expr], level: int) -> Scope:
        if level > LEVELS_MAX:
            raise Refused(QUESTION_DEEP, where=span(tree, self.text), limit=f"{LEVELS_MAX}")
        ctes = dict(ctes)
        if tree.args.get("with_"):
            for cte in tree.args["with_"].expressions:
                ctes[cte.alias.casefold()] = cte.this
        if not tree.args.get("from_"):
            raise Refused(NOT_A_QUESTION, where=span(tree, self.text))
        scope = self._source(tree.args["from_"].this, ctes, level)
        joins = tree.args.get("joins") or []
        if joins and len(self.members) == 1:
            raise Refused(SEVERAL_TABLES, where=span(joins[0].this, self.text))
        if joins and level:
            raise Refused(CONSTRUCT_REFUSED, where=span(joins[0], self.text), name="SUBQUERY JOIN")
        return self._joined(scope, joins, ctes) if joins else scope

    def _source(self, source: Expr, ctes: dict[str, Expr], level: int) -> Scope:
        """What names mean in one item of FROM: its sub-queries looked through down to a registered table."""
        alias = source.args.get("alias")
        if isinstance(source, exp.Subquery):
            names = frozenset({alias.name.casefold()} if alias else ())
            return self._looked_through(source.this, names, ctes, level)
        if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
            name = source.name
            names = frozenset({(alias.name if alias else name).casefold()})
            inner = ctes.get(name.casefold())
            if inner is None:
                return Scope(names, part=self._part(source))
            rest = {each: query for each, query in ctes.items() if each != name.casefold()}
            return self._looked_through(inner, names, rest, level)
        raise Refused(SEVERAL_TABLES, where=span(source, self.text))

    def _part(self, source: exp.Table) -> int:
        """The table that a name in FROM stands for; a contract's id is a name of its table, too."""
        name, where = source.name, span(source.this, self.text)
        known = [(member.table.name, member.name) for member in self.members]
        exact = [place for place, names in enumerate(known) if name in names]
        folded = [p for p, names in enumerate(known) if name.casefold() in (names[0].casefold(), names[1])]
        found = exact or folded
        if not found:
            tables = ", ".join(table for table, _ in known)
            raise Refused(TABLE_UNKNOWN, where=where, name=name[:60], table=tables)
        if len(found) > 1:
            raise Refused(TABLE_AMBIGUOUS, where=where, name=name[:60])
        if found[0] in self.seen:
            raise Refused(TABLE_TWICE, where=where, table=known[found[0]][0])
        self.seen.append(found[0])
        return found[0]

    def _looked_through(self, inner: Expr, names: frozenset[str], ctes: dict[str, Expr], level: int) -> Scope:
        """The scope of a simple sub-query: columns, expressions and a condition, nothing else."""
        if not isinstance(inner, exp.Select):
            raise Refused(CONSTRUCT_REFUSED, where=span(inner, self.text), name="SUBQUERY")
        for part in ("group", "having", "order", "limit", "offset"):
            if inner.args.get(part):
                where = span(inner.args[part], self.text)
                raise Refused(CONSTRUCT_REFUSED, where=where, name=f"SUBQUERY {part.upper()}")
        below = self._select(inner, ctes, level + 1)
        outputs: dict[str, Expr] = {}
        star = False
        for item in inner.expressions:
            if item.find(*AGGREGATES):
                raise Refused(CONSTRUCT_REFUSED, where=span(item, self.text), name="SUBQUERY")
            if isinstance(item, exp.Star):
                star = True
            elif item.alias_or_name:
                outputs[item.alias_or_name.casefold()] = item.this if isinstance(item, exp.Alias) else item
        if inner.args.get("where"):
            self.tests.append(self.reader.condition(inner.args["where"].this, below))
        return Scope(names, outputs, below, star)

    def _joined(self, first: Scope, joins: Sequence[Expr], ctes: dict[str, Expr]) -> Scope:
        """The scope of joined tables, one link for each after the first."""
        sides, merged = [first], dict[str, int]()
        for join in joins:
            form = (str(join.args.get("side") or ""), str(join.args.get("kind") or ""))
            where = span(join, self.text)
            if form not in KINDS:
                raise Refused(JOIN_FORM, where=where, name=" ".join(filter(None, (*form, "JOIN"))))
            held = len(self.tests)
            side = self._source(join.this, ctes, 0)
            left = form[0] == "LEFT"
            if left and len(self.tests) > held:
                raise Refused(CONSTRUCT_REFUSED, where=where, name="LEFT JOIN (SELECT … WHERE)")
            if any(side.aliases & other.aliases for other in sides):
                raise Refused(COLUMN_AMBIGUOUS, where=where, column=", ".join(sorted(side.aliases))[:60])
            sides.append(side)
            pairs = self._using(join, sides, merged) if join.args.get("using") else self._on(join, sides)
            self.links.append(self._link(pairs, left))
        return Scope(frozenset(), sides=tuple(sides), merged=merged)

    def _using(self, join: Expr, sides: list[Scope], merged: dict[str, int]) -> list[_Pair]:
        pairs: list[_Pair] = []
        for name in join.args["using"]:
            where, word = span(name, self.text), name.name.casefold()
            before = [sides[merged[word]]] if word in merged else sides[:-1]
            side = self._side(name.name, before, where)
            place = next(at for at, each in enumerate(sides) if each is side)
            pairs.append(
                (self._key(name.name, sides[-1], where), self._key(name.name, sides[place], where), where)
            )
            merged[word] = place
        return pairs

    def _on(self, join: Expr, sides: list[Scope]) -> list[_Pair]:
        condition = join.args.get("on")
        if condition is None:
            raise Refused(JOIN_FORM, where=span(join, self.text), name="JOIN")
        pairs: list[_Pair] = []
        for part in flattened(condition) if isinstance(condition, exp.And) else [condition]:
            while isinstance(part, exp.Paren):
                part = part.this
            where = span(part, self.text)
            ends = (part.this, part.args["expression"]) if isinstance(part, exp.EQ) else ()
            if not ends or not all(isinstance(each, exp.Column) for each in ends):
                raise Refused(JOIN_FORM, where=where, name="ON")
            found = [self._end(each, sides) for each in ends]
            new = [side is sides[-1] for side, _ in found]
            if new[0] == new[1]:
                raise Refused(JOIN_FORM, where=where, name="ON")
            own, other = (key for _, key in (found if new[0] else found[::-1]))
            pairs.append((own, other, where))
        return pairs

    def _end(self, column: Expr, sides: list[Scope]) -> tuple[Scope, tuple[int, int]]:
        where, qualifier = span(column, self.text), column.args.get("table")
        named = [s for s in sides if qualifier is None or qualifier.name.casefold() in s.aliases]
        side = self._side(column.name, named, where)
        return side, self._key(column.name, side, where)

    def _side(self, name: str, sides: Sequence[Scope], where: Span | None) -> Scope:
        """The one of `sides` that has a column to join on."""
        found = [side for side in sides if self._traced(name, side)]
        if len(found) != 1:
            code = COLUMN_AMBIGUOUS if found else COLUMN_UNKNOWN
            raise Refused(code, where=where, column=name[:60])
        return found[0]

    def _traced(self, name: str, scope: Scope) -> tuple[int, int] | None:
        """The table and place of a column that a name is, also through sub-queries; None for anything else."""
        if scope.inner is not None:
            inner = scope.names.get(name.casefold())
            if inner is None:
                return self._traced(name, scope.inner) if scope.star else None
            return self._traced(inner.name, scope.inner) if isinstance(inner, exp.Column) else None
        member = self.members[scope.part]
        found = member.table.find(name)
        if found is None or not (
            found[1].uses or found[1].name in (member.table.entity, *member.guard.join_keys)
        ):
            return None
        return scope.part, found[0]

    def _key(self, name: str, scope: Scope, where: Span | None) -> tuple[int, int]:
        """A column that its table may be joined on."""
        found = self._traced(name, scope)
        if found is None:
            raise Refused(COLUMN_UNKNOWN, where=where, column=name[:60])
        member = self.members[found[0]]
        column = member.table.columns[found[1]].name
        for code, known in (
            (JOIN_KEY_NOT_LISTED, member.guard.join_keys),
            (JOIN_KEY_NOT_KEPT, member.table.joinable),
        ):
            if column not in known:
                raise Refused(code, where=where, table=member.table.name, column=column)
        return found

    def _link(self, pairs: list[_Pair], left: bool) -> Link:
        for own, other, where in pairs:
            kinds = [self.members[part].table.columns[place].kind for part, place in (own, other)]
            if kinds[0] is not kinds[1]:
                raise Refused(TYPE_MIXED, where=where, name=", ".join(kinds))
        part = pairs[0][0][0]
        return Link(part, tuple(sorted({(own[1], *other) for own, other, _ in pairs})), left)


_Pair = tuple[tuple[int, int], tuple[int, int], Span | None]
"""Table and place of a column of the new table, of one it is met with, and where that is written."""
