"""The node's side of reading a workbook: a child turns its sheet into CSV, this says what went wrong.

The child is `sheet`, started, limited and killed as the engine's worker is. What kills it (no memory left,
a fault in the parser) is the workbook's doing and refused; a killed or silent child is a failure.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from dujiang.kernel.errors import Code, Exit, Refused, Unavailable
from dujiang.plugs import tabular
from dujiang.plugs.cage import ENGINE_FAILED, Limits, Worker

HEADER_MISSING = Code(
    "header_missing",
    422,
    Exit.refused,
    "Column {column} of the sheet has no name in the header, the first row that is not empty.",
    "Give every column one cell with its name, without merged cells, and remove any title above the header.",
    "工作表第 {column} 列在表头（第一个非空行）中没有名称。",
    "请让每一列在表头中各有一个单元格写明名称，不使用合并单元格，并删除表头上方的标题。",
)
WORKBOOK_LOCKED = Code(
    "workbook_locked",
    422,
    Exit.refused,
    "The workbook is protected by a password.",
    "Save a copy without a password and offer that.",
    "工作簿有密码保护。",
    "请另存一份不带密码的副本再上架。",
)
WORKBOOK_TOO_LARGE = Code(
    "workbook_too_large",
    413,
    Exit.refused,
    "The workbook is larger, once unpacked, than this node takes.",
    "Save the sheet as CSV and offer that file.",
    "工作簿解压后超过本节点的上限。",
    "请将工作表另存为 CSV 后再上架。",
)
CODES = (HEADER_MISSING, WORKBOOK_LOCKED, WORKBOOK_TOO_LARGE)

ROWS_MAX = 1_048_576
UNPACKED_BYTES_MAX = 2 << 30
COMMAND = (
    "-c",
    "import sys; sys.path.insert(0, sys.argv[1]); import dujiang; del sys.path[0]"
    "; from dujiang.plugs.sheet import main; main()",
    str(Path(__file__).resolve().parents[2]),
)
"""An isolated interpreter knows no path of the caller; it is told where this very package lies, and no more."""

REFUSALS = {
    "NoSheet": tabular.EMPTY_FILE,
    "Locked": WORKBOOK_LOCKED,
    "PasswordError": WORKBOOK_LOCKED,
    "TooLarge": WORKBOOK_TOO_LARGE,
}
ITS_FAULT = frozenset(
    ("NoWorkbook", "BadZipFile", "error", "LZMAError", "EOFError", "RuntimeError", "NotImplementedError")
    + ("OSError", "ValueError", "UnicodeDecodeError", "OverflowError", "CalamineError", "XmlError")
    + ("ZipError", "WorksheetNotFound", "PanicException")
)
"""What a broken or foreign file makes the readers raise; anything else is a fault of the node."""


def convert(
    source: BinaryIO, target: BinaryIO, form: tabular.Form, limits: Limits, bytes_max: int
) -> tabular.Form:
    """The form of a workbook with names and types, after its sheet was written to `target` as CSV in UTF-8.

    Raises:
        Refused: header_missing, workbook_locked, workbook_too_large, empty_file, unreadable_table,
            duplicate_columns, too_many_columns.
        Unavailable: engine_failed, engine_deadline.
    """
    step = {
        "zipped": form.format == "xlsx",
        "unpacked": UNPACKED_BYTES_MAX,
        "written": bytes_max,
        "rows": ROWS_MAX,
        "columns": tabular.COLUMNS_MAX,
        "characters": tabular.NAME_CHARACTERS_MAX + 1,
    }
    with Worker(COMMAND) as child:
        child.begin(limits, [source.fileno(), target.fileno()], [], question=False)
        try:
            answer = child.exchange(step)
        except Unavailable as failure:
            ended = child.ended_by() if failure.code is ENGINE_FAILED else None
            if ended == signal.SIGABRT:  # how the parser ends when it gets no more memory
                raise Refused(WORKBOOK_TOO_LARGE) from None
            if ended in (signal.SIGSEGV, signal.SIGBUS):
                raise Refused(tabular.UNREADABLE_TABLE, line=tabular.UNKNOWN_LINE) from None
            raise
    _check(answer)
    names = tuple(str(name) for name in cast("list[object]", answer["names"]))
    tabular.check_names(names)
    types = tuple(str(each) for each in cast("list[object]", answer["types"]))
    return replace(form, delimiter=",", names=names, types=types)


def letters(column: int) -> str:
    """The letters a sheet shows over the column of a number, from 0: A to Z, AA and on."""
    text = ""
    column += 1
    while column:
        column, place = divmod(column - 1, 26)
        text = chr(ord("A") + place) + text
    return text


def _check(answer: Mapping[str, Any]) -> None:
    """Nothing, unless the child says that it failed."""
    failed = answer.get("failed")
    if failed is None and isinstance(answer.get("names"), list) and isinstance(answer.get("types"), list):
        return
    if failed == "NoName":
        raise Refused(HEADER_MISSING, column=letters(int(answer["column"])))
    if failed == "TooWide":
        raise Refused(tabular.TOO_MANY_COLUMNS, limit=tabular.COLUMNS_MAX)
    if failed in REFUSALS:
        raise Refused(REFUSALS[failed])
    if failed in ITS_FAULT:
        raise Refused(tabular.UNREADABLE_TABLE, line=tabular.UNKNOWN_LINE)
    raise Unavailable(ENGINE_FAILED)
