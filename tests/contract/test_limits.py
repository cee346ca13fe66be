"""What an organisation may have open at one time, over whatever door; another one is not kept from anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contract
from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller
from dujiang.kernel.config import Config
from dujiang.kernel.errors import Refused
from tests.life import Life, opened


def refused(life: Life, act: str, caller: Caller, ask: object) -> str:
    """The code with which an act is refused; it leaves no entry."""
    before = life.size()
    with pytest.raises(Refused) as no:
        life.run(act, caller, ask)
    assert life.size() == before and no.value.code.status == 429
    return no.value.code.name


def test_negotiations_nobody_answers_are_bounded_and_those_that_end_make_room(tmp_path: Path) -> None:
    with opened(tmp_path, config=Config(org_negotiations_open_max=2)) as life:
        product = life.offer().product
        ask = contract.Request(product, "analyse")
        begun = [life.run("contract.request", life.insurer, ask) for _ in range(2)]
        assert refused(life, "contract.request", life.insurer, ask) == "negotiations_open"
        made = life.run("identity.register", life.hospital, identity.Register("另一家", ("consumer",)))
        other = Caller(made.org, made.person, frozenset({"consumer"}))
        life.run("contract.request", other, ask)
        life.run("contract.terminate", life.insurer, contract.Terminate(begun[0].contract))
        life.run("contract.request", life.insurer, ask)
        life.quiet()
        life.run("contract.request", life.insurer, ask)


def test_questions_that_wait_are_bounded(tmp_path: Path) -> None:
    with opened(tmp_path, config=Config(org_questions_at_once_max=1)) as life:
        on = life.agree(life.offer(people=400).product)
        ask = [
            cleanroom.Ask((on,), f"select count(*) as n from 就诊{more}")
            for more in ("", " where 性别 = '男'")
        ]
        life.run("cleanroom.ask", life.insurer, ask[0])
        assert refused(life, "cleanroom.ask", life.insurer, ask[1]) == "questions_waiting"
        life.quiet()
        assert life.run(
            "cleanroom.show",
            life.insurer,
            cleanroom.Show(life.run("cleanroom.ask", life.insurer, ask[0]).job),
        )
