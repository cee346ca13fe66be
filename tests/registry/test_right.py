"""Laws of the three rights, pure: a chain only narrows, what ends takes what is below it along."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date, timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.policy.model import Terms
from dujiang.registry import right as rules
from dujiang.registry.right import Basis, End, Grant, Limits, Right, Standing

DAYS = [(date(2026, 1, 1) + timedelta(days=n)).isoformat() for n in range(8)]
PURPOSES = ("analyse", "train", "share")
ROOT = Grant("g0", "res", Right.operate, "o0", "o0", None, DAYS[0], None, True, None, "", None, 0)

days = st.sampled_from(DAYS)
purposes = st.none() | st.sets(st.sampled_from(PURPOSES), min_size=1).map(lambda each: tuple(sorted(each)))
limits = st.none() | st.builds(
    Limits,
    group_min=st.sampled_from([5, 10]),
    statistics=st.sampled_from([10, 50]),
    exact=st.booleans(),
    columns=st.none() | st.sets(st.sampled_from("ab"), min_size=1).map(lambda each: tuple(sorted(each))),
    join_keys=st.sampled_from([None, ("a",), ("a", "b")]),
    partners=st.sampled_from([None, ("o7",), ("o7", "o8")]),
)


@st.composite
def grants(draw: st.DrawFn, name: str, parent: Grant) -> Grant:
    """A grant said to be under another, within it or not."""
    return replace(
        parent, id=name, parent=parent.id, org=draw(st.sampled_from(["o1", "o2", "o3"])), granter=parent.org,
        start=draw(days), until=draw(st.none() | days), onward=draw(st.booleans()), purposes=draw(purposes),
        limits=draw(limits), ended_ms=None, end=None,
    )  # fmt: skip


@st.composite
def forests(draw: st.DrawFn) -> dict[str, Grant]:
    """Grants of one resource as acts would make them: each kept where it lies within the one above."""
    made = {ROOT.id: ROOT}
    for n in range(1, draw(st.integers(1, 10))):
        above = made[draw(st.sampled_from(sorted(made)))]
        each = draw(grants(f"g{n}", above))
        if draw(st.booleans()):  # else hardly any would fit
            low = max(each.start, above.start)
            end = above.until if each.until is None else min(filter(None, [each.until, above.until]))
            each = replace(each, start=low, until=end, limits=above.limits, purposes=above.purposes)
        if not rules.beyond(each, above):
            made[each.id] = each
    return made


def allows(one: Grant) -> set[tuple[object, ...]]:
    """Everything one grant by itself allows: each day, purpose, limit and column, spelt out."""
    until = one.until or DAYS[-1]
    open_days = [day for day in DAYS if one.start <= day <= until] + (["ever"] if one.until is None else [])
    named = one.purposes or (*PURPOSES, "any other")
    groups = [n for n in (5, 10) if one.limits is None or n >= one.limits.group_min]
    counts = [n for n in (10, 50) if one.limits is None or n <= one.limits.statistics]
    exact = [False, True] if one.limits is None or one.limits.exact else [False]
    columns = (one.limits.columns if one.limits else None) or ("a", "b", "any other")
    unlimited = [False] + ([True] if one.limits is None else [])
    keys = ("a", "b", "any other") if one.limits is None else one.limits.join_keys or ()
    partners = (one.limits.partners if one.limits else None) or ("o7", "o8", "any other")
    joins = ["none", *(f"{key} with {partner}" for key in keys for partner in partners)]
    return set(product(open_days, named, groups, counts, exact, columns, joins, unlimited))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_grant_lies_within_another_exactly_where_all_it_allows_does(data: st.DataObject) -> None:
    above = replace(data.draw(grants("g1", ROOT)), onward=True)
    below = data.draw(grants("g2", above))
    if below.until is not None and below.until < below.start:
        below = replace(below, until=None)
    assert (rules.beyond(below, above) == ()) == (allows(below) <= allows(above))


@given(forests())
@settings(max_examples=100, deadline=None)
def test_authority_only_narrows_down_a_chain(made: dict[str, Grant]) -> None:
    for each in made.values():
        if each.parent is None:
            continue
        above = made[each.parent]
        assert above.onward
        assert allows(each) <= allows(above)
        for day in DAYS:
            if rules.standing(rules.chain_of(made, each.id), day) is Standing.live:
                assert rules.standing(rules.chain_of(made, above.id), day) is Standing.live


@given(forests(), st.data())
@settings(max_examples=100, deadline=None)
def test_what_ends_takes_exactly_what_is_below_along(made: dict[str, Grant], data: st.DataObject) -> None:
    top = data.draw(st.sampled_from(sorted(made)))
    ended = {each.id for each in rules.with_below(made.values(), top)}
    assert ended == {name for name in made if top in [each.id for each in rules.chain_of(made, name)]}
    after = {
        name: replace(each, ended_ms=1, end=End.revoked) if name in ended else each
        for name, each in made.items()
    }
    for name, day in product(made, DAYS):
        now = rules.standing(rules.chain_of(after, name), day)
        expected = rules.standing(rules.chain_of(made, name), day)
        assert now is (Standing.ended if name in ended else expected)


@given(forests(), st.data())
@settings(max_examples=50, deadline=None)
def test_a_link_that_ended_ends_the_chain_whatever_its_leaf_says(
    made: dict[str, Grant], data: st.DataObject
) -> None:
    """The look at a right walks the whole chain: it does not rely on the cascade having been written."""
    leaf = data.draw(st.sampled_from(sorted(made)))
    chain = rules.chain_of(made, leaf)
    broken = data.draw(st.sampled_from(range(len(chain))))
    links = [replace(each, ended_ms=1) if n == broken else each for n, each in enumerate(chain)]
    assert {rules.standing(links, day) for day in DAYS} == {Standing.ended}
    assert rules.standing(chain[:-1], DAYS[0]) is Standing.ended


@pytest.mark.parametrize(
    ("day", "expected"),
    [(DAYS[0], Standing.early), (DAYS[1], Standing.live), (DAYS[3], Standing.live), (DAYS[4], Standing.over)],
)
def test_both_days_of_a_grant_count(day: str, expected: Standing) -> None:
    child = replace(ROOT, id="g1", parent="g0", start=DAYS[1], until=DAYS[3])
    assert rules.standing([child, ROOT], day) is expected


@pytest.mark.parametrize(
    "change",
    [
        {"start": "2026-1-1"},
        {"until": "01.02.2026"},
        {"until": "2026-02-30"},
        {"start": DAYS[0]},
        {"until": DAYS[1]},
        {"purposes": ()},
        {"purposes": (" ",)},
        {"purposes": ("a\x07",)},
        {"scope": "x" * 401},
        {"scope": "\x1b[2J"},
        {"limits": Limits(group_min=0)},
        {"limits": Limits(rho_micro=0)},
    ],
    ids=str,
)
def test_a_grant_that_says_nonsense_is_told_so(change: dict[str, object]) -> None:
    good = replace(ROOT, id="g1", parent="g0", start=DAYS[2])
    assert rules.misstated(good, DAYS[2]) == ()
    assert rules.misstated(replace(good, **change), DAYS[2])


def test_every_term_is_limited_by_a_grant_or_opens_nothing_of_the_holder_s() -> None:
    """A new field of the terms fails here until somebody says which it is."""
    harmless = {"until", "days", "questions", "price"}
    named = {"purposes": "Grant.purposes", "noise": "exact"}
    bounded = {part.name for part in fields(Limits)}
    assert {part.name for part in fields(Terms)} - harmless - set(named) <= bounded


def test_what_a_program_gathered_in_public_may_not_be_operated() -> None:
    for basis in Basis:
        assert (Right.operate in rules.rights_of(basis)) == (basis is not Basis.crawled)
