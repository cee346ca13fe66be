"""Verdicts on terms: their problems, what they permit, and how two of them compare; pure.

1. `check` collects every problem; terms with a problem are never offered nor agreed.
2. `permits` judges from the terms and what is counted, never from data.
3. `sentence` names every field, so that two different terms never read alike.
4. `narrower_or_equal` is a partial order: what it lets through gives the consumer nothing more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields, replace
from datetime import date, timedelta
from typing import cast

from dujiang.kernel.canonical import sha256_hex
from dujiang.kernel.errors import Code
from dujiang.kernel.money import Money
from dujiang.policy.model import (
    JOIN_NOT_PERMITTED,
    LIST_ITEMS_MAX,
    PARTNER_NOT_PERMITTED,
    PERIOD_OVER,
    PURPOSE_MISSING,
    PURPOSE_NOT_PERMITTED,
    PURPOSES,
    QUESTIONS_SPENT,
    RECIPIENT_NOT_PERMITTED,
    TEXT_CHARACTERS_MAX,
    Noise,
    Price,
    Problem,
    Terms,
    TermsFile,
)

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_RANGES: tuple[tuple[str, int, int], ...] = (
    ("days", 1, 36_500),
    ("questions", 1, 1_000_000),
    ("group_min", 2, 1_000_000),
    ("statistics", 1, 100_000),
    ("ceiling_statistics", 1, 10_000_000),
    ("rho_micro", 1, 10_000_000),
    ("dominance_percent", 1, 100),
)
_AMOUNT_MAX = 10**9
_SHARES_MAX = 20
_WEIGHT_MAX = 10**6
_LISTS = ("purposes", "recipients", "columns", "join_keys", "partners")
_LATER = ("join_keys", "partners", "price")
"""Fields that came later: left out where they say nothing, so that the hash of older terms stays."""
JOIN_KEYS_MAX = 5
OTHER = "other"
"""The class of purposes in free text."""
_CLASSES = frozenset(word for word, _ in PURPOSES)
_ALLOTMENTS = 4
"""The ceiling over all organisations where the terms do not say one."""
_WORDS = {spoken: word for word, chinese in PURPOSES for spoken in (word, chinese)}


def fold(text: str) -> str:
    """The form in which names and purposes are compared: compatible characters, no case, no edges."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


def purpose_word(text: str) -> str:
    """A purpose as compared: the vocabulary's word for either language's label, else the folded text."""
    folded = fold(text)
    return _WORDS.get(folded, folded)


def purpose_class(text: str) -> str:
    """The vocabulary's word of a purpose, for figures; free text is `other`, so that it names nobody."""
    word = purpose_word(text)
    return word if word in _CLASSES else OTHER


def terms_of(file: TermsFile) -> Terms:
    """The terms alone of a terms file."""
    return Terms(**{part.name: getattr(file, part.name) for part in fields(Terms)})


def check(terms: Terms) -> tuple[Problem, ...]:
    """Every problem of some terms; none when they may be offered."""
    found = [
        Problem(name, f"{low}..{high}")
        for name, low, high in _RANGES
        if (value := getattr(terms, name)) is not None and not low <= value <= high
    ]
    if terms.until is not None and _day(terms.until) is None:
        found.append(Problem("until", "YYYY-MM-DD"))
    if terms.ceiling_statistics is not None and terms.ceiling_statistics < terms.statistics:
        found.append(Problem("ceiling_statistics", ">= statistics"))
    for name in _LISTS:
        found.extend(Problem(name, rule) for rule in _list_rules(name, getattr(terms, name)))
    if terms.price is not None:
        found.extend(Problem("price", rule) for rule in _price_rules(terms.price))
    if len(terms.join_keys or ()) > JOIN_KEYS_MAX:
        found.append(Problem("join_keys", f"1..{JOIN_KEYS_MAX} items"))
    if terms.partners is not None and terms.join_keys is None:
        found.append(Problem("partners", "needs join_keys"))
    return tuple(found)


def amounts(price: Price) -> tuple[tuple[str, int], ...]:
    """What a price asks for and how much, in minor units; what costs nothing is left out."""
    parts = (
        ("agreement", price.agreement_minor), ("month", price.month_minor), ("question", price.question_minor),
        ("row", price.row_minor),
    )  # fmt: skip
    return tuple((per, amount) for per, amount in parts if amount)


def _price_rules(price: Price) -> list[str]:
    rules: list[str] = []
    if not re.fullmatch("[A-Z]{3}", price.currency, re.ASCII):
        rules.append("currency: three capital letters")
    if any(not 0 <= amount <= _AMOUNT_MAX for _, amount in amounts(price)):
        rules.append(f"amounts 0..{_AMOUNT_MAX} minor units")
    if not amounts(price):
        rules.append("at least one amount above 0")
    names = [share.recipient for share in price.shares]
    if names:
        rules.extend(f"shares: {rule}" for rule in _list_rules("recipients", tuple(names)))
    if len(names) > _SHARES_MAX or any(not 1 <= share.weight <= _WEIGHT_MAX for share in price.shares):
        rules.append(f"at most {_SHARES_MAX} shares, weights 1..{_WEIGHT_MAX}")
    return rules


def check_columns(
    terms: Terms, known: Iterable[str], joinable: Iterable[str] | None = None
) -> tuple[Problem, ...]:
    """The problems of columns in the terms that a table does not have, or was not registered to be joined on.

    `joinable`: the columns whose values were kept for joining; None: not known yet.
    """
    names = set(known)
    found: list[Problem] = []
    for field in ("columns", "join_keys"):
        if set(getattr(terms, field) or ()) - names:
            found.append(Problem(field, "not in the table"))
    if not found and joinable is not None and set(terms.join_keys or ()) - set(joinable):
        found.append(Problem("join_keys", "needs the file, to be registered again"))
    return tuple(found)


def check_file(file: TermsFile) -> tuple[Problem, ...]:
    """Every problem of the terms and texts of a terms file; its columns are judged at registration."""
    found = list(check(file))
    for name, limit in (("title", 200), ("title_zh", 200), ("description", 4000)):
        text: str | None = getattr(file, name)
        if text is not None and (not text.strip() or len(text) > limit or not _printable(text, lines=True)):
            found.append(Problem(name, f"1..{limit} printable characters"))
    return tuple(found)


def _list_rules(name: str, items: tuple[str, ...] | None) -> list[str]:
    if items is None:
        return []
    rules: list[str] = []
    if not 1 <= len(items) <= LIST_ITEMS_MAX:
        rules.append(f"1..{LIST_ITEMS_MAX} items")
    if any(not item.strip() or len(item) > TEXT_CHARACTERS_MAX or not _printable(item) for item in items):
        rules.append(f"1..{TEXT_CHARACTERS_MAX} printable characters each")
    same = purpose_word if name == "purposes" else fold if name in ("recipients", "partners") else str
    if len({same(item) for item in items}) != len(items):
        rules.append("each once")
    return rules


def _printable(text: str, *, lines: bool = False) -> bool:
    # Surrogates and control characters would break the canonical bytes or a terminal.
    return all(sign.isprintable() or (lines and sign in "\n\t") or sign == "\u3000" for sign in text)


def _day(text: str) -> date | None:
    if not _ISO_DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def last_day(terms: Terms, agreed_on: date) -> date:
    """The last day of use of a contract agreed on a day."""
    by_days = agreed_on + timedelta(days=terms.days - 1)
    until = _day(terms.until) if terms.until is not None else None
    return by_days if until is None else min(by_days, until)


def permits(
    terms: Terms,
    *,
    purpose: str,
    recipient: tuple[str, ...],
    today: date,
    agreed_on: date,
    questions_used: int,
) -> Code | None:
    """None where the terms permit a use, else the code of the first rule it breaks.

    `recipient`: every name the organisation goes by (name, DID). `questions_used`: before this use.
    """
    if not purpose.strip():
        return PURPOSE_MISSING
    if terms.purposes is not None and purpose_word(purpose) not in map(purpose_word, terms.purposes):
        return PURPOSE_NOT_PERMITTED
    if terms.recipients is not None and not set(map(fold, recipient)) & set(map(fold, terms.recipients)):
        return RECIPIENT_NOT_PERMITTED
    if not agreed_on <= today <= last_day(terms, agreed_on):
        return PERIOD_OVER
    if terms.questions is not None and questions_used >= terms.questions:
        return QUESTIONS_SPENT
    return None


def join_refused(
    terms: Terms, *, partners: Iterable[tuple[str, ...]], purposes: Iterable[str]
) -> Code | None:
    """None where the terms let their table be joined with others, else the code of the first rule it breaks.

    `partners`: every name each provider of another table goes by. `purposes`: those of the other contracts.
    """
    if not terms.join_keys:
        return JOIN_NOT_PERMITTED
    if terms.partners is not None:
        listed = set(map(fold, terms.partners))
        if any(not listed & set(map(fold, names)) for names in partners):
            return PARTNER_NOT_PERMITTED
    if terms.purposes is not None:
        permitted = set(map(purpose_word, terms.purposes))
        if any(purpose_word(purpose) not in permitted for purpose in purposes):
            return PURPOSE_NOT_PERMITTED
    return None


def ceiling_of(terms: Terms) -> int:
    """Most statistics over all organisations: as the terms say, else four allotments."""
    return terms.ceiling_statistics or _ALLOTMENTS * terms.statistics


def normal(terms: Terms) -> Terms:
    """The same terms with lists in one order, so that equal meanings have equal bytes."""

    def ordered(items: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if items is None else tuple(sorted(set(items)))

    lists = {name: ordered(getattr(terms, name)) for name in _LISTS}
    return replace(terms, **lists, price=terms.price and normal_price(terms.price))


def normal_price(price: Price) -> Price:
    """The same price with its shares in one order, which also decides who gets an odd minor unit first."""
    return replace(price, shares=tuple(sorted(price.shares, key=lambda share: share.recipient)))


def terms_value(terms: Terms) -> dict[str, object]:
    """The terms as a JSON object, every field named (one of a later version only where it says something)."""
    made: dict[str, object] = {}
    for part in fields(Terms):
        value = getattr(terms, part.name)
        if part.name in _LATER and value is None:
            continue
        made[part.name] = list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
    made["noise"] = terms.noise.value
    if terms.price is not None:
        made["price"] = {
            **asdict(terms.price), "shares": [asdict(share) for share in terms.price.shares],
        }  # fmt: skip
    return made


def terms_sha256(terms: Terms) -> str:
    """The hash a contract pins: SHA-256 of the canonical bytes of the terms in normal form, hexadecimal."""
    return sha256_hex(terms_value(normal(terms)))


def narrower_or_equal(asked: Terms, offered: Terms) -> bool:
    """Whether the asked terms give a consumer nothing that the offered ones do not."""
    return (
        _within(asked.purposes, offered.purposes, purpose_word)
        and _within(asked.recipients, offered.recipients, fold)
        and _within(asked.columns, offered.columns, str)
        and set(asked.join_keys or ()) <= set(offered.join_keys or ())
        and (not asked.join_keys or _within(asked.partners, offered.partners, fold))
        and _at_most(asked.until, offered.until)
        and _at_most(asked.questions, offered.questions)
        and asked.ceiling_statistics == offered.ceiling_statistics
        and asked.days <= offered.days
        and asked.statistics <= offered.statistics
        and asked.rho_micro <= offered.rho_micro
        and asked.group_min >= offered.group_min
        and asked.dominance_percent <= offered.dominance_percent
        and asked.noise == offered.noise
        and normal(asked).price == normal(offered).price
    )


def _within(
    asked: tuple[str, ...] | None, offered: tuple[str, ...] | None, same: Callable[[str], str]
) -> bool:
    if offered is None:
        return True
    return asked is not None and {same(item) for item in asked} <= {same(item) for item in offered}


def _at_most(asked: int | str | None, offered: int | str | None) -> bool:
    if offered is None:
        return True
    if isinstance(asked, str) and isinstance(offered, str):
        return asked <= offered  # ISO dates of four-digit years order as text
    return isinstance(asked, int) and isinstance(offered, int) and asked <= offered


def sentence(terms: Terms, language: str) -> str:
    """The terms as one sentence in `language` ("en" or "zh"), every restriction named."""
    return _sentence_zh(terms) if language == "zh" else _sentence_en(terms)


def _sentence_en(terms: Terms) -> str:
    """What is not restricted is not said; the two halves are who and when, and how much of what."""
    who = [
        "any stated purpose" if terms.purposes is None else _listed(terms.purposes, "en"),
        f"{terms.days} days from the agreement" + (f" and not after {terms.until}" if terms.until else ""),
        *([f"by {_listed(terms.recipients, '')}"] if terms.recipients is not None else []),
        *([f"over {_listed(terms.columns, '')}"] if terms.columns is not None else []),
        *([f"at most {terms.questions} questions"] if terms.questions is not None else []),
    ]
    ceiling = terms.ceiling_statistics
    what = [
        f"{terms.statistics} statistics an organisation"
        + (f" and at most {ceiling} over all" if ceiling is not None else "")
        + f" {_NOISE_EN[terms.noise]} ({_thousandths(terms.rho_micro)} of the privacy account each)",
        f"no group below {terms.group_min} entities",
        f"no sum that one entity could hold more than {terms.dominance_percent} % of",
        *([f"joined on {_listed(terms.join_keys, '')}"] if terms.join_keys is not None else []),
        *([f"with tables of {_listed(terms.partners, '')}"] if terms.partners is not None else []),
    ]
    return f"For {', '.join(who)}: {', '.join(what)}." + (
        "" if terms.price is None else _price_en(terms.price)
    )


def _price_en(price: Price) -> str:
    parts = [f"{Money(amount, price.currency)} {_PER_EN[per]}" for per, amount in amounts(price)]
    shares = [f"{_listed((share.recipient,), '')} {share.weight}" for share in price.shares]
    shared = f"; the provider's part is split {', '.join(shares)}" if shares else ""
    return f" It costs {', '.join(parts) or Money(0, price.currency)}{shared}."


def _price_zh(price: Price) -> str:
    parts = [f"{_PER_ZH[per]} {Money(amount, price.currency)}" for per, amount in amounts(price)]
    shares = [f"{_listed((share.recipient,), '')} {share.weight}" for share in price.shares]
    shared = f"；提供方所得按{'、'.join(shares)}分成" if shares else ""
    return f"价格：{'，'.join(parts) or Money(0, price.currency)}{shared}。"


def _sentence_zh(terms: Terms) -> str:
    who = [
        "须说明用途" if terms.purposes is None else f"用途限于{_listed(terms.purposes, 'zh')}",
        f"自签约起 {terms.days} 天内" + (f"且不晚于 {terms.until}" if terms.until else ""),
        *([f"仅限{_listed(terms.recipients, '')}使用"] if terms.recipients is not None else []),
        *([f"仅开放字段{_listed(terms.columns, '')}"] if terms.columns is not None else []),
        *([f"最多提问 {terms.questions} 次"] if terms.questions is not None else []),
    ]
    ceiling = terms.ceiling_statistics
    what = [
        f"每个机构 {terms.statistics} 个统计量"
        + (f"、各机构合计不超过 {ceiling} 个" if ceiling is not None else "")
        + f"，{_NOISE_ZH[terms.noise]}（每个消耗隐私账户 {_thousandths(terms.rho_micro)}）",
        f"不显示少于 {terms.group_min} 个主体的分组",
        f"不显示单一主体占比可能超过 {terms.dominance_percent} % 的合计",
        *([f"可按{_listed(terms.join_keys, '')}连接"] if terms.join_keys is not None else []),
        *([f"仅与{_listed(terms.partners, '')}的表连接"] if terms.partners is not None else []),
    ]
    return f"{'，'.join(who)}：{'，'.join(what)}。" + ("" if terms.price is None else _price_zh(terms.price))


_PER_EN = {
    "agreement": "with the first question", "month": "for each month with a question", "question": "a question",
    "row": "a row of an answer",
}  # fmt: skip
_PER_ZH = {"agreement": "首次提问", "month": "每个有提问的月份", "question": "每次提问", "row": "答案每行"}
_NOISE_EN = {
    Noise.gaussian: "with Gaussian noise",
    Noise.laplace: "with Laplace noise",
    Noise.exact: "without noise",
}
_NOISE_ZH = {
    Noise.gaussian: "加高斯噪声",
    Noise.laplace: "加拉普拉斯噪声",
    Noise.exact: "精确、不加噪声",
}


def _listed(items: tuple[str, ...], language: str) -> str:
    """Quoted items; purposes in the language's words where `language` is given."""
    shown = [_label(item, language) if language else item for item in items]
    # A closing quote inside a name is doubled, so that a list reads in one way only.
    return "、".join(f"“{item.replace('”', '””')}”" for item in shown)


def _label(purpose: str, language: str) -> str:
    word = purpose_word(purpose)
    return next((zh if language == "zh" else en for en, zh in PURPOSES if en == word), purpose)


def _thousandths(micro: int) -> str:
    whole, rest = divmod(micro, 10**6)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")
