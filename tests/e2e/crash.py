"""Two organisations at work on a node that is killed again and again, and what must be true after each time.

A caller repeats a request, under the same idempotency key, until it is acknowledged; it keeps every
acknowledgement. Nothing else is known about the moment of a kill.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from dujiang.ledger import note, rules
from dujiang.ledger.lot import receipts_of
from dujiang.ledger.tree import consistent
from tests.e2e import log
from tests.e2e.node import HOSPITAL, INSURER, ORGANISATIONS, Node, make, said, start

TERMS = """
join_keys = ["patient"]
statistics = 100000
ceiling_statistics = 1000000
[fields.visits]
uses = ["filter"]
lo = 0
hi = 10000
"""


@dataclass(frozen=True)
class Acknowledged:
    """A request and what the node said of it."""

    act: str
    once: str
    ask: dict[str, Any]
    said: dict[str, Any]

    @property
    def entries(self) -> int:
        """How many entries it left."""
        return self.said["count"] if self.act == "ledger.attest" else 1

    @property
    def head(self) -> str:
        """The checkpoint it was acknowledged under."""
        return self.said["receipt"]["checkpoint"]

    def receipts(self) -> list[dict[str, Any]]:
        """The receipt of each entry."""
        receipt = self.said["receipt"]
        return receipts_of(receipt, self.ask["records"]) if self.act == "ledger.attest" else [receipt]


@dataclass
class Caller(threading.Thread):
    """An organisation that makes one request after another until it is told to stop."""

    node: Node
    act: str
    key: str
    asks: Iterator[dict[str, Any]]
    rest_s: float
    stopping: threading.Event
    heard: list[Acknowledged] = field(default_factory=list)
    repeats: int = 0
    wrong: str = ""

    def __post_init__(self) -> None:
        """A thread like any other."""
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Works until told to stop; what was begun is finished."""
        for ask in self.asks:
            if self.stopping.is_set() or self.wrong:
                return
            self._until_heard(ask)
            time.sleep(random.uniform(0, self.rest_s))

    def _until_heard(self, ask: dict[str, Any]) -> None:
        once = uuid.uuid4().hex
        while True:
            self.node.up.wait()
            try:
                response = self.node.post(self.act, ask, self.key, once)
            except (httpx2.HTTPError, OSError):
                self.repeats += 1
                time.sleep(0.02)
                continue
            if response.status_code == 200:
                self.heard.append(Acknowledged(self.act, once, ask, response.json()))
                return
            if response.status_code not in (202, 503):
                self.wrong = response.text
                return


@dataclass
class Typist(threading.Thread):
    """A person at the command line of the same home, who is sometimes killed, too."""

    home: Path
    stopping: threading.Event
    rest_s: float = 4.0
    invited: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """A thread like any other."""
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Invites people of new names, one by one."""
        for number in itertools.count():
            if self.stopping.is_set():
                return
            name = f"person {number}"
            process = start(
                self.home, "identity", "invite", name, "--roles", "consumer", "--as", INSURER, "--json"
            )
            if number % 4 == 3:
                time.sleep(random.uniform(0.3, 1.5))
                process.send_signal(signal.SIGKILL)
            out, _ = process.communicate(timeout=120)
            (self.unknown if process.returncode else self.invited).append(name)
            assert process.returncode or json.loads(out)["person"]
            time.sleep(random.uniform(0, self.rest_s))


@dataclass
class Onlooker(threading.Thread):
    """Somebody without an account who reads the log's head over and over: it never gets smaller, nor another one."""

    node: Node
    stopping: threading.Event
    heads: list[note.Checkpoint] = field(default_factory=list)
    wrong: str = ""

    def __post_init__(self) -> None:
        """A thread like any other."""
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Keeps every head that is new."""
        with httpx2.Client(timeout=5.0) as client:
            while not self.stopping.is_set() and not self.wrong:
                self.node.up.wait(1.0)
                time.sleep(0.02)
                try:
                    response = client.get(f"{self.node.url}/log/checkpoint")
                except (httpx2.HTTPError, OSError):
                    continue
                if response.status_code == 200:
                    self._look(note.read_checkpoint(response.text))

    def _look(self, head: note.Checkpoint) -> None:
        last = self.heads[-1] if self.heads else None
        if last is None or head.size > last.size:
            self.heads.append(head)
        elif head.size < last.size or head.root != last.root:
            self.wrong = f"after a head of {last.size} entries one of {head.size} was shown"


class Space:
    """A node with one table, one contract, and everybody at work on it."""

    def __init__(self, folder: Path, database: str = "") -> None:
        """`database`: an empty PostgreSQL database to keep the state in."""
        self.home = folder / "home"
        made = make(self.home, *ORGANISATIONS, *(("--database", database) if database else ()))
        self.vkey: str = made["vkey"]
        self.hospital, self.insurer = (each["api_key"] for each in made["organisations"])
        rows = "".join(f"p{n},{n * 37 % 10_000}\n" for n in range(400))
        (folder / "terms.toml").write_text(TERMS, encoding="utf-8")
        self.product, self.contract = self._agreed(folder, "visits", f"patient,visits\n{rows}")
        _, self.other = self._agreed(folder, "stays", f"patient,visits\n{rows}p999,1\n")
        self.node = Node(self.home)
        self.stopping = threading.Event()
        self.callers = [
            self._caller("identity.grant", self.hospital, itertools.repeat({"roles": ["provider"]}), 0.03),
            self._caller("contract.request", self.insurer, self._requests(), 0.05),
            self._caller("cleanroom.ask", self.insurer, self._questions(random.Random(1)), 0.02),
            self._caller("cleanroom.ask", self.insurer, self._questions(random.Random(2)), 0.02),
            self._caller("ledger.attest", self.hospital, self._records(random.Random(3)), 0.4),
        ]
        self.onlooker = Onlooker(self.node, self.stopping)
        self._known: dict[str, list[str]] = {}
        self._roots: dict[int, bytes] = {}
        self._chained = 0
        self.typist = Typist(self.home, self.stopping)
        self.reading = log.Reading()

    def _agreed(self, folder: Path, name: str, table: str) -> tuple[str, str]:
        """The product of a table and the contract on it."""
        (folder / f"{name}.csv").write_text(table, encoding="utf-8")
        terms = ("--entity", "patient", "--terms", str(folder / "terms.toml"), "--as", HOSPITAL)
        product: str = said(self.home, "offer", str(folder / f"{name}.csv"), *terms)["product"]
        agreed = said(self.home, "agree", product, "--purpose", "analyse", "--as", INSURER)
        assert agreed["state"] == "FINALIZED"
        return product, agreed["contract"]

    def _caller(self, act: str, key: str, asks: Iterator[dict[str, Any]], rest_s: float) -> Caller:
        return Caller(self.node, act, key, asks, rest_s, self.stopping)

    def _requests(self) -> Iterator[dict[str, Any]]:
        for number in itertools.count():
            yield {"product": self.product, "purpose": f"purpose {number}"}

    def _questions(self, chance: random.Random) -> Iterator[dict[str, Any]]:
        """Questions that are new, but for every fifth, which somebody asked before or asks right now.

        Every third is asked of two tables at once.
        """
        sql = "select count(*) as n from visits where visits >= 0 and visits < {}"
        both = "select count(*) as n from visits v join stays s using (patient) where v.visits < {}"
        for number in itertools.count(1):
            to = 3000 + number % 50 if number % 5 == 0 else chance.randrange(100, 10_000)
            if number % 3 == 0:
                yield {"contracts": [self.other, self.contract], "sql": both.format(to)}
            else:
                yield {"contracts": [self.contract], "sql": sql.format(to)}

    def _records(self, chance: random.Random) -> Iterator[dict[str, Any]]:
        """Readings of a meter, 1 to 200 at a time, every second time as of the contract."""
        for number in itertools.count():
            count = chance.choice((1, 2, 17, 60, chance.randint(1, 200)))
            records = [{"meter": number, "n": n, "kwh": chance.randrange(10**6)} for n in range(count)]
            yield {
                "records": records,
                "kind": "meter.reading",
                **({"contract": self.contract} if number % 2 else {}),
            }

    def live(self, kills: int, chance: random.Random) -> None:
        """Everybody works while the node is killed `kills` times; everything is checked after each time."""
        self.node.start()
        for worker in (*self.callers, self.typist, self.onlooker):
            worker.start()
        for number in range(kills):
            self.node.begin()  # the next one stands ready, so that time goes into work, not into starts
            if number:
                self.check()
            time.sleep(chance.uniform(0.0, 1.2))
            self.node.kill()
            if number % 8 == 7:
                # Not always when it serves: a start that is cut short must leave nothing behind either.
                time.sleep(chance.uniform(0.0, 0.6))
                self.node.cut()
                self.node.begin()
            self.node.ready()
        self.check()
        self.stopping.set()
        for worker in (*self.callers, self.typist, self.onlooker):
            worker.join(timeout=120)
            assert not worker.is_alive()
        self._rest()

    def check(self) -> None:
        """The log verifies, the counters agree, and everything acknowledged so far is there once."""
        assert not any(caller.wrong for caller in self.callers), [caller.wrong for caller in self.callers]
        heard = [each for caller in self.callers for each in list(caller.heard)]
        invited, seen = list(self.typist.invited), list(self.onlooker.heads)
        with log.snapshot(self.home) as db:
            leaves = self.reading.verify(db, self.vkey)
            self.reading.balance(db)
            done = {
                (act, key): entry for act, key, entry in db.execute("SELECT act, key, entry FROM kernel_done")
            }
            jobs = dict(db.execute("SELECT id, entry FROM cleanroom_job").fetchall())
            known = Counter(name for (name,) in db.execute("SELECT name FROM identity_person"))
        assert not self.onlooker.wrong, self.onlooker.wrong
        for each in heard:
            first = done[each.act, each.once]
            if each.act == "cleanroom.ask":
                first = jobs[each.said["job"]]
            given = self._leaves(each)
            assert leaves[first : first + len(given)] == given and len(given) == each.entries
        assert all(known[name] == 1 for name in invited)
        assert all(known[name] <= 1 for name in list(self.typist.unknown))
        for head in seen:
            self._told(head)
        self._grown(self._chained, most=25)
        self._proved(random.Random(len(heard)).sample(heard, min(5, len(heard))))

    def _leaves(self, each: Acknowledged) -> list[str]:
        """The entries that a receipt speaks of; when it is new, every single one is verified."""
        if each.once not in self._known:
            given = each.receipts()
            assert all(rules.verify(receipt, self.vkey).ok for receipt in given), each.act
            first = given[0]["index"]
            assert [receipt["index"] for receipt in given] == list(range(first, first + len(given)))
            self._known[each.once] = [receipt["leaf"] for receipt in given]
            self._told(note.read_checkpoint(each.head))
        return self._known[each.once]

    def _told(self, head: note.Checkpoint) -> None:
        """One root for each size, whoever was told of it, and it is that of the entries."""
        root = self.reading.roots[head.size]
        assert self._roots.setdefault(head.size, head.root) == head.root == root, head.size

    def _grown(self, since: int, most: int) -> None:
        """The log grew from each head that somebody was told to the next one, by the node's own proofs."""
        new = sorted(size for size in self._roots if size >= since)
        step = max(1, len(new) // most)
        chain = new[::-1][::step][::-1]
        for old, size in itertools.pairwise(chain):
            self._follows(old, self._roots[old], size, self._roots[size])
        self._chained = chain[-1] if chain else since

    def _follows(self, old: int, old_root: bytes, new: int, new_root: bytes) -> None:
        """The node proves that its log of one size began with the other."""
        grown = self.node.said("ledger.consistency", {"old": old, "new": new}, self.insurer)
        steps = [note.unbase64(step) for step in grown["proof"]]
        assert consistent(old, new, old_root, new_root, steps), (old, new)

    def _proved(self, some: list[Acknowledged]) -> None:
        """Receipts verify, and the node proves that its log of now began with the log they were given of."""
        for each in some:
            old = note.read_checkpoint(each.head)
            grown = self.node.said("ledger.consistency", {"old": old.size}, self.insurer)
            head = note.read_checkpoint(grown["checkpoint"])
            steps = [note.unbase64(step) for step in grown["proof"]]
            assert head.size == grown["new"] and consistent(old.size, head.size, old.root, head.root, steps)
            assert note.signed_by(head, *note.read_vkey(self.vkey))
            given = each.receipts()
            index = random.Random(old.size).choice(given)["index"]
            proved = self.node.said("ledger.prove", {"entry": index}, self.hospital)["receipt"]
            assert (
                rules.verify(proved, self.vkey).ok
                and proved["leaf"] == given[index - given[0]["index"]]["leaf"]
            )

    def _rest(self) -> None:
        """When the work is done, exactly what was acknowledged was done, and nothing is on its way."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with log.snapshot(self.home) as db:
                    log.at_rest(db)
                break
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self.check()
        told = self.reading.told
        for act in {caller.act for caller in self.callers}:
            heard = sum(each.entries for caller in self.callers if caller.act == act for each in caller.heard)
            first = 2 * int(act == "contract.request")
            assert told[act] == heard + first, (act, told[act], heard)
        heard_all = [each for caller in self.callers for each in caller.heard]
        self._proved(heard_all[:: max(1, len(heard_all) // 200)])
        self._grown(0, most=200)
        # Request, agreement, verification, finalised: four messages, each heard once.
        assert told["contract.hear"] == 4 * told["contract.request"], told
        invited = told["identity.invite"]
        assert len(self.typist.invited) <= invited <= len(self.typist.invited) + len(self.typist.unknown)
