"""The runner: what every act goes through, whatever door it came in by.

1. The role is checked before anything else; nobody learns what an act would have said.
2. An idempotency key (organisation x act x key) is looked up before `prepare` and again in the
   transaction; the same key with another ask is refused; a repeat gets the first reply, less secrets.
3. A `writes` act leaves exactly one entry, in the transaction of its work; a refusal leaves none. The one
   exception is `ledger.attest`: it leaves as many as it took records.
4. The receipt is attached after the commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from sqlalchemy import Column, Integer, PrimaryKeyConstraint, Table, Text, bindparam, insert, select, text

from dujiang.kernel.act import Act, Book, Bound, Caller, Effect, Node, Outcome, Tx, bind
from dujiang.kernel.canonical import sha256_hex
from dujiang.kernel.errors import Code, Declined, Exit, Refused, Unavailable
from dujiang.kernel.shape import MALFORMED, UNKNOWN_FIELD, plain, typed
from dujiang.kernel.tables import META, Session, Sql
from dujiang.kernel.writer import Writer

UNKNOWN_ACT = Code(
    "unknown_act", 404, Exit.usage,
    "There is no act of that name.", "List them with `dujiang acts`.",
    "没有这个行为。", "用 `dujiang acts` 列出全部行为。",
)  # fmt: skip
FORBIDDEN = Code(
    "forbidden", 403, Exit.refused,
    "This needs one of the roles {roles}.", "Use a key or sign in as a person with such a role.",
    "此操作需要下列角色之一：{roles}。", "请使用具有该角色的密钥或人员登录。",
)  # fmt: skip
NOT_FOUND = Code(
    "not_found", 404, Exit.not_found,
    "There is no such object for you.", "Check the id; list yours with `dujiang history` or `dujiang find`.",
    "没有您可以查看的此对象。", "请检查编号；用 `dujiang history` 或 `dujiang find` 查看。",
)  # fmt: skip
KEY_REUSED = Code(
    "key_reused", 409, Exit.conflict,
    "This idempotency key was used for another request.", "Use a new key for a new request.",
    "该幂等键已用于另一请求。", "新请求请使用新的幂等键。",
)  # fmt: skip
KEY_LONG = Code(
    "key_long", 400, Exit.usage,
    "An idempotency key has 1 to 200 characters.", "Use a shorter key, for example a UUID.",
    "幂等键长度应为 1 至 200 个字符。", "请使用较短的键，例如 UUID。",
)  # fmt: skip
INTERNAL = Code(
    "internal", 500, Exit.failure,
    "Something failed inside this node; nothing was written.",
    "Try again; if it stays, run `dujiang doctor` and report it.",
    "本节点内部出错；未写入任何内容。", "请重试；若仍出现，请运行 `dujiang doctor` 并报告。",
)  # fmt: skip
CODES = (UNKNOWN_ACT, FORBIDDEN, NOT_FOUND, KEY_REUSED, KEY_LONG, INTERNAL, UNKNOWN_FIELD, MALFORMED)

_DONE = Table(
    "kernel_done", META,
    Column("org", Text, nullable=False), Column("act", Text, nullable=False), Column("key", Text, nullable=False),
    Column("ask_sha256", Text, nullable=False), Column("reply", Text, nullable=False),
    Column("declined", Text), Column("entry", Integer), Column("entries", Integer),
    PrimaryKeyConstraint("org", "act", "key"),
)  # fmt: skip
_DONE_GET = Sql(
    select(_DONE.c.ask_sha256, _DONE.c.reply, _DONE.c.declined, _DONE.c.entry, _DONE.c.entries).where(
        _DONE.c.org == bindparam("org"), _DONE.c.act == bindparam("act"), _DONE.c.key == bindparam("key")
    )
)
_DONE_ADD = Sql(insert(_DONE))
_DONE_FORGET = Sql(text("UPDATE kernel_done SET ask_sha256 = '', reply = 'null' WHERE reply LIKE :naming"))


_Made = tuple[Outcome, int | None, int | None]
"""What came of an act before its commit, the first of its entries, and how many if it may be several."""


@dataclass(frozen=True, slots=True)
class _Call:
    bound: Bound
    caller: Caller
    ask: object
    key: str | None
    ask_sha256: str


class Runner:
    """Runs acts of one home; safe to share between threads."""

    def __init__(self, node: Node, book: Book, writer: Writer, acts: Mapping[str, Act]) -> None:
        self._node = node
        self._book = book
        self._writer = writer
        self._acts = acts

    def run(self, name: str, caller: Caller, ask: object, key: str | None = None) -> Outcome:
        """The outcome of one act, after its commit if it writes.

        Raises: Refused (any code of the act), Unavailable.
        """
        call = self._admit(name, caller, ask, key)
        ready = self.prepare(call)
        return ready if isinstance(ready, Outcome) else ready.result()

    def start(self, name: str, caller: Caller, ask: object, key: str | None = None) -> Future[Outcome] | None:
        """A future of the outcome where no thread is needed before the writer, else None.

        For doors that serve many callers on one thread: a `writes` act without `prepare`.
        """
        act = self._acts.get(name)
        if act is not None and (act.effect is Effect.reads or bind(act).prepare):
            return None
        return self._submit(self._admit(name, caller, ask, key), None)

    def prepare(self, call: _Call) -> Outcome | Future[Outcome]:
        """The outcome of a read or a repeat, or the future of a write."""
        if call.key is not None:
            with self._node.database.reading() as db:
                known = self._repeat(db, call)
            if known:
                return self._finish(known)
        bound = call.bound
        facts = bound.prepare(self._node, call.caller, call.ask) if bound.prepare else None
        if bound.act.effect is not Effect.reads:
            return self._submit(call, facts)
        with self._node.database.reading() as db:
            return Outcome(self._act(Tx(db, self._node.clock.now_ms(), self._node), call, facts))

    def _admit(self, name: str, caller: Caller, ask: object, key: str | None) -> _Call:
        act = self._acts.get(name)
        if act is None:
            raise Refused(UNKNOWN_ACT)
        if not caller.may(act):
            raise Refused(FORBIDDEN, roles=", ".join(act.roles))
        if key is not None and not 1 <= len(key) <= 200:
            raise Refused(KEY_LONG)
        try:
            # Without secrets: a plain hash of a password could be guessed at leisure by whoever sees the log.
            ask_sha256 = sha256_hex(plain(ask, secrets=False))
        except (ValueError, RecursionError):
            raise Refused(MALFORMED, place="$") from None
        return _Call(bind(act), caller, ask, key, ask_sha256)

    def _submit(self, call: _Call, facts: object) -> Future[Outcome]:
        return self._writer.submit(lambda tx: self._work(tx, call, facts), self._finish)

    def _act(self, tx: Tx, call: _Call, facts: object) -> object:
        if call.bound.prepare is None:
            return call.bound.run(tx, call.caller, call.ask)
        return call.bound.run(tx, call.caller, call.ask, facts)

    def _work(self, tx: Tx, call: _Call, facts: object) -> _Made:
        if call.key is not None and (known := self._repeat(tx.db, call)):
            return known
        tx.entry = self._book.next_index()
        reply = self._act(tx, call, facts)
        entry = tx.entry if call.bound.act.effect is Effect.writes else None
        entries = len(tx.many) if tx.many is not None else None
        if call.key is not None:
            self._remember(tx.db, call, reply, entry, entries)
        if entries is not None:
            self._book.extend(tx, tx.many)
        elif entry is not None:
            told: dict[str, object] = {"ask_sha256": call.ask_sha256, **tx.told}
            if isinstance(reply, Declined):
                told["declined"] = reply.code.name
            # Last of all: the tree in memory has grown then, and no savepoint would take that back.
            self._book.append(tx, call.bound.act.name, call.caller, told)
        return Outcome(reply), entry, entries

    def _finish(self, made: _Made) -> Outcome:
        outcome, entry, entries = made
        return outcome if entry is None else Outcome(outcome.reply, self._book.receipt(entry, entries))

    def _remember(
        self, db: Session, call: _Call, reply: object, entry: int | None, entries: int | None
    ) -> None:
        declined = isinstance(reply, Declined)
        kept = msgspec.to_builtins(reply) if declined else plain(reply, secrets=False)
        db.run(
            _DONE_ADD, org=call.caller.org, act=call.bound.act.name, key=call.key, ask_sha256=call.ask_sha256,
            reply=msgspec.json.encode(kept).decode(), declined="yes" if declined else None,
            entry=entry, entries=entries,
        )  # fmt: skip

    def _repeat(self, db: Session, call: _Call) -> _Made | None:
        # Without the receipt: the first request may be in this very batch, not yet committed.
        rows = db.run(_DONE_GET, org=call.caller.org, act=call.bound.act.name, key=call.key)
        if not rows:
            return None
        ask_sha256, reply, declined, entry, entries = rows[0]
        if ask_sha256 != call.ask_sha256:
            raise Refused(KEY_REUSED)
        raw: Any = msgspec.json.decode(str(reply))
        form = typed(Declined if declined else call.bound.reply)
        again: Any = cast(Any, msgspec).convert(raw, form, strict=False)
        return Outcome(again), cast("int | None", entry), cast("int | None", entries)


def forget(db: Session, name: str) -> None:
    """Takes an id out of the replies that are kept for repeats; such a repeat is refused, never run again."""
    db.run(_DONE_FORGET, naming=f"%{name}%")


def spoken_error(error: BaseException) -> tuple[Code, Mapping[str, str]]:
    """The code and names a door may say of any exception; a bug is `internal` and nothing more."""
    if isinstance(error, (Refused, Unavailable)):
        return error.code, error.names
    return INTERNAL, {}
