"""What a person reads in Chinese is Chinese: the help of every flag, the name of every member of an answer."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from dujiang.acts import ACTS
from dujiang.doors import chinese, cli, show
from dujiang.kernel.act import bind
from dujiang.ledger.witnessing import FAILURES
from tests.doors.shell import Shell, dujiang, home
from tests.house.source import SRC

__all__ = ["dujiang", "home"]  # fixtures

TABLE = tomllib.loads((SRC / "dujiang" / "doors" / "templates" / "chinese.toml").read_text(encoding="utf-8"))
_HAN = re.compile("[\u4e00-\u9fff]")
_SAME = {"did", "odrl", "sql"}
"""What is called alike in both."""


def commands(app: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of the program with its words."""
    for name in app:
        if name.startswith("-"):
            continue
        one = app[name]
        inner = list(commands(one, (*path, name)))
        yield from inner or [((*path, name), one)]


def helps() -> dict[str, tuple[str, ...]]:
    """Every text that stands beside a flag or argument, with a command that has it."""
    found: dict[str, tuple[str, ...]] = {}
    for words, command in commands(cli.app("en")):
        for argument in command.assemble_argument_collection(parse_docstring=True):
            if text := (argument.parameter.help or "").strip():
                found.setdefault(text, words)
    return found


def members(form: Any, seen: set[Any]) -> Iterator[str]:
    """The names of all members of a reply, also of what it holds."""
    if is_dataclass(form) and form not in seen:
        seen.add(form)
        for name, hint in get_type_hints(form).items():
            yield name
            yield from members(hint, seen)
    for part in get_args(form):
        yield from members(part, seen)


def test_every_help_of_a_flag_is_in_chinese_too() -> None:
    texts = helps()
    assert len(texts) > 150
    assert {text: words for text, words in texts.items() if not chinese.help_of(text)} == {}


def test_no_help_is_translated_that_nobody_can_read_any_more() -> None:
    assert set(TABLE["help"]) - set(helps()) == set()


def test_every_member_of_an_answer_is_called_in_chinese() -> None:
    names = {
        name for act in ACTS.values() if act.roles != ("node",) for name in members(bind(act).reply, set())
    }
    english = {name for name in names if not _HAN.search(show.label(name, "zh"))} - _SAME
    assert len(names) > 300 and english == set()


def test_what_a_witness_failed_in_is_said_in_both_languages() -> None:
    for word, (english, zh) in FAILURES.items():
        assert bool(english) is bool(zh) is bool(word)
        assert not _HAN.search(english) and (not zh or _HAN.search(zh))


def test_no_flag_is_in_capitals_or_denied_twice(dujiang: Shell) -> None:
    for words, _ in commands(cli.app("en")):
        flags = re.findall(r"(?<![\w`-])--[\w-]+", dujiang(*words, "--help").out.partition("Anywhere:")[0])
        assert [each for each in flags if each != each.lower()] == [], words
        assert [each for each in flags if each.startswith(("--no-no-", "--empty-"))] == [], words


def test_help_in_chinese_is_chinese_to_its_end(dujiang: Shell) -> None:
    said = dujiang("ledger", "quorum", "--help", "--lang", "zh").out
    assert "用法：dujiang ledger quorum" in said and "必填" in said and "默认" not in said
    assert "required" not in said and "Usage" not in said and "Within so many" not in said
    assert "[默认：8000]" in dujiang("up", "--help", "--lang", "zh").out
    assert "[default: 8000]" in dujiang("up", "--help").out


def test_the_table_holds_no_empty_word() -> None:
    assert all(text.strip() for part in TABLE.values() for text in part.values())
    assert Path(SRC / "dujiang" / "doors" / "templates" / "chinese.toml").stat().st_size < 64 << 10
