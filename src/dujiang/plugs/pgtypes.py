"""How values go to PostgreSQL and come back: as SQLite gives them, so that a store need not know which it is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from psycopg import Connection
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader, NumericLoader


def adapt(connection: Connection[Any]) -> None:
    """Lets a connection send whole numbers as 64 bits and read sums and truth values as whole numbers."""
    adapters = connection.adapters
    adapters.register_dumper(int, Int8BinaryDumper)
    adapters.register_dumper(bool, _Truth)
    for name in ("numeric", "bool"):
        whole = name == "numeric"
        adapters.register_loader(name, _Sum if whole else _Flag)
        adapters.register_loader(name, _SumBinary if whole else _FlagBinary)


class _Truth(Dumper):
    """A truth value as 1 or 0: columns of truth values are whole numbers."""

    format = Format.BINARY
    oid = 20

    def dump(self, obj: bool) -> bytes:
        """Eight bytes."""
        return int(obj).to_bytes(8, "big")


def _plain(value: Decimal) -> int | float:
    """A sum of whole numbers has a type of its own there: it comes back whole."""
    return int(value) if value == value.to_integral_value() else float(value)


class _Sum(NumericLoader):
    def load(self, data: Buffer) -> Any:
        return _plain(super().load(data))


class _SumBinary(NumericBinaryLoader):
    def load(self, data: Buffer) -> Any:
        return _plain(super().load(data))


class _Flag(Loader):
    def load(self, data: Buffer) -> int:
        return int(bytes(data) == b"t")


class _FlagBinary(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return int(bytes(data) == b"\x01")
