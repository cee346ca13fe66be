"""Draws the pages that are tables of the code: CONFIG.md, ACTS.md, REFUSALS.md, QUALITY.md and others.

`make docs` writes them; `draw.py --check` says which is out of date and fails.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from dataclasses import fields
from pathlib import Path

import dujiang
from dujiang.contract.model import NEGOTIATION
from dujiang.kernel.config import Config
from dujiang.kernel.errors import Code
from dujiang.quality.model import FEEDS, FORMULA, Check, Metric
from dujiang.quality.odcs import CHECKS
from dujiang.quality.rules import GRADES, LOWEST, WEIGHTS

HERE = Path(__file__).parent
PACKAGE = Path(dujiang.__file__).parent
DRAWN = "<!-- Drawn by `make docs`; edit the code, not this page. -->\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    cells = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in cells)


def config() -> str:
    """The page of settings: name, default, meaning."""
    body = ast.parse(inspect.getsource(Config)).body[0]
    assert isinstance(body, ast.ClassDef)
    meaning = {
        before.target.id: " ".join(str(after.value.value).split())
        for before, after in zip(body.body, body.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
    rows = [(f"`{item.name}`", f"{item.default:,}", meaning.get(item.name, "")) for item in fields(Config)]
    return (
        f"# Settings\n\n{DRAWN}\n"
        "Every setting works as it is. Change one in `config.toml` of the home, or with the variable\n"
        "`DUJIANG_SET_<NAME>`; an unknown name is an error. Units stand in the names.\n\n"
        + table(("Setting", "Default", "What it limits"), rows)
    )


def acts() -> str:
    """The page of acts: name, what it leaves behind, who may, title in both languages."""
    rows = importlib.import_module("dujiang.acts").ACTS
    rows = rows.values() if hasattr(rows, "values") else rows
    cells = [
        (
            f"`{a.name}`",
            f"`{a.verb}`" if a.verb else "",
            a.effect.value,
            ", ".join(a.roles),
            a.title,
            a.title_zh,
        )
        for a in rows
    ]
    return (
        f"# Acts\n\n{DRAWN}\n"
        "One act is one operation `POST /v1/<package>/<verb>`, one permission\n"
        "and, if it *writes*, exactly one ledger entry.\n\n"
        + table(("Act", "Command", "Effect", "Who", "Title", "标题"), cells)
    )


def refusals() -> str:
    """The page of refusals: code, status, exit, why and fix in both languages."""
    found: dict[str, Code] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "CODES" in path.read_text("utf-8") and path.name != "__init__.py":
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            gathered = getattr(importlib.import_module(name), "CODES", ())
            found.update({code.name: code for code in gathered if isinstance(code, Code)})
    rows = [
        (f"`{c.name}`", str(c.status), str(int(c.exit)), f"{c.why} {c.fix}", f"{c.why_zh}{c.fix_zh}")
        for _, c in sorted(found.items())
    ]
    return (
        f"# Refusals\n\n{DRAWN}\n"
        "Every refusal has a stable code, says why and how to go on, and never repeats\n"
        "a value of a table.\n\n" + table(("Code", "HTTP", "Exit", "Why and fix", "原因与办法"), rows)
    )


def negotiation() -> str:
    """The page of the negotiation: its diagram and every cell, from the table that runs it."""
    rows = [
        (before, message, sender, after) for (before, message, sender), after in NEGOTIATION.table.items()
    ]
    return (
        f"# The negotiation\n\n{DRAWN}\n"
        "The Dataspace Protocol's contract negotiation (2025-1). What is not in the table is out of turn and changes\n"
        f"nothing.\n\n```mermaid\n{NEGOTIATION.diagram()}\n```\n\n"
        + table(("State", "Message", "Sender", "State after"), rows)
    )


def quality() -> str:
    """The page of the grade: which rule feeds which dimension, and how a letter follows."""
    feeds = [
        (f"`{check.value}`", dimension.value, str(WEIGHTS.get(dimension, 0)), ", ".join(_metrics(check)))
        for check, dimension in sorted(
            FEEDS.items(), key=lambda each: (-WEIGHTS.get(each[1], 0), each[1], each[0])
        )
    ]
    letters = [(letter, f"{least / 10_000:g} %") for letter, least in (*GRADES, (LOWEST, 0))]
    return (
        f"# The grade\n\n{DRAWN}\n"
        f"The formula `{FORMULA}`. A rule counts items checked and items that fail. A dimension of GB/T 36344-2018\n"
        "is the items that hold over the items checked, over all its rules; one without a rule is unknown and\n"
        "takes no part. The grade is the weighted mean of the known ones. Accessibility is measured by\n"
        "deliveries, not here. Rules follow from the table, or its provider declares them in the words of ODCS\n"
        "3.1 (`dujiang grade VERSION --rules FILE`); a declared rule takes the place of the one that says the\n"
        "same of its column, and everybody sees how many did.\n\n"
        + table(("Rule", "Feeds", "Weight", "Declared by"), feeds)
        + "\n"
        + table(("Grade", "From"), letters)
    )


def _metrics(check: Check) -> list[str]:
    """The metrics of a rules file that declare a check."""
    ranged = {Check.in_range, Check.in_set, Check.in_pattern, Check.one_type, Check.valid}
    invalid = [f"`{Metric.invalidValues.value}`"] if check in ranged else []
    return invalid + [f"`{metric.value}`" for metric, each in CHECKS.items() if each is check]


def pages() -> dict[str, str]:
    """The text of every drawn page by file name."""
    return {
        "CONFIG.md": config(), "REFUSALS.md": refusals(), "ACTS.md": acts(), "NEGOTIATION.md": negotiation(),
        "QUALITY.md": quality(),
    }  # fmt: skip


def main(check: bool) -> int:
    """0 when every page is (now) current, 1 when `check` found one that is not."""
    stale = 0
    for name, text in pages().items():
        path = HERE / name
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        if check:
            print(f"docs/{name} is out of date: run `make docs`")
            stale = 1
        else:
            path.write_text(text, "utf-8")
            print(f"docs/{name} drawn")
    return stale


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
