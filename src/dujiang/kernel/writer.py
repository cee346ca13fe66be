"""The writer: one thread, one transaction at a time, many acts in each.

1. A batch is whatever queued while the previous batch was being made durable; there is no timer.
2. Each act runs in a savepoint: its failure takes back its own work and nothing else.
3. Nothing is acknowledged before the commit is durable; a failed commit fails every act of its batch.
4. A failure of the database itself fails the whole batch, and the tree is read again from the disk.
5. A caller who went away before the batch began is left out of it; later, their act stands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from dujiang.kernel.act import Book, Node, Tx
from dujiang.kernel.errors import Code, DatabaseLost, Exit, Unavailable
from dujiang.kernel.plugs import Writing

BUSY = Code(
    "busy", 503, Exit.failure,
    "Too many requests wait for this node.", "Try again in a moment.",
    "等待本节点处理的请求过多。", "请稍后重试。",
)  # fmt: skip
CLOSED = Code(
    "closed", 503, Exit.failure,
    "This node is shutting down.", "Try again when it is back.",
    "本节点正在关闭。", "请在其恢复后重试。",
)  # fmt: skip
CODES = (BUSY, CLOSED)


@dataclass(slots=True)
class _Job:
    work: Callable[[Tx], Any]
    finish: Callable[[Any], Any]
    future: Future[Any]
    result: Any = None
    error: BaseException | None = None


class Bell:
    """Rings after every commit, so that loops wake by event and not by polling."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._listeners: list[Callable[[], None]] = []

    @property
    def count(self) -> int:
        """How often it has rung."""
        return self._count

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` at every ring, on the ringing thread; it must be quick and not raise."""
        self._listeners.append(listener)

    def ring(self) -> None:
        """Wakes everybody who waits."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()
        for listener in self._listeners:
            listener()

    def wait(self, seen: int, seconds: float) -> int:
        """The count, as soon as it differs from `seen`, or after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._count != seen, timeout=seconds)
            return self._count


class Writer:
    """Runs every act that changes something, in order, on one thread."""

    def __init__(self, node: Node, book: Book, bell: Bell) -> None:
        self._node = node
        self._book = book
        self._bell = bell
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        self._door = threading.Lock()
        self._last_ms = 0
        self._stale = False
        self.batches = [0] * 16
        """How many batches of 1, 2, 3–4, 5–8, … acts were made durable."""
        self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many acts wait for their turn."""
        return self._queue.qsize()

    def submit(
        self, work: Callable[[Tx], Any], finish: Callable[[Any], Any] = lambda result: result
    ) -> Future[Any]:
        """A future of `finish(work(tx))`, done only after the commit is durable.

        Raises: Unavailable busy, closed.
        """
        job = _Job(work, finish, Future())
        # Under one lock with `close`: nothing may queue behind the end mark, where nobody would answer it.
        with self._door:
            if self._closed:
                raise Unavailable(CLOSED)
            if self._queue.qsize() >= self._node.config.queue_acts_max:
                raise Unavailable(BUSY)
            self._queue.put(job)
        return job.future

    def close(self) -> None:
        """Finishes what is queued, then stops."""
        with self._door:
            if self._closed:
                return
            self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first, *self._rest()]
            jobs = [job for job in batch if job is not None and job.future.set_running_or_notify_cancel()]
            if jobs:
                self._batch(jobs)
            if batch[-1] is None:
                return

    def _rest(self) -> list[_Job | None]:
        batch: list[_Job | None] = []
        try:
            while len(batch) < self._node.config.batch_acts_max - 1 and None not in batch[-1:]:
                batch.append(self._queue.get_nowait())
        except Empty:
            pass
        return batch

    def _batch(self, batch: list[_Job]) -> None:
        writing: Writing | None = None
        try:
            self._refresh()
            writing = self._node.database.writing()
            db = writing.begin()
            self._last_ms = max(self._last_ms, self._node.clock.now_ms())
            for job in batch:
                _one(writing, job, Tx(db, self._last_ms, self._node))
            self._book.seal(db)
            writing.commit()
        except BaseException as failure:
            self._stale = True
            if writing is not None:
                writing.rollback()
            for job in batch:
                job.future.set_exception(failure)
            return
        # Before anybody is answered: what listens to commits knows of this one when its caller does.
        self._book.committed()
        self.batches[(len(batch) - 1).bit_length()] += 1
        self._bell.ring()
        for job in batch:
            _settle(job)

    def _refresh(self) -> None:
        """After a failed batch, reads the tree again; while that fails, every batch does."""
        if self._stale:
            with self._node.database.reading() as db:
                self._book.reload(db)
            self._stale = False


def _one(writing: Writing, job: _Job, tx: Tx) -> None:
    writing.savepoint()
    try:
        job.result = job.work(tx)
    except DatabaseLost:
        raise
    except Exception as error:
        writing.undo()
        job.error = error


def _settle(job: _Job) -> None:
    if job.error is not None:
        job.future.set_exception(job.error)
        return
    try:
        job.future.set_result(job.finish(job.result))
    except Exception as error:
        job.future.set_exception(error)
