"""A store in memory: for the simulator and for tests, with every promise but durability.

`submit` decides and commits on the caller's thread before it returns, so that a run repeats. The
rows live in `Tables`: what a database would be. A controller that "dies" drops its MemoryStore; the
next one is a new MemoryStore on the same Tables, and two at a time are two controllers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from zenkei.model.cluster import Allocation, Node, NodeEvent
from zenkei.model.clusterlog import ClusterRecord
from zenkei.model.data import Checkpoint, Digest, Result
from zenkei.model.errors import NotAvailable, Unavailable
from zenkei.model.event import Effect, Event
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.instants import is_ahead
from zenkei.model.job import TERMINAL, Dependency, Job, JobState
from zenkei.model.queue import ClusterConfig, PastUsage
from zenkei.ports.store import (
    Committed,
    JobFilter,
    Line,
    Page,
    PlanningDelta,
    Submitted,
    Unit,
    Usage,
)
from zenkei.store.book import MemoryBook
from zenkei.store.checking import (
    effects_of_nobody,
    replay_differs,
    wrongly_counted,
    wrongly_held,
)
from zenkei.store.datasets import MemoryDatasets
from zenkei.store.filters import is_planned, limited, passes
from zenkei.store.listeners import Listeners
from zenkei.store.tables import TableRows, Tables, forget, write
from zenkei.store.units import Batch, Pending, run_batch

__all__ = ["MemoryStore", "Tables"]

T = TypeVar("T")


class MemoryStore:
    """`ports.store.Store` and `Maintenance` on `tables`, seen by controller `owner`."""

    def __init__(
        self,
        clock: Callable[[], int],
        *,
        owner: str = "memory",
        lease_s: float = 30.0,
        tables: Tables | None = None,
    ) -> None:
        self.tables = Tables() if tables is None else tables
        self._clock = clock
        self.book = self.tables.book = self.tables.book or MemoryBook(clock)
        self.datasets = self.tables.datasets = self.tables.datasets or MemoryDatasets(clock)
        self._owner = owner
        self._lease_us = int(lease_s * 1e6)
        self._listeners = Listeners()
        self._closed = False

    # -- writing -------------------------------------------------------------------------------
    def submit(self, unit: Unit[T]) -> Future[T]:
        pending = Pending(unit)
        with self.tables.lock:
            if self._closed:
                raise Unavailable("store-closed", "the store is closed")
            run_batch((pending,), self._transaction, self._listeners.tell)
        return pending.future

    def listen(self, listener: Callable[[Committed], None]) -> None:
        with self.tables.lock:
            self._listeners.add(listener)

    def _transaction(self, batch: Sequence[Pending]) -> Committed | None:
        tables = self.tables
        rows = TableRows(tables)
        writes = Batch(rows, tables.counters, self._clock()).decide(batch)
        if writes.empty:
            return None
        inserted = write(tables, writes, owner=self._owner, lease_us=self._lease_us)
        return writes.committed(inserted)

    def claim(self, *, owner: str, limit: int, lease_s: float) -> tuple[Effect, ...]:
        with self.tables.lock:
            now_us = self._clock()
            due = [
                row
                for row in self.tables.outbox.values()
                if not is_ahead(row.due_us, now_us) and not is_ahead(row.leased_until_us, now_us)
            ][:limit]
            for row in due:
                row.owner, row.leased_until_us = owner, now_us + int(lease_s * 1e6)
            return tuple(row.effect for row in due)

    # -- queries -------------------------------------------------------------------------------
    def job(self, job: JobId) -> Job | None:
        return self.tables.jobs.get(job)

    def rows_of(self, jobs: Iterable[JobId]) -> Mapping[JobId, Job]:
        with self.tables.lock:
            return {row.id: row for row in TableRows(self.tables).jobs(set(jobs))}

    def jobs(self, where: JobFilter, *, cursor: str = "", limit: int = 100) -> Page[Job]:
        limit = limited(limit)
        before = JobId.parse(cursor) if cursor else None
        with self.tables.lock:
            rows = self.tables.jobs
            older = (i for i in sorted(rows, reverse=True) if before is None or i < before)
            found = list(islice((rows[i] for i in older if passes(rows[i], where)), limit + 1))
        more = str(found[limit - 1].id) if len(found) > limit else ""
        return Page(items=tuple(found[:limit]), next=more)

    def lines(self, where: JobFilter, *, cursor: str = "", limit: int = 100) -> Page[Line]:
        limit = limited(limit)
        before = JobId.parse(cursor).number if cursor else math.inf
        with self.tables.lock:
            rows = self.tables.jobs
            found: dict[int, list[Job]] = {}
            for job in sorted(rows, reverse=True):
                if job.number < before and passes(rows[job], where):
                    found.setdefault(job.number, []).append(rows[job])
        lines = [
            Line(newest=jobs[0], changed_us=max(job.changed_us for job in jobs))
            for jobs in islice(found.values(), limit)
        ]
        more = str(lines[-1].newest.id.number) if len(found) > limit else ""
        return Page(items=tuple(lines), next=more)

    def last_job(self, owner: str) -> JobId | None:
        with self.tables.lock:
            own = [job.id for job in self.tables.jobs.values() if job.owner == owner]
        return JobId(max(own).number) if own else None

    def members(self, number: int) -> tuple[Job, ...]:
        with self.tables.lock:
            return tuple(TableRows(self.tables).submissions((number,)))

    def events(
        self, *, after: int = 0, job: JobId | None = None, limit: int = 1000
    ) -> tuple[Event, ...]:
        with self.tables.lock:
            events = self.tables.events if job is None else self.tables.story(job)
            start = bisect_right(events, after, key=lambda event: event.seq)
            return tuple(events[start : start + limited(limit)])

    def spec(self, digest: Digest) -> str | None:
        return self.tables.specs.get(digest)

    def histories(self, jobs: Iterable[JobId]) -> Mapping[JobId, tuple[Event, ...]]:
        with self.tables.lock:
            stories = self.tables.job_events
            return {job: tuple(stories[job]) for job in jobs if job in stories}

    def dependents(self, jobs: Iterable[JobId]) -> tuple[JobId, ...]:
        targets = {target for job in jobs for target in (job, JobId(job.number))}
        with self.tables.lock:
            waiting = self.tables.dependencies.items()
            return tuple(sorted(w for w, on in waiting if any(d.job in targets for d in on)))

    def dependencies(self, job: JobId) -> tuple[Dependency, ...]:
        with self.tables.lock:
            return tuple(sorted(self.tables.dependencies.get(job, ()), key=lambda d: d.job))

    def awaited(self) -> frozenset[JobId]:
        with self.tables.lock:
            rows, waits = self.tables.jobs, self.tables.dependencies
            waiting = [w for w in waits if w in rows and not rows[w].state.terminal]
            return frozenset(d.job for w in waiting for d in waits[w])

    def nodes(self) -> tuple[Node, ...]:
        with self.tables.lock:
            nodes = [node for _, node in self.tables.nodes.values() if node is not None]
        return tuple(sorted(nodes, key=lambda node: node.name))

    def node_events(self, node: str = "", *, limit: int = 1000) -> tuple[NodeEvent, ...]:
        with self.tables.lock:
            found = [event for event in self.tables.node_log if node in ("", event.node)]
        return tuple(found[-limited(limit) :])

    def allocations(self) -> tuple[Allocation, ...]:
        with self.tables.lock:
            return tuple(sorted(self.tables.allocations.values(), key=lambda a: a.attempt))

    def allocations_of(self, attempts: Iterable[AttemptId]) -> tuple[Allocation, ...]:
        with self.tables.lock:
            held = self.tables.allocations
            return tuple(held[a] for a in sorted(set(attempts)) if a in held)

    def result(self, attempt: AttemptId) -> Result | None:
        return self.tables.results.get(attempt)

    def results_of(self, jobs: Iterable[JobId]) -> Mapping[AttemptId, Result]:
        asked = set(jobs)
        with self.tables.lock:
            return {a: kept for a, kept in self.tables.results.items() if a.job in asked}

    def checkpoints(self, job: JobId) -> tuple[Checkpoint, ...]:
        with self.tables.lock:
            found = self.tables.checkpoints.get(job, {})
            return tuple(found[key] for key in sorted(found))

    def usage(self, job: JobId) -> tuple[Usage, ...]:
        with self.tables.lock:
            return tuple(self.tables.usage.get(job, ()))

    def past_usage(self) -> tuple[PastUsage, ...]:
        with self.tables.lock:
            return tuple(past for _, (_, past) in sorted(self.tables.past_usage.items()))

    def cluster(self) -> ClusterRecord | None:
        with self.tables.lock:
            return TableRows(self.tables).cluster()

    def cluster_log(self, *, limit: int = 1000) -> tuple[ClusterRecord, ...]:
        with self.tables.lock:
            newest = self.tables.cluster[-limited(limit) :]
        return tuple(replace(record, text="") for record in newest)

    def cluster_file(self, version: int) -> ClusterRecord | None:
        with self.tables.lock:
            brought = [r for r in self.tables.cluster if r.version == version and r.text]
        return brought[0] if brought else None

    def queues(self) -> Mapping[str, Mapping[JobState, int]]:
        found: dict[str, Counter[JobState]] = {}
        with self.tables.lock:
            for job in self.tables.jobs.values():
                if not job.state.terminal:
                    found.setdefault(job.queue, Counter())[job.state] += 1
        return found

    def cursor(self, cluster: str) -> str:
        return self.tables.cursors.get(cluster, "")

    def planning(self, since: int) -> PlanningDelta:
        with self.tables.lock:
            tables = self.tables
            jobs = self._changed_since(since)
            held = [tables.allocations.get(AttemptId(job.id, job.attempt)) for job in jobs]
            nodes = [(n, node) for n, (seq, node) in tables.nodes.items() if seq > since]
            removed = () if since == 0 else tuple(sorted(n for n, node in nodes if node is None))
            return PlanningDelta(
                since=since,
                seq=tables.counters.seq,
                jobs=jobs,
                allocations=tuple(one for one in held if one is not None),
                nodes=tuple(
                    node for _, node in sorted(nodes, key=lambda row: row[0]) if node is not None
                ),
                removed_nodes=removed,
                specs={job.spec: tables.specs[job.spec] for job in jobs if self._has_spec(job)},
                now_us=max(self._clock(), tables.counters.at_us),
                config=self._config_since(since),
                usage=tuple(
                    past for _, (seq, past) in sorted(tables.past_usage.items()) if seq > since
                ),
            )

    def _config_since(self, since: int) -> ClusterConfig | None:
        newest = self.tables.cluster[-1] if self.tables.cluster else None
        return newest.in_force if newest is not None and newest.seq > since else None

    def _has_spec(self, job: Job) -> bool:
        return is_planned(job) and job.spec in self.tables.specs

    def _changed_since(self, since: int) -> tuple[Job, ...]:
        changed = []
        for job_id, seq in reversed(self.tables.job_seq.items()):
            if seq <= since:
                break
            job = self.tables.jobs[job_id]
            if since or is_planned(job):
                changed.append(job)
        return tuple(sorted(changed, key=lambda job: job.id))

    def seq(self) -> int:
        return self.tables.counters.seq

    def counts(self) -> Mapping[JobState, int]:
        with self.tables.lock:
            return Counter(job.state for job in self.tables.jobs.values())

    def submitted(self, most: int) -> tuple[Submitted, ...]:
        with self.tables.lock:
            newest = sorted(self.tables.jobs, reverse=True)[:most]
            found = [self.tables.jobs[job] for job in newest]
        jobs = Counter(job.spec for job in found)
        ended = Counter(job.spec for job in found if job.state in TERMINAL)
        return tuple(Submitted(spec, jobs[spec], ended[spec]) for spec in sorted(jobs))

    def counts_of(self, numbers: Iterable[int]) -> Mapping[int, Mapping[JobState, int]]:
        found: dict[int, Counter[JobState]] = {}
        with self.tables.lock:
            for job in TableRows(self.tables).submissions(set(numbers)):
                found.setdefault(job.id.number, Counter())[job.state] += 1
        return found

    def close(self) -> None:
        self._closed = True

    # -- maintenance ---------------------------------------------------------------------------
    def forget(self, jobs: Iterable[JobId]) -> int:
        with self.tables.lock:
            rows = self.tables.jobs
            gone = {i for i in jobs if i in rows and rows[i].state.terminal}
            if gone:
                forget(self.tables, gone)
                for job in gone:
                    self.book.forget(job)
            return len(gone)

    def backup(self, to: str) -> None:
        raise NotAvailable("no-backup", f"a store in memory cannot be copied to `{to}`")

    def check(self) -> list[str]:
        with self.tables.lock:
            tables = self.tables
            effects = [row.effect for row in tables.outbox.values()]
            return [
                *replay_differs(tables.jobs, tables.events),
                *wrongly_held(tables.jobs, self.nodes(), tables.allocations.values()),
                *effects_of_nobody(tables.jobs, effects),
                *wrongly_counted(self.past_usage()),
            ]
