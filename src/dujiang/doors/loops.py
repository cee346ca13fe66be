"""The loops of a node: deliver messages, run admitted questions; woken by commits, not by polling."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from dujiang.cleanroom import acts as cleanroom
from dujiang.contract import acts as contract
from dujiang.contract.model import OUT_OF_TURN
from dujiang.doors import journal
from dujiang.home import Home
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.kernel.runner import NOT_FOUND, spoken_error
from dujiang.post import acts as post
from dujiang.post.model import MESSAGE_KNOWN

_log: Any = journal.LOG
_COURIERS = 16
_EARLY = (NOT_FOUND, OUT_OF_TURN)
"""What may only have come before its time is delivered again; every other refusal stands."""
_IDLE_S = 30.0
_FAILED_S = 1.0
_QUIET_S = 60.0
_HALT_S = 0.5
"""How soon a question whose contract ended is looked for while any waits or runs."""


class Loops:
    """The delivery loop and the job loop of one home."""

    def __init__(self, home: Home, workers: int = 2) -> None:
        self._home = home
        self._stop = threading.Event()
        self._workers = workers
        self._served: dict[str, int] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="job")
        self._couriers = ThreadPoolExecutor(_COURIERS, thread_name_prefix="courier")
        self._running: set[str] = set()
        self._looked_s = 0.0
        self._futures: set[Future[None]] = set()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._serve, args=(step,), name=name, daemon=True)
            for name, step in (("delivery", self._delivery), ("jobs", self._start_jobs))
        ]

    def start(self) -> None:
        """Begins both loops."""
        for thread in self._threads:
            thread.start()

    def stop(self, within_s: float | None = None) -> bool:
        """Whether nothing runs any more: both loops end, and a question that runs has so many seconds to finish.

        What waits, and what does not finish, stays admitted and charged: the next start runs it.
        """
        self._stop.set()
        self._home.bell.ring()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)
        running = wait(list(self._futures), within_s).not_done
        self._couriers.shutdown(wait=True)
        return not running

    def until_quiet(self) -> None:
        """Delivers and runs, on this thread, until nothing is due; for a command without a node."""
        deadline = time.monotonic() + _QUIET_S
        before: list[str] = []
        while time.monotonic() < deadline:
            jobs = self._pending()
            for job in jobs:
                self._run_job(job)
            # A job that is still there did not end: a node will try it again, a command is not kept waiting.
            if not self.deliver_due() and set(jobs) <= set(before):
                return
            before = jobs

    def deliver_due(self) -> int:
        """How many messages were delivered now; together, so that they share commits."""
        return self._deliver_all(self._due())

    def _delivery(self) -> float:
        due = self._due()
        if self._deliver_all(due):
            return 0.0
        if due.next_ms is None:
            return _IDLE_S
        return min(_IDLE_S, max(0.01, (due.next_ms - self._home.node.clock.now_ms()) / 1000))

    def _due(self) -> post.Letters:
        return self._home.run("post.list", NODE, post.List()).reply

    def _deliver_all(self, due: post.Letters) -> int:
        threads: dict[str, list[post.Due]] = {}
        for letter in due.items:
            threads.setdefault(letter.thread, []).append(letter)
        return sum(self._couriers.map(self._deliver_thread, threads.values()))

    def _deliver_thread(self, letters: list[post.Due]) -> int:
        """Delivers the messages of one negotiation in their order; what follows one that fails waits."""
        delivered = 0
        for letter in letters:
            if not self._deliver(letter):
                break
            delivered += 1
        return delivered

    def _deliver(self, letter: post.Due) -> int:
        """Delivers to an organisation of this home without a socket, but signed and verified as on the wire."""
        if self._stop.is_set():
            return 0
        delivered = refused = False
        try:
            receipt = self._receipt(letter)
            ask = contract.Hear(letter.envelope, receipt)
            heeded = self._home.run("contract.hear", NODE, ask, key=letter.id).reply
            delivered = True
            if receipt is not None and not heeded.kept:
                _log.warning("receipt not kept", message=letter.id)
        except Refused as error:
            delivered, refused = error.code is MESSAGE_KNOWN, error.code not in _EARLY
            if not delivered:
                _log.warning("message refused", message=letter.id, code=error.code.name)
        except Exception as error:
            _log.warning("message not delivered", message=letter.id, code=spoken_error(error)[0].name)
        self._home.run("post.deliver", NODE, post.Deliver(letter.id, delivered, refused))
        return int(delivered)

    def _receipt(self, letter: post.Due) -> dict[str, Any] | None:
        """The sender's receipt that goes with a message, if one does and can be given: else it goes without."""
        if letter.entry is None:
            return None
        try:
            return self._home.book.receipt_for(letter.to_org, letter.entry)
        except Unavailable as error:
            _log.warning("receipt not given", message=letter.id, code=error.code.name)
            return None

    def _pending(self) -> list[str]:
        return list(self._home.run("cleanroom.pending", NODE, cleanroom.Pending()).reply.jobs)

    def _start_jobs(self) -> float:
        if not self._take_turns():
            return _IDLE_S
        # One that waits for its turn is ended here; one that runs is killed by whoever runs it.
        if time.monotonic() - self._looked_s >= _HALT_S:
            for job in self._home.run("cleanroom.pending", NODE, cleanroom.Pending(halted=True)).reply.jobs:
                self._run_job(job)
            self._looked_s = time.monotonic()
        return _HALT_S

    def _take_turns(self) -> bool:
        """Whether any waits. Only what a worker is free for is taken: who asks later may have an earlier turn."""
        found = self._home.run("cleanroom.pending", NODE, cleanroom.Pending()).reply
        waiting = dict(zip(found.jobs, found.organisations, strict=True))
        for _ in range(self._workers):
            with self._lock:
                rest = [job for job in waiting if job not in self._running]
                if not rest or len(self._running) >= self._workers:
                    break
                # Whose last question was begun longest ago: nobody waits for all that another has waiting.
                job = min(rest, key=lambda each: self._served.get(waiting[each], 0))
                self._served[waiting[job]] = max(self._served.values(), default=0) + 1
                self._running.add(job)
            with contextlib.suppress(RuntimeError):  # it was stopped meanwhile
                future = self._pool.submit(self._run_turn, job)
                self._futures.add(future)
                future.add_done_callback(self._futures.discard)
        return bool(waiting)

    def _run_turn(self, job: str) -> None:
        if not self._run_job(job) or self._stop.is_set():
            return  # what could not be completed is tried again at the loop's own pace
        # The loop looked when this one's end was committed, a moment before its place was free.
        with contextlib.suppress(Refused, Unavailable):
            self._take_turns()

    def _run_job(self, job: str) -> bool:
        """Whether it was completed."""
        began = time.perf_counter()
        try:
            self._home.run("cleanroom.complete", NODE, cleanroom.Complete(job))
            if self._threads[1].is_alive():  # a command says itself what came of it
                _log.info("job completed", job=job, ms=round((time.perf_counter() - began) * 1000, 1))
            return True
        except (Refused, Unavailable) as error:
            _log.warning("job not completed", job=job, code=error.code.name)
        except Exception as error:
            _log.error("job failed", job=job, code=spoken_error(error)[0].name, kind=type(error).__name__)
        finally:
            with self._lock:
                self._running.discard(job)
        return False

    def _serve(self, step: Callable[[], float]) -> None:
        """Takes a step after every commit, and after the seconds the last one said there is nothing to do."""
        while not self._stop.is_set():
            seen = self._home.bell.count
            try:
                pause_s = step()
            except (Refused, Unavailable) as error:
                _log.warning("loop step failed", code=error.code.name)
                pause_s = _FAILED_S
            except Exception as error:
                _log.error("loop step failed", kind=type(error).__name__)
                pause_s = _FAILED_S
            if pause_s and not self._stop.is_set():
                self._home.bell.wait(seen, pause_s)
