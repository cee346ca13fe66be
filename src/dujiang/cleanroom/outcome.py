"""Expressions over aggregates (聚合之后的表达式): SELECT, HAVING and ORDER BY as formulas.

1. A formula sees group keys and aggregates as released, never a row.
2. Aggregates share statistics: COUNT, SUM, AVG and STDDEV of one value over one condition are charged once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from sqlglot import exp
from sqlglot.expressions.core import Expr

from dujiang.cleanroom import predicate, sqltype
from dujiang.cleanroom.grammar import AGGREGATES, named, span
from dujiang.cleanroom.model import (
    COLUMN_NOT_AGGREGATE,
    CONSTRUCT_REFUSED,
    ENTITY_COUNTED_ONLY,
    FUNCTION_REFUSED,
    LITERAL_BAD,
    ONLY_AGGREGATES,
    TYPE_MIXED,
    Aggregate,
    Formula,
)
from dujiang.cleanroom.predicate import Pred
from dujiang.cleanroom.reading import COMPARISONS, INTEGER_BITS, Reader, Scope, flattened
from dujiang.cleanroom.sqltype import MOMENTS
from dujiang.cleanroom.statistic import MomentForm, Tally, moments
from dujiang.kernel.errors import Refused

SPREADS: dict[type[Expr], MomentForm] = {
    exp.Variance: "var_samp",
    exp.VariancePop: "var_pop",
    exp.Stddev: "stddev_samp",
    exp.StddevSamp: "stddev_samp",
    exp.StddevPop: "stddev_pop",
}
PLAIN = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.IntDiv: "//", exp.Mod: "%",
         exp.Nullif: "nullif", **COMPARISONS}  # fmt: skip
SINGLE = {exp.Neg: "neg", exp.Abs: "abs", exp.Floor: "floor", exp.Ceil: "ceil", exp.Not: "not"}
MANY = {exp.Coalesce: "coalesce", exp.Greatest: "greatest", exp.Least: "least"}
TRUTH_OPS = ("and", "or", "not", "=", "<>", "<", "<=", ">", ">=", "is_null", "in", "between")


@dataclass(slots=True)
class Outcome:
    """The released side of one question: its aggregates, and formulas over them and the keys."""

    reader: Reader
    scope: Scope
    tally: Tally
    aliases: dict[str, Expr] = field(default_factory=dict[str, Expr])
    """Output names of the select list, which HAVING and ORDER BY may use."""
    aggregates: list[Aggregate] = field(default_factory=list[Aggregate])

    def formula(self, node: Expr, aliases: bool = False) -> Formula:
        """An expression as a formula over keys and aggregates; `aliases`: output names may stand in it.

        Raises: only_aggregates, function_not_allowed, and the codes of the aggregates' arguments.
        """
        try:
            return self._formula(node, aliases)
        except Refused as refused:
            if refused.where is None:
                refused.where = span(node, self.reader.text)
            raise

    def _formula(self, node: Expr, aliases: bool) -> Formula:
        if isinstance(node, exp.Paren | exp.Alias):
            return self.formula(node.this, aliases)
        if isinstance(node, AGGREGATES + (exp.Filter,)):
            return self._aggregate(node)
        if isinstance(node, exp.Star):
            raise Refused(ONLY_AGGREGATES, name="*")
        if isinstance(node, exp.Literal):
            return _literal(node)
        if isinstance(node, exp.Null | exp.Boolean):
            return ("lit", None if isinstance(node, exp.Null) else bool(node.this))
        key = self._key(node)
        if key is not None:
            return key
        if isinstance(node, exp.Column):
            inner = self.aliases.get(node.name.casefold()) if aliases and not node.args.get("table") else None
            if inner is not None:
                return self.formula(inner)
            if isinstance(node.this, exp.Identifier):
                self.reader.value(node, "any", self.scope)
                raise Refused(ONLY_AGGREGATES, name=node.name[:60])
            raise Refused(ONLY_AGGREGATES, name="*")
        return self._operation(node, aliases)

    def _key(self, node: Expr) -> Formula | None:
        """The group key an expression is, if it is one."""
        if node.find(*AGGREGATES) is not None:
            return None
        if node.find(exp.Column) is None:
            return self._constant(node)
        try:
            value = self.reader.value(node, "any", self.scope)
        except Refused:
            return None
        for place, key in enumerate(self.tally.cells.keys):
            if key.sql == value.sql:
                return ("key", place)
        return None

    def _constant(self, node: Expr) -> Formula | None:
        """A constant moment as ISO text; other constants are left to the operations they are made of."""
        if not isinstance(node, exp.Cast | exp.TryCast | exp.Add | exp.Sub):
            return None
        if node.find(exp.DataType) is None:
            return None
        value = self.reader.value(node, "any", self.scope)
        if value.kind in MOMENTS and value.is_literal:
            return ("lit", value.sql.split("'")[1])
        return None

    def _operation(self, node: Expr, aliases: bool) -> Formula:
        def part(child: Expr) -> Formula:
            return self.formula(child, aliases)

        kind = type(node)
        if isinstance(node, exp.And | exp.Or):
            return ("and" if isinstance(node, exp.And) else "or", *(part(one) for one in flattened(node)))
        if kind in PLAIN:
            return (PLAIN[kind], part(node.this), part(node.args["expression"]))
        if kind in SINGLE:
            return (SINGLE[kind], part(node.this))
        if kind in MANY:
            return (MANY[kind], part(node.this), *(part(one) for one in node.args.get("expressions", [])))
        if isinstance(node, exp.Round):
            digits = node.args.get("decimals")
            return ("round", part(node.this), ("lit", 0) if digits is None else _literal(digits))
        if isinstance(node, exp.Between):
            return ("between", part(node.this), part(node.args["low"]), part(node.args["high"]))
        if isinstance(node, exp.In):
            return ("in", part(node.this), *(part(one) for one in node.args.get("expressions", [])))
        if isinstance(node, exp.Is):
            other = node.args["expression"]
            if isinstance(other, exp.Null):
                return ("is_null", part(node.this))
            return ("coalesce", ("=", part(node.this), part(other)), ("lit", False))
        if isinstance(node, exp.Case | exp.If):
            return self._case(node, aliases)
        if isinstance(node, exp.Cast | exp.TryCast):
            return self._cast(node, part(node.this))
        code = FUNCTION_REFUSED if isinstance(node, exp.Func) else CONSTRUCT_REFUSED
        raise Refused(code, name=named(node))

    def _case(self, node: Expr, aliases: bool) -> Formula:
        branches = node.args["ifs"] if isinstance(node, exp.Case) else [node]
        subject = node.args.get("this") if isinstance(node, exp.Case) else None
        parts: list[Formula] = []
        for branch in branches:
            test = self.formula(branch.this, aliases)
            parts.append(test if subject is None else ("=", self.formula(subject, aliases), test))
            parts.append(self.formula(branch.args["true"], aliases))
        last = node.args.get("default") or (node.args.get("false") if isinstance(node, exp.If) else None)
        return ("case", *parts, ("lit", None) if last is None else self.formula(last, aliases))

    def _cast(self, node: Expr, inner: Formula) -> Formula:
        target = node.args["to"]
        name = target.this.name
        if name in INTEGER_BITS:
            return ("round", inner, ("lit", 0))
        if name == "DECIMAL":
            sizes = [int(one.name) for one in target.expressions if one.name.isdigit()]
            return ("round", inner, ("lit", sizes[1] if len(sizes) > 1 else 0 if sizes else 3))
        if name in ("DOUBLE", "FLOAT"):
            return inner
        raise Refused(TYPE_MIXED, name=name.lower())

    def _aggregate(self, node: Expr) -> Formula:
        """The released value of an aggregate, its statistics charged."""
        test = predicate.TRUE
        if isinstance(node, exp.Filter):
            test = self.reader.condition(node.args["expression"].this, self.scope)
            node = node.this
            if not isinstance(node, AGGREGATES):
                raise Refused(CONSTRUCT_REFUSED, name="FILTER")
        made = self._made(node, test)
        if made not in self.aggregates:
            self.aggregates.append(made)
        return ("agg", self.aggregates.index(made))

    def _made(self, node: Expr, test: Pred) -> Aggregate:
        tally, argument = self.tally, node.args.get("this")
        if isinstance(node, exp.Count):
            return self._count(argument or exp.Star(), test)
        if argument is None:
            raise Refused(TYPE_MIXED, name=f"{named(node)}()")
        if isinstance(node, exp.CountIf):
            return Aggregate(
                "count", n=tally.rows(predicate.both((test, self.reader.condition(argument, self.scope))))
            )
        if isinstance(argument, exp.Distinct):
            raise Refused(CONSTRUCT_REFUSED, name=f"{named(node).upper()} DISTINCT")
        value = self.reader.value(argument, "aggregate", self.scope)
        if not value.is_number or value.is_null:
            raise Refused(TYPE_MIXED, name=f"{named(node)}, {value.kind}")
        lo, hi = sqltype.interval(value)
        if isinstance(node, exp.Sum):
            ones = (
                _counted(argument, self.reader, self.scope)
                if (lo, hi, value.scale) in ((0, 1, 0), (1, 1, 0))
                else None
            )
            if ones is not None:
                return Aggregate("count", n=tally.rows(predicate.both((test, ones))))
            unit = Fraction(1, 10**value.scale)
            return Aggregate(
                "sum", total=tally.total(value, test), lo=lo * unit, hi=hi * unit, scale=value.scale
            )
        if not value.columns:
            raise Refused(COLUMN_NOT_AGGREGATE, column="constant")
        n = tally.known(value, test)
        centred = tally.centred(value, test)
        if isinstance(node, exp.Avg):
            return moments(value, "mean", n, centred, None)
        return moments(value, SPREADS[type(node)], n, centred, tally.squared(value, test))

    def _count(self, argument: Expr, test: Pred) -> Aggregate:
        if isinstance(argument, exp.Star):
            return Aggregate("count", n=self.tally.rows(test))
        if isinstance(argument, exp.Distinct):
            parts = argument.expressions
            if len(parts) != 1:
                raise Refused(CONSTRUCT_REFUSED, name="COUNT DISTINCT")
            value = self.reader.value(parts[0], "distinct", self.scope)
            relation = self.tally.relation
            owner = None if value.bare is None else relation.entity_of(value.bare)
            if owner is not None:
                return Aggregate("count", n=self.tally.entities(test, owner))
            for index in value.columns:
                if relation.entity_of(index) is not None:
                    # An expression over the entity could single one out by its name: NULLIF(patient, 5).
                    raise Refused(ENTITY_COUNTED_ONLY, column=relation.columns[index].name)
            if not value.columns:
                raise Refused(CONSTRUCT_REFUSED, name="COUNT DISTINCT")
            return Aggregate("count", n=self.tally.distinct(value, test))
        value = self.reader.value(argument, "count", self.scope)
        if value.is_null:
            raise Refused(TYPE_MIXED, name="count, NULL")
        return Aggregate("count", n=self.tally.known(value, test))


def _counted(node: Expr, reader: Reader, scope: Scope) -> Pred | None:
    """The condition that `CASE WHEN p THEN 1 [ELSE 0] END` (or a bare 1) counts, None for anything else."""
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.Literal):
        return predicate.TRUE
    if isinstance(node, exp.If):
        test, yes, no = node.this, node.args["true"], node.args.get("false")
    elif isinstance(node, exp.Case) and node.args.get("this") is None and len(node.args["ifs"]) == 1:
        branch = node.args["ifs"][0]
        test, yes, no = branch.this, branch.args["true"], node.args.get("default")
    else:
        return None
    empty = no is None or isinstance(no, exp.Null) or (isinstance(no, exp.Literal) and no.name == "0")
    if not (isinstance(yes, exp.Literal) and yes.name == "1" and empty):
        return None
    return reader.condition(test, scope)


def _literal(node: Expr) -> Formula:
    """A literal as a formula: text, a whole number or an exact fraction."""
    if not isinstance(node, exp.Literal):
        raise Refused(LITERAL_BAD, name="number")
    if node.args.get("is_string"):
        return ("lit", node.name)
    value = sqltype.number(node.name)
    whole = int(value.constant or 0)
    return ("lit", Fraction(whole, 10**value.scale) if value.scale else whole)


def is_truth(formula: Formula) -> bool:
    """Whether a formula may give a truth value, as HAVING needs."""
    if formula[0] == "lit":
        return isinstance(formula[1], bool)
    return formula[0] in (*TRUTH_OPS, "case", "coalesce", "key")


def canonical(formula: Formula, aggregates: list[str]) -> Formula:
    """A formula with its aggregates spelled out and its commutative parts sorted."""
    op = formula[0]
    if op == "agg":
        return ("agg", aggregates[int(str(formula[1]))])
    if op in ("key", "lit"):
        return (op, repr(formula[1]))
    parts = [canonical(one, aggregates) for one in formula[1:] if isinstance(one, tuple)]
    if op in (">", ">="):
        op, parts = {">": "<", ">=": "<="}[str(op)], parts[::-1]
    if op in ("and", "or"):
        parts = sorted({repr(one): one for one in parts}.values(), key=repr)
    elif op in ("+", "*", "=", "<>"):
        parts = sorted(parts, key=repr)
    return (op, *parts)
