"""What an agent may do and take: nothing by default, and never more than its mandate, whatever fails."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.acts import ACTS
from dujiang.doors.agent import Agent, known
from dujiang.doors.calls import Calls, Refusal
from dujiang.doors.local import Options
from dujiang.doors.mandate import ANY, STATISTICS, Counts, Mandate, amounts, counts_of
from dujiang.kernel.errors import Exit, Refused, Unavailable
from tests.house.source import SRC


@pytest.fixture
def count(tmp_path: Path) -> Counts:
    """A count nobody has used."""
    return counts_of(tmp_path, "here", "Insurer", "agent")


def code(work: Any, *arguments: Any) -> str:
    """The code something is refused with."""
    with pytest.raises((Refused, Unavailable)) as refused:
        work(*arguments)
    return refused.value.code.name


def test_an_empty_mandate_grants_nothing() -> None:
    nothing = Mandate()
    assert code(nothing.check_product, "prd_1") == code(nothing.check_purpose, "analyse") == "outside_mandate"
    Mandate(products=(ANY,), purposes=(ANY,)).check_product("prd_1")
    some = Mandate(("prd_1",), ("analyse",))
    some.check_product("prd_1")
    some.check_purpose("analyse")
    for near in ("prd_11", "prd_", "PRD_1", ""):
        assert code(some.check_product, near) == "outside_mandate"
    assert code(some.check_purpose, "analyse and sell") == "outside_mandate"


def test_an_agent_has_no_act_by_default_but_those_of_finding_and_asking(
    tmp_path: Path, count: Counts
) -> None:
    acts = Agent(Calls(Options(tmp_path)), Mandate(), count).acts
    assert {act.name for act in acts if act.effect != "reads"} == {"contract.request", "cleanroom.ask"}
    inside = {act.name for act in acts if act.room in ("identity", "registry", "quality", "post")}
    assert all("anyone" in ACTS[name].roles for name in inside) and "identity.list" not in inside
    assert all({"member", "consumer", "anyone"} & set(act.roles) for act in acts)
    allowed = Agent(Calls(Options(tmp_path)), Mandate(acts=("contract.terminate",)), count).acts
    assert [act.name for act in allowed if act not in acts] == ["contract.terminate"]
    for name in ("no.such", "cleanroom.complete"):
        assert code(known, (name,)) == "unknown_act"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30), st.integers(0, 40))
def test_never_more_is_set_aside_than_the_mandate_has(turns: list[tuple[int, int]], most: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        count, used = counts_of(Path(folder), "", "", ""), 0
        for needs, spare in turns:
            if needs and used + needs > most:
                assert (
                    code(count.set_aside, {STATISTICS: needs}, Mandate(statistics_max=most))
                    == "mandate_spent"
                )
            else:
                count.set_aside({STATISTICS: needs}, Mandate(statistics_max=most))
                count.give_back({STATISTICS: min(spare, needs)})
                used += needs - min(spare, needs)
            assert count.used(STATISTICS) == used <= most


def test_agents_at_the_same_time_share_one_count(count: Counts) -> None:
    def take(_: int) -> bool:
        try:
            count.set_aside({STATISTICS: 1}, Mandate(statistics_max=25))
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(60))) == 25
    assert count.used(STATISTICS) == 25


def test_what_was_set_aside_survives_a_kill(count: Counts) -> None:
    code = (
        "import os, pathlib; from dujiang.doors.mandate import Counts, Mandate\n"
        f"counts = Counts(pathlib.Path({str(count.folder)!r}))\n"
        "counts.set_aside({'statistics': 7}, Mandate(statistics_max=10)); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SRC)})
    assert done.returncode == -9 and count.used(STATISTICS) == 7


@pytest.mark.parametrize("text", ["7", "x" * 16, "0" * 17, "-000000000000007"])
def test_a_count_that_cannot_be_read_stops_everything(count: Counts, text: str) -> None:
    mandate, path = Mandate(statistics_max=5), count.folder / STATISTICS
    count.set_aside({STATISTICS: 1}, mandate)
    path.write_text(text, encoding="ascii")
    assert code(count.set_aside, {STATISTICS: 0}, mandate) == "mandate_broken"
    path.unlink()
    path.symlink_to(path.with_name("elsewhere"))
    assert code(count.set_aside, {STATISTICS: 0}, mandate) == "mandate_broken"


def test_the_count_belongs_to_an_organisation_and_a_name(tmp_path: Path) -> None:
    names = [("a", "b", "c"), ("a", "b", "d"), ("a", "c", "c"), ("b", "b", "c")]
    assert len({counts_of(tmp_path, *name).folder for name in names}) == 4


class Scripted(Calls):
    """Calls whose answers are set: what a node far away might answer, or not."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(Options(Path("/nowhere")))
        self.answers = answers
        self.ran: list[str] = []

    def run(self, name: str, ask: Any) -> dict[str, Any]:
        """The answer that was set."""
        self.ran.append(name)
        found = self.answers[name]
        if isinstance(found, Exception):
            raise found
        return dict(found)

    def __enter__(self) -> Calls:
        return self


TEN = Mandate(("prd_1",), ("analyse",), 10)


def agent(count: Counts, mandate: Mandate = TEN, /, **answers: Any) -> Agent:
    """An agent that may take 10 statistics on one product, where a question needs 4."""
    given = {
        "contract.show": {"contract": "ctr_1", "product": "prd_1", "purpose": "analyse"},
        "cleanroom.check": {"statistics": 4},
        "catalogue.show": {"product": "prd_1", "terms": {"price": None}},
        **{name.replace("_", ".", 1): found for name, found in answers.items()},
    }
    return Agent(Scripted(given), mandate, count)


ASK = {"contracts": ["ctr_1"], "sql": "select count(*) from t"}


def refusal(code: str, exit: Exit, **more: Any) -> Refusal:
    """A refusal as a node answers it."""
    return Refusal({"code": code, "why": "", "fix": "", **more}, int(exit))


@pytest.mark.parametrize(
    ("answer", "used"),
    [
        ({"statistics": 4}, 4),
        ({"statistics": 1}, 1),
        ({"statistics": 0}, 0),
        (refusal("budget_spent", Exit.spent), 0),
        (refusal("node_unreachable", Exit.failure), 4),
        (refusal("internal", Exit.failure), 4),
        (refusal("question_failed", Exit.refused, receipt={"leaf": "of another act"}), 4),
    ],
    ids=["all", "less", "none", "declined", "lost", "broken", "ran and failed"],
)
def test_what_a_question_took_is_counted_and_the_rest_given_back(
    count: Counts, answer: Any, used: int
) -> None:
    try:
        agent(count, cleanroom_ask=answer).run("cleanroom.ask", ASK)
    except Refusal:
        assert isinstance(answer, Exception)
    assert count.used(STATISTICS) == used


PRICED = {
    "statistics": 4,
    "charges": [
        {
            "contract": "ctr_1", "currency": "CNY", "amount_minor": 900,
            "parts": [
                {"kind": "agreement", "amount_minor": 500}, {"kind": "question", "amount_minor": 100},
                {"kind": "row", "amount_minor": 300},
            ],
        }
    ],
}  # fmt: skip


def cost(minor: int, *, ended: bool = True) -> dict[str, Any]:
    """An answer that cost money."""
    money = [{"contract": "ctr_1", "currency": "CNY", "amount_minor": minor, "ended": ended}]
    return {"statistics": 4, "cost": money}


def test_money_is_counted_as_statistics_are(count: Counts) -> None:
    answers = {"cleanroom_check": PRICED, "cleanroom_ask": cost(200)}
    given = Mandate(("prd_1",), ("analyse",), 100, {"CNY": 1700})
    one = agent(count, given, **answers)
    one.run("cleanroom.ask", ASK)
    assert count.used("CNY") == 500 + 200, "the fee is due whatever comes out; of the rest, what it was"
    agent(count, given, **{**answers, "cleanroom_ask": cost(400, ended=False)}).run("cleanroom.ask", ASK)
    assert count.used("CNY") == 700 + 900, "what is only held may still be taken"
    with pytest.raises(Refusal) as refused:
        one.run("cleanroom.ask", ASK)
    assert refused.value.code == "mandate_spent"
    assert "CNY" in refused.value.why and "1.00" in refused.value.why and "9.00" in refused.value.why
    assert (count.used("CNY"), count.used(STATISTICS)) == (1600, 8), "all is set aside, or nothing"


@pytest.mark.parametrize(
    "words", [["200"], ["CNY 200"], ["2,5 CNY"], ["1.001 CNY"], ["-1 CNY"], ["1 CNY", "2 CNY"], ["1 cny"]]
)
def test_money_that_cannot_be_read_is_refused(words: list[str]) -> None:
    assert code(amounts, words) == "price_unreadable"


def test_money_is_read_as_people_write_it() -> None:
    assert amounts(["200.5 CNY", "30 JPY"]) == {"CNY": 20050, "JPY": 30}
    assert amounts([]) == {}


def test_without_a_price_in_the_mandate_nothing_that_has_one_is_agreed_or_asked(count: Counts) -> None:
    given = Mandate(("prd_1",), ("analyse",), 100, {"EUR": 10_000})
    card = {"product": "prd_1", "terms": {"price": {"currency": "CNY"}}}
    one = agent(count, given, cleanroom_check=PRICED, cleanroom_ask=cost(0), catalogue_show=card)
    for name, ask, code in (
        ("contract.request", {"product": "prd_1", "purpose": "analyse"}, "outside_mandate"),
        ("cleanroom.ask", ASK, "mandate_spent"),
    ):
        with pytest.raises(Refusal) as refused:
            one.run(name, ask)
        assert refused.value.code == code
    assert count.used(STATISTICS) == 0


def test_a_joint_question_counts_every_account(count: Counts) -> None:
    parts = {"statistics": 3, "parts": [{"statistics": 3}, {"statistics": 3}]}
    agent(count, cleanroom_check=parts, cleanroom_ask=parts).run("cleanroom.ask", ASK)
    assert count.used(STATISTICS) == 6


def test_a_question_beyond_the_mandate_is_not_asked(count: Counts) -> None:
    count.set_aside({STATISTICS: 7}, Mandate(statistics_max=10))
    one = agent(count, cleanroom_ask={"statistics": 4})
    with pytest.raises(Refusal) as refused:
        one.run("cleanroom.ask", ASK)
    assert (refused.value.code, one.left) == ("mandate_spent", 3)
    assert "cleanroom.ask" not in one.calls.ran  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("contract.request", {"product": "prd_2", "purpose": "analyse"}),
        ("contract.request", {"product": "prd_1", "purpose": "train"}),
        ("contract.terminate", {"contract": "ctr_1"}),
        ("identity.grant", {}),
        ("no.such", {}),
    ],
)
def test_a_write_outside_the_mandate_never_leaves_the_door(count: Counts, name: str, ask: Any) -> None:
    one = agent(count)
    with pytest.raises(Refusal) as refused:
        one.run(name, ask)
    assert refused.value.code == "outside_mandate"
    assert not {ran for ran in one.calls.ran if ACTS[ran].effect != "reads"}  # type: ignore[attr-defined]


def test_a_contract_for_another_purpose_or_product_is_not_used(count: Counts) -> None:
    for other in ({"product": "prd_2", "purpose": "analyse"}, {"product": "prd_1", "purpose": "train"}):
        one = agent(
            count, contract_show=other, cleanroom_ask={"statistics": 4}, cleanroom_check={"statistics": 4}
        )
        for name, ask in (("cleanroom.ask", ASK), ("cleanroom.check", {"contracts": ["ctr_1"], "sql": "x"})):
            with pytest.raises(Refusal) as refused:
                one.run(name, ask)
            assert refused.value.code == "outside_mandate"


def test_lists_leave_out_what_is_not_in_the_mandate(count: Counts) -> None:
    items = [
        {"index": 1, "facts": {"product": "prd_1", "purpose": "analyse"}},
        {"index": 2, "facts": {"product": "prd_2", "purpose": "analyse"}},
        {"index": 3, "facts": {"product": "prd_1", "purpose": "train"}},
        {"index": 4, "facts": {"person": "per_1"}},
        {"index": 5, "facts": {"product": "prd_1", "purpose": "analyse", "parts": [{"contract": "ctr_2"}]}},
        {"index": 6, "facts": {"job": "job_1"}},
    ]
    asked = {"contract": "ctr_1", "contracts": ["ctr_1"]}
    one = agent(count, ledger_list={"items": items, "size": 5}, ledger_show=items[1], cleanroom_show=asked)
    one._contracts["ctr_2"] = ("prd_2", "analyse")
    assert [item["index"] for item in one.run("ledger.list", {})["items"]] == [1, 6]
    with pytest.raises(Refusal) as refused:
        one.run("ledger.show", {"entry": 2})
    assert refused.value.code == "outside_mandate"


def test_an_ask_that_is_not_of_the_form_is_refused_before_it_is_compared(count: Counts) -> None:
    for ask in (
        {"contracts": "ctr_1", "sql": "x"},
        {"contracts": [["ctr_1"]], "sql": "x"},
        {**ASK, "more": 1},
    ):
        with pytest.raises(Refusal) as refused:
            agent(count, cleanroom_ask={"statistics": 4}).run("cleanroom.ask", ask)
        assert refused.value.code in ("malformed", "unknown_field")


def test_an_act_that_makes_a_key_answers_an_agent_without_it(count: Counts) -> None:
    one = Agent(
        Scripted({"identity.grant": {"id": "key_1", "api_key": "djk_secret"}}),
        Mandate((ANY,), (ANY,), acts=("identity.grant",)),
        count,
    )
    assert one.run("identity.grant", {"roles": ["consumer"]}) == {"id": "key_1"}
