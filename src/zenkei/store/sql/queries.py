"""The questions of `ports.store.Store`, each in one read transaction.

Called by `SqlStore`, which inherits them. Cost: about 5 µs a row, 20 more to decode a job that the
cache does not have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, Select, Text, bindparam, func, literal_column, select
from sqlalchemy.sql import ColumnElement

from zenkei.model.cluster import Allocation, Node, NodeEvent
from zenkei.model.clusterlog import ClusterRecord
from zenkei.model.data import Checkpoint, Digest, Result
from zenkei.model.event import Event
from zenkei.model.ids import MEMBER_BITS, WHOLE, AttemptId, JobId
from zenkei.model.job import TERMINAL, After, Dependency, Job, JobState
from zenkei.model.queue import PastUsage
from zenkei.ports.store import JobFilter, Line, Page, PlanningDelta, Submitted, Usage
from zenkei.store.codec import (
    column,
    decode_allocations,
    decode_checkpoint,
    decode_cluster_record,
    decode_event,
    decode_node,
    decode_node_event,
    decode_result,
    loads,
)
from zenkei.store.filters import is_planned, limited
from zenkei.store.sql import schema as t
from zenkei.store.sql.database import Database
from zenkei.store.sql.jsonrows import NUMBER, TEXT, Statement, json_number, pack, rows
from zenkei.store.sql.rows import (
    JOB_COLUMNS,
    NEWEST_CLUSTER,
    PART_COLUMNS,
    PART_ORDER,
    UNFINISHED,
    JobCache,
    decode_past,
    decode_usage,
    key_range,
)


def _number(name: str) -> Any:
    return bindparam(name, type_=NUMBER)


def _word(name: str) -> Any:
    return bindparam(name, type_=Text())


EVENT_COLUMNS: Final = tuple(t.events.columns)
_JOB = Statement(select(*JOB_COLUMNS).where(t.jobs.c.key == _number("key")))
_keys = rows(key=NUMBER)
_ROWS = Statement(select(*JOB_COLUMNS).where(t.jobs.c.key == _keys.c.key))
_MEMBERS = Statement(
    select(*JOB_COLUMNS)
    .where(t.jobs.c.key >= _number("first"), t.jobs.c.key <= _number("last"))
    .order_by(t.jobs.c.key)
)
_LAST = Statement(select(func.max(t.jobs.c.key)).where(t.jobs.c.owner == _word("owner")))
_EVENTS = Statement(
    select(*EVENT_COLUMNS)
    .where(t.events.c.seq > _number("after"))
    .order_by(t.events.c.seq)
    .limit(_number("most"))
)
# "+ 0" keeps SQLite from walking through the whole log in order of seq: the index by job is shorter
_seq = t.events.c.seq + literal_column("0")
_JOB_EVENTS = Statement(
    select(*EVENT_COLUMNS)
    .where(
        t.events.c.job >= _number("first"),
        t.events.c.job <= _number("last"),
        _seq > _number("after"),
    )
    .order_by(_seq)
    .limit(_number("most"))
)
_SPEC = Statement(select(t.specs.c.body).where(t.specs.c.digest == _word("digest")))
_digests = rows(digest=TEXT)
_SPECS = Statement(
    select(t.specs.c.digest, t.specs.c.body).where(t.specs.c.digest == _digests.c.digest)
)
_HISTORIES = Statement(
    select(*EVENT_COLUMNS).where(t.events.c.job == _keys.c.key).order_by(t.events.c.seq)
)
_DEPENDENTS = Statement(
    select(t.dependencies.c.job)
    .where(t.dependencies.c.target == _keys.c.key)
    .distinct()
    .order_by(t.dependencies.c.job)
)
_DEPENDENCIES = Statement(
    select(t.dependencies.c.target, t.dependencies.c.after)
    .where(t.dependencies.c.job == _number("job"))
    .order_by(t.dependencies.c.target)
)
_AWAITED = Statement(
    select(t.dependencies.c.target)
    .join(t.jobs, t.jobs.c.key == t.dependencies.c.job)
    .where(t.jobs.c.state.not_in([literal_column(f"'{state}'") for state in sorted(TERMINAL)]))
    .distinct()
)
_NODES = Statement(select(t.nodes.c.body).where(t.nodes.c.removed == 0).order_by(t.nodes.c.name))
_NODE_LOG = Statement(
    select(t.node_log.c.body).order_by(t.node_log.c.seq.desc()).limit(_number("most"))
)
_NODE_LOG_OF = Statement(
    select(t.node_log.c.body)
    .where(t.node_log.c.node == _word("node"))
    .order_by(t.node_log.c.seq.desc())
    .limit(_number("most"))
)
_ALLOCATIONS = Statement(select(*PART_COLUMNS).order_by(*PART_ORDER))
_attempts = rows(job=NUMBER, attempt=NUMBER)
_SOME_ALLOCATIONS = Statement(
    select(*PART_COLUMNS)
    .where(t.allocations.c.job == _attempts.c.job, t.allocations.c.attempt == _attempts.c.attempt)
    .order_by(*PART_ORDER)
)
_RESULT = Statement(
    select(t.results.c.body).where(
        t.results.c.job == _number("job"), t.results.c.attempt == _number("attempt")
    )
)
_RESULTS = Statement(
    select(t.results.c.job, t.results.c.attempt, t.results.c.body).where(
        t.results.c.job == _keys.c.key
    )
)
_CHECKPOINTS = Statement(
    select(t.checkpoints.c.body)
    .where(t.checkpoints.c.job == _number("job"))
    .order_by(t.checkpoints.c.attempt, t.checkpoints.c.step)
)
_USAGE = Statement(
    select(t.usage.c.attempt, t.usage.c.to_us, t.usage.c.held)
    .where(t.usage.c.job == _number("job"))
    .order_by(t.usage.c.attempt, t.usage.c.from_us, t.usage.c.rank)
)
_CURSOR = Statement(select(t.cursors.c.body).where(t.cursors.c.cluster == _word("cluster")))
_COUNTS = Statement(select(t.jobs.c.state, func.count()).group_by(t.jobs.c.state))
_newest = select(t.jobs.c.spec, t.jobs.c.state).order_by(t.jobs.c.key.desc())
_newest_jobs = _newest.limit(_number("most")).subquery()
_SUBMITTED = Statement(
    select(_newest_jobs.c.spec, _newest_jobs.c.state, func.count()).group_by(
        _newest_jobs.c.spec, _newest_jobs.c.state
    )
)
_ranges = rows(number=NUMBER, first=NUMBER, last=NUMBER)
_COUNTS_OF = Statement(
    select(_ranges.c.number, t.jobs.c.state, func.count())
    .where(t.jobs.c.key >= _ranges.c.first, t.jobs.c.key <= _ranges.c.last)
    .group_by(_ranges.c.number, t.jobs.c.state)
)
_NUMBER_OF = t.jobs.c.key.op(">>")(literal_column(str(MEMBER_BITS)))
LEAST_REACH: Final = 1000
MOST_REACH: Final = 100_000
"""Rows that are looked at for the lines of a list: few at first, since most jobs are no arrays."""
# the log says which jobs changed: an index on jobs would be written at every transition
_changed = select(t.events.c.job).where(t.events.c.seq > _number("since"))
_CHANGED_JOBS = Statement(
    select(*JOB_COLUMNS).where(t.jobs.c.key.in_(_changed)).order_by(t.jobs.c.key)
)
_PLANNED_JOBS = Statement(select(*JOB_COLUMNS).where(t.PLANNED).order_by(t.jobs.c.key))
_CHANGED_PARTS = Statement(
    select(*PART_COLUMNS).where(t.allocations.c.job.in_(_changed)).order_by(*PART_ORDER)
)
_CHANGED_NODES = Statement(
    select(t.nodes.c.removed, t.nodes.c.body)
    .where(t.nodes.c.seq > _number("since"))
    .order_by(t.nodes.c.name)
)
_PAST = Statement(
    select(t.past_usage.c.body)
    .where(t.past_usage.c.seq > _number("since"))
    .order_by(t.past_usage.c.seq)
)
_CLUSTER_LOG = Statement(
    select(t.cluster_log.c.body).order_by(t.cluster_log.c.seq.desc()).limit(_number("most"))
)
_CLUSTER_FILE = Statement(
    select(t.cluster_log.c.text, t.cluster_log.c.body)
    .where(t.cluster_log.c.version == _number("version"))
    .order_by(t.cluster_log.c.seq)
    .limit(literal_column("1"))
)


class SqlQueries:
    """Needs `_database`, `_cache` and `_clock` of the store."""

    _database: Database
    _cache: JobCache
    _clock: Callable[[], int] | None

    def _rows(self, statement: Statement, **values: Any) -> list[Any]:
        with self._database.reading() as connection:
            return list(statement.run(connection, **values).fetchall())

    def _decoded(self, found: Iterable[Any]) -> tuple[Job, ...]:
        return tuple(self._cache.decode(row) for row in found)

    def job(self, job: JobId) -> Job | None:
        found = self._decoded(self._rows(_JOB, key=job.key))
        return found[0] if found else None

    def rows_of(self, jobs: Iterable[JobId]) -> Mapping[JobId, Job]:
        found = self._rows(_ROWS, j=pack({(job.key,) for job in jobs}))
        return {row.id: row for row in self._decoded(found)}

    def jobs(self, where: JobFilter, *, cursor: str = "", limit: int = 100) -> Page[Job]:
        limit = limited(limit)
        before = JobId.parse(cursor).key if cursor else None
        query = select(*JOB_COLUMNS).where(*_conditions(where, before))
        query = query.order_by(t.jobs.c.key.desc()).limit(limit + 1)
        with self._database.reading() as connection:
            found = connection.execute(query).fetchall()
        items = self._decoded(found[:limit])
        return Page(items=items, next=str(items[-1].id) if len(found) > limit else "")

    def lines(self, where: JobFilter, *, cursor: str = "", limit: int = 100) -> Page[Line]:
        limit, reach = limited(limit), LEAST_REACH
        before = JobId.parse(cursor).key if cursor else None
        newest: dict[int, int] = {}
        changed_us: dict[int, int] = {}
        with self._database.reading() as connection:
            while len(newest) <= limit:
                found = connection.execute(_summed(where, before, reach)).fetchall()
                for number, first, _last, _count, at_us in sorted(found, reverse=True):
                    newest.setdefault(number, first)
                    changed_us[number] = max(changed_us.get(number, 0), at_us or 0)
                if sum(count for *_, count, _at_us in found) < reach:
                    break
                before = min(last for _, _, last, _, _ in found)
                reach = min(MOST_REACH, reach * 4)
            numbers = list(newest)[:limit]
            keys = pack((newest[number],) for number in numbers)
            rows = {r.id.number: r for r in self._decoded(_ROWS.run(connection, j=keys).fetchall())}
        lines = tuple(Line(newest=rows[n], changed_us=changed_us[n]) for n in numbers)
        return Page(items=lines, next=str(numbers[-1]) if len(newest) > limit else "")

    def last_job(self, owner: str) -> JobId | None:
        ((key,),) = self._rows(_LAST, owner=column(owner))
        return None if key is None else JobId(JobId.from_key(key).number)

    def members(self, number: int) -> tuple[Job, ...]:
        first, last = key_range(number)
        return self._decoded(self._rows(_MEMBERS, first=first, last=last))

    def events(
        self, *, after: int = 0, job: JobId | None = None, limit: int = 1000
    ) -> tuple[Event, ...]:
        most = limited(limit)
        if job is None:
            found = self._rows(_EVENTS, after=after, most=most)
        else:
            whole = job.member == WHOLE
            first, last = key_range(job.number) if whole else (job.key, job.key)
            found = self._rows(_JOB_EVENTS, first=first, last=last, after=after, most=most)
        return tuple(decode_event(*row) for row in found)

    def spec(self, digest: Digest) -> str | None:
        found = self._rows(_SPEC, digest=column(digest))
        return loads(found[0][0]) if found else None

    def histories(self, jobs: Iterable[JobId]) -> Mapping[JobId, tuple[Event, ...]]:
        found: dict[JobId, list[Event]] = {}
        for row in self._rows(_HISTORIES, j=pack({(job.key,) for job in jobs})):
            event = decode_event(*row)
            found.setdefault(event.job, []).append(event)
        return {job: tuple(events) for job, events in found.items()}

    def dependents(self, jobs: Iterable[JobId]) -> tuple[JobId, ...]:
        targets = {key for job in jobs for key in (job.key, JobId(job.number).key)}
        found = self._rows(_DEPENDENTS, j=pack((key,) for key in targets))
        return tuple(JobId.from_key(key) for (key,) in found)

    def dependencies(self, job: JobId) -> tuple[Dependency, ...]:
        return tuple(
            Dependency(job=JobId.from_key(target), after=After(after))
            for target, after in self._rows(_DEPENDENCIES, job=job.key)
        )

    def awaited(self) -> frozenset[JobId]:
        return frozenset(JobId.from_key(key) for (key,) in self._rows(_AWAITED))

    def nodes(self) -> tuple[Node, ...]:
        return tuple(decode_node(loads(body)) for (body,) in self._rows(_NODES))

    def node_events(self, node: str = "", *, limit: int = 1000) -> tuple[NodeEvent, ...]:
        most = limited(limit)
        if node:
            found = self._rows(_NODE_LOG_OF, node=column(node), most=most)
        else:
            found = self._rows(_NODE_LOG, most=most)
        return tuple(decode_node_event(loads(body)) for (body,) in reversed(found))

    def allocations(self) -> tuple[Allocation, ...]:
        return decode_allocations(self._rows(_ALLOCATIONS))

    def allocations_of(self, attempts: Iterable[AttemptId]) -> tuple[Allocation, ...]:
        wanted = pack({(attempt.job.key, attempt.number) for attempt in attempts})
        return decode_allocations(self._rows(_SOME_ALLOCATIONS, j=wanted))

    def result(self, attempt: AttemptId) -> Result | None:
        found = self._rows(_RESULT, job=attempt.job.key, attempt=attempt.number)
        return decode_result(loads(found[0][0])) if found else None

    def results_of(self, jobs: Iterable[JobId]) -> Mapping[AttemptId, Result]:
        found = self._rows(_RESULTS, j=pack({(job.key,) for job in jobs}))
        return {
            AttemptId(JobId.from_key(key), attempt): decode_result(loads(body))
            for key, attempt, body in found
        }

    def checkpoints(self, job: JobId) -> tuple[Checkpoint, ...]:
        rows = self._rows(_CHECKPOINTS, job=job.key)
        return tuple(decode_checkpoint(loads(body)) for (body,) in rows)

    def usage(self, job: JobId) -> tuple[Usage, ...]:
        return tuple(
            decode_usage(AttemptId(job, attempt), held, to_us)
            for attempt, to_us, held in self._rows(_USAGE, job=job.key)
        )

    def past_usage(self) -> tuple[PastUsage, ...]:
        return tuple(sorted(decode_past(body) for (body,) in self._rows(_PAST, since=0)))

    def cluster(self) -> ClusterRecord | None:
        found = self._rows(NEWEST_CLUSTER, since=0)
        return decode_cluster_record(loads(found[0][1])) if found else None

    def cluster_log(self, *, limit: int = 1000) -> tuple[ClusterRecord, ...]:
        found = self._rows(_CLUSTER_LOG, most=limited(limit))
        return tuple(decode_cluster_record(loads(body)) for (body,) in reversed(found))

    def cluster_file(self, version: int) -> ClusterRecord | None:
        for text, body in self._rows(_CLUSTER_FILE, version=version):
            record = replace(decode_cluster_record(loads(body)), text=loads(text))
            return record if record.text else None
        return None

    def queues(self) -> Mapping[str, Mapping[JobState, int]]:
        found: dict[str, dict[JobState, int]] = {}
        for queue, state, number in self._rows(UNFINISHED):
            found.setdefault(queue, {})[JobState(state)] = number
        return found

    def cursor(self, cluster: str) -> str:
        found = self._rows(_CURSOR, cluster=column(cluster))
        return loads(found[0][0]) if found else ""

    def seq(self) -> int:
        with self._database.reading() as connection:
            return int(self._database.counters(connection)[0])

    def counts(self) -> Mapping[JobState, int]:
        return {JobState(state): count for state, count in self._rows(_COUNTS)}

    def counts_of(self, numbers: Iterable[int]) -> Mapping[int, Mapping[JobState, int]]:
        ranges = pack((number, *key_range(number)) for number in set(numbers))
        found: dict[int, dict[JobState, int]] = {}
        for number, state, count in self._rows(_COUNTS_OF, j=ranges):
            found.setdefault(number, {})[JobState(state)] = count
        return found

    def submitted(self, most: int) -> tuple[Submitted, ...]:
        jobs: Counter[str] = Counter()
        ended: Counter[str] = Counter()
        for spec, state, count in self._rows(_SUBMITTED, most=most):
            jobs[spec] += count
            ended[spec] += count * (JobState(state) in TERMINAL)
        return tuple(Submitted(Digest(spec), jobs[spec], ended[spec]) for spec in sorted(jobs))

    def planning(self, since: int) -> PlanningDelta:
        with self._database.reading() as connection:
            seq, _, _, at_us, now_us = self._database.counters(connection)
            if since:
                found = _CHANGED_JOBS.run(connection, since=since).fetchall()
                parts = _CHANGED_PARTS.run(connection, since=since).fetchall()
            else:
                found = _PLANNED_JOBS.run(connection).fetchall()
                parts = _ALLOCATIONS.run(connection).fetchall()
            jobs = self._decoded(found)
            nodes = _CHANGED_NODES.run(connection, since=since).fetchall()
            specs = self._specs(connection, jobs)
            past = _PAST.run(connection, since=since).fetchall()
            newest = NEWEST_CLUSTER.run(connection, since=since).fetchall()
        removed = tuple(loads(body) for gone, body in nodes if gone) if since else ()
        return PlanningDelta(
            since=since,
            seq=seq,
            jobs=jobs,
            allocations=decode_allocations(parts),
            nodes=tuple(decode_node(loads(body)) for gone, body in nodes if not gone),
            removed_nodes=removed,
            specs=specs,
            now_us=max(at_us, self._clock() if self._clock else now_us),
            config=decode_cluster_record(loads(newest[0][1])).in_force if newest else None,
            usage=tuple(sorted(decode_past(body) for (body,) in past)),
        )

    def _specs(self, connection: Connection, jobs: Iterable[Job]) -> dict[Digest, str]:
        digests = {job.spec: (column(job.spec),) for job in jobs if is_planned(job)}
        if not digests:
            return {}
        found = _SPECS.run(connection, j=pack(digests.values()))
        texts = {digest: loads(body) for digest, body in found}
        return {d: texts[name] for d, (name,) in digests.items() if name in texts}


def _summed(where: JobFilter, before: int | None, reach: int) -> Select[Any]:
    """By number, of the `reach` newest rows that fit: last and first key, how many, last change."""
    fitting = (
        select(
            _NUMBER_OF.label("number"),
            t.jobs.c.key,
            json_number(t.jobs.c.standing, "changed_us").label("changed_us"),
        )
        .where(*_conditions(where, before))
        .order_by(t.jobs.c.key.desc())
        .limit(reach)
        .subquery()
    )
    keys = fitting.c.key
    sums = func.max(keys), func.min(keys), func.count(), func.max(fitting.c.changed_us)
    return select(fitting.c.number, *sums).group_by(fitting.c.number)


def _conditions(where: JobFilter, before: int | None) -> Iterable[ColumnElement[bool]]:
    """before: only keys below it."""
    if before is not None:
        yield t.jobs.c.key < before
    if where.number:
        yield t.jobs.c.key.between(*key_range(where.number))
    if where.states:
        yield t.jobs.c.state.in_(sorted(str(state) for state in where.states))
    words = {"owner": where.owner, "project": where.project, "queue": where.queue}
    for name, word in (words | {"name": where.name}).items():
        if word:
            yield t.jobs.c[name] == column(word)
