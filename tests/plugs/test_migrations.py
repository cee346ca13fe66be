"""A migrated database is the one the code's tables describe, and no other version passes for it."""

from __future__ import annotations

from pathlib import Path

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
from dujiang.plugs import migrations
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
