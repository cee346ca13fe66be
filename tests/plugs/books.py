"""Workbooks for tests: of today by a library, of the older kind byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl

SECTOR = 512
STREAM_MIN = 4096
END, FREE, FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def book(path: Path, *sheets: Sequence[Sequence[Any]], hidden: Sequence[int] = ()) -> Path:
    """A workbook with these sheets."""
    made = openpyxl.Workbook()
    made.remove(made.worksheets[0])
    for place, rows in enumerate(sheets):
        sheet = made.create_sheet(f"表{place}")
        for row in rows:
            sheet.append(list(row))
        if place in hidden:
            sheet.sheet_state = "hidden"
    made.save(path)
    return path


def compound(name: str, stream: bytes) -> bytes:
    """A compound file (the container of .xls and of encrypted workbooks) with one stream."""
    stream = stream.ljust(STREAM_MIN, b"\0")
    stream += bytes(-len(stream) % SECTOR)
    count = len(stream) // SECTOR
    chain = [FAT, END, *range(3, count + 2), END]
    table = struct.pack(f"<{SECTOR // 4}I", *chain, *[FREE] * (SECTOR // 4 - len(chain)))
    head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6)
    head += bytes(6) + struct.pack("<IIIIIIIII", 0, 1, 1, 0, STREAM_MIN, END, 0, END, 0)
    head += struct.pack("<109I", 0, *[FREE] * 108)
    folder = _entry("Root Entry", 5, 1, END, 0) + _entry(name, 2, FREE, 2, len(stream))
    return head + table + folder.ljust(SECTOR, b"\0") + stream


def old_book(rows: Sequence[Sequence[str | float]], before: bytes = b"") -> bytes:
    """A workbook of the older kind (BIFF8) with one sheet; `before` stands before its records."""
    name = "表".encode("utf-16-le")
    start = _record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0005, 0, 0, 0, 0)) + before
    place = len(start) + 4 + 8 + len(name) + 4
    start += _record(0x0085, struct.pack("<IBBBB", place, 0, 0, 1, 1) + name) + _record(0x000A, b"")
    cells = _record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0010, 0, 0, 0, 0))
    for down, row in enumerate(rows):
        for along, cell in enumerate(row):
            at = struct.pack("<HHH", down, along, 0)
            if isinstance(cell, str):
                text = struct.pack("<HB", len(cell), 1) + cell.encode("utf-16-le")
                cells += _record(0x0204, at + text)
            else:
                cells += _record(0x0203, at + struct.pack("<d", cell))
    return compound("Workbook", start + cells + _record(0x000A, b""))


def _entry(name: str, kind: int, child: int, first: int, size: int) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    links = struct.pack("<HBBIII", len(text), kind, 1, FREE, FREE, child)
    return text.ljust(64, b"\0") + links + bytes(36) + struct.pack("<IQ", first, size)


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("<HH", kind, len(body)) + body
