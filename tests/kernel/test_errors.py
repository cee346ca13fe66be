"""Small laws of the kernel: ids, settings, asks as JSON, the machine, and what a refusal says."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.kernel.config import Config, load
from dujiang.kernel.errors import Code, Exit, Refused, spoken
from dujiang.kernel.ids import new_id, prefix_of
from dujiang.kernel.machine import Machine, OutOfTurn
from dujiang.kernel.runner import INTERNAL, spoken_error
from dujiang.kernel.shape import SECRET, build, plain, schema

CODE = Code("c", 400, Exit.usage, "{a} is wrong.", "Use {b}.", "{a} 有误。", "请用 {b}。")


@dataclass(frozen=True, slots=True)
class Inner:
    """A nested form."""

    size: int


@dataclass(frozen=True, slots=True)
class Form:
    """A form with everything the acts use."""

    name: str
    parts: tuple[Inner, ...] = ()
    hint: Inner | None = None
    token: str | None = field(default=None, metadata={SECRET: True})


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=20))
def test_ids_are_unique_well_formed_and_ordered_by_time(times: list[int]) -> None:
    made = [new_id("abc", time) for time in times]
    assert len(set(made)) == len(made)
    assert {prefix_of(one) for one in made} == {"abc"}
    for (a, one), (b, other) in zip(
        zip(times, made, strict=True), zip(times[1:], made[1:], strict=True), strict=False
    ):
        assert a == b or (a < b) == (one < other)


@pytest.mark.parametrize(
    "text", ["", "abc", "abc_", "abc_u" + "0" * 25, "ABC_" + "0" * 26, "abc_" + "0" * 27]
)
def test_other_text_is_no_id(text: str) -> None:
    assert prefix_of(text) is None


def test_a_setting_comes_from_the_environment_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("link_minutes = 3\nsession_hours = 4\n")
    made = load(file, {"DUJIANG_SET_LINK_MINUTES": "5", "OTHER": "x"})
    assert (made.link_minutes, made.session_hours, made.queue_acts_max) == (5, 4, Config().queue_acts_max)
    assert load(tmp_path / "missing.toml", {}) == Config()


@pytest.mark.parametrize(
    ("text", "environment", "code"),
    [
        ("colour = 1", {}, "config_unknown"),
        ("", {"DUJIANG_SET_COLOUR": "1"}, "config_unknown"),
        ("link_minutes = 'x'", {}, "config_malformed"),
        ("link_minutes = -1", {}, "config_malformed"),
        ("link_minutes = true", {}, "config_malformed"),
        ("link_minutes = 1.5", {}, "config_malformed"),
        ("link_minutes", {}, "config_malformed"),
        ("", {"DUJIANG_SET_LINK_MINUTES": "²"}, "config_malformed"),
    ],
)
def test_an_unknown_or_malformed_setting_is_refused(
    tmp_path: Path, text: str, environment: dict[str, str], code: str
) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(Refused) as refused:
        load(tmp_path / "config.toml", environment)
    assert refused.value.code.name == code


def test_every_setting_is_a_whole_number_with_a_default() -> None:
    assert all(isinstance(getattr(Config(), member.name), int) for member in fields(Config))


@pytest.mark.parametrize(
    ("raw", "code", "place"),
    [
        ({"name": "a", "colour": 1}, "unknown_field", "colour"),
        ({"name": "a", "parts": [{"size": 1, "x": 1}]}, "unknown_field", "x"),
        ({"name": "a", "hint": {"size": 1, "x": 1}}, "unknown_field", "x"),
        ({}, "malformed", "$"),
        ({"name": 1}, "malformed", "$.name"),
        ([], "malformed", "$"),
        ({"name": "a", "parts": [{"size": "very secret"}]}, "malformed", "$.parts[0].size"),
    ],
)
def test_a_wrong_ask_is_refused_by_place_and_never_by_value(raw: object, code: str, place: str) -> None:
    with pytest.raises(Refused) as refused:
        build(Form, raw)
    said = refused.value.names
    assert (refused.value.code.name, said.get("name", said.get("place"))) == (code, place)
    assert "secret" not in str(said)


@given(
    st.builds(Form, st.text(max_size=5), st.lists(st.builds(Inner, st.integers(0, 9)), max_size=3).map(tuple))
)
def test_an_ask_goes_to_json_and_back(form: Form) -> None:
    assert build(Form, plain(form)) == form


def test_a_repeat_is_without_secrets_and_a_schema_refuses_unknown_fields() -> None:
    assert plain(Form("a", token="t"), secrets=False) == {"name": "a", "parts": (), "hint": None}
    made = schema(Form)
    assert made["additionalProperties"] is False and made["$defs"]["Inner"]["additionalProperties"] is False


def test_a_machine_steps_by_its_table_and_nothing_else() -> None:
    machine = Machine("m", "a", {("a", "go", "x"): "b", ("b", "back", "y"): "a", ("b", "end", "x"): "c"})
    assert (machine.states(), machine.messages()) == (("a", "b", "c"), ("go", "back", "end"))
    assert [machine.terminal(state) for state in machine.states()] == [False, False, True]
    assert machine.step("a", "go", "x") == "b"
    for state, message, sender in [("a", "go", "y"), ("a", "end", "x"), ("c", "go", "x"), ("?", "go", "x")]:
        with pytest.raises(OutOfTurn):
            machine.step(state, message, sender)
    assert "b --> c: end (x)" in machine.diagram() and "c --> [*]" in machine.diagram()


def test_a_refusal_speaks_both_languages_and_a_bug_says_nothing() -> None:
    assert spoken(CODE, {"a": "A", "b": "B"}, "en") == ("A is wrong.", "Use B.")
    assert spoken(CODE, {"a": "A", "b": "B"}, "zh") == ("A 有误。", "请用 B。")
    assert spoken_error(Refused(CODE, a=1)) == (CODE, {"a": "1"})
    assert spoken_error(KeyError("a row value")) == (INTERNAL, {})
