"""What a file that claims to be a table is: Parquet, a workbook, or text in some encoding and dialect.

1. Content decides, never the name of the file.
2. An encoding is accepted only if the whole file decodes by it.
3. The first line of a text file holds the column names. A workbook is not opened here (`workbook`).
4. A refusal names limits, lines and column names, never a value.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dujiang.kernel.errors import Code, Exit, Refused

EMPTY_FILE = Code(
    "empty_file",
    422,
    Exit.refused,
    "The file is empty.",
    "Choose a CSV, Excel or Parquet file with a header and at least one row.",
    "文件是空的。",
    "请选择带表头且至少有一行数据的 CSV、Excel 或 Parquet 文件。",
)
FILE_TOO_LARGE = Code(
    "file_too_large",
    413,
    Exit.refused,
    "The file is larger than this node takes ({limit} bytes).",
    "Split the table, or save it as Parquet, which is smaller; the operator can raise the limit.",
    "文件超过本节点的上限（{limit} 字节）。",
    "请拆分该表，或另存为更小的 Parquet；运营方可提高上限。",
)
UNREADABLE_TABLE = Code(
    "unreadable_table",
    422,
    Exit.refused,
    "The file cannot be read as a table (line: {line}).",
    "Save it again as CSV (same number of fields in every line, quotes closed), Excel (.xlsx) or Parquet.",
    "文件无法作为表读取（行号：{line}）。",
    "请重新保存为 CSV（每行字段数一致、引号成对）、Excel（.xlsx）或 Parquet。",
)
WRONG_ENCODING = Code(
    "wrong_encoding",
    422,
    Exit.refused,
    "The text of the file is in none of the encodings UTF-8, UTF-16 with a mark, GB18030.",
    "Save the file again as UTF-8.",
    "文件文本的编码不是 UTF-8、带标记的 UTF-16 或 GB18030。",
    "请将文件另存为 UTF-8 编码。",
)
DUPLICATE_COLUMNS = Code(
    "duplicate_columns",
    422,
    Exit.refused,
    "Some columns have the same name: {names}.",
    "Give every column a name of its own (capital letters make no difference).",
    "存在同名的字段：{names}。",
    "请为每个字段取不同的名称（不区分大小写）。",
)
TOO_MANY_COLUMNS = Code(
    "too_many_columns",
    422,
    Exit.refused,
    "The table has more columns than this node takes ({limit}).",
    "Leave out columns nobody will ask about, or offer several tables.",
    "表的字段数超过本节点的上限（{limit}）。",
    "请去掉不需要的字段，或分成几张表上架。",
)
NO_ROWS = Code(
    "no_rows",
    422,
    Exit.refused,
    "The table has column names but no rows.",
    "Offer a table with at least one row; the first line of a CSV file or sheet is its header.",
    "表只有字段名，没有数据行。",
    "请提供至少有一行数据的表；CSV 或工作表的第一行是表头。",
)
TOO_MANY_ENTITIES = Code(
    "too_many_entities",
    422,
    Exit.refused,
    "The table has more entities than declared ({limit}).",
    "Declare a higher number of entities.",
    "表中的主体数多于声明的上限（{limit}）。",
    "请声明更大的主体数。",
)
ROWS_OVER_DECLARED = Code(
    "rows_over_declared",
    422,
    Exit.refused,
    "The table keeps more rows than declared ({limit}).",
    "Declare a higher number of rows.",
    "表中保留的行数多于声明的上限（{limit}）。",
    "请声明更大的行数。",
)
COLUMN_MISSING = Code(
    "column_missing",
    422,
    Exit.refused,
    "The file has no column named {column}.",
    "Name a column of the file, or offer the file that has it.",
    "文件中没有名为 {column} 的字段。",
    "请使用文件中的字段名，或提供包含该字段的文件。",
)
NULL_IN_COLUMN = Code(
    "null_in_column",
    422,
    Exit.refused,
    "Column {column} is declared to have no empty values, but has some after clean-up.",
    "Declare the column nullable, or complete it.",
    "字段 {column} 声明为非空，但清理后仍有空值。",
    "请将该字段声明为可空，或补全数据。",
)
TOO_MANY_VALUES = Code(
    "too_many_values",
    422,
    Exit.refused,
    "Column {column} has more different values than declared ({limit}).",
    "Declare a higher number of different values.",
    "字段 {column} 的不同取值多于声明的上限（{limit}）。",
    "请声明更大的取值数。",
)
ROWS_OVER_KEY = Code(
    "rows_over_key",
    422,
    Exit.refused,
    "More rows share one value of {column} than declared for joining ({limit}).",
    "Declare a higher rows_per_key of that column, or do not list it in join_keys.",
    "共享 {column} 同一取值的行数多于为连接声明的上限（{limit}）。",
    "请为该字段声明更大的 rows_per_key，或不要将其列入 join_keys。",
)
CODES = (
    EMPTY_FILE,
    FILE_TOO_LARGE,
    UNREADABLE_TABLE,
    WRONG_ENCODING,
    DUPLICATE_COLUMNS,
    TOO_MANY_COLUMNS,
    NO_ROWS,
    TOO_MANY_ENTITIES,
    ROWS_OVER_DECLARED,
    COLUMN_MISSING,
    NULL_IN_COLUMN,
    TOO_MANY_VALUES,
    ROWS_OVER_KEY,
)

COLUMNS_MAX = 1000
NAME_CHARACTERS_MAX = 200
HEAD_BYTES = 256 << 10
HEAD_RECORDS = 50
CHUNK_BYTES = 1 << 20
DELIMITERS = (",", "\t", ";", "|")
PARQUET = b"PAR1"
WORKBOOKS = ((b"PK\x03\x04", "xlsx"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "xls"))
"""The first bytes of the containers a workbook comes in; the older one is a compound file."""
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
UNKNOWN_LINE = "?"


@dataclass(frozen=True, slots=True)
class Form:
    """How a file is written: `encoding`, `delimiter` and the column `names` are a text file's.

    A workbook has `delimiter`, `names` and `types` once it has been converted to text.
    """

    format: str
    """`csv`, `parquet`, `xlsx` or `xls`."""
    encoding: str | None = None
    delimiter: str | None = None
    names: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    """The engine's type of each column of a workbook; empty where its texts decide."""

    @property
    def is_workbook(self) -> bool:
        """Whether it is read by converting a sheet of it to text."""
        return self.format in ("xlsx", "xls")

    @property
    def is_text(self) -> bool:
        """Whether the engine reads it as text, from the start or once converted."""
        return self.format == "csv" or self.is_workbook


def recognise(source: Path, bytes_max: int) -> Form:
    """How the file at `source` is written, judged by its content.

    Raises:
        Refused: empty_file, file_too_large, unreadable_table, wrong_encoding, duplicate_columns,
            too_many_columns.
    """
    size = source.stat().st_size
    if size == 0:
        raise Refused(EMPTY_FILE)
    if size > bytes_max:
        raise Refused(FILE_TOO_LARGE, limit=bytes_max)
    with source.open("rb") as file:
        head = file.read(8)
        if head.startswith(PARQUET):
            file.seek(-4, os.SEEK_END)
            if size < 12 or file.read() != PARQUET:
                raise Refused(UNREADABLE_TABLE, line=UNKNOWN_LINE)
            return Form("parquet")
        for magic, format in WORKBOOKS:  # or some other archive, which is not text either
            if head.startswith(magic):
                return Form(format)
        encoding = _encoding(file)
        file.seek(0)
        delimiter, names = _dialect(next(_decoded(file, encoding, HEAD_BYTES), ""), size > HEAD_BYTES)
    return Form("csv", encoding, delimiter, names)


def transcode(source: BinaryIO, encoding: str, target: BinaryIO) -> None:
    """Write the text of `source` to `target` as UTF-8 without a mark."""
    for text in _decoded(source, encoding, CHUNK_BYTES):
        target.write(text.encode())
    target.flush()


def check_names(names: Sequence[str]) -> None:
    """Nothing, when the column names can be used.

    Raises:
        Refused: too_many_columns, duplicate_columns, unreadable_table (a name too long to be one).
    """
    if len(names) > COLUMNS_MAX:
        raise Refused(TOO_MANY_COLUMNS, limit=COLUMNS_MAX)
    if not names or any(len(name) > NAME_CHARACTERS_MAX for name in names):
        raise Refused(UNREADABLE_TABLE, line=1)
    seen: dict[str, str] = {}
    twice: dict[str, str] = {}
    for name in names:
        folded = name.casefold()
        (twice if folded in seen else seen)[folded] = name
    if twice:
        raise Refused(DUPLICATE_COLUMNS, names=", ".join(twice.values()))


def _encoding(file: BinaryIO) -> str:
    file.seek(0)
    head = file.read(4)
    marked = [encoding for mark, encoding in MARKS if head.startswith(mark)]
    for encoding in marked or ("utf-8", "gb18030"):
        file.seek(0)
        try:
            # a NUL is no character of a table: binary, or UTF-16 without a mark
            if all("\0" not in text for text in _decoded(file, encoding, CHUNK_BYTES)):
                return encoding
        except UnicodeError:
            continue
    raise Refused(WRONG_ENCODING)


def _decoded(file: BinaryIO, encoding: str, chunk: int) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    while piece := file.read(chunk):
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def _dialect(head: str, cut: bool) -> tuple[str, tuple[str, ...]]:
    """The delimiter under which most records are as wide as the header, and the header."""
    if not head.strip():
        raise Refused(EMPTY_FILE)
    best: tuple[float, int] = (0.0, 0)
    found: tuple[str, list[str]] | None = None
    for delimiter in DELIMITERS:
        records = _records(head, delimiter, cut)
        if not records:
            continue
        width = len(records[0])
        same = sum(len(record) == width for record in records) / len(records)
        score = (same if width > 1 else 0.0, width)
        if found is None or score > best:
            best, found = score, (delimiter, records[0])
    if found is None:
        raise Refused(UNREADABLE_TABLE, line=1)
    names = [name.strip() or f"column_{place}" for place, name in enumerate(found[1], 1)]
    check_names(names)
    return found[0], tuple(names)


def _records(head: str, delimiter: str, cut: bool) -> list[list[str]]:
    records: list[list[str]] = []
    try:
        for record in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter):
            if record:
                records.append(record)
            if len(records) > HEAD_RECORDS:
                return records[:HEAD_RECORDS]
    except csv.Error:
        return records
    return records[:-1] if cut else records
