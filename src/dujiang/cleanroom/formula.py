"""Expressions over released values, evaluated as SQL does: NULL is unknown, and nothing raises.

1. Only released keys and aggregates are seen; no row of a table is near.
2. Numbers are int, Fraction (exact decimals) or float; an operation with a float is a float one.
3. Division by zero, overflow, a mixed type and any other failure of a value is NULL (None).
4. `/` divides to a float; `//` and `%` on whole numbers cut toward zero; `round` goes half away from zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import cast

from dujiang.cleanroom.model import Formula

Number = int | float | Fraction
Value = Number | str | None
"""A released value; booleans are ints to Python and stay booleans here."""

WHOLE_MAX = 2**127
"""Wider numbers are an overflow, as for the engine's HUGEINT."""

DIGITS_MAX = 38


def evaluate(formula: Formula, keys: Sequence[Value], aggregates: Sequence[Value]) -> Value:
    """The value of `formula` for one released cell, None for NULL.

    `keys` and `aggregates` are the cell's released values, in the order of the plan.
    """
    op = formula[0]
    if op == "key":
        return keys[cast(int, formula[1])]
    if op == "agg":
        return aggregates[cast(int, formula[1])]
    if op == "lit":
        return literal(formula[1])

    def part(index: int) -> Value:
        return evaluate(cast(Formula, formula[index]), keys, aggregates)

    if op == "case":
        return _case(part, len(formula))
    if op == "coalesce":
        return next((v for v in map(part, range(1, len(formula))) if v is not None), None)
    values = [part(index) for index in range(1, len(formula))]
    try:
        return _bounded(_OPS[cast(str, op)](values))
    except (ArithmeticError, TypeError, ValueError):
        return None


def literal(value: object) -> Value:
    """The value of a literal as evaluation holds it: a Decimal is an exact Fraction, an infinity None."""
    if isinstance(value, Decimal):
        return Fraction(value) if value.is_finite() else None
    return _bounded(cast(Value, value))


def _case(part: Callable[[int], Value], length: int) -> Value:
    last = length - 1
    for index in range(1, last, 2):
        if _truth(part(index)) is True:
            return part(index + 1)
    # Conditions and values come in pairs; an odd one at the end is the ELSE.
    return part(last) if last % 2 else None


def _bounded(value: Value) -> Value:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if abs(value) < WHOLE_MAX else None


def _truth(value: Value) -> bool | None:
    return None if value is None or isinstance(value, str) else bool(value)


def _pair(a: Value, b: Value) -> tuple[Number, Number]:
    """Two numbers of one kind: both floats if either is, both exact otherwise."""
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        raise TypeError
    if isinstance(a, float) or isinstance(b, float):
        return float(a), float(b)
    return a, b


def _sign(a: Value, b: Value) -> int | None:
    """-1, 0 or 1 as `a` is below, equal to or above `b`; None where either is NULL."""
    if a is None or b is None:
        return None
    if isinstance(a, str) and isinstance(b, str):
        return (a > b) - (a < b)
    x, y = _pair(a, b)
    return (x > y) - (x < y)


def _compare(test: Callable[[int], bool]) -> Callable[[list[Value]], Value]:
    def apply(values: list[Value]) -> Value:
        sign = _sign(values[0], values[1])
        return None if sign is None else test(sign)

    return apply


def _strict(operation: Callable[..., Value]) -> Callable[[list[Value]], Value]:
    """An operation that is NULL where any operand is."""

    def apply(values: list[Value]) -> Value:
        return None if None in values else operation(*values)

    return apply


def _add(a: Value, b: Value) -> Value:
    x, y = _pair(a, b)
    return x + y


def _subtract(a: Value, b: Value) -> Value:
    x, y = _pair(a, b)
    return x - y


def _multiply(a: Value, b: Value) -> Value:
    x, y = _pair(a, b)
    return x * y


def _divide(a: Value, b: Value) -> Value:
    x, y = _pair(a, b)
    return float(x) / float(y)


def _whole(a: Value, b: Value) -> Value:
    x, y = _pair(a, b)
    if not (isinstance(x, int) and isinstance(y, int)):
        return float(x) / float(y)
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


def _remainder(a: Value, b: Value) -> Value:
    x, y = _pair(a, b)
    if isinstance(x, float) or isinstance(y, float):
        return math.fmod(x, y)
    rest = abs(x) % abs(y)
    return -rest if x < 0 else rest


def _negate(a: Value) -> Value:
    return -_number(a)


def _absolute(a: Value) -> Value:
    return abs(_number(a))


def _floor(a: Value) -> Value:
    return math.floor(_number(a))


def _ceil(a: Value) -> Value:
    return math.ceil(_number(a))


def _round(a: Value, digits: Value = 0) -> Value:
    x = _number(a)
    places = int(_number(digits))
    if abs(places) > DIGITS_MAX:
        return x if places > 0 else 0
    shift = Fraction(10) ** places
    # A float is shifted as a float, as the engine does: 2.675 then rounds to 2.68.
    shifted = abs(x * float(shift)) if isinstance(x, float) else abs(x * shift)
    whole = (
        math.floor(shifted + Fraction(1, 2)) if isinstance(shifted, Fraction) else math.floor(shifted + 0.5)
    )
    exact = Fraction(whole if x >= 0 else -whole) / shift
    if isinstance(x, float):
        return float(exact)
    return int(exact) if isinstance(x, int) else exact


def _number(a: Value) -> Number:
    if a is None or isinstance(a, str):
        raise TypeError
    return a


def _and(values: list[Value]) -> Value:
    truths = [_truth(value) for value in values]
    return False if False in truths else None if None in truths else True


def _or(values: list[Value]) -> Value:
    truths = [_truth(value) for value in values]
    return True if True in truths else None if None in truths else False


def _not(values: list[Value]) -> Value:
    truth = _truth(values[0])
    return None if truth is None else not truth


def _between(values: list[Value]) -> Value:
    value, low, high = values
    above, below = _sign(value, low), _sign(value, high)
    return _and([None if above is None else above >= 0, None if below is None else below <= 0])


def _in(values: list[Value]) -> Value:
    signs = [_sign(values[0], other) for other in values[1:]]
    return True if 0 in signs else None if None in signs else False


def _nullif(values: list[Value]) -> Value:
    return None if _sign(values[0], values[1]) == 0 else values[0]


def _extreme(wanted: int) -> Callable[[list[Value]], Value]:
    """GREATEST (1) or LEAST (-1), which pass over NULLs."""

    def apply(values: list[Value]) -> Value:
        best: Value = None
        for value in values:
            if best is None or (value is not None and _sign(value, best) == wanted):
                best = value
        return best

    return apply


_OPS: dict[str, Callable[[list[Value]], Value]] = {
    "+": _strict(_add),
    "-": _strict(_subtract),
    "*": _strict(_multiply),
    "/": _strict(_divide),
    "//": _strict(_whole),
    "%": _strict(_remainder),
    "neg": _strict(_negate),
    "abs": _strict(_absolute),
    "floor": _strict(_floor),
    "ceil": _strict(_ceil),
    "round": _strict(_round),
    "=": _compare(lambda sign: sign == 0),
    "<>": _compare(lambda sign: sign != 0),
    "<": _compare(lambda sign: sign < 0),
    "<=": _compare(lambda sign: sign <= 0),
    ">": _compare(lambda sign: sign > 0),
    ">=": _compare(lambda sign: sign >= 0),
    "and": _and,
    "or": _or,
    "not": _not,
    "is_null": lambda values: values[0] is None,
    "between": _between,
    "in": _in,
    "nullif": _nullif,
    "greatest": _extreme(1),
    "least": _extreme(-1),
}
