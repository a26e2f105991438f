"""The world as the planner sees it: columns for what is many, small tables for the rest.

Built by `control.planner` from the store's rows, then kept current by deltas since `seq`: loading
costs more than planning, so it happens once. Jobs are named by their id's integer key, classes and
queues by their place in a table that only grows. Pure values. Cost of `columns`: O(rows).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zenkei.model.cluster import Node
from zenkei.model.queue import ClusterConfig, PastUsage
from zenkei.model.resources import DeviceShare, Request
from zenkei.scheduler.free import HeldPart

if TYPE_CHECKING:
    from zenkei.scheduler.placement import Learned

IntArray: TypeAlias = NDArray[np.int64]
WORTH: Final = 1e-9
"""What one of `WaitingJob.worth` counts, in jobs per second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobClass:
    """All that decides where a job can run. Jobs of one class are alike to the planner.

    constraints: allowed values by label, sorted by label (a dict would not hash). avoid: nodes that
    failed it, sorted. prefer: nodes where it ran before, in rank order: taken first where they fit.
    least: a gang that may be smaller takes at least so many nodes, `nodes` at most; 0: exactly
    `nodes`. level: all nodes of the gang in one domain of this level, such as `rack`; empty:
    anywhere. required: rather wait than spread over several domains of that level.
    """

    request: Request
    nodes: int = 1
    least: int = 0
    level: str = ""
    required: bool = False
    constraints: tuple[tuple[str, tuple[str, ...]], ...] = ()
    avoid: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        request: Request,
        nodes: int,
        constraints: Mapping[str, tuple[str, ...]],
        *,
        avoid: Iterable[str] = (),
        prefer: Iterable[str] = (),
        least: int = 0,
        level: str = "",
        required: bool = False,
    ) -> JobClass:
        return cls(
            request=request,
            nodes=nodes,
            least=least if least < nodes else 0,
            level=level,
            required=required,
            constraints=tuple(sorted(constraints.items())),
            avoid=tuple(sorted(set(avoid))),
            prefer=tuple(prefer),
        )

    @property
    def fewest(self) -> int:
        """Nodes without which it does not start."""
        return self.least or self.nodes


class WaitingJob(NamedTuple):
    """One job that waits. job: its id's key; job_class, queue, user: places in the tables.

    limit_us: how long it runs at most, once started; 0: it has no limit. likely_us: what it rarely
    exceeds, by what was learned of others; 0: nothing was. worth: how fast jobs would end by
    serving it (its Gittins index), in WORTH of a job per second. served_us: what earlier attempts
    did of it: that is no waiting.
    """

    job: int
    job_class: int
    queue: int
    priority: int
    submitted_us: int
    not_before_us: int = 0
    user: int = 0
    limit_us: int = 0
    likely_us: int = 0
    worth: int = 0
    served_us: int = 0


class WaitingColumns(NamedTuple):
    """Fields of `WaitingJob`, each `[J]`, read-only."""

    job: IntArray
    job_class: IntArray
    queue: IntArray
    priority: IntArray
    submitted_us: IntArray
    not_before_us: IntArray
    user: IntArray
    limit_us: IntArray
    likely_us: IntArray
    worth: IntArray
    served_us: IntArray


class RunningJob(NamedTuple):
    """One job that holds an allocation. job_class, queue, user: places in the tables.

    since_us: when it got it. saved_us: up to when its work is safe (its newest checkpoint), at
    least since_us. limit_us: as in `WaitingJob`. preemptions: within the last hour. stopping: 1 if
    its attempt is already on its way out. nodes: how many it runs on. likely_end_us: by when it has
    ended, by what was learned of others; 0: nothing was. worth: as in `WaitingJob`, now, raised by
    how long it has waited (`worth.aged`).
    """

    job: int
    job_class: int
    queue: int
    user: int
    priority: int
    since_us: int
    saved_us: int
    limit_us: int = 0
    preemptions: int = 0
    stopping: int = 0
    nodes: int = 1
    likely_end_us: int = 0
    worth: int = 0


class RunningColumns(NamedTuple):
    """Fields of `RunningJob`, each `[R]`, read-only."""

    job: IntArray
    job_class: IntArray
    queue: IntArray
    user: IntArray
    priority: IntArray
    since_us: IntArray
    saved_us: IntArray
    limit_us: IntArray
    preemptions: IntArray
    stopping: IntArray
    nodes: IntArray
    likely_end_us: IntArray
    worth: IntArray

    def rows(self) -> Iterator[RunningJob]:
        return map(RunningJob, *(column.tolist() for column in self))


class Claim(NamedTuple):
    """Parts that are kept free for a waiting job whose victims are still stopping.

    job: its id's key. It may start on these parts; nobody else may use what they cover, until
    `until_us` or until it starts.
    """

    job: int
    parts: tuple[HeldPart, ...]
    until_us: int


class HeldColumns(NamedTuple):
    """Parts that jobs hold. job, node (place in `names`), cpu_milli, ...: `[P]`.

    Devices of part p: those in `device`, `milli` (`[D]`) from `devices_from[p]` (`[P + 1]`) on.
    names may have nodes that are not in the snapshot: a lost one returns with what is held on it.
    """

    names: tuple[str, ...]
    job: IntArray
    node: IntArray
    cpu_milli: IntArray
    memory_bytes: IntArray
    tmp_bytes: IntArray
    devices_from: IntArray
    device: IntArray
    milli: IntArray

    def rows(self) -> Iterator[HeldPart]:
        shares = list(map(DeviceShare, self.device.tolist(), self.milli.tolist()))
        start = self.devices_from.tolist()
        sizes = (self.job, self.node, self.cpu_milli, self.memory_bytes, self.tmp_bytes)
        for p, (job, node, cpu, memory, tmp) in enumerate(
            zip(*(column.tolist() for column in sizes), strict=True)
        ):
            devices = tuple(shares[start[p] : start[p + 1]])
            yield HeldPart(job, self.names[node], cpu, memory, tmp, devices)


def waiting_columns(jobs: Iterable[WaitingJob]) -> WaitingColumns:
    return WaitingColumns(*_columns(list(jobs), len(WaitingJob._fields)))


def running_columns(jobs: Iterable[RunningJob]) -> RunningColumns:
    return RunningColumns(*_columns(list(jobs), len(RunningJob._fields)))


def held_columns(parts: Iterable[HeldPart]) -> HeldColumns:
    rows = list(parts)
    place = {name: i for i, name in enumerate(dict.fromkeys(part.node for part in rows))}
    job, node, cpu, memory, tmp = _columns([(p.job, place[p.node], *p[2:5]) for p in rows], 5)
    device, milli = _columns([share for part in rows for share in part.devices], 2)
    counts = np.cumsum([0, *(len(part.devices) for part in rows)], dtype=np.int64)
    return HeldColumns(
        names=tuple(place),
        job=job,
        node=node,
        cpu_milli=cpu,
        memory_bytes=memory,
        tmp_bytes=tmp,
        devices_from=_read_only(counts),
        device=device,
        milli=milli,
    )


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> list[IntArray]:
    # flat first: numpy takes three times as long for a list of tuples
    flat = np.fromiter(chain.from_iterable(rows), np.int64, len(rows) * width)
    table = flat.reshape(len(rows), width)
    return [_read_only(np.ascontiguousarray(table[:, i])) for i in range(width)]


def _read_only(column: IntArray) -> IntArray:
    column.flags.writeable = False
    return column


_NO_JOBS = waiting_columns(())
_NO_PARTS = held_columns(())
_NO_RUNNING = running_columns(())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Snapshot:
    """Everything that a plan depends on but the time.

    queues, users: names by place. config: what the operator wants. paused: why nothing may start,
    or empty. running: of each job that holds parts. usage: of the past, by queue and user. learned:
    for placement, from the requests that came. mean_us: of the runs of all jobs that ended; 0: of
    none.
    """

    seq: int = 0
    config: ClusterConfig = ClusterConfig()
    classes: tuple[JobClass, ...] = ()
    queues: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    waiting: WaitingColumns = _NO_JOBS
    held: HeldColumns = _NO_PARTS
    running: RunningColumns = _NO_RUNNING
    usage: tuple[PastUsage, ...] = ()
    claims: tuple[Claim, ...] = ()
    learned: Learned | None = None
    mean_us: int = 0
    paused: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """What changed up to `seq`.

    changed: keys of jobs of which all that was known is forgotten before `waiting` and `held` are
    entered, `running` and `claims` too. classes, queues, users: appended to the tables. usage:
    replaces that of its (queue, user). config, learned, paused: None leaves it as it is.
    """

    seq: int
    classes: tuple[JobClass, ...] = ()
    queues: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    changed: tuple[int, ...] = ()
    waiting: tuple[WaitingJob, ...] = ()
    held: tuple[HeldPart, ...] = ()
    running: tuple[RunningJob, ...] = ()
    usage: tuple[PastUsage, ...] = ()
    claims: tuple[Claim, ...] = ()
    config: ClusterConfig | None = None
    nodes: tuple[Node, ...] = ()
    removed_nodes: tuple[str, ...] = ()
    learned: Learned | None = None
    mean_us: int = 0
    paused: str | None = field(default=None)
