"""What the base install downloads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure
from bench.space import folder

_BASE = Path(__file__).parents[1] / "requirements" / "base.txt"


def figures() -> Iterator[Figure]:
    """The size of the wheels of requirements/base.txt for this interpreter, as pip downloads them."""
    with folder() as place:
        line = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        line += ["--only-binary=:all:", "--dest", str(place), "--requirement", str(_BASE)]
        subprocess.run(line, check=True, capture_output=True)
        sizes = {path.name.partition("-")[0]: path.stat().st_size / 1e6 for path in place.iterdir()}
    largest = dict(sorted(sizes.items(), key=lambda item: -item[1])[:5])
    beside = {"wheels": len(sizes), "largest_mb": largest}
    yield Figure("wheels of the base install", sum(sizes.values()), "MB", "≤ 80", beside)
