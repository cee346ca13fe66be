"""Conditions (筛选条件) in canonical form, three-valued logic kept.

1. NOT is pushed to the atoms (De Morgan holds in three-valued logic), so equal conditions meet as equal text.
2. `a > 17` and `a >= 18` are one condition on a grid; `a = 1 OR a = 2` is `a IN (1, 2)`; BETWEEN is a pair.
3. What could be NULL is never simplified to TRUE or FALSE.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dujiang.cleanroom import sqltype
from dujiang.cleanroom.model import QUESTION_LONG, TYPE_MIXED
from dujiang.cleanroom.sqltype import MOMENTS, Value
from dujiang.kernel.errors import Refused
from dujiang.registry.model import Kind

OPPOSITE = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "is": "is not", "is not": "is",
            "in": "not in", "not in": "in", "null": "not null", "not null": "null", "like": "not like",
            "not like": "like", "ilike": "not ilike", "not ilike": "ilike"}  # fmt: skip
FLIPPED = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Pred:
    """One condition: its SQL text, its shape, and the columns it reads.

    `op`: and, or, true, false, unknown, or the word of an atom. `left`: the text an atom is about;
    `items`: the constants of an equality or IN list, sorted; `parts`: of AND and OR.
    """

    sql: str
    op: str
    parts: tuple[Pred, ...] = ()
    left: str = ""
    right: str = ""
    items: tuple[str, ...] = ()
    columns: frozenset[int] = frozenset()


TRUE = Pred("TRUE", "true")
FALSE = Pred("FALSE", "false")
UNKNOWN = Pred("NULL", "unknown")


def both(parts: Iterable[Pred]) -> Pred:
    """The AND of conditions, flattened, without duplicates, sorted."""
    return _joined("and", parts)


def either(parts: Iterable[Pred]) -> Pred:
    """The OR of conditions, flattened, without duplicates, sorted."""
    return _joined("or", parts)


def _joined(op: str, parts: Iterable[Pred]) -> Pred:
    neutral, absorbing = ("true", "false") if op == "and" else ("false", "true")
    found: dict[str, Pred] = {}
    lists: dict[str, tuple[set[str], frozenset[int]]] = {}
    merging = ("<>", "not in") if op == "and" else ("=", "in")
    for part in parts:
        for one in part.parts if part.op == op else (part,):
            if one.op == absorbing:
                return one
            if one.op in merging and one.items:
                # a = 1 OR a IN (2, 3) is one list; so is a <> 1 AND a <> 2.
                lists.setdefault(one.left, (set(), one.columns))[0].update(one.items)
            elif one.op != neutral:
                found[one.sql] = one
    for left, (items, columns) in lists.items():
        one = _atom(merging[1], left, "", items, columns)
        found[one.sql] = one
    ordered = tuple(found[key] for key in sorted(found))
    if not ordered:
        return TRUE if op == "and" else FALSE
    if len(ordered) == 1:
        return ordered[0]
    columns = frozenset[int]().union(*(part.columns for part in ordered))
    return Pred("(" + f" {op.upper()} ".join(p.sql for p in ordered) + ")", op, ordered, columns=columns)


def _atom(op: str, left: str, right: str, items: Iterable[str], columns: frozenset[int]) -> Pred:
    ordered = tuple(sorted(set(items)))
    if op in ("in", "not in") and len(ordered) == 1:
        op, right = ("=" if op == "in" else "<>"), ordered[0]
    if op in ("in", "not in"):
        sql = f"{left} {op.upper()} ({', '.join(ordered)})"
    elif op in ("null", "not null"):
        sql = f"{left} IS {op.upper()}"
    elif op in ("is", "is not"):
        sql = f"{left} IS {'NOT ' if op == 'is' else ''}DISTINCT FROM {right}"
    else:
        sql = f"{left} {op.upper()} {right}"
    if len(sql) > sqltype.SQL_CHARS_MAX:
        raise Refused(QUESTION_LONG, limit=f"{sqltype.SQL_CHARS_MAX}")
    return Pred(f"({sql})", op, (), left, right, ordered, columns)


def negated(pred: Pred) -> Pred:
    """NOT of a condition, pushed down to its atoms."""
    if pred.op in ("and", "or"):
        return _joined("or" if pred.op == "and" else "and", (negated(part) for part in pred.parts))
    if pred.op in ("true", "false"):
        return FALSE if pred.op == "true" else TRUE
    if pred.op == "unknown":
        return UNKNOWN
    if pred.op in ("<", "<=", ">", ">="):
        op = OPPOSITE[pred.op]
        if pred.items[:1] == ("date",):
            return _dated(op, pred.left, int(pred.items[1]), pred.columns)
        if pred.items == ("grid",):
            op, right = _tight(op, pred.right)
            return replace(_atom(op, pred.left, right, (), pred.columns), items=pred.items)
        return _atom(op, pred.left, pred.right, (), pred.columns)
    return _atom(OPPOSITE[pred.op], pred.left, pred.right, pred.items, pred.columns)


def _dated(op: str, left: str, days: int, columns: frozenset[int]) -> Pred:
    """A date against a constant day, never strict."""
    op, day = _tight(op, str(days))
    made = _atom(op, left, sqltype.dated(int(day)).sql, (), columns)
    return replace(made, items=("date", day))


def _tight(op: str, right: str) -> tuple[str, str]:
    """A strict comparison with a grid constant as the equal one that is not strict."""
    if op == ">":
        return ">=", str(int(right) + 1)
    if op == "<":
        return "<=", str(int(right) - 1)
    return op, right


def is_null(value: Value, null: bool = True) -> Pred:
    """`value IS NULL` (or IS NOT NULL), decided where the value cannot be NULL."""
    if value.is_null:
        return TRUE if null else FALSE
    if not value.nullable:
        return FALSE if null else TRUE
    return _atom("null" if null else "not null", value.sql, "", (), value.columns)


def compare(op: str, a: Value, b: Value) -> Pred:
    """A comparison of two values of one type, constants on the right, in canonical form.

    Raises: type_mixed, literal_not_readable.
    """
    if a.is_null or b.is_null:
        return UNKNOWN
    if a.is_literal and not b.is_literal:
        a, b, op = b, a, FLIPPED[op]
    a, b = matched(a, b)
    if a.is_literal and b.is_literal:
        return _folded(op, a, b)
    columns = a.columns | b.columns
    if b.is_literal:
        if a.is_number:
            return _on_grid(op, a, b)
        if a.kind is Kind.date and b.kind is Kind.date and op not in ("=", "<>"):
            assert isinstance(b.constant, int)
            return _dated(op, a.sql, b.constant, columns)
        return _atom(op, a.sql, b.sql, (b.sql,) if op in ("=", "<>") else (), columns)
    if a.is_number:
        a, b = sqltype.align((a, b))
        width = 64 if max(a.width, b.width) <= 64 else 128
        first, second = (
            (a.sql, b.sql) if a.width == b.width == 0 else (sqltype.at(a, width), sqltype.at(b, width))
        )
    else:
        first, second = a.sql, b.sql
    if op in (">", ">=") or (op in ("=", "<>") and first > second):
        first, second, op = second, first, FLIPPED[op]
    return _atom(op, first, second, (), columns)


def _folded(op: str, a: Value, b: Value) -> Pred:
    x, y = a.constant, b.constant
    if a.is_number:
        a, b = sqltype.align((a, b))
        x, y = a.constant, b.constant
    order = (x > y) - (x < y)  # type: ignore[operator]
    holds = {
        "=": order == 0,
        "<>": order != 0,
        "<": order < 0,
        "<=": order <= 0,
        ">": order > 0,
        ">=": order >= 0,
    }
    return TRUE if holds[op] else FALSE


def _on_grid(op: str, a: Value, b: Value) -> Pred:
    """A number against a constant: the constant is moved onto the number's own grid where it can be."""
    assert isinstance(b.constant, int)
    if b.scale <= a.scale:
        point = b.constant * 10 ** (a.scale - b.scale)
    elif op in ("=", "<>"):
        # Not on the grid: never equal, and unknown where the value is NULL.
        never = both((is_null(a), UNKNOWN))
        return never if op == "=" else negated(never)
    else:
        point, rest = divmod(b.constant, 10 ** (b.scale - a.scale))
        if rest:
            op = ">" if op in (">", ">=") else "<="
    sqltype.bits(point)
    if a.kind is Kind.boolean and op in ("=", "<>") and point == 0:
        op, point = OPPOSITE[op], 1
    if op in ("=", "<>"):
        return _atom(op, a.sql, str(point), (str(point),), a.columns)
    op, right = _tight(op, str(point))
    return replace(_atom(op, a.sql, right, (), a.columns), items=("grid",))


def matched(a: Value, b: Value) -> tuple[Value, Value]:
    """Two values made comparable: a text beside a date is read as one, a date beside a timestamp widened.

    Raises: type_mixed, literal_not_readable.
    """
    if a.kind in MOMENTS and b.kind is Kind.text and isinstance(b.constant, str):
        b = sqltype.read_moment(b.constant, a.kind)
    if a.kind in MOMENTS and b.kind in MOMENTS and a.kind is not b.kind:
        a, b = _stamped(a, b), _stamped(b, a)
    if a.kind is not b.kind and not (a.is_number and b.is_number):
        raise Refused(TYPE_MIXED, name=f"{a.kind}, {b.kind}")
    return a, b


def _stamped(a: Value, other: Value) -> Value:
    """A date as the timestamp of its first moment; a midnight constant beside a date stays a date."""
    if a.kind is Kind.timestamp:
        if isinstance(a.constant, int) and a.constant % sqltype.DAY_US == 0:
            return sqltype.dated(a.constant // sqltype.DAY_US)
        return a
    if isinstance(other.constant, int) and other.constant % sqltype.DAY_US == 0:
        return a
    if isinstance(a.constant, int):
        return sqltype.timed(a.constant * sqltype.DAY_US)
    lo = None if a.lo is None else a.lo * sqltype.DAY_US
    hi = None if a.hi is None else a.hi * sqltype.DAY_US
    return replace(a, sql=f"CAST({a.sql} AS TIMESTAMP)", kind=Kind.timestamp, lo=lo, hi=hi, bare=None)


def within(value: Value, options: Iterable[Value]) -> Pred:
    """`value IN (…)` over constants, order and duplicates gone."""
    return either([compare("=", value, option) for option in options])


def same(a: Value, b: Value, equal: bool) -> Pred:
    """IS NOT DISTINCT FROM (`equal`) or IS DISTINCT FROM: two-valued comparison."""
    if a.is_null or b.is_null:
        return is_null(b if a.is_null else a, equal)
    if not a.nullable and not b.nullable:
        return compare("=" if equal else "<>", a, b)
    if a.is_literal:
        a, b = b, a
    a, b = matched(a, b)
    if b.is_literal:
        # With a constant: equal and not NULL, which needs no further operator.
        found = both((compare("=", a, b), is_null(a, null=False)))
        return found if equal else either((compare("<>", a, b), is_null(a)))
    if a.is_number:
        a, b = sqltype.align((a, b))
        first, second = sorted((sqltype.at(a, 128), sqltype.at(b, 128)))
    else:
        first, second = sorted((a.sql, b.sql))
    return _atom("is" if equal else "is not", first, second, (), a.columns | b.columns)


def like(value: Value, pattern: str, fold: bool) -> Pred:
    """`value LIKE 'pattern'` (ILIKE with `fold`)."""
    if value.kind is not Kind.text:
        raise Refused(TYPE_MIXED, name=f"like, {value.kind}")
    return _atom("ilike" if fold else "like", value.sql, sqltype.text(pattern).sql, (), value.columns)


def truth(value: Value) -> Pred:
    """A boolean value as a condition."""
    if value.is_null:
        return UNKNOWN
    if value.kind is not Kind.boolean:
        raise Refused(TYPE_MIXED, name=f"{value.kind}, boolean")
    return compare("=", value, sqltype.whole(1))


def flag(pred: Pred) -> Value:
    """A condition as a boolean value 0, 1 or NULL."""
    if pred.op == "unknown":
        return sqltype.NULL
    if pred.op in ("true", "false"):
        return sqltype.whole(int(pred.op == "true"), kind=Kind.boolean)
    sql = f"CAST({pred.sql} AS INTEGER)"
    return Value(sql, Kind.boolean, 0, 0, 1, True, 0, None, pred.columns, (0, 1))


def rejects_null(pred: Pred) -> frozenset[str]:
    """Texts of the values that cannot be NULL where the condition holds."""
    parts = pred.parts if pred.op == "and" else (pred,)
    strict = (
        "=",
        "<>",
        "<",
        "<=",
        ">",
        ">=",
        "in",
        "not in",
        "not null",
        "like",
        "ilike",
        "not like",
        "not ilike",
    )
    return frozenset(text for part in parts if part.op in strict for text in (part.left, part.right) if text)
