"""Jobs on a real home: an engine that fails closes its statistics, a job ends once, no question is no job."""

from __future__ import annotations

import threading

import pytest

from dujiang.cleanroom import acts as cleanroom
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Declined, Refused
from dujiang.policy.model import Noise
from tests import life as making
from tests.cleanroom.asking import COUNTED, ONE, PEOPLE, answer, engine, offer, spent, used
from tests.life import Life, code_of


def test_an_engine_that_fails_closes_the_statistics_and_gives_nothing_back(life: Life) -> None:
    made = offer(life)
    on = life.agree(made.product)
    engine(life).failing = True
    try:
        failed = answer(life, on, COUNTED)
    finally:
        engine(life).failing = False
    assert (failed.state, failed.done, failed.rows, failed.statistics) == ("failed", True, (), 2)
    assert failed.declined is not None and life.records()[-1].facts["declined"] == failed.declined["code"]
    again = life.ask(on, COUNTED)
    assert isinstance(again, Declined) and again.code.name == "statistic_closed"
    quoted = life.run("cleanroom.check", life.insurer, cleanroom.Check((on,), COUNTED))
    assert code_of(quoted) is again.code
    assert answer(life, on, ONE).rows and spent(life, made.resource, life.insurer.org) == 4


def test_a_job_completed_twice_at_once_ends_once(life: Life) -> None:
    on = life.agree(offer(life).product)
    job = life.run("cleanroom.ask", life.insurer, cleanroom.Ask((on,), COUNTED)).job
    size = life.size()
    found: list[str] = []

    def complete() -> None:
        try:
            found.append(life.run("cleanroom.complete", NODE, cleanroom.Complete(job)).state)
        except Refused as refused:
            found.append(refused.code.name)

    threads = [threading.Thread(target=complete) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == ["done", "not_found", "not_found"] and life.size() == size + 1
    shown = life.run("cleanroom.show", life.insurer, cleanroom.Show(job))
    assert shown.rows and shown.rows == answer(life, on, COUNTED).rows


def test_exact_answers_have_no_account(life: Life) -> None:
    made = offer(life, noise=Noise.exact)
    on = life.agree(made.product)
    given = answer(life, on, ONE)
    assert given.rows == ((making.visits(0, PEOPLE).count(b"\n") - 1,),)
    assert (given.statistics, given.statistics_left, spent(life, made.resource, None), used(life, on)) == (
        0,
        None,
        0,
        1,
    )


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "select",
        "drop table 就诊",
        "select * from 就诊",
        "select max(体重) from 就诊",
        "(" * 10_000,
        "\x00",
    ],
)
def test_what_is_no_question_is_declined_with_an_entry_and_takes_nothing(life: Life, sql: str) -> None:
    on = _shared(life)
    size, counted = life.size(), used(life, on)
    assert code_of(life.ask(on, sql)) is not None
    assert life.size() == size + 1 and used(life, on) == counted
    assert code_of(life.run("cleanroom.check", life.insurer, cleanroom.Check((on,), sql))) is not None


_SHARED: list[str] = []


def _shared(life: Life) -> str:
    if not _SHARED:
        _SHARED.append(life.agree(offer(life).product))
    return _SHARED[0]


def test_a_question_goes_to_contracts_that_are_the_askers_each_once(life: Life) -> None:
    on = _shared(life)
    for contracts in ((), (on, on), tuple(f"ctr_{n}" for n in range(9))):
        assert life.refused("cleanroom.ask", life.insurer, cleanroom.Ask(contracts, ONE)) == "contracts_wrong"
    assert life.refused("cleanroom.ask", life.rival, cleanroom.Ask((on,), ONE)) == "not_found"


def test_the_log_tells_the_question_by_hash_and_no_row(life: Life) -> None:
    on = _shared(life)
    given = answer(life, on, COUNTED)
    facts = life.records()[-1].facts
    assert {"question_sha256", "answer_sha256", "job", "resource", "charged_micro", "statistics"} <= set(
        facts
    )
    told = str([record.facts for record in life.records()])
    assert COUNTED not in told and all(str(row[1]) not in told for row in given.rows if row[1] > 10_000)
