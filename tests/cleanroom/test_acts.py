"""Questions on a real home: charged once, counted once, repeated at no cost, until an account is spent."""

from __future__ import annotations

from dujiang.catalogue import acts as catalogue
from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contract
from dujiang.kernel.errors import Declined
from dujiang.policy.model import TermsFile
from tests.cleanroom.asking import COUNTED, ONE, PEOPLE, SALT, answer, engine, offer, spent, used
from tests.life import Life, code_of

MEAN = "select 性别, avg(体重) from 就诊 where 体重 > 60 group by 性别"


def test_a_question_is_charged_and_counted_once_and_its_repeat_is_free_and_the_same(life: Life) -> None:
    made = offer(life)
    on = life.agree(made.product)
    first = answer(life, on, COUNTED)
    assert first.rows and (first.statistics, first.statistics_left, used(life, on)) == (2, 48, 1)
    runs = engine(life).runs
    for again in (
        COUNTED,
        COUNTED.upper().replace("N", "n"),
        "SELECT 性别 , COUNT( * ) AS n\nFROM 就诊\n GROUP BY 就诊.性别",
    ):
        repeat = answer(life, on, again)
        assert (repeat.rows, repeat.plus_minus) == (first.rows, first.plus_minus)
        assert (repeat.statistics, repeat.statistics_left, used(life, on)) == (0, 48, 1)
    assert engine(life).runs == runs and spent(life, made.resource, life.insurer.org) == 2


def test_the_same_question_twice_before_its_answer_is_charged_once(life: Life) -> None:
    made = offer(life)
    on = life.agree(made.product)
    jobs = [life.run("cleanroom.ask", life.insurer, cleanroom.Ask((on,), COUNTED)) for _ in range(3)]
    assert [job.statistics for job in jobs] == [2, 0, 0] and used(life, on) == 1
    life.quiet()
    answers = [life.run("cleanroom.show", life.insurer, cleanroom.Show(job.job)) for job in jobs]
    assert answers[0].rows and answers[0].rows == answers[1].rows == answers[2].rows
    assert spent(life, made.resource, life.insurer.org) == 2


def test_a_quote_costs_nothing_and_says_what_the_question_takes(life: Life) -> None:
    made = offer(life)
    on = life.agree(made.product)
    quote = life.run("cleanroom.check", life.insurer, cleanroom.Check((on,), COUNTED))
    assert (quote.statistics, quote.statistics_left, spent(life, made.resource, None), used(life, on)) == (
        2,
        50,
        0,
        0,
    )
    given = answer(life, on, COUNTED)
    assert (quote.columns, quote.plus_minus) == (given.columns, given.plus_minus)
    assert life.run("cleanroom.check", life.insurer, cleanroom.Check((on,), COUNTED)).statistics == 0


def test_an_account_runs_out_exactly_and_then_declines_with_an_entry(life: Life) -> None:
    made = offer(life, statistics=4)
    on = life.agree(made.product)
    assert answer(life, on, COUNTED).statistics_left == 2
    assert answer(life, on, COUNTED + " having count(*) > 100000").statistics == 0
    assert (
        answer(life, on, "select 性别, count(*) from 就诊 where 体重 > 50 group by 性别").statistics_left == 0
    )
    size = life.size()
    declined = life.ask(on, "select 性别, count(*) from 就诊 where 体重 > 60 group by 性别")
    assert (
        isinstance(declined, Declined)
        and declined.code.name == "budget_spent"
        and declined.names == {"left": "0", "needs": "2"}
    )
    assert life.size() == size + 1 and life.records()[-1].facts["declined"] == "budget_spent"
    assert answer(life, on, COUNTED).statistics == 0, "what was answered stays answered"
    assert spent(life, made.resource, life.insurer.org) == 4


def test_a_question_beyond_what_is_left_takes_nothing(life: Life) -> None:
    made = offer(life, statistics=4)
    on = life.agree(made.product)
    answer(life, on, COUNTED)
    declined = life.ask(on, MEAN)
    assert isinstance(declined, Declined) and declined.code.name == "budget_spent"
    assert spent(life, made.resource, life.insurer.org) == 2
    assert answer(life, on, ONE + " where 体重 > 50").statistics_left == 0


def test_the_accounts_of_all_organisations_have_a_ceiling(life: Life) -> None:
    made = offer(life, statistics=4, ceiling_statistics=6)
    mine, theirs = life.agree(made.product), life.agree(made.product, life.rival)
    answer(life, mine, COUNTED)
    answer(life, mine, "select 性别, count(*) from 就诊 where 体重 > 50 group by 性别")
    quote = life.run("cleanroom.check", life.rival, cleanroom.Check((theirs,), ONE))
    assert quote.statistics_left == 2
    declined = life.run("cleanroom.ask", life.rival, cleanroom.Ask((theirs,), MEAN))
    assert code_of(declined) is not None and declined.code.name == "ceiling_reached"
    assert answer(life, theirs, ONE, life.rival).statistics_left == 0
    assert spent(life, made.resource, None) == 6


def test_two_contracts_and_a_new_version_of_the_same_content_share_one_account(life: Life) -> None:
    salt = next(SALT)
    made = life.offer(TermsFile(), salt=salt, people=PEOPLE)
    one, two = life.agree(made.product), life.agree(made.product)
    first = answer(life, one, COUNTED)
    assert (answer(life, two, COUNTED).rows, spent(life, made.resource, life.insurer.org)) == (first.rows, 2)
    upload = life.upload(life.hospital, salt, PEOPLE)
    new = life.run("catalogue.publish", life.hospital, catalogue.Publish(made.product, upload, "编号"))
    assert (new.version, new.resource) == (2, made.resource)
    third = life.agree(made.product)
    assert answer(life, third, ONE).statistics_left == 46
    assert spent(life, made.resource, life.insurer.org) == 4


def test_another_organisation_has_an_account_and_noise_of_its_own(life: Life) -> None:
    made = offer(life)
    mine, theirs = life.agree(made.product), life.agree(made.product, life.rival)
    one, other = answer(life, mine, COUNTED), answer(life, theirs, COUNTED, life.rival)
    assert one.rows != other.rows and (other.statistics, other.statistics_left) == (2, 48)
    assert [spent(life, made.resource, org) for org in (life.insurer.org, life.rival.org, None)] == [2, 2, 4]


def test_the_terms_bound_the_number_of_questions(life: Life) -> None:
    on = life.agree(offer(life, questions=1).product)
    answer(life, on, COUNTED)
    declined = life.ask(on, ONE + " where 体重 > 70")
    assert isinstance(declined, Declined) and declined.code.name == "questions_spent"
    assert used(life, on) == 1


def test_the_terms_bound_the_days_and_a_terminated_contract_answers_nothing(life: Life) -> None:
    on, ended = life.agree(offer(life, days=1).product), life.agree(offer(life).product)
    answer(life, on, COUNTED)
    life.run("contract.terminate", life.hospital, contract.Terminate(ended))
    assert code_of(life.ask(ended, COUNTED)) is not None
    life.clock.move(86_400_000)
    declined = life.ask(on, ONE)
    assert isinstance(declined, Declined) and declined.code.name == "period_over"
