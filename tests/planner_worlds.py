"""Worlds for the planner: nodes, waiting jobs, what is held; random ones, and how they change.

`World.step` changes the world and says what changed as the delta that a keeper would pass on;
`World.snapshot` is the same world from scratch, its tables in another order. `brute_force` is the
planner's policy written down by trying every node for every job: slow, and short enough to trust.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import TypeVar

from tests.planner_gangs import Able, gang
from zenkei.model.cluster import Node, NodePart, NodeState
from zenkei.model.ids import JobId
from zenkei.model.instants import is_ahead
from zenkei.model.queue import ClusterConfig, Order, Policy
from zenkei.model.resources import (
    Capacity,
    Device,
    DeviceShare,
    Free,
    Misfit,
    Request,
    could_fit,
    matches,
)
from zenkei.scheduler import (
    Delta,
    HeldPart,
    JobClass,
    Plan,
    Snapshot,
    Start,
    WaitingJob,
    check,
    held_columns,
    waiting_columns,
)
from zenkei.scheduler.free import left_of

GIB = 1 << 30
SECOND = 1_000_000
IN_LINE = Policy(order=Order.FIFO, reserve_gangs=0, preempt=False)
"""One line for all: priority, then submission. That is what `brute_force` tries."""
LEVELS = ("row", "rack")
T = TypeVar("T")


def node(
    name: str,
    *,
    cpus: int = 8,
    memory_gib: int = 64,
    gpus: Iterable[str] | int = 0,
    cluster: str = "local",
    state: NodeState = NodeState.READY,
    blocked: tuple[int, ...] = (),
    labels: dict[str, str] | None = None,
    topology: tuple[str, ...] = (),
) -> Node:
    kinds = ["A100"] * gpus if isinstance(gpus, int) else list(gpus)
    return Node(
        name=name,
        cluster=cluster,
        capacity=Capacity(
            cpu_milli=cpus * 1000,
            memory_bytes=memory_gib * GIB,
            tmp_bytes=100 * GIB,
            devices=tuple(Device(index=i, kind=kind) for i, kind in enumerate(kinds)),
        ),
        labels=labels or {},
        topology=topology,
        state=state,
        blocked=blocked,
    )


def ask(
    *,
    cpus: float = 1,
    memory_gib: float = 1,
    gpus: float = 0,
    gpu_type: tuple[str, ...] = (),
    nodes: int = 1,
    avoid: tuple[str, ...] = (),
    prefer: tuple[str, ...] = (),
    least: int = 0,
    level: str = "",
    required: bool = False,
    **constraints: tuple[str, ...],
) -> JobClass:
    share = 0 < gpus < 1
    return JobClass.of(
        Request(
            cpu_milli=int(cpus * 1000),
            memory_bytes=int(memory_gib * GIB),
            gpu_count=1 if share else int(gpus),
            gpu_milli=round(gpus * 1000) if share else 1000 * bool(gpus),
            gpu_kinds=gpu_type,
        ),
        nodes,
        constraints,
        avoid=avoid,
        prefer=prefer,
        least=least,
        level=level,
        required=required,
    )


class World:
    """See the module's docstring. Jobs are entered by `submit`, in order of their numbers."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = {one.name: one for one in nodes}
        self.classes: list[JobClass] = []
        self.waiting: dict[int, WaitingJob] = {}
        self.held: dict[int, list[HeldPart]] = {}
        self.paused = ""
        self.levels = LEVELS
        self.seq = 1
        self._given = 0
        self._numbers = 0
        self._changed: dict[int, None] = {}

    def submit(
        self,
        job_class: JobClass,
        *,
        priority: int = 0,
        not_before_us: int = 0,
        at_us: int = -1,
        queue: int = 0,
    ) -> JobId:
        """One more job of a class. at_us: when it was submitted, by default after all others."""
        self._numbers += 1
        job = JobId(self._numbers)
        if job_class not in self.classes:
            self.classes.append(job_class)
        place = self.classes.index(job_class)
        at_us = self._numbers if at_us < 0 else at_us
        self.waiting[job.key] = WaitingJob(job.key, place, queue, priority, at_us, not_before_us)
        self._changed[job.key] = None
        return job

    def hold(self, *parts: HeldPart) -> None:
        for part in parts:
            self.held.setdefault(part.job, []).append(part)
            self._changed[part.job] = None

    def class_of(self, job: JobId) -> JobClass:
        return self.classes[self.waiting[job.key].job_class]

    def snapshot(self, rng: Random | None = None) -> Snapshot:
        """rng: orders the tables and rows at will, as another history would have."""
        order = list(range(len(self.classes)))
        rows = list(self.waiting.values())
        parts = [part for held in self.held.values() for part in held]
        nodes = list(self.nodes.values())
        if rng is not None:
            for some in (order, rows, parts, nodes):
                rng.shuffle(some)
        place = {old: new for new, old in enumerate(order)}
        return Snapshot(
            seq=self.seq,
            config=ClusterConfig(levels=self.levels, policy=IN_LINE),
            classes=tuple(self.classes[old] for old in order),
            queues=("default", "other"),
            nodes=tuple(nodes),
            waiting=waiting_columns(r._replace(job_class=place[r.job_class]) for r in rows),
            held=held_columns(parts),
            paused=self.paused,
        )

    def delta(self, nodes: tuple[Node, ...] = (), removed: tuple[str, ...] = ()) -> Delta:
        """What changed since the last delta."""
        self.seq += 1
        changed, self._changed = tuple(self._changed), {}
        new, self._given = self.classes[self._given :], len(self.classes)
        return Delta(
            seq=self.seq,
            classes=tuple(new),
            changed=changed,
            waiting=tuple(self.waiting[job] for job in changed if job in self.waiting),
            held=tuple(part for job in changed for part in self.held.get(job, ())),
            nodes=nodes,
            removed_nodes=removed,
            paused=self.paused,
        )

    def given(self) -> World:
        """Everything up to now is known to the planner: deltas start here."""
        self._given, self._changed = len(self.classes), {}
        return self

    # -- what happens ----------------------------------------------------------------------------
    def start(self, plan: Plan) -> None:
        """What the plan says comes true."""
        for start in plan.decisions:
            assert isinstance(start, Start)
            del self.waiting[start.job.key]
            self.hold(*(held(start.job, part) for part in start.parts))

    def end(self, job: int) -> None:
        del self.held[job]
        self._changed[job] = None

    def cancel(self, job: int) -> None:
        del self.waiting[job]
        self._changed[job] = None

    def requeue(self, job: int, not_before_us: int) -> None:
        """A running job comes back, as a job of any class."""
        self.end(job)
        place = job % len(self.classes)
        self.waiting[job] = WaitingJob(job, place, 0, 0, JobId.from_key(job).number, not_before_us)


def held(job: JobId, part: NodePart) -> HeldPart:
    r = part.request
    return HeldPart(job.key, part.node, r.cpu_milli, r.memory_bytes, r.tmp_bytes, part.devices)


# -- chance --------------------------------------------------------------------------------------
KINDS = ("A100", "H100", "T4")


def random_node(rng: Random, name: str) -> Node:
    count = rng.choice((0, 0, 1, 2, 4, 8))
    mixed = rng.random() < 0.15
    kind = rng.choice(KINDS)
    kinds = [rng.choice(KINDS) if mixed else kind for _ in range(count)]
    blocked = (rng.randrange(count),) if count and rng.random() < 0.1 else ()
    return node(
        name,
        cpus=rng.choice((4, 8, 16)),
        memory_gib=rng.choice((8, 32)),
        gpus=kinds,
        cluster=rng.choice(("east", "west", "west")),
        state=rng.choice((*[NodeState.READY] * 6, NodeState.DRAINING, NodeState.DOWN)),
        blocked=blocked,
        labels={"rack": rng.choice("ab"), "host": name} if rng.random() < 0.7 else {},
        topology=tuple(rng.choice(("x", "y")) for _ in range(rng.choice((0, 1, 2, 2, 2)))),
    )


def random_class(rng: Random) -> JobClass:
    gpus = _rarely(rng, 16, (0, 0, 0.1, 0.25, 0.5, 0.7, 1, 1, 2, 4, 8))
    constraints: dict[str, tuple[str, ...]] = {}
    if rng.random() < 0.2:
        constraints["rack"] = rng.choice((("a",), ("b",), ("a", "b"), ("c",)))
    nodes = _rarely(rng, 9, (1, 1, 1, 1, 2, 3, 4))
    return ask(
        cpus=_rarely(rng, 12, (0.5, 1, 2, 4)),
        memory_gib=_rarely(rng, 40, (1, 4, 7, 16)),
        gpus=gpus,
        gpu_type=_rarely(rng, ("B200",), ((), (), ("A100",), ("T4", "H100"))) if gpus else (),
        nodes=nodes,
        least=rng.choice((0, 0, 0, 1, 2)),
        level=rng.choice(("", "", "row", "rack", "hall")) if nodes > 1 else "",
        required=rng.random() < 0.4,
        avoid=_some_nodes(rng),
        prefer=_some_nodes(rng),
        **constraints,
    )


def _some_nodes(rng: Random) -> tuple[str, ...]:
    if rng.random() < 0.7:
        return ()
    return tuple(rng.sample([f"n{i}" for i in range(12)], rng.choice((1, 1, 2, 3, 8))))


def _rarely(rng: Random, rare: T, usual: tuple[T, ...]) -> T:
    return rare if rng.random() < 0.04 else rng.choice(usual)


def random_world(rng: Random, nodes: int = 8, jobs: int = 20) -> World:
    world = World(*(random_node(rng, f"n{i}") for i in range(nodes)))
    for _ in range(jobs):
        random_submit(rng, world, now_us=0)
    return world


def random_submit(rng: Random, world: World, now_us: int) -> None:
    known = world.classes and rng.random() < 0.5
    world.submit(
        rng.choice(world.classes) if known else random_class(rng),
        priority=rng.choice((0, 0, 0, 5, -5)),
        not_before_us=rng.choice((0, 0, 0, now_us + rng.randrange(3 * SECOND))),
        at_us=rng.randrange(1000),
        queue=rng.choice((0, 0, 1)),
    )


def random_step(rng: Random, world: World, now_us: int) -> Delta:
    """Something of everything that can happen, as one delta."""
    for job in list(world.held):
        chance = rng.random()
        if chance < 0.3:
            world.end(job)
        elif chance < 0.35:
            world.requeue(job, now_us + rng.randrange(2 * SECOND))
    for job in list(world.waiting):
        if rng.random() < 0.1:
            world.cancel(job)
    for _ in range(rng.randrange(7)):
        random_submit(rng, world, now_us)
    changed, removed = _random_nodes(rng, world)
    world.paused = "disk full" if rng.random() < 0.05 else ""
    return world.delta(changed, removed)


def _random_nodes(rng: Random, world: World) -> tuple[tuple[Node, ...], tuple[str, ...]]:
    changed, removed = [], []
    for name in list(world.nodes):
        chance = rng.random()
        if chance < 0.03:
            removed.append(name)
            del world.nodes[name]
        elif chance < 0.13:
            states = [NodeState.READY, NodeState.READY, *NodeState]
            changed.append(replace(world.nodes[name], state=rng.choice(states)))
        elif chance < 0.16:
            changed.append(random_node(rng, name))
    absent = [n for n in (f"n{i}" for i in range(12)) if n not in (*world.nodes, *removed)]
    changed += [random_node(rng, name) for name in absent if rng.random() < 0.1]
    world.nodes |= {one.name: one for one in changed}
    return tuple(changed), tuple(removed)


# -- the policy, by trying everything ------------------------------------------------------------
def brute_force(world: World, now_us: int, max_starts: int) -> tuple[Start, ...]:
    free = free_now(world)
    starts: list[Start] = []
    in_line = sorted(world.waiting.values(), key=lambda r: (-r.priority, r.submitted_us, r.job))
    for row in in_line:
        if world.paused or len(starts) == max_starts:
            break
        if is_ahead(row.not_before_us, now_us):
            continue
        start = _try(world, free, row)
        if start is not None:
            starts.append(start)
            for part in start.parts:
                free[part.node].take(part.request, part.devices)
    return tuple(starts)


def free_now(world: World) -> dict[str, Free]:
    parts = [part for held in world.held.values() for part in held]
    return {
        name: left_of(one, (part for part in parts if part.node == name))
        for name, one in world.nodes.items()
    }


def avoided(world: World, wanted: JobClass) -> tuple[str, ...]:
    """Nodes that a class does not take: none of those it avoids if too few others could do."""
    others = Counter(
        one.cluster
        for one in world.nodes.values()
        if one.name not in wanted.avoid
        and one.state in (NodeState.READY, NodeState.SUSPECT, NodeState.PROBING)
        and matches(one.labels, dict(wanted.constraints))
        and could_fit(one.capacity, wanted.request) is None
    )
    return wanted.avoid if max(others.values(), default=0) >= (wanted.least or wanted.nodes) else ()


def _try(world: World, free: dict[str, Free], row: WaitingJob) -> Start | None:
    wanted = world.classes[row.job_class]
    avoid = avoided(world, wanted)
    where: dict[str, dict[str, tuple[Able, tuple[DeviceShare, ...]]]] = {}
    for name, one in world.nodes.items():
        devices = check(one, free[name], wanted.request, dict(wanted.constraints), avoid)
        if not isinstance(devices, Misfit):
            rating = (name in wanted.avoid, *_rating(one, free[name], devices))
            able = Able(rating, _tight(free[name]), (one.topology, name))
            where.setdefault(one.cluster, {})[name] = (able, devices)
    found = []
    for cluster, fitting in sorted(where.items()):
        wished = wanted.prefer[: wanted.nodes]
        kept = [n if n in fitting and n not in wanted.avoid else "" for n in wished]
        kept += [""] * (wanted.nodes - len(kept))
        names = _join({name: able for name, (able, _) in fitting.items()}, kept, world, wanted)
        if len(names) >= (wanted.least or wanted.nodes):
            parts = tuple(
                NodePart(node=n, request=wanted.request, devices=fitting[n][1]) for n in names
            )
            short = wanted.nodes - len(names)
            found.append((bool(short), short, kept.count(""), cluster, parts))
    if not found:
        return None
    *_, cluster, parts = min(found, key=lambda one: one[:4])
    forgives = bool(wanted.avoid) and not avoid
    return Start(job=JobId.from_key(row.job), cluster=cluster, parts=parts, forgives=forgives)


def _join(fitting: dict[str, Able], kept: list[str], world: World, wanted: JobClass) -> list[str]:
    """The nodes by rank. kept: by rank, those of the last attempt, or empty."""
    depth = None
    if wanted.required and wanted.nodes > 1:
        depth = world.levels.index(wanted.level) + 1 if wanted.level in world.levels else 99
        paths = {fitting[n].path[:depth] for n in kept if n}
        if len(paths) > 1 or any(len(path) < depth for path in paths):
            kept = [""] * wanted.nodes
    beside = [fitting[name].place for name in kept if name]
    others = [able for name, able in fitting.items() if name not in kept]
    best = iter(gang(others, kept.count(""), depth, beside) if "" in kept else ())
    names = [n for n in (name or next(best, "") for name in kept) if n]
    if depth and beside and len(names) < wanted.nodes:
        anew = _join(fitting, [""] * wanted.nodes, world, wanted)
        return anew if len(anew) > len(names) else names
    return names


def _rating(one: Node, free: Free, devices: tuple[DeviceShare, ...]) -> tuple[int, ...]:
    left_over = sum(free.gpu_milli[index] - milli for index, milli in devices)
    return left_over, bool(one.capacity.devices), sum(free.gpu_milli)


def _tight(free: Free) -> tuple[int, ...]:
    return free.cpu_milli, free.memory_bytes >> 20, free.tmp_bytes >> 30
