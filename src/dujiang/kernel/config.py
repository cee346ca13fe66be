"""The settings of a home: one frozen dataclass, from one TOML file and the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from dujiang.kernel.errors import Code, Exit, Refused

CONFIG_UNKNOWN = Code(
    "config_unknown", 400, Exit.usage,
    "The setting {name} does not exist.", "Remove it, or use one of the names in docs/CONFIG.md.",
    "没有名为 {name} 的设置。", "请删除它，或改用 docs/CONFIG.md 中的名称。",
)  # fmt: skip
CONFIG_MALFORMED = Code(
    "config_malformed", 400, Exit.usage,
    "The setting {name} has a value of the wrong kind.", "Give it a {kind}.",
    "设置 {name} 的值类型不对。", "请填写 {kind}。",
)  # fmt: skip
CODES = (CONFIG_UNKNOWN, CONFIG_MALFORMED)
_PREFIX = "DUJIANG_SET_"


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting with a working default; units stand in the names."""

    upload_bytes_max: int = 2 * 1024**3
    """Largest file that can be offered."""
    ask_bytes_max: int = 1024 * 1024
    """Largest request body of an act."""
    batch_acts_max: int = 1024
    """Most acts committed in one transaction."""
    queue_acts_max: int = 10_000
    """Most acts waiting for the writer; beyond it a caller is told to come back."""
    page_rows_max: int = 1000
    """Most rows of a list in one reply."""
    question_seconds_max: int = 30
    """A question's process is killed after this long."""
    question_memory_mb: int = 1024
    """Memory a question's engine may use."""
    register_seconds_max: int = 600
    """Reading and registering a table is stopped after this long."""
    register_memory_mb: int = 768
    """Memory that reading and registering a table may use."""
    delivery_attempts_max: int = 20
    """A message is given up after so many failed deliveries."""
    delivery_backoff_s_max: int = 3600
    """Longest wait between two deliveries of a message."""
    platform_fee_bp: int = 0
    """What the operator keeps of a settled bill, in 1/100 of a percent; pinned when the bill is made."""
    quote_minutes: int = 60
    """How long a quote holds."""
    session_hours: int = 12
    """A browser session ends after this long."""
    link_minutes: int = 30
    """A single-use sign-in link is good for this long."""
    clock_step_s_max: int = 5
    """A clock that jumps further than this is reported."""
    disk_free_mb_min: int = 64
    """Below this much free disk nothing new is accepted."""
    wait_seconds_max: int = 120
    """Longest a door waits for a long act before it answers with where to look."""
    org_requests_per_s_max: int = 2000
    """Requests a second an organisation may send; 0: any number."""
    org_requests_at_once_max: int = 256
    """Requests an organisation may have waiting at one time; 0: any number."""
    org_questions_at_once_max: int = 32
    """Questions of an organisation that may wait or run at one time; 0: any number."""
    org_negotiations_open_max: int = 1000
    """Negotiations an organisation may have open as consumer; 0: any number."""
    org_upload_mb_per_day_max: int = 102_400
    """Megabytes an organisation may send within a day; 0: any number."""
    org_stored_mb_max: int = 512_000
    """Megabytes of an organisation this node keeps; beyond it no file is taken; 0: any number."""
    stranger_requests_per_s_max: int = 200
    """Requests a second from one address whose sender is not known; 0: any number."""
    log_requests_per_s_max: int = 2000
    """Requests a second from one address for parts of the log, which is everybody's to read; 0: any number."""
    stop_seconds_max: int = 20
    """A node that is stopped lets running questions finish for so long; then they are left for the next start."""
    metrics_loopback: int = 1
    """1: /metrics answers this machine without a key (unless by a proxy); 0: only a key of an operator or auditor."""

    def rows(self, limit: int) -> int:
        """How many rows of a list are given where `limit` were asked for."""
        return max(1, min(limit, self.page_rows_max))


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """The settings of `path` (TOML, may be missing) and of `DUJIANG_SET_<NAME>` variables on top.

    Raises: Refused config_unknown, config_malformed.
    """
    found: dict[str, object] = {}
    if path is not None and path.exists():
        try:
            found.update(tomllib.loads(path.read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            raise Refused(CONFIG_MALFORMED, name=path.name, kind="TOML") from None
    for name, value in environment.items():
        if name.startswith(_PREFIX):
            found[name.removeprefix(_PREFIX).lower()] = value
    known = {field.name for field in fields(Config)}
    chosen: dict[str, int] = {}
    for name, value in found.items():
        if name not in known:
            raise Refused(CONFIG_UNKNOWN, name=name[:60])
        chosen[name] = _whole(name, value)
    return replace(Config(), **chosen)


def _whole(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    raise Refused(CONFIG_MALFORMED, name=name, kind="whole number")
