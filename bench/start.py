"""How long the command and a node take to start, and what a node takes in memory."""

from __future__ import annotations

import http.client
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figure import Figure
from bench.measure import command, environment, memory_mb, peak_mb, spent
from bench.space import folder, opened
from dujiang.ledger import acts as ledger

_RUNS = 11
_IDLE_S = 3.0


def figures() -> Iterator[Figure]:
    """The figures of whole processes."""
    with folder() as place:
        with opened(place) as space:
            receipt = space.home.run("ledger.prove", space.hospital, ledger.Show(_last(space))).reply.receipt
        (place / "receipt.json").write_text(json.dumps(receipt), "utf-8")
        env = environment(place / "home")
        nothing = _median([sys.executable, "-c", "pass"], env)
        for words, name, goal in (
            (["--help"], "`--help`, whole process", "≤ 0.25"),
            (["verify", str(place / "receipt.json")], "`verify` a receipt, whole process", "≤ 0.3"),
        ):
            wall, cpu = _median(command(*words), env)
            beside = {"cpu_s": cpu, "python_pass_s": nothing[0], "runs": _RUNS}
            yield Figure(name, wall, "s", goal, beside)
        yield from _up(env)
        yield from _demo(env)


def _last(space: Any) -> int:
    return int(space.home.run("ledger.list", space.hospital, ledger.List(limit=1)).reply.items[0].index)


def _median(line: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Median wall and CPU seconds of a process, run 11 times after one that warms the disk's cache."""
    found: list[tuple[float, float]] = []
    for _ in range(_RUNS + 1):
        with spent() as one:
            subprocess.run(line, env=env, check=True, capture_output=True)
        found.append((one.wall_s, one.children_s))
    walls, cpus = zip(*found[1:], strict=True)
    return statistics.median(walls), statistics.median(cpus)


def _up(env: dict[str, str]) -> Iterator[Figure]:
    times: list[float] = []
    said: list[float] = []
    memory = 0.0
    for _ in range(5):
        begun = time.perf_counter()
        node = subprocess.Popen(
            command("up", "--port", "0", "--json"),
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert node.stdout is not None
            url = json.loads(_document(node.stdout))["url"]
            said.append(time.perf_counter() - begun)
            _answered(url)
            times.append(time.perf_counter() - begun)
            time.sleep(_IDLE_S)
            memory = max(memory, memory_mb(node.pid))
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait(30)
    beside = {"said_its_address_s": statistics.median(said), "runs": len(times)}
    yield Figure("`up` to the first answer", statistics.median(times), "s", "≤ 1.5", beside)
    yield Figure(
        "idle node, memory of the process tree", memory, "MB", "≤ 180", {"kind": "PSS", "runs": len(times)}
    )


def _document(stream: Any) -> str:
    text = ""
    while line := stream.readline():
        text += line
        try:
            json.loads(text)
        except ValueError:
            continue
        return text
    raise RuntimeError("the node did not start")


def _answered(url: str) -> None:
    connection = http.client.HTTPConnection(url.partition("://")[2], timeout=10)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    connection.close()


def _demo(env: dict[str, str]) -> Iterator[Figure]:
    out = Path(env["DUJIANG_HOME"]).parent / "demo.json"
    walls: list[float] = []
    cpus: list[float] = []
    peaks: list[float] = []
    for _ in range(3):
        with spent() as one, out.open("wb") as file:
            line = command("demo", "--once", "--json")
            demo = subprocess.Popen(line, env=env, stdout=file, stderr=subprocess.DEVNULL)
            with peak_mb(demo.pid) as peak:
                status = demo.wait(120)
        assert status == 0, status
        walls.append(one.wall_s)
        cpus.append(one.children_s)
        peaks.append(peak[-1])
    steps = {step["name"]: step["seconds"] for step in json.loads(out.read_text("utf-8"))["steps"]}
    beside = {"cpu_s": statistics.median(cpus), "steps_s": steps, "runs": len(walls)}
    yield Figure("`demo --once`, whole process", statistics.median(walls), "s", "≤ 10", beside)
    yield Figure("`demo --once`, peak memory of the process tree", max(peaks), "MB", "≤ 250", {"kind": "PSS"})
