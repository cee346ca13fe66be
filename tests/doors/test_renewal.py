"""A home whose master key is lost goes on under a new name; what was written stays, and says so."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dujiang import home
from dujiang.contract import acts as contract
from dujiang.doors import renewal
from dujiang.doors.local import Options
from dujiang.kernel.act import NOBODY, NODE
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.kernel.shape import plain
from dujiang.ledger import acts as ledger
from dujiang.ledger import book, fsck, note, rules, trust
from dujiang.plugs import highwater, vault
from dujiang.registry import acts as registry
from tests import life as lives
from tests.doors.test_backup import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A lived-in home, closed."""
    return Place(tmp_path)


def renew(place: Place) -> Any:
    """What the command says."""
    return renewal.renew()(Options(place.home)).body


def lose(place: Place) -> None:
    """The master key is gone."""
    vault.key_path(place.home).unlink()


def code(call: Callable[[], Any]) -> str:
    """The code of a call that fails."""
    with pytest.raises((Refused, Unavailable)) as failed:
        call()
    assert isinstance(failed.value, (Refused, Unavailable))
    return failed.value.code.name


def test_a_home_whose_master_key_is_lost_goes_on_under_a_new_name(place: Place) -> None:
    lose(place)
    assert code(lambda: home.open_home(place.home)) == "key_unreadable"
    said = renew(place)
    assert said["vkey"] != place.vkey and said["organisations"] == 4
    begun = said["receipt"]
    facts = {field: each["value"] for field, each in begun["opened"].items()}
    assert (
        facts["before"] == place.vkey.partition("+")[0]
        and facts["lost_key"]
        and facts["size"] == begun["index"]
    )
    assert (
        rules.verify(begun, said["vkey"]).trusted and rules.verify(said["keys_receipt"], said["vkey"]).trusted
    )
    assert rules.verify(place.receipt, place.vkey).trusted, "what the old name signed stands"
    with home.opened(place.home) as held:
        document = json.loads(json.dumps(plain(held.run("ledger.keys", NOBODY, ledger.Keys()).reply)))
        again = held.run("ledger.prove", NODE, ledger.Show(2)).reply.receipt
        assert again == place.receipt
        with held.node.database.reading() as db:
            assert fsck.whole(db) is None
    assert not trust.verify(begun, place.vkey, document).ok, "a lost key vouches for nobody"
    assert trust.verify(begun, said["vkey"], document).trusted
    assert code(lambda: renew(place)) == "key_fits"


def test_everybody_acts_and_signs_as_before(tmp_path: Path) -> None:
    """Keys of the command line are hashes, so they are good; letters are signed by the new keys of organisations."""
    with lives.opened(tmp_path) as life:
        product = life.offer().product
        callers, made = (life.hospital, life.insurer), life.made
    vault.key_path(tmp_path / "home").unlink()
    renewal.renew()(Options(tmp_path / "home"))
    with home.opened(tmp_path / "home") as held:
        assert held.caller_of_key(made[0]["api_key"]) == callers[0]
        life = lives.Life(held, held.node.clock, *callers, *callers, made)  # type: ignore[arg-type]
        agreed = life.agree(product)
        assert life.run("contract.show", life.insurer, contract.Show(agreed)).done
        upload = life.upload(life.hospital, 9)
        version = life.run("registry.register", life.hospital, registry.Register(upload, "编号")).version
        shown = life.run("registry.export", life.hospital, registry.Export(version)).certificate
        assert life.run("registry.verify", NOBODY, registry.Verify(shown)).stands
        again = life.upload(life.hospital, 8)
        assert (
            life.run("registry.register", life.hospital, registry.Register(again, "编号")).version != version
        )


def test_cut_short_it_goes_on_where_it_was(place: Place) -> None:
    lose(place)
    authority, mark = home.described(place.home)
    safe = vault.SealedVault(vault.make_master(place.home))
    first = renewal._renewed(place.home, authority, mark, safe)  # pyright: ignore[reportPrivateUsage]
    said = renew(place)
    assert said["organisations"] == 4 and first is not None
    assert said["receipt"]["opened"]["size"]["value"] == first.size
    with home.opened(place.home) as held, held.node.database.reading() as db:
        assert len({key.vkey for key in held.run("ledger.keys", NODE, ledger.Keys()).reply.keys}) == 2
        assert book.opens(db, safe) and not book.unsigned(db)


def test_a_log_key_that_alone_is_spoiled_needs_no_new_keys_of_organisations(place: Place) -> None:
    with closing(sqlite3.connect(place.home / "state.sqlite")) as db:
        db.execute("UPDATE ledger_key SET sealed = x'00'")
        db.commit()
    assert code(lambda: home.open_home(place.home)) == "key_unreadable"
    said = renew(place)
    assert said["organisations"] == 0 and "keys_receipt" not in said


def test_a_healthy_home_and_a_damaged_log_are_refused(place: Place) -> None:
    before = highwater.path_of(place.home).read_bytes()
    assert code(lambda: renew(place)) == "key_fits"
    lose(place)
    with closing(sqlite3.connect(place.home / "state.sqlite")) as db:
        db.execute("UPDATE ledger_tile SET hashes = substr(hashes, 33)")
        db.commit()
    assert code(lambda: renew(place)) == "backup_broken"
    assert highwater.path_of(place.home).read_bytes() == before
    mark = highwater.read(highwater.path_of(place.home))
    assert mark is not None and note.read_checkpoint(mark.note).origin == place.vkey.partition("+")[0]
