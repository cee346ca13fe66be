"""How a command of an act runs: files in, a look before what costs, the act, its answer and receipt kept.

1. Whatever can be refused before the act is: where the answer goes is looked at before anything is spent.
2. A terminal is shown what `preview` says and is asked; a program is not.
3. The receipt of an act that was waited for is kept in a file of its owner alone, or it is said; beside it lie
   the same as `.tlog-proof` and `.entry`, for programs that are not ours.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from dujiang.acts import ACTS
from dujiang.doors import entries, show
from dujiang.doors.answer import refusal
from dujiang.doors.local import FILE_MISSING, STDIN, Answer, Client, Options, opened
from dujiang.doors.usage import TEXT_UNREADABLE
from dujiang.kernel.act import Act, bind
from dujiang.kernel.errors import Code, Exit, Refused, Unavailable
from dujiang.kernel.ids import prefix_of
from dujiang.kernel.runner import NOT_FOUND

FILE_UNREADABLE = Code(
    "file_unreadable", 400, Exit.usage,
    "The file {name} is neither TOML nor JSON, near line {line}.",
    "Correct that line; `dujiang schema NAME` prints the form.",
    "文件 {name} 既不是 TOML 也不是 JSON，问题在第 {line} 行附近。",
    "请更正该行；`dujiang schema 名称` 会打印格式。",
)  # fmt: skip
OUT_KIND = Code(
    "out_kind", 400, Exit.usage,
    "This can be written as {kinds}.", "End the file's name so.",
    "此内容可写为 {kinds}。", "请让文件名以此结尾。",
)  # fmt: skip
OUT_FAILED = Code(
    "out_failed", 503, Exit.failure,
    "The answer cannot be written to that file.",
    "Choose a folder you may write to; asking the same question again costs nothing.",
    "无法将结果写入该文件。", "请选择可写的目录；重复同一查询不再消耗账户。",
)  # fmt: skip
NOT_CONFIRMED = Code(
    "not_confirmed", 400, Exit.failure,
    "Nothing was done.", "Run it again and answer y, or add --yes.",
    "未执行任何操作。", "请重新运行并回答 y，或加上 --yes。",
)  # fmt: skip
CODES = (FILE_UNREADABLE, OUT_KIND, OUT_FAILED, NOT_CONFIRMED)
_KINDS = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
_RECEIPT = {".json": "json"}
_FILE_BYTES_MAX = 4 << 20
_GO_ON = {"en": "Go on?", "zh": "继续吗？"}
_WORKING = {"en": "Working…", "zh": "处理中…"}
_KEPT = {"en": "Receipt: {path}", "zh": "回执：{path}"}
_KEPT_REFUSAL = {"en": "Receipt of the refusal: {path}", "zh": "拒绝的回执：{path}"}
_NOT_KEPT = {
    "en": "The receipt could not be written to a file; get it with `dujiang receipt {index}`.",
    "zh": "回执未能写入文件；可用 `dujiang receipt {index}` 重新获取。",
}
_ENTRY = {"en": "Log entry {index}.", "zh": "存证条目 {index}。"}
_LISTED = {
    "en": "Check the id; `dujiang {command}` lists yours.",
    "zh": "请检查编号；`dujiang {command}` 列出您可查看的对象。",
}
_WRITTEN = {"en": "Answer: {path}", "zh": "结果：{path}"}


@dataclass(frozen=True, slots=True)
class Wish:
    """An act with what the command line gave for it: plain members, files to send, files to read in."""

    act: Act
    raw: dict[str, Any]
    uploads: dict[str, Path]
    files: dict[str, Path]
    out: Path | None = None


def perform(wish: Wish, options: Options) -> Answer:
    """The answer of an act from the command line.

    Raises: Refused, Unavailable: whatever stands in the way.
    """
    _writable(wish.out, _RECEIPT if is_receipt(wish.act) else _KINDS)
    raw = {name: _text(name, value) for name, value in wish.raw.items()}
    raw.update({name: structure(path) for name, path in wish.files.items()})
    try:
        answer = _asked(wish, raw, options)
    except Refused as error:
        if error.where is None and error.code is not NOT_FOUND:
            raise
        code, body = refusal(error, options.language)
        answer = Answer(body, int(code.exit))
    if isinstance(answer.body, dict) and answer.body.get("code") == NOT_FOUND.name:
        answer.body["fix"] = _where(wish.act, raw, options.language) or answer.body["fix"]
    return _kept(wish, replace(answer, text=_own_text(wish.act, raw)), options)


def _where(act: Act, raw: Mapping[str, Any], language: str) -> str | None:
    """Where ids of that kind are listed: of the first id that was given, else those of the act's package."""
    given = [each for value in raw.values() for each in (value if isinstance(value, list) else [value])]
    prefixes = [prefix_of(value) for value in given if isinstance(value, str)]
    owners = [each.room for prefix in prefixes for each in ACTS.values() if prefix and prefix in each.shows]
    room = next(iter(owners), act.room)
    lists = [ACTS[name] for name in (f"{room}.list", f"{room}.search") if name in ACTS]
    found = next((each.verb for each in lists if each.verb), f"{room} list" if lists else None)
    return None if found is None else _LISTED[language].format(command=found)


def _asked(wish: Wish, raw: dict[str, Any], options: Options) -> Answer:
    with opened(options) as client:
        with show.waiting(_WORKING[options.language], options):
            for name, path in wish.uploads.items():
                sent = client.upload(path)
                if sent.exit:
                    return sent
                raw[name] = sent.body["upload"]
        if wish.act.preview and show.interactive(options):
            seen = _looked_at(client, ACTS[wish.act.preview], raw, options)
            if seen.exit:
                return seen
        with show.waiting(_WORKING[options.language], options):
            given = client.run(wish.act, raw)
        return entries.told(client, wish.act, raw, given, options)


def structure(path: Path) -> Any:
    """The value of a TOML or JSON file; dates become ISO text.

    Raises: Refused file_missing, file_unreadable.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_BYTES_MAX).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise Refused(FILE_MISSING, name=path.name) from None
    try:
        return json.loads(text)
    except RecursionError:
        raise Refused(FILE_UNREADABLE, name=path.name, line=1) from None
    except ValueError as error:
        wrong = error
    if path.suffix == ".json" or text.lstrip().startswith("{"):
        raise Refused(FILE_UNREADABLE, name=path.name, line=getattr(wrong, "lineno", 1))
    try:
        return _dated(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Refused(FILE_UNREADABLE, name=path.name, line=_line(str(error))) from None


def keep_receipt(receipt: Mapping[str, Any], beside: Path | None, home: Path) -> Path | None:
    """Where a receipt was kept, for its owner alone: beside the answer, else in the home, else here."""
    index = receipt.get("index")
    # A node far away wrote it: only a number becomes part of a path here.
    name = f"receipt-{index if type(index) is int else 0}.json"
    if beside is not None:
        place = beside.with_name(f"{beside.name}.receipt.json")
    elif (home / "home.json").is_file():
        place = home / "receipts" / name
    else:
        place = Path(f"dujiang-{name}")
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        write_receipt(receipt, place)
    except OSError:
        return None
    return place


def write_receipt(receipt: Mapping[str, Any], place: Path) -> None:
    """Nothing; writes a receipt and, beside it, the same for other programs: a `.tlog-proof` and its `.entry`.

    Raises: OSError.
    """
    from dujiang.ledger import proof

    _put(place, json.dumps(receipt, ensure_ascii=False).encode() + b"\n")
    try:
        text, entry = proof.of_receipt(receipt)
    except proof.NotAProof:
        return  # a node far away may say anything; whether it is true `verify` tells
    _put(place.with_suffix(".tlog-proof"), text.encode())
    _put(place.with_suffix(".entry"), entry)


def _put(place: Path, raw: bytes) -> None:
    """Writes a file of its owner alone, whole."""
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    # Beside an answer may be a folder of everybody: a link somebody laid there is not followed.
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(handle, "wb") as file:
        file.write(raw)
    draft.replace(place)


def _kept(wish: Wish, answer: Answer, options: Options) -> Answer:
    body = dict(answer.body)
    if wish.act.until and isinstance(body.get("receipt"), dict):
        place = keep_receipt(body["receipt"], wish.out, options.home)
        body["receipt_file"] = None if place is None else str(place)
        if not options.json:
            told = _NOT_KEPT if place is None else _KEPT_REFUSAL if answer.exit else _KEPT
            show.say(told[options.language].format(path=place, index=body["receipt"].get("index")))
    elif (
        isinstance(body.get("receipt"), dict)
        and (len(body) > 1 or wish.act.effect != "reads")
        and not options.json
    ):
        show.say(_ENTRY[options.language].format(index=body["receipt"].get("index")))
    if wish.out is not None and not answer.exit and list(body) == ["receipt"]:
        return replace(answer, body={"file": _handed_out(body["receipt"], wish.out)}, human=None)
    left_out = ("receipt_file",) if wish.act.effect == "reads" else ("receipt_file", "receipt")
    human = answer.human or {name: value for name, value in body.items() if name not in left_out}
    if wish.out is not None and not answer.exit and isinstance(body.get("rows"), list):
        _export(body, wish.out)
        body["file"] = str(wish.out)
        human = {name: value for name, value in human.items() if name not in ("columns", "rows")}
        show.say(_WRITTEN[options.language].format(path=wish.out))
    return replace(answer, body=body, human=human if not answer.exit else None)


def _handed_out(receipt: Mapping[str, Any], out: Path) -> str:
    """The file a receipt was asked to be written to.

    Raises: Unavailable out_failed.
    """
    try:
        write_receipt(receipt, out)
    except OSError:
        raise Unavailable(OUT_FAILED) from None
    return str(out)


def _looked_at(client: Client, act: Act, raw: Mapping[str, Any], options: Options) -> Answer:
    """The last preview: a refusal, or what a person saw and agreed to.

    Raises: Refused not_confirmed.
    """
    seen = Answer({})
    for ask in preview_asks({member.name for member in fields(bind(act).ask)}, raw):
        with show.waiting(_WORKING[options.language], options):
            seen = client.run(act, ask)
        if seen.exit:
            return seen
        show.answer(seen, options)
    if not show.confirmed(_GO_ON[options.language]):
        raise Refused(NOT_CONFIRMED)
    return seen


def preview_asks(known: set[str], raw: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The asks of a preview that knows the members `known`, drawn from the ask of its act.

    1. It gets the members it knows, also those of a structure (such as terms) it does not know itself.
    2. Where the ask has a list of what the preview takes one of, it is asked once for each.
    """
    inner = [value for name, value in raw.items() if name not in known and isinstance(value, dict)]
    taken = {name: value for part in (*inner, raw) for name, value in part.items() if name in known}
    many = next(
        (n for n in raw if isinstance(raw[n], list) and n.removesuffix("s") in known - taken.keys()), None
    )
    if many is None:
        yield taken
        return
    for one in raw[many]:
        yield {**taken, many.removesuffix("s"): one}


def _own_text(act: Act, raw: Mapping[str, Any]) -> str | None:
    text = raw.get(act.positional[-1]) if act.positional else None
    return text if isinstance(text, str) else None


def _text(name: str, value: Any) -> Any:
    if value == STDIN:
        value = sys.stdin.buffer.read(_FILE_BYTES_MAX).decode("utf-8", "surrogateescape")
    for item in value if isinstance(value, list) else [value]:
        try:
            str(item).encode()
        except UnicodeEncodeError:
            raise Refused(TEXT_UNREADABLE, name=f"--{name.replace('_', '-')}") from None
    return value


def has_rows(act: Act) -> bool:
    """Whether an act's last reply is a table that may go to a file."""
    last = ACTS[act.until[0]] if act.until else act
    return {"columns", "rows"} <= {member.name for member in fields(bind(last).reply)}


def is_receipt(act: Act) -> bool:
    """Whether an act's reply is a receipt and nothing else."""
    return [member.name for member in fields(bind(act).reply)] == ["receipt"]


def _writable(out: Path | None, kinds: Mapping[str, str]) -> None:
    if out is None:
        return
    if out.suffix.lower() not in kinds:
        raise Refused(OUT_KIND, kinds=", ".join(kinds))
    if out.is_dir() or not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise Unavailable(OUT_FAILED)


def _export(body: Mapping[str, Any], out: Path) -> None:
    from dujiang.plugs.duck import Duck

    engine = Duck()
    try:
        engine.export(body["columns"], body["rows"], out, _KINDS[out.suffix.lower()])  # type: ignore[arg-type]
    except Unavailable:
        raise Unavailable(OUT_FAILED) from None
    finally:
        engine.close()


def _dated(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _dated(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_dated(inner) for inner in value]
    return value.isoformat() if isinstance(value, (date, datetime, time)) else value


def _line(message: str) -> int:
    digits = message.rpartition("at line ")[2].partition(",")[0]
    return int(digits) if digits.isdigit() else 1
