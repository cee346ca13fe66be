"""Acts from the command line: in this process where no node holds the home, over HTTP where one does.

1. Both ways give the same reply: flat JSON, with the receipt of what was written.
2. A write over HTTP carries an idempotency key, so that a lost answer is asked for again, once done.
3. In this process the delivery loop runs until nothing is left to do.
"""

from __future__ import annotations

import json
import os
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import quote

from dujiang.acts import ACTS
from dujiang.doors import profiles
from dujiang.kernel.act import Act, Caller, Effect, bind
from dujiang.kernel.errors import Code, Declined, Exit, Refused, Unavailable

if TYPE_CHECKING:
    from dujiang.home import Home

NODE_UNREACHABLE = Code(
    "node_unreachable", 503, Exit.failure,
    "The node does not answer.", "Check the address and that the node runs (`dujiang up`).",
    "节点没有响应。", "请检查地址，并确认节点正在运行（`dujiang up`）。",
)  # fmt: skip
NODE_ODD = Code(
    "node_odd", 502, Exit.failure,
    "What answers at this address is not a Dujiang node of this version.", "Check --node or DUJIANG_NODE.",
    "该地址的响应并非来自本版本的都江节点。", "请检查 --node 或 DUJIANG_NODE。",
)  # fmt: skip
KEY_UNKNOWN = Code(
    "key_unknown", 401, Exit.refused,
    "The API key is not valid here.", "Use a key that was granted here and not revoked.",
    "该 API 密钥在此无效。", "请使用在此签发且未吊销的密钥。",
)  # fmt: skip
FILE_MISSING = Code(
    "file_missing", 404, Exit.not_found,
    "The file {name} cannot be read.", "Check the path and its permissions.",
    "无法读取文件 {name}。", "请检查路径与权限。",
)  # fmt: skip
FILE_ODD = Code(
    "file_odd", 400, Exit.usage,
    "{name} is a pipe, a device or a folder, not a file.",
    "Give a file, or send it on standard input with `-`, where the command takes that.",
    "{name} 是管道、设备或目录，而非文件。", "请提供文件；若命令支持，可用 `-` 从标准输入传入。",
)  # fmt: skip
CODES = (NODE_UNREACHABLE, NODE_ODD, KEY_UNKNOWN, FILE_MISSING, FILE_ODD)
STDIN = "/dev/stdin"
"""What a bare `-` on the command line means."""
_LOCK_WAIT_S = 10.0
_TRIES = 3
_PIECE_BYTES = 1 << 20
_REPLY_BYTES_MAX = 256 << 20
"""The longest answer of a node, unpacked: a node far away is not trusted with the memory here."""


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for every command: the flags that may stand anywhere, and the environment's."""

    home: Path
    json: bool = False
    org: str | None = None
    node: str | None = None
    key: str | None = None
    language: str = "en"
    yes: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command gives back: a JSON value, its exit status, and what people see if that differs."""

    body: Any
    exit: int = 0
    text: str | None = None
    """The caller's own text that a refusal may point into."""
    human: Any = None
    after: str = ""
    """What is said to people once they have seen it: how to go on."""


class Client(Protocol):
    """Runs acts for one caller, wherever the home is open."""

    def run(self, act: Act, raw: Mapping[str, Any], key: str | None = None) -> Answer:
        """The answer of one act, waited for where the act goes on after its reply.

        `key`: the request's idempotency key, where the caller may send it again.
        """
        ...

    def upload(self, path: Path) -> Answer:
        """The id of an uploaded file."""
        ...


@contextmanager
def opened(options: Options) -> Iterator[Client]:
    """A client for the options: the node that is named or holds the home, or the home itself.

    Raises: Refused home_missing, home_busy, no_profile, profile_…, key_unknown; Unavailable.
    """
    if options.node:
        key = options.key or profiles.choose(profiles.read(options.home), options.org).api_key
        yield _Wire(options.node, key, options.language)
        return
    from dujiang import home

    if not (options.home / "home.json").is_file():
        raise Refused(home.HOME_MISSING)
    key = options.key or profiles.choose(profiles.read(options.home), options.org).api_key
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        if url := home.holder(options.home):
            yield _Wire(url, key, options.language)
            return
        try:
            held = home.open_home(options.home, wait_s=0.5)
            break
        except Refused as busy:
            # A node may be starting: it holds the lock before it can be asked, so look again.
            if busy.code is not home.HOME_BUSY or time.monotonic() > deadline:
                raise
    try:
        caller = held.caller_of_key(key)
        if caller is None:
            raise Refused(KEY_UNKNOWN)
        client = _Inside(held, caller, options.language)
        try:
            yield client
        finally:
            client.forget()
    finally:
        held.close()


class _Inside:
    """Acts in this process."""

    def __init__(self, home: Home, caller: Caller, language: str) -> None:
        self._home = home
        self._caller = caller
        self._language = language
        self._sent: list[str] = []

    def run(self, act: Act, raw: Mapping[str, Any], key: str | None = None) -> Answer:
        """The answer of one act, after everything it set going came to rest."""
        from dujiang.doors import answer
        from dujiang.doors.loops import Loops
        from dujiang.kernel.shape import build

        outcome = self._home.run(act.name, self._caller, build(bind(act).ask, dict(raw)), key)
        if act.effect is Effect.writes:
            Loops(self._home).until_quiet()
        if isinstance(outcome.reply, Declined):
            return self._turned(outcome.reply, outcome.receipt)
        said = answer.flat(outcome)
        follow = answer.following(act, ACTS)
        ask = follow.ask(said) if follow else None
        if follow is None or ask is None:
            return Answer(_json(said))
        said.update(answer.flat(self._home.run(follow.bound.act.name, self._caller, ask)))
        if type(said.get("entry")) is int:
            prove = ACTS["ledger.prove"]
            proof = self._home.run(prove.name, self._caller, build(bind(prove).ask, {"entry": said["entry"]}))
            said["receipt"] = proof.reply.receipt
        if declined := answer.declined(said, self._home_codes()):
            return self._turned(declined, said.get("receipt"))
        return Answer(_json(said))

    def upload(self, path: Path) -> Answer:
        """The id of the file, kept in the home as the bytes door keeps it."""
        from dujiang.doors.data import keep_upload, sweep

        sweep(self._home)  # what a command that was killed, or a node, has left
        self._sent.append(keep_upload(self._home, self._caller, _name(path), pieces(path)))
        return Answer({"upload": self._sent[-1]})

    def forget(self) -> None:
        """Removes the files that were sent: what was registered of them is kept apart."""
        from dujiang.doors.data import drop_upload

        for upload in self._sent:
            drop_upload(self._home, self._caller, upload)

    def _turned(self, declined: Declined, receipt: object) -> Answer:
        from dujiang.doors import answer

        code, body = answer.refusal(declined, self._language)
        return Answer({**body, "receipt": receipt} if receipt else body, int(code.exit))

    def _home_codes(self) -> Mapping[str, Code]:
        from dujiang import home

        return home.codes()


class _Wire:
    """Acts over HTTP."""

    def __init__(self, url: str, key: str | None, language: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Accept-Language": language}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def run(self, act: Act, raw: Mapping[str, Any], key: str | None = None) -> Answer:
        """The answer of one act; the node itself waits where the act goes on after its reply."""
        headers = {"Content-Type": "application/json"}
        if act.effect is Effect.writes:
            headers["Idempotency-Key"] = key or uuid.uuid4().hex
        body = json.dumps(dict(raw), ensure_ascii=False).encode()
        path = "/v1/" + act.name.replace(".", "/")
        return self._answer(*self._send("POST", path, headers, body, repeat=act.effect is not Effect.keeps))

    def upload(self, path: Path) -> Answer:
        """The id of the file, sent in pieces."""
        headers = {"X-File-Name": quote(_name(path)), "Content-Type": "application/octet-stream"}
        return self._answer(*self._send("PUT", "/data/uploads", headers, pieces(path), repeat=False))

    def _send(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        content: bytes | Iterator[bytes],
        *,
        repeat: bool,
    ) -> tuple[int, bytes]:
        import httpx2

        timeout = httpx2.Timeout(10.0, read=300.0, write=300.0)
        for turn in range(_TRIES if repeat else 1):
            if turn:
                time.sleep(0.2 * turn)
            try:
                with httpx2.stream(
                    method,
                    self._url + path,
                    headers={**self._headers, **headers},
                    content=content,
                    timeout=timeout,
                ) as reply:
                    return reply.status_code, _bounded(reply.iter_bytes(_PIECE_BYTES))
            except (httpx2.UnsupportedProtocol, httpx2.InvalidURL):
                break
            except httpx2.HTTPError:
                continue
        raise Unavailable(NODE_UNREACHABLE)

    def _answer(self, status: int, content: bytes) -> Answer:
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            raise Unavailable(NODE_ODD) from None
        if status < 300 and isinstance(body, dict):
            return Answer(body)
        if not isinstance(body, dict) or not {"code", "why", "fix"} <= body.keys():
            raise Unavailable(NODE_ODD)
        for extra in ("type", "title", "status", "detail", "instance"):
            body.pop(extra, None)
        return Answer(body, _exit_of(body.pop("exit", None), status))


def _bounded(parts: Iterator[bytes]) -> bytes:
    """All of an answer.

    Raises: Unavailable node_odd.
    """
    found = bytearray()
    for part in parts:
        found += part
        if len(found) > _REPLY_BYTES_MAX:
            raise Unavailable(NODE_ODD)
    return bytes(found)


def reading(path: Path) -> IO[bytes]:
    """A file that is open for reading, or standard input: what is to be verified is there, or nobody waits for it.

    Raises: Refused file_odd; OSError.
    """
    if str(path) == STDIN:
        return path.open("rb")
    # A pipe that nobody writes to opens at once so; a file is read as ever.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Refused(FILE_ODD, name=_name(path))
    return file


def pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a piece at a time.

    Raises: Refused file_missing.
    """
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
    except OSError:
        raise Refused(FILE_MISSING, name=_name(path)) from None


def _json(said: dict[str, Any]) -> Any:
    """The same value with lists for tuples: what a reader of the wire would get."""
    return json.loads(json.dumps(said))


def _name(path: Path) -> str:
    return path.name.encode("utf-8", "replace").decode()


def codes() -> dict[str, Code]:
    """Every refusal an act or a node can answer with, by code."""
    from dujiang import home
    from dujiang.doors import data, desk, http, members, serve

    doors = (data, desk, http, members, serve, profiles)
    table = {**home.codes(), **{code.name: code for code in CODES}}
    return {**table, **{code.name: code for door in doors for code in door.CODES}}


def _exit_of(said: object, status: int) -> int:
    """The exit status a node names with a refusal; by the status of its answer if it names none there is."""
    if said in [each for each in Exit if each is not Exit.ok]:
        return int(cast("int", said))
    return int(Exit.failure if status >= 500 else Exit.refused)
