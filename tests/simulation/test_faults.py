"""The production controller under seeded crashes, errors and reboots."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from zenkei.sim.faults import PEACE, FaultRates
from zenkei.sim.workload import Users, cluster
from zenkei.sim.world import World

SEEDS = range(200)
TROUBLE = FaultRates(
    crash=0.02,
    engine_error=0.05,
    report_doubled=0.2,
    reboot=0.5,
    failed_exit=0.1,
    build_error=0.2,
)


def run(seed: int, rates: FaultRates, jobs: int = 10) -> World:
    rng = Random(seed)
    world = World(seed, cluster(rng), rates)
    Users(world, rng, jobs=jobs, span_s=120.0)
    for node in world.engine.inventory():
        if rng.random() < rates.reboot:
            world.clock.call_in(rng.uniform(1, 300), partial(world.engine.reboot, node.name))
    world.run()
    return world


@pytest.mark.parametrize("block", range(0, len(SEEDS), 20))
def test_a_controller_that_dies_anywhere_loses_and_doubles_nothing(block: int) -> None:
    worlds = [run(seed, TROUBLE) for seed in SEEDS[block : block + 20]]
    assert sum(world.faults.crashes for world in worlds) > 100, "the faults must really happen"
    assert all(world.acknowledged for world in worlds)


def test_in_peace_every_launch_happens_once() -> None:
    world = run(7, PEACE, jobs=30)
    launches = [run_.launches for run_ in world.engine.runs.values()]
    assert launches
    assert set(launches) == {1}


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = run(3, TROUBLE), run(3, TROUBLE)
    assert first.faults.log == second.faults.log
    assert first.store.events(limit=100_000) == second.store.events(limit=100_000)
