"""Draws the table of docs/BENCHMARKS.md from bench/results.json: `python -m bench.page [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.figure import read

PAGE = Path(__file__).parents[1] / "docs" / "BENCHMARKS.md"
ORDER = (
    "`--help`, whole process",
    "`verify` a receipt, whole process",
    "`up` to the first answer",
    "idle node, memory of the process tree",
    "`demo --once`, whole process",
    "`demo --once`, peak memory of the process tree",
    "wheels of the base install",
    "`contract.request` durable, 64 callers, in process",
    "`contract.request` CPU, in process",
    "`contract.request` durable, 64 connections, HTTP",
    "policy check and rewrite of a question, mean",
    "policy check and rewrite of a question, slowest of 12",
    "a question on the sample table, asked to answered",
    "questions on 10 M rows, entities 10³, CPU to a guard by hand, largest",
    "questions on 10 M rows, entities 10⁵, CPU to a guard by hand, largest",
    "questions on 10 M rows, entities 10⁶, CPU to a guard by hand, largest",
    "questions on 10 M rows, entities = row, CPU to a guard by hand, largest",
    "exact answers on 10 M rows, CPU to a guard by hand, largest",
    "joined questions on 1 M × 1 M rows, CPU to a guard by hand",
    "joined questions on 10 M × 1 M rows, CPU to a guard by hand",
    "policy, noise and worker of a question",
    "registering 10 M rows",
    "registering 10 M rows, peak memory of the process tree",
    "ten declared rules on 5 M rows",
    "ten declared rules on 5 M rows, peak memory of the process tree",
    "registering and profiling 5 M rows",
    "profiling 5 M rows",
    "search by two Chinese characters, 10⁵ products, p95",
    "search by two Chinese characters, recall",
    "receipt of an entry of 10⁵, p99",
    "size of a receipt, 10⁵ entries",
    "verification of a receipt, in process",
    "`ledger.attest` durable over HTTP, SQLite, entries",
    "`ledger.attest` durable over HTTP, SQLite, a call of 1,024, p99",
    "`ledger.attest` durable over HTTP, PostgreSQL, entries",
    "`ledger.attest` durable over HTTP, PostgreSQL, a call of 1,024, p99",
    "single acts to a signed checkpoint, 64 callers, SQLite",
    "single acts to a signed checkpoint, 64 callers, SQLite, p99",
    "single acts to a signed checkpoint, 64 callers, PostgreSQL",
    "single acts to a signed checkpoint, 64 callers, PostgreSQL, p99",
    "receipt with inclusion proof, log of 10⁷, p99",
    "search of the log, 10⁶ entries, slowest page",
    "`ledger.fsck` of 10⁶ entries",
    "bytes on disk per attested entry",
    "`verify` of 10⁶ entries from tiles, whole process",
    "tiles read over HTTP, one connection",
    "appending 10⁵ entries in memory, CPU to pymerkle",
    "an inclusion proof at 10⁵, CPU to pymerkle",
    "durable entries with receipts in process, time to pymerkle's SqliteTree without",
    "settling 10⁵ metered uses",
    "a use held and ended, CPU",
    "figures over 10⁶ entries, slowest grouping",
    "an entry's figures, written with it",
    "reconciling the log with what is kept, 10⁶ entries",
)
"""Every figure there is, as the page lists them."""
MET = {True: "yes", False: "**no**", None: ""}
_BEGIN, _END = "<!-- Drawn by bench/page.py from bench/results.json -->", "<!-- End of what is drawn -->"


def number(row: dict[str, Any]) -> str:
    """The value with its unit."""
    return f"{shown(row['value'])} {row['unit']}".strip()


def shown(value: Any) -> str:
    """A value as the page prints it: thousands apart, lists and tables in one line."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if isinstance(value, list):
            return " / ".join(shown(each) for each in value)
        if isinstance(value, dict):
            return ", ".join(f"{key} {shown(each)}" for key, each in value.items())
        return str(value)
    return f"{round(value):,}".replace(",", " ") if abs(value) >= 1000 else f"{value:g}"


def beside(row: dict[str, Any]) -> str:
    """What was measured beside a figure, in one line; what has twelve values stays in the results."""
    return "; ".join(
        f"{key.replace('_', ' ')} {shown(value)}"
        for key, value in row["beside"].items()
        if not isinstance(value, list)
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    lines = ["| figure | value | goal | met | beside |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (row["name"], number(row), row["goal"] or "", MET[row["met"]], beside(row))
        lines.append("| " + " | ".join(cells) + " |")
    known = {row["name"] for row in rows}
    lines += [f"| {name} | not measured here | | | |" for name in ORDER if name not in known]
    return "\n".join(lines)


def drawn(text: str, rows: list[dict[str, Any]]) -> str:
    """A page with its drawn part made anew."""
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    return f"{head}{_BEGIN}\n{table(rows)}\n{_END}{tail}"


def write() -> None:
    """Draws the page where it is."""
    PAGE.write_text(drawn(PAGE.read_text("utf-8"), read()), "utf-8")


def main() -> int:
    """0; with --check 1 where the page is not what would be drawn."""
    text = PAGE.read_text("utf-8")
    if "--check" not in sys.argv:
        write()
        return 0
    return int(text != drawn(text, read()))


if __name__ == "__main__":
    sys.exit(main())
