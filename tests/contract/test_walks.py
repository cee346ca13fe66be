"""Whatever two organisations say to each other, in whatever order it arrives: they end in the same place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from dujiang.catalogue import acts as catalogue
from dujiang.catalogue.model import Strategy
from dujiang.contract import acts as contract
from dujiang.contract import store
from dujiang.contract.model import Negotiation
from dujiang.kernel.act import NODE, Caller
from dujiang.kernel.errors import Refused
from dujiang.kernel.tables import Row, Session, Sql, Value
from dujiang.policy.model import TermsFile
from dujiang.policy.rules import terms_sha256
from dujiang.policy.wire import terms_of_odrl
from tests.life import Life, opened

MOVES = some.tuples(
    some.sampled_from(["insurer", "hospital"]),
    some.sampled_from(
        ["accept", "refuse", "counter", "counter", "comment", "terminate", "deliver", "deliver"]
    ),
    some.integers(1, 60),
)
EXPECTED = {"out_of_turn", "terms_beyond", "terms_same", "contract_not_active"}


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node for the tests of this file."""
    with opened(tmp_path_factory.mktemp("walks")) as made:
        yield made


@pytest.fixture(scope="module")
def product(life: Life) -> str:
    """A product whose requests a person answers."""
    made = life.offer(TermsFile(days=40), salt=21).product
    life.run("catalogue.answer", life.hospital, catalogue.Answer(made, Strategy.ask))
    return made


def deliver(life: Life) -> None:
    """Delivers what waits; what came too late is out of turn, and nothing else is refused."""
    for envelope in life.taken():
        try:
            life.run("contract.hear", NODE, contract.Hear(envelope))
        except Refused as refused:
            assert refused.code.name == "out_of_turn"


def settle(life: Life) -> None:
    """Delivers until nothing waits."""
    while life.letters():
        deliver(life)


def sides(life: Life, own: str) -> tuple[Negotiation, Negotiation | None]:
    """The consumer's record, and the provider's where it has one."""
    with life.home.node.database.reading() as db:
        mine = store.negotiation(db, life.insurer.org, own)
        theirs = store.negotiation_with(db, life.hospital.org, life.did(life.insurer), own)
    assert mine is not None
    return mine, theirs


def move(life: Life, caller: Caller, wanted: str, word: str, days: int) -> str | None:
    """Does one thing; the hash of the terms it said, if it said any."""
    asks = {
        "accept": contract.Accept(wanted),
        "refuse": contract.Refuse(wanted),
        "counter": contract.Counter(wanted, days=days),
        "comment": contract.Remark(wanted, f"{days} days?"),
        "terminate": contract.Terminate(wanted),
    }
    try:
        reply = life.run(f"contract.{word}", caller, asks[word])
    except Refused as refused:
        assert refused.code.name in EXPECTED
        return None
    return reply.terms_sha256 if word == "counter" else None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=some.lists(MOVES, max_size=12))
def test_both_sides_end_alike_on_the_terms_said_last(
    life: Life, product: str, moves: list[tuple[str, str, int]]
) -> None:
    own = life.run("contract.request", life.insurer, contract.Request(product, "analyse")).contract
    said = [sides(life, own)[0].terms_sha256]
    for who, word, days in moves:
        theirs = sides(life, own)[1]
        if word == "deliver":
            deliver(life)
        elif who == "insurer":
            said.append(move(life, life.insurer, own, word, days) or said[-1])
        elif theirs is not None:
            said.append(move(life, life.hospital, theirs.id, word, days) or said[-1])
    settle(life)
    mine, held = sides(life, own)
    assert held is not None and mine.state == held.state
    assert mine.state in ("REQUESTED", "OFFERED", "FINALIZED", "TERMINATED")
    with life.home.node.database.reading() as db:
        found = [
            store.contract(db, one.org, one.contract) for one in (mine, held) if one.contract is not None
        ]
    assert len({one.terms_sha256 for one in found if one}) <= 1 and len({one.id for one in found if one}) <= 1
    if mine.state == "FINALIZED":
        one, other = (each for each in found if each is not None)
        assert one.state == other.state in ("active", "terminated")
        assert one.terms_sha256 == said[-1] == terms_sha256(contract.terms_of(one))
    elif mine.state != "TERMINATED":
        assert not found and mine.terms_sha256 == held.terms_sha256 == said[-1]
        assert terms_sha256(terms_of_odrl(mine.terms)) == mine.terms_sha256
    else:
        assert all(one is not None and one.state == "terminated" for one in found)


class Counting:
    """A session that counts the statements it passes on."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self.statements = 0

    def run(self, statement: Sql, /, **values: Value) -> list[Row]:
        """Passes a statement on."""
        self.statements += 1
        return self._inner.run(statement, **values)

    def changed(self, statement: Sql, /, **values: Value) -> int:
        """Passes a change on."""
        self.statements += 1
        return self._inner.changed(statement, **values)


@pytest.mark.parametrize("act", ["list", "inbox"])
def test_a_page_costs_the_same_statements_however_long_it_is(life: Life, product: str, act: str) -> None:
    for _ in range(12):
        life.run("contract.request", life.insurer, contract.Request(product, "analyse"))
    settle(life)

    def cost(limit: int) -> tuple[int, int]:
        def counted(tx: object) -> tuple[int, int]:
            from dataclasses import replace

            session = Counting(tx.db)  # type: ignore[attr-defined]
            seen = replace(tx, db=session)  # type: ignore[type-var]
            if act == "list":
                return len(
                    contract.list_(seen, life.hospital, contract.List(limit=limit)).items
                ), session.statements
            inbox = contract.inbox(seen, life.hospital, contract.Inside(limit=limit))
            return len(inbox.waiting), session.statements

        return life.at(counted)

    (few, cheap), (many, dear) = cost(1), cost(12)
    assert (few, many) == (1, 12) and cheap == dear
