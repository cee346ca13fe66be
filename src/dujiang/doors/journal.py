"""The structured log of a node: JSON lines on standard error, never with a value of anybody's data.

1. A line names what happened by constants and numbers; no message of a foreign exception is written.
2. A bug is written as its class and the places it went through: file, line and function, no locals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import structlog

_TOGETHER_S = 0.2
_REQUESTS: list[dict[str, object]] = []


def configure() -> None:
    """Sends every structured line of this process, and what libraries log, to standard error as JSON."""
    structlog.configure(**_SETTINGS, logger_factory=_Lines)
    root = logging.getLogger()
    root.handlers[:] = [ForeignLog()]
    root.setLevel(logging.WARNING)


def request(scope: MutableMapping[str, Any], path: str, status: int, ms: float) -> None:
    """Notes one answered request; the lines of a fifth of a second are written together.

    `path`: the template, not what was sent. A line at a time, the log would cost an act over HTTP as much as
    the act itself (measured).
    """
    if not _REQUESTS:
        asyncio.get_running_loop().call_later(_TOGETHER_S, flush)
    line: dict[str, object] = {
        "event": "request", "level": "info", "timestamp": time.time(), "request": scope.get("request"),
        "method": scope["method"], "path": path, "status": status, "ms": round(ms, 1),
    }  # fmt: skip
    line.update((name, scope[name]) for name in ("org", "code") if scope.get(name))
    _REQUESTS.append(line)


def flush() -> None:
    """Writes what was noted."""
    noted, _REQUESTS[:] = _REQUESTS[:], []
    for line in noted:
        when = datetime.fromtimestamp(cast("float", line["timestamp"]), UTC)
        line["timestamp"] = when.isoformat().replace("+00:00", "Z")
    if noted:
        _write("\n".join(msgspec.json.encode(line).decode() for line in noted))


def bug(error: BaseException, **where: object) -> None:
    """Writes what is known of a bug without a value."""
    LOG.error("bug", error=_kind(error), frames=_frames(error), **where)


class ForeignLog(logging.Handler):
    """Notes that a library had something to say, and where in its code; what it says may hold a value."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line; see the class."""
        error = record.exc_info[1] if record.exc_info else None
        more: dict[str, object] = {} if error is None else {"error": _kind(error), "frames": _frames(error)}
        place = f"{record.pathname}:{record.lineno} {record.funcName}"
        LOG.warning("library", library=record.name, place=place, **more)


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _frames(error: BaseException) -> list[str]:
    return [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]


def _line(event: dict[str, Any], **_: Any) -> str:
    return msgspec.json.encode(event).decode()


def _write(text: str) -> None:
    # A log nobody reads any more (a closed pipe) is no reason to stop.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class _Lines:
    """Writes to what standard error is now: a program that turns it elsewhere is followed."""

    def __init__(self, *_: Any) -> None:
        """A logger's name changes nothing."""

    def write(self, line: str) -> None:
        _write(line)

    debug = info = warning = error = critical = write


_SETTINGS: dict[str, Any] = {
    "processors": [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(serializer=_line),
    ],
    "wrapper_class": structlog.BoundLogger,
}
# Settings of its own: a bug is written to standard error also where nobody configured anything.
LOG: Any = structlog.wrap_logger(_Lines(), **_SETTINGS)
