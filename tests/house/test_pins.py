"""What is installed is pinned, hashed, and fits what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from functools import cache

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.source import ROOT, fail_with

PIN = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+) \\\n(?P<hashes>(?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.M,
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@cache
def pins(file: str) -> dict[str, str]:
    """The name and version of every pin with at least one hash."""
    text = (ROOT / "requirements" / file).read_text("utf-8")
    return {hit["name"]: hit["version"] for hit in PIN.finditer(text)}


def test_every_line_is_a_pin_with_hashes_and_nothing_else() -> None:
    for file, least in (("base.txt", 10), ("test.txt", 10), ("conformance.txt", 1), ("judges.txt", 3)):
        rest = PIN.sub("", (ROOT / "requirements" / file).read_text("utf-8"))
        assert [line for line in rest.splitlines() if not line.startswith("#")] == []
        assert len(pins(file)) >= least


def test_no_address_is_written() -> None:
    found = [
        f"{path.name}: {hit}"
        for path in sorted((ROOT / "requirements").glob("*"))
        if path.is_file()
        for hit in re.findall(
            r"https?://\S+|--(?:extra-)?index-url|--find-links|--trusted-host", path.read_text("utf-8")
        )
    ]
    fail_with(found, "no download address and no index host")


def test_the_pins_fit_what_is_asked_for() -> None:
    groups = PROJECT["dependency-groups"]
    asked = {
        "base.txt": PROJECT["project"]["dependencies"] + groups["build"],
        "test.txt": groups["test"],
        "judges.txt": groups["judges"],
    }
    known = {**pins("test.txt"), **pins("base.txt")}
    found: list[str] = []
    for file, wanted in asked.items():
        have = known if file == "test.txt" else pins(file)
        for text in wanted:
            need = Requirement(text)
            version = have.get(canonicalize_name(need.name))
            if version is None or not need.specifier.contains(version):
                found.append(f"{file}: {text} is pinned to {version}")
    fail_with(found, "every requirement is pinned to a version it allows")


def test_what_runs_is_small() -> None:
    """Arrow is a judge of tests; the engine reads and writes Parquet without it."""
    assert "pyarrow" not in pins("base.txt")
    assert not set(pins("base.txt")) & set(pins("test.txt"))
