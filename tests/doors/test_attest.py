"""Records of a file attested from the command line, and over HTTP: every receipt is there and verifies alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dujiang.ledger import lot, rules
from tests.doors.over_http import node
from tests.doors.shell import Shell, dujiang, home

__all__ = ["dujiang", "home"]


def written(path: Path, records: list[Any]) -> Path:
    """A file with a record a line."""
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records), "utf-8")
    return path


def test_a_file_of_records_becomes_a_file_of_receipts(dujiang: Shell, tmp_path: Path) -> None:
    records = [{"meter": f"m-{n}", "kwh": n / 2, "地点": "杭州"} for n in range(1100)] + [None, "x" * 60_000]
    size = dujiang.json("history")["size"]
    done = dujiang.json(
        "ledger", "attest", str(written(tmp_path / "r.jsonl", records)), "--kind", "meter.reading"
    )
    place = tmp_path / "r.jsonl.receipts.jsonl"
    assert done == {"first": size, "count": 1102, "receipts": str(place)}
    assert place.stat().st_mode & 0o077 == 0
    receipts = [json.loads(line) for line in place.read_text("utf-8").splitlines()]
    for at, (receipt, record) in enumerate(zip(receipts, records, strict=True)):
        verdict = rules.verify(receipt, None)
        assert verdict.ok and verdict.index == size + at
        assert verdict.facts is not None and verdict.facts["record"] == record
    one = tmp_path / "one.json"
    one.write_text(json.dumps(receipts[1099]), "utf-8")
    assert dujiang.json("verify", str(one))["ok"]
    assert dujiang.json("receipt", str(size + 1099))["receipt"]["leaf"] == receipts[1099]["leaf"]


def test_of_a_file_of_receipts_every_line_is_checked_however_long_it_is(
    dujiang: Shell, tmp_path: Path
) -> None:
    sent, place = written(tmp_path / "r.jsonl", [1, 2, 3]), tmp_path / "receipts.jsonl"
    dujiang.json("ledger", "attest", str(sent), "--out", str(place))
    padding = " " * (9 << 20)
    wide = [line + padding for line in place.read_text("utf-8").splitlines()]
    place.write_text("\n".join(wide) + "\n", "utf-8")
    assert dujiang.json("verify", str(place))["receipts"] == 3
    place.write_text("\n".join([*wide, wide[0].replace('"index": ', '"index": 1')]) + "\n", "utf-8")
    assert dujiang.json("verify", str(place), ok=False)["step"].endswith("(line 4)")


WRONG = {
    "a line that is no JSON": ('{"a":1}\n{"a":\n', "file_unreadable"),
    "nothing": ("\n", "records_count"),
    "a number no JSON carries": ('{"a":1}\n9007199254740993\n', "malformed"),
    "one too large": (json.dumps("x" * 65_535) + "\n", "entry_too_large"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_and_leaves_nothing(dujiang: Shell, tmp_path: Path, what: str) -> None:
    text, code = WRONG[what]
    (tmp_path / "r.jsonl").write_text(text, "utf-8")
    size = dujiang.json("history")["size"]
    assert dujiang.json("ledger", "attest", str(tmp_path / "r.jsonl"), ok=False)["code"] == code
    assert dujiang.json("history")["size"] == size


def test_the_receipts_go_where_they_may_be_written_or_nothing_is_sent(dujiang: Shell, tmp_path: Path) -> None:
    given = written(tmp_path / "r.jsonl", [1])
    size = dujiang.json("history")["size"]
    os.symlink(tmp_path / "other", tmp_path / "link")
    for place in (tmp_path / "no" / "such", tmp_path / "link", tmp_path):
        failed = dujiang.json("ledger", "attest", str(given), "--out", str(place), ok=False)
        assert failed["code"] == "receipts_failed"
    assert dujiang.json("history")["size"] == size
    assert dujiang.json("ledger", "attest", str(tmp_path / "none"), ok=False)["code"] == "file_missing"


def test_over_http_a_repeat_with_the_key_of_a_lost_answer_changes_nothing(tmp_path: Path) -> None:
    with node(tmp_path) as on:
        records = [{"n": n} for n in range(50)]
        ask = {"records": records, "kind": "run"}
        once = on.post("ledger.attest", ask, 1, idempotency_key="k").json()
        assert on.post("ledger.attest", ask, 1, idempotency_key="k").json() == once
        assert on.entries() == once["first"] + 50
        receipts = lot.receipts_of(once["receipt"], records)
        assert all(rules.verify(receipt, on.home.book.vkey).trusted for receipt in receipts)
        proved = on.post("ledger.prove", {"entry": once["first"] + 7}, 1).json()["receipt"]
        assert proved == receipts[7]
        assert on.post("ledger.prove", {"entry": once["first"]}, 0).status_code == 200, "the operator sees it"
        for wrong, status in (
            ({}, 400), ({"records": 1}, 400), ({"records": []}, 422), ({"records": [1] * 1025}, 422),
            ({"records": [1], "kind": ""}, 400), ({"records": [1], "extra": 1}, 400),
            ({"records": [2**53]}, 400), ({"records": ["x" * 65_535]}, 413),
        ):  # fmt: skip
            refused = on.post("ledger.attest", wrong, 1)
            assert refused.status_code == status, (str(wrong)[:60], refused.text)
        assert on.post("ledger.attest", ask).status_code == 401
        assert on.entries() == once["first"] + 50
