"""Real nodes that cosign each other: a planted rewrite is caught, broken links heal, liars and sleepers do no harm."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dujiang.ledger import note, witness
from tests.e2e import node as nodes
from tests.ledger.foreign import ForeignLog

_PATIENCE_S = 60.0


@dataclass
class Peer:
    """A node, its operator's API key and its log's key."""

    node: nodes.Node
    key: str
    vkey: str

    def act(self, act: str, **ask: Any) -> Any:
        """The reply of an act of the operator."""
        return self.node.said(f"ledger.{act}", ask, self.key)

    def get(self, path: str) -> str:
        """What stands at an address of its log."""
        return httpx2.get(f"{self.node.url}/log/{path}").text

    def keys(self) -> tuple[list[str], list[str]]:
        """The keys of its log, and those of it as a witness."""
        lines = until(
            lambda: (found := self.get("vkeys").splitlines()) if self.get("vkeys").count("/witness+") else []
        )
        return [v for v in lines if "/witness+" not in v], [v for v in lines if "/witness+" in v]

    def grow(self, count: int = 1) -> int:
        """Its size after so many more entries."""
        for number in range(count):
            self.node.said("identity.grant", {"roles": ["provider"]}, self.key)
            del number
        return int(self.act("witnesses")["size"])

    def cosigned(self, size: int) -> bool:
        """Whether its quorum has cosigned so much."""
        return int(self.act("witnesses")["cosigned"]) >= size


def until(found: Callable[[], Any]) -> Any:
    """What is found, once it is."""
    end = time.monotonic() + _PATIENCE_S
    while not (got := found()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)
    return got


@contextlib.contextmanager
def peers(folder: Path, *names: str) -> Iterator[list[Peer]]:
    """Nodes that serve, each with a home of its own."""
    with contextlib.ExitStack() as stack:
        found: list[Peer] = []
        for name in names:
            made = nodes.make(folder / name, f"机构{name}", "--authority", f"{name}.example.org")
            served = stack.enter_context(nodes.Node(folder / name))
            found.append(Peer(served, made["organisations"][0]["api_key"], made["vkey"]))
        yield found


class Link:
    """A line to a node that can be cut and mended."""

    def __init__(self, url: str) -> None:
        self.lead(url)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/log"
        self.up = True
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def lead(self, url: str) -> None:
        """Leads to another address from now on: a node that was started again."""
        self._to = int(url.rpartition(":")[2])

    def cut(self) -> None:
        """Nothing goes through any more, nor does what is on its way."""
        self.up = False
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open = []

    def mend(self) -> None:
        """It works again."""
        self.up = True

    def close(self) -> None:
        """Ends it."""
        self.cut()
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if not self.up:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for each in (one, other):
            each.close()


def appoint(log: Peer, by: Peer, url: str | None = None) -> None:
    """Has a node's log cosigned by another node."""
    by.act("watch", vkeys=log.keys()[0])
    log.act("appoint", url=url or f"{by.node.url}/log", vkeys=by.keys()[1])
    log.act("quorum", least=1, fresh_s=2)


def rewritten(home: Path, old: Path) -> None:
    """Puts yesterday's home back so that nothing beside it knows better."""
    shutil.rmtree(home)
    shutil.copytree(old, home)
    home.with_name(f"{home.name}.high").unlink()
    nodes.said(home, "restore", "--same-log")


def test_two_nodes_cosign_each_other_and_catch_a_planted_rewrite(tmp_path: Path) -> None:
    with peers(tmp_path, "a", "b") as (a, b):
        wrong = nodes.cli(tmp_path / "a", "ledger", "meet", b.node.url, "--vkey", a.vkey, "--json")
        assert wrong.exit == 2 and wrong.body["code"] == "not_a_vkey"
        b.keys()
        met = nodes.said(tmp_path / "a", "ledger", "meet", b.node.url, "--vkey", b.vkey)
        assert met["witness"] == "b.example.org/witness" and met["log"] == "b.example.org"
        b.act("watch", vkeys=a.keys()[0])
        a.act("quorum", least=1, fresh_s=2)
        link = Link(a.node.url)
        appoint(b, a, link.url)
        a.grow(2)
        a.node.stop()
        shutil.copytree(tmp_path / "a", tmp_path / "yesterday")
        a.node.start()
        link.lead(a.node.url)
        size = a.grow(4)
        if size & (size - 1) == 0:
            size = a.grow()
        until(lambda: a.cosigned(size) and b.cosigned(int(b.act("witnesses")["size"])))
        head = note.read_checkpoint(a.get("checkpoint"))
        policy = witness.read_policy(a.get("witness-policy"))
        assert witness.satisfied(policy, head) and len(head.signatures) == 4
        proved = tmp_path / "receipt.json"
        proved.write_text(json.dumps(a.act("prove", entry=1)))
        (tmp_path / "policy").write_text(a.get("witness-policy"))
        line = ("verify", str(proved), "--vkey", a.vkey, "--policy", str(tmp_path / "policy"))
        assert nodes.said(tmp_path / "a", *line)["cosigned_by"] == [policy.witnesses["w0"].name]

        a.node.stop()
        rewritten(tmp_path / "a", tmp_path / "yesterday")
        assert b.act("witnesses")["forks"] == 0
        a.node.start()
        grown = a.grow(6)
        until(lambda: any(each["size"] == grown for each in b.act("forks")["items"]))
        found = b.act("forks")["items"]
        for each in found:
            assert each["conflict"] == ("roots" if each["size"] <= size else "rewritten"), (
                "any size may be met"
            )
            assert each["proves"] and each["known"] == size and each["origin"] == note.read_vkey(a.vkey)[0]
        forks = len(found)
        (doctor,) = [each for each in nodes.said(tmp_path / "b", "doctor", exit=1) if each["name"] == "forks"]
        assert not doctor["ok"] and f"{forks} forks proved" in doctor["detail"]
        assert f"\ndujiang_log_forks {forks}\n" in httpx2.get(f"{b.node.url}/metrics").text
        (standing,) = until(lambda: [w for w in a.act("witnesses")["witnesses"] if w["failure"] == "refused"])
        (told,) = [
            each for each in nodes.said(tmp_path / "a", "doctor", exit=1) if each["name"] == "witnesses"
        ]
        assert not told["ok"] and standing["why"] in told["fix"]
        link.close()
        last = note.read_checkpoint(b.get(f"{witness_place(a.vkey)}/checkpoint"))
        assert (last.size, last.root) == (head.size, head.root), "what was cosigned stands"


def witness_place(vkey: str) -> str:
    """Where a witness shows the last head of a log."""
    from dujiang.ledger.witness import address_of

    return address_of(note.read_vkey(vkey)[0])


def roots(home: Path) -> dict[tuple[str, int], bytes]:
    """What a node has cosigned: the root of each size of each log."""
    with contextlib.closing(sqlite3.connect(home / "state.sqlite")) as db:
        return {
            (origin, size): root
            for origin, size, root in db.execute("SELECT origin, size, root FROM ledger_seen")
        }


def test_a_ring_of_three_heals_when_its_links_do(tmp_path: Path) -> None:
    """Links are cut and a node is killed while all logs grow: no two roots of one size, in the end all is cosigned."""
    with peers(tmp_path, "a", "b", "c") as ring:
        links = [Link(ring[(place + 1) % 3].node.url) for place in range(3)]
        try:
            for place, log in enumerate(ring):
                appoint(log, ring[(place + 1) % 3], links[place].url)
            for turn in range(4):
                links[turn % 3].cut()
                for log in ring:
                    log.grow(2)
                links[turn % 3].mend()
            ring[1].node.kill()
            for log in (ring[0], ring[2]):
                log.grow(2)
            ring[1].node.start()
            links[0].lead(ring[1].node.url)
            sizes = [log.grow(1) for log in ring]
            for log, size in zip(ring, sizes, strict=True):
                until(lambda log=log, size=size: log.cosigned(size))
                assert all(each["forks"] == each["unproved"] == 0 for each in [log.act("witnesses")])
        finally:
            for link in links:
                link.close()
        for place, log in enumerate(ring):
            head = note.read_checkpoint(log.get("checkpoint"))
            shown = note.read_checkpoint(ring[(place + 1) % 3].get(f"{witness_place(log.vkey)}/checkpoint"))
            assert (shown.size, shown.root) == (head.size, head.root) and head.size == sizes[place]
            own = {
                each.size: each.root
                for (text,) in sqlite3.connect(tmp_path / "abc"[place] / "state.sqlite").execute(
                    "SELECT note FROM ledger_checkpoint"
                )
                for each in [note.read_checkpoint(text)]
            }
            seen = roots(tmp_path / "abc"[(place + 1) % 3])
            assert seen and all(own[size] == root for (_, size), root in seen.items())


class Impostor:
    """A witness on a socket that answers every request in its own way."""

    def __init__(self, answer: Callable[[socket.socket, bytes], None]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Ends it."""
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(near,), daemon=True).start()

    def _one(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            raw = b""
            while b"\r\n\r\n" not in raw:
                raw += near.recv(65536)
            head, _, body = raw.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            while len(body) < length:
                body += near.recv(65536)
            self._answer(near, body)
        near.close()


def reply(status: int, body: bytes, kind: str = "text/plain") -> bytes:
    """An HTTP answer that ends its connection."""
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


def lines_of(key: ForeignLog, body: bytes, name: str, *, of: ForeignLog | None = None) -> bytes:
    """The cosignature a witness of that key answers; `of` another head than the one it was sent."""
    head = note.read_checkpoint(of.head() if of else body.decode().partition("\n\n")[2])
    own = note.Key(name, key.keys[0].public, note.COSIGNATURE)
    return note.cosigned(head, own, int(time.time()), key.private.sign).encode()


def _drip(near: socket.socket, body: bytes) -> None:
    del body
    near.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(200):
        near.sendall(b"x-more: 1\r\n")
        time.sleep(0.2)


def _flood(near: socket.socket, body: bytes) -> None:
    del body
    near.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
    while True:
        near.sendall(b"x" * 65536)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """One node."""
    with peers(tmp_path_factory.mktemp("single"), "a") as (a,):
        yield a


LIAR, OTHER = ForeignLog("liar.example.org", 21), ForeignLog("a.example.org", 22).grow(3)
ANSWERS: dict[str, tuple[str, Callable[[socket.socket, bytes], None]]] = {
    "of another head": ("lied", lambda s, b: s.sendall(reply(200, lines_of(LIAR, b, LIAR.origin, of=OTHER)))),
    "of another key": ("odd", lambda s, b: s.sendall(reply(200, lines_of(OTHER, b, LIAR.origin)))),
    "nothing": ("odd", lambda s, b: s.sendall(reply(200, b""))),
    "no lines": ("odd", lambda s, b: s.sendall(reply(200, b"\xff\x00 hello"))),
    "a size beyond": ("ahead", lambda s, b: s.sendall(reply(409, b"99999\n", "text/x.tlog.size"))),
    "the same size again": ("odd", lambda s, b: s.sendall(reply(409, b"0\n", "text/x.tlog.size"))),
    "two sizes in turn": (
        "odd",
        lambda s, b: s.sendall(reply(409, b"2\n" if b.startswith(b"old 1\n") else b"1\n", "text/x.tlog.size")),
    ),
    "a size of no number": ("odd", lambda s, b: s.sendall(reply(409, b"-1\n", "text/x.tlog.size"))),
    "404": ("unknown", lambda s, b: s.sendall(reply(404, b""))),
    "500": ("odd", lambda s, b: s.sendall(reply(500, b"no"))),
    "a door slammed": ("unreachable", lambda s, b: None),
    "without end": ("odd", _flood),
    "drop by drop": ("unreachable", _drip),
    "never": ("unreachable", lambda s, b: time.sleep(40)),
}  # fmt: skip


def test_witnesses_that_lie_are_late_or_never_answer_harm_nobody(single: Peer) -> None:
    """All at once beside an honest one: it cosigns at once, each other is recorded for what it did, no line is kept."""
    honest = ForeignLog("honest.example.org", 20)
    with contextlib.ExitStack() as stack:
        for name, (_, answer) in ANSWERS.items():
            bad = Impostor(answer)
            stack.callback(bad.close)
            own = f"{LIAR.origin}/{name.replace(' ', '-')}"
            answered = answer if "another" not in name else _renamed(name, own)
            bad._answer = answered
            key = note.Key(own, LIAR.keys[0].public, note.COSIGNATURE).line
            single.act("appoint", url=bad.url, vkeys=[key])
        good = Impostor(lambda s, b: s.sendall(reply(200, lines_of(honest, b, honest.origin))))
        stack.callback(good.close)
        key = note.Key(honest.origin, honest.keys[0].public, note.COSIGNATURE).line
        single.act("appoint", url=good.url, vkeys=[key])
        size = single.grow()
        until(lambda: single.cosigned(size))
        expected = {f"{LIAR.origin}/{name.replace(' ', '-')}": word for name, (word, _) in ANSWERS.items()}
        until(
            lambda: all(w["failure"] for w in single.act("witnesses")["witnesses"] if w["name"] in expected)
        )
        found = {w["name"]: w["failure"] for w in single.act("witnesses")["witnesses"]}
        assert {name: found[name] for name in expected} == expected and found[honest.origin] == ""
        head = single.act("prove", entry=size - 1)["receipt"]["checkpoint"]
        assert {name for name, _ in note.read_checkpoint(head).signatures} <= {"a.example.org", honest.origin}
        assert single.node.said("identity.list", {}, single.key), "the node works on"


def _renamed(name: str, own: str) -> Callable[[socket.socket, bytes], None]:
    if name == "of another head":
        return lambda s, b: s.sendall(reply(200, lines_of(LIAR, b, own, of=OTHER)))
    return lambda s, b: s.sendall(reply(200, lines_of(OTHER, b, own)))
