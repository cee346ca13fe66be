"""Accounting, noise and release of a checked question; pure, the source of randomness is an argument.

1. A statistic costs rho (zCDP) once, whatever the number of its cells; a cached one costs nothing.
2. The noise of a statistic follows from its sensitivity and rho alone; scales are rounded up.
3. Private keys: a cell is shown only if it has k true entities *and* its noised entities reach
   k + margin, so that one entity shows or hides a cell with probability at most delta.
4. Declared keys, or none: every cell is always computed, the minimum is soft and costs no delta.
5. Whatever happens after the noise (dominance, HAVING, ORDER BY, LIMIT, formulas) sees noised
   values only. In an exact plan k and dominance are inside the SQL and nothing is noised.
6. Dominance: every entity is held to `cap`, so a noised sum well above cap/share cannot be
   dominated. A sum below is NULL. The rule does not apply to values of both signs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import cast

from dujiang.cleanroom.estimate import Estimate, column_error, prepared
from dujiang.cleanroom.formula import Value, evaluate
from dujiang.cleanroom.model import Guard, Key, Noise, Plan, Released, Statistic
from dujiang.cleanroom.noise import Uniform, gaussian, laplace
from dujiang.registry.model import Kind

MICRO = 10**6
SOFT_Z = 1.64
"""Standard deviations over k of the soft minimum: a cell below k passes in at most 5 of 100."""

Cell = tuple[object, ...]
"""The keys of one group as the engine returns them."""
Blurred = dict[str, dict[Cell, int]]
"""Noised integers by statistic key and cell: what the cache keeps and `release` reads."""


# Accounting


def variance(statistic: Statistic, guard: Guard) -> Fraction:
    """The variance of Gaussian noise for `statistic`, in squared engine units: delta2**2 / (2*rho)."""
    return Fraction(statistic.delta2_squared * MICRO, 2 * guard.rho_micro)


def scale(statistic: Statistic, guard: Guard) -> Fraction:
    """The scale of Laplace noise for `statistic`, in engine units: delta1 / sqrt(2*rho), rounded up."""
    # isqrt rounds epsilon down, hence the scale up.
    epsilon = Fraction(math.isqrt(2 * guard.rho_micro * MICRO**3), MICRO**2)
    return statistic.delta1 / epsilon


def spread(statistic: Statistic, guard: Guard) -> float:
    """The standard deviation of the noise of `statistic`, in units of its value; 0 where exact."""
    return _spread(statistic, guard) * float(statistic.unit)


def _spread(statistic: Statistic, guard: Guard) -> float:
    if guard.noise is Noise.exact:
        return 0.0
    if guard.noise is Noise.gaussian:
        return math.sqrt(variance(statistic, guard))
    wide = float(scale(statistic, guard))
    # Variance of the discrete Laplace: 2q/(1-q)**2, q = exp(-1/scale).
    return math.sqrt(2 * math.exp(-1 / wide)) / -math.expm1(-1 / wide) if wide else 0.0


def charge(plan: Plan, guard: Guard, cached: Collection[str]) -> int:
    """The micro-rho the question costs: one statistic's price for each distinct key not in `cached`."""
    if plan.noise is Noise.exact:
        return 0
    return guard.rho_micro * len({statistic.key for statistic in plan.statistics} - set(cached))


def left(total_micro: int, spent_micro: int, price_micro: int) -> int:
    """How many further statistics an account of `total_micro` can pay, never below 0."""
    return max(0, (total_micro - spent_micro) // price_micro)


def epsilon(rho_micro: int, delta: float) -> float:
    """The epsilon of an (epsilon, delta) guarantee that follows from `rho_micro` spent."""
    rho = rho_micro / MICRO
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))


def rows_max(plan: Plan) -> int:
    """The most rows the answer can have, whatever the data say: by its LIMIT and by declared sizes."""
    return plan.cells_max if plan.limit is None else min(plan.limit, plan.cells_max)


# Thresholds


def is_private(plan: Plan) -> bool:
    """Whether showing a group tells that it exists: some key is not declared, and noise is used."""
    return plan.noise is not Noise.exact and any(key.keys is None for key in plan.keys)


def presence_delta(plan: Plan, guard: Guard, cached: Collection[str] = ()) -> float:
    """The delta the question adds to the account: 0 unless its keys are private and not yet decided."""
    if not is_private(plan) or all(plan.statistics[place].key in cached for place in plan.presence):
        return 0.0
    return 10.0**-guard.delta_exponent


def margin(plan: Plan, guard: Guard, of: int = 0) -> int:
    """The distance over k that a private cell's noised entities must reach.

    The smallest m with the discrete tail P(noise >= m) <= delta / touched_max, plus what one entity
    may change the count of a cell by beyond 1. `of`: the place in `presence`. A cell that only one of two
    neighbours may show is below k in one of its counts, and that count alone passes its margin with
    probability delta / touched_max: several counts need no smaller delta.
    """
    guard = replace(guard, noise=plan.noise)
    statistic = plan.statistics[plan.presence[of]]
    delta = 10.0**-guard.delta_exponent / max(1, plan.touched_max)
    if guard.noise is Noise.laplace:
        tail = _laplace_margin(scale(statistic, guard), delta)
    else:
        tail = _gaussian_margin(variance(statistic, guard), delta)
    return tail + max(0, statistic.cap - 1)


def _laplace_margin(wide: Fraction, delta: float) -> int:
    """The smallest m >= 1 with q**m / (1 + q) <= delta, q = exp(-1/scale)."""
    rate = 1 / float(wide)
    # The last factor covers the rounding of this line.
    return max(1, math.ceil(math.log(1 / (delta * (1 + math.exp(-rate)))) / rate * (1 + 1e-12)))


def _gaussian_margin(wide: Fraction, delta: float) -> int:
    """The smallest m >= 1 whose exact discrete tail is at most delta, summed from the far end."""
    double = 2 * float(wide)
    far = math.ceil(math.sqrt(double * (math.log(1 / delta) + 45))) + 2
    # The mass of all integers is at least sigma*sqrt(2*pi), and at least 1: a lower bound of it
    # makes an upper bound of the tail. What lies beyond `far` is below exp(-45) of delta.
    mass = max(1.0, math.sqrt(math.pi * double))
    if double < 8:
        mass = math.fsum(math.exp(-y * y / double) for y in range(-far, far + 1))
    allowed = delta * mass * (1 - 1e-9)
    tail = 0.0
    for y in range(far, 0, -1):
        tail += math.exp(-y * y / double)
        if tail > allowed:
            return y + 1
    return 1


def threshold(plan: Plan, guard: Guard, of: int = 0) -> int:
    """The noised entities a cell must reach to be shown.

    Private keys: k + margin. Declared keys or none: k and 1.64 standard deviations. Exact: k.
    """
    if plan.noise is Noise.exact:
        return guard.group_min
    if is_private(plan):
        return guard.group_min + margin(plan, guard, of)
    sd = _spread(plan.statistics[plan.presence[of]], replace(guard, noise=plan.noise))
    return math.ceil(guard.group_min + SOFT_Z * sd)


# Noise


def blur(
    plan: Plan,
    guard: Guard,
    source: Uniform,
    rows: Iterable[Sequence[object]],
    cached: Mapping[str, Mapping[Cell, int]],
) -> Blurred:
    """The noised integers of every statistic of the plan, cached ones unchanged.

    `rows` is what the engine returned: keys, distinct entities of each table (or None), one integer a statistic.
    Cells are taken in the order of their keys, so the order of rows tells nothing. With all keys
    declared the cells are the declared ones, absent ones with 0. With private keys a cell of
    fewer than k entities is in no fresh statistic.
    """
    truth = _cells(plan, guard, rows)
    blurred: Blurred = {}
    for index, statistic in enumerate(plan.statistics):
        if statistic.key in blurred:
            continue
        if statistic.key in cached:
            blurred[statistic.key] = dict(cached[statistic.key])
            continue
        draw = _drawer(plan.noise, statistic, guard, source)
        blurred[statistic.key] = {cell: values[index] + draw() for cell, values in truth.items()}
    return blurred


def _cells(plan: Plan, guard: Guard, rows: Iterable[Sequence[object]]) -> dict[Cell, list[int]]:
    """True integers by cell in key order, after the rule of k and the listing of declared cells."""
    width, counts = len(plan.keys), len(plan.presence)
    hard = plan.noise is Noise.exact or is_private(plan)
    found: dict[Cell, list[int]] = {}
    for row in rows:
        values = [cast(int, value or 0) for value in row[width + counts :]]
        entities = cast("list[int | None]", list(row[width : width + counts]))
        if plan.noise is not Noise.exact:
            entities = [
                values[place] if each is None else each
                for place, each in zip(plan.presence, entities, strict=True)
            ]
        if not hard or all(each is None or each >= guard.group_min for each in entities):
            found[tuple(row[:width])] = values
    if not hard:
        # Only declared cells: that a value outside the list exists is not for the answer to tell.
        nothing = [0] * len(plan.statistics)
        found = {cell: found.get(cell, nothing) for cell in declared(plan.keys)}
    return {cell: found[cell] for cell in sorted(found, key=_rank)}


def declared(keys: Sequence[Key]) -> Iterable[Cell]:
    """Every cell of keys whose lists are published, NULL among them where a key may be NULL."""
    domains = [list(dict.fromkeys([*(key.keys or ()), *([None] if key.nullable else [])])) for key in keys]
    return itertools.product(*domains)


def _drawer(noise: Noise, statistic: Statistic, guard: Guard, source: Uniform) -> Callable[[], int]:
    if noise is Noise.exact:
        return lambda: 0
    if noise is Noise.laplace:
        wide = scale(statistic, guard)
        numerator, denominator = wide.numerator, wide.denominator
        return lambda: laplace(source, numerator, denominator)
    spread_squared = variance(statistic, guard)
    return lambda: gaussian(source, spread_squared)


def _rank(cell: Cell) -> tuple[tuple[int, object], ...]:
    """A sort key of cells or values that takes NULLs last and never compares text with a number."""
    return tuple(
        (2, 0) if part is None else (1, part) if isinstance(part, str) else (0, part) for part in cell
    )


# Release


def release(plan: Plan, guard: Guard, blurred: Mapping[str, Mapping[Cell, int]]) -> Released:
    """The answer that may leave the node, from noised statistics alone.

    Groups below the threshold are left out and sums that one entity might dominate are NULL, both
    silently; then HAVING, ORDER BY (ties by key), LIMIT and the output formulas.
    """
    maps = [blurred[statistic.key] for statistic in plan.statistics]
    least = [
        (maps[place], threshold(plan, guard, of))
        for of, place in enumerate(plan.presence)
        if plan.noise is not Noise.exact
    ]
    estimates = _estimates(plan, guard)
    groups: list[_Group] = []
    for cell in sorted(maps[plan.presence[0]], key=_rank):
        if all(cell in one for one in maps) and all(counted[cell] >= most for counted, most in least):
            noised = [one[cell] for one in maps]
            groups.append((_keys(plan, cell), [estimate.value(noised) for estimate in estimates], noised))
    groups = _chosen(plan, groups)
    errors = [_widest(estimate, (noised for _, _, noised in groups)) for estimate in estimates]
    return Released(
        columns=tuple(name for name, _ in plan.columns),
        rows=tuple(
            tuple(_out(evaluate(formula, keys, values)) for _, formula in plan.columns)
            for keys, values, _ in groups
        ),
        plus_minus=tuple(column_error(formula, errors) for _, formula in plan.columns),
    )


_Group = tuple[list[Value], list[Value], list[int]]


def _chosen(plan: Plan, groups: list[_Group]) -> list[_Group]:
    """The groups that HAVING keeps, in the order and range the question asks for."""
    if plan.having is not None:
        having = plan.having
        groups = [group for group in groups if evaluate(having, group[0], group[1]) is True]
    # Sorting is stable: from the last item to the first, ties stay in key order.
    for formula, descending, nulls_first in reversed(plan.order):
        ranked = [(evaluate(formula, group[0], group[1]), group) for group in groups]
        nulls = [group for value, group in ranked if value is None]
        known = sorted(
            ((value, group) for value, group in ranked if value is not None),
            key=lambda pair: _rank((pair[0],)),
            reverse=descending,
        )
        rest = [group for _, group in known]
        groups = nulls + rest if nulls_first else rest + nulls
    end = None if plan.limit is None else plan.offset + plan.limit
    return groups[plan.offset : end]


def _keys(plan: Plan, cell: Cell) -> list[Value]:
    """The keys of a cell as the consumer knows them: off the grid, booleans as booleans."""
    return [_key(key, cast(Value, value)) for key, value in zip(plan.keys, cell, strict=True)]


def _key(key: Key, value: Value) -> Value:
    if value is None or isinstance(value, str):
        return value
    if key.kind is Kind.boolean:
        return bool(value)
    return Fraction(value) / 10**key.scale if key.scale else value


def _out(value: Value) -> object:
    """A value as it leaves: exact decimals become the nearest float."""
    return float(value) if isinstance(value, Fraction) else value


# Expected error


def expected(plan: Plan, guard: Guard) -> tuple[float | None, ...]:
    """The ± (2 standard deviations) of each output column, told before asking: no data is used.

    A count or a sum, and what is linear in them: exact. A mean or deviation: for a group of 1,000
    rows whose values centre on the middle of their bounds with half of the half-width as deviation.
    None: a key, or a formula whose error has no such number.
    """
    errors = [estimate.quoted() for estimate in _estimates(plan, guard)]
    return tuple(column_error(formula, errors) for _, formula in plan.columns)


def _estimates(plan: Plan, guard: Guard) -> list[Estimate]:
    guard = replace(guard, noise=plan.noise)
    return prepared(plan, guard, [_spread(statistic, guard) for statistic in plan.statistics])


def _widest(estimate: Estimate, cells: Iterable[Sequence[int]]) -> float:
    """The largest error of an aggregate over released cells; the quote where none has a value."""
    errors = [error for error in map(estimate.error, cells) if error is not None]
    return max(errors, default=estimate.quoted())
