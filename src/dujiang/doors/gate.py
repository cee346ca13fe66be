"""The gate every HTTP request goes through: safe headers, one line in the log, refusals in one form.

1. Nothing is loaded from elsewhere, framed, sniffed or remembered by a cache unless a page says so itself.
2. A line has the request's id (also in the answer's x-request-id), organisation, method, path template, status,
   code of a refusal and milliseconds: no query, body, token or real path.
3. What the application raises becomes a problem document (RFC 9457); a bug is logged and says nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from dujiang.doors import answer, journal
from dujiang.kernel.errors import Declined, Refused, Unavailable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY = b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)  # fmt: skip


class Gate:
    """An ASGI application around another one; see the rules above."""

    def __init__(self, app: App, direct: Mapping[str, Any]) -> None:
        """`direct`: routes by path that take POST and need nothing of what stands between here and them."""
        self._app = app
        self._direct = direct
        self._run, self._count = secrets.token_hex(4), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0
        self._count += 1
        scope["request"] = request = f"{self._run}{self._count:x}"
        named = (b"x-request-id", request.encode())

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                said = list(message.get("headers", ()))
                names = {name for name, _ in said}
                message["headers"] = [*said, named, *(each for each in _HEADERS if each[0] not in names)]
            await send(message)

        route = self._direct.get(scope["path"]) if scope["method"] == "POST" else None
        try:
            if route is None:
                await self._app(scope, receive, guarded)
            else:
                scope["route"] = route
                await route.app(scope, receive, guarded)
        except Exception as error:
            if status:
                # The answer has begun: it can only be cut short, and the sender must notice that.
                journal.bug(error, path=_template(scope), request=request)
                raise ConnectionError from None
            await guarded_problem(error, scope, guarded)
        finally:
            ms = (time.perf_counter() - began) * 1000
            journal.request(scope, _template(scope), status, ms)


async def guarded_problem(error: BaseException, scope: Scope, send: Send) -> None:
    """Sends the problem document of an exception; logs it first if it is a bug."""
    if not isinstance(error, (Refused, Unavailable)):
        journal.bug(error, path=_template(scope), request=scope.get("request"))
    scope["code"] = answer.code_of(error)
    status, headers, body = problem(error, language(scope))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def problem(
    error: BaseException | Declined, language: str, receipt: object = None
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of a refusal: a problem document with code, why and fix.

    `receipt`: of the entry a `Declined` left.
    """
    code, said = answer.refusal(error, language)
    body = {
        "type": answer.ERRORS + code.name,
        "title": said["why"],
        "status": code.status,
        "exit": code.exit,
        **said,
    }
    if receipt is not None:
        body["receipt"] = receipt
    headers = [(b"content-type", b"application/problem+json"), (b"content-language", language.encode())]
    if code.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if code.status in (429, 503):
        wait = error.names.get("wait", "1") if isinstance(error, Refused) else "1"
        headers.append((b"retry-after", wait.encode()))
    made = msgspec.json.encode(body)
    return code.status, [*headers, (b"content-length", str(len(made)).encode())], made


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of a name (lower case), or None."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def address(scope: Scope) -> str:
    """The address a request comes from."""
    client = scope.get("client")
    return str(client[0]) if client else "-"


def language(scope: Scope) -> str:
    """The language a request asks for: "zh" or "en"."""
    asked = header(scope, b"accept-language")
    if not asked:
        return "en"
    best, chosen = 0.0, "en"
    for choice in asked[:200].split(","):
        tag, _, rest = choice.partition(";")
        spoken = tag.strip().lower().partition("-")[0]
        weight = _weight(rest)
        if spoken in ("zh", "en") and weight > best:
            best, chosen = weight, spoken
    return chosen


def _weight(text: str) -> float:
    name, _, value = text.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _template(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path", "-")
