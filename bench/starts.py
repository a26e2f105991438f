"""`python -m bench starts`: how well starts are foretold, as first shown at submission.

Virtual clusters of the Philly trace on the nodes of `philly/reference.csv`, in a toy simulator that
exists for this alone: first come first served, later jobs may pass what does not fit, one-node jobs
on the fullest node that has room (the table's `fifo-skip`). Scored are jobs that waited 60 s or
more, after the first tenth; `--most` of them, evenly over the trace, because each estimate is a
simulation. Pinball loss at 0.5 and 0.9 beside constant quantiles of the last 500 waits of 60 s or
more that ended before; coverage of what was shown. Also: how long 1,000 waiting on 128 nodes take.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path

import numpy as np

from bench import traces
from bench.report import Row, median_s, show, write
from bench.traces import TraceJob
from zenkei.predict.coverage import Coverage
from zenkei.predict.durations import Durations
from zenkei.predict.facts import Facts
from zenkei.predict.starts import Estimates, Newcomers, Running, Serving, Waiting, estimate

GPUS = 8
"""Of a node."""
LEAST_WAIT_S = 60.0
WARM = 0.1
WINDOW = 500
PAST_S = 7 * 86400.0
MOST_PAST = 1000
LEVELS = (0.5, 0.9)
SERVING = Serving(most_steps=20_000)


@dataclass
class Cluster:
    """FIFO-skip by node. The line is kept by shape: of equal jobs the first is the one to try."""

    jobs: list[TraceJob]
    nodes: int
    now_s: float = 0.0
    started_s: dict[int, float] = field(default_factory=dict)
    places: dict[int, tuple[int, ...]] = field(default_factory=dict)
    ends: list[tuple[float, int]] = field(default_factory=list)
    lines: dict[tuple[int, int], deque[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.free = [GPUS] * self.nodes

    def events(self) -> Iterator[tuple[str, int]]:
        """What happens, in order: `submitted` (before anything else starts), `ended`, `started`."""
        arriving = 0
        while arriving < len(self.jobs) or self.ends:
            come_s = self.jobs[arriving].submit_s if arriving < len(self.jobs) else np.inf
            self.now_s = min(come_s, self.ends[0][0] if self.ends else np.inf)
            while self.ends and self.ends[0][0] <= self.now_s:
                yield "ended", self._end(heappop(self.ends)[1])
            yield from self._start()
            while arriving < len(self.jobs) and self.jobs[arriving].submit_s <= self.now_s:
                job = self.jobs[arriving]
                self.lines.setdefault((job.parts, job.gpus), deque()).append(arriving)
                arriving += 1
                yield from self._start()
                yield "submitted", arriving - 1

    def waiting(self) -> list[int]:
        return sorted(number for line in self.lines.values() for number in line)

    def running(self) -> list[int]:
        return sorted(number for _, number in self.ends)

    def _end(self, number: int) -> int:
        for node in self.places.pop(number):
            self.free[node] += self.jobs[number].gpus
        return number

    def _start(self) -> Iterator[tuple[str, int]]:
        failed: set[tuple[int, int]] = set()
        while heads := [(line[0], s) for s, line in self.lines.items() if line and s not in failed]:
            number, shape = min(heads)
            parts, gpus = shape
            fitting = [node for node in range(self.nodes) if self.free[node] >= gpus]
            if len(fitting) < parts:
                failed.add(shape)
                continue
            fullest = sorted(fitting, key=self.free.__getitem__)[:parts]
            for node in fullest:
                self.free[node] -= gpus
            self.lines[shape].popleft()
            self.places[number] = tuple(fullest)
            self.started_s[number] = self.now_s
            heappush(self.ends, (self.now_s + self.jobs[number].duration_s, number))
            yield "started", number


@dataclass
class Shown:
    """What was said about one job: corrected and raw quantiles, and what a constant says."""

    shown: list[float]
    raw: list[float]
    constant: list[float]


class Replay:
    """A trace in the toy cluster, with estimates for some of the jobs that wait."""

    def __init__(self, jobs: list[TraceJob], nodes: int, every: int) -> None:
        self.cluster = Cluster(jobs, nodes)
        self.every = every
        self.durations = Durations()
        self.coverage = Coverage(LEVELS[1])
        self.waits: deque[float] = deque(maxlen=WINDOW)
        self.told: dict[int, Shown] = {}
        self.asked = 0
        self.asked_s = 0.0

    def run(self) -> None:
        jobs, cluster = self.cluster.jobs, self.cluster
        for what, number in cluster.events():
            self.coverage.passed(cluster.now_s)
            if what == "ended":
                job = jobs[number]
                self.durations.ended(job.facts, job.duration_s, now_us=round(1e6 * cluster.now_s))
            elif what == "started":
                self._started(number)
            elif number not in cluster.started_s:
                self.asked += 1
                if self.asked % self.every == 0:
                    self._ask(number)

    def _started(self, number: int) -> None:
        cluster = self.cluster
        waited_s = cluster.now_s - cluster.jobs[number].submit_s
        if waited_s >= LEAST_WAIT_S:
            self.waits.append(waited_s)
            self.coverage.started(str(number), cluster.now_s)
        else:
            self.coverage.withdrawn(str(number))

    def _ask(self, number: int) -> None:
        start = time.perf_counter()
        found = self._estimate(number)
        self.asked_s += time.perf_counter() - start
        raw = []
        for level in LEVELS:
            value = float(found.quantile(level)[-1])
            raw.append(value if np.isfinite(value) else found.reached_s)
        promised = self.coverage.promise(str(number), raw[0], raw[1], self.cluster.now_s)
        past = np.array(self.waits) if self.waits else np.zeros(1)
        constant = [float(q) for q in np.quantile(past, LEVELS)]
        self.told[number] = Shown([raw[0], promised], raw, constant)

    def _estimate(self, number: int) -> Estimates:
        cluster, jobs = self.cluster, self.cluster.jobs
        running = [self._running(other) for other in cluster.running()]
        forecaster = self.durations.freeze(
            [(job.facts, job.age_s) for job in running], now_us=round(1e6 * cluster.now_s)
        )
        waiting = [other for other in cluster.waiting() if other <= number]
        first = max(0, number - MOST_PAST)
        past = [
            jobs[other]
            for other in range(first, number)
            if jobs[other].submit_s > cluster.now_s - PAST_S
        ]
        span_s = min(PAST_S, cluster.now_s - (jobs[first].submit_s if first else 0.0))
        newcomers = Newcomers(
            jobs=[_waiting(job) for job in past],
            came_s=[job.submit_s - (cluster.now_s - span_s) for job in past],
            span_s=max(span_s, 1.0),
        )
        return estimate(
            [1000 * GPUS] * cluster.nodes,
            running,
            [_waiting(jobs[other]) for other in waiting],
            forecaster,
            seed=number,
            newcomers=newcomers,
            asked=[len(waiting) - 1],
            serving=SERVING,
        )

    def _running(self, number: int) -> Running:
        job = self.cluster.jobs[number]
        age_s = self.cluster.now_s - self.cluster.started_s[number]
        return Running(job.facts, age_s, self.cluster.places[number], 1000 * job.gpus)


def _waiting(job: TraceJob) -> Waiting:
    return Waiting(job.facts, job.parts, 1000 * job.gpus)


def pinball(level: float, told: float, actual: float) -> float:
    return max(level * (actual - told), (level - 1.0) * (actual - told))


@dataclass
class Score:
    """Of one virtual cluster. Losses are means (s), by level; weight: jobs that had to wait."""

    name: str
    jobs: int
    weight: int
    shown: list[float]
    raw: list[float]
    constant: list[float]
    covered: list[float]
    covered_raw: list[float]
    error_s: float
    estimate_s: float

    def ratio(self, place: int) -> float:
        return self.shown[place] / self.constant[place]


def score_of(name: str, replay: Replay) -> Score:
    """Of the jobs that count."""
    cluster = replay.cluster
    first = cluster.jobs[int(WARM * len(cluster.jobs))].submit_s
    counted = [
        (told, waited_s)
        for number, told in replay.told.items()
        if (waited_s := cluster.started_s[number] - cluster.jobs[number].submit_s) >= LEAST_WAIT_S
        and cluster.jobs[number].submit_s >= first
    ]

    def losses(kind: str) -> list[float]:
        return [
            float(np.mean([pinball(q, getattr(told, kind)[at], w) for told, w in counted]))
            for at, q in enumerate(LEVELS)
        ]

    def covered(kind: str) -> list[float]:
        return [
            float(np.mean([w <= getattr(told, kind)[at] for told, w in counted])) for at in (0, 1)
        ]

    return Score(
        name=name,
        jobs=len(counted),
        weight=replay.asked,
        shown=losses("shown"),
        raw=losses("raw"),
        constant=losses("constant"),
        covered=covered("shown"),
        covered_raw=covered("raw"),
        error_s=float(np.median([abs(told.shown[0] - waited) for told, waited in counted])),
        estimate_s=replay.asked_s / len(replay.told),
    )


def together(scores: list[Score]) -> list[Row]:
    """All virtual clusters, each job that had to wait counted alike."""
    weights = np.array([score.weight for score in scores])
    shown, constant = (
        weights @ np.array([getattr(score, kind) for score in scores])
        for kind in ("shown", "constant")
    )
    covered = weights @ np.array([score.covered[1] for score in scores]) / weights.sum()
    told = [
        (f"pinball {q} against constant quantiles", shown[at] / constant[at], "of it", "≤ 0.8")
        for at, q in enumerate(LEVELS)
    ]
    told.append(("started before p90", float(covered), "of jobs", "0.87 to 0.93"))
    return [
        Row(bench="starts", what=f"all jobs: {what}", value=float(value), unit=unit, bar=bar)
        for what, value, unit, bar in told
    ]


def replay_of(jobs: list[TraceJob], nodes: int, most: int) -> Replay:
    """Twice: once to see who waits, then with `most` estimates."""
    dry = Replay(jobs, nodes, every=len(jobs) + 1)
    dry.run()
    replay = Replay(jobs, nodes, every=max(1, dry.asked // most))
    replay.run()
    return replay


def sizes(folder: Path) -> dict[str, int]:
    """Nodes of each virtual cluster of the table."""
    with (folder / "philly/reference.csv").open() as file:
        return {row["vc"]: int(row["nodes"]) for row in csv.DictReader(file)}


def busy_cluster_s() -> float:
    """Seconds for 1,000 waiting and 1,000 newcomers on 128 busy nodes, the usual effort."""
    dice = np.random.default_rng(1)
    facts = [Facts(user=f"u{n % 20}", gpus_milli=1000 << n % 4) for n in range(80)]
    durations = Durations()
    for number in range(3000):
        durations.ended(facts[number % 80], float(dice.lognormal(7.0, 2.0)))
    running = [
        Running(facts[n % 80], float(dice.exponential(5000.0)), (n % 128,), 2000)
        for n in range(4 * 128)
    ]
    asked = [facts[int(n)] for n in dice.integers(0, 80, 2000)]
    jobs = [Waiting(fact, 1, fact.gpus_milli) for fact in asked]
    came_s = sorted(float(s) for s in dice.random(1000) * 86400.0)
    newcomers = Newcomers(jobs=jobs[1000:], came_s=came_s, span_s=86400.0)
    forecaster = durations.freeze()
    return median_s(
        lambda: estimate(
            [8000] * 128, running, jobs[:1000], forecaster, seed=1, newcomers=newcomers
        ),
        runs=3,
    )


def rows(
    folder: Path = traces.FOLDER, names: tuple[str, ...] = ("7f04ca", "2869ce"), most: int = 150
) -> list[Row]:
    """Without names told: the two small ones."""
    busy = busy_cluster_s()
    found = [Row(bench="starts", what="1,000 waiting, 128 nodes", value=busy, unit="s", bar="< 5")]
    if not folder.is_dir():
        return found
    queues = traces.by_queue(traces.read(folder / "philly/jobs.csv.gz"))
    nodes = sizes(folder)
    scores = []
    for name in names:
        score = score_of(name, replay_of(queues[name], nodes[name], most))
        scores.append(score)
        found += _rows_of(score)
    return found + together(scores)


def _rows_of(score: Score) -> list[Row]:
    told = [
        (f"pinball {q} against constant quantiles", score.ratio(at), "of it", "≤ 0.8")
        for at, q in enumerate(LEVELS)
    ]
    told += [
        ("started before p90", score.covered[1], "of jobs", "0.87 to 0.93"),
        ("started before p50", score.covered[0], "of jobs", ""),
        ("median error of p50", score.error_s, "s", ""),
        ("one estimate", score.estimate_s, "s", ""),
    ]
    raw = score.raw[1] / score.constant[1]
    note = f"{score.jobs} jobs; p90 uncorrected {raw:.2f}, covers {score.covered_raw[1]:.2f}"
    return [
        Row(
            bench="starts", what=f"{score.name}: {what}", value=value, unit=unit, bar=bar, note=note
        )
        for what, value, unit, bar in told
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.starts")
    parser.add_argument("--traces", type=Path, default=traces.FOLDER)
    parser.add_argument("--only", help="virtual clusters, by comma; all of the table without it")
    parser.add_argument("--most", type=int, default=600, help="estimates for each")
    parser.add_argument("--out", type=Path, default=Path(".cache/starts.json"))
    told = parser.parse_args()
    names = told.only.split(",") if told.only else sizes(told.traces)
    found = rows(told.traces, tuple(names), told.most)
    print(show(found))
    write(found, told.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
