"""The engine from end to end: files in, a sketch, both registered files, answers and exports."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from dujiang.kernel.errors import Refused, Unavailable
from dujiang.plugs.cage import ENGINE_FAILED
from dujiang.plugs.duck import INGEST, Duck
from dujiang.plugs.sketch import Sketch
from dujiang.registry.model import Column, Kind, Table, Use

SAMPLES = Path(__file__).resolve().parents[2] / "src" / "dujiang" / "samples"
TEXT = (
    "编号,姓名,入院,费用,时刻,标志,邮编,数量\r\n"
    '001,张三,2024-01-05,12.50,2024-01-05 08:00:00+08:00,true,010020,"1,234"\r\n'
    "001,张三,2024-02-05,nan,2024-01-05 08:00:00Z,FALSE,100000,12\r\n"
    '002,"李,四",,1e3,,,,\r\n'
    ",王五,2024-03-01,3,,,200000,7\r\n"
)
SHAPE = Table(
    "住院",
    (
        Column("姓名", Kind.text, (Use.group,), constant=True),
        Column("入院", Kind.date, (Use.filter,), lo="2024-01-10", hi="2024-12-31"),
        Column("费用", Kind.decimal, (Use.aggregate,), lo="0", hi="100", scale=2),
        Column("时刻", Kind.timestamp),
        Column("标志", Kind.boolean),
    ),
    entity="编号",
    rows_per_entity=2,
    entities=10,
    rows_max=100,
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Duck]:
    duck = Duck()
    yield duck
    duck.close()


@pytest.fixture(params=["gb18030", "utf-8-sig", "utf-16"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(TEXT.encode(request.param))
    path.chmod(0o600)
    return path


def test_sketch_of_a_chinese_csv(engine: Duck, source: Path) -> None:
    found = engine.inspect(source, "住院.csv", "编号")
    assert (found.format, found.rows, found.entities, found.rows_per_entity_max) == ("csv", 4, 2, 2)
    assert [(column.name, column.type, column.kind.value, column.nulls) for column in found.columns] == [
        ("编号", "VARCHAR", "text", 1),
        ("姓名", "VARCHAR", "text", 0),
        ("入院", "DATE", "date", 1),
        ("费用", "DOUBLE", "decimal", 0),
        ("时刻", "TIMESTAMP", "timestamp", 2),
        ("标志", "BOOLEAN", "boolean", 2),
        ("邮编", "VARCHAR", "text", 1),
        ("数量", "VARCHAR", "text", 1),
    ]
    by_name = {column.name: column for column in found.columns}
    assert (by_name["费用"].lo, by_name["费用"].hi, by_name["费用"].scale) == ("3.0", "1000.0", 1)
    assert by_name["入院"].lo == "2024-01-05" and by_name["邮编"].values == ("010020", "100000", "200000")
    assert by_name["姓名"].constant and not by_name["入院"].constant
    assert by_name["姓名"].length_max == 3


def test_both_registered_files(engine: Duck, source: Path, tmp_path: Path) -> None:
    plain, guarded = tmp_path / "plain", tmp_path / "guarded"
    sketch = engine.inspect(source, "住院.csv")
    told = engine.register(source, sketch, SHAPE, b"salt", plain, guarded)
    assert (told.rows_plain, told.rows_guarded, told.entities) == (4, 3, 2)
    assert (told.dropped_null_entity, told.dropped_beyond, told.rows_per_entity_max) == (1, 0, 2)
    digests = {plain: told.sha256_plain, guarded: told.sha256_guarded, source: told.sha256_source}
    for path, digest in digests.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["guarded", "plain", "upload"]
    assert plain.stat().st_mode & 0o777 == guarded.stat().st_mode & 0o777 == 0o444
    assert plain.stat().st_uid == tmp_path.stat().st_uid
    rows = duckdb.sql(f"select cast(时刻 as varchar), 费用, 编号 from read_parquet('{plain}')").fetchall()
    assert rows[0] == ("2024-01-05 00:00:00", 12.5, "001")
    assert rows[1][0] == "2024-01-05 08:00:00" and math.isnan(rows[1][1])
    stored = engine.compute("select c0, c1, c2, c3, c4 from t0 order by c0, c1", guarded)
    assert stored == [
        ["张三", "2024-01-10", 1250, "2024-01-05T00:00:00", 1],
        ["张三", "2024-02-05", None, "2024-01-05T08:00:00", 0],
        ["李,四", None, 10000, None, None],
    ]


REFUSED: list[tuple[str, Table]] = [
    ("too_many_entities", replace(SHAPE, entities=1)),
    ("rows_over_declared", replace(SHAPE, rows_max=2)),
    ("column_missing", replace(SHAPE, entity="nobody")),
    ("column_missing", replace(SHAPE, columns=(Column("无", Kind.text),))),
    ("null_in_column", replace(SHAPE, columns=(Column("入院", Kind.date, nullable=False),))),
    ("too_many_values", replace(SHAPE, columns=(Column("姓名", Kind.text, (Use.group,), distinct_max=1),))),
]


@pytest.mark.parametrize(("code", "shape"), REFUSED)
def test_undeclared_shape_leaves_nothing(engine: Duck, tmp_path: Path, code: str, shape: Table) -> None:
    source = tmp_path / "upload"
    source.write_text(TEXT)
    sketch = engine.inspect(source, "x")
    with pytest.raises(Refused) as caught:
        engine.register(source, sketch, shape, b"s", tmp_path / "plain", tmp_path / "guarded")
    assert caught.value.code.name == code
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]


def test_file_changed_since_it_was_inspected(engine: Duck, tmp_path: Path) -> None:
    source = tmp_path / "upload"
    source.write_text(TEXT)
    sketch = engine.inspect(source, "x")
    source.write_text(TEXT.replace("12.50", "twelve"))
    with pytest.raises(Refused) as caught:
        engine.register(source, sketch, SHAPE, b"s", tmp_path / "plain", tmp_path / "guarded")
    assert caught.value.code.name == "unreadable_table"
    assert "twelve" not in repr(caught.value.names)
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]


def test_every_row_an_entity(engine: Duck, tmp_path: Path) -> None:
    source, shape = tmp_path / "upload", replace(SHAPE, entity=None, rows_per_entity=1)
    source.write_text(TEXT)
    told = engine.register(
        source, engine.inspect(source, "x"), shape, b"s", tmp_path / "plain", tmp_path / "guarded"
    )
    assert (told.rows_guarded, told.entities, told.dropped_null_entity) == (4, 4, 0)
    rows = engine.compute("select eid, rn from t0 order by eid", tmp_path / "guarded")
    assert rows == [[0, 1], [1, 1], [2, 1], [3, 1]]


def test_both_files_or_neither(engine: Duck, tmp_path: Path) -> None:
    source, guarded = tmp_path / "upload", tmp_path / "guarded"
    source.write_text(TEXT)
    (guarded / "in the way").mkdir(parents=True)
    sketch = engine.inspect(source, "x")
    with pytest.raises(Unavailable):
        engine.register(source, sketch, SHAPE, b"s", tmp_path / "plain", guarded)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["guarded", "upload"]


def test_missing_file_is_unavailable(engine: Duck, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        engine.inspect(tmp_path / "none", "x")
    with pytest.raises(Unavailable):
        engine.compute("select 1", tmp_path / "none")


def test_one_column_and_blank_cells(engine: Duck, tmp_path: Path) -> None:
    source = tmp_path / "upload"
    source.write_text("n\n1\n\n3")
    found = engine.inspect(source, "x")
    assert (found.rows, found.columns[0].type, found.columns[0].nulls) == (3, "BIGINT", 1)


ZONED = "select timestamptz '2024-01-01 00:00:00+08' at_, [1, 2] list_, 1.50::decimal(9,2) money"


def test_zoned_times_of_parquet_become_utc(engine: Duck, tmp_path: Path) -> None:
    source, plain = tmp_path / "upload", tmp_path / "plain"
    duckdb.execute(f"copy ({ZONED}) to '{source}' (format parquet)")
    found = engine.inspect(source, "x.csv", None)
    assert [column.kind for column in found.columns][0] is Kind.timestamp
    shape = Table("t", (Column("at_", Kind.timestamp), Column("money", Kind.decimal)), None, 1, 9, 9)
    engine.register(source, found, shape, b"s", plain, tmp_path / "guarded")
    assert engine.compute("select c0 from t0", tmp_path / "guarded") == [["2023-12-31T16:00:00"]]
    kinds = duckdb.sql(f"select typeof(at_), typeof(list_) from read_parquet('{plain}')").fetchall()
    assert kinds == [("TIMESTAMP", "INTEGER[]")]


@pytest.fixture(scope="module")
def clinic(engine: Duck) -> Sketch:
    return engine.inspect(SAMPLES / "clinic.parquet", "clinic.parquet", "seqn")


def test_real_sample_answers_as_plain_sql(engine: Duck, clinic: Sketch, tmp_path: Path) -> None:
    assert clinic.rows == clinic.entities == 8366 and clinic.rows_per_entity_max == 1
    kinds = {column.name: column for column in clinic.columns}
    assert kinds["sex"].values == ("Female", "Male") and kinds["weight_kg"].scale == 1
    shape = Table(
        "clinic",
        (Column("sex", Kind.text), Column("weight_kg", Kind.decimal, lo="0", hi="300", scale=1)),
        "seqn",
        1,
        10_000,
        10_000,
    )
    source = SAMPLES / "clinic.parquet"
    told = engine.register(source, clinic, shape, b"s", tmp_path / "plain", tmp_path / "guarded")
    assert told.rows_guarded == 8366 and told.sha256_plain == told.sha256_source
    got = engine.compute("select c0, count(c1), sum(c1) from t0 group by 1 order by 1", tmp_path / "guarded")
    wanted = duckdb.sql(
        "select sex, count(weight_kg), cast(sum(weight_kg::decimal(9,1)) * 10 as hugeint)"
        f" from read_parquet('{source}') group by 1 order by 1"
    ).fetchall()
    assert got == [list(row) for row in wanted]


def test_no_room_for_the_job_is_a_failure_that_leaves_nothing(clinic: Sketch, tmp_path: Path) -> None:
    small = Duck(ingest=replace(INGEST, memory_bytes=1 << 20, scratch_bytes=0))
    shape = Table("clinic", (Column("sex", Kind.text),), "seqn", 1, 10_000, 10_000)
    source = SAMPLES / "clinic.parquet"
    with pytest.raises(Unavailable) as caught:
        small.register(source, clinic, shape, b"s", tmp_path / "plain", tmp_path / "guarded")
    assert caught.value.code is ENGINE_FAILED
    assert not list(tmp_path.iterdir())


COLUMNS = ["科室", "n", "mean", "big", "是"]
ANSWER = [['内科, "一"', 3, 1.5, 2**70, True], [None, None, 2.0, 1, False]]


def test_exports_hold_the_answer(engine: Duck, tmp_path: Path) -> None:
    for form in ("csv", "json", "parquet"):
        engine.export(COLUMNS, ANSWER, tmp_path / form, form)
    with (tmp_path / "csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == COLUMNS and table[1] == ['内科, "一"', "3", "1.5", str(2**70), "True"]
    assert json.loads((tmp_path / "json").read_text()) == [
        dict(zip(COLUMNS, row, strict=True)) for row in ANSWER
    ]
    found = duckdb.sql(f"from read_parquet('{tmp_path / 'parquet'}')")
    assert found.columns == COLUMNS
    assert found.fetchall() == [('内科, "一"', 3, 1.5, 2**70, True), (None, None, 2.0, 1, False)]
    assert len(list(tmp_path.iterdir())) == 3


def test_export_without_rows_and_without_a_folder(engine: Duck, tmp_path: Path) -> None:
    engine.export(["a"], [], tmp_path / "empty", "parquet")
    assert duckdb.sql(f"from read_parquet('{tmp_path / 'empty'}')").fetchall() == []
    with pytest.raises(Unavailable):
        engine.export(["a"], [], tmp_path / "none" / "x", "csv")
