"""Expressions over released values follow SQL: DuckDB is the oracle, and no value makes them raise."""

import math
from decimal import Decimal
from fractions import Fraction

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.cleanroom.formula import Value, evaluate
from dujiang.cleanroom.model import Formula

ORACLE = duckdb.connect()
NUMBERS = st.one_of(st.none(), st.integers(-6, 6))
DECIMALS = st.integers(-60, 60).map(lambda n: Decimal(n) / 10)
TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "ab", "b", "都", "江"]))

Pair = tuple[Formula, str]
"""A formula and the same in SQL."""


def number(value: int | None) -> Pair:
    return ("lit", value), f"({'null' if value is None else value}::bigint)"


def decimal(value: Decimal) -> Pair:
    return ("lit", value), f"({value}::decimal(9,1))"


def text(value: str | None) -> Pair:
    return ("lit", value), "null::varchar" if value is None else f"'{value}'"


def call(op: str, sql: str, *parts: Pair) -> Pair:
    """An operation whose SQL has a {} for each operand."""
    return (op, *(formula for formula, _ in parts)), "(" + sql.format(*(s for _, s in parts)) + ")"


def numeric(children: st.SearchStrategy[Pair], truths: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    two = st.tuples(children, children)
    return st.one_of(
        two.map(lambda p: call("+", "{} + {}", *p)),
        two.map(lambda p: call("-", "{} - {}", *p)),
        two.map(lambda p: call("*", "{} * {}", *p)),
        two.map(lambda p: call("//", "{} // nullif({}, 0)", *p)),
        two.map(lambda p: call("%", "{} % nullif({}, 0)", *p)),
        two.map(lambda p: call("nullif", "nullif({}, {})", *p)),
        two.map(lambda p: call("coalesce", "coalesce({}, {})", *p)),
        two.map(lambda p: call("greatest", "greatest({}, {})", *p)),
        two.map(lambda p: call("least", "least({}, {})", *p)),
        children.map(lambda p: call("neg", "-{}", p)),
        children.map(lambda p: call("abs", "abs({})", p)),
        st.tuples(truths, children, children).map(
            lambda p: call("case", "case when {} then {} else {} end", *p)
        ),
        st.tuples(truths, children).map(lambda p: call("case", "case when {} then {} end", *p)),
    )


def truth(
    children: st.SearchStrategy[Pair], numbers: st.SearchStrategy[Pair], texts: st.SearchStrategy[Pair]
) -> st.SearchStrategy[Pair]:
    same = st.one_of(st.tuples(numbers, numbers, numbers), st.tuples(texts, texts, texts))
    comparisons = [
        same.map(lambda p, op=op: call(op, f"{{}} {op} {{}}", *p[:2]))
        for op in ("=", "<>", "<", "<=", ">", ">=")
    ]
    return st.one_of(
        *comparisons,
        same.map(lambda p: call("between", "{} between {} and {}", *p)),
        same.map(lambda p: call("in", "{} in ({}, {})", *p)),
        st.one_of(numbers, texts).map(lambda p: call("is_null", "{} is null", p)),
        children.map(lambda p: call("not", "not {}", p)),
        st.tuples(children, children, children).map(lambda p: call("and", "{} and {} and {}", *p)),
        st.tuples(children, children).map(lambda p: call("or", "{} or {}", *p)),
    )


TEXT = TEXTS.map(text)
CONSTANT = st.sampled_from(
    [(("lit", v), s) for v, s in ((True, "true"), (False, "false"), (None, "null::bool"))]
)


def grown(depth: int) -> tuple[st.SearchStrategy[Pair], st.SearchStrategy[Pair]]:
    """Numeric and boolean expressions of at most `depth` operations deep."""
    numbers: st.SearchStrategy[Pair] = NUMBERS.map(number)
    truths: st.SearchStrategy[Pair] = CONSTANT
    for _ in range(depth):
        numbers, truths = (
            st.one_of(NUMBERS.map(number), numeric(numbers, truths)),
            st.one_of(CONSTANT, truth(truths, numbers, TEXT)),
        )
    return numbers, truths


NUMERIC, TRUTH = grown(3)


def asked(sql: str) -> object:
    row = ORACLE.execute("select " + sql).fetchone()
    assert row is not None
    return row[0]


def agree(ours: Value, theirs: object) -> bool:
    if ours is None or theirs is None:
        return ours is None and theirs is None
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(theirs, Decimal):
        theirs = Fraction(theirs)
    if isinstance(theirs, float):
        return math.isclose(float(ours), theirs, rel_tol=1e-12, abs_tol=1e-12)
    return ours == theirs


@given(NUMERIC)
@settings(max_examples=250)
def test_numbers_follow_the_engine(pair: Pair) -> None:
    assert agree(evaluate(pair[0], (), ()), asked(pair[1]))


@given(TRUTH)
@settings(max_examples=250)
def test_truth_has_three_values_as_in_the_engine(pair: Pair) -> None:
    assert agree(evaluate(pair[0], (), ()), asked(pair[1]))


@given(DECIMALS, DECIMALS, st.integers(-2, 3))
@settings(max_examples=100)
def test_decimals_and_floats_follow_the_engine(a: Decimal, b: Decimal, digits: int) -> None:
    x, y, places = decimal(a), decimal(b), (("lit", digits), str(digits))
    pairs = [
        call("+", "{} + {}", x, y),
        call("*", "{} * {}", x, y),
        call("%", "{} % nullif({}, 0)", x, y),
        call("/", "{} / nullif({}, 0)", x, y),
        call("floor", "floor({})", x),
        call("ceil", "ceil({})", x),
        call("round", "round({}::decimal(18,3), {})", x, places),
        call("<", "{} < {}", x, y),
        call("=", "{} = {}", x, y),
    ]
    for formula, sql in pairs:
        assert agree(evaluate(formula, (), ()), asked(sql)), sql


@pytest.mark.parametrize("value", [2.5, -2.5, 2.675, 0.125, -7.25, 1e15, 0.05])
@pytest.mark.parametrize("digits", [0, 1, 2, -1])
def test_floats_round_as_in_the_engine(value: float, digits: int) -> None:
    ours = evaluate(("round", ("lit", value), ("lit", digits)), (), ())
    assert agree(ours, asked(f"round({value}::double, {digits})"))


def test_keys_and_aggregates_are_read_by_place() -> None:
    formula = ("case", ("=", ("key", 1), ("lit", "b")), ("*", ("agg", 0), ("lit", 2)), ("agg", 1))
    assert evaluate(formula, ("a", "b"), (21, 5)) == 42
    assert evaluate(formula, ("b", "a"), (21, 5)) == 5


def test_a_decimal_literal_equals_the_float_it_stands_for() -> None:
    assert evaluate(("=", ("lit", Decimal("0.1")), ("lit", 0.1)), (), ()) is True
    assert evaluate(
        ("=", ("+", ("lit", Decimal("0.1")), ("lit", Decimal("0.2"))), ("lit", Decimal("0.3"))), (), ()
    )


WILD = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.integers(),
    st.integers(2**126, 2**200),
    st.fractions(),
    st.floats(),
    st.sampled_from(
        [0, 0.0, -0.0, 1e308, -1e308, 2**127 - 1, Decimal("NaN"), Decimal("Infinity"), Decimal("1e300")]
    ),
)
SHAPES = [
    *((op, 1) for op in ("neg", "abs", "floor", "ceil", "round", "not", "is_null")),
    *(
        (op, 2)
        for op in ("+", "-", "*", "/", "//", "%", "=", "<>", "<", "<=", ">", ">=", "and", "or", "round")
    ),
    *((op, 2) for op in ("in", "nullif", "greatest", "least", "coalesce", "case")),
    *((op, 3) for op in ("between", "in", "case", "greatest", "coalesce")),
]


@given(st.sampled_from(SHAPES), st.lists(WILD, min_size=3, max_size=3), WILD)
@settings(max_examples=600)
def test_no_value_raises_and_no_result_is_infinite(
    shape: tuple[str, int], values: list[Value], more: Value
) -> None:
    op, count = shape
    inner = (op, *(("lit", value) for value in values[:count]))
    for formula in (
        inner,
        ("*", inner, ("lit", more)),
        ("/", ("lit", more), inner),
        ("round", inner, ("lit", more)),
    ):
        result = evaluate(formula, (), ())
        assert not isinstance(result, float) or math.isfinite(result)


def test_overflow_and_division_by_zero_are_unknown() -> None:
    wide = ("lit", 2**126)
    assert evaluate(("+", wide, wide), (), ()) is None
    assert evaluate(("*", ("lit", 1e200), ("lit", 1e200)), (), ()) is None
    for op in ("/", "//", "%"):
        assert evaluate((op, ("lit", 1), ("lit", 0)), (), ()) is None
        assert evaluate((op, ("lit", 1.5), ("lit", 0)), (), ()) is None


def test_an_operation_that_does_not_exist_is_a_bug_not_a_null() -> None:
    with pytest.raises(KeyError):
        evaluate(("sqrt", ("lit", 4)), (), ())
