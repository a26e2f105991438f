"""The whole planner as the product runs it: 500 leaf queues in 3 levels, quotas, fair order,
protected gangs, displacement, placement by what was learned.

CPU time of this process, medians; "rows" starts at tuples as `control.planrows` makes them. The
simplest loop beside it: every waiting job in order of submission, on the first node that has room.
Two sizes ten times apart give the exponents of growth: log10 of the ratio of times.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from itertools import islice
from random import Random
from typing import Final, NamedTuple

from bench.planner import big_classes
from bench.report import Row
from tests.planner_worlds import SECOND, node
from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.model.queue import Amounts, ClusterConfig, Queue, Reclaim
from zenkei.model.resources import Misfit
from zenkei.scheduler import (
    Ask,
    Delta,
    HeldPart,
    JobClass,
    Learned,
    Planner,
    RunningJob,
    Snapshot,
    Start,
    WaitingJob,
    check,
    held_columns,
    learn,
    running_columns,
    waiting_columns,
)
from zenkei.scheduler.free import left_of
from zenkei.server.system import collect_rarely

LEAVES: Final = 500
USERS: Final = 300
TEAM: Final = 12
"""People who use one leaf."""
HOUR: Final = 3600 * SECOND
NOW: Final = 48 * HOUR
GPUS: Final = 8


class Size(NamedTuple):
    nodes: int
    waiting: int
    bars: tuple[str, str]


SIZES: Final = (Size(1_000, 50_000, ("≤ 300", "≤ 50")), Size(10_000, 200_000, ("≤ 2,000", "≤ 300")))


def rows() -> list[Row]:
    out: list[Row] = []
    cold: list[float] = []
    for size in SIZES:
        made = _measured(size)
        cold.append(made[0].value)
        out += made
    growth = math.log10(cold[1] / cold[0])
    return [*out, _row("growth of a cold plan, 10 x nodes and 4 x jobs", growth, "exponent")]


def _row(what: str, value: float, unit: str, bar: str = "", note: str = "") -> Row:
    return Row(bench="queues", what=what, value=value, unit=unit, bar=bar, note=note)


def tree(nodes: int) -> ClusterConfig:
    """10 departments, 50 groups, 500 leaves: each has its share of all GPUs as a quota."""
    share = Amounts(gpu_milli=nodes * GPUS * 1000 // LEAVES)
    queues = [Queue(name=f"d{i}") for i in range(10)]
    queues += [Queue(name=f"d{i % 10}-g{i}", parent=f"d{i % 10}") for i in range(50)]
    queues += [
        Queue(
            name=f"q{i}",
            parent=f"d{i % 50 % 10}-g{i % 50}",
            quota=share,
            weight_milli=1000 + 500 * (i % 4),
            reclaim=Reclaim.ANY if i % 3 else Reclaim.NEVER,
        )
        for i in range(LEAVES)
    ]
    return ClusterConfig(queues=tuple(queues))


class Cluster:
    """Jobs as rows; `start` and `step` let plans and time go by."""

    def __init__(self, size: Size, classes: int = 200, seed: int = 1) -> None:
        self.rng = Random(seed)
        self.config = tree(size.nodes)
        self.classes = big_classes(self.rng, classes)
        self.nodes = [_node(i) for i in range(size.nodes)]
        self.learned = mix(self.classes, self.nodes)
        self.waiting: dict[int, WaitingJob] = {}
        self.held: dict[int, list[HeldPart]] = {}
        self.running: dict[int, RunningJob] = {}
        self._number = 0
        self._weights = [1 / (1 + i) ** 0.5 for i in range(classes)]
        self.seq = 1
        for _ in range(size.waiting):
            self.submit()

    def submit(self) -> int:
        self._number += 1
        rng, key = self.rng, JobId(self._number).key
        leaf = rng.randrange(LEAVES)
        (job_class,) = rng.choices(range(len(self.classes)), self._weights)
        self.waiting[key] = WaitingJob(
            key,
            job_class,
            leaf,
            rng.choice((0, 0, 0, 1)),
            NOW - HOUR + self._number,
            0,
            (leaf * 7 + rng.randrange(TEAM)) % USERS,
            rng.choice((0, 1, 4, 24)) * HOUR,
        )
        return key

    def snapshot(self) -> Snapshot:
        return Snapshot(
            seq=self.seq,
            config=self.config,
            classes=tuple(self.classes),
            queues=tuple(f"q{i}" for i in range(LEAVES)),
            users=tuple(f"u{i}" for i in range(USERS)),
            nodes=tuple(self.nodes),
            waiting=waiting_columns(self.waiting.values()),
            held=held_columns(part for parts in self.held.values() for part in parts),
            running=running_columns(self.running.values()),
            learned=self.learned,
        )

    def start(self, start: Start, at_us: int) -> int:
        key = start.job.key
        row = self.waiting.pop(key)
        request = self.classes[row.job_class].request
        sizes = (request.cpu_milli, request.memory_bytes, request.tmp_bytes)
        self.held[key] = [HeldPart(key, p.node, *sizes, p.devices) for p in start.parts]
        self.running[key] = RunningJob(
            key,
            row.job_class,
            row.queue,
            row.user,
            row.priority,
            at_us,
            at_us,
            row.limit_us,
            0,
            0,
            len(start.parts),
        )
        return key

    def end(self, job: int) -> int:
        del self.held[job], self.running[job]
        return job

    def delta(self, changed: list[int]) -> Delta:
        self.seq += 1
        return Delta(
            seq=self.seq,
            changed=tuple(changed),
            waiting=tuple(self.waiting[job] for job in changed if job in self.waiting),
            held=tuple(part for job in changed for part in self.held.get(job, ())),
            running=tuple(self.running[job] for job in changed if job in self.running),
        )


def _node(i: int) -> Node:
    return node(
        f"n{i:05}",
        cpus=64,
        memory_gib=512,
        gpus=["A100" if i % 3 else "H100"] * GPUS,
        labels={"rack": "abcd"[i % 4]},
        topology=("site", f"rack{i // 20}", f"leaf{i // 5}"),
    )


def mix(classes: list[JobClass], nodes: list[Node]) -> Learned:
    arrived: dict[Ask, float] = {}
    for job_class in classes:
        ask = Ask.of(job_class.request)
        arrived[ask] = arrived.get(ask, 0.0) + 100.0 * job_class.nodes
    return learn(arrived, nodes, ended=10_000.0, version=1)


def filled(size: Size) -> Cluster:
    """The cluster is full, by a plan of its own; as many wait as before."""
    cluster = Cluster(size)
    made = Planner(cluster.snapshot()).plan(now_us=NOW - HOUR, max_starts=size.waiting)
    for i, decision in enumerate(made.decisions):
        if isinstance(decision, Start):
            cluster.start(decision, NOW - 1 - HOUR * (i % 24))
            cluster.submit()
    return cluster


def _measured(size: Size) -> list[Row]:
    cluster = filled(size)
    collect_rarely()  # as the daemon does
    name = f"{size.nodes:,} nodes, {len(cluster.waiting):,} waiting, {LEAVES} leaves"
    cold_s = _median(lambda: Planner(cluster.snapshot()).plan(now_us=NOW), 5)
    kept = Planner(cluster.snapshot())
    made = kept.plan(now_us=NOW)
    told = f"{len(made.decisions)} decisions, {len(made.reasons)} reasons"
    changed_s = _one_percent_s(cluster, kept)
    any_job = JobId.from_key(next(iter(cluster.waiting)))
    explain_s = _median(lambda: kept.explain(any_job, made), 9)
    return [
        _row(f"rows to plan, cold, {name}", cold_s * 1e3, "ms", size.bars[0] + " ms", told),
        _row(f"1 % changed, {name}", changed_s * 1e3, "ms", size.bars[1] + " ms"),
        _row(f"explain one job, {name}", explain_s * 1e3, "ms", "≤ 10 ms"),
        _row(f"first fit in order, {name}", _first_fit_s(cluster) * 1e3, "ms", "", "the loop"),
    ]


def _median(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        gc.collect()
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return sorted(times)[runs // 2]


def _one_percent_s(cluster: Cluster, kept: Planner, runs: int = 7) -> float:
    """1 % of what runs ends and 1 % of what waits comes anew; apply and plan."""
    times = []
    for step in range(runs):
        some = cluster.rng.sample(list(cluster.held), len(cluster.held) // 100)
        changed = [cluster.end(job) for job in some]
        changed += [cluster.submit() for _ in range(len(cluster.waiting) // 100)]
        delta, now_us = cluster.delta(changed), NOW + step * SECOND
        begin = time.process_time()
        kept.apply(delta)
        made = kept.plan(now_us=now_us)
        times.append(time.process_time() - begin)
        starts = [d for d in made.decisions if isinstance(d, Start)]
        kept.apply(cluster.delta([cluster.start(start, now_us) for start in starts]))
    return sorted(times)[runs // 2]


def _first_fit_s(cluster: Cluster) -> float:
    """In order of submission, on the first nodes that have room; a class that failed is passed."""
    parts: dict[str, list[HeldPart]] = {one.name: [] for one in cluster.nodes}
    for held in cluster.held.values():
        for part in held:
            parts[part.node].append(part)
    free = [(one, left_of(one, parts[one.name])) for one in cluster.nodes]
    failed: set[int] = set()
    begin = time.process_time()
    for row in sorted(cluster.waiting.values(), key=lambda row: (-row.priority, row.submitted_us)):
        if row.job_class in failed:
            continue
        wanted = cluster.classes[row.job_class]
        asks = wanted.request, dict(wanted.constraints)
        suits = (one for one, left in free if not isinstance(check(one, left, *asks), Misfit))
        if len(list(islice(suits, wanted.nodes))) < wanted.nodes:
            failed.add(row.job_class)
    return time.process_time() - begin
