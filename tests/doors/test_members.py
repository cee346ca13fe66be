"""An object that names a member twice is refused wherever records come in: nobody is to read it in two ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.doors import attest, flow
from dujiang.doors.members import twice
from dujiang.kernel.errors import Refused
from tests.doors import over_http
from tests.doors.shell import Shell, dujiang, home

__all__ = ["dujiang", "home"]  # fixtures

_text = st.text(alphabet='":\\{},aé\u003a ', max_size=6)
_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(_text, inner), max_size=3).map(tuple),
    max_leaves=8,
)
"""A tuple of pairs stands for an object as it is written, which may name a member twice."""


def written(value: Any, escaped: bool) -> tuple[str, bool]:
    """A value as JSON, and whether an object in it names a member twice."""
    if isinstance(value, tuple):
        parts = [(written(name, escaped)[0], *written(each, escaped)) for name, each in value]
        again = len({name for name, _ in value}) < len(value) or any(found for _, _, found in parts)
        return "{" + " , ".join(f"{name} : {text}" for name, text, _ in parts) + "}", again
    if isinstance(value, list):
        parts_ = [written(each, escaped) for each in value]
        return "[" + ", ".join(text for text, _ in parts_) + "]", any(found for _, found in parts_)
    text = json.dumps(value)
    if escaped and isinstance(value, str):
        return text.replace(":", "\\u003A"), False
    return text, False


@settings(max_examples=300, deadline=None)
@given(_value, st.booleans())
def test_a_member_named_twice_is_found_however_it_is_written(value: Any, escaped: bool) -> None:
    text, again = written(value, escaped)
    raw = text.encode()
    assert twice(raw, msgspec.json.decode(raw)) is again


def test_a_colon_written_as_an_escape_hides_no_second_member() -> None:
    raw = b'{"a":1,"a":"\\u003a"}'
    assert raw.count(b":") == msgspec.json.encode(msgspec.json.decode(raw)).count(b":")
    assert twice(raw, msgspec.json.decode(raw))


@pytest.mark.parametrize(
    ("act", "body"),
    [
        ("ledger/attest", b'{"records":[{"kwh":1,"kwh":2}]}'),
        ("ledger/attest", b'{"records":[1],"records":[2]}'),
        ("ledger/attest", b'{"records":[{"a":{"kwh":1 ,\n"kwh" :2}}]}'),
        ("identity/invite", b'{"name":"a","name":"b"}'),
        ("ledger/list", b'{"limit":1,"limit":2}'),
    ],
)
def test_a_request_that_names_a_member_twice_is_refused_and_writes_nothing(
    tmp_path: Path, act: str, body: bytes
) -> None:
    with over_http.node(tmp_path) as node:
        before = node.home.book.next_index()
        headers = {"Authorization": f"Bearer {node.made[0]['api_key']}", "Content-Type": "application/json"}
        reply = node.client.post(f"/v1/{act}", content=body, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (400, "member_twice")
        assert node.home.book.next_index() == before


def test_a_file_of_records_with_such_a_line_attests_none(dujiang: Shell, tmp_path: Path) -> None:
    file = tmp_path / "readings.jsonl"
    file.write_text('{"kwh":1}\n{"kwh":1,"kwh":2}\n')
    before = dujiang.json("history")["size"]
    said = dujiang("ledger", "attest", str(file), ok=False)
    assert "line 2 of readings.jsonl" in said.err and "record_twofold" in said.err
    assert dujiang.json("history")["size"] == before and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16", "utf-32"])
def test_a_file_in_another_encoding_hides_nothing(tmp_path: Path, encoding: str) -> None:
    place = tmp_path / "records.jsonl"
    place.write_bytes('{"a":1,"a":"\\u003a"}'.encode(encoding))
    with pytest.raises(Refused) as refused:
        attest._lines(place)
    assert refused.value.code is flow.FILE_UNREADABLE
