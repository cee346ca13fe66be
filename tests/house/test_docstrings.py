"""What is public says what it gives back, and every function says its type."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house.source import Function, fail_with, files, functions, parsed, place

DOCSTRINGS_MIN = 0.95
Documented = ast.Module | ast.ClassDef | Function


def test_public_docstrings() -> None:
    total = 0
    bare: list[str] = []
    for path in files():
        for node in public(path):
            total += 1
            if not ast.get_docstring(node):
                bare.append(f"{place(path, node)} {getattr(node, 'name', 'module')}")
    share = 1 - len(bare) / max(total, 1)
    if share < DOCSTRINGS_MIN:
        fail_with(
            bare, f"{share:.1%} of {total} public names have a docstring; {DOCSTRINGS_MIN:.0%} is the least"
        )


def test_every_function_has_a_return_type() -> None:
    found = [
        f"{place(path, node)} {node.name}"
        for path in files()
        for node in functions(path)
        if node.returns is None
    ]
    fail_with(found, "every function says what it returns")


def public(path: Path) -> Iterator[Documented]:
    """The module, its public classes and functions, and their public methods."""
    tree = parsed(path)
    if tree.body:
        yield tree
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            protocol = any(ast.unparse(base).startswith("Protocol") for base in node.bases)
            yield from (
                item for item in node.body if isinstance(item, Function) and not hidden(item, protocol)
            )


def hidden(item: Function, protocol: bool) -> bool:
    """Whether a method needs no docstring: private, a setter, an overload's face, a protocol's attribute."""
    marks = {ast.unparse(mark) for mark in item.decorator_list}
    if protocol and "property" in marks:
        return True
    return item.name.startswith("_") or any(
        mark.endswith((".setter", "overload", "override")) for mark in marks
    )
