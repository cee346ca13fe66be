"""What a question costs, and how far over k a private cell must reach: against brute force and the books."""

import math
from dataclasses import replace
from fractions import Fraction
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.cleanroom.model import Form, Guard, Key, Noise, Plan, Statistic
from dujiang.cleanroom.rules import (
    charge,
    epsilon,
    left,
    margin,
    presence_delta,
    scale,
    spread,
    threshold,
    variance,
)
from dujiang.registry.model import Kind

PRIVATE = Key("ward", Kind.text)
LISTED = Key("ward", Kind.text, keys=("a", "b"), nullable=False)


def statistic(key: str, delta: int = 1, cap: int = 1, square: int | None = None) -> Statistic:
    return Statistic(key, Form.entities, delta, delta * delta if square is None else square, cap)


def asked(
    *statistics: Statistic,
    keys: tuple[Key, ...] = (PRIVATE,),
    touched: int = 1,
    noise: Noise = Noise.gaussian,
    presence: int = 0,
) -> Plan:
    return Plan("t", "", "", keys, statistics, (), (), (presence,), noise, touched_max=touched)


@given(st.lists(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")), st.integers(1, 10**6))
def test_each_statistic_is_charged_once_and_never_again(keys: list[str], cached: set[str], rho: int) -> None:
    plan, guard = asked(*map(statistic, keys)), Guard(rho_micro=rho)
    paid = charge(plan, guard, cached)
    assert paid == rho * sum(key not in cached for key in set(keys))
    assert charge(plan, guard, cached | set(keys)) == 0


def test_exact_answers_cost_nothing_of_the_account() -> None:
    assert charge(asked(statistic("a"), noise=Noise.exact), Guard(noise=Noise.exact), set()) == 0


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**5))
def test_what_is_left_can_be_paid_and_no_more(total: int, spent: int, rho: int) -> None:
    count = left(total, spent, rho)
    assert count >= 0
    assert count == 0 or spent + count * rho <= total
    assert spent + (count + 1) * rho > total


@pytest.mark.parametrize(
    ("rho_micro", "delta", "published"),
    [
        (125_000, 1e-6, 2.75),
        (250_000, 1e-6, 3.97),
        (250_000, 1e-9, 4.80),
        (2_000_000, 1e-6, 12.5),
        (10_000_000, 1e-9, 38.8),
    ],
)
def test_epsilon_of_an_account(rho_micro: int, delta: float, published: float) -> None:
    assert epsilon(rho_micro, delta) == pytest.approx(published, abs=0.05)


def test_default_account_is_fifty_statistics_of_epsilon_a_tenth() -> None:
    guard = Guard()
    assert left(250_000, 0, guard.rho_micro) == 50
    assert scale(statistic("a"), guard) == 10
    assert spread(statistic("a"), guard) == 10


@given(st.integers(1, 10**9), st.integers(1, 10**6))
def test_noise_is_never_less_than_the_price_allows(delta: int, rho: int) -> None:
    """Variance gives back exactly rho; the Laplace scale at most rho, and hardly less."""
    one, guard = statistic("a", delta), Guard(rho_micro=rho)
    assert one.delta2_squared / (2 * variance(one, guard)) == Fraction(rho, 10**6)
    price = (one.delta1 / scale(one, guard)) ** 2 / 2
    assert price <= Fraction(rho, 10**6)
    assert price > Fraction(rho, 10**6) * (1 - Fraction(1, 10**5))


@pytest.mark.parametrize("rho", [500, 5_000, 500_000, 50_000_000])
def test_spread_is_the_standard_deviation_of_the_discrete_noise(rho: int) -> None:
    one = replace(statistic("a"), unit=Fraction(1, 100))
    wide = float(scale(one, Guard(rho_micro=rho)))
    mass = math.fsum(math.exp(-abs(y) / wide) for y in range(-3000, 3001))
    square = math.fsum(y * y * math.exp(-abs(y) / wide) for y in range(-3000, 3001)) / mass
    assert spread(one, Guard(Noise.laplace, rho)) == pytest.approx(math.sqrt(square) / 100, rel=1e-6)
    assert spread(one, Guard(Noise.gaussian, rho)) == pytest.approx(math.sqrt(10**6 / (2 * rho)) / 100)
    assert spread(one, Guard(Noise.exact, rho)) == 0


CHOICES = st.tuples(
    st.sampled_from([2_000, 5_000, 20_000, 500_000, 20_000_000]), st.integers(1, 12), st.integers(1, 9)
)


@given(CHOICES, st.sampled_from([Noise.gaussian, Noise.laplace]))
@settings(max_examples=40)
def test_margin_is_the_smallest_that_keeps_delta(choice: tuple[int, int, int], noise: Noise) -> None:
    rho, touched, exponent = choice
    one, guard = statistic("u", touched, square=touched), Guard(noise, rho, delta_exponent=exponent)
    if noise is Noise.laplace:
        wide = float(scale(one, guard))
        weights = [math.exp(-y / wide) for y in range(math.ceil(60 * wide) + 60)]
    else:
        square = float(variance(one, guard))
        weights = [math.exp(-y * y / (2 * square)) for y in range(math.ceil(14 * math.sqrt(square)) + 14)]
    mass = 2 * math.fsum(weights) - weights[0]
    smallest = next(
        m for m in range(1, len(weights)) if math.fsum(weights[m:]) / mass <= 10**-exponent / touched
    )
    plan = asked(one, touched=touched, noise=noise)
    assert margin(plan, guard) == smallest
    assert threshold(plan, guard) == guard.group_min + smallest


@pytest.mark.parametrize(
    ("noise", "rho", "touched", "exponent", "published"),
    [
        (Noise.laplace, 500_000, 1, 6, 14),
        (Noise.laplace, 500_000, 5, 9, 109),
        (Noise.laplace, 5_000, 1, 7, 155),
        (Noise.laplace, 5_000, 5, 6, 738),
    ],
)
def test_margins_of_the_laplace_table(
    noise: Noise, rho: int, touched: int, exponent: int, published: int
) -> None:
    one = statistic("u", touched, square=touched)
    assert (
        margin(asked(one, touched=touched, noise=noise), Guard(noise, rho, delta_exponent=exponent))
        == published
    )


@pytest.mark.parametrize(("touched", "exponent"), [(1, 6), (1, 7), (5, 7), (5, 9), (1000, 7)])
def test_gaussian_margins_are_just_above_the_continuous_ones(touched: int, exponent: int) -> None:
    guard, one = Guard(delta_exponent=exponent), statistic("u", touched, square=touched)
    continuous = spread(one, guard) * -NormalDist().inv_cdf(10**-exponent / touched)
    assert 0 <= margin(asked(one, touched=touched), guard) - continuous < 1.5


def test_an_entity_that_counts_several_times_needs_that_much_more() -> None:
    guard = Guard()
    once, thrice = statistic("u"), statistic("u", cap=3)
    assert margin(asked(thrice), guard) == margin(asked(once), guard) + 2


def test_declared_keys_have_a_soft_minimum_without_delta() -> None:
    guard = Guard(group_min=10)
    for plan in (asked(statistic("u"), keys=(LISTED,)), asked(statistic("u"), keys=())):
        assert threshold(plan, guard) == 27  # 10 + 1.64 * 10, rounded up
        assert presence_delta(plan, guard) == 0
    mixed = asked(statistic("u"), keys=(LISTED, PRIVATE))
    assert threshold(mixed, guard) == 10 + margin(mixed, guard)
    assert presence_delta(mixed, guard) == 1e-7


def test_delta_is_booked_once_for_a_set_of_private_keys() -> None:
    plan = asked(statistic("u"), statistic("s"))
    assert presence_delta(plan, Guard(), {"s"}) == 1e-7
    assert presence_delta(plan, Guard(), {"u"}) == 0
    assert presence_delta(replace(plan, noise=Noise.exact), Guard()) == 0
    assert threshold(replace(plan, noise=Noise.exact), Guard(group_min=7)) == 7
