"""Limits per organisation at the HTTP door: who asks too much is told when to come back; nobody else notices.

1. Requests a second: a bucket that holds two seconds' worth. Strangers have one for each address, and who reads
   the log another.
2. Requests at once: what an organisation may have waiting, so that its queue is never everybody's queue.
3. Bytes sent within a day, since the node started; bytes kept are counted on the disk, where the file comes in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dujiang.kernel.config import Config
from dujiang.kernel.errors import Code, Exit, Refused

REQUESTS_TOO_FAST = Code(
    "requests_too_fast", 429, Exit.failure,
    "More than {most} requests a second came from you.", "Try again in {wait} s, and then more slowly.",
    "您每秒发出的请求超过 {most} 个。", "请在 {wait} 秒后重试，并降低频率。",
)  # fmt: skip
REQUESTS_AT_ONCE = Code(
    "requests_at_once", 429, Exit.failure,
    "{most} requests of your organisation wait for an answer already.", "Try again in {wait} s.",
    "贵机构已有 {most} 个请求在等待答复。", "请在 {wait} 秒后重试。",
)  # fmt: skip
UPLOADS_TODAY = Code(
    "uploads_today", 429, Exit.failure,
    "Your organisation has sent {most} MB within a day, which is all it may.", "Try again in {wait} s.",
    "贵机构一日内已上传 {most} MB，达到上限。", "请在 {wait} 秒后重试。",
)  # fmt: skip
CODES = (REQUESTS_TOO_FAST, REQUESTS_AT_ONCE, UPLOADS_TODAY)
_BURST_S = 2.0
_DAY_S = 86_400.0
_KEPT_MAX = 10_000


class Limits:
    """What each caller has used; on the event loop's thread alone."""

    def __init__(self, config: Config, now_s: Callable[[], float]) -> None:
        """`now_s`: seconds that never go back."""
        self._config = config
        self._now_s = now_s
        self._buckets: dict[str, tuple[float, float]] = {}
        self._at_once: dict[str, int] = {}
        self._sent: dict[str, tuple[float, int]] = {}
        self.refused = 0
        """How many requests were refused."""

    @property
    def open(self) -> int:
        """How many requests of organisations wait for an answer."""
        return sum(self._at_once.values())

    def count(self, who: str, rate: int | None = None) -> None:
        """Counts one request; `rate`: how many a second are allowed, if not as for an organisation.

        Raises: Refused requests_too_fast.
        """
        rate = self._config.org_requests_per_s_max if rate is None else rate
        if not rate:
            return
        now = self._now_s()
        left, then = self._buckets.get(who, (rate * _BURST_S, now))
        left = min(rate * _BURST_S, left + (now - then) * rate)
        if left < 1.0:
            raise self._no(REQUESTS_TOO_FAST, rate, (1.0 - left) / rate)
        if len(self._buckets) >= _KEPT_MAX and who not in self._buckets:
            self._forget(now)
        self._buckets[who] = (left - 1.0, now)

    @contextmanager
    def waiting(self, org: str) -> Iterator[None]:
        """Holds a place among the requests an organisation has waiting; nobody has one to hold.

        Raises: Refused requests_at_once.
        """
        most, held = self._config.org_requests_at_once_max, self._at_once.get(org, 0)
        if not org or not most:
            yield
            return
        if held >= most:
            raise self._no(REQUESTS_AT_ONCE, most, 1.0)
        self._at_once[org] = held + 1
        try:
            yield
        finally:
            if left := self._at_once[org] - 1:
                self._at_once[org] = left
            else:
                del self._at_once[org]

    def sent(self, org: str, size: int) -> None:
        """Counts bytes an organisation sends.

        Raises: Refused uploads_today.
        """
        most, now = self._config.org_upload_mb_per_day_max, self._now_s()
        began, total = self._sent.get(org, (now, 0))
        if now - began >= _DAY_S:
            began, total = now, 0
        if most and total + size > most << 20:
            raise self._no(UPLOADS_TODAY, most, began + _DAY_S - now)
        self._sent[org] = (began, total + size)

    def _no(self, code: Code, most: int, wait_s: float) -> Refused:
        self.refused += 1
        return Refused(code, most=most, wait=max(1, math.ceil(wait_s)))

    def _forget(self, now: float) -> None:
        """Lets go of who has asked nothing for long enough to have a full bucket; of the oldest, if nobody has."""
        full = [who for who, (_, then) in self._buckets.items() if now - then > _BURST_S]
        for who in full or list(self._buckets)[: _KEPT_MAX // 10]:
            del self._buckets[who]
