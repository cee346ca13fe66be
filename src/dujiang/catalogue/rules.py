"""What a product is found by: index terms of texts, and the ranges a search looks up; pure.

1. Chinese, Japanese and Korean text is indexed by its single characters and its pairs, so that one- and
   two-character words are found and longer ones by all their pairs; nothing is segmented by a dictionary.
2. Other text is indexed by whole words, folded; a searched word of three characters or more also finds the
   words that begin with it.
3. All words of a search must be found in one product.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import date

from dujiang.catalogue.model import HOLD_NEEDS_DAY, SEARCH_TERMS_MAX, Answering, Strategy
from dujiang.kernel.errors import Refused

PREFIX_CHARACTERS_MIN = 3
TERM_CHARACTERS_MAX = 40
TERMS_MAX = 2000
"""Most index terms of one product."""
_IDEOGRAPHS = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUN = re.compile(rf"[{_IDEOGRAPHS}]+|[^\W_{_IDEOGRAPHS}]+")
_IDEOGRAPH = re.compile(rf"[{_IDEOGRAPHS}]")
_AFTER_PREFIX = "\U0010ffff"
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def answering(strategy: Strategy, until: str | None) -> Answering:
    """How requests are answered: a day with `hold`, and with nothing else.

    Raises: Refused hold_needs_day.
    """
    fits = until is None if strategy is not Strategy.hold else until is not None and _is_day(until)
    if not fits:
        raise Refused(HOLD_NEEDS_DAY)
    return Answering(strategy, until)


def _is_day(text: str) -> bool:
    try:
        return bool(_ISO_DATE.fullmatch(text) and date.fromisoformat(text))
    except ValueError:
        return False


def _runs(text: str) -> Iterable[tuple[str, bool]]:
    for run in _RUN.findall(unicodedata.normalize("NFKC", text).casefold()):
        yield run, bool(_IDEOGRAPH.match(run))


def index_terms(text: str) -> set[str]:
    """Every term a text is found by."""
    found: set[str] = set()
    for run, ideographs in _runs(text):
        if ideographs:
            found.update(run)
            found.update(run[at : at + 2] for at in range(len(run) - 1))
        else:
            found.add(run[:TERM_CHARACTERS_MAX])
    return found


def weighted_terms(titles: Iterable[str], others: Iterable[str]) -> dict[str, int]:
    """The terms of a product: 1 for those of its titles, 0 for the others, at most TERMS_MAX."""
    weights = dict.fromkeys(sorted(set[str]().union(*map(index_terms, titles))), 1)
    for text in others:
        for term in sorted(index_terms(text)):
            if len(weights) >= TERMS_MAX:
                return weights
            weights.setdefault(term, 0)
    return weights


def search_ranges(words: str) -> tuple[tuple[str, str], ...]:
    """The half-open ranges of index terms a search needs one of each from; at most SEARCH_TERMS_MAX."""
    ranges: dict[tuple[str, str], None] = {}
    for run, ideographs in _runs(words):
        if not ideographs:
            word = run[:TERM_CHARACTERS_MAX]
            end = word + (_AFTER_PREFIX if len(word) >= PREFIX_CHARACTERS_MIN else "\x01")
            ranges[word, end] = None
            continue
        pairs = [run] if len(run) == 1 else [run[at : at + 2] for at in range(len(run) - 1)]
        ranges.update(dict.fromkeys((pair, pair + "\x01") for pair in pairs))
    return tuple(ranges)[:SEARCH_TERMS_MAX]
