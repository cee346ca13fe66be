"""Bytes in: whole and durable, or nothing; never anybody else's."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.doors import data
from dujiang.kernel.act import NOBODY, Caller
from dujiang.kernel.config import Config
from dujiang.kernel.errors import Refused, Unavailable
from tests.doors import over_http
from tests.doors.over_http import Node
from tests.doors.test_http import refused

MOST = 3 * 1024 * 1024


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that takes files of 3 MiB."""
    with over_http.node(tmp_path_factory.mktemp("data"), Config(upload_bytes_max=MOST)) as made:
        yield made


@pytest.fixture(autouse=True)
def clean(node: Node) -> Iterator[None]:
    """No test leaves a file behind for the next."""
    yield
    for file in files(node):
        file.unlink()


def files(node: Node) -> list[Path]:
    """Every file under uploads."""
    return [file for file in node.home.node.blobs.path("uploads").rglob("*") if file.is_file()]


def provider(node: Node) -> Caller:
    """The caller of the hospital."""
    caller = node.home.caller_of_key(node.made[0]["api_key"])
    assert caller is not None
    return caller


def test_a_file_sent_is_kept_with_its_name_and_for_its_owner_alone(node: Node) -> None:
    sent = os.urandom(2_500_000)
    response = node.client.put(
        "/data/uploads", content=sent, headers={**node.key(0), "x-file-name": quote("病人 2026.csv")}
    )
    assert response.status_code == 201
    upload = response.json()["upload"]
    kept = node.home.node.blobs.path(f"uploads/{node.made[0]['org']}/{upload}")
    assert kept.read_bytes() == sent
    assert kept.with_name(f"{upload}.name").read_text("utf-8") == "病人 2026.csv"
    assert len(files(node)) == 2
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files(node))


def test_who_may_not_provide_sends_nothing(node: Node) -> None:
    refused(node.client.put("/data/uploads", content=b"x"), "not_signed_in")
    refused(node.client.put("/data/uploads", content=b"x", headers=node.key(1)), "forbidden")
    for caller in (
        NOBODY,
        Caller("", "node", frozenset({"node"})),
        Caller("org_x", "p", frozenset({"consumer"})),
    ):
        with pytest.raises(Refused) as error:
            data.keep_upload(node.home, caller, "x", [b"x"])
        assert error.value.code.name == "forbidden"
    assert files(node) == []


def test_a_file_over_the_limit_leaves_nothing(node: Node) -> None:
    """Said before by its length, or found out on the way."""
    said = refused(
        node.client.put("/data/uploads", content=b"x" * (MOST + 1), headers=node.key(0)), "upload_too_large"
    )
    assert str(MOST) in said["why"]
    chunks = iter([b"x" * 1024 * 1024] * 4)
    refused(node.client.put("/data/uploads", content=chunks, headers=node.key(0)), "upload_too_large")
    assert files(node) == []


def test_a_file_of_exactly_the_limit_is_taken(node: Node) -> None:
    assert node.client.put("/data/uploads", content=b"x" * MOST, headers=node.key(0)).status_code == 201


def test_a_sender_who_stops_halfway_leaves_nothing(node: Node) -> None:
    def half() -> Iterator[bytes]:
        yield b"a" * 2_000_000
        raise InterruptedError

    with pytest.raises(InterruptedError):
        data.keep_upload(node.home, provider(node), "half.csv", half())
    assert files(node) == []


def test_a_connection_that_breaks_leaves_nothing(node: Node) -> None:
    messages = [
        {"type": "http.request", "body": b"a" * 2_000_000, "more_body": True},
        {"type": "http.disconnect"},
    ]
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    key = node.key(0)["authorization"].encode()
    scope = {
        "type": "http", "method": "PUT", "path": "/data/uploads", "query_string": b"", "root_path": "",
        "headers": [(b"authorization", key)], "app": node.client.app,
    }  # fmt: skip
    asyncio.run(node.client.app(scope, receive, send))  # type: ignore[arg-type]
    assert said[0]["status"] == 400 and b"upload_cut" in said[1]["body"]
    assert files(node) == []


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_failing_disk_leaves_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch, failing: str, kind: int
) -> None:
    def broken(*_: object) -> None:
        raise OSError(kind, "SECRETVALUE")

    monkeypatch.setattr(data.os, failing, broken)
    with pytest.raises(Unavailable) as error:
        data.keep_upload(node.home, provider(node), "t.csv", [b"a"])
    assert error.value.code.name == ("disk_low" if kind == errno.ENOSPC else "upload_failed")
    assert "SECRETVALUE" not in str(error.value)
    assert files(node) == []


def test_too_little_disk_takes_nothing(tmp_path: Path) -> None:
    with over_http.node(tmp_path, Config(disk_free_mb_min=10**9)) as made:
        refused(made.client.put("/data/uploads", content=b"x", headers=made.key(0)), "disk_low")
        assert files(made) == []


def test_the_file_is_durable_before_it_has_its_name(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both files are forced to the disk, then named, then their folders are."""
    seen: list[str] = []
    fsync, rename = os.fsync, os.rename

    def forced(handle: int) -> None:
        seen.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{handle}')).suffix or 'folder'}")
        fsync(handle)

    def renamed(old: Path, new: Path) -> None:
        seen.append("rename")
        rename(old, new)

    monkeypatch.setattr(data.os, "fsync", forced)
    monkeypatch.setattr(data.os, "rename", renamed)
    data.keep_upload(node.home, provider(node), "t.csv", [b"a", b"b"])
    assert seen == ["fsync .part", "fsync .name", "rename", "fsync folder", "fsync folder"]


def test_what_is_old_or_unfinished_is_swept(node: Node) -> None:
    caller = provider(node)
    old, fresh = (data.keep_upload(node.home, caller, "t.csv", [b"a"]) for _ in range(2))
    folder = node.home.node.blobs.path(f"uploads/{caller.org}")
    (folder / f"{fresh}.part").write_bytes(b"half")
    for name in (old, f"{old}.name"):
        os.utime(folder / name, (0, 0))
    assert data.sweep(node.home) == 3
    assert sorted(file.name for file in files(node)) == [fresh, f"{fresh}.name"]


@given(st.text(max_size=400))
def test_a_name_has_no_folder_and_is_short_and_printable(given_name: str) -> None:
    name = data.file_name(given_name)
    assert name and len(name) <= 200 and name.isprintable()
    assert "/" not in name and "\\" not in name and name not in (".", "..")
    name.encode("utf-8")


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("a.csv", "a.csv"),
        ("C:\\x\\表.csv", "表.csv"),
        ("../../etc/passwd", "passwd"),
        ("", "table"),
        ("..", "table"),
        ("a\x00b\n.csv", "ab.csv"),
        (" 心 电.csv ", "心 电.csv"),
    ],
)
def test_names_as_people_write_them(given_name: str, kept: str) -> None:
    assert data.file_name(given_name) == kept
