"""The world as the planner sees it: columns for what is many, small tables for the rest.

Built by `control.planner` from the store's rows, then kept current by deltas since `seq`: loading
costs more than planning, so it happens once. Jobs are named by their id's integer key, classes and
queues by their place in a table that only grows. Pure values. Cost of `columns`: O(rows).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zenkei.model.cluster import Node
from zenkei.model.resources import DeviceShare, Request
from zenkei.scheduler.free import HeldPart

IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobClass:
    """All that decides where a job can run. Jobs of one class are alike to the planner.

    constraints: allowed values by label, sorted by label (a dict would not hash). avoid: nodes that
    failed it, sorted. prefer: nodes where it ran before, in rank order: taken first where they fit.
    """

    request: Request
    nodes: int = 1
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
    ) -> JobClass:
        return cls(
            request=request,
            nodes=nodes,
            constraints=tuple(sorted(constraints.items())),
            avoid=tuple(sorted(set(avoid))),
            prefer=tuple(prefer),
        )


class WaitingJob(NamedTuple):
    """One job that waits. job: its id's key; job_class, queue: places in the tables."""

    job: int
    job_class: int
    queue: int
    priority: int
    submitted_us: int
    not_before_us: int = 0


class WaitingColumns(NamedTuple):
    """Fields of `WaitingJob`, each `[J]`, read-only."""

    job: IntArray
    job_class: IntArray
    queue: IntArray
    priority: IntArray
    submitted_us: IntArray
    not_before_us: IntArray


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
    table = np.array(rows, dtype=np.int64).reshape(len(rows), width)
    return [_read_only(np.ascontiguousarray(table[:, i])) for i in range(width)]


def _read_only(column: IntArray) -> IntArray:
    column.flags.writeable = False
    return column


_NO_JOBS = waiting_columns(())
_NO_PARTS = held_columns(())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Snapshot:
    """Everything that a plan depends on but the time. paused: why nothing may start, or empty."""

    seq: int = 0
    classes: tuple[JobClass, ...] = ()
    queues: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    waiting: WaitingColumns = _NO_JOBS
    held: HeldColumns = _NO_PARTS
    paused: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """What changed up to `seq`.

    changed: keys of jobs of which all that was known is forgotten before `waiting` and `held` are
    entered. classes, queues: appended to the tables. paused: None leaves it as it is.
    """

    seq: int
    classes: tuple[JobClass, ...] = ()
    queues: tuple[str, ...] = ()
    changed: tuple[int, ...] = ()
    waiting: tuple[WaitingJob, ...] = ()
    held: tuple[HeldPart, ...] = ()
    nodes: tuple[Node, ...] = ()
    removed_nodes: tuple[str, ...] = ()
    paused: str | None = field(default=None)
