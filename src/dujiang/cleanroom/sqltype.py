"""Typed value expressions (取值表达式): canonical SQL text with exact intervals, so that no row can raise.

1. A number is an integer on a grid `10**-scale` with an interval; dates are days, timestamps microseconds.
2. An operation is written at a width (BIGINT or HUGEINT) its interval fits; what fits neither is refused.
3. Nothing here depends on a row: intervals come from declared bounds and from the operation alone.
4. The text is canonical: equal meaning (as far as the rules here go) is equal text, and that text runs.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from dujiang.cleanroom.model import LITERAL_BAD, NO_BOUNDS, NUMBER_WIDE, QUESTION_LONG, TYPE_MIXED
from dujiang.kernel.errors import Refused
from dujiang.registry.model import Column, Kind

NARROW_MAX = 2**62
"""Largest magnitude written as BIGINT, a bit below its own limit."""

WIDE_MAX = 2**125
"""Largest magnitude written as HUGEINT."""

SCALE_MAX = 18
QUOTIENT_SCALE = 6
"""Decimal places kept of a row's `a / b`."""

SQL_CHARS_MAX = 100_000
"""Longest text of one expression: operations that write an operand twice could double it at every level."""

PARTS = {
    "month": (1, 12),
    "quarter": (1, 4),
    "week": (1, 53),
    "dayofweek": (0, 6),
    "hour": (0, 23),
    "day": (1, 31),
}
"""Part of a date → its interval; `year` follows from the bounds."""

UNIT_DAYS = {"year": 365, "quarter": 90, "month": 28, "week": 7, "day": 1}
UNIT_SECONDS = {"hour": 3600, "minute": 60}
DAY_US = 86_400_000_000
FIRST_DAY = date(1, 1, 1).toordinal()
LAST_DAY = date(9999, 12, 31).toordinal()
EPOCH = date(1970, 1, 1).toordinal()
NUMBERS = (Kind.integer, Kind.decimal, Kind.boolean)
MOMENTS = (Kind.date, Kind.timestamp)
LISTED_MAX = 31
"""An expression (not a bare column) with so few possible values has public keys."""


@dataclass(frozen=True, slots=True)
class Value:
    """One row-level expression: its SQL text, type, interval and the columns it reads.

    `width`: 0 a bare column or constant, else the bits it is computed with. `constant`: the value where it
    is a literal. `lo`, `hi` in units of 10**-scale, days or microseconds; None: no bounds (or text).
    `listed`: every value it can have, where few and public; `spread`: an upper bound of their number.
    """

    sql: str
    kind: Kind
    scale: int = 0
    lo: int | None = None
    hi: int | None = None
    nullable: bool = False
    width: int = 0
    constant: int | str | None = None
    columns: frozenset[int] = frozenset()
    listed: tuple[object, ...] | None = None
    bare: int | None = None
    name: str = ""
    spread: int | None = None

    @property
    def is_number(self) -> bool:
        """Whether the value is an integer on a grid."""
        return self.kind in NUMBERS

    @property
    def is_literal(self) -> bool:
        """Whether the value is a constant other than NULL."""
        return self.constant is not None

    @property
    def is_null(self) -> bool:
        """Whether the value is the constant NULL."""
        return self.sql == "NULL"

    def constant_at(self, scale: int) -> int:
        """A numeric constant in units of 10**-scale, rounded half to even."""
        return round(Fraction(int(self.constant or 0)) * Fraction(10) ** (scale - self.scale))


NULL = Value("NULL", Kind.integer, lo=0, hi=0, nullable=True)


def stored(index: int, column: Column) -> Value:
    """The value of a registered column, read from the registered file."""
    lo, hi = column.lo, column.hi
    low = high = None
    if column.kind is Kind.boolean:
        low, high = 0, 1
    elif lo is not None and hi is not None and column.is_number:
        low, high = column.bound("lo"), column.bound("hi")
    elif lo is not None and hi is not None and column.kind is Kind.date:
        low, high = day(lo), day(hi)
    elif lo is not None and hi is not None and column.kind is Kind.timestamp:
        low, high = moment(lo), moment(hi)
    return Value(
        f"c{index}", column.kind, column.scale if column.is_number else 0, low, high, column.nullable,
        columns=frozenset((index,)), bare=index, name=column.name,
    )  # fmt: skip


def whole(number: int, scale: int = 0, kind: Kind | None = None) -> Value:
    """The constant `number * 10**-scale`, with trailing zeros of the scale removed."""
    while scale > 0 and number % 10 == 0:
        number, scale = number // 10, scale - 1
    if abs(number) >= WIDE_MAX or scale > SCALE_MAX:
        raise Refused(NUMBER_WIDE)
    kind = kind or (Kind.decimal if scale else Kind.integer)
    return Value(str(number), kind, scale, number, number, constant=number)


def number(text: str) -> Value:
    """The constant a numeric literal stands for, exactly.

    Raises: literal_not_readable, number_too_wide.
    """
    try:
        value = Decimal(text)
        sign, digits, exponent = value.as_tuple()
    except ArithmeticError:
        raise Refused(LITERAL_BAD, name="number") from None
    if not isinstance(exponent, int):
        raise Refused(LITERAL_BAD, name="number")
    if len(digits) > 60 or abs(exponent) > 60:
        raise Refused(NUMBER_WIDE)
    mantissa = int("".join(map(str, digits)) or "0") * (-1 if sign else 1)
    return whole(mantissa * 10**exponent) if exponent > 0 else whole(mantissa, -exponent)


def text(value: str) -> Value:
    """The constant text `value`, quoted for SQL."""
    return Value("'" + value.replace("'", "''") + "'", Kind.text, constant=value)


def day(value: str) -> int:
    """Days since 1970-01-01 of an ISO date."""
    return date.fromisoformat(value[:10]).toordinal() - EPOCH


def moment(value: str) -> int:
    """Microseconds since 1970-01-01 UTC of an ISO timestamp; a zone is converted to UTC."""
    parsed = datetime.fromisoformat(value)
    offset = parsed.utcoffset()
    if offset is not None:
        parsed = parsed.replace(tzinfo=None) - offset
    return (parsed - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def dated(days: int) -> Value:
    """The constant date `days` after 1970-01-01."""
    if not FIRST_DAY <= days + EPOCH <= LAST_DAY:
        raise Refused(LITERAL_BAD, name="date")
    iso = date.fromordinal(days + EPOCH).isoformat()
    return Value(f"CAST('{iso}' AS DATE)", Kind.date, 0, days, days, constant=days)


def timed(micros: int) -> Value:
    """The constant timestamp `micros` microseconds after 1970-01-01."""
    try:
        stamp = datetime(1970, 1, 1) + timedelta(microseconds=micros)
    except OverflowError:
        raise Refused(LITERAL_BAD, name="timestamp") from None
    iso = stamp.isoformat(sep=" ")
    return Value(f"CAST('{iso}' AS TIMESTAMP)", Kind.timestamp, 0, micros, micros, constant=micros)


def read_moment(value: str, kind: Kind) -> Value:
    """The constant date or timestamp written as ISO text.

    Raises: literal_not_readable.
    """
    try:
        if kind is Kind.date and len(value.strip()) <= 10:
            return dated(date.fromisoformat(value.strip()).toordinal() - EPOCH)
        micros = moment(value.strip())
    except (ValueError, OverflowError):
        raise Refused(LITERAL_BAD, name=str(kind)) from None
    if kind is Kind.date and micros % DAY_US == 0:
        return dated(micros // DAY_US)
    return timed(micros)


def interval(value: Value) -> tuple[int, int]:
    """The declared interval of a number or moment.

    Raises: no_bounds.
    """
    if value.lo is None or value.hi is None:
        raise Refused(NO_BOUNDS, column=value.name or "…")
    return value.lo, value.hi


def need_number(value: Value) -> Value:
    """The value itself, where it is a number.

    Raises: type_mixed.
    """
    if not value.is_number:
        raise Refused(TYPE_MIXED, name=f"{value.kind}, number")
    return value


def bits(*ends: int) -> int:
    """The width that holds every one of `ends`: 64 or 128.

    Raises: number_too_wide.
    """
    largest = max(map(abs, ends))
    if largest >= WIDE_MAX:
        raise Refused(NUMBER_WIDE)
    return 64 if largest < NARROW_MAX else 128


def at(value: Value, width: int) -> str:
    """The text of a number computed at `width` bits; constants adapt by themselves."""
    if value.is_literal or value.is_null or value.width == width:
        return value.sql
    return f"CAST({value.sql} AS {'BIGINT' if width == 64 else 'HUGEINT'})"


def made(
    sql: str, parts: tuple[Value, ...], scale: int, lo: int, hi: int, width: int = 0, **more: object
) -> Value:
    """A new number computed from `parts` (columns and nullability are theirs)."""
    nullable = bool(more.pop("nullable", any(part.nullable for part in parts)))
    if len(sql) > SQL_CHARS_MAX:
        raise Refused(QUESTION_LONG, limit=f"{SQL_CHARS_MAX}")
    columns = frozenset[int]().union(*(part.columns for part in parts))
    kind = Kind.decimal if scale else Kind.integer
    width = width or bits(lo, hi)
    few = hi - lo < LISTED_MAX and columns
    listed = tuple(range(lo, hi + 1)) if few else None
    name = next((part.name for part in parts if part.name), "")
    return Value(sql, kind, scale, lo, hi, nullable, width, None, columns, listed, None, name)


def rescale(value: Value, scale: int) -> Value:
    """The same number on a finer grid."""
    step = scale - value.scale
    if step == 0 or value.is_null:
        return replace(value, scale=scale)
    if scale > SCALE_MAX:
        raise Refused(NUMBER_WIDE)
    factor = 10**step
    if isinstance(value.constant, int):
        grown = value.constant * factor
        bits(grown)
        return Value(str(grown), Kind.decimal, scale, grown, grown, constant=grown)
    lo, hi = interval(value)
    width = bits(lo * factor, hi * factor)
    return made(f"({at(value, width)} * {factor})", (value,), scale, lo * factor, hi * factor, width)


def align(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """The numbers on the finest grid among them."""
    scale = max(need_number(v).scale for v in values)
    return tuple(rescale(v, scale) for v in values)


def add(a: Value, b: Value) -> Value:
    """a + b on the finer grid."""
    if a.is_literal and not b.is_literal:
        a, b = b, a
    a, b = align((a, b))
    if isinstance(a.constant, int) and isinstance(b.constant, int):
        return whole(a.constant + b.constant, a.scale)
    if b.constant == 0:
        return a
    (alo, ahi), (blo, bhi) = interval(a), interval(b)
    width = bits(alo + blo, ahi + bhi, alo, ahi, blo, bhi)
    first, second = at(a, width), at(b, width)
    if not b.is_literal:
        first, second = sorted((first, second))
    return made(f"({first} + {second})", (a, b), a.scale, alo + blo, ahi + bhi, width)


def negate(a: Value) -> Value:
    """-a."""
    if isinstance(need_number(a).constant, int):
        return whole(-int(a.constant or 0), a.scale)
    lo, hi = interval(a)
    width = bits(lo, hi)
    return made(f"(-{at(a, width)})", (a,), a.scale, -hi, -lo, width)


def subtract(a: Value, b: Value) -> Value:
    """a - b on the finer grid; the difference of two dates is whole days."""
    if a.kind is Kind.date and b.kind is Kind.date:
        return difference("day", b, a)
    if isinstance(b.constant, int) and b.is_number:
        return add(a, whole(-b.constant, b.scale))
    a, b = align((a, b))
    (alo, ahi), (blo, bhi) = interval(a), interval(b)
    width = bits(alo - bhi, ahi - blo, alo, ahi, blo, bhi)
    return made(f"({at(a, width)} - {at(b, width)})", (a, b), a.scale, alo - bhi, ahi - blo, width)


def multiply(a: Value, b: Value) -> Value:
    """a * b, on the grid of both scales together."""
    # Both, before any shortcut: what the engine can not multiply fails where a row reaches it, and tells so.
    need_number(a)
    need_number(b)
    if a.is_literal and not b.is_literal:
        a, b = b, a
    scale = a.scale + b.scale
    if isinstance(a.constant, int) and isinstance(b.constant, int):
        return whole(a.constant * b.constant, scale)
    if b.constant == 1 and b.scale == 0:
        return a
    if scale > SCALE_MAX:
        raise Refused(NUMBER_WIDE)
    (alo, ahi), (blo, bhi) = interval(a), interval(b)
    ends = [x * y for x in (alo, ahi) for y in (blo, bhi)]
    width = bits(*ends, alo, ahi, blo, bhi)
    first, second = at(a, width), at(b, width)
    if not b.is_literal:
        first, second = sorted((first, second))
    return made(f"({first} * {second})", (a, b), scale, min(ends), max(ends), width)


def divide(a: Value, b: Value) -> Value:
    """a / b rounded to 6 decimals in each row; NULL where b is zero.

    The interval is exact about the sign and the smallest non-zero divisor on b's grid.
    """
    if need_number(b).constant == 0:
        return NULL
    scale = max(QUOTIENT_SCALE, need_number(a).scale - b.scale)
    lifted = rescale(replace(a, scale=0), scale + b.scale - a.scale)
    (nlo, nhi), (dlo, dhi) = interval(lifted), interval(b)
    if isinstance(lifted.constant, int) and isinstance(b.constant, int):
        top, bottom = abs(lifted.constant), abs(b.constant)
        sign = -1 if (lifted.constant < 0) != (b.constant < 0) else 1
        return whole(sign * ((2 * top + bottom) // (2 * bottom)), scale)
    least = min(abs(dlo), abs(dhi)) if dlo > 0 or dhi < 0 else 1
    most = max(abs(nlo), abs(nhi)) // least + 1
    steady = dlo >= 0 or dhi <= 0
    positive = steady and (nlo >= 0 or nhi <= 0) and (nlo >= 0) == (dlo >= 0)
    negative = steady and (nlo >= 0 or nhi <= 0) and not positive
    half = max(abs(dlo), abs(dhi)) // 2
    width = bits(nlo - half, nhi + half, dlo, dhi)
    top, bottom = at(lifted, width), at(b, width)
    if b.is_literal:
        up = str(abs(dlo) // 2)
    else:
        up = f"(ABS({bottom}) // 2)"
        bottom = f"NULLIF({bottom}, 0)"
    signed = top + " + " + up if nlo >= 0 else f"{top} + CASE WHEN {top} < 0 THEN -({up}) ELSE {up} END"
    lo, hi = (0 if positive else -most), (0 if negative else most)
    nullable = a.nullable or b.nullable or dlo <= 0 <= dhi
    return made(f"(({signed}) // {bottom})", (a, b), scale, lo, hi, width, nullable=nullable)


def quotient(a: Value, b: Value, rest: bool) -> Value:
    """a // b (cut toward zero) or, with `rest`, a % b; NULL where b is zero."""
    if need_number(b).constant == 0:
        return NULL
    if not rest and (need_number(a).scale or b.scale):
        raise Refused(TYPE_MIXED, name="//, decimal")
    a, b = align((a, b))
    (alo, ahi), (blo, bhi) = interval(a), interval(b)
    if isinstance(a.constant, int) and isinstance(b.constant, int):
        cut = abs(a.constant) // abs(b.constant) * (-1 if (a.constant < 0) != (b.constant < 0) else 1)
        return whole(a.constant - cut * b.constant if rest else cut, a.scale)
    width = bits(alo, ahi, blo, bhi)
    bottom = at(b, width) if b.is_literal else f"NULLIF({at(b, width)}, 0)"
    nullable = a.nullable or b.nullable or blo <= 0 <= bhi
    most = max(abs(alo), abs(ahi))
    if rest:
        most = min(most, max(abs(blo), abs(bhi)) - 1)
        lo, hi = (-most if alo < 0 else 0), (most if ahi > 0 else 0)
        return made(f"({at(a, width)} % {bottom})", (a, b), a.scale, lo, hi, width, nullable=nullable)
    if blo > 0:
        ends = [_cut(x, y) for x in (alo, ahi) for y in (blo, bhi)]
        lo, hi = min(ends), max(ends)
    else:
        lo, hi = -most, most
    return made(f"({at(a, width)} // {bottom})", (a, b), 0, lo, hi, width, nullable=nullable)


def _cut(a: int, b: int) -> int:
    """a / b cut toward zero, for b > 0."""
    return a // b if a >= 0 else -(-a // b)


def absolute(a: Value) -> Value:
    """|a|."""
    lo, hi = interval(need_number(a))
    if isinstance(a.constant, int):
        return whole(abs(a.constant), a.scale)
    if lo >= 0:
        return a
    width = bits(lo, hi)
    least = 0 if hi >= 0 else -hi
    return made(f"ABS({at(a, width)})", (a,), a.scale, least, max(-lo, hi), width)


def rounded(a: Value, way: str, digits: int = 0) -> Value:
    """FLOOR, CEIL or ROUND (half away from zero) of a number to `digits` decimals."""
    step = need_number(a).scale - digits
    return a if step <= 0 else _stepped(a, 10**step, way, digits)


def rounded_quotient(a: Value, b: Value, way: str) -> Value:
    """FLOOR, CEIL or ROUND of a / b for a constant b > 0, exactly."""
    assert isinstance(b.constant, int) and b.constant > 0
    common = max(need_number(a).scale, b.scale)
    a, b = rescale(a, common), rescale(b, common)
    return _stepped(a, int(b.constant or 1), way, 0)


def _stepped(a: Value, factor: int, way: str, digits: int) -> Value:
    """The stored integer of `a` divided by a whole factor and rounded: truncation after a shift."""
    low, high = interval(a)
    shift = {"floor": (-(factor - 1), 0), "ceil": (0, factor - 1), "round": (-(factor // 2), factor // 2)}[
        way
    ]
    lo, hi = (_cut(end + shift[end >= 0], factor) for end in (low, high))
    if isinstance(a.constant, int):
        return whole(lo, digits)
    if factor == 1:
        return replace(a, kind=Kind.integer, scale=digits, bare=None)
    width = bits(low + shift[0], high + shift[1], factor)
    inner = at(a, width)
    if low >= 0:
        moved = inner if shift[1] == 0 else f"({inner} + {shift[1]})"
    else:
        moved = f"({inner} + CASE WHEN {inner} < 0 THEN {shift[0]} ELSE {shift[1]} END)"
    return made(f"({moved} // {factor})", (a,), digits, lo, hi, width)


def held(a: Value, lo: int, hi: int) -> Value:
    """The number where it lies within [lo, hi] (its own units), else NULL: a cast that cannot fail."""
    low, high = interval(a)
    if low >= lo and high <= hi:
        return a
    lo, hi = max(lo, low), min(hi, high)
    if lo > hi:
        return NULL
    width = bits(low, high)
    inner = at(a, width)
    sql = f"CASE WHEN {inner} BETWEEN {lo} AND {hi} THEN {inner} END"
    return made(sql, (a,), a.scale, lo, hi, width, nullable=True)


def difference(unit: str, start: Value, end: Value) -> Value:
    """The number of `unit` borders between two dates or timestamps (DATE_DIFF)."""
    if start.kind not in MOMENTS or end.kind not in MOMENTS:
        raise Refused(TYPE_MIXED, name="date_diff")
    ends = [_micros(v, which) for v in (start, end) for which in (0, 1)]
    span = UNIT_DAYS[unit] * 86_400 if unit in UNIT_DAYS else UNIT_SECONDS[unit]
    exact = unit == "day" and start.kind is end.kind is Kind.date
    spare = 0 if exact else 1
    lo = _cut(ends[2] - ends[1], span * 1_000_000) - spare
    hi = _cut(ends[3] - ends[0], span * 1_000_000) + spare
    if start.is_literal and end.is_literal and exact:
        return whole(hi)
    return made(f"DATE_DIFF('{unit}', {start.sql}, {end.sql})", (start, end), 0, lo, hi, 64)


def _micros(value: Value, which: int) -> int:
    end = interval(value)[which]
    return end * DAY_US if value.kind is Kind.date else end


def part(name: str, a: Value) -> Value:
    """A part of a date or timestamp as a number: year, quarter, month, week, day, dayofweek, hour."""
    if a.kind not in MOMENTS or (name == "hour" and a.kind is not Kind.timestamp):
        raise Refused(TYPE_MIXED, name=f"{name}, {a.kind}")
    interval(a)
    if name == "year":
        lo, hi = (date.fromordinal(_micros(a, which) // DAY_US + EPOCH).year for which in (0, 1))
    else:
        lo, hi = PARTS[name]
    return made(f"{name.upper()}({a.sql})", (a,), 0, lo, hi, 64)


def truncated(unit: str, a: Value) -> Value:
    """The start of the year, quarter, month, week, day or hour; a date stays a date."""
    if a.kind not in MOMENTS or (unit == "hour" and a.kind is not Kind.timestamp):
        raise Refused(TYPE_MIXED, name=f"date_trunc, {a.kind}")
    lo, hi = interval(a)
    day_us = 1 if a.kind is Kind.date else DAY_US
    back = 366 * day_us
    first = (FIRST_DAY - EPOCH) * day_us
    target = "DATE" if a.kind is Kind.date else "TIMESTAMP"
    sql = f"CAST(DATE_TRUNC('{unit}', {a.sql}) AS {target})"
    spread = cells(unit, a)
    return replace(
        a, sql=sql, lo=max(lo - back, first), hi=hi, bare=None, width=64, constant=None, spread=spread
    )


def cells(unit: str, a: Value) -> int:
    """How many different starts of `unit` the interval of `a` may hold."""
    lo, hi = (_micros(a, which) for which in (0, 1))
    seconds = UNIT_DAYS[unit] * 86_400 if unit in UNIT_DAYS else UNIT_SECONDS[unit]
    return (hi - lo) // (seconds * 1_000_000) + 2


def shifted(a: Value, count: int, unit: str) -> Value:
    """A date or timestamp moved by `count` units (negative: earlier); a timestamp unless a constant date.

    Raises: number_too_wide where a bound would leave the years 1 to 9999.
    """
    if a.kind not in MOMENTS:
        raise Refused(TYPE_MIXED, name=f"interval, {a.kind}")
    lo, hi = (_micros(a, which) for which in (0, 1))
    most = 31 if unit in ("month", "quarter") else 366 if unit == "year" else UNIT_DAYS.get(unit, 1)
    seconds = UNIT_SECONDS.get(unit, 0) or most * (3 if unit == "quarter" else 1) * 86_400
    reach = abs(count) * seconds * 1_000_000
    lo, hi = (lo - reach, hi) if count < 0 else (lo, hi + reach)
    if lo < (FIRST_DAY - EPOCH) * DAY_US or hi > (LAST_DAY - EPOCH) * DAY_US:
        raise Refused(NUMBER_WIDE)
    if isinstance(a.constant, int):
        return _moved(a, count, unit)
    sign = "-" if count < 0 else "+"
    sql = f"({a.sql} {sign} INTERVAL '{abs(count)}' {unit.upper()})"
    return Value(sql, Kind.timestamp, 0, lo, hi, a.nullable, 64, columns=a.columns, name=a.name)


def _moved(a: Value, count: int, unit: str) -> Value:
    """A constant moved by an interval, month ends cut as SQL does."""
    constant = int(a.constant or 0)
    micros = constant * DAY_US if a.kind is Kind.date else constant
    months = {"month": 1, "quarter": 3, "year": 12}.get(unit, 0) * count
    if months:
        ordinal, rest = divmod(micros, DAY_US)
        then = date.fromordinal(ordinal + EPOCH)
        year, month = divmod(then.year * 12 + then.month - 1 + months, 12)
        last = monthrange(year, month + 1)[1]
        micros = (date(year, month + 1, min(then.day, last)).toordinal() - EPOCH) * DAY_US + rest
    else:
        micros += count * (UNIT_SECONDS.get(unit, 0) or UNIT_DAYS[unit] * 86_400) * 1_000_000
    return dated(micros // DAY_US) if a.kind is Kind.date and micros % DAY_US == 0 else timed(micros)
