"""Records of a file attested, call after call, and a whole receipt of each written beside: `dujiang ledger attest`.

1. The file is read to its end before anything is sent: a line that is no JSON leaves nothing in the log.
2. A call holds as many records as fit; where one is refused, the receipts of those before it are in the file.
3. A receipt is written once it was opened against the records that were sent and its signature was looked at.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TextIO

from cyclopts import Parameter

from dujiang.acts import ACTS
from dujiang.doors import flow, members
from dujiang.doors.local import FILE_MISSING, STDIN, Answer, Client, Options, opened
from dujiang.kernel.errors import Code, Exit, Refused, Unavailable
from dujiang.ledger import lot, rules
from dujiang.ledger.model import NOT_VERIFIED

RECORDS_TOO_LARGE = Code(
    "records_too_large", 413, Exit.usage,
    "The file {name} is larger than {most} bytes.", "Split it: `split -l 100000 {name}`.",
    "文件 {name} 超过 {most} 字节。", "请拆分文件：`split -l 100000 {name}`。",
)  # fmt: skip
RECEIPTS_FAILED = Code(
    "receipts_failed", 503, Exit.failure,
    "The receipts cannot be written to {name}.",
    "Choose a place you may write to; receipts of entries that are in the log come by `dujiang receipt N`.",
    "无法将回执写入 {name}。", "请选择可写的位置；已入日志的条目可用 `dujiang receipt N` 取得回执。",
)  # fmt: skip
RECORD_TWOFOLD = Code(
    "record_twofold", 400, Exit.usage,
    "An object in line {line} of {name} names a member twice: two readers would read two different things.",
    "Correct that line so that each member is named once.",
    "{name} 第 {line} 行中有对象重复给出同一成员：不同程序会读出不同内容。", "请更正该行，使每个成员只出现一次。",
)  # fmt: skip
CODES = (RECORDS_TOO_LARGE, RECEIPTS_FAILED, RECORD_TWOFOLD)
Deed = Callable[[Options], Answer]
_FILE_BYTES_MAX = 256 << 20


def attest(
    records: Path,
    *,
    kind: Annotated[
        str | None, Parameter(help="What they are, in a word of your own: meter.reading.")
    ] = None,
    contract: Annotated[
        str | None, Parameter(help="A contract of yours they belong to: its other side sees them, too.")
    ] = None,
    out: Annotated[
        Path | None, Parameter(help="Where the receipts go, one a line (FILE.receipts.jsonl).")
    ] = None,
) -> Deed:
    """Attest records of another system: an entry and a receipt for each.

    Parameters
    ----------
    records
        A .jsonl file, one JSON value a line; `-` for standard input.
    """
    more = {name: value for name, value in (("kind", kind), ("contract", contract)) if value is not None}

    def deed(options: Options) -> Answer:
        lines = _lines(records)
        # What came by standard input has no folder of its own: its receipts go where one stands.
        beside = Path("dujiang") if str(records) == STDIN else records
        place = out or beside.with_name(f"{beside.name}.receipts.jsonl")
        try:
            with opened(options) as client, _own_file(place) as file:
                return _sent(lines, more, client, file, place)
        except OSError:
            raise Unavailable(RECEIPTS_FAILED, name=place.name) from None

    return deed


def _own_file(place: Path) -> TextIO:
    """A new file of its owner alone; a link somebody laid there is not followed."""
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    return open(handle, "w", encoding="utf-8")


def _sent(
    lines: list[tuple[int, Any]], more: dict[str, Any], client: Client, file: TextIO, place: Path
) -> Answer:
    first, count = None, 0
    for records in lot.calls_of(lines) if lines else [[]]:  # a call without any is refused
        answer = client.run(ACTS[lot.ACT], {"records": records, **more})
        if answer.exit:
            return replace(answer, body={**answer.body, "attested": count})
        for receipt in _receipts(answer.body["receipt"], records):
            file.write(json.dumps(receipt, ensure_ascii=False) + "\n")
        file.flush()
        first = answer.body["first"] if first is None else first
        count += len(records)
    return Answer({"first": first, "count": count, "receipts": str(place)})


def _receipts(receipt: object, records: list[Any]) -> list[dict[str, Any]]:
    """The whole receipts, which the log has signed.

    Raises: Refused not_verified.
    """
    try:
        found = lot.receipts_of(receipt, records)
    except ValueError:
        raise Refused(NOT_VERIFIED, step="3 path to the root") from None
    # They all lead to one root, which was computed: one signature is that of all of them.
    verdict = rules.verify(found[0], None)
    if not verdict.ok:
        raise Refused(NOT_VERIFIED, step=str(verdict.step))
    return found


def _lines(path: Path) -> list[tuple[int, Any]]:
    """The values of a file, a line each, with the bytes each takes.

    Raises: Refused file_missing, records_too_large, file_unreadable or record_twofold (with the line).
    """
    try:
        if str(path) == STDIN:
            raw = sys.stdin.buffer.read(_FILE_BYTES_MAX + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(_FILE_BYTES_MAX + 1)
    except OSError:
        raise Refused(FILE_MISSING, name=path.name) from None
    if len(raw) > _FILE_BYTES_MAX:
        raise Refused(RECORDS_TOO_LARGE, name=path.name, most=_FILE_BYTES_MAX)
    found: list[tuple[int, Any]] = []
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            try:
                # As UTF-8 alone: in UTF-16, which json guesses, a member given twice would go unseen.
                value = json.loads(line.decode())
            except (ValueError, RecursionError):
                raise Refused(flow.FILE_UNREADABLE, name=path.name, line=number) from None
            if members.twice(line, value):
                raise Refused(RECORD_TWOFOLD, name=path.name, line=number)
            found.append((len(line), value))
    return found
