"""The desk every HTTP route works at: who calls, how an act is run without blocking, how it is waited for.

1. Who calls: `Authorization: Bearer djk_…`, or the session cookie, and that from this very origin only.
2. Nothing blocks the loop: an act goes to the writer by a future, or to a thread where it must wait.
3. A long act is followed by its read act, woken by commits, until it is done or the time is up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dujiang import acts
from dujiang.doors import answer, gate, journal
from dujiang.doors.gate import Receive, Scope
from dujiang.doors.limits import Limits
from dujiang.doors.metrics import Metrics
from dujiang.home import Home
from dujiang.identity import rules as signing
from dujiang.identity.model import NOT_SIGNED_IN
from dujiang.kernel.act import NOBODY, Act, Caller, Effect, Outcome, bind
from dujiang.kernel.errors import Code, Declined, Exit, Refused, Unavailable
from dujiang.kernel.shape import build
from dujiang.kernel.writer import BUSY, Bell
from dujiang.ledger.acts import Attest

NOT_JSON = Code(
    "not_json", 400, Exit.usage,
    "The request is not a JSON object.",
    "Send one, such as {}, in UTF-8 with Content-Type: application/json.",
    "请求不是 JSON 对象。", "请以 UTF-8 发送 JSON 对象（如 {}），并带上 Content-Type: application/json。",
)  # fmt: skip
ASK_TOO_LARGE = Code(
    "ask_too_large", 413, Exit.usage,
    "The request is larger than {most} bytes.", "Shorten it; files are sent by PUT /data/uploads.",
    "请求超过 {most} 字节。", "请缩短请求；文件请用 PUT /data/uploads 上传。",
)  # fmt: skip
CROSS_ORIGIN = Code(
    "cross_origin", 403, Exit.refused,
    "A browser session is good for this node's own pages only.", "Use an API key (Authorization: Bearer …).",
    "浏览器会话仅限本节点自身的页面使用。", "请使用 API 密钥（Authorization: Bearer …）。",
)  # fmt: skip
CODES = (NOT_JSON, ASK_TOO_LARGE, CROSS_ORIGIN)
SESSION = "dujiang_session"
"""Name of the session cookie."""
_LESS = frozenset({"identity.revoke", "identity.assign"})
"""Acts after which a key may be worth less."""
_WAITING_MAX = 1000
_FEW_RECORDS, _LOTS_AT_ONCE = 16, 4
_PAUSE_S, _PAUSE_S_MAX = 0.004, 0.25


class Waits:
    """Wakes coroutines when something was committed; ends their waiting when the node closes."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._waiting: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closing = False
        bell.listen(self._rung)

    @property
    def count(self) -> int:
        """How often something was committed."""
        return self._bell.count

    @property
    def anybody(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    async def after(self, seen: int, seconds: float) -> None:
        """Returns once the count is not `seen` any more, or after `seconds`, or when the node closes."""
        self._loop = asyncio.get_running_loop()
        rung: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(rung)
        try:
            if self._bell.count == seen and not self.closing:
                await asyncio.wait((rung,), timeout=seconds)
        finally:
            self._waiting.discard(rung)

    def close(self) -> None:
        """Ends every wait; may be called from a signal handler."""
        self.closing = True
        self._rung()

    def _rung(self) -> None:
        if self._waiting and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for rung in self._waiting:
            if not rung.done():
                rung.set_result(None)


class Lane:
    """Threads for work of one kind, and how much of it may wait."""

    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting = 0

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a blocking function gives back.

        Raises: what the function raises; Unavailable busy.
        """
        if self._waiting >= _WAITING_MAX:
            raise Unavailable(BUSY)
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._pool.submit(function, *arguments))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Lets the threads go once what they do is done."""
        self._pool.shutdown(wait=True)


class Desk:
    """One home as its HTTP routes use it: who calls, and what an act answers."""

    def __init__(self, home: Home, codes: Mapping[str, Code]) -> None:
        self.home = home
        self.codes = codes
        self.waits = Waits(home.bell)
        self.metrics = Metrics(home)
        self.limits = Limits(home.node.config, home.node.clock.monotonic_s)
        self._reads = Lane("read", 8)
        self._works = Lane("work", 64)
        # Password hashes of people nobody knows yet: they keep only each other waiting.
        self._strangers = Lane("stranger", 2)
        self._known: dict[str, Caller] = {}
        self._known_at = -1
        self._lots: dict[str, asyncio.Semaphore] = {}

    def close(self) -> None:
        """Lets the threads go once what they do is done."""
        journal.flush()
        for lane in (self._reads, self._works, self._strangers):
            lane.close()

    def caller(self, scope: Scope) -> Caller:
        """Who calls; nobody without a key or session. The request counts as theirs from here on.

        Raises: Refused not_signed_in (a key that is none), cross_origin, requests_too_fast.
        """
        try:
            found = self._caller(scope)
        except Refused:
            self.count_stranger(scope)
            raise
        scope["org"] = found.org
        if not found.org:
            self.count_stranger(scope)
        else:
            self.limits.count(found.org)
        return found

    def count_stranger(self, scope: Scope) -> None:
        """Counts a request that nobody signed, by the address it came from: of IPv6, its network.

        Raises: Refused requests_too_fast.
        """
        self.limits.count(_from(scope), self.home.node.config.stranger_requests_per_s_max)

    def count_reader(self, scope: Scope) -> None:
        """Counts a request for a part of the log, by the address it came from.

        Raises: Refused requests_too_fast.
        """
        self.limits.count(f"{_from(scope)} log", self.home.node.config.log_requests_per_s_max)

    def _caller(self, scope: Scope) -> Caller:
        given = gate.header(scope, b"authorization")
        if given is not None:
            kind, _, secret = given.partition(" ")
            found = self._holder(secret.strip()) if kind.lower() == "bearer" else None
            if found is None:
                raise Refused(NOT_SIGNED_IN)
            return found
        session = cookie(scope, SESSION)
        if session is None:
            return NOBODY
        if scope["method"] != "GET" and not same_origin(scope):
            raise Refused(CROSS_ORIGIN)
        return self.home.caller_of_session(session) or NOBODY

    def _holder(self, secret: str) -> Caller | None:
        """Who a key speaks for; the database is asked again after every commit: a revoked key ends."""
        if self._known_at != (count := self.waits.count):
            self._known, self._known_at = {}, count
        found = self._known.get(secret) or self.home.caller_of_key(secret)
        if found is not None:
            self._known[secret] = found
        return found

    async def run(self, name: str, caller: Caller, ask: object, key: str | None = None) -> Outcome:
        """The outcome of an act.

        Raises: what the act raises; Unavailable busy.
        """
        if isinstance(ask, Attest) and len(ask.records) > _FEW_RECORDS:
            # A lot takes the writer a thousand times as long as an act: whoever sends many at once waits here for
            # their own, so that everybody else waits for no more than a few of them.
            async with self._lots.setdefault(caller.org, asyncio.Semaphore(_LOTS_AT_ONCE)):
                return await self._run(name, caller, ask, key)
        return await self._run(name, caller, ask, key)

    async def _run(self, name: str, caller: Caller, ask: object, key: str | None) -> Outcome:
        started = self.home.start(name, caller, ask, key)
        if started is None:
            outcome = await self._lane(acts.ACTS[name]).run(self.home.run, name, caller, ask, key)
        else:
            outcome = await asyncio.wrap_future(started)
        if name in _LESS:
            # The bell may ring a moment after the answer: nobody may use the key in between.
            self._known_at = -1
        return outcome

    async def read(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function that reads the database gives back, run on a thread for reads."""
        return await self._reads.run(function, *arguments)

    async def work(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a blocking function gives back, run on a thread."""
        return await self._works.run(function, *arguments)

    def _lane(self, act: Act) -> Lane:
        if bind(act).prepare is not None:
            return self._strangers if "anyone" in act.roles else self._works
        return self._reads if act.effect is Effect.reads else self._works

    async def answer(
        self, act: Act, caller: Caller, ask: object, key: str | None, wait_s: float
    ) -> tuple[dict[str, Any] | Declined, Any]:
        """What an act says, followed for `wait_s` seconds until it is done; and its receipt."""
        outcome = await self.run(act.name, caller, ask, key)
        if isinstance(outcome.reply, Declined):
            return outcome.reply, outcome.receipt
        said = answer.flat(outcome)
        follow = answer.following(act, acts.ACTS)
        if follow is None or (then := follow.ask(said)) is None:
            return said, None
        if wait_s <= 0:
            return {**said, "done": False}, said.get("receipt")
        final = await self._followed(follow.bound.act.name, caller, then, wait_s)
        said = {**said, **final}
        if isinstance(entry := final.get("entry"), int):
            prove = acts.ACTS["ledger.prove"]
            proof = await self.run(prove.name, caller, build(bind(prove).ask, {"entry": entry}))
            said["receipt"] = proof.reply.receipt
        return answer.declined(said, self.codes) or said, said.get("receipt")

    async def _followed(self, name: str, caller: Caller, ask: object, wait_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + wait_s
        pause = _PAUSE_S
        while True:
            seen = self.waits.count
            final = answer.flat(await self.run(name, caller, ask))
            left = deadline - time.monotonic()
            if final.get("done") is True or left <= 0 or self.waits.closing:
                return {"done": False, **final}
            await self.waits.after(seen, left)
            # A busy node commits hundreds of times a second: one who waits need not look each time.
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, _PAUSE_S_MAX)


async def body(scope: Scope, receive: Receive, most: int) -> bytes:
    """The whole body of a request.

    Raises: Refused ask_too_large.
    """
    size, parts = 0, list[bytes]()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(NOT_JSON)
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise Refused(ASK_TOO_LARGE, most=most)
        parts.append(part)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _from(scope: Scope) -> str:
    host = gate.address(scope)
    return f"~{signing.address_of('', signing.stranger(host)) or host}"


def stranger(scope: Scope) -> Caller:
    """Nobody, by the address the request came from: what a failed sign-in is also counted by."""
    client = scope.get("client")
    return Caller("", signing.stranger(str(client[0]))) if client else NOBODY


def same_origin(scope: Scope) -> bool:
    """Whether a browser says that a page of this node sent the request."""
    site = gate.header(scope, b"sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = gate.header(scope, b"origin")
    return origin is not None and origin.partition("://")[2] == gate.header(scope, b"host")


def cookie(scope: Scope, name: str) -> str | None:
    """The value of a cookie, or None."""
    for pair in (gate.header(scope, b"cookie") or "").split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value
    return None
