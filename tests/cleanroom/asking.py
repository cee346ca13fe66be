"""Asking on a real home: a node whose engine can fail, and what is counted and spent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dujiang.catalogue import acts as catalogue
from dujiang.cleanroom import acts as cleanroom
from dujiang.cleanroom import store
from dujiang.contract import acts as contract
from dujiang.kernel.errors import Unavailable
from dujiang.plugs.folder import FILES_FAILED
from dujiang.policy.model import TermsFile
from tests.life import Life

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

    def compute(self, sql: str, *guarded: Path, **more: Any) -> list[list[object]]:
        """Rows, or the engine's one failure."""
        self.runs += 1
        if self.failing:
            raise Unavailable(FILES_FAILED)
        return self.inner.compute(sql, *guarded, **more)


SALT = iter(range(10, 1000))
"""Each table has content of its own."""


def offer(life: Life, **terms: Any) -> catalogue.Published:
    """A product of content of its own."""
    return life.offer(TermsFile(**terms), salt=next(SALT), people=PEOPLE)


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
