"""Rows of one transaction, fetched for a batch: one statement per table.

Called by `store` with the writer's connection. Cost: about 5 µs per row, 20 more to decode a job
that the cache does not have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, func, literal_column, select

from zenkei.model.cluster import Allocation, Node
from zenkei.model.clusterlog import ClusterRecord
from zenkei.model.ids import MAX_MEMBERS, AttemptId, JobId
from zenkei.model.job import TERMINAL, Job
from zenkei.model.queue import PastUsage
from zenkei.ports.store import Usage
from zenkei.store.codec import (
    column,
    decode_allocations,
    decode_cluster_record,
    decode_job,
    decode_node,
    loads,
)
from zenkei.store.pastusage import Whose
from zenkei.store.sql import schema as t
from zenkei.store.sql.jsonrows import NUMBER, TEXT, Statement, pack, rows
from zenkei.store.units import RequestKey

JobRow = tuple[int, int, str, str, str]
JOB_COLUMNS: Final = (
    t.jobs.c.key,
    t.jobs.c.version,
    t.jobs.c.state,
    t.jobs.c.birth,
    t.jobs.c.standing,
)
PART_COLUMNS: Final = (
    t.allocations.c.job,
    t.allocations.c.attempt,
    t.allocations.c.cluster,
    t.allocations.c.part,
)
PART_ORDER: Final = (t.allocations.c.job, t.allocations.c.attempt, t.allocations.c.rank)

_KEYS = rows(key=NUMBER)
_RANGES = rows(first=NUMBER, last=NUMBER)
_NAMES = rows(name=TEXT)
_REQUESTS = rows(principal=TEXT, key=TEXT)

_JOBS = Statement(select(*JOB_COLUMNS).where(t.jobs.c.key == _KEYS.c.key))
_MEMBERS = Statement(
    select(*JOB_COLUMNS).where(
        and_(t.jobs.c.key >= _RANGES.c.first, t.jobs.c.key <= _RANGES.c.last)
    )
)
_NODES = Statement(
    select(t.nodes.c.body).where(t.nodes.c.name == _NAMES.c.name, t.nodes.c.removed == 0)
)
_on_node = t.allocations.alias("on_node")
_holders = (
    select(_on_node.c.job, _on_node.c.attempt)
    .where(_on_node.c.node == _NAMES.c.name)
    .distinct()
    .subquery("holders")
)
_HELD = Statement(
    select(*PART_COLUMNS)
    .where(t.allocations.c.job == _holders.c.job, t.allocations.c.attempt == _holders.c.attempt)
    .order_by(*PART_ORDER)
)
_KNOWN = Statement(
    select(
        t.requests.c.principal, t.requests.c.key, t.requests.c.number, t.requests.c.fingerprint
    ).where(t.requests.c.principal == _REQUESTS.c.principal, t.requests.c.key == _REQUESTS.c.key)
)
_ATTEMPTS = rows(job=NUMBER, attempt=NUMBER)
_OPEN = Statement(
    select(t.usage.c.job, t.usage.c.attempt, t.usage.c.held).where(
        t.usage.c.job == _ATTEMPTS.c.job,
        t.usage.c.attempt == _ATTEMPTS.c.attempt,
        t.usage.c.to_us == literal_column("0"),
    )
)
_WHOSE = rows(queue=TEXT, owner=TEXT)
_PAST = Statement(
    select(t.past_usage.c.body).where(
        t.past_usage.c.queue == _WHOSE.c.queue, t.past_usage.c.owner == _WHOSE.c.owner
    )
)
NEWEST_CLUSTER = Statement(
    select(t.cluster_log.c.seq, t.cluster_log.c.body)
    .where(t.cluster_log.c.seq > bindparam("since", type_=NUMBER))
    .order_by(t.cluster_log.c.seq.desc())
    .limit(literal_column("1"))
)
UNFINISHED = Statement(
    select(t.jobs.c.queue, t.jobs.c.state, func.count())
    .where(t.jobs.c.state.not_in([literal_column(f"'{state}'") for state in sorted(TERMINAL)]))
    .group_by(t.jobs.c.queue, t.jobs.c.state)
)


def key_range(number: int) -> tuple[int, int]:
    """First and last key of a submission's jobs."""
    first = JobId(number).key
    return first, first + MAX_MEMBERS


class JobCache:
    """Rows decoded before; a version of a job never changes: (key, version) names its content."""

    def __init__(self, limit: int = 8192) -> None:
        self._jobs: dict[int, Job] = {}
        self._limit = limit

    def decode(self, row: JobRow) -> Job:
        known = self._jobs.get(row[0])
        if known is not None and known.version == row[1]:
            return known
        job = decode_job(*row)
        self.put(job)
        return job

    def put(self, job: Job) -> None:
        """Only what is committed."""
        if len(self._jobs) >= self._limit:
            self._jobs = {}
        self._jobs[job.id.key] = job


class ClusterCache:
    """The newest record of the cluster as it was decoded last."""

    def __init__(self) -> None:
        self._record: ClusterRecord | None = None

    def newest(self, connection: Connection) -> ClusterRecord | None:
        """Asks for what is newer only: a configuration is large, and rarely changes."""
        known = self._record
        since = 0 if known is None else known.seq
        for _seq, body in NEWEST_CLUSTER.run(connection, since=since):
            known = decode_cluster_record(loads(body))
        self._record = known
        return known


def decode_past(body: str) -> PastUsage:
    return PastUsage(*loads(body))


class SqlRows:
    """`units.RowSource` on a connection that is inside a transaction."""

    def __init__(self, connection: Connection, cache: JobCache, cluster: ClusterCache) -> None:
        self._connection = connection
        self._cache = cache
        self._cluster = cluster

    def jobs(self, ids: Collection[JobId]) -> Iterable[Job]:
        found = _JOBS.run(self._connection, j=pack([(job_id.key,) for job_id in ids])).fetchall()
        return [self._cache.decode(row) for row in found]

    def submissions(self, numbers: Collection[int]) -> Iterable[Job]:
        ranges = pack([key_range(n) for n in numbers])
        found = _MEMBERS.run(self._connection, j=ranges).fetchall()
        return [self._cache.decode(row) for row in found]

    def nodes(self, names: Collection[str]) -> Iterable[Node]:
        found = _NODES.run(self._connection, j=pack([(column(name),) for name in names]))
        return [decode_node(loads(body)) for (body,) in found]

    def held_on(self, names: Collection[str]) -> Iterable[Allocation]:
        found = _HELD.run(self._connection, j=pack([(column(n),) for n in names])).fetchall()
        return decode_allocations(found)

    def requests(self, keys: Collection[RequestKey]) -> dict[RequestKey, tuple[int, str]]:
        asked = {(column(principal), column(key)): (principal, key) for principal, key in keys}
        found = _KNOWN.run(self._connection, j=pack(asked))
        return {asked[row[0], row[1]]: (row[2], loads(row[3])) for row in found}

    def cluster(self) -> ClusterRecord | None:
        return self._cluster.newest(self._connection)

    def unfinished(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for queue, _state, number in UNFINISHED.run(self._connection):
            found[queue] += number
        return found

    def open_usage(self, attempts: Collection[AttemptId]) -> Iterable[Usage]:
        asked = pack([(attempt.job.key, attempt.number) for attempt in attempts])
        return [
            decode_usage(AttemptId(JobId.from_key(key), number), held)
            for key, number, held in _OPEN.run(self._connection, j=asked)
        ]

    def past_usage(self, whose: Collection[Whose]) -> Mapping[Whose, PastUsage]:
        asked = pack([(column(queue), column(owner)) for queue, owner in whose])
        found = [decode_past(body) for (body,) in _PAST.run(self._connection, j=asked)]
        return {(past.queue, past.user): past for past in found}


def decode_usage(attempt: AttemptId, held: str, to_us: int = 0) -> Usage:
    values: dict[str, Any] = loads(held)
    return Usage(**values | {"attempt": attempt, "to_us": to_us})
