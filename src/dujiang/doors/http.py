"""HTTP derived from the table of acts: `POST /v1/<package>/<verb>` for each, no line of code per act.

1. A request is a JSON object, the ask's own fields; a reply is flat JSON, and `receipt` if it wrote.
2. A long act is followed until it is done; `Prefer: wait=N` or `respond-async` (RFC 7240) shortens that.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import msgspec
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from dujiang import __version__, acts
from dujiang import home as home_module
from dujiang.doors import data, gate, limits, log, members, metrics, openapi, page, witness
from dujiang.doors import desk as desks
from dujiang.doors.desk import NOT_JSON, Desk, body
from dujiang.doors.gate import App, Receive, Scope, Send
from dujiang.home import Home
from dujiang.identity.model import NOT_SIGNED_IN
from dujiang.kernel.act import NOBODY, Act, bind
from dujiang.kernel.errors import Code, Declined, Exit, Refused
from dujiang.kernel.runner import FORBIDDEN
from dujiang.kernel.shape import build

NO_SUCH_ADDRESS = Code(
    "no_such_address", 404, Exit.usage,
    "There is nothing at this address.", "See /openapi.json for what there is.",
    "该地址不存在。", "请查看 /openapi.json 了解可用地址。",
)  # fmt: skip
WRONG_METHOD = Code(
    "wrong_method", 405, Exit.usage,
    "This address takes another method.", "Acts take POST; see /openapi.json.",
    "该地址不接受此方法。", "行为使用 POST；请查看 /openapi.json。",
)  # fmt: skip
CODES = (NO_SUCH_ADDRESS, WRONG_METHOD)
_WAIT = re.compile(r"\bwait=(\d{1,4})\b")


class ActDoor:
    """The endpoint of one act, as a bare ASGI application."""

    def __init__(self, desk: Desk, act: Act) -> None:
        self._desk = desk
        self._act = act

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        desk, act = self._desk, self._act
        caller = desk.caller(scope)
        if not caller.may(act):
            if caller is NOBODY:
                raise Refused(NOT_SIGNED_IN)
            raise Refused(FORBIDDEN, roles=", ".join(act.roles))
        if caller is NOBODY:
            caller = desks.stranger(scope)
        raw = await body(scope, receive, desk.home.node.config.ask_bytes_max)
        ask = build(bind(act).ask, parsed(scope, raw))
        # All strangers are one nobody: what one of them was answered is nothing to another.
        key = gate.header(scope, b"idempotency-key") if caller.org else None
        with desk.limits.waiting(caller.org):
            said, receipt = await desk.answer(act, caller, ask, key, self._wait_s(scope))
        if isinstance(said, Declined):
            scope["code"] = said.code.name
            status, headers, made = gate.problem(said, gate.language(scope), receipt)
        else:
            made = msgspec.json.encode(said)
            status = 202 if act.until is not None and said.get("done") is False else 200
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(made)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": made})

    def _wait_s(self, scope: Scope) -> float:
        most = float(self._desk.home.node.config.wait_seconds_max)
        asked = gate.header(scope, b"prefer") or ""
        if "respond-async" in asked:
            return 0.0
        wait = _WAIT.search(asked)
        return min(most, float(wait[1])) if wait else most


class ActRoute(APIRoute):
    """A route FastAPI documents and a bare ASGI application answers."""

    def __init__(self, desk: Desk, act: Act) -> None:
        self.act = act
        super().__init__(
            f"/v1/{act.name.replace('.', '/')}", _documented, methods=["POST"], name=act.name,
            operation_id=act.name, summary=act.title, description=act.title_zh, tags=[act.room],
        )  # fmt: skip
        self.app = ActDoor(desk, act)


def app(home: Home, further: Mapping[str, Callable[[Desk], App]] = MappingProxyType({})) -> FastAPI:
    """The HTTP application of an open home; its `state.desk` is closed by the one who serves it.

    `further`: what stands above this door and answers at a path of its own, made over the same desk.
    """
    declared = (*CODES, *desks.CODES, *data.CODES, *limits.CODES, *members.CODES)
    desk = Desk(home, {**home_module.codes(), **{code.name: code for code in declared}})
    made = FastAPI(
        title="Dujiang", version=__version__, docs_url=None, redoc_url=None, openapi_url=None,
        exception_handlers={HTTPException: _unknown_address},
    )  # fmt: skip
    made.state.desk = desk
    outside = [act for act in acts.ACTS.values() if set(act.roles) != {"node"}]
    routes = [ActRoute(desk, act) for act in outside]
    # First: parts of the log are asked for by the thousand.
    witness.add(made, desk)
    made.router.routes.append(Route("/log/{path:path}", log.LogDoor(desk), methods=["GET", "HEAD"]))
    made.router.routes.extend(routes)

    async def receive_upload(request: Request) -> Response:
        return await _receive_upload(desk, request)

    async def did_document(request: Request) -> Response:
        desk.count_stranger(request.scope)
        return await _did_document(desk, request.path_params["org"])

    @cache
    def described_once() -> bytes:
        return openapi.document(outside, desk.codes, __version__)

    async def described(request: Request) -> Response:
        del request
        return Response(described_once(), media_type="application/json")

    async def measured(request: Request) -> Response:
        return await _metrics(desk, request)

    async def healthy(request: Request) -> Response:
        del request
        return Response(b'{"ok":true}', media_type="application/json")

    made.add_api_route("/data/uploads", receive_upload, methods=["PUT"], include_in_schema=False)
    made.add_api_route("/org/{org}/did.json", did_document, include_in_schema=False)
    made.add_api_route("/openapi.json", described, include_in_schema=False)
    made.add_api_route("/healthz", healthy, include_in_schema=False)
    made.add_api_route("/metrics", measured, include_in_schema=False)
    made.router.routes.extend(Route(path, door(desk), methods=["POST"]) for path, door in further.items())
    page.add(made, desk)
    made.add_middleware(gate.Gate, direct={route.path: route for route in routes})
    return made


def parsed(scope: Scope, raw: bytes) -> dict[str, Any]:
    """The JSON object of a body; an empty body is an empty object.

    Raises: Refused not_json, member_twice.
    """
    if not raw:
        return {}
    kind = gate.header(scope, b"content-type") or ""
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Refused(NOT_JSON)
    try:
        found = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        raise Refused(NOT_JSON) from None
    if not isinstance(found, dict):
        raise Refused(NOT_JSON)
    if members.twice(raw, found):
        raise Refused(members.MEMBER_TWICE)
    return found


async def _documented() -> None:
    """Stands in the table of routes; the route's own application answers."""


async def _unknown_address(request: Request, error: Exception) -> Response:
    wrong = isinstance(error, HTTPException) and error.status_code == 405
    refused = Refused(WRONG_METHOD if wrong else NO_SUCH_ADDRESS)
    request.scope["code"] = refused.code.name
    status, headers, made = gate.problem(refused, gate.language(request.scope))
    response = Response(made, status)
    response.raw_headers = headers
    return response


async def _receive_upload(desk: Desk, request: Request) -> Response:
    caller = desk.caller(request.scope)
    if caller is NOBODY:
        raise Refused(NOT_SIGNED_IN)
    name = unquote(request.headers.get("x-file-name", ""))
    length = request.headers.get("content-length", "")
    expected = int(length) if length.isdigit() else None
    try:
        with desk.limits.waiting(caller.org):
            stream = _counted(request.stream(), lambda size: desk.limits.sent(caller.org, size))
            kept = await data.receive(desk.home, desk.work, caller, name, expected, stream)
    except ClientDisconnect:
        raise Refused(data.UPLOAD_CUT) from None
    return Response(msgspec.json.encode({"upload": kept}), 201, media_type="application/json")


async def _metrics(desk: Desk, request: Request) -> Response:
    caller = desk.caller(request.scope)
    if not metrics.may_read(request.scope, caller, desk.home.node.config.metrics_loopback):
        if caller is NOBODY:
            raise Refused(NOT_SIGNED_IN)
        raise Refused(FORBIDDEN, roles="operator, auditor")
    text = await desk.read(desk.metrics.text, desk.limits.refused, desk.limits.open)
    return Response(text, media_type=metrics.TYPE)


async def _counted(stream: AsyncIterable[bytes], count: Callable[[int], None]) -> AsyncIterator[bytes]:
    async for chunk in stream:
        count(len(chunk))
        yield chunk


async def _did_document(desk: Desk, org: str) -> Response:
    ask = build(bind(acts.ACTS["identity.show"]).ask, {"id": org if org.startswith("org_") else "org_"})
    card = (await desk.run("identity.show", NOBODY, ask)).reply
    return Response(
        msgspec.json.encode(card.did_document), media_type="application/did+json",
        headers={"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"},
    )  # fmt: skip
