"""What is published is short, current and speaks to its reader."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from dujiang.kernel.config import Config
from tests.house.source import PACKAGE, ROOT, SRC, fail_with, files, lines, papers, place

READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
README_LINES_MAX = 100
DECISION_LINES_MAX = 60
DECISION_PARTS = ("## Context", "## Options", "## Choice", "## What would change our mind")
# Said among those who build it, not to those who read it.
INSIDE = re.compile(r"\b(river|postman|letters?|(?<!clean )rooms?|the house)\b", re.I)
# The tracker's labels, on pages; in code `#123` may be a colour.
LABEL = re.compile(r"(?<![\w&])#\d{1,4}\b")
# Never in a published text or in the source: what lies beside one clone, paths of one machine.
NEVER = re.compile(r"\.\./" r"shared|(?<![\w/.])/(work|root|tmp/v)/|\bissues? #?\d+", re.I)
PUBLISHED = [
    *papers(),
    *files(),
    *sorted(path for kind in ("html", "jinja", "css", "json", "toml") for path in PACKAGE.rglob(f"*.{kind}")),
    *sorted((ROOT / "requirements").glob("*")),
    *(ROOT / name for name in ("Makefile", ".ci/run", ".importlinter", "pyproject.toml")),
]
COMMAND = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?dujiang ([a-z]\S*)(.*)$", re.M)
TARGET = re.compile(r"\bmake ([a-z]+)\b")


def commands() -> dict[str, set[str]]:
    """The verbs of the command line named in code blocks of the READMEs, with the flags shown for each."""
    found: dict[str, set[str]] = {}
    for paper in READMES:
        for block in re.findall(
            r"```\w*\n(.*?)```", paper.read_text("utf-8") if paper.is_file() else "", re.S
        ):
            for verb, rest in COMMAND.findall(block.replace("\\\n", " ")):
                unquoted = re.sub(r"\"[^\"]*\"|'[^']*'|#.*", "", rest)
                found.setdefault(verb, set()).update(re.findall(r"(?<=\s)--[a-z-]+", unquoted))
    return found


@pytest.mark.skipif(not (PACKAGE / "acts.py").is_file(), reason="nothing to introduce yet")
@pytest.mark.parametrize("paper", READMES, ids=lambda path: path.name)
def test_a_readme_is_there_and_short(paper: Path) -> None:
    assert paper.is_file()
    assert lines(paper) <= README_LINES_MAX
    assert len(commands()) >= 3


@pytest.mark.parametrize("verb", commands())
def test_a_command_of_the_readme_parses(verb: str) -> None:
    code = "import sys; from dujiang.doors.cli import main; sys.exit(main())"
    env = {**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", code, verb, "--help"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    missing = [flag for flag in commands()[verb] if flag not in done.stdout]
    fail_with(sorted(missing), f"the README shows flags that `dujiang {verb}` does not have")


def test_a_target_named_in_a_paper_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    found = [
        f"{place(paper)}: make {word}"
        for paper in papers()
        for code in re.findall(r"`[^`]*`", paper.read_text("utf-8"))
        for word in TARGET.findall(code)
        if word not in targets
    ]
    fail_with(found, "every `make …` in a paper is a target")


@pytest.mark.parametrize("path", PUBLISHED, ids=place)
def test_no_published_text_names_what_only_we_know(path: Path) -> None:
    text = path.read_text("utf-8")
    written = path.suffix == ".md" and "<!-- Drawn by" not in text
    banned = (NEVER, LABEL, INSIDE) if written else (NEVER,)
    found = [
        f"{place(path)}:{number}: {hit[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern in banned
        for hit in pattern.finditer(line)
    ]
    fail_with(
        found, "published text says package, layer, delivery loop, message; no labels, no paths of a machine"
    )


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "CONFIG.md").read_text("utf-8")
    fail_with(
        [f.name for f in fields(Config) if f"`{f.name}`" not in text], "docs/CONFIG.md names every setting"
    )


def test_every_setting_is_read() -> None:
    read = "".join(path.read_text("utf-8") for path in sorted(SRC.rglob("*.py")) if path.name != "config.py")
    dead = [f.name for f in fields(Config) if f".{f.name}" not in read]
    fail_with(dead, "a setting that nothing reads is a lie")


def test_drawn_pages_are_current() -> None:
    command = [sys.executable, str(ROOT / "docs" / "draw.py"), "--check"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("paper", sorted((ROOT / "docs/decisions").glob("*.md")), ids=lambda path: path.stem)
def test_a_decision_says_what_would_change_it(paper: Path) -> None:
    text = paper.read_text("utf-8")
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", paper.name)
    assert lines(paper) <= DECISION_LINES_MAX
    assert [part for part in DECISION_PARTS if part not in text] == []


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_links_between_papers_lead_somewhere() -> None:
    found = [
        f"{place(paper)}: {target}"
        for paper in papers()
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", paper.read_text("utf-8"))
        if not (paper.parent / target).exists()
    ]
    fail_with(found, "a link leads to a file of this repository")
