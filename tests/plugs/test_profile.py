"""What a profile measures equals what plain Python counts, and identifiers are told by their check digits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dujiang.kernel.errors import Unavailable
from dujiang.plugs.duck import Duck
from dujiang.plugs.profile import EDGE_MAX, QUANTILES, SAMPLED_MAX, TOP_MAX, identifier
from dujiang.quality.model import ColumnProfile, Personal, Profile, Tally

SAMPLES = Path(__file__).resolve().parents[2] / "src" / "dujiang" / "samples"
DAY = "2026-06-01"
ORGANISATION_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"


@pytest.fixture(scope="module")
def engine() -> Iterator[Duck]:
    duck = Duck()
    yield duck
    duck.close()


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        yield made


def profiled(engine: Duck, path: Path, table: pa.Table) -> Profile:
    pq.write_table(table, path)
    return engine.profile(path, table.column_names, DAY)


def text_of(value: object) -> str:
    return str(value)


@pytest.mark.parametrize("name", ["clinic", "laboratory", "household"])
def test_a_sample_is_measured_as_arrow_reads_it(engine: Duck, name: str) -> None:
    path = SAMPLES / f"{name}.parquet"
    table = pq.read_table(path)
    profile = engine.profile(path, table.column_names, DAY)
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    assert (profile.rows, profile.repeated) == (len(rows), len(rows) - len(set(rows)))
    assert [column.name for column in profile.columns] == table.column_names
    for column in profile.columns:
        check_column(column, table[column.name].to_pylist())


def check_column(column: ColumnProfile, values: list[Any]) -> None:
    there = [value for value in values if value is not None]
    counted = Counter(there)
    assert (column.nulls, column.present, column.distinct) == (
        len(values) - len(there), len(there), len(counted),
    )  # fmt: skip
    often = counted if len(counted) <= TOP_MAX else {v: n for v, n in counted.items() if n > 1}
    most = sorted(often.items(), key=lambda item: (-item[1], item[0]))[:TOP_MAX]
    assert [(each.value, each.rows) for each in column.top] == [(text_of(v)[:80], n) for v, n in most]
    if isinstance(there[0], str):
        assert (column.length_min, column.length_max) == (min(map(len, there)), max(map(len, there)))
        assert column.numeric_texts == sum(each.isdigit() for each in there)
        return
    ordered = sorted(there)
    smallest = [(text_of(v), counted[v]) for v in sorted(counted)[:EDGE_MAX]]
    largest = [(text_of(v), counted[v]) for v in sorted(counted, reverse=True)[:EDGE_MAX]]
    assert [(each.value, each.rows) for each in column.low] == smallest
    assert [(each.value, each.rows) for each in column.high] == largest
    for share, found in zip(QUANTILES, column.quantiles, strict=True):
        assert (
            sum(v <= float(found) for v in ordered)
            >= share * len(ordered)
            > sum(v < float(found) for v in ordered) - 1
        )
    assert column.zeros == counted[0]
    if column.low_positive is not None:
        half = float(column.low_positive) / 2
        assert column.near_zero == sum(0 < v <= half for v in there)


def test_what_is_no_number_counts_as_no_value(engine: Duck, tmp_path: Path) -> None:
    table = pa.table({"x": pa.array([1.5, math.nan, math.inf, None, 2.5], pa.float64())})
    (column,) = profiled(engine, tmp_path / "t.parquet", table).columns
    assert (column.nulls, column.present, [each.value for each in column.high]) == (3, 2, ["2.5", "1.5"])


def test_names_and_texts_with_quotes_are_only_names_and_texts(engine: Duck, tmp_path: Path) -> None:
    name = "a\"b' ; drop table t; --"
    table = pa.table({name: ["o'clock", 'say "x"', None], "备注": ["文" * 300, "", "甲1b"]})
    first, second = profiled(engine, tmp_path / "t.parquet", table).columns
    assert first.name == name and {each.value for each in first.top} == {"o'clock", 'say "x"'}
    assert {each.value for each in second.top} == {"文" * 80, "", "甲1b"} and second.length_max == 300
    assert {each.value for each in second.shapes} == {"文", "", "文9A"}


def test_repeated_rows_and_future_times_are_counted(engine: Duck, tmp_path: Path) -> None:
    days = ["2026-05-31", "2026-06-01", "2026-06-02", "2026-06-02", None]
    table = pa.table({"d": pa.array(days).cast(pa.date32()), "k": [1, 2, 3, 3, 3]})
    profile = profiled(engine, tmp_path / "t.parquet", table)
    assert profile.repeated == 1 and profile.columns[0].future == 2


def test_an_empty_column_and_every_kind_are_measured(engine: Duck, tmp_path: Path) -> None:
    table = pa.table(
        {
            "none": pa.array([None, None], pa.int32()),
            "flag": [True, None],
            "list": [[1, 2], None],
            "when": pa.array([0, 10**15], pa.timestamp("us")),
            "price": pa.array([None, "1.10"]).cast(pa.decimal128(9, 2)),
        }
    )
    none, flag, listed, when, price = profiled(engine, tmp_path / "t.parquet", table).columns
    assert (none.present, none.top, none.quantiles) == (0, (), ())
    assert (flag.distinct, listed.top[0].value, len(when.quantiles)) == (1, "[1, 2]", len(QUANTILES))
    assert price.high[0].value == "1.10"


def test_a_file_that_is_no_table_is_unavailable_without_a_word(engine: Duck, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"secret value " * 9)
    for path in (tmp_path / "t.parquet", tmp_path / "missing.parquet"):
        with pytest.raises(Unavailable) as failed:
            engine.profile(path, ["x"], DAY)
        assert failed.value.code.name == "engine_failed" and failed.value.names == {}


def told(connection: duckdb.DuckDBPyConnection, personal: Personal, value: str) -> bool:
    sql = f"select coalesce({identifier(personal, 'v')}, false) from (select ? as v)"
    return connection.execute(sql, [value]).fetchall() == [(True,)]


def identity_number(head: str) -> str:
    """The number with its check letter: ISO 7064 MOD 11-2, digit by digit as the standard's recursion."""
    rest = 0
    for digit in head:
        rest = (rest + int(digit)) * 2 % 11
    return head + "0123456789X"[(12 - rest) % 11]


def organisation_code(head: str) -> str:
    """The code with its check letter, by trying all: the one with which the weighted sum is 0 modulo 31."""
    for letter in ORGANISATION_LETTERS:
        code, weight, total = head + letter, 1, 0
        for each in code[:17]:
            total += ORGANISATION_LETTERS.index(each) * weight
            weight = weight * 3 % 31
        if (total + ORGANISATION_LETTERS.index(letter)) % 31 == 0:
            return code
    raise AssertionError


def luhn(head: str) -> str:
    """The number with its check digit, by the table of doubled digits."""
    doubled = "0246813579"
    total = sum(int(doubled[int(d)]) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(head)))
    return head + str(-total % 10)


def digits(length: int) -> some.SearchStrategy[str]:
    return some.text("0123456789", min_size=length, max_size=length)


HEADS = some.builds(
    lambda area, year, month, day, serial: f"{area}{year}{month:02}{day:02}{serial:03}",
    some.integers(110000, 659999), some.integers(1900, 2026), some.integers(1, 12), some.integers(1, 28),
    some.integers(0, 999),
)  # fmt: skip
CODES = some.builds(
    lambda front, area, back: front + area + back,
    some.text(ORGANISATION_LETTERS, min_size=2, max_size=2), digits(6),
    some.text(ORGANISATION_LETTERS, min_size=9, max_size=9),
)  # fmt: skip
CARDS = some.builds(
    lambda first, rest: first + rest, some.sampled_from("3456"), some.integers(14, 17).flatmap(digits)
)


@settings(max_examples=60, deadline=None)
@given(HEADS)
def test_exactly_one_check_letter_makes_an_identity_number(
    connection: duckdb.DuckDBPyConnection, head: str
) -> None:
    right = identity_number(head)
    fits = [each for each in "0123456789X" if told(connection, Personal.identity_number, head + each)]
    assert fits == [right[-1]]
    assert told(connection, Personal.identity_number, right.lower())


@settings(max_examples=20, deadline=None)
@given(CODES)
def test_exactly_one_check_letter_makes_an_organisation_code(
    connection: duckdb.DuckDBPyConnection, head: str
) -> None:
    right = organisation_code(head)
    kind = Personal.organisation_code
    assert [each for each in ORGANISATION_LETTERS if told(connection, kind, head + each)] == [right[-1]]


@settings(max_examples=60, deadline=None)
@given(CARDS)
def test_exactly_one_check_digit_makes_a_card(connection: duckdb.DuckDBPyConnection, head: str) -> None:
    assert [each for each in "0123456789" if told(connection, Personal.bank_card, head + each)] == [
        luhn(head)[-1]
    ]


@pytest.mark.parametrize(
    ("personal", "value", "expected"),
    [
        (Personal.identity_number, "11010519491231002X", True),  # the example of GB 11643-1999
        (Personal.identity_number, "110105194912310021", False),
        (Personal.identity_number, "11010519491331002X", False),
        (Personal.bank_card, "4111111111111111", True),
        (Personal.mobile, "13800138000", True),
        (Personal.mobile, "+86 138-0013-8000", True),
        (Personal.mobile, "12800138000", False),
        (Personal.mobile, "138001380001", False),
        (Personal.email, "wang.li@mail.example.cn", True),
        (Personal.email, "wang.li@example", False),
        (Personal.plate, "京A12345", True),
        (Personal.plate, "粤B·D12345", True),
        (Personal.plate, "沪A1234挂", True),
        (Personal.plate, "京A1234I", False),
        (Personal.plate, "安A12345", False),
    ],
)
def test_known_identifiers(
    connection: duckdb.DuckDBPyConnection, personal: Personal, value: str, expected: bool
) -> None:
    assert told(connection, personal, value) is expected


def test_identifiers_are_counted_by_rows(engine: Duck, tmp_path: Path) -> None:
    numbers = [identity_number(f"1101011990010{day}{serial:03}") for day in "123" for serial in range(20)]
    table = pa.table({"n": [*numbers, numbers[0], " " + numbers[1] + " ", "x", None]})
    (column,) = profiled(engine, tmp_path / "t.parquet", table).columns
    assert {(each.value, each.rows) for each in column.personal} >= {("identity_number", 62)}


def test_of_very_many_texts_the_shape_of_most_and_the_likely_identifiers_are_counted_exactly(
    engine: Duck, tmp_path: Path
) -> None:
    rows = SAMPLED_MAX + 10_000
    mobiles = [f"138{number:08}" for number in range(rows)]
    mobiles[:4] = ["unknown", "", "12345", "a-1 (文) [b]"]
    mails = [f"u.{number}@mail.example.cn" for number in range(rows - 700)] + ["-"] * 700
    coded = [f"(文-{number})*" for number in range(rows - 5)] + [f"x{number}" for number in range(5)]
    some_mails = [f"u{number}@example.cn" if number % 50 == 0 else f"w{number}" for number in range(rows)]
    table = pa.table({"m": mobiles, "e": mails, "c": coded, "s": some_mails})
    mobile, mail, code, few = profiled(engine, tmp_path / "t.parquet", table).columns
    assert mobile.shapes == (Tally("9", rows - 3),) and mobile.numeric_texts is None
    assert {(each.value, each.rows) for each in mobile.personal} == {("mobile", rows - 4)}
    assert mail.shapes == (Tally("A.9@A.A.A", rows - 700),) and mail.top == (Tally("-", 700),)
    assert {(each.value, each.rows) for each in mail.personal} == {("email", rows - 700)}
    assert code.shapes == (Tally("(文-9)*", rows - 5),) and code.personal == ()
    assert {(each.value, each.rows) for each in few.personal} == {("email", rows // 50)}
