"""A figure, as bench/results.json holds it: what was measured, the goal, and what stood beside it."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
_HOLDS = {"≤": operator.le, "≥": operator.ge, "=": operator.eq}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number; `goal` reads `≤ 3`, `≥ 1200` or `= 1` in the same unit, None: no goal."""

    name: str
    value: float
    unit: str
    goal: str | None = None
    beside: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def met(self) -> bool | None:
        """Whether the goal holds; None without a goal."""
        return None if self.goal is None else holds(self.value, self.goal)

    def row(self) -> dict[str, Any]:
        """The figure as a JSON object."""
        return {
            "name": self.name, "value": rounded(self.value), "unit": self.unit, "goal": self.goal,
            "met": self.met, "beside": {key: _plain(each) for key, each in self.beside.items()},
        }  # fmt: skip


def holds(value: float, goal: str) -> bool:
    """Whether a value meets a goal, judged as it is printed."""
    sign, _, bound = goal.partition(" ")
    return bool(_HOLDS[sign](rounded(value), float(bound)))


def rounded(value: float) -> float:
    """The value to three significant digits, larger ones to the unit."""
    if value == 0 or abs(value) >= 1000:
        return round(value)
    return float(f"{value:.3g}")


def read(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The rows of the last runs; none before the first."""
    return json.loads(path.read_text("utf-8")) if path.exists() else []


def keep(figures: Iterable[Figure], order: Iterable[str], path: Path = RESULTS) -> None:
    """Writes figures into the results, in the place of those of the same name, in the given order first."""
    rows = {row["name"]: row for row in read(path)}
    rows |= {figure.name: figure.row() for figure in figures}
    place = {name: at for at, name in enumerate(order)}
    listed = sorted(rows.values(), key=lambda row: place.get(row["name"], len(place)))
    path.write_text(json.dumps(listed, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
