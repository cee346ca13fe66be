"""OpenTelemetry: one span for each act and each job, where the environment asks for it (`dujiang[otel]`).

A span has the act's name, its effect and the code of what came of it; an organisation's id, no content of an ask.
Nothing is imported, and nothing costs anything, unless OTEL_TRACES_EXPORTER or OTEL_EXPORTER_OTLP_ENDPOINT is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from dujiang import __version__, acts
from dujiang.home import Home
from dujiang.kernel.act import Caller
from dujiang.kernel.errors import Code, Exit, Unavailable

OTEL_MISSING = Code(
    "otel_missing", 503, Exit.usage,
    "Traces are asked for, but their packages are not installed or do not know this exporter.",
    "Run `pip install 'dujiang[otel]'`; or unset OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_ENDPOINT.",
    "已要求链路追踪，但所需软件包未安装或不支持该导出方式。",
    "请运行 `pip install 'dujiang[otel]'`；或取消 OTEL_TRACES_EXPORTER 与 OTEL_EXPORTER_OTLP_ENDPOINT。",
)  # fmt: skip
CODES = (OTEL_MISSING,)
_REFUSED_BY_US = ("internal", "database_failed", "disk_full", "engine_failed")
"""What counts as an error of this node; every other code is an answer."""


def configured(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    return exporter not in ("", "none") or bool(environment.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


def begin(home: Home) -> Callable[[], None]:
    """Traces every act of a home as the environment says; what is given back ends it.

    Raises: Unavailable otel_missing.
    """
    if not configured():
        return lambda: None
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _exporter()
    except ImportError:
        raise Unavailable(OTEL_MISSING) from None
    name = os.environ.get("OTEL_SERVICE_NAME", "dujiang")
    provider = TracerProvider(
        resource=Resource.create({"service.name": name, "service.version": __version__})
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    watcher = watch(home, provider)

    def end() -> None:
        home.watchers.remove(watcher)
        provider.shutdown()

    return end


def watch(home: Home, provider: Any) -> Callable[[str, Caller, int, float, str], None]:
    """The watcher, added to the home's, that makes a span of each act by a provider of tracers."""
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, Status, StatusCode

    tracer = provider.get_tracer("dujiang", __version__)

    def seen(act: str, caller: Caller, began_ns: int, seconds: float, code: str) -> None:
        known = acts.ACTS.get(act)
        told = {"dujiang.act": act, "dujiang.code": code, "dujiang.org": caller.org}
        if known is not None:
            told["dujiang.effect"] = known.effect.value
        span = tracer.start_span(
            act if known else "unknown", context=Context(), kind=SpanKind.INTERNAL, attributes=told,
            start_time=began_ns,
        )  # fmt: skip
        if code in _REFUSED_BY_US:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=began_ns + round(seconds * 1e9))

    home.watchers.append(seen)
    return seen


def _exporter() -> Any:
    asked = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if asked == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    if asked != "otlp":
        raise ImportError
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # pyright: ignore[reportMissingImports]
        OTLPSpanExporter,
    )

    return OTLPSpanExporter()
