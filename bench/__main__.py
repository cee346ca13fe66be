"""`python -m bench [family…]`: runs all families or those named, and writes results.json."""

from __future__ import annotations

import importlib
import sys
import time

from rich.console import Console
from rich.table import Table

from bench import page
from bench.figure import Figure, keep

FAMILIES = (
    "start",
    "wheels",
    "writing",
    "checking",
    "asking",
    "questions",
    "joins",
    "finding",
    "proving",
    "logging",
    "quality",
    "observing",
    "settling",
)


def main(names: list[str]) -> int:
    """0, or 1 where there is no such family."""
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        print(f"no such family: {', '.join(unknown)}; there are {', '.join(FAMILIES)}", file=sys.stderr)
        return 1
    figures: list[Figure] = []
    for name in names or FAMILIES:
        begun = time.perf_counter()
        for figure in importlib.import_module(f"bench.{name}").figures():
            figures.append(figure)
            keep([figure], page.ORDER)
        print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    page.write()
    Console().print(_table(figures))
    return 0


def _table(figures: list[Figure]) -> Table:
    table = Table("figure", "value", "goal", "met", "beside")
    for figure in figures:
        row = figure.row()
        table.add_row(row["name"], page.number(row), row["goal"], page.MET[row["met"]], page.beside(row))
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
