"""The tree of queues as people see it: what each is promised, what it holds, who waits there.

Called by the route of `zenkei queue tree`. Everybody may see it; it names no job. Cost: O(jobs that
run + queues x depth), and one count of unfinished jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zenkei.control.clusterwarnings import machines
from zenkei.model.access import Principal
from zenkei.model.clusterlog import in_force
from zenkei.model.job import ALLOCATED, WAITING, JobState
from zenkei.model.queue import ROOT, ClusterConfig, Queue
from zenkei.ports.store import Store
from zenkei.spec.cluster_build import parts, quotas


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueView:
    """One queue with all that is inside. depth: 0 for the widest ones. leaf: jobs can wait here.

    quota, cap, held, borrowed: amounts by resource (`gpus`, `gpus.A100`, `cpus`: thousandths;
    `memory`: bytes). quota: its own, else that of those inside. borrowed: held beyond the quota.
    share_milli: of the cluster, in thousandths: the largest over CPUs, memory and GPUs.
    paused: why nothing starts from it; closed: the queue around it that is paused.
    """

    queue: Queue
    depth: int = 0
    leaf: bool = True
    quota: Mapping[str, int] = field(default_factory=dict)
    cap: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    borrowed: Mapping[str, int] = field(default_factory=dict)
    share_milli: int = 0
    waiting: int = 0
    running: int = 0
    closed: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeView:
    """All queues, each before those inside it. total: of the cluster. paused: all starts."""

    queues: tuple[QueueView, ...]
    total: Mapping[str, int]
    paused: str = ""
    configured: bool = False


class QueueTree:
    """See the module's docstring."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def show(self, principal: Principal) -> TreeView:
        """Without configured queues: those that have jobs."""
        record = self._store.cluster()
        config = ClusterConfig()
        if record is not None:
            config = in_force(record.config, record.switches)
        counts = self._store.queues()
        held = self._held()
        total = machines(self._store.nodes())
        names = [queue.name for queue in config.queues]
        strange = sorted({*counts, *held} - set(names))
        queues = [*config.queues, *(Queue(name=name) for name in strange)]
        return TreeView(
            queues=_views(queues, counts, held, total, configured=bool(config.queues)),
            total=total,
            paused=config.paused,
            configured=bool(config.queues),
        )

    def _held(self) -> dict[str, dict[str, int]]:
        """By queue: what its running jobs hold."""
        allocations = self._store.allocations()
        rows = self._store.rows_of([held.attempt.job for held in allocations])
        kinds = {
            node.name: {device.index: device.kind for device in node.capacity.devices}
            for node in self._store.nodes()
        }
        found: dict[str, dict[str, int]] = {}
        for allocation in allocations:
            row = rows.get(allocation.attempt.job)
            sums = found.setdefault(row.queue if row is not None else "", {})
            for part in allocation.parts:
                _add(sums, "cpus", part.request.cpu_milli)
                _add(sums, "memory", part.request.memory_bytes)
                for share in part.devices:
                    _add(sums, "gpus", share.milli)
                    kind = kinds.get(part.node, {}).get(share.index, "")
                    _add(sums, f"gpus.{kind}", share.milli)
        return found


def _views(
    queues: list[Queue],
    counts: Mapping[str, Mapping[JobState, int]],
    held: dict[str, dict[str, int]],
    total: Mapping[str, int],
    *,
    configured: bool,
) -> tuple[QueueView, ...]:
    by_name = {queue.name: queue for queue in queues}
    inner = {queue.parent for queue in queues}
    promised = quotas(queues)
    waiting = {name: _number(states, WAITING) for name, states in counts.items()}
    running = {name: _number(states, ALLOCATED) for name, states in counts.items()}
    for queue in reversed(queues):  # what is inside comes after: it is summed up first
        if queue.parent != ROOT:
            for resource, amount in held.get(queue.name, {}).items():
                _add(held.setdefault(queue.parent, {}), resource, amount)
            _add(waiting, queue.parent, waiting.get(queue.name, 0))
            _add(running, queue.parent, running.get(queue.name, 0))
    found = []
    for queue in queues:
        around = _around(queue, by_name)
        has = held.get(queue.name, {})
        quota = promised[queue.name]
        found.append(
            QueueView(
                queue=queue,
                depth=len(around),
                leaf=queue.name not in inner,
                quota=quota,
                cap=parts(queue.cap),
                held=has,
                borrowed=_beyond(has, quota) if configured else {},
                share_milli=_share(has, total),
                waiting=waiting.get(queue.name, 0),
                running=running.get(queue.name, 0),
                closed=next((one.name for one in around if one.paused), ""),
            )
        )
    return tuple(found)


def _around(queue: Queue, by_name: Mapping[str, Queue]) -> list[Queue]:
    """Those that it is inside of, the nearest first."""
    found = []
    at = by_name.get(queue.parent)
    while at is not None:
        found.append(at)
        at = by_name.get(at.parent)
    return found


def _share(held: Mapping[str, int], total: Mapping[str, int]) -> int:
    sizes = [(held.get(name, 0), total.get(name, 0)) for name in ("cpus", "memory", "gpus")]
    return max((1000 * has // all_ for has, all_ in sizes if all_), default=0)


def _beyond(held: Mapping[str, int], quota: Mapping[str, int]) -> dict[str, int]:
    """What is held of each resource beyond the quota; without one: all of it."""
    return {r: n - quota.get(r, 0) for r, n in held.items() if n > quota.get(r, 0)}


def _number(states: Mapping[JobState, int], wanted: frozenset[JobState]) -> int:
    return sum(number for state, number in states.items() if state in wanted)


def _add(sums: dict[str, int], name: str, amount: int) -> None:
    sums[name] = sums.get(name, 0) + amount
