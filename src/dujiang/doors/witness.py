"""The witness over HTTP (C2SP tlog-witness): other logs' heads come in and go out cosigned; nobody needs an account.

1. `POST /log/add-checkpoint`: 200 with this node's cosignature lines; 409 with the size that is known, 422, or a
   refusal (400, 403, 404). What is answered with 200 is durable before.
2. `GET /log/<SHA-256 of an origin>/checkpoint`: the last head of a watched log that was cosigned here.
3. `GET /log/witness-policy`: whose cosignatures this log's heads carry, and how many (C2SP tlog-policy).
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from dujiang.doors.desk import Desk, body
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.ledger import cosigning, witnessing
from dujiang.ledger.acts import Cosign
from dujiang.ledger.model import NOT_A_WITNESS_REQUEST
from dujiang.ledger.witness import REQUEST_BYTES_MAX

SIZE_TYPE = "text/x.tlog.size"
_PLACE = re.compile("[0-9a-f]{64}")
_OPEN = {"cross-origin-resource-policy": "cross-origin", "access-control-allow-origin": "*"}


def add(app: FastAPI, desk: Desk) -> None:
    """Adds the addresses of the witness to an application; returns nothing."""

    async def add_checkpoint(request: Request) -> Response:
        desk.count_stranger(request.scope)
        raw = await body(request.scope, request.receive, REQUEST_BYTES_MAX)
        try:
            ask = Cosign(raw.decode())
        except UnicodeDecodeError:
            raise Refused(NOT_A_WITNESS_REQUEST) from None
        said: cosigning.Cosigned = (await desk.run("ledger.cosign", NODE, ask)).reply
        if said.status == 200:
            return PlainTextResponse(said.lines)
        if said.status == 409:
            return Response(f"{said.size}\n", 409, headers={"content-type": SIZE_TYPE})
        return PlainTextResponse("This tree is not shown to extend the one cosigned before.\n", said.status)

    async def last_cosigned(request: Request) -> Response:
        desk.count_stranger(request.scope)
        place = request.path_params["place"]
        found = await desk.read(_last, desk, place) if _PLACE.fullmatch(place) else None
        if found is None:
            raise Refused(NOT_FOUND)
        return PlainTextResponse(found, headers=_OPEN)

    async def policy(request: Request) -> Response:
        desk.count_stranger(request.scope)
        return PlainTextResponse(await desk.read(_policy, desk), headers=_OPEN)

    app.add_api_route("/log/add-checkpoint", add_checkpoint, methods=["POST"], include_in_schema=False)
    app.add_api_route("/log/witness-policy", policy, include_in_schema=False)
    app.add_api_route("/log/{place}/checkpoint", last_cosigned, include_in_schema=False)


def _last(desk: Desk, place: str) -> Any:
    with desk.home.node.database.reading() as db:
        return cosigning.last_of(db, place)


def _policy(desk: Desk) -> str:
    with desk.home.node.database.reading() as db:
        return witnessing.policy_text(db)
