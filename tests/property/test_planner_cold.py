"""A planner kept by deltas plans exactly like a cold one, and like trying every node."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import tries
from tests.planner_worlds import SECOND, World, brute_force, random_step, random_world
from zenkei.scheduler import Planner, plan

# a clock that goes on, and is put right or wrong by some hours
STEPS_US = (0, SECOND // 3, SECOND, SECOND, -SECOND // 2, 7000 * SECOND, -7000 * SECOND)


def cycles(world: World, rng: Random, number: int, max_starts: int) -> None:
    """`number` cycles: plan, let it come true, let things happen, pass on the delta."""
    kept = Planner(world.given().snapshot())
    now_us = 0
    for _ in range(number):
        planned = kept.plan(now_us=now_us, max_starts=max_starts)
        assert planned == plan(world.snapshot(rng), now_us=now_us, max_starts=max_starts)
        assert planned.decisions == brute_force(world, now_us, max_starts)
        assert planned == kept.plan(now_us=now_us, max_starts=max_starts), (
            "planning changes nothing"
        )
        world.start(planned)
        kept.apply(random_step(rng, world, now_us))
        now_us = max(0, now_us + rng.choice(STEPS_US))


@pytest.mark.parametrize("seed", range(tries(12)))
def test_a_planner_kept_by_deltas_plans_like_a_cold_one(seed: int) -> None:
    rng = Random(seed)
    cycles(random_world(rng), rng, number=40, max_starts=rng.choice((2, 5, 256)))


@settings(max_examples=tries(40), deadline=None)
@given(rng=st.randoms(use_true_random=False), nodes=st.integers(0, 6), jobs=st.integers(0, 12))
def test_no_world_makes_the_kept_planner_differ(rng: Random, nodes: int, jobs: int) -> None:
    cycles(random_world(rng, nodes, jobs), rng, number=5, max_starts=8)
