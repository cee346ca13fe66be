"""Exact discrete noise from integers and a source of uniform integers; no float is ever formed.

1. A draw has exactly the stated distribution when the source is uniform: every coin is a
   comparison of integers (Canonne, Kamath and Steinke 2020, "The Discrete Gaussian").
2. Scales and variances are fractions; whoever rounds them rounds up.
3. The running time depends weakly on the drawn magnitude (microseconds), never on a table.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from fractions import Fraction
from math import isqrt
from typing import Protocol

BLOCK_BYTES = 16 * 1024
"""Read from the operating system at once: 2,048 words, a few hundred draws."""

WORD_BITS = 64


class Uniform(Protocol):
    """A source of uniform integers, independent from call to call."""

    def below(self, n: int) -> int:
        """A uniform integer in [0, n), for n >= 1 of any size."""
        ...


class _WordSource:
    """Uniform integers cut from a stack of 64-bit words; a word is used once and forgotten."""

    def __init__(self) -> None:
        self._words: list[int] = []

    def _block(self) -> bytes:
        raise NotImplementedError

    def _word(self) -> int:
        try:
            return self._words.pop()
        except IndexError:
            self._words.extend(memoryview(self._block()).cast("Q"))
            return self._words.pop()

    def below(self, n: int) -> int:
        """A uniform integer in [0, n): the top bits of a word, drawn again while too large."""
        bits = (n - 1).bit_length()
        if bits > WORD_BITS:
            return self._below_wide(n, bits)
        shift = WORD_BITS - bits
        words = self._words
        while True:
            try:
                value = words.pop() >> shift
            except IndexError:
                value = self._word() >> shift
            if value < n:
                return value

    def _below_wide(self, n: int, bits: int) -> int:
        count = -(-bits // WORD_BITS)
        while True:
            value = 0
            for _ in range(count):
                value = value << WORD_BITS | self._word()
            value >>= count * WORD_BITS - bits
            if value < n:
                return value


class SystemSource(_WordSource):
    """Uniform integers from the operating system, safe to hold across a fork."""

    def __init__(self) -> None:
        super().__init__()
        # A child must not replay the words its parent holds. The hook costs nothing per draw,
        # where asking for the process id before each word doubled the cost of a draw.
        _sources.add(self)

    def _block(self) -> bytes:
        return os.urandom(BLOCK_BYTES)

    def forget(self) -> None:
        """Nothing: the words still held are dropped, the next draw reads new ones."""
        self._words.clear()


_sources: weakref.WeakSet[SystemSource] = weakref.WeakSet()


def _forget_all() -> None:
    for source in _sources:
        source.forget()


os.register_at_fork(after_in_child=_forget_all)


class SeededSource(_WordSource):
    """Uniform integers that a seed repeats (SHA-256 of seed and counter): for tests and replays only."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed.to_bytes(32, "big", signed=True)
        self._counter = 0

    def _block(self) -> bytes:
        start = self._counter
        self._counter += 64
        return b"".join(
            hashlib.sha256(self._seed + at.to_bytes(8, "big")).digest() for at in range(start, start + 64)
        )


def laplace(source: Uniform, numerator: int, denominator: int = 1) -> int:
    """A discrete Laplace integer y of scale t/s, the numerator over the denominator: P(y) ~ exp(-|y|*s/t).

    A scale of 0 draws 0.
    """
    if numerator == 0:
        return 0
    below = source.below
    while True:
        # One draw gives the sign and the low part u; u is kept with probability exp(-u/t).
        low = below(2 * numerator)
        negative = low & 1
        low >>= 1
        factor = 1
        while below(numerator * factor) < low:
            factor += 1
        if not factor & 1:
            continue
        high = 0
        while True:
            # A coin of exp(-1); its first comparison always succeeds, so it starts at two.
            factor = 2
            while not below(factor):
                factor += 1
            if not factor & 1:
                break
            high += 1
        value = (low + numerator * high) // denominator
        if not negative:
            return value
        if value:
            return -value
        # Minus zero is drawn again, else zero would be twice as likely as it should be.


def gaussian(source: Uniform, variance: Fraction) -> int:
    """A discrete Gaussian integer y of parameter `variance`: P(y) ~ exp(-y*y/(2*variance)).

    A variance of 0 draws 0.
    """
    n, d = variance.numerator, variance.denominator
    if n == 0:
        return 0
    # Any scale t of the proposal is exact; this one wastes the fewest draws.
    t = isqrt(n // d) + 1
    step = t * d
    scale = 2 * n * step * t
    while True:
        value = laplace(source, t)
        if _keeps(source, (abs(value) * step - n) ** 2, scale):
            return value


def _keeps(source: Uniform, a: int, b: int) -> bool:
    """A coin of probability exp(-a/b), for integers a >= 0 and b > 0."""
    below = source.below
    while a > b:
        factor = 2
        while not below(factor):
            factor += 1
        if not factor & 1:
            return False
        a -= b
    factor = 1
    while below(b * factor) < a:
        factor += 1
    return factor & 1 == 1
