"""Words of 登记 (registration): what a registered table is, column by column.

1. A registered table never changes; a new content is a new version of the same resource.
2. Every number a question may touch has declared bounds that registration enforces.
3. What is declared here is what noise is scaled by; nothing is measured at question time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from dujiang.kernel.errors import Code, Exit

TABLES = "tables"
"""The blob key above the files of every version."""


class Kind(StrEnum):
    """The type of a column as the consumer sees it."""

    integer = "integer"
    decimal = "decimal"
    text = "text"
    boolean = "boolean"
    date = "date"
    timestamp = "timestamp"


class Use(StrEnum):
    """What a column may be used for in a question (字段用途); no use at all hides the column."""

    group = "group"
    filter = "filter"
    aggregate = "aggregate"


@dataclass(frozen=True, slots=True)
class Column:
    """One column (字段) as registered.

    Numbers (integer, decimal, boolean) are stored as integers on the grid `10**-scale`, clamped to
    [lo, hi]: the stored value is `round(value * 10**scale)`. Dates are stored as DATE and
    timestamps as TIMESTAMP (UTC), clamped to [lo, hi] (ISO text). Text is cut to `length_max`.
    A column of kind `double` in the source is registered as `decimal` with a fitting scale.
    """

    name: str
    kind: Kind
    uses: tuple[Use, ...] = ()
    lo: str | None = None
    """Lowest value, as exact decimal or ISO text; None: no bounds, then no arithmetic on it."""
    hi: str | None = None
    scale: int = 0
    """Decimal places kept, 0..9."""
    keys: tuple[str, ...] | None = None
    """The published list of group keys (as text); None: the keys are private."""
    constant: bool = False
    """True: every entity has one value, enforced at registration by its rank-1 row."""
    nullable: bool = True
    distinct_max: int = 1_000_000
    """Declared upper bound of distinct values, for size limits judged before a question runs."""
    length_max: int = 200
    """Characters kept of a text."""

    def bound(self, end: str) -> int:
        """The stored integer of the bound `lo` or `hi`, in units of 10**-scale."""
        text = self.lo if end == "lo" else self.hi
        assert text is not None
        return int(Decimal(text).scaleb(self.scale).to_integral_value())

    @property
    def is_number(self) -> bool:
        """Whether the column is stored as an integer on a grid."""
        return self.kind in (Kind.integer, Kind.decimal, Kind.boolean)


@dataclass(frozen=True, slots=True)
class JoinKey:
    """Columns a table may be joined on together (连接键), and how many of its rows share one value of them."""

    columns: tuple[str, ...]
    rows: int
    """F: a declared upper bound of stored rows with the same value, enforced at registration; 1: unique."""


@dataclass(frozen=True, slots=True)
class Table:
    """The public shape of a registered table (数据资源的结构): what a question is checked against.

    In the registered Parquet file column i of `columns` is stored as `c{i}`; beside them stand
    `eid` (INTEGER 0..entities-1) and `rn` (INTEGER 1..rows_per_entity, keyed-hash order within
    the entity). Rows beyond `rows_per_entity` are not stored. Of a column of `joins` the value itself is
    stored beside `c{i}` as `j{i}`: unclamped, a text by a 64-bit hash of it, for equality alone.
    """

    name: str
    columns: tuple[Column, ...]
    entity: str | None
    """The column whose value is the protected entity; None: every row is an entity."""
    rows_per_entity: int
    """R: at most so many rows of one entity count."""
    entities: int
    """N: a declared upper bound of entities; every eid is below it."""
    rows_max: int
    """A declared upper bound of stored rows."""
    joins: tuple[JoinKey, ...] = ()
    """What it may be joined on: every column alone, and combinations that fewer rows share."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(column.name for column in self.columns)

    @property
    def joinable(self) -> frozenset[str]:
        """The columns whose values were kept for joining."""
        return frozenset(name for key in self.joins for name in key.columns)

    def find(self, name: str) -> tuple[int, Column] | None:
        """The index and column called `name` (exact first, then ignoring case), or None."""
        for index, column in enumerate(self.columns):
            if column.name == name:
                return index, column
        folded = name.casefold()
        hits = [(i, c) for i, c in enumerate(self.columns) if c.name.casefold() == folded]
        return hits[0] if len(hits) == 1 else None


@dataclass(frozen=True, slots=True)
class Field:
    """What a provider declares of one column (字段声明); what is not said is proposed from the table."""

    uses: tuple[Use, ...] | None = None
    lo: int | float | str | None = None
    """Lowest value that counts, as a number, decimal text or ISO date."""
    hi: int | float | str | None = None
    scale: int | None = None
    """Decimal places kept."""
    keys: tuple[str, ...] | None = None
    """The published list of group keys; without it the keys are private."""
    constant: bool | None = None
    """Whether every entity has one value."""
    length_max: int | None = None
    """Characters kept of a text."""
    rows_per_key: int | None = None
    """At most so many rows share one value of this column; of a join key, None: proposed from the table."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a provider says of an uploaded table, before it is looked at."""

    upload: str
    entity: str | None = None
    name: str | None = None
    """Name of the table in questions; None: the stem of the uploaded file's name."""
    title: str | None = None
    fields: dict[str, Field] = field(default_factory=dict[str, Field])
    rows_per_entity: int | None = None
    entities_max: int | None = None
    join_keys: tuple[str, ...] = ()
    """Columns whose values are kept so that the table can be joined on them."""


class ColumnSketch(Protocol):
    """One column as an engine found it; bounds and quantiles are decimal or ISO text."""

    @property
    def name(self) -> str:
        """Its name in the source."""
        ...

    @property
    def kind(self) -> Kind:
        """The kind it is proposed as."""
        ...

    @property
    def nulls(self) -> int:
        """Rows without a value."""
        ...

    @property
    def distinct(self) -> int:
        """Distinct values; above 10,000 an estimate."""
        ...

    @property
    def lo(self) -> str | None:
        """Smallest value."""
        ...

    @property
    def hi(self) -> str | None:
        """Largest value."""
        ...

    @property
    def p01(self) -> str | None:
        """1st percentile of a number."""
        ...

    @property
    def p99(self) -> str | None:
        """99th percentile of a number."""
        ...

    @property
    def scale(self) -> int | None:
        """Decimal places the values need; None: more than nine."""
        ...

    @property
    def length_max(self) -> int | None:
        """Characters of the longest text."""
        ...

    @property
    def constant(self) -> bool | None:
        """Whether every entity has one value; None: no entity was named."""
        ...


class Sketch(Protocol):
    """One table as an engine found it; rows per entity are None without an entity."""

    @property
    def format(self) -> str:
        """csv, parquet, xlsx or xls."""
        ...

    @property
    def encoding(self) -> str | None:
        """The encoding of a text file."""
        ...

    @property
    def rows(self) -> int:
        """Rows of the file."""
        ...

    @property
    def columns(self) -> tuple[ColumnSketch, ...]:
        """Its columns, in order."""
        ...

    @property
    def entities(self) -> int | None:
        """Distinct entities."""
        ...

    @property
    def rows_per_entity_max(self) -> int | None:
        """Most rows of one entity."""
        ...

    @property
    def rows_per_entity_p95(self) -> int | None:
        """95th percentile of the rows per entity."""
        ...

    @property
    def rows_per_entity_p99(self) -> int | None:
        """99th percentile of the rows per entity."""
        ...

    @property
    def fans(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        """Join keys (one or several columns together) and the most rows that share a value of them."""
        ...


class Registered(Protocol):
    """What an engine says of the two files it wrote."""

    @property
    def entities(self) -> int:
        """Distinct entities."""
        ...

    @property
    def dropped_null_entity(self) -> int:
        """Rows left out because they name no entity."""
        ...

    @property
    def dropped_beyond(self) -> int:
        """Rows left out because their entity has more than R."""
        ...

    @property
    def sha256_source(self) -> str:
        """Of the file as uploaded, hexadecimal."""
        ...

    @property
    def sha256_plain(self) -> str:
        """Of the normalised copy."""
        ...

    @property
    def sha256_guarded(self) -> str:
        """Of the registered form."""
        ...


@dataclass(frozen=True, slots=True)
class Loss:
    """What registration left out or cut, for the provider alone: rows without an entity, rows beyond R."""

    rows_without_entity: int = 0
    rows_beyond: int = 0


@dataclass(frozen=True, slots=True)
class MeasureNoise:
    """The expected ± (2 standard deviations) of one column's sum, and of its mean over 1,000 rows."""

    column: str
    sum: float
    mean_of_1000: float


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """The expected ± if at most `rows_per_entity` rows of one entity count."""

    basis: str
    """Where this R comes from: chosen, max, p99 or p95 of the rows per entity."""
    rows_per_entity: int
    count: float
    entities: float
    """± of a count of entities in a grouped question."""
    measures: tuple[MeasureNoise, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """Something the provider should know before publishing, in both languages."""

    text: str
    text_zh: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a table would be registered as (登记建议), and the noise that follows; for its provider alone."""

    table: Table
    rows: int
    entities: int
    format: str
    encoding: str | None
    noise: tuple[NoiseRow, ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """One registered content of a resource (数据资源版本); it never changes."""

    id: str
    resource: str
    org: str
    number: int
    """1 for the first version of the resource."""
    title: str
    table: Table
    format: str
    encoding: str | None
    sha256_source: str
    """Of the file as it was uploaded."""
    sha256_plain: str
    """Of the normalised copy."""
    sha256_guarded: str
    registration: str
    """Number of the registration (登记编号)."""
    created_ms: int

    @property
    def plain_key(self) -> str:
        """The blob key of the normalised copy."""
        return keys_of(self.id)[0]

    @property
    def guarded_key(self) -> str:
        """The blob key of the registered form that questions run on."""
        return keys_of(self.id)[1]


def keys_of(version_id: str) -> tuple[str, str]:
    """The blob keys of a version's normalised copy and of its registered form."""
    return f"{TABLES}/{version_id}/plain.parquet", f"{TABLES}/{version_id}/guarded.parquet"


UPLOAD_UNKNOWN = Code(
    "upload_unknown", 404, Exit.not_found,
    "There is no such upload of yours.", "Upload the file again and use the id that comes back.",
    "没有找到您上传的该文件。", "请重新上传文件并使用返回的编号。",
)  # fmt: skip
ENTITY_UNKNOWN = Code(
    "entity_unknown", 400, Exit.usage,
    "The table has no column of the name given as entity.",
    "Name a column of the table, or none: then every row is an entity.",
    "表中没有所给的主体字段。", "请填写表中的字段名；不填则每行视为一个主体。",
)  # fmt: skip
DECLARATION_WRONG = Code(
    "declaration_wrong", 400, Exit.usage,
    "The declaration does not fit the table: {problems}.",
    "Correct these columns; `dujiang propose FILE` shows what fits.",
    "字段声明与表不符：{problems}。", "请更正这些字段；`dujiang propose 文件` 会显示合适的声明。",
)  # fmt: skip
CONTENT_ELSEWHERE = Code(
    "content_elsewhere", 409, Exit.conflict,
    "This content is already registered as another resource of yours.",
    "Publish it as a version of the product of that resource, or offer it anew without naming a product.",
    "该内容已登记为贵机构的另一资源。", "请作为该资源所属产品的新版本发布，或不指定产品重新上架。",
)  # fmt: skip
REGISTRATION_RACED = Code(
    "registration_raced", 409, Exit.conflict,
    "Another first registration of your organisation finished at the same moment.", "Send the request again.",
    "贵机构的另一首次登记刚刚完成。", "请重新发送请求。",
)  # fmt: skip
CODES = (UPLOAD_UNKNOWN, ENTITY_UNKNOWN, DECLARATION_WRONG, CONTENT_ELSEWHERE, REGISTRATION_RACED)
