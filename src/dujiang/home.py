"""The composition root: the only place where plugs meet packages.

A home is a folder: `home.json` (what it is), `state.sqlite` (state and log, unless home.json names a PostgreSQL
database), `files/` (tables), `profiles/` (API keys of the command line), `config.toml` (settings), `lock`. Beside
it lie its master key and the file that says how far its log has come, so that an older copy cannot sign a second
history.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from sqlalchemy.exc import SQLAlchemyError

from dujiang import acts
from dujiang.cleanroom.noise import SystemSource
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE, Caller, Node, Outcome
from dujiang.kernel.config import Config, load
from dujiang.kernel.errors import Code, Declined, Exit, Refused, Unavailable
from dujiang.kernel.ids import new_id
from dujiang.kernel.plugs import Clock, Uniform
from dujiang.kernel.runner import INTERNAL, Runner, spoken_error
from dujiang.kernel.writer import Bell, Writer
from dujiang.ledger import book
from dujiang.plugs import (
    cage,
    databases,
    duck,
    folder,
    highwater,
    migrations,
    postgres,
    sqlite,
    tabular,
    vault,
)
from dujiang.plugs.clocks import SystemClock
from dujiang.registry import acts as registry

HOME_MISSING = Code(
    "home_missing", 404, Exit.not_found,
    "There is no home here.", "Make one with `dujiang init ORGANISATION…`, or set DUJIANG_HOME.",
    "此处没有节点目录。", "请用 `dujiang init 机构名…` 创建，或设置 DUJIANG_HOME。",
)  # fmt: skip
HOME_EXISTS = Code(
    "home_exists", 409, Exit.conflict,
    "There is a home here already.", "Use it, or choose another DUJIANG_HOME.",
    "此处已有节点目录。", "请直接使用，或另选 DUJIANG_HOME。",
)  # fmt: skip
HOME_BUSY = Code(
    "home_busy", 503, Exit.conflict,
    "Another program holds this home.", "Wait for it to end, or stop it.",
    "另一程序正在使用该节点目录。", "请等待其结束，或将其停止。",
)  # fmt: skip
HOME_NEWER = Code(
    "home_newer", 409, Exit.conflict,
    "This home was written by a newer version of Dujiang.", "Install that version; nothing was changed.",
    "该节点目录由更新版本的都江写入。", "请安装该版本；未作任何更改。",
)  # fmt: skip
HOME_BROKEN = Code(
    "home_broken", 500, Exit.failure,
    "The home's own files cannot be read.", "Run `dujiang doctor`: it names the file.",
    "无法读取节点目录自身的文件。", "请运行 `dujiang doctor`，它会指出具体文件。",
)  # fmt: skip
AUTHORITY_UNFIT = Code(
    "authority_unfit", 400, Exit.usage,
    "An authority is a host name, with a port if needed.", "Give something like data.example.org.",
    "机构标识所用的域名（authority）应为主机名，可带端口。", "请填写如 data.example.org 的名称。",
)  # fmt: skip
HOME_NOT_UPGRADED = Code(
    "home_not_upgraded", 500, Exit.failure,
    "The database of this home could not be brought to this version; steps that were done are whole.",
    "Go on with the version that made it: state.before-….sqlite in the home is the database as it was.",
    "该节点目录的数据库未能升级到本版本；已完成的步骤均完整。",
    "请继续使用原版本：目录中的 state.before-….sqlite 是升级前的数据库。",
)  # fmt: skip
LOG_WOULD_FORK = Code(
    "log_would_fork", 409, Exit.conflict,
    "This home has answered for log entries that its database does not have: an older copy was put back.",
    "Put the newest copy back. If it is lost, `dujiang restore --new-log`: the log goes on under a new name.",
    "本节点曾确认过的日志条目已不在数据库中：数据库是较早的副本。",
    "请放回最新的副本；若已丢失，请运行 `dujiang restore --new-log`，日志将以新名称延续。",
)  # fmt: skip
LOG_END_UNKNOWN = Code(
    "log_end_unknown", 409, Exit.conflict,
    "Nothing beside this home says how far its log has come: it is a copy, or its .high file is gone.",
    "Put the .high file back. If no other copy will ever run, `dujiang restore --same-log`; else `--new-log`.",
    "节点目录旁没有日志进度记录：它是一个副本，或其 .high 文件已丢失。",
    "请放回 .high 文件；若其他副本不会再运行，用 `dujiang restore --same-log`，否则用 `--new-log`。",
)  # fmt: skip
CODES = (
    HOME_MISSING, HOME_EXISTS, HOME_BUSY, HOME_NEWER, HOME_BROKEN, AUTHORITY_UNFIT, HOME_NOT_UPGRADED, LOG_WOULD_FORK,
    LOG_END_UNKNOWN,
)  # fmt: skip
Watcher = Callable[[str, Caller, int, float, str], None]
"""(act, caller, when it began in nanoseconds since 1970, seconds it took, "ok" or the code of its refusal)."""
CANCELLED = "cancelled"
_WAIT_S = 10.0


def codes() -> dict[str, Code]:
    """The one table of refusals of the whole program."""
    table = dict(acts.codes())
    for declared in (
        sqlite.CODES,
        postgres.CODES,
        databases.CODES,
        vault.CODES,
        folder.CODES,
        tabular.CODES,
        cage.CODES,
        highwater.CODES,
        CODES,
    ):
        table.update({code.name: code for code in declared})
    return table


@dataclass(frozen=True, slots=True)
class Home:
    """An open home: its plugs, its writer, and its acts ready to run."""

    path: Path
    place: databases.Place
    node: Node
    book: book.LedgerBook
    bell: Bell
    writer: Writer
    runner: Runner
    lock: IO[str]
    mark: highwater.HighWater
    watchers: list[Watcher]
    """Who is told of every act once it has ended, whatever came of it; they must be quick and not raise."""
    warm: Callable[[], None]
    """Starts the process the next question finds ready; a served home calls it once."""

    def run(self, name: str, caller: Caller, ask: object, key: str | None = None) -> Outcome:
        """The outcome of one act; see `Runner.run`."""
        if not self.watchers:
            return self.runner.run(name, caller, ask, key)
        began_ns, began_s = time.time_ns(), time.perf_counter()
        code = INTERNAL.name
        try:
            outcome = self.runner.run(name, caller, ask, key)
            code = _code(outcome)
            return outcome
        except Exception as error:
            code = spoken_error(error)[0].name
            raise
        finally:
            self._seen(name, caller, began_ns, time.perf_counter() - began_s, code)

    def start(self, name: str, caller: Caller, ask: object, key: str | None = None) -> Future[Outcome] | None:
        """A future of the outcome where no thread is needed; see `Runner.start`."""
        if not self.watchers:
            return self.runner.start(name, caller, ask, key)
        began_ns, began_s = time.time_ns(), time.perf_counter()
        try:
            started = self.runner.start(name, caller, ask, key)
        except Exception as error:
            took = time.perf_counter() - began_s
            self._seen(name, caller, began_ns, took, spoken_error(error)[0].name)
            raise
        if started is not None:

            def done(future: Future[Outcome]) -> None:
                error = None if future.cancelled() else future.exception()
                code = spoken_error(error)[0].name if error else CANCELLED
                if error is None and not future.cancelled():
                    code = _code(future.result())
                self._seen(name, caller, began_ns, time.perf_counter() - began_s, code)

            started.add_done_callback(done)
        return started

    def _seen(self, name: str, caller: Caller, began_ns: int, seconds: float, code: str) -> None:
        for watcher in self.watchers:
            watcher(name, caller, began_ns, seconds, code)

    def caller_of_key(self, secret: str) -> Caller | None:
        """Who an API key speaks for."""
        with self.node.database.reading() as db:
            return identity.caller_of_key(db, secret)

    def caller_of_session(self, secret: str) -> Caller | None:
        """Who a browser session speaks for."""
        with self.node.database.reading() as db:
            return identity.caller_of_session(db, secret, self.node.clock.now_ms())

    def serving(self, url: str) -> None:
        """Writes where this home is served into its lock file, for other programs to find."""
        self.lock.seek(0)
        self.lock.truncate()
        json.dump({"pid": os.getpid(), "url": url}, self.lock)
        self.lock.flush()

    def close(self) -> None:
        """Finishes what is queued and lets the home go."""
        self.writer.close()
        self.mark.close()
        self.node.engine.close()
        self.node.database.close()
        self.lock.close()


def create(
    path: Path, organisations: list[tuple[str, tuple[str, ...]]], authority: str | None = None,
    config: Config | None = None, clock: Clock | None = None, uniform: Uniform | None = None, database: str = "",
) -> tuple[Home, list[dict[str, Any]]]:  # fmt: skip
    """A new home with its log and organisations (name, roles), the first of which operates it.

    `database`: the address of an empty PostgreSQL database; without one the state is a file in the home.
    Raises: Refused home_exists, authority_unfit, database_name_unfit, database_taken, name_taken, role_unknown;
    Unavailable. Nothing is left then.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Refused(HOME_EXISTS)
    if vault.key_path(path).exists() and "DUJIANG_MASTER_KEY" not in os.environ:
        raise Refused(HOME_EXISTS)
    if highwater.path_of(path).exists():
        raise Refused(HOME_EXISTS)
    authority = _authority(authority)
    place = databases.at(path, database)
    place.claim()
    before = _Before(place)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for part in ("files", "profiles"):
            (path / part).mkdir(mode=0o700, exist_ok=True)
        master = vault.make_master(path)
        os.chmod(path, 0o700)
        mark = highwater.Mark(os.urandom(16).hex(), _found(place, vault.SealedVault(master), authority))
        before.founded = True
        highwater.write(highwater.path_of(path), mark)
        describe(path, authority, mark.home, place.url)
        for each in (path, path.parent):  # the second one holds the master key, too
            folder.sync_folder(each)
        home = open_home(path, config, clock, uniform=uniform)
        try:
            replies = [
                home.run("identity.register", NODE, identity.Register(name, roles)).reply
                for name, roles in organisations
            ]
        except BaseException:
            home.close()
            raise
        return home, [_made(reply) for reply in replies]
    except OSError:
        before.restore()
        raise Unavailable(folder.FILES_FAILED) from None
    except BaseException:
        before.restore()
        raise


def open_home(
    path: Path, config: Config | None = None, clock: Clock | None = None, wait_s: float = _WAIT_S,
    uniform: Uniform | None = None,
) -> Home:  # fmt: skip
    """The home at a path, locked for this process.

    Raises: Refused home_missing, home_busy, home_newer, config_…; Unavailable home_read_only, key_unreadable, …
    """
    if not (path / "home.json").is_file():
        raise Refused(HOME_MISSING)
    authority, marked, url = _read(path)
    place = databases.Place(path, url)
    config = config or load(path / "config.toml")
    lock, database = _lock(path, wait_s), None
    try:
        if place.missing:
            raise Refused(HOME_BROKEN)
        database = place.opened(wait_s)
        if place.url:
            database.writing()  # nothing is read, let alone upgraded, before the lock of the database is held
        _check_version(place)
        master = vault.read_master(path)
        clock = clock or SystemClock()
        safe = vault.SealedVault(master)
        files = folder.Folder(path / "files")
        engine = _engine(config)
        node = Node(
            config, clock, database, safe, files, engine, engine, uniform or SystemSource(), authority
        )
        ledger = book.LedgerBook(database, safe, clock, config.clock_step_s_max * 1000)
        mark = _mark(place, authority, marked, ledger)
        registry.sweep(node)
        bell = Bell()
        writer = Writer(node, ledger, bell)
        return Home(
            path, place, node, ledger, bell, writer, Runner(node, ledger, writer, acts.ACTS), lock, mark, [],
            engine.warm,
        )  # fmt: skip
    except BaseException:
        if database is not None:
            database.close()
        lock.close()
        raise


def described(path: Path) -> tuple[str, str]:
    """The authority of a home and the mark that tells it from others (none before its first opening by this version).

    Raises: Refused home_missing, home_broken, home_newer.
    """
    if not (path / "home.json").is_file():
        raise Refused(HOME_MISSING)
    authority, mark, _ = _read(path)
    return authority, mark or ""


def place_of(path: Path) -> databases.Place:
    """Where the state of the home at a path lies.

    Raises: Refused home_missing, home_broken, home_newer.
    """
    if not (path / "home.json").is_file():
        raise Refused(HOME_MISSING)
    return databases.Place(path, _read(path)[2])


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a home without opening it.

    Raises: Refused home_busy; Unavailable home_read_only.
    """
    lock = _lock(path, 0.0)
    try:
        yield
    finally:
        lock.close()


def holder(path: Path) -> str | None:
    """The address of the node that serves the home now, if one does."""
    try:
        with open(path / "lock", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found = json.load(lock)
                return str(found["url"]) if isinstance(found, dict) and "url" in found else None
    except (OSError, ValueError):
        return None
    return None


def describe(path: Path, authority: str, mark: str, database: str = "") -> None:
    """Writes what a home is into its home.json, durably, in place of what stood there.

    Raises: OSError.
    """
    fresh = path / "home.json.new"
    with open(fresh, "w", encoding="utf-8") as file:
        said = {"v": 1, "authority": authority, "mark": mark, **({"database": database} if database else {})}
        file.write(json.dumps(said) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path / "home.json")
    folder.sync_folder(path)


def _code(outcome: Outcome) -> str:
    return outcome.reply.code.name if isinstance(outcome.reply, Declined) else "ok"


def _found(place: databases.Place, safe: vault.SealedVault, authority: str) -> str:
    """The first checkpoint of a new log in an empty database."""
    with contextlib.closing(place.opened()) as database:
        writing = database.writing()
        place.claim()  # another home may have been made there before the lock was held
        place.upgrade()
        if not place.url:
            os.chmod(place.file, 0o600)
        signed = book.found(writing.begin(), safe, authority)
        writing.commit()
    return signed


def _mark(
    place: databases.Place, authority: str, marked: str | None, ledger: book.LedgerBook
) -> highwater.HighWater:
    """The open file beside the home, once it is sure that the log stands on what it has signed.

    A home of a version that kept no such file gets one.
    Raises: Refused log_would_fork, log_end_unknown; Unavailable high_water_failed.
    """
    beside = highwater.path_of(place.folder)
    mark = highwater.read(beside)
    if marked is None:
        mark = highwater.Mark(os.urandom(16).hex(), ledger.head)
        highwater.write(beside, mark)
        try:
            describe(place.folder, authority, mark.home, place.url)
        except OSError:
            raise Unavailable(folder.FILES_FAILED) from None
    elif mark is None or mark.home != marked:
        raise Refused(LOG_END_UNKNOWN)
    elif not ledger.holds(mark.note):
        raise Refused(LOG_WOULD_FORK)
    held = highwater.HighWater(beside, mark)
    held.raise_to(ledger.head)
    ledger.follow(held.raise_to)
    return held


def _engine(config: Config) -> duck.Duck:
    """The engine within the settings' limits; what they do not name is the plug's own."""
    ingest, question = duck.INGEST, duck.QUESTION
    return duck.Duck(
        file_bytes_max=config.upload_bytes_max,
        ingest=replace(
            ingest, seconds=config.register_seconds_max, memory_bytes=config.register_memory_mb << 20
        ),
        question=replace(
            question, seconds=config.question_seconds_max, memory_bytes=config.question_memory_mb << 20
        ),
    )


def _check_version(place: databases.Place) -> None:
    found = place.version()
    if not found:
        raise Refused(HOME_BROKEN)
    if found != migrations.HEAD:
        if not migrations.known(found):
            raise Refused(HOME_NEWER)
        _upgrade(place)


def _upgrade(place: databases.Place) -> None:
    """Upgrades the database; a copy of it as it was stays until the next upgrade, for who must go back at once."""
    for earlier in place.folder.glob("state.before-*.sqlite"):
        earlier.unlink()
    place.copy(place.folder / f"state.before-{migrations.HEAD}.sqlite")
    try:
        place.upgrade()
    except SQLAlchemyError:
        raise Unavailable(HOME_NOT_UPGRADED) from None


def _lock(path: Path, wait_s: float) -> IO[str]:
    try:
        lock = open(path / "lock", "a+", encoding="utf-8")  # noqa: SIM115
        os.chmod(path / "lock", 0o600)
    except OSError:
        raise Unavailable(sqlite.READ_ONLY) from None
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.close()
                raise Refused(HOME_BUSY) from None
            time.sleep(0.02)
            continue
        lock.truncate(0)
        return lock


def _read(path: Path) -> tuple[str, str | None, str]:
    try:
        found = cast("dict[str, Any]", json.loads((path / "home.json").read_text(encoding="utf-8")))
        version, authority, mark = found["v"], found["authority"], found.get("mark")
        if type(version) is not int or version < 1 or not isinstance(authority, str):
            raise ValueError
        url = found.get("database", "")
        if (mark is not None and not isinstance(mark, str)) or not isinstance(url, str):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise Refused(HOME_BROKEN) from None
    if version != 1:
        raise Refused(HOME_NEWER)
    return authority, mark, url


def _authority(given: str | None) -> str:
    if given is None:
        # home.arpa (RFC 8375) never resolves outside a home network: an honest name until one is chosen.
        return f"{new_id('dj', time.time_ns() // 1_000_000)[-12:]}.home.arpa"
    fit = given.isascii() and 0 < len(given) <= 200 and all(c.isalnum() or c in ".-:" for c in given)
    if not fit or given.startswith((".", "-", ":")):
        raise Refused(AUTHORITY_UNFIT)
    return given.lower()


def _made(reply: Any) -> dict[str, Any]:
    return {
        "name": reply.name, "did": reply.did, "roles": list(reply.roles), "api_key": reply.api_key,
        "org": reply.org, "person": reply.person,
    }  # fmt: skip


class _Before:
    """What was there before a home was made, to leave exactly that if the making fails."""

    def __init__(self, place: databases.Place) -> None:
        self._place = place
        self._path = path = place.folder
        self.founded = False
        """Whether a log was begun in the database: what another home keeps there is not touched."""
        self._missing = [place for place in (path, *path.parents) if not place.exists()]
        self._key_was_there = vault.key_path(path).exists()
        self._mark_was_there = highwater.path_of(path).exists()

    def restore(self) -> None:
        """Removes what was made, and nothing else; the folder was missing or empty."""
        if self.founded:
            with contextlib.suppress(Unavailable):
                self._place.clear()
        for part in ("files", "profiles"):
            shutil.rmtree(self._path / part, ignore_errors=True)
        with contextlib.suppress(OSError):
            for made in self._path.iterdir():
                made.unlink()
        with contextlib.suppress(OSError):
            if not self._key_was_there:
                vault.key_path(self._path).unlink(missing_ok=True)
            if not self._mark_was_there:
                highwater.path_of(self._path).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for place in self._missing:
                place.rmdir()


@contextlib.contextmanager
def opened(path: Path, **options: Any) -> Iterator[Home]:
    """An open home that is closed at the end of the block."""
    home = open_home(path, **options)
    try:
        yield home
    finally:
        home.close()
