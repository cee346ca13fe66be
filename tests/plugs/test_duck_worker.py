"""The locked worker: what SQL handed to it raw cannot do, and what ends it."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dujiang.kernel.errors import Unavailable
from dujiang.plugs.cage import ENGINE_DEADLINE, ENGINE_FAILED, Limits, Worker
from dujiang.plugs.duck import Duck
from dujiang.plugs.worker import path_of

LONG = "select count(*) from range(1000000) a, range(1000000) b where (a.range ^ b.range) % 7 = 3"


@pytest.fixture(scope="module")
def engine() -> Iterator[Duck]:
    duck = Duck()
    yield duck
    duck.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    path = tmp_path / "guarded"
    query = "select range::int eid, 1 rn, range::int c0, 'x' || range c1 from range(1000)"
    duckdb.execute(f"copy ({query}) to '{path}' (format parquet)")
    path.chmod(0o444)
    return path


def test_values_come_back_as_plain_python(engine: Duck, guarded: Path) -> None:
    sql = (
        "select count(*), sum(c0) + 170141183460469231731687303715883000000, 'é', null, true,"
        " date '2024-02-29', timestamp '2024-02-29 01:02:03', 1.50::decimal(9,2), 0.5::double from t0"
    )
    big = 499500 + 170141183460469231731687303715883000000
    assert engine.compute(sql, guarded) == [
        [1000, big, "é", None, True, "2024-02-29", "2024-02-29T01:02:03", "1.50", 0.5]
    ]


FILE = path_of(0)
ATTACKS = [
    f"copy (select 666) to '{FILE}' (format parquet, use_tmp_file false)",
    f"copy (select 666) to '{FILE}' (format csv)",
    "copy t0 to '/tmp/dujiang-stolen.csv'",
    "copy t0 to '/dev/shm/dujiang-stolen.csv'",
    "from read_csv('/etc/passwd')",
    "from '/etc/passwd'",
    "from read_text('/etc/passwd')",
    "from read_blob('/proc/self/environ')",
    "from read_text('/proc/self/fd/0')",
    f"from read_text('{FILE}/../../environ')",
    f"from read_text('{FILE}0')",
    "from glob('/etc/*')",
    "attach '/tmp/dujiang-stolen.db' as other",
    f"attach '{FILE}' as other",
    "export database '/tmp/dujiang-stolen'",
    "install httpfs",
    "load httpfs",
    "from read_csv('http://127.0.0.1:1/x')",
    "from read_parquet('s3://bucket/x')",
    "set enable_external_access = true",
    "set allowed_paths = ['/etc/passwd']",
    "set allowed_directories = ['/']",
    "set lock_configuration = false",
    "reset lock_configuration",
    "set memory_limit = '8GB'",
    "set threads = 64",
    "set temp_directory = '/tmp'",
    "set enable_logging = true",
    "pragma enable_profiling = 'json'",
    "select error('x' || c1) from t0",
    "select c1::int from t0",
    "select nonsense",
    "",
]


@pytest.mark.parametrize("sql", ATTACKS)
def test_raw_sql_cannot_leave_the_lock(engine: Duck, guarded: Path, sql: str) -> None:
    before = hashlib.sha256(guarded.read_bytes()).digest()
    with pytest.raises(Unavailable) as caught:
        engine.compute(sql, guarded)
    assert caught.value.code is ENGINE_FAILED
    assert caught.value.names == {} and str(caught.value) == "engine_failed"
    assert hashlib.sha256(guarded.read_bytes()).digest() == before
    assert not [path for folder in ("/tmp", "/dev/shm") for path in Path(folder).glob("dujiang-stolen*")]


def test_worker_has_no_rights_left(guarded: Path) -> None:
    with Worker() as worker, guarded.open("rb") as file:
        worker.begin(Limits(), [file.fileno()], [], question=True)
        status = Path(f"/proc/{worker.pid}/status").read_text()
        limits = Path(f"/proc/{worker.pid}/limits").read_text()
        told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert os.getsid(worker.pid) == worker.pid
        assert "0" not in told["Uid"].split()
        assert int(told["CapEff"], 16) == 0 and told["NoNewPrivs"] == "1"
        for name, most in (("Max core file size", "0"), ("Max file size", "0")):
            assert next(line for line in limits.splitlines() if line.startswith(name)).split()[-3] == most
        if os.geteuid() == 0:
            assert os.readlink(f"/proc/{worker.pid}/ns/net") != os.readlink("/proc/self/ns/net")


def test_environment_does_not_reach_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUJIANG_MASTER_KEY", "hunter2")
    with Worker() as worker:
        worker.begin(Limits(), [], [], question=True)
        found = Path(f"/proc/{worker.pid}/environ").read_bytes()
    assert b"PATH=/nonexistent" in found
    assert b"hunter2" not in found


def test_a_file_the_worker_could_write_is_not_computed_on(engine: Duck, guarded: Path) -> None:
    guarded.chmod(0o666)
    with pytest.raises(Unavailable) as caught:
        engine.compute("select count(*) from t0", guarded)
    assert caught.value.code is ENGINE_FAILED


def peak(worker: Worker) -> int:
    status = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    line = next(each for each in status if each.startswith("VmHWM"))
    return int(line.split()[1]) << 10


@pytest.mark.parametrize(
    "sql",
    [
        "select length(repeat('a', 2000000000))",
        "select length(string_agg(repeat(c1, 100000), '')) from t0",
        "select list(a.range) from range(100000000) a",
    ],
)
def test_memory_bomb_is_stopped(guarded: Path, sql: str) -> None:
    with Worker() as worker, guarded.open("rb") as file:
        setup = [f"create view t0 as from read_parquet('{FILE}')"]
        worker.begin(Limits(memory_bytes=128 << 20), [file.fileno()], setup, question=True)
        with pytest.raises(Unavailable) as caught:
            worker.ask(sql)
        assert caught.value.code is ENGINE_FAILED
        if worker.alive:
            assert peak(worker) < 1 << 30


def test_deadline_kills_a_running_question(engine: Duck, guarded: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        engine.compute(LONG, guarded, limits=Limits(seconds=0.3))
    assert caught.value.code is ENGINE_DEADLINE
    assert engine.compute("select count(*) from t0", guarded) == [[1000]]


@pytest.mark.parametrize(
    ("sql", "limits", "fits"),
    [
        ("select c0 from t0", Limits(rows_max=1000), True),
        ("select c0 from t0", Limits(rows_max=999), False),
        ("select repeat('x', 100000) from t0", Limits(bytes_max=1 << 20), False),
        ("select repeat('x', 100) from t0", Limits(bytes_max=1 << 20), True),
    ],
)
def test_size_of_an_answer_is_capped(
    engine: Duck, guarded: Path, sql: str, limits: Limits, fits: bool
) -> None:
    if fits:
        assert len(engine.compute(sql, guarded, limits=limits)) == 1000
        return
    with pytest.raises(Unavailable) as caught:
        engine.compute(sql, guarded, limits=limits)
    assert caught.value.code is ENGINE_FAILED


def test_parent_reads_nothing_of_an_answer_too_long(guarded: Path) -> None:
    ours, theirs = socket.socketpair()
    worker = Worker()
    with worker, ours, theirs:
        worker.begin(Limits(bytes_max=1000), [], [], question=True)
        worker._socket.close()
        worker._socket = ours
        theirs.sendall((1 << 40).to_bytes(8, "big") + b"x" * 100)
        with pytest.raises(Unavailable):
            worker.ask("select 1")
        assert ours.recv(200) == b"x" * 100


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"[" * 5000, b'{"rows": 3}', b"[]", b"\xff\xff"])
def test_nonsense_from_a_worker_is_a_failure(answer: bytes) -> None:
    ours, theirs = socket.socketpair()
    worker = Worker()
    with worker, ours, theirs:
        worker.begin(Limits(), [], [], question=True)
        worker._socket.close()
        worker._socket = ours
        theirs.sendall(len(answer).to_bytes(8, "big") + answer)
        with pytest.raises(Unavailable) as caught:
            worker.ask("select 1")
        assert caught.value.code is ENGINE_FAILED


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_killed_worker_is_a_failure_and_the_next_works(guarded: Path) -> None:
    engine = Duck()
    engine.warm()
    (standing,) = children() - OTHERS
    os.kill(standing, signal.SIGKILL)
    while running(standing):
        time.sleep(0.005)
    assert engine.compute("select count(*) from t0", guarded) == [[1000]]
    engine.close()
    assert not running(standing)


OTHERS: set[int] = set()


@pytest.fixture(autouse=True)
def others() -> None:
    OTHERS.clear()
    OTHERS.update(children())


def test_worker_killed_at_work_is_a_failure(guarded: Path) -> None:
    with Worker() as worker, guarded.open("rb") as file:
        worker.begin(Limits(), [file.fileno()], [], question=True)
        pid = os.fork()
        if pid == 0:
            time.sleep(0.2)
            os.kill(worker.pid, signal.SIGKILL)
            os._exit(0)
        with pytest.raises(Unavailable) as caught:
            worker.ask(LONG)
        os.waitpid(pid, 0)
        assert caught.value.code is ENGINE_FAILED


def test_close_leaves_no_process(guarded: Path) -> None:
    engine = Duck()
    engine.warm()
    engine.compute("select 1", guarded)
    assert children() - OTHERS
    engine.close()
    assert not children() - OTHERS


@pytest.mark.parametrize("sql", [None, LONG])
def test_worker_dies_with_its_parent(sql: str | None) -> None:
    program = (
        "import sys, threading, time\n"
        "from dujiang.plugs.cage import Limits, Worker\n"
        "worker = Worker(); worker.begin(Limits(seconds=60), [], [], question=True)\n"
        "print(worker.pid, flush=True)\n"
        f"worker.ask({sql!r}) if {sql!r} else time.sleep(60)\n"
    )
    parent: Any = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    time.sleep(0.2)
    assert running(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(400):
        if not running(child):
            break
        time.sleep(0.01)
    assert not running(child)
