"""The loop that has this log's heads cosigned: woken by commits, at the pace of the policy, each witness for itself.

1. A head goes out with the proof from the size the witness knows; where it knows another, from that one (409).
2. One request at a time to each witness, with a limit on its time and on the size of its answer: who answers late,
   without end or never keeps nobody else waiting, is recorded, and is asked again later and later.
3. Nothing is sent while this home's tree is not the one whose head was cosigned last.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from dujiang.doors import journal
from dujiang.home import Home
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.ledger import cosigning, witness
from dujiang.ledger.acts import Collect, Publish

if TYPE_CHECKING:
    import httpx2

_log: Any = journal.LOG
_ANSWER_S, _CONNECT_S = 10.0, 5.0
_ANSWER_BYTES_MAX = 65_536
_CONFLICTS_MAX = 3
_FAILED_S = 1.0
_STATUS = {404: "unknown", 403: "unsigned", 422: "refused"}


class Witnesses:
    """The loop of one served home, on a thread of its own."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._ending = False
        self._loop = asyncio.new_event_loop()
        self._rung = asyncio.Event()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._client: httpx2.AsyncClient | None = None
        self._thread = threading.Thread(target=self._run, name="witnesses", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()
        self._home.bell.listen(self._ring)

    def stop(self) -> None:
        """Ends; a request under way is given up: the next start asks again."""
        self._ending = True
        self._ring()
        if self._thread.is_alive():
            self._thread.join()

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._rung.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        while not self._ending:
            self._rung.clear()
            try:
                pause_s = await self._step()
            except (Refused, Unavailable) as error:
                _log.warning("loop step failed", code=error.code.name)
                pause_s = _FAILED_S
            except Exception as error:
                _log.error("loop step failed", kind=type(error).__name__)
                pause_s = _FAILED_S
            if not self._ending:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._rung.wait(), max(pause_s, 0.01))
        for task in self._busy.values():
            task.cancel()
        await asyncio.gather(*self._busy.values(), return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def _step(self) -> float:
        """Asks every witness that is due; in how many seconds to look again if nothing is committed."""
        look = await asyncio.to_thread(self._look)
        due = [turn for turn in look.due if turn.name not in self._busy]
        if look.unsigned or due:
            head = (await asyncio.to_thread(self._home.run, "ledger.publish", NODE, Publish())).reply
            for turn in due:
                self._busy[turn.name] = self._loop.create_task(self._ask(turn, head))
        return look.pause_s

    def _look(self) -> cosigning.Look:
        with self._home.node.database.reading() as db:
            return cosigning.look(db, self._home.node.clock.now_ms())

    async def _ask(self, turn: cosigning.Turn, head: cosigning.Published) -> None:
        """Asks one witness for one head and keeps what came of it."""
        said = Collect(turn.name, head.size, failure="unreachable")
        try:
            said = await asyncio.wait_for(self._asked(turn, head), _ANSWER_S)
        except TimeoutError:
            pass
        except Exception as error:
            _log.warning("witness not asked", kind=type(error).__name__)
        try:
            await asyncio.to_thread(self._home.run, "ledger.collect", NODE, said)
            if said.failure:
                _log.warning("witness did not cosign", why=said.failure)
        except (Refused, Unavailable) as error:
            _log.warning("cosignature not kept", code=error.code.name)
            await asyncio.sleep(_FAILED_S)
        finally:
            self._busy.pop(turn.name, None)
            self._rung.set()

    async def _asked(self, turn: cosigning.Turn, head: cosigning.Published) -> Collect:
        old = turn.known if turn.known <= head.size else 0
        for _ in range(_CONFLICTS_MAX):
            proof = await asyncio.to_thread(self._proof, old, head.size)
            if proof is None:
                return Collect(turn.name, head.size, failure="contradiction")
            status, kind, raw = await self._post(turn.url, witness.write_request(old, proof, head.note))
            if status == 200:
                return Collect(turn.name, head.size, lines=raw.decode("utf-8", "replace") or "?")
            if status != 409 or kind != "text/x.tlog.size":
                return Collect(turn.name, head.size, failure=_STATUS.get(status, "odd"))
            digits = raw.strip()
            known = int(digits) if digits.isdigit() and len(digits) <= 18 else -1
            if known > head.size:
                return Collect(turn.name, head.size, failure="ahead")
            if known in (-1, old):
                break
            old = known
        return Collect(turn.name, head.size, failure="odd")

    def _proof(self, old: int, new: int) -> list[str] | None:
        with self._home.node.database.reading() as db:
            return None if cosigning.contradicts(db) else cosigning.growth(db, old, new)

    async def _post(self, url: str, request: bytes) -> tuple[int, str, bytes]:
        """Status, type and body of an answer; an answer without end is none."""
        import httpx2

        if self._client is None:
            self._client = httpx2.AsyncClient(
                timeout=httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S), follow_redirects=False,
                headers={"accept-encoding": "identity", "user-agent": "dujiang"},
            )  # fmt: skip
        headers = {"content-type": "text/plain; charset=utf-8"}
        target = f"{url}/add-checkpoint"
        try:
            async with self._client.stream("POST", target, content=request, headers=headers) as reply:
                found = bytearray()
                async for part in reply.aiter_raw():
                    found += part
                    if len(found) > _ANSWER_BYTES_MAX:
                        return 0, "", b""
                kind = reply.headers.get("content-type", "").partition(";")[0].strip()
                return reply.status_code, kind, bytes(found)
        except (httpx2.HTTPError, httpx2.InvalidURL):
            raise TimeoutError from None
