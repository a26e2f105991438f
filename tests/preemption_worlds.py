"""Worlds in which a gang may displace others: queues with quotas, jobs that run, and who asks.

`cheapest_of_all` tries every set of jobs: slow, and short enough to trust.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from random import Random

import numpy as np

from tests.planner_worlds import SECOND, ask, node
from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.model.queue import Amounts, Policy, Queue, Reclaim
from zenkei.model.resources import DeviceShare, Free, Misfit
from zenkei.scheduler.decisions import Hold
from zenkei.scheduler.free import HeldPart, check, left_of
from zenkei.scheduler.ledger import rows_of
from zenkei.scheduler.occupancy import Occupancy, Tenant, occupancy
from zenkei.scheduler.preemption import Asker, Displacement, Spared, victims
from zenkei.scheduler.rights import Rights
from zenkei.scheduler.snapshot import IntArray, JobClass, RunningJob

NOW_US = 100_000 * SECOND
POLICY = Policy(restart_s=0.0)


def gpus(number: float) -> Amounts:
    return Amounts(gpu_milli=int(number * 1000))


@dataclass
class Running:
    """A job that holds `parts`."""

    facts: RunningJob
    job_class: JobClass
    parts: tuple[HeldPart, ...]


class Cluster:
    """Also the `Quotas` of its queues: the root is left out of a path."""

    def __init__(
        self, nodes: Iterable[Node], queues: Iterable[Queue] = (), policy: Policy = POLICY
    ) -> None:
        self.nodes = {one.name: one for one in nodes}
        self.queues = {queue.name: queue for queue in queues}
        self.table = list(self.queues)
        self.policy = policy
        self.running: dict[int, Running] = {}
        self.claims: dict[int, tuple[int, Hold]] = {}
        self.levels: tuple[str, ...] = ()
        self._numbers = 0

    # -- quotas --------------------------------------------------------------------------------
    def path(self, queue: int) -> Sequence[int]:
        places, name = [], self.table[queue]
        while name:
            places.append(self.table.index(name))
            name = self.queues[name].parent
        return places

    def rules(self, queue: int) -> Queue:
        return self.queues[self.table[queue]]

    def quota(self, queue: int) -> Amounts:
        return self.rules(queue).quota

    def held(self, queue: int) -> Amounts:
        cpu = memory = gpu = 0
        kinds: dict[str, int] = {}
        for place, parts in self._holdings():
            if queue not in self.path(place):
                continue
            for part in parts:
                cpu += part.cpu_milli
                memory += part.memory_bytes
                for index, milli in part.devices:
                    kind = self.nodes[part.node].capacity.devices[index].kind
                    gpu += milli
                    kinds[kind] = kinds.get(kind, 0) + milli
        return Amounts(
            cpu_milli=cpu, memory_bytes=memory, gpu_milli=gpu, kinds=tuple(sorted(kinds.items()))
        )

    def all_held(self, queues: Sequence[int], kinds: Sequence[str]) -> IntArray:
        return np.maximum(rows_of([self.held(queue) for queue in queues], kinds), 0)

    def _holdings(self) -> Iterable[tuple[int, tuple[HeldPart, ...]]]:
        for one in self.running.values():
            yield one.facts.queue, one.parts
        for job, (place, hold) in self.claims.items():
            yield place, claimed(job, hold)

    # -- what runs -----------------------------------------------------------------------------
    def run(
        self,
        wanted: JobClass,
        *on: str,
        queue: str = "",
        priority: int = 0,
        ran_s: float = 3600,
        unsaved_s: float | None = None,
        preemptions: int = 0,
        stopping: bool = False,
        job: JobId | None = None,
    ) -> JobId:
        """A job runs on these nodes, one part each, where there is room."""
        if job is None:
            self._numbers += 1
            job = JobId(self._numbers)
        since_us = NOW_US - int(ran_s * SECOND)
        saved_us = since_us if unsaved_s is None else NOW_US - int(unsaved_s * SECOND)
        parts = []
        for name in on:
            devices = check(self.nodes[name], self.free(name), wanted.request, {})
            assert not isinstance(devices, Misfit), (name, devices)
            parts.append(part_of(job.key, name, wanted, devices))
        place = self.table.index(queue) if queue else 0
        facts = RunningJob(
            job.key,
            0,
            place,
            0,
            priority,
            since_us,
            saved_us,
            preemptions=preemptions,
            stopping=int(stopping),
            nodes=len(on),
        )
        self.running[job.key] = Running(facts, wanted, tuple(parts))
        return job

    def free(self, name: str) -> Free:
        held = [p for one in self.running.values() for p in one.parts if p.node == name]
        for job, (_, hold) in self.claims.items():
            held += [part for part in claimed(job, hold) if part.node == name]
        return left_of(self.nodes[name], held)

    def occupancy(self) -> Occupancy:
        parts: dict[str, list[HeldPart]] = {}
        for one in self.running.values():
            for part in one.parts:
                parts.setdefault(part.node, []).append(part)
        facts = {job: one.facts for job, one in self.running.items()}
        return occupancy(self.nodes.values(), parts, facts)

    def gpu_milli(self, job: int) -> int:
        return sum(share.milli for part in self.running[job].parts for share in part.devices)

    def leave(self, *jobs: int) -> None:
        """They hold nothing any more."""
        for job in jobs:
            del self.running[job]

    def take_place(self, asker: Asker, hold: Hold) -> None:
        """The asker starts on exactly what was kept for it."""
        wanted, parts = asker.job_class, []
        constraints = dict(wanted.constraints)
        for part in hold.parts:
            one, left = self.nodes[part.node], self.free(part.node)
            got = check(one, left, wanted.request, constraints, wanted.avoid, part.devices)
            assert got == part.devices, (part, got)
            parts.append(part_of(asker.job.key, part.node, wanted, part.devices))
        facts = RunningJob(
            asker.job.key, 0, asker.queue, 0, asker.priority, NOW_US, NOW_US, nodes=len(parts)
        )
        self.running[asker.job.key] = Running(facts, wanted, tuple(parts))

    def start(self, asker: Asker) -> bool:
        """The asker starts where there is room, if there is."""
        places = places_without(self, asker, set())
        if not places:
            return False
        self.run(
            asker.job_class,
            *places[0][: asker.count],
            queue=self.table[asker.queue],
            priority=asker.priority,
            ran_s=0,
            job=asker.job,
        )
        return True

    @staticmethod
    def waits_again(one: Running) -> Asker:
        facts = one.facts
        return Asker(
            job=JobId.from_key(facts.job),
            job_class=one.job_class,
            queue=facts.queue,
            priority=facts.priority,
        )

    # -- who asks ------------------------------------------------------------------------------
    def asker(self, wanted: JobClass, queue: str = "", priority: int = 0) -> Asker:
        self._numbers += 1
        place = self.table.index(queue) if queue else 0
        return Asker(job=JobId(self._numbers), job_class=wanted, queue=place, priority=priority)

    def victims(self, asker: Asker) -> Displacement | Spared | None:
        return victims(
            asker,
            self.occupancy(),
            self.free,
            self,
            self.policy,
            now_us=NOW_US,
            levels=self.levels,
        )

    def displaced(self, asker: Asker) -> list[JobId] | None:
        """The victims' ids; None if nobody is displaced."""
        found = self.victims(asker)
        return [p.victim for p in found.preempts] if isinstance(found, Displacement) else None

    def rights(self, asker: Asker) -> Rights:
        return Rights(
            queue=asker.queue,
            priority=asker.priority,
            request=asker.job_class.request,
            nodes=asker.count,
            occupancy=self.occupancy(),
            quotas=self,
            policy=self.policy,
            now_us=NOW_US,
        )


def part_of(job: int, name: str, wanted: JobClass, devices: tuple[DeviceShare, ...]) -> HeldPart:
    asks = wanted.request
    return HeldPart(job, name, asks.cpu_milli, asks.memory_bytes, asks.tmp_bytes, devices)


def claimed(job: int, hold: Hold) -> tuple[HeldPart, ...]:
    return tuple(
        HeldPart(
            job,
            part.node,
            part.request.cpu_milli,
            part.request.memory_bytes,
            part.request.tmp_bytes,
            part.devices,
        )
        for part in hold.parts
    )


def lost_milli_s(tenant: Tenant, policy: Policy) -> int:
    """What displacing it costs, by its definition."""
    size = tenant.gpu_milli or tenant.cpu_milli // 1000
    lost_s = (NOW_US - tenant.facts.saved_us) // SECOND
    return int(size * (lost_s + policy.restart_s))


# -- by trying everything ------------------------------------------------------------------------
def cheapest_of_all(cluster: Cluster, asker: Asker) -> int | None:
    """The least that any allowed set of jobs loses whose end makes the gang fit; None: no set."""
    rights, tenants = cluster.rights(asker), cluster.occupancy().tenants
    best: int | None = None
    jobs = sorted(rights.may)
    for size in range(len(jobs) + 1):
        for some in combinations(jobs, size):
            cost = sum(lost_milli_s(tenants[job], cluster.policy) for job in some)
            if best is not None and cost >= best:
                continue
            # what is forbidden after others in one order is forbidden in each
            if rights.allow_all(some) is None and fits_without(cluster, asker, set(some)):
                best = cost
    return best


def fits_without(cluster: Cluster, asker: Asker, gone: set[int]) -> bool:
    return len(places_without(cluster, asker, gone)) > 0


def places_without(cluster: Cluster, asker: Asker, gone: set[int]) -> list[list[str]]:
    """Sets of nodes, each of which has enough that take a part when `gone` have ended."""
    wanted = asker.job_class
    by_place: dict[tuple[str, ...], list[str]] = {}
    for name, one in cluster.nodes.items():
        stays = [
            part
            for job, run in cluster.running.items()
            if job not in gone and not run.facts.stopping
            for part in run.parts
            if part.node == name
        ]
        for job, (_, hold) in cluster.claims.items():
            stays += [part for part in claimed(job, hold) if part.node == name]
        left = left_of(one, stays)
        if isinstance(
            check(one, left, wanted.request, dict(wanted.constraints), wanted.avoid), Misfit
        ):
            continue
        depth = cluster.levels.index(wanted.level) + 1 if wanted.required else 0
        if asker.count == 1 or len(one.topology) >= depth:
            domain = one.topology[:depth] if asker.count > 1 else ()
            by_place.setdefault((one.cluster, *domain), []).append(name)
    return [names for names in by_place.values() if len(names) >= asker.count]


# -- chance --------------------------------------------------------------------------------------
def random_cluster(rng: Random, nodes: int = 4, jobs: int = 8) -> Cluster:
    """Nodes nearly full of shares, GPUs and gangs of three leaf queues in two branches."""
    made = [
        replace(
            node(f"n{i}", cpus=rng.choice((8, 16)), gpus=rng.choice((2, 4))),
            topology=(f"rack{i % 2}",),
        )
        for i in range(nodes)
    ]
    reclaim = rng.choice((Reclaim.ANY, Reclaim.ANY, Reclaim.LOWER_PRIORITY))
    queues = [
        Queue(name="team", quota=gpus(rng.randrange(3, 9)), reclaim=reclaim),
        Queue(name="a", parent="team", quota=gpus(rng.randrange(5)), reclaim=reclaim),
        Queue(name="b", parent="team", quota=gpus(rng.randrange(5)), reclaim=reclaim),
        Queue(name="c", quota=gpus(rng.randrange(9)), reclaim=reclaim),
    ]
    cluster = Cluster(made, queues)
    cluster.levels = ("rack",)
    for _ in range(jobs * 3):
        if len(cluster.running) < jobs:
            _random_run(rng, cluster)
    return cluster


def random_wanted(rng: Random) -> JobClass:
    number = rng.choice((0, 0.5, 0.5, 1, 1, 1, 2, 2, 4))
    many = rng.choice((1, 1, 2, 2, 3)) if number >= 1 else 1
    made = ask(cpus=rng.choice((1, 1, 2, 4)), gpus=number, nodes=many)
    if many > 1 and rng.random() < 0.2:
        return replace(made, level="rack", required=True)
    return made


def _random_run(rng: Random, cluster: Cluster) -> None:
    wanted = random_wanted(rng)
    able = [
        name
        for name, one in cluster.nodes.items()
        if not isinstance(check(one, cluster.free(name), wanted.request, {}), Misfit)
    ]
    if len(able) >= wanted.nodes:
        ran_s = rng.choice((60, 600, 6000, rng.randrange(1, 9000)))
        cluster.run(
            wanted,
            *rng.sample(able, wanted.nodes),
            queue=rng.choice("abc"),
            priority=rng.choice((0, 0, 1, 2)),
            ran_s=ran_s,
            unsaved_s=rng.choice((0, ran_s, rng.randrange(ran_s + 1))),
            stopping=rng.random() < 0.05,
        )


def gangs_of_one_queue(rng: Random, nodes: int = 6, jobs: int = 11) -> tuple[Cluster, Asker]:
    """Nodes of two GPUs full of gangs that overlap at will, and a gang that may displace them all.

    Nearly every gang that is taken leaves something that is of no use: the hard case.
    """
    made = [node(f"n{i}", cpus=rng.choice((4, 8)), gpus=2) for i in range(nodes)]
    cluster = Cluster(made, [Queue(name="a")])
    for _ in range(jobs * 3):
        wanted = ask(gpus=rng.choice((0.5, 1, 1, 1, 2)), nodes=1)
        able = [
            name
            for name, one in cluster.nodes.items()
            if not isinstance(check(one, cluster.free(name), wanted.request, {}), Misfit)
        ]
        if able and len(cluster.running) < jobs:
            many = rng.randint(1, min(4, len(able))) if wanted.request.gpu_milli == 1000 else 1
            ran_s = rng.randrange(200, 9000)
            wanted = replace(wanted, nodes=many)
            cluster.run(wanted, *rng.sample(able, many), ran_s=ran_s)
    return cluster, cluster.asker(
        ask(cpus=rng.choice((1, 4)), gpus=rng.choice((1, 2, 2)), nodes=rng.randint(2, nodes - 1)),
        priority=1,
    )


def random_asker(rng: Random, cluster: Cluster) -> Asker:
    return cluster.asker(
        random_wanted(rng), queue=rng.choice("abc"), priority=rng.choice((0, 1, 2))
    )


def random_line(rng: Random, cluster: Cluster, jobs: int) -> list[Asker]:
    return [random_asker(rng, cluster) for _ in range(jobs)]


def settle(rng: Random, cluster: Cluster, line: list[Asker], most: int) -> list[tuple[int, int]]:
    """Plan, stop the victims, let them wait again, plan …: until nothing changes any more.

    In any order, which is worse than any order that a planner could have. Returns who displaced
    whom, `most` of them at most.
    """
    displaced: list[tuple[int, int]] = []
    changed = True
    while changed and len(displaced) < most:
        changed = False
        rng.shuffle(line)
        for asker in list(line):
            if not cluster.start(asker):
                found = cluster.victims(asker)
                if not isinstance(found, Displacement):
                    continue
                for preempt in found.preempts:
                    victim = preempt.victim.key
                    line.append(cluster.waits_again(cluster.running[victim]))
                    cluster.leave(victim)
                    displaced.append((asker.job.key, victim))
                cluster.take_place(asker, found.hold)
            line.remove(asker)
            changed = True
    return displaced
