"""Made-up traces that look like real ones: for tests, and where no trace may be shared.

Called by `zenkei sim make` and by tests. Run times are a mixture of three log-normal distributions,
fitted to the per-job extract of Microsoft's Philly cluster (2017; Jeon et al., USENIX ATC 2019):
short ones that fail early, ordinary ones, and a long tail. Larger gangs run longer. Arrivals are a
Poisson process whose rate follows the hour of the day. The same seed gives the same trace.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.sim.traces import GIB, TraceJob

DAY_S: Final = 86_400.0
COLUMNS: Final = (
    "job_id",
    "user",
    "queue",
    "submit_s",
    "duration_s",
    "nodes",
    "gpus_per_node",
    "cpus",
    "mem_gib",
    "gpu_type",
    "status",
    "group",
)


class Size(NamedTuple):
    """A size of job. share: of all jobs; stretch: how much longer than a job of one GPU it runs."""

    nodes: int
    gpus: int
    share: float
    stretch: float


class Hump(NamedTuple):
    """One log-normal part of the run times. median_s, sigma: of the logarithm."""

    share: float
    median_s: float
    sigma: float


SIZES: Final = (
    Size(1, 1, 0.948, 1.0),
    Size(1, 2, 0.0195, 0.3),
    Size(1, 4, 0.0142, 3.0),
    Size(1, 8, 0.0160, 10.0),
    Size(2, 8, 0.0014, 20.0),
    Size(4, 8, 0.0009, 10.0),
)
HUMPS: Final = (Hump(0.180, 65.0, 0.167), Hump(0.286, 1990.0, 0.630), Hump(0.534, 1170.0, 2.213))
LONGEST_S: Final = 14 * DAY_S


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """What is made. load: GPUs asked for of those there are, on average; swing: how much the rate

    of arrivals differs by the hour, 0 to 1. users: of each queue; few of them send most jobs.
    """

    load: float = 0.8
    sizes: tuple[Size, ...] = SIZES
    humps: tuple[Hump, ...] = HUMPS
    swing: float = 0.5
    queues: tuple[str, ...] = ("default",)
    users: int = 12
    longest_s: float = LONGEST_S


def generate(count: int, gpus: int, mix: Mix, seed: int) -> tuple[TraceJob, ...]:
    """`count` jobs for a cluster of so many GPUs."""
    rng = Random(seed)
    sizes = [size for size in mix.sizes if size.nodes * size.gpus <= gpus]
    draws = [_Draw(rng, sizes, mix) for _ in range(count)]
    demand = sum(one.duration_s * one.size.nodes * one.size.gpus for one in draws) / max(1, count)
    per_s = mix.load * gpus / demand if demand else 1.0
    jobs, at_s = [], 0.0
    for number, one in enumerate(draws):
        at_s = _next_arrival(rng, at_s, per_s, mix.swing)
        jobs.append(one.job(number, at_s))
    return tuple(jobs)


class _Draw:
    """One job, without its arrival: the rate follows from what all of them ask for."""

    def __init__(self, rng: Random, sizes: Sequence[Size], mix: Mix) -> None:
        self.size = rng.choices(sizes, [size.share for size in sizes])[0]
        hump = rng.choices(mix.humps, [hump.share for hump in mix.humps])[0]
        drawn_s = hump.median_s * math.exp(hump.sigma * rng.gauss(0.0, 1.0)) * self.size.stretch
        self.duration_s = float(round(min(max(1.0, drawn_s), mix.longest_s)))
        self.queue = rng.choice(mix.queues)
        # the second user sends half as much as the first, the third a third
        weights = [1 / (rank + 1) for rank in range(mix.users)]
        self.user = f"u{rng.choices(range(mix.users), weights)[0]:02}"

    def job(self, number: int, at_s: float) -> TraceJob:
        return TraceJob(
            name=f"made-{number:06}",
            user=self.user,
            queue=self.queue,
            group="",
            submit_us=round(at_s) * 1_000_000,
            duration_us=round(self.duration_s * 1e6),
            nodes=self.size.nodes,
            gpu_count=self.size.gpus,
            gpu_milli=WHOLE_GPU_MILLI if self.size.gpus else 0,
        )


def _next_arrival(rng: Random, at_s: float, per_s: float, swing: float) -> float:
    """By thinning: candidates at the highest rate, each taken with the chance of its hour."""
    most = per_s * (1 + swing)
    while True:
        at_s += rng.expovariate(most)
        rate = 1 + swing * math.sin(2 * math.pi * at_s / DAY_S)
        if rng.random() * (1 + swing) <= rate:
            return at_s


def table(jobs: Iterable[TraceJob]) -> str:
    """The form that `traces.read_trace` reads."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for job in jobs:
        is_share = 0 < job.gpu_milli < WHOLE_GPU_MILLI
        writer.writerow(
            (
                job.name,
                job.user,
                job.queue,
                f"{job.submit_us / 1e6:.6f}".rstrip("0").rstrip("."),
                f"{job.duration_us / 1e6:.6f}".rstrip("0").rstrip("."),
                job.nodes,
                job.gpu_milli / WHOLE_GPU_MILLI if is_share else job.gpu_count,
                f"{job.cpu_milli / 1000:g}" if job.cpu_milli else "",
                f"{job.memory_bytes / GIB:g}" if job.memory_bytes else "",
                "|".join(job.kinds),
                "",
                job.group,
            )
        )
    return out.getvalue()
