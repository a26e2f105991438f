"""Whom a waiting gang may displace, and the cheapest set of jobs whose end makes it fit.

Called by `planner` for a gang that did not fit: `Occupancy` once per plan, then `victims` for each
such gang. Pure. The answer is whole jobs, a `Hold` on the place that they leave, or nobody: nothing
is displaced unless the whole gang fits afterwards, and nobody whose place is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.model.queue import Amounts, Policy, Queue
from zenkei.model.resources import Free
from zenkei.scheduler.decisions import Hold, Preempt
from zenkei.scheduler.free import HeldPart
from zenkei.scheduler.reasons import Reason
from zenkei.scheduler.snapshot import JobClass, RunningJob

HOLD_S: Final = 600.0
"""How long a place is kept for a job whose victims are stopping; it is renewed while they are."""


class Quotas(Protocol):
    """What preemption asks of the tree of queues. Queues are places in the planner's table."""

    def path(self, queue: int) -> Sequence[int]:
        """The leaf `queue` first, then those above it; the root is left out."""
        ...

    def rules(self, queue: int) -> Queue:
        """Its `within` and `reclaim` are read."""
        ...

    def quota(self, queue: int) -> Amounts:
        """What is guaranteed to it and those below it (the sum of theirs if it states none).

        None where there is no guarantee.
        """
        ...

    def held(self, queue: int) -> Amounts:
        """By jobs below it: those that run, are stopping, were started in this very plan, or have a

        claim (`Hold`). Every amount is said; kinds without any may be left out.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Asker:
    """The gang that waits. job_class: as it is placed (nodes that are forgiven are not in `avoid`).

    A gang that may be smaller (`least`) displaces others for its least size only.
    """

    job: JobId
    job_class: JobClass
    queue: int
    priority: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Displacement:
    """What is to be done for the asker. preempts: in the order of their ids.

    Without any, jobs that are stopping already leave enough. hold: the place, with its devices.
    cost_gpu_milli_s: what all of them lose, their restarts included.
    """

    preempts: tuple[Preempt, ...]
    hold: Hold
    cost_gpu_milli_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Spared:
    """It would fit if jobs were displaced that are protected for now.

    again_us: when asking again may help; None: nobody knows.
    """

    reason: Reason
    again_us: int | None


class Occupancy:
    """Who holds what on the nodes: made once per plan, told of the victims chosen since (`stop`).

    nodes: all of them, those that take no work too. parts: by node, of all jobs that hold any.
    running: what is known of each of those; a job without an entry cannot be displaced.
    Cost: O(parts).
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        parts: Mapping[str, Iterable[HeldPart]],
        running: Mapping[int, RunningJob],
    ) -> None:
        raise NotImplementedError

    def stop(self, jobs: Iterable[JobId]) -> None:
        """These were chosen as victims: what they hold comes free, they are not asked again."""
        raise NotImplementedError


def victims(
    asker: Asker,
    occupancy: Occupancy,
    free: Callable[[str], Free],
    quotas: Quotas,
    policy: Policy,
    *,
    now_us: int,
    levels: Sequence[str] = (),
) -> Displacement | Spared | None:
    """The cheapest jobs to displace for `asker`; None: it has no right over enough of them.

    free: by node, what is left now, after everything that the plan has given away and kept for
    others (claims count as taken, also where what they keep is still held: below zero is right).
    levels: `ClusterConfig.levels`. Not to be called for a job whose claim is in force.
    """
    raise NotImplementedError
