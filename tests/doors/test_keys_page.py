"""docs/KEYS.md's procedures, line by line as they stand there."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dujiang import home
from dujiang.doors import profiles
from dujiang.identity import acts as identity
from dujiang.kernel.act import NODE
from dujiang.plugs import vault
from tests.doors.shell import Ran, Shell
from tests.house.source import ROOT

PAGE = (ROOT / "docs" / "KEYS.md").read_text("utf-8")
REFUSED = "# refused"


def lines(section: str) -> list[str]:
    """The lines of a section's block."""
    block = re.search(r"```bash\n(.*?)```", PAGE.partition(f"## {section}\n")[2], re.S)
    assert block is not None
    return block[1].splitlines()


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A home of a few entries, in whose folder the lines are run."""
    held, made = home.create(tmp_path / "home", [("甲", ("operator", "provider")), ("乙", ("consumer",))])
    profiles.write(held.path, made)
    for name in ("丙", "丁", "戊"):
        held.run("identity.register", NODE, identity.Register(name))
    held.close()
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path / "home", capsys)


def run(shell: Shell, section: str, words: Callable[[], dict[str, str]]) -> list[Ran]:
    """What each line of a section does; one that says it is refused must be."""
    done: list[Ran] = []
    for line in lines(section):
        text = string.Template(line).substitute(words())
        command, *target = shlex.split(text, comments=True)[1:], *re.findall(r"> (\S+)", line)
        command = [word for word in command if word not in (">", *target)]
        ran = shell(*command, ok=REFUSED not in line)
        if REFUSED in line:
            assert line.partition("refused: ")[2] in ran.out + ran.err, ran
        for name in target:
            Path(name).write_text(ran.out, "utf-8")
        done.append(ran)
    return done


def vkey(shell: Shell) -> str:
    """The verifier key of the log as it goes on."""
    return shell.json("ledger", "keys")["keys"][-1]["vkey"]


def kept(shell: Shell, index: int, name: str) -> None:
    """The receipt of an entry as somebody keeps it."""
    Path(name).write_text(shell("receipt", str(index), "--json").out, "utf-8")


def test_a_rotation(shell: Shell) -> None:
    old = vkey(shell)
    kept(shell, 2, "receipt.json")
    *_, verified = run(shell, "Rotate the log's key", lambda: {"OLD": old})
    assert vkey(shell) != old and "trusted" in verified.out


def test_a_stolen_key(shell: Shell) -> None:
    old = vkey(shell)
    kept(shell, 4, "late.json")
    done = run(shell, "A stolen log key", lambda: {"OLD": old, "NEW": vkey(shell)})
    assert vkey(shell).partition("+")[0] != old.partition("+")[0] and len(done) == 5


def test_a_lost_master_key(shell: Shell) -> None:
    old = vkey(shell)
    kept(shell, 2, "receipt.json")
    vault.key_path(shell.home).unlink()
    said: Any = shell.json("ledger", "list", ok=False)
    assert said["code"] == "key_unreadable"
    run(shell, "A lost master key", dict)
    assert vkey(shell) != old
    assert shell.json("verify", "receipt.json", "--vkey", old)["trusted"]
    assert shell.json("identity", "invite", "己", "--roles", "provider")["receipt"]["index"] == 7
