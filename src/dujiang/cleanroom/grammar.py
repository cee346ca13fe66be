"""The positive list (白名单): which SQL a question may be written in, judged on tokens and tree.

1. Before parsing: characters, tokens, brackets and chains of NOT are bounded by a scan.
2. A class of the tree, or an argument of a class, that is not listed here is refused.
3. Nothing a caller wrote reaches the engine: what passes is read into typed values and written anew.
"""

from __future__ import annotations

import sys

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import SqlglotError
from sqlglot.expressions.core import Expr
from sqlglot.tokenizer_core import Token, TokenType

from dujiang.cleanroom.model import (
    CONSTRUCT_REFUSED,
    FUNCTION_REFUSED,
    JOIN_FORM,
    NOT_A_QUESTION,
    QUESTION_DEEP,
    QUESTION_LONG,
    RETURNS_ROW,
    SEVERAL_TABLES,
)
from dujiang.kernel.errors import Refused, Span

TEXT_BYTES_MAX = 64 * 1024
TOKENS_MAX = 5_000
DEPTH_MAX = 50
"""Brackets, NOTs and CASEs open at once."""

TREE_DEPTH_MAX = 120
"""Levels of the tree, a chain of AND, OR or one arithmetic operator being one."""

ALLOWED: dict[type[Expr], frozenset[str]] = {
    cls: frozenset(args.split())
    for classes, args in (
        ((exp.Select,), "with_ expressions from_ joins where group having order limit offset"),
        ((exp.Join,), "this on using side kind"),
        ((exp.From, exp.Where, exp.Having, exp.Paren, exp.Not, exp.Neg, exp.Var, exp.Star), "this"),
        ((exp.Table,), "this alias"),
        ((exp.TableAlias, exp.CTE, exp.Subquery, exp.Alias), "this alias"),
        ((exp.With, exp.Group, exp.Order, exp.Distinct), "expressions"),
        ((exp.Ordered,), "this desc nulls_first"),
        ((exp.Limit, exp.Offset), "expression"),
        ((exp.Column,), "this table"),
        ((exp.Identifier,), "this quoted"),
        ((exp.And, exp.Or, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE), "this expression"),
        ((exp.Is, exp.NullSafeEQ, exp.NullSafeNEQ), "this expression"),
        ((exp.Like, exp.ILike), "this expression negate"),
        ((exp.Between,), "this low high"),
        ((exp.In,), "this expressions"),
        ((exp.Null,), ""),
        ((exp.Boolean,), "this"),
        ((exp.Literal,), "this is_string"),
        ((exp.Add, exp.Sub, exp.Mul, exp.IntDiv, exp.Mod, exp.Nullif), "this expression"),
        ((exp.Div,), "this expression typed safe"),
        ((exp.Abs, exp.Floor, exp.Ceil), "this"),
        ((exp.Round,), "this decimals"),
        ((exp.Case,), "this ifs default"),
        ((exp.If,), "this true false"),
        ((exp.Coalesce,), "this expressions"),
        ((exp.Greatest, exp.Least), "this expressions ignore_nulls"),
        ((exp.Cast, exp.TryCast), "this to safe"),
        ((exp.DataType,), "this expressions nested"),
        ((exp.DataTypeParam,), "this"),
        ((exp.Interval,), "this unit"),
        ((exp.Extract,), "this expression"),
        (
            (exp.Year, exp.Quarter, exp.Month, exp.Week, exp.DayOfWeek, exp.Hour, exp.Day, exp.DayOfMonth),
            "this",
        ),
        ((exp.TimestampTrunc, exp.DateTrunc), "this unit"),
        ((exp.DateDiff,), "this expression unit date_part_boundary"),
        ((exp.Lower, exp.Upper, exp.Trim), "this"),
        ((exp.Substring,), "this start length"),
        ((exp.Left,), "this expression"),
        ((exp.Count,), "this big_int"),
        ((exp.CountIf, exp.Sum, exp.Avg, exp.Variance, exp.VariancePop), "this"),
        ((exp.Stddev, exp.StddevPop, exp.StddevSamp), "this"),
        ((exp.Filter,), "this expression"),
    )
    for cls in classes
}
"""Class of the tree → its arguments that may be filled."""

AGGREGATES = (exp.Count, exp.CountIf, exp.Sum, exp.Avg, exp.Variance, exp.VariancePop, exp.Stddev,
              exp.StddevPop, exp.StddevSamp)  # fmt: skip

ROW_RETURNING = (
    exp.Max, exp.Min, exp.Median, exp.PercentileCont, exp.PercentileDisc, exp.Quantile, exp.ApproxQuantile,
    exp.Mode, exp.First, exp.Last, exp.AnyValue, exp.ArgMax, exp.ArgMin, exp.ArrayAgg, exp.GroupConcat,
)  # fmt: skip

FRAMES = 4_000
sys.setrecursionlimit(max(sys.getrecursionlimit(), FRAMES))
"""The parser takes up to 28 frames a bracket (1,400 at our depth): with the default of 1,000, less what the
caller has on its stack, the same text would pass or fail by where it is called from."""

PLAIN_ARGUMENTS = (str, bool, int, exp.DType, type(None))
"""What an argument may be other than a node; anything else could hide nodes from the check."""

CHAINS = (exp.And, exp.Or, exp.Add, exp.Sub, exp.Mul)


def tokenised(text: str) -> list[Token]:
    """The tokens of a text within the limits.

    Raises: question_too_long, question_too_deep, not_a_question.
    """
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX:
        raise Refused(QUESTION_LONG, limit="64 KiB")
    if "\x00" in text or any("\ud800" <= mark <= "\udfff" for mark in text):
        raise Refused(NOT_A_QUESTION)
    _scan_brackets(text)
    try:
        tokens = DuckDB().tokenize(text)
    except (SqlglotError, RecursionError, ValueError, IndexError):
        raise Refused(NOT_A_QUESTION) from None
    if len(tokens) > TOKENS_MAX:
        raise Refused(QUESTION_LONG, limit=f"{TOKENS_MAX}")
    _scan_depth(tokens)
    return tokens


def _scan_brackets(text: str) -> None:
    """A first, cheap bound: more brackets than any allowed question could need."""
    if text.count("(") + text.count("[") + text.count("{") > TOKENS_MAX:
        raise Refused(QUESTION_DEEP, limit=f"{DEPTH_MAX}")


def _scan_depth(tokens: list[Token]) -> None:
    depth = prefixes = 0
    for token in tokens:
        kind = token.token_type
        if kind in (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE):
            depth += 1
        elif kind in (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END):
            depth = max(0, depth - 1)
        prefixes = (
            prefixes + 1 if kind in (TokenType.NOT, TokenType.DASH, TokenType.TILDE, TokenType.PLUS) else 0
        )
        if depth > DEPTH_MAX or prefixes > DEPTH_MAX:
            raise Refused(QUESTION_DEEP, where=Span(token.start, 1), limit=f"{DEPTH_MAX}")


def parsed(text: str, tokens: list[Token]) -> exp.Select:
    """The one SELECT a text consists of, every node of it on the positive list.

    Raises: not_a_question, question_too_deep, and what `check` raises.
    """
    try:
        statements = [one for one in DuckDB().parser().parse(tokens, text) if one is not None]
    except RecursionError:
        raise Refused(QUESTION_DEEP, limit=f"{DEPTH_MAX}") from None
    except Exception:
        # The parser meets hostile text: whatever it fails with, the text is not a question.
        raise Refused(NOT_A_QUESTION) from None
    if len(statements) != 1:
        raise Refused(NOT_A_QUESTION)
    tree = statements[0]
    if isinstance(tree, exp.SetOperation):
        raise Refused(CONSTRUCT_REFUSED, name=type(tree).__name__.upper())
    if not isinstance(tree, exp.Select):
        raise Refused(NOT_A_QUESTION)
    check(tree, text)
    return tree


def check(tree: Expr, text: str) -> None:
    """Nothing, where every class and every filled argument of the tree is on the positive list.

    Raises: question_too_deep, construct_not_allowed, function_not_allowed, returns_a_row_value,
    several_tables.
    """
    stack: list[tuple[Expr, int]] = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > TREE_DEPTH_MAX:
            raise Refused(QUESTION_DEEP, where=span(node, text), limit=f"{TREE_DEPTH_MAX}")
        _check_node(node, text)
        for value in node.args.values():
            for child in value if isinstance(value, list) else (value,):
                if not isinstance(child, Expr):
                    if not isinstance(child, PLAIN_ARGUMENTS):
                        raise Refused(CONSTRUCT_REFUSED, where=span(node, text), name=named(node))
                else:
                    chained = type(child) is type(node) and isinstance(node, CHAINS)
                    stack.append((child, depth + (not chained)))


def _check_node(node: Expr, text: str) -> None:
    allowed = ALLOWED.get(type(node))
    if allowed is None:
        name = named(node)
        where = span(node, text)
        if isinstance(node, ROW_RETURNING):
            raise Refused(RETURNS_ROW, where=where, name=name)
        if isinstance(node, exp.Func):
            raise Refused(FUNCTION_REFUSED, where=where, name=name)
        raise Refused(CONSTRUCT_REFUSED, where=where, name=name)
    for name, value in node.args.items():
        if value in (None, False, []) or name in allowed:
            continue
        child = value[0] if isinstance(value, list) else value
        where = span(child if isinstance(child, Expr) else node, text) or span(node, text)
        if name in ("joins", "laterals"):
            raise Refused(SEVERAL_TABLES, where=where)
        if isinstance(node, exp.Join):
            raise Refused(JOIN_FORM, where=where, name=str(value)[:20].upper())
        raise Refused(CONSTRUCT_REFUSED, where=where, name=f"{named(node)} {name.strip('_').upper()}")


def named(node: Expr) -> str:
    """The name of a construct or function as the caller would know it."""
    if isinstance(node, exp.Anonymous):
        return str(node.this)[:60]
    if isinstance(node, exp.Func):
        return node.sql_name().lower()
    return type(node).__name__.upper()


def span(node: Expr, text: str) -> Span | None:
    """The place of a node in the caller's text: its own token, or from its first to its last known token."""
    places = [place for one in node.walk() if (place := _place(one))]
    own = _place(node)
    if own:
        return Span(own[0], own[1] - own[0] + 1)
    if isinstance(node, exp.Func):
        # Some functions carry no position: the nearest use of the name before its first argument.
        before = min(start for start, _ in places) if places else len(text)
        folded = text.casefold() if text.isascii() else text
        for name in node.sql_names():
            start = folded.rfind(name.casefold(), 0, before)
            if start >= 0:
                return Span(start, len(name))
    if not places:
        return None
    start, end = min(first for first, _ in places), max(last for _, last in places)
    return Span(start, end - start + 1)


def _place(node: Expr) -> tuple[int, int] | None:
    start, end = node.meta.get("start"), node.meta.get("end")
    return (start, end) if isinstance(start, int) and isinstance(end, int) else None


def items(tokens: list[Token], text: str) -> list[tuple[int, int]]:
    """Start and end of every item of the outermost select list, in the caller's text."""
    depth = 0
    begin = -1
    found: list[tuple[int, int]] = []
    last = first = None
    closing = (TokenType.FROM, TokenType.WHERE, TokenType.GROUP_BY, TokenType.HAVING, TokenType.ORDER_BY,
               TokenType.LIMIT, TokenType.SEMICOLON, TokenType.OFFSET)  # fmt: skip
    for token in tokens:
        kind = token.token_type
        if kind is TokenType.SELECT and depth == 0:
            begin, found, first, last = 1, [], None, None
            continue
        depth += kind in (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.CASE)
        depth -= kind in (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.END)
        if begin < 0:
            continue
        if depth == 0 and (kind is TokenType.COMMA or kind in closing):
            if first is not None and last is not None:
                found.append((first.start, last.end + 1))
            first = last = None
            if kind in closing:
                begin = -1
            continue
        first = first or token
        last = token
    if begin > 0 and first is not None and last is not None:
        found.append((first.start, last.end + 1))
    return found
