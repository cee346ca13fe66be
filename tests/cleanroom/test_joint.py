"""Joint questions on a real home: two owners, each with an account, a say and a sight of what touches its table."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dujiang.catalogue import acts as catalogue
from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contract
from dujiang.doors.loops import Loops
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE, Caller
from dujiang.kernel.errors import Declined, Unavailable
from dujiang.plugs.cage import ENGINE_STOPPED
from dujiang.policy.model import Noise, TermsFile
from dujiang.registry.model import Field, Use
from tests import life as making
from tests.cleanroom.asking import SALT, Failing, engine, spent
from tests.life import Life, code_of

PEOPLE = 1500
FIELDS = {"体重": Field(uses=(Use.filter, Use.aggregate), lo=0, hi=100)}
BOTH = "select v.性别, count(*) as n, avg(v.体重) as kg from 就诊 v join 检验 l using (编号) group by 1"
LISTED = ("编号",)


@dataclass(frozen=True)
class Two:
    """A table of the hospital and one of another clinic about the same people, and the insurer's contracts."""

    visits: catalogue.Published
    values: catalogue.Published
    contracts: tuple[str, str]


def offered(life: Life, owner: Caller, name: str, **terms: Any) -> catalogue.Published:
    terms = {"join_keys": LISTED, "fields": FIELDS, "rows_per_entity": 1, **terms}
    upload = life.upload(owner, next(SALT), PEOPLE)
    return life.run("catalogue.offer", owner, catalogue.Offer(upload, "编号", TermsFile(**terms), name))


def two(life: Life, theirs: dict[str, Any] | None = None, **terms: Any) -> Two:
    visits = offered(life, life.hospital, "就诊", **terms)
    values = offered(life, life.rival, "检验", **(terms if theirs is None else theirs))
    return Two(visits, values, (life.agree(visits.product), life.agree(values.product)))


_SHARED: list[Two] = []


def shared(life: Life) -> Two:
    """Two tables that several tests ask, each its own question."""
    if not _SHARED:
        _SHARED.append(two(life))
    return _SHARED[0]


def ask(life: Life, on: tuple[str, ...], sql: str = BOTH) -> Any:
    reply = life.run("cleanroom.ask", life.insurer, cleanroom.Ask(on, sql))
    if isinstance(reply, Declined):
        return reply
    life.quiet()
    return life.run("cleanroom.show", life.insurer, cleanroom.Show(reply.job))


def plain(life: Life, made: Two, sql: str) -> list[tuple[Any, ...]]:
    """The true answer over the owners' own tables, whole."""
    con = duckdb.connect()
    for one, name in ((made.visits, "就诊"), (made.values, "检验")):
        path = life.home.node.blobs.path(f"tables/{one.registered}/plain.parquet")
        con.execute(f"create view {name} as select * from read_parquet('{path}')")
    return con.execute(sql).fetchall()


def test_every_account_is_charged_once_and_a_repeat_is_free(life: Life) -> None:
    made = two(life)
    given = ask(life, made.contracts)
    assert (given.state, given.statistics, given.statistics_left) == ("done", 3, 47)
    assert {(each.provider, each.statistics, each.statistics_left) for each in given.parts} == {
        ("市立医院", 3, 47),
        ("Rival Clinic", 3, 47),
    }
    for again in (made.contracts, made.contracts[::-1]):
        repeat = ask(life, again, BOTH.replace("就诊 v join 检验 l", "检验 l join 就诊 v"))
        assert (repeat.rows, repeat.statistics) == (given.rows, 0)
    for one in (made.visits, made.values):
        assert spent(life, one.resource, life.insurer.org) == 3
    for on in made.contracts:
        assert life.run("contract.show", life.insurer, contract.Show(on)).questions_used == 1


def test_the_quote_the_answer_and_the_entries_name_every_owner(life: Life) -> None:
    made = shared(life)
    quote = life.run("cleanroom.check", life.insurer, cleanroom.Check(made.contracts, BOTH))
    assert set(quote.contracts) == set(made.contracts) and quote.statistics == 3
    assert {(each.title, each.statistics) for each in quote.parts} == {("就诊", 3), ("检验", 3)}
    given = ask(life, made.contracts)
    assert given.plus_minus[:2] == quote.plus_minus[:2]
    entries = [record for record in life.records() if record.facts.get("job") == given.job]
    assert [record.act for record in entries] == ["cleanroom.ask", "cleanroom.complete"]
    for record in entries:
        assert {part["resource"] for part in record.facts["parts"]} == {
            made.visits.resource,
            made.values.resource,
        }
        assert [part["charged_micro"] for part in record.facts["parts"]] == [15_000, 15_000]
        assert record.facts["charged_micro"] == 30_000 and set(record.facts["contracts"]) == set(
            made.contracts
        )
        assert {life.hospital.org, life.rival.org} <= set(record.facts["parties"])


def test_both_owners_see_the_question_and_no_row_of_the_answer(life: Life) -> None:
    made = shared(life)
    given = ask(life, made.contracts)
    for owner in (life.hospital, life.rival):
        seen = life.run("cleanroom.show", owner, cleanroom.Show(given.job))
        assert (seen.question, seen.rows, seen.columns, seen.state) == (BOTH, (), (), "done")
        assert life.run("cleanroom.list", owner, cleanroom.List()).items[0].job == given.job
    assert life.refused("cleanroom.show", life.auditor, cleanroom.Show(given.job)) == "not_found"


def test_a_joint_answer_is_within_its_stated_noise(life: Life) -> None:
    made = shared(life)
    given = ask(life, made.contracts)
    once = "(select distinct on (编号) * from 就诊)"
    first = f"select 性别, count(*), avg(体重) from {once} v semi join 检验 using (编号)"
    truth = {row[0]: row for row in plain(life, made, f"{first} group by 性别")}
    for sex, n, kg in given.rows:
        assert abs(n - truth[sex][1]) <= 3 * given.plus_minus[1]
        # Which of a person's visits counts is the registration's choice: means of two draws are compared.
        assert abs(kg - truth[sex][2]) <= 3 * given.plus_minus[2] + 5


def test_exact_joint_answers_are_those_of_plain_duckdb(life: Life) -> None:
    made = two(life, noise=Noise.exact, rows_per_entity=3, group_min=2)
    sql = "select v.性别, count(*) as n, sum(v.体重) as kg, avg(l.体重) from 就诊 v join 检验 l using (编号) group by 1"
    given = ask(life, made.contracts, sql)
    assert (given.statistics, given.statistics_left) == (0, None)
    assert [tuple(row[:2]) for row in given.rows] == [
        row[:2] for row in plain(life, made, sql + " order by 1")
    ]
    for row, true in zip(given.rows, plain(life, made, sql + " order by 1"), strict=True):
        assert row[2:] == pytest.approx(true[2:])
    assert all(spent(life, one.resource, None) == 0 for one in (made.visits, made.values))


def test_where_one_account_is_short_none_is_charged(life: Life) -> None:
    made = two(life, theirs={"statistics": 4, "join_keys": LISTED})
    assert ask(life, made.contracts).statistics == 3
    size = life.size()
    found = ask(life, made.contracts, BOTH.replace("group by", "where v.体重 > 50 group by"))
    assert isinstance(found, Declined) and found.code.name == "budget_spent"
    assert found.names == {"left": "1", "needs": "2"} and life.size() == size + 1
    assert [spent(life, one.resource, life.insurer.org) for one in (made.visits, made.values)] == [3, 3]


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"join_keys": None}, "join_not_permitted"),
        ({"partners": ("Another Clinic",)}, "partner_not_permitted"),
        ({"partners": ("市立医院",)}, None),
        ({"purposes": ("train", "analyse")}, None),
        ({"purposes": ("train",)}, "purpose_not_permitted"),
        ({"join_keys": ("性别", "编号")}, None),
    ],
)
def test_every_owner_says_on_what_with_whom_and_for_what(
    life: Life, terms: dict[str, Any], code: str | None
) -> None:
    visits = offered(life, life.hospital, "就诊")
    values = offered(life, life.rival, "检验", **terms)
    purpose = "train" if terms.get("purposes") == ("train",) else "analyse"
    on = (life.agree(visits.product), life.agree(values.product, purpose=purpose))
    found = ask(life, on)
    assert (found.code.name if isinstance(found, Declined) else None) == code
    if code is not None:
        assert [spent(life, one.resource, None) for one in (visits, values)] == [0, 0]


def test_two_tables_of_one_owner_are_joined_without_naming_itself(life: Life) -> None:
    one = offered(life, life.hospital, "就诊", partners=("Rival Clinic",))
    other = offered(life, life.hospital, "检验", partners=("Rival Clinic",))
    assert ask(life, (life.agree(one.product), life.agree(other.product))).state == "done"


def test_one_resource_is_read_once(life: Life) -> None:
    one = offered(life, life.hospital, "就诊")
    found = ask(life, (life.agree(one.product), life.agree(one.product)), BOTH)
    assert isinstance(found, Declined) and found.code.name == "table_twice"


def test_a_table_registered_without_its_keys_says_that_it_must_be_registered_again(life: Life) -> None:
    old = offered(life, life.hospital, "就诊", join_keys=None)
    opened = catalogue.Publish(old.product, terms=TermsFile(join_keys=LISTED))
    assert life.refused("catalogue.publish", life.hospital, opened) == "terms_wrong"
    upload = life.upload(life.hospital, next(SALT), PEOPLE)
    terms = TermsFile(join_keys=LISTED, fields=FIELDS, rows_per_entity=1)
    life.run("catalogue.publish", life.hospital, catalogue.Publish(old.product, upload, "编号", terms))
    values = offered(life, life.rival, "检验")
    assert ask(life, (life.agree(old.product), life.agree(values.product))).state == "done"


def test_a_version_published_meanwhile_changes_no_answer_and_a_lost_file_closes_it(life: Life) -> None:
    made = two(life)
    job = life.run("cleanroom.ask", life.insurer, cleanroom.Ask(made.contracts, BOTH)).job
    upload = life.upload(life.rival, next(SALT), 20)
    terms = TermsFile(join_keys=LISTED, fields=FIELDS, rows_per_entity=1)
    life.run("catalogue.publish", life.rival, catalogue.Publish(made.values.product, upload, "编号", terms))
    life.quiet()
    given = life.run("cleanroom.show", life.insurer, cleanroom.Show(job))
    assert sum(row[1] for row in given.rows) > 1000, "the pinned version has 1,500 people"
    life.home.node.blobs.path(f"tables/{made.values.registered}/guarded.parquet").unlink()
    failed = ask(life, made.contracts, BOTH.replace("group by", "where v.体重 > 50 group by"))
    assert failed.state == "failed" and failed.statistics == 2
    assert [spent(life, one.resource, None) for one in (made.visits, made.values)] == [5, 5]


def stopped(life: Life, by: Caller, made: Two) -> cleanroom.Answer:
    job = life.run("cleanroom.ask", life.insurer, cleanroom.Ask(made.contracts, BOTH)).job
    size = life.size()
    assert life.run("cleanroom.stop", by, cleanroom.Stop(job)).state == "stopped"
    assert life.size() == size + 1 and life.records()[-1].facts["declined"] == "question_stopped"
    life.quiet()
    assert life.refused("cleanroom.stop", by, cleanroom.Stop(job)) == "question_ended"
    found = life.run("cleanroom.show", life.insurer, cleanroom.Show(job))
    assert (found.state, found.rows, found.statistics) == ("stopped", (), 3)
    assert [spent(life, one.resource, None) for one in (made.visits, made.values)] == [3, 3]
    return found


def test_each_owner_can_stop_a_question_and_its_statistics_are_closed(life: Life) -> None:
    for owner in (life.hospital, life.rival):
        made = two(life)
        stopped(life, owner, made)
        assert code_of(ask(life, made.contracts)) is not None
        assert (
            life.run("cleanroom.check", life.insurer, cleanroom.Check(made.contracts, BOTH)).code.name
            == "statistic_closed"
        )


def test_the_asker_can_stop_it_and_ask_again_what_it_paid_for(life: Life) -> None:
    made = two(life)
    stopped(life, life.insurer, made)
    again = ask(life, made.contracts)
    assert (again.state, again.statistics) == ("done", 0) and again.rows


def test_nobody_else_can_stop_a_question(life: Life) -> None:
    made = shared(life)
    job = life.run("cleanroom.ask", life.insurer, cleanroom.Ask(made.contracts, BOTH)).job
    outsider = Caller(life.auditor.org, life.auditor.person, frozenset({"provider"}))
    assert life.refused("cleanroom.stop", outsider, cleanroom.Stop(job)) == "not_found"
    life.quiet()


def test_a_contract_that_ends_before_the_run_ends_the_question(life: Life) -> None:
    made = two(life)
    job = life.run("cleanroom.ask", life.insurer, cleanroom.Ask(made.contracts, BOTH)).job
    runs = engine(life).runs
    life.run("contract.terminate", life.rival, contract.Terminate(made.contracts[1]))
    assert life.run("cleanroom.pending", NODE, cleanroom.Pending(halted=True)).jobs == (job,)
    life.quiet()
    found = life.run("cleanroom.show", life.insurer, cleanroom.Show(job))
    assert (found.state, found.rows) == ("stopped", ()) and engine(life).runs == runs
    again = life.run("cleanroom.ask", life.insurer, cleanroom.Ask(made.contracts, BOTH))
    assert isinstance(again, Declined) and again.code.name == "contract_not_active"


@pytest.mark.parametrize("how", ["person", "role", "key", "key that made it", "another key"])
def test_who_may_not_ask_any_more_gets_no_answer(life: Life, how: str) -> None:
    """Whatever ends: the person, their role, the key it was asked with, or the one that made that key."""
    made = two(life)
    person = life.run("identity.invite", life.insurer, identity.Invite(f"问 {how}", ("consumer",))).person
    holder = life.run("identity.grant", life.insurer, identity.Grant(("consumer",), person))
    maker = life.home.caller_of_key(holder.api_key)
    assert maker is not None
    key, other = (life.run("identity.grant", maker, identity.Grant(("consumer",))) for _ in range(2))
    asker = life.home.caller_of_key(key.api_key)
    assert asker is not None
    sql = f"{BOTH.replace('group by', f'where v.体重 > {60 + len(how)} group by')}"
    job = life.run("cleanroom.ask", asker, cleanroom.Ask(made.contracts, sql)).job
    if how == "role":
        both = Caller(life.insurer.org, life.insurer.person, frozenset({"consumer", "provider"}))
        life.run("identity.assign", both, identity.Assign(person, ("provider",)))
    else:
        ended = {"person": person, "key": key.key, "key that made it": holder.key, "another key": other.key}[
            how
        ]
        life.run("identity.revoke", life.insurer, identity.Revoke(ended))
    halted = life.run("cleanroom.pending", NODE, cleanroom.Pending(halted=True)).jobs
    assert (job in halted) is (how != "another key")
    life.quiet()
    found = life.run("cleanroom.show", life.insurer, cleanroom.Show(job))
    assert found.state == ("done" if how == "another key" else "stopped")


class Slow(Failing):
    """An engine that computes until it is told that nobody wants the answer."""

    def compute(self, sql: str, *guarded: Path, stopped: Any = None) -> list[list[object]]:
        self.runs += 1
        while not stopped():
            time.sleep(0.05)
        raise Unavailable(ENGINE_STOPPED)


@pytest.mark.parametrize("how", ["terminate", "stop"])
def test_a_question_that_runs_or_waits_ends_without_its_answer(life: Life, how: str) -> None:
    made = two(life)
    slow = making.rebuilt(life.home, engine=Slow(engine(life).inner))
    object.__setattr__(life, "home", slow)
    loops = Loops(slow, workers=1)
    try:
        running, waiting = (
            life.run("cleanroom.ask", life.insurer, cleanroom.Ask(made.contracts, sql)).job
            for sql in (BOTH, BOTH.replace("group by", "where v.体重 > 50 group by"))
        )
        loops.start()
        deadline = time.monotonic() + 20
        while not slow.node.engine.runs and time.monotonic() < deadline:
            time.sleep(0.02)
        if how == "terminate":
            life.run("contract.terminate", life.insurer, contract.Terminate(made.contracts[0]))
        else:
            life.run("cleanroom.stop", life.rival, cleanroom.Stop(running))
            life.run("cleanroom.stop", life.hospital, cleanroom.Stop(waiting))
        states: set[str] = set()
        while states != {"stopped"} and time.monotonic() < deadline:
            states = {
                life.run("cleanroom.show", life.insurer, cleanroom.Show(job)).state
                for job in (running, waiting)
            }
            time.sleep(0.02)
        assert states == {"stopped"}
        done = threading.Thread(target=loops.stop)
        done.start()
        done.join(10)
        assert not done.is_alive(), "what ran is not killed"
    finally:
        again = making.rebuilt(slow, engine=Failing(engine(life).inner, failing=False))
        object.__setattr__(life, "home", again)
