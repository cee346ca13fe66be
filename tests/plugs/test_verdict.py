"""What declared rules find equals what plain Python counts; a pattern is the engine's and bounded."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dujiang.kernel.errors import Refused, Unavailable
from dujiang.plugs.duck import Duck
from dujiang.quality.model import Arguments, Demand, Evidence, Metric, Reading

DAY = "2026-06-01"
TABLE = {
    "k": [1, 2, 2, None, 5, 5, 5],
    "x": [1.5, math.nan, math.inf, None, 999.0, -3.0, 0.0],
    "t": ["N1", "n2", None, "", "o'k", "N99\n", "文N3"],
    "d": [date(2026, 5, 1), date(2026, 5, 30), None, date(2025, 1, 1), None, None, date(2024, 2, 29)],
    "b": [True, False, None, True, True, False, True],
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Duck]:
    duck = Duck()
    yield duck
    duck.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("verdict") / "t.parquet"
    pq.write_table(pa.table(TABLE), made)
    return made


def found(engine: Duck, path: Path, *demands: Demand, **others: Path) -> list[tuple[int, int]]:
    return [(each.checked, each.failing) for each in engine.judge(path, demands, others, DAY)]


def invalid(name: str, **said: Any) -> Demand:
    return Demand(Metric.invalidValues, name, Arguments(**said))


def test_each_metric_counts_its_rows(engine: Duck, path: Path) -> None:
    assert found(
        engine, path,
        Demand(Metric.nullValues, "k"),
        Demand(Metric.nullValues, "x"),
        Demand(Metric.missingValues, "x", Arguments(missingValues=(999, -3.5, None))),
        Demand(Metric.missingValues, "t", Arguments(missingValues=("", "o'k"))),
        Demand(Metric.duplicateValues, "k"),
        Demand(Metric.duplicateValues, None, Arguments(properties=("k", "b"))),
        Demand(Metric.duplicateValues, None, Arguments(properties=("x",))),
    ) == [(7, 1), (7, 3), (7, 4), (7, 3), (6, 3), (5, 1), (4, 0)]  # fmt: skip


def test_invalid_values_are_those_the_arguments_do_not_allow(engine: Duck, path: Path) -> None:
    assert found(
        engine, path,
        invalid("k", minimum=2, maximum=4.5),
        invalid("x", minimum=0),
        invalid("k", validValues=(1, 2)),
        invalid("b", validValues=(True,)),
        invalid("t", pattern="^N[0-9]"),
        invalid("t", pattern="N[0-9]+$"),
        invalid("t", minLength=2, maxLength=3),
        invalid("d", minimum="2025-01-01", maximum="2026-05-29"),
        invalid("t", logicalType=Reading.integer),
        invalid("t", pattern="'"),
    ) == [(6, 4), (4, 1), (6, 3), (6, 2), (6, 4), (6, 4), (6, 2), (4, 2), (6, 6), (6, 5)]  # fmt: skip


def test_the_table_is_counted_and_its_newest_value_dated(engine: Duck, path: Path) -> None:
    rows, age, none = engine.judge(
        path,
        (
            Demand(Metric.rowCount), Demand(Metric.daysOld, "d"),
            Demand(Metric.daysOld, "e"),
        )[:2] + (Demand(Metric.rowCount),), {}, DAY,
    )  # fmt: skip
    assert rows == none == Evidence(7, 0, 7) and age == Evidence(7, 0, 2)


def test_without_a_value_nothing_is_dated_or_repeated(engine: Duck, tmp_path: Path) -> None:
    empty = tmp_path / "e.parquet"
    pq.write_table(pa.table({"d": pa.array([None, None], pa.date32())}), empty)
    age, twice = engine.judge(
        empty, (Demand(Metric.daysOld, "d"), Demand(Metric.duplicateValues, "d")), {}, DAY
    )
    assert age == Evidence(2, 0, None) and twice == Evidence(0, 0)


def test_partners_are_looked_for_in_the_named_version(engine: Duck, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "o.parquet"
    pq.write_table(pa.table({"key": [1.0, 5.0, None], "t": ["N1", "N1", None]}), other)

    def matched(name: str, partner: str | None = None) -> Demand:
        return Demand(Metric.unmatchedValues, name, Arguments(version="ver_o", versionProperty=partner))

    assert found(engine, path, matched("k", "key"), matched("t"), ver_o=other) == [(6, 2), (6, 5)]


READABLE = {
    Reading.integer: (["1", "-20", "+3", "007"], ["1.0", "x", "", "1 2"]),
    Reading.number: (["1", "-2.5", ".5", "1e9"], ["1,5", "e9", "NaN"]),
    Reading.boolean: (["true", "FALSE"], ["0", "yes"]),
    Reading.date: (["2024-02-29"], ["2023-02-29", "29.02.2024", "x"]),
    Reading.timestamp: (["2024-02-29 12:00:00", "2024-02-29"], ["noon"]),
}


@pytest.mark.parametrize("reading", READABLE)
def test_texts_are_read_as_declared(engine: Duck, tmp_path: Path, reading: Reading) -> None:
    good, bad = READABLE[reading]
    made = tmp_path / "t.parquet"
    pq.write_table(pa.table({"t": [*good, *bad, None]}), made)
    assert found(engine, made, invalid("t", logicalType=reading)) == [(len(good) + len(bad), len(bad))]


@pytest.mark.parametrize("pattern", ["(", "a{2000}", "(?=x)", r"\1", "[z-a]"])
def test_what_is_no_linear_pattern_is_refused_by_its_place(engine: Duck, path: Path, pattern: str) -> None:
    with pytest.raises(Refused) as refused:
        found(engine, path, Demand(Metric.nullValues, "k"), invalid("t", pattern=pattern))
    assert refused.value.code.name == "rules_wrong"
    assert refused.value.names == {"problems": "quality[1].arguments.pattern: RE2"}


def test_a_pattern_that_would_explode_elsewhere_is_matched_in_time(engine: Duck, tmp_path: Path) -> None:
    made = tmp_path / "t.parquet"
    pq.write_table(pa.table({"t": ["a" * 5000 + "b"] * 200}), made)
    assert found(engine, made, invalid("t", pattern="^(a+)+$")) == [(200, 200)]


def test_a_missing_copy_is_unavailable_without_a_word(engine: Duck, path: Path, tmp_path: Path) -> None:
    for files in ((tmp_path / "no", {}), (path, {"ver_o": tmp_path / "no"})):
        with pytest.raises(Unavailable) as failed:
            engine.judge(files[0], (Demand(Metric.rowCount),), files[1], DAY)
        assert failed.value.code.name == "engine_failed" and failed.value.names == {}


VALUES = some.lists(some.none() | some.integers(-5, 5), min_size=1, max_size=30)
TEXTS = some.lists(some.none() | some.text("aB9'\"é文 ;-", max_size=4), min_size=1, max_size=30)


@settings(max_examples=20, deadline=None)
@given(
    VALUES, TEXTS, some.lists(some.text("aB9'é", max_size=2), min_size=1, max_size=4), some.integers(-3, 3)
)
def test_any_table_is_counted_as_python_counts_it(
    engine: Duck, tmp_path_factory: pytest.TempPathFactory, numbers: list[Any], texts: list[Any],
    members: list[str], least: int,
) -> None:  # fmt: skip
    size = min(len(numbers), len(texts))
    numbers, texts = numbers[:size], texts[:size]
    made = tmp_path_factory.mktemp("any") / "t.parquet"
    columns = {"n": pa.array(numbers, pa.int64()), "t": pa.array(texts, pa.string())}
    pq.write_table(pa.table(columns), made)
    there = [each for each in numbers if each is not None]
    said = [each for each in texts if each is not None]
    assert found(
        engine, made,
        Demand(Metric.missingValues, "t", Arguments(missingValues=tuple(members))),
        invalid("t", validValues=tuple(members)),
        invalid("t", pattern="[a-z]9?'"),
        invalid("n", minimum=least),
        Demand(Metric.duplicateValues, "n"),
        Demand(Metric.duplicateValues, "t"),
    ) == [
        (size, sum(each is None or each in members for each in texts)),
        (len(said), sum(each not in members for each in said)),
        (len(said), sum(re.search("[a-z]9?'", each) is None for each in said)),
        (len(there), sum(each < least for each in there)),
        (len(there), len(there) - len(set(there))),
        (len(said), len(said) - len(set(said))),
    ]  # fmt: skip
