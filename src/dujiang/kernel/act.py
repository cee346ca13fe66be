"""The act (行为): one use-case, one verb, one HTTP operation, one permission, one ledger entry.

1. `act(tx, caller, ask[, facts]) -> reply`: store and rules only, on the writer's thread.
2. `prepare(node, caller, ask) -> facts` does what is slow or outside, without a transaction.
3. Effect `reads`: no entry. `writes`: exactly one. `keeps`: none, and nothing a bill reads.
4. An act that calls upstream acts as functions shares their transaction and tells one entry.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, get_type_hints

from dujiang.kernel.ids import new_id

if TYPE_CHECKING:
    from dujiang.kernel.config import Config
    from dujiang.kernel.plugs import Blobs, Clock, Database, Engine, Profiler, Uniform, Vault
    from dujiang.kernel.tables import Session


class Effect(StrEnum):
    """What an act leaves behind."""

    reads = "reads"
    writes = "writes"
    keeps = "keeps"


@dataclass(frozen=True, slots=True)
class Act:
    """One row of the table of contents; the function is named by text and loaded when first needed.

    `roles`: any one of them admits the caller; "member" is anybody signed in, "node" only the node
    itself, "anyone" also nobody. `verb`: the short word on the command line. `until`: the read act
    (and field of the reply passed to it) a door asks again until its `done` is true. `shows`: id
    prefixes whose objects this read act shows. `preview`: the act a terminal runs and confirms first.
    """

    name: str
    effect: Effect
    roles: tuple[str, ...]
    title: str
    title_zh: str
    verb: str | None = None
    positional: tuple[str, ...] = ()
    until: tuple[str, str] | None = None
    shows: tuple[str, ...] = ()
    preview: str | None = None
    examples: tuple[str, ...] = ()

    @property
    def room(self) -> str:
        """The package the act lives in."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts: organisation, person (经办人) and roles; an empty organisation is nobody or the node."""

    org: str
    person: str
    roles: frozenset[str] = frozenset()
    via: str = field(default="", compare=False)
    """The API key it came by, or that its session's link was made with; empty for other sessions and the node."""

    def may(self, act: Act) -> bool:
        """Whether one of the act's roles is the caller's."""
        if "anyone" in act.roles:
            return True
        if "node" in self.roles:
            return "node" in act.roles or "member" in act.roles
        return ("member" in act.roles and bool(self.org)) or bool(self.roles.intersection(act.roles))


NOBODY = Caller("", "")
NODE = Caller("", "node", frozenset({"node"}))


@dataclass(frozen=True, slots=True)
class Node:
    """The plugs of one home; a frozen bag without behaviour, built in the composition root."""

    config: Config
    clock: Clock
    database: Database
    vault: Vault
    blobs: Blobs
    engine: Engine
    profiler: Profiler
    uniform: Uniform
    origin: str
    """Name of this home's log and authority of its organisations' DIDs."""


@dataclass(slots=True)
class Tx:
    """What an act works with: one transaction, the time, the plugs, and what its entry will say."""

    db: Session
    now_ms: int
    node: Node
    entry: int = -1
    """The index the act's entry will have in the log."""
    told: dict[str, object] = field(default_factory=dict[str, object])
    many: Any = None
    """What `ledger.attest` leaves in place of one entry: N of them, made and read by the ledger alone."""

    def tell(self, **facts: object) -> None:
        """Adds facts (JSON values) to the act's one ledger entry; a later call wins."""
        self.told.update(facts)

    def new_id(self, prefix: str) -> str:
        """A fresh identifier of this moment."""
        return new_id(prefix, self.now_ms)


class Book(Protocol):
    """What the runner asks of the ledger; given by the composition root."""

    def next_index(self) -> int:
        """The index the next appended entry will have."""
        ...

    def append(self, tx: Tx, act: str, caller: Caller, facts: Mapping[str, object]) -> int:
        """The index of the one new entry."""
        ...

    def extend(self, tx: Tx, many: Any) -> int:
        """How many new entries there are, in order, by what an act left as `Tx.many`."""
        ...

    def seal(self, db: Session) -> None:
        """Signs the tree of everything appended in this transaction; called once before its commit."""

    def committed(self) -> None:
        """What was sealed is durable; called before anybody is answered. Never raises."""

    def receipt(self, index: int, entries: int | None = None) -> dict[str, object] | None:
        """The receipt of a committed entry, opened for its own caller; or that of so many from there on."""
        ...

    def reload(self, db: Session) -> None:
        """Forgets what was not committed: the tree is read again from the database."""


class Home(Protocol):
    """What a door holds: acts can be run in it."""

    def run(self, name: str, caller: Caller, ask: object, key: str | None = None) -> Outcome:
        """Runs one act to its reply."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an act: its reply (or a `Declined`) and, if it wrote, the receipt of its entry."""

    reply: Any
    receipt: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """An act with its functions and the types of its ask and reply."""

    act: Act
    run: Callable[..., Any]
    prepare: Callable[..., Any] | None
    ask: type
    reply: type


@cache
def bind(act: Act) -> Bound:
    """The functions and types of an act: `<package>.<room>.acts:<verb>` and `prepare_<verb>`."""
    package = __name__.partition(".")[0]
    module = importlib.import_module(f"{package}.{act.room}.acts")
    word = act.name.partition(".")[2]
    run = getattr(module, word + "_" if word in {"list", "import"} else word)
    hints = get_type_hints(run)
    third = list(inspect.signature(run).parameters)[2]
    return Bound(act, run, getattr(module, f"prepare_{word}", None), hints[third], _plain(hints["return"]))


def _plain(hint: Any) -> type:
    """The reply type of `Reply` or `Reply | Declined`."""
    options = getattr(hint, "__args__", None)
    if options and not isinstance(hint, type):
        return next(option for option in options if option.__name__ != "Declined")
    return hint
