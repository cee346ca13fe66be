"""A node as a real process: made by `dujiang init`, served by `dujiang up`, killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from tests.house.source import SRC

MAIN = [sys.executable, "-c", "from dujiang.doors.cli import main; main()"]
HOSPITAL, INSURER = "榕城医院", "安心保险"
ORGANISATIONS = (HOSPITAL, f"{INSURER}=consumer")
START_S = 60.0


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit status."""

    exit: int
    out: str
    err: str

    @property
    def body(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """This machine's environment without settings of Dujiang that somebody left in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DUJIANG_")}
    return {**kept, "PYTHONPATH": str(SRC), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **more}


def start(
    home: Path, *line: str, before: Sequence[str] = (), stderr: Any = subprocess.PIPE, **more: Any
) -> subprocess.Popen[bytes]:
    """A `dujiang` of its own; `before`: a program that runs it, such as a tracer."""
    return subprocess.Popen(
        [*before, *MAIN, "--home", str(home), *line], env=more.pop("env", None) or environment(),
        stdin=more.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE, stderr=stderr,
        start_new_session=True, **more,
    )  # fmt: skip


def cli(home: Path, *line: str, env: dict[str, str] | None = None, **more: Any) -> Ran:
    """What one command does, run to its end."""
    with start(home, *line, env=env, **more) as process:
        out, err = process.communicate(timeout=120)
    return Ran(process.returncode, out.decode(), err.decode())


def said(home: Path, *line: str, exit: int = 0, env: dict[str, str] | None = None, **more: Any) -> Any:
    """The JSON a command prints; it must end with that status."""
    ran = cli(home, *line, "--json", env=env, **more)
    assert ran.exit == exit, ran
    return ran.body


def make(home: Path, *organisations: str) -> dict[str, Any]:
    """What `dujiang init` says of a new home; by default of a hospital and an insurer."""
    return said(home, "init", *(organisations or ORGANISATIONS))


class Node:
    """A home and the process that serves it, one life after another."""

    def __init__(self, home: Path, before: Sequence[str] = (), env: dict[str, str] | None = None) -> None:
        self.home = home
        self.log = home.parent / f"{home.name}.log"
        self._before = before
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._next: subprocess.Popen[bytes] | None = None
        self._client = httpx2.Client(timeout=httpx2.Timeout(5.0, read=60.0))
        self.up = threading.Event()
        self.url = ""

    def __enter__(self) -> Node:
        """A node that serves."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.cut()
        self._client.close()

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Serves the home on a free port; returns once the node says where it is."""
        self.begin()
        self.ready()

    def begin(self) -> None:
        """Starts the process and does not wait for it; while another serves the home, it waits for its end."""
        with self.log.open("ab") as log:
            self._next = start(
                self.home, "up", "--port", "0", "--json", before=self._before, stderr=log, env=self._env
            )

    def ready(self) -> None:
        """Waits until the process that was begun says where it is."""
        self._process, self._next = self._next, None
        assert self._process is not None and self._process.stdout is not None
        timer = threading.Timer(START_S, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        said = json.loads(line or b"{}")
        if said.get("code") in ("home_busy", "database_held"):
            # It stood by for longer than a program waits for a home that another one holds.
            _end(self._process, signal.SIGKILL)
            self.start()
            return
        assert "url" in said, f"the node did not start: {line!r} {self.log.read_text()[-2000:]}"
        self.url = said["url"]
        self.up.set()

    def kill(self) -> None:
        """Ends the process by SIGKILL: it can not do a thing about it."""
        self.up.clear()
        _end(self._process, signal.SIGKILL)
        self._process = None

    def cut(self) -> None:
        """Ends by SIGKILL a process that was begun and does not serve yet."""
        _end(self._next, signal.SIGKILL)
        self._next = None

    def stop(self) -> None:
        """Ends it in order."""
        self.up.clear()
        _end(self._process, signal.SIGTERM)
        self._process = None

    def post(self, act: str, ask: dict[str, Any], key: str, once: str | None = None, wait: str = "") -> Any:
        """The response of an act, asked by the holder of an API key."""
        headers = {"authorization": f"Bearer {key}", **({"idempotency-key": once} if once else {})}
        if wait:
            headers["prefer"] = wait
        try:
            return self._client.post(f"{self.url}/v1/{act.replace('.', '/')}", json=ask, headers=headers)
        except httpx2.ConnectError as error:
            ended = None if self._process is None else self._process.poll()
            error.add_note(f"the node has ended with {ended}: {self.log.read_text()[-2000:]}")
            raise

    def said(self, act: str, ask: dict[str, Any], key: str) -> Any:
        """The reply of an act that must be done."""
        response = self.post(act, ask, key)
        assert response.status_code in (200, 202), response.text
        return response.json()

    def upload(self, name: str, content: Any, key: str) -> Any:
        """The response of sending a file."""
        headers = {"authorization": f"Bearer {key}", "x-file-name": quote(name)}
        return self._client.put(f"{self.url}/data/uploads", content=content, headers=headers)


def _end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is None:
        return
    # The whole group: where a tracer stands before the node, the node would outlive it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    process.wait(timeout=60)
    if process.stdout is not None:
        process.stdout.close()
