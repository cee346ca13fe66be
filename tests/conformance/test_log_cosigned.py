"""A head cosigned by our own node and by witnesses of others, read by programs that look at cosignatures.

The head, and a receipt's `.tlog-proof` under it, are accepted with the policy; then one line alone is changed, the log
and its own signatures being whole, and each of them refuses it. The log's second line, ML-DSA-44, is judged likewise.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from dujiang import home
from dujiang.doors.local import Options
from dujiang.doors.mirror import tiles
from dujiang.kernel.act import NODE
from dujiang.ledger import cosigning, witnessing
from tests.conformance import judges
from tests.conformance.test_log_outside import dujiang
from tests.conformance.test_log_witnesses import aics, cosigned, forked, grown, kind, litewitness, wait
from tests.e2e.node import Node, cli, environment, make

OURS, AICS, LITE = "ours", "aics", "litewitness"
WITNESSES = (OURS, AICS, LITE)
RECIPE = Path(__file__).with_name("mldsa_by_recipe.py")


@dataclass(frozen=True)
class Kept:
    """A log as files, under a head that every witness there is has cosigned."""

    folder: Path
    vkeys: list[str]
    """The keys of the log: Ed25519, ML-DSA-44."""
    witnesses: dict[str, str]
    """The Ed25519 cosigner's key of each."""
    mldsa: str
    """The ML-DSA-44 key of our own node as a witness."""
    missing: dict[str, str]
    """Of witnesses that are not here, what is missing."""
    lying: str
    """What our witness's true key signs of another head of that size."""

    @property
    def log(self) -> Path:
        """The folder with the log."""
        return self.folder / "log"

    @property
    def proof(self) -> Path:
        """A receipt's proof under that head; its entry lies beside."""
        return self.folder / "receipt.tlog-proof"

    @property
    def head(self) -> str:
        """The head with all its lines."""
        return (self.log / "checkpoint").read_text("utf-8")

    @property
    def earlier(self) -> str:
        """A smaller head with its lines."""
        return (self.folder / "earlier" / "checkpoint").read_text("utf-8")

    def key_of(self, name: str) -> str:
        """The key of a witness, or a skip by its name."""
        if name in self.missing:
            pytest.skip(self.missing[name])
        return self.witnesses[name]

    def policy(self, folder: Path, witness: str) -> Path:
        """A policy by which this witness alone must have cosigned."""
        text = f"log {self.vkeys[0]}\nwitness w {witness} http://127.0.0.1:1/\nquorum w\n"
        (folder / "policy").write_text(text, "utf-8")
        return folder / "policy"

    def with_head(self, folder: Path, head: str) -> Path:
        """The same log under a head with other lines."""
        made = shutil.copytree(self.log, folder / "log", dirs_exist_ok=True)
        (made / "checkpoint").write_text(head, "utf-8")
        return made

    def with_proof(self, folder: Path, head: str) -> Path:
        """The same proof under a head with other lines."""
        top = self.proof.read_text("utf-8").partition("\n\n")[0]
        (folder / "p.tlog-proof").write_text(f"{top}\n\n{head}", "utf-8")
        shutil.copy(self.proof.with_suffix(".entry"), folder / "p.entry")
        return folder / "p.tlog-proof"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """A node, cosigned by another one and by the outside witnesses there are, all of which must."""
    folder = tmp_path_factory.mktemp("cosigned")
    made = make(folder / "home", "甲", "--authority", "a.example.org")
    key, name = made["organisations"][0]["api_key"], made["vkey"].partition("+")[0]
    other = make(folder / "witness", "乙", "--authority", "b.example.org")
    by = other["organisations"][0]["api_key"]
    with home.opened(folder / "witness") as held:
        held.run("ledger.publish", NODE, cosigning.Publish())
    young(folder / "home", folder / "fork")
    young(folder / "witness", folder / "liar")
    found, missing = dict[str, str](), dict[str, str]()
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(Node(folder / "home"))
        witness = stack.enter_context(Node(folder / "witness"))
        witness.said("ledger.watch", {"vkeys": [made["vkey"]]}, by)
        own = [line for line in httpx2.get(f"{witness.url}/log/vkeys").text.split() if "/witness+" in line]
        found[OURS], mldsa = sorted(own, key=kind)
        node.said("ledger.appoint", {"url": f"{witness.url}/log", "vkeys": own}, key)
        for each, begin in ((AICS, aics), (LITE, litewitness)):
            (folder / each).mkdir()
            try:
                outside = stack.enter_context(begin(folder / each, name, made["vkey"]))
            except pytest.skip.Exception as why:
                missing[each] = str(why)
                continue
            node.said("ledger.appoint", {"url": outside.url, "vkeys": [outside.vkey]}, key)
            found[each] = outside.vkey
        node.said("ledger.quorum", {"least": len(found), "fresh_s": 1}, key)
        for place in ("earlier", "log"):
            grown(node, key, 5)
            size = int(node.said("ledger.witnesses", {}, key)["size"])
            wait(lambda size=size: cosigned(node, key) >= size, "all cosign", 60)
            wait(lambda size=size: complete(node, size, len(found) + 3), "the second line", 60)
            tiles(folder / place)(Options(folder / "home"))
        done = cli(folder / "home", "receipt", str(size - 2), "--out", str(folder / "receipt.json"),
                   env=environment(DUJIANG_KEY=key))  # fmt: skip
        assert done.exit == 0, done
        vkeys = [line for line in httpx2.get(f"{node.url}/log/vkeys").text.split() if "/witness+" not in line]
    lying = lied(folder, key, by, made["vkey"], size)
    yield Kept(folder, sorted(vkeys, key=kind), found, mldsa, missing, lying)


def complete(node: Node, size: int, lines: int) -> bool:
    """Whether the head of that size is published with so many lines."""
    head = httpx2.get(f"{node.url}/log/checkpoint").text
    return int(head.split("\n")[1]) == size and head.count("\n\u2014 ") == lines


def young(path: Path, to: Path) -> None:
    """A copy of a home, with what lies beside it."""
    shutil.copytree(path, to)
    for beside in ("key", "high"):
        shutil.copy(f"{path}.{beside}", f"{to}.{beside}")


def lied(folder: Path, key: str, by: str, vkey: str, size: int) -> str:
    """The line that the witness's own key sets under another, truly signed head of that size, shown to a copy of it."""
    request = forked(folder / "fork", key, size - 5)
    with home.opened(folder / "liar") as held:
        caller = held.caller_of_key(by)
        assert caller is not None
        held.run("ledger.watch", caller, witnessing.Watch((vkey,)))
        note = request.decode().partition("\n\n")[2]
        assert int(note.split("\n")[1]) == size
        said = held.run("ledger.cosign", NODE, cosigning.Cosign(f"old 0\n\n{note}")).reply
    assert said.status == 200
    return next(line for line in said.lines.splitlines(keepends=True) if len(line) < 1000)


def line_of(head: str, vkey: str) -> str:
    """The line of a key: by its name, and its id in the first bytes."""
    name, digits, _ = vkey.split("+", 2)
    lines = [line for line in head.splitlines(keepends=True) if line.startswith(f"\u2014 {name} ")]
    return next(line for line in lines if base64.b64decode(line.split(" ")[2])[:4].hex() == digits)


def altered(line: str, change: Callable[[bytearray], None]) -> str:
    """A line with other bytes behind the same name."""
    mark, name, encoded = line.split(" ")
    raw = bytearray(base64.b64decode(encoded))
    change(raw)
    return f"{mark} {name} {base64.b64encode(raw).decode()}\n"


def flipped(at: int) -> Callable[[bytearray], None]:
    """Turns one bit of the byte at a place."""

    def change(raw: bytearray) -> None:
        raw[at] ^= 1

    return change


def wounds(kept: Kept, vkey: str) -> Iterator[tuple[str, str]]:
    """The head with one line changed, and how: in every way we think of for our node as an Ed25519 witness."""
    line, name = line_of(kept.head, vkey), vkey.partition("+")[0]
    changed = {
        "a bit of the signature": altered(line, flipped(-1)),
        "a second later": altered(line, flipped(11)),
        "of an earlier head": line_of(kept.earlier, vkey),
        "removed": "",
    }
    if vkey == kept.witnesses[OURS]:
        changed |= {
            "a bit of the signature's first byte": altered(line, flipped(12)),
            "minutes ago": altered(line, flipped(10)),
            "cut short": altered(line, lambda raw: raw.pop()),
            "one byte more": altered(line, lambda raw: raw.append(0)),
            "a stranger's name": line.replace(f" {name} ", " stranger.example.test "),
            "of another head of that size": kept.lying,
        }
        for each in kept.witnesses.values():
            if each != vkey:
                other = line_of(kept.head, each).replace(f" {each.partition('+')[0]} ", f" {name} ")
                changed[f"the line of {each.partition('+')[0]} under its name"] = other
    for how, instead in changed.items():
        assert instead != line, how
        yield how, kept.head.replace(line, instead)


def by_go(log: Path, kept: Kept, witness: str, folder: Path) -> bool:
    """Whether transparency-dev's formats accept the head by the policy, and x/mod the log below it."""
    done = judges.walked(log, kept.vkeys[0], "-policy", kept.policy(folder, witness))
    assert done.returncode in (0, 1), done
    return done.returncode == 0


def by_aics(log: Path, kept: Kept, witness: str, folder: Path) -> bool:
    """Whether aics-tlog accepts the head, which this witness must have cosigned."""
    del folder
    words = ("--tiles", log, "--log-key", kept.vkeys[0], "--witness-key", witness, "--quorum", "1")
    done = judges.ran(judges.packaged("aics-tlog"), "verify-checkpoint", *words)
    assert "Traceback" not in done.stderr, done
    return done.returncode == 0


def by_us(log: Path, kept: Kept, witness: str, folder: Path) -> bool:
    """Whether `dujiang verify` accepts the log by the policy."""
    words = ("--vkey", kept.vkeys[0], "--policy", kept.policy(folder, witness))
    done = judges.ran(*dujiang("verify", log, *words, "--json"))
    assert done.returncode in (0, 7), done
    return done.returncode == 0


JUDGES = {"go": by_go, "aics": by_aics, "us": by_us}


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("name", WITNESSES)
def test_a_cosigned_head_is_accepted_and_with_a_changed_line_refused(
    kept: Kept, name: str, judge: str, tmp_path: Path
) -> None:
    accepts, vkey = JUDGES[judge], kept.key_of(name)
    assert accepts(kept.log, kept, vkey, tmp_path)
    taken = [
        how
        for how, head in wounds(kept, vkey)
        if accepts(kept.with_head(tmp_path, head), kept, vkey, tmp_path)
    ]
    assert taken == []


def test_a_proof_under_a_cosigned_head_likewise(kept: Kept, tmp_path: Path) -> None:
    """By Go's formats and by us, offline: the entry and its path stay true, the line under the head does not."""
    vkey = kept.key_of(OURS)
    policy = ("-policy", kept.policy(tmp_path, vkey))
    head = kept.proof.read_text("utf-8").partition("\n\n")[2]
    assert all(line_of(head, each) == line_of(kept.head, each) for each in kept.witnesses.values())
    for place, (how, under) in enumerate([("as it is", head), *wounds(kept, vkey)]):
        proof = kept.with_proof(tmp_path, under)
        given = ("-vkey", kept.vkeys[0], "-proof", proof, "-entry", proof.with_suffix(".entry"))
        assert judges.ran(judges.built("verify"), *given).returncode == 0, how
        assert judges.ran(judges.built("verify"), *given, *policy).returncode == bool(place), how
        ours = dujiang("verify", proof, "--vkey", kept.vkeys[0], "--policy", tmp_path / "policy")
        assert judges.ran(*ours).returncode == (7 if place else 0), how


def recipe(checkpoint: Path, vkey: str) -> bool:
    """Whether a line is true by `cryptography` and the words of the format, run by the judges' interpreter."""
    done = judges.ran(judges.packaged("python"), RECIPE, checkpoint, vkey)
    assert done.returncode in (0, 1) and not done.stderr, done
    return done.returncode == 0


def accepted(log: Path, vkeys: list[str]) -> dict[str, bool]:
    """Who accepts a log whose head the ML-DSA-44 key, last of its keys, must have signed; we are told of no other."""
    pairs = [word for vkey in vkeys for word in ("-vkey", vkey)]
    by_go = judges.ran(judges.built("verify"), "-log", log, *pairs)
    ours = judges.ran(*dujiang("verify", log, "--vkey", vkeys[-1]))
    assert by_go.returncode in (0, 1) and ours.returncode in (0, 7), (by_go, ours)
    return {
        "go": by_go.returncode == 0,
        "recipe": recipe(log / "checkpoint", vkeys[-1]),
        "us": ours.returncode == 0,
    }


def test_our_second_line_is_true_to_others_and_a_changed_one_false(kept: Kept, tmp_path: Path) -> None:
    """ML-DSA-44 by Go's crypto and by the recipe: of the log under its own head, and of our node as a witness."""
    assert [kind(vkey) for vkey in (*kept.vkeys, kept.mldsa)] == [1, 6, 6]
    assert set(accepted(kept.log, kept.vkeys).values()) == {True}
    for how, head in wounds(kept, kept.vkeys[1]):
        found = accepted(kept.with_head(tmp_path, head), kept.vkeys)
        assert set(found.values()) == {False}, (how, found)
        # The line that is there for a verifier who has not heard of it is not one that can be spoiled for them.
        assert judges.walked(tmp_path / "log", kept.vkeys[0]).returncode == 0, how


def test_our_witness_is_believed_by_its_second_line_alone(kept: Kept, tmp_path: Path) -> None:
    """A policy may name the ML-DSA-44 key of a witness."""
    assert recipe(kept.log / "checkpoint", kept.mldsa)
    for accepts in (by_go, by_us):
        assert accepts(kept.log, kept, kept.mldsa, tmp_path)
    for how, head in wounds(kept, kept.mldsa):
        log = kept.with_head(tmp_path, head)
        assert not any(accepts(log, kept, kept.mldsa, tmp_path) for accepts in (by_go, by_us)), how
        assert not recipe(log / "checkpoint", kept.mldsa), how


def test_a_second_line_of_others_is_true_to_us_and_a_changed_one_false(tmp_path: Path) -> None:
    """A log by Tessera, signed by Go with both kinds of keys; its proofs carry both lines, too."""
    words = ("-log", tmp_path / "log", "-out", tmp_path / "keys", "-mldsa", "-proofs", "299")
    assert judges.ran(judges.built("mklog"), *words, "-sizes", "5,300", seconds=120).returncode == 0
    keys = tmp_path / "keys"
    vkeys = [(keys / f"{name}.vkey").read_text("utf-8").strip() for name in ("log", "log-mldsa")]
    assert set(accepted(tmp_path / "log", vkeys).values()) == {True}
    ours = dujiang("verify", keys / "299.tlog-proof", "--entry", keys / "299.entry", "--vkey", vkeys[1])
    assert judges.ran(*ours).returncode == 0
    head = (keys / "checkpoint.300").read_text("utf-8")
    line = line_of(head, vkeys[1])
    for instead in (altered(line, flipped(-1)), altered(line, flipped(11)), ""):
        (tmp_path / "log" / "checkpoint").write_text(head.replace(line, instead), "utf-8")
        assert set(accepted(tmp_path / "log", vkeys).values()) == {False}, instead[-20:]
        top = (keys / "299.tlog-proof").read_text("utf-8").partition("\n\n")[0]
        (keys / "299.tlog-proof").write_text(f"{top}\n\n{head.replace(line, instead)}", "utf-8")
        assert judges.ran(*ours).returncode == 7
