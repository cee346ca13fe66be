"""The samplers draw exactly the stated distributions, and the check that says so can fail."""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction

import pytest

from dujiang.cleanroom.noise import SeededSource, SystemSource, Uniform, gaussian, laplace

DRAWS = 50_000
SURE = 1e-6


def probability(draws: Iterable[int], weight: Callable[[int], float], reach: int) -> float:
    """The chi-square p-value of draws against weights over [-reach, reach], tails merged.

    The p-value is Wilson and Hilferty's, good to a few percent at the sizes used here.
    """
    counts = Counter(draws)
    total = sum(counts.values())
    mass = math.fsum(weight(y) for y in range(-reach, reach + 1))
    bins: list[tuple[float, int]] = []
    expected, seen = 0.0, 0
    for y in range(-reach, reach + 1):
        expected += weight(y) / mass * total
        seen += counts[y]
        if expected >= 20:
            bins.append((expected, seen))
            expected, seen = 0.0, 0
    seen += sum(n for y, n in counts.items() if abs(y) > reach)
    bins[-1] = (bins[-1][0] + expected, bins[-1][1] + seen)
    freedom = len(bins) - 1
    square = sum((seen - expected) ** 2 / expected for expected, seen in bins)
    spread = 2 / (9 * freedom)
    return math.erfc(((square / freedom) ** (1 / 3) - 1 + spread) / math.sqrt(2 * spread)) / 2


def laplace_weight(scale: Fraction) -> Callable[[int], float]:
    return lambda y: math.exp(-abs(y) / float(scale))


def gaussian_weight(variance: Fraction) -> Callable[[int], float]:
    return lambda y: math.exp(-y * y / (2 * float(variance)))


LAPLACE = [Fraction(1), Fraction(20), Fraction(37, 5), Fraction(1, 3)]
GAUSSIAN = [Fraction(1, 4), Fraction(1), Fraction(100), Fraction(2500, 7)]


@pytest.mark.parametrize("scale", LAPLACE)
def test_laplace_has_exactly_the_stated_probabilities(scale: Fraction) -> None:
    source = SeededSource(11)
    draws = [laplace(source, scale.numerator, scale.denominator) for _ in range(DRAWS)]
    assert probability(draws, laplace_weight(scale), math.ceil(30 * scale) + 5) > SURE


@pytest.mark.parametrize("variance", GAUSSIAN)
def test_gaussian_has_exactly_the_stated_probabilities(variance: Fraction) -> None:
    source = SeededSource(12)
    draws = [gaussian(source, variance) for _ in range(DRAWS)]
    assert probability(draws, gaussian_weight(variance), math.ceil(12 * math.sqrt(variance)) + 5) > SURE


def test_a_variance_ten_percent_off_is_found() -> None:
    source = SeededSource(13)
    draws = [gaussian(source, Fraction(440)) for _ in range(DRAWS)]
    assert probability(draws, gaussian_weight(Fraction(400)), 250) < SURE


def test_a_scale_ten_percent_off_is_found() -> None:
    source = SeededSource(14)
    draws = [laplace(source, 22) for _ in range(DRAWS)]
    assert probability(draws, laplace_weight(Fraction(20)), 600) < SURE


def test_a_zero_drawn_twice_as_often_is_found() -> None:
    source = SeededSource(15)
    draws = [laplace(source, 20) for _ in range(DRAWS)]
    assert probability([*draws, *(0 for y in draws if y == 0)], laplace_weight(Fraction(20)), 600) < SURE


@pytest.mark.parametrize("scale", [10**15, 10**40])
def test_large_scales_keep_the_shape(scale: int) -> None:
    """Scaled down, wide noise is continuous Laplace: quartiles at scale * ln 2, to 5 standard errors."""
    source = SeededSource(16)
    draws = [laplace(source, scale) for _ in range(20_000)]
    inside = sum(abs(y) < scale * math.log(2) for y in draws)
    below = sum(y < 0 for y in draws)
    assert abs(inside - 10_000) < 5 * math.sqrt(5_000)
    assert abs(below - 10_000) < 5 * math.sqrt(5_000)


def test_no_noise_where_nothing_can_change() -> None:
    source = SeededSource(17)
    assert {laplace(source, 0) for _ in range(9)} == {gaussian(source, Fraction(0)) for _ in range(9)} == {0}


@pytest.mark.parametrize("source", [SeededSource(1), SystemSource()])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 1000])
def test_a_source_is_uniform(source: Uniform, n: int) -> None:
    draws = [source.below(n) for _ in range(20_000)]
    assert set(draws) <= set(range(n))
    if n > 1:
        expected = len(draws) / n
        square = sum((draws.count(y) - expected) ** 2 / expected for y in range(n))
        # Mean n - 1, standard deviation sqrt(2(n - 1)); 8 of them even for the skew of n = 2.
        assert square < n - 1 + 8 * math.sqrt(2 * (n - 1)) + 12


@pytest.mark.parametrize("n", [2**64, 2**64 + 1, 3 * 2**100, 10**60])
def test_a_wide_range_is_covered_to_its_ends(n: int) -> None:
    source = SeededSource(2)
    draws = [source.below(n) for _ in range(4_000)]
    assert 0 <= min(draws) < n // 400
    assert n - n // 400 < max(draws) < n
    assert abs(sum(2 * y < n for y in draws) - 2_000) < 5 * math.sqrt(1_000)
    assert len({y & 0xFFFF for y in draws}) > 3_500


def test_a_seed_repeats_and_another_differs() -> None:
    assert [SeededSource(5).below(10**9) for _ in range(2)] == [SeededSource(5).below(10**9)] * 2
    first, second = SeededSource(5), SeededSource(6)
    assert [first.below(10**9) for _ in range(9)] != [second.below(10**9) for _ in range(9)]


def test_blocks_of_a_seeded_source_do_not_repeat() -> None:
    source = SeededSource(7)
    words = [source.below(2**64) for _ in range(5_000)]
    assert len(set(words)) == len(words)


def test_a_child_does_not_replay_the_words_of_its_parent() -> None:
    source = SystemSource()
    source.below(2)  # now a block is held
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, source.below(2**64).to_bytes(8, "big"))
        os._exit(0)
    os.waitpid(child, 0)
    assert int.from_bytes(os.read(reader, 8), "big") != source.below(2**64)
    os.close(reader)
    os.close(writer)
