"""Traces: one span an act and a job, with its name, effect and code, and nothing of what was asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dujiang.doors import traces
from dujiang.kernel.errors import Unavailable
from tests.e2e.node import cli, environment, make
from tests.life import opened

SECRET = "zq_secret_9137"


def test_every_act_and_job_of_a_life_is_a_span_without_a_word_of_the_ask(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with opened(tmp_path) as life:
        watcher = traces.watch(life.home, provider)
        contract = life.agree(life.offer().product)
        life.ask(contract, f"select 性别, count(*) as n from 就诊 where 性别 <> '{SECRET}' group by 性别")
        life.ask(contract, f"select {SECRET} from 就诊")
        life.home.watchers.remove(watcher)
        life.size()
    spans = exporter.get_finished_spans()
    told: list[dict[str, Any]] = [dict(span.attributes or {}) for span in spans]
    names = [span.name for span in spans]
    assert {
        "catalogue.offer",
        "contract.request",
        "contract.hear",
        "cleanroom.ask",
        "cleanroom.complete",
    } <= set(names)
    codes = [each["dujiang.code"] for each in told if each["dujiang.act"] == "cleanroom.ask"]
    assert codes[0] == "ok" and codes[1] != "ok"
    assert all(each["dujiang.effect"] in ("reads", "writes", "keeps") for each in told)
    assert all(set(each) == {"dujiang.act", "dujiang.code", "dujiang.org", "dujiang.effect"} for each in told)
    assert SECRET not in "".join(span.to_json() for span in spans)
    assert all(span.end_time is not None and span.start_time is not None for span in spans)
    assert all(span.end_time > span.start_time for span in spans if span.end_time and span.start_time)


def test_nothing_is_imported_unless_it_is_asked_for(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make(home)
    code = (
        "import sys; from pathlib import Path; from dujiang import home; from dujiang.doors import serve, traces\n"
        f"with home.opened(Path({str(home)!r})) as held: traces.begin(held)(); print(len(held.watchers))\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )

    def ran(**more: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code], env=environment(**more), capture_output=True, text=True, check=True
        ).stdout

    for asked in (
        {},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"},
    ):
        assert ran(**asked).splitlines() == ["0", "[]"]
    assert "opentelemetry.sdk" in ran(OTEL_TRACES_EXPORTER="console")


def test_an_exporter_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with opened(tmp_path) as life, pytest.raises(Unavailable) as failed:
        traces.begin(life.home)
    assert failed.value.code.name == "otel_missing"
    ran = cli(
        life.home.path,
        "up",
        "--port",
        "0",
        "--json",
        env=environment(OTEL_TRACES_EXPORTER="pigeon", PATH=os.environ["PATH"]),
    )
    assert ran.exit == 2 and "otel_missing" in ran.out
