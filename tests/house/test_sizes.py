"""Files, functions and the kernel stay small enough to be read at one sitting."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, fail_with, files, functions, lines, parsed, place

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
KERNEL_LINES_MAX = 1_500
ATTICS = {"utils", "util", "common", "helpers", "helper", "base", "manager", "service", "services", "misc"}
PYTHON = sorted(
    path
    for folder in ("src", "tests", "bench", "docs", "requirements")
    for path in (ROOT / folder).rglob("*.py")
)


def test_no_file_is_longer_than_its_limit() -> None:
    found = [f"{place(path)}: {lines(path)} lines" for path in PYTHON if lines(path) > FILE_LINES_MAX]
    fail_with(found, f"a file has at most {FILE_LINES_MAX} lines")


def test_no_function_is_longer_than_its_limit() -> None:
    found = [
        f"{place(path, node)} {node.name}: {length} lines"
        for path in PYTHON
        for node in functions(path)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    fail_with(found, f"a function has at most {FUNCTION_LINES_MAX} lines")


def test_the_kernel_stays_small() -> None:
    total = sum(lines(path) for path in (PACKAGE / "kernel").rglob("*.py"))
    assert total <= KERNEL_LINES_MAX, f"the kernel has {total} lines"


def test_no_file_is_an_attic() -> None:
    found = [place(path) for path in PYTHON if path.stem in ATTICS or path.parent.name in ATTICS]
    fail_with(found, f"no file or folder is called {', '.join(sorted(ATTICS))}")


@pytest.mark.parametrize("path", [path for path in files() if path.name == "model.py"], ids=place)
def test_every_dataclass_of_a_model_is_frozen(path: Path) -> None:
    found = [
        place(path, node)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
        for mark in node.decorator_list
        if "dataclass" in ast.unparse(mark) and "frozen=True" not in ast.unparse(mark)
    ]
    fail_with(found, "a model's dataclasses are frozen")
