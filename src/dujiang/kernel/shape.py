"""Asks and replies as plain JSON: one strict way in, one way out, the same for every door."""

from __future__ import annotations

import difflib
import threading
import types
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from dujiang.kernel.errors import Code, Exit, Refused

UNKNOWN_FIELD = Code(
    "unknown_field", 400, Exit.usage,
    "There is no field {name} here.", "Remove it{hint}.",
    "这里没有字段 {name}。", "请删除该字段{hint}。",
)  # fmt: skip
MALFORMED = Code(
    "malformed", 400, Exit.usage,
    "The request is not of the expected form at {place}.",
    "See the form with `dujiang schema NAME` or /openapi.json.",
    "请求在 {place} 处不符合要求的格式。", "用 `dujiang schema 名称` 或 /openapi.json 查看格式。",
)  # fmt: skip
_DEPTH_MAX = 32
_SAFE_INTEGER = 2**53 - 1
_OPEN = (list[Any], tuple[Any, ...], dict[str, Any])
"""Forms whose inside may be anything."""
SECRET = "secret"
"""Metadata key of a reply field that a repeated request does not get again."""


def build(form: type, raw: object) -> Any:
    """The frozen dataclass `form` from a JSON value; unknown fields anywhere are refused.

    Raises: Refused unknown_field, malformed (with a path, never with a value).
    """
    if (place := _odd(raw)) is not None:
        raise Refused(MALFORMED, place=f"${place}"[:100])
    _known(form, raw)
    try:
        return _converted(raw, form)
    except msgspec.ValidationError as error:
        place = str(error).rpartition("`$")[2].rstrip("`") if "`$" in str(error) else ""
        raise Refused(MALFORMED, place="$" + place[:100]) from None


def plain(value: object, *, secrets: bool = True) -> Any:
    """The JSON value of a reply; without its secret fields if `secrets` is false."""
    made: Any = msgspec.to_builtins(value)
    if not secrets and is_dataclass(value):
        hidden = {member.name for member in fields(value) if member.metadata.get(SECRET)}
        return {name: part for name, part in _members(made).items() if name not in hidden}
    return made


def schema(form: type) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a dataclass, with unknown fields refused."""
    (made,), parts = msgspec.json.schema_components([form], ref_template="#/$defs/{name}")
    for part in parts.values():
        if part.get("type") == "object" and "properties" in part:
            part["additionalProperties"] = False
    name = str(made.get("$ref", "")).rpartition("/")[2]
    top = parts.pop(name, made) if not _mentions(parts, name) else made
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **top,
        **({"$defs": parts} if parts else {}),
    }


def _mentions(parts: dict[str, Any], name: str) -> bool:
    return f"#/$defs/{name}" in msgspec.json.encode(parts).decode()


def _odd(raw: object, depth: int = 0) -> str | None:
    """Where canonical JSON can not carry a value: an integer beyond 2**53 - 1, nesting beyond any form here."""
    if isinstance(raw, int):
        return None if abs(raw) <= _SAFE_INTEGER else ""
    if isinstance(raw, (dict, list, tuple)) and raw:
        if depth >= _DEPTH_MAX:
            return ""
        named = isinstance(raw, dict)
        for name, value in cast("Any", raw).items() if named else enumerate(cast("Any", raw)):
            # Not into texts: they are most of what comes, and this is asked of all of it.
            if type(value) is not str and (place := _odd(value, depth + 1)) is not None:
                return f".{str(name)[:40]}{place}" if named else f"[]{place}"
    return None


def _known(form: Any, raw: object) -> None:
    form = _bare(form)
    if is_dataclass(form):
        hints = _hints(form)
        for name, value in _members(raw).items():
            if name not in hints:
                raise Refused(UNKNOWN_FIELD, name=name[:60], hint=_near(name, list(hints)))
            _known(hints[name], value)
    elif form in _OPEN:
        return
    elif get_origin(form) in (list, tuple):
        for item in _items(raw):
            _known(get_args(form)[0], item)
    elif get_origin(form) is dict:
        for item in _members(raw).values():
            _known(get_args(form)[1], item)


def _members(raw: object) -> dict[str, object]:
    """The members of a JSON object, none for anything else."""
    return (
        {str(name): value for name, value in cast("dict[Any, object]", raw).items()}
        if isinstance(raw, dict)
        else {}
    )


def _items(raw: object) -> list[object]:
    """The items of a JSON array, none for anything else."""
    return list(cast("list[object]", raw)) if isinstance(raw, (list, tuple)) else []


def _converted(raw: object, form: type) -> Any:
    return cast(Any, msgspec).convert(raw, typed(form), strict=True)


@cache
def typed(form: Any) -> Any:
    """A type to decode to, once msgspec knows it: two threads that bring it a new one at once crash the process."""
    with _LEARNING:
        msgspec.json.Decoder(form)
    return form


_LEARNING = threading.Lock()


_hints = cache(get_type_hints)


def _bare(form: Any) -> Any:
    if get_origin(form) in (Union, types.UnionType):
        some = [option for option in get_args(form) if option is not type(None)]
        return some[0] if len(some) == 1 else form
    return form


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f" ({near[0]}?)" if near else ""
