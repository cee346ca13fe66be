"""Rights in resources: what was registered before gets its resource, its cases, and all three rights."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from dujiang.kernel.ids import new_id

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Creates the tables of rights and enters the resources of an older home."""
    _tables()
    db = op.get_bind()
    rows = db.execute(
        sa.text(
            "SELECT resource, id, org, number, registration, created_ms FROM registry_version ORDER BY number"
        )
    ).all()
    for resource, version, org, number, registration, created_ms in rows:
        first = number == 1
        if first:
            db.execute(
                sa.text(
                    "INSERT INTO registry_resource (id, org, basis, data_class, registered, created_ms)"
                    " VALUES (:id, :org, 'unstated', 'unstated', 1, :created_ms)"
                ),
                {"id": resource, "org": org, "created_ms": created_ms},
            )
            _roots(db, resource, org, created_ms)
        db.execute(
            sa.text(
                "INSERT INTO registry_case (number, kind, resource, org, created_ms, version)"
                " VALUES (:number, :kind, :resource, :org, :created_ms, :version)"
            ),
            {
                "number": registration, "kind": "first" if first else "change", "resource": resource, "org": org,
                "created_ms": created_ms, "version": version,
            },
        )  # fmt: skip


def _roots(db: sa.Connection, resource: str, org: str, created_ms: int) -> None:
    day = datetime.fromtimestamp(created_ms / 1000, UTC).date().isoformat()
    for kind in ("hold", "use", "operate"):
        db.execute(
            sa.text(
                "INSERT INTO registry_grant (id, resource, kind, org, granter, start, onward, scope, created_ms)"
                " VALUES (:id, :resource, :kind, :org, :org, :start, 1, '', :created_ms)"
            ),
            {
                "id": new_id("rgt", created_ms), "resource": resource, "kind": kind, "org": org, "start": day,
                "created_ms": created_ms,
            },
        )  # fmt: skip


def _tables() -> None:
    op.create_table(
        "registry_resource",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("registered", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "registry_grant",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("granter", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("start", sa.Text(), nullable=False),
        sa.Column("until", sa.Text(), nullable=True),
        sa.Column("onward", sa.Integer(), nullable=False),
        sa.Column("purposes", sa.Text(), nullable=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("limits", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.Integer(), nullable=False),
        sa.Column("ended_ms", sa.Integer(), nullable=True),
        sa.Column("ending", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("registry_grant_resource", "registry_grant", ["resource", "kind", "org"], unique=False)
    op.create_index("registry_grant_org", "registry_grant", ["org", "id"], unique=False)
    op.create_index("registry_grant_granter", "registry_grant", ["granter", "id"], unique=False)
    op.create_table(
        "registry_case",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("from_org", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("registry_case_resource", "registry_case", ["resource"], unique=False)
