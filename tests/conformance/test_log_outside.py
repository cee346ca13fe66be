"""The log of a real home, read by programs that share no line with it: Go's own tlog, Tessera, Python's aics-tlog,
pymerkle and sigstore accept it at every size, and each of them refuses it when it was tampered with. So do we.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymerkle import InmemoryTree

from dujiang import home
from dujiang.doors.local import Options
from dujiang.doors.mirror import tiles
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE
from dujiang.ledger import fsck, note
from tests.conformance import judges
from tests.e2e.node import MAIN, cli, environment
from tests.house.source import SRC

SIZES = (0, 1, 2, 255, 256, 257, 511, 513, 3000)
LAST = SIZES[-1]
AICS = "aics-tlog"


@dataclass(frozen=True)
class Logs:
    """One log at several sizes, each as files, and the home it is of."""

    folder: Path
    vkey: str
    secret: str
    """An API key of its operator."""

    @property
    def home(self) -> Path:
        """The home, closed."""
        return self.folder / "home"

    @property
    def key(self) -> Path:
        """A file with the verifier key."""
        return self.folder / "log.vkey"

    def at(self, size: int) -> Path:
        """The log of that size as files."""
        return self.folder / str(size)

    def head(self, size: int) -> Path:
        """The checkpoint of that size."""
        return self.at(size) / "checkpoint"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """A home whose log is written out at every size on its way."""
    folder = tmp_path_factory.mktemp("log")
    path, secret = folder / "home", ""
    home.create(path, [], "data.example.org")[0].close()
    for size in SIZES:
        with home.opened(path) as held:
            if size == 1:
                secret = held.run(
                    "identity.register", NODE, identity.Register("甲", ("operator",))
                ).reply.api_key
            elif size > 1:
                grow(held, size, secret)
            vkey = held.book.vkey
        tiles(folder / str(size))(Options(path))
    (folder / "log.vkey").write_text(vkey + "\n", "utf-8")
    return Logs(folder, vkey, secret)


def grow(held: home.Home, size: int, secret: str) -> None:
    """Acts until the log has that many entries, many in one transaction."""
    caller = held.caller_of_key(secret)
    assert caller is not None
    while (missing := size - held.book.next_index()) > 0:
        ask = identity.Grant(("operator",))
        asked = [held.start("identity.grant", caller, ask) for _ in range(min(missing, 500))]
        for each in asked:
            assert each is not None
            each.result()


def entries(log: Path) -> Iterator[bytes]:
    """The entries of a log as its bundles have them, read by the words of the format."""
    size = int((log / "checkpoint").read_text("utf-8").split("\n")[1])
    for number in range(-(-size // 256)):
        width = min(256, size - 256 * number)
        raw = (log / "tile" / "entries" / f"{number:03}{'' if width == 256 else f'.p/{width}'}").read_bytes()
        for _ in range(width):
            length = int.from_bytes(raw[:2], "big")
            yield raw[2 : 2 + length]
            raw = raw[2 + length :]
        assert raw == b""


def dujiang(*line: str | Path) -> list[str]:
    """The words of our own checker for a program that runs it."""
    return ["env", f"PYTHONPATH={SRC}", *MAIN, *map(str, line)]


@pytest.mark.parametrize("size", SIZES)
def test_go_derives_the_whole_log_again(logs: Logs, size: int) -> None:
    """x/mod's note and tlog: signature, entries, every tile, root, inclusion of first, last and others."""
    done = judges.walked(logs.at(size), logs.vkey)
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["ok"] and said["size"] == size, said
    assert said["origin"] == logs.vkey.partition("+")[0]


@pytest.mark.parametrize("size", [size for size in SIZES[1:-1]])
def test_go_finds_that_the_log_only_grew(logs: Logs, size: int) -> None:
    done = judges.walked(logs.at(LAST), logs.vkey, "-old", logs.head(size))
    assert done.returncode == 0 and json.loads(done.stdout)["extends"] == size, done.stdout


@pytest.mark.parametrize("size", SIZES[1:])
def test_tessera_checks_the_whole_log(logs: Logs, size: int) -> None:
    assert judges.fscked(logs.at(size), logs.key)


@pytest.mark.parametrize("size", SIZES[1:])
def test_aics_accepts_heads_growth_and_entries(logs: Logs, size: int) -> None:
    aics, log = judges.packaged(AICS), ("--tiles", logs.at(size), "--vkey-file", logs.key)
    assert judges.ran(aics, "verify-checkpoint", *log).returncode == 0
    for earlier in SIZES[1 : SIZES.index(size)]:
        done = judges.ran(aics, "verify-consistency", *log, "--old-checkpoint", logs.head(earlier))
        assert done.returncode == 0, done
    for index in {0, size // 2, size - 1}:
        done = judges.ran(aics, "verify-inclusion", *log, "--index", str(index))
        assert done.returncode == 0, done


@pytest.mark.parametrize("size", SIZES)
def test_pymerkle_has_the_same_root(logs: Logs, size: int) -> None:
    tree = InmemoryTree(algorithm="sha256")
    for entry in entries(logs.at(size)):
        tree.append_entry(entry)
    root = base64.b64decode(logs.head(size).read_text("utf-8").split("\n")[2])
    assert tree.get_size() == size and (not size or tree.get_root() == root)


def test_sigstore_reads_every_head(logs: Logs) -> None:
    """Its classes of a signed note and a checkpoint take ours apart; the signature they found is the log's."""
    script = (
        "import sys, json\n"
        "from sigstore._internal.rekor.checkpoint import SignedCheckpoint as S\n"
        "for name in sys.argv[1:]:\n"
        "    head = S.from_text(open(name, encoding='utf-8').read())\n"
        "    one, at = head.signed_note.signatures[0], head.checkpoint\n"
        "    found = [one.name, one.sig_hash.hex(), one.signature.decode(), at.origin, at.log_size, at.log_hash]\n"
        "    print(json.dumps(found))\n"
    )
    done = judges.ran(judges.packaged("python"), "-c", script, *(logs.head(size) for size in SIZES))
    assert done.returncode == 0, done
    origin, digits, _ = logs.vkey.split("+", 2)
    for size, line in zip(SIZES, done.stdout.splitlines(), strict=True):
        head = note.read_checkpoint(logs.head(size).read_text("utf-8"))
        signature = base64.b64encode(head.signatures[0][1][4:]).decode()
        assert json.loads(line) == [origin, digits, signature, origin, size, head.root.hex()]


@pytest.mark.parametrize("size", SIZES)
def test_we_accept_it_from_its_files_alone(logs: Logs, size: int) -> None:
    done = judges.ran(*dujiang("--home", "/nowhere", "verify", logs.at(size), "--vkey", logs.vkey, "--json"))
    assert done.returncode == 0, done


def test_every_wound_is_refused_by_go(logs: Logs) -> None:
    words = (judges.built("verify"), "-log", "{log}", "-vkey", "{vkey}")
    for size in (257, LAST):
        assert judges.wounded(logs.at(size), logs.key, *words) == []


def test_every_wound_is_refused_by_tessera(logs: Logs) -> None:
    assert judges.wounded_fsck(logs.at(3000), logs.key) == []


@pytest.mark.parametrize("size", [257, 3000])
def test_every_wound_is_refused_by_us(logs: Logs, size: int) -> None:
    assert judges.wounded(logs.at(size), logs.key, *dujiang("verify", "{log}", "--vkey", "{vkey}")) == []


def test_wounds_of_what_a_proof_touches_are_refused_by_aics(logs: Logs, tmp_path: Path) -> None:
    """It reads no more than the tiles of its proof: of a log of one tile and a half that is nearly all."""
    script = tmp_path / "both.sh"
    aics = judges.packaged(AICS)
    script.write_text(
        "set -e\n"
        f'for index in 0 256; do {aics} verify-inclusion --tiles "$1" --vkey-file "$2" --index $index; done\n'
    )
    assert judges.wounded(logs.at(257), logs.key, "bash", script, "{log}", "{vkeyfile}") == []


def test_wounds_of_the_database_are_refused_by_our_fsck(logs: Logs, tmp_path: Path) -> None:
    """What `ledger.fsck` reads is not what is published but what the home keeps."""
    hurts = {
        "a fact of another value": (
            "UPDATE ledger_entry SET facts = replace(facts, 'operator', 'auditors') WHERE idx = 7"
        ),
        "a commitment": "UPDATE ledger_entry SET commitments = zeroblob(length(commitments)) WHERE idx = 300",
        "an entry gone": "DELETE FROM ledger_entry WHERE idx = 1500",
        "the last entry gone": "DELETE FROM ledger_entry WHERE idx = 2999",
        "two entries exchanged": "UPDATE ledger_entry SET idx = CASE idx WHEN 5 THEN -1 ELSE idx END",
        "another time": "UPDATE ledger_entry SET time_ms = time_ms + 1 WHERE idx = 12",
        "another act": "UPDATE ledger_entry SET act = 'identity.invite' WHERE idx = 12",
        "a full tile": "UPDATE ledger_tile SET hashes = zeroblob(8192) WHERE level = 0 AND number = 3",
        "the partial tile": "UPDATE ledger_tile SET hashes = zeroblob(length(hashes)) WHERE level = 0 AND number = 11",
        "the top tile": "UPDATE ledger_tile SET hashes = zeroblob(length(hashes)) WHERE level = 1",
        "a tile gone": "DELETE FROM ledger_tile WHERE level = 0 AND number = 4",
        "the newest head gone": "DELETE FROM ledger_checkpoint WHERE size = 3000",
        "another head": (
            "UPDATE ledger_checkpoint SET note = (SELECT note FROM ledger_checkpoint WHERE size < 3000 "
            "ORDER BY size DESC LIMIT 1) WHERE size = 3000"
        ),
    }
    accepted: list[str] = []
    for number, (name, statement) in enumerate(hurts.items()):
        path = copied(logs.home, tmp_path / str(number))
        with sqlite3.connect(path / "state.sqlite") as db:
            changed = db.execute(statement).rowcount
            assert changed, name
        db.close()
        if refusal(path) is None:
            accepted.append(name)
    assert accepted == [] and refusal(logs.home) is None


def copied(path: Path, folder: Path) -> Path:
    """A home and what lies beside it, in a folder of its own."""
    folder.mkdir()
    for beside in ("home.key", "home.high"):
        shutil.copy(path.with_name(beside), folder / beside)
    shutil.copytree(path, folder / "home")
    return folder / "home"


def refusal(path: Path) -> str | None:
    """The code with which a home does not open, or the rule of its log that does not hold."""
    try:
        with home.opened(path) as held, held.node.database.reading() as db:
            return fsck.whole(db)
    except (home.Refused, home.Unavailable) as error:
        return error.code.name


def test_a_rewritten_history_is_shown_by_an_older_head_alone(logs: Logs, tmp_path: Path) -> None:
    """The same key signs two histories: each looks right by itself; everybody who kept a head finds out."""
    path = copied(logs.home, tmp_path / "other")
    older = logs.head(LAST)
    with home.opened(path) as held:
        grow(held, LAST + 10, logs.secret)
    tiles(tmp_path / "kept")(Options(path))
    forked = copied(logs.home, tmp_path / "forked")
    with home.opened(forked) as held:
        held.run("identity.register", NODE, identity.Register("another history"))
        grow(held, LAST + 20, logs.secret)
    tiles(tmp_path / "fork")(Options(forked))
    fork, kept = tmp_path / "fork", tmp_path / "kept" / "checkpoint"
    grown = ("--tiles", fork, "--vkey-file", logs.key, "--old-checkpoint")
    assert judges.walked(fork, logs.vkey, "-old", older).returncode == 0
    assert judges.walked(fork, logs.vkey, "-old", kept).returncode == 1
    assert judges.ran(judges.packaged(AICS), "verify-consistency", *grown, older).returncode == 0
    assert judges.ran(judges.packaged(AICS), "verify-consistency", *grown, kept).returncode not in (0, None)
    ours = dujiang("verify", fork, "--vkey", logs.vkey, "--old")
    assert judges.ran(*ours, older).returncode == 0
    assert judges.ran(*ours, kept).returncode == 7


def test_receipts_are_checked_offline_by_go(logs: Logs, tmp_path: Path) -> None:
    """`dujiang receipt --out` leaves a tlog-proof and its entry: the pair alone is enough, and only the true pair."""
    verify, env = judges.built("verify"), environment(DUJIANG_KEY=logs.secret)
    for index in (0, 1, 255, 256, 2999):
        out = tmp_path / f"r{index}.json"
        done = cli(logs.home, "receipt", str(index), "--out", str(out), "--json", env=env)
        assert done.exit == 0, done
        proof, entry = out.with_suffix(".tlog-proof"), out.with_suffix(".entry")
        words = ("-vkey", logs.vkey, "-proof", proof, "-entry")
        done = judges.ran(verify, *words, entry)
        assert done.returncode == 0 and json.loads(done.stdout)["proof_index"] == index, done
        raw = bytearray(entry.read_bytes())
        raw[-1] ^= 1
        (tmp_path / "other.entry").write_bytes(raw)
        assert judges.ran(verify, *words, tmp_path / "other.entry").returncode == 1
        ours = dujiang("verify", proof, "--vkey", logs.vkey, "--entry")
        assert judges.ran(*ours, entry).returncode == 0
        assert judges.ran(*ours, tmp_path / "other.entry").returncode == 7


def test_logs_of_other_programs_are_checked_by_us(tmp_path: Path) -> None:
    """Logs made by Tessera, on the borders of tiles: we say what Go says, of the whole and of every wound."""
    tiny = judges.oracles() / "tiny"
    words = dujiang("verify", "{log}", "--vkey", "{vkey}")
    log = shutil.copytree(tiny / "log", tmp_path / "log")
    assert judges.wounded(log, tiny / "log.vkey", *words) == []
    maker = judges.built("mklog")
    for size in (1, 255, 256, 257, 65_536, 65_537):
        made, keys = tmp_path / str(size), tmp_path / f"{size}.keys"
        done = judges.ran(
            maker, "-log", made, "-out", keys, "-sizes", str(size), "-bytes", "48", "-proofs", "0"
        )
        assert done.returncode == 0, done
        vkey = (keys / "log.vkey").read_text("utf-8").strip()
        assert judges.ran(*dujiang("verify", made, "--vkey", vkey)).returncode == 0, size
        assert json.loads(judges.walked(made, vkey).stdout)["ok"]
        entry = ("--entry", keys / "0.entry")
        assert judges.ran(*dujiang("verify", keys / "0.tlog-proof", *entry, "--vkey", vkey)).returncode == 0


def test_the_demonstration_left_behind_verifies_with_outside_tools(tmp_path: Path) -> None:
    """Its whole log and each of its receipts, as a visitor finds them."""
    path = tmp_path / "demo"
    done = cli(path, "demo", "--once", "--keep", str(path))
    assert done.exit == 0, done
    key = path / "receipts" / "log.vkey"
    vkey = key.read_text("utf-8").strip()
    tiles(tmp_path / "log")(Options(path))
    done = judges.walked(tmp_path / "log", vkey)
    size = json.loads(done.stdout)["size"]
    assert done.returncode == 0 and size > 50, done
    assert judges.fscked(tmp_path / "log", key)
    log = ("--tiles", tmp_path / "log", "--vkey-file", key)
    for index in (0, size - 1):
        done = judges.ran(judges.packaged(AICS), "verify-inclusion", *log, "--index", str(index))
        assert done.returncode == 0, done
    proofs = sorted((path / "receipts").glob("*.tlog-proof"))
    assert len(proofs) > 10
    for proof in proofs:
        done = judges.ran(
            judges.built("verify"), "-vkey", vkey, "-proof", proof, "-entry", proof.with_suffix(".entry")
        )
        assert done.returncode == 0, done
