"""The long crash run: a thousand kills in a row, everything checked after each."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.e2e.crash import Space

KILLS = int(os.environ.get("DUJIANG_KILLS", "1000"))


def test_a_thousand_kills(tmp_path: Path) -> None:
    """What was acknowledged is there once, the tree verifies and the counters agree, every time."""
    space = Space(tmp_path)
    try:
        space.live(KILLS, random.Random())
    finally:
        space.stopping.set()
        space.node.kill()
        space.node.cut()
    assert sum(caller.repeats for caller in space.callers) > KILLS / 4, "the kills hit nobody at work"
