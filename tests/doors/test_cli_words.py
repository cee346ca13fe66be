"""The command line's own rules: reading lines, choosing who acts, what a terminal is shown."""

from __future__ import annotations

import contextlib
import io
import json
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dujiang.doors import flow, profiles, show, usage, verbs
from dujiang.doors.local import Answer, Options
from dujiang.kernel.act import Act, Effect
from dujiang.kernel.errors import Refused, Unavailable
from dujiang.policy.model import Noise

TEXTS = st.text(max_size=40)
Upload = NewType("Upload", str)


@dataclass(frozen=True)
class Inner:
    """A structure."""

    n: int = 0


@dataclass(frozen=True)
class Ask:
    """Every kind of field an ask may have."""

    upload: Upload
    names: tuple[str, ...]
    """Names of things."""
    sql: str
    limit: int = 3
    ratio: float | None = None
    deep: bool = False
    noise: Noise = Noise.gaussian
    kinds: tuple[Noise, ...] = ()
    terms: Inner | None = None
    fields: dict[str, Inner] = field(default_factory=dict)
    bound: int | float | str | None = None


def test_fields_become_flags_by_their_type() -> None:
    flags = {flag.name: flag for flag in verbs.flags_of(Ask)}
    assert {name: flag.kind for name, flag in flags.items()} == {
        "upload": "upload", "names": "list", "sql": "plain", "limit": "plain", "ratio": "plain",
        "deep": "plain",
        "noise": "plain", "kinds": "list", "terms": "file", "fields": "file", "bound": "plain",
    }  # fmt: skip
    assert [name for name, flag in flags.items() if flag.required] == ["upload", "names", "sql"]
    assert flags["limit"].form is int and flags["ratio"].form is float and flags["upload"].form is Path
    assert verbs.docs(Ask) == {"names": "Names of things."}


@given(st.lists(st.text("abc (,", min_size=1, max_size=5), min_size=2, max_size=6))
def test_the_last_word_after_a_list_is_the_question(words: list[str]) -> None:
    act = Act("cleanroom.ask", Effect.writes, ("consumer",), "", "", positional=("names", "sql"))
    flags = {flag.name: flag for flag in verbs.flags_of(Ask)}
    assert verbs._spread(act, flags, words) == {"names": words[:-1], "sql": words[-1]}


@given(
    st.lists(st.sampled_from(["ask", "--json", "--yes", "--as=x", "--limit", "-", "a b"]), max_size=6),
    st.data(),
)
def test_what_is_no_global_flag_keeps_its_order(line: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(line)))
    options, rest = usage.split([*line[:place], "--lang", "zh", *line[place:]], {})
    kept = [
        usage.STDIN if word == "-" else word for word in line if word not in ("--json", "--yes", "--as=x")
    ]
    assert rest == kept
    assert (
        options.language == "zh" and options.json == ("--json" in line) and options.yes == ("--yes" in line)
    )
    assert options.org == ("x" if "--as=x" in line else None)


def test_what_follows_two_hyphens_is_left_alone() -> None:
    options, rest = usage.split(["ask", "--", "--json", "--as", "-"], {})
    assert rest == ["ask", "--", "--json", "--as", "-"] and not options.json and options.org is None


def test_a_flag_is_above_the_environment() -> None:
    environment = {"DUJIANG_AS": "a", "DUJIANG_NODE": "http://n", "DUJIANG_HOME": "/h", "DUJIANG_KEY": "k"}
    options, _ = usage.split([], environment)
    assert options == Options(Path("/h"), org="a", node="http://n", key="k")
    named = usage.split(["--as", "b", "--home", "/i"], environment)[0]
    assert named.org == "b" and named.key is None, (
        "a key of the environment must not act under another's name"
    )
    with pytest.raises(Refused) as refused:
        usage.split(["history", "--as"], {})
    assert refused.value.code is usage.ARGUMENT_MISSING


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN", "LC_ALL": "C"}, "en"),
        ({"LANG": "de"}, "en"),
    ],
)
def test_the_language_is_the_environments(environment: dict[str, str], language: str) -> None:
    assert usage.split([], environment)[0].language == language


def known(*names: str) -> list[profiles.Profile]:
    """Profiles of these names, in this order."""
    return [profiles.Profile(name, f"did:web:x:{i}", f"org_{i}", "djk_", i) for i, name in enumerate(names)]


@given(
    st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=5, unique=True),
    st.text("ab", min_size=1, max_size=3),
)
def test_a_name_means_itself_else_what_alone_begins_so(names: list[str], wanted: str) -> None:
    every = known(*names)
    begins = [each for each in every if any(t.startswith(wanted) for t in (each.name, each.did, each.org))]
    if wanted in names:
        assert profiles.choose(every, wanted).name == wanted
    elif len(begins) == 1:
        assert profiles.choose(every, wanted) == begins[0]
    else:
        with pytest.raises(Refused):
            profiles.choose(every, wanted)
    assert profiles.choose(every, None) == every[0]


def test_profiles_are_read_back_in_their_order(tmp_path: Path) -> None:
    made = [
        {"name": n, "did": "d" + n, "org": f"org_{9 - i}", "api_key": "djk_" + n} for i, n in enumerate("abc")
    ]
    profiles.write(tmp_path, made)
    assert [profile.name for profile in profiles.read(tmp_path)] == ["a", "b", "c"]
    with pytest.raises(Unavailable):  # a key is never overwritten
        profiles.write(tmp_path, made[:1])
    (tmp_path / "profiles" / "broken.json").write_text("{")
    with pytest.raises(Unavailable):
        profiles.read(tmp_path)


@given(st.text(max_size=80))
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    shown = show.clean(text)
    assert len(shown) == len(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t"]


def test_an_answer_of_others_obeys_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    body = {"title": "\x1b[31mred[/] [bold]x\u202e", "items": [{"name": "\x1b]0;t\x07", "n": 1}]}
    show.answer(Answer(body), Options(Path("/")))
    printed = capfd.readouterr().out
    assert "\x1b" not in printed and "\x07" not in printed and "\u202e" not in printed
    assert "[bold]x" in printed


@given(st.text("ab 中，\n", min_size=1, max_size=30), st.data())
def test_the_carets_stand_under_the_place(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    if text[start] == "\n":
        return
    end = text.find("\n", start)
    length = data.draw(st.integers(1, (len(text) if end < 0 else end) - start))
    line, carets = show.underlined(text, start, length).plain.split("\n")
    before = carets.index("^")
    assert before == show._cells(line) - show._cells(text[start : len(text) if end < 0 else end])
    assert carets.count("^") == show._cells(text[start : start + length])


def test_a_place_far_in_a_long_line_is_still_shown() -> None:
    text = "x" * 500 + "HERE" + "y" * 500
    line, carets = show.underlined(text, 500, 4).plain.split("\n")
    assert line[carets.index("^") :].startswith("HERE") and len(line) < 120


@given(
    st.recursive(
        TEXTS | st.none() | st.integers() | st.booleans(), lambda v: st.lists(v) | st.dictionaries(TEXTS, v)
    )
)
def test_any_json_can_be_shown(body: Any) -> None:
    Console(file=io.StringIO()).print(show.rendered(body, "zh"))


@given(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS)))
def test_json_is_one_document(body: dict[str, Any]) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show.answer(Answer(body, human="never"), Options(Path("/"), json=True))
    assert json.loads(out.getvalue()) == body


def test_a_title_is_shown_in_one_language(capfd: pytest.CaptureFixture[str]) -> None:
    body = {"title": "Blood", "title_zh": "血压", "code": "both"}
    for language, there, away in (("en", "Blood", "血压"), ("zh", "血压", "Blood")):
        show.answer(Answer(body), Options(Path("/"), language=language))
        printed = capfd.readouterr().out
        assert there in printed and away not in printed and "both" in printed


def test_lines_that_differ_in_their_first_cell_become_one() -> None:
    assert show._merged([["a", "1"], ["b", "1"], ["c", "2"]]) == [["a, b", "1"], ["c", "2"]]
    same = [["a", "1"], ["a", "1"]]
    assert show._merged(same) == same


def test_terms_are_read_from_toml_and_json(tmp_path: Path) -> None:
    toml, form = tmp_path / "t.toml", tmp_path / "t.json"
    toml.write_text('until = 2027-01-01\n[fields."年 龄"]\nlo = 0\n', encoding="utf-8-sig")
    form.write_text('{"until": "2027-01-01", "fields": {"年 龄": {"lo": 0}}}')
    assert (
        flow.structure(toml)
        == flow.structure(form)
        == {"until": "2027-01-01", "fields": {"年 龄": {"lo": 0}}}
    )


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("t.toml", "a = 1\nb = \n", 2),
        ("t.json", '{\n"a": 1,\n"b" 2}', 3),
        ("t.toml", "[" * 9000, 1),
        ("t.json", "", 1),
    ],
)
def test_a_broken_structure_names_the_line(tmp_path: Path, name: str, text: str, line: int) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(Refused) as refused:
        flow.structure(tmp_path / name)
    assert refused.value.code is flow.FILE_UNREADABLE and refused.value.names == {
        "name": name,
        "line": str(line),
    }


def test_a_preview_gets_what_it_knows() -> None:
    raw = {
        "upload": "upl_1",
        "title": "T",
        "terms": {"fields": {"name": {"lo": 0}}, "rows_per_entity": 2, "days": 3},
    }
    known_to_check = {"upload", "name", "title", "fields", "rows_per_entity"}
    assert list(flow.preview_asks(known_to_check, raw)) == [
        {"upload": "upl_1", "title": "T", "fields": {"name": {"lo": 0}}, "rows_per_entity": 2}
    ]
    many = {"contracts": ["ctr_1", "ctr_2"], "sql": "q"}
    assert list(flow.preview_asks({"contract", "sql"}, many)) == [
        {"contract": "ctr_1", "sql": "q"}, {"contract": "ctr_2", "sql": "q"},
    ]  # fmt: skip


def test_a_receipt_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "home.json").touch()
    kept = [
        flow.keep_receipt({"index": 7}, None, tmp_path / "home"),
        flow.keep_receipt({"index": 7}, tmp_path / "answer.csv", tmp_path / "home"),
    ]
    assert kept == [tmp_path / "home" / "receipts" / "receipt-7.json", tmp_path / "answer.csv.receipt.json"]
    assert all(place is not None and place.stat().st_mode & 0o077 == 0 for place in kept)
    assert flow.keep_receipt({"index": 7}, tmp_path / "gone" / "deep" / "x.csv", tmp_path) is None


def test_a_receipt_of_a_hostile_node_stays_among_the_receipts(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "receipts" / "receipt-x").mkdir(parents=True)
    (home / "home.json").write_text("mine")
    for index in ("x/../../home", "/etc/x", ["x"], None, True):
        assert flow.keep_receipt({"index": index}, None, home) == home / "receipts" / "receipt-0.json"
    assert (home / "home.json").read_text() == "mine"
