"""A version is graded from its normalised copy; its faults are found untold, and stay its provider's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dujiang.kernel.act import Caller
from dujiang.kernel.shape import plain
from dujiang.quality import acts as quality
from dujiang.quality.model import FORMULA, Check, Dimension, Fault, Graded
from dujiang.registry import acts as registry
from tests.registry.space import SAMPLES, Space, opened, patients

SAMPLED = ("clinic", "laboratory", "household")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    with opened(tmp_path_factory.mktemp("quality")) as made:
        yield made


def registered(space: Space, content: bytes | Path, name: str, entity: str | None) -> str:
    upload = space.upload(space.hospital, content, name)
    return space.run("registry.register", space.hospital, registry.Register(upload, entity)).version


@pytest.fixture(scope="module")
def graded(space: Space) -> dict[str, Any]:
    """The reply of grading each sample."""
    return {
        name: space.run(
            "quality.grade",
            space.hospital,
            quality.Grade(registered(space, SAMPLES / f"{name}.parquet", f"{name}.parquet", "seqn")),
        )
        for name in SAMPLED
    }


@pytest.mark.parametrize("name", SAMPLED)
def test_completeness_is_the_share_of_cells_that_hold_a_value(graded: dict[str, Any], name: str) -> None:
    table = pq.read_table(SAMPLES / f"{name}.parquet")
    made: Graded = graded[name].graded
    hidden = sum(
        each.rows for each in made.findings if each.fault in (Fault.missing_code, Fault.missing_word)
    )
    empty = sum(column.null_count for column in table.columns) + hidden
    cells = table.num_rows * table.num_columns
    (score,) = [each for each in made.scores if each.dimension is Dimension.completeness]
    assert (score.checked, score.failed, score.ppm) == (cells, empty, 1_000_000 * (cells - empty) // cells)
    needed = {rule.column for rule in made.rules if rule.check is Check.not_null}
    assert needed == {each for each in table.column_names if table[each].null_count <= 0.05 * table.num_rows}


def test_the_entry_tells_version_grade_and_formula_and_no_finding(space: Space) -> None:
    version = registered(space, patients(salt=11), "visits.csv", "编号")
    before = space.entries()
    made = space.run("quality.grade", space.hospital, quality.Grade(version))
    assert space.entries() == before + 1
    facts = space.facts()[0]
    assert (facts["version"], facts["grade"], facts["formula"]) == (version, made.public.grade, FORMULA)
    assert facts["rules"] == len(made.graded.rules)
    assert "机密" not in json.dumps(facts, ensure_ascii=False)


def test_another_organisation_sees_the_grade_and_no_value(space: Space, graded: dict[str, Any]) -> None:
    reply = graded["household"]
    own = space.run("quality.show", space.hospital, quality.Show(reply.public.version))
    assert own == reply
    colleague = Caller(space.hospital.org, space.hospital.person, frozenset({"consumer"}))
    for caller in (space.insurer, space.clinic, space.operator, colleague):
        shown = space.run("quality.show", caller, quality.Show(reply.public.version))
        assert shown.public == reply.public and (shown.graded, shown.card) == (None, None)
        said = json.dumps(plain(shown), ensure_ascii=False)
        values = {each.value for column in reply.graded.profile.columns for each in column.top + column.high}
        telling = {value for value in values if len(value) > 3} | {"meals_out", "9999", "Poor?"}
        assert not [value for value in telling if f'"{value}"' in said]
        assert all(
            each["percent"] is None or 0 <= each["percent"] <= 100
            for each in plain(shown)["public"]["dimensions"]
        )


def test_the_card_names_columns_and_no_value(graded: dict[str, Any]) -> None:
    card = graded["clinic"].card
    fields = card["recordSet"][0]["field"]
    assert [each["name"] for each in fields] == pq.read_schema(SAMPLES / "clinic.parquet").names
    said = json.dumps(card, ensure_ascii=False)
    assert not [word for word in ("Borderline", "8366", "242.6", "Female") if word in said]


def test_a_grade_is_given_by_the_holder_alone_and_again_the_same(
    space: Space, graded: dict[str, Any]
) -> None:
    version = graded["laboratory"].public.version
    assert space.refused("quality.grade", space.clinic, quality.Grade(version)).code.name == "not_found"
    assert space.refused("quality.grade", space.insurer, quality.Grade(version)).code.name == "forbidden"
    again = space.run("quality.grade", space.hospital, quality.Grade(version))
    assert again.graded == graded["laboratory"].graded


def test_what_has_no_grade_says_so(space: Space) -> None:
    version = registered(space, patients(salt=12), "visits.csv", "编号")
    for caller in (space.hospital, space.insurer):
        assert space.refused("quality.show", caller, quality.Show(version)).code.name == "not_graded"
    unknown: Caller = space.insurer
    assert space.refused("quality.show", unknown, quality.Show("ver_x")).code.name == "not_found"


def test_identifiers_of_people_are_found_and_raise_the_level(space: Space) -> None:
    lines = ["姓名,证件,手机,车牌"]
    lines += [f"张{i},{_identity(f'1101011990010{1 + i % 9}{i:03}')},138{i:08},京A{i:05}" for i in range(60)]
    version = registered(space, ("\n".join(lines) + "\n").encode(), "people.csv", None)
    made: Graded = space.run("quality.grade", space.hospital, quality.Grade(version)).graded
    found = {each.column: each.personal.value for each in made.personal}
    assert found == {"证件": "identity_number", "手机": "mobile", "车牌": "plate"}
    assert made.classification.level == 4


def _identity(head: str) -> str:
    rest = 0
    for digit in head:
        rest = (rest + int(digit)) * 2 % 11
    return head + "0123456789X"[(12 - rest) % 11]
