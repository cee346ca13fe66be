"""An aggregate's value and its error (估计值), read from the noised integers of one cell.

1. Everything here is post-processing: noised integers and declared bounds go in, nothing else.
2. Values are kept within the bounds that are known anyway; that loses nothing and leaks nothing.
3. An error is twice the standard deviation, by first-order propagation of independent noises.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from dujiang.cleanroom.formula import Value, evaluate
from dujiang.cleanroom.model import Aggregate, Formula, Guard, Noise, Plan

DOMINANCE_Z = 3.1
"""Standard deviations of a sum that its noise exceeds in at most 1 of 1,000."""
TYPICAL_ROWS = 1_000
"""Size of the group that the expected error of a mean or deviation is quoted for."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One aggregate made ready to be read from many cells."""

    aggregate: Aggregate
    spreads: tuple[float, float, float]
    """Standard deviation of the noise of (n or total), centred, squared, in units of value."""
    units: tuple[Fraction, Fraction, Fraction]
    floor: int | None
    """What a noised sum must reach, in engine units, so that no entity can dominate it; None: no rule."""

    def value(self, noised: Sequence[int]) -> Value:
        """The released value from one cell's noised integers, NULL (None) where there is none to show."""
        form = self.aggregate.form
        if form == "count":
            return max(0, noised[cast(int, self.aggregate.n)])
        if form == "sum":
            return self._sum(noised)
        n = noised[cast(int, self.aggregate.n)]
        if n < 1:
            return None
        if form == "mean":
            mean = float(self.aggregate.mid) + self._offset(noised, n)
            return min(max(mean, float(self.aggregate.lo)), float(self.aggregate.hi))
        variance = self._variance(noised, n)
        if form.endswith("_samp"):
            if n == 1:
                return None
            variance = variance * n / (n - 1)
        return variance if form.startswith("var") else math.sqrt(variance)

    def _sum(self, noised: Sequence[int]) -> Value:
        total = noised[cast(int, self.aggregate.total)]
        negative = self.aggregate.lo < 0 and self.aggregate.hi <= 0
        if self.floor is not None and (-total if negative else total) < self.floor:
            return None
        value = total * self.units[0]
        return round(value, self.aggregate.scale) if self.aggregate.scale else round(value)

    def _offset(self, noised: Sequence[int], n: int) -> float:
        """Mean minus mid."""
        if self.aggregate.centred is None:
            return 0.0
        unit = self.units[1]
        return noised[self.aggregate.centred] * unit.numerator / (n * unit.denominator)

    def _variance(self, noised: Sequence[int], n: int) -> float:
        """Mean square from mid less squared mean from mid, within [0, half**2]; one rounding only."""
        centred = noised[cast(int, self.aggregate.centred)]
        squared = noised[cast(int, self.aggregate.squared)]
        first, second, c = self.units[1], self.units[2], self.aggregate.c
        grid = second.denominator * c.denominator * first.denominator**2
        exact = (
            squared * n * (grid // second.denominator * second.numerator)
            + n * n * (grid // c.denominator * c.numerator)
            - centred * centred * (grid // first.denominator**2 * first.numerator**2)
        )
        return min(max(exact / (grid * n * n), 0.0), float(self.aggregate.half) ** 2)

    def error(self, noised: Sequence[int]) -> float | None:
        """The error of the value in one cell, as the noised integers let it be judged; None: no value."""
        if self.aggregate.form in ("count", "sum"):
            return self.quoted()
        n = noised[cast(int, self.aggregate.n)]
        if n < 1:
            return None
        variance = 0.0 if self.aggregate.squared is None else self._variance(noised, n)
        return self._error(n, self._offset(noised, n), variance)

    def quoted(self) -> float:
        """The error before asking: of a mean or deviation, for 1,000 rows in the middle of the bounds."""
        return self._error(TYPICAL_ROWS, 0.0, float(self.aggregate.half) ** 2 / 4)

    def _error(self, n: int, offset: float, variance: float) -> float:
        """Twice the standard deviation over n rows; `offset` is mean minus mid."""
        form = self.aggregate.form
        first, centred, squared = self.spreads
        if form in ("count", "sum"):
            return 2 * first
        if form == "mean":
            error = 2 * math.hypot(centred, offset * first) / n
            return min(error, float(self.aggregate.hi - self.aggregate.lo))
        slope = offset**2 - variance + float(self.aggregate.c)
        error = 2 * math.hypot(squared, 2 * offset * centred, slope * first) / n
        half = float(self.aggregate.half)
        if form.startswith("var"):
            return min(error, half**2)
        # The root of a variance near 0 has no slope; its error is at most the root of the variance's.
        return min(error / (2 * math.sqrt(variance)) if variance else math.inf, math.sqrt(error), half)


def prepared(plan: Plan, guard: Guard, spreads: Sequence[float]) -> list[Estimate]:
    """The aggregates of a plan made ready; `spreads` in engine units, one a statistic."""
    return [_prepared(plan, guard, aggregate, spreads) for aggregate in plan.aggregates]


def _prepared(plan: Plan, guard: Guard, aggregate: Aggregate, spreads: Sequence[float]) -> Estimate:
    first = aggregate.total if aggregate.form == "sum" else aggregate.n
    places = (first, aggregate.centred, aggregate.squared)
    units = [Fraction(1) if place is None else plan.statistics[place].unit for place in places]
    noise = [
        0.0 if place is None else spreads[place] * float(plan.statistics[place].unit) for place in places
    ]
    floor = None
    ruled = plan.noise is not Noise.exact and guard.dominance_percent < 100
    if aggregate.form == "sum" and ruled and not aggregate.lo < 0 < aggregate.hi:
        place = cast(int, aggregate.total)
        share = Fraction(plan.statistics[place].cap * 100, guard.dominance_percent)
        floor = math.ceil(share + Fraction(DOMINANCE_Z * spreads[place]))
    return Estimate(aggregate, (noise[0], noise[1], noise[2]), (units[0], units[1], units[2]), floor)


def column_error(formula: Formula, errors: Sequence[float]) -> float | None:
    """The error of a formula linear in aggregates (errors added up, as they may share noise), else None."""
    factors = _linear(formula)
    if not factors:
        return None
    error = sum(abs(factor) * errors[index] for index, factor in factors.items())
    return error if math.isfinite(error) else None


def _linear(formula: Formula) -> dict[int, float] | None:
    """The factor of each aggregate in a linear formula, empty for a constant, None for any other."""
    op = formula[0]
    if op == "agg":
        return {cast(int, formula[1]): 1.0}
    if op == "lit":
        return {}
    if op not in ("neg", "round", "coalesce", "+", "-", "*", "/"):
        return None
    parts = [_linear(cast(Formula, part)) for part in formula[1:]]
    first = parts[0]
    if first is None or any(part is None for part in parts):
        return None
    if op in ("neg", "round", "coalesce"):
        return first if all(not part for part in parts[1:]) else None
    second = parts[1] or {}
    if op in ("+", "-"):
        sign = 1.0 if op == "+" else -1.0
        return {i: first.get(i, 0.0) + sign * second.get(i, 0.0) for i in first.keys() | second.keys()}
    return _scaled(formula, first, second)


def _scaled(formula: Formula, first: dict[int, float], second: dict[int, float]) -> dict[int, float] | None:
    """The factors of a product with, or a quotient by, a constant; None where there is no such constant."""
    divides = formula[0] == "/"
    if second and (first or divides):
        return None
    constant = evaluate(cast(Formula, formula[1 if second else 2]), (), ())
    if constant is None or isinstance(constant, str) or (divides and not constant):
        return None
    factor = 1 / float(constant) if divides else float(constant)
    return {index: one * factor for index, one in (second or first).items()}
