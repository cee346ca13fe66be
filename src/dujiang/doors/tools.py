"""The address of a node where agents call acts as tools: /mcp, with an API key and a mandate in headers.

1. The headers are those of the agent's host, who holds the key; a model writes asks, never headers.
2. Without a mandate there is nothing but finding and looking, as with `dujiang mcp`.
3. Nothing is loaded before the first request: a node that no agent calls does not pay for it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from urllib.parse import unquote

from dujiang.doors import gate
from dujiang.doors.desk import Desk
from dujiang.doors.gate import Receive, Scope, Send
from dujiang.identity.model import NOT_SIGNED_IN
from dujiang.kernel.errors import Code, Exit, Refused

MANDATE_UNREADABLE = Code(
    "mandate_unreadable", 400, Exit.usage,
    "The header {name} cannot be read.",
    "Give Dujiang-Products and Dujiang-Purposes as words with commas, Dujiang-Statistics-Max as a number.",
    "无法读取请求头 {name}。",
    "Dujiang-Products 与 Dujiang-Purposes 应为逗号分隔的词，Dujiang-Statistics-Max 应为数字。",
)  # fmt: skip
CODES = (MANDATE_UNREADABLE,)
_DIGITS_MAX = 9


class Tools:
    """The address /mcp, as a bare ASGI application."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        key = (gate.header(scope, b"authorization") or "").partition(" ")[2].strip()
        if not key:
            raise Refused(NOT_SIGNED_IN)
        self._desk.caller(scope)
        agent, over_http = await self._desk.work(_opened, self._desk, scope, key)
        await over_http(agent, scope, receive, send)


def _opened(desk: Desk, scope: Scope, key: str) -> tuple[Any, Any]:
    """The agent of a request, and what answers it; loaded on a thread, the first time.

    Raises: Refused mcp_missing, mandate_unreadable, price_unreadable.
    """
    from dujiang.doors.agent import Agent
    from dujiang.doors.calls import Calls
    from dujiang.doors.local import Options
    from dujiang.doors.mandate import MCP_MISSING, Mandate, amounts, counts_of

    try:
        from dujiang.doors.mcp import over_http
    except ImportError:
        raise Refused(MCP_MISSING) from None
    given = Mandate(
        _words(scope, "Dujiang-Products"), _words(scope, "Dujiang-Purposes"), _number(scope, "Dujiang-Statistics-Max"),
        amounts(_words(scope, "Dujiang-Price-Max")),
        name=gate.header(scope, b"dujiang-mandate") or "agent",
    )  # fmt: skip
    home = desk.home.path
    # The node asks itself as anybody would: by key, through the same gate.
    calls = Calls(Options(home=home, key=key, language=gate.language(scope)))
    agent = Agent(
        calls, given, counts_of(home / "mandates", "http", sha256(key.encode()).hexdigest(), given.name)
    )
    return agent, over_http


def _words(scope: Scope, name: str) -> tuple[str, ...]:
    text = gate.header(scope, name.lower().encode()) or ""
    words = tuple(unquote(word).strip() for word in text.split(",") if word.strip())
    if not all(word.isprintable() for word in words):
        raise Refused(MANDATE_UNREADABLE, name=name)
    return words


def _number(scope: Scope, name: str) -> int:
    text = gate.header(scope, name.lower().encode()) or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise Refused(MANDATE_UNREADABLE, name=name)
    return int(text)
