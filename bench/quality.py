"""`make bench-quality`: how well placement packs, against FGD (ATC 2023) on the same arrivals.

1 Saturation: `bench.packing` on every variant that has arrivals, means over its seeds.
2 Departures: pods of the same workload and gangs of 4 to 8 whole nodes arrive as a Poisson process
at a load of 0.95 and end after their time; in both, the first that fits of those who wait starts.
Told: time averages of allocation and of nodes of 8 GPUs that are wholly free, and how long gangs
wait. Both policies see the same jobs. `--traces DIR`; `--quick` takes one seed and a short time.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any, NamedTuple

from bench import packing
from bench.report import Row, show, write
from zenkei.model.resources import Request
from zenkei.scheduler.placement.port import Ask

KEYS = ("alloc_90", "alloc_100", "alloc_130")
LOAD = 0.95
GANGS = 0.15
"""Share of the demand that gangs ask for."""
LONGEST_S = 86_400.0
"""Longer jobs count as a day, so that the cluster turns over within the run."""
DAYS = 3.0
WARM_DAYS = 1.0
EVERY = 4
"""One node of so many takes part: the shares of models stay, the run ends sooner."""
WHOLE = 8


class Job(NamedTuple):
    at_s: float
    number: int
    request: Request
    parts: int
    duration_s: float

    @property
    def milli(self) -> int:
        return self.parts * self.request.gpu_count * self.request.gpu_milli


@dataclass(kw_only=True)
class Seen:
    """Time averages after the warm-up. waits_s: of gangs that arrived then."""

    allocated: float = 0.0
    whole_nodes: float = 0.0
    waits_s: tuple[float, ...] = ()
    pod_wait_s: float = 0.0


def jobs(
    workload: packing.Workload, capacity_milli: int, days: float, seed: int, gangs: float
) -> Iterator[Job]:
    """Poisson arrivals whose demand is LOAD of the capacity."""
    rng = Random(seed)
    rows = [row for row, duration in sorted(workload.durations_s.items()) if duration > 0]
    gang = Request(cpu_milli=64_000, memory_bytes=256 << 30, gpu_count=WHOLE, gpu_milli=1000)
    gang_parts, gang_s = (4, 4, 4, 6, 8), (3_600.0, 7_200.0, 14_400.0)
    pod_work = mean(_milli(workload.pods[row]) * _duration(workload, row) for row in rows)
    gang_work = mean(gang_parts) * WHOLE * 1000 * mean(gang_s)
    per_s = LOAD * capacity_milli
    rates = ((1 - gangs) * per_s / pod_work, gangs * per_s / gang_work)
    at_s, number = 0.0, 0
    while at_s < days * 86_400:
        at_s += rng.expovariate(sum(rates))
        number += 1
        if rng.random() * sum(rates) < rates[1]:
            yield Job(at_s, number, gang, rng.choice(gang_parts), rng.choice(gang_s))
        else:
            row = rng.choice(rows)
            yield Job(at_s, number, workload.pods[row], 1, _duration(workload, row))


def _milli(request: Request) -> int:
    return request.gpu_count * request.gpu_milli


def _duration(workload: packing.Workload, row: int) -> float:
    return min(LONGEST_S, workload.durations_s[row])


class World:
    """A cluster in time. Who waits is tried in order of arrival whenever something ended."""

    def __init__(self, workload: packing.Workload, policy: str, seed: int) -> None:
        self.policy = packing.Policy(policy, "learned", workload, seed)
        self.cluster = packing.Cluster(workload.nodes, self.policy.scorer)
        self.waiting: list[Job] = []
        self.ends: list[tuple[float, int, Job, list[tuple[Any, ...]]]] = []
        self.seen: Counter[Ask] = Counter()
        self.allocated = 0
        self.gang_waits: list[float] = []
        self.pod_waits: list[float] = []

    def run(self, arrivals: Iterator[Job], capacity_milli: int, days: float) -> Seen:
        warm_s, now_s = WARM_DAYS * days / DAYS * 86_400, 0.0
        area = whole = 0.0
        for job in arrivals:
            while self.ends and self.ends[0][0] <= job.at_s:
                at_s = self.ends[0][0]
                span = max(0.0, at_s - max(now_s, warm_s))
                area, whole = area + span * self.allocated, whole + span * self._whole(span)
                now_s = at_s
                self._end()
                if not self.ends or self.ends[0][0] > now_s:
                    self._start_waiting(now_s, warm_s)
            span = max(0.0, job.at_s - max(now_s, warm_s))
            area, whole = area + span * self.allocated, whole + span * self._whole(span)
            now_s = job.at_s
            self._arrive(job, warm_s)
        measured_s = max(1.0, now_s - warm_s)
        late = [now_s - job.at_s for job in self.waiting if job.at_s >= warm_s]
        gangs = [now_s - job.at_s for job in self.waiting if job.parts > 1 and job.at_s >= warm_s]
        return Seen(
            allocated=100 * area / measured_s / capacity_milli,
            whole_nodes=whole / measured_s,
            waits_s=tuple(self.gang_waits + gangs),
            pod_wait_s=mean([*self.pod_waits, *late, 0.0]),
        )

    def _whole(self, span: float) -> int:
        if not span:
            return 0
        (columns,) = self.cluster.index._columns.values()
        return int((columns.whole == WHOLE).sum())

    def _arrive(self, job: Job, warm_s: float) -> None:
        self.policy.learn(self.cluster, self.seen, job.number - 1)
        self.seen[Ask.of(job.request)] += job.parts
        if not self._start(job, job.at_s, warm_s):
            self.waiting.append(job)

    def _start_waiting(self, now_s: float, warm_s: float) -> None:
        """What is as large as one that did not fit is not tried again."""
        failed: set[tuple[Request, int]] = set()
        left = []
        for job in self.waiting:
            what = (job.request, job.parts)
            if what in failed or not self._start(job, now_s, warm_s):
                failed.add(what)
                left.append(job)
        self.waiting = left

    def _start(self, job: Job, now_s: float, warm_s: float) -> bool:
        got = self.cluster.start(job.request, job.parts)
        if got:
            self.allocated += job.milli
            heappush(self.ends, (now_s + job.duration_s, job.number, job, list(got)))
            if job.at_s >= warm_s:
                (self.gang_waits if job.parts > 1 else self.pod_waits).append(now_s - job.at_s)
        return bool(got)

    def _end(self) -> None:
        _, _, job, got = heappop(self.ends)
        self.cluster.end(job.request, [(row, devices) for row, devices in got])
        self.allocated -= job.milli
        self.policy.ended += job.parts


def departures(
    workload: packing.Workload, seeds: tuple[int, ...], days: float, gangs: float
) -> list[Row]:
    part = packing.Workload(
        name=workload.name,
        nodes=workload.nodes[::EVERY],
        pods=workload.pods,
        durations_s=workload.durations_s,
        arrivals={},
    )
    size = part.capacity_milli
    found: dict[str, list[Seen]] = {"default": [], "fgd": []}
    for seed in seeds:
        for policy, seen in found.items():
            seen.append(
                World(part, policy, seed).run(jobs(part, size, days, seed, gangs), size, days)
            )
    rows = []
    for what, unit, of in (
        ("allocated", "%", lambda s: s.allocated),
        ("nodes of 8 wholly free", "nodes", lambda s: s.whole_nodes),
        ("mean wait of gangs of 4 nodes and more", "s", lambda s: mean([*s.waits_s, 0.0])),
        ("mean wait of others", "s", lambda s: s.pod_wait_s),
    ):
        ours, theirs = (mean(map(of, found[policy])) for policy in ("default", "fgd"))
        name = f"departures, {workload.name}, {100 * gangs:.0f} % gangs: {what}"
        note = f"FGD {theirs:.2f}"
        rows.append(Row(bench="quality", what=name, value=ours, unit=unit, note=note))
    return rows


def saturation(folder: Path, variants: list[str], seeds: int) -> list[Row]:
    rows, gains = [], []
    for variant in variants:
        workload = packing.load(folder, variant)
        told = sorted(workload.arrivals)[:seeds]
        ours = [packing.run(workload, seed, "default", "learned") for seed in told]
        theirs = [packing.run(workload, seed, "fgd", "given") for seed in told]
        for key in KEYS:
            gain = mean(o[key] - t[key] for o, t in zip(ours, theirs, strict=True))
            bar = "at least +0.6" if key == "alloc_130" else "at least -0.2"
            note = f"{mean(o[key] for o in ours):.2f} against {mean(t[key] for t in theirs):.2f}"
            what = f"{variant}: {key} beyond FGD"
            rows.append(
                Row(bench="quality", what=what, value=gain, unit="points", bar=bar, note=note)
            )
            gains += [gain] if key == "alloc_130" else []
    what, bar = "alloc_130 beyond FGD, mean of variants", "at least +0.8"
    rows.append(Row(bench="quality", what=what, value=mean(gains), unit="points", bar=bar))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quality")
    parser.add_argument("--traces", type=Path, default=Path("../shared/traces/openb"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("saturation", "departures"))
    parser.add_argument("--out", type=Path, default=Path(".cache/quality.json"))
    arguments = parser.parse_args()
    names = sorted(path.name for path in arguments.traces.glob("arrivals_*.csv*"))
    variants = [name.removeprefix("arrivals_").split(".")[0] for name in names]
    seeds = 1 if arguments.quick else 3
    rows: list[Row] = []
    if arguments.only != "departures":
        rows += saturation(arguments.traces, variants, seeds)
    if arguments.only != "saturation":
        workload = packing.load(arguments.traces, "default")
        for gangs in (0.0, GANGS):
            days = DAYS if seeds > 1 else DAYS / 3
            rows += departures(workload, tuple(range(1, seeds + 1)), days, gangs)
    print(show(rows))
    write(rows, arguments.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
