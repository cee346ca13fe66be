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
    join_keys: tuple[str, ...] = ()
    """Names of the columns the contract lets the table be joined on."""


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

    The engine returns one row per cell: the keys in order, then the distinct entities of each item of
    `presence` (or NULL: the statistic says it), then one integer per statistic, in order.
    In an exact plan (template E) k and dominance are inside the SQL.
    """

    table: str
    sql: str
    """Regenerated DuckDB SQL over the views `t0`, `t1`, … of its tables."""
    canonical: str
    """Canonical text of the question: same text, same answer."""
    keys: tuple[Key, ...]
    statistics: tuple[Statistic, ...]
    aggregates: tuple[Aggregate, ...]
    columns: tuple[tuple[str, Formula], ...]
    """Output columns: name and formula."""
    presence: tuple[int, ...]
    """The statistics whose noised values stand for distinct entities (U, or N if R = 1): of every table its
    own, but one for tables that are joined on the entity of both."""
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
    "A question over one contract reads exactly one table.",
    "Name the contract of every table: `dujiang ask CONTRACT CONTRACT SQL`, and join them side by side.",
    "针对一份合约的查询只能读取一张表。",
    "请写出每张表的合约：`dujiang ask 合约 合约 SQL`，并将各表并列连接。",
)
JOIN_FORM = _code(
    "join_not_on_keys",
    "Tables are joined by JOIN or LEFT JOIN on equal columns; this is something else ({name}).",
    "Write `from a join b using (key)` or `from a join b on a.key = b.key and a.other = b.other`.",
    "表只能用 JOIN 或 LEFT JOIN 按相等的字段连接；此处不是（{name}）。",
    "请写 `from a join b using (key)` 或 `from a join b on a.key = b.key and a.other = b.other`。",
)
JOIN_KEY_NOT_LISTED = _code(
    "join_key_not_listed",
    "The terms of {table} do not let it be joined on {column}.",
    "Join on a column that its terms list in join_keys; `dujiang show PRODUCT` shows them.",
    "{table} 的条款不允许按 {column} 连接。",
    "请按条款 join_keys 所列字段连接；可用 `dujiang show PRODUCT` 查看。",
)
JOIN_KEY_NOT_KEPT = _code(
    "join_key_not_kept",
    "{table} was registered without the values of {column} to join on.",
    "Ask its provider to publish its file again with the column in join_keys.",
    "{table} 登记时未保留用于连接的 {column} 取值。",
    "请提供方在 join_keys 中列出该字段并重新发布文件。",
)
COLUMN_AMBIGUOUS = _code(
    "column_ambiguous",
    "Several of the tables have a column {column}.",
    "Write the table before it: table.{column}",
    "多张表都有字段 {column}。",
    "请在前面写明表名：表.{column}",
)
TABLE_AMBIGUOUS = _code(
    "table_ambiguous",
    "Several of the contracts are about a table called {name}.",
    "Write the id of its contract in place of the table's name.",
    "多份合约的表都名为 {name}。",
    "请用合约编号代替表名。",
)
TABLE_TWICE = _code(
    "table_twice",
    "A question reads the same data once; {table} is there twice.",
    "Name it once, and one contract over it.",
    "一次查询对同一数据只能读取一次；{table} 出现了两次。",
    "请只写一次，并只填写一份相关合约。",
)
TABLE_UNUSED = _code(
    "table_unused",
    "The question does not use {table}, whose contract it names.",
    "Name only the contracts of tables the question joins.",
    "查询未使用 {table}，却填写了它的合约。",
    "请只填写查询所连接的表的合约。",
)
CONSTRUCT_REFUSED = _code(
    "construct_not_allowed",
    "{name} is not part of the guarded question.",
    "Use SELECT with JOIN, WHERE, GROUP BY, HAVING, ORDER BY and LIMIT.",
    "受控查询不支持 {name}。",
    "请使用 SELECT、JOIN、WHERE、GROUP BY、HAVING、ORDER BY 和 LIMIT。",
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
QUESTION_STOPPED = Code(
    "question_stopped",
    409,
    Exit.refused,
    "The question was stopped before it was answered: by one of its sides, or because a contract ended.",
    "See the log (`dujiang history`) for who stopped it; what it was charged stays charged.",
    "查询在得到回答之前已被停止：由其中一方停止，或因合约终止。",
    "可在日志（`dujiang history`）中查看由谁停止；已计的用量不退还。",
)
QUESTION_ENDED = Code(
    "question_ended",
    409,
    Exit.conflict,
    "The question has ended already.",
    "See its answer or its end with `dujiang show JOB`.",
    "该查询已结束。",
    "可用 `dujiang show 任务` 查看其答案或结果。",
)
CONTRACTS_WRONG = Code(
    "contracts_wrong",
    400,
    Exit.usage,
    "A question names one to {limit} contracts, each once.",
    "Name the contract of every table the question reads, once.",
    "一次查询须填写 1 至 {limit} 份合约，每份一次。",
    "请为查询读取的每张表填写一次合约。",
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
    JOIN_FORM,
    JOIN_KEY_NOT_LISTED,
    JOIN_KEY_NOT_KEPT,
    COLUMN_AMBIGUOUS,
    TABLE_AMBIGUOUS,
    TABLE_TWICE,
    TABLE_UNUSED,
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
    QUESTION_STOPPED,
    QUESTION_ENDED,
    CONTRACTS_WRONG,
)
