"""The rows of `memory.MemoryStore`, and the two things done to them: fetch for a batch, write one.

Called by `memory` under `Tables.lock`. Cost: O(rows asked for or written).
"""

from __future__ import annotations

import bisect
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import itemgetter

from zenkei.model.cluster import Allocation, Node, NodeEvent
from zenkei.model.clusterlog import ClusterRecord
from zenkei.model.data import Checkpoint, Digest, Result
from zenkei.model.event import Effect, Event
from zenkei.model.ids import WHOLE, AttemptId, JobId
from zenkei.model.job import Dependency, Job
from zenkei.model.queue import PastUsage
from zenkei.ports.store import MOST_NODE_EVENTS, Usage
from zenkei.store.book import MemoryBook
from zenkei.store.datasets import MemoryDatasets
from zenkei.store.pastusage import Whose
from zenkei.store.units import Counters, LostRace, RequestKey, WriteSet


@dataclass(kw_only=True, slots=True)
class OutboxRow:
    """An effect that has not happened yet."""

    effect: Effect
    owner: str
    leased_until_us: int
    due_us: int = 0


@dataclass(slots=True)
class Tables:
    """All rows: what survives a crash. job_seq is in order of seq, nodes carry theirs."""

    counters: Counters = field(default_factory=Counters)
    jobs: dict[JobId, Job] = field(default_factory=dict)
    members: dict[int, list[JobId]] = field(default_factory=dict)
    job_seq: dict[JobId, int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    job_events: dict[JobId, list[Event]] = field(default_factory=dict)
    outbox: dict[int, OutboxRow] = field(default_factory=dict)
    outbox_keys: dict[str, int] = field(default_factory=dict)
    allocations: dict[AttemptId, Allocation] = field(default_factory=dict)
    held_on: dict[str, dict[AttemptId, Allocation]] = field(default_factory=dict)
    usage: dict[JobId, list[Usage]] = field(default_factory=dict)
    nodes: dict[str, tuple[int, Node | None]] = field(default_factory=dict)
    node_log: list[NodeEvent] = field(default_factory=list)
    specs: dict[Digest, str] = field(default_factory=dict)
    dependencies: dict[JobId, list[Dependency]] = field(default_factory=dict)
    requests: dict[RequestKey, tuple[int, str]] = field(default_factory=dict)
    cursors: dict[str, str] = field(default_factory=dict)
    results: dict[AttemptId, Result] = field(default_factory=dict)
    checkpoints: dict[JobId, dict[tuple[AttemptId, int], Checkpoint]] = field(default_factory=dict)
    cluster: list[ClusterRecord] = field(default_factory=list)
    in_force: ClusterRecord | None = None
    """The newest of them, without its text."""
    past_usage: dict[Whose, tuple[int, PastUsage]] = field(default_factory=dict)
    book: MemoryBook | None = None
    datasets: MemoryDatasets | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def story(self, job: JobId) -> list[Event]:
        """Events of one job, or of all members of its number, by seq."""
        ids = self.members.get(job.number, []) if job.member == WHOLE else [job]
        stories = [self.job_events.get(i, []) for i in ids]
        return stories[0] if len(stories) == 1 else sorted(chain(*stories), key=lambda e: e.seq)


class TableRows:
    """`units.RowSource` on `tables`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def jobs(self, ids: Collection[JobId]) -> Iterable[Job]:
        rows = self._tables.jobs
        return [rows[i] for i in ids if i in rows]

    def submissions(self, numbers: Collection[int]) -> Iterable[Job]:
        rows = self._tables
        return [rows.jobs[i] for number in numbers for i in rows.members.get(number, ())]

    def nodes(self, names: Collection[str]) -> Iterable[Node]:
        found = (self._tables.nodes.get(name) for name in names)
        return [row[1] for row in found if row is not None and row[1] is not None]

    def held_on(self, names: Collection[str]) -> Iterable[Allocation]:
        held: dict[AttemptId, Allocation] = {}
        for name in names:
            held.update(self._tables.held_on.get(name, {}))
        return held.values()

    def requests(self, keys: Collection[RequestKey]) -> dict[RequestKey, tuple[int, str]]:
        rows = self._tables.requests
        return {key: rows[key] for key in keys if key in rows}

    def cluster(self) -> ClusterRecord | None:
        return self._tables.in_force

    def unfinished(self) -> Counter[str]:
        return Counter(job.queue for job in self._tables.jobs.values() if not job.state.terminal)

    def open_usage(self, attempts: Collection[AttemptId]) -> Iterable[Usage]:
        of = self._tables.usage
        return [u for a in attempts for u in of.get(a.job, ()) if u.attempt == a and not u.to_us]

    def past_usage(self, whose: Collection[Whose]) -> Mapping[Whose, PastUsage]:
        rows = self._tables.past_usage
        return {one: rows[one][1] for one in whose if one in rows}


def write(tables: Tables, writes: WriteSet, *, owner: str, lease_us: int) -> list[Effect]:
    """Apply `writes`, return the effects inserted. Raises LostRace before anything is changed."""
    _refuse(tables, writes)
    tables.counters = writes.after
    _write_jobs(tables, writes)
    _write_allocations(tables, writes)
    inserted = _write_outbox(tables, writes, owner, lease_us)
    for name, node in writes.nodes.items():
        tables.nodes[name] = (writes.node_seq, node)
    if writes.node_events:
        tables.node_log.extend(writes.node_events)
        del tables.node_log[:-MOST_NODE_EVENTS]
    for digest, text in writes.specs.items():
        tables.specs.setdefault(digest, text)
    for job, dependency in writes.dependencies:
        others = tables.dependencies.setdefault(job, [])
        if all(other.job != dependency.job for other in others):
            others.append(dependency)
    tables.requests.update(writes.requests)
    tables.cursors.update(writes.cursors)
    tables.results.update((AttemptId.parse(result.attempt), result) for result in writes.results)
    for (attempt, step), point in writes.checkpoints.items():
        tables.checkpoints.setdefault(attempt.job, {})[attempt, step] = point
    if writes.cluster:
        tables.cluster.extend(writes.cluster)
        tables.in_force = replace(writes.cluster[-1], text="")
    for change in writes.datasets:
        assert tables.datasets is not None
        tables.datasets.apply(change)
    tables.past_usage.update((whose, (writes.past_seq, p)) for whose, p in writes.past.items())
    return inserted


def _refuse(tables: Tables, writes: WriteSet) -> None:
    for job_id, (version, _) in writes.changed.items():
        now = tables.jobs.get(job_id)
        if now is None or now.version != version:
            raise LostRace(f"job {job_id}")
    for job_id in writes.born:
        if job_id in tables.jobs:
            raise LostRace(f"job {job_id}")
    for attempt in writes.allocated:
        if attempt in tables.allocations:
            raise LostRace(f"attempt {attempt}")
    for key in writes.requests:
        if key in tables.requests:
            raise LostRace(f"request {key[1]}")
    for change in writes.datasets:
        assert tables.datasets is not None
        if not tables.datasets.is_at(change):
            raise LostRace(f"the dataset {change.name}")


def _write_jobs(tables: Tables, writes: WriteSet) -> None:
    for job_id, job in writes.born.items():
        tables.jobs[job_id] = job
        bisect.insort(tables.members.setdefault(job_id.number, []), job_id)
    for job_id, (_, job) in writes.changed.items():
        tables.jobs[job_id] = job
    order = writes.job_seq.items()
    for job_id, seq in sorted(order, key=itemgetter(1)) if len(order) > 1 else order:
        tables.job_seq.pop(job_id, None)
        tables.job_seq[job_id] = seq
    tables.events.extend(writes.events)
    for event in writes.events:
        tables.job_events.setdefault(event.job, []).append(event)


def _write_allocations(tables: Tables, writes: WriteSet) -> None:
    for attempt, allocation in writes.allocated.items():
        tables.allocations[attempt] = allocation
        for part in allocation.parts:
            tables.held_on.setdefault(part.node, {})[attempt] = allocation
    for usage in writes.usage:
        tables.usage.setdefault(usage.attempt.job, []).append(usage)
    for attempt in writes.released:
        released = tables.allocations.pop(attempt, None)
        for part in released.parts if released else ():
            del tables.held_on[part.node][attempt]
        segments = tables.usage.get(attempt.job, [])
        for index, usage in enumerate(segments):
            if usage.attempt == attempt and not usage.to_us:
                segments[index] = replace(usage, to_us=writes.now_us)


def _write_outbox(tables: Tables, writes: WriteSet, owner: str, lease_us: int) -> list[Effect]:
    for row_id in writes.done:
        done = tables.outbox.pop(row_id, None)
        if done is not None:
            del tables.outbox_keys[done.effect.key]
    for row_id, due_us in writes.later:
        row = tables.outbox.get(row_id)
        if row is not None:
            row.effect = replace(row.effect, tries=row.effect.tries + 1)
            row.due_us, row.leased_until_us, row.owner = due_us, 0, ""
    inserted = []
    for key, effect in writes.effects.items():
        if key not in tables.outbox_keys:
            tables.outbox_keys[key] = effect.id
            tables.outbox[effect.id] = OutboxRow(
                effect=effect, owner=owner, leased_until_us=writes.clock_us + lease_us
            )
            inserted.append(effect)
    return inserted


def forget(tables: Tables, gone: set[JobId]) -> None:
    """Delete these jobs and all that is kept about them. O(events in the store)."""
    for job_id in gone:
        del tables.jobs[job_id]
        tables.job_seq.pop(job_id, None)
        tables.job_events.pop(job_id, None)
        tables.usage.pop(job_id, None)
        tables.dependencies.pop(job_id, None)
        tables.members[job_id.number].remove(job_id)
        if not tables.members[job_id.number]:
            del tables.members[job_id.number]
    tables.events[:] = [event for event in tables.events if event.job not in gone]
    for attempt in [a for a in tables.results if a.job in gone]:
        del tables.results[attempt]
    for job_id in gone:
        tables.checkpoints.pop(job_id, None)
    numbers = {job_id.number for job_id in gone} - tables.members.keys()
    rows = list(tables.outbox.values())
    for effect in [row.effect for row in rows]:
        if effect.job in gone or effect.job.number in numbers:
            del tables.outbox[effect.id]
            del tables.outbox_keys[effect.key]
    for key in [k for k, (number, _) in tables.requests.items() if number in numbers]:
        del tables.requests[key]
