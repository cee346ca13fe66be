"""Rewrites offered with a refusal (改写建议): the nearest question that would be allowed.

An offer is made only where one is natural, and only if the checker itself accepts it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.expressions.core import Expr
from sqlglot.tokenizer_core import TokenType

from dujiang.cleanroom.grammar import ROW_RETURNING, TEXT_BYTES_MAX
from dujiang.cleanroom.model import (
    COLUMN_UNKNOWN,
    CONSTRUCT_REFUSED,
    ENTITY_COUNTED_ONLY,
    FUNCTION_REFUSED,
    NOT_A_QUESTION,
    ONLY_AGGREGATES,
    QUESTION_DEEP,
    QUESTION_LONG,
    RETURNS_ROW,
    TABLE_UNKNOWN,
)
from dujiang.cleanroom.relation import Member
from dujiang.kernel.errors import Refused

OFFER_TEXT_MAX = 4_096
"""Longer questions get no rewrite: it would help nobody."""

NEARNESS = 0.6
SAME_MEANING = {"mean": exp.Avg, "mode": exp.Avg, "product": exp.Sum, "favg": exp.Avg, "fsum": exp.Sum}
DATE_PARTS = {"year": exp.Year, "quarter": exp.Quarter, "month": exp.Month, "week": exp.Week, "day": exp.Day,
              "hour": exp.Hour}  # fmt: skip


def offered(
    refused: Refused, text: str, members: Sequence[Member], accepts: Callable[[str], bool]
) -> str | None:
    """The first rewrite of a refused question that `accepts` takes, or None."""
    if refused.code in (QUESTION_LONG, QUESTION_DEEP) or len(text) > min(OFFER_TEXT_MAX, TEXT_BYTES_MAX):
        return None
    try:
        candidates = list(_candidates(refused, text, members))
    except Exception:
        # A rewrite is a courtesy: where a hostile text breaks the writer, there is none.
        return None
    for candidate in candidates:
        if accepts(candidate):
            return candidate
    return None


def quoted(name: str) -> str:
    """A table or column name as it is written in SQL: quoted only where it must be."""
    return name if re.fullmatch(r"[^\W\d]\w*", name) else '"' + name.replace('"', '""') + '"'


def _candidates(refused: Refused, text: str, members: Sequence[Member]) -> Iterator[str]:
    table = members[0].table
    code, counted = refused.code, f"select count(*) from {quoted(table.name)}"
    tree = _parsed(text)
    if code is COLUMN_UNKNOWN:
        yield from _nearest(refused, text, members)
    elif code is TABLE_UNKNOWN and refused.where and len(members) == 1:
        start, end = refused.where.start, refused.where.start + refused.where.length
        yield text[:start] + quoted(table.name) + text[end:]
    elif tree is None:
        yield counted
    elif code in (RETURNS_ROW, FUNCTION_REFUSED):
        yield _written(tree.transform(_averaged))
    elif code is ONLY_AGGREGATES:
        yield from _grouped(tree)
    elif code is CONSTRUCT_REFUSED and tree.args.get("distinct"):
        plain = tree.copy()
        plain.set("distinct", None)
        yield from _grouped(plain)
        plain.append("expressions", exp.Count(this=exp.Star()))
        yield from _grouped(plain)
    elif code is ENTITY_COUNTED_ONLY and table.entity:
        yield f"select count(distinct {quoted(table.entity)}) from {quoted(table.name)}"
    if code in (ONLY_AGGREGATES, NOT_A_QUESTION):
        yield counted


def _parsed(text: str) -> exp.Select | None:
    try:
        statements = [one for one in DuckDB().parse(text) if one is not None]
    except Exception:
        # The text may be anything; without a tree there is no rewrite of it.
        return None
    return statements[0] if len(statements) == 1 and isinstance(statements[0], exp.Select) else None


def _written(tree: Expr) -> str:
    return tree.sql(dialect="duckdb", comments=False)


def _nearest(refused: Refused, text: str, members: Sequence[Member]) -> Iterator[str]:
    """The text with an unknown column replaced by the most similar open ones."""
    open_names = [
        column.name
        for member in members
        for column in member.table.columns
        if column.uses and (member.guard.columns is None or column.name in member.guard.columns)
    ]
    folded = {name.casefold(): name for name in open_names}
    wanted = refused.names.get("column", "").casefold()
    for near in difflib.get_close_matches(wanted, folded, n=3, cutoff=NEARNESS):
        yield _renamed(text, wanted, quoted(folded[near]))


def _renamed(text: str, name: str, new: str) -> str:
    """The text with every use of a name replaced."""
    for token in reversed(DuckDB().tokenize(text)):
        if token.token_type in (TokenType.VAR, TokenType.IDENTIFIER) and token.text.casefold() == name:
            text = text[: token.start] + new + text[token.end + 1 :]
    return text


def _averaged(node: Expr) -> Expr:
    """A function that returns a row's value as the mean of its argument; known synonyms as themselves."""
    if isinstance(node, ROW_RETURNING) and isinstance(node.this, Expr):
        return exp.Avg(this=node.this)
    if isinstance(node, exp.Anonymous):
        name, arguments = str(node.this).lower(), node.expressions
        if name in SAME_MEANING and len(arguments) == 1:
            return SAME_MEANING[name](this=arguments[0])
        if (
            name in ("date_part", "datepart")
            and len(arguments) == 2
            and arguments[0].name.lower() in DATE_PARTS
        ):
            return DATE_PARTS[arguments[0].name.lower()](this=arguments[1])
    return node


def _grouped(tree: exp.Select) -> Iterator[str]:
    """The question with its row-level outputs put into GROUP BY."""
    if any(
        isinstance(item, exp.Star) or item.find(exp.Star) and not item.find(exp.Count)
        for item in tree.expressions
    ):
        counted = tree.copy()
        counted.set("expressions", [exp.Count(this=exp.Star())])
        counted.set("order", None)
        yield _written(counted)
        return
    aggregates = (exp.Count, exp.Sum, exp.Avg, exp.CountIf, exp.Stddev, exp.Variance, exp.AggFunc)
    plain = [item for item in tree.expressions if not item.find(*aggregates) and item.find(exp.Column)]
    if not plain:
        return
    made = tree.copy()
    if len(plain) == len(tree.expressions):
        made.append("expressions", exp.Count(this=exp.Star()))
    group = made.args.get("group") or exp.Group(expressions=[])
    known = {one.sql() for one in group.expressions}
    for item in plain:
        inner = item.this if isinstance(item, exp.Alias) else item
        if inner.sql() not in known:
            group.append("expressions", inner.copy())
    made.set("group", group)
    yield _written(made)
