"""Clocks: the machine's own, and one that tests set."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


class SetClock:
    """A clock that stands where it is put."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC, as set."""
        return self._now_ms

    def monotonic_s(self) -> float:
        """Seconds since the clock was made, by its own time."""
        return self._now_ms / 1000

    def move(self, milliseconds: int) -> None:
        """Moves the clock, backwards too."""
        self._now_ms += milliseconds
