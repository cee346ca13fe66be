"""The log that outsiders check: attesting, single acts, proofs, the published tree, and peers beside them."""

from __future__ import annotations

from collections.abc import Iterator

from bench import attesting, deep, grown, peers, singles, tiles
from bench.figure import Figure


def figures() -> Iterator[Figure]:
    """The figures of the log, in the order in which its page tells them."""
    for part in (attesting, singles, grown, deep, tiles, peers):
        yield from part.figures()
