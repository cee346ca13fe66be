"""Dujiang (都江): let organisations use each other's data without giving it away.

import dujiang; space = dujiang.connect() is where a program or a notebook begins.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dujiang.doors.calls import Refusal
    from dujiang.doors.connect import Space, connect, verify

__version__ = "0.1.0"
__all__ = ["Refusal", "Space", "__version__", "connect", "verify"]


def __getattr__(name: str) -> Any:
    """What a Python program uses, loaded when it is first asked for: the command line never needs it."""
    if name not in ("Refusal", "Space", "connect", "verify"):
        raise AttributeError(name)
    from dujiang.doors import connect

    return getattr(connect, name)
