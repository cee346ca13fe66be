"""Laws of terms: what is permitted, what is narrower, how terms read."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.policy import rules
from dujiang.policy.model import (
    JOIN_NOT_PERMITTED,
    PARTNER_NOT_PERMITTED,
    PERIOD_OVER,
    PURPOSE_MISSING,
    PURPOSE_NOT_PERMITTED,
    QUESTIONS_SPENT,
    RECIPIENT_NOT_PERMITTED,
    Noise,
    Price,
    Share,
    Terms,
    TermsFile,
)

WORDS = st.text("abc 分析训练éß,“”", min_size=1, max_size=6).filter(lambda text: bool(text.strip()))
LISTS = st.none() | st.lists(WORDS, min_size=1, max_size=3, unique_by=rules.purpose_word).map(tuple)
PRICES = st.builds(
    Price,
    currency=st.sampled_from(["CNY", "JPY", "KWD"]),
    agreement_minor=st.integers(0, 10**9),
    month_minor=st.integers(0, 10**9),
    question_minor=st.integers(1, 10**9),
    row_minor=st.integers(0, 10**9),
    shares=st.lists(
        st.builds(Share, WORDS, st.integers(1, 10**6)),
        max_size=3,
        unique_by=lambda s: rules.fold(s.recipient),
    ).map(tuple),
)
TERMS = st.builds(
    Terms,
    purposes=LISTS,
    until=st.none() | st.dates(date(2000, 1, 1), date(2090, 1, 1)).map(date.isoformat),
    days=st.integers(1, 36_500),
    questions=st.none() | st.integers(1, 1000),
    recipients=LISTS,
    columns=LISTS,
    group_min=st.integers(2, 1000),
    statistics=st.integers(1, 1000),
    ceiling_statistics=st.none() | st.integers(1000, 5000),
    rho_micro=st.integers(1, 10_000_000),
    noise=st.sampled_from(Noise),
    dominance_percent=st.integers(1, 100),
    price=st.none() | PRICES,
    join_keys=LISTS,
    partners=LISTS,
).map(lambda terms: terms if terms.join_keys else replace(terms, partners=None))
DAY = date(2026, 3, 1)
USE: dict[str, Any] = {
    "purpose": "analyse",
    "recipient": ("Insurer", "did:web:x:i"),
    "today": DAY,
    "agreed_on": DAY,
    "questions_used": 0,
}
# One other value per field than the default; the laws below walk all of them.
OTHER: dict[str, Any] = {
    "purposes": ("train",),
    "until": "2027-01-31",
    "days": 30,
    "questions": 7,
    "recipients": ("保险公司",),
    "columns": ("age",),
    "group_min": 20,
    "statistics": 12,
    "ceiling_statistics": 400,
    "rho_micro": 20_000,
    "noise": Noise.laplace,
    "dominance_percent": 30,
    "price": Price("CNY", 10_000, 2_000, 200, 5, (Share("市立医院", 3), Share("疾控中心", 1))),
    "join_keys": ("seqn",),
    "partners": ("医院",),
}
WRONG: list[tuple[str, Any]] = [
    ("days", 0),
    ("days", 36_501),
    ("questions", 0),
    ("group_min", 1),
    ("statistics", 0),
    ("ceiling_statistics", 49),
    ("rho_micro", 0),
    ("rho_micro", 10_000_001),
    ("dominance_percent", 101),
    ("until", "2027-02-30"),
    ("until", "20270201"),
    ("purposes", ()),
    ("purposes", ("analyse", "分析")),
    ("purposes", ("a\nb",)),
    ("recipients", ("Insurer", "ＩＮＳＵＲＥＲ")),
    ("columns", ("a", "a")),
    ("columns", ("x" * 201,)),
    ("recipients", tuple(str(n) for n in range(1001))),
    ("columns", ("\ud800",)),
    ("price", Price("CNY")),
    ("price", Price("cny", question_minor=1)),
    ("price", Price("CNY", question_minor=-1)),
    ("price", Price("CNY", row_minor=10**9 + 1)),
    ("price", Price("CNY", question_minor=1, shares=(Share("A", 0),))),
    ("price", Price("CNY", question_minor=1, shares=(Share("A", 1), Share("Ａ", 1)))),
    ("price", Price("CNY", question_minor=1, shares=tuple(Share(str(n), 1) for n in range(21)))),
    ("join_keys", ()),
    ("join_keys", ("a", "a")),
    ("join_keys", tuple("abcdef")),
    ("partners", ("医院",)),
]


def test_the_defaults_have_no_problem() -> None:
    assert rules.check(Terms()) == ()


def test_other_values_cover_every_field() -> None:
    assert set(OTHER) == {part.name for part in fields(Terms)}
    assert rules.check(Terms(**OTHER)) == ()


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_a_problem_of_its_field(name: str, value: Any) -> None:
    problems = rules.check(replace(Terms(), **{name: value}))
    assert [problem.field for problem in problems] == [name]
    assert isinstance(value, int) or str(value) not in str(problems[0])


def test_all_problems_are_collected() -> None:
    terms = Terms(days=0, group_min=0, until="x", columns=())
    assert {problem.field for problem in rules.check(terms)} == {"days", "group_min", "until", "columns"}


def test_columns_must_be_the_tables() -> None:
    assert rules.check_columns(Terms(columns=("age",)), ["age", "sex"]) == ()
    assert rules.check_columns(Terms(columns=("age", "Age")), ["age", "sex"])[0].field == "columns"


def test_a_title_has_a_limit() -> None:
    assert rules.check_file(TermsFile(title="t" * 201, description="ok\nsecond line"))[0].field == "title"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", list(OTHER))
def test_every_field_changes_the_sentence(name: str, language: str) -> None:
    changed = replace(Terms(), **{name: OTHER[name]})
    assert rules.sentence(changed, language) != rules.sentence(Terms(), language)


@given(TERMS, TERMS)
def test_different_terms_never_read_alike(one: Terms, other: Terms) -> None:
    for language in ("en", "zh"):
        for part in fields(Terms):
            mixed = replace(one, **{part.name: getattr(other, part.name)})
            same = rules.sentence(mixed, language) == rules.sentence(one, language)
            if same and part.name == "purposes" and mixed.purposes and one.purposes:
                labels = [tuple(map(rules.purpose_word, each)) for each in (mixed.purposes, one.purposes)]
                assert labels[0] == labels[1]
            elif same:
                assert mixed == one


def test_quotes_in_a_name_do_not_blur_a_list() -> None:
    one, two = Terms(columns=("a”、“b",)), Terms(columns=("a", "b"))
    assert rules.sentence(one, "en") != rules.sentence(two, "en")


@pytest.mark.parametrize(
    ("terms", "use", "code"),
    [
        (Terms(), {}, None),
        (Terms(), {"purpose": "  "}, PURPOSE_MISSING),
        (Terms(purposes=("分析",)), {"purpose": "ANALYSE"}, None),
        (Terms(purposes=("analyse",)), {"purpose": "分析"}, None),
        (Terms(purposes=("Credit Scoring",)), {"purpose": "credit scoring "}, None),
        (Terms(purposes=("train",)), {}, PURPOSE_NOT_PERMITTED),
        (Terms(recipients=("insurer",)), {}, None),
        (Terms(recipients=("did:web:x:i",)), {}, None),
        (Terms(recipients=("Bank",)), {}, RECIPIENT_NOT_PERMITTED),
        (Terms(days=1), {}, None),
        (Terms(days=1), {"today": DAY + timedelta(1)}, PERIOD_OVER),
        (Terms(days=365), {"today": DAY + timedelta(364)}, None),
        (Terms(days=365), {"today": DAY + timedelta(365)}, PERIOD_OVER),
        (Terms(), {"today": DAY - timedelta(1)}, PERIOD_OVER),
        (Terms(until="2026-03-01"), {}, None),
        (Terms(until="2026-02-28"), {}, PERIOD_OVER),
        (Terms(questions=2), {"questions_used": 1}, None),
        (Terms(questions=2), {"questions_used": 2}, QUESTIONS_SPENT),
    ],
)
def test_what_terms_permit(terms: Terms, use: dict[str, Any], code: Any) -> None:
    assert rules.permits(terms, **{**USE, **use}) == code


@given(TERMS)
def test_the_order_of_lists_changes_neither_hash_nor_verdict(terms: Terms) -> None:
    turned = replace(
        terms,
        purposes=terms.purposes and terms.purposes[::-1],
        recipients=terms.recipients and terms.recipients[::-1],
        columns=terms.columns and terms.columns[::-1],
        price=terms.price and replace(terms.price, shares=terms.price.shares[::-1]),
        join_keys=terms.join_keys and terms.join_keys[::-1],
        partners=terms.partners and terms.partners[::-1],
    )
    assert rules.terms_sha256(turned) == rules.terms_sha256(terms)
    assert rules.narrower_or_equal(turned, terms)
    assert rules.narrower_or_equal(terms, turned)


@given(TERMS, st.sampled_from(list(OTHER)), TERMS)
def test_what_is_narrower_permits_nothing_more(offered: Terms, name: str, other: Terms) -> None:
    asked = replace(offered, **{name: getattr(other, name)})
    if not rules.narrower_or_equal(asked, offered):
        return
    for day in (0, 29, 364, 9999):
        for used in (0, 1, 999):
            use = {**USE, "purpose": "a", "today": DAY + timedelta(day), "questions_used": used}
            if rules.permits(asked, **use) is None:
                assert rules.permits(offered, **use) is None
    assert asked.group_min >= offered.group_min
    assert asked.statistics * asked.rho_micro <= offered.statistics * offered.rho_micro


@pytest.mark.parametrize(
    ("change", "narrower"),
    [
        ({"purposes": ("分析",)}, True),
        ({"days": 364}, True),
        ({"days": 366}, False),
        ({"until": "2030-01-01"}, True),
        ({"questions": 5}, True),
        ({"group_min": 9}, False),
        ({"group_min": 11}, True),
        ({"statistics": 51}, False),
        ({"rho_micro": 5001}, False),
        ({"noise": Noise.exact}, False),
        ({"noise": Noise.laplace}, False),
        ({"dominance_percent": 51}, False),
        ({"ceiling_statistics": 1000}, False),
        ({"price": Price("CNY", question_minor=1)}, False),
    ],
)
def test_narrower_than_the_defaults(change: dict[str, Any], narrower: bool) -> None:
    assert rules.narrower_or_equal(replace(Terms(), **change), Terms()) is narrower


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (Terms(), JOIN_NOT_PERMITTED),
        (Terms(join_keys=("seqn",)), None),
        (Terms(join_keys=("seqn",), partners=("医院", "Insurer")), None),
        (Terms(join_keys=("seqn",), partners=("ＩＮＳＵＲＥＲ", "did:web:x:h")), None),
        (Terms(join_keys=("seqn",), partners=("Insurer",)), PARTNER_NOT_PERMITTED),
        (Terms(join_keys=("seqn",), purposes=("训练", "分析")), None),
        (Terms(join_keys=("seqn",), purposes=("analyse",)), PURPOSE_NOT_PERMITTED),
    ],
)
def test_what_terms_let_their_table_be_joined_with(terms: Terms, code: Any) -> None:
    partners = [("医院", "did:web:x:h"), ("Insurer", "did:web:x:i")]
    assert rules.join_refused(terms, partners=partners, purposes=["analyse", "TRAIN"]) is code


def test_a_join_is_not_opened_by_leaving_it_out() -> None:
    offered = Terms(join_keys=("seqn",), partners=("Insurer",))
    assert rules.narrower_or_equal(Terms(), offered)
    for wider in (replace(offered, partners=None), replace(offered, join_keys=("seqn", "age"))):
        assert not rules.narrower_or_equal(wider, offered)
    assert not rules.narrower_or_equal(Terms(join_keys=("seqn",)), Terms())


def test_keys_of_a_join_must_have_been_registered() -> None:
    terms = Terms(join_keys=("seqn",))
    assert rules.check_columns(terms, ["seqn"], ["seqn"]) == ()
    assert [each.field for each in rules.check_columns(terms, ["seqn"], [])] == ["join_keys"]
    assert [each.field for each in rules.check_columns(terms, ["age"], [])] == ["join_keys"]


def test_terms_of_before_joins_keep_their_hash() -> None:
    assert rules.terms_sha256(Terms()) == "296e6d9b5cbbf4adc7ba365100f131df965a28b952f1101a0822f12d69588f3d"


def test_a_list_is_not_opened_by_leaving_it_out() -> None:
    assert not rules.narrower_or_equal(Terms(), Terms(columns=("age",)))
    assert not rules.narrower_or_equal(Terms(questions=None), Terms(questions=5))
    assert not rules.narrower_or_equal(Terms(until=None), Terms(until="2030-01-01"))


@given(TERMS)
def test_terms_are_taken_whole_from_a_file(terms: Terms) -> None:
    values = {part.name: getattr(terms, part.name) for part in fields(Terms)}
    assert rules.terms_of(TermsFile(**values, title="t", rows_per_entity=3)) == terms
