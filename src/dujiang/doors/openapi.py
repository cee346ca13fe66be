"""The OpenAPI 3.1 description of the HTTP interface, drawn from the table of acts and its dataclasses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dujiang.kernel.act import Act, Effect, bind
from dujiang.kernel.errors import Code
from dujiang.kernel.shape import schema

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "exit", "code", "why", "fix"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "exit": {
            "type": "integer",
            "description": "What a command line ends with: one number per family of refusals.",
        },
        "code": {"type": "string"},
        "why": {"type": "string"},
        "fix": {"type": "string"},
        "where": {
            "type": "object",
            "required": ["start", "length"],
            "properties": {"start": {"type": "integer"}, "length": {"type": "integer"}},
        },
        "offer": {"type": "string"},
        "receipt": {"type": "object"},
    },
}
_KEY = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "description": "A repeat with the same key and request gets the first reply, less its secrets.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
}  # fmt: skip
_WAIT = {
    "name": "Prefer", "in": "header", "required": False,
    "description": "`wait=N` seconds or `respond-async` (RFC 7240): answer 202 before the work is done.",
    "schema": {"type": "string"},
}  # fmt: skip
_RECEIPT = {"type": "object", "description": "The receipt of the entry it wrote."}
_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_SCHEMAS = "#/components/schemas/"
_PUBLIC: list[dict[str, list[str]]] = [{}, {"key": []}, {"session": []}]
_SIGNED: list[dict[str, list[str]]] = [{"key": []}, {"session": []}]


def document(acts: Iterable[Act], codes: Mapping[str, Code], version: str) -> bytes:
    """The description of the acts a caller outside may run, as JSON."""
    parts: dict[str, Any] = {"Problem": _problem(codes)}
    paths = {f"/v1/{act.name.replace('.', '/')}": {"post": _operation(act, parts)} for act in acts}
    paths["/data/uploads"] = {"put": _upload()}
    problem = {"application/problem+json": {"schema": {"$ref": _SCHEMAS + "Problem"}}}
    refused = {"description": "A rule said no, or something is not available now.", "content": problem}
    made = {
        "openapi": "3.1.0",
        "info": {"title": "Dujiang", "version": version, "license": _LICENSE},
        "paths": paths,
        "components": {
            "schemas": parts,
            "responses": {"Refused": refused},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, djk_…"},
                "session": {"type": "apiKey", "in": "cookie", "name": "dujiang_session"},
            },
        },
    }
    return msgspec.json.encode(made)


def _operation(act: Act, parts: dict[str, Any]) -> dict[str, Any]:
    bound = bind(act)
    reply: dict[str, Any] = _placed(bound.reply, f"{act.name}.reply", parts)
    if act.until is not None:
        # What the door read last lies over the reply.
        reply = {"allOf": [reply, {"$ref": f"{_SCHEMAS}{act.until[0]}.reply"}]}
    answered: dict[str, Any] = {"description": "Done.", "content": {"application/json": {"schema": reply}}}
    responses = {"200": answered, "default": {"$ref": "#/components/responses/Refused"}}
    parameters = [_KEY] if act.effect is not Effect.reads else []
    if act.until is not None:
        responses["202"] = {**answered, "description": "Begun; `done` is false."}
        parameters.append(_WAIT)
    return {
        "operationId": act.name,
        "tags": [act.room],
        "summary": act.title,
        "description": f"{act.title_zh}\n\n{(bound.run.__doc__ or '').strip()}",
        "parameters": parameters,
        "requestBody": {
            "required": bool(schema(bound.ask).get("required")),
            "content": {"application/json": {"schema": _placed(bound.ask, f"{act.name}.ask", parts)}},
        },
        "responses": responses,
        "security": _PUBLIC if "anyone" in act.roles else _SIGNED,
        "x-roles": list(act.roles),
        "x-effect": act.effect.value,
    }


def _placed(form: type, name: str, parts: dict[str, Any]) -> dict[str, str]:
    """Puts the schema of `form` among the parts as `name`, what it is made of beside it."""
    made = schema(form)
    inner = made.pop("$defs", {})
    made.pop("$schema", None)
    if name.endswith(".reply"):
        # A reply also carries the receipt, and the fields of the read that followed it.
        made.pop("additionalProperties", None)
        made.setdefault("properties", {})["receipt"] = _RECEIPT
    parts[name] = _moved(made, name)
    for own, each in inner.items():
        parts[f"{name}.{own}"] = _moved(each, name)
    return {"$ref": _SCHEMAS + name}


def _moved(part: Any, name: str) -> Any:
    if isinstance(part, dict):
        return {
            key: f"{_SCHEMAS}{name}.{each.rpartition('/')[2]}" if key == "$ref" else _moved(each, name)
            for key, each in part.items()
        }
    return [_moved(each, name) for each in part] if isinstance(part, list) else part


def _problem(codes: Mapping[str, Code]) -> dict[str, Any]:
    known = {"type": "string", "enum": sorted(codes)}
    return {**_PROBLEM, "properties": {**_PROBLEM["properties"], "code": known}}


def _upload() -> dict[str, Any]:
    name = {
        "name": "X-File-Name", "in": "header", "required": False, "schema": {"type": "string"},
        "description": "The file's name in UTF-8, percent-encoded; its stem names the table.",
    }  # fmt: skip
    kept = {"type": "object", "required": ["upload"], "properties": {"upload": {"type": "string"}}}
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "operationId": "data.upload",
        "tags": ["data"],
        "summary": "Send a file",
        "description": "发送文件",
        "parameters": [name],
        "requestBody": {"required": True, "content": binary},
        "responses": {
            "201": {"description": "Kept.", "content": {"application/json": {"schema": kept}}},
            "default": {"$ref": "#/components/responses/Refused"},
        },
        "security": _SIGNED,
    }
