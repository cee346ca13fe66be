"""Witnesses by other hands cosign our heads and refuse our forks, and we are a witness of other programs' logs."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dujiang import home
from dujiang.identity import acts as identity
from dujiang.ledger import note, store
from dujiang.ledger.tree import Prover
from tests.conformance import judges
from tests.e2e.node import Node, make

START_S = 30.0


@dataclass(frozen=True)
class Outside:
    """A witness that is another program: its address, its verifier key, and what it keeps of forks."""

    url: str
    vkey: str
    evidence: Callable[[], str]

    def told(self, request: bytes) -> Any:
        """Its answer to a request."""
        return httpx2.post(f"{self.url}/add-checkpoint", content=request, timeout=30)


@contextmanager
def aics(folder: Path, origin: str, vkey: str) -> Iterator[Outside]:
    """aics-witness, which is told to watch a log."""
    program, port = judges.packaged("aics-witness"), free_port()
    config = ("-c", str(folder / "witness.json"))
    done = judges.ran(
        program, "init", *config, "--name", "aics.example.test", "--listen", f"127.0.0.1:{port}"
    )
    own = next(word for word in done.stdout.split() if word.startswith("aics.example.test+"))
    assert judges.ran(program, "add-log", *config, "--origin", origin, "--vkey", vkey).returncode == 0
    with running(folder, [str(program), "serve", *config], port):
        yield Outside(
            f"http://127.0.0.1:{port}", own, lambda: judges.ran(program, "evidence", *config).stdout
        )


@contextmanager
def litewitness(folder: Path, origin: str, vkey: str) -> Iterator[Outside]:
    """torchwood's litewitness; its key is in an ssh-agent, the logs it watches are rows of its database."""
    program, port = judges.installed(judges.LITEWITNESS), free_port()
    if shutil.which("ssh-agent") is None:
        pytest.skip("litewitness keeps its key in an ssh-agent, which is not here")
    agent = f"/tmp/dujiang-{os.getpid()}.sock"
    judges.ran("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key")
    finger = judges.ran("ssh-keygen", "-lf", folder / "key.pub").stdout.split()[1]
    words = [str(program), "-name", "lite.example.test", "-db", str(folder / "w.db"), "-ssh-agent", agent,
             "-key", finger, "-listen", f"127.0.0.1:{port}"]  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(running(folder, ["ssh-agent", "-a", agent, "-D"], 0, "agent.out"))
        wait(lambda: Path(agent).exists(), "the agent")
        subprocess.run(
            ["ssh-add", "-q", folder / "key"], env={**os.environ, "SSH_AUTH_SOCK": agent}, check=True
        )
        said = stack.enter_context(running(folder, words, port))
        with closing(sqlite3.connect(folder / "w.db", timeout=30)) as db:
            empty = base64.b64encode(
                bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
            )
            db.execute("INSERT INTO log VALUES (?, 0, ?)", (origin, empty.decode()))
            db.execute("INSERT INTO key VALUES (?, ?)", (origin, vkey))
            db.commit()
        word = next(word for word in said.read_text().replace('"', " ").replace("=lite", " lite").split()
                    if word.startswith("lite.example.test+"))  # fmt: skip
        yield Outside(f"http://127.0.0.1:{port}", word, lambda: "")
    Path(agent).unlink(missing_ok=True)


@contextmanager
def running(folder: Path, words: list[str], port: int, name: str = "out") -> Iterator[Path]:
    """A program at work, ended with the block; what it says is in the file given back."""
    said = folder / name
    with said.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=folder)
    try:
        if port:
            wait(lambda: connects(port), said.read_text)
        yield said
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait(until: Callable[[], Any], what: str | Callable[[], str], seconds: float = START_S) -> None:
    """Waits for something to be so."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.05)


def connects(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port nobody listens on."""
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.fixture(params=[aics, litewitness])
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Node, dict[str, Any], Outside]]:
    """A node whose log another program witnesses, and a copy of its home from before beside it."""
    made = make(tmp_path / "home")
    (tmp_path / "witness").mkdir()
    (tmp_path / "copy").mkdir()
    shutil.copytree(tmp_path / "home", tmp_path / "copy" / "home")
    for beside in ("home.key", "home.high"):
        shutil.copy(tmp_path / beside, tmp_path / "copy" / beside)
    name = made["vkey"].partition("+")[0]
    with request.param(tmp_path / "witness", name, made["vkey"]) as outside, Node(tmp_path / "home") as node:
        yield node, made, outside


def grown(node: Node, key: str, count: int) -> None:
    """The node's log, longer by so many entries."""
    for _ in range(count):
        node.said("identity.grant", {"roles": ["provider"]}, key)


def head_of(node: Node) -> note.Checkpoint:
    """The head as everybody may read it."""
    return note.read_checkpoint(httpx2.get(f"{node.url}/log/checkpoint").text)


def cosigned(node: Node, key: str) -> int:
    """The size up to which the witnesses have cosigned."""
    return int(node.said("ledger.witnesses", {}, key)["cosigned"])


def test_an_outside_witness_cosigns_our_heads_and_refuses_our_fork(
    watched: tuple[Node, dict[str, Any], Outside], tmp_path: Path
) -> None:
    node, made, outside = watched
    key, vkey = made["organisations"][0]["api_key"], made["vkey"]
    node.said("ledger.appoint", {"url": outside.url, "vkeys": [outside.vkey]}, key)
    node.said("ledger.quorum", {"least": 1}, key)
    for _ in range(2):
        grown(node, key, 7)
        size = head_of(node).size
        wait(
            lambda size=size: cosigned(node, key) >= size, lambda: str(node.said("ledger.witnesses", {}, key))
        )
    head = head_of(node)
    assert outside.vkey.partition("+")[0] in {name for name, _ in head.signatures}
    # Outsiders find the quorum with the node's own policy file, and by the witness's key alone.
    (tmp_path / "policy").write_text(httpx2.get(f"{node.url}/log/witness-policy").text, "utf-8")
    (tmp_path / "vkey").write_text(vkey, "utf-8")
    log = f"{node.url}/log"
    done = judges.walked(log, vkey, "-policy", tmp_path / "policy")
    assert done.returncode == 0 and json.loads(done.stdout)["size"] == head.size, done
    words = ("--tiles", log, "--vkey-file", tmp_path / "vkey", "--witness-key", outside.vkey, "--quorum", "1")
    done = judges.ran(judges.packaged("aics-tlog"), "verify-checkpoint", *words)
    assert done.returncode == 0, done
    answer = outside.told(forked(tmp_path / "copy" / "home", key, head.size))
    assert answer.status_code == 422, answer.text
    assert "aics" not in outside.vkey or vkey.partition("+")[0] in outside.evidence()
    grown(node, key, 3)
    size = head_of(node).size
    wait(lambda: cosigned(node, key) >= size, "the true log goes on")


def forked(path: Path, key: str, known: int) -> bytes:
    """A request that shows another history, truly signed, by an old copy of a home."""
    with home.opened(path) as held:
        caller = held.caller_of_key(key)
        assert caller is not None
        while held.book.next_index() < known + 5:
            held.run("identity.grant", caller, identity.Grant(("provider",)))
        with held.node.database.reading() as db:
            prover = Prover(known + 5, lambda level, number: store.tile(db, level, number))
            steps = "".join(base64.b64encode(step).decode() + "\n" for step in prover.consistency(known))
        return f"old {known}\n{steps}\n{held.book.head}".encode()


def test_tessera_grows_with_us_as_its_witness_and_not_with_a_fork(tmp_path: Path) -> None:
    """A log by Tessera stops when its witness's reply is wrong: it grows; then its key signs another history."""
    maker, keys = judges.built("mklog"), tmp_path / "keys"
    made = make(tmp_path / "home")
    key = made["organisations"][0]["api_key"]
    assert judges.ran(maker, "-log", tmp_path / "first", "-out", keys, "-sizes", "1").returncode == 0
    vkey = (keys / "log.vkey").read_text("utf-8").strip()
    with Node(tmp_path / "home") as node:
        node.said("ledger.watch", {"vkeys": [vkey]}, key)
        ours = [line for line in httpx2.get(f"{node.url}/log/vkeys").text.split() if kind(line) == 4]
        policy = tmp_path / "policy"
        policy.write_text(f"log {vkey}\nwitness us {ours[0]} {node.url}/log/\nquorum us\n", "utf-8")
        sizes = ("-sizes", "5,256,257,3000", "-policy", policy)
        done = judges.ran(maker, "-log", tmp_path / "log", "-out", keys, *sizes, "-bytes", "48", seconds=120)
        assert done.returncode == 0, done
        done = judges.walked(tmp_path / "log", vkey, "-policy", policy)
        assert done.returncode == 0 and json.loads(done.stdout)["size"] == 3000, done
        kept = httpx2.get(f"{node.url}/log/{place_of(vkey)}/checkpoint")
        assert note.read_checkpoint(kept.text).size == 3000
        assert node.said("ledger.forks", {}, key)["items"] == []
        other = (maker, "-log", tmp_path / "other", "-out", keys, "-sizes", "3000,4000", "-bytes", "64")
        assert judges.ran(*other, seconds=120).returncode == 0
        request = (keys / "add-checkpoint.3000-4000").read_bytes()
        assert httpx2.post(f"{node.url}/log/add-checkpoint", content=request).status_code == 422
        (found,) = node.said("ledger.forks", {}, key)["items"]
        assert found["known"] == 3000 and found["request"].encode() == request
        assert (
            note.read_checkpoint(httpx2.get(f"{node.url}/log/{place_of(vkey)}/checkpoint").text).size == 3000
        )


def kind(vkey: str) -> int:
    """The type byte of a verifier key."""
    return base64.b64decode(vkey.split("+", 2)[2])[0]


def place_of(vkey: str) -> str:
    """Where a witness serves the head of a log: by the SHA-256 of its origin."""
    return sha256(vkey.partition("+")[0].encode()).hexdigest()
