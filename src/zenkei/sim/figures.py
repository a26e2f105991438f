"""What became of a trace, in figures: completion times, waiting, utilisation, fairness.

Made from the engine double's own truth, never from what the controller believes. Pure. Called by
`zenkei sim run` and by benches. Cost: O(jobs x (sizes + log jobs)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from typing import Final, NamedTuple

from zenkei.model.cluster import Node
from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.sim.clock import START_US
from zenkei.sim.replaying import Costs, Story

FAIR: Final = 1.05
"""A job is treated fairly if it took at most so many times as long as with its even share."""


class Figures(NamedTuple):
    """See `docs/guides/what-if.md`. Times in seconds, shares as fractions; None: not known."""

    jobs: int
    unfinished: int
    jct_mean_s: float | None
    jct_p50_s: float | None
    jct_p99_s: float | None
    wait_mean_s: float | None
    wait_p50_s: float | None
    wait_p99_s: float | None
    wait_max_s: float | None
    makespan_s: float | None
    utilisation: float | None
    preemptions: int
    failures: int
    lost_gpu_hours: float
    ftf_over_1_05: float | None
    start_p90_coverage: float | None = None
    start_p50_abs_error_s: float | None = None


def figures(
    stories: Iterable[Story], nodes: Sequence[Node], *, round_s: float, costs: Costs
) -> Figures:
    """Of all jobs that came to their end. A job that never did is counted as unfinished only."""
    told = list(stories)
    over = [story for story in told if story.ended_us]
    jct_s = sorted((story.ended_us - _came_us(story)) / 1e6 for story in over)
    wait_s = sorted((story.first_us - _came_us(story)) / 1e6 for story in over)
    size = _sizes(nodes, told)
    first_us = min((_came_us(story) for story in told), default=0)
    last_us = max((story.ended_us for story in over), default=first_us)
    held = sum(size.of(story) * (b - a) for story in told for a, b in story.held)
    useful = sum(size.of(story) * story.job.duration_us for story in over)
    whole = size.total * (last_us - first_us)
    return Figures(
        jobs=len(told),
        unfinished=len(told) - len(over),
        jct_mean_s=mean(jct_s),
        jct_p50_s=quantile(jct_s, 0.5),
        jct_p99_s=quantile(jct_s, 0.99),
        wait_mean_s=mean(wait_s),
        wait_p50_s=quantile(wait_s, 0.5),
        wait_p99_s=quantile(wait_s, 0.99),
        wait_max_s=wait_s[-1] if wait_s else None,
        makespan_s=(last_us - first_us) / 1e6 if over else None,
        utilisation=held / whole if whole else None,
        preemptions=sum(story.displaced for story in told),
        failures=sum(story.failed for story in told),
        lost_gpu_hours=max(0.0, held - useful) / WHOLE_GPU_MILLI / 3600e6 if size.is_gpu else 0.0,
        ftf_over_1_05=_unfair(over, size, round_s=round_s, costs=costs),
    )


def mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def quantile(values: Sequence[float], q: float) -> float | None:
    """Of sorted values, between neighbours where it falls between two."""
    if not values:
        return None
    place = q * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


class _Sizes(NamedTuple):
    """What jobs are measured by: thousandths of GPUs, or of cores where there are no GPUs."""

    total: int
    is_gpu: bool

    def of(self, story: Story) -> int:
        job = story.job
        return job.gpus_milli if self.is_gpu else job.nodes * job.cpu_milli


def _sizes(nodes: Sequence[Node], stories: Sequence[Story]) -> _Sizes:
    gpus = sum(len(node.capacity.devices) for node in nodes) * WHOLE_GPU_MILLI
    if gpus and any(story.job.gpu_count for story in stories):
        return _Sizes(gpus, True)
    return _Sizes(sum(node.capacity.cpu_milli for node in nodes), False)


def _came_us(story: Story) -> int:
    return START_US + story.job.submit_us


# -- finish-time fairness --------------------------------------------------------------------------
def _unfair(over: Sequence[Story], size: _Sizes, *, round_s: float, costs: Costs) -> float | None:
    """Share of jobs that took more than FAIR times as long as alone with an even share."""
    alone = isolated_s(
        [
            (story.job.submit_us / 1e6, story.job.duration_us / 1e6, size.of(story))
            for story in over
        ],
        size.total,
    )
    if not alone:
        return None
    unfair = 0
    for story, fluid_s in zip(over, alone, strict=True):
        came_s = story.job.submit_us / 1e6
        delay_s = -came_s % round_s if round_s else 0.0
        took_s = (story.ended_us - _came_us(story)) / 1e6
        unfair += took_s > FAIR * (delay_s + costs.start_s + fluid_s)
    return unfair / len(alone)


def isolated_s(jobs: Sequence[tuple[float, float, int]], total: int) -> list[float]:
    """How long each (came_s, duration_s, size) takes in a fluid system.

    There each of the N jobs present gets min(1, (total / N) / its size) of its full speed. Jobs of
    one size have one speed, so per size only the work that each of them has done counts.
    """
    done: dict[int, float] = {}
    waiting: dict[int, list[tuple[float, int]]] = {}
    came = sorted(range(len(jobs)), key=lambda i: jobs[i][0])
    took = [0.0] * len(jobs)
    now_s, present, next_one = 0.0, 0, 0

    def speed(size: int) -> float:
        return min(1.0, total / (present * size)) if size else 1.0

    while present or next_one < len(came):
        ends = [
            (now_s + max(0.0, heap[0][0] - done[size]) / speed(size), size)
            for size, heap in waiting.items()
            if heap
        ]
        end_s, size = min(ends, default=(math.inf, 0))
        arrives_s = jobs[came[next_one]][0] if next_one < len(came) else math.inf
        until_s = min(end_s, arrives_s)
        for one, heap in waiting.items():
            if heap:
                done[one] += (until_s - now_s) * speed(one)
        now_s = until_s
        if end_s <= arrives_s:
            _, i = heappop(waiting[size])
            took[i] = now_s - jobs[i][0]
            present -= 1
        else:
            i = came[next_one]
            _, duration_s, size = jobs[i]
            heappush(waiting.setdefault(size, []), (done.setdefault(size, 0.0) + duration_s, i))
            next_one, present = next_one + 1, present + 1
    return took


# -- parts of it -----------------------------------------------------------------------------------
class Part(NamedTuple):
    """Waiting and completion of some of the jobs."""

    name: str
    jobs: int
    wait_mean_s: float | None
    wait_p99_s: float | None
    jct_mean_s: float | None
    gpu_hours: float


def by(
    stories: Iterable[Story], key: Callable[[Story], str], order: Sequence[str] = ()
) -> tuple[Part, ...]:
    """The same for each group of jobs, in this order or by name."""
    groups: dict[str, list[Story]] = {}
    for story in stories:
        groups.setdefault(key(story), []).append(story)
    names = [name for name in order if name in groups] or sorted(groups)
    return tuple(_part(name, groups[name]) for name in names)


def _part(name: str, stories: Sequence[Story]) -> Part:
    over = [story for story in stories if story.ended_us]
    wait_s = sorted((story.first_us - _came_us(story)) / 1e6 for story in over)
    held = sum(story.job.gpus_milli * (b - a) for story in stories for a, b in story.held)
    return Part(
        name=name,
        jobs=len(stories),
        wait_mean_s=mean(wait_s),
        wait_p99_s=quantile(wait_s, 0.99),
        jct_mean_s=mean([(story.ended_us - _came_us(story)) / 1e6 for story in over]),
        gpu_hours=held / WHOLE_GPU_MILLI / 3600e6,
    )
