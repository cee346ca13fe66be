"""What the house tests read: the repository's own files, parsed once."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
PACKAGE = SRC / "dujiang"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def files() -> tuple[Path, ...]:
    """Every Python file of the package, in order."""
    return tuple(sorted(PACKAGE.rglob("*.py")))


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text("utf-8"), str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    """`path:line` from the repository's root, for a message a reader can click."""
    line = getattr(node, "lineno", None)
    return f"{path.relative_to(ROOT)}" + (f":{line}" if line else "")


def lines(path: Path) -> int:
    """The number of lines of a file."""
    return len(path.read_text("utf-8").splitlines())


def functions(path: Path) -> Iterator[Function]:
    """Every function and method of a file, nested ones too."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, Function):
            yield node


def module(path: Path) -> ModuleType:
    """The imported module of a file of the package."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))


@cache
def packages() -> tuple[str, ...]:
    """The names of the packages directly below `dujiang` that hold Python files."""
    return tuple(sorted({path.relative_to(PACKAGE).parts[0] for path in files() if path.parent != PACKAGE}))


@cache
def papers() -> tuple[Path, ...]:
    """Every published page: Markdown at the root and under docs/."""
    return tuple(sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]))


def fail_with(found: list[str], law: str) -> None:
    """Nothing; fails naming the law and every place that breaks it."""
    assert not found, f"{law}\n" + "\n".join(f"  {line}" for line in found)
