"""Keys of another log or witness, as lines, from a file or from its address: the right ones are taken, and shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dujiang import home as homes
from dujiang.kernel.act import NODE
from dujiang.ledger import published
from dujiang.ledger.acts import Publish
from dujiang.ledger.note import COSIGNATURE, ED25519, read_key
from tests.doors.shell import Shell, dujiang, home

__all__ = ["dujiang", "home"]  # fixtures


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of another node's log, with the keys it publishes."""
    folder = tmp_path_factory.mktemp("other")
    homes.create(folder / "home", [("乙", ("operator",))])[0].close()
    with homes.opened(folder / "home") as held:
        held.run("ledger.publish", NODE, Publish())
        with held.node.database.reading() as db:
            said = published.file(db, "vkeys", held.node.clock.now_ms())
    assert said is not None
    (folder / "log").mkdir()
    (folder / "log" / "vkeys").write_bytes(said)
    return folder / "log"


@pytest.fixture
def address(other: Path) -> Iterator[str]:
    """Where that folder is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(other.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/log/vkeys"
    server.shutdown()
    server.server_close()


def names(other: Path) -> tuple[str, str]:
    """What that node's log and that node as a witness are called."""
    keys = [read_key(line) for line in (other / "vkeys").read_text().splitlines()]
    return (
        next(key.name for key in keys if key.kind == ED25519),
        next(key.name for key in keys if key.kind == COSIGNATURE),
    )


@pytest.mark.parametrize("by", ["file", "address", "lines"])
def test_a_log_is_watched_and_a_witness_appointed_by_what_the_other_node_publishes(
    dujiang: Shell, other: Path, address: str, by: str
) -> None:
    log, witness = names(other)
    lines = (other / "vkeys").read_text().split()
    given = {"file": [str(other / "vkeys")], "address": [address], "lines": lines}[by]
    assert dujiang.json("ledger", "watch", *given, "--yes")["origin"] == log
    flags = [word for each in given for word in ("--vkeys", each)]
    assert dujiang.json("ledger", "appoint", "http://127.0.0.1:9/log", *flags, "--yes")["name"] == witness
    shown = dujiang("ledger", "witnesses", "--lang", "zh")
    assert witness in shown.out and log in shown.out and "监看的日志" in shown.out
    dujiang("ledger", "unwatch", log)
    dujiang("ledger", "dismiss", witness)


def test_keys_of_an_address_are_not_taken_unseen(dujiang: Shell, address: str) -> None:
    before = dujiang.json("history")["size"]
    assert dujiang.json("ledger", "watch", address, ok=False)["code"] == "not_confirmed"
    line = ("ledger", "appoint", "http://127.0.0.1:9/log", "--vkeys", address)
    assert dujiang.json(*line, ok=False)["code"] == "not_confirmed"
    assert dujiang.json("history")["size"] == before


def test_what_is_no_key_or_no_file_is_refused(dujiang: Shell, tmp_path: Path, other: Path) -> None:
    (tmp_path / "keys").write_text("not a key\n")
    assert dujiang.json("ledger", "watch", str(tmp_path / "keys"), ok=False)["code"] == "not_a_vkey"
    assert dujiang.json("ledger", "watch", str(tmp_path / "none"), ok=False)["code"] == "file_missing"
    assert dujiang.json("ledger", "watch", ok=False)["code"] == "argument_missing"
    (tmp_path / "keys").write_text((other / "vkeys").read_text() + "x+00000000+AA\n")
    assert dujiang.json("ledger", "watch", str(tmp_path / "keys"), ok=False)["code"] == "not_a_vkey"
