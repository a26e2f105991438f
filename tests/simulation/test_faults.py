"""The production controller under seeded crashes, errors and reboots."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from tests.effort import QUICK, tries
from zenkei.model.job import JobState
from zenkei.ports.store import JobFilter
from zenkei.sim.faults import PEACE, FaultRates
from zenkei.sim.workload import Users, cluster
from zenkei.sim.world import World

BLOCK = tries(20, least=8)
SEEDS = range(8 if QUICK else 200)
DAY_S = 86_400.0
TROUBLE = FaultRates(
    crash=0.02,
    engine_error=0.05,
    report_doubled=0.2,
    reboot=0.5,
    failed_exit=0.1,
    build_error=0.2,
    torn=0.1,
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


@pytest.mark.parametrize("block", range(0, len(SEEDS), BLOCK))
def test_a_controller_that_dies_anywhere_loses_and_doubles_nothing(block: int) -> None:
    worlds = [run(seed, TROUBLE) for seed in SEEDS[block : block + BLOCK]]
    assert sum(world.faults.crashes for world in worlds) > 5 * BLOCK, (
        "the faults must really happen"
    )
    assert all(world.acknowledged for world in worlds)
    resumed = [run_ for world in worlds for run_ in world.engine.runs.values() if run_.base]
    assert len(resumed) > BLOCK / 4, "checkpoints must really be resumed from"


def test_in_peace_every_launch_happens_once() -> None:
    world = run(7, PEACE, jobs=30)
    launches = [run_.launches for run_ in world.engine.runs.values()]
    assert launches
    assert set(launches) == {1}


def ends_under_a_clock_that_jumps(seed: int) -> tuple[int, float]:
    """Jumps in the first minutes by days, either way. Retries under way then, and the duration."""
    rng = Random(seed)
    world = World(seed, cluster(rng), TROUBLE)
    Users(world, rng, jobs=8, span_s=120.0)
    delayed = 0

    def jump() -> None:
        nonlocal delayed
        world.wall.set(rng.uniform(-5, 5) * DAY_S)
        rows = world.store.jobs(JobFilter(), limit=1000).items
        delayed += sum(row.state is JobState.PENDING and row.not_before_us > 0 for row in rows)

    for _ in range(6):
        world.clock.call_in(rng.uniform(5, 400), jump)
    began_us = world.clock.now_us()
    world.run()
    return delayed, (world.clock.now_us() - began_us) / 1e6


def test_a_clock_that_is_set_by_days_either_way_makes_no_retry_wait_for_an_old_hour() -> None:
    ends = [ends_under_a_clock_that_jumps(seed) for seed in range(tries(25, least=8))]
    waited = sum(delayed for delayed, _ in ends)
    assert waited > len(ends) / 2, "jobs must really wait for their retries"
    assert max(took_s for _, took_s in ends) < DAY_S / 4


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = run(3, TROUBLE), run(3, TROUBLE)
    assert first.faults.log == second.faults.log
    assert first.store.events(limit=100_000) == second.store.events(limit=100_000)
