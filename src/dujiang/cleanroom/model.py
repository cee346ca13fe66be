"""Words of 可用不可见 (usable, not visible): a question, what it costs, and its answer.

1. A question is checked, rewritten and priced from declared shapes alone, never from rows.
2. Only SQL regenerated from the checked tree runs; it returns true statistics to the node only.
3. One charge per statistic, whatever the number of cells of its GROUP BY.
4. HAVING, ORDER BY, LIMIT and every expression over aggregates see noised values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Literal as Lit

from dujiang.kernel.errors import Code, Exit
from dujiang.policy.model import Noise
from dujiang.registry.model import Kind


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules a question is held to (合约中的计算规则), from the contract's terms."""

    noise: Noise = Noise.gaussian
    rho_micro: int = 5000
    """zCDP cost of one statistic in 10**-6."""
    group_min: int = 10
    """k: fewest distinct entities of a released group."""
    dominance_percent: int = 50
    """A sum is withheld where one entity could hold more than this share."""
    delta_exponent: int = 7
    """Presence of private keys: delta = 10**-delta_exponent a statistic."""
    cells_max: int = 10_000
    memory_mb: int = 1024
    """What a question's process may use; decides between two equal ways to count entities."""
    columns: tuple[str, ...] | None = None
    """Names of the columns the contract opens; None: all with a use."""


class Form(StrEnum):
    """What a statistic is, see the table of sensitivities in `rules`."""

    entities = "entities"
    """U = COUNT(DISTINCT entity)."""
    rows = "rows"
    """N = COUNT(*), COUNT(x), COUNT_IF(p)."""
    total = "total"
    """S = SUM(x)."""
    centred = "centred"
    """S° = SUM(x - mid), for AVG and VAR."""
    squared = "squared"
    """Q = SUM((x - mid)**2 - c), c = h**2/2 rounded to the grid, for VAR."""
    distinct = "distinct"
    """COUNT(DISTINCT column)."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number per cell, charged once for all cells.

    `delta1`, `delta2_squared`: L1 sensitivity and *square* of the L2 sensitivity over all cells of
    the question together, in units of the integer the engine returns. `unit`: the value of one
    such unit (10**-scale). `cap`: largest |contribution| of one entity to one cell, same units.
    """

    key: str
    """Canonical text of the statistic over its cells: equal key, equal meaning, one noise."""
    form: Form
    delta1: int
    delta2_squared: int
    cap: int
    unit: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """How a released value is computed from noised statistics (indices into Plan.statistics).

    count: n. sum: total. mean: mid + centred/n clamped to [lo, hi], NULL where n < 1.
    var: v = squared/n + c - (centred/n)**2 clamped to [0, h**2]; *_samp times n/(n-1); stddev = root.
    `lo`, `hi`, `mid`, `half`, `c` are values (already multiplied by unit; c by unit squared).
    """

    form: Lit["count", "sum", "mean", "var_pop", "var_samp", "stddev_pop", "stddev_samp"]
    n: int | None = None
    total: int | None = None
    centred: int | None = None
    squared: int | None = None
    lo: Fraction = Fraction(0)
    hi: Fraction = Fraction(0)
    mid: Fraction = Fraction(0)
    half: Fraction = Fraction(0)
    c: Fraction = Fraction(0)
    scale: int = 0
    """Decimal places of a sum; means and deviations are floats."""


Formula = tuple[object, ...]
"""An expression over released values, as nested tuples, evaluated with SQL's three-valued logic:
("key", i) the i-th group key · ("agg", i) the i-th Aggregate · ("lit", value) ·
(op, formula, …) with op among: + - * / // % neg = <> < <= > >= and or not is_null in between abs floor
ceil round coalesce nullif greatest least case (case: cond, value, cond, value, …, else).
"""


@dataclass(frozen=True, slots=True)
class Key:
    """One GROUP BY expression: its kind, and the declared values where the list is published.

    `keys`: every declared value in the form the engine returns it (int on the grid for numbers, bool
    for booleans is 0/1, ISO text for dates, text), None where the keys are private.
    """

    name: str
    kind: Kind
    scale: int = 0
    keys: tuple[object, ...] | None = None
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked question: the SQL to run, what to noise, and how to show it.

    The engine returns one row per cell: the keys in order, then `u` (distinct entities, or NULL
    where neither a rule nor a statistic needs it), then one integer per statistic, in order.
    In an exact plan (template E) k and dominance are inside the SQL.
    """

    table: str
    sql: str
    """Regenerated DuckDB SQL over the view `t0`."""
    canonical: str
    """Canonical text of the question: same text, same answer."""
    keys: tuple[Key, ...]
    statistics: tuple[Statistic, ...]
    aggregates: tuple[Aggregate, ...]
    columns: tuple[tuple[str, Formula], ...]
    """Output columns: name and formula."""
    presence: int
    """Index of the statistic whose noised value stands for distinct entities (U, or N if R = 1)."""
    noise: Noise = Noise.gaussian
    having: Formula | None = None
    order: tuple[tuple[Formula, bool, bool], ...] = ()
    """(formula, descending, nulls first)."""
    limit: int | None = None
    offset: int = 0
    cells_max: int = 1
    """Upper bound of cells, from declared sizes."""
    touched_max: int = 1
    """L0: cells one entity may touch."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Released:
    """An answer that may leave the node: names, rows, and the expected ± (2 sd) per column or None."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    plus_minus: tuple[float | None, ...]


def _code(name: str, why: str, fix: str, why_zh: str, fix_zh: str) -> Code:
    return Code(name, 422, Exit.refused, why, fix, why_zh, fix_zh)


NOT_A_QUESTION = _code(
    "not_a_question",
    "The text is not one SELECT statement.",
    "Write one question of the form: select count(*) from {table}",
    "这段文字不是一条 SELECT 语句。",
    "请写一条查询，例如：select count(*) from {table}",
)
QUESTION_LONG = _code(
    "question_too_long",
    "The question is longer than {limit}.",
    "Shorten it; put long lists of values into ranges.",
    "查询超过了 {limit} 的上限。",
    "请缩短查询，用范围代替长的取值列表。",
)
QUESTION_DEEP = _code(
    "question_too_deep",
    "The question is nested too deeply (limit {limit}).",
    "Remove brackets and nested expressions.",
    "查询嵌套过深（上限 {limit}）。",
    "请减少括号和嵌套表达式。",
)
TABLE_UNKNOWN = _code(
    "table_unknown",
    "There is no table {name} in this contract.",
    "Ask the table {table}.",
    "合约中没有表 {name}。",
    "请查询表 {table}。",
)
SEVERAL_TABLES = _code(
    "several_tables",
    "A question reads exactly one table.",
    "Ask one table at a time; joins are not supported yet.",
    "一次查询只能读取一张表。",
    "请逐表查询；暂不支持连接。",
)
CONSTRUCT_REFUSED = _code(
    "construct_not_allowed",
    "{name} is not part of the guarded question.",
    "Use SELECT with WHERE, GROUP BY, HAVING, ORDER BY and LIMIT over one table.",
    "受控查询不支持 {name}。",
    "请使用单表的 SELECT、WHERE、GROUP BY、HAVING、ORDER BY 和 LIMIT。",
)
FUNCTION_REFUSED = _code(
    "function_not_allowed",
    "The function {name} is not on the list of allowed functions.",
    "Use count, sum, avg, stddev or variance over plain arithmetic, dates and CASE.",
    "函数 {name} 不在允许的函数之列。",
    "请使用 count、sum、avg、stddev、variance 以及普通算术、日期和 CASE。",
)
RETURNS_ROW = _code(
    "returns_a_row_value",
    "{name} would return the value of a single row.",
    "Ask for avg, stddev, or a count above a limit instead.",
    "{name} 会返回某一行的取值。",
    "请改用 avg、stddev，或统计超过某一界限的数量。",
)
ONLY_AGGREGATES = _code(
    "only_aggregates",
    "{name} would show rows: outside aggregates only GROUP BY expressions can be shown.",
    "Add it to GROUP BY or put it into an aggregate.",
    "{name} 会显示明细：聚合之外只能显示 GROUP BY 的表达式。",
    "请将其加入 GROUP BY，或放入聚合函数。",
)
AGGREGATE_PLACE = _code(
    "aggregate_in_wrong_place",
    "An aggregate stands where only row values may stand.",
    "Use aggregates in SELECT, HAVING and ORDER BY, not inside each other, WHERE or GROUP BY.",
    "聚合函数出现在只允许行内取值的位置。",
    "聚合函数只能用于 SELECT、HAVING 和 ORDER BY，不能嵌套，也不能用于 WHERE 或 GROUP BY。",
)
COLUMN_UNKNOWN = _code(
    "column_unknown",
    "There is no column {column}.",
    "List the columns with `dujiang show PRODUCT`.",
    "没有字段 {column}。",
    "可用 `dujiang show PRODUCT` 列出字段。",
)
COLUMN_NOT_IN_CONTRACT = _code(
    "column_not_in_contract",
    "The contract does not open the column {column}.",
    "Ask the other columns, or agree a contract that names it.",
    "合约未开放字段 {column}。",
    "请查询其他字段，或另签包含该字段的合约。",
)
COLUMN_NOT_GROUP = _code(
    "column_not_for_grouping",
    "The provider did not open {column} for GROUP BY.",
    "Group by another column; {column} may be open for filters or aggregates.",
    "提供方未允许按 {column} 分组。",
    "请按其他字段分组；{column} 或许可用于筛选或聚合。",
)
COLUMN_NOT_FILTER = _code(
    "column_not_for_filter",
    "The provider did not open {column} for conditions.",
    "Use another column in the condition; {column} may be open for aggregates.",
    "提供方未允许以 {column} 作为条件。",
    "请在条件中使用其他字段；{column} 或许可用于聚合。",
)
COLUMN_NOT_AGGREGATE = _code(
    "column_not_for_aggregate",
    "The provider did not open {column} for sums and means.",
    "Aggregate another column, or count rows.",
    "提供方未允许对 {column} 做聚合。",
    "请聚合其他字段，或只统计行数。",
)
ENTITY_COUNTED_ONLY = _code(
    "entity_only_counted",
    "{column} identifies the protected entity and can only be counted.",
    "Write count(distinct {column}).",
    "{column} 标识受保护的主体，只能计数。",
    "请写 count(distinct {column})。",
)
NO_BOUNDS = _code(
    "no_bounds",
    "{column} has no declared bounds, so the effect of one row on the answer has no limit.",
    "Use a column with declared bounds, or count rows; the provider can declare bounds in a new version.",
    "{column} 没有声明上下界，单行对结果的影响无法限定。",
    "请使用已声明上下界的字段，或只统计行数；提供方可在新版本中声明上下界。",
)
TYPE_MIXED = _code(
    "type_mixed",
    "The types do not fit together here ({name}).",
    "Compare numbers with numbers, texts with texts, dates with dates such as date '2024-01-31'.",
    "此处类型不匹配（{name}）。",
    "请以数值比数值、文本比文本、日期比日期，例如 date '2024-01-31'。",
)
LITERAL_BAD = _code(
    "literal_not_readable",
    "A constant here cannot be read as {name}.",
    "Write numbers as 12.5, dates as date '2024-01-31' and timestamps as timestamp '2024-01-31 12:00:00'.",
    "此处的常量无法按 {name} 解读。",
    "数值写作 12.5，日期写作 date '2024-01-31'，时间写作 timestamp '2024-01-31 12:00:00'。",
)
NUMBER_WIDE = _code(
    "number_too_wide",
    "By its declared bounds this expression may exceed the largest exact number.",
    "Use smaller factors or fewer decimals.",
    "按声明的上下界，该表达式可能超出可精确表示的范围。",
    "请使用更小的系数或更少的小数位。",
)
TOO_MANY_CELLS = _code(
    "too_many_cells",
    "By the declared sizes this question may have more groups than {limit}.",
    "Group by fewer or coarser keys.",
    "按声明的规模，该查询的分组数可能超过 {limit}。",
    "请减少分组字段或使用更粗的分组。",
)
EXACT_DISTINCT = _code(
    "exact_distinct_with_others",
    "With exact answers COUNT(DISTINCT column) cannot stand beside other aggregates or filters of its own.",
    "Ask COUNT(DISTINCT column) in a question of its own.",
    "精确回答时，COUNT(DISTINCT 字段) 不能与其他聚合或自带的筛选并用。",
    "请单独查询 COUNT(DISTINCT 字段)。",
)

BUDGET_SPENT = Code(
    "budget_spent",
    409,
    Exit.spent,
    "The question needs {needs} statistics; {left} are left of your account for this table.",
    "Ask something answered before (it is free), or fewer statistics at once.",
    "该查询需要 {needs} 个统计量；您在此表的账户只剩 {left} 个。",
    "请重复已回答过的查询（不消耗账户），或减少一次查询的统计量。",
)
CEILING_REACHED = Code(
    "ceiling_reached",
    409,
    Exit.spent,
    "All organisations together have used what the provider set for this table.",
    "Ask something answered before (it is free), or ask the provider for a higher ceiling.",
    "各机构对此表的总用量已达提供方设定的上限。",
    "请重复已回答过的查询（不消耗账户），或请提供方提高上限。",
)
STATISTIC_CLOSED = Code(
    "statistic_closed",
    409,
    Exit.refused,
    "A statistic of this question was closed after a run that failed.",
    "Ask another question; the provider sees it in the log.",
    "该查询中的某个统计量因此前运行失败已被关闭。",
    "请改用其他查询；提供方可在日志中看到。",
)
QUESTION_FAILED = Code(
    "question_failed",
    503,
    Exit.failure,
    "The question was admitted but could not be computed; its statistics are closed.",
    "Ask another question; the provider sees it in the log.",
    "该查询已受理但未能完成计算；其统计量已关闭。",
    "请改用其他查询；提供方可在日志中看到。",
)
ONE_CONTRACT = Code(
    "one_contract",
    400,
    Exit.usage,
    "This version answers questions over one contract at a time.",
    "Name one contract.",
    "当前版本一次只能对一份合约提问。",
    "请只填写一份合约。",
)
QUESTIONS_WAITING = Code(
    "questions_waiting", 429, Exit.failure,
    "{most} questions of your organisation wait or run already.", "Wait for one to end, then ask again.",
    "贵机构已有 {most} 个查询在等待或计算。", "请等其中一个结束后再提问。",
)  # fmt: skip

CODES = (
    QUESTIONS_WAITING,
    NOT_A_QUESTION,
    QUESTION_LONG,
    QUESTION_DEEP,
    TABLE_UNKNOWN,
    SEVERAL_TABLES,
    CONSTRUCT_REFUSED,
    FUNCTION_REFUSED,
    RETURNS_ROW,
    ONLY_AGGREGATES,
    AGGREGATE_PLACE,
    COLUMN_UNKNOWN,
    COLUMN_NOT_IN_CONTRACT,
    COLUMN_NOT_GROUP,
    COLUMN_NOT_FILTER,
    COLUMN_NOT_AGGREGATE,
    ENTITY_COUNTED_ONLY,
    NO_BOUNDS,
    TYPE_MIXED,
    LITERAL_BAD,
    NUMBER_WIDE,
    TOO_MANY_CELLS,
    EXACT_DISTINCT,
    BUDGET_SPENT,
    CEILING_REACHED,
    STATISTIC_CLOSED,
    QUESTION_FAILED,
    ONE_CONTRACT,
)
