"""Search and replay: what is found is what a look at every entry finds, and never more than the reader may see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.kernel.act import Caller
from dujiang.ledger import acts as ledger
from dujiang.ledger import rules, store, subject
from dujiang.ledger.model import Record
from tests.acts.scenario import Scenario, play
from tests.life import opened

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    """One life, played once."""
    with opened(tmp_path_factory.mktemp("searched")) as life:
        yield play(life)


def callers(scenario: Scenario) -> list[Caller]:
    """An overseer, both sides, a third party, and a stranger."""
    life = scenario.life
    provider = Caller(life.hospital.org, life.hospital.person, frozenset({"provider"}))
    return [life.auditor, provider, life.insurer, life.rival, Caller("org_nobody", "per_x")]


def seen(scenario: Scenario, caller: Caller) -> dict[int, tuple[Record, dict[str, Any]]]:
    """Every entry a caller may see, with the facts it may see, found without the search."""
    oversees = "auditor" in caller.roles
    with scenario.life.home.node.database.reading() as db:
        return {
            record.index: (record, rules.visible(record, caller.org, oversees=oversees))
            for record in scenario.life.records()
            if oversees or store.sees(db, caller.org, record.index)
        }


def found(scenario: Scenario, caller: Caller, **ask: Any) -> list[int]:
    """The entries of a search, page by page."""
    indexes: list[int] = []
    before: int | None = None
    while True:
        page = scenario.life.run("ledger.search", caller, ledger.Search(**ask, before=before, limit=3))
        assert len(page.items) <= 3
        indexes += [item.index for item in page.items]
        before = page.next
        if before is None:
            return indexes


def names(scenario: Scenario) -> set[str]:
    """Every name in the log."""
    return {name for record in scenario.life.records() for name in subject.names_of(record.facts)} - {""}


def test_a_search_finds_what_names_an_id_and_nothing_the_reader_may_not_see(scenario: Scenario) -> None:
    every = names(scenario)
    assert {name.partition("_")[0] for name in every} >= {
        "ctr",
        "neg",
        "job",
        "bil",
        "prd",
        "res",
        "ver",
        "per",
    }
    for caller, name in product(callers(scenario), every):
        mine = seen(scenario, caller) if "\n" not in name else {}
        wanted = [i for i, (_, facts) in mine.items() if name in subject.names_of(facts)]
        assert found(scenario, caller, about=(name,)) == sorted(wanted, reverse=True), (caller, name)


def test_conditions_are_taken_together(scenario: Scenario) -> None:
    on = scenario.contract
    acts = {record.act for record in scenario.life.records()}
    for caller in callers(scenario):
        mine = seen(scenario, caller)
        for act in acts:
            wanted = sorted((i for i, (record, _) in mine.items() if record.act == act), reverse=True)
            assert found(scenario, caller, act=act) == wanted
            both = [i for i in wanted if on in subject.names_of(mine[i][1])]
            assert found(scenario, caller, act=act, contract=on) == both
    life = scenario.life
    asked = found(scenario, life.insurer, act="cleanroom.ask", contract=on)
    assert len(asked) >= 3 and found(scenario, life.rival, act="cleanroom.ask", contract=on) == []
    kinds = {facts["kind"] for _, facts in seen(scenario, life.auditor).values() if "kind" in facts}
    assert {"request", "agree", "verify"} <= kinds
    assert all(found(scenario, life.auditor, kind=kind, contract=on) for kind in ("verify", "finalize"))


def test_an_organisation_is_searched_by_what_it_is_part_of(scenario: Scenario) -> None:
    life = scenario.life
    for caller, org in product(callers(scenario), (life.insurer.org, life.rival.org, "org_nobody")):
        wanted = [
            i for i, (record, _) in seen(scenario, caller).items()
            if org in (record.org, *record.facts.get("parties", ()))
        ]  # fmt: skip
        if caller.org == org or "auditor" in caller.roles or org == life.insurer.org:
            assert found(scenario, caller, organisation=org) == sorted(wanted, reverse=True)


def test_a_person_is_found_by_its_own_organisation_and_overseers_alone(scenario: Scenario) -> None:
    life = scenario.life
    person = life.insurer.person
    assert found(scenario, life.insurer, person=person) and found(scenario, life.auditor, person=person)
    provider = Caller(life.hospital.org, life.hospital.person, frozenset({"provider"}))
    for caller in (provider, life.rival):
        assert found(scenario, caller, person=person) == found(scenario, caller, about=(person,)) == []


def test_a_time_range_has_whole_days_and_instants(scenario: Scenario) -> None:
    life = scenario.life

    records = life.records()
    for at in (records[0].time_ms, records[-1].time_ms):
        day = rules.day_of(at)
        text = str((date(1970, 1, 1) + timedelta(days=day)).isoformat())
        wanted = [r.index for r in reversed(records) if rules.day_of(r.time_ms) == day]
        assert found(scenario, life.auditor, since=text, until=text) == wanted
    assert found(scenario, life.auditor, since="2001-01-01", until="2001-12-31") == []
    assert found(scenario, life.auditor, since="2090-01-01") == []
    late = found(scenario, life.auditor, until="2090-01-01T00:00:00Z")
    assert len(late) == life.size()


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "2026-11-24T12:00:00", "2026-11", "20261124"]
)
def test_a_time_that_is_none_is_refused(scenario: Scenario, text: str) -> None:
    ask = ledger.Search(since=text)
    assert scenario.life.refused("ledger.search", scenario.life.auditor, ask) == "time_unfit"


def test_a_search_that_looks_at_much_goes_on_in_the_next_page(scenario: Scenario) -> None:
    """Two that never meet, alternating: each page looks at so much and says where it stopped."""
    runs = {"a": [(i, 1) for i in range(0, 60_000, 2)], "b": [(i, 1) for i in range(1, 60_000, 2)]}

    def led(name: str) -> subject.Led:
        def fetched(below: int, count: int) -> list[tuple[int, int]]:
            # Every second index, from the newest below on.
            start = below - 1 - ((below - 1) % 2 != (name == "b"))
            return [(i, 1) for i in range(start, -1, -2)][:count]

        return subject.Led(fetched)

    before: int | None = 60_000
    pages = 0
    while before is not None:
        after = subject.sought([led("a"), led("b")], 0, before, 10, lambda index: True)
        assert after is None or after < before
        before, pages = after, pages + 1
    assert 2 < pages < 20 and runs


def _add(page: list[int], index: int) -> bool:
    page.append(index)
    return True


RUNS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(RUNS, min_size=1, max_size=3),
    st.integers(0, 30),
    st.integers(0, 60),
    st.integers(1, 7),
    st.integers(1, 60),
)
def test_what_is_sought_is_the_intersection(
    lists: list[list[tuple[int, int]]], low: int, before: int, count: int, steps: int
) -> None:
    sets: list[set[int]] = []
    led: list[subject.Led] = []
    for gaps in lists:
        at, runs = 0, []
        for gap, entries in gaps:
            runs.append((at + gap, entries))
            at += gap + entries
        sets.append({i for first, entries in runs for i in range(first, first + entries)})

        def fetched(below: int, most: int, runs: list[tuple[int, int]] = runs) -> list[tuple[int, int]]:
            return [run for run in reversed(runs) if run[0] < below][: min(most, 2)]

        led.append(subject.Led(fetched))
    wanted = sorted(i for i in set.intersection(*sets) if low <= i < before)
    got: list[int] = []
    here: int | None = before
    while here is not None:
        page: list[int] = []
        here = subject.sought(led, low, here, count, partial(_add, page), steps)
        assert len(page) <= count
        got += page
        led = [subject.Led(each.runs) for each in led]
    assert got == wanted[::-1]


def replayed(scenario: Scenario, caller: Caller, wanted: str, limit: int = 100) -> list[ledger.Step]:
    """The steps of a life, page by page; every receipt verifies and opens the step's facts."""
    steps: list[ledger.Step] = []
    after: int | None = -1
    while after is not None:
        page = scenario.life.run("ledger.replay", caller, ledger.Replay(wanted, after, limit))
        assert len(page.steps) <= limit and page.vkey == scenario.life.home.book.vkey
        for step in page.steps:
            verdict = rules.verify(json.loads(json.dumps(step.receipt)), page.vkey)
            assert verdict.ok and verdict.trusted and verdict.size == page.size == scenario.life.size()
            assert (verdict.index, verdict.act, verdict.facts) == (step.index, step.act, step.facts)
            assert step.receipt["checkpoint"] == page.checkpoint
        steps += page.steps
        after = page.next
    return steps


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_a_question_is_replayed_in_order_with_proof(scenario: Scenario, limit: int) -> None:
    life = scenario.life
    answered = next(played for played in scenario.played if played.act == "cleanroom.complete")
    for caller in (life.insurer, life.auditor, Caller(life.hospital.org, "per_x", frozenset({"provider"}))):
        steps = replayed(scenario, caller, answered.reply.job, limit)
        assert [step.act for step in steps] == ["cleanroom.ask", "cleanroom.complete"]
        assert ("person" in steps[0].facts) == (caller.org in (life.insurer.org, life.auditor.org))
    assert life.refused("ledger.replay", life.rival, ledger.Replay(answered.reply.job)) == "not_found"


def test_a_negotiation_is_replayed_from_either_sides_id(scenario: Scenario) -> None:
    life = scenario.life
    told = [record.facts for record in life.records()]
    ids = {
        each["negotiation"]
        for each in told
        if each.get("contract") == scenario.contract and "negotiation" in each
    }
    with_contract = replayed(scenario, life.insurer, scenario.contract)
    for each in ids:
        steps = replayed(scenario, life.insurer, each)
        assert steps[0].act == "contract.request" and {step.act for step in steps} == {
            "contract.request",
            "contract.hear",
        }
        assert [s.facts.get("kind") for s in steps[1:]] == ["request", "agree", "verify", "finalize"]
        assert {step.index for step in steps} < {step.index for step in with_contract}
        assert replayed(scenario, life.auditor, each)[0].index == steps[0].index
        assert life.refused("ledger.replay", life.rival, ledger.Replay(each)) == "not_found"
    assert len(ids) == 2 and "cleanroom.ask" in {step.act for step in with_contract}


def test_a_bill_and_any_other_id_is_replayed(scenario: Scenario) -> None:
    bill = next(p.reply.bill for p in scenario.played if p.act == "market.bill" and p.reply)
    acts = [step.act for step in replayed(scenario, scenario.life.insurer, bill)]
    assert acts == ["market.bill", "market.settle", "market.refund"]
    assert (
        scenario.life.refused("ledger.replay", scenario.life.auditor, ledger.Replay("job_none"))
        == "not_found"
    )


def test_names_are_ids_and_what_stands_where_ids_stand() -> None:
    made = "ctr_" + "0" * 26
    facts = {
        "org": "org_" + "1" * 26, "parties": ["org_" + "2" * 26], "person": "per_x", "terms_sha256": "a" * 64,
        "contract": "urn:foreign:7", "contracts": ["urn:foreign:8"],
        "parts": [{"contract": made, "provider": "org_" + "3" * 26}],
        "purpose": "analyse", "kind": "verify", "record": {"contract": "x"}, "amount_minor": 5, "none": None,
    }  # fmt: skip
    assert subject.names_of(facts) == {
        "per_x", "urn:foreign:7", "urn:foreign:8", made, "verify", subject.own_name(str(facts["org"]), "per_x"),
    }  # fmt: skip


def test_a_page_that_stops_early_does_not_say_where_others_are() -> None:
    """The reader's own entries lead; where it goes on is one of them, however much was looked at elsewhere."""
    own, others = [i for i in range(0, 4_000, 4)], [i for i in range(2, 4_000, 4)]

    def led(indexes: list[int]) -> subject.Led:
        return subject.Led(lambda below, count: [(i, 1) for i in reversed(indexes) if i < below][:count])

    for steps in range(1, 12):
        on = subject.sought([led(own), *[led(own)] * 5, led(others)], 0, 4_000, 10, lambda index: True, steps)
        assert on is None or on - 1 in own


def test_a_search_takes_so_many_ids_and_an_export_only_a_size_there_was(scenario: Scenario) -> None:
    life = scenario.life
    ask = ledger.Search(tuple(f"x{n}" for n in range(17)))
    assert life.refused("ledger.search", life.insurer, ask) == "malformed"
    assert life.run("ledger.search", life.insurer, ledger.Search(("ledger.attest",) * 5_000)).next is None
    for size in (-1, 0, life.size() + 1, 10**9):
        assert life.refused("ledger.export", life.insurer, ledger.Export(size=size)) == "no_such_tree"


@settings(max_examples=100, deadline=None)
@given(RUNS, st.integers(0, 40))
def test_ahead_goes_through_what_the_runs_hold(gaps: list[tuple[int, int]], start: int) -> None:
    at, runs, asked = 0, list[tuple[int, int]](), 0
    for gap, entries in gaps:
        runs.append((at + gap, entries))
        at += gap + entries

    def run_from(index: int) -> tuple[int, int] | None:
        nonlocal asked
        asked += 1
        return next((run for run in runs if sum(run) > index), None)

    ahead, found = subject.Ahead(run_from), list[int]()
    here = start
    while (index := ahead.first(here)) is not None:
        found.append(index)
        here = index + 1
    assert found == [i for first, count in runs for i in range(max(first, start), first + count)]
    assert asked <= len(runs) + 1
