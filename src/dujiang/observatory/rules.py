"""Rules of figures, pure: periods, the place of a flow in a table, growth and concentration.

1. Days are UTC days; a period is compared with the one of equal kind before it.
2. A table is a tree of sums (`disclosure.Node`); a flow adds to every node on its path.
3. A key names one cell of one grouping, and the flows below it are found again by their own columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from dujiang.identity.model import PROVINCES, SECTORS
from dujiang.kernel.errors import Refused
from dujiang.ledger.model import Sum
from dujiang.observatory.disclosure import Node
from dujiang.observatory.model import CELL_UNFIT, PERIOD_UNFIT, UNSTATED, By, Concentration
from dujiang.policy.model import PURPOSES

TOTAL = "total"
_EPOCH = date(1970, 1, 1)
_PERIOD = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_KINDS = {
    "across": ("Between provinces", "跨省"),
    "within": ("Within a province", "省内"),
    "unstated": ("Province not stated", "未填省份"),
}
_NOT_STATED = ("not stated", "未填")
_OTHER = ("other", "其他")


@dataclass(frozen=True, slots=True)
class Period:
    """Days since 1970, both counted; a period without end is everything until now."""

    first: int
    last: int

    @property
    def days(self) -> int:
        """How many days it has."""
        return self.last - self.first + 1


def period_of(text: str) -> tuple[Period, Period]:
    """A period and the one before it: of a year, month or day the year, month or day before, else as many days.

    Raises: Refused period_unfit.
    """
    begin, mark, end = text.strip().partition("..")
    first, last = _span(begin)
    if not mark:
        before = _span_before(begin, first)
        return Period(_day(first), _day(last)), Period(_day(before), _day(first) - 1)
    last = _span(end)[1]
    whole = Period(_day(first), _day(last))
    if whole.days < 1:
        raise Refused(PERIOD_UNFIT)
    return whole, Period(max(0, whole.first - whole.days), whole.first - 1)


def _span(text: str) -> tuple[date, date]:
    """The first and the last day of a year, month or day."""
    found = _PERIOD.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        year, month, day = (int(part) if part else None for part in found.groups())
        if year is None or year < _EPOCH.year:
            raise ValueError
        first = date(year, month or 1, day or 1)
        if day is not None:
            return first, first
        after = date(year + 1, 1, 1) if month in (None, 12) else date(year, month + 1, 1)
        return first, after - timedelta(days=1)
    except (ValueError, OverflowError):
        raise Refused(PERIOD_UNFIT) from None


def _span_before(text: str, first: date) -> date:
    """The first day of the year, month or day before."""
    last = first - timedelta(days=1)
    return {0: date(last.year, 1, 1), 1: date(last.year, last.month, 1)}.get(text.count("-"), last)


def _day(day: date) -> int:
    return (day - _EPOCH).days


def day_text(day: int) -> str:
    """A day since 1970 as 2026-11-24."""
    return (_EPOCH + timedelta(days=day)).isoformat()


_COLUMNS: dict[By, tuple[str, ...]] = {
    By.province: ("from_province", "to_province"), By.sector: ("from_sector",), By.purpose: ("purpose",),
    By.provider: ("from_org",), By.consumer: ("to_org",), By.month: (), By.day: (),
}  # fmt: skip


def columns_of(by: By) -> tuple[tuple[str, ...], str]:
    """The columns and the time the log is summed by for a grouping."""
    return _COLUMNS[by], by.value if by in (By.month, By.day) else ""


def path_of(by: By, part: Sum) -> tuple[str, ...]:
    """The keys of the nodes a cell belongs to, below the total."""
    match by:
        case By.province:
            return _province_path(*part.by)
        case By.month:
            return (f"{part.bucket // 100}-{part.bucket % 100:02}",)
        case By.day:
            return (day_text(part.bucket),)
        case _:
            return (part.by[0] or UNSTATED,)


def _province_path(here: str, there: str) -> tuple[str, ...]:
    pair = f"{here or UNSTATED}-{there or UNSTATED}"
    if not (here and there):
        return ("unstated", pair)
    return ("within", pair) if here == there else ("across", f"{here}-*", pair)


def table(by: By, sums: Iterable[Sum]) -> Node:
    """The tree of a grouping, with the parties of its leaves."""
    root = Node(TOTAL)
    paths: dict[tuple[tuple[str, ...], int], list[Node]] = {}
    for part in sums:
        nodes = paths.get((part.by, part.bucket))
        if nodes is None:
            nodes = paths[part.by, part.bucket] = _nodes(root, path_of(by, part))
        leaf = nodes[-1].parties
        if part.receives:
            leaf.consumers[part.org] = leaf.consumers.get(part.org, 0) + part.value
            continue
        leaf.providers[part.org] = leaf.providers.get(part.org, 0) + part.value
        leaf.value += part.value
        for node in nodes:
            node.value += part.value
            node.entries += part.entries
    return root


def _nodes(root: Node, path: tuple[str, ...]) -> list[Node]:
    """The nodes from the total down a path, made where they were not there."""
    nodes = [root]
    for key in path:
        nodes.append(nodes[-1].children.setdefault(key, Node(key)))
    return nodes


def sought(by: By, key: str) -> tuple[dict[str, str], Period | None]:
    """The columns of the flows below a cell, and the period it narrows to.

    Raises: Refused cell_unfit.
    """
    columns = {
        By.sector: "from_sector",
        By.purpose: "purpose",
        By.provider: "from_org",
        By.consumer: "to_org",
    }
    if key == TOTAL:
        return {}, None
    if by in columns:
        return {columns[by]: _stored(key)}, None
    if by is By.province:
        return _provinces(key), None
    try:
        return {}, period_of(key)[0]
    except Refused:
        raise Refused(CELL_UNFIT) from None


def _provinces(key: str) -> dict[str, str]:
    if key in _KINDS:
        return {"kind": key}
    here, _, there = key.partition("-")
    if not {here, there} <= {*PROVINCES, UNSTATED, "*"} or here == "*":
        raise Refused(CELL_UNFIT)
    if there == "*":
        return {"kind": "across", "from_province": _stored(here)}
    return {"from_province": _stored(here), "to_province": _stored(there)}


def _stored(key: str) -> str:
    return "" if key == UNSTATED else key


def label(by: By, key: str, names: Mapping[str, str]) -> tuple[str, str]:
    """What a cell is called, in English and Chinese; `names`: of organisations, by id."""
    if key == TOTAL:
        return "Total", "合计"
    if by is By.province:
        return _province_label(key)
    if by is By.sector:
        return SECTORS.get(key, _NOT_STATED)
    if by is By.purpose:
        return next(((word, chinese) for word, chinese in PURPOSES if word == key), _OTHER)
    return names.get(key, key), names.get(key, key)


def _province_label(key: str) -> tuple[str, str]:
    if key in _KINDS:
        return _KINDS[key]
    here, _, there = key.partition("-")
    english, chinese = PROVINCES.get(here, _NOT_STATED)
    if there == "*":
        return f"{english} → others", f"{chinese} → 其他省份"
    other, other_zh = PROVINCES.get(there, _NOT_STATED)
    return f"{english} → {other}", f"{chinese} → {other_zh}"


def key_before(by: By, key: str) -> str:
    """The key of the cell a cell is compared with: of times the one before, else the same in the period before."""
    if key == TOTAL or by not in (By.month, By.day):
        return key
    first = _EPOCH + timedelta(days=period_of(key)[1].first)
    return first.isoformat()[:7] if by is By.month else first.isoformat()


def growth_percent(now: Node, before: Node | None) -> float | None:
    """By how many percent a figure grew, to one decimal; None where either is withheld or nothing was before."""
    if before is None or now.hidden or before.hidden or before.value <= 0:
        return None
    return round((now.value - before.value) * 100 / before.value, 1)


def concentration(by_provider: Mapping[str, int], top: int) -> Concentration | None:
    """How a measure is spread over providers; None where there is nothing to spread.

    Gini after the formula sum((2i - n - 1) x_i) / (n * sum(x)) with x in rising order.
    """
    values = sorted((value for value in by_provider.values() if value > 0), reverse=True)
    whole, number = sum(values), len(values)
    if not whole:
        return None
    large = values[:top]
    rest = values[len(large) :]
    ratio = (sum(large) * len(rest)) / (len(large) * sum(rest)) if rest else None
    rising = sum((2 * place - number - 1) * value for place, value in enumerate(reversed(values), 1))
    return Concentration(
        number, len(large), round(100 * sum(large) / whole, 2), None if ratio is None else round(ratio, 2),
        round(sum(value * value for value in values) / (whole * whole), 6), round(rising / (number * whole), 6),
    )  # fmt: skip


def ordered(by: By, node: Node) -> list[Node]:
    """The parts of a node: times in order, others the largest first; withheld ones last, by their keys."""
    if by in (By.month, By.day):
        return sorted(node.children.values(), key=lambda each: each.key)
    return sorted(
        node.children.values(), key=lambda each: (each.hidden, 0 if each.hidden else -each.value, each.key)
    )
