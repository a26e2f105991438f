"""`python -m bench durations`: how well run times are foretold, before a job runs.

One pass in the order of time, as production would see it: asked at submission, told at the end.
When a job starts is not in most traces, so it is taken to end at submission + duration; jobs not
over are told to `freeze` as running. Pinball loss (Koenker, Bassett, Econometrica 46 (1978)) of the
quantiles 0.5 and 0.9 beside constant quantiles of the last 500 run times, and beside the quantiles
of the last 500 of the same user where users are known. `--traces DIR`, `--quick`: one small trace.
"""

from __future__ import annotations

import argparse
import heapq
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench import traces
from bench.report import Row, show, write
from bench.traces import TraceJob
from zenkei.predict.durations import Durations, Forecaster
from zenkei.predict.facts import Facts

WINDOW = 500
FREEZE_S = 600.0
LEVELS = (0.5, 0.9)


@dataclass
class Losses:
    """Sums over the jobs of one trace, by method and level."""

    pinball: dict[tuple[str, float], float] = field(default_factory=lambda: defaultdict(float))
    jobs: int = 0
    covered: int = 0
    asked_s: float = 0.0
    told_s: float = 0.0
    frozen_s: float = 0.0
    frozen: int = 0

    def add(self, method: str, level: float, told: float, actual: float) -> None:
        miss = actual - told
        self.pinball[method, level] += max(level * miss, (level - 1.0) * miss)

    def ratio(self, level: float, method: str = "constant") -> float:
        return self.pinball["learned", level] / self.pinball[method, level]


class Pass:
    """One trace in the order of time."""

    def __init__(self, jobs: list[TraceJob]) -> None:
        self.jobs = jobs
        self.durations = Durations()
        self.running: list[tuple[float, int]] = []
        self.past: deque[float] = deque(maxlen=WINDOW)
        self.of_user: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self.losses = Losses()

    def run(self) -> Losses:
        frozen_at, forecaster = -np.inf, self.durations.freeze()
        for number, job in enumerate(self.jobs):
            self._end_until(job.submit_s)
            if job.submit_s >= frozen_at + FREEZE_S:
                frozen_at, forecaster = job.submit_s, self._freeze(job.submit_s)
            if self.past:
                self._score(job, forecaster)
            heapq.heappush(self.running, (job.submit_s + job.duration_s, number))
        return self.losses

    def _end_until(self, now_s: float) -> None:
        while self.running and self.running[0][0] <= now_s:
            job = self.jobs[heapq.heappop(self.running)[1]]
            start = time.perf_counter()
            self.durations.ended(job.facts, job.duration_s)
            self.losses.told_s += time.perf_counter() - start
            self.past.append(job.duration_s)
            self.of_user[job.facts.user].append(job.duration_s)

    def _freeze(self, now_s: float) -> Forecaster:
        start = time.perf_counter()
        running: list[tuple[Facts, float]] = [
            (self.jobs[number].facts, now_s - self.jobs[number].submit_s)
            for _, number in self.running
        ]
        forecaster = self.durations.freeze(running)
        self.losses.frozen_s += time.perf_counter() - start
        self.losses.frozen += 1
        return forecaster

    def _score(self, job: TraceJob, forecaster: Forecaster) -> None:
        losses = self.losses
        start = time.perf_counter()
        told = [forecaster.quantile(job.facts, level) for level in LEVELS]
        losses.asked_s += time.perf_counter() - start
        losses.jobs += 1
        losses.covered += job.duration_s <= told[1]
        own = self.of_user[job.facts.user] or self.past
        constant = np.quantile(np.array(self.past), LEVELS)
        users = np.quantile(np.array(own), LEVELS)
        for place, level in enumerate(LEVELS):
            losses.add("learned", level, told[place], job.duration_s)
            losses.add("constant", level, float(constant[place]), job.duration_s)
            losses.add("user", level, float(users[place]), job.duration_s)


def workloads(folder: Path, quick: bool) -> dict[str, list[TraceJob]]:
    philly = traces.by_queue(traces.read(folder / "philly/jobs.csv.gz"))
    if quick:
        return {"philly 7f04ca": philly["7f04ca"], "philly 2869ce": philly["2869ce"]}
    told = {f"philly {name}": jobs for name, jobs in sorted(philly.items())}
    for path in sorted(folder.glob("pollux/jobs_*.csv.gz")):
        told[f"pollux {path.name[5:-7]}"] = traces.read(path)
    told["metacentrum"] = traces.read(folder / "metacentrum-wagap/jobs.csv.gz")
    return told


def rows(folder: Path = traces.FOLDER, *, quick: bool = True) -> list[Row]:
    """quick: two small virtual clusters, seconds."""
    if not folder.is_dir():
        return []
    found = []
    for name, jobs in workloads(folder, quick).items():
        found += _rows_of(name, Pass(jobs).run())
    return found


def _rows_of(name: str, losses: Losses) -> list[Row]:
    told = [
        (f"pinball {level} against constant quantiles", losses.ratio(level), "of it", "below 1")
        for level in LEVELS
    ]
    told += [
        (f"pinball {level} against the user's own", losses.ratio(level, "user"), "of it", "")
        for level in LEVELS
    ]
    told += [
        ("p90 not exceeded", losses.covered / losses.jobs, "of jobs", ""),
        ("to learn a job", 1e6 * losses.told_s / losses.jobs, "µs", ""),
        ("to answer two quantiles", 1e6 * losses.asked_s / losses.jobs, "µs", ""),
        ("to freeze", 1e3 * losses.frozen_s / losses.frozen, "ms", ""),
    ]
    return [
        Row(bench="durations", what=f"{name}: {what}", value=value, unit=unit, bar=bar)
        for what, value, unit, bar in told
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.durations")
    parser.add_argument("--traces", type=Path, default=traces.FOLDER)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(".cache/durations.json"))
    told = parser.parse_args()
    found = rows(told.traces, quick=told.quick)
    print(show(found))
    write(found, told.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
