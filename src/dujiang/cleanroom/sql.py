"""The guarded question's checker and rewriter (查询检查与改写): SQL text in, a Plan or a refusal out.

Numbered in the code: 1 limits and syntax · 2 the positive list · 3 names and sub-queries · 4 condition and
groups · 5 outputs, HAVING and ORDER BY over released values · 6 presence · 7 the SQL that runs.
Nothing a caller wrote reaches the engine: the SQL of a Plan is written from typed values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp
from sqlglot.expressions.core import Expr

from dujiang.cleanroom import grammar, predicate
from dujiang.cleanroom.grammar import AGGREGATES, span
from dujiang.cleanroom.joining import Sources
from dujiang.cleanroom.model import (
    LITERAL_BAD,
    ONLY_AGGREGATES,
    QUESTION_DEEP,
    TYPE_MIXED,
    Formula,
    Guard,
    Plan,
)
from dujiang.cleanroom.offer import offered
from dujiang.cleanroom.outcome import Outcome, canonical, is_truth
from dujiang.cleanroom.reading import Reader, Scope
from dujiang.cleanroom.relation import Member, Relation
from dujiang.cleanroom.sqltype import Value
from dujiang.cleanroom.statistic import Tally, cells_of
from dujiang.kernel.errors import Declined, Refused
from dujiang.registry.model import Table

ROWS_MAX = 10**9


def plan(text: str, table: Table, guard: Guard) -> Plan | Declined:
    """The checked, rewritten and priced question, or why it is declined, with a rewrite where one is natural.

    Depends on the text, the table's declared shape and the guard alone; raises nothing.
    """
    return plan_joined(text, (Member(table, guard),))


def plan_joined(text: str, members: Sequence[Member]) -> Plan | Declined:
    """The checked question over several tables, see `plan`; tables are known by their place in `members`."""
    try:
        return _planned(text, members)
    except Refused as refused:
        names, table = dict(refused.names), members[0].table
        for name in ("table", "name", "column", "limit"):
            if "{" + name + "}" in refused.code.why + refused.code.fix:
                names.setdefault(name, table.name if name == "table" else "…")
        rewrite = offered(refused, text, members, lambda new: _accepted(new, members))
        return Declined(refused.code, names, refused.where, rewrite)


def _accepted(text: str, members: Sequence[Member]) -> bool:
    try:
        _planned(text, members)
    except Refused:
        return False
    return True


def _planned(text: str, members: Sequence[Member]) -> Plan:
    tokens = grammar.tokenised(text)
    tree = grammar.parsed(text, tokens)
    spans = grammar.items(tokens, text)
    try:
        return _Question(text, members, tree, spans).plan()
    except RecursionError:
        raise Refused(QUESTION_DEEP, limit=f"{grammar.TREE_DEPTH_MAX}") from None


@dataclass(slots=True)
class _Question:
    """One question being read; `spans` are the places of its select items in the text."""

    text: str
    members: Sequence[Member]
    tree: exp.Select
    spans: list[tuple[int, int]]

    def plan(self) -> Plan:
        """The Plan of the question; raises Refused where a rule says no."""
        reader = Reader(Relation(tuple(self.members)), self.text)
        sources = Sources(self.text, self.members, reader)
        scope = sources.scope(self.tree)  # 3
        relation, tests = reader.relation, sources.tests
        if self.tree.args.get("where"):
            tests.append(reader.condition(self.tree.args["where"].this, scope))  # 4
        groups = self._groups(reader, scope)
        cells, keys = cells_of((group for group in groups if group.columns), predicate.both(tests), relation)
        outcome = Outcome(reader, scope, Tally(relation, cells), self._aliases())
        columns = self._columns(outcome)  # 5
        having = self._having(outcome)
        order = self._order(outcome, groups)
        if not outcome.aggregates and not groups:
            raise Refused(ONLY_AGGREGATES, where=span(self.tree, self.text), name="SELECT")
        presence = outcome.tally.presence()  # 6
        limit, offset = self._number("limit"), self._number("offset")
        described = [f"{one.form} {self._stats(one, outcome)}" for one in outcome.aggregates]
        table = ", ".join(member.table.name for member in self.members)
        meaning = (
            table,
            str(relation.guard.noise),
            cells.text,
            [canonical(f, described) for _, f in columns],
            None if having is None else canonical(having, described),
            [(canonical(f, described), desc, first) for f, desc, first in order],
            limit,
            offset or 0,
        )
        shown = dict(zip((key.sql for key in cells.keys), keys, strict=True))
        return Plan(
            table=table,
            sql=outcome.tally.sql(),  # 7
            canonical=repr(meaning),
            keys=tuple(
                replace(shown[key.sql], name=_key_name(place, columns, key))
                for place, key in enumerate(cells.keys)
            ),
            statistics=tuple(outcome.tally.statistics),
            aggregates=tuple(outcome.aggregates),
            columns=columns,
            presence=presence,
            noise=relation.guard.noise,
            having=having,
            order=order,
            limit=limit,
            offset=offset or 0,
            cells_max=cells.most,
            touched_max=max(cells.touched[place] for place in relation.noised),
            warnings=self._warnings(),
        )

    def _stats(self, aggregate: object, outcome: Outcome) -> str:
        names = ("n", "total", "centred", "squared")
        places = [getattr(aggregate, name) for name in names]
        return " | ".join(outcome.tally.statistics[place].key for place in places if place is not None)

    def _warnings(self) -> tuple[str, ...]:
        """What the caller should know beside the answer: a row's quotient is rounded to six decimals."""
        inside = (one for aggregate in self.tree.find_all(*AGGREGATES) for one in aggregate.find_all(exp.Div))
        return ("division_rounded",) if next(inside, None) else ()

    def _aliases(self) -> dict[str, Expr]:
        return {
            item.alias.casefold(): item.this for item in self.tree.expressions if isinstance(item, exp.Alias)
        }

    def _groups(self, reader: Reader, scope: Scope) -> list[Value]:
        """The GROUP BY expressions; a number is a place in the select list (step 4)."""
        group = self.tree.args.get("group")
        if not group:
            return []
        return [self._group(node, reader, scope) for node in group.expressions]

    def _group(self, node: Expr, reader: Reader, scope: Scope) -> Value:
        where = span(node, self.text)
        if isinstance(node, exp.Literal) and not node.args.get("is_string"):
            node = self._placed(node)
            node = node.this if isinstance(node, exp.Alias) else node
        elif isinstance(node, exp.Column) and not node.args.get("table"):
            try:
                reader.value(node, "any", scope)
            except Refused as refused:
                named = self._aliases().get(node.name.casefold())
                if named is None:
                    raise refused from None
                node = named
        value = reader.value(node, "group", scope)
        if not value.columns:
            raise Refused(TYPE_MIXED, where=where, name="GROUP BY, constant")
        return value

    def _placed(self, node: Expr) -> Expr:
        """The select item a position names."""
        items = self.tree.expressions
        place = int(node.name) if node.name.isascii() and node.name.isdigit() and len(node.name) < 5 else 0
        if not 1 <= place <= len(items):
            raise Refused(LITERAL_BAD, where=span(node, self.text), name=f"1..{len(items)}")
        return items[place - 1]

    def _columns(self, outcome: Outcome) -> tuple[tuple[str, Formula], ...]:
        items = self.tree.expressions
        written = len(self.spans) == len(items)
        columns: list[tuple[str, Formula]] = []
        for place, item in enumerate(items):
            formula = outcome.formula(item)
            if isinstance(item, exp.Alias):
                name = item.alias
            elif isinstance(item, exp.Column):
                name = item.name
            elif written:
                start, end = self.spans[place]
                name = " ".join(self.text[start:end].split())
            else:
                name = item.sql(dialect="duckdb")
            columns.append((name, formula))
        return tuple(columns)

    def _having(self, outcome: Outcome) -> Formula | None:
        having = self.tree.args.get("having")
        if not having:
            return None
        formula = outcome.formula(having.this, aliases=True)
        if not is_truth(formula):
            raise Refused(TYPE_MIXED, where=span(having, self.text), name="HAVING")
        return formula

    def _order(self, outcome: Outcome, groups: Iterable[Value]) -> tuple[tuple[Formula, bool, bool], ...]:
        """ORDER BY over released values; without one, the keys in the order they were written."""
        order = self.tree.args.get("order")
        places = {key.sql: place for place, key in enumerate(outcome.tally.cells.keys)}
        if not order:
            written = list(dict.fromkeys(places[group.sql] for group in groups))
            if written == sorted(written):
                return ()
            return tuple((("key", place), False, False) for place in written)
        found: list[tuple[Formula, bool, bool]] = []
        for one in order.expressions:
            node = one.this
            if isinstance(node, exp.Literal):
                formula = outcome.formula(self._placed(node))
            elif (
                isinstance(node, exp.Column)
                and node.name.casefold() in outcome.aliases
                and not node.args.get("table")
            ):
                formula = outcome.formula(outcome.aliases[node.name.casefold()])
            else:
                formula = outcome.formula(node, aliases=True)
            found.append((formula, bool(one.args.get("desc")), bool(one.args.get("nulls_first"))))
        return tuple(found)

    def _number(self, name: str) -> int | None:
        """The whole number of LIMIT or OFFSET."""
        part = self.tree.args.get(name)
        if not part:
            return None
        node = part.args["expression"]
        digits = node.name if isinstance(node, exp.Literal) and not node.args.get("is_string") else ""
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
            raise Refused(LITERAL_BAD, where=span(node, self.text), name=f"0..{ROWS_MAX}")
        return int(digits)


def _key_name(place: int, columns: tuple[tuple[str, Formula], ...], key: Value) -> str:
    """The name a key is shown under: its output's, else its column's."""
    return next((name for name, formula in columns if formula == ("key", place)), key.name)
