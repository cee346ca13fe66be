"""Jobs on a real home: an engine that fails closes its statistics, a job ends once, no question is no job."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dujiang.catalogue import acts as catalogue
from dujiang.cleanroom import acts as cleanroom
from dujiang.cleanroom import store
from dujiang.contract import acts as contract
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Declined, Refused, Unavailable
from dujiang.plugs.folder import FILES_FAILED
from dujiang.policy.model import Noise, TermsFile
from tests import life as making
from tests.life import Life, code_of, opened

PEOPLE = 1500
COUNTED = "select 性别, count(*) as n from 就诊 group by 性别"
ONE = "select count(*) from 就诊"


@dataclass(slots=True)
class Failing:
    """An engine that reads tables and computes nothing."""

    inner: Any
    failing: bool = True
    runs: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def compute(self, sql: str, guarded: Path) -> list[list[object]]:
        """Rows, or the engine's one failure."""
        self.runs += 1
        if self.failing:
            raise Unavailable(FILES_FAILED)
        return self.inner.compute(sql, guarded)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node, whose engine counts its runs."""
    with opened(tmp_path_factory.mktemp("questions")) as made:
        again = making.rebuilt(made.home, engine=Failing(made.home.node.engine, failing=False))
        object.__setattr__(made, "home", again)
        yield made


_SALT = iter(range(2000, 3000))


def offer(life: Life, **terms: Any) -> catalogue.Published:
    """A product of content of its own."""
    return life.offer(TermsFile(**terms), salt=next(_SALT), people=PEOPLE)


def engine(life: Life) -> Failing:
    """The node's engine."""
    found = life.home.node.engine
    assert isinstance(found, Failing)
    return found


def answer(life: Life, on: str, sql: str, caller: Any = None) -> cleanroom.Answer:
    """An answer that must come."""
    found = life.ask(on, sql, caller)
    assert isinstance(found, cleanroom.Answer), found
    return found


def used(life: Life, on: str) -> int:
    """How many uses of a contract are counted, the same on both sides."""
    shown = {
        life.run("contract.show", caller, contract.Show(on)).questions_used
        for caller in (life.insurer, life.hospital)
    }
    (count,) = shown
    return count


def spent(life: Life, resource: str, org: str | None) -> int:
    """What an account has spent, in statistics of 5,000 micro-rho."""
    with life.home.node.database.reading() as db:
        return store.spent_micro(db, resource, org) // 5000


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
    quoted = life.run("cleanroom.check", life.insurer, cleanroom.Check(on, COUNTED))
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
    assert code_of(life.run("cleanroom.check", life.insurer, cleanroom.Check(on, sql))) is not None


_SHARED: list[str] = []


def _shared(life: Life) -> str:
    if not _SHARED:
        _SHARED.append(life.agree(offer(life).product))
    return _SHARED[0]


def test_a_question_goes_to_one_contract_that_is_the_askers(life: Life) -> None:
    on = _shared(life)
    for contracts in ((), (on, on)):
        assert life.refused("cleanroom.ask", life.insurer, cleanroom.Ask(contracts, ONE)) == "one_contract"
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
