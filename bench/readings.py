"""Outside records as `ledger.attest` takes them: readings of meters, each exactly so many bytes of canonical JSON."""

from __future__ import annotations

from typing import Any

from dujiang.kernel.canonical import canonical

BYTES = 256
CALL = 1_024
"""Records in one call, the most there may be."""


def reading(number: int, size: int = BYTES) -> dict[str, Any]:
    """The reading of that number, its canonical JSON `size` bytes long."""
    record: dict[str, Any] = {
        "meter": f"M{number % 5000:06d}", "at": f"2026-11-{1 + number // 5000 % 28:02d}T08:15:00Z",
        "wh": 1_000_000 + number, "quality": "good" if number % 50 else "estimated", "seal": "",
    }  # fmt: skip
    left = size - len(canonical(record))
    # Digits that differ from reading to reading: what is stored must not be smaller than its bytes say.
    record["seal"] = (f"{number * 2_654_435_761 % 2**64:020d}" * (left // 20 + 1))[:left]
    return record


def readings(first: int, count: int = CALL) -> list[dict[str, Any]]:
    """So many readings from a number on."""
    return [reading(number) for number in range(first, first + count)]
