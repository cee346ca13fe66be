"""What every clock holds to."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from dujiang.kernel.plugs import Clock
from dujiang.plugs.clocks import SetClock, SystemClock


class ClockContract(ABC):
    """The obligations of the Clock plug."""

    @abstractmethod
    def clock(self) -> Clock:
        """A fresh clock."""

    def test_legal_time_is_in_milliseconds_since_1970(self) -> None:
        assert 1_700_000_000_000 < self.clock().now_ms() < 10_000_000_000_000

    def test_the_steady_time_never_goes_back(self) -> None:
        clock = self.clock()
        seen = [clock.monotonic_s() for _ in range(100)]
        assert seen == sorted(seen)


class TestSystemClock(ClockContract):
    """The machine's clock."""

    def clock(self) -> Clock:
        """A fresh clock."""
        return SystemClock()

    def test_it_is_the_machines_time(self) -> None:
        before = time.time_ns() // 1_000_000
        assert before <= SystemClock().now_ms() <= time.time_ns() // 1_000_000


class TestSetClock(ClockContract):
    """The clock that tests set."""

    def clock(self) -> Clock:
        """A fresh clock."""
        return SetClock(1_780_000_000_000)

    def test_it_stands_until_it_is_moved(self) -> None:
        clock = SetClock(1_780_000_000_000)
        assert (clock.now_ms(), clock.now_ms()) == (1_780_000_000_000,) * 2
        clock.move(1_500)
        assert (clock.now_ms(), clock.monotonic_s()) == (1_780_000_001_500, 1.5)

    def test_a_jump_moves_the_legal_time_alone(self) -> None:
        clock = SetClock(1_780_000_000_000)
        clock.jump(60_000)
        clock.jump(-120_000)
        clock.move(-10_000)
        assert (clock.now_ms(), clock.monotonic_s()) == (1_779_999_930_000, 0.0)
