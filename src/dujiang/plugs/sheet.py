"""The child process that reads a workbook: one sheet becomes CSV text, then the process is killed.

1. A workbook is untrusted: it is unpacked and parsed here, with no rights left, never in the node.
2. The table is the first visible sheet with anything in it; its first row with anything in it is the header.
3. A cell of white space is empty; a row of empty cells is left out; errors such as #N/A are empty.
4. What cells say of their type is kept: whole numbers are written as such, days as days. A column of text,
   or of several kinds, is told by how its texts read, as in a CSV file.
5. A failure leaves as a class name and the number of a column, never as a text of the parser or a cell.

It speaks the messages of `worker`: `ready`, the job with its files (the workbook, the place to write),
`ready`, one step, its answer.
"""

from __future__ import annotations

import codecs
import csv
import datetime
import errno
import io
import json
import math
import mmap
import os
import re
import resource
import socket
import threading
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from dujiang.plugs import worker

STEP_BYTES_MAX = 1 << 16
MEMBERS_MAX = 10_000
WORKBOOK = "xl/workbook.xml"
PACKAGE = "EncryptedPackage".encode("utf-16-le")
"""The name of the stream that an encrypted workbook of today lies in, [MS-OFFCRYPTO] 1.3.3."""
FILE_PASS = re.compile(
    rb"\x09\x08(?:\x10\0\0\x06\x05\0.{12}|\x08\0\0\x05\x05\0.{4})(?:\x86\0\0\0)?\x2f\0", re.DOTALL
)
"""The start of an old workbook's globals (BIFF8 or 5), then perhaps WriteProtect, FilePass: [MS-XLS] 2.4.117."""
WHOLE_MAX = 2**53
"""Below it a double holds every whole number, so that it can be written as one."""
WIDER = (({"BIGINT", "DOUBLE"}, "DOUBLE"), ({"DATE", "TIMESTAMP"}, "TIMESTAMP"))
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class TooLarge(Exception):
    """More bytes, members or rows than allowed."""


class TooWide(Exception):
    """More columns than allowed."""


class NoWorkbook(Exception):
    """An archive of something else."""


class Locked(Exception):
    """The workbook is encrypted."""


class NoSheet(Exception):
    """No visible sheet has anything in it."""


class NoName(Exception):
    """A column (its number, from 0) has values and no name in the header."""


class Disk(Exception):
    """The place to write is full or broken."""


def main() -> None:
    """Serve one parent: read one workbook, answer, and wait to be killed."""
    import python_calamine  # noqa: F401  # with the codec of archives: soon no module can be opened any more

    codecs.lookup("cp437")
    channel = socket.socket(fileno=0)
    threading.Thread(target=worker.end_with_parent, args=(channel.fileno(),), daemon=True).start()
    worker.give_up_rights()
    worker.send(channel, {"ready": True})
    job, (source, target) = worker.receive_job(channel)
    worker.limit_memory(int(job["memory"]) + int(job["beside"]))
    worker.send(channel, {"ready": True})
    step = json.loads(worker.receive(channel, STEP_BYTES_MAX))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (step["written"], step["written"]))
        with os.fdopen(source, "rb") as workbook, os.fdopen(target, "wb") as text:
            answer = converted(workbook, text, step)
    except BaseException as error:  # a panic of the parser is no Exception
        answer = told(error)
    worker.send(channel, answer)


def told(error: BaseException) -> dict[str, Any]:
    """How a conversion failed, without a word of the workbook."""
    if isinstance(error, OSError):
        kind = TooLarge if error.errno == errno.EFBIG else Disk if error.errno in DISK else OSError
        return {"failed": kind.__name__}
    if isinstance(error, MemoryError):
        return {"failed": TooLarge.__name__}
    column = error.args[0] if isinstance(error, NoName) else None
    return {"failed": type(error).__name__, "column": column}


def converted(workbook: BinaryIO, text: BinaryIO, step: dict[str, Any]) -> dict[str, Any]:
    """Names and types (empty: told by the texts) of the columns, after the sheet was written as CSV.

    `step`: `zipped`, the most `unpacked` bytes, `columns`, `rows`, and `characters` of a name told.
    """
    if step["zipped"]:
        check_archive(workbook, step["unpacked"])
    else:
        check_open(workbook)
    workbook.seek(0)
    for first, rows in sheets(workbook):
        names: list[str] = []
        for row in rows:
            names = [" ".join(written(cell).split()) for cell in row]
            if any(names):
                break
        else:
            continue
        while not names[-1]:
            names.pop()
        if len(names) > step["columns"]:
            raise TooWide
        if "" in names:
            raise NoName(first + names.index(""))
        kinds: list[set[str]] = [set() for _ in names]
        with io.TextIOWrapper(text, "utf-8", newline="") as lines:
            write(csv.writer(lines, lineterminator="\n"), names, rows, kinds, first, step["rows"])
        return {
            "names": [name[: step["characters"]] for name in names],
            "types": [type_of(each) for each in kinds],
        }
    raise NoSheet


def check_archive(workbook: BinaryIO, bytes_max: int) -> None:
    """Nothing, when the archive holds a workbook whose parts are as large as they say, and small enough."""
    with zipfile.ZipFile(workbook) as archive:
        members = archive.infolist()
        if len(members) > MEMBERS_MAX or sum(member.file_size for member in members) > bytes_max:
            raise TooLarge
        if WORKBOOK not in archive.namelist():
            raise NoWorkbook
        if archive.testzip() is not None:  # unpacks every part, never beyond its declared size
            raise zipfile.BadZipFile


def check_open(workbook: BinaryIO) -> None:
    """Nothing, when a compound file holds no encrypted workbook.

    Of a new one the parser says no more than that it is no workbook; an old one it would read as it is.
    """
    with mmap.mmap(workbook.fileno(), 0, access=mmap.ACCESS_READ) as view:
        if view.find(PACKAGE) >= 0 or FILE_PASS.search(view) is not None:
            raise Locked


def sheets(workbook: BinaryIO) -> Iterator[tuple[int, Iterator[list[Any]]]]:
    """The first column's number and the rows of every visible sheet of cells, in the workbook's order."""
    from python_calamine import CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

    book = CalamineWorkbook.from_filelike(workbook)
    for place, sheet in enumerate(book.sheets_metadata):
        if sheet.typ is SheetTypeEnum.WorkSheet and sheet.visible is SheetVisibleEnum.Visible:
            cells = book.get_sheet_by_index(place)
            if cells.start is not None:
                yield cells.start[1], iter(cells.iter_rows())


def write(
    lines: Any, names: list[str], rows: Iterable[list[Any]], kinds: list[set[str]], first: int, rows_max: int
) -> None:
    """Write header and rows, and add to `kinds` what each column's cells are."""
    lines.writerow(names)
    width = len(names)
    count = 0
    for row in rows:
        texts = [written(cell) for cell in row]
        if not any(texts):
            continue
        for place in range(width, len(texts)):
            if texts[place]:
                raise NoName(first + place)
        count += 1
        if count > rows_max:
            raise TooLarge
        for place, seen in enumerate(kinds):
            if texts[place]:
                seen.add(kind_of(row[place]))
        lines.writerow(texts[:width])


def written(cell: Any) -> str:
    """The text of a cell as CSV has it, empty for an empty cell."""
    if isinstance(cell, str):
        text = cell.replace("\0", "")
        return text if text.strip() else ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, (int, float)):
        if not math.isfinite(cell):
            return ""
        return str(int(cell)) if kind_of(cell) == "BIGINT" else repr(cell)
    if isinstance(cell, datetime.datetime):
        return cell.isoformat(" ") if kind_of(cell) == "TIMESTAMP" else cell.date().isoformat()
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    if isinstance(cell, datetime.timedelta):  # as a sheet shows a length of time: hours beyond 24
        seconds = round(cell.total_seconds())
        hours, rest = divmod(abs(seconds), 3600)
        return f"{'-' if seconds < 0 else ''}{hours}:{rest // 60:02}:{rest % 60:02}"
    return ""


def kind_of(cell: Any) -> str:
    """The engine's type for one cell that is not empty; empty for text and what becomes text."""
    if isinstance(cell, bool):
        return "BOOLEAN"
    if isinstance(cell, (int, float)):
        return "BIGINT" if cell == math.floor(cell) and abs(cell) < WHOLE_MAX else "DOUBLE"
    if isinstance(cell, datetime.datetime):
        return "DATE" if cell.time() == datetime.time.min else "TIMESTAMP"
    return "DATE" if isinstance(cell, datetime.date) else ""


def type_of(kinds: set[str]) -> str:
    """The type of a column by the kinds of its cells; empty where the texts decide."""
    for both, wider in WIDER:
        if kinds == both:
            return wider
    return next(iter(kinds)) if len(kinds) == 1 else ""
