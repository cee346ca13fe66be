"""Identifiers: a prefix that says the kind, and a UUIDv7 (RFC 9562) in 26 base-32 characters."""

from __future__ import annotations

import os
import re
import threading
from base64 import b32encode

_ALPHABET = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghjkmnpqrstvwxyz")
_NOISE_BITS = 74
_lock = threading.Lock()
_last = (0, 0)
_FORM = re.compile(r"[a-z]{2,4}_[0-9a-hjkmnp-tv-z]{26}")


def new_id(prefix: str, time_ms: int) -> str:
    """A fresh identifier such as `ctr_…`, unique across nodes and ordered by time.

    Within one millisecond of one process the order is that of making (RFC 9562 §6.2, method 2), so
    that messages of one moment leave in the order they were written.
    `time_ms`: milliseconds since 1970 UTC, the first 48 bits.
    """
    noise = _noise(time_ms)
    number = (time_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (noise >> 62 & 0xFFF) << 64
    number |= 0b10 << 62 | noise & (1 << 62) - 1
    # 20 bytes are 32 base-32 digits; 128 bits need the last 26, the others are 0.
    return f"{prefix}_{b32encode(number.to_bytes(20, 'big'))[6:].translate(_ALPHABET).decode()}"


def _noise(time_ms: int) -> int:
    global _last
    fresh = int.from_bytes(os.urandom(10), "big")
    with _lock:
        before_ms, before = _last
        # The top bit starts at 0: steps of up to 2**32 do not reach the end within a millisecond.
        noise = before + 1 + (fresh & 0xFFFF_FFFF) if time_ms == before_ms else fresh >> 80 - _NOISE_BITS + 1
        _last = (time_ms, noise)
    return noise


def prefix_of(text: str) -> str | None:
    """The prefix of a well-formed identifier, or None."""
    return text.partition("_")[0] if _FORM.fullmatch(text) else None
