"""What `dujiang doctor` finds: each line a check, whether it holds, and the way out where it does not."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dujiang.doors import profiles
from dujiang.kernel.config import Config
from dujiang.kernel.errors import Refused, Unavailable, spoken

_PYTHON = (3, 11)
_FSYNC_MS_ADVISED = 100.0
_BACKUP_DAYS = 7.0
_BUILT_S, _CLOCK_S = 1_750_000_000, 60.0
_TEXTS: dict[str, tuple[str, str, str, str]] = {
    "python": (
        "Python {detail}",
        "Install Python 3.11 or newer.",
        "Python {detail}",
        "请安装 Python 3.11 或更新版本。",
    ),
    "home": (
        "home {detail}",
        "Make one with `dujiang init ORGANISATION…`.",
        "节点目录 {detail}",
        "请用 `dujiang init 机构名…` 创建。",
    ),
    "disk": (
        "{detail} MB free",
        "Make room on this disk.",
        "剩余空间 {detail} MB",
        "请在该磁盘上腾出空间。",
    ),
    "private": (
        "keys and profiles are readable by you alone{detail}",
        "Run `chmod 600` on the files named, 700 on folders.",
        "密钥与配置文件仅您可读{detail}",
        "请对所列文件执行 `chmod 600`，目录为 700。",
    ),
    "profiles": (
        "{detail} organisations with a key here",
        "Move the broken file in profiles/ away.",
        "此处有密钥的机构：{detail}",
        "请移走 profiles/ 中损坏的文件。",
    ),
    "lock": (
        "lock: {detail}",
        "Wait for the program that holds the home, or stop it.",
        "锁：{detail}",
        "请等待占用该目录的程序结束，或将其停止。",
    ),
    "database": (
        "database, master key and log open{detail}",
        "See the refusal's own way out: {fix}",
        "数据库、主密钥与日志可打开{detail}",
        "请按该提示处理：{fix}",
    ),
    "clock": (
        "clock {detail}",
        "Set the clock of this machine (NTP).",
        "时钟 {detail}",
        "请校准本机时钟（NTP）。",
    ),
    "fsync": (
        "a durable write takes {detail} ms",
        "Use a local disk; network disks are slow here.",
        "一次持久化写入需 {detail} 毫秒",
        "请使用本地磁盘；网络磁盘较慢。",
    ),
    "temporary": (
        "{detail} MB free for temporary files",
        "Make room there, or name another folder in TMPDIR.",
        "临时目录剩余空间 {detail} MB",
        "请在该处腾出空间，或用 TMPDIR 指定其他目录。",
    ),
    "log": (
        "log of {detail}",
        "Stop the node and restore a backup; what differs: {fix}.",
        "日志：{detail}",
        "请停止节点并从备份恢复；不符之处：{fix}。",
    ),
    "high_water": (
        "the file beside the home says how far the log has come{detail}",
        "Put the newest copy of the home back, or see `dujiang restore --help`.",
        "节点目录旁的文件记有日志进度{detail}",
        "请放回最新的节点目录副本，或查看 `dujiang restore --help`。",
    ),
    "keys": (
        "keys of this log: {detail}",
        "Make the new key known: who pinned the old one needs it from that day on (see docs/KEYS.md).",
        "本日志的密钥：{detail}",
        "请公布新密钥：已固定旧密钥者自该日起需要新密钥（见 docs/KEYS.md）。",
    ),
    "witnesses": (
        "witnesses of this log: {detail}",
        "{fix} See `dujiang ledger witnesses`.",
        "本日志的见证方：{detail}",
        "{fix}请查看 `dujiang ledger witnesses`。",
    ),
    "forks": (
        "logs watched here: {detail}",
        "See `dujiang ledger forks`: keep the evidence, and ask the log's operator and its other witnesses.",
        "本节点监看的日志：{detail}",
        "请查看 `dujiang ledger forks`：保存证据，并询问该日志的运营方与其他见证方。",
    ),
    "backup": (
        "last backup: {detail}",
        "Run `dujiang backup FOLDER`, best onto another disk and every day.",
        "最近备份：{detail}",
        "请运行 `dujiang backup 目录`，最好每天备份到另一磁盘。",
    ),
    "waiting": (
        "{detail} wait",
        "They go on while a node serves the home: run `dujiang up`.",
        "等待中：{detail}",
        "节点运行时会继续处理：请运行 `dujiang up`。",
    ),
    "uploads": (
        "uploads that nobody registered: {detail}",
        "Those older than a day are removed when a node starts.",
        "未登记的上传文件：{detail}",
        "超过一天的会在节点启动时清除。",
    ),
    "engine": (
        "the question engine starts{detail}",
        "Reinstall the package; the engine needs Linux or macOS.",
        "查询引擎可启动{detail}",
        "请重新安装；引擎需要 Linux 或 macOS。",
    ),
    "port": (
        "port {detail} is free",
        "Choose another with `dujiang up --port`.",
        "端口 {detail} 空闲",
        "请用 `dujiang up --port` 另选端口。",
    ),
}


def examine(home: Path, port: int, language: str) -> list[dict[str, Any]]:
    """Every finding {name, ok, detail, fix}, in the order in which a person would mend them.

    A finding that holds and still has a fix is advice: it does not fail the examination.
    """
    return [_finding(name, *found, language) for name, found in _checks(home, port, language)]


def _checks(home: Path, port: int, language: str) -> Iterator[tuple[str, tuple[bool, str, str]]]:
    yield "python", (sys.version_info >= _PYTHON, ".".join(map(str, sys.version_info[:3])), "")
    made, served = (home / "home.json").is_file(), False
    yield "home", (made, str(home), "")
    yield "disk", _disk(home)
    yield "temporary", _temporary()
    yield "clock", _clock(home)
    if made:
        yield "private", _private(home)
        yield "profiles", _held(lambda: str(len(profiles.read(home))), language)
        yield "fsync", _fsync(home)
        served, lock = _lock(home)
        yield "lock", lock
        if lock[0] and not served:
            yield "database", _held(lambda: _database(home), language)
        yield from _contents(home, served, language)
    yield "engine", _held(_engine, language)
    if not served:
        yield "port", (_free(port), str(port), "")


def _finding(name: str, ok: bool, detail: str, fix: str, language: str) -> dict[str, Any]:
    text, way, text_zh, way_zh = _TEXTS[name]
    said, out = (text_zh, way_zh) if language == "zh" else (text, way)
    return {
        "name": name,
        "ok": ok,
        "detail": said.replace("{detail}", detail),
        "fix": None if ok and not fix else out.replace("{fix}", fix),
    }


def _disk(home: Path) -> tuple[bool, str, str]:
    place = next(each for each in (home, *home.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free >> 20
    return free >= Config().disk_free_mb_min, str(free), ""


def _temporary() -> tuple[bool, str, str]:
    free = shutil.disk_usage(tempfile.gettempdir()).free >> 20
    return free >= Config().disk_free_mb_min, str(free), ""


def _clock(home: Path) -> tuple[bool, str, str]:
    """Set at all, and not before what this home has written: then it went back, or stood ahead and was put right."""
    now = time.time()
    said = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now))
    written = [
        path.stat().st_mtime
        for name in ("state.sqlite", "state.sqlite-wal", "lock", "home.json")
        if (path := home / name).exists()
    ]
    return now > _BUILT_S and now >= max(written, default=0.0) - _CLOCK_S, said, ""


def _contents(home: Path, served: bool, language: str) -> Iterator[tuple[str, tuple[bool, str, str]]]:
    """What a look into the home's files shows, also while a node serves it; nothing where they cannot be read."""
    from dujiang import home as root
    from dujiang.cleanroom import acts as cleanroom
    from dujiang.ledger import book, fsck, keyring, note, witnessing
    from dujiang.plugs import highwater, migrations
    from dujiang.plugs.sqlite import DATABASE_FAILED
    from dujiang.post import acts as post

    zh, size = language == "zh", 0
    try:
        place = root.place_of(home)
        if place.missing or place.version() != migrations.HEAD:
            return
    except (Refused, Unavailable):
        return
    try:
        with contextlib.closing(place.opened()) as database, database.reading() as db:
            wrong, jobs, messages = fsck.head(db), cleanroom.waiting(db), post.waiting(db)
            with contextlib.suppress(note.NotANote):
                size = note.read_checkpoint(book.head_of(db)[0]).size
            mark = highwater.read(highwater.path_of(home))
            stands = mark is not None and book.stands_on(db, mark.note)
            ring = keyring.overview(db)
            stand = witnessing.overview(db, time.time_ns() // 1_000_000)
    except (Refused, Unavailable, ValueError) as error:
        yield "log", (False, "-", getattr(error, "code", DATABASE_FAILED).name)
        return
    yield "log", (wrong is None, f"{size} 条" if zh else f"{size} entries", wrong or "")
    yield "high_water", (stands, "" if stands else "：否" if zh else ": it does not", "")
    yield "keys", _keys(*ring, zh)
    yield "witnesses", _witnesses(stand, served, zh)
    yield "forks", _forks(stand, zh)
    yield "backup", _backup(home, size, zh)
    waits = f"{jobs} 个查询、{messages} 条消息" if zh else f"{jobs} questions and {messages} messages"
    yield "waiting", (True, waits, "" if served or not jobs + messages else "up")
    yield "uploads", _uploads(home)


def _keys(ring: list[Any], disowned: list[Any], zh: bool) -> tuple[bool, str, str]:
    """A rotation that runs is advice: somebody has to tell those who pinned the old key."""
    from dujiang.ledger import note

    said = f"{len(ring)} 个签名" if zh else f"{len(ring)} {'sign' if len(ring) > 1 else 'signs'}"
    if len(ring) > 1:
        day = time.strftime("%Y-%m-%d", time.gmtime((ring[0].until_ms or 0) / 1000))
        said += f"，旧密钥至 {day}" if zh else f", the old one until {day}"
    for key in disowned:
        # As it is written in its verifier key: NAME+ID+KEY.
        beyond = (note.Key(key.origin, key.public).line.split("+")[1], key.disowned)
        said += ("；{} 已弃用，仅前 {} 条可信" if zh else "; {} is disowned beyond {} entries").format(
            *beyond
        )
    return True, said, "rotation" if len(ring) > 1 else ""


def _witnesses(stand: Any, served: bool, zh: bool) -> tuple[bool, str, str]:
    """That witnesses are behind is advice while no node serves the home; that one refuses this log is a fault."""
    from dujiang.ledger.witnessing import ALARMS, FAILURES

    if not stand.witnesses:
        return True, "无" if zh else "none", ""
    counted = (len(stand.witnesses), stand.least, stand.cosigned, stand.size)
    said = (
        "{} 个（须 {} 个），已联署 {} / {} 条" if zh else "{} ({} must cosign), {} of {} entries cosigned"
    ).format(*counted)
    alarm = next((each.failure for each in stand.witnesses if each.failure in ALARMS), "")
    behind = "" if stand.fresh or not served else "未按时联署。" if zh else "The quorum is behind."
    return not (alarm or behind), said, FAILURES[alarm][zh] if alarm else behind


def _forks(stand: Any, zh: bool) -> tuple[bool, str, str]:
    """A proved fork is a fault; a head that was not shown to go on may have come from a stranger."""
    said = (
        "{} 个，分叉证明 {} 件，未获证明的检查点 {} 件" if zh else "{}, {} forks proved, {} heads unproved"
    ).format(sum(each.active for each in stand.watched), stand.forks, stand.unproved)
    return not stand.forks, said, "forks" if stand.unproved else ""


def _backup(home: Path, size: int, zh: bool) -> tuple[bool, str, str]:
    """No backup, or an old one, is advice: the home itself is well."""
    from dujiang.doors.backup import LAST

    try:
        last = json.loads((home / LAST).read_text(encoding="utf-8"))
        days, since = (time.time() - last["made_ms"] / 1000) / 86_400, size - last["entries"]
    except (OSError, ValueError, KeyError, TypeError):
        return True, "无" if zh else "none", "none"
    said = f"{days:.1f} 天前，此后 {since} 条新条目" if zh else f"{days:.1f} days ago, {since} entries since"
    return True, said, "old" if days > _BACKUP_DAYS and since else ""


def _uploads(home: Path) -> tuple[bool, str, str]:
    oldest, old, size = time.time() - 86_400, 0, 0
    for file in (home / "files" / "uploads").glob("*/upl_*"):
        with contextlib.suppress(OSError):
            found = file.stat()
            size += found.st_size
            old += found.st_mtime < oldest
    return True, f"{size >> 20} MB", "old" if old else ""


def _private(home: Path) -> tuple[bool, str, str]:
    from dujiang.plugs.highwater import path_of
    from dujiang.plugs.vault import key_path

    files = [
        home,
        key_path(home),
        path_of(home),
        home / "state.sqlite",
        home / "profiles",
        *(home / "profiles").glob("*.json"),
    ]
    open_ones = [path.name for path in files if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    return not open_ones, f": {', '.join(open_ones)}" if open_ones else "", ""


def _held(check: Callable[[], str], language: str) -> tuple[bool, str, str]:
    """A check that refuses where it does not hold; the code's own way out becomes the finding's."""
    try:
        return True, check(), ""
    except (Refused, Unavailable) as error:
        why, fix = spoken(error.code, error.names, language)
        return False, f"{'：' if language == 'zh' else ': '}{why}", fix


def _lock(home: Path) -> tuple[bool, tuple[bool, str, str]]:
    """Whether a node serves the home, and the finding."""
    from dujiang import home as root

    if url := root.holder(home):
        return True, (True, url, "")
    try:
        root.open_home(home, wait_s=0).close()
    except Refused as error:
        if error.code is root.HOME_BUSY:
            return False, (False, "held", "")
    except Unavailable:
        pass  # what is wrong is the next finding's to say
    return False, (True, "free", "")


def _database(home: Path) -> str:
    from dujiang import home as root
    from dujiang.kernel.act import NODE
    from dujiang.ledger.acts import List
    from dujiang.plugs.migrations import HEAD

    with root.opened(home, wait_s=1.0) as held:
        entries = held.run("ledger.list", NODE, List(limit=1)).reply.size
        jumps = held.book.clock_jumps
        kind = "PostgreSQL, " if held.place.url else ""
    return f" ({kind}version {HEAD}, {entries} entries, {jumps} clock jumps)"


def _fsync(home: Path) -> tuple[bool, str, str]:
    """A slow disk is advice, not a fault: one slow write on a busy machine says little."""
    probe = home / f".probe-{os.getpid()}"
    try:
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            began = time.perf_counter()
            os.write(handle, b"\0" * 4096)
            os.fsync(handle)
            took = (time.perf_counter() - began) * 1000
        finally:
            os.close(handle)
            probe.unlink()
    except OSError:
        return False, "-", ""
    return True, f"{took:.1f}", "" if took <= _FSYNC_MS_ADVISED else "slow"


def _engine() -> str:
    from dujiang.plugs.duck import Duck

    engine = Duck()
    try:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.csv"
            source.write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
            began = time.perf_counter()
            engine.inspect(source, "probe.csv")
            return f" ({(time.perf_counter() - began) * 1000:.0f} ms)"
    finally:
        engine.close()


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
