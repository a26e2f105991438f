"""The tables, the same on SQLite and PostgreSQL. Migrations make them; a test compares the two.

Jobs are named by `JobId.key`, so that the members of a submission are one range. What is never
searched for is JSON (`store.codec`): only an edit changes `birth`, every event `standing`. Text
columns hold `codec.column(text)`: for searching, not for reading back.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, text
from sqlalchemy.types import TypeEngine

metadata = MetaData()

# SQLite's row id is named by INTEGER PRIMARY KEY only
_KEY: Final[TypeEngine[int]] = BigInteger().with_variant(Integer, "sqlite")


def _key(name: str) -> Column[int]:
    return Column(name, _KEY, primary_key=True, autoincrement=False)


def _int(name: str, *, primary_key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=primary_key, autoincrement=False, nullable=False)


def _text(name: str, *, primary_key: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=primary_key, nullable=False)


counters = Table(
    "counters",
    metadata,
    _key("id"),
    _int("seq"),
    _int("number"),
    _int("effect"),
    _int("at_us"),
)

jobs = Table(
    "jobs",
    metadata,
    _key("key"),
    _int("version"),
    _text("state"),
    _text("owner"),
    _text("project"),
    _text("queue"),
    _text("name"),
    _text("spec"),
    _text("birth"),
    _text("standing"),
)
Index("jobs_by_owner", jobs.c.owner, jobs.c.key)
PLANNED: Final = text("state IN ('pending', 'starting', 'running', 'stopping')")
"""What the planner must know. As text: only a condition that repeats the index's own uses it."""
Index("jobs_planned", jobs.c.state, sqlite_where=PLANNED, postgresql_where=PLANNED)

events = Table(
    "events",
    metadata,
    _key("seq"),
    _int("job"),
    _int("version"),
    _int("at_us"),
    _text("kind"),
    _int("type_version"),
    _text("body"),
)
Index("events_by_job", events.c.job, events.c.version, unique=True)

outbox = Table(
    "outbox",
    metadata,
    _key("id"),
    _text("key"),
    _int("job"),
    _text("body"),
    _int("tries"),
    _text("owner"),
    _int("leased_until_us"),
    _int("due_us"),
)
Index("outbox_by_key", outbox.c.key, unique=True)

allocations = Table(
    "allocations",
    metadata,
    _int("job", primary_key=True),
    _int("attempt", primary_key=True),
    _text("node", primary_key=True),
    _int("rank"),
    _text("cluster"),
    _text("part"),
)
Index("allocations_by_node", allocations.c.node)

usage = Table(
    "usage",
    metadata,
    _int("job", primary_key=True),
    _int("attempt", primary_key=True),
    _text("node", primary_key=True),
    _int("from_us", primary_key=True),
    _int("to_us"),
    _int("rank"),
    _text("held"),
)

nodes = Table(
    "nodes",
    metadata,
    _text("name", primary_key=True),
    _int("seq"),
    _int("removed"),
    _text("body"),
)

node_log = Table("node_log", metadata, _key("seq"), _text("node"), _text("body"))
Index("node_log_by_node", node_log.c.node, node_log.c.seq)

specs = Table("specs", metadata, _text("digest", primary_key=True), _text("body"))

dependencies = Table(
    "dependencies",
    metadata,
    _int("job", primary_key=True),
    _int("target", primary_key=True),
    _text("after"),
)
Index("dependencies_by_target", dependencies.c.target)

requests = Table(
    "requests",
    metadata,
    _text("principal", primary_key=True),
    _text("key", primary_key=True),
    _int("number"),
    _text("fingerprint"),
)
Index("requests_by_number", requests.c.number)

cursors = Table("cursors", metadata, _text("cluster", primary_key=True), _text("body"))

results = Table(
    "results",
    metadata,
    _int("job", primary_key=True),
    _int("attempt", primary_key=True),
    _text("body"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _int("job", primary_key=True),
    _int("attempt", primary_key=True),
    _int("step", primary_key=True),
    _text("body"),
)

cluster_log = Table(
    "cluster_log",
    metadata,
    _key("seq"),
    _int("version"),
    _text("text"),
    _text("body"),
)
Index("cluster_log_by_version", cluster_log.c.version, cluster_log.c.seq)

past_usage = Table(
    "past_usage",
    metadata,
    _text("queue", primary_key=True),
    _text("owner", primary_key=True),
    _int("seq"),
    _text("body"),
)
Index("past_usage_by_seq", past_usage.c.seq)

verdicts = Table(
    "verdicts",
    metadata,
    _int("job", primary_key=True),
    _int("seq", primary_key=True),
    _text("body"),
)
Index("verdicts_by_seq", verdicts.c.seq)

result_tags = Table(
    "result_tags",
    metadata,
    _key("seq"),
    _int("job"),
    _text("project"),
    _text("tag"),
    _text("body"),
)
Index("result_tags_by_name", result_tags.c.project, result_tags.c.tag, result_tags.c.seq)
Index("result_tags_by_job", result_tags.c.job)

datasets = Table(
    "datasets",
    metadata,
    _text("name", primary_key=True),
    _int("revision"),
    _text("body"),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    _text("dataset", primary_key=True),
    _int("number", primary_key=True),
    _text("digest"),
    _text("body"),
)
Index("dataset_versions_by_digest", dataset_versions.c.digest)

dataset_tags = Table(
    "dataset_tags",
    metadata,
    _text("dataset", primary_key=True),
    _text("tag", primary_key=True),
    _int("number"),
)

dataset_log = Table("dataset_log", metadata, _key("seq"), _text("dataset"), _text("body"))
Index("dataset_log_by_dataset", dataset_log.c.dataset, dataset_log.c.seq)
