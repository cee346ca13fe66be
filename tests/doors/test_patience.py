"""Nobody is kept waiting by what is to be verified: a pipe nobody writes to, an address that never comes to an end."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dujiang.doors import mirror
from dujiang.kernel.errors import Unavailable
from tests.doors.shell import Shell, dujiang, home

__all__ = ["dujiang", "home"]  # fixtures


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe that nobody writes to."""
    os.mkfifo(tmp_path / "pipe.json")
    return tmp_path / "pipe.json"


@pytest.mark.parametrize(
    "line",
    [
        ("PIPE",),
        ("receipt.json", "--vkey", "PIPE"),
        ("receipt.json", "--keys", "PIPE"),
        ("receipt.json", "--policy", "PIPE"),
        ("/dev/zero",),
    ],
)
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(
    dujiang: Shell, pipe: Path, line: tuple[str, ...]
) -> None:
    receipt = pipe.with_name("receipt.json")
    dujiang("receipt", "0", "--out", str(receipt))
    places = {"PIPE": str(pipe), "receipt.json": str(receipt)}
    body = dujiang.json("verify", *(places.get(word, word) for word in line), ok=False)
    assert body["code"] == "file_odd"


@pytest.mark.parametrize("name", ["pipe.jsonl", "pipe.zip", "pipe.tlog-proof"])
def test_whatever_a_pipe_is_called(dujiang: Shell, pipe: Path, name: str) -> None:
    named = pipe.rename(pipe.with_name(name))
    assert dujiang.json("verify", str(named), ok=False)["code"] == "file_odd"


def test_a_log_in_a_folder_with_a_pipe_in_it(dujiang: Shell, tmp_path: Path) -> None:
    dujiang("ledger", "tiles", str(tmp_path / "log"))
    shutil.move(tmp_path / "log" / "checkpoint", tmp_path / "checkpoint")
    os.mkfifo(tmp_path / "log" / "checkpoint")
    assert dujiang.json("verify", str(tmp_path / "log"), ok=False)["code"] == "file_odd"


@pytest.fixture
def endless() -> Iterator[str]:
    """The address of a server that answers each request with a byte now and then, and never to the end."""
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def talk(line: socket.socket) -> None:
        with line:
            line.recv(4096)
            line.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            while not ended.wait(0.05):
                try:
                    line.sendall(b"x")
                except OSError:
                    return

    def serve() -> None:
        while True:
            try:
                line, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(line,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/log"
    ended.set()
    server.close()


def test_a_log_that_comes_byte_by_byte_is_given_up(endless: str) -> None:
    with mirror.at(endless, 0.5) as source, pytest.raises(Unavailable) as refused:
        source("checkpoint")
    assert refused.value.code.name == "log_slow"
