"""What is wrong in six real tables is found untold, in as many rows as pandas counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from dujiang.kernel.shape import build
from dujiang.quality import acts as quality
from dujiang.quality.model import Check, Demands, Fault, Graded, Rule
from dujiang.registry import acts as registry
from tests.registry.space import SAMPLES, Space, opened

TABLES = {
    "clinic": "seqn", "laboratory": "seqn", "household": "seqn",
    "flights": None, "weather": None, "planes": "tailnum",
}  # fmt: skip
UNTOLD: dict[str, set[tuple[Fault, str]]] = {
    "clinic": {
        (Fault.mixed_types, "told_diabetes"), (Fault.isolated_zero, "diastolic_1"),
        (Fault.isolated_zero, "diastolic_2"), (Fault.isolated_zero, "diastolic_3"),
    },
    "laboratory": set(),
    "household": {
        (Fault.missing_code, "cigarettes_a_day"), (Fault.missing_code, "sedentary_minutes"),
        (Fault.missing_code, "meals_out"), (Fault.odd_category, "self_rated_health"),
        (Fault.missing_word, "education"), (Fault.mixed_types, "household_size"),
    },
    "flights": set(),
    "weather": {(Fault.far_off, "wind_speed"), (Fault.isolated_zero, "wind_dir")},
    "planes": set(),
}  # fmt: skip
"""Every finding but empty cells: nothing else is said of these tables."""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    with opened(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.fixture(scope="module")
def versions(space: Space) -> dict[str, str]:
    """The registered version of each table."""
    made: dict[str, str] = {}
    for name, entity in TABLES.items():
        upload = space.upload(space.hospital, SAMPLES / f"{name}.parquet", f"{name}.parquet")
        made[name] = space.run("registry.register", space.hospital, registry.Register(upload, entity)).version
    return made


@pytest.fixture(scope="module")
def graded(space: Space, versions: dict[str, str]) -> dict[str, Graded]:
    """Each table's grading, by the rules it proposes alone."""
    return {
        name: space.run("quality.grade", space.hospital, quality.Grade(version)).graded
        for name, version in versions.items()
    }


def table(name: str) -> pd.DataFrame:
    """The table as pandas reads it."""
    return pd.read_parquet(SAMPLES / f"{name}.parquet")


def rule(made: Graded, check: Check, column: str = "", *, declared: bool = False) -> Rule:
    """The one rule of a grading that checks so."""
    (found,) = [
        each for each in made.rules if (each.check, each.column, each.declared) == (check, column, declared)
    ]
    return found


@pytest.mark.parametrize("name", TABLES)
def test_what_is_wrong_is_found_and_nothing_else(graded: dict[str, Graded], name: str) -> None:
    made = graded[name]
    assert {(f.fault, f.column) for f in made.findings if f.fault is not Fault.many_empty} == UNTOLD[name]
    assert made.personal == () and made.classification.category.value == "一般"


@pytest.mark.parametrize("name", TABLES)
def test_empty_cells_repeats_and_distinct_values_are_those_of_pandas(
    graded: dict[str, Graded], name: str
) -> None:
    frame, made = table(name), graded[name]
    assert (made.profile.rows, made.profile.repeated) == (len(frame), int(frame.duplicated().sum()))
    for column in made.profile.columns:
        values = frame[column.name]
        assert (column.nulls, column.distinct) == (int(values.isna().sum()), values.nunique()), column.name
        empty = [f.rows for f in made.findings if (f.fault, f.column) == (Fault.many_empty, column.name)]
        assert empty == ([column.nulls] if values.isna().mean() > 0.05 else []), column.name


def test_the_faults_of_the_cards_are_counted_as_pandas_counts_them(graded: dict[str, Graded]) -> None:
    clinic, household, weather = table("clinic"), table("household"), table("weather")

    def rows(name: str, fault: Fault, column: str) -> int:
        (found,) = [f for f in graded[name].findings if (f.fault, f.column) == (fault, column)]
        return found.rows

    for reading in (1, 2, 3):
        zeros = int((clinic[f"diastolic_{reading}"] == 0).sum())
        assert rows("clinic", Fault.isolated_zero, f"diastolic_{reading}") == zeros > 0
    words = clinic["told_diabetes"].dropna().pipe(lambda each: each[~each.isin(["0", "1"])])
    assert rows("clinic", Fault.mixed_types, "told_diabetes") == len(words) > 0
    for column, codes in (
        ("cigarettes_a_day", [777, 999]),
        ("sedentary_minutes", [9999]),
        ("meals_out", [5555, 7777, 9999]),
        ("self_rated_health", ["Fair or", "Poor?"]),
    ):
        fault = Fault.odd_category if column == "self_rated_health" else Fault.missing_code
        assert rows("household", fault, column) == int(household[column].isin(codes).sum()) > 0
    assert rows("weather", Fault.far_off, "wind_speed") == int((weather["wind_speed"] > 1000).sum()) == 1
    assert rule(graded["flights"], Check.not_null, "tailnum").failed == 2512
    assert rule(graded["flights"], Check.not_null, "arr_delay").failed == 9430
    assert rule(graded["planes"], Check.filled, "speed").failed == 3322 - 23


def test_declared_rules_on_the_flights_find_what_pandas_finds(space: Space, versions: dict[str, str]) -> None:
    flights, planes = table("flights"), table("planes")
    raw: list[dict[str, Any]] = [
        {"metric": "unmatchedValues", "property": "tailnum", "arguments": {"version": versions["planes"]}},
        {"metric": "invalidValues", "property": "tailnum", "arguments": {"pattern": "^N[0-9]{1,5}[A-Z]{0,2}$"}},
        {"metric": "invalidValues", "property": "dep_delay", "arguments": {"minimum": -30, "maximum": 600}},
        {"metric": "invalidValues", "property": "origin", "arguments": {"validValues": ["EWR", "JFK"]}},
        {"metric": "duplicateValues", "arguments": {"properties": ["flight_date", "carrier", "flight", "origin"]}},
        {"metric": "nullValues", "property": "arr_delay", "mustBeLessThan": 3, "unit": "percent"},
        {"metric": "rowCount", "mustBeGreaterOrEqualTo": 400_000},
        {"metric": "daysOld", "property": "flight_date", "mustBeLessOrEqualTo": 30},
    ]  # fmt: skip
    ask = quality.Grade(versions["flights"], build(Demands, {"quality": raw}))
    made: Graded = space.run("quality.grade", space.hospital, ask).graded
    tails, delay = flights["tailnum"].dropna(), flights["dep_delay"].dropna()
    key = ["flight_date", "carrier", "flight", "origin"]
    told = [(each.checked, each.failed, each.kept) for each in made.rules if each.declared]
    assert told == [
        (len(tails), int((~tails.isin(planes["tailnum"])).sum()), False),
        (len(tails), int((~tails.str.fullmatch("N[0-9]{1,5}[A-Z]{0,2}")).sum()), False),
        (len(delay), int((~delay.between(-30, 600)).sum()), False),
        (len(flights), int((~flights["origin"].isin(["EWR", "JFK"])).sum()), False),
        (len(flights), int(flights.duplicated(key).sum()), True),
        (len(flights), int(flights["arr_delay"].isna().sum()), True),
        (400_000, 400_000 - len(flights), False),
        (len(flights), len(flights), False),
    ]
    assert made.replaced == 2  # the range of dep_delay, the set of origin


def test_a_rule_that_does_not_fit_or_names_what_is_not_yours_is_refused(
    space: Space, versions: dict[str, str]
) -> None:
    def refused(raw: dict[str, Any], caller: Any = None) -> str:
        ask = quality.Grade(versions["planes"], build(Demands, {"quality": [raw]}))
        return space.refused("quality.grade", caller or space.hospital, ask).code.name

    assert refused({"metric": "nullValues", "property": "no such"}) == "rules_wrong"
    pattern = {"metric": "invalidValues", "property": "tailnum", "arguments": {"pattern": "(?=secret)"}}
    assert refused(pattern) == "rules_wrong"
    upload = space.upload(space.clinic, SAMPLES / "planes.parquet", "planes.parquet")
    theirs = space.run("registry.register", space.clinic, registry.Register(upload)).version
    for version in (theirs, "ver_x"):
        raw = {"metric": "unmatchedValues", "property": "tailnum", "arguments": {"version": version}}
        assert refused(raw) == "not_found"


def test_documents_of_a_graded_version_name_no_value(space: Space, versions: dict[str, str]) -> None:
    raw = {"metric": "invalidValues", "property": "seats", "arguments": {"minimum": 1}}
    library = {"metric": "duplicateValues", "property": "tailnum"}
    ask = quality.Grade(versions["planes"], build(Demands, {"quality": [raw, library]}))
    space.run("quality.grade", space.hospital, ask)
    for form in quality.Form:
        made = space.run("quality.export", space.hospital, quality.Export(versions["planes"], form))
        said = str(made.document)
        assert not [value for value in ("BOEING", "N10156", "3322", "450") if value in said]
        assert space.refused(
            "quality.export", space.clinic, quality.Export(versions["planes"], form)
        ).code.name == ("not_found")
    columns = {each["name"]: each for each in made.document["schema"][0]["properties"]}
    assert columns["tailnum"]["quality"] == [
        {"type": "library", "metric": "duplicateValues", "mustBe": 0, "unit": "rows"}
    ]
    assert columns["seats"]["quality"][0]["engine"] == "dujiang"
