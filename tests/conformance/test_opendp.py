"""Our samplers against OpenDP's, an implementation by others: same distribution, same price."""

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import pytest

from dujiang.cleanroom.model import Form, Guard, Noise, Statistic
from dujiang.cleanroom.noise import SystemSource, gaussian, laplace
from dujiang.cleanroom.rules import scale, spread

dp = pytest.importorskip("opendp.prelude", reason="pip install opendp (266 MB)")
dp.enable_features("contrib")

DRAWS = 20_000
SPACE = (dp.atom_domain(T=int), dp.absolute_distance(T=int))


def same(ours: Sequence[int], theirs: Sequence[int]) -> float:
    """The p-value of a two-sample chi-square test, bins of 20 or more, by Wilson and Hilferty."""
    first, second = Counter(ours), Counter(theirs)
    bins: list[tuple[int, int]] = []
    a = b = 0
    for y in sorted(first | second):
        a, b = a + first[y], b + second[y]
        if a + b >= 40:
            bins.append((a, b))
            a = b = 0
    bins[-1] = (bins[-1][0] + a, bins[-1][1] + b)
    freedom = len(bins) - 1
    square = sum((a - b) ** 2 / (a + b) for a, b in bins)
    width = 2 / (9 * freedom)
    return math.erfc(((square / freedom) ** (1 / 3) - 1 + width) / math.sqrt(2 * width)) / 2


@pytest.mark.parametrize("wide", [1.0, 7.5])
def test_laplace_is_the_same_distribution(wide: float) -> None:
    source, other = SystemSource(), dp.m.make_laplace(*SPACE, scale=wide)
    exact = Fraction(wide)
    ours = [laplace(source, exact.numerator, exact.denominator) for _ in range(DRAWS)]
    assert same(ours, [other(0) for _ in range(DRAWS)]) > 1e-6


@pytest.mark.parametrize("sigma", [0.5, 20.0])
def test_gaussian_is_the_same_distribution(sigma: float) -> None:
    source, other = SystemSource(), dp.m.make_gaussian(*SPACE, scale=sigma)
    ours = [gaussian(source, Fraction(sigma) ** 2) for _ in range(DRAWS)]
    assert same(ours, [other(0) for _ in range(DRAWS)]) > 1e-6


def test_another_spread_is_found() -> None:
    source, other = SystemSource(), dp.m.make_gaussian(*SPACE, scale=20.0)
    ours = [gaussian(source, Fraction(500)) for _ in range(DRAWS)]
    assert same(ours, [other(0) for _ in range(DRAWS)]) < 1e-3


@pytest.mark.parametrize("rho_micro", [500, 5_000, 20_000, 500_000])
@pytest.mark.parametrize("delta", [1, 7, 300])
def test_noise_costs_what_we_charge(rho_micro: int, delta: int) -> None:
    """OpenDP's privacy map of the noise we would add gives our price, and never more by a millionth."""
    one = Statistic("s", Form.rows, delta, delta**2, delta)
    sigma = spread(one, Guard(Noise.gaussian, rho_micro))
    assert dp.m.make_gaussian(*SPACE, scale=sigma).map(delta) == pytest.approx(rho_micro / 1e6, rel=1e-6)
    wide = float(scale(one, Guard(Noise.laplace, rho_micro)))
    price = dp.m.make_laplace(*SPACE, scale=wide).map(delta) ** 2 / 2
    assert price == pytest.approx(rho_micro / 1e6, rel=1e-5)
    assert price <= rho_micro / 1e6 * (1 + 1e-6)
