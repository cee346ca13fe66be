"""Laws: questions that mean the same have one canonical form, one SQL and one set of statistics; others do not."""

# Questions stand one a line, and a Chinese character counts as two.

from __future__ import annotations

import pytest

from tests.cleanroom.sqltable import asked, table

SAME = [
    ("select count(*) from 病历", 'SELECT  Count( * )  AS n FROM "病历" AS x -- how many\n ;'),
    ("select count(*) from 病历", "select count(1) from 病历"),
    ("select count(*) from 病历", "select sum(1) from 病历"),
    ("select count(*) from 病历", "select count(age) from 病历"),
    ("select count(*) from 病历", "select count(*) from (select * from 病历) y"),
    ("select count(*) from 病历", "with q as (select age a from 病历) select count(*) from q"),
    ("select count(*) from 病历", "select count(*) from 病历 where 1 = 1 and 9 * 2 = 18"),
    ("select count(*) from 病历", "select count(*) from 病历 offset 0"),
    ("select sex, count(*) from 病历 group by sex", "select SEX as g, count(*) from 病历 group by 1"),
    ("select sex, count(*) from 病历 group by sex", "select x.sex, count(*) from 病历 x group by x.sex"),
    ("select sum(age * 2) from 病历", "select sum(b) from (select 2 * age as b from 病历)"),
    ("select sum(age) from 病历", "select sum(age * 1 + 0) from 病历"),
    ("select sum(age + visits) from 病历", "select sum(visits + age) from 病历"),
    ("select count_if(age > 50) from 病历", "select sum(case when age > 50 then 1 else 0 end) from 病历"),
    ("select count_if(age > 50) from 病历", "select count(*) filter (where age >= 51) from 病历"),
    (
        "select sum(age) filter (where smoker) from 病历",
        "select sum(case when smoker then age end) from 病历",
    ),
    (
        "select sex, age, count(*) from 病历 group by sex, age order by 1",
        "select sex, age, count(*) from 病历 group by age, sex order by sex",
    ),
    (
        "select sex from 病历 group by sex having count(*) > 3",
        "select sex from 病历 group by sex having 3 < count(*)",
    ),
    (
        "select sex from 病历 group by 1 having count(*) > 3 and sum(age) > 1",
        "select sex from 病历 group by 1 having sum(age) > 1 and count(*) > 3",
    ),
]

SAME_CONDITIONS = [
    ("age > 17", "age >= 18"),
    ("age > 17", "17 < age"),
    ("age > 17", "not (age <= 17)"),
    ("age > 17", "not age < 18"),
    ("age > 17", "age > 17.0"),
    ("age > 17", "age > 17.5"),
    ("age > 17", "age > 3 * 6 - 1"),
    ("age > 17", "(((age > 17)))"),
    ("age > 17", "age > 17 and age > 17 or age > 17"),
    ("age > 17", "age > cast('17' as integer)"),
    ("age between 1 and 5", "age >= 1 and age <= 5"),
    ("age between 1 and 5", "age < 6 and 0 < age"),
    ("age not between 1 and 5", "age > 5 or age < 1"),
    ("age in (1, 2)", "age = 2 or age = 1"),
    ("age in (1, 2)", "age in (2, 1, 1, 2.0)"),
    ("age in (1)", "1 = age"),
    ("age not in (1, 2)", "age <> 1 and not age = 2"),
    ("age = 1 and sex = 'F'", "sex = 'F' and 1 = age"),
    ("not (age = 1 and sex = 'F')", "sex <> 'F' or age != 1"),
    ("cost = 18", "cost = 18.00"),
    ("cost > 1.5", "cost >= 1.51"),
    ("smoker", "smoker = true"),
    ("not smoker", "smoker = false"),
    ("visits is not null", "not visits is null"),
    ("visits is not distinct from 3", "visits = 3 and visits is not null"),
    ("visited > '2016-01-01'", "visited >= date '2016-01-02'"),
    ("visited > '2016-01-01'", "not (visited < date '2016-01-02')"),
    ("visited > '2016-01-01'", "visited > date '2016-02-01' - interval 1 month"),
    ("visited > '2016-01-01'", "visited > timestamp '2016-01-01 00:00:00'"),
    ("year(visited) = 2016", "extract(year from visited) = 2016"),
    ("left(部门, 2) = 'x'", "substring(部门, 1, 2) = 'x'"),
    ("if(smoker, age, 1) > 2", "case when smoker then age else 1 end > 2"),
    ("floor(age / 10) = 3", "floor((age) / 10.0) = 3"),
    ("greatest(age, visits) = 3", "greatest(visits, age) = 3"),
    ("lower(部门) like 'a%'", "LOWER(部门) LIKE 'a%'"),
]

DIFFERENT_CONDITIONS = [
    ("age > 17", "age >= 17"),
    ("cost > 17", "cost >= 18"),
    ("visits = 5 or not visits = 5", "1 = 1"),
    ("visits = visits", "1 = 1"),
    ("visits in (1, 2)", "visits in (1, 3)"),
    ("not visits in (1, null)", "not visits in (1)"),
    ("部门 = 'a'", "部门 = 'A'"),
    ("部门 like 'a'", "部门 ilike 'a'"),
    ("age - visits > 1", "visits - age > 1"),
    ("age = 1 or sex = 'F' and smoker", "(age = 1 or sex = 'F') and smoker"),
    ("visits is distinct from 3", "visits <> 3"),
    ("age // 10 = 1", "age / 10 = 1"),
]

DIFFERENT = [
    ("select count(*) from 病历", "select count(cost) from 病历"),
    ("select count(*) from 病历", "select count(distinct pid) from 病历"),
    ("select sum(age) from 病历", "select avg(age) from 病历"),
    ("select sum(age) from 病历", "select sum(age) + 1 from 病历"),
    ("select stddev(age) from 病历", "select stddev_pop(age) from 病历"),
    ("select count(*) from 病历", "select count(*) from 病历 limit 1"),
    ("select sex, count(*) from 病历 group by 1", "select sex, count(*) from 病历 group by 1 order by 2"),
    (
        "select sex, count(*) from 病历 group by 1 order by 2",
        "select sex, count(*) from 病历 group by 1 order by 2 desc",
    ),
    (
        "select sex from 病历 group by 1 having count(*) > 3",
        "select sex from 病历 group by 1 having count(*) > 4",
    ),
]


@pytest.mark.parametrize("a,b", SAME)
def test_equal_questions_are_one(a: str, b: str) -> None:
    first, second = asked(a), asked(b)
    assert first.canonical == second.canonical
    assert sorted(s.key for s in first.statistics) == sorted(s.key for s in second.statistics)


@pytest.mark.parametrize("a,b", SAME_CONDITIONS)
def test_equal_conditions_are_one(a: str, b: str) -> None:
    first, second = (asked(f"select avg(cost) from 病历 where {one}") for one in (a, b))
    assert (first.canonical, first.sql) == (second.canonical, second.sql)


@pytest.mark.parametrize("a,b", DIFFERENT)
def test_different_questions_stay_apart(a: str, b: str) -> None:
    assert asked(a).canonical != asked(b).canonical


@pytest.mark.parametrize("a,b", DIFFERENT_CONDITIONS)
def test_different_conditions_stay_apart(a: str, b: str) -> None:
    first, second = (asked(f"select count(*) from 病历 where {one}") for one in (a, b))
    assert first.canonical != second.canonical
    assert {s.key for s in first.statistics}.isdisjoint(s.key for s in second.statistics)


@pytest.mark.parametrize(
    "text,single,several",
    [
        ("select count(*) from 病历", 1, 2),
        ("select count(distinct pid) from 病历", 1, 1),
        ("select count(*), count(1), count(age), count(distinct pid) from 病历", 1, 2),
        ("select avg(age) from 病历", 2, 3),
        ("select avg(visits) from 病历", 2, 3),
        ("select avg(visits), count(*) from 病历", 3, 4),
        ("select avg(visits), count(*) from 病历 where visits > 1", 2, 3),
        ("select avg(age), stddev(age), var_pop(age), count(age), sum(age) from 病历", 4, 5),
        ("select sum(age) from 病历", 2, 2),
        ("select sex from 病历 group by sex having count(*) > 5 order by avg(age)", 2, 3),
        ("select count(distinct visits) from 病历", 2, 2),
        ("select count_if(smoker) from 病历", 2, 2),
    ],
)
def test_a_question_is_charged_once_per_statistic(text: str, single: int, several: int) -> None:
    assert len(asked(text).statistics) == several
    assert len(asked(text.replace("distinct pid", "*"), table(entity=False)).statistics) == single


def test_a_statistic_is_known_again_in_another_question() -> None:
    known = {s.key for s in asked("select sex, count(*) n from 病历 where age > 17 group by sex").statistics}
    again = asked("select avg(age), sex from 病历 where not age < 18 group by 2").statistics
    assert known <= {s.key for s in again}


def test_output_names_are_the_caller_s_own_words() -> None:
    made = asked(
        'select sex, count( * ), avg(age) as "平均 年龄", round(sum(cost)/2,\n 1) from 病历 group by sex'
    )
    assert [name for name, _ in made.columns] == ["sex", "count( * )", "平均 年龄", "round(sum(cost)/2, 1)"]
    assert [key.name for key in made.keys] == ["sex"]
