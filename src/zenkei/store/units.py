"""Decide a batch of units over one transaction's rows and fold what they change into one write set.

Called by `memory` and `sql` with the same rows and the same units: decide order, version checks and
the overlay (later units see what earlier ones changed) exist here only. A unit that raises fails
alone. Nothing is written here. Cost: O(changes), no row is touched that no unit declared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from zenkei.model.cluster import Allocation, Node, NodeEvent
from zenkei.model.clusterlog import ClusterRecord
from zenkei.model.data import Checkpoint, Digest, Result
from zenkei.model.errors import Conflict, InternalError, Unavailable
from zenkei.model.event import Effect, Event
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Dependency, Job
from zenkei.model.queue import PastUsage, Policy
from zenkei.ports.datasets import DatasetChange
from zenkei.ports.store import AnyUnit, Changes, Committed, Reads, Usage
from zenkei.store.pastusage import UsageRows, Whose, after_release
from zenkei.store.unitview import UnitView

RequestKey = tuple[str, str]


class RowSource(UsageRows, Protocol):
    """Rows of the transaction that the batch runs in. What does not exist is absent."""

    def jobs(self, ids: Collection[JobId]) -> Iterable[Job]: ...

    def submissions(self, numbers: Collection[int]) -> Iterable[Job]: ...

    def nodes(self, names: Collection[str]) -> Iterable[Node]: ...

    def held_on(self, names: Collection[str]) -> Iterable[Allocation]: ...

    def requests(self, keys: Collection[RequestKey]) -> dict[RequestKey, tuple[int, str]]: ...

    def cluster(self) -> ClusterRecord | None: ...

    def unfinished(self) -> Counter[str]:
        """Of all jobs that are not over: how many by queue."""


@dataclass(kw_only=True, slots=True)
class Counters:
    """The single row that hands out numbers. at_us: clock of the last commit."""

    seq: int = 0
    number: int = 0
    effect: int = 0
    at_us: int = 0

    def copy(self) -> Counters:
        return Counters(seq=self.seq, number=self.number, effect=self.effect, at_us=self.at_us)


class Pending:
    """A unit on its way, with its future and, once decided, its value."""

    __slots__ = ("error", "future", "unit", "value")

    def __init__(self, unit: AnyUnit) -> None:
        self.unit = unit
        self.future: Future[Any] = Future()
        self.value: Any = None
        self.error: BaseException | None = None

    @property
    def weight(self) -> int:
        """About how many rows it reads: what one transaction takes is bounded by it."""
        return 1 + len(self.unit.reads.jobs)

    def resolve(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.value)


class LostRace(Exception):
    """Rows that a batch wrote against had changed or appeared in between; nothing was written."""


@dataclass(kw_only=True, slots=True)
class WriteSet:
    """What a batch writes, in the order of these fields: `done` before `effects`.

    In that order an effect that comes back in the batch that ends its namesake is kept. job_seq:
    seq of each job's last event. node_seq: the seq of node changes, 0 without any. now_us: of the
    facts, clock_us: by which leases run (see `ports.store.View`).
    """

    now_us: int
    before: Counters
    after: Counters
    born: dict[JobId, Job] = field(default_factory=dict)
    changed: dict[JobId, tuple[int, Job]] = field(default_factory=dict)
    job_seq: dict[JobId, int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    later: list[tuple[int, int]] = field(default_factory=list)
    clock_us: int = 0
    effects: dict[str, Effect] = field(default_factory=dict)
    allocated: dict[AttemptId, Allocation] = field(default_factory=dict)
    usage: list[Usage] = field(default_factory=list)
    released: dict[AttemptId, None] = field(default_factory=dict)
    nodes: dict[str, Node | None] = field(default_factory=dict)
    node_seq: int = 0
    node_events: list[NodeEvent] = field(default_factory=list)
    specs: dict[Digest, str] = field(default_factory=dict)
    dependencies: list[tuple[JobId, Dependency]] = field(default_factory=list)
    requests: dict[RequestKey, tuple[int, str]] = field(default_factory=dict)
    cursors: dict[str, str] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    checkpoints: dict[tuple[AttemptId, int], Checkpoint] = field(default_factory=dict)
    cluster: list[ClusterRecord] = field(default_factory=list)
    datasets: list[DatasetChange] = field(default_factory=list)
    past: dict[Whose, PastUsage] = field(default_factory=dict)
    past_seq: int = 0

    @property
    def empty(self) -> bool:
        return not (
            self.after != self.before
            or self.done
            or self.later
            or self.allocated
            or self.released
            or self.specs
            or self.dependencies
            or self.requests
            or self.cursors
            or self.results
            or self.checkpoints
            or self.datasets
        )

    def committed(self, inserted: Iterable[Effect]) -> Committed:
        return Committed(
            seq=self.after.seq,
            events=tuple(self.events),
            effects=tuple(inserted),
            nodes=bool(self.nodes),
        )


def run_batch(
    batch: Sequence[Pending],
    transaction: Callable[[Sequence[Pending]], Committed | None],
    deliver: Callable[[Committed], None],
) -> None:
    """Run `batch` in one transaction, or one by one if that fails, and resolve the futures.

    transaction: decides and writes, or raises having written nothing: LostRace for a row that is
    not as a unit thought, Unavailable if the database does not work.
    """
    committed = None
    try:
        committed = transaction(batch)
    except Unavailable as error:
        for pending in batch:
            pending.error = error
    except Exception as error:  # noqa: BLE001 - told to the caller; the writer goes on
        if len(batch) > 1:  # one of them cannot be written: its neighbours must not suffer
            for pending in batch:
                run_batch((pending,), transaction, deliver)
            return
        batch[0].error = error
        if isinstance(error, LostRace):
            batch[0].error = _changed(str(error), "somebody else did so at the same time")
    if committed is not None:
        deliver(committed)
    for pending in batch:
        pending.resolve()


class Batch:
    """The rows of one transaction, as the next unit would see them."""

    def __init__(self, rows: RowSource, counters: Counters, clock_us: int) -> None:
        # a clock that is set back must not order later facts before earlier ones
        self.now_us = max(clock_us, counters.at_us)
        # but what waits for a time waits by the clock: else it would wait until that has caught up
        self.clock_us = clock_us
        self._rows = rows
        self._jobs: dict[JobId, Job] = {}
        self._members: dict[int, set[JobId]] = {}
        self._nodes: dict[str, Node] = {}
        self._held: dict[AttemptId, Allocation] = {}
        self._on: dict[str, dict[AttemptId, Allocation]] = {}
        self._requests: dict[RequestKey, tuple[int, str]] = {}
        self._cluster: tuple[ClusterRecord | None] | None = None
        self._unfinished: Counter[str] | None = None
        self.writes = WriteSet(
            now_us=self.now_us, clock_us=clock_us, before=counters, after=counters.copy()
        )

    def decide(self, batch: Sequence[Pending]) -> WriteSet:
        """Decide all units in order; a failed one has its error and no changes."""
        self._fetch([pending.unit.reads for pending in batch])
        for pending in batch:
            pending.error = None
            try:
                changes, pending.value = pending.unit.decide(UnitView(self, pending.unit.reads))
                self._refuse(changes)
            except Exception as error:  # noqa: BLE001 - it is the unit's own and goes to its future
                pending.error = error
            else:
                self._absorb(changes)
        if self.writes.released:
            self._count_released()
        if not self.writes.empty:
            self.writes.after.at_us = self.now_us
        return self.writes

    def _fetch(self, reads: Sequence[Reads]) -> None:
        numbers: set[int] = set()
        ids: set[JobId] = set()
        names: set[str] = set()
        for one in reads:
            numbers.update(one.submissions)
            ids.update(one.jobs)
            names.update(one.nodes)
        if numbers and ids:
            ids = {job for job in ids if job.number not in numbers}
        keys = {r.request_key for r in reads if r.request_key is not None}
        if ids:
            self._jobs.update((job.id, job) for job in self._rows.jobs(ids))
        if numbers:
            self._members = {number: set() for number in numbers}
            for job in self._rows.submissions(numbers):
                self._jobs[job.id] = job
                self._members[job.id.number].add(job.id)
        if names:
            self._nodes.update((node.name, node) for node in self._rows.nodes(names))
            self._on = {name: {} for name in names}
            for allocation in sorted(self._rows.held_on(names), key=lambda a: a.attempt):
                self._hold(allocation)
        if keys:
            self._requests.update(self._rows.requests(keys))
        if any(r.queues for r in reads):
            self._unfinished = self._rows.unfinished()

    def _hold(self, allocation: Allocation) -> None:
        self._held[allocation.attempt] = allocation
        for part in allocation.parts:
            if part.node in self._on:
                self._on[part.node][allocation.attempt] = allocation

    def _let_go(self, attempt: AttemptId) -> None:
        allocation = self._held.pop(attempt, None)
        if allocation is not None:
            for part in allocation.parts:
                self._on.get(part.node, {}).pop(attempt, None)

    def _refuse(self, changes: Changes) -> None:
        """Raise if `changes` cannot follow the rows as they are now; nothing is absorbed before."""
        versions = {job.id: version for version, job in changes.jobs}
        for event in changes.events:
            if versions.get(event.job, -1) + 1 != event.version:
                raise _defect(
                    f"event {event.kind} v{event.version} of job {event.job} is out of order"
                )
            versions[event.job] = event.version
        for version, job in changes.jobs:
            if versions[job.id] != job.version or job.version == version:
                raise _defect(f"the events of job {job.id} do not lead to version {job.version}")
            now = self._jobs.get(job.id)
            if now is not None and now.version != version:
                raise _changed(
                    f"job {job.id}", f"version {version} was read, {now.version} is there"
                )
        written = {job.id for _, job in changes.jobs}
        for allocation in changes.allocated:
            self._refuse_allocation(allocation, written)
        if changes.request is not None and changes.request[:2] in self._requests:
            raise _changed(f"the request `{changes.request[1]}`", "it was made before")

    def _refuse_allocation(self, allocation: Allocation, written: set[JobId]) -> None:
        attempt = allocation.attempt
        nodes = {part.node for part in allocation.parts}
        if len(nodes) != len(allocation.parts):
            raise _changed(f"attempt {attempt}", "it has two parts on one node")
        if attempt in self._held or attempt in self.writes.allocated:
            raise _changed(f"attempt {attempt}", "it holds an allocation already")
        if attempt.job not in written and attempt.job not in self._jobs:
            raise _defect(f"attempt {attempt} was allocated without reading its job")

    def _absorb(self, changes: Changes) -> None:
        writes, after = self.writes, self.writes.after
        for event in changes.events:
            after.seq += 1
            writes.events.append(
                Event(
                    job=event.job,
                    version=event.version,
                    at_us=event.at_us,
                    body=event.body,
                    seq=after.seq,
                )
            )
            writes.job_seq[event.job] = after.seq
        for version, job in changes.jobs:
            self._absorb_job(version, job)
        for effect in changes.effects:
            if effect.key not in writes.effects:
                after.effect += 1
                writes.effects[effect.key] = _numbered(effect, after.effect)
        writes.done.extend(changes.done)
        writes.later.extend((i, self.clock_us + int(delay * 1e6)) for i, delay in changes.later)
        for allocation in changes.allocated:
            writes.allocated[allocation.attempt] = allocation
            self._hold(allocation)
            writes.usage.extend(self._usage(allocation))
        for attempt in changes.released:
            self._let_go(attempt)
            writes.released[attempt] = None
        if changes.nodes or changes.removed_nodes or changes.node_events:
            self._absorb_nodes(changes)
        for record in changes.cluster:
            after.seq += 1
            writes.cluster.append(replace(record, seq=after.seq))
            self._cluster = (replace(record, seq=after.seq, text=""),)
        writes.specs.update(changes.specs)
        writes.dependencies.extend(changes.dependencies)
        if changes.request is not None:
            self._requests[changes.request[:2]] = changes.request[2:]
            writes.requests[changes.request[:2]] = changes.request[2:]
        writes.cursors.update(changes.cursors)
        writes.results.extend(changes.results)
        writes.datasets.extend(changes.datasets)
        for point in changes.checkpoints:
            writes.checkpoints[AttemptId.parse(point.attempt), point.step] = point

    def _absorb_job(self, version: int, job: Job) -> None:
        writes = self.writes
        self._jobs[job.id] = job
        if job.id in writes.born:
            writes.born[job.id] = job
        elif job.id in writes.changed:
            writes.changed[job.id] = (writes.changed[job.id][0], job)
        elif version:
            writes.changed[job.id] = (version, job)
        else:
            writes.born[job.id] = job
            # a number that somebody chose himself is never handed out again
            writes.after.number = max(writes.after.number, job.id.number)
            members = self._members.get(job.id.number)
            if members is not None:
                members.add(job.id)

    def _absorb_nodes(self, changes: Changes) -> None:
        if not self.writes.node_seq:
            self.writes.after.seq += 1
        for event in changes.node_events:
            self.writes.after.seq += 1
            self.writes.node_events.append(replace(event, seq=self.writes.after.seq))
        # the last seq of the batch, so that nobody who saw an earlier one misses it
        self.writes.node_seq = self.writes.after.seq
        for node in changes.nodes:
            self.writes.nodes[node.name] = self._nodes[node.name] = node
        for name in changes.removed_nodes:
            self._nodes.pop(name, None)
            self.writes.nodes[name] = None

    def _count_released(self) -> None:
        """Past usage: computed once for the batch, whose releases all happen at `now_us`."""
        writes, record = self.writes, self.cluster()
        policy = record.config.policy if record is not None else Policy()
        writes.past = after_release(
            self._rows,
            writes.released,
            writes.usage,
            now_us=self.now_us,
            half_life_s=policy.half_life_s,
        )
        if writes.past and writes.after.seq == writes.before.seq:
            writes.after.seq += 1
        writes.past_seq = writes.after.seq

    def _usage(self, allocation: Allocation) -> Iterable[Usage]:
        job = self._jobs[allocation.attempt.job]
        for part in allocation.parts:
            yield Usage(
                attempt=allocation.attempt,
                node=part.node,
                gpu_milli=sum(share.milli for share in part.devices),
                gpu_kind=self._kinds(part.node, {share.index for share in part.devices}),
                cpu_milli=part.request.cpu_milli,
                memory_bytes=part.request.memory_bytes,
                queue=job.queue,
                project=job.project,
                owner=job.owner,
                from_us=self.now_us,
            )

    def _kinds(self, name: str, indices: set[int]) -> str:
        node = self._nodes.get(name)
        if node is None or not indices:
            return ""
        return "+".join(sorted({d.kind for d in node.capacity.devices if d.index in indices}))

    # -- what a view asks ----------------------------------------------------------------------
    def job(self, job: JobId) -> Job | None:
        return self._jobs.get(job)

    def members(self, number: int) -> tuple[Job, ...]:
        return tuple(self._jobs[i] for i in sorted(self._members[number]))

    def node(self, name: str) -> Node | None:
        return self._nodes.get(name)

    def held_on(self, name: str) -> tuple[Allocation, ...]:
        return tuple(self._on[name].values())

    def request(self, key: RequestKey) -> tuple[int, str] | None:
        return self._requests.get(key)

    def cluster(self) -> ClusterRecord | None:
        if self._cluster is None:
            self._cluster = (self._rows.cluster(),)
        return self._cluster[0]

    def unfinished(self) -> Mapping[str, int]:
        """The rows', corrected by what this batch has changed."""
        counts = Counter(self._unfinished or {})
        touched = {*self.writes.born, *self.writes.changed}
        for before in self._rows.jobs(self.writes.changed) if self.writes.changed else ():
            counts[before.queue] -= not before.state.terminal
        for job_id in touched:
            after = self._jobs[job_id]
            counts[after.queue] += not after.state.terminal
        return +counts

    def next_number(self) -> int:
        self.writes.after.number += 1
        return self.writes.after.number


def _numbered(effect: Effect, number: int) -> Effect:
    # written out: `replace` costs four times as much, and there are three effects to a job
    return Effect(
        kind=effect.kind,
        key=effect.key,
        job=effect.job,
        attempt=effect.attempt,
        reason=effect.reason,
        grace_s=effect.grace_s,
        checkpoint_s=effect.checkpoint_s,
        step=effect.step,
        id=number,
    )


def _defect(what: str) -> InternalError:
    return InternalError("unit-out-of-order", f"{what}; nothing was changed")


def _changed(what: str, how: str) -> Conflict:
    return Conflict(
        "changed-meanwhile",
        f"{what} cannot be changed like this: {how}",
        hint="look at its state again and repeat the command",
    )
