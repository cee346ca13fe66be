"""A whole node in a temporary folder, its clock set and its noise seeded, for tests of acts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dujiang import acts, home
from dujiang.catalogue import acts as catalogue
from dujiang.cleanroom import acts as cleanroom
from dujiang.cleanroom.noise import SeededSource
from dujiang.contract import acts as contract
from dujiang.doors.loops import Loops
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE, Caller, Outcome, Tx
from dujiang.kernel.errors import Code, Declined, Refused
from dujiang.kernel.ids import new_id
from dujiang.kernel.runner import Runner
from dujiang.kernel.writer import Writer
from dujiang.ledger import store as ledger
from dujiang.ledger.model import Record
from dujiang.plugs.clocks import SetClock
from dujiang.policy.model import TermsFile
from dujiang.post import acts as post
from dujiang.post import rules as post_rules
from dujiang.post.model import TYPE

NOON_MS = 1_780_000_000_000
ORGANISATIONS = (
    ("市立医院", ("operator", "provider")),
    ("保险公司", ("consumer",)),
    ("Rival Clinic", ("provider", "consumer")),
    ("监管局", ("auditor",)),
)


@dataclass(frozen=True, slots=True)
class Life:
    """An open home, its clock, and a caller and an API key for each organisation."""

    home: home.Home
    clock: SetClock
    hospital: Caller
    insurer: Caller
    rival: Caller
    auditor: Caller
    made: tuple[dict[str, Any], ...]

    def run(self, name: str, caller: Caller, ask: object, key: str | None = None) -> Any:
        """The reply of an act."""
        return self.home.run(name, caller, ask, key).reply

    def whole(self, name: str, caller: Caller, ask: object, key: str | None = None) -> Outcome:
        """The reply and the receipt of an act."""
        return self.home.run(name, caller, ask, key)

    def refused(self, name: str, caller: Caller, ask: object, key: str | None = None) -> str:
        """The code an act is refused with; it leaves no entry."""
        before = self.size()
        with pytest.raises(Refused) as refused:
            self.run(name, caller, ask, key)
        assert self.size() == before
        return refused.value.code.name

    def size(self) -> int:
        """The number of log entries."""
        with self.home.node.database.reading() as db:
            return ledger.last(db)[0]

    def records(self) -> list[Record]:
        """The log, oldest first."""
        with self.home.node.database.reading() as db:
            return list(reversed(ledger.page(db, 2**53, 100_000)))

    def at(self, work: Callable[[Tx], Any]) -> Any:
        """What `work` gives in a transaction of its own, without an entry."""
        return self.home.writer.submit(work).result()

    def quiet(self) -> None:
        """Delivers and computes until nothing is due."""
        Loops(self.home).until_quiet()

    def offer(self, terms: TermsFile | None = None, salt: int = 1, people: int = 40) -> catalogue.Published:
        """A product of the hospital: a table of visits with Chinese headers."""
        return self.run(
            "catalogue.offer",
            self.hospital,
            catalogue.Offer(self.upload(self.hospital, salt, people), "编号", terms),
        )

    def upload(self, caller: Caller, salt: int = 1, people: int = 40) -> str:
        """The id of a table put where uploads are put."""
        made = new_id("upl", self.clock.now_ms())
        key = f"uploads/{caller.org}/{made}"
        self.home.node.blobs.room(key).write_bytes(visits(salt, people))
        self.home.node.blobs.room(f"{key}.name").write_text("就诊.csv", encoding="utf-8")
        return made

    def agree(self, product: str, caller: Caller | None = None, purpose: str = "analyse") -> str:
        """The id of an active contract."""
        consumer = caller or self.insurer
        begun = self.run("contract.request", consumer, contract.Request(product, purpose))
        self.quiet()
        shown = self.run("contract.show", consumer, contract.Show(begun.contract))
        assert (shown.state, shown.status) == ("FINALIZED", "active"), shown
        return shown.contract

    def ask(self, on: str, sql: str, caller: Caller | None = None) -> cleanroom.Answer | Declined:
        """The answer of a question, computed, or why it was declined."""
        consumer = caller or self.insurer
        reply = self.run("cleanroom.ask", consumer, cleanroom.Ask((on,), sql))
        if isinstance(reply, Declined):
            return reply
        self.quiet()
        return self.run("cleanroom.show", consumer, cleanroom.Show(reply.job))

    def sign(self, sender: Caller, header: dict[str, object], payload: dict[str, object]) -> str:
        """A JWS of an organisation over anything at all."""
        return self.at(
            lambda tx: identity.sign_jws(tx, identity.organisation(tx.db, sender.org), header, payload)
        )

    def did(self, caller: Caller) -> str:
        """The DID of a caller's organisation."""
        return next(each["did"] for each in self.made if each["org"] == caller.org)

    def envelope(self, sender: Caller, receiver: Caller, message: dict[str, Any]) -> str:
        """A signed message between two organisations, made outside the outbox."""
        claims = post_rules.payload(
            new_id("ltr", self.clock.now_ms()),
            self.did(sender),
            self.did(receiver),
            self.clock.now_ms(),
            message,
        )
        return self.sign(sender, {"typ": TYPE}, claims)

    def letters(self) -> list[post.Due]:
        """The messages that wait in the outbox."""
        return list(self.run("post.list", NODE, post.List()).items)

    def hear(self, envelope: str) -> contract.Heeded:
        """What a message led to."""
        return self.run("contract.hear", NODE, contract.Hear(envelope))

    def taken(self) -> list[str]:
        """The envelopes that wait, marked as delivered so that nobody else takes them."""
        found = self.letters()
        for letter in found:
            self.run("post.deliver", NODE, post.Deliver(letter.id, True))
        return [letter.envelope for letter in found]


@contextmanager
def opened(folder: Path, database: str = "", **plugs: Any) -> Iterator[Life]:
    """A new node in a folder, its state there or in an empty PostgreSQL database, closed at the end."""
    clock = SetClock(NOON_MS)
    open_home, made = home.create(
        folder / "home", list(ORGANISATIONS), "data.example.org", clock=clock, uniform=SeededSource(7),
        database=database,
    )  # fmt: skip
    if plugs:
        open_home = rebuilt(open_home, **plugs)
    try:
        callers = [Caller(each["org"], each["person"], frozenset(each["roles"])) for each in made]
        yield Life(open_home, clock, *callers, tuple(made))
    finally:
        open_home.close()


def rebuilt(old: home.Home, **plugs: Any) -> home.Home:
    """The same home on other plugs or settings; the old one's writer has ended."""
    old.writer.close()
    node = replace(old.node, **plugs)
    writer = Writer(node, old.book, old.bell)
    return replace(old, node=node, writer=writer, runner=Runner(node, old.book, writer, acts.ACTS))


def visits(salt: int = 1, people: int = 40) -> bytes:
    """A table of visits, up to 3 rows a person; equal for equal arguments."""
    chance = random.Random(salt)
    lines = ["编号,性别,体重,备注"]
    for person in range(people):
        for visit in range(1 + person % 3):
            kg = 45 + chance.randrange(500) / 10
            lines.append(f"P{person:05d},{'男' if person % 2 else '女'},{kg},机密{person}-{visit}")
    return ("\n".join(lines) + "\n").encode()


def code_of(reply: object) -> Code | None:
    """The code of a reply that declines, else None."""
    return reply.code if isinstance(reply, Declined) else None
