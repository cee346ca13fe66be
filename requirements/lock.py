"""Writes base.txt, test.txt, conformance.txt and judges.txt beside it: every package pinned, with its wheels' hashes.

Run by `make lock`. What is needed is read from pyproject.toml; the versions are what pip resolves today
for the running interpreter; the hashes are those pip reports for each interpreter and platform below.
Elsewhere `install.py` goes by pyproject.toml alone, saying so. No address is written.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LINUX = ("manylinux_2_28_{0}", "manylinux_2_17_{0}", "manylinux2014_{0}", "manylinux_2_5_{0}")
PLATFORMS = (
    tuple(tag.format("x86_64") for tag in LINUX),
    tuple(tag.format("aarch64") for tag in LINUX),
    ("macosx_14_0_arm64", "macosx_11_0_arm64", "macosx_10_12_universal2", "macosx_10_9_universal2"),
)
ANY_PYTHON = "--ignore-requires-python"
HEAD = "# Written by `make lock` from pyproject.toml; wheels of CPython 3.11-3.14, Linux and macOS (arm64).\n"


def report(wanted: list[str], *options: str) -> list[dict]:
    """The packages pip would install for `wanted`, as its report describes them."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--only-binary=:all:", "--report", "-", *options, *wanted]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["install"]


def name(item: dict) -> str:
    """The normalised name of a reported package."""
    return item["metadata"]["name"].lower().replace("_", "-").replace(".", "-")


def hashed(pins: dict[str, str], *options: str) -> dict[str, set[str]]:
    """The SHA-256 hashes of the wheels of every pin, over all interpreters and platforms."""
    found: dict[str, set[str]] = {key: set() for key in pins}
    wanted = [f"{key}=={version}" for key, version in pins.items()]
    targets = [[]] + [
        ["--no-deps", "--target", str(HERE / "none"), "--python-version", python]
        + [word for tag in tags for word in ("--platform", tag)]
        for tags in PLATFORMS
        for python in PYTHONS
    ]
    for target in targets:
        print("hashes for", " ".join(target[3:]) or "this interpreter", flush=True)
        for item in report(wanted, *target, *options):
            found[name(item)].add(item["download_info"]["archive_info"]["hashes"]["sha256"])
    return found


def main() -> None:
    """Resolve, collect and write the files."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]
    base = project["project"]["dependencies"] + groups["build"]
    needed = {name(item) for item in report(base)}
    tests = {name(item) for item in report(base + groups["test"])}
    everything = report(base + groups["test"] + groups["conformance"])
    pins = {name(item): item["metadata"]["version"] for item in everything}
    hashes = hashed(pins)
    parts = {"base.txt": needed, "test.txt": tests - needed, "conformance.txt": pins.keys() - tests - needed}
    for file, names in parts.items():
        write(file, {key: pins[key] for key in names}, hashes)
    judges()


def judges() -> None:
    """The judges with a venv of their own, where they may have what they like and no pin of ours moves.

    One of them names a newer Python than it needs.
    """
    groups = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    pins = {name(item): item["metadata"]["version"] for item in report(groups["judges"], ANY_PYTHON)}
    write("judges.txt", pins, hashed(pins, ANY_PYTHON))


def write(file: str, pins: dict[str, str], hashes: dict[str, set[str]]) -> None:
    """Writes one file of pins."""
    lines = [
        f"{key}=={pins[key]} \\\n    " + " \\\n    ".join(f"--hash=sha256:{h}" for h in sorted(hashes[key]))
        for key in sorted(pins)
    ]
    (HERE / file).write_text(HEAD + "\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
