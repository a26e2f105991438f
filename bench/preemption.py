"""Preemption alone: whom a gang of 512 GPUs displaces on full nodes of 8 GPUs, and how that grows.

CPU time of this process, `Occupancy` and the search together; next to it what is lost when the
cheapest jobs by GPU go first, until enough nodes are empty.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

import numpy as np

from bench.report import Row
from tests.planner_worlds import GIB
from tests.preemption_worlds import NOW_US, POLICY, gpus
from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.model.queue import Amounts, Queue
from zenkei.model.resources import Capacity, Device, DeviceShare, Free, Request
from zenkei.scheduler.free import HeldPart
from zenkei.scheduler.ledger import rows_of
from zenkei.scheduler.occupancy import occupancy
from zenkei.scheduler.preemption import Asker, Displacement, Spared, victims
from zenkei.scheduler.rights import Rights
from zenkei.scheduler.snapshot import IntArray, JobClass, RunningJob

QUEUES = 20
GPUS = 8


class _Full:
    """Nodes without a free GPU: shares, single GPUs, whole nodes, gangs of up to 16 nodes."""

    def __init__(self, nodes: int, seed: int = 1) -> None:
        self._rng = Random(seed)
        devices = tuple(Device(index=i, kind="A100") for i in range(GPUS))
        self._none = Free(64_000, 512 * GIB, 0, [0] * GPUS)
        capacity = Capacity(
            cpu_milli=128_000, memory_bytes=1024 * GIB, tmp_bytes=0, devices=devices
        )
        self.nodes = [
            Node(name=f"n{i:05}", cluster="c", capacity=capacity, topology=(f"r{i // 32:03}",))
            for i in range(nodes)
        ]
        self.parts: dict[str, list[HeldPart]] = {}
        self.running: dict[int, RunningJob] = {}
        self.held_milli = [0] * QUEUES
        self.size_milli: dict[int, int] = {}
        self.on: dict[int, list[str]] = {}
        names = [node.name for node in self.nodes]
        self._rng.shuffle(names)
        at = 0
        while at < nodes:
            many = min(self._rng.choice((*[1] * 24, 2, 4, 8, 16)), nodes - at)
            self._fill(names[at : at + many])
            at += many

    def _fill(self, names: list[str]) -> None:
        rng = self._rng
        if len(names) > 1 or rng.random() < 0.2:
            self._run(names, range(GPUS), 1000)
            return
        device = 0
        while device < GPUS:
            size = min(rng.choice((1, 1, 1, 2, 4)), GPUS - device)
            if size == 1 and rng.random() < 0.4:
                for milli in rng.choice(((500, 500), (250, 250, 500))):
                    self._run(names, range(device, device + 1), milli)
            else:
                self._run(names, range(device, device + size), 1000)
            device += size

    def _run(self, names: list[str], devices: range, milli: int) -> None:
        rng = self._rng
        job = JobId(len(self.running) + 1).key
        shares = tuple(DeviceShare(i, milli) for i in devices)
        for name in names:
            self.parts.setdefault(name, []).append(
                HeldPart(job, name, 1000 * len(shares), GIB, 0, shares)
            )
        queue = rng.randrange(1, QUEUES)
        self.size_milli[job] = len(names) * len(shares) * milli
        self.held_milli[queue] += self.size_milli[job]
        self.on[job] = names
        since_us = NOW_US - rng.randrange(200, 90_000) * 1_000_000
        saved_us = since_us + rng.randrange(NOW_US - since_us)
        priority = rng.choice((0, 0, 0, 1, 5))
        self.running[job] = RunningJob(
            job, 0, queue, 0, priority, since_us, saved_us, nodes=len(names)
        )

    # -- what is asked of it -------------------------------------------------------------------
    def free(self, name: str) -> Free:
        return self._none

    def path(self, queue: int) -> tuple[int, ...]:
        """Ten divisions, -1 to -10."""
        return queue, -1 - queue % 10

    def rules(self, queue: int) -> Queue:
        return Queue(name=str(queue))

    def quota(self, queue: int) -> Amounts:
        if queue in (0, -1):
            return gpus(len(self.nodes) * GPUS)
        return Amounts(gpu_milli=(self.held(queue).gpu_milli or 0) // 4)

    def held(self, queue: int) -> Amounts:
        milli = self.held_milli[queue] if queue >= 0 else sum(self.held_milli[-1 - queue :: 10])
        return Amounts(gpu_milli=milli, cpu_milli=0, memory_bytes=0)

    def all_held(self, queues: Sequence[int], kinds: Sequence[str]) -> IntArray:
        return np.maximum(rows_of(map(self.held, queues), kinds), 0)

    def lost(self, job: int) -> int:
        """What displacing a job costs, in thousandths of a GPU for a second."""
        facts = self.running[job]
        lost_s = (NOW_US - facts.saved_us) / 1e6 + POLICY.restart_s
        return int(self.size_milli[job] * lost_s)

    def cheapest_first(self, asker: Asker) -> int:
        """The simplest thing: jobs by what they cost for each GPU, until enough nodes are empty."""
        rights = Rights(
            queue=asker.queue,
            priority=asker.priority,
            request=asker.job_class.request,
            nodes=asker.count,
            occupancy=occupancy(self.nodes, self.parts, self.running),
            quotas=self,
            policy=POLICY,
            now_us=NOW_US,
        )
        left = {name: len({p.job for p in parts}) for name, parts in self.parts.items()}
        cost = empty = 0
        for job in sorted(rights.may, key=lambda j: (self.lost(j) / self.size_milli[j], j)):
            if not rights.allows(job):
                continue
            rights.take(job)
            cost += self.lost(job)
            for name in self.on[job]:
                left[name] -= 1
                empty += not left[name]
            if empty >= asker.count:
                return cost
        return 0


def rows() -> list[Row]:
    out = []
    for nodes in (250, 1_000, 4_000, 10_000):
        out += _one(nodes, 64, "512 GPUs on 64 nodes")
    return out + _one(1_000, 1, "8 GPUs on one node")


def _one(nodes: int, asked: int, what: str) -> list[Row]:
    full = _Full(nodes)
    wanted = JobClass(request=Request(cpu_milli=8_000, gpu_count=GPUS, gpu_milli=1000), nodes=asked)
    asker = Asker(job=JobId(999_999), job_class=wanted, queue=0, priority=0)
    times = []
    found: Displacement | Spared | None = None
    for _ in range(5):
        start = time.process_time()
        held = occupancy(full.nodes, full.parts, full.running)
        found = victims(asker, held, full.free, full, POLICY, now_us=NOW_US)
        times.append(time.process_time() - start)
    assert isinstance(found, Displacement)
    name = f"{what}, {nodes:,} full nodes, {len(full.running):,} jobs"
    bar = "≤ 200 ms" if nodes == 1_000 else ""
    note = f"{len(found.preempts)} victims"
    ratio = full.cheapest_first(asker) / found.cost_gpu_milli_s
    return [
        _row(f"plan, {name}", sorted(times)[2] * 1e3, "ms", bar, note),
        _row(f"loss, {name}", found.cost_gpu_milli_s / 3.6e6, "GPU h"),
        _row(f"cheapest job first against it, {name}", ratio, "x", note="0: finds none"),
    ]


def _row(what: str, value: float, unit: str, bar: str = "", note: str = "") -> Row:
    return Row(bench="preemption", what=what, value=value, unit=unit, bar=bar, note=note)
