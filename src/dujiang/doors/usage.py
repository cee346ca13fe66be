"""How the command line is read: the flags that may stand anywhere, and what is said of a wrong line.

A wrong line is answered with the nearest right word and never with the value that was given.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dujiang.doors.local import FILE_MISSING, STDIN, Options, reading
from dujiang.kernel.errors import Code, Exit, Refused

if TYPE_CHECKING:
    from cyclopts import CycloptsError

NO_SUCH_COMMAND = Code(
    "no_such_command", 404, Exit.usage,
    "There is no such command.{hint}", "List the commands with `dujiang --help`.",
    "没有这个命令。{hint}", "用 `dujiang --help` 列出全部命令。",
)  # fmt: skip
NO_SUCH_FLAG = Code(
    "no_such_flag", 400, Exit.usage,
    "There is no flag {name} here.{hint}", "List the flags with `--help` after the command.",
    "这里没有参数 {name}。{hint}", "在命令后加 `--help` 列出全部参数。",
)  # fmt: skip
ARGUMENT_MISSING = Code(
    "argument_missing", 400, Exit.usage,
    "{name} is missing.", "Give it; `--help` after the command shows where.",
    "缺少 {name}。", "请补充；在命令后加 `--help` 查看位置。",
)  # fmt: skip
ARGUMENT_WRONG = Code(
    "argument_wrong", 400, Exit.usage,
    "The value of {name} is not of the expected kind, or it was given twice.",
    "See what is expected with `--help` after the command.",
    "{name} 的值类型不对，或重复给出。", "在命令后加 `--help` 查看所需的值。",
)  # fmt: skip
ARGUMENT_BEYOND = Code(
    "argument_beyond", 400, Exit.usage,
    "There are more words than this command takes.", "Put quotes around a text that has spaces.",
    "给出的词多于该命令所需。", "含空格的文本请加引号。",
)  # fmt: skip
TEXT_UNREADABLE = Code(
    "text_unreadable", 400, Exit.usage,
    "The value of {name} is not text in UTF-8.",
    "Write it in UTF-8, or give `-` and send it on standard input.",
    "{name} 的值不是 UTF-8 文本。", "请使用 UTF-8，或填写 `-` 并从标准输入传入。",
)  # fmt: skip
CODES = (NO_SUCH_COMMAND, NO_SUCH_FLAG, ARGUMENT_MISSING, ARGUMENT_WRONG, ARGUMENT_BEYOND, TEXT_UNREADABLE)
_SWITCHES = {"--json": "json", "--yes": "yes"}
_VALUES = {"--as": "org", "--node": "node", "--home": "home", "--lang": "language"}
_VARIABLES = {"org": "DUJIANG_AS", "node": "DUJIANG_NODE", "home": "DUJIANG_HOME", "key": "DUJIANG_KEY"}
_LANGUAGES = ("en", "zh")
_KEYS_BYTES_MAX = 1 << 20
DEFAULT_HOME = Path.home() / ".dujiang"
"""Where a home is when nothing says otherwise."""


def split(line: Sequence[str], environment: Mapping[str, str] = os.environ) -> tuple[Options, list[str]]:
    """The flags that may stand anywhere (the environment's below them), and the rest of the line.

    Raises: Refused argument_missing, argument_wrong.
    """
    found: dict[str, str] = {
        field: environment[name] for field, name in _VARIABLES.items() if environment.get(name)
    }
    found.setdefault("language", language(environment))
    on: dict[str, bool] = {}
    rest: list[str] = []
    words = iter(line)
    for word in words:
        flag, equals, value = word.partition("=")
        if word == "--":
            rest += [word, *words]
        elif word == "-":
            rest.append(STDIN)  # the parser would take a bare hyphen for a flag
        elif word in _SWITCHES:
            on[_SWITCHES[word]] = True
        elif flag in _VALUES:
            taken = value if equals else next(words, None)
            if not taken:
                raise Refused(ARGUMENT_MISSING, name=flag)
            found[_VALUES[flag]] = taken
            if flag == "--as":
                found.pop("key", None)  # who is named on the line acts, whatever key the environment holds
        else:
            rest.append(word)
    if found["language"] not in _LANGUAGES:
        raise Refused(ARGUMENT_WRONG, name="--lang")
    home = Path(found.pop("home", str(DEFAULT_HOME))).expanduser()
    return Options(home=home, **on, **found), rest  # type: ignore[arg-type]


def translated(error: CycloptsError, commands: Iterable[str]) -> Refused:
    """The refusal of a line that the parser could not read."""
    from cyclopts import exceptions as parsing

    argument = error.argument
    name = argument.name if argument is not None else ""
    if isinstance(error, parsing.UnknownCommandError):
        return unknown((error.unused_tokens or [""])[0], commands)
    if isinstance(error, parsing.UnknownOptionError):
        flag = (error.token.keyword or error.token.value).partition("=")[0]
        known = [each for item in error.argument_collection for each in item.names if item.parse]
        return Refused(NO_SUCH_FLAG, name=flag[:40], hint=hint(flag, [*known, *_SWITCHES, *_VALUES]))
    if isinstance(error, parsing.MissingArgumentError):
        return Refused(ARGUMENT_MISSING, name=name)
    if isinstance(error, parsing.UnusedCliTokensError):
        return Refused(ARGUMENT_BEYOND)
    return Refused(ARGUMENT_WRONG, name=name or "--…")


def unknown(word: str, commands: Iterable[str]) -> Refused:
    """The refusal of a word that is no command, with the nearest ones."""
    return Refused(NO_SUCH_COMMAND, hint=hint(word, list(commands)))


def hint(word: str, known: Sequence[str]) -> str:
    """` (offer, …?)` with up to three words near the one that was given, or nothing."""
    near = difflib.get_close_matches(word, known, 3, 0.6)
    return f" ({', '.join(near)}?)" if near else ""


def parts(items: Iterable[str] | None) -> tuple[str, ...]:
    """The words of a flag that may be repeated or hold several with commas between."""
    return tuple(part.strip() for item in items or () for part in item.split(",") if part.strip())


def key_line(vkey: str) -> str:
    """A verifier key: the line itself, or the line in the file it names.

    Raises: Refused file_missing, file_odd.
    """
    if "+" in vkey:
        return vkey
    try:
        with reading(Path(vkey)) as file:
            return file.read(_KEYS_BYTES_MAX).decode().strip()
    except (OSError, ValueError):
        raise Refused(FILE_MISSING, name=Path(vkey).name) from None


def key_lines(given: Iterable[str] | None) -> list[str]:
    """Verifier keys: each given as its line, or by a file that holds it or several.

    Raises: Refused file_missing.
    """
    return [line.strip() for each in given or () for line in key_line(each).splitlines() if line.strip()]


def language(environment: Mapping[str, str]) -> str:
    """The language of the environment: "zh" or "en"."""
    for name in ("DUJIANG_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environment.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
