"""Expressions that take one of several values (择一): CASE, COALESCE, GREATEST and LEAST.

1. The values are of one type; what they become has an interval that spans theirs.
2. What can be decided from the conditions alone is decided here, so that equal meanings have equal text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from dujiang.cleanroom import predicate, sqltype
from dujiang.cleanroom.model import QUESTION_DEEP, TYPE_MIXED
from dujiang.cleanroom.predicate import Pred
from dujiang.cleanroom.sqltype import MOMENTS, Value
from dujiang.kernel.errors import Refused
from dujiang.registry.model import Kind


def _united(values: list[Value]) -> list[Value]:
    """Values of one type: numbers on one grid, dates and timestamps apart, text alone; NULLs stay."""
    known = [v for v in values if not v.is_null]
    moments = [v for v in known if v.kind in MOMENTS]
    if moments:
        known = [predicate.matched(moments[0], v)[1] if v.kind is Kind.text else v for v in known]
    kinds = {v.kind for v in known}
    numeric = all(v.is_number for v in known)
    if len(kinds) > 1 and not (numeric and Kind.boolean not in kinds):
        raise Refused(TYPE_MIXED, name=", ".join(sorted(kinds)))
    if numeric and known:
        known = list(sqltype.align(tuple(known)))
    rest = iter(known)
    return [v if v.is_null else next(rest) for v in values]


def _merged(sql: str, values: list[Value], extra: frozenset[int], nullable: bool) -> Value:
    """The value of an expression that takes one of `values`: its interval spans theirs."""
    if len(sql) > sqltype.SQL_CHARS_MAX:
        raise Refused(QUESTION_DEEP, limit=f"{sqltype.SQL_CHARS_MAX}")
    known = [v for v in values if not v.is_null]
    if not known:
        return sqltype.NULL
    like = known[0]
    bounded = all(v.lo is not None and v.hi is not None for v in known)
    lo = min(cast(int, v.lo) for v in known) if bounded else None
    hi = max(cast(int, v.hi) for v in known) if bounded else None
    columns = extra.union(*(v.columns for v in known))
    listed = None
    if all(v.is_literal for v in known):
        listed = tuple(sorted({_engine_form(v) for v in known}, key=str))
    kind = Kind.decimal if any(v.kind is Kind.decimal for v in known) else like.kind
    width = max(v.width for v in known)
    name = next((v.name for v in known if v.name), "")
    return Value(sql, kind, like.scale, lo, hi, nullable, width, None, columns, listed, None, name)


def _engine_form(value: Value) -> object:
    """A constant as the engine returns it: dates and timestamps as ISO text."""
    return value.sql.split("'")[1] if value.kind in MOMENTS else value.constant


def chosen(pairs: list[tuple[Pred, Value]], otherwise: Value) -> Value:
    """CASE WHEN … THEN … ELSE otherwise END."""
    if pairs and pairs[-1][0].op == "true":
        otherwise = pairs.pop()[1]
    pairs = [(test, then) for test, then in pairs if test.op not in ("false", "unknown")]
    if not pairs:
        return otherwise
    values = _united([then for _, then in pairs] + [otherwise])
    whens = " ".join(f"WHEN {test.sql} THEN {v.sql}" for (test, _), v in zip(pairs, values, strict=False))
    tail = "" if values[-1].is_null else f" ELSE {values[-1].sql}"
    columns = frozenset[int]().union(*(test.columns for test, _ in pairs))
    return _merged(f"CASE {whens}{tail} END", values, columns, any(v.nullable for v in values))


def first_known(parts: list[Value]) -> Value:
    """COALESCE of values, cut after the first that cannot be NULL."""
    values: list[Value] = []
    for one in _united(parts):
        if not one.is_null:
            values.append(one)
            if not one.nullable:
                break
    if len(values) <= 1:
        return values[0] if values else sqltype.NULL
    sql = f"COALESCE({', '.join(v.sql for v in values)})"
    return _merged(sql, values, frozenset(), values[-1].nullable)


def extreme(parts: list[Value], name: str) -> Value:
    """GREATEST or LEAST, which pass over NULLs."""
    values = [v for v in _united(parts) if not v.is_null]
    if len(values) <= 1:
        return values[0] if values else sqltype.NULL
    values = sorted({v.sql: v for v in values}.values(), key=lambda v: v.sql)
    if len(values) == 1:
        return values[0]
    made = _merged(
        f"{name}({', '.join(v.sql for v in values)})", values, frozenset(), all(v.nullable for v in values)
    )
    sure = [v for v in values if not v.nullable]
    if made.lo is not None and made.hi is not None and sure:
        if name == "GREATEST":
            made = replace(made, lo=max(made.lo, *(cast(int, v.lo) for v in sure)))
        else:
            made = replace(made, hi=min(made.hi, *(cast(int, v.hi) for v in sure)))
    if all(v.is_literal for v in values) and made.lo is not None:
        pick = max if name == "GREATEST" else min
        return pick(values, key=lambda v: cast(int, v.constant))
    return replace(made, listed=None)
