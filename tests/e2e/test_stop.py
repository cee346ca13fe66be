"""A node told to end: what it acknowledged stands, a running question finishes or is run at the next start."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e import log
from tests.e2e.node import HOSPITAL, Node, environment, make, said

TERMS = {
    "statistics": 1000,
    "ceiling_statistics": 10_000,
    "fields": {"n": {"uses": ["filter"], "lo": 0, "hi": 100}},
}
ROWS = b"id,n\n" + b"".join(b"p%d,%d\n" % (n, n % 97) for n in range(500))


def signalled(node: Node, number: signal.Signals, times: int = 1) -> int:
    """The exit status of the node's process after so many signals."""
    process = node._process
    assert process is not None
    for turn in range(times):
        if turn:
            time.sleep(0.2)
        os.kill(process.pid, number)
    status = process.wait(timeout=60)
    assert process.stdout is not None
    process.stdout.close()
    node._process = None
    return status


def test_a_node_under_load_ends_in_order_and_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = make(home)
    key = made["organisations"][0]["api_key"]
    heard: list[dict[str, Any]] = []
    told: list[int] = []
    with Node(home) as node:
        url = node.url

        def grants() -> None:
            with httpx2.Client(timeout=30) as client:
                while True:
                    try:
                        answer = client.post(
                            f"{url}/v1/identity/grant", json={"roles": ["provider"]},
                            headers={"authorization": f"Bearer {key}"},
                        )  # fmt: skip
                    except (httpx2.HTTPError, OSError):
                        return
                    if answer.status_code != 200:
                        told.append(answer.status_code)
                        return
                    heard.append(answer.json()["receipt"])

        callers = [threading.Thread(target=grants) for _ in range(8)]
        for caller in callers:
            caller.start()
        while len(heard) < 40:
            time.sleep(0.01)
        assert signalled(node, signal.SIGTERM) == 0
        for caller in callers:
            caller.join(timeout=30)
    assert set(told) <= {503}
    with log.snapshot(home) as db:
        leaves = log.verify(db, made["vkey"])
    assert all(leaves[each["index"]] == each["leaf"] for each in heard)
    assert said(home, "identity", "invite", "王五", "--roles", "provider", "--as", HOSPITAL)["person"]


@pytest.mark.parametrize("signals", [1, 2])
def test_questions_that_wait_when_a_node_ends_are_answered_by_the_next_one(
    tmp_path: Path, signals: int
) -> None:
    home = tmp_path / "home"
    made = make(home)
    hospital, insurer = (each["api_key"] for each in made["organisations"])
    env = environment(DUJIANG_SET_STOP_SECONDS_MAX="0")
    with Node(home, env=env) as node:
        sent = node.upload("t.csv", ROWS, hospital).json()["upload"]
        offer = {"upload": sent, "entity": "id", "terms": TERMS}
        product = node.said("catalogue.offer", offer, hospital)["product"]
        agreed = node.said("contract.request", {"product": product, "purpose": "analyse"}, insurer)
        jobs = []
        for most in range(1, 13):
            ask = {
                "contracts": [agreed["contract"]],
                "sql": f"select count(*) as n from t where n >= 0 and n < {most}",
            }
            answer = node.post("cleanroom.ask", ask, insurer, wait="respond-async").json()
            if "job" in answer:
                jobs.append(answer["job"])
        assert jobs, answer
        began = time.monotonic()
        status = signalled(node, signal.SIGTERM, signals)
        assert status in (0, -signal.SIGTERM) and (signals == 2 or status == 0)
        assert time.monotonic() - began < 20
        with log.snapshot(home) as db:
            waiting = [job for (job,) in db.execute("SELECT id FROM cleanroom_job WHERE state = 'admitted'")]
            assert db.execute("SELECT count(*) FROM cleanroom_job WHERE state = 'failed'").fetchall() == [
                (0,)
            ]
        assert waiting, "all were done already: nothing was shown"
        node.start()
        deadline = time.monotonic() + 60
        left = list(jobs)
        while left and time.monotonic() < deadline:
            left = [job for job in left if not node.said("cleanroom.show", {"job": job}, insurer)["done"]]
            time.sleep(0.1)
        assert left == []
        node.kill()
    with log.snapshot(home) as db:
        log.balance(db)
        log.verify(db, made["vkey"])
