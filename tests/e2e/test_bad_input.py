"""Bad input as a person would give it: a refusal with code, why and fix in both languages, and nothing left.

A marker stands in every table and question; it may appear in no output and in no log.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from resource import RLIMIT_FSIZE, setrlimit

import pytest

from dujiang import home as home_module
from dujiang.contract.acts import Hear
from dujiang.doors import profiles
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Refused
from dujiang.ledger.acts import List
from tests.e2e import log
from tests.e2e.node import INSURER, Node, Ran, cli, environment, make, said, start

MARK = "9f3a7c1e"
HANZI = re.compile("[\u4e00-\u9fff]")
GOOD = "id,name,x\n" + "".join(f"p{n},{MARK},{n % 9}\n" for n in range(200))


class Home:
    """A home with a contract on a table full of the marker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "home"
        make(self.path)
        (folder / "good.csv").write_text(GOOD)
        self.product: str = said(self.path, "offer", str(folder / "good.csv"), "--entity", "id")["product"]
        agreed = said(self.path, "agree", self.product, "--purpose", "analyse", "--as", INSURER)
        self.contract: str = agreed["contract"]

    def file(self, name: str, content: bytes) -> str:
        """The path of a file with that content."""
        place = self.folder / name
        place.write_bytes(content)
        return str(place)

    def versions(self) -> set[str]:
        """The versions that exist."""
        with sqlite3.connect(f"file:{self.path / 'state.sqlite'}?mode=ro", uri=True) as db:
            return {row[0] for row in db.execute("SELECT id FROM registry_version")}

    def uploads(self) -> set[str]:
        """Files that were sent and are kept for a day."""
        return {place.name for place in (self.path / "files").glob("uploads/*/*")}

    def clean(self, *, uploads: bool) -> None:
        """No file of an attempt is left; `uploads`: neither are whole uploads."""
        files = self.path / "files"
        assert {place.name for place in (files / "tables").iterdir()} == self.versions()
        names = [place.name for place in files.rglob("*") if place.is_file()]
        assert not [name for name in names if name.startswith(".") or name.endswith(".part")]
        assert set(names) - {"plain.parquet", "guarded.parquet"} == set() or not uploads, names


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One home for all of it."""
    return Home(tmp_path_factory.mktemp("bad"))


def check(ran: Ran, *codes: str, chinese: bool = False) -> str:
    """The code of a refusal that has everything it must have and nothing it must not."""
    body = ran.body
    assert ran.exit not in (0, 130) and body["code"] in codes, ran
    assert body["why"] and body["fix"]
    assert not chinese or (HANZI.search(body["why"]) and HANZI.search(body["fix"])), body
    assert MARK not in ran.out + ran.err and "Traceback" not in ran.err
    return str(body["code"])


def lines(home: Home) -> dict[str, tuple[list[str], tuple[str, ...]]]:
    """Lines a person could type, by what is wrong with them, and the codes that say so."""
    good, ask = str(home.folder / "good.csv"), ["ask", home.contract]
    cells = ",".join(f"{MARK}{n}" for n in range(20))
    long = b"select " + b"1+" * 500_000 + b"1 from good"
    deep = "select count(*) from good where " + "(" * 10_000 + "x > 1" + ")" * 10_000
    return {
        "broken csv": (["offer", home.file("broken.csv", f"a,b\n1,{MARK}\n2,\"{MARK}\n3,4\n".encode())],
                       ("unreadable_table",)),
        "ragged csv": (["offer", home.file("ragged.csv", f"a,b\n1,{MARK}\n{cells}\n".encode())], ("unreadable_table",)),
        "no encoding": (["offer", home.file("odd.csv", b"a,b\n" + MARK.encode() + b",\xff\xfe\x80\x81\n" * 50)],
                        ("wrong_encoding",)),
        "half a parquet": (["offer", home.file("half.parquet", b"PAR1" + MARK.encode() * 99)], ("unreadable_table",)),
        "empty": (["offer", home.file("empty.csv", b"")], ("empty_file",)),
        "no rows": (["offer", home.file("bare.csv", b"a,b\n")], ("no_rows",)),
        "same names": (["offer", home.file("same.csv", f"a,A\n1,{MARK}\n".encode())], ("duplicate_columns",)),
        "zeros": (["offer", home.file("zeros.csv", b"\0" * 4096)], ("wrong_encoding",)),
        "a folder": (["offer", str(home.folder)], ("file_missing",)),
        "no such file": (["offer", "/nowhere/x.csv"], ("file_missing",)),
        "no such entity": (["offer", good, "--entity", "nobody"], ("column_missing",)),
        "broken terms": (["offer", good, "--terms", home.file("t.toml", f"a = [{MARK}".encode())],
                         ("file_unreadable",)),
        "a mistyped term": (["offer", good, "--terms", home.file("u.toml", b"qestions = 3")], ("unknown_field",)),
        "terms of another kind": (["offer", good, "--terms", home.file("v.toml", b'days = "soon"')], ("malformed",)),
        "an odd period": (["offer", good, "--terms", home.file("w.toml", b"days = -1")], ("terms_wrong",)),
        "no question": ([*ask, f"drop table good -- {MARK}"], ("not_a_question",)),
        "no sql": ([*ask, f"how many {MARK} are there"], ("not_a_question",)),
        "two questions": ([*ask, f"select count(*) from good; select '{MARK}'"], ("not_a_question",)),
        "a row": ([*ask, "select name from good where x = 1"], ("only_aggregates",)),
        "another table": ([*ask, f"select count(*) from read_csv('/etc/{MARK}')"], ("function_not_allowed",)),
        "a megabyte": ([*ask, home.file("big.sql", long)], ("question_too_long",)),
        "brackets": ([*ask, deep], ("question_too_deep",)),
        "not text": ([*ask, "select \udcff from good"], ("text_unreadable",)),
        "no contract": (["ask", "ctr_00000000000000000000000000", f"select '{MARK}'"], ("not_found",)),
        "no purpose": (["agree", home.product], ("argument_missing",)),
        "no flag": (["find", "x", "--colour", MARK], ("no_such_flag",)),
        "no field": (["identity", "grant", "--roles", MARK], ("role_unknown",)),
        "no command": (["oofer", MARK], ("no_such_command",)),
        "too many words": (["up", MARK], ("argument_beyond",)),
        "no number": (["up", "--port", MARK], ("argument_wrong",)),
        "no organisation": (["find", "x", "--as", MARK], ("profile_unknown",)),
        "out of this world": ([*ask, "select count(*) from good", "--out", f"/nowhere/{MARK}.csv"], ("out_failed",)),
        "no receipt": (["verify", home.file("r.json", f'{{"leaf": "{MARK}"}}'.encode())], ("not_a_receipt",)),
    }  # fmt: skip


def run(home: Home, line: list[str], *more: str) -> Ran:
    """What a line says; a question of a megabyte comes on standard input."""
    consumer = line[0] in ("ask", "agree") and "--as" not in line
    who = ["--as", INSURER] if consumer else []
    typed = ["-" if word.endswith(".sql") else word for word in line]
    with open(line[-1] if "-" in typed else os.devnull, "rb") as given:
        process = start(home.path, *typed, *who, "--json", *more, stdin=given)
        out, err = process.communicate(timeout=120)
    return Ran(process.returncode, out.decode(), err.decode())


def test_a_bad_file_leaves_nothing(home: Home) -> None:
    """Without a node, in English: the expected code, no value said, and not a file more than before."""
    for line, codes in lines(home).values():
        if line[0] == "offer":
            check(run(home, line), *codes)
            home.clean(uploads=True)


def test_a_node_refuses_alike_in_chinese_and_logs_no_value(home: Home) -> None:
    """Over HTTP, in Chinese: the same codes, no value in the log of the node, nothing half-written left."""
    with Node(home.path) as node, ThreadPoolExecutor(4) as several:
        told = {
            name: several.submit(run, home, line, "--lang", "zh") for name, (line, _) in lines(home).items()
        }
        for name, (_, codes) in lines(home).items():
            check(told[name].result(), *codes, chinese=True)
        home.clean(uploads=False)
        node.stop()
        logged = node.log.read_text()
    assert '"event":"request"' in logged and MARK not in logged


def test_a_file_over_the_limit(home: Home) -> None:
    small = environment(DUJIANG_SET_UPLOAD_BYTES_MAX="1000")
    kept = home.uploads()
    ran = cli(home.path, "offer", str(home.folder / "good.csv"), "--json", env=small)
    check(ran, "upload_too_large")
    with Node(home.path, env=small) as node:
        key = profiles.read(home.path)[0].api_key
        for content in (GOOD.encode(), iter([GOOD.encode()] * 3)):
            sent = node.upload("big.csv", content, key)
            assert sent.status_code == 413 and sent.json()["code"] == "upload_too_large"
    assert home.uploads() == kept


@pytest.mark.parametrize("setting", ["UPLOAD_BYTES_MAXX=1", "UPLOAD_BYTES_MAX=many"])
def test_a_setting_that_is_none(home: Home, setting: str) -> None:
    name, _, value = setting.partition("=")
    ran = cli(home.path, "find", "x", "--json", env=environment(**{f"DUJIANG_SET_{name}": value}))
    check(ran, "config_unknown", "config_malformed")


def test_a_message_of_rubbish(home: Home) -> None:
    """No door takes a message yet; the delivery loop's own way refuses it with one code, whatever is wrong."""
    rubbish = ("", MARK, "a.b.c", "." * 100_000, "eyJhbGciOiJub25lIn0.e30.", "\\ud800", "\\0", "é.é.é")
    with home_module.opened(home.path) as held:
        size = held.run("ledger.list", NODE, List(limit=1)).reply.size
        for envelope in rubbish:
            with pytest.raises(Refused) as refused:
                held.run("contract.hear", NODE, Hear(envelope))
            assert refused.value.code.name in ("message_unverified", "malformed"), refused.value.code
            assert MARK not in str(refused.value.names)
        assert held.run("ledger.list", NODE, List(limit=1)).reply.size == size
    with Node(home.path) as node:
        key = profiles.read(home.path)[0].api_key
        assert node.post("contract.hear", {"envelope": MARK}, key).status_code == 404


def test_a_home_of_a_newer_version(home: Home, tmp_path: Path) -> None:
    """Nothing is changed in it, whether its form or its database is the newer one."""
    copied = copy(home, tmp_path)
    (copied / "home.json").write_text('{"v": 2, "authority": "x"}')
    before = digest(copied)
    check(cli(copied, "find", "x", "--json"), "home_newer")
    check(cli(copied, "up", "--port", "0", "--json", "--lang", "zh"), "home_newer", chinese=True)
    assert digest(copied) == before
    shutil.copy(home.path / "home.json", copied / "home.json")
    with sqlite3.connect(copied / "state.sqlite") as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    before = digest(copied)
    check(cli(copied, "offer", str(home.folder / "good.csv"), "--json"), "home_newer")
    assert digest(copied) == before


def test_a_home_of_rubbish(home: Home, tmp_path: Path) -> None:
    copied = copy(home, tmp_path)
    for name, content in (
        ("home.json", f"[{MARK}"),
        ("state.sqlite", MARK * 999),
        ("config.toml", f"= {MARK}"),
    ):
        kept = (copied / name).read_bytes() if (copied / name).exists() else None
        (copied / name).write_text(content)
        check(cli(copied, "find", "x", "--json"), "home_broken", "database_failed", "config_malformed")
        (copied / name).unlink() if kept is None else (copied / name).write_bytes(kept)
    copied.with_name("home.key").write_text(MARK)
    check(cli(copied, "find", "x", "--json"), "key_unreadable")


def test_a_home_that_is_read_only(home: Home, tmp_path: Path) -> None:
    """Reading and writing both say what is wrong; root is bound by the rights of files for once."""
    copied = copy(home, tmp_path)
    places = [copied, *copied.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        for line in (["find", "x"], ["offer", str(home.folder / "good.csv")], ["up", "--port", "0"]):
            check(cli(copied, *line, "--json", preexec_fn=bound_by_rights), "home_read_only")
    finally:
        for place in places:
            place.chmod(0o700 if place.is_dir() else 0o600)
    said(copied, "identity", "invite", "王五", "--roles", "provider")


def bound_by_rights() -> None:
    """In a child: root, too, may write only what the rights of a file say (no CAP_DAC_OVERRIDE, …)."""
    if os.geteuid() == 0:
        for capability in (1, 2, 3):
            ctypes.CDLL(None, use_errno=True).prctl(24, capability, 0, 0, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB; without the right to mount one, a limit on the size of files stands for it."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True)
    yield place
    if made.returncode == 0:
        subprocess.run(["umount", "-l", str(place)], check=True)


FULL = (
    "disk_full",
    "disk_low",
    "files_failed",
    "upload_failed",
    "database_failed",
    "engine_failed",
    "home_read_only",
)


def test_a_disk_that_fills_up(home: Home, small_disk: Path) -> None:
    """At every amount of room: done, or refused and not done; with room again the home goes on and verifies."""
    copied = copy(home, small_disk)
    mounted = os.path.ismount(small_disk)
    env = environment(DUJIANG_SET_DISK_FREE_MB_MIN="0")
    offer = ["offer", home.file("more.csv", GOOD.encode() + GOOD.encode()[10:] * 300), "--json"]
    refused = 0
    for room in (0, 4, 16, 64, 128, 256, 1024):
        filled = fill(small_disk, room) if mounted else None
        limit = (
            {} if mounted else {"preexec_fn": lambda room=room: setrlimit(RLIMIT_FSIZE, (room * 1024,) * 2)}
        )
        for line in (offer, ["identity", "invite", f"p{room}", "--roles", "provider", "--json"]):
            ran = cli(copied, *line, env=env, **limit)
            if ran.exit:
                check(ran, *FULL)
                refused += 1
        if filled is not None:
            filled.unlink()
    assert refused >= 4
    people = [each["name"] for each in said(copied, "identity", "list", env=env)["people"]]
    assert said(copied, "identity", "invite", "q", "--roles", "provider", env=env)["person"]
    assert len(people) == len(set(people))
    vkey = said(copied, "receipt", "0", env=env)["receipt"]["vkey"]
    with log.snapshot(copied) as db:
        log.verify(db, vkey)
        log.balance(db)
    same = Home.__new__(Home)
    same.path = copied
    same.clean(uploads=False)


def fill(disk: Path, room_kb: int) -> Path:
    """A file that leaves so much room on a disk."""
    filler = disk / "filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(4096))
    os.truncate(filler, max(0, filler.stat().st_size - room_kb * 1024))
    return filler


def copy(home: Home, folder: Path) -> Path:
    """A copy of the home with its key and the file that says how far its log has come."""
    shutil.copytree(home.path, folder / "home")
    for beside in ("home.key", "home.high"):
        shutil.copy(home.path.with_name(beside), folder / beside)
    return folder / "home"


def digest(home: Path) -> dict[str, bytes]:
    """Every file of a home, less the lock and what a reader of the database leaves beside it."""
    passing = ("lock", "state.sqlite-shm", "state.sqlite-wal")
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*") if path.is_file() and path.name not in passing
    }  # fmt: skip
