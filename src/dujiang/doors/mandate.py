"""授权 of an agent: what a program that acts by itself may do for an organisation, and what it has used of it.

1. What is not in the mandate is refused: no product, no purpose and no statistic is granted by being left out.
2. What a question takes is set aside, durably, before it is asked; what it did not take is given back after a
   definite answer. An answer that was lost leaves it set aside: an agent never takes more than its mandate.
3. The count belongs to a mandate's name: starting the agent again does not fill it up.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from dujiang.kernel.errors import Code, Exit, Refused, Unavailable
from dujiang.kernel.money import decimal, minor
from dujiang.plugs.folder import sync_folder

OUTSIDE_MANDATE = Code(
    "outside_mandate", 403, Exit.refused,
    "This is outside what the agent was given: {part}.",
    "Ask the person you act for; the mandate is what `dujiang mcp` was started with.",
    "这超出了智能体的授权范围：{part}。", "请联系授权人；授权范围由启动 `dujiang mcp` 时的参数决定。",
)  # fmt: skip
MANDATE_SPENT = Code(
    "mandate_spent", 403, Exit.spent,
    "Of its {measure} the agent may still use {left}; this needs {needs}.",
    "Ask for less, or ask the person you act for to raise --statistics-max or --price-max.",
    "智能体的 {measure} 余量为 {left}，此次需要 {needs}。",
    "请减少查询内容，或请授权人提高 --statistics-max 或 --price-max。",
)  # fmt: skip
MANDATE_BROKEN = Code(
    "mandate_broken", 500, Exit.failure,
    "What the agent has used cannot be read or written, so nothing more is used.",
    "Look at the folder `mandates` of the home: is it writable, is the disk full?",
    "无法读取或写入智能体的用量，因此停止使用。", "请检查节点目录下的 `mandates`：是否可写，磁盘是否已满？",
)  # fmt: skip
MCP_MISSING = Code(
    "mcp_missing", 501, Exit.usage,
    "The Model Context Protocol needs a library that is not installed.",
    "Install it with `pip install 'dujiang[mcp]'`.",
    "模型上下文协议（MCP）所需的库尚未安装。", "请运行 `pip install 'dujiang[mcp]'` 安装。",
)  # fmt: skip
PRICE_UNREADABLE = Code(
    "price_unreadable", 400, Exit.usage,
    "The most money an agent may use is an amount and a currency, each currency once.",
    "Write it like 200.00 CNY.",
    "智能体可用金额应为数额加币种，每个币种只写一次。", "请写成 200.00 CNY 的形式。",
)  # fmt: skip
CODES = (PRICE_UNREADABLE, OUTSIDE_MANDATE, MANDATE_SPENT, MANDATE_BROKEN, MCP_MISSING)
STATISTICS = "statistics"
"""The measure that is no money."""
ANY = "any"
"""The word that stands for every product or every purpose."""


@dataclass(frozen=True, slots=True)
class Mandate:
    """What an agent may do beside finding and looking; empty: nothing."""

    products: tuple[str, ...] = ()
    """Ids of the products it may agree on and ask about; `any`: every one."""
    purposes: tuple[str, ...] = ()
    """Purposes it may state, word for word; `any`: every one."""
    statistics_max: int = 0
    """Most statistics it may take of all accounts together."""
    price_max: Mapping[str, int] = field(default_factory=dict[str, int])
    """Most money it may use, in minor units by currency; a currency left out: nothing that has a price in it."""
    acts: tuple[str, ...] = ()
    """Further acts, by name, without a limit of their own."""
    name: str = "agent"
    """Whose count it is."""

    def most(self, measure: str) -> int:
        """The most it may use of a measure: statistics, or a currency."""
        return self.statistics_max if measure == STATISTICS else self.price_max.get(measure, 0)

    def check_product(self, product: str) -> None:
        """Nothing, for a product of the mandate.

        Raises: Refused outside_mandate.
        """
        if ANY not in self.products and product not in self.products:
            raise Refused(OUTSIDE_MANDATE, part="product")

    def check_purpose(self, purpose: str) -> None:
        """Nothing, for a purpose of the mandate.

        Raises: Refused outside_mandate.
        """
        if ANY not in self.purposes and purpose not in self.purposes:
            raise Refused(OUTSIDE_MANDATE, part="purpose")


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of each measure a mandate has used; a folder of the mandate's name, of an organisation of a node."""

    folder: Path

    def used(self, measure: str) -> int:
        """How much is used or set aside.

        Raises: Unavailable mandate_broken.
        """
        return _Count(self.folder / measure).used

    def set_aside(self, needs: Mapping[str, int], mandate: Mandate) -> None:
        """Nothing; counts what is needed, all of it or nothing, on the disk when this returns.

        Raises: Refused mandate_spent; Unavailable mandate_broken.
        """
        done: dict[str, int] = {}
        try:
            for measure, count in needs.items():
                _Count(self.folder / measure).set_aside(count, mandate.most(measure))
                done[measure] = count
        except Refused:
            self.give_back(done)
            raise

    def give_back(self, counts: Mapping[str, int]) -> None:
        """Nothing; counts so much less.

        Raises: Unavailable mandate_broken.
        """
        for measure, count in counts.items():
            if count > 0:
                _Count(self.folder / measure).give_back(count)


@dataclass(frozen=True, slots=True)
class _Count:
    """One number, kept in a file that survives a crash."""

    path: Path

    @property
    def used(self) -> int:
        with self._held() as file:
            return _read(file)

    def set_aside(self, needs: int, most: int) -> None:
        with self._held() as file:
            used = _read(file)
            if needs and used + needs > most:
                measure = self.path.name
                left, need = (_spoken(measure, each) for each in (max(0, most - used), needs))
                raise Refused(MANDATE_SPENT, measure=measure, left=left, needs=need)
            _write(file, used + needs)

    def give_back(self, count: int) -> None:
        with self._held() as file:
            _write(file, max(0, _read(file) - count))

    @contextlib.contextmanager
    def _held(self) -> Iterator[int]:
        """The open file, locked against every other agent that counts on it."""
        try:
            made = not self.path.exists()
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            raise Unavailable(MANDATE_BROKEN) from None
        try:
            if made:
                sync_folder(self.path.parent)
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        except (OSError, ValueError):
            raise Unavailable(MANDATE_BROKEN) from None
        finally:
            os.close(handle)


def amounts(words: Iterable[str]) -> dict[str, int]:
    """Amounts such as `200.00 CNY` in minor units by currency.

    Raises: Refused price_unreadable.
    """
    found: dict[str, int] = {}
    for word in words:
        amount, _, currency = word.partition(" ")
        units = minor(amount, currency.strip())
        if units is None or re.fullmatch("[A-Z]{3}", currency.strip()) is None or currency.strip() in found:
            raise Refused(PRICE_UNREADABLE)
        found[currency.strip()] = units
    return found


def counts_of(folder: Path, where: str, org: str, name: str) -> Counts:
    """The counts of a mandate's name, for an organisation of a node."""
    digest = sha256(json.dumps([where, org, name]).encode()).hexdigest()[:32]
    return Counts(folder / digest)


def _spoken(measure: str, count: int) -> str:
    return str(count) if measure == STATISTICS else decimal(count, measure)


_WIDTH = 16


def _read(file: int) -> int:
    """The number in the file: 0 only where nothing was ever written."""
    text = os.pread(file, _WIDTH + 1, 0)
    if not text:
        return 0
    if len(text) != _WIDTH or not text.isdigit():
        raise ValueError
    return int(text)


def _write(file: int, used: int) -> None:
    # One write of a fixed width: whatever a crash leaves is the number before or after.
    os.pwrite(file, f"{used:0{_WIDTH}d}".encode(), 0)
    os.fdatasync(file)
