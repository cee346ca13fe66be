"""Records of other systems from Python: any number, from any table, each attested once whatever the network does."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import dujiang
from dujiang import Refusal, Space
from dujiang.doors import frames
from dujiang.kernel.errors import Refused
from dujiang.ledger import lot
from tests.doors.shell import HOSPITAL, INSURER, process

WAYS = ("in this process", "through a node")


@pytest.fixture(scope="module", params=WAYS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """A home and its log's key; served by a node of its own, or held by nobody."""
    home = tmp_path_factory.mktemp("client") / "home"
    made = process("init", HOSPITAL, f"{INSURER}=consumer", "--home", str(home), "--json")
    assert made.wait(60) == 0
    vkey = json.loads(made.communicate()[0])["vkey"]
    if request.param == WAYS[0]:
        yield {"home": home, "vkey": vkey, "url": None}
        return
    node = process("up", "--port", "0", "--home", str(home), "--json")
    try:
        assert node.stdout is not None
        yield {"home": home, "vkey": vkey, "url": json.loads(node.stdout.readline())["url"]}
    finally:
        node.send_signal(signal.SIGTERM)
        node.communicate(timeout=30)


def insurer(place: dict[str, Any], **more: Any) -> Space:
    """Who attests."""
    return dujiang.connect(home=place["home"], as_=INSURER, vkey=place["vkey"], **more)


def readings(count: int) -> list[dict[str, Any]]:
    """Readings of a meter."""
    return [{"电表": f"M{number}", "wh": number, "at": "2026-11-24T08:15:00Z"} for number in range(count)]


def test_more_records_than_one_call_takes_have_a_receipt_each(place: dict[str, Any], tmp_path: Path) -> None:
    given = readings(2500)
    found = insurer(place).attest(iter(given), kind="meter-reading")
    assert len(found) == 2500 and [len(each) for each in found.entries] == [1024, 1024, 452]
    indices = [index for each in found.entries for index in each]
    for at in (0, 1023, 1024, 2047, 2048, -1):
        verdict = found[at].verify()
        assert verdict.ok and verdict.trusted and verdict.index == indices[at]
        assert (verdict.facts or {})["record"] == given[at]
    assert [each.index for each in found] == indices
    assert [each.index for each in found[1020:1030]] == indices[1020:1030]
    with pytest.raises(IndexError):
        found[2500]
    assert "2500" in repr(found) and "2500" in found._repr_html_()
    lines = found.save(tmp_path / "receipts.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 2500
    (tmp_path / "one.json").write_text(lines[2499], encoding="utf-8")
    checked = process("verify", str(tmp_path / "one.json"), "--vkey", place["vkey"], "--json")
    assert json.loads(checked.communicate(timeout=60)[0])["trusted"] is True


def test_a_named_sending_begun_again_attests_nothing_twice(place: dict[str, Any]) -> None:
    space = insurer(place)
    first = space.attest(readings(1500)[:1024], kind="meter-reading", key="monday")
    again = space.attest(readings(1500), kind="meter-reading", key="monday")
    assert again.entries[0] == first.entries[0] and len(again) == 1500
    assert [each.index for each in again[:1024]] == [each.index for each in first]
    assert again[5].verify().trusted and again[1200].verify().trusted
    with pytest.raises(Refusal) as other:
        space.attest(readings(3), kind="another", key="monday")
    assert other.value.code == "key_reused" and len(other.value.done) == 0


def test_large_records_go_in_as_many_calls_as_a_node_takes(
    place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = insurer(place)
    large = [{"n": number, "text": "长" * 1000} for number in range(700)]
    found = space.attest(iter(large), kind="large")
    assert len(found.entries) == 3 and [each.facts["record"]["n"] for each in found] == list(range(700))
    if place["url"] is not None:
        monkeypatch.setattr(lot, "CALL_BYTES", 4_000_000)
        halves = space.attest(large, kind="large", key="halves")
        assert [len(each) for each in halves.entries] == [175] * 4 and halves[699].verify().trusted


def test_a_refusal_says_what_was_done_before_it(place: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as large:
        insurer(place).attest([*readings(1024), {"large": "x" * 70_000}], kind="meter-reading")
    assert large.value.code == "entry_too_large" and not large.value.again
    assert len(large.value.done) == 1024 and large.value.done[1023].verify().trusted
    for none in ("text", {"one": 1}, 7):
        with pytest.raises(Refusal) as wrong:
            insurer(place).attest(none, kind="meter-reading")
        assert wrong.value.code == "not_a_table"


def test_an_answer_that_was_lost_is_asked_for_again(place: dict[str, Any]) -> None:
    if place["url"] is None:
        pytest.skip("there is no network in this process")
    before = insurer(place).history(limit=1)[0].index
    with losing(place["url"], 5) as (url, lost):
        space = dujiang.connect(url, as_=INSURER, home=place["home"], vkey=place["vkey"])
        found = space.attest(readings(1100), kind="meter-reading")
    assert lost == [True] * 5
    assert len(found) == 1100 and found[0].index == before + 1
    assert insurer(place).history(limit=1)[0].index == before + 1100
    assert [each.verify().trusted for each in (found[0], found[1023], found[-1])] == [True] * 3


def test_rows_of_tables_are_records() -> None:
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    pyarrow = pytest.importorskip("pyarrow")
    moment = datetime(2026, 11, 24, 8, 15)
    rows = {
        "n": [1, 2], "x": [1.5, float("nan")], "when": [moment, None], "day": [date(2026, 11, 24), None],
        "yes": [True, False], "money": [Decimal("1.10"), None], "text": ["nan", None], "few": [[1, 2], None],
    }  # fmt: skip
    expected = [
        {
            "n": 1, "x": 1.5, "when": "2026-11-24T08:15:00", "day": "2026-11-24", "yes": True, "money": "1.10",
            "text": "nan", "few": [1, 2],
        },
        {"n": 2, "x": None, "when": None, "day": None, "yes": False, "money": None, "text": None, "few": None},
    ]  # fmt: skip
    for table in (pandas.DataFrame(rows), pyarrow.table(rows), pandas.DataFrame(rows).convert_dtypes()):
        assert list(frames.records(table)) == expected
        assert json.loads(json.dumps(list(frames.records(table)))) == expected
    assert list(frames.records(pandas.DataFrame({"n": numpy.arange(3)}))) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert list(frames.records(iter([{"a": 1}]))) == [{"a": 1}]
    for none in ("text", b"bytes", {"one": 1}, 7, None):
        with pytest.raises(Refused):
            frames.records(none)


@contextmanager
def losing(url: str, times: int) -> Iterator[tuple[str, list[bool]]]:
    """An address before a node that passes requests on and hangs up on so many answers."""
    host, _, port = url.partition("://")[2].partition(":")
    listening = socket.create_server(("127.0.0.1", 0))
    lost: list[bool] = []

    def one(asked: socket.socket) -> None:
        with asked, socket.create_connection((host, int(port))) as node:
            threading.Thread(target=passed, args=(asked, node), daemon=True).start()
            while data := node.recv(1 << 16):
                if len(lost) < times:
                    lost.append(True)
                    for side in (asked, node):  # who waits on it in another thread is told, too
                        side.shutdown(socket.SHUT_RDWR)
                    return
                asked.sendall(data)

    def accept() -> None:
        while True:
            try:
                asked, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(asked,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", lost
    finally:
        listening.close()


def passed(asked: socket.socket, node: socket.socket) -> None:
    """Passes on what is asked, until either side hangs up."""
    try:
        while data := asked.recv(1 << 16):
            node.sendall(data)
    except OSError:
        pass


def test_what_was_kept_is_checked_from_python(place: dict[str, Any], tmp_path: Path) -> None:
    space = insurer(place)
    receipt = space.history(limit=1)[0].receipt
    kept = receipt.save(tmp_path / "kept.json")
    assert {each.name for each in tmp_path.iterdir()} == {"kept.json", "kept.entry", "kept.tlog-proof"}
    for path in (kept, kept.with_suffix(".tlog-proof")):
        found = dujiang.verify(path, vkey=place["vkey"])
        assert found["ok"] and found["trusted"] and found["index"] == receipt.index
    assert dujiang.verify(kept)["ok"] and not dujiang.verify(kept)["trusted"]
    kept.with_suffix(".entry").write_bytes(b"another")
    found = dujiang.verify(kept.with_suffix(".tlog-proof"), vkey=place["vkey"])
    assert not found["ok"] and found["step"]
    log = tmp_path / "log"
    written = process("ledger", "tiles", str(log), "--home", str(place["home"]), "--as", INSURER, "--json")
    assert json.loads(written.communicate(timeout=60)[0])["size"] > receipt.index
    assert dujiang.verify(log, vkey=[place["vkey"]], old=log / "checkpoint")["ok"]
    with pytest.raises(Refusal) as missing:
        dujiang.verify(tmp_path / "nothing", vkey=place["vkey"])
    assert missing.value.code == "file_missing"
