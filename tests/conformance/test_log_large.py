"""Our own log where its tiles' tree gains a level: at 65,536 entries, one before and one after.

It is grown as a meter or a delivery would grow it, by `ledger.attest` in lots of 1,024, and read whole by others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from dujiang import home
from dujiang.doors.local import Options
from dujiang.doors.mirror import tiles
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE
from dujiang.ledger import acts as ledger
from tests.conformance import judges
from tests.conformance.test_log_outside import AICS, dujiang

SIZES = (65_535, 65_536, 65_537)
LOT = 1024


@dataclass(frozen=True)
class Large:
    """A folder with the log at each size and its key."""

    folder: Path
    vkey: str

    @property
    def key(self) -> Path:
        """A file with the verifier key."""
        return self.folder / "log.vkey"

    def at(self, size: int) -> Path:
        """The log of that size, as files."""
        return self.folder / str(size)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Large:
    """A home whose log is written out at every size."""
    folder = tmp_path_factory.mktemp("large")
    path = folder / "home"
    home.create(path, [], "data.example.org")[0].close()
    secret = ""
    for size in SIZES:
        with home.opened(path) as held:
            secret = (
                secret
                or held.run(
                    "identity.register", NODE, identity.Register("甲", ("operator", "provider"))
                ).reply.api_key
            )
            attested(held, size, secret)
            assert held.book.next_index() == size
            vkey = held.book.vkey
        tiles(folder / str(size))(Options(path))
    (folder / "log.vkey").write_text(vkey + "\n", "utf-8")
    return Large(folder, vkey)


def attested(held: home.Home, size: int, secret: str) -> None:
    """Records of another system until the log has that many entries."""
    caller = held.caller_of_key(secret)
    assert caller is not None
    while (first := held.book.next_index()) < size:
        lot = tuple({"n": first + n} for n in range(min(LOT, size - first)))
        assert held.run("ledger.attest", caller, ledger.Attest(lot, "meter")).reply.count == len(lot)


@pytest.mark.parametrize("size", SIZES)
def test_the_whole_log_is_walked_by_others_and_by_us(large: Large, size: int) -> None:
    """The newest level of tiles is there from 65,536 on, and no sooner."""
    assert (large.at(size) / "tile" / "2").exists() == (size >= 65_536)
    said = json.loads(judges.walked(large.at(size), large.vkey).stdout)
    assert said["ok"] and said["size"] == size, said
    assert judges.fscked(large.at(size), large.key)
    ours = judges.ran(*dujiang("verify", large.at(size), "--vkey", large.vkey, "--json"))
    assert ours.returncode == 0 and json.loads(ours.stdout)["size"] == size


@pytest.mark.parametrize(("old", "new"), [(65_535, 65_536), (65_536, 65_537), (65_535, 65_537)])
def test_it_only_grew_over_the_border(large: Large, old: int, new: int) -> None:
    """And never shrank: an older log does not continue a newer head."""
    head, later = large.at(old) / "checkpoint", large.at(new) / "checkpoint"
    done = judges.walked(large.at(new), large.vkey, "-old", head)
    assert done.returncode == 0 and json.loads(done.stdout)["extends"] == old, done
    assert judges.walked(large.at(old), large.vkey, "-old", later).returncode == 1
    ours = ("--vkey", large.vkey, "--old")
    assert judges.ran(*dujiang("verify", large.at(new), *ours, head)).returncode == 0
    assert judges.ran(*dujiang("verify", large.at(old), *ours, later)).returncode == 7
    for log, before, fits in ((new, head, True), (old, later, False)):
        words = ("--tiles", large.at(log), "--vkey-file", large.key, "--old-checkpoint", before)
        done = judges.ran(judges.packaged(AICS), "verify-consistency", *words)
        assert (done.returncode == 0) is fits, done


def test_entries_beside_the_border_are_included(large: Large) -> None:
    for size in SIZES:
        for index in {0, 65_534, size - 1}:
            words = ("--tiles", large.at(size), "--vkey-file", large.key, "--index", str(index))
            assert judges.ran(judges.packaged(AICS), "verify-inclusion", *words).returncode == 0, (
                size,
                index,
            )


def test_wounds_of_the_new_level_are_refused(large: Large) -> None:
    """By Go and by Tessera, who walk the whole of it."""
    words = (judges.built("verify"), "-log", "{log}", "-vkey", "{vkey}")
    assert judges.wounded(large.at(65_537), large.key, *words) == []
    assert judges.wounded_fsck(large.at(65_537), large.key) == []
