"""JSON whose objects name each member once: of a name given twice two readers would hold two different values.

RFC 8259 §4 leaves open which of the two holds; what is attested, hashed or signed must not be left open.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from dujiang.kernel.errors import Code, Exit

MEMBER_TWICE = Code(
    "member_twice", 400, Exit.usage,
    "An object of the request names a member twice: two readers would read two different things.",
    "Name each member once; most JSON libraries write it so.",
    "请求中有对象重复给出同一成员：不同程序会读出不同内容。", "每个成员只给出一次；多数 JSON 库即如此输出。",
)  # fmt: skip
CODES = (MEMBER_TWICE,)
_encoder = msgspec.json.Encoder()


def twice(raw: bytes, found: Any) -> bool:
    """Whether an object in `raw`, which was read as `found`, names a member twice.

    Every member has a colon, and so may texts; what was dropped while reading took its colons along. Written anew
    the value has fewer then: that costs a tenth of reading it object by object. A colon that is written as an escape
    would hide one, so where there is any, that is done all the same.
    """
    if b"\\" in raw and b"\\u003" in raw:
        return _read_slowly(raw)
    try:
        return raw.count(b":") != _encoder.encode(found).count(b":")
    except (OverflowError, UnicodeEncodeError):  # a number or a text that this reader took and cannot write
        return _read_slowly(raw)


def _read_slowly(raw: bytes) -> bool:
    again = False

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal again
        made = dict(pairs)
        again = again or len(made) != len(pairs)
        return made

    try:
        json.loads(raw, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return True
    return again
