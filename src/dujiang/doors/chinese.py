"""The Chinese of what is written once in English: names of members, and the help of flags.

The table lies beside the templates; what it lacks is shown in English, and a test says what that is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_TABLE = Path(__file__).parent / "templates" / "chinese.toml"


def label(name: str) -> str:
    """What a member is called in Chinese, or nothing."""
    return _table()["labels"].get(name) or _table()["labels"].get(name.removesuffix("_zh"), "")


def help_of(text: str) -> str:
    """The help of a flag in Chinese, or nothing."""
    return _table()["help"].get(text.strip(), "")


@cache
def _table() -> dict[str, dict[str, str]]:
    import tomllib

    return tomllib.loads(_TABLE.read_text(encoding="utf-8"))
