"""The command line through a node and at a terminal: the same answers, and a person is asked."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dujiang.doors import cli, local
from dujiang.kernel.errors import Exit
from tests.doors.shell import HOSPITAL, INSURER, QUESTION, Life, Shell, dujiang, files, home, life, process
from tests.house.source import SRC

__all__ = ["dujiang", "files", "home", "life"]  # fixtures


@pytest.fixture
def served(home: Path) -> Iterator[str]:
    """The address of a node that serves the home; ended as an operator would."""
    running = process("up", "--port", "0", "--json", "--home", str(home))
    assert running.stdout is not None
    try:
        yield json.loads(running.stdout.readline())["url"]
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 0


DIFFERS = {"receipt", "receipt_file", "size"}  # the log grows between two runs
READS = (
    ["find", "体检"],
    ["contract", "list"],
    ["identity", "show"],
    ["history", "--before", "2"],
    ["show", "0"],
    ["show", "99999"],
    ["catalogue", "search", "体检", "--limit", "0"],
    ["identity", "grant", "--roles", "operator"],
)


def test_through_a_node_the_answers_are_the_same(
    life: Life, home: Path, request: pytest.FixtureRequest
) -> None:
    """A home that a node holds is asked over HTTP; whoever asks sees no difference."""
    lines = [[*line, "--as", INSURER, "--json"] for line in READS]
    lines.append(["ask", life.contract, "select 身高 from 体检", "--as", INSURER, "--json"])
    lines.append(["quote", life.contract, QUESTION, "--as", INSURER, "--json"])
    inside = [any_end(life.shell, line) for line in lines]
    url = request.getfixturevalue("served")
    wire = [any_end(life.shell, line) for line in lines]
    named = [any_end(Shell(home, life.shell.capture), [*line, "--node", url]) for line in lines]
    for line, first, second, third in zip(lines, inside, wire, named, strict=True):
        assert first == second == third, line
    said = life.ask(QUESTION)
    assert said["rows"] and life.shell.json("verify", said["receipt_file"])["ok"]
    offered = life.shell.json("offer", str(home / "home.json"), ok=False)
    assert offered["code"] and offered["fix"]


def any_end(shell: Shell, line: list[str]) -> tuple[int, Any]:
    """The exit status and the body of a line without what differs between two runs of one act."""
    shell.capture.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main(["--home", str(shell.home), *line])
    body = json.loads(shell.capture.readouterr().out)
    return int(ended.value.code or 0), {k: v for k, v in body.items() if k not in DIFFERS}


def test_a_node_that_is_not_there(dujiang: Shell) -> None:
    ran = dujiang("find", "x", "--node", "http://127.0.0.1:9", "--json", ok=False)
    assert ran.body["code"] == "node_unreachable"
    assert dujiang.json("find", "x", "--node", "gopher:what", ok=False)["code"] == "node_unreachable"


def test_processes_on_one_home_wait_for_each_other(dujiang: Shell) -> None:
    before = dujiang.json("history")["size"]
    line = ["identity", "grant", "--roles", "consumer", "--json", "--home", str(dujiang.home)]
    running = [process(*line) for _ in range(3)]
    keys = {json.loads(each.communicate(timeout=60)[0])["key"] for each in running}
    assert len(keys) == 3 and [each.returncode for each in running] == [0, 0, 0]
    assert dujiang.json("history")["size"] == before + 3


def test_a_home_that_stays_held_is_busy(dujiang: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_LOCK_WAIT_S", 0.1)
    with (dujiang.home / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = dujiang("history", "--json", ok=False)
        assert ran.exit == Exit.conflict and ran.body["code"] == "home_busy"
        found = {each["name"]: each for each in dujiang.json("doctor", "--port", "0", ok=False)}
        assert not found["lock"]["ok"] and found["lock"]["fix"]
    assert dujiang.json("history")["size"]


class Losing(threading.Thread):
    """A way to a node that loses the first answer: the request arrives, its sender never hears."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        host, _, port = url.removeprefix("http://").partition(":")
        self._node = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.requests = 0

    def run(self) -> None:
        """Carries requests until the test ends."""
        while True:
            here, _ = self._listening.accept()
            with here, socket.create_connection(self._node) as there:
                there.sendall(self._whole(here))
                answer = self._whole(there)
                self.requests += 1
                if self.requests > 1:
                    here.sendall(answer)

    def _whole(self, side: socket.socket) -> bytes:
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += side.recv(65536)
        head, _, body = seen.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head.lower())[1])  # type: ignore[index]
        while len(body) < length:
            body += side.recv(65536)
        return head + b"\r\n\r\n" + body


def test_a_write_whose_answer_was_lost_is_done_once(dujiang: Shell, served: str) -> None:
    losing = Losing(served)
    losing.start()
    before = dujiang.json("history")["size"]
    made = dujiang.json("identity", "invite", "李四", "--roles", "consumer", "--node", losing.url)
    assert losing.requests == 2
    assert dujiang.json("history")["size"] == before + 1
    members = dujiang.json("identity", "list")["people"]
    assert [member["id"] for member in members if member["name"] == "李四"] == [made["person"]]


def on_terminal(home: Path, line: list[str], answer: str) -> tuple[int, str]:
    """What a person at a terminal sees who answers the question at the end of the preview."""
    pid, terminal = pty.fork()
    if pid == 0:
        code = "from dujiang.doors.cli import main; main()"
        env = {**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "160", "NO_COLOR": "1"}
        os.execve(sys.executable, [sys.executable, "-c", code, "--home", str(home), *line], env)
    seen, answered, deadline = b"", False, time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            seen += os.read(terminal, 65536)
        except OSError:
            break
        if b"[y/N]" in seen and not answered:
            os.write(terminal, answer.encode() + b"\n")
            answered = True
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()


def test_a_person_sees_the_quote_and_is_asked(life: Life, home: Path) -> None:
    sql = "select count(*) as 总数 from 体检"
    before = life.shell.json("history", "--limit", "1")["size"]
    exit_, seen = on_terminal(home, ["ask", life.contract, sql, "--as", INSURER], "n")
    assert exit_ == Exit.failure and "not_confirmed" in seen and "statistics" in seen
    assert life.shell.json("history", "--limit", "1")["size"] == before
    exit_, seen = on_terminal(home, ["ask", life.contract, sql, "--as", INSURER], "y")
    assert exit_ == 0 and "总数" in seen and "±" in seen
    exit_, seen = on_terminal(home, ["ask", life.contract, sql, "--as", INSURER, "--yes"], "")
    assert exit_ == 0 and "[y/N]" not in seen


def test_a_provider_sees_the_proposal_and_is_asked(life: Life, home: Path, files: Path) -> None:
    before = life.shell.json("history", "--limit", "1")["size"]
    line = ["offer", str(files / "体检.csv"), "--entity", "编号", "--as", HOSPITAL]
    exit_, seen = on_terminal(home, line, "n")
    assert exit_ == Exit.failure and "noise" in seen and "身高" in seen
    assert life.shell.json("history", "--limit", "1")["size"] == before
