"""What a consumer tries to learn more than its terms give: agreeing again, stopping, ending and asking anew."""

from __future__ import annotations

from typing import Any

from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contract
from dujiang.policy.model import Noise
from tests.cleanroom.asking import COUNTED, answer, offer, spent
from tests.life import Life, code_of

HEAVY = "select 性别, count(*) as n from 就诊 where 体重 > {} group by 性别"


def test_agreeing_again_gives_no_more_exact_questions(life: Life) -> None:
    made = offer(life, noise=Noise.exact, questions=2)
    first, second = life.agree(made.product), life.agree(made.product)
    answer(life, first, COUNTED)
    answer(life, second, HEAVY.format(60))
    for on in (first, second, life.agree(made.product)):
        assert code_of(life.ask(on, HEAVY.format(61))).name == "questions_spent"
    other: Any = life.rival
    assert answer(life, life.agree(made.product, other), COUNTED, other).state == "done"


def test_noised_questions_are_counted_by_contract_as_the_account_bounds_them(life: Life) -> None:
    made = offer(life, questions=1)
    first, second = life.agree(made.product), life.agree(made.product)
    answer(life, first, COUNTED)
    answer(life, second, HEAVY.format(60))


def test_one_statistic_has_one_noise_whatever_is_stopped_or_ended_before(life: Life) -> None:
    """Each new draw of a statistic must cost: an average of free ones would tell the truth."""
    made = offer(life)
    for turn in range(3):
        on = life.agree(made.product)
        job = life.run("cleanroom.ask", life.insurer, cleanroom.Ask((on,), COUNTED)).job
        if turn % 2:
            life.run("cleanroom.stop", life.insurer, cleanroom.Stop(job))
        else:
            life.run("contract.terminate", life.insurer, contract.Terminate(on))
        life.quiet()
        assert life.run("cleanroom.show", life.insurer, cleanroom.Show(job)).rows == ()
    given = {answer(life, life.agree(made.product), COUNTED).rows for _ in range(2)}
    assert len(given) == 1 and spent(life, made.resource, life.insurer.org) == 2
