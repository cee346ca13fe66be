"""Metrics: the text form holds, the numbers are true, and only who may reads them."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.testclient import TestClient

from dujiang.doors.metrics import TYPE
from dujiang.kernel.config import Config
from tests.doors import over_http

_HELP = re.compile(r"# HELP ([a-z_]+) (\S.*)")
_TYPE = re.compile(r"# TYPE ([a-z_]+) (counter|gauge|histogram)")
_LABEL = re.compile(r'([a-z_][a-z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"')
_SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Samples:
    """Every sample of the text form 0.0.4, read strictly: help, type, then the samples of that family alone."""
    assert text.endswith("\n")
    found: Samples = {}
    family, kind, helped = "", "", ""
    seen: set[str] = set()
    for line in text.splitlines():
        if hit := _HELP.fullmatch(line):
            helped = hit[1]
            assert helped not in seen, "a family stands together"
            seen.add(helped)
        elif hit := _TYPE.fullmatch(line):
            family, kind = hit[1], hit[2]
            assert family == helped
            assert kind != "counter" or family.endswith("_total")
        else:
            hit = _SAMPLE.fullmatch(line)
            assert hit is not None, line
            tail = hit[1].removeprefix(family)
            assert tail in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",)), line
            labels = tuple(_LABEL.findall(hit[2] or ""))
            assert ",".join(f'{key}="{value}"' for key, value in labels) == (hit[2] or "")
            assert (hit[1], labels) not in found, "a sample is said once"
            found[hit[1], labels] = float(hit[3])
    _histograms(found)
    return found


def _histograms(found: Samples) -> None:
    rows: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[float, float]]] = {}
    for (name, labels), value in found.items():
        if name.endswith("_bucket"):
            rest = tuple(each for each in labels if each[0] != "le")
            rows.setdefault((name.removesuffix("_bucket"), rest), []).append(
                (float(dict(labels)["le"]), value)
            )
    for (name, rest), buckets in rows.items():
        assert buckets == sorted(buckets) and buckets[-1][0] == float("inf")
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[-1][1] == found[f"{name}_count", rest]


def local(node: over_http.Node) -> TestClient:
    """A client on the node's own machine."""
    return TestClient(node.client.app, client=("127.0.0.1", 5000), base_url="http://127.0.0.1")


def test_the_numbers_are_those_of_what_was_done(tmp_path: Path) -> None:
    with over_http.node(tmp_path) as node:
        for name in ("甲", "乙", "乙"):
            node.post("identity.register", {"name": name, "roles": ["consumer"]}, 0)
        response = local(node).get("/metrics")
        assert response.status_code == 200 and response.headers["content-type"] == TYPE
        found = parsed(response.text)
        acts = {labels: value for (name, labels), value in found.items() if name == "dujiang_acts_total"}
        assert acts[("act", "identity.register"), ("code", "ok")] == 2
        assert acts[("act", "identity.register"), ("code", "name_taken")] == 1
        assert found["dujiang_act_seconds_count", (("act", "identity.register"),)] == 3
        assert found["dujiang_log_entries", ()] == node.entries()
        assert found["dujiang_writer_batch_acts_count", ()] >= 3
        assert found["dujiang_database_bytes", ()] > 4096 and found["dujiang_disk_free_bytes", ()] > 0
        assert found["dujiang_memory_pss_bytes", ()] > 10 << 20
        assert found["dujiang_messages_waiting", ()] == found["dujiang_jobs_waiting", ()] == 0
        for secret in ("甲", "org_", "per_", node.made[0]["api_key"]):
            assert secret not in response.text


def test_only_this_machine_or_who_oversees_reads_them(tmp_path: Path) -> None:
    with over_http.node(tmp_path) as node:
        assert node.client.get("/metrics").json()["code"] == "not_signed_in"
        assert node.client.get("/metrics", headers=node.key(1)).json()["code"] == "forbidden"
        assert node.client.get("/metrics", headers=node.key(0)).status_code == 200
        for proxied in ("x-forwarded-for", "forwarded", "x-real-ip"):
            there = local(node).get("/metrics", headers={proxied: "203.0.113.7"})
            assert there.json()["code"] == "not_signed_in"


def test_this_machine_may_be_shut_out_too(tmp_path: Path) -> None:
    with over_http.node(tmp_path, Config(metrics_loopback=0)) as node:
        assert local(node).get("/metrics").json()["code"] == "not_signed_in"
        assert local(node).get("/metrics", headers=node.key(0)).status_code == 200
