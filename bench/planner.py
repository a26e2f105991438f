"""The planner alone: cold and kept, on 1,000 nodes of 8 GPUs, and the loop of a large array.

CPU time of this process: nothing here waits. Next to each bar stands what prototypes of
these structures reached on a machine of this class.
"""

from __future__ import annotations

import time
from random import Random
from typing import Any

from bench.report import Row
from tests.planner_worlds import World, ask, node
from zenkei.model.ids import JobId
from zenkei.scheduler import JobClass, Planner, Snapshot, plan

NODES, GPUS, WAITING = 1_000, 8, 50_000
SHARES = (0.1, 0.25, 0.5)


def rows() -> list[Row]:
    return [*_big("empty", 200), *_big("busy", 200), *_big("busy", 5_000), *_array()]


def _row(what: str, value: float, unit: str, bar: str = "", note: str = "") -> Row:
    return Row(bench="planner", what=what, value=value, unit=unit, bar=bar, note=note)


def _rack(rng: Random) -> dict[str, Any]:
    """One class in ten wants a rack."""
    return {"rack": (rng.choice("abcd"),)} if rng.random() < 0.1 else {}


# -- a big cluster -------------------------------------------------------------------------------
def big_classes(rng: Random, number: int) -> list[JobClass]:
    """Mostly one GPU and less, some whole nodes, some gangs, work without GPUs."""
    made: dict[JobClass, None] = {}
    while len(made) < number:
        gpus = rng.choice((0, *SHARES, 1, 1, 1, 2, 4, 8, 8))
        made[
            ask(
                cpus=rng.randrange(1, 8) * max(1, int(gpus)),
                memory_gib=rng.randrange(1, 8 if number < 1_000 else 60) * max(1, int(gpus)),
                gpus=gpus,
                gpu_type=rng.choice(((), (), (), ("A100",))) if gpus else (),
                nodes=rng.choice((1, 1, 1, 2, 4)) if gpus == 8 else 1,
                **_rack(rng),
            )
        ] = None
    return list(made)


def big_world(*, busy: bool, classes: int, seed: int = 1) -> World:
    rng = Random(seed)
    nodes = [
        node(
            f"n{i:04}",
            cpus=64,
            memory_gib=512,
            gpus=["A100" if i % 3 else "H100"] * GPUS,
            labels={"rack": "abcd"[i % 4]},
        )
        for i in range(NODES)
    ]
    world = World(*nodes)
    world.classes = big_classes(rng, classes)
    jobs = 14_000 if busy else 0
    weights = [1 / (1 + i) ** 0.5 for i in range(classes)]
    for job_class in rng.choices(range(classes), weights, k=jobs):
        world.submit(world.classes[job_class])
    if busy:
        world.start(Planner(world.snapshot()).plan(now_us=0, max_starts=jobs))
        world.waiting.clear()
    for job_class in rng.choices(range(classes), weights, k=WAITING):
        world.submit(world.classes[job_class], priority=rng.choice((0, 0, 0, 1)))
    return world.given()


def _big(kind: str, classes: int) -> list[Row]:
    world = big_world(busy=kind == "busy", classes=classes)
    name = f"{NODES:,} nodes, {WAITING:,} waiting, {classes:,} classes, {kind}"
    snapshot = world.snapshot()
    cold_s = sorted(_cold_s(snapshot) for _ in range(5))[2]
    kept = Planner(snapshot)
    first = kept.plan(now_us=0, max_starts=WAITING)
    bar = "≤ 300 ms (51–147)" if classes == 200 else ""
    out = [_row(f"cold plan, {name}", cold_s * 1e3, "ms", bar, f"{len(first.decisions)} starts")]
    world.start(first)
    kept.apply(world.delta())
    kept.plan(now_us=0)
    asked = _explain_s(world, kept)
    changed_s = _one_percent_s(world, kept)
    bar = "≤ 30 ms (18–27)" if classes == 200 else ""
    out.append(_row(f"1 % changed, {name}", changed_s * 1e3, "ms", bar))
    note = f"99 of 100 jobs below {asked[1] * 1e3:.1f} ms; the first {asked[2] * 1e3:.1f} ms"
    return [*out, _row(f"explain one job, {name}", asked[0] * 1e3, "ms", "≤ 10 ms", note)]


def _cold_s(snapshot: Snapshot) -> float:
    start = time.process_time()
    plan(snapshot, now_us=0, max_starts=WAITING)
    return time.process_time() - start


def _one_percent_s(world: World, kept: Planner, runs: int = 7) -> float:
    """1 % of what runs ends and 1 % of what waits comes anew; apply and plan."""
    rng = Random(2)
    times = []
    for _ in range(runs):
        for job in rng.sample(list(world.held), len(world.held) // 100):
            world.end(job)
        for job_class in rng.choices(range(len(world.classes)), k=WAITING // 100):
            world.submit(world.classes[job_class])
        delta = world.delta()
        start = time.process_time()
        kept.apply(delta)
        made = kept.plan(now_us=0)
        times.append(time.process_time() - start)
        world.start(made)
        kept.apply(world.delta())
    return sorted(times)[runs // 2]


def _explain_s(world: World, kept: Planner, number: int = 200) -> tuple[float, float, float]:
    """Median, 99th percentile and first of jobs drawn from all that wait, after a plan."""
    made = kept.plan(now_us=0)
    times = []
    for job in Random(3).sample(list(world.waiting), number):
        begin = time.process_time()
        kept.explain(JobId.from_key(job), made)
        times.append(time.process_time() - begin)
    ordered = sorted(times)
    return ordered[number // 2], ordered[number * 99 // 100], times[0]


# -- the loop of an array ------------------------------------------------------------------------
def _array() -> list[Row]:
    """5,000 jobs of one CPU on 100 slots: every cycle starts 100 and sees 100 end."""
    out = []
    for nodes in (1, 4):
        world = World(*(node(f"n{i}", cpus=100 // nodes, memory_gib=512) for i in range(nodes)))
        for _ in range(5_000):
            world.submit(ask())
        kept = Planner(world.given().snapshot())
        spent_s, starts = 0.0, 0
        while world.waiting:
            begin = time.process_time()
            made = kept.plan(now_us=0)
            spent_s += time.process_time() - begin
            starts += len(made.decisions)
            world.start(made)
            spent_s += _apply_s(world, kept)
            for job in list(world.held):
                world.end(job)
            spent_s += _apply_s(world, kept)
        what = f"array of 5,000, 100 slots on {nodes} node(s): plan, apply start and end"
        out.append(_row(what, spent_s / starts * 1e6, "µs/job", "≤ 100 µs"))
    return out


def _apply_s(world: World, kept: Planner) -> float:
    delta = world.delta()
    begin = time.process_time()
    kept.apply(delta)
    return time.process_time() - begin
