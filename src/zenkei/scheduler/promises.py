"""What the calendar says: when a blocked gang starts at the latest, or which nodes it collects.

Values only. Made by `calendar`, turned into `Reserve` decisions by `planner`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from zenkei.model.queue import Queue, Reservation
from zenkei.scheduler.snapshot import JobClass

NEVER_US: Final = 1 << 62
"""The end of what has no known end."""


class Promise(NamedTuple):
    """A blocked gang fits on `nodes`, in rank order, from `at_us` on, if nothing ends earlier.

    due_us: it starts by then (at_us and the tolerance, never later than an earlier promise said).
    ends_us: when it has ended if it starts at due_us; NEVER_US without a time limit. devices: of a
    share of one GPU, that which is kept on each node; else empty.
    """

    job: int
    wanted: JobClass
    nodes: tuple[str, ...]
    at_us: int
    due_us: int
    ends_us: int
    devices: tuple[int, ...] = ()


class Collecting(NamedTuple):
    """A starving gang whose nodes nobody can date: what falls free on `nodes` is kept for it.

    Nodes are in the order of how much of them is free already; `free` of `wanted.fewest` nodes
    have all of it. idle_gpu_milli: what is kept idle.
    """

    job: int
    wanted: JobClass
    nodes: tuple[str, ...]
    free: int
    idle_gpu_milli: int


class Standing(NamedTuple):
    """A promise of an earlier plan, which this plan must keep: see `Calendar`.

    limit_us: of the job, from its start on; 0: none. devices: as in the promise.
    """

    job: int
    wanted: JobClass
    nodes: tuple[str, ...]
    due_us: int
    limit_us: int = 0
    devices: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Booking:
    """A `Reservation` with the names of the nodes that it takes."""

    of: Reservation
    nodes: frozenset[str]

    def admits(self, ancestry: tuple[str, ...], user: str) -> bool:
        """Whether a job of `user` in a queue with these names (its own, its parents') may in."""
        return user in self.of.users or any(queue in self.of.queues for queue in ancestry)


def ancestries(queues: tuple[Queue, ...]) -> dict[str, tuple[str, ...]]:
    """By queue: its own name and those of all above it, the widest last. Cycles are cut."""
    parents = {queue.name: queue.parent for queue in queues}
    found = {}
    for name in parents:
        line: dict[str, None] = {}
        at = name
        while at and at not in line:
            line[at] = None
            at = parents.get(at, "")
        found[name] = tuple(line)
    return found
