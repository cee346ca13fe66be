"""Every refusal is declared once, says why and what to do in both languages, and fills every place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from dujiang.kernel.errors import Code, Exit
from tests.house.source import PACKAGE, fail_with, files, module, parsed, place

PLACES = re.compile(r"\{(\w+)\}")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
NOT_NAMES = {"where", "offer"}
# Places that the one who catches the refusal fills in, by folder: only `plan` knows the table's name.
FILLED_LATER = {"src/dujiang/cleanroom": {"table"}}


def speaking() -> Iterator[Path]:
    """Every file that declares or says codes."""
    for path in files():
        if path.name != "errors.py" and re.search(
            r"\b(Code|Refused|Declined|Unavailable)\(", path.read_text("utf-8")
        ):
            yield path


@cache
def codes() -> tuple[tuple[Path, Code], ...]:
    """Every code that is a constant of a module, with the file that holds it."""
    found: list[tuple[Path, Code]] = []
    for path in speaking():
        declared = {
            target.id
            for node in parsed(path).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and isinstance(getattr(module(path), target.id, None), Code)
        }
        found += [(path, getattr(module(path), name)) for name in sorted(declared)]
    return tuple(found)


EVERY = pytest.mark.parametrize("code", [code for _, code in codes()], ids=lambda code: code.name)


def test_a_name_is_declared_once() -> None:
    seen: dict[str, Path] = {}
    found: list[str] = []
    for path, code in codes():
        if code.name in seen:
            found.append(f"{code.name}: {place(seen[code.name])} and {place(path)}")
        seen.setdefault(code.name, path)
    fail_with(found, "a code is declared once")


def test_every_code_is_gathered() -> None:
    """A code that stands in no CODES would be missing from every table drawn from them."""
    gathered = {code.name for path in speaking() for code in getattr(module(path), "CODES", ())}
    found = [f"{place(path)} {code.name}" for path, code in codes() if code.name not in gathered]
    fail_with(found, "every code stands in its module's CODES")


@pytest.mark.skipif(not (PACKAGE / "acts.py").is_file(), reason="no table yet")
def test_the_table_has_every_code_of_what_stands_below_it() -> None:
    """Plugs and doors stand above the table and bring their own codes."""
    from dujiang import acts

    known = acts.codes()
    above = {PACKAGE / "plugs", PACKAGE / "doors"}
    below = [(path, code) for path, code in codes() if path.parent not in above and path.name != "home.py"]
    found = [f"{place(path)} {code.name}" for path, code in below if known.get(code.name) != code]
    fail_with(found, "the table of refusals in acts.py gathers every code")


@EVERY
def test_a_code_says_why_and_how_to_go_on_in_both_languages(code: Code) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", code.name)
    for text in (code.why, code.fix):
        assert text.strip() and text.rstrip().endswith((".", "?", "}"))
    for text in (code.why_zh, code.fix_zh):
        assert CHINESE.search(text)
    assert set(PLACES.findall(code.why)) == set(PLACES.findall(code.why_zh))
    assert set(PLACES.findall(code.fix)) == set(PLACES.findall(code.fix_zh))


@EVERY
def test_a_code_has_a_status_and_an_exit_that_fail(code: Code) -> None:
    assert 400 <= code.status <= 599
    assert isinstance(code.exit, Exit) and code.exit is not Exit.ok


@pytest.mark.parametrize("path", list(speaking()), ids=place)
def test_a_refusal_fills_every_place_of_its_texts(path: Path) -> None:
    found: list[str] = []
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in (
            "Refused",
            "Unavailable",
            "Declined",
        ):
            continue
        code = named(path, node)
        given = filled(node)
        if code is None or given is None:
            continue
        wanted = set(PLACES.findall(code.why + code.fix))
        if given | FILLED_LATER.get(place(path.parent), set()) & wanted != wanted:
            found.append(
                f"{place(path, node)} {code.name}: given {sorted(given)}, its texts have {sorted(wanted)}"
            )
    fail_with(found, "a refusal names exactly what its texts have places for")


def named(path: Path, call: ast.Call) -> Code | None:
    """The code a call names by a constant, if it does."""
    if not call.args or not isinstance(call.args[0], ast.Name):
        return None
    code = getattr(module(path), call.args[0].id, None)
    return code if isinstance(code, Code) else None


def filled(call: ast.Call) -> set[str] | None:
    """The names a call fills in, or None where they cannot be read off the text."""
    if any(word.arg is None for word in call.keywords):
        return None
    if ast.unparse(call.func) != "Declined":
        return {str(word.arg) for word in call.keywords} - NOT_NAMES
    given = next((word.value for word in call.keywords if word.arg == "names"), None)
    given = call.args[1] if len(call.args) > 1 else given
    if given is None:
        return set()
    if not isinstance(given, ast.Dict) or not all(isinstance(key, ast.Constant) for key in given.keys):
        return None
    return {str(key.value) for key in given.keys if isinstance(key, ast.Constant)}
