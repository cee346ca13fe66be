"""From true cells to an answer: what is listed, hidden, reused and shown, and what one entity can change."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.cleanroom.model import Aggregate, Form, Guard, Key, Noise, Plan, Released, Statistic
from dujiang.cleanroom.noise import SeededSource
from dujiang.cleanroom.rules import Blurred, blur, declared, expected, margin, release, spread, threshold
from dujiang.registry.model import Kind

WARD = Key("ward", Kind.text)
LISTED = Key("ward", Kind.text, keys=("a", "b", "c"))
U = Statistic("u", Form.entities, 1, 1, 1)
S = Statistic("s", Form.total, 100, 10_000, 100)
CENT = Fraction(1, 100)
TRUE = Guard(group_min=1, rho_micro=10**12, dominance_percent=100)
"""A guard whose noise is never seen: what is left is the arithmetic."""


def asked(**changes: object) -> Plan:
    plan = Plan(
        table="t",
        sql="",
        canonical="",
        keys=(WARD,),
        statistics=(U, S),
        aggregates=(Aggregate("count", n=0), Aggregate("sum", total=1, hi=Fraction(100))),
        columns=(("ward", ("key", 0)), ("n", ("agg", 0)), ("s", ("agg", 1))),
        presence=(0,),
    )
    return replace(plan, **changes)


def answer(plan: Plan, guard: Guard, rows: Sequence[Sequence[object]], seed: int = 1) -> Released:
    return release(plan, guard, blur(plan, guard, SeededSource(seed), rows, {}))


ROWS = [["b", 40, 40, 900], ["a", 90, 90, 100], [None, 30, 30, 500], ["c", 3, 3, 70]]


# What is in the noised maps


@given(st.lists(st.integers(0, 60), max_size=9), st.integers(1, 40), st.integers(0, 99))
def test_no_private_cell_below_k_is_ever_noised(counts: list[int], k: int, seed: int) -> None:
    rows = [[str(place), u, u, 5 * u] for place, u in enumerate(counts)]
    blurred = blur(asked(), Guard(group_min=k), SeededSource(seed), rows, {})
    allowed = {(str(place),) for place, u in enumerate(counts) if u >= k}
    assert set(blurred["u"]) == set(blurred["s"]) == allowed


@given(st.sets(st.sampled_from(["a", "b", "c", None, "elsewhere"])))
def test_every_declared_cell_is_listed_and_no_other(present: set[str | None]) -> None:
    rows = [[ward, 50, 50, 100] for ward in present]
    blurred = blur(asked(keys=(LISTED,)), Guard(), SeededSource(3), rows, {})
    assert set(blurred["u"]) == set(blurred["s"]) == {("a",), ("b",), ("c",), (None,)}


def test_declared_cells_are_the_product_of_the_lists() -> None:
    sex = Key("sex", Kind.boolean, keys=(0, 1), nullable=False)
    assert set(declared((LISTED, sex))) == {(w, s) for w in ("a", "b", "c", None) for s in (0, 1)}
    assert list(declared(())) == [()]


def test_a_question_without_groups_has_one_cell_even_over_nothing() -> None:
    assert set(blur(asked(keys=()), Guard(), SeededSource(3), [], {})["u"]) == {()}


@given(st.permutations(ROWS), st.integers(0, 99))
def test_the_order_of_rows_tells_nothing(rows: list[list[object]], seed: int) -> None:
    for plan in (asked(), asked(keys=(LISTED,)), asked(noise=Noise.laplace)):
        assert blur(plan, Guard(), SeededSource(seed), rows, {}) == blur(
            plan, Guard(), SeededSource(seed), ROWS, {}
        )


def test_cached_statistics_are_reused_bit_for_bit() -> None:
    first = blur(asked(), Guard(), SeededSource(1), ROWS, {})
    again = blur(asked(), Guard(), SeededSource(2), ROWS, first)
    assert again == first
    more = asked(statistics=(U, S, replace(S, key="q")))
    third = blur(more, Guard(), SeededSource(3), [[*row, 7] for row in ROWS], first)
    assert {key: third[key] for key in ("u", "s")} == first
    assert set(third["q"]) == set(first["u"])


def test_a_statistic_named_twice_is_drawn_once() -> None:
    plan = asked(statistics=(U, replace(U)), aggregates=(Aggregate("count", n=0), Aggregate("count", n=1)))
    rows = answer(plan, Guard(), [["a", 400, 400, 400]]).rows
    assert rows[0][1] == rows[0][2]


def test_cells_that_a_cached_statistic_lacks_are_not_shown() -> None:
    plan, guard = asked(), replace(TRUE)
    first = blur(plan, guard, SeededSource(1), ROWS, {})
    del first["s"][("a",)]
    assert [row[0] for row in release(plan, guard, first).rows] == ["b", "c", None]


def test_noise_has_the_spread_that_is_quoted() -> None:
    for noise in (Noise.gaussian, Noise.laplace):
        plan, guard = asked(noise=noise), Guard(noise)
        rows = [[f"{place:05}", 1000, 1000, 0] for place in range(3_000)]
        blurred = blur(plan, guard, SeededSource(5), rows, {})
        for one, true in ((U, 1000), (S, 0)):
            square = sum((value - true) ** 2 for value in blurred[one.key].values()) / len(rows)
            assert math.sqrt(square) == pytest.approx(spread(one, guard), rel=0.1)


# What is shown


@given(st.lists(st.integers(10, 200), max_size=8), st.integers(0, 999))
def test_exactly_the_cells_at_the_threshold_are_shown(counts: list[int], seed: int) -> None:
    plan, guard = asked(), Guard(group_min=10)
    blurred = blur(plan, guard, SeededSource(seed), [[str(i), u, u, 0] for i, u in enumerate(counts)], {})
    shown = {row[0] for row in release(plan, guard, blurred).rows}
    assert shown == {cell[0] for cell, value in blurred["u"].items() if value >= threshold(plan, guard)}


def test_small_declared_cells_are_left_out_silently() -> None:
    plan = asked(keys=(LISTED,))
    assert [row[0] for row in answer(plan, Guard(), [["a", 900, 900, 9], ["b", 2, 2, 9]]).rows] == ["a"]


def dominance(noised: int, **bounds: Fraction) -> object:
    plan = asked(aggregates=(Aggregate("count", n=0), Aggregate("sum", total=1, **bounds)))
    blurred: Blurred = {"u": {("a",): 1000}, "s": {("a",): noised}}
    return release(plan, Guard(dominance_percent=50), blurred).rows[0][2]


def test_a_sum_that_one_entity_could_dominate_is_null() -> None:
    # cap 100, share one half, standard deviation 1,000: 200 + 3,100
    assert dominance(3_299, hi=Fraction(100)) is None
    assert dominance(3_300, hi=Fraction(100)) == 3_300
    assert dominance(-9_000, hi=Fraction(100)) is None
    assert dominance(-3_300, lo=Fraction(-100)) == -3_300
    assert dominance(-3_299, lo=Fraction(-100)) is None
    assert dominance(9_000, lo=Fraction(-100)) is None


def test_dominance_does_not_apply_to_both_signs() -> None:
    assert dominance(5, lo=Fraction(-100), hi=Fraction(100)) == 5


def test_a_negative_count_is_shown_as_zero() -> None:
    plan = asked(
        statistics=(U, replace(U, key="n")), aggregates=(Aggregate("count", n=1), Aggregate("count", n=1))
    )
    blurred: Blurred = {"u": {("a",): 1000}, "n": {("a",): -4}}
    assert release(plan, Guard(), blurred).rows == (("a", 0, 0),)


def moments(values: Sequence[int], form: str, noised_n: int | None = None) -> object:
    """The released moment of values on a grid of 0.01 within [0, 10]."""
    mid, half = 500, 500
    c = half * half // 2
    statistics = (
        replace(U, key="n"),
        Statistic("c", Form.centred, half, half**2, half, CENT),
        Statistic("q", Form.squared, c, c * c, c, CENT**2),
    )
    aggregate = Aggregate(
        form,
        n=0,
        centred=1,
        squared=2,
        lo=Fraction(0),
        hi=Fraction(10),
        mid=Fraction(5),
        half=Fraction(5),
        c=c * CENT**2,
    )
    plan = asked(keys=(), statistics=statistics, aggregates=(aggregate,), columns=(("m", ("agg", 0)),))
    n = len(values) if noised_n is None else noised_n
    blurred = {
        "n": {(): n},
        "c": {(): sum(v - mid for v in values)},
        "q": {(): sum((v - mid) ** 2 - c for v in values)},
    }
    rows = release(replace(plan, noise=Noise.exact), Guard(), blurred).rows
    return rows[0][0]


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30))
def test_moments_are_the_moments(values: list[int]) -> None:
    mean = sum(values) / len(values) / 100
    pop = sum((v / 100 - mean) ** 2 for v in values) / len(values)
    samp = pop * len(values) / (len(values) - 1)
    for form, true in (
        ("mean", mean),
        ("var_pop", pop),
        ("var_samp", samp),
        ("stddev_pop", math.sqrt(pop)),
        ("stddev_samp", math.sqrt(samp)),
    ):
        assert moments(values, form) == pytest.approx(true, abs=1e-6)


def test_moments_stay_within_their_bounds_and_need_rows() -> None:
    assert moments([1000] * 9, "mean", 2) == 10
    assert moments([0] * 9, "mean", 2) == 0
    assert moments([500] * 9, "var_pop", 2) == 0
    assert moments([0, 1000] * 9, "var_pop", 2) == 25
    assert moments([500], "mean", 0) is None
    assert moments([500], "stddev_pop", -3) is None
    assert moments([500], "var_samp", 1) is None


def test_keys_leave_the_grid_and_sums_keep_their_decimals() -> None:
    keys = (Key("rate", Kind.decimal, scale=2), Key("smoker", Kind.boolean), Key("since", Kind.date))
    plan = asked(
        keys=keys,
        statistics=(U, replace(S, unit=CENT)),
        aggregates=(Aggregate("count", n=0), Aggregate("sum", total=1, hi=Fraction(1), scale=2)),
        columns=(*((k.name, ("key", i)) for i, k in enumerate(keys)), ("s", ("agg", 1)), ("n", ("agg", 0))),
        noise=Noise.exact,
    )
    rows = answer(plan, Guard(), [[150, 1, "2020-01-31", 50, 50, 12345], [None, 0, None, 20, 20, 500]]).rows
    assert rows == ((1.5, True, "2020-01-31", 123.45, 50), (None, False, None, 5.0, 20))
    assert [type(value) for value in rows[1]] == [type(None), bool, type(None), float, int]


ORDERED = [["d", 5, 5, 10], ["a", 5, 5, 30], ["b", 5, 5, 10], [None, 5, 5, 20], ["c", 2, 2, 30]]


@pytest.mark.parametrize(
    ("changes", "wards"),
    [
        ({}, ["a", "b", "c", "d", None]),
        ({"order": ((("agg", 1), False, False),)}, ["b", "d", None, "a", "c"]),
        ({"order": ((("agg", 1), True, False),)}, ["a", "c", None, "b", "d"]),
        ({"order": ((("key", 0), True, True),)}, [None, "d", "c", "b", "a"]),
        ({"order": ((("key", 0), False, False),)}, ["a", "b", "c", "d", None]),
        ({"order": ((("agg", 0), False, False), (("agg", 1), True, False))}, ["c", "a", None, "b", "d"]),
        ({"having": (">", ("agg", 0), ("lit", 2))}, ["a", "b", "d", None]),
        ({"having": (">", ("key", 0), ("lit", "b"))}, ["c", "d"]),  # NULL is not TRUE
        ({"limit": 2, "offset": 1}, ["b", "c"]),
        ({"limit": 0}, []),
        ({"offset": 4}, [None]),
    ],
)
def test_having_order_and_limit_as_in_sql(changes: dict[str, object], wards: list[str | None]) -> None:
    assert [row[0] for row in answer(asked(**changes), TRUE, ORDERED).rows] == wards


def test_output_formulas_see_released_values() -> None:
    plan = asked(columns=(("per", ("/", ("agg", 1), ("agg", 0))), ("x", ("lit", 1))))
    assert answer(plan, TRUE, [["a", 40, 40, 100]]).rows == ((2.5, 1),)


def test_exact_plans_change_nothing_and_draw_nothing() -> None:
    plan = asked(noise=Noise.exact)
    source, untouched = SeededSource(1), SeededSource(1)
    blurred = blur(plan, Guard(Noise.exact), source, ROWS[:3], {})
    assert blurred["s"] == {("a",): 100, ("b",): 900, (None,): 500}
    assert source.below(2**64) == untouched.below(2**64)
    result = release(plan, Guard(Noise.exact), blurred)
    assert result.rows == (("a", 90, 100), ("b", 40, 900), (None, 30, 500))
    assert result.plus_minus == (None, 0, 0)


def test_exact_plans_still_hold_to_k() -> None:
    plan = asked(noise=Noise.exact)
    assert [row[0] for row in answer(plan, Guard(Noise.exact), ROWS).rows] == ["a", "b", None]


# The expected error


def test_the_error_of_counts_and_sums_is_known_before_asking() -> None:
    plan, guard = asked(), Guard()
    assert expected(plan, guard) == (None, 20, 2000)
    assert answer(plan, guard, [["a", 500, 500, 9000]]).plus_minus == (None, 20, 2000)


@pytest.mark.parametrize(
    ("formula", "error"),
    [
        (("*", ("agg", 0), ("lit", 3)), 60),
        (("/", ("neg", ("agg", 0)), ("lit", 4)), 5),
        (("-", ("lit", 100), ("round", ("agg", 0))), 20),
        (("+", ("agg", 0), ("agg", 1)), 2020),
        (("-", ("agg", 0), ("agg", 0)), 0),
        (("coalesce", ("agg", 1), ("lit", 0)), 2000),
        (("/", ("agg", 1), ("agg", 0)), None),
        (("*", ("agg", 1), ("agg", 0)), None),
        (("/", ("agg", 1), ("lit", 0)), None),
        (("abs", ("agg", 0)), None),
        (("lit", 3), None),
    ],
)
def test_the_error_of_a_linear_formula(formula: tuple[object, ...], error: float | None) -> None:
    assert expected(asked(columns=(("x", formula),)), Guard()) == (error,)


def mean_plan(form: str) -> Plan:
    """A question about values 0..100 on a grid of 1."""
    half, c = 50, 1250
    statistics = (
        replace(U, key="n"),
        Statistic("c", Form.centred, half, half**2, half),
        Statistic("q", Form.squared, c, c * c, c),
    )
    bounds = {"lo": 0, "hi": 100, "mid": 50, "half": half, "c": c}
    aggregate = Aggregate(form, n=0, centred=1, squared=2, **{k: Fraction(v) for k, v in bounds.items()})
    return asked(keys=(), statistics=statistics, aggregates=(aggregate,), columns=(("m", ("agg", 0)),))


@pytest.mark.parametrize("form", ["mean", "var_pop", "stddev_samp"])
def test_about_nineteen_of_twenty_answers_lie_within_their_error(form: str) -> None:
    plan, guard = mean_plan(form), Guard()
    values = random.Random(4).choices(range(20, 81), k=2_000)
    row = [2_000, 2_000, sum(v - 50 for v in values), sum((v - 50) ** 2 - 1250 for v in values)]
    true = release(
        replace(plan, noise=Noise.exact), guard, {k: {(): row[i + 1]} for i, k in enumerate("ncq")}
    ).rows[0][0]
    inside = 0
    for seed in range(400):
        result = answer(plan, guard, [row], seed)
        inside += abs(result.rows[0][0] - true) <= result.plus_minus[0]
    assert 360 <= inside <= 396


def test_the_quote_of_a_mean_is_for_a_thousand_rows() -> None:
    assert expected(mean_plan("mean"), Guard()) == (pytest.approx(2 * 500 / 1000),)


# What one entity can change

RUNS = 6_000
LOUD = Guard(Noise.laplace, rho_micro=500_000, group_min=10, delta_exponent=1, dominance_percent=100)
"""One unit of epsilon a statistic, so that a broken law shows in a few thousand runs."""

Draw = Callable[[int, int], Released]


def excess(
    draw: Draw, here: list[object], there: list[object], event: Callable[[Released], bool], loss: float
) -> float:
    """By how many standard errors P(event | here) exceeds exp(loss) * P(event | there) + delta."""

    def share(row: list[object], start: int) -> float:
        return sum(event(draw(row, start + run)) for run in range(RUNS)) / RUNS

    p, q = share(here, 0), share(there, RUNS)
    error = math.sqrt((p + math.exp(2 * loss) * q) / RUNS) + 1e-9
    return (p - math.exp(loss) * q - 10**-LOUD.delta_exponent) / error


def drawn(guard: Guard) -> Draw:
    plan = asked(noise=guard.noise)

    def draw(row: list[object], seed: int) -> Released:
        return answer(plan, guard, [row], seed)

    return draw


def both_high(result: Released) -> bool:
    return bool(result.rows) and result.rows[0][1] >= 30 and result.rows[0][2] >= 1000


def both_low(result: Released) -> bool:
    return bool(result.rows) and result.rows[0][1] <= 29 and result.rows[0][2] <= 900


def is_shown(result: Released) -> bool:
    return bool(result.rows)


def is_hidden(result: Released) -> bool:
    return not result.rows


WITH, WITHOUT = ["a", 30, 30, 1000], ["a", 29, 29, 900]
AT_K, BELOW_K = ["a", 10, 10, 1000], ["a", 9, 9, 900]
NEAR, NEARER = ["a", 12, 12, 1000], ["a", 11, 11, 900]


@pytest.mark.parametrize(
    ("here", "there", "event", "loss"),
    [
        (WITH, WITHOUT, both_high, 2),
        (WITHOUT, WITH, both_low, 2),
        (AT_K, BELOW_K, is_shown, 0),
        (BELOW_K, AT_K, is_hidden, 0),
        (NEAR, NEARER, is_shown, 1),
        (NEARER, NEAR, is_hidden, 1),
    ],
)
def test_one_entity_changes_an_answer_no_more_than_is_accounted(
    here: list[object], there: list[object], event: Callable[[Released], bool], loss: float
) -> None:
    assert excess(drawn(LOUD), here, there, event, loss) < 5


def test_noise_of_half_the_scale_breaks_that_law() -> None:
    # Four times the price halves the Laplace scale, while the law is asked of the true price.
    half = replace(LOUD, rho_micro=4 * LOUD.rho_micro)
    assert excess(drawn(half), WITH, WITHOUT, both_high, 2) > 5


def test_a_hard_minimum_without_a_margin_breaks_that_law() -> None:
    def draw(row: list[object], seed: int) -> Released:
        plan = asked(noise=Noise.laplace)
        blurred = blur(plan, LOUD, SeededSource(seed), [row], {})
        # Declared keys have no margin: reading private cells so shows a cell that is there.
        return release(replace(plan, keys=(LISTED,)), replace(LOUD, group_min=0), blurred)

    assert margin(asked(noise=Noise.laplace), LOUD) > 1
    assert excess(draw, AT_K, BELOW_K, is_shown, 2) > 5
