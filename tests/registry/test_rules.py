"""Laws of the proposal: friendly bounds, uses, sizes, declarations, and the noise that follows."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.cleanroom.model import Guard, Noise, Plan
from dujiang.cleanroom.rules import expected
from dujiang.cleanroom.sql import plan
from dujiang.kernel.errors import Refused
from dujiang.plugs.sketch import ColumnSketch, Sketch
from dujiang.plugs.tabular import Form
from dujiang.registry import rules, wire
from dujiang.registry.model import Column, Declared, Field, Kind, Table, Use

NUMBERS = st.decimals(-10_000_000, 10_000_000, places=3)


def column(name: str, kind: Kind, distinct: int = 40, **more: Any) -> ColumnSketch:
    """A column as an engine would find it."""
    if kind in (Kind.integer, Kind.decimal):
        more = {"lo": "0.5", "hi": "199.25", "p01": "21.0", "p99": "84.0", **more}
    if kind in (Kind.date, Kind.timestamp):
        more = {"lo": "1947-05-03 00:00:00", "hi": "2018-11-30 00:00:00", **more}
    scale = {Kind.integer: 0, Kind.boolean: 0, Kind.decimal: 1}.get(kind)
    return ColumnSketch(name, "", kind, more.pop("nulls", 0), distinct, True, **{"scale": scale, **more})


SEX = column("sex", Kind.text, 2, length_max=6)
AGE = column("age", Kind.integer, 70)
KG = column("kg", Kind.decimal, 900)
SMOKES = column("smokes", Kind.boolean, 2)
SEEN = column("seen", Kind.date, 300)
ID = column("id", Kind.integer, 500, constant=True)


def sketch(*columns: ColumnSketch, rows: int = 1000, entities: int | None = None) -> Sketch:
    """A table of so many rows."""
    per = (None, None, None) if entities is None else (40, 3, 5)
    return Sketch(Form("csv", "utf-8", ",", ()), rows, columns, entities, *per)


def proposed(*columns: ColumnSketch, entity: str | None = None, **said: Any) -> Table:
    """The proposal for some columns."""
    found = sketch(*columns, entities=500 if entity else None)
    return rules.propose(found, Declared("upl", entity, **said), "t")


def refusal(*columns: ColumnSketch, entity: str | None = None, **said: Any) -> str:
    """The problems of a declaration."""
    with pytest.raises(Refused) as refused:
        proposed(*columns, entity=entity, **said)
    assert refused.value.code.name == "declaration_wrong"
    return refused.value.names["problems"]


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("clinic.csv", "clinic"),
        ("销售 2026.parquet", "销售 2026"),
        (r"C:\data\a.b.csv", "a.b"),
        ("../../etc/passwd", "passwd"),
        ('x"y\x00.csv', "xy"),
        (".csv", ".csv"),
        ("", "table"),
        ("\n", "table"),
        ("长" * 300 + ".csv", "长" * 100),
    ],
)
def test_a_table_is_called_by_the_stem_of_its_file(name: str, table: str) -> None:
    assert rules.table_name(name) == table


def test_a_given_name_is_kept_whole() -> None:
    assert proposed(AGE, name="v1.2").name == "v1.2"
    assert proposed(AGE, name='a"\n').name == "a"


@given(st.integers(0, 10**9))
def test_a_rounded_size_is_above_the_count_and_tells_two_digits(count: int) -> None:
    bound = rules.rounded_up(count)
    assert count < bound <= count * 1.1 + 11
    assert len(str(bound).rstrip("0")) <= 2


@given(NUMBERS, NUMBERS, st.integers(0, 6))
def test_friendly_bounds_lie_outside_and_on_the_grid(one: Decimal, other: Decimal, scale: int) -> None:
    low, high = sorted((one, other))
    lo, hi = rules.friendly(low, high, scale)
    assert lo < hi and lo <= low and high <= hi
    assert lo == round(lo, scale) and hi == round(hi, scale)
    span = max(high - low, Decimal(1).scaleb(-scale))
    assert hi - lo <= max(span * 3 / 2, span + 2 * Decimal(1).scaleb(-scale)) or lo == 0


@pytest.mark.parametrize(
    ("low", "high", "scale", "bounds"),
    [
        ("151.2", "188.7", 0, ("150", "190")),
        ("21", "84", 0, ("20", "90")),
        ("3", "84", 0, ("0", "100")),
        ("-3.5", "12", 1, ("-4", "12")),
        ("0.27", "5.31", 2, ("0", "6")),
        ("5", "5", 0, ("4", "6")),
        ("1200", "85000", 2, ("0", "100000")),
    ],
)
def test_friendly_numbers(low: str, high: str, scale: int, bounds: tuple[str, str]) -> None:
    lo, hi = rules.friendly(Decimal(low), Decimal(high), scale)
    assert (lo, hi) == tuple(map(Decimal, bounds))


@given(st.decimals(0, 20, places=1), st.decimals(85, 10_000, places=1), st.integers(0, 39))
def test_the_extremes_and_exact_counts_of_a_table_change_nothing(lo: Decimal, hi: Decimal, less: int) -> None:
    def table(low: object, high: object, rows: int) -> Table:
        kg = replace(KG, lo=str(low), hi=str(high), distinct=900 + less)
        born = column("born", Kind.date, 300, lo=f"194{less % 10}-02-03", hi=f"201{less % 10}-12-30")
        return rules.propose(sketch(kg, born, rows=rows), Declared("upl"), "t")

    assert table(lo, hi, 1000 + less) == table(0, 100, 1000)


@pytest.mark.parametrize(
    ("found", "uses"),
    [
        (SEX, {"group", "filter"}),
        (replace(SEX, distinct=51), set()),
        (replace(SEX, distinct=50, nulls=501), set()),
        (replace(SEX, distinct=0, nulls=1000), set()),
        (AGE, {"filter", "aggregate"}),
        (replace(AGE, distinct=20), {"group", "filter", "aggregate"}),
        (replace(AGE, distinct=990), set()),
        (replace(AGE, p01=None, p99=None), set()),
        (replace(AGE, p01="1e+300", p99="2e+300"), set()),
        (replace(KG, p01="5.3e-79", p99="5.0"), {"filter", "aggregate"}),
        (replace(AGE, p01="1e17", p99="9e17"), set()),
        (KG, {"filter", "aggregate"}),
        (replace(KG, distinct=990), {"filter", "aggregate"}),
        (SMOKES, {"group", "filter", "aggregate"}),
        (SEEN, {"group", "filter"}),
        (replace(SEEN, lo=None, hi=None), set()),
    ],
)
def test_what_a_column_is_proposed_for(found: ColumnSketch, uses: set[str]) -> None:
    assert {use.value for use in proposed(found).columns[0].uses} == uses


def test_the_entity_and_other_names_of_it_get_no_use() -> None:
    phone = column("phone", Kind.text, 499, constant=True)
    table = proposed(ID, phone, AGE, entity="id")
    assert [bool(each.uses) for each in table.columns] == [False, False, True]
    assert (table.entities, table.rows_max, table.rows_per_entity) == (510, 1100, 5)


def test_without_an_entity_every_row_is_one_and_that_is_said() -> None:
    table = proposed(AGE)
    assert (table.entity, table.rows_per_entity, table.entities) == (None, 1, 1100)
    assert table.rows_max >= 1000
    assert "every row is an entity" in rules.notes(sketch(AGE), table)[0].text


def test_dates_are_bounded_by_decades() -> None:
    day, moment = proposed(SEEN, column("at", Kind.timestamp)).columns
    assert (day.lo, day.hi) == ("1940-01-01", "2019-12-31")
    assert (moment.lo, moment.hi) == ("1940-01-01T00:00:00", "2019-12-31T23:59:59")


@given(
    st.floats(-1e17, 1e17, allow_nan=False),
    st.floats(0, 1e17, allow_nan=False),
    st.none() | st.integers(0, 9),
)
def test_proposed_numbers_fit_the_engine(low: float, width: float, scale: int | None) -> None:
    found = replace(KG, p01=str(low), p99=str(low + width), scale=scale)
    made = proposed(found).columns[0]
    if made.lo is None:
        assert made.uses == ()
        return
    assert made.hi is not None
    assert Decimal(made.lo) < Decimal(made.hi)
    assert made.bound("lo") == Decimal(made.lo).scaleb(made.scale)
    assert max(abs(made.bound("lo")), abs(made.bound("hi"))) <= 2**53
    assert made.scale == 0 or max(abs(made.bound("lo")), abs(made.bound("hi"))) < 2**31


@pytest.mark.parametrize(
    ("p99", "scale", "kept"),
    [("9000", 2, 2), ("90000000", 2, 1), ("9000000000", 2, 0), ("90", None, 5), ("90", 9, 5)],
)
def test_a_scale_keeps_what_32_bits_and_the_noise_allow(p99: str, scale: int | None, kept: int) -> None:
    assert proposed(replace(KG, p01="0", p99=p99, scale=scale)).columns[0].scale == kept


def test_what_is_declared_wins() -> None:
    fields = {
        "age": Field(uses=(Use.aggregate, Use.group), lo=0, hi=120, keys=("1", "2")),
        "kg": Field(lo="30.5", hi=150.5, scale=1, constant=True),
        "sex": Field(keys=("Female", "Male"), length_max=10),
        "seen": Field(lo="2000-01-01", hi="2020-06-30"),
    }
    table = proposed(
        ID, AGE, KG, SEX, SEEN, entity="id", fields=fields, rows_per_entity=9, entities_max=777, name="体检"
    )
    _, age, kg, sex, seen = table.columns
    assert (age.uses, age.lo, age.hi, age.keys) == ((Use.group, Use.aggregate), "0", "120", ("1", "2"))
    assert age.nullable and age.distinct_max == 4
    assert (kg.lo, kg.hi, kg.scale, kg.constant) == ("30.5", "150.5", 1, True)
    assert (sex.keys, sex.length_max) == (("Female", "Male"), 10)
    assert (seen.lo, seen.hi) == ("2000-01-01", "2020-06-30")
    assert (table.rows_per_entity, table.entities, table.name) == (9, 777, "体检")


def test_one_declared_end_keeps_the_other_proposed() -> None:
    table = proposed(AGE, fields={"age": Field(hi=60)})
    assert (table.columns[0].lo, table.columns[0].hi) == ("20", "60")


@pytest.mark.parametrize(
    ("found", "said", "problem"),
    [
        (AGE, Field(lo=9, hi=9), "age: lo is not below hi"),
        (AGE, Field(lo=200), "age: lo is not below hi"),
        (AGE, Field(lo="secret"), "age: lo or hi cannot be read"),
        (AGE, Field(lo="１２"), "age: lo or hi cannot be read"),
        (AGE, Field(hi=10**30), "age: lo or hi cannot be read"),
        (AGE, Field(hi=10**17), "age: lo and hi: too large for the scale"),
        (AGE, Field(lo=0.5), "age: lo and hi: at most 0 decimal places"),
        (AGE, Field(scale=1), "age: scale: 0..9, of a decimal"),
        (KG, Field(scale=10), "kg: scale: 0..9, of a decimal"),
        (KG, Field(lo=float("nan")), "kg: lo or hi cannot be read"),
        (AGE, Field(keys=()), "age: keys: 1..1000, each once"),
        (SEX, Field(keys=("a", "a")), "sex: keys: 1..1000, each once"),
        (SEX, Field(keys=(" ",)), "sex: keys: 1..200 characters each"),
        (AGE, Field(keys=("1.5",)), "age: keys: numbers of at most 0 decimal places"),
        (SMOKES, Field(keys=("yes",)), "smokes: keys: true, false"),
        (SEEN, Field(keys=("May",)), "seen: keys: ISO dates"),
        (SEX, Field(uses=(Use.filter,), keys=("a",)), "sex: keys without the use group"),
        (SEX, Field(uses=(Use.aggregate,)), "sex: only numbers can be aggregated"),
        (SEEN, Field(uses=(Use.aggregate,)), "seen: only numbers can be aggregated"),
        (SEX, Field(lo=1), "sex: lo and hi: none for a text"),
        (SMOKES, Field(hi=2), "smokes: lo and hi: none for true and false"),
        (SEEN, Field(lo="2020-01-01", hi="2019-01-01"), "seen: lo is not below hi"),
        (SEEN, Field(lo="2020-01-01T00:00:00+08:00"), "seen: lo or hi cannot be read"),
        (replace(AGE, p01=None, p99=None), Field(uses=(Use.filter,)), "age: lo and hi needed"),
        (AGE, Field(length_max=5), "age: length_max: 1..1000, of a text"),
        (SEX, Field(length_max=0), "sex: length_max: 1..1000, of a text"),
        (AGE, Field(constant=True), "age: constant needs an entity"),
    ],
)
def test_a_wrong_declaration_names_column_and_rule(found: ColumnSketch, said: Field, problem: str) -> None:
    problems = refusal(found, fields={found.name: said})
    assert problem in problems.split("; ")
    assert "secret" not in problems


def test_all_wrong_declarations_are_named_at_once() -> None:
    fields = {"id": Field(uses=(Use.group,)), "age": Field(lo=9, hi=1), "aeg": Field()}
    problems = refusal(ID, AGE, entity="id", fields=fields, rows_per_entity=0, entities_max=499)
    assert problems.split("; ") == [
        "rows_per_entity: 1..10000",
        "entities_max: below the table's entities or too large",
        "aeg: no such column",
        "id: the entity has no fields to declare",
        "age: lo is not below hi",
    ]


def test_rows_per_entity_need_an_entity() -> None:
    assert refusal(AGE, rows_per_entity=2) == "rows_per_entity: 1..1"


def test_an_unknown_entity_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        rules.propose(sketch(AGE), Declared("upl", "secret"), "t")
    assert refused.value.code.name == "entity_unknown"
    assert not refused.value.names


def test_the_noise_of_each_r() -> None:
    table = proposed(ID, AGE, SEX, entity="id", fields={"age": Field(lo=0, hi=100)})
    found = sketch(ID, AGE, SEX, entities=500)
    rows = rules.noise_table(found, table, 5000, laplace=False)
    assert [(row.basis, row.rows_per_entity) for row in rows] == [
        ("chosen", 5),
        ("max", 40),
        ("p99", 5),
        ("p95", 3),
    ]
    # sd = 10 D2 at rho 0.005: COUNT 10 R, SUM 10 R M, mean of 1,000 rows 10 R h / 1,000; shown are 2 sd.
    assert [(row.count, row.entities) for row in rows] == [(100, 44.7), (800, 126), (100, 44.7), (60, 34.6)]
    (age,) = rows[1].measures
    assert (age.column, age.sum, age.mean_of_1000) == ("age", 80_000, 40)
    assert "more than 5 rows" in rules.notes(found, table)[0].text


@given(st.integers(1, 100_000))
def test_the_noise_of_laplace_is_wider_by_the_root_of_two(rho: int) -> None:
    table = proposed(AGE)
    gauss = rules.noise_table(sketch(AGE), table, rho, laplace=False)[0]
    laplace = rules.noise_table(sketch(AGE), table, rho, laplace=True)[0]
    assert laplace.count == pytest.approx(gauss.count * 2**0.5, rel=0.02)


def test_a_table_is_read_back_from_its_text() -> None:
    table = proposed(ID, AGE, KG, SEX, SEEN, SMOKES, entity="id", fields={"sex": Field(keys=("男", "女"))})
    assert wire.table_of(wire.table_text(table)) == table


def test_a_certificate_schema_names_kinds_and_nothing_measured() -> None:
    table = Table("t", (Column("age", Kind.integer, lo="0", hi="9"),), None, 1, 10, 10)
    assert wire.schema_value(table) == [{"name": "age", "kind": "integer"}]


@pytest.mark.parametrize("noise", [Noise.gaussian, Noise.laplace])
def test_the_noise_shown_is_the_noise_of_the_questions(noise: Noise) -> None:
    """The table at registration and the quote before a question say the same."""
    table = proposed(ID, AGE, entity="id", fields={"age": Field(uses=tuple(Use), lo=-20, hi=100)})
    shown = rules.noise_table(sketch(ID, AGE, entities=500), table, 5000, laplace=noise is Noise.laplace)[0]
    guard = Guard(noise=noise)
    for text, value in (
        ("select count(*) from t", shown.count),
        ("select sum(age) from t", shown.measures[0].sum),
        ("select count(distinct id) from t group by age", shown.entities),
    ):
        asked = plan(text, table, guard)
        assert isinstance(asked, Plan)
        assert expected(asked, guard)[0] == pytest.approx(value, rel=0.006)
