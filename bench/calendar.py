"""Promises and back-filling alone: 100 blocked gangs on clusters on which everything is taken.

CPU time of this process. Next to each bar stands what a prototype reached, which knew GPUs only.
"""

from __future__ import annotations

import time
from random import Random

from bench.report import Row
from tests.planner_worlds import GIB, SECOND, ask, node
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig
from zenkei.model.resources import DeviceShare
from zenkei.scheduler.calendar import Calendar
from zenkei.scheduler.free import HeldPart
from zenkei.scheduler.holdings import Holdings, holdings
from zenkei.scheduler.snapshot import JobClass

GANGS = 100
DAY_US = 86_400 * SECOND


def rows() -> list[Row]:
    return [
        *_cycle(1_000, "≤ 10 ms (6)"),
        *_cycle(5_000, ""),
        *_cycle(20_000, "≤ 30 ms (15.6)"),
    ]


def busy(nodes: int, rng: Random) -> Holdings:
    """Nodes of 8 GPUs, most of them with several jobs, one in ten of which has no known end."""
    places = [
        node(f"n{i:05}", cpus=64, memory_gib=512, gpus=["A100" if i % 3 else "H100"] * 8)
        for i in range(nodes)
    ]
    parts: list[HeldPart] = []
    ends: dict[int, int] = {}
    for place in places:
        at = 0
        while at < 8:
            gpus = min(rng.choice((1, 2, 4, 8)), 8 - at)
            job = JobId(len(parts) + 1).key
            shares = tuple(DeviceShare(i, 1000) for i in range(at, at + gpus))
            parts.append(HeldPart(job, place.name, 7000 * gpus, 50 * gpus * GIB, 0, shares))
            if rng.random() > 0.1:
                ends[job] = rng.randrange(DAY_US)
            at += gpus
    return holdings(places, parts, ends)


def _cycle(nodes: int, bar: str) -> list[Row]:
    rng = Random(1)
    held = busy(nodes, rng)
    gangs = [
        (
            ask(cpus=8 * g, memory_gib=60 * g, gpus=g, nodes=rng.choice((2, 2, 4, 4, 8, 16))),
            rng.randrange(DAY_US),
        )
        for g in (rng.choice((4, 8, 8)) for _ in range(GANGS))
    ]
    spent = sorted(_one(held, gangs) for _ in range(7))
    laid = sorted(_one(held, gangs[:1]) for _ in range(7))[3]
    what = f"{GANGS} gangs promised, 1,000 jobs asked where they may go, {nodes:,} nodes"
    note = f"{laid * 1e3:.1f} ms of it to lay out what is held, {held.parts.number:,} parts"
    return [
        Row(bench="calendar", what=what, value=spent[3] * 1e3, unit="ms", bar=bar, note=note),
    ]


def _one(held: Holdings, gangs: list[tuple[JobClass, int]]) -> float:
    """Between two gangs ten jobs of five classes and two lengths ask, and one of them starts."""
    small = [ask(cpus=c, memory_gib=8, gpus=g).request for c, g in ((1, 1), (4, 1), (8, 2), (8, 4))]
    small.append(ask(cpus=4, memory_gib=16).request)
    names = held.layout.names
    start = time.process_time()
    calendar = Calendar(held, ClusterConfig(), 0)
    for i, (wanted, limit_us) in enumerate(gangs):
        calendar.promise(JobId(10**6 + i).key, wanted, limit_us=limit_us)
        for request in small:
            for ends_us in (DAY_US // 24, DAY_US // 4):
                calendar.forbids(request, ends_us)
        calendar.took(names[7 * i], small[4], (), DAY_US // 24)
    return time.process_time() - start
