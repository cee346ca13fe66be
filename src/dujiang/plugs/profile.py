"""SQL that measures a table column by column, for its provider alone; it runs inside a locked worker.

1. One statement a column: its values are grouped once, and everything is counted on the groups.
2. Identifiers are told by form and check digit: GB 11643 (identity number), GB 32100 (organisation code),
   ISO/IEC 7812 (bank card, Luhn).
3. Values leave as text of at most 80 characters; of many different values, one that occurs once is somebody's
   and is never among the frequent ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dujiang.plugs.sketch import Ask, kind_of, literal, quoted
from dujiang.quality.model import ColumnProfile, Personal, Profile, Tally
from dujiang.registry.model import Kind

TOP_MAX = 50
EDGE_MAX = 12
SHAPES_MAX = 10
VALUE_CHARACTERS = 80
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

_IDENTITY = r"[1-9][0-9]{5}(18|19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]"
_IDENTITY_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CODE_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CODE = f"[{_CODE_LETTERS}]{{2}}[0-9]{{6}}[{_CODE_LETTERS}]{{10}}"
_CODE_WEIGHTS = tuple(3**place % 31 for place in range(17))
_CARD = "[3-6][0-9]{15,18}"
_CARD_DIGITS_MAX = 19
_MOBILE = r"(\+?86[- ]?)?1[3-9][0-9][- ]?[0-9]{4}[- ]?[0-9]{4}"
_EMAIL = r"[A-Za-z0-9._%+-]{1,64}@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}"
_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领"
_PLATE = f"[{_PROVINCES}][A-Z][·. ]?[A-HJ-NP-Z0-9]{{4,5}}[A-HJ-NP-Z0-9挂学警港澳]"
_NUMBER = r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)"


def measure(ask: Ask, relation: str, columns: Sequence[str], day: str) -> Profile:
    """The profile of the named columns of a relation; `day` (ISO) is the last that is not the future."""
    types = {str(row[0]): str(row[1]) for row in ask(f"describe from {relation}")}
    hashed = ", ".join(quoted(name) for name in types)
    rows, different = ask(f"select count(*), count(distinct hash({hashed})) from {relation}")[0]
    measured = tuple(
        _column(ask, relation, name, types[name], int(rows), day) for name in columns if name in types
    )
    return Profile(int(rows), int(rows) - int(different), measured)


def identifier(personal: Personal, value: str) -> str:
    """SQL of whether the text `value` (SQL) is an identifier of a kind; NULL or false if not."""
    forms = {
        Personal.identity_number: (_IDENTITY, _identity_check),
        Personal.organisation_code: (_CODE, _code_check),
        Personal.bank_card: (_CARD, _luhn_check),
        Personal.mobile: (_MOBILE, None),
        Personal.email: (_EMAIL, None),
        Personal.plate: (_PLATE, None),
    }
    form, check = forms[personal]
    fits = f"regexp_full_match({value}, {literal(form)})"
    return f"({fits} and {check(value)})" if check else fits


def _identity_check(value: str) -> str:
    total = " + ".join(
        f"{weight} * try_cast(substr({value}, {place}, 1) as integer)"
        for place, weight in enumerate(_IDENTITY_WEIGHTS, 1)
    )
    return f"substr('10X98765432', 1 + ({total}) % 11, 1) = upper(substr({value}, 18, 1))"


def _code_check(value: str) -> str:
    letters = literal(_CODE_LETTERS)
    total = " + ".join(
        f"{weight} * (strpos({letters}, substr({value}, {place}, 1)) - 1)"
        for place, weight in enumerate(_CODE_WEIGHTS, 1)
    )
    return f"substr({letters}, 1 + (31 - ({total}) % 31) % 31, 1) = substr({value}, 18, 1)"


def _luhn_check(value: str) -> str:
    terms: list[str] = []
    for place in range(1, _CARD_DIGITS_MAX + 1):
        digit = f"coalesce(try_cast(substr(reverse({value}), {place}, 1) as integer), 0)"
        terms.append(digit if place % 2 else f"({digit} * 2 - case when {digit} > 4 then 9 else 0 end)")
    return f"({' + '.join(terms)}) % 10 = 0"


def _column(ask: Ask, relation: str, name: str, source_type: str, rows: int, day: str) -> ColumnProfile:
    kind, column = kind_of(source_type), quoted(name)
    value = f"cast({column} as varchar)" if kind is Kind.text else column
    there = f"{column} is not null"
    if source_type in ("FLOAT", "DOUBLE"):
        there += f" and isfinite({column})"
    wanted = ["(select cast(coalesce(sum(n), 0) as bigint) from g)", "(select count(*) from g)"]
    often = f"(select v, n from g where n > 1 or (select count(*) from g) <= {TOP_MAX})"
    wanted.append(_tallies(often, "n desc, v", TOP_MAX))
    wanted += _ordered(relation, column, there, kind) + _texts(kind) + _numbers(kind)
    late = f"cast(v as date) > date {literal(day)}"
    wanted.append(_rows(late) if kind in (Kind.date, Kind.timestamp) else "0")
    kinds = tuple(Personal) if kind in (Kind.text, Kind.integer) else ()
    wanted += [_rows(identifier(each, "trim(cast(v as varchar))")) for each in kinds]
    found = ask(
        f"with g as materialized (select {value} as v, count(*) as n from {relation}"
        f" where {there} group by 1),"
        f" p as materialized ({_positive(relation, column, there, kind)}) select {', '.join(wanted)}"
    )[0]
    present, distinct, top, low, high, quantiles, shortest, longest, shapes, numeric, zeros, near, least = (
        found[:13]
    )
    matches = zip(kinds, found[14:], strict=True)
    return ColumnProfile(
        name=name, kind=kind, nulls=rows - int(present), present=int(present), distinct=int(distinct),
        top=_counted(top), low=_counted(low), high=_counted(high),
        quantiles=tuple(str(each) for each in quantiles or ()),
        length_min=shortest, length_max=longest, shapes=_counted(shapes), numeric_texts=int(numeric),
        zeros=int(zeros), near_zero=int(near), low_positive=least, future=int(found[13]),
        personal=tuple(Tally(each.value, int(number)) for each, number in matches if number),
    )  # fmt: skip


def _ordered(relation: str, column: str, there: str, kind: Kind) -> list[str]:
    """Smallest and largest values and quantiles, where an order means something."""
    if kind in (Kind.text, Kind.boolean):
        return ["null", "null", "null"]
    at = ", ".join(map(str, QUANTILES))
    quantiles = f"select quantile_disc({column}, [{at}]) as q from {relation} where {there}"
    return [
        _tallies("g", "v", EDGE_MAX),
        _tallies("g", "v desc", EDGE_MAX),
        f"(select list_transform(q, lambda x: cast(x as varchar)) from ({quantiles}))",
    ]


def _texts(kind: Kind) -> list[str]:
    """Shortest, longest, shapes, and how many texts are numbers."""
    if kind is not Kind.text:
        return ["null", "null", "null", "0"]
    shape = f"left(v, {VALUE_CHARACTERS})"
    for form, sign in (("[0-9]+", "9"), (r"[A-Za-z]+", "A"), (r"\p{Han}+", "文")):
        shape = f"regexp_replace({shape}, {literal(form)}, '{sign}', 'g')"
    return [
        "(select min(length(v)) from g)",
        "(select max(length(v)) from g)",
        _tallies(f"(select {shape} as v, sum(n) as n from g group by 1)", "n desc, v", SHAPES_MAX),
        _rows(f"regexp_full_match(trim(v), {literal(_NUMBER)})"),
    ]


def _positive(relation: str, column: str, there: str, kind: Kind) -> str:
    if kind not in (Kind.integer, Kind.decimal):
        return "select null as q"
    return f"select quantile_disc({column}, 0.05) as q from {relation} where {there} and {column} > 0"


def _numbers(kind: Kind) -> list[str]:
    """Zeros, positive values much below the others, and the percentile they are measured by."""
    if kind not in (Kind.integer, Kind.decimal):
        return ["0", "0", "null"]
    return [
        _rows("v = 0"),
        _rows("v > 0 and v * 2 <= (select q from p)"),
        "(select cast(q as varchar) from p)",
    ]


def _rows(condition: str) -> str:
    return f"(select cast(coalesce(sum(n) filter ({condition}), 0) as bigint) from g)"


def _tallies(groups: str, order: str, limit: int) -> str:
    item = f"[left(cast(v as varchar), {VALUE_CHARACTERS}), cast(n as varchar)]"
    return f"(select list({item}) from (select v, n from {groups} order by {order} limit {limit}))"


def _counted(pairs: Sequence[Sequence[Any]] | None) -> tuple[Tally, ...]:
    return tuple(Tally(str(value), int(rows)) for value, rows in pairs or ())
