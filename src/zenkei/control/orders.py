"""From rows to a launch order. Called by the dispatcher; reads, never writes.

One read unit serves a whole batch of launches: jobs, and what each of them holds on its nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from zenkei.control.checkpoints import resume_point
from zenkei.control.datapins import PinCache
from zenkei.control.specs import SpecCache
from zenkei.model.cluster import Allocation, Node
from zenkei.model.dataset import DatasetPin
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Job, JobSpec, JobState
from zenkei.ports.engine import LaunchOrder, ResumePoint
from zenkei.ports.store import Changes, Reads, Store, Unit, View

SEED_BITS = 31
FAILURES_PER_NODE_DAY = 0.1
"""What is expected of a node until more is known: hardware, network, power and people together.

Kokolis et al., HPCA 2025, section III, measured 0.002 to 0.007 for hardware alone.
"""


@dataclass(frozen=True, slots=True)
class Orders:
    """What launch orders are made of."""

    store: Store
    specs: SpecCache
    pins: PinCache

    def of(self, attempts: Iterable[AttemptId]) -> dict[AttemptId, LaunchOrder]:
        """For those of `attempts` that still hold their allocation and have not been stopped."""
        wanted = tuple(attempts)
        held = {a.attempt: a for a in self.store.allocations_of(wanted)}
        jobs = tuple(dict.fromkeys(attempt.job for attempt in wanted))
        names = tuple(dict.fromkeys(part.node for a in held.values() for part in a.parts))

        def decide(view: View) -> tuple[Changes, tuple[dict[JobId, Job], dict[str, Node]]]:
            rows = {job: row for job in jobs if (row := view.job(job)) is not None}
            nodes = {name: node for name in names if (node := view.node(name)) is not None}
            return Changes(), (rows, nodes)

        unit = Unit(reads=Reads(jobs=jobs, nodes=names), decide=decide)
        rows, nodes = self.store.submit(unit).result()
        orders = {}
        for attempt in wanted:
            row, allocation = rows.get(attempt.job), held.get(attempt)
            if row is not None and allocation is not None and _is_current(row, attempt):
                resume = resume_point(self.store, row.id) if row.step >= 0 else None
                order = _order(row, allocation, nodes, self.specs, resume)
                orders[attempt] = replace(order, data=called(self.pins.get(row.data), order.spec))
        return orders


def called(pins: Iterable[DatasetPin], spec: JobSpec) -> tuple[DatasetPin, ...]:
    """By the names that the job file has for them: an import may have given others."""
    names = {one.at: one.name for one in spec.datasets}
    return tuple(replace(pin, name=names.get(pin.at, pin.name)) for pin in pins)


def _is_current(row: Job, attempt: AttemptId) -> bool:
    launching = row.state in (JobState.STARTING, JobState.RUNNING)
    return row.attempt == attempt.number and launching


def _order(
    row: Job,
    allocation: Allocation,
    nodes: dict[str, Node],
    cache: SpecCache,
    resume: ResumePoint | None,
) -> LaunchOrder:
    spec = cache.get(row.spec)
    return LaunchOrder(
        attempt=allocation.attempt,
        spec=spec,
        nodes=tuple((nodes[part.node], part) for part in allocation.parts),
        params=row.params,
        env=row.env,
        code=row.code,
        seed=seed_of(row, spec.seed),
        project=row.project,
        resume=resume,
        failures_per_day=FAILURES_PER_NODE_DAY * len(allocation.parts),
    )


def seed_of(row: Job, asked: int | None) -> int:
    """The seed that ranks get: the spec's, that of the job it repeats, or one made of the job's id.

    The same on every try. Knuth's multiplicative hash: neighbouring ids get seeds far apart.
    """
    if asked is not None:
        return asked
    if row.seed is not None:
        return row.seed
    return (row.id.key * 2654435761) % (1 << SEED_BITS)
