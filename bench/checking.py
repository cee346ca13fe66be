"""The policy check and rewrite of a question, beside sqlglot's own parse and qualify of the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import sqlglot
from sqlglot.optimizer.qualify import qualify

from bench.figure import Figure
from bench.visits import QUESTIONS, SCHEMA, guard, shape
from dujiang.cleanroom.model import Plan
from dujiang.cleanroom.sql import plan

_ROUNDS = 40


def figures() -> Iterator[Figure]:
    """CPU of `plan` over twelve questions of different shapes: the mean, and the slowest."""
    table, rules = shape(100_000, 150), guard(100_000)
    ours: dict[str, float] = {}
    peer: dict[str, float] = {}
    for question in QUESTIONS:
        text = question.text()
        assert isinstance(plan(text, table, rules), Plan), question.name
        ours[question.name] = _cpu_ms(lambda text=text: plan(text, table, rules))
        peer[question.name] = _cpu_ms(lambda text=text: _peer(text))
    count = len(QUESTIONS)
    beside = {"sqlglot_parse_and_qualify_ms": sum(peer.values()) / count, "questions": count}
    yield Figure(
        "policy check and rewrite of a question, mean", sum(ours.values()) / count, "ms CPU", "≤ 3", beside
    )
    slowest = max(ours, key=lambda name: ours[name])
    beside = {"sqlglot_parse_and_qualify_ms": peer[slowest], "question": slowest}
    yield Figure(
        "policy check and rewrite of a question, slowest of 12", ours[slowest], "ms CPU", "≤ 3", beside
    )


def _peer(text: str) -> object:
    return qualify(sqlglot.parse_one(text, dialect="duckdb"), schema={"visits": SCHEMA}, dialect="duckdb")


def _cpu_ms(work: Callable[[], object]) -> float:
    """The mean CPU of many calls, the best of three such means: a busy neighbour only adds."""
    work()
    means: list[float] = []
    for _ in range(3):
        begun = time.process_time()
        for _ in range(_ROUNDS):
            work()
        means.append((time.process_time() - begun) * 1000 / _ROUNDS)
    return min(means)
