"""All acts, walked: one entry per write and none without; and every ask replayed as everybody else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from dujiang.acts import ACTS, codes
from dujiang.catalogue import acts as catalogue
from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contract
from dujiang.identity import acts as identity
from dujiang.identity import store as identities
from dujiang.kernel.act import NOBODY, NODE, Caller, Effect
from dujiang.kernel.errors import Declined, Refused
from dujiang.kernel.shape import plain
from dujiang.ledger import acts as ledger
from dujiang.ledger import lot, rules
from dujiang.market import acts as market
from tests import cluster
from tests.acts.scenario import COUNTED, NEW_PASSWORD, PASSWORD, Played, Scenario, play
from tests.life import opened

_BOOKS = {"market.show", "market.list", "market.statement", "market.export"}
OVERSIGHT = {
    role: {
        "ledger.list",
        "ledger.show",
        "ledger.prove",
        "ledger.search",
        "ledger.replay",
        "ledger.export",
        "ledger.fsck",
        "observatory.show",
        "observatory.list",
        "observatory.reconcile",
        *_BOOKS,
    }
    for role in ("auditor", "operator")
}
"""The one table of exceptions: who reads what is another's, and by which acts."""
BEARER = {"identity.login", "identity.enter", "identity.leave"}
"""Acts whose ask itself says who acts: a password, a link, a session."""
OWN_ID = re.compile(r"\b(?:ctr|neg|job|key|per|upl|ltr|bil|quo|ord)_[0-9a-z]{26}\b")
"""Ids that only the parties of a thing may see."""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def scenario(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    """One life, played once on each database."""
    database = cluster.fresh() if request.param == "postgres" else ""
    with opened(tmp_path_factory.mktemp("walk"), database) as life:
        yield play(life)


def others(scenario: Scenario, played: Played) -> list[Caller]:
    """Everybody who did not ask: each organisation, a person of the asker's own without roles, and nobody."""
    life = scenario.life
    callers = [life.hospital, life.insurer, life.rival, life.auditor, NOBODY]
    weaker = Caller(played.caller.org, played.caller.person) if played.caller.org else NOBODY
    return [caller for caller in [*callers, weaker] if caller != played.caller]


def test_the_scenario_runs_every_act(scenario: Scenario) -> None:
    assert {played.act for played in scenario.played if played.code is None} == set(ACTS)


def test_a_write_leaves_one_entry_and_nothing_else_leaves_any(scenario: Scenario) -> None:
    for played in scenario.played:
        expected = int(ACTS[played.act].effect is Effect.writes and played.code is None)
        if played.act == lot.ACT and played.code is None:
            expected = played.reply.count
        assert played.entries == expected, (played.act, played.code)
        assert (played.receipt is not None) == bool(expected), played.act


def test_every_receipt_verifies_and_names_its_act(scenario: Scenario) -> None:
    known = scenario.life.run("ledger.keys", NOBODY, ledger.Keys()).keys
    assert len(known) == 3 and known[-1].vkey == scenario.life.home.book.vkey
    for played in scenario.played:
        if played.receipt:
            told = json.loads(json.dumps(played.receipt))
            many = played.act == lot.ACT
            for receipt in lot.receipts_of(told, played.ask.records) if many else [told]:  # type: ignore[attr-defined]
                verdicts = [rules.verify(receipt, key.vkey) for key in known]
                assert any(verdict.trusted and verdict.act == played.act for verdict in verdicts)


def test_a_refusal_in_the_scenario_has_a_declared_code(scenario: Scenario) -> None:
    refused = [played.code for played in scenario.played if played.code]
    assert refused and set(refused) <= set(codes())


def test_a_declined_question_is_an_entry_with_its_code(scenario: Scenario) -> None:
    (declined,) = [played for played in scenario.played if isinstance(played.reply, Declined)]
    assert declined.receipt is not None
    verdict = rules.verify(declined.receipt, None)
    assert verdict.facts is not None and verdict.facts["declined"] == declined.reply.code.name


def test_the_times_of_the_log_never_decrease(scenario: Scenario) -> None:
    times = [record.time_ms for record in scenario.life.records()]
    assert times == sorted(times)


def test_no_leaf_holds_a_name_an_id_or_a_number_of_the_business(scenario: Scenario) -> None:
    for record in scenario.life.records():
        leaf = json.loads(record.leaf)
        assert set(leaf) == {"v", "act", "time_ms", "suite", "commitments"}
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in leaf["commitments"].values())


def test_the_log_holds_no_secret_no_row_and_no_password(scenario: Scenario) -> None:
    told = json.dumps([record.facts for record in scenario.life.records()], ensure_ascii=False)
    for secret in secrets(scenario):
        assert secret not in told


@pytest.mark.parametrize("scenario", ["sqlite"], indirect=True)
def test_replayed_as_anybody_else_an_ask_gives_only_their_own(scenario: Scenario) -> None:
    owners = owners_of_ids(scenario)
    hidden = secrets(scenario)
    replayed = 0
    for played in list(scenario.played):
        for caller in others(scenario, played):
            before, size = views(scenario, caller), scenario.life.size()
            try:
                reply = scenario.life.run(played.act, caller, played.ask)
            except Refused as refused:
                assert refused.code.name in codes()
                assert scenario.life.size() == size, played.act
                continue
            replayed += 1
            assert caller.may(ACTS[played.act]), played.act
            said = json.dumps(plain(reply), ensure_ascii=False, default=str)
            if played.act in BEARER:
                continue
            for secret in hidden - own_secrets(scenario, caller):
                assert secret not in said, (played.act, caller)
            assert views(scenario, caller) == before, (played.act, caller)
            if any(played.act in OVERSIGHT.get(role, ()) for role in caller.roles):
                continue
            for found in OWN_ID.findall(said):
                assert caller.org in owners.get(found, {caller.org}), (played.act, caller, found)
    assert replayed > 50


@pytest.mark.parametrize("act", sorted(act for act, row in ACTS.items() if "anyone" not in row.roles))
def test_nobody_is_refused_before_the_ask_is_looked_at(scenario: Scenario, act: str) -> None:
    for played in scenario.played:
        if played.act == act:
            assert scenario.life.refused(act, NOBODY, played.ask) == "forbidden"


@pytest.mark.parametrize(
    "act",
    [
        "contract.show", "contract.terminate", "cleanroom.check", "cleanroom.ask", "cleanroom.stop", "cleanroom.show",
        "market.order", "market.bill", "market.settle", "market.refund", "market.show",
        "ledger.replay", "ledger.export",
    ],
)  # fmt: skip
def test_what_belongs_to_others_does_not_exist_for_a_third_party(scenario: Scenario, act: str) -> None:
    for played in scenario.played:
        if played.act == act and played.code is None:
            assert scenario.life.refused(act, scenario.life.rival, played.ask) == "not_found"


def test_a_provider_sees_that_a_question_was_asked_and_no_row(scenario: Scenario) -> None:
    shown = [p for p in scenario.played if p.act == "cleanroom.show"]
    asker, provider = (
        next(p.reply for p in shown if p.caller == c) for c in (scenario.life.insurer, scenario.life.hospital)
    )
    assert asker.rows and asker.question == provider.question == COUNTED
    assert (provider.rows, provider.columns, provider.plus_minus, provider.state) == ((), (), (), "done")


def test_an_entry_of_two_parties_shows_its_person_to_one(scenario: Scenario) -> None:
    from dujiang.ledger import acts as ledger

    life = scenario.life
    seen = {
        caller.org: next(
            e
            for e in life.run("ledger.list", caller, ledger.List(limit=200)).items
            if e.act == "cleanroom.ask"
        )
        for caller in (life.insurer, life.hospital, life.auditor)
    }
    assert "person" in seen[life.insurer.org].facts and "person" in seen[life.auditor.org].facts
    provider = Caller(life.hospital.org, life.hospital.person, frozenset({"provider"}))
    items = life.run("ledger.list", provider, ledger.List(limit=200)).items
    entry = next(entry for entry in items if entry.act == "cleanroom.ask")
    assert "person" not in entry.facts and "ask_sha256" not in entry.facts
    receipt = life.run("ledger.prove", provider, ledger.Show(entry.index)).receipt
    assert "person" not in receipt["opened"] and rules.verify(receipt, None).ok
    assert life.run("ledger.list", provider, ledger.List(about=life.insurer.person, limit=200)).items == ()


def secrets(scenario: Scenario) -> set[str]:
    """What nobody may see but its holder: keys, tokens, sealed keys, passwords, rows."""
    found = {PASSWORD, NEW_PASSWORD, "机密"} | {made["api_key"] for made in scenario.life.made}
    for played in scenario.played:
        for member in ("api_key", "token", "session"):
            found |= {value for value in [getattr(played.reply, member, None)] if value}
        if isinstance(played.reply, cleanroom.Answer) and played.reply.rows:
            found.add(json.dumps([list(row) for row in played.reply.rows], ensure_ascii=False)[1:-1])
    with scenario.life.home.node.database.reading() as db:
        found |= {org.sealed.hex() for org in identities.organisations(db)}
    return found


def own_secrets(scenario: Scenario, caller: Caller) -> set[str]:
    """The rows of the answers an organisation was given itself."""
    return {
        json.dumps([list(row) for row in played.reply.rows], ensure_ascii=False)[1:-1]
        for played in scenario.played
        if isinstance(played.reply, cleanroom.Answer)
        and played.reply.rows
        and played.caller.org == caller.org
    }


def owners_of_ids(scenario: Scenario) -> dict[str, set[str]]:
    """Which organisations each private id of the scenario belongs to."""
    owners: dict[str, set[str]] = {}
    for record in scenario.life.records():
        parties = {record.org, *record.facts.get("parties", [])}
        for found in OWN_ID.findall(json.dumps({k: v for k, v in record.facts.items() if k != "person"})):
            owners.setdefault(found, set()).update(parties)
        if record.facts.get("person", "").startswith("per_"):
            owners.setdefault(record.facts["person"], set()).add(record.org)
    for made in scenario.life.made:
        owners.setdefault(made["person"], set()).add(made["org"])
    return owners


def views(scenario: Scenario, but: Caller) -> dict[str, Any]:
    """Everything each other organisation can list of its own."""
    life = scenario.life
    asks: dict[str, object] = {
        "contract.list": contract.List(),
        "cleanroom.list": cleanroom.List(),
        "catalogue.list": catalogue.List(),
        "identity.list": identity.List(),
        "market.list": market.List(),
    }
    return {
        f"{act} {caller.org}": life.run(act, caller, ask)
        for caller in (life.hospital, life.insurer, life.rival, life.auditor)
        if caller.org != but.org
        for act, ask in asks.items()
        if caller.may(ACTS[act])
    }


def test_the_node_itself_is_no_organisation(scenario: Scenario) -> None:
    assert (
        not NODE.org and scenario.life.refused("cleanroom.show", NODE, cleanroom.Show("job_x")) == "not_found"
    )
