"""The first schema: jobs, events, outbox, allocations, usage, nodes and what hangs on them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PLANNED = "state IN ('pending', 'starting', 'running', 'stopping')"


def _key(name: str) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _int(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def upgrade() -> None:
    counters = op.create_table(
        "counters", _key("id"), _int("seq"), _int("number"), _int("effect"), _int("at_us")
    )
    op.bulk_insert(counters, [{"id": 1, "seq": 0, "number": 0, "effect": 0, "at_us": 0}])
    _jobs_and_events()
    _outbox()
    _held()
    _what_hangs_on_jobs()


def _jobs_and_events() -> None:
    words = ("owner", "project", "queue", "name", "spec", "birth", "standing")
    op.create_table(
        "jobs",
        _key("key"),
        _int("version"),
        _text("state"),
        *(_text(word) for word in words),
    )
    op.create_index("jobs_by_owner", "jobs", ["owner", "key"])
    where = sa.text(PLANNED)
    op.create_index("jobs_planned", "jobs", ["state"], sqlite_where=where, postgresql_where=where)
    op.create_table(
        "events",
        _key("seq"),
        _int("job"),
        _int("version"),
        _int("at_us"),
        _text("kind"),
        _int("type_version"),
        _text("body"),
    )
    op.create_index("events_by_job", "events", ["job", "version"], unique=True)


def _outbox() -> None:
    op.create_table(
        "outbox",
        _key("id"),
        _text("key"),
        _int("job"),
        _text("body"),
        _int("tries"),
        _text("owner"),
        _int("leased_until_us"),
        _int("due_us"),
    )
    op.create_index("outbox_by_key", "outbox", ["key"], unique=True)


def _held() -> None:
    op.create_table(
        "allocations",
        _int("job"),
        _int("attempt"),
        _text("node"),
        _int("rank"),
        _text("cluster"),
        _text("part"),
        sa.PrimaryKeyConstraint("job", "attempt", "node"),
    )
    op.create_index("allocations_by_node", "allocations", ["node"])
    op.create_table(
        "usage",
        _int("job"),
        _int("attempt"),
        _text("node"),
        _int("from_us"),
        _int("to_us"),
        _int("rank"),
        _text("held"),
        sa.PrimaryKeyConstraint("job", "attempt", "node", "from_us"),
    )
    op.create_table(
        "nodes",
        _text("name"),
        _int("seq"),
        _int("removed"),
        _text("body"),
        sa.PrimaryKeyConstraint("name"),
    )


def _what_hangs_on_jobs() -> None:
    op.create_table("specs", _text("digest"), _text("body"), sa.PrimaryKeyConstraint("digest"))
    op.create_table(
        "dependencies",
        _int("job"),
        _int("target"),
        _text("after"),
        sa.PrimaryKeyConstraint("job", "target"),
    )
    op.create_index("dependencies_by_target", "dependencies", ["target"])
    op.create_table(
        "requests",
        _text("principal"),
        _text("key"),
        _int("number"),
        _text("fingerprint"),
        sa.PrimaryKeyConstraint("principal", "key"),
    )
    op.create_index("requests_by_number", "requests", ["number"])
    op.create_table("cursors", _text("cluster"), _text("body"), sa.PrimaryKeyConstraint("cluster"))
    op.create_table(
        "results",
        _int("job"),
        _int("attempt"),
        _text("body"),
        sa.PrimaryKeyConstraint("job", "attempt"),
    )
