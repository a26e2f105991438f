"""Worlds for the order of jobs: queues, who waits in them, what is held, and a pool to start from.

`QueueWorld.fill` starts whoever `order.Turn` says is next, as long as one big node has it,
so that nothing but the order and the limits decides. `exact_shares` is the static solution that the
order should come to, found by filling levels by bisection: it knows nothing of heaps, stages or
jobs, only what one leaf has at a level and at which level its parents are then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from tests.planner_worlds import node
from zenkei.model.queue import ClusterConfig, Policy, Queue
from zenkei.model.resources import Request
from zenkei.scheduler.line import WaitingLine
from zenkei.scheduler.order import Head, Turn
from zenkei.scheduler.reasons import Reason
from zenkei.scheduler.snapshot import JobClass, WaitingJob
from zenkei.scheduler.tree import Held, QueueTree

T = TypeVar("T")
GIB = 1 << 30
HOUR = 3_600_000_000
STATIC = Policy(usage_milli=0, ageing_s=0)
"""Neither the past nor waiting counts."""
NOW = 1000 * 24 * HOUR


def shape(gpus: float = 1, *, cpus: int = 1, gib: int = 1, nodes: int = 1, least: int = 0,
          kinds: tuple[str, ...] = ()) -> JobClass:  # fmt: skip
    request = Request(
        cpu_milli=cpus * 1000,
        memory_bytes=gib * GIB,
        gpu_count=1 if 0 < gpus < 1 else int(gpus),
        gpu_milli=int(gpus * 1000) if 0 < gpus < 1 else 1000 * bool(gpus),
        gpu_kinds=kinds,
    )
    return JobClass.of(request, nodes, {}, least=least)


class QueueWorld:
    """gpus: how many of each model; their number alone means A100."""

    def __init__(
        self,
        *queues: Queue,
        policy: Policy = STATIC,
        gpus: int | dict[str, int] = 8,
        cpus: int = 1000,
        gib: int = 1000,
    ) -> None:
        models = {"A100": gpus} if isinstance(gpus, int) else gpus
        kinds = [kind for kind, many in models.items() for _ in range(many)]
        self.tree = QueueTree(ClusterConfig(queues=queues, policy=policy))
        self.tree.put_node(node("all", cpus=cpus, memory_gib=gib, gpus=kinds))
        self.line = WaitingLine()
        self.classes: list[JobClass] = []
        self.queues: list[str] = []
        self.users: list[str] = []
        self.pool = [cpus * 1000, gib * GIB, len(kinds) * 1000]
        self.models = {kind: many * 1000 for kind, many in models.items()}
        self.jobs = 0

    @staticmethod
    def place(table: list[T], name: T) -> int:
        if name not in table:
            table.append(name)
        return table.index(name)

    def submit(
        self,
        queue: str,
        wanted: JobClass | None = None,
        times: int = 1,
        *,
        user: str = "ann",
        priority: int = 0,
        at_us: int = NOW,
        limit_us: int = 0,
    ) -> list[int]:
        """Keys of the new jobs."""
        places = (
            self.place(self.classes, wanted or shape()),
            self.place(self.queues, queue),
        )
        person = self.place(self.users, user)
        rows = [
            WaitingJob(self.jobs + i, *places, priority, at_us, 0, person, limit_us)
            for i in range(1, times + 1)
        ]
        self.jobs += times
        self.line.enter(rows)
        return [row.job for row in rows]

    def hold(
        self, queue: str, held: JobClass, *, user: str = "ann", since_us: int = NOW, kind: str = ""
    ) -> int:
        """A job that runs already."""
        self.jobs += 1
        amounts = Held.of(held, held.nodes)
        if kind:
            amounts = amounts._replace(kinds=((kind, amounts.gpu_milli),))
        self.tree.hold(self.jobs, queue, user, amounts, since_us)
        self._take(amounts, kind)
        return self.jobs

    def _take(self, amounts: Held, kind: str) -> None:
        self.pool = [left - taken for left, taken in zip(self.pool, amounts[:3], strict=True)]
        self.models[kind or next(iter(self.models))] -= amounts.gpu_milli

    def give_back(self, amounts: Held) -> None:
        """A job of the first model has ended."""
        self.pool = [left + given for left, given in zip(self.pool, amounts[:3], strict=True)]
        self.models[next(iter(self.models))] += amounts.gpu_milli

    def turn(self, now_us: int = NOW) -> Turn:
        self.line.due(now_us)
        return Turn(self.tree, self.line, self.classes, self.queues, self.users, now_us=now_us)

    def fill(self, turn: Turn | None = None, most: int = 1 << 30) -> list[Head]:
        """Who starts, in order; classes for which the pool has not enough are skipped."""
        turn = turn or self.turn()
        started: list[Head] = []
        while len(started) < most and (head := turn.head()) is not None:
            amounts = Held.of(self.classes[head.job_class], head.nodes)
            could = head.kinds or tuple(self.models)
            fitting = [k for k in could if self.models.get(k, 0) >= amounts.gpu_milli]
            enough = zip(amounts[:3], self.pool, strict=True)
            if fitting and all(asked <= left for asked, left in enough):
                self._take(amounts, fitting[0])
                turn.started(((fitting[0], amounts.gpu_milli),) if amounts.gpu_milli else ())
                started.append(head)
            else:
                turn.skip_class()
        return started

    def names(self, started: Iterable[Head]) -> list[str]:
        return [self.queues[head.queue] for head in started]

    def counts(self, started: Iterable[Head]) -> dict[str, int]:
        names = self.names(started)
        return {queue: names.count(queue) for queue in self.queues}

    def why(self, turn: Turn, queue: str, user: str = "ann", job_class: int = 0) -> Reason | None:
        return turn.why(self.queues.index(queue), self.users.index(user), job_class)


# -- the static solution -------------------------------------------------------------------------
Vector = tuple[float, ...]


@dataclass
class Fluid:
    """A queue to `exact_shares`. each: what a job takes; most: how many jobs wait. quota: GPUs."""

    name: str
    weight: float = 1.0
    quota: float | None = None
    each: Vector = ()
    most: float = 0.0
    children: list[Fluid] = field(default_factory=list)
    nodes: int = 1
    frozen: float | None = None

    def leaves(self) -> list[Fluid]:
        return [leaf for child in self.children for leaf in child.leaves()] or [self]


HIGH = 64.0
"""A level above all that can be reached."""


def exact_shares(root: Fluid, total: Vector) -> dict[str, float]:
    """Jobs of each leaf, in fractions: all levels rise together until a resource is used up."""
    while any(leaf.frozen is None for leaf in root.leaves()):
        level = _highest(lambda at: _fits(_sum(root, at, total), total), -1.0, HIGH)
        used = _sum(root, level, total)
        now = {k: v for child in root.children for k, v in _at(child, level, total).items()}
        for leaf in root.leaves():
            jobs = now[leaf.name]
            tight = any(
                need > 0 and use >= most * (1 - 1e-4)
                for need, use, most in zip(leaf.each, used, total, strict=True)
            )
            if leaf.frozen is None and (tight or jobs >= leaf.most or level >= HIGH / 2):
                leaf.frozen = jobs
    return {leaf.name: leaf.frozen or 0.0 for leaf in root.leaves()}


def _fits(used: Vector, total: Vector) -> bool:
    return all(use <= most * (1 + 1e-9) for use, most in zip(used, total, strict=True))


def _highest(holds: Callable[[float], bool], low: float, high: float) -> float:
    if holds(high):
        return high
    for _ in range(26):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _level(queue: Fluid, used: Vector, total: Vector) -> float:
    """-1 to 0: share of the quota; above: what is borrowed, over the weight."""
    quota = queue.quota
    if quota is not None and used[2] <= quota:
        return used[2] / quota - 1 if quota else 0.0
    share = (quota or 0.0) / total[2]
    return max(max(0.0, u / t - share) for u, t in zip(used, total, strict=True)) / queue.weight


def _vector(leaf: Fluid, jobs: float) -> Vector:
    return tuple(jobs * amount for amount in leaf.each)


def _at(queue: Fluid, level: float, total: Vector) -> dict[str, float]:
    """Jobs of the leaves below a queue that is at `level` among its siblings."""
    if not queue.children:
        if queue.frozen is not None:
            return {queue.name: queue.frozen}
        return {queue.name: min(queue.most, _leaf_at(queue, level, total))}

    def used(inner: float) -> Vector:
        return _sum(queue, inner, total)

    inner = _highest(lambda at: _level(queue, used(at), total) <= level, -1.0, HIGH)
    return {k: v for child in queue.children for k, v in _at(child, inner, total).items()}


def _leaf_at(leaf: Fluid, level: float, total: Vector) -> float:
    """How many jobs a leaf has at a level, however many wait."""
    guaranteed = (leaf.quota or 0.0) / leaf.each[2]
    if level < 0:
        return (1 + level) * guaranteed
    share = (leaf.quota or 0.0) / total[2] + level * leaf.weight
    borrowed = min(share * most / need for need, most in zip(leaf.each, total, strict=True))
    return max(guaranteed, borrowed)


def _sum(queue: Fluid, level: float, total: Vector) -> Vector:
    """What all children of a queue have together when each is at `level`."""
    jobs = {k: v for child in queue.children for k, v in _at(child, level, total).items()}
    by_leaf = [_vector(leaf, jobs[leaf.name]) for leaf in queue.leaves()]
    return tuple(sum(amounts) for amounts in zip(*by_leaf, strict=True))
