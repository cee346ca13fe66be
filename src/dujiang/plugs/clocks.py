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
        self._steady_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC, as set."""
        return self._now_ms

    def monotonic_s(self) -> float:
        """Seconds of time that passed since the clock was made; a jump is not among them."""
        return self._steady_ms / 1000

    def move(self, milliseconds: int) -> None:
        """Lets time pass; a negative number is a jump back, as time does not pass backwards."""
        self._now_ms += milliseconds
        self._steady_ms += max(0, milliseconds)

    def jump(self, milliseconds: int) -> None:
        """Puts the legal time elsewhere, back or forth, while no time passes."""
        self._now_ms += milliseconds
