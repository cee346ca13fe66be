"""Records are kept as long as every policy says that was in force; pruned ones leave the tree, and say so."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.ledger import acts as ledger
from dujiang.ledger import fsck, lot, published, retaining, rules
from dujiang.ledger.retaining import DAYS_MIN, NOTICE_DAYS, Policy, days_of
from dujiang.ledger.subject import number_of
from dujiang.observatory import acts as observatory
from tests.life import Life, opened

DAY_MS = 86_400_000


def attested(life: Life, count: int, contract: str | None = None) -> dict[str, object]:
    """The receipt of so many records of the insurer."""
    records = tuple({"meter": n} for n in range(count))
    receipt = life.whole(
        "ledger.attest", life.insurer, ledger.Attest(records, "meter.reading", contract)
    ).receipt
    assert receipt is not None
    return receipt


def policy(life: Life) -> list[str]:
    """The policy as everybody reads it."""
    with life.home.node.database.reading() as db:
        raw = published.file(db, published.POLICY, life.clock.now_ms())
    assert raw is not None
    return raw.decode().splitlines()


def test_records_are_pruned_under_a_policy_that_everybody_could_read(tmp_path: Path) -> None:
    with opened(tmp_path) as life:
        on = life.agree(life.offer().product)
        old = attested(life, 300)
        bound = attested(life, 3, on)
        assert "records-of-other-systems for-ever" in policy(life)
        life.clock.move(400 * DAY_MS)
        # However old it is: a policy published today applies in 30 days.
        assert life.refused("ledger.prune", life.hospital, ledger.Prune()) == "policy_unpublished"
        life.run("ledger.retain", life.hospital, ledger.Retain(200))
        life.clock.move((NOTICE_DAYS - 1) * DAY_MS)
        assert life.refused("ledger.prune", life.hospital, ledger.Prune()) == "policy_unpublished"
        young = attested(life, 5)
        life.clock.move(2 * DAY_MS)
        assert "records-of-other-systems 200 days" in policy(life)
        assert life.refused("ledger.prune", life.insurer, ledger.Prune()) == "forbidden"
        done = life.run("ledger.prune", life.hospital, ledger.Prune())
        assert (done.pruned, done.more) == (300, False)
        assert life.refused("ledger.prune", life.hospital, ledger.Prune()) == "nothing_to_prune"

        first = int(str(old["first"]))
        for index in (first, first + 299):
            entry = life.run("ledger.show", life.insurer, ledger.Show(index))
            assert set(entry.erased) == {"kind", "person", "record"} and entry.facts == {
                "org": life.insurer.org
            }
            verdict = rules.verify(life.run("ledger.prove", life.insurer, ledger.Show(index)).receipt, None)
            assert verdict.ok and set(verdict.erased) == {"kind", "person", "record"}
        # What was given out before stays true, and what is younger or of a contract is whole.
        records = [{"meter": n} for n in range(300)]
        assert all(rules.verify(each, life.home.book.vkey).ok for each in lot.receipts_of(old, records))
        for receipt, count in ((bound, 3), (young, 5)):
            for index in range(int(str(receipt["first"])), int(str(receipt["first"])) + count):
                assert life.run("ledger.show", life.insurer, ledger.Show(index)).facts["record"]
        found = life.run("ledger.search", life.insurer, ledger.Search(kind="meter.reading", limit=1000))
        assert len(found.items) == 8
        assert life.at(lambda tx: fsck.examine(tx.db, 10)).differences == []
        assert life.run("observatory.reconcile", life.auditor, observatory.Reconcile()).agrees


def test_records_of_one_call_go_together_and_the_rest_later(tmp_path: Path) -> None:
    with opened(tmp_path) as life:
        for _ in range(3):
            attested(life, 4)
        life.run("ledger.retain", life.hospital, ledger.Retain(180))
        life.clock.move(181 * DAY_MS)
        told = [life.run("ledger.prune", life.hospital, ledger.Prune(limit=5)) for _ in range(2)]
        assert [(each.pruned, each.more) for each in told] == [(8, True), (4, False)]


@pytest.mark.parametrize("days", [-1, 0, 179, 36_501])
def test_a_policy_has_half_a_year_at_least(tmp_path: Path, days: int) -> None:
    with opened(tmp_path) as life:
        assert life.refused("ledger.retain", life.hospital, ledger.Retain(days)) == "retention_short"
        assert life.refused("ledger.retain", life.insurer, ledger.Retain(365)) == "forbidden"


POLICIES = st.lists(st.tuples(st.integers(0, 90), st.integers(DAYS_MIN, 400)), max_size=6)


@settings(max_examples=200, deadline=None)
@given(POLICIES, st.integers(0, 500))
def test_nothing_goes_earlier_than_any_policy_says_that_could_still_be_relied_on(
    told: list[tuple[int, int]], now: int
) -> None:
    at, made = 0, list[Policy]()
    for gap, days in told:
        at += gap
        made.append(Policy(len(made), at * DAY_MS, days))
    known = [each for each in made if each.time_ms <= now * DAY_MS]
    found = days_of(known, now * DAY_MS)
    settled = [each for each in known if each.time_ms <= (now - NOTICE_DAYS) * DAY_MS]
    if not settled:
        assert found is None
        return
    # On each of the last 30 days one policy was the newest: none of them is undercut.
    for day in range(max(0, now - NOTICE_DAYS), now + 1):
        newest = [each for each in known if each.time_ms <= day * DAY_MS]
        assert not newest or (found is not None and found >= newest[-1].days)
    assert found in {each.days for each in known} and found >= retaining.DAYS_MIN


def test_a_policy_is_no_tile_that_is_kept_for_ever() -> None:
    assert published.changes(published.POLICY) and not published.changes("tile/0/000")


def test_no_word_of_a_tenant_passes_for_an_act_of_the_log(tmp_path: Path) -> None:
    with opened(tmp_path) as life:
        first = life.size()
        for word in (retaining.RETAIN, retaining.PRUNE, lot.ACT):
            assert life.refused("ledger.attest", life.insurer, ledger.Attest((1,), word)) == "malformed"
        attested(life, 2)
        with life.home.node.database.reading() as db:
            # Where such a name got among the records all the same, only the act counts.
            assert retaining.policies(db) == []
        life.run("ledger.retain", life.hospital, ledger.Retain(200))
        life.clock.move(400 * DAY_MS)
        life.run("ledger.prune", life.hospital, ledger.Prune())
        with closing(sqlite3.connect(life.home.path / "state.sqlite")) as db:
            for word in (retaining.PRUNE, lot.ACT):
                db.execute(
                    "INSERT INTO ledger_about (name, idx, entries) VALUES (?, 0, 1)", (number_of(word),)
                )
            db.commit()
        attested(life, 1)
        life.clock.move(400 * DAY_MS)
        assert life.run("ledger.prune", life.hospital, ledger.Prune()).pruned == 1
        shown = life.run("ledger.show", life.auditor, ledger.Show(0))
        assert not shown.erased and first > 0
