"""A Sankey diagram of flows as SVG text: pure, no script, no style attribute, read out by its description.

1. A band is as thick as its flow; both sides of a diagram have one scale.
2. What is withheld is drawn as one band, so that the sides still sum to the total, if that is told.
3. Colours have 4.5:1 on white at least, and no information is in colour alone: every band has its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from dujiang.observatory.acts import Figures
from dujiang.observatory.model import Cell

_COLOURS = ("#1b6ca8", "#b4451f", "#2e7d32", "#7b3fa0", "#7a5f00", "#00707a", "#a3195b", "#4f5b66")
_WIDTH, _BAR, _MARGIN, _GAP, _TOP = 760, 12, 170, 14, 12
_HEIGHT = 260
_LABEL_CHARACTERS = 22
_WORDS = {
    "en": {
        "title": "Flows of data between provinces: {measure}", "withheld": "withheld", "empty": "No flows yet.",
        "item": "{here} to {there}: {value}", "total": "Total: {value} {unit}.",
        "hidden": "{count} figures are withheld, as few organisations stand behind them.",
    },
    "zh": {
        "title": "省际数据流通：{measure}", "withheld": "未公布", "empty": "暂无流通。",
        "item": "{here} 至 {there}：{value}", "total": "合计：{value}（{unit}）。",
        "hidden": "有 {count} 个数值因涉及机构过少未公布。",
    },
}  # fmt: skip
_MEASURES_ZH = {
    "questions": "已答查询", "statistics": "统计量", "rows": "发放行数", "contracts": "合约", "amount": "结算金额",
    "products": "产品", "organisations": "机构",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Band:
    here: str
    there: str
    value: int


@dataclass(slots=True)
class _Bar:
    label: str
    value: int
    top: float = 0.0
    used: float = 0.0


def sankey(figures: Figures, language: str = "en", name: str = "flows") -> str:
    """An `<svg>` of figures by province, in a language ("en" or "zh"); `name` begins its ids on the page."""
    words = _WORDS[language]
    zh = language == "zh"
    bands = list(_bands(figures.cells, words["withheld"], zh=zh))
    measure = _MEASURES_ZH.get(figures.measure, figures.measure) if zh else figures.measure
    title = words["title"].format(measure=measure)
    total = next((cell.value for cell in figures.cells if cell.level == 0), None)
    told = [words["item"].format(here=b.here, there=b.there, value=b.value) for b in bands] or [
        words["empty"]
    ]
    if total is not None:
        told.insert(0, words["total"].format(value=total, unit=measure if zh else figures.unit))
    if figures.suppressed:
        told.append(words["hidden"].format(count=figures.suppressed))
    left, right = _bars(bands, here=True), _bars(bands, here=False)
    height = max(_placed(left), _placed(right)) if bands else 48
    drawn = [
        *_drawn_bands(bands, left, right),
        *_drawn_bars(left, here=True),
        *_drawn_bars(right, here=False),
    ]
    if not bands:
        drawn = [f'<text x="{_WIDTH // 2}" y="28" text-anchor="middle">{escape(words["empty"])}</text>']
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {_WIDTH} {height:.0f}" width="100%" '
        f'lang="{"zh-CN" if zh else "en"}" aria-labelledby="{escape(name)}-title {escape(name)}-desc" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="currentColor">'
    )
    texts = f'<title id="{escape(name)}-title">{escape(title)}</title>'
    texts += f'<desc id="{escape(name)}-desc">{escape(" ".join(told))}</desc>'
    return head + texts + "".join(drawn) + "</svg>"


def _bands(cells: Sequence[Cell], withheld: str, *, zh: bool) -> Iterable[_Band]:
    """The flows that are told, the largest first, then what is left of the total."""
    shown = 0
    for cell in sorted(cells, key=lambda each: -(each.value or 0)):
        here, mark, there = cell.key.partition("-")
        if not mark or there == "*" or not cell.value or cell.value < 0:
            continue
        shown += cell.value
        names = (cell.label_zh if zh else cell.label).split(" → ")
        yield _Band(names[0], names[-1], cell.value)
    total = next((cell.value for cell in cells if cell.level == 0), None)
    if total is not None and total > shown:
        yield _Band(withheld, withheld, total - shown)


def _bars(bands: Iterable[_Band], *, here: bool) -> dict[str, _Bar]:
    """One side's places, in the order in which bands first name them."""
    bars: dict[str, _Bar] = {}
    for band in bands:
        label = band.here if here else band.there
        bars.setdefault(label, _Bar(label, 0)).value += band.value
    return bars


def _placed(bars: dict[str, _Bar]) -> float:
    """The height of a side whose bars were put below each other."""
    scale = _scale(sum(bar.value for bar in bars.values()))
    at = float(_TOP)
    for bar in bars.values():
        bar.top = at
        at += max(1.0, bar.value * scale) + _GAP
    return at


def _scale(total: int) -> float:
    return _HEIGHT / max(1, total)


def _drawn_bands(bands: list[_Band], left: dict[str, _Bar], right: dict[str, _Bar]) -> Iterable[str]:
    scale = _scale(sum(band.value for band in bands))
    places = list(left)
    first, last = _MARGIN + _BAR, _WIDTH - _MARGIN - _BAR
    middle = (first + last) / 2
    for band in bands:
        here, there, thick = left[band.here], right[band.there], max(1.0, band.value * scale)
        a, b = here.top + here.used, there.top + there.used
        here.used += thick
        there.used += thick
        colour = _COLOURS[places.index(band.here) % len(_COLOURS)]
        path = (
            f"M{first} {a:.1f}C{middle:.0f} {a:.1f} {middle:.0f} {b:.1f} {last} {b:.1f}V{b + thick:.1f}"
            f"C{middle:.0f} {b + thick:.1f} {middle:.0f} {a + thick:.1f} {first} {a + thick:.1f}Z"
        )
        text = escape(f"{band.here} → {band.there}: {band.value}")
        yield (
            f'<path d="{path}" fill="{colour}" fill-opacity="0.45" stroke="{colour}" stroke-width="0.7">'
            f"<title>{text}</title></path>"
        )


def _drawn_bars(bars: dict[str, _Bar], *, here: bool) -> Iterable[str]:
    scale = _scale(sum(bar.value for bar in bars.values()))
    x = _MARGIN if here else _WIDTH - _MARGIN - _BAR
    label_x, anchor = (_MARGIN - 6, "end") if here else (_WIDTH - _MARGIN + 6, "start")
    for place, bar in enumerate(bars.values()):
        height = max(1.0, bar.value * scale)
        colour = _COLOURS[place % len(_COLOURS)] if here else "#4f5b66"
        text = bar.label if len(bar.label) <= _LABEL_CHARACTERS else bar.label[: _LABEL_CHARACTERS - 1] + "…"
        yield f'<rect x="{x}" y="{bar.top:.1f}" width="{_BAR}" height="{height:.1f}" fill="{colour}"/>'
        yield (
            f'<text x="{label_x}" y="{bar.top + height / 2 + 4.5:.1f}" text-anchor="{anchor}">'
            f"{escape(text)} {bar.value}</text>"
        )
