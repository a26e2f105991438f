"""Placements a second in the whole planner, next to the simplest loop that could do it.

The peer, in the same run: for each part the first node of a list that has room, asked by the same
predicate. It orders nothing, explains nothing and looks for no compact place. CPU time.
"""

from __future__ import annotations

import time
from collections import Counter
from random import Random

from bench.report import Row
from tests.planner_worlds import World, ask, node
from zenkei.model.queue import Placement
from zenkei.model.resources import Free, Misfit
from zenkei.scheduler import JobClass, Planner, Snapshot, Start, check
from zenkei.scheduler.placement import scorer
from zenkei.scheduler.placement.mix import learn
from zenkei.scheduler.placement.port import Scorer

SIZES = (1_000, 5_000, 10_000)
STARTS = 4_000
POLICIES = (Placement.HOLE_VALUE, Placement.BEST_FIT)


def rows() -> list[Row]:
    return [
        row
        for nodes in SIZES
        for kind in _KINDS
        for policy in POLICIES
        for row in _rate(kind, nodes, policy)
    ]


def scorer_of(policy: Placement, world: World) -> Scorer:
    """The policy, with the mix of what waits learned."""
    places = Counter(row.job_class for row in world.waiting.values())
    counts = [places[i] for i in range(len(world.classes))]
    return scorer(policy, tables=learn(counts, world.classes, world.nodes.values()))


def gangs(rng: Random) -> list[JobClass]:
    """Gangs of 2 to 8 whole nodes, half of them bound to one rack."""
    return [
        ask(
            cpus=rng.randrange(32, 64),
            memory_gib=rng.randrange(64, 256),
            gpus=8,
            nodes=count,
            level="rack" if required else "",
            required=required,
        )
        for count in (2, 3, 4, 8)
        for required in (False, True)
    ]


def singles(rng: Random) -> list[JobClass]:
    """Shares, some GPUs of one node, work without GPUs."""
    return [
        ask(cpus=rng.randrange(1, 8), memory_gib=rng.randrange(1, 32), gpus=gpus)
        for gpus in (0, 0.1, 0.25, 0.5, 1, 1, 1, 2, 4, 8)
        for _ in range(5)
    ]


_KINDS = {"gangs of 2-8 whole nodes": gangs, "parts of nodes": singles}


def placement_world(nodes: int, kind: str, starts: int = STARTS) -> World:
    """Empty nodes in racks of 20, and `starts` jobs that wait."""
    rng = Random(3)
    world = World(
        *(
            node(
                f"n{i:05}",
                cpus=64,
                memory_gib=512,
                gpus=8,
                topology=(f"row{i // 200:03}", f"rack{i // 20:04}"),
            )
            for i in range(nodes)
        )
    )
    classes = _KINDS[kind](rng)
    for _ in range(starts):
        world.submit(rng.choice(classes))
    return world


def _rate(kind: str, nodes: int, policy: Placement) -> list[Row]:
    world = placement_world(nodes, kind)
    snapshot = world.snapshot()
    planner = Planner(snapshot, scorer_of(policy, world))
    planner.plan(now_us=0, max_starts=1)
    begin = time.process_time()
    made = planner.plan(now_us=0, max_starts=STARTS)
    spent_s = time.process_time() - begin
    parts = sum(len(d.parts) for d in made.decisions if isinstance(d, Start))
    starts = len(made.decisions)
    peer_starts, peer_s = first_fit(world, snapshot)
    what = f"{kind}, {nodes:,} nodes, {policy}"
    bar = "≥ 20,000/s" if nodes == 5_000 else ""
    note = f"{starts} starts, {parts} parts; first-fit loop {peer_starts / peer_s:,.0f}/s"
    rate, part_rate = starts / spent_s, parts / spent_s
    return [
        Row(bench="placement", what=f"starts, {what}", value=rate, unit="/s", bar="", note=note),
        Row(bench="placement", what=f"parts, {what}", value=part_rate, unit="/s", bar=bar),
    ]


def first_fit(world: World, snapshot: Snapshot) -> tuple[int, float]:
    """Starts, and the CPU seconds that they took."""
    free = {name: Free.of(one.capacity) for name, one in world.nodes.items()}
    starts = 0
    begin = time.process_time()
    for row in list(world.waiting.values())[: STARTS // 10]:
        wanted = snapshot.classes[row.job_class]
        found = []
        for name, one in world.nodes.items():
            devices = check(one, free[name], wanted.request, {})
            if not isinstance(devices, Misfit):
                found.append((name, devices))
                if len(found) == wanted.nodes:
                    break
        if len(found) == wanted.nodes:
            starts += 1
            for name, devices in found:
                free[name].take(wanted.request, devices)
    return starts, time.process_time() - begin
