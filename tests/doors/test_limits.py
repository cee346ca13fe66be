"""Limits per organisation: who asks too much is told when to come back, and nobody else notices."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.doors.limits import Limits
from dujiang.kernel.config import Config
from dujiang.kernel.errors import Refused
from tests.doors import over_http

DAY_S = 86_400


class Time:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.s


def refused(call: Any) -> Refused:
    """The refusal of a call."""
    with pytest.raises(Refused) as found:
        call()
    return found.value


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 50), st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 0.2)), max_size=300))
def test_nobody_gets_more_than_the_rate_and_who_asks_less_is_never_refused(
    rate: int, asked: list[tuple[str, float]]
) -> None:
    time = Time()
    limits = Limits(Config(org_requests_per_s_max=rate), time)
    taken: dict[str, list[float]] = {"a": [], "b": []}
    for who, pause in asked:
        time.s += pause
        try:
            limits.count(who)
        except Refused as no:
            # Within the last seconds the bucket was emptied by this very organisation.
            recent = [at for at in taken[who] if time.s - at <= 2.0 + 1e-9]
            assert len(recent) >= rate, "refused, though it asked less than the rate"
            assert int(no.names["wait"]) >= 1
        else:
            taken[who].append(time.s)
    for times in taken.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= rate * (2 + times[last] - times[first]) + 1e-6


def test_who_comes_back_when_told_is_let_in() -> None:
    time = Time()
    limits = Limits(Config(org_requests_per_s_max=1), time)
    for _ in range(2):
        limits.count("a")
    wait = int(refused(lambda: limits.count("a")).names["wait"])
    time.s += wait
    limits.count("a")
    assert refused(lambda: limits.count("a")).code.name == "requests_too_fast" and limits.refused == 2


def test_a_place_among_those_who_wait_is_given_back_whatever_happens() -> None:
    limits = Limits(Config(org_requests_at_once_max=2), Time())
    with limits.waiting("a"), limits.waiting("a"):
        assert refused(lambda: limits.waiting("a").__enter__()).code.name == "requests_at_once"
        with limits.waiting("b"):
            assert limits.open == 3
    with pytest.raises(ValueError), limits.waiting("a"):
        raise ValueError
    assert limits.open == 0
    with limits.waiting(""), limits.waiting(""), limits.waiting(""):
        assert limits.open == 0


def test_what_is_sent_within_a_day_is_counted_and_forgotten_after_it() -> None:
    time = Time()
    limits = Limits(Config(org_upload_mb_per_day_max=1), time)
    limits.sent("a", 1 << 20)
    time.s = DAY_S / 2
    no = refused(lambda: limits.sent("a", 1))
    assert no.code.name == "uploads_today" and int(no.names["wait"]) == math.ceil(DAY_S / 2)
    limits.sent("b", 1 << 20)
    time.s = DAY_S
    limits.sent("a", 1 << 20)


def test_no_number_of_callers_fills_the_memory() -> None:
    limits = Limits(Config(), Time())
    for number in range(25_000):
        limits.count(f"~{number}", 200)
    assert len(limits._buckets) <= 10_000


def test_zero_means_any_number() -> None:
    limits = Limits(
        Config(org_requests_per_s_max=0, org_requests_at_once_max=0, org_upload_mb_per_day_max=0), Time()
    )
    for _ in range(10_000):
        limits.count("a")
        limits.sent("a", 1 << 40)


def test_one_organisation_that_floods_is_told_to_wait_and_another_is_served(tmp_path: Path) -> None:
    config = Config(org_requests_per_s_max=3, stranger_requests_per_s_max=2)
    with over_http.node(tmp_path, config) as node:
        answers = [node.post("identity.list", {}, 1, accept_language=tongue) for tongue in ("en", "zh") * 20]
        late = [each for each in answers if each.status_code == 429]
        assert len(late) >= 20 and {each.json()["code"] for each in late} == {"requests_too_fast"}
        assert all(int(each.headers["retry-after"]) >= 1 for each in late)
        assert "请在" in late[-1].json()["fix"] or "请在" in late[-2].json()["fix"]
        assert node.post("identity.list", {}, 0).status_code == 200, "the other organisation"
        strangers = [node.post("identity.show", {"id": "医院"}) for _ in range(12)]
        assert {each.status_code for each in strangers} == {200, 429}
        guesses = [
            node.client.post("/v1/identity/list", json={}, headers={"authorization": f"Bearer djk_{n}"})
            for n in range(12)
        ]
        assert 429 in {each.status_code for each in guesses}, "guessing keys is counted, too"
        assert node.client.get("/healthz").status_code == 200


def test_files_are_taken_up_to_what_an_organisation_may_send_and_keep(tmp_path: Path) -> None:
    mb = b"x" * (1 << 20)
    with over_http.node(tmp_path, Config(org_upload_mb_per_day_max=3, org_stored_mb_max=3)) as node:

        def sent(size: int) -> Any:
            return node.client.put("/data/uploads", content=mb * size, headers=node.key(0))

        assert sent(1).status_code == 201
        beyond = sent(3)
        assert beyond.status_code == 413 and beyond.json()["code"] == "stored_too_much"
        assert [sent(1).status_code, sent(1).status_code] == [201, 413], "what is kept counts, with its names"
        for upload in (tmp_path / "home" / "files" / "uploads").glob("*/*"):
            upload.unlink()
        assert sent(1).status_code == 201
        late = sent(1)
        assert late.status_code == 429 and late.json()["code"] == "uploads_today"
        assert int(late.headers["retry-after"]) > DAY_S - 600
        assert [p for p in (tmp_path / "home" / "files" / "uploads").rglob("*.part")] == []


def test_lots_of_one_organisation_do_not_stand_before_the_act_of_another(tmp_path: Path) -> None:
    """What is written between asking and being answered is a few lots, not all that somebody sends at once."""
    lots, records = 60, list(range(1024))
    with over_http.node(tmp_path) as node, ThreadPoolExecutor(lots) as many:
        before = node.entries()
        sent = [many.submit(node.post, "ledger.attest", {"records": records}, 0) for _ in range(lots)]
        next(as_completed(sent))
        asked_at = node.entries()
        own = node.post("ledger.attest", {"records": [1]}, 1).json()["first"]
        assert own - asked_at < lots * len(records) // 2
        assert all(each.result().status_code == 200 for each in sent)
        assert node.entries() == before + lots * len(records) + 1
