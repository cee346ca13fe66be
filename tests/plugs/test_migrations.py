"""A migrated database is the one the code's tables describe, and no other version passes for it."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from dujiang.acts import ACTS
from dujiang.kernel.act import bind
from dujiang.kernel.tables import META
from dujiang.plugs import migrations


def _url(tmp_path: Path) -> str:
    for act in ACTS.values():
        bind(act)
    url = f"sqlite:///{tmp_path / 'state.sqlite'}"
    migrations.upgrade(url)
    return url


def test_a_migrated_database_has_the_tables_of_the_code(tmp_path: Path) -> None:
    with create_engine(_url(tmp_path)).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), META) == []


def test_its_columns_keys_and_indexes_are_those_of_the_code(tmp_path: Path) -> None:
    """What the comparison of metadata does not look at: nullability, primary keys, index columns."""
    found = inspect(create_engine(_url(tmp_path)))
    assert set(found.get_table_names()) == {*META.tables, "alembic_version"}
    for name, table in META.tables.items():
        columns = {column["name"]: column["nullable"] for column in found.get_columns(name)}
        assert columns == {column.name: bool(column.nullable) for column in table.columns}, name
        assert found.get_pk_constraint(name)["constrained_columns"] == [c.name for c in table.primary_key], (
            name
        )
        indexes = {index["name"]: index["column_names"] for index in found.get_indexes(name)}
        assert {name: list(columns) for name, columns in indexes.items() if name} == {
            str(index.name): [column.name for column in index.columns] for index in table.indexes
        }, name


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    url = _url(tmp_path)
    migrations.upgrade(url)
    assert migrations.known(migrations.HEAD)
    assert not migrations.known("9999")
