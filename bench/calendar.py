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

GANGS, ASKED = 100, 1_000
CPU = ask(cpus=0.1, memory_gib=0).request
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
    runs = [_one(held, gangs) for _ in range(9)]
    laid_s, promised_s, asked_s = (sorted(times)[4] for times in zip(*runs, strict=True))
    note = f"{laid_s * 1e3:.1f} ms of it to lay out {held.parts.number:,} parts"
    what = f"{GANGS} gangs promised, {nodes:,} nodes"
    ask_what = f"a job asks where it may go and starts, {GANGS} gangs promised, {nodes:,} nodes"
    return [
        _row(what, (laid_s + promised_s) * 1e3, "ms", bar, note),
        _row(ask_what, asked_s / ASKED * 1e6, "µs"),
    ]


def _row(what: str, value: float, unit: str, bar: str = "", note: str = "") -> Row:
    return Row(bench="calendar", what=what, value=value, unit=unit, bar=bar, note=note)


def _one(held: Holdings, gangs: list[tuple[JobClass, int]]) -> tuple[float, float, float]:
    """Seconds to lay out, to promise, and for jobs of 20 classes and five lengths to back-fill."""
    small = [ask(cpus=1 + i, memory_gib=8, gpus=1).request for i in range(20)]
    names = held.layout.names
    start = time.process_time()
    calendar = Calendar(held, ClusterConfig(), 0)
    calendar.promise(JobId(10**6).key, gangs[0][0], limit_us=gangs[0][1])
    laid = time.process_time()
    promised: set[str] = set()
    for i, (wanted, limit_us) in enumerate(gangs[1:]):
        said = calendar.promise(JobId(10**6 + 1 + i).key, wanted, limit_us=limit_us)
        promised.update(said.nodes if said else ())
    done = time.process_time()
    on = sorted(promised) or names
    for i in range(ASKED):
        ends_us = DAY_US // 24 * (1 + i % 5)
        calendar.forbids(small[i % 20], ends_us)
        calendar.took(on[i % len(on)], CPU, (), ends_us)
    return laid - start, done - laid, time.process_time() - done
