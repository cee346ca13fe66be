"""Law: whatever the rows, an expression stays within its interval, is NULL only where it may be, and never raises."""

# Questions stand one a line, and a Chinese character counts as two.
# ruff: noqa: E501

from __future__ import annotations

import random
from datetime import date, datetime

import duckdb
import pytest
from hypothesis import given, settings

from dujiang.cleanroom import sqltype
from dujiang.cleanroom.grammar import parsed, tokenised
from dujiang.cleanroom.model import Guard
from dujiang.cleanroom.reading import Reader, Scope
from dujiang.cleanroom.relation import Member, Relation
from dujiang.cleanroom.sqltype import Value
from dujiang.kernel.errors import Refused
from dujiang.registry.model import Kind
from tests.cleanroom.sqltable import table
from tests.cleanroom.test_sql_fuzz import VALUE

TABLE = table()


def edge_rows() -> duckdb.DuckDBPyConnection:
    """Registered rows at the ends of every interval, at zero, between, and NULL."""
    chance = random.Random(5)
    con = duckdb.connect()
    kinds = {Kind.text: "VARCHAR", Kind.date: "DATE", Kind.timestamp: "TIMESTAMP"}
    columns = TABLE.columns
    con.execute(
        "create table t0 ("
        + ", ".join(
            f"c{i} {kinds.get(c.kind, 'BIGINT' if c.lo is None else 'INTEGER')}"
            for i, c in enumerate(columns)
        )
        + ")"
    )
    choices: list[list[object]] = []
    for index, column in enumerate(columns):
        value = sqltype.stored(index, column)
        if column.kind is Kind.text:
            found: list[object] = ["", "F", "12", "  9.5 ", "2016-02-29", "内科", "x" * 200]
        elif column.kind is Kind.date:
            found = [
                date.fromisoformat(str(column.lo)),
                date.fromisoformat(str(column.hi)),
                date(2016, 2, 29),
            ]
        elif column.kind is Kind.timestamp:
            found = [
                datetime.fromisoformat(str(column.lo)),
                datetime.fromisoformat(str(column.hi)),
                datetime(2016, 2, 29, 23, 59, 59, 999999),
            ]
        elif value.lo is not None and value.hi is not None:
            found = [
                value.lo,
                value.hi,
                value.lo + 1,
                value.hi - 1,
                (value.lo + value.hi) // 2,
                max(value.lo, min(0, value.hi)),
            ]
        else:
            found = [-(2**53), 2**53, 0, 1]
        choices.append(found + ([None] if column.nullable else []))
    rows = [[chance.choice(found) for found in choices] for _ in range(250)]
    con.executemany(f"insert into t0 values ({', '.join('?' * len(columns))})", rows)
    return con


CON = edge_rows()


def read(text: str) -> Value:
    """The typed value of an expression over the table.

    Raises: the refusal, where there is one.
    """
    text = f"select {text} from t"
    tree = parsed(text, tokenised(text))
    return Reader(Relation((Member(TABLE, Guard()),)), text).value(
        tree.expressions[0], "any", Scope(frozenset({"t"}))
    )


def stays_within(value: Value) -> None:
    """Every row's value lies in the declared interval and list, and has the declared type."""
    for (found,) in CON.execute(f"select distinct {value.sql} from t0").fetchall():
        if found is None:
            assert value.nullable, value
            continue
        if value.is_number:
            assert isinstance(found, int), value
        if value.kind is Kind.date:
            assert type(found) is date, value
            found = found.toordinal() - sqltype.EPOCH
        elif value.kind is Kind.timestamp:
            assert isinstance(found, datetime), value
            found = sqltype.moment(found.isoformat())
        elif value.kind is Kind.text:
            assert isinstance(found, str), value
        if value.lo is not None and value.hi is not None:
            assert value.lo <= found <= value.hi, (value, found)
        if value.listed is not None and value.kind not in (Kind.date, Kind.timestamp):
            assert found in value.listed, (value, found)


@settings(max_examples=400)
@given(VALUE)
def test_no_row_leaves_the_interval_of_a_random_expression(text: str) -> None:
    try:
        value = read(text)
    except Refused:
        return
    stays_within(value)


@pytest.mark.parametrize("unit", [*sqltype.UNIT_DAYS, *sqltype.UNIT_SECONDS])
@pytest.mark.parametrize("column", ["visited", '"seen at"'])
def test_every_unit_of_a_moment_is_understood_by_the_engine(unit: str, column: str) -> None:
    stays_within(read(f"{column} + interval 3 {unit}"))
    stays_within(read(f"{column} - interval '5 {unit}s'"))
    stays_within(read(f"date_diff('{unit}', {column}, timestamp '2017-07-07 07:07:07')"))
    stays_within(read(f"date_diff('{unit}', \"seen at\", {column})"))
    if unit != "minute" and (unit != "hour" or "seen" in column):
        stays_within(read(f"date_trunc('{unit}', {column})"))
    if unit in sqltype.PARTS and (unit != "hour" or "seen" in column):
        stays_within(read(f"extract({unit} from {column})"))


@pytest.mark.parametrize(
    "text",
    [
        "cost / visits", "cost / (visits - 4)", "-cost / age", "age / cost", "1 / cost", "cost / -3", "-3.5 / visits", "visits / 7.25",
        "cost // 1", "age // visits", "age % visits", "-age % -7", "age // -7", "cost % 0.3", "floor(-cost)", "ceil(cost / 3)",
        "round(cost / 7)", "round(-cost, 1)", "floor((age - 3) / 2.5)", "abs(cost - 500)", "-(cost - 500)", "greatest(cost, 3.25)",
        "least(visits, age, 3)", "coalesce(visits, cost)", "nullif(age, visits)", "cast(cost as tinyint)", "cast(cost as decimal(4, 1))",
        "cast(部门 as integer)", "try_cast(sex as bigint)", "case when smoker then cost end", "case visits when 1 then age else -1 end",
        "if(age > 3, 1, 2)", "age * visits * cost", "(age - 50) * (age - 50)", "date '2018-01-31' - visited", "visited + 100", "100 + visited",
        "visited - 1", "cast(\"seen at\" as date)", "cast(visited as timestamp)", "year(visited)", "hour(\"seen at\")", "smoker", "age > 3",
        "upper(trim(部门))", "substring(部门, 3)", "left(部门, 0)", "cast(smoker as integer) * 3 - 1", "cast(visits as boolean)",
    ],
)  # fmt: skip
def test_an_expression_of_each_kind_stays_within_its_interval(text: str) -> None:
    try:
        stays_within(read(text))
    except Refused as refused:
        # Only whole numbers are cut by //.
        assert refused.code.name == "type_mixed" and text == "cost // 1"
