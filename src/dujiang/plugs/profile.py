"""SQL that measures a table column by column, for its provider alone; it runs inside a locked worker.

1. A column's values are grouped once, and everything is counted on the groups.
2. Identifiers are told by form and check digit: GB 11643 (identity number), GB 32100 (organisation code),
   ISO/IEC 7812 (bank card, Luhn).
3. Values leave as text of at most 80 characters; of many different values, one that occurs once is somebody's
   and is never among the frequent ones.
4. A sample is drawn by the hashes of values: the same table gives the same sample, hence the same grade.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dujiang.plugs.sketch import Ask, kind_of, literal, quoted
from dujiang.quality.model import STRONG, ColumnProfile, Personal, Profile, Tally
from dujiang.registry.model import Kind

TOP_MAX = 50
EDGE_MAX = 12
SHAPES_MAX = 10
SAMPLED_MAX = 50_000
"""Different values up to which all are looked at; of more, a sample of about so many says what is worth counting."""
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
_LIKELY = {
    Personal.identity_number: "strlen(t) = 18",
    Personal.organisation_code: "strlen(t) = 18",
    Personal.bank_card: "strlen(t) between 16 and 19",
    Personal.mobile: "strlen(t) between 11 and 18",
    Personal.email: "contains(t, '@')",
    Personal.plate: "strlen(t) between 8 and 15 and ascii(t) > 127",
}
_SMALLEST_NUMBER = 10**10
"""An integer below it is too short for any identifier."""
_SIGNS = (("[0-9]+", "9"), ("[A-Za-z]+", "A"), (r"\p{Han}+", "文"))
_NUMBER = r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)"


def measure(ask: Ask, relation: str, columns: Sequence[str], day: str) -> Profile:
    """The profile of the named columns of a relation; `day` (ISO) is the last that is not the future."""
    types = {str(row[0]): str(row[1]) for row in ask(f"describe from {relation}")}
    hashed = ", ".join(quoted(name) for name in types)
    rows = int(ask(f"select count(*) from {relation}")[0][0])
    measured = tuple(
        _column(ask, relation, name, types[name], rows, day) for name in columns if name in types
    )
    # A column without two equal values makes every row differ.
    keyed = any(each.distinct == rows for each in measured)
    different = rows if keyed else int(ask(f"select count(distinct hash({hashed})) from {relation}")[0][0])
    return Profile(rows, rows - different, measured)


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
    # A CASE computes the check digit only where the form fits; AND would compute it everywhere.
    return f"case when {fits} then {check(value)} else false end" if check else fits


def _identity_check(value: str) -> str:
    head = f"cast(left({value}, 17) as bigint)"
    total = " + ".join(
        f"{weight} * ({head} // {10 ** (16 - place)} % 10)" for place, weight in enumerate(_IDENTITY_WEIGHTS)
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
    number, terms = f"cast({value} as ubigint)", list[str]()
    for place in range(_CARD_DIGITS_MAX):
        digit = f"({number} // {10**place} % 10)"
        terms.append(f"({digit} * 2 - case when {digit} > 4 then 9 else 0 end)" if place % 2 else digit)
    return f"({' + '.join(terms)}) % 10 = 0"


def _column(ask: Ask, relation: str, name: str, source_type: str, rows: int, day: str) -> ColumnProfile:
    kind, column = kind_of(source_type), quoted(name)
    there = f"{column} is not null"
    if source_type in ("FLOAT", "DOUBLE"):
        there += f" and isfinite({column})"
    value = f"cast({column} as varchar)" if kind is Kind.text else column
    grouped = f"select {value} as v, count(*) as n from {relation} where {there} group by 1"
    ask(f"create or replace temp table g as {grouped}")
    quantiles, least = _quantiles(ask, relation, column, there, kind)
    distinct = int(ask("select count(*) from g")[0][0])
    kinds = _likely_kinds(ask, kind, distinct)
    wanted = [_rows("true"), *_texts(kind, distinct), *_numbers(kind, least), *_times(kind, day)]
    wanted += [_rows(_guarded(each, kind)) for each in kinds]
    text = "trim(v)" if kind is Kind.text else "cast(v as varchar)"
    present, shortest, longest, numeric, zeros, near, future, *matches = ask(
        f"select {', '.join(wanted)} from (select v, n, {text} as t from g)"
    )[0]
    top, low, high = ask(f"select {', '.join(_tops(kind, distinct))}")[0]
    return ColumnProfile(
        name=name, kind=kind, nulls=rows - int(present), present=int(present), distinct=distinct,
        top=_counted(top), low=_counted(low), high=_counted(high), quantiles=quantiles,
        length_min=shortest, length_max=longest, shapes=_shapes(ask, kind, distinct),
        numeric_texts=None if numeric is None else int(numeric), zeros=int(zeros), near_zero=int(near),
        low_positive=least, future=int(future),
        personal=tuple(
            Tally(each.value, int(number)) for each, number in zip(kinds, matches, strict=True) if number
        ),
    )  # fmt: skip


def _quantiles(
    ask: Ask, relation: str, column: str, there: str, kind: Kind
) -> tuple[tuple[str, ...], str | None]:
    """The quantiles where an order means something; and of a number the one positive values are measured by."""
    if kind in (Kind.text, Kind.boolean):
        return (), None
    at = ", ".join(map(str, QUANTILES))
    wanted = f"list_transform(quantile_disc({column}, [{at}]), lambda x: cast(x as varchar))"
    least = "null"
    if kind in (Kind.integer, Kind.decimal):
        least = f"cast(quantile_disc({column}, 0.05) filter ({column} > 0) as varchar)"
    found = ask(f"select {wanted}, {least} from {relation} where {there}")[0]
    return tuple(str(each) for each in found[0] or ()), None if found[1] is None else str(found[1])


def _tops(kind: Kind, distinct: int) -> list[str]:
    """The most frequent values; the smallest and the largest where an order means something."""
    often = "g" if distinct <= TOP_MAX else "(select v, n from g where n > 1)"
    wanted = [_tallies(often, "n desc, v", TOP_MAX)]
    if kind in (Kind.text, Kind.boolean):
        return [*wanted, "null", "null"]
    return [*wanted, _tallies("g", "v", EDGE_MAX), _tallies("g", "v desc", EDGE_MAX)]


def _texts(kind: Kind, distinct: int) -> list[str]:
    """Shortest, longest, and how many texts are numbers, which is not counted of very many different ones."""
    if kind is not Kind.text:
        return ["null", "null", "0"]
    number = _rows(f"regexp_full_match(t, {literal(_NUMBER)})")
    return ["min(length(v))", "max(length(v))", "null" if distinct > SAMPLED_MAX else number]


def _numbers(kind: Kind, least: str | None) -> list[str]:
    """Zeros, and positive values much below the others."""
    if kind not in (Kind.integer, Kind.decimal):
        return ["0", "0"]
    near = "0" if least is None else _rows(f"v > 0 and v * 2 <= {literal(least)}::double")
    return [_rows("v = 0"), near]


def _times(kind: Kind, day: str) -> list[str]:
    late = f"cast(v as date) > date {literal(day)}"
    return [_rows(late) if kind in (Kind.date, Kind.timestamp) else "0"]


def _guarded(personal: Personal, kind: Kind) -> str:
    """An identifier's condition on the text `t`, behind one that is cheap and turns nearly all others away."""
    likely = _LIKELY[personal]
    if kind is Kind.integer:
        likely = f"v >= {_SMALLEST_NUMBER} and {likely}"
    return f"case when {likely} then {identifier(personal, 't')} else false end"


def _likely_kinds(ask: Ask, kind: Kind, distinct: int) -> tuple[Personal, ...]:
    """The kinds of identifier worth counting in `g`: of very many different values a sample decides.

    What chance makes now and then is an identifier only where most values match; it is left out where not even
    a quarter of the sample does.
    """
    if kind not in (Kind.text, Kind.integer):
        return ()
    some = _sample(distinct)
    if not some:
        return tuple(Personal)
    text = "trim(v)" if kind is Kind.text else "cast(v as varchar)"
    weak = [each for each in Personal if each not in STRONG]
    wanted = ", ".join(_rows(_guarded(each, kind)) for each in weak)
    total, *found = ask(f"select sum(n), {wanted} from (select v, n, {text} as t from g{some})")[0]
    common = {each for each, number in zip(weak, found, strict=True) if int(number) * 4 >= int(total or 0)}
    return tuple(each for each in Personal if each in STRONG or each in common)


def _sample(distinct: int) -> str:
    """SQL that leaves about `SAMPLED_MAX` of very many different values, by their hashes; empty: all."""
    if distinct <= SAMPLED_MAX:
        return ""
    return f" where hash(v) % {distinct // SAMPLED_MAX + 1} = 0"


def _shapes(ask: Ask, kind: Kind, distinct: int) -> tuple[Tally, ...]:
    """The most frequent shapes of a text.

    Of very many different texts only the one that most of a sample have is told, counted over all of them.
    """
    if kind is not Kind.text:
        return ()
    shape = f"left(v, {VALUE_CHARACTERS})"
    for form, sign in _SIGNS:
        shape = f"regexp_replace({shape}, {literal(form)}, '{sign}', 'g')"
    some = _sample(distinct)
    shaped = f"(select {shape} as v, sum(n) as n from g{some} group by 1)"
    found = _counted(ask(f"select {_tallies(shaped, 'n desc, v', SHAPES_MAX)}")[0][0])
    if not some or not found:
        return found
    total = int(ask(f"select sum(n) from g{some}")[0][0])
    if found[0].rows * 2 < total:
        return ()
    same = f"regexp_full_match(left(v, {VALUE_CHARACTERS}), {literal(_form_of(found[0].value))})"
    return (Tally(found[0].value, int(ask(f"select {_rows(same)} from g")[0][0])),)


def _form_of(shape: str) -> str:
    """The pattern of the texts of a shape: its signs stand for runs, all else for itself."""
    runs = {sign: form for form, sign in _SIGNS}
    return "".join(runs.get(sign) or re.escape(sign) for sign in shape)


def _rows(condition: str) -> str:
    return f"cast(coalesce(sum(n) filter ({condition}), 0) as bigint)"


def _tallies(groups: str, order: str, limit: int) -> str:
    item = f"[left(cast(v as varchar), {VALUE_CHARACTERS}), cast(n as varchar)]"
    return f"(select list({item}) from (select v, n from {groups} order by {order} limit {limit}))"


def _counted(pairs: Sequence[Sequence[Any]] | None) -> tuple[Tally, ...]:
    return tuple(Tally(str(value), int(rows)) for value, rows in pairs or ())
