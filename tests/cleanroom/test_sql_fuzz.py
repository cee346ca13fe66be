"""Laws under random questions: nothing but a Plan or a refusal comes back, and a Plan's SQL is safe and never raises."""

# Questions stand one a line, and a Chinese character counts as two.
# ruff: noqa: E501

from __future__ import annotations

import re

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from dujiang.cleanroom.grammar import ALLOWED
from dujiang.cleanroom.model import CODES, Guard, Noise, Plan
from dujiang.cleanroom.sql import plan
from dujiang.kernel.errors import Declined
from tests.cleanroom.sqltable import engine, rows_of, table, truth

TABLE = table()
CON = engine(rows_of(seed=11, entities=25))
EMPTY = engine([])
WRITTEN = frozenset(ALLOWED) | {exp.BitwiseCount, exp.BitwiseOrAgg, exp.Anonymous, exp.Max, exp.DataTypeParam}
"""What regenerated SQL may hold beside the positive list: the bitmap, and the dominance test of exact answers."""
OWN_FUNCTIONS = {"bit_count", "bitstring_agg"}
NAMES = re.compile(r"c\d+|eid|rn|t0")
EXACT_NAMES = re.compile(r"c\d+|eid|rn|t0|[kpvw]\d+|e")

COLUMN = st.sampled_from(
    [
        "sex",
        "age",
        "cost",
        "visited",
        '"seen at"',
        "部门",
        "smoker",
        "visits",
        "filtered",
        "summed",
        "boundless",
        "pid",
        "hidden",
        "eid",
    ]
)
LITERAL = st.sampled_from(
    ["0", "1", "3", "-7", "2.5", "1e3", "100000000000", "'F'", "'x'' --'", "'2016-01-01'", "date '2016-02-29'", "true", "null",
     "timestamp '2016-01-01 10:00:00'", "interval 1 month", "''", "'内科'"]
)  # fmt: skip


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One more level of an expression, most of it allowed, some of it hostile."""
    two = st.tuples(inner, inner)
    operator = st.sampled_from(
        ["+", "-", "*", "/", "//", "%", "=", "<>", "<", ">=", "and", "or", "^", "||", "**", "~", "in"]
    )
    function = st.sampled_from(
        [
            "abs",
            "floor",
            "ceil",
            "round",
            "upper",
            "trim",
            "year",
            "month",
            "quarter",
            "week",
            "dayofweek",
            "hour",
            "lower",
            "max",
            "error",
            "query",
            "sqrt",
            "list",
        ]
    )
    return st.one_of(
        st.tuples(inner, operator, inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(function, inner).map(lambda t: f"{t[0]}({t[1]})"),
        two.map(lambda t: f"coalesce({t[0]}, {t[1]})"),
        two.map(lambda t: f"nullif({t[0]}, {t[1]})"),
        two.map(lambda t: f"greatest({t[0]}, {t[1]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"case when {t[0]} then {t[1]} else {t[2]} end"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} between {t[1]} and {t[2]})"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]} in ({t[1]}, 3, 'F'))"),
        st.tuples(
            inner, st.sampled_from(["is null", "is not null", "like 'a%'", "not ilike '_'", "is true"])
        ).map(" ".join),
        inner.map(lambda v: f"(not {v})"),
        inner.map(lambda v: f"(- {v})"),
        st.tuples(
            inner,
            st.sampled_from(
                ["int", "double", "date", "timestamp", "boolean", "varchar", "tinyint", "decimal(5,1)"]
            ),
        ).map(lambda t: f"cast({t[0]} as {t[1]})"),
        st.tuples(st.sampled_from(["year", "month", "week", "day", "hour", "x"]), inner).map(
            lambda t: f"date_trunc('{t[0]}', {t[1]})"
        ),
        two.map(lambda t: f"date_diff('day', {t[0]}, {t[1]})"),
        inner.map(lambda v: f"substring({v}, 1, 2)"),
        inner.map(lambda v: f"(select {v} from 病历)"),
    )


VALUE = st.recursive(st.one_of(COLUMN, COLUMN, LITERAL), grown, max_leaves=5)
AGGREGATE = st.tuples(
    st.sampled_from(["count(*)", "count({})", "sum({})", "avg({})", "stddev({})", "var_pop({})", "count(distinct {})",
                     "count_if({})", "sum({}) filter (where age > 3)", "max({})", "sum({}) over ()", "round(avg({}), 1)"]),
    VALUE,
).map(lambda t: t[0].format(t[1]))  # fmt: skip


@st.composite
def questions(draw: st.DrawFn) -> str:
    keys = draw(st.lists(VALUE, max_size=2))
    outputs = keys + draw(st.lists(AGGREGATE, min_size=1, max_size=3))
    source = draw(
        st.sampled_from(["病历", "病历", "病历", "(select *, age * 2 as d from 病历 where age > 3) x", "t0"])
    )
    text = f"select {', '.join(outputs)} from {source}"
    if draw(st.booleans()):
        text += f" where {draw(VALUE)}"
    if keys:
        text += " group by " + ", ".join(str(n + 1) for n in range(len(keys)))
    if draw(st.integers(0, 3)) == 0:
        text += f" having {draw(AGGREGATE)} > 1"
    return text + draw(st.sampled_from(["", "", " order by 1 desc", " limit 3"]))


PIECES = [*"()[]{}'\"`;,.*$?:=<>-/%|&^~\\\n 0aé病\x00\u202e", " select ", " from 病历", " case ", " not ", "count(*)", " where ",
          " group by ", "--", "/*", " with ", " in "]  # fmt: skip


def safe(made: Plan, names: re.Pattern[str]) -> None:
    """The regenerated SQL holds nothing but what the rewriter may write."""
    (tree,) = sqlglot.parse(made.sql, read="duckdb")
    assert isinstance(tree, exp.Select)
    for node in tree.walk():
        assert type(node) in WRITTEN, (made.sql, type(node))
        if isinstance(node, exp.Identifier):
            assert names.fullmatch(node.name), made.sql
        if isinstance(node, exp.Anonymous):
            assert node.name.lower() in OWN_FUNCTIONS, made.sql


@settings(max_examples=350)
@given(questions(), st.sampled_from(list(Noise)))
def test_any_question_gives_a_safe_plan_or_a_refusal(text: str, noise: Noise) -> None:
    made = plan(text, TABLE, Guard(noise=noise, group_min=2))
    if isinstance(made, Declined):
        assert made.code in CODES
        assert made.where is None or made.where.start + made.where.length <= len(text)
        return
    safe(made, EXACT_NAMES if noise is Noise.exact else NAMES)
    # No row may raise: neither these rows nor no rows at all.
    answer = truth(made, CON)
    truth(made, EMPTY)
    width = len(made.keys) + 1 + len(made.statistics)
    for cell in answer.cells:
        assert len(cell) == width
        assert all(isinstance(v, int) for v in cell[len(made.keys) :]), (text, cell)
        for value, key in zip(cell, made.keys, strict=False):
            assert value is None or key.keys is None or value in key.keys or key.nullable, (text, value, key)
    assert len(answer.cells) <= made.cells_max


@settings(max_examples=150)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text_gives_a_plan_or_a_refusal(text: str) -> None:
    for whole in (text, f"select count(*) from 病历 where {text}", f"select {text} from 病历"):
        made = plan(whole, TABLE, Guard())
        if isinstance(made, Plan):
            safe(made, NAMES)


def test_accepted_questions_are_not_rare() -> None:
    """The grammar above would prove nothing if it only made refusals."""
    found = []

    @settings(max_examples=150, database=None, derandomize=True)
    @given(questions())
    def collect(text: str) -> None:
        found.append(isinstance(plan(text, TABLE, Guard()), Plan))

    collect()
    assert sum(found) >= len(found) // 50


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "//", "%", "=", "<"])
def test_no_pair_of_types_passes_the_checker_and_fails_in_the_engine(operator: str) -> None:
    """A failure that only a row can cause tells, without noise, that the row exists."""
    names = {column.kind: f'"{column.name}"' for column in TABLE.columns if len(column.uses) > 1}.values()
    terms = [*names, "2", "0.5", "'2016-01-01'", "(age + 1)", '("seen at" + interval 1 hour)']
    for a in terms:
        for b in terms:
            text = f"select count(*) from 病历 where ({a} {operator} {b}) is not null"
            made = plan(text, TABLE, Guard())
            if isinstance(made, Plan):
                truth(made, CON)
