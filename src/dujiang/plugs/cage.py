"""The parent's side of the locked worker: start one, give it a job, read its answers, kill it.

1. A worker does one job and is killed, whatever happened; a fresh one stands by, warmed.
2. The deadline is the parent's: the worker is killed by SIGKILL, its word is not asked.
3. No text of the engine passes: a failure is a class name and perhaps a line number.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dujiang.kernel.errors import Code, Exit, Unavailable
from dujiang.plugs import worker

ENGINE_FAILED = Code(
    "engine_failed",
    503,
    Exit.failure,
    "The engine could not finish the computation.",
    "Try again; if it fails again, ask for less at once or tell the operator of the node.",
    "计算引擎未能完成本次计算。",
    "请重试；若仍失败，请缩小查询范围或联系节点运营方。",
)
ENGINE_DEADLINE = Code(
    "engine_deadline",
    503,
    Exit.failure,
    "The computation took longer than the node allows and was stopped.",
    "Try again when the node is less busy, or ask for less at once.",
    "计算超过节点允许的时间，已被停止。",
    "请在节点空闲时重试，或缩小查询范围。",
)
ENGINE_STOPPED = Code(
    "engine_stopped",
    503,
    Exit.failure,
    "The computation was stopped because it is not wanted any more.",
    "See who stopped it with `dujiang history`.",
    "计算已不再需要，已被停止。",
    "可用 `dujiang history` 查看由谁停止。",
)
CODES = (ENGINE_FAILED, ENGINE_DEADLINE, ENGINE_STOPPED)

START_SECONDS = 20.0
ENGINE = (str(Path(worker.__file__).resolve()),)
"""The engine's worker, run by its path."""
END_SECONDS = 2.0
LOOK_SECONDS = 0.25
"""How often it is asked, while a worker computes, whether its answer is still wanted."""
STEP_BYTES_MAX = 64 << 20
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/nonexistent", "HOME": "/nonexistent", "MALLOC_ARENA_MAX": "4"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use; `scratch_bytes` is disk for spilling, which questions never have."""

    seconds: float = 30.0
    memory_bytes: int = 512 << 20
    threads: int = 2
    rows_max: int = 100_000
    bytes_max: int = 16 << 20
    scratch_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A statement that failed: the engine's class of error, and the line of a text file if known."""

    kind: str
    line: int | None


class Worker:
    """One child process; a context manager that kills it at the end.

    `command`: what an isolated interpreter runs; it speaks the messages of `worker`.
    """

    def __init__(self, command: Sequence[str] = ENGINE) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", *command],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise Unavailable(ENGINE_FAILED) from None
        self._socket = ours
        self._deadline = time.monotonic() + START_SECONDS
        self._started = False
        self._limits = Limits()
        self.stopped: Callable[[], bool] | None = None
        """Says that the answer is not wanted any more."""

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._process.poll() is None

    def begin(self, limits: Limits, files: list[int], setup: list[str], *, question: bool) -> None:
        """Lock the worker to the open `files` (the last one a folder when there is scratch space).

        Raises:
            Unavailable: engine_failed, when the worker is gone or did not lock itself.
        """
        self._settle()
        job = {
            "memory": limits.memory_bytes,
            "beside": max(1 << 30, limits.memory_bytes // 2),
            "threads": limits.threads,
            "question": question,
            "scratch": limits.scratch_bytes,
            "setup": setup,
        }
        body = json.dumps(job).encode()
        try:
            socket.send_fds(self._socket, [len(body).to_bytes(8, "big")], files)
            self.sendall(body)
        except OSError:
            raise Unavailable(ENGINE_FAILED) from None
        if self._receive(STEP_BYTES_MAX) != {"ready": True}:
            raise Unavailable(ENGINE_FAILED)
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds

    def attempt(self, sql: str) -> list[list[Any]] | Failure:
        """The rows of one statement, or how it failed.

        Raises:
            Unavailable: engine_deadline, engine_failed (the worker died or answered nonsense).
        """
        answer = self.exchange({"sql": sql, "rows": self._limits.rows_max, "bytes": self._limits.bytes_max})
        rows = answer.get("rows")
        if isinstance(rows, list):
            return cast("list[list[Any]]", rows)
        line = answer.get("line")
        return Failure(str(answer.get("failed")), line if isinstance(line, int) else None)

    def exchange(self, step: dict[str, Any]) -> dict[str, Any]:
        """The child's answer to one step, whatever it says.

        Raises:
            Unavailable: engine_deadline, engine_failed (the child died or answered nonsense).
        """
        try:
            worker.send(self, step)
        except TimeoutError:
            raise Unavailable(ENGINE_DEADLINE) from None
        except OSError:
            raise Unavailable(ENGINE_FAILED) from None
        return self._receive(self._limits.bytes_max + 64)

    def ended_by(self) -> int | None:
        """The number of the signal that ended a child whose socket is closed, if one did."""
        try:
            ended = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        return -ended if ended < 0 else None

    def ask(self, sql: str) -> list[list[Any]]:
        """The rows of one statement.

        Raises:
            Unavailable: engine_deadline, engine_failed for every failure whatever its reason.
        """
        answer = self.attempt(sql)
        if isinstance(answer, Failure):
            raise Unavailable(ENGINE_FAILED)
        return answer

    def kill(self) -> None:
        """End the child at once and reap it."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def recv(self, bufsize: int, /) -> bytes:
        """At most `bufsize` bytes from the child, before the deadline."""
        while True:
            left = max(0.001, self._deadline - time.monotonic())
            self._socket.settimeout(left if self.stopped is None else min(left, LOOK_SECONDS))
            try:
                return self._socket.recv(bufsize)
            except TimeoutError:
                if self.stopped is None or time.monotonic() >= self._deadline:
                    raise
                if self.stopped():
                    raise Unavailable(ENGINE_STOPPED) from None

    def sendall(self, data: bytes, /) -> None:
        """Write all of `data` to the child, before the deadline."""
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        self._socket.sendall(data)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _settle(self) -> None:
        if not self._started:
            self._deadline = time.monotonic() + START_SECONDS
            if self._receive(STEP_BYTES_MAX) != {"ready": True}:
                raise Unavailable(ENGINE_FAILED)
            self._started = True

    def _receive(self, bytes_max: int) -> dict[str, Any]:
        try:
            answer = json.loads(worker.receive(self, bytes_max))
        except TimeoutError:
            raise Unavailable(ENGINE_DEADLINE if self._started else ENGINE_FAILED) from None
        except (OSError, EOFError, ValueError, RecursionError, worker.Limit):
            raise Unavailable(ENGINE_FAILED) from None
        return cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}


class Standby:
    """A worker that waits, warmed; taking it starts the next one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Worker | None = None
        self._closed = False

    def warm(self) -> None:
        """Start the worker that stands by, if none does."""
        with self._lock:
            if self._waiting is None and not self._closed:
                self._waiting = Worker()

    def take(self) -> Worker:
        """A worker for one job: the one standing by if it is well, else a new one."""
        with self._lock:
            taken, self._waiting = self._waiting, None
            if taken is not None and not taken.alive:
                taken.kill()
                taken = None
            if taken is None:
                taken = Worker()
            if not self._closed:
                self._waiting = Worker()
        return taken

    def close(self) -> None:
        """End the worker that stands by; later jobs start their own."""
        with self._lock:
            self._closed = True
            if self._waiting is not None:
                self._waiting.kill()
                self._waiting = None


def lend(descriptor: int) -> None:
    """Give a file or folder made by us to the user the worker runs as (only root needs to)."""
    if os.geteuid() == 0:
        os.fchown(descriptor, worker.NOBODY, worker.NOBODY)


def take_back(descriptor: int, mode: int) -> None:
    """Make a finished file ours again, with the rights of `mode`: 0444 keeps the worker from it too."""
    if os.geteuid() == 0:
        os.fchown(descriptor, 0, 0)
    os.fchmod(descriptor, mode)
