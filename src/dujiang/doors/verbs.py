"""Commands derived from the table of acts: flags from the fields of an ask, nothing written per act.

1. A field is a flag of its own name; the positional ones may also be given in their place.
2. An upload is the path of a file that is sent first; a structure (terms) is the path of a TOML or JSON file.
3. `-` for a text means standard input.
"""

from __future__ import annotations

import ast
import enum
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from inspect import Parameter as Slot
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclopts import Parameter

from dujiang.acts import ACTS
from dujiang.doors.flow import Wish, has_rows, is_receipt, perform
from dujiang.doors.local import Answer, Options
from dujiang.doors.usage import ARGUMENT_MISSING
from dujiang.kernel.act import Act, bind
from dujiang.kernel.errors import Refused

Deed = Callable[[Options], Answer]
"""What a parsed command does once the flags that may stand anywhere are known."""
_REST_OF_LINE, _FILE = "words", "upload"
_OUT_HELP = "Write the answer to a file: .csv, .json or .parquet."
_RECEIPT_HELP = (
    "Write it to a file (.json); beside it the same as .tlog-proof and .entry, for other programs."
)


@dataclass(frozen=True, slots=True)
class Flag:
    """A field of an ask as the command line takes it."""

    name: str
    kind: Literal["plain", "list", "upload", "file"]
    form: Any
    """The type the command line reads."""
    required: bool


def __getattr__(name: str) -> Callable[..., Deed]:
    """The command of an act by its full name, made when it is first needed."""
    if name not in ACTS:
        raise AttributeError(name)
    return command(ACTS[name])


def command(act: Act) -> Callable[..., Deed]:
    """A function whose signature is the act's ask, as the command line reads it; it gives back the deed."""
    flags = {flag.name: flag for flag in flags_of(bind(act).ask)}
    slots = list(_slots(act, flags))

    def deed(*words: Any, **named: Any) -> Deed:
        bound = signature.bind(*words, **named).arguments
        out = bound.pop("out", None) if "out" not in flags else None
        wish = Wish(act, *_read(act, flags, bound), out)
        return lambda options: perform(wish, options)

    signature = inspect.Signature(slots)
    deed.__signature__ = signature  # type: ignore[attr-defined]
    deed.__annotations__ = {slot.name: slot.annotation for slot in slots}
    deed.__name__ = act.name.replace(".", "_")
    deed.__doc__ = act.title
    return deed


def flags_of(ask: type) -> Iterator[Flag]:
    """The fields of an ask as flags."""
    hints = get_type_hints(ask)
    for member in fields(ask):
        kind, form = _form(hints[member.name]) if member.name != _FILE else ("upload", Path)
        yield Flag(member.name, kind, form, _required(member))


def _slots(act: Act, flags: Mapping[str, Flag]) -> Iterator[Slot]:
    told = docs(bind(act).ask)
    if _takes_many(act, flags):
        yield Slot("words", Slot.VAR_POSITIONAL, annotation=Annotated[str, _many(act)])
    else:
        for name in act.positional:
            yield _slot(flags[name], told, Slot.POSITIONAL_OR_KEYWORD)
    for flag in flags.values():
        if flag.name not in act.positional:
            yield _slot(flag, told, Slot.KEYWORD_ONLY)
    out = {_OUT_HELP: has_rows, _RECEIPT_HELP: is_receipt}
    told_out = next((text for text, is_so in out.items() if is_so(act)), None)
    if "out" not in flags and told_out is not None:
        reading = Parameter(help=told_out)
        yield Slot("out", Slot.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, reading])


def _slot(flag: Flag, told: Mapping[str, str], where: Any) -> Slot:
    reading = Parameter(help=told.get(flag.name, ""), negative_iterable=(), negative_none=())
    if flag.required:
        return Slot(flag.name, where, annotation=Annotated[flag.form, reading])
    return Slot(flag.name, where, default=None, annotation=Annotated[flag.form | None, reading])


def _takes_many(act: Act, flags: Mapping[str, Flag]) -> bool:
    return any(flags[name].kind == "list" or name == _REST_OF_LINE for name in act.positional)


def _many(act: Act) -> Parameter:
    name = " ".join(name.upper() for name in act.positional)
    return Parameter(name=name, help=bind(act).ask.__doc__ or "", negative_iterable=())


def _read(
    act: Act, flags: Mapping[str, Flag], bound: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Path], dict[str, Path]]:
    """The ask's plain members, its uploads and its files."""
    if _takes_many(act, flags):
        bound.update(_spread(act, flags, bound.pop("words", ())))
    raw: dict[str, Any] = {}
    uploads: dict[str, Path] = {}
    files: dict[str, Path] = {}
    for name, value in bound.items():
        kind = flags[name].kind
        if value is None:
            continue
        if kind == "upload":
            uploads[name] = value
        elif kind == "file":
            files[name] = value
        elif kind == "list" and name not in act.positional:
            raw[name] = [part for item in value for part in _parts(item)]
        else:
            raw[name] = value
    return raw, uploads, files


def _spread(act: Act, flags: Mapping[str, Flag], words: Sequence[str]) -> dict[str, Any]:
    """Words in their places: what stands before and after the list takes one each, the list the rest."""
    names = act.positional
    middle = next(i for i, n in enumerate(names) if flags[n].kind == "list" or n == _REST_OF_LINE)
    after = len(names) - middle - 1
    missing = [n for n in names if flags[n].required]
    if len(words) < len(missing):
        raise Refused(ARGUMENT_MISSING, name=missing[len(words)].upper())
    rest = list(words[middle : len(words) - after])
    found: dict[str, Any] = dict(zip(names[:middle], words, strict=False))
    found[names[middle]] = rest if flags[names[middle]].kind == "list" else " ".join(rest)
    found.update(zip(names[middle + 1 :], words[len(words) - after :], strict=True))
    return found


def _parts(item: Any) -> list[Any]:
    return [part.strip() for part in item.split(",") if part.strip()] if isinstance(item, str) else [item]


def _form(hint: Any) -> tuple[Any, Any]:
    options = [each for each in get_args(hint) if each is not type(None)]
    if get_origin(hint) in (Union, types.UnionType):
        hint = options[0] if len(options) == 1 else str
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (tuple, list) and inner and isinstance(inner[0], type):
        base = next((each for each in (str, int, float) if issubclass(inner[0], each)), None)
        if base is not None:
            return "list", list[base]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "plain", Literal[tuple(str(each.value) for each in hint)]
    if hint in (str, int, float, bool):
        return "plain", hint
    return "file", Path


def _required(member: Field[Any]) -> bool:
    return member.default is MISSING and member.default_factory is MISSING


@cache
def docs(form: type) -> dict[str, str]:
    """What the source says under each field of a dataclass and of those it extends."""
    told: dict[str, str] = {}
    for part in reversed(form.__mro__):
        if not is_dataclass(part):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
        assert isinstance(body, ast.ClassDef)
        for member, under in zip(body.body, body.body[1:], strict=False):
            named = isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name)
            if named and isinstance(under, ast.Expr) and isinstance(under.value, ast.Constant):
                told[member.target.id] = str(under.value.value)  # type: ignore[union-attr]
    return told
