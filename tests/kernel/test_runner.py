"""The runner: roles first, a key's ask once, one entry per write, and time that never goes back."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dujiang.acts import ACTS
from dujiang.contract import acts as contract
from dujiang.identity import acts as identity
from dujiang.kernel.act import NOBODY, NODE, Act, Caller, Effect, Outcome, bind
from dujiang.kernel.errors import Declined, Refused
from dujiang.ledger import rules
from dujiang.policy.model import TermsFile
from tests.life import NOON_MS, Life, opened

ROLES = ("provider", "consumer", "operator", "auditor")
SETS = [frozenset(some) for count in range(5) for some in itertools.combinations(ROLES, count)]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node for the tests of this file."""
    with opened(tmp_path_factory.mktemp("runner")) as made:
        yield made


def invite(name: str) -> identity.Invite:
    """An ask that makes a person."""
    return identity.Invite(name, ("consumer",))


@pytest.mark.parametrize("act", ACTS.values(), ids=lambda act: act.name)
def test_every_act_admits_exactly_its_roles(life: Life, act: Act) -> None:
    callers = [Caller("org_x", "per_x", roles) for roles in SETS]
    for caller in [*callers, NOBODY, NODE]:
        if caller is NODE:
            admitted = bool({"node", "member", "anyone"} & set(act.roles))
        else:
            signed_in = {"anyone", "member"} if caller.org else {"anyone"}
            admitted = bool((signed_in | caller.roles) & set(act.roles))
        try:
            life.home.run(act.name, caller, object())
        except Refused as refused:
            assert (refused.code.name != "forbidden") is admitted, (act.name, caller)
        except Exception:
            assert admitted, (act.name, caller)
        else:
            assert admitted


def test_an_act_is_bound_to_a_function_with_an_ask_and_a_reply() -> None:
    for act in ACTS.values():
        bound = bind(act)
        assert isinstance(bound.ask, type) and isinstance(bound.reply, type) and bound.reply is not Declined


def test_an_unknown_act_and_a_bad_key_are_refused(life: Life) -> None:
    assert life.refused("identity.conquer", NODE, object()) == "unknown_act"
    for key in ("", "k" * 201):
        assert life.refused("identity.invite", life.insurer, invite("钥"), key) == "key_long"


@pytest.mark.parametrize("name", ["\ud800", "a" + "\udfff"])
def test_an_ask_that_json_cannot_carry_is_malformed(life: Life, name: str) -> None:
    assert life.refused("identity.invite", life.insurer, invite(name)) == "malformed"
    assert life.refused("identity.show", NOBODY, identity.Show(name)) == "malformed"


@pytest.mark.parametrize("entry", [2**53, 2**63, 2**64, -(2**70)])
def test_a_number_json_cannot_carry_is_malformed(life: Life, entry: int) -> None:
    from dujiang.ledger import acts as ledger

    assert life.refused("ledger.show", life.auditor, ledger.Show(entry)) == "malformed"


def test_the_same_ask_with_the_same_key_gives_the_first_reply_less_secrets(life: Life) -> None:
    ask = identity.Grant(("consumer",))
    first = life.whole("identity.grant", life.insurer, ask, "key-1")
    size = life.size()
    again = life.whole("identity.grant", life.insurer, ask, "key-1")
    assert life.size() == size
    assert first.reply.api_key and again.reply.api_key is None
    assert (again.reply.key, again.reply.roles) == (first.reply.key, first.reply.roles)
    assert again.receipt is not None and first.receipt is not None
    assert again.receipt["leaf"] == first.receipt["leaf"] and again.receipt["index"] == first.receipt["index"]
    assert rules.verify(again.receipt, life.home.book.vkey).ok


def test_the_same_key_with_another_ask_is_refused(life: Life) -> None:
    life.run("identity.invite", life.insurer, invite("甲"), "key-2")
    assert life.refused("identity.invite", life.insurer, invite("乙"), "key-2") == "key_reused"


def test_a_key_is_an_organisations_and_an_acts_own(life: Life) -> None:
    ask = invite("丙")
    one = life.run("identity.invite", life.insurer, ask, "key-3")
    assert life.run("identity.invite", life.rival, ask, "key-3").person != one.person
    assert life.run("identity.grant", life.insurer, identity.Grant(("consumer",)), "key-3").key


def test_a_refused_ask_does_not_use_up_its_key(life: Life) -> None:
    life.run("identity.invite", life.insurer, invite("丁"))
    assert life.refused("identity.invite", life.insurer, invite("丁"), "key-4") == "name_taken"
    assert life.run("identity.invite", life.insurer, invite("戊"), "key-4").person


def test_a_declined_ask_is_remembered_with_its_entry(life: Life) -> None:
    product = life.offer(TermsFile(purposes=("train",))).product
    ask = contract.Request(product, "marketing")
    size = life.size()
    first = life.whole("contract.request", life.insurer, ask, "key-5")
    again = life.whole("contract.request", life.insurer, ask, "key-5")
    assert isinstance(first.reply, Declined) and again.reply == first.reply and life.size() == size + 1
    assert (
        first.receipt is not None
        and again.receipt is not None
        and first.receipt["leaf"] == again.receipt["leaf"]
    )


def test_equal_asks_at_once_with_one_key_are_one_act(life: Life) -> None:
    size = life.size()
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(
            target=lambda: outcomes.append(life.whole("identity.invite", life.insurer, invite("己"), "key-6"))
        )
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(outcomes) == 12 and len({outcome.reply.person for outcome in outcomes}) == 1
    assert {
        json.dumps(outcome.receipt["leaf"]) for outcome in outcomes if outcome.receipt
    } and life.size() == size + 1


def test_a_bug_after_the_work_takes_it_back_and_the_log_agrees(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dujiang.kernel import runner

    size = life.size()
    monkeypatch.setattr(runner.Runner, "_remember", _bug)
    with pytest.raises(KeyError):
        life.run("identity.invite", life.insurer, invite("庚"), "key-7")
    monkeypatch.undo()
    assert (life.size(), life.home.book.next_index()) == (size, size)
    done = life.whole("identity.invite", life.insurer, invite("庚"), "key-7")
    assert done.receipt is not None and rules.verify(done.receipt, life.home.book.vkey).ok


def _bug(*_: Any) -> None:
    raise KeyError("a row value")


def test_no_hash_of_a_password_is_kept(life: Life) -> None:
    with_password = life.whole(
        "identity.invite", life.rival, identity.Invite("辛", ("consumer",), "correct horse battery")
    )
    assert with_password.receipt is not None
    from dujiang.kernel.canonical import sha256_hex

    plainly = sha256_hex({"name": "辛", "roles": ["consumer"], "password": "correct horse battery"})
    assert with_password.receipt["opened"]["ask_sha256"]["value"] != plainly  # type: ignore[index]


@pytest.mark.parametrize(
    ("moved", "jumped", "told"),
    [
        (1_000, 0, 0),
        (3_600_000, 0, 0),
        (0, 4_000, 0),
        (0, 3_600_000, 3_600_000),
        (0, -7_200_000, -7_200_000),
        (2_000, -4_000, 0),
    ],
)
def test_a_clock_that_jumps_is_told_and_the_times_never_decrease(
    life: Life, moved: int, jumped: int, told: int
) -> None:
    life.run("identity.invite", life.rival, invite(f"前 {moved} {jumped}"))
    before = life.records()[-1].time_ms
    life.clock.move(moved)
    life.clock.jump(jumped)
    life.run("identity.invite", life.rival, invite(f"后 {moved} {jumped}"))
    entry = life.records()[-1]
    assert entry.facts.get("clock_jump_ms", 0) == told
    assert entry.time_ms == max(before, life.clock.now_ms()) >= NOON_MS
    life.run("identity.invite", life.rival, invite(f"再 {moved} {jumped}"))
    assert "clock_jump_ms" not in life.records()[-1].facts, "a jump is told once"


def test_only_an_act_without_preparation_starts_without_a_thread(life: Life) -> None:
    ready = life.home.start("identity.grant", life.insurer, identity.Grant(("consumer",)))
    assert ready is not None and ready.result(20).reply.key
    assert life.home.start("identity.invite", life.insurer, invite("壬")) is None
    assert life.home.start("identity.list", life.insurer, identity.List()) is None
    assert ACTS["identity.grant"].effect is Effect.writes
