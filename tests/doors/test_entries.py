"""The log in a terminal: a table an auditor can read, how to go on, and in `--json` all of it as it is."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from dujiang.doors import entries, followers, show
from dujiang.doors.local import Answer, Options
from dujiang.ledger import fsck, witness
from tests.doors.shell import HOSPITAL, Life, Shell, dujiang, files, home, life
from tests.house.source import SRC
from tests.ledger.foreign import ForeignLog

__all__ = ["dujiang", "files", "home", "life"]  # fixtures


def test_history_says_when_who_and_about_what(life: Life) -> None:
    said = life.shell("history").out
    lines = said.splitlines()
    assert re.split(r"\s{2,}", lines[0].strip()) == ["entry", "time (UTC)", "act", "by", "about", "says"]
    offered = next(line for line in lines if "Register and offer" in line or life.product in line)
    assert HOSPITAL in offered and re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", offered)
    assert "ask_sha256" not in said and "org_" not in said and "figures" not in said


def test_in_chinese_it_is_the_same_table(life: Life) -> None:
    said = life.shell("ledger", "search", "--lang", "zh").out
    assert said.splitlines()[0].split() == ["条目", "时间（UTC）", "行为", "主体", "对象", "内容"]
    assert "签订合约" in said or "处理对方消息" in said


def test_the_command_that_is_said_shows_the_next_page(life: Life) -> None:
    shell = life.shell
    first = shell("ledger", "search", "--organisation", own(shell), "--limit", "2")
    line = next(each for each in first.err.splitlines() if each.startswith("More: dujiang "))
    words = shlex.split(line.removeprefix("More: dujiang "))
    assert words[:2] == ["ledger", "search"] and "--organisation" in words and "--limit" in words
    wanted = shell.json("ledger", "search", "--organisation", own(shell), "--limit", "4")["items"]
    assert shell.json(*words)["items"] == wanted[2:]
    assert "更多：dujiang history" in shell("history", "--limit", "1", "--lang", "zh").err
    assert "More" not in shell("history", "--limit", "1", "--json").err


def own(shell: Shell) -> str:
    """The id of the organisation that acts."""
    return str(shell.json("identity", "show")["org"])


def test_json_is_what_the_act_replies(life: Life) -> None:
    body = life.shell.json("ledger", "search", "--limit", "1")
    assert set(body) == {"items", "size", "next"} and set(body["items"][0]) == {
        "index", "act", "time_ms", "facts", "erased",
    }  # fmt: skip
    witnesses = life.shell.json("ledger", "witnesses")
    assert {"size", "cosigned", "fresh", "least", "fresh_s", "witnesses", "watched", "forks"} <= set(
        witnesses
    )


def test_a_replay_is_read_as_the_log_is(life: Life) -> None:
    said = life.shell("replay", life.contract).out
    assert "proved under" in said and "Hear a message of the other side" in said and "FINALIZED" in said


def test_an_examination_and_a_comparison_end_in_a_sentence(dujiang: Shell) -> None:
    assert "all of it is what was signed" in dujiang("ledger", "fsck").err
    assert "均与签署内容一致" in dujiang("ledger", "fsck", "--lang", "zh").err
    assert "agree in every object" in dujiang("observatory", "reconcile").err
    assert "全部一致" in dujiang("observatory", "reconcile", "--lang", "zh").err


def test_retention_says_from_when_on_it_applies(dujiang: Shell) -> None:
    ran = dujiang("ledger", "retain", "400")
    assert "/log/policy" in ran.err and "400" in ran.out
    assert "可据此清理" in dujiang("ledger", "retain", "401", "--lang", "zh").err


def test_every_difference_and_conflict_has_words_in_both_languages() -> None:
    from dujiang.doors import entries

    told = set(
        re.findall(r'differs\("(\w+)"', Path(SRC / "dujiang/ledger/fsck.py").read_text(encoding="utf-8"))
    )
    assert told and told <= set(entries._DIFFERENCES), fsck.__name__
    assert {each.value for each in witness.Conflict} == set(entries._CONFLICTS)


def test_text_of_others_in_an_entry_obeys_nothing(dujiang: Shell, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text(json.dumps({"note": "\x1b[31mred\u202e", "kwh": 3}) + "\n")
    dujiang("ledger", "attest", str(file), "--kind", "meter.reading")
    said = dujiang("ledger", "search", "--kind", "meter.reading").out
    assert "meter.reading" in said and "kwh 3" in said and "\x1b" not in said and "\u202e" not in said


def test_after_a_rotation_keys_show_what_changed_and_verify_hints_at_the_key(
    dujiang: Shell, tmp_path: Path
) -> None:
    old = dujiang.json("ledger", "keys")["keys"][0]["vkey"]
    new = dujiang.json("ledger", "disown", old)["new"]
    shown = dujiang("ledger", "keys")
    assert old in shown.out and new in shown.out and "Disown a stolen log key" in shown.out
    assert "changes" in shown.out and '"path"' not in shown.out
    named, number, key = old.split("+", 2)
    top, *rows = dujiang("history", "--limit", "2").out.splitlines()
    assert top.split() == ["entry", "time", "(UTC)", "act", "by", "about", "says"]
    assert f"{named}+{number}" in rows[0] and key not in rows[0]
    last = dujiang.json("history", "--limit", "1")["items"][0]["index"]
    dujiang("receipt", str(last), "--out", str(tmp_path / "r.json"))
    no = dujiang.json("verify", str(tmp_path / "r.json"), "--vkey", old, ok=False)
    assert no["ok"] is False and no["code"] == "not_verified" and no["trusted"] is False
    assert new in no["fix"] and "Ask its operator" in no["fix"]
    zh = dujiang.json("verify", str(tmp_path / "r.json"), "--vkey", old, "--lang", "zh", ok=False)
    assert new in zh["fix"] and "运营方核实" in zh["fix"]
    assert dujiang.json("verify", str(tmp_path / "r.json"), "--vkey", new)["trusted"]
    dujiang("ledger", "tiles", str(tmp_path / "log"))
    assert new in dujiang.json("verify", str(tmp_path / "log"), "--vkey", old, ok=False)["fix"]


@pytest.mark.parametrize("step", ["3 path to the root", "2 opened facts", "1 form of the receipt"])
def test_there_is_no_hint_where_something_else_is_wrong(tmp_path: Path, step: str) -> None:
    row = {"vkey": "log.example+deadbeef+AA", "signs": False}
    document = {"type": "dujiang-log-keys", "v": 1, "keys": [row], "changes": []}
    given = Answer({"ok": False, "step": step, "fix": "x"}, 7)
    assert followers.hinted(given, [str(row["vkey"])], document, Options(tmp_path)) is given


def test_a_document_that_knows_not_the_pinned_key_gives_no_hint(tmp_path: Path) -> None:
    row = {"vkey": "log.example+deadbeef+AA", "signs": True}
    document = {"type": "dujiang-log-keys", "v": 1, "keys": [row], "changes": []}
    given = Answer({"ok": False, "step": "4 signature of the checkpoint", "fix": "x"}, 7)
    assert followers.hinted(given, ["another+00000000+AA"], document, Options(tmp_path)) is given
    for odd in (None, [], {"type": "dujiang-log-keys", "v": 1, "keys": [1], "changes": []}, document):
        assert followers.hinted(given, [str(row["vkey"])], odd, Options(tmp_path)) is given


def test_a_hostile_document_names_few_keys_and_breaks_nothing(tmp_path: Path) -> None:
    pinned, vkey = "log.example+deadbeef+AA", ForeignLog("evil.example", 5).vkeys[0]
    given = Answer({"ok": False, "step": "4 signature of the checkpoint", "fix": "x"}, 7)
    others = [{"vkey": ForeignLog(f"e{n}.example", n).vkeys[0], "signs": True} for n in range(40)]
    for rows, hints in (
        ([{"vkey": pinned, "signs": True}, {"vkey": vkey, "signs": True}], 0),
        (
            [
                {"vkey": pinned, "signs": False},
                {"vkey": ["x"], "signs": True},
                {"vkey": "x\x1b", "signs": True},
            ],
            0,
        ),
        ([{"vkey": pinned, "signs": False}, *others], 2),
    ):
        document = {"type": "dujiang-log-keys", "v": 1, "keys": rows, "changes": []}
        fix = followers.hinted(given, [pinned], document, Options(tmp_path)).body["fix"]
        assert fix.count(".example+") == hints and len(fix) < 1000 and "\x1b" not in fix


def test_a_label_is_the_same_word_for_a_number_and_its_name() -> None:
    assert show.label("time_utc") == "time (UTC)" and show.label("time_ms", "zh") == "时间"


def test_a_record_of_others_cannot_pass_for_a_row() -> None:
    said = entries.says({"record": {"note": "read\n  99  Settle a bill\tthe node"}, "kind": "a\nb"}, "en")
    assert said == "record note read 99 Settle a bill the node; kind a b"
