"""The store of jobs, events, allocations, effects; implemented by `store.memory` and `store.sql`.

A *unit* is one command: what it must read and a pure function from what was read to what changes.
`submit` queues a unit for the writer thread and returns at once; the writer runs all units that
wait in one transaction (group commit), in order, each seeing the changes of those before it.

Promises of every implementation (one conformance suite, `tests/conformance/store`):
- Atomic and durable: when a unit's future has a value, its changes survive a power cut.
- Isolated: units run as if one after another, those of other controllers included.
- A unit whose `decide` raises changes nothing, its future gets the exception, and its neighbours
  in the batch are not disturbed. `decide` is pure: it may be called again.
- Every job change is a compare-and-set on `version`, and its events carry the versions between (a
  unit that breaks this is refused with InternalError). A unit that wrote a version which is no
  longer there gets Conflict.
- `seq` is handed out in commit order: a reader who has seen seq n never misses one below n. A
  change of nodes takes one too, without an event: seq may have gaps.
- So does a record of the cluster, and what a release adds to past usage.
- What an allocation has used is added to the past usage of its queue and owner when it is released,
  in that transaction, with the half-life of the configuration in force.
- `View.now_us` is the database's clock, the same for all controllers, and never runs backwards
  from one commit to the next. `View.clock_us` is that clock as it is, set back or not: retry
  delays, leases and what is put back run by it, so that a wrong hour once stops nobody for days.
- An allocation that would not fit beside those already there is the caller's mistake; the store
  refuses two rows for the same (attempt, node). Releasing what is not held changes nothing.
- Listeners hear of a commit before the futures of its units have values.
- A store that cannot write (locked, full, connection lost) gives Unavailable to the units of the
  batch and goes on with the next. What was lost during the commit itself may have happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from zenkei.model.cluster import Allocation, Node, NodeEvent
from zenkei.model.clusterlog import ClusterRecord
from zenkei.model.data import Checkpoint, Digest, Result
from zenkei.model.event import Effect, Event
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Dependency, Job, JobState
from zenkei.model.queue import ClusterConfig, PastUsage
from zenkei.ports.book import ResultBook
from zenkei.ports.datasets import DatasetChange, Registry

T = TypeVar("T")
MOST_NODE_EVENTS = 10_000
"""Lines that the log of nodes keeps: the newest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reads:
    """What a unit will read, so that a batch is fetched in one query per table."""

    jobs: tuple[JobId, ...] = ()
    submissions: tuple[int, ...] = ()
    nodes: tuple[str, ...] = ()
    request_key: tuple[str, str] | None = None
    """(principal, idempotency key) of a submit."""
    cluster: bool = False
    """What operators wish of the cluster."""
    queues: bool = False
    """Counts of unfinished jobs by queue: O(jobs in the store)."""


class View(Protocol):
    """The world inside a unit's transaction. Reading what was not declared raises KeyError."""

    @property
    def now_us(self) -> int:
        """When what this unit says happens: microseconds UTC, never before what came earlier."""

    @property
    def clock_us(self) -> int:
        """The database's clock at the start of the transaction."""

    def job(self, job: JobId) -> Job | None: ...

    def members(self, number: int) -> tuple[Job, ...]:
        """All jobs of one submission, by member."""

    def node(self, name: str) -> Node | None: ...

    def held_on(self, name: str) -> tuple[Allocation, ...]:
        """Allocations with a part on node `name` (each with all of its parts)."""

    def known_request(self) -> tuple[int, str] | None:
        """Submission made earlier under this unit's `request_key`, with its fingerprint."""

    def cluster(self) -> ClusterRecord | None:
        """The newest record, without its text: what is in force."""

    def unfinished(self) -> Mapping[str, int]:
        """Jobs that are not over, by queue."""

    def next_number(self) -> int:
        """A fresh submission number: rises, never reused; a number may be skipped."""


@dataclass(kw_only=True, slots=True)
class Changes:
    """All that one unit writes. Empty fields cost nothing.

    jobs: rows after the unit, with the version that was read (0: the row is new).
    specs: canonical text by digest; an existing digest is left alone.
    effects: dropped if a row with the same key waits already (it is the same effect).
    done: ids of outbox rows whose effect has happened. later: ids to be tried again after seconds.
    allocated: the attempt's job is among the jobs read or written here (usage names its queue).
    cursors: observe position by cluster.
    node_events: what happened to the nodes; the newest MOST_NODE_EVENTS are kept.
    datasets: as `Registry.apply` takes them, in the same transaction; the unit gets Conflict, and
    nothing of it happens, if one of them is no longer at the revision that was read.
    """

    jobs: list[tuple[int, Job]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    later: list[tuple[int, float]] = field(default_factory=list)
    allocated: list[Allocation] = field(default_factory=list)
    released: list[AttemptId] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    removed_nodes: list[str] = field(default_factory=list)
    node_events: list[NodeEvent] = field(default_factory=list)
    specs: dict[Digest, str] = field(default_factory=dict)
    dependencies: list[tuple[JobId, Dependency]] = field(default_factory=list)
    request: tuple[str, str, int, str] | None = None
    """(principal, idempotency key, number, fingerprint) to remember."""
    cursors: dict[str, str] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    cluster: list[ClusterRecord] = field(default_factory=list)
    datasets: list[DatasetChange] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit(Generic[T]):
    """One command. `decide` returns what changes and the value for the caller."""

    reads: Reads = Reads()
    decide: Callable[[View], tuple[Changes, T]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """What the listener hears after a commit, in order: wake followers, hand effects over.

    effects: the rows that were really inserted, with their ids, leased to this store. nodes:
    whether any changed.
    """

    seq: int
    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    nodes: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFilter:
    """Conditions are joined by and; empty ones do not restrict."""

    states: frozenset[JobState] = frozenset()
    owner: str = ""
    project: str = ""
    queue: str = ""
    name: str = ""
    number: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[T]):
    """`next` is the cursor of the following page, empty at the end."""

    items: tuple[T, ...]
    next: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What a list shows of one submission.

    newest: its job, or of an array the last member that fits. changed_us: of the one among those
    that fit that changed last.
    """

    newest: Job
    changed_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanningDelta:
    """What the planner must know of commits after `since`, up to `seq`.

    jobs: every job that changed, as it is now (all states). allocations: those of the changed jobs;
    a changed job without one holds nothing. nodes: every node that changed. removed_nodes: gone,
    and perhaps never known to the reader.
    `specs` has the canonical text of digests that appear in `jobs` for PENDING or allocated jobs.
    config: what is in force, with the operators' switches in it; None if that did not change (or
    nothing was ever applied). usage: of the past, of each (queue, user) whose sums changed.
    """

    since: int
    seq: int
    jobs: tuple[Job, ...]
    allocations: tuple[Allocation, ...]
    nodes: tuple[Node, ...]
    removed_nodes: tuple[str, ...] = ()
    specs: Mapping[Digest, str] = field(default_factory=dict)
    now_us: int = 0
    config: ClusterConfig | None = None
    usage: tuple[PastUsage, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """One segment of paid time, written with `allocated` and `released`.

    to_us: 0 while it lasts. gpu_kind: models of the devices held, joined by `+`; empty
    unless the unit declared the node.
    """

    attempt: AttemptId
    node: str
    gpu_milli: int
    gpu_kind: str
    cpu_milli: int
    memory_bytes: int
    queue: str
    project: str
    owner: str
    from_us: int
    to_us: int = 0
    price_class: str = ""


class Submitted(NamedTuple):
    """Jobs of one spec: how many there are, and how many of these are over."""

    spec: Digest
    jobs: int
    ended: int


class Store(Protocol):
    """See the module's promises. All methods may be called from any thread."""

    @property
    def datasets(self) -> Registry:
        """Names, versions and grants of datasets, in the same database."""

    @property
    def book(self) -> ResultBook:
        """Verdicts and names of results, in the same database."""

    def submit(self, unit: Unit[T]) -> Future[T]:
        """Queue a unit for the writer."""

    def listen(self, listener: Callable[[Committed], None]) -> None:
        """Call `listener` after every commit of this process, on the writer thread; it is quick."""

    # -- effects -----------------------------------------------------------------------------
    def claim(self, *, owner: str, limit: int, lease_s: float) -> tuple[Effect, ...]:
        """Lease outbox rows that are due and not leased. New rows are born leased to their writer

        (for `lease_s` of the store's settings) and arrive through `listen`; `claim` finds those of
        a controller that died, and those put back with `later`.
        """

    # -- queries -----------------------------------------------------------------------------
    def job(self, job: JobId) -> Job | None: ...

    def rows_of(self, jobs: Iterable[JobId]) -> Mapping[JobId, Job]:
        """Those of `jobs` that there are; one query."""

    def jobs(self, where: JobFilter, *, cursor: str = "", limit: int = 100) -> Page[Job]:
        """Newest first by id."""

    def lines(self, where: JobFilter, *, cursor: str = "", limit: int = 100) -> Page[Line]:
        """Submissions with jobs that fit, newest first. O(jobs that fit, of these submissions)."""

    def last_job(self, owner: str) -> JobId | None:
        """The newest job of a person: what `-` means (the whole array's number if it was one)."""

    def members(self, number: int) -> tuple[Job, ...]: ...

    def events(
        self, *, after: int = 0, job: JobId | None = None, limit: int = 1000
    ) -> tuple[Event, ...]:
        """Events with seq > `after`, in order: of all jobs, of one, or of a number's members."""

    def spec(self, digest: Digest) -> str | None: ...

    def histories(self, jobs: Iterable[JobId]) -> Mapping[JobId, tuple[Event, ...]]:
        """All events of each of `jobs`, in order; one query."""

    def dependents(self, jobs: Iterable[JobId]) -> tuple[JobId, ...]:
        """Jobs that wait for any of `jobs` or for the whole submission it belongs to; one query."""

    def dependencies(self, job: JobId) -> tuple[Dependency, ...]: ...

    def awaited(self) -> frozenset[JobId]:
        """Jobs, and whole submissions, that a job which is not over waits for; one query."""

    def nodes(self) -> tuple[Node, ...]: ...

    def node_events(self, node: str = "", *, limit: int = 1000) -> tuple[NodeEvent, ...]:
        """The newest `limit` of one node, or of all, oldest first."""

    def allocations(self) -> tuple[Allocation, ...]: ...

    def allocations_of(self, attempts: Iterable[AttemptId]) -> tuple[Allocation, ...]:
        """Those of `attempts` that hold one now; one query."""

    def result(self, attempt: AttemptId) -> Result | None: ...

    def results_of(self, jobs: Iterable[JobId]) -> Mapping[AttemptId, Result]:
        """Of all attempts of `jobs`; one query."""

    def checkpoints(self, job: JobId) -> tuple[Checkpoint, ...]:
        """All of a job, in the order of attempts and steps."""

    def usage(self, job: JobId) -> tuple[Usage, ...]: ...

    def past_usage(self) -> tuple[PastUsage, ...]:
        """By queue and user, each as of its last release."""

    def cluster(self) -> ClusterRecord | None:
        """The newest record, without its text; None if no operator ever wished anything."""

    def cluster_log(self, *, limit: int = 1000) -> tuple[ClusterRecord, ...]:
        """The newest `limit`, oldest first, without their texts."""

    def cluster_file(self, version: int) -> ClusterRecord | None:
        """The record that brought a version, with its text."""

    def queues(self) -> Mapping[str, Mapping[JobState, int]]:
        """Jobs that are not over, by queue and state."""

    def cursor(self, cluster: str) -> str: ...

    def planning(self, since: int) -> PlanningDelta:
        """since 0: everything that is PENDING or holds an allocation, and all nodes."""

    def seq(self) -> int:
        """The last one committed."""

    def counts(self) -> Mapping[JobState, int]:
        """All jobs by state."""

    def counts_of(self, numbers: Iterable[int]) -> Mapping[int, Mapping[JobState, int]]:
        """Jobs by state, of those submitted under each of `numbers`; one query."""

    def submitted(self, most: int) -> tuple[Submitted, ...]:
        """The newest `most` jobs, counted by spec, in the order of digests; one query."""

    def close(self) -> None:
        """Commit what waits, end the writer."""


class Maintenance(Protocol):
    """What the composition root does around a store, not part of the conformance of commands."""

    def forget(self, jobs: Iterable[JobId]) -> int:
        """Delete terminal jobs and all that is kept about them. Returns how many."""

    def backup(self, to: str) -> None:
        """A consistent copy while others write."""

    def check(self) -> list[str]:
        """What is wrong inside, in words; empty if nothing is (replay of all events included)."""


AnyUnit = Unit[Any]
