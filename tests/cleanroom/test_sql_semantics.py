"""Laws: the regenerated SQL over the registered form answers as plain SQL over the plain table does."""

# Questions stand one a line, and a Chinese character counts as two.
# ruff: noqa: E501

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from dujiang.cleanroom.model import Guard, Noise
from tests.cleanroom.sqltable import asked, engine, rows_of, table, truth

ROWS = rows_of()
CON = engine(ROWS)
SINGLE = engine(ROWS, entity=False)

CONDITIONS = [
    "age between 18 and 65",
    "not (age < 30 or cost > 300.5)",
    "age not between 18 and 65",
    "cost > 300.505",
    "cost <= -1.5",
    "sex in ('F', 'x') and visits not in (1, 2, 3)",
    "visits in (1, null)",
    "visits is null or cost is not null",
    "visits = 3 or visits = 4 or not visits <= 8",
    "visits <> 3.5",
    "not visits = 3.5",
    "smoker",
    "not smoker",
    "smoker = false or smoker is null",
    "smoker is true",
    "smoker is not true",
    "visits is distinct from 3",
    "visits is not distinct from age",
    "visited > '2016-05-05'",
    "not visited <= date '2016-05-05'",
    "visited between '2016-01-01' and '2017-01-01'",
    "\"seen at\" >= timestamp '2016-05-05 12:30:00'",
    "\"seen at\" < date '2017-01-01'",
    'visited < "seen at"',
    "visited + interval 1 month > date '2016-05-31' - interval '3 months'",
    "visited - 10 < '2016-01-01'",
    "date_diff('day', visited, date '2017-01-01') > 100",
    "date_diff('month', visited, \"seen at\") between -5 and 5",
    "date '2018-01-01' - visited > 365",
    "year(visited) = 2016 and month(visited) in (1,2,3,4,5)",
    "extract(quarter from visited) = 2 or extract(dow from visited) = 0",
    'hour("seen at") < 12 and week(visited) > 20',
    "部门 like '内%' or 部门 not ilike 'O%'",
    "部门 = 'O''Neil'",
    "upper(trim(部门)) = 'X' or left(部门, 1) = '外' or substring(部门, 2, 1) = '科'",
    "age + visits * 2 - 7 > 40",
    "visits - age < visits * -1",
    "cost * visits > 1000",
    "-cost > 10",
    "abs(age - 50) < 10",
    "age // 7 = 3",
    "age % 7 = 3",
    "age // visits = 3",
    "age % visits = 1",
    "(age - 50) // 7 = -2 or (age - 50) % 7 = -3",
    "floor(cost) = 10 or ceil(cost / 10) > 50",
    "floor((age - 50) / 10) = -1",
    "round(cost) % 2 = 0",
    "round(cost, 1) > 200.05",
    "case when age < 30 then visits when age < 60 then 5 else cost end > 4",
    "case sex when 'F' then 1 else 2 end = 1",
    "if(smoker, age, visits) > 5",
    "coalesce(visits, age, 3) > 4",
    "nullif(visits, 3) > 2",
    "greatest(visits, 4) > 5 or least(age, visits) < 0",
    "greatest(age, 10, visits) = 10",
    "cast(cost as integer) > 200",
    "cast(age as double) > 50.5",
    "try_cast(cost as decimal(5, 1)) > 100.3",
    "cast(age as tinyint) > 90",
    'cast("seen at" as date) = visited or cast("seen at" as date) > \'2017-01-01\'',
    "date_trunc('month', visited) = '2016-03-01' or date_trunc('year', \"seen at\") = timestamp '2017-01-01'",
    "age = age and visits = visits",
    "boundless > 1000000000",
    "1 = 1 and 2 > 1.5",
    "1 = 2 or age > 10",
    "null or age > 50",
    "not null",
    "filtered > 4 and filtered <= 7",
]

KEYS = [
    "sex",
    "部门",
    "sex, smoker",
    "age // 10",
    "floor(age / 10)",
    "year(visited), month(visited)",
    "date_trunc('month', visited)",
    "date_trunc('hour', \"seen at\")",
    "case when age < 30 then 'young' when age < 60 then 'mid' else 'old' end",
    "age > 50",
    "upper(部门)",
    "coalesce(visits, 0)",
    "cost",
    "round(cost, 1)",
    "visited + interval 1 day",
    "visited + 1",
    "visits * 2 + 1",
    'hour("seen at")',
]

AGGREGATES = [
    "count(*), count(1), count(cost), count(smoker), count(distinct pid)",
    "sum(cost), sum(age), sum(1), sum(smoker)",
    "avg(cost), avg(age), avg(visits)",
    "stddev(cost), stddev_pop(age), variance(visits), var_pop(cost), var_samp(age), stddev_samp(visits)",
    "count(distinct sex), count(distinct visits), count(distinct age // 10)",
    "count_if(age > 50), sum(case when age > 50 then 1 else 0 end), count(case when age > 50 then 1 end)",
    "sum(cost) filter (where age > 50), avg(cost) filter (where smoker), count(*) filter (where not smoker)",
    "count(distinct pid) filter (where smoker), count(distinct visits) filter (where smoker)",
    "sum(age * visits), sum(cost * 2 - age), avg(abs(cost)), sum(greatest(cost, 0))",
    "sum(case when sex = 'F' then cost end), sum(coalesce(visits, 9)), avg(if(smoker, 1, 0))",
    "sum(cost) / count(*), count(*) * 2 + 1, round(avg(age), 1), avg(cost) - avg(age) as d",
    "case when count(*) > 3 then 'many' else 'few' end, coalesce(sum(visits), 0), nullif(count(*), 2)",
    "count(*) > 3 and count(cost) > 1, cast(sum(cost) as integer), cast(avg(age) as double)",
    "sum(year(visited)), sum(date_diff('day', visited, date '2019-01-01')), avg(month(visited))",
    "sum(boundless is null), count(boundless)",
]


def comparable(value: object) -> object:
    """A value of either side as one both can be compared by."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float | Decimal | Fraction):
        return float(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    if isinstance(value, date):
        return value.isoformat()
    return str(value).removesuffix(" 00:00:00")


def alike(ours: list[tuple[object, ...]], plain: list[tuple[object, ...]], text: str) -> None:
    assert len(ours) == len(plain), text
    for a, b in zip(ours, plain, strict=True):
        for x, y in zip(map(comparable, a), map(comparable, b), strict=True):
            if isinstance(x, float) and isinstance(y, float):
                assert math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-7), (text, a, b)
            else:
                assert x == y, (text, a, b)


def plain_sql(text: str) -> str:
    """The same question as DuckDB takes it: a boolean is summed as a number, a zero divisor is NULL."""
    text = text.replace("sum(smoker)", "coalesce(sum(smoker::int), 0)")
    text = text.replace("// visits", "// nullif(visits, 0)").replace("% visits", "% nullif(visits, 0)")
    return text.replace("sum(boundless is null)", "sum((boundless is null)::int)")


def sums_are_zero(rows: list[tuple[object, ...]], like: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """SUM over no value is 0 in a guarded answer and NULL in plain SQL."""
    return [
        tuple(0 if y == 0 and x is None else x for x, y in zip(a, b, strict=True))
        for a, b in zip(rows, like, strict=True)
    ]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_keeps_the_rows_plain_sql_keeps(condition: str) -> None:
    text = f"select count(*), count(distinct pid), sum(age) from 病历 where {condition}"
    ours, plain = truth(asked(text), CON).rows, CON.execute(plain_sql(text)).fetchall()
    alike(ours, sums_are_zero(plain, ours), text)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_negated_condition_keeps_the_rows_plain_sql_keeps(condition: str) -> None:
    text = f"select count(*), count(distinct pid) from 病历 where not ({condition})"
    alike(truth(asked(text), CON).rows, CON.execute(plain_sql(text)).fetchall(), text)


@pytest.mark.parametrize("keys", KEYS)
def test_a_key_groups_as_plain_sql_does(keys: str) -> None:
    text = f"select {keys}, count(*), sum(age) from 病历 group by {keys} order by {keys}"
    alike(truth(asked(text), CON).rows, CON.execute(text).fetchall(), text)


@pytest.mark.parametrize("aggregates", AGGREGATES)
@pytest.mark.parametrize(
    "tail", ["", " where visits > 3", " group by sex order by sex", " group by 部门 order by 部门"]
)
def test_an_aggregate_counts_as_plain_sql_does(aggregates: str, tail: str) -> None:
    text = f"select {aggregates} from 病历{tail}"
    ours, plain = truth(asked(text), CON).rows, CON.execute(plain_sql(text)).fetchall()
    alike(ours, sums_are_zero(plain, ours), text)


@pytest.mark.parametrize("aggregates", AGGREGATES)
def test_where_each_row_is_an_entity_the_answer_is_the_same(aggregates: str) -> None:
    text = f"select sex, {aggregates} from 病历 where cost > 0 group by sex order by sex".replace(
        "distinct pid", "distinct sex"
    )
    ours = truth(asked(text, table(entity=False)), SINGLE).rows
    plain = SINGLE.execute(plain_sql(text)).fetchall()
    alike(ours, sums_are_zero(plain, ours), text)


@pytest.mark.parametrize(
    "text",
    [
        "select 部门 d, count(*) n from 病历 group by d having n > 5 and avg(age) > 0 order by n desc, d limit 2",
        "select 部门, avg(age) from 病历 group by 1 having count(*) between 2 and 100 order by 2 desc nulls first limit 3 offset 1",
        "select sex, smoker, count(*) from 病历 group by smoker, sex order by smoker, sex",
        "select year(visited) y from 病历 group by y having y is not null order by y desc",
        "select y + 1, count(*) from (select year(visited) y, cost from 病历 where age > 20) group by y order by y",
        "with a as (select *, age * 2 as b from 病历 where age > 5), c as (select b, sex s from a where b < 150) "
        "select s, sum(b), count(*) from c where b > 20 group by s order by s",
        "select x.sex, count(*) from 病历 as x where x.age > 10 group by x.sex order by x.sex",
        'select "SEX", Count(*) from "病历" group by SeX order by 1',
        "from 病历 select sex, count(*) group by sex order by sex",
        "select count(*) -- how many\n from /* all */ 病历;",
    ],
)
def test_a_whole_question_answers_as_plain_sql_does(text: str) -> None:
    alike(truth(asked(text), CON).rows, CON.execute(text).fetchall(), text)


@pytest.mark.parametrize(
    "condition", ["cost / 7 > 20", "cost / visits > 50", "age / (visits - 4) < -3.3", "2000 / visits > 300"]
)
def test_a_quotient_is_rounded_to_six_decimals_in_each_row(condition: str) -> None:
    text = f"select count(*) from 病历 where {condition} and visits <> 0 and visits <> 4"
    alike(truth(asked(text), CON).rows, CON.execute(text).fetchall(), text)


@pytest.mark.parametrize(
    "value", ["cost / 7", "cost / visits", "age / (visits - 4)", "1 / visits", "cost / -2.5"]
)
def test_a_sum_of_quotients_is_that_of_the_rounded_rows(value: str) -> None:
    made = asked(f"select sum({value}) from 病历")
    exact = value.replace("/ (visits - 4)", "/ nullif(visits - 4, 0)").replace(
        "/ visits", "/ nullif(visits, 0)"
    )
    plain = CON.execute(f"select sum(round({exact}, 6)) from 病历").fetchall()
    assert math.isclose(float(truth(made, CON).rows[0][0]), plain[0][0], rel_tol=1e-9, abs_tol=1e-5)  # type: ignore[arg-type]
    assert made.warnings == ("division_rounded",)


@pytest.mark.parametrize("shape,con", [(table(), CON), (table(entity=False), SINGLE)])
@pytest.mark.parametrize("least", [1, 4, 9])
def test_exact_answers_hold_k_and_dominance_by_themselves(shape: object, con: object, least: int) -> None:
    guard = Guard(noise=Noise.exact, group_min=least, dominance_percent=50)
    text = "select 部门, visits, count(*), sum(cost), avg(cost), stddev(age) from 病历 group by 部门, visits order by 1, 2"
    ours = truth(asked(text, shape, guard), con).rows  # type: ignore[arg-type]
    entity = "pid" if shape.entity else "uuid()"  # type: ignore[attr-defined]
    plain = con.execute(  # type: ignore[attr-defined]
        "with e as (select 部门, visits, sum(cost) v, count(*) n, count(cost) w, sum(age) a, sum(age * age) b from 病历 "
        f"group by 部门, visits, {entity}) "
        "select 部门, visits, sum(n), coalesce(sum(v), 0), sum(v) / sum(w), "
        "case when sum(n) > 1 then sqrt((sum(b) - sum(a) * sum(a) / sum(n)) / (sum(n) - 1)) end "
        f"from e group by 部门, visits having count(*) >= {least} and count(v) >= {least} "
        "and max(abs(v)) <= 0.5 * sum(abs(v)) and max(abs(a)) <= 0.5 * sum(abs(a)) order by 1, 2"
    ).fetchall()
    alike(ours, plain, text)
    assert least > 4 or ours


def test_an_exact_distinct_count_stands_alone() -> None:
    made = asked(
        "select sex, count(distinct visits), count(*) from 病历 group by sex", guard=Guard(noise=Noise.exact)
    )
    assert len(truth(made, CON).rows) == 2
