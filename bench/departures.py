"""Jobs that end: how full the cluster is, how many nodes stay empty, how long gangs wait.

`python -m bench.departures --traces DIR --load 0.95 --seeds 1,2,3 --policy default,fgd --json`, and
a part of `bench.quality`. The production placement decides, gangs included.

Definition. Cluster: every fourth node with GPUs of the folder (`--every`), so that the shares of
models stay. Jobs: a Poisson process for `--days`; each is a pod of the variant drawn with equal
chances among those with a duration (at most a day), or, for `--gangs` of the demand, a gang of 4 (3
of 5), 6 or 8 parts of 8 whole GPUs, 64 cores and 256 GiB each, on as many nodes, for 1, 2 or 4
hours. The rate is such that GPU-seconds asked for are `--load` of the capacity. A job starts as
soon as it fits, and all policies see the same jobs: at each end those who wait are tried in the
order in which they came, and none keeps others out. A job ends after its duration. The mix, and
the typical requests of FGD, are learned from what came before only.
Told of what comes after the first third: time averages of GPUs allocated and of nodes of 8 GPUs
with all of them free; mean waits, where a job that never started waited until the end.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any, NamedTuple

from bench import packing
from zenkei.model.resources import Request
from zenkei.scheduler.placement.port import Ask

DAY_S = 86_400.0
LONGEST_S = DAY_S
WARM = 1 / 3
WHOLE = 8
_PARTS = (4, 4, 4, 6, 8)
_GANG_S = (3_600.0, 7_200.0, 14_400.0)
_PART = Request(cpu_milli=64_000, memory_bytes=256 << 30, gpu_count=WHOLE, gpu_milli=1000)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """See the module's docstring. gangs: share of the demand; every: one node of so many."""

    load: float = 0.95
    gangs: float = 0.15
    days: float = 3.0
    every: int = 4

    @property
    def warm_s(self) -> float:
        return WARM * self.days * DAY_S


class Job(NamedTuple):
    at_s: float
    number: int
    request: Request
    parts: int
    duration_s: float

    @property
    def milli(self) -> int:
        return self.parts * _milli(self.request)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """gang_wait_s, wait_s: means; waiting: jobs that never started."""

    allocated_percent: float
    whole_nodes: float
    gangs: int
    gang_wait_s: float
    wait_s: float
    waiting: int


def part_of(workload: packing.Workload, every: int) -> packing.Workload:
    return packing.Workload(
        name=workload.name,
        nodes=workload.nodes[::every],
        pods=workload.pods,
        durations_s=workload.durations_s,
        arrivals={},
    )


def jobs(workload: packing.Workload, setting: Setting, seed: int) -> Iterator[Job]:
    """In order of arrival."""
    rng = Random(seed)
    rows = [row for row, duration in sorted(workload.durations_s.items()) if duration > 0]
    pod_work = mean(_milli(workload.pods[row]) * _duration(workload, row) for row in rows)
    gang_work = mean(_PARTS) * _milli(_PART) * mean(_GANG_S)
    per_s = setting.load * workload.capacity_milli
    rates = ((1 - setting.gangs) * per_s / pod_work, setting.gangs * per_s / gang_work)
    at_s, number = 0.0, 0
    while at_s < setting.days * DAY_S:
        at_s += rng.expovariate(sum(rates))
        number += 1
        if rng.random() * sum(rates) < rates[1]:
            yield Job(at_s, number, _PART, rng.choice(_PARTS), rng.choice(_GANG_S))
        else:
            row = rng.choice(rows)
            yield Job(at_s, number, workload.pods[row], 1, _duration(workload, row))


def _milli(request: Request) -> int:
    return request.gpu_count * request.gpu_milli


def _mean(values: list[float]) -> float:
    return mean(values) if values else 0.0


def _duration(workload: packing.Workload, row: int) -> float:
    return min(LONGEST_S, workload.durations_s[row])


class World:
    """A cluster in time."""

    def __init__(self, workload: packing.Workload, policy: str, warm_s: float, seed: int) -> None:
        self.policy = packing.Policy(policy, "learned", workload, seed)
        self.cluster = packing.Cluster(workload.nodes, self.policy.scorer)
        self.capacity_milli = workload.capacity_milli
        self.warm_s = warm_s
        self.now_s = self.allocated = self.whole = 0.0
        self.milli = 0
        self.waiting: list[Job] = []
        self.ends: list[tuple[float, int, Job, list[tuple[Any, ...]]]] = []
        self.came: Counter[Ask] = Counter()
        self.waits_s: dict[bool, list[float]] = {True: [], False: []}

    def run(self, arrivals: Iterator[Job]) -> Seen:
        for job in arrivals:
            while self.ends and self.ends[0][0] <= job.at_s:
                self._pass(self.ends[0][0])
                self._end()
                if not self.ends or self.ends[0][0] > self.now_s:
                    self._start_waiting()
            self._pass(job.at_s)
            self._arrive(job)
        for job in self.waiting:
            self._waited(job)
        span_s = max(1.0, self.now_s - self.warm_s)
        return Seen(
            allocated_percent=100 * self.allocated / span_s / self.capacity_milli,
            whole_nodes=self.whole / span_s,
            gangs=len(self.waits_s[True]),
            gang_wait_s=_mean(self.waits_s[True]),
            wait_s=_mean(self.waits_s[False]),
            waiting=len(self.waiting),
        )

    def _pass(self, at_s: float) -> None:
        span_s = at_s - max(self.now_s, self.warm_s)
        if span_s > 0:
            (columns,) = self.cluster.index._columns.values()
            self.allocated += span_s * self.milli
            self.whole += span_s * int((columns.whole == WHOLE).sum())
        self.now_s = at_s

    def _arrive(self, job: Job) -> None:
        self.policy.learn(self.cluster, self.came, job.number - 1)
        self.came[Ask.of(job.request)] += job.parts
        if not self._start(job):
            self.waiting.append(job)

    def _start_waiting(self) -> None:
        """What is as large as one that did not fit is not tried again."""
        failed: set[tuple[Request, int]] = set()
        left = []
        for job in self.waiting:
            what = (job.request, job.parts)
            if what in failed or not self._start(job):
                failed.add(what)
                left.append(job)
        self.waiting = left

    def _start(self, job: Job) -> bool:
        got = self.cluster.start(job.request, job.parts)
        if got:
            self.milli += job.milli
            heappush(self.ends, (self.now_s + job.duration_s, job.number, job, list(got)))
            self._waited(job)
        return bool(got)

    def _waited(self, job: Job) -> None:
        if job.at_s >= self.warm_s:
            self.waits_s[job.parts > 1].append(self.now_s - job.at_s)

    def _end(self) -> None:
        _, _, job, got = heappop(self.ends)
        self.cluster.end(job.request, [(row, devices) for row, devices in got])
        self.milli -= job.milli
        self.policy.ended += job.parts


def run(workload: packing.Workload, setting: Setting, seed: int, policy: str) -> Seen:
    part = part_of(workload, setting.every)
    return World(part, policy, setting.warm_s, seed).run(jobs(part, setting, seed))


def means(seen: list[Seen]) -> dict[str, float]:
    told = [asdict(one) for one in seen]
    return {key: round(mean(one[key] for one in told), 3) for key in told[0]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.departures")
    parser.add_argument("--traces", type=Path, default=Path("../shared/traces/openb"))
    parser.add_argument("--variant", default="default")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--policy", default="default,fgd", help=f"of {', '.join(packing.POLICIES)}")
    parser.add_argument("--load", type=float, default=Setting.load)
    parser.add_argument("--gangs", type=float, default=Setting.gangs)
    parser.add_argument("--days", type=float, default=Setting.days)
    parser.add_argument("--every", type=int, default=Setting.every)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    setting = Setting(load=told.load, gangs=told.gangs, days=told.days, every=told.every)
    policies = told.policy.split(",")
    if unknown := {*policies} - {*packing.POLICIES}:
        parser.error(f"no policies: {sorted(unknown)}; there are {', '.join(packing.POLICIES)}")
    workload = packing.load(told.traces, told.variant)
    seeds = [int(seed) for seed in told.seeds.split(",")]
    found = {
        policy: {seed: run(workload, setting, seed, policy) for seed in seeds}
        for policy in policies
    }
    if told.json:
        by_seed = {
            policy: {seed: asdict(one) for seed, one in seen.items()}
            for policy, seen in found.items()
        }
        print(
            json.dumps({"variant": told.variant, **asdict(setting), "policies": by_seed}, indent=1)
        )
        return 0
    for policy, seen in found.items():
        print(policy, "  ".join(f"{k}={v}" for k, v in means(list(seen.values())).items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
