"""The import order holds, and what the import linter cannot see holds too."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tests.house.source import PACKAGE, ROOT, SRC, fail_with, files, packages, parsed, place

# The loader of acts names functions by text, the table of acts gathers refusals from packages above it, and
# migrations are found by their tool. Nobody else imports by text.
DYNAMIC = {"acts.py", "kernel/act.py", "plugs/migrations/env.py"}
# From low to high; deleting everything above a package must leave it importable.
ORDER = (
    "kernel",
    "ledger",
    "identity",
    "post",
    "registry",
    "quality",
    "policy",
    "catalogue",
    "contract",
    "cleanroom",
    "market",
    "observatory",
)
PLANTS = {
    "downstream act": ("ledger/rules.py", "from dujiang.cleanroom import acts", "dujiang.ledger.rules"),
    "downstream type": (
        "identity/acts.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from dujiang.contract import model",
        "dujiang.identity",
    ),
    "inside a function": (
        "registry/store.py",
        "def planted() -> None:\n    from dujiang.doors import cli",
        "dujiang.registry",
    ),
    "upstream act in rules": (
        "contract/rules.py",
        "from dujiang.identity import acts",
        "dujiang.contract.rules",
    ),
    "clock in a model": ("ledger/model.py", "import time", "dujiang.ledger.model"),
    "attic": ("contract/helpers.py", "planted = 1", "dujiang.contract.helpers"),
}


def lint(source: Path) -> subprocess.CompletedProcess[str]:
    """The import linter's run over the package under `source`."""
    tool = Path(sys.executable).parent / "lint-imports"
    command = [str(tool), "--no-cache", "--no-logo", "--config", str(ROOT / ".importlinter")]
    env = {**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"}
    return subprocess.run(command, cwd=source, env=env, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package's Python files that may be broken."""
    shutil.copytree(SRC, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "samples"))
    return tmp_path / "src"


def test_every_contract_is_kept() -> None:
    done = lint(SRC)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_import_is_refused_by_name(copy: Path, plant: str) -> None:
    path, text, named = PLANTS[plant]
    with (copy / "dujiang" / path).open("a", encoding="utf-8") as file:
        file.write(f"\n{text}\n")
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert named in done.stdout


def test_a_folder_the_linter_cannot_see_is_refused() -> None:
    """A folder without `__init__.py` would be imported by Python and skipped by the linter."""
    # Migrations are scripts that their tool finds by path; nothing imports them.
    folders = {path.parent for path in files() if "migrations" not in path.parts}
    bare = {folder for folder in folders if not (folder / "__init__.py").is_file()}
    fail_with([place(path) for path in sorted(bare)], "every folder with Python files has an __init__.py")


def test_a_store_is_private_to_its_package() -> None:
    graph = grimp.build_graph("dujiang", cache_dir=None)
    found: list[str] = []
    for store in (name for name in graph.modules if name.endswith((".store", "_store"))):
        owner = store.rpartition(".")[0]
        for other in graph.find_modules_that_directly_import(store):
            if not other.startswith(owner + "."):
                found.append(f"{other} imports {store}")
    fail_with(sorted(found), "another package's store is private")


def test_nothing_else_imports_by_text() -> None:
    found: list[str] = []
    for path in files():
        if path.relative_to(PACKAGE).as_posix() in DYNAMIC:
            continue
        for node in ast.walk(parsed(path)):
            if imports_by_text(node):
                found.append(place(path, node))
    fail_with(found, "only the loader of acts may import by text (importlib, __import__, runpy)")


def imports_by_text(node: ast.AST) -> bool:
    """Whether a node brings in a way to import a module by a text (reading package files is none)."""
    if isinstance(node, ast.Import):
        return any(item.name in ("importlib", "importlib.util", "runpy", "pkgutil") for item in node.names)
    if isinstance(node, ast.ImportFrom):
        inner = node.module == "importlib" and any(item.name == "import_module" for item in node.names)
        return inner or node.module in ("importlib.util", "runpy", "pkgutil")
    return isinstance(node, ast.Name) and node.id == "__import__"


def test_every_package_stands_without_those_above_it(copy: Path) -> None:
    """From the top down each package is deleted; what is left still imports."""
    home = copy / "dujiang"
    for name in ("doors", "home", "plugs", "acts"):
        shutil.rmtree(home / name, ignore_errors=True)
        (home / f"{name}.py").unlink(missing_ok=True)
    standing = [name for name in ORDER if (home / name).is_dir()]
    while standing:
        names = [
            ".".join(path.relative_to(copy).with_suffix("").parts).removesuffix(".__init__")
            for path in sorted(home.rglob("*.py"))
        ]
        code = "import importlib\nfor name in " + repr(names) + ": importlib.import_module(name)"
        env = {**os.environ, "PYTHONPATH": str(copy)}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"without what stands above {standing[-1]}:\n{done.stderr}"
        shutil.rmtree(home / standing.pop())


def test_the_order_of_removal_names_every_package() -> None:
    assert set(packages()) <= {*ORDER, "plugs", "doors"}
