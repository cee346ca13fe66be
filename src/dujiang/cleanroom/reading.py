"""Reading a checked tree (语法树取义): every row-level expression becomes a typed value or a condition.

1. Every column is resolved against the registered table; nothing else has a name.
2. A column is read for a role (group, filter, aggregate, count), and its declared uses must allow that role.
3. Simple sub-queries and CTEs are looked through: their columns are read where they are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlglot import exp
from sqlglot.expressions.core import Expr

from dujiang.cleanroom import choosing, predicate, sqltype
from dujiang.cleanroom.grammar import AGGREGATES, CHAINS, named, span
from dujiang.cleanroom.model import (
    AGGREGATE_PLACE,
    COLUMN_AMBIGUOUS,
    COLUMN_NOT_AGGREGATE,
    COLUMN_NOT_FILTER,
    COLUMN_NOT_GROUP,
    COLUMN_NOT_IN_CONTRACT,
    COLUMN_UNKNOWN,
    CONSTRUCT_REFUSED,
    ENTITY_COUNTED_ONLY,
    FUNCTION_REFUSED,
    LITERAL_BAD,
    ONLY_AGGREGATES,
    QUESTION_DEEP,
    TYPE_MIXED,
)
from dujiang.cleanroom.predicate import Pred
from dujiang.cleanroom.relation import Relation
from dujiang.cleanroom.sqltype import MOMENTS, Value
from dujiang.kernel.errors import Refused
from dujiang.registry.model import Column, Kind, Table, Use

STEPS_MAX = 20_000
TERMS_MAX = 200
"""Terms of one sum or product: each is a level to the engine, which holds at most 1,000."""

TEXT_POSITION_MAX = 1_000
ROUND_DIGITS_MAX = 6

COMPARISONS = {exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<="}
CONDITIONS = (*COMPARISONS, exp.And, exp.Or, exp.Not, exp.Between, exp.In, exp.Is, exp.Like, exp.ILike,
              exp.NullSafeEQ, exp.NullSafeNEQ)  # fmt: skip
PART_CLASSES = {exp.Year: "year", exp.Quarter: "quarter", exp.Month: "month", exp.Week: "week",
                exp.Day: "day", exp.DayOfMonth: "day", exp.DayOfWeek: "dayofweek",
                exp.Hour: "hour"}  # fmt: skip
PART_NAMES = {"dow": "dayofweek", "weekday": "dayofweek", "dayofmonth": "day", "weeks": "week"}
INTEGER_BITS = {"TINYINT": 7, "SMALLINT": 15, "INT": 31, "BIGINT": 63, "INT128": 120}
NEEDED = {"group": (Use.group,), "filter": (Use.filter, Use.group), "aggregate": (Use.aggregate,),
          "count": tuple(Use), "distinct": (Use.aggregate, Use.group)}  # fmt: skip
NOT_OPEN = {"group": COLUMN_NOT_GROUP, "filter": COLUMN_NOT_FILTER}


@dataclass(frozen=True, slots=True)
class Scope:
    """What names mean at one level of a question: a table itself, the outputs of a simple sub-query, or `sides`.

    `part`: the table, by its place among the question's. `merged`: names given in USING, and whose they are.
    """

    aliases: frozenset[str]
    names: dict[str, Expr] = field(default_factory=dict[str, Expr])
    inner: Scope | None = None
    star: bool = True
    part: int = 0
    sides: tuple[Scope, ...] = ()
    merged: dict[str, int] = field(default_factory=dict[str, int])


class Reader:
    """Values and conditions of one question's tree over its registered tables."""

    def __init__(self, relation: Relation, text: str) -> None:
        self.relation = relation
        self.text = text
        self.steps = 0

    def value(self, node: Expr, role: str, scope: Scope) -> Value:
        """The typed value of a row-level expression, its columns checked for `role`.

        Raises: the codes of columns, types and bounds, with the place in the caller's text.
        """
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Refused(QUESTION_DEEP, limit=f"{STEPS_MAX}")
        try:
            return self._value(node, role, scope)
        except Refused as refused:
            if refused.where is None:
                refused.where = span(node, self.text)
            raise

    def condition(self, node: Expr, scope: Scope, role: str = "filter") -> Pred:
        """A condition in canonical form."""
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Refused(QUESTION_DEEP, limit=f"{STEPS_MAX}")
        try:
            return self._condition(node, scope, role)
        except Refused as refused:
            if refused.where is None:
                refused.where = span(node, self.text)
            raise

    def _value(self, node: Expr, role: str, scope: Scope) -> Value:
        if isinstance(node, AGGREGATES + (exp.Filter,)):
            raise Refused(AGGREGATE_PLACE)
        if isinstance(node, CONDITIONS):
            return predicate.flag(self.condition(node, scope, "any" if role == "any" else "filter"))
        if isinstance(node, CHAINS):
            return self._chain(node, role, scope)
        if type(node) in PART_CLASSES:
            return sqltype.part(PART_CLASSES[type(node)], self.value(node.this, role, scope))
        handler = HANDLERS.get(type(node))
        if handler is None:
            code = FUNCTION_REFUSED if isinstance(node, exp.Func) else CONSTRUCT_REFUSED
            raise Refused(code, name=named(node))
        return handler(self, node, role, scope)

    def _paren(self, node: Expr, role: str, scope: Scope) -> Value:
        return self.value(node.this, role, scope)

    def _star(self, node: Expr, role: str, scope: Scope) -> Value:
        raise Refused(ONLY_AGGREGATES, name="*")

    def _literal(self, node: Expr, role: str, scope: Scope) -> Value:
        return sqltype.text(node.this) if node.args.get("is_string") else sqltype.number(node.this)

    def _null(self, node: Expr, role: str, scope: Scope) -> Value:
        return sqltype.NULL

    def _boolean(self, node: Expr, role: str, scope: Scope) -> Value:
        return sqltype.whole(int(bool(node.this)), kind=Kind.boolean)

    def _column(self, node: Expr, role: str, scope: Scope) -> Value:
        if not isinstance(node.this, exp.Identifier):
            raise Refused(ONLY_AGGREGATES, name="*")
        qualifier = node.args.get("table")
        if qualifier is None:
            return self.named(node.name, role, scope)
        word = qualifier.name.casefold()
        side = next((each for each in scope.sides or (scope,) if word in each.aliases), None)
        if side is None:
            raise Refused(
                COLUMN_UNKNOWN,
                where=span(qualifier, self.text),
                column=f"{qualifier.name[:60]}.{node.name[:60]}",
            )
        return self.named(node.name, role, side)

    def named(self, name: str, role: str, scope: Scope) -> Value:
        """The value of a column name at this level."""
        if scope.sides:
            return self.named(name, role, self._side(name, scope))
        if scope.inner is not None:
            inner = scope.names.get(name.casefold())
            if inner is not None:
                return self.value(inner, role, scope.inner)
            if not scope.star:
                raise Refused(COLUMN_UNKNOWN, column=name[:60])
            return self.named(name, role, scope.inner)
        member = self.relation.members[scope.part]
        found = member.table.find(name)
        if found is None or not _is_seen(member.table, found[1]):
            raise Refused(COLUMN_UNKNOWN, column=name[:60])
        index, column = found
        entity = column.name == member.table.entity
        if role != "any" and not (entity and role == "distinct"):
            if member.guard.columns is not None and column.name not in member.guard.columns:
                raise Refused(COLUMN_NOT_IN_CONTRACT, column=column.name)
            if not any(use in column.uses for use in NEEDED[role]):
                if entity:
                    raise Refused(ENTITY_COUNTED_ONLY, column=column.name)
                raise Refused(NOT_OPEN.get(role, COLUMN_NOT_AGGREGATE), column=column.name)
        return self.relation.value(self.relation.bases[scope.part] + index)

    def _side(self, name: str, scope: Scope) -> Scope:
        """The one side of a join that has a column; of a name in USING, the side it was first found on."""
        merged = scope.merged.get(name.casefold())
        if merged is not None:
            return scope.sides[merged]
        found = [side for side in scope.sides if self._has(name, side)]
        if len(found) != 1:
            raise Refused(COLUMN_AMBIGUOUS if found else COLUMN_UNKNOWN, column=name[:60])
        return found[0]

    def _has(self, name: str, scope: Scope) -> bool:
        if scope.inner is not None:
            return name.casefold() in scope.names or (scope.star and self._has(name, scope.inner))
        table = self.relation.members[scope.part].table
        found = table.find(name)
        return found is not None and _is_seen(table, found[1])

    def _chain(self, node: Expr, role: str, scope: Scope) -> Value:
        """A chain of one operator, read from its left end without recursion."""
        rights: list[Expr] = []
        first, kind = node, type(node)
        while type(first) is kind:
            rights.append(first.args["expression"])
            first = first.this
        if len(rights) > TERMS_MAX:
            raise Refused(QUESTION_DEEP, limit=f"{TERMS_MAX}")
        if isinstance(first, exp.Interval):
            if kind is exp.Add and len(rights) == 1:
                return self._moved(self.value(rights[0], role, scope), first, 1)
            raise Refused(TYPE_MIXED, name="interval")
        total = self.value(first, role, scope)
        for right in reversed(rights):
            if isinstance(right, exp.Interval) and kind in (exp.Add, exp.Sub):
                total = self._moved(total, right, 1 if kind is exp.Add else -1)
                continue
            other = self.value(right, role, scope)
            if total.is_null or other.is_null:
                total = sqltype.NULL
            elif kind is exp.Add and other.kind is Kind.date and total.is_number:
                total = self._days_later(other, total, True)
            elif total.kind is Kind.date and other.is_number and kind in (exp.Add, exp.Sub):
                total = self._days_later(total, other, kind is exp.Add)
            else:
                operation = {exp.Add: sqltype.add, exp.Sub: sqltype.subtract, exp.Mul: sqltype.multiply}[kind]
                total = operation(total, other)
        return total

    def _moved(self, start: Value, node: exp.Interval, sign: int) -> Value:
        if start.kind is Kind.text and isinstance(start.constant, str):
            raise Refused(TYPE_MIXED, name="text, interval")
        unit = _unit(node.args.get("unit"), (*sqltype.UNIT_DAYS, *sqltype.UNIT_SECONDS))
        count = _count(node.this, 1_000_000)
        return sqltype.shifted(start, sign * count, unit)

    def _days_later(self, start: Value, days: Value, later: bool) -> Value:
        if not isinstance(days.constant, int) or days.scale:
            raise Refused(TYPE_MIXED, name="date, number")
        moved = sqltype.shifted(start, days.constant if later else -days.constant, "day")
        if moved.is_literal:
            return moved
        lo, hi = (end // sqltype.DAY_US for end in sqltype.interval(moved))
        return replace(moved, sql=f"CAST({moved.sql} AS DATE)", kind=Kind.date, lo=lo, hi=hi)

    def _two(self, node: Expr, role: str, scope: Scope) -> tuple[Value, Value]:
        return self.value(node.this, role, scope), self.value(node.args["expression"], role, scope)

    def _binary(self, node: Expr, role: str, scope: Scope) -> Value:
        a, b = self._two(node, role, scope)
        if a.is_null or b.is_null:
            return sqltype.NULL
        if isinstance(node, exp.Div):
            return sqltype.divide(a, b)
        return sqltype.quotient(a, b, isinstance(node, exp.Mod))

    def _unary(self, node: Expr, role: str, scope: Scope) -> Value:
        inner = node.this
        while isinstance(inner, exp.Paren):
            inner = inner.this
        if (
            isinstance(inner, exp.Div)
            and not isinstance(node, exp.Neg | exp.Abs)
            and not node.args.get("decimals")
        ):
            # FLOOR(age / 10) is exact where the divisor is a constant: no quotient is rounded first.
            top, bottom = self._two(inner, role, scope)
            if (
                isinstance(bottom.constant, int)
                and bottom.is_number
                and bottom.constant > 0
                and not top.is_null
            ):
                return sqltype.rounded_quotient(top, bottom, type(node).__name__.lower())
        a = self.value(inner, role, scope)
        if a.is_null:
            return a
        if isinstance(node, exp.Neg):
            return sqltype.negate(a)
        if isinstance(node, exp.Abs):
            return sqltype.absolute(a)
        if isinstance(node, exp.Round):
            digits = node.args.get("decimals")
            return sqltype.rounded(a, "round", _count(digits, ROUND_DIGITS_MAX) if digits is not None else 0)
        return sqltype.rounded(a, "floor" if isinstance(node, exp.Floor) else "ceil")

    def _case(self, node: Expr, role: str, scope: Scope) -> Value:
        subject = node.args.get("this") if isinstance(node, exp.Case) else None
        branches = node.args["ifs"] if isinstance(node, exp.Case) else [node]
        last = node.args.get("default") if isinstance(node, exp.Case) else node.args.get("false")
        asking = "any" if role == "any" else "filter"
        compared = None if subject is None else self.value(subject, asking, scope)
        pairs: list[tuple[Pred, Value]] = []
        for branch in branches:
            if compared is None:
                test = self.condition(branch.this, scope, asking)
            else:
                test = predicate.compare("=", compared, self.value(branch.this, asking, scope))
            then = self.value(branch.args["true"], role, scope)
            if test.op not in ("false", "unknown"):
                pairs.append((test, then))
            if test.op == "true":
                break
        otherwise = sqltype.NULL if last is None else self.value(last, role, scope)
        return choosing.chosen(pairs, otherwise)

    def _many(self, node: Expr, role: str, scope: Scope) -> Value:
        parts = [self.value(one, role, scope) for one in (node.this, *node.args.get("expressions", []))]
        if isinstance(node, exp.Coalesce):
            return choosing.first_known(parts)
        return choosing.extreme(parts, "GREATEST" if isinstance(node, exp.Greatest) else "LEAST")

    def _nullif(self, node: Expr, role: str, scope: Scope) -> Value:
        a, b = self._two(node, role, scope)
        return choosing.chosen([(predicate.compare("=", a, b), sqltype.NULL)], a)

    def _cast(self, node: Expr, role: str, scope: Scope) -> Value:
        return converted(self.value(node.this, role, scope), node.args["to"], role)

    def _extract(self, node: Expr, role: str, scope: Scope) -> Value:
        name = node.this.name.lower()
        name = PART_NAMES.get(name, name)
        if name not in sqltype.PARTS and name != "year":
            raise Refused(FUNCTION_REFUSED, name="extract")
        return sqltype.part(name, self.value(node.args["expression"], role, scope))

    def _truncated(self, node: Expr, role: str, scope: Scope) -> Value:
        unit = _unit(node.args.get("unit"), ("year", "quarter", "month", "week", "day", "hour"))
        return sqltype.truncated(unit, self.value(node.this, role, scope))

    def _difference(self, node: Expr, role: str, scope: Scope) -> Value:
        unit = _unit(node.args.get("unit"), (*sqltype.UNIT_DAYS, *sqltype.UNIT_SECONDS))
        end, start = self._two(node, role, scope)
        return sqltype.difference(unit, start, end)

    def _text(self, node: Expr, role: str, scope: Scope) -> Value:
        a = self.value(node.this, role, scope)
        if a.kind is not Kind.text or a.is_literal:
            raise Refused(TYPE_MIXED, name=f"{named(node)}, {a.kind}")
        if isinstance(node, exp.Substring | exp.Left):
            start = 1 if isinstance(node, exp.Left) else max(1, _count(node.args["start"], TEXT_POSITION_MAX))
            length = node.args.get("expression" if isinstance(node, exp.Left) else "length")
            size = TEXT_POSITION_MAX if length is None else _count(length, TEXT_POSITION_MAX)
            sql = f"SUBSTRING({a.sql}, {start}, {size})"
        else:
            sql = f"{type(node).__name__.upper()}({a.sql})"
        return Value(sql, Kind.text, nullable=a.nullable, columns=a.columns, name=a.name)

    def _condition(self, node: Expr, scope: Scope, role: str) -> Pred:
        if isinstance(node, exp.And | exp.Or):
            parts = [self.condition(one, scope, role) for one in flattened(node)]
            return predicate.both(parts) if isinstance(node, exp.And) else predicate.either(parts)
        if isinstance(node, exp.Paren):
            return self.condition(node.this, scope, role)
        if isinstance(node, exp.Not):
            return predicate.negated(self.condition(node.this, scope, role))
        if type(node) in COMPARISONS:
            a, b = self._two(node, role, scope)
            return predicate.compare(COMPARISONS[type(node)], a, b)
        if isinstance(node, exp.Between):
            a = self.value(node.this, role, scope)
            low, high = (self.value(node.args[end], role, scope) for end in ("low", "high"))
            return predicate.both((predicate.compare(">=", a, low), predicate.compare("<=", a, high)))
        if isinstance(node, exp.In):
            a = self.value(node.this, role, scope)
            options = [self.value(one, role, scope) for one in node.args.get("expressions") or []]
            if not options or not all(one.is_literal or one.is_null for one in options):
                raise Refused(CONSTRUCT_REFUSED, name="IN")
            return predicate.within(a, options)
        if isinstance(node, exp.Is):
            a, b = self._two(node, role, scope)
            return predicate.is_null(a) if b.is_null else predicate.same(a, b, equal=True)
        if isinstance(node, exp.NullSafeEQ | exp.NullSafeNEQ):
            a, b = self._two(node, role, scope)
            return predicate.same(a, b, equal=isinstance(node, exp.NullSafeEQ))
        if isinstance(node, exp.Like | exp.ILike):
            a, b = self._two(node, role, scope)
            if not isinstance(b.constant, str):
                raise Refused(CONSTRUCT_REFUSED, name="LIKE")
            found = predicate.like(a, b.constant, isinstance(node, exp.ILike))
            return predicate.negated(found) if node.args.get("negate") else found
        return predicate.truth(self.value(node, role, scope))


def _is_seen(table: Table, column: Column) -> bool:
    """Whether a consumer knows of a column: it has a use, or it is the entity, which can be counted."""
    return bool(column.uses) or column.name == table.entity


def flattened(node: Expr) -> list[Expr]:
    """The parts of a chain of one connector, left to right, without recursion."""
    kind = type(node)
    found: list[Expr] = []
    stack = [node]
    while stack:
        one = stack.pop()
        if type(one) is kind:
            stack += [one.args["expression"], one.this]
        else:
            found.append(one)
    return found


def converted(value: Value, target: exp.DataType, role: str) -> Value:
    """A value cast to another type, NULL where it does not fit; no cast can fail.

    Raises: type_mixed, literal_not_readable, construct_not_allowed.
    """
    name = target.this.name
    if value.is_null:
        return value
    if name in INTEGER_BITS:
        limit = 2 ** INTEGER_BITS[name]
        if value.kind is Kind.text:
            if isinstance(value.constant, str):
                return sqltype.rounded(sqltype.number(value.constant.strip()), "round")
            if role == "aggregate":
                raise Refused(TYPE_MIXED, name="text, number")
            sql = f"TRY_CAST({value.sql} AS BIGINT)"
            return Value(
                sql, Kind.integer, 0, -(2**63), 2**63 - 1, True, 64, columns=value.columns, name=value.name
            )
        whole = sqltype.rounded(value, "round")
        whole = replace(whole, kind=Kind.integer) if whole.kind is Kind.boolean else whole
        return sqltype.held(whole, -limit, limit - 1)
    if name in ("DOUBLE", "FLOAT", "DECIMAL"):
        if isinstance(value.constant, str):
            value = sqltype.number(value.constant.strip())
        value = sqltype.need_number(value)
        value = replace(value, kind=Kind.integer) if value.kind is Kind.boolean else value
        if name == "DECIMAL":
            sizes = [int(one.name) for one in target.expressions if one.name.isdigit()] or [18, 3]
            places = sizes[1] if len(sizes) > 1 else 0
            value = sqltype.rounded(value, "round", places)
            most = (10 ** min(sizes[0], 38) - 1) // 10 ** (places - value.scale)
            return sqltype.held(value, -most, most)
        return value
    if name == "BOOLEAN" and value.is_number:
        return (
            value
            if value.kind is Kind.boolean
            else predicate.flag(predicate.compare("<>", value, sqltype.whole(0)))
        )
    if name in ("DATE", "TIMESTAMP", "TIMESTAMPNTZ"):
        return _as_moment(value, Kind.date if name == "DATE" else Kind.timestamp)
    if name in ("VARCHAR", "TEXT") and value.kind is Kind.text:
        return value
    raise Refused(TYPE_MIXED, name=f"{value.kind}, {name.lower()}")


def _as_moment(value: Value, kind: Kind) -> Value:
    if isinstance(value.constant, str):
        value = sqltype.read_moment(value.constant, kind)
    if value.kind is kind:
        return value
    if value.kind not in MOMENTS:
        raise Refused(TYPE_MIXED, name=f"{value.kind}, {kind}")
    down = kind is Kind.date
    if isinstance(value.constant, int):
        return (
            sqltype.dated(value.constant // sqltype.DAY_US)
            if down
            else sqltype.timed(value.constant * sqltype.DAY_US)
        )
    ends = [
        None if end is None else end // sqltype.DAY_US if down else end * sqltype.DAY_US
        for end in (value.lo, value.hi)
    ]
    sql = f"CAST({value.sql} AS {'DATE' if down else 'TIMESTAMP'})"
    return replace(value, sql=sql, kind=kind, lo=ends[0], hi=ends[1], bare=None)


def _unit(node: Expr | None, known: tuple[str, ...]) -> str:
    """A date unit as a plain word, one of `known`."""
    name = node.name.lower() if node is not None and isinstance(node, exp.Var | exp.Literal) else ""
    name = name if name in known else name.removesuffix("s")
    if name not in known:
        raise Refused(LITERAL_BAD, name="unit")
    return name


def _count(node: Expr, most: int) -> int:
    """A whole literal between 0 and `most` (a leading minus allowed in an interval's text)."""
    if isinstance(node, exp.Literal):
        digits = node.name.strip()
        plain = digits.isascii() and digits.removeprefix("-").isdigit() and len(digits) <= 8
        signed = digits.startswith("-") and not node.args.get("is_string")
        if plain and not signed and abs(int(digits)) <= most:
            return int(digits)
    raise Refused(LITERAL_BAD, name=f"0..{most}")


Handler = Callable[[Reader, Expr, str, Scope], Value]
HANDLERS: dict[type[Expr], Handler] = {
    exp.Paren: Reader._paren,
    exp.Star: Reader._star,
    exp.Literal: Reader._literal,
    exp.Null: Reader._null,
    exp.Boolean: Reader._boolean,
    exp.Column: Reader._column,
    exp.Div: Reader._binary,
    exp.IntDiv: Reader._binary,
    exp.Mod: Reader._binary,
    exp.Neg: Reader._unary,
    exp.Abs: Reader._unary,
    exp.Floor: Reader._unary,
    exp.Ceil: Reader._unary,
    exp.Round: Reader._unary,
    exp.Case: Reader._case,
    exp.If: Reader._case,
    exp.Coalesce: Reader._many,
    exp.Greatest: Reader._many,
    exp.Least: Reader._many,
    exp.Nullif: Reader._nullif,
    exp.Cast: Reader._cast,
    exp.TryCast: Reader._cast,
    exp.Extract: Reader._extract,
    exp.TimestampTrunc: Reader._truncated,
    exp.DateTrunc: Reader._truncated,
    exp.DateDiff: Reader._difference,
    exp.Lower: Reader._text,
    exp.Upper: Reader._text,
    exp.Trim: Reader._text,
    exp.Substring: Reader._text,
    exp.Left: Reader._text,
}
"""Class of the tree → how it is read; a class that is not here is refused."""
