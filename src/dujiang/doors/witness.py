"""The witness over HTTP (C2SP tlog-witness): other logs' heads come in and go out cosigned; nobody needs an account.

`POST /log/add-checkpoint` answers 200 with this node's cosignature lines, 409 with the size that is known, 422, or a
refusal (400, 403, 404). What is answered with 200 is durable before.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from dujiang.doors.desk import Desk, body
from dujiang.kernel.act import NODE
from dujiang.kernel.errors import Refused
from dujiang.ledger import cosigning
from dujiang.ledger.acts import Cosign
from dujiang.ledger.model import NOT_A_WITNESS_REQUEST
from dujiang.ledger.witness import REQUEST_BYTES_MAX

SIZE_TYPE = "text/x.tlog.size"


def add(app: FastAPI, desk: Desk) -> None:
    """Adds the address of the witness to an application; returns nothing."""

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

    app.add_api_route("/log/add-checkpoint", add_checkpoint, methods=["POST"], include_in_schema=False)
