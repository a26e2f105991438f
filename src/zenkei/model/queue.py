"""Queues, limits, reservations and the scheduling policy: what an operator wants of the cluster.

Read from `cluster.yaml` by `spec`, kept by the store as one versioned `ClusterConfig`, obeyed by
`scheduler`. Queues form a tree by `parent`; jobs wait in leaves only. Names are unique in the tree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

ROOT: Final = ""
"""The parent of the widest queues: the whole cluster."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Amounts:
    """Amounts of resources in a quota or a limit; None: nothing is said about that resource.

    gpu_milli: GPUs of all models, in thousandths. kinds: (model, gpu_milli) pairs, sorted by model.
    """

    cpu_milli: int | None = None
    memory_bytes: int | None = None
    gpu_milli: int | None = None
    kinds: tuple[tuple[str, int], ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is said at all."""
        said = (self.cpu_milli, self.memory_bytes, self.gpu_milli)
        return bool(self.kinds) or any(amount is not None for amount in said)


class Order(StrEnum):
    """Who is next: the queue and the person with the smallest share; the oldest job of all; or
    within a queue the job whose end is nearest for its GPUs, by the run times that were learned.
    """

    FAIR = "fair"
    FIFO = "fifo"
    LEARNED = "learned"


class Within(StrEnum):
    """Whom a waiting job may displace in its own leaf queue."""

    NEVER = "never"
    LOWER_PRIORITY = "lower_priority"


class Reclaim(StrEnum):
    """Whom a queue below its quota may displace among jobs that borrow from others."""

    NEVER = "never"
    LOWER_PRIORITY = "lower_priority"
    ANY = "any"


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """One queue. What is not said is not limited; a resource without quota has no guarantee.

    quota: guaranteed to the queue and those below it; a queue without one has the sum of its
    children's. cap: never more than this. borrow: whether it may use what others leave of theirs;
    borrow_limit: how much beyond the quota. lend_limit: how much of the quota others may use.
    user_cap: the most that one person's jobs may hold here at a time. weight_milli: of its share of
    what is borrowed, in thousandths; 0: borrows only what nobody else wants. priority: of jobs that
    name none. gpu_kinds: models its jobs may use; empty: all. within, reclaim: whom its jobs may
    displace. paused: why nothing starts from it; empty: it is open. order: of the jobs inside;
    None: that of the policy.
    """

    name: str
    parent: str = ROOT
    quota: Amounts = Amounts()
    cap: Amounts = Amounts()
    borrow: bool = True
    borrow_limit: Amounts = Amounts()
    lend_limit: Amounts = Amounts()
    user_cap: Amounts = Amounts()
    weight_milli: int = 1000
    priority: int = 0
    gpu_kinds: tuple[str, ...] = ()
    within: Within = Within.LOWER_PRIORITY
    reclaim: Reclaim = Reclaim.ANY
    paused: str = ""
    order: Order | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """A block of nodes for a time. queues, users: who may use it; neither: nobody (maintenance).

    nodes: names or patterns of them (`n[01-16]`, `rack3-*`). from_us, to_us: microseconds UTC, the
    end excluded. What runs on the nodes at `from_us` is not stopped by it: nothing that could still
    run then is started there before.
    """

    name: str
    nodes: tuple[str, ...]
    from_us: int
    to_us: int
    queues: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    reason: str = ""


class Placement(StrEnum):
    """Where a job goes among the nodes that fit."""

    HOLE_VALUE = "hole_value"
    FGD = "fgd"
    BEST_FIT = "best_fit"
    FIRST_FIT = "first_fit"
    RANDOM = "random"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How the scheduler decides. Times in seconds, shares in thousandths.

    half_life_s: after which past usage counts half. usage_milli: weight of past usage against what
    is held now; 0: the past does not count. ageing_s: waiting that makes up for one step of
    priority; 0: never. preempt: whether running jobs are displaced at all. protect_s: a job that
    has run less is not displaced. most_preemptions: of one job, in an hour. restart_s: what a
    restart is thought to cost each displaced job. backfill: whether later jobs may pass a blocked
    gang. reserve_gangs: blocked gangs whose start is protected. tolerance_s: how much a back-filled
    job may delay one. starvation_s: after which a blocked gang without known end collects nodes;
    collect_gpus_milli: share of all GPUs that such gangs may keep idle at a time.
    """

    order: Order = Order.FAIR
    placement: Placement = Placement.HOLE_VALUE
    half_life_s: float = 7 * 86_400.0
    usage_milli: int = 1000
    ageing_s: float = 6 * 3_600.0
    preempt: bool = True
    protect_s: float = 120.0
    most_preemptions: int = 3
    restart_s: float = 60.0
    backfill: bool = True
    reserve_gangs: int = 16
    tolerance_s: float = 0.0
    starvation_s: float = 1_800.0
    collect_gpus_milli: int = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePlace:
    """Where nodes stand, said by the operator. nodes: names or patterns; topology: widest first."""

    nodes: tuple[str, ...]
    topology: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterConfig:
    """All of `cluster.yaml`. levels: names of the topology's levels, widest first, above the node.

    The first NodePlace that matches a node gives its topology; labels of all that match are joined.
    Without queues every name is an open queue of its own below the root.
    """

    levels: tuple[str, ...] = ()
    places: tuple[NodePlace, ...] = ()
    queues: tuple[Queue, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    policy: Policy = Policy()
    paused: str = ""


class PastUsage(NamedTuple):
    """What jobs of one person in one leaf queue have used, older use counting less.

    Sums of amount x seconds, halved every `Policy.half_life_s`, as of `at_us`; what is held now
    counts beside it from when it was given on: the store adds it here when it is released.
    """

    queue: str
    user: str
    cpu_milli_s: float
    memory_byte_s: float
    gpu_milli_s: float
    at_us: int

    def as_of(self, now_us: int, half_life_s: float) -> PastUsage:
        """The same sums later. A clock that went back changes nothing."""
        if now_us <= self.at_us:
            return self
        left = _left(now_us - self.at_us, half_life_s)
        sums = (self.cpu_milli_s * left, self.memory_byte_s * left, self.gpu_milli_s * left)
        return PastUsage(self.queue, self.user, *sums, now_us)


def counted_s(from_us: int, to_us: int, half_life_s: float) -> float:
    """Seconds of use in a span, as they count at its end: less than it has, never below 0.

    The integral of the decay over the span, so that one long job counts like many short ones.
    """
    if to_us <= from_us or half_life_s <= 0.0:
        return 0.0
    return half_life_s / math.log(2.0) * (1.0 - _left(to_us - from_us, half_life_s))


def _left(age_us: int, half_life_s: float) -> float:
    return 0.5 ** (age_us / 1e6 / half_life_s) if half_life_s > 0.0 else 0.0
