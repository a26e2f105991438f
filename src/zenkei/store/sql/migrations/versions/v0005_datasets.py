"""Datasets: names, versions, tags, history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("revision", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("dataset", sa.Text, primary_key=True, nullable=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("dataset_versions_by_digest", "dataset_versions", ["digest"])
    op.create_table(
        "dataset_tags",
        sa.Column("dataset", sa.Text, primary_key=True, nullable=False),
        sa.Column("tag", sa.Text, primary_key=True, nullable=False),
        sa.Column("number", sa.BigInteger, autoincrement=False, nullable=False),
    )
    op.create_table(
        "dataset_log",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("dataset_log_by_dataset", "dataset_log", ["dataset", "seq"])
