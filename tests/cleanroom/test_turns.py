"""Whose question is next: each organisation has its turn, however many questions another has waiting."""

from __future__ import annotations

import threading

from dujiang.cleanroom import acts as cleanroom
from dujiang.doors.loops import Loops
from dujiang.kernel.act import NODE, Caller
from tests.cleanroom.asking import offer
from tests.life import Life

TABLE = "就诊"


def admitted(life: Life, on: str, caller: Caller, count: int) -> list[str]:
    """So many different questions, that wait."""
    asks = [cleanroom.Ask((on,), f"select count(*) as n{number} from {TABLE}") for number in range(count)]
    return [life.run("cleanroom.ask", caller, ask).job for ask in asks]


def ended(life: Life) -> list[str]:
    """The questions that ended, first to last."""
    return [each.facts["job"] for each in life.records() if each.act == "cleanroom.complete"]


def test_an_organisation_that_asks_much_keeps_nobody_waiting(life: Life) -> None:
    product = offer(life).product
    many, one = life.agree(product), life.agree(product, life.rival)
    flood = admitted(life, many, life.insurer, 6)
    late = admitted(life, one, life.rival, 2)
    waiting = life.run("cleanroom.pending", NODE, cleanroom.Pending()).jobs
    assert list(waiting) == [flood[0], late[0], flood[1], late[1], *flood[2:]]
    loops = Loops(life.home, workers=1)
    held, begun = threading.Event(), threading.Event()
    run = loops._run_job

    def slow(job: str) -> bool:
        begun.set()
        assert held.wait(60)
        return run(job)

    loops._run_job = slow  # type: ignore[method-assign]
    loops.start()
    try:
        assert begun.wait(60)
        # The first runs; what comes now is not behind everything the other has waiting.
        more = admitted(life, one, life.rival, 2)
        held.set()
        for _ in range(600):
            if len(ended(life)) == 10:
                break
            life.home.bell.wait(life.home.bell.count, 0.1)
    finally:
        loops.stop()
    order = ended(life)
    assert sorted(order) == sorted([*flood, *late, *more])
    assert order == [flood[0], late[0], flood[1], late[1], flood[2], more[0], flood[3], more[1], *flood[4:]]
