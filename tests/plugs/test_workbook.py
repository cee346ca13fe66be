"""Tables in workbooks: what cells say is kept, the first sheet is taken, each bad book refused without a value."""

from __future__ import annotations

import datetime
import hashlib
import io
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.kernel.errors import Refused, Unavailable, spoken
from dujiang.plugs import sheet, tabular, workbook
from dujiang.plugs.cage import ENGINE_DEADLINE, Limits, Worker
from dujiang.plugs.duck import Duck
from dujiang.registry.model import Column, Kind, Table, Use
from tests.plugs.books import book, compound, old_book

SECRET = "秘密7731"
LONG = -0.00123456789012345  # longer than a number may be to be told from its text
DAY = datetime.date(2024, 1, 5)
MOMENT = datetime.datetime(2024, 1, 5, 8, 30)
LINES: tuple[tuple[Any, ...], ...] = (
    (),
    (
        "编号",
        "入院",
        "时刻",
        "年龄",
        "费用",
        "标志",
        "邮编",
        "文本\n日期",
        "混合",
        "空",
        "份额",
        "时长",
        None,
    ),
    (
        "001",
        DAY,
        MOMENT,
        7,
        2.5,
        True,
        "010020",
        "2024-01-05",
        1,
        None,
        LONG,
        datetime.timedelta(hours=30),
    ),
    ("001", None, DAY, 8.0, 3, False, "100000", "2024-2-5", "a\nb", " ", 0.125, datetime.time(8, 30)),
    (None,) * 13,
    ("002", datetime.datetime(2024, 3, 1), MOMENT, None, -1, None, None, None, '"x",', "", 1e-9, None),
    (None, "", " "),
)
SHAPE = Table(
    "病历",
    (
        Column("入院", Kind.date, (Use.filter,), lo="2024-01-01", hi="2024-12-31"),
        Column("费用", Kind.decimal, (Use.aggregate,), lo="0", hi="100", scale=1),
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


def test_cells_keep_their_types(engine: Duck, tmp_path: Path) -> None:
    path = book(tmp_path / "upload", LINES)
    path.chmod(0o600)
    found = engine.inspect(path, "病历.xlsx", "编号")
    assert (found.format, found.encoding, found.rows, found.entities) == ("xlsx", None, 3, 2)
    assert [(column.name, column.type, column.nulls) for column in found.columns] == [
        ("编号", "VARCHAR", 0),
        ("入院", "DATE", 1),
        ("时刻", "TIMESTAMP", 0),
        ("年龄", "BIGINT", 1),
        ("费用", "DOUBLE", 0),
        ("标志", "BOOLEAN", 1),
        ("邮编", "VARCHAR", 1),
        ("文本 日期", "DATE", 1),
        ("混合", "VARCHAR", 0),
        ("空", "VARCHAR", 3),
        ("份额", "DOUBLE", 0),
        ("时长", "VARCHAR", 1),
    ]
    by_name = {column.name: column for column in found.columns}
    assert (by_name["年龄"].lo, by_name["年龄"].hi, by_name["费用"].scale) == ("7", "8", 1)
    assert by_name["邮编"].values == ("010020", "100000")
    assert by_name["混合"].values == ('"x",', "1", "a\nb")
    assert by_name["时长"].values == ("08:30:00", "30:00:00")


def test_both_registered_files(engine: Duck, tmp_path: Path) -> None:
    source, plain, guarded = book(tmp_path / "upload", LINES), tmp_path / "plain", tmp_path / "guarded"
    told = engine.register(source, engine.inspect(source, "病历.xlsx"), SHAPE, b"salt", plain, guarded)
    assert (told.rows_plain, told.rows_guarded, told.entities) == (3, 3, 2)
    assert told.sha256_source == hashlib.sha256(source.read_bytes()).hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["guarded", "plain", "upload"]
    rows = duckdb.sql(f"select 入院, 时刻, 年龄, 份额 from read_parquet('{plain}')").fetchall()
    assert rows == [
        (DAY, MOMENT, 7, LONG),
        (None, datetime.datetime(2024, 1, 5), 8, 0.125),
        (datetime.date(2024, 3, 1), MOMENT, None, 1e-9),
    ]
    stored = engine.compute("select c0, c1, c2 from t0 order by c1", guarded)
    assert stored == [["2024-03-01", 0, None], ["2024-01-05", 25, 1], [None, 30, 0]]


@pytest.mark.parametrize("names", [("编号", "标志", "入院", "费用"), ("编号", "入院", "费用", "标志")])
def test_a_file_changed_since_it_was_inspected_is_refused(
    engine: Duck, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Also when no more than its columns have changed places or its cells their type."""
    source = book(tmp_path / "upload", [("编号", "入院", "标志", "费用"), ("1", DAY, True, 2)])
    sketch = engine.inspect(source, "病历.xlsx")
    book(source, [names, ("1", DAY, True, 2.5)])
    with pytest.raises(Refused) as caught:
        engine.register(source, sketch, SHAPE, b"salt", tmp_path / "plain", tmp_path / "guarded")
    assert caught.value.code is tabular.UNREADABLE_TABLE
    assert [each.name for each in tmp_path.iterdir()] == ["upload"]


@pytest.mark.parametrize(
    ("sheets", "hidden", "names"),
    [
        (([["a"], [1]], [["b"], [2]]), (), ["a"]),
        (([], [[None, " "]], [["b"], [2]]), (), ["b"]),
        (([["a"], [1]], [["b"], [2]]), (0,), ["b"]),
        (([[], [], [None, None, "c", None, None], [None, None, 3]],), (), ["c"]),
        (([[2024, True, DAY], [1, 2, 3]],), (), ["2024", "true", "2024-01-05"]),
    ],
)
def test_first_visible_sheet_with_anything_in_it(
    engine: Duck, tmp_path: Path, sheets: Any, hidden: tuple[int, ...], names: list[str]
) -> None:
    found = engine.inspect(book(tmp_path / "x", *sheets, hidden=hidden), "x.csv")
    assert [column.name for column in found.columns] == names and found.rows == 1


def rewritten(path: Path, member: str, change: Any) -> bytes:
    """The workbook with one of its parts changed."""
    made = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for each in old.namelist():
            new.writestr(each, change(old.read(each)) if each == member else old.read(each))
    return made.getvalue()


SHEET = "xl/worksheets/sheet1.xml"


def test_formulas_are_their_saved_values_and_errors_are_empty(engine: Duck, tmp_path: Path) -> None:
    rows = [("n", "s", "e", "g"), ("=1+1", '="x"', "#DIV/0!", "=2+2")]
    content = rewritten(
        book(tmp_path / "x", rows),
        SHEET,
        lambda text: (
            text.replace(b"<f>1+1</f><v></v>", b"<f>1+1</f><v>2</v>")
            .replace(b"<f>1+1</f><v />", b"<f>1+1</f><v>2</v>")
            .replace(b'<c r="B2"><f>"x"</f><v></v>', b'<c r="B2" t="str"><f>"x"</f><v>x</v>')
            .replace(b'<c r="B2"><f>"x"</f><v />', b'<c r="B2" t="str"><f>"x"</f><v>x</v>')
        ),
    )
    (tmp_path / "x").write_bytes(content)
    found = engine.inspect(tmp_path / "x", "x.xlsx")
    assert [(column.name, column.type, column.values) for column in found.columns] == [
        ("n", "BIGINT", ("2",)),
        ("s", "VARCHAR", ("x",)),
        ("e", "VARCHAR", ()),
        ("g", "VARCHAR", ()),  # never calculated, so nothing is saved
    ]


def test_a_workbook_of_the_older_kind(engine: Duck, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(old_book([["编号", "数量"], ["007", 1.0], ["008", 12.0]]))
    found = engine.inspect(tmp_path / "x", "病历.xls", "编号")
    assert (found.format, found.rows, found.entities) == ("xls", 2, 2)
    assert [(column.name, column.type) for column in found.columns] == [
        ("编号", "VARCHAR"),
        ("数量", "BIGINT"),
    ]


def merged(path: Path) -> bytes:
    import openpyxl

    made = openpyxl.Workbook()
    page = made.worksheets[0]
    for row in (("编号", "费用", "x", "日"), ("甲", 1, 2, 3), (SECRET, 4, 5, 6)):
        page.append(row)
    page.merge_cells("B1:C1")
    made.save(path)
    return path.read_bytes()


def patched(content: bytes, member: bytes, unpacked: int) -> bytes:
    """The archive with another unpacked size of a member in its directory."""
    at = content.index(b"PK\x01\x02")
    while content[at + 46 : at + 46 + len(member)] != member:
        at = content.index(b"PK\x01\x02", at + 4)
    return content[: at + 24] + struct.pack("<I", unpacked) + content[at + 28 :]


def zipped(**members: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return made.getvalue()


def far(text: bytes) -> bytes:
    """A sheet whose two cells span all rows and columns there can be."""
    rows = b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    start, _, rest = text.partition(b"<sheetData>")
    return start + b"<sheetData>" + rows + b"</sheetData>" + rest.partition(b"</sheetData>")[2]


def bad_books(folder: Path) -> dict[str, tuple[str, bytes]]:
    """What each bad workbook is refused as, and its bytes."""
    place = folder / "made"

    def made(*sheets: Any, hidden: tuple[int, ...] = ()) -> bytes:
        return book(place, *sheets, hidden=hidden).read_bytes()

    good = made([("a", "b"), (SECRET, 2)])
    return {
        "no cell": ("empty_file", made([])),
        "all hidden": ("empty_file", made([], [("a",), (SECRET,)], hidden=(1,))),
        "header only": ("no_rows", made([("a", SECRET), (None, " ")])),
        "title above": ("header_missing", made([(SECRET,), ("a", "b"), (1, 2)])),
        "gap in the header": ("header_missing", made([("a", None, "b"), (SECRET, 1, 2)])),
        "merged header": ("header_missing", merged(place)),
        "same name twice": ("duplicate_columns", made([("Cost", "b", " cost"), (SECRET, 2, 3)])),
        "too many columns": ("too_many_columns", made([range(1001), range(1001)])),
        "a book as name": ("unreadable_table", made([("a" * 5000,), (SECRET,)])),
        "half a workbook": ("unreadable_table", good[: len(good) // 2]),
        "damaged": ("unreadable_table", good[:60] + bytes(40) + good[100:]),
        "other archive": ("unreadable_table", zipped(text=SECRET)),
        "workbook in name": ("unreadable_table", zipped(**{sheet.WORKBOOK: SECRET})),
        "not XML": ("unreadable_table", rewritten(book(place, [("a",)]), SHEET, lambda _: SECRET.encode())),
        "other compound file": ("unreadable_table", compound("WordDocument", SECRET.encode())),
        "garbage": ("unreadable_table", bytes.fromhex("d0cf11e0a1b11ae1") + os.urandom(3000)),
        "encrypted": ("workbook_locked", compound("EncryptedPackage", os.urandom(5000))),
        "encrypted, older": ("workbook_locked", old_book([["a"], [SECRET]], b"\x2f\0\x36\0" + bytes(54))),
        "says it is large": ("workbook_too_large", patched(good, SHEET.encode(), 0xFFFFFF00)),
        "says it is small": ("unreadable_table", patched(good, SHEET.encode(), 10)),
        "many members": ("workbook_too_large", zipped(**{str(each): "" for each in range(10_001)})),
        "far cells": ("workbook_too_large", rewritten(book(place, [("a",)]), SHEET, far)),
    }


def test_bad_workbook_is_refused_without_its_values(engine: Duck, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    found: dict[str, str] = {}
    books = bad_books(tmp_path)
    for what, (_, content) in books.items():
        path = tmp_path / "in" / "table.bin"
        path.write_bytes(content)
        with pytest.raises(Refused) as caught:
            engine.inspect(path, "table.xlsx")
        found[what] = caught.value.code.name
        assert SECRET not in repr((str(caught.value), caught.value.names))
        for language in ("en", "zh"):
            assert "{" not in "".join(spoken(caught.value.code, caught.value.names, language))
    assert found == {what: code for what, (code, _) in books.items()}
    assert [each.name for each in (tmp_path / "in").iterdir()] == ["table.bin"]


def test_column_without_a_name_is_named_as_a_sheet_shows_it(engine: Duck, tmp_path: Path) -> None:
    path = book(tmp_path / "x", [(None, None, "a"), (None, None, 1, 2)])
    with pytest.raises(Refused) as caught:
        engine.inspect(path, "x")
    assert caught.value.names == {"column": "D"}
    assert [workbook.letters(each) for each in (0, 25, 26, 701, 702, 16383)] == [
        "A",
        "Z",
        "AA",
        "ZZ",
        "AAA",
        "XFD",
    ]


def test_text_written_is_limited_whatever_the_size_of_the_book(tmp_path: Path) -> None:
    """One long text, named by many cells, is small in the book and large in the table."""
    path = book(tmp_path / "x", [("a",), *[("x" * 32_000,)] * 400])
    small = Duck(file_bytes_max=4 << 20)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(Refused) as caught:
        small.inspect(path, "x")
    assert caught.value.code is workbook.WORKBOOK_TOO_LARGE


def test_reading_takes_no_longer_than_allowed(tmp_path: Path) -> None:
    path = book(tmp_path / "x", [("a", "b"), *[(each, "x") for each in range(5000)]])
    with pytest.raises(Unavailable) as caught:
        Duck(ingest=Limits(seconds=0.001)).inspect(path, "x")
    assert caught.value.code is ENGINE_DEADLINE


def test_the_child_has_no_rights_left(tmp_path: Path) -> None:
    path = book(tmp_path / "x", [("a",), (1,)])
    with Worker(workbook.COMMAND) as child, path.open("rb") as source, (tmp_path / "y").open("wb") as target:
        child.begin(Limits(), [source.fileno(), target.fileno()], [], question=False)
        status = Path(f"/proc/{child.pid}/status").read_text()
        told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        limits = Path(f"/proc/{child.pid}/limits").read_text().splitlines()
        assert "0" not in told["Uid"].split()
        assert int(told["CapEff"], 16) == 0 and told["NoNewPrivs"] == "1"
        assert next(line for line in limits if line.startswith("Max core file size")).split()[-3] == "0"
        assert next(line for line in limits if line.startswith("Max address space")).split()[3] != "unlimited"
        if os.geteuid() == 0:
            assert os.readlink(f"/proc/{child.pid}/ns/net") != os.readlink("/proc/self/ns/net")


CELL = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(),
    st.dates(),
    st.datetimes(),
    st.text(max_size=5),
)


@settings(max_examples=200)
@given(st.lists(CELL, min_size=1, max_size=4))
def test_a_cell_reads_back_as_its_column_says(cells: list[Any]) -> None:
    """Whatever stands in a column, the engine can read its texts as the type told, value for value."""
    texts = [sheet.written(cell) for cell in cells]
    kind = sheet.type_of({sheet.kind_of(cell) for cell, text in zip(cells, texts, strict=True) if text})
    for cell, text in zip(cells, texts, strict=True):
        if not text:
            assert nothing(cell)
        elif kind in ("BIGINT", "DOUBLE"):
            assert float(text) == float(cell) and (kind == "DOUBLE" or text.lstrip("-").isdigit())
        elif kind == "BOOLEAN":
            assert (text == "true") is cell
        elif kind == "DATE":
            assert datetime.date.fromisoformat(text) == datetime.date(cell.year, cell.month, cell.day)
        elif kind == "TIMESTAMP":
            assert datetime.datetime.fromisoformat(text) == datetime.datetime(
                *cell.timetuple()[:6]
            ) + datetime.timedelta(microseconds=getattr(cell, "microsecond", 0))


def nothing(cell: Any) -> bool:
    """Whether a cell shows nothing: white space, or no number."""
    if isinstance(cell, str):
        return not cell.replace("\0", "").strip()
    return isinstance(cell, float) and not math.isfinite(cell)
