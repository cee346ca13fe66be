"""A migrated database is the one the code's tables describe, and no other version passes for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, pool, text

from dujiang.acts import ACTS
from dujiang.kernel.act import bind
from dujiang.kernel.tables import META
from dujiang.ledger import fsck, rules, store
from dujiang.plugs import migrations
from dujiang.plugs.sqlite import SqliteDatabase
from tests import cluster


def _url(tmp_path: Path) -> str:
    for act in ACTS.values():
        bind(act)
    url = f"sqlite:///{tmp_path / 'state.sqlite'}"
    migrations.upgrade(url)
    return url


def test_a_migrated_database_has_the_tables_of_the_code(tmp_path: Path) -> None:
    with create_engine(_url(tmp_path)).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), META) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_its_columns_keys_and_indexes_are_those_of_the_code(kind: str, tmp_path: Path) -> None:
    """What the comparison of metadata does not look at: nullability, primary keys, index columns."""
    engine = create_engine(_url(tmp_path))
    if kind == "postgres":
        address = cluster.fresh()
        migrations.upgrade(address)
        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(address), poolclass=pool.NullPool
        )
    found = inspect(engine)
    assert set(found.get_table_names()) == {*META.tables, "alembic_version"}
    kinds = {type(column["type"]).__name__ for name in META.tables for column in found.get_columns(name)}
    assert kind == "sqlite" or kinds == {"TEXT", "BIGINT", "BYTEA"}
    for name, table in META.tables.items():
        columns = {column["name"]: column["nullable"] for column in found.get_columns(name)}
        assert columns == {column.name: bool(column.nullable) for column in table.columns}, name
        assert found.get_pk_constraint(name)["constrained_columns"] == [c.name for c in table.primary_key], (
            name
        )
        indexes = {
            index["name"]: index["column_names"]
            for index in found.get_indexes(name)
            if "duplicates_constraint" not in index
        }
        assert {name: list(columns) for name, columns in indexes.items() if name} == {
            str(index.name): [column.name for column in index.columns] for index in table.indexes
        }, name


def test_what_was_registered_before_rights_were_kept_has_them_all(tmp_path: Path) -> None:
    (step,) = (Path(migrations.__file__).parent / "versions").glob("*_rights.py")
    before = f"{int(step.name[:4]) - 1:04d}"
    url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("sqlalchemy.url", url)
    command.upgrade(config, before)
    engine = create_engine(url)
    with engine.begin() as db:
        for number in (1, 2):
            db.execute(
                text(
                    "INSERT INTO registry_version (id, org, resource, number, title, shape, format, sha256_source,"
                    " sha256_plain, sha256_guarded, registration, created_ms, certificate) VALUES"
                    f" ('ver_{number}', 'org_a', 'res_a', {number}, 't', '{{}}', 'csv', 's', 'p', 'g',"
                    f" 'DJ20260500000{number}', 1780000000000, 'c')"
                )
            )
    migrations.upgrade(url)
    with engine.connect() as db:
        grants = db.execute(
            text("SELECT kind, org, granter, parent, start, onward FROM registry_grant")
        ).all()
        cases = db.execute(text("SELECT number, kind, version FROM registry_case ORDER BY number")).all()
        resources = db.execute(text("SELECT id, org, basis, registered FROM registry_resource")).all()
    assert {row[0] for row in grants} == {"hold", "use", "operate"}
    assert {tuple(row[1:]) for row in grants} == {("org_a", "org_a", None, "2026-05-28", 1)}
    assert cases == [("DJ202605000001", "first", "ver_1"), ("DJ202605000002", "change", "ver_2")]
    assert resources == [("res_a", "org_a", "unstated", 1)]


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    url = _url(tmp_path)
    migrations.upgrade(url)
    assert migrations.known(migrations.HEAD)
    assert not migrations.known("9999")


def test_entries_of_before_keep_their_leaves_and_what_opens_them(tmp_path: Path) -> None:
    """Over more than one page of the step; one entry has lost a salt, one a fact: both stand as erased."""
    (step,) = (Path(migrations.__file__).parent / "versions").glob("*_compact.py")
    url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    migrations.upgrade(url, f"{int(step.name[:4]) - 1:04d}")
    facts = {"org": "org_a", "person": "per_a", "名": ["值", 1.5, None], "none": None, "n": -(2**53) + 1}
    salts = b"".join(bytes([n]) * 16 for n in range(1, 6))
    commitments = rules.commit(facts, salts)
    opening = {field: salts[16 * at : 16 * at + 16].hex() for at, field in enumerate(facts)}
    lost = {1: (facts, {**opening, "person": None}), 2: ({**facts, "person": None}, opening)}
    rows: list[dict[str, Any]] = []
    for index in range(10_003):
        told, known = lost.get(index, (facts, opening))
        rows.append({
            "idx": index, "act": "x.y", "time_ms": index, "org": "org_a",
            "leaf": rules.leaf_of("x.y", index, facts, commitments).decode(),
            "facts": json.dumps({name: value for name, value in told.items() if index != 2 or name != "person"}),
            "salts": json.dumps({name: salt for name, salt in known.items() if salt}),
        })  # fmt: skip
    with create_engine(url).begin() as db:
        names = ", ".join(rows[0])
        db.execute(text(f"INSERT INTO ledger_entry ({names}) VALUES (:{names.replace(', ', ', :')})"), rows)
        db.execute(text("INSERT INTO ledger_sight (org, idx) VALUES ('org_a', 0), ('org_a', 10002)"))
    migrations.upgrade(url)
    database = SqliteDatabase(tmp_path / "old.sqlite")
    with database.reading() as db:
        assert store.leaves(db, 0, 20_000) == [str(row["leaf"]).encode() for row in rows]
        for index in (0, 3, 9_999, 10_000, 10_002):
            record = store.entry(db, index)
            assert record is not None and record.facts == facts and record.salts == opening
            assert not record.erased
        for index in (1, 2):
            record = store.entry(db, index)
            assert record is not None and record.erased == ("person",)
        found = fsck.Examination(30_000)
        assert len(list(fsck.entries(db, found, ()))) == 10_003
        assert "record" not in {each.what for each in found.differences}
        assert [store.sees(db, "org_a", index) for index in (0, 1, 10_001, 10_002, 10_003)] == [
            True, False, False, True, False,
        ]  # fmt: skip
    database.close()
