"""What a table is proposed to be registered as, and the noise that follows; pure.

1. Proposed bounds come from the 1st and 99th percentile, rounded outwards to friendly numbers; bounds of
   dates are whole decades. No exact smallest or largest value, row count or distinct count goes into a table.
2. What the provider declares wins over what is proposed; every problem of a declaration is collected.
3. The entity column, identifiers and free text get no use.
4. Sizes are rounded up, so that a declared bound never is the exact count.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TypeVar

from dujiang.kernel.errors import Refused
from dujiang.registry.model import (
    DECLARATION_WRONG,
    ENTITY_UNKNOWN,
    Column,
    ColumnSketch,
    Declared,
    Field,
    JoinKey,
    Kind,
    MeasureNoise,
    NoiseRow,
    Note,
    Sketch,
    Table,
    Use,
)

GROUP_TEXTS_MAX = 50
GROUP_ROWS_MIN = 10
GROUP_INTEGERS_MAX = 20
KEYS_MAX = 1000
ROWS_PER_ENTITY_MAX = 10_000
STORED_MAX = 2**53
"""Largest stored integer: sums of declared bounds stay exact in JSON and in the engine."""
SMALL_TABLE_ROWS = 50
"""Below this, every distinct value says nothing about being an identifier."""
_INTEGER_MAX = 2**31 - 1
_NAME_CHARACTERS_MAX = 100
_TEXT_CHARACTERS = 200
_DECIMAL = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?([eE][+-]?\d{1,2})?", re.ASCII)
JOIN_KEYS_MAX = 5
JOIN_KINDS = (Kind.integer, Kind.text, Kind.date, Kind.timestamp)
"""Kinds whose equality means the same in two tables; a decimal's depends on how it was computed."""
_NUMBERS = (Kind.integer, Kind.decimal, Kind.boolean)
_TIMES = (Kind.date, Kind.timestamp)
_T = TypeVar("_T")


def table_name(file_name: str) -> str:
    """The name of a table in questions: the stem of its file's name."""
    last = re.split(r"[/\\]", file_name)[-1]
    return typable(last.rpartition(".")[0] or last)


def typable(name: str) -> str:
    """A name without the characters that cannot be typed or quoted, never empty."""
    shown = "".join(sign for sign in unicodedata.normalize("NFC", name) if sign.isprintable() and sign != '"')
    return shown.strip()[:_NAME_CHARACTERS_MAX] or "table"


def rounded_up(count: int) -> int:
    """A declared bound for a count: above it, in steps of its second digit and at least of ten."""
    step = max(10, 10 ** (len(str(count)) - 2))
    return (count // step + 1) * step


def friendly(low: Decimal, high: Decimal, scale: int) -> tuple[Decimal, Decimal]:
    """Bounds rounded outwards in steps of 1, 2 or 5 times a power of ten, on the grid 10**-scale.

    A step is at most a quarter of the span: it hides the percentile and widens the noise little.
    """
    grid = Decimal(1).scaleb(-scale)
    quarter = max(high - low, grid) / 4
    power = Decimal(1).scaleb(quarter.adjusted())
    step = max(next(power * digit for digit in (5, 2, 1) if power * digit <= quarter), grid)
    lo = (low / step).to_integral_value(ROUND_FLOOR) * step
    hi = (high / step).to_integral_value(ROUND_CEILING) * step
    if 0 < lo <= hi / 10:
        lo = Decimal(0)
    if lo == hi:
        lo, hi = lo - step, hi + step
    return lo, hi


def propose(sketch: Sketch, declared: Declared, name: str) -> Table:
    """The table as it would be registered: the provider's declarations over what the sketch suggests.

    Raises: Refused entity_unknown, declaration_wrong (every problem, without values).
    """
    names = [column.name for column in sketch.columns]
    if declared.entity is not None and declared.entity not in names:
        raise Refused(ENTITY_UNKNOWN)
    problems = _sizes(sketch, declared)
    problems += [f"{unknown[:60]}: no such column" for unknown in declared.fields if unknown not in names]
    columns: list[Column] = []
    for found in sketch.columns:
        said = declared.fields.get(found.name, Field())
        if found.name == declared.entity:
            problems += [f"{found.name}: the entity has no fields to declare"] if said != Field() else []
            columns.append(_entity_column(found))
            continue
        judged = _Judged(found, said, bool(declared.entity))
        columns.append(judged.column(_suggested(sketch, found)))
        problems += [f"{found.name}: {rule}" for rule in judged.problems]
    problems += _unfit_keys(sketch, declared)
    if problems:
        raise Refused(DECLARATION_WRONG, problems="; ".join(problems[:20]))
    entities, rows_per_entity = _declared_sizes(sketch, declared)
    return Table(
        name=typable(declared.name) if declared.name else name,
        columns=tuple(columns),
        entity=declared.entity,
        rows_per_entity=rows_per_entity,
        entities=entities,
        rows_max=max(rounded_up(sketch.rows), entities)
        if declared.entity is None
        else rounded_up(sketch.rows),
        joins=_joins(sketch, declared, rows_per_entity),
    )


def _unfit_keys(sketch: Sketch, declared: Declared) -> list[str]:
    """What is wrong with the columns a table is to be joined on, and with what is said of their rows."""
    kinds = {column.name: column.kind for column in sketch.columns}
    problems: list[str] = []
    if len(declared.join_keys) > JOIN_KEYS_MAX:
        problems.append(f"join_keys: at most {JOIN_KEYS_MAX}")
    for name in declared.join_keys:
        if name not in kinds:
            problems.append(f"{name[:60]}: no such column to join on")
        elif kinds[name] not in JOIN_KINDS:
            problems.append(f"{name}: joined on are integers, texts, dates and timestamps")
    for name, said in declared.fields.items():
        if said.rows_per_key is not None and not (
            name in declared.join_keys and 1 <= said.rows_per_key <= _INTEGER_MAX
        ):
            problems.append(f"{name[:60]}: rows_per_key: 1 or more, of a column in join_keys")
    return problems


def _joins(sketch: Sketch, declared: Declared, rows_per_entity: int) -> tuple[JoinKey, ...]:
    """The keys of a table with their rows as declared, else as found and rounded up; unique is one row."""
    made: list[JoinKey] = []
    for columns, most in sketch.fans:
        said = declared.fields.get(columns[0], Field()).rows_per_key if len(columns) == 1 else None
        if columns == (declared.entity,):
            made.append(JoinKey(columns, rows_per_entity))
        else:
            made.append(JoinKey(columns, said or (1 if most <= 1 else rounded_up(most))))
    return tuple(made)


def _sizes(sketch: Sketch, declared: Declared) -> list[str]:
    problems: list[str] = []
    most = ROWS_PER_ENTITY_MAX if declared.entity is not None else 1
    if declared.rows_per_entity is not None and not 1 <= declared.rows_per_entity <= most:
        problems.append(f"rows_per_entity: 1..{most}")
    counted = sketch.rows if declared.entity is None else sketch.entities or 0
    if declared.entities_max is not None and not counted <= declared.entities_max <= _INTEGER_MAX:
        problems.append("entities_max: below the table's entities or too large")
    return problems


def _declared_sizes(sketch: Sketch, declared: Declared) -> tuple[int, int]:
    """N and R: as declared, else rounded from the sketch."""
    if declared.entity is None:
        return declared.entities_max or rounded_up(sketch.rows), 1
    rows = sketch.rows_per_entity_p99 or 1
    proposed = rows if rows <= 10 else min(rounded_up(rows), ROWS_PER_ENTITY_MAX)
    entities = declared.entities_max or rounded_up(sketch.entities or 0)
    return entities, declared.rows_per_entity or proposed


def _entity_column(found: ColumnSketch) -> Column:
    # Its bounds are never used: it is hidden but in COUNT(DISTINCT entity).
    return Column(
        found.name,
        found.kind,
        constant=True,
        nullable=False,
        distinct_max=_distinct(found),
        length_max=_length(found),
    )


def _suggested(sketch: Sketch, found: ColumnSketch) -> tuple[Use, ...]:
    present = sketch.rows - found.nulls
    if found.kind is Kind.boolean:
        return (Use.group, Use.filter, Use.aggregate)
    if found.kind in _TIMES:
        return (Use.group, Use.filter)
    if _identifies(sketch, found, present):
        return ()
    if found.kind is Kind.text:
        common = 0 < found.distinct <= GROUP_TEXTS_MAX and present >= found.distinct * GROUP_ROWS_MIN
        return (Use.group, Use.filter) if common else ()
    if found.p01 is None or found.p99 is None:
        return ()
    if found.kind is Kind.integer and found.distinct <= GROUP_INTEGERS_MAX:
        return (Use.group, Use.filter, Use.aggregate)
    return (Use.filter, Use.aggregate)


def _identifies(sketch: Sketch, found: ColumnSketch, present: int) -> bool:
    """Whether nearly every row, or every entity of its own, has another value."""
    if found.kind not in (Kind.text, Kind.integer) or present < SMALL_TABLE_ROWS:
        return False
    things = present
    if found.constant and sketch.entities and sketch.entities >= SMALL_TABLE_ROWS:
        things = min(present, sketch.entities)
    return found.distinct * 100 >= things * 95


def _distinct(found: ColumnSketch) -> int:
    # Above 10,000 an engine counts approximately; the margin keeps the declared bound a bound.
    return rounded_up(found.distinct if found.distinct <= 10_000 else found.distinct * 6 // 5)


def _length(found: ColumnSketch) -> int:
    return min(rounded_up(found.length_max or 1), _TEXT_CHARACTERS)


@dataclass(slots=True)
class _Judged:
    """One column under judgement: what was found, what is declared, and what is wrong with it."""

    found: ColumnSketch
    said: Field
    has_entity: bool
    problems: list[str] = field(default_factory=list[str])

    def column(self, suggested: tuple[Use, ...]) -> Column:
        found, said = self.found, self.said
        uses = suggested if said.uses is None else tuple(use for use in Use if use in said.uses)
        scale = self._scale()
        lo, hi, scale = self._bounds(scale)
        keys = self._keys(scale)
        if said.keys is not None and Use.group not in uses:
            if said.uses is None:
                uses = tuple(use for use in Use if use in (*uses, Use.group))
            else:
                self.problems.append("keys without the use group")
        if Use.aggregate in uses and found.kind not in _NUMBERS:
            self.problems.append("only numbers can be aggregated")
        if lo is None and found.kind is not Kind.text:
            uses = () if said.uses is None else uses
            if said.uses:
                self.problems.append("lo and hi needed")
        if said.constant and not self.has_entity:
            self.problems.append("constant needs an entity")
        length = said.length_max
        if length is not None and (found.kind is not Kind.text or not 1 <= length <= 1000):
            self.problems.append("length_max: 1..1000, of a text")
        nulls = found.nulls > 0 or found.kind is Kind.decimal or (keys is not None and found.kind in _NUMBERS)
        # Without bounds an integer beyond 2**53 (a long identity number) is kept as nothing.
        nulls = nulls or (lo is None and found.kind is Kind.integer)
        return Column(
            name=found.name,
            kind=found.kind,
            uses=uses,
            lo=lo,
            hi=hi,
            scale=scale,
            keys=keys,
            constant=bool(found.constant) and self.has_entity if said.constant is None else said.constant,
            nullable=nulls,
            distinct_max=_distinct(found) if keys is None else len(keys) + 2,
            length_max=length or _length(found),
        )

    def _scale(self) -> int | None:
        """The decimal places declared or found; None: to be chosen by the bounds."""
        said = self.said.scale
        if said is None:
            return self.found.scale if self.found.kind is Kind.decimal else 0
        if not 0 <= said <= 9 or (said and self.found.kind is not Kind.decimal):
            self.problems.append("scale: 0..9, of a decimal")
            return 0
        return said

    def _bounds(self, scale: int | None) -> tuple[str | None, str | None, int]:
        kind, said = self.found.kind, self.said
        if kind is Kind.boolean:
            if (said.lo, said.hi) != (None, None):
                self.problems.append("lo and hi: none for true and false")
            return "0", "1", 0
        if kind is Kind.text:
            if (said.lo, said.hi) != (None, None):
                self.problems.append("lo and hi: none for a text")
            return None, None, 0
        if kind in _TIMES:
            lo, hi = self._end(said.lo, _moment), self._end(said.hi, _moment)
            low, high = _decades(self.found, kind)
            return (*self._ordered(_spelt(lo, kind) or low, _spelt(hi, kind) or high), 0)
        return self._number_bounds(scale)

    def _number_bounds(self, scale: int | None) -> tuple[str | None, str | None, int]:
        lo, hi = self._end(self.said.lo, _number), self._end(self.said.hi, _number)
        low, high = _percentile(self.found.p01), _percentile(self.found.p99)
        if (lo is None and low is None) or (hi is None and high is None):
            return None, None, scale or 0
        first, last = (lo if lo is not None else low), (hi if hi is not None else high)
        assert first is not None and last is not None
        if lo is not None and hi is not None and lo >= hi:
            self.problems.append("lo is not below hi")
            return None, None, 0
        if first > last:  # the other end was declared beyond the percentile
            first, last = min(first, last), max(first, last)
        fits = 9 if self.found.kind is Kind.decimal else 0
        wanted = fits if scale is None else scale
        chosen = wanted if self.said.scale is not None else _fitting(first, last, wanted)
        near, far = friendly(first, last, chosen)
        near, far = (near if lo is None else lo), (far if hi is None else hi)
        if any(end != end.quantize(Decimal(1).scaleb(-chosen)) for end in (near, far)):
            self.problems.append(f"lo and hi: at most {chosen} decimal places")
        if near >= far:
            self.problems.append("lo is not below hi")
        if max(abs(near), abs(far)).scaleb(chosen) > STORED_MAX:
            if lo is None and hi is None:
                return None, None, 0
            self.problems.append("lo and hi: too large for the scale")
        return _digits(near), _digits(far), chosen

    def _end(self, said: int | float | str | None, read: Callable[[object], _T | None]) -> _T | None:
        if said is None:
            return None
        value = read(said)
        if value is None:
            self.problems.append("lo or hi cannot be read")
        return value

    def _ordered(self, lo: str | None, hi: str | None) -> tuple[str | None, str | None]:
        if lo is not None and hi is not None and lo >= hi:
            self.problems.append("lo is not below hi")
        return (None, None) if lo is None or hi is None else (lo, hi)

    def _keys(self, scale: int) -> tuple[str, ...] | None:
        keys = self.said.keys
        if keys is None:
            return None
        if not 1 <= len(keys) <= KEYS_MAX or len(set(keys)) != len(keys):
            self.problems.append(f"keys: 1..{KEYS_MAX}, each once")
        if any(not key.strip() or len(key) > _TEXT_CHARACTERS for key in keys):
            self.problems.append(f"keys: 1..{_TEXT_CHARACTERS} characters each")
        kind = self.found.kind
        if kind is Kind.boolean and not set(keys) <= {"true", "false"}:
            self.problems.append("keys: true, false")
        if kind in (Kind.integer, Kind.decimal) and any(not _on_grid(key, scale) for key in keys):
            self.problems.append(f"keys: numbers of at most {scale} decimal places")
        if kind in _TIMES and any(_moment(key) is None for key in keys):
            self.problems.append("keys: ISO dates")
        return keys


def _fitting(lo: Decimal, hi: Decimal, scale: int) -> int:
    """The scale, less what is finer than a millionth of the span or makes stored values overflow 32 bits."""
    if scale > 6:
        scale = min(scale, max(0, -((hi - lo) / 2**20).adjusted()))
    near, far = friendly(lo, hi, scale)
    while scale > 0 and max(abs(near), abs(far)).scaleb(scale) > _INTEGER_MAX:
        scale -= 1
    return scale


def _percentile(text: str | None) -> Decimal | None:
    """A percentile as an engine estimates it: a double, with nine decimal places at most."""
    value = math.nan if text is None else float(text)
    return Decimal(repr(round(value, 9))) if abs(value) <= STORED_MAX else None


def _number(value: object) -> Decimal | None:
    text = str(value)
    if isinstance(value, bool) or not _DECIMAL.fullmatch(text):
        return None
    number = Decimal(text)
    return number if abs(number) <= 10**18 else None


def _digits(value: Decimal) -> str:
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def _on_grid(key: str, scale: int) -> bool:
    value = _number(key)
    return value is not None and value == value.quantize(Decimal(1).scaleb(-scale))


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    # Times are stored in UTC without an offset; a bound with one could be misread by hours.
    return None if found.tzinfo is not None else found


def _spelt(moment: datetime | None, kind: Kind) -> str | None:
    if moment is None:
        return None
    return moment.date().isoformat() if kind is Kind.date else moment.isoformat(timespec="seconds")


def _decades(found: ColumnSketch, kind: Kind) -> tuple[str | None, str | None]:
    years = [int(text[:4]) for text in (found.lo, found.hi) if text and re.match(r"\d{4}-", text)]
    if len(years) != 2:
        return None, None
    first, last = date(max(years[0] // 10 * 10, 1), 1, 1), date(years[1] // 10 * 10 + 9, 12, 31)
    if kind is Kind.date:
        return first.isoformat(), last.isoformat()
    return f"{first.isoformat()}T00:00:00", f"{last.isoformat()}T23:59:59"


def noise_table(sketch: Sketch, table: Table, rho_micro: int, *, laplace: bool) -> tuple[NoiseRow, ...]:
    """The expected ± (2 sd) of each measure for R as chosen, and at the maximum, p99 and p95 of the table.

    Gaussian sd = D2 / sqrt(2 rho); Laplace of the same rho has sd = sqrt(2) * D1 / sqrt(2 rho).
    For the provider alone: the rows per entity are measured.
    """
    width = 2 * (math.sqrt(2) if laplace else 1) / math.sqrt(2 * rho_micro / 10**6)
    bases = [("chosen", table.rows_per_entity)]
    if table.entity is not None:
        bases += [
            ("max", sketch.rows_per_entity_max or 1),
            ("p99", sketch.rows_per_entity_p99 or 1),
            ("p95", sketch.rows_per_entity_p95 or 1),
        ]
    return tuple(_noise_row(basis, rows, table, width, laplace=laplace) for basis, rows in bases)


def _noise_row(basis: str, rows: int, table: Table, width: float, *, laplace: bool) -> NoiseRow:
    measures: list[MeasureNoise] = []
    for column in table.columns:
        if Use.aggregate in column.uses and column.lo is not None and column.hi is not None:
            lo, hi = float(column.lo), float(column.hi)
            total, mean = rows * max(abs(lo), abs(hi)) * width, rows * (hi - lo) / 2 * width / 1000
            measures.append(MeasureNoise(column.name, _shown(total), _shown(mean)))
    touched = rows if laplace else math.sqrt(rows)
    return NoiseRow(basis, rows, _shown(rows * width), _shown(touched * width), tuple(measures))


def _shown(value: float) -> float:
    """Three significant digits: a ± is an estimate."""
    return float(f"{value:.3g}")


def notes(sketch: Sketch, table: Table) -> tuple[Note, ...]:
    """What the provider should know before publishing."""
    found: list[Note] = []
    if table.entity is None:
        found.append(
            Note(
                "No entity is named: every row is an entity of its own. If one person can have several rows, "
                "name the column that identifies the person.",
                "未指定主体字段：每一行视为一个主体。若一个人可能有多行，请指定标识该主体的字段。",
            )
        )
    elif (sketch.rows_per_entity_max or 1) > table.rows_per_entity:
        found.append(
            Note(
                f"Some entities have more than {table.rows_per_entity} rows; rows beyond these do not count.",
                f"部分主体超过 {table.rows_per_entity} 行，超出的行不计入。",
            )
        )
    hidden = [column.name for column in table.columns if not column.uses and column.name != table.entity]
    if hidden:
        listed = ", ".join(hidden[:10]) + (", …" if len(hidden) > 10 else "")
        found.append(Note(f"Columns without a use: {listed}.", f"没有用途的字段：{listed}。"))
    return tuple(found)
