"""Receipts that the sides of a contract keep of each other: only true ones of that very message, and once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dujiang import home
from dujiang.catalogue import acts as catalogue
from dujiang.catalogue.model import Strategy
from dujiang.contract import acts as contract
from dujiang.doors.loops import Loops
from dujiang.kernel.act import NODE, Caller
from dujiang.kernel.tables import Sql
from dujiang.ledger import acts as ledger
from dujiang.ledger import rules
from dujiang.post import acts as post
from tests.life import Life, opened

AGREE, VERIFY, FINALIZE = range(3)
"""The places of the three messages that make a contract, after the request."""


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node for the tests of this file."""
    with opened(tmp_path_factory.mktemp("kept")) as made:
        yield made


@pytest.fixture(scope="module")
def product(life: Life) -> str:
    """A product of the hospital whose requests are agreed to at once."""
    return life.offer(salt=31).product


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A true receipt of another log's agreement."""
    with opened(tmp_path_factory.mktemp("other")) as made:
        yield held(made, made.insurer, made.agree(made.offer().product))[0]


def held(life: Life, caller: Caller, of: str) -> list[dict[str, Any]]:
    """The receipts an organisation keeps of a contract, as its bundle holds them."""
    return list(life.run("ledger.export", caller, ledger.Export(of)).kept)


def upto(life: Life, product: str, place: int) -> tuple[str, post.Due, dict[str, Any]]:
    """A negotiation of which one message waits: its id, the message and the receipt that goes with it."""
    own = life.run("contract.request", life.insurer, contract.Request(product, "analyse")).contract
    loops = Loops(life.home)
    for _ in range(place + 1):
        assert loops.deliver_due() == 1
    (letter,) = life.letters()
    assert letter.entry is not None
    receipt = life.home.book.receipt_for(letter.to_org, letter.entry)
    assert receipt is not None
    return own, letter, receipt


def kept_in_all(life: Life) -> list[Any]:
    """Everything that anybody keeps."""
    with life.home.node.database.reading() as db:
        return list(db.run(Sql(text("SELECT org, about, origin, idx FROM ledger_kept ORDER BY org, idx"))))


def test_each_side_holds_what_proves_the_contract_without_the_other(life: Life, product: str) -> None:
    of = life.agree(product)
    sides = {
        life.insurer: (life.hospital, ["AGREED", "FINALIZED"]),
        life.hospital: (life.insurer, ["VERIFIED"]),
    }
    for caller, (sender, states) in sides.items():
        found = held(life, caller, of)
        verdicts = [rules.verify(receipt, life.home.book.vkey) for receipt in found]
        assert all(verdict.ok and verdict.trusted for verdict in verdicts)
        told = [verdict.facts or {} for verdict in verdicts]
        assert [each["state"] for each in told] == states
        for each in told:
            assert (each["org"], each["contract"]) == (sender.org, of)
            # What only the acting organisation sees stays with it.
            assert not {"person", "ask_sha256"} & each.keys()
        assert life.run("contract.show", caller, contract.Show(of)).kept == len(states)


def test_a_person_who_agrees_is_not_named_to_the_other_side(life: Life) -> None:
    product = life.offer(salt=32).product
    life.run("catalogue.answer", life.hospital, catalogue.Answer(product, Strategy.ask))
    own = life.run("contract.request", life.insurer, contract.Request(product, "analyse")).contract
    life.quiet()
    (waits,) = life.run("contract.inbox", life.hospital, contract.Inside()).waiting
    life.run("contract.accept", life.hospital, contract.Accept(waits.contract))
    life.quiet()
    of = life.run("contract.show", life.insurer, contract.Show(own)).contract
    first = held(life, life.insurer, of)[0]
    assert '"act":"contract.accept"' in first["leaf"] and life.hospital.person not in str(first)


def test_a_third_organisation_is_given_none(life: Life, product: str) -> None:
    _, letter, _ = upto(life, product, AGREE)
    assert letter.entry is not None
    assert life.home.book.receipt_for(life.rival.org, letter.entry) is None
    life.quiet()
    # Of an older batch it is read from the database: the same holds, and the same receipt is given.
    life.offer(salt=33)
    assert life.home.book.receipt_for(life.rival.org, letter.entry) is None
    again = life.home.book.receipt_for(letter.to_org, letter.entry)
    assert rules.verify(again, life.home.book.vkey).ok
    assert life.rival.org not in {row[0] for row in kept_in_all(life)}


def _opened(field: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda receipt: receipt["opened"][field].update(value=value)


WOUNDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a fact": _opened("contract", "ctr_x"),
    "a fact less": lambda receipt: receipt["opened"].pop("negotiation"),
    "path": lambda receipt: receipt["path"].reverse(),
    "index": lambda receipt: receipt.update(index=receipt["index"] - 1),
    "leaf": lambda receipt: receipt.update(leaf=receipt["leaf"].replace("contract.hear", "contract.read")),
    "checkpoint": lambda receipt: receipt.update(checkpoint=receipt["checkpoint"].replace("— ", "— x", 1)),
    "signature": lambda receipt: receipt.update(checkpoint=receipt["checkpoint"][:-4] + "AA=\n"),
    "no checkpoint": lambda receipt: receipt.pop("checkpoint"),
    "numbers": lambda receipt: receipt.update(checkpoint=7),
    "all of it": lambda receipt: receipt.clear(),
}


@pytest.mark.parametrize("wound", WOUNDS)
def test_a_wounded_receipt_is_not_kept_and_its_message_is_heard(life: Life, product: str, wound: str) -> None:
    own, letter, receipt = upto(life, product, AGREE)
    wounded = copy.deepcopy(receipt)
    WOUNDS[wound](wounded)
    assert wounded != receipt
    _heard_without(life, own, letter, wounded)


def test_a_receipt_of_another_log_is_not_kept(life: Life, product: str, other: dict[str, Any]) -> None:
    own, letter, _ = upto(life, product, AGREE)
    _heard_without(life, own, letter, other)


@pytest.mark.parametrize("place", [AGREE, VERIFY, FINALIZE])
def test_a_true_receipt_of_another_message_is_not_kept(life: Life, product: str, place: int) -> None:
    """Of another negotiation between the two, and of an earlier message of the same."""
    of = life.agree(product)
    true = held(life, life.hospital if place == VERIFY else life.insurer, of)[-1]
    own, letter, _ = upto(life, product, place)
    if place == FINALIZE:
        (true,) = held(
            life, life.insurer, life.run("contract.show", life.insurer, contract.Show(own)).contract
        )
    assert rules.verify(true, life.home.book.vkey).ok
    _heard_without(life, own, letter, true)


def test_nothing_is_kept_with_a_message_that_makes_no_contract(life: Life, product: str) -> None:
    of = life.agree(product)
    true = held(life, life.insurer, of)[0]
    life.run("contract.request", life.insurer, contract.Request(product, "analyse"))
    (letter,) = life.letters()
    assert letter.entry is None
    before = kept_in_all(life)
    assert not life.run("contract.hear", NODE, contract.Hear(letter.envelope, true), letter.id).kept
    assert kept_in_all(life) == before
    life.quiet()


def test_what_is_delivered_again_after_a_crash_is_kept_once(life: Life, product: str) -> None:
    """The message was heard and its mark lost: what comes with it again does not matter."""
    own, letter, receipt = upto(life, product, AGREE)
    ask = contract.Hear(letter.envelope, receipt)
    first = life.run("contract.hear", NODE, ask, letter.id)
    before, size = kept_in_all(life), life.size()
    assert first.kept and letter.id in {each.id for each in life.letters()}
    assert life.run("contract.hear", NODE, contract.Hear(letter.envelope), letter.id) == first
    life.quiet()
    assert life.run("contract.show", life.insurer, contract.Show(own)).status == "active"
    mine = life.run("contract.show", life.insurer, contract.Show(own)).contract
    assert len(held(life, life.insurer, mine)) == 2
    assert [row for row in kept_in_all(life) if row in before] == before and life.size() == size + 2
    with life.home.node.database.reading() as db:
        proof = ledger.proof_of(db, receipt)
    assert proof is not None
    for _ in range(2):
        life.at(lambda tx: ledger.keep(tx.db, life.insurer.org, mine, proof))
    assert len(held(life, life.insurer, mine)) == 2


def test_a_record_that_was_changed_gives_no_receipt_to_keep_and_the_loop_says_so(
    life: Life, product: str, capfd: pytest.CaptureFixture[str]
) -> None:
    own, letter, _ = upto(life, product, AGREE)
    life.offer(salt=34)  # from now on the receipt is made of what is in the database
    change = Sql(
        text("UPDATE ledger_entry SET facts = replace(facts, 'AGREED', 'REQUESTED') WHERE idx = :idx")
    )
    before = kept_in_all(life)
    life.at(lambda tx: tx.db.run(change, idx=letter.entry))
    capfd.readouterr()
    assert Loops(life.home).deliver_due() == 1
    (line,) = capfd.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told.pop("event"), told.pop("message")) == ("receipt not kept", letter.id)
    assert told.keys() == {"level", "timestamp"}
    assert kept_in_all(life) == before
    life.quiet()
    assert life.run("contract.show", life.insurer, contract.Show(own)).status == "active"


def test_a_home_that_ended_between_hearing_and_marking_keeps_it_once(tmp_path: Path) -> None:
    with opened(tmp_path) as life:
        own, letter, receipt = upto(life, life.offer().product, AGREE)
        assert life.run("contract.hear", NODE, contract.Hear(letter.envelope, receipt), letter.id).kept
    with home.opened(tmp_path / "home", clock=life.clock) as again:
        Loops(again).until_quiet()
        shown = again.run("contract.show", life.insurer, contract.Show(own)).reply
        assert (shown.status, shown.kept) == ("active", 2)
        assert not again.run("post.list", NODE, post.List()).reply.items


def _heard_without(life: Life, own: str, letter: post.Due, receipt: dict[str, Any]) -> None:
    """The message is heard as ever, the receipt is not kept, the negotiation goes its way."""
    before = kept_in_all(life)
    size = life.size()
    heeded = life.run("contract.hear", NODE, contract.Hear(letter.envelope, receipt), letter.id)
    assert (heeded.kept, kept_in_all(life), life.size()) == (False, before, size + 1)
    life.quiet()
    assert life.run("contract.show", life.insurer, contract.Show(own)).status == "active"
