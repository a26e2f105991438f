"""A planner kept by deltas plans exactly like a cold one, and like trying every node."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import tries
from tests.planner_worlds import (
    SECOND,
    World,
    brute_force,
    node,
    random_class,
    random_step,
    random_world,
)
from zenkei.model.ids import JobId
from zenkei.model.resources import Request
from zenkei.scheduler import Delta, JobClass, Planner, Start, plan

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


def join(rng: Random, world: World) -> Delta:
    """Some more jobs of the same kinds; now and then something that changes what can start."""
    for _ in range(rng.randrange(1, 4)):
        known = world.classes if rng.random() < 0.9 else [random_class(rng)]
        world.submit(
            rng.choice(known),
            priority=0 if rng.random() < 0.95 else 5,
            at_us=rng.randrange(1000) if rng.random() < 0.1 else -1,
            queue=rng.choice((0, 0, 0, 1)),
        )
    if world.held and rng.random() < 0.1:
        world.end(rng.choice(list(world.held)))
    if world.waiting and rng.random() < 0.1:
        world.cancel(rng.choice(list(world.waiting)))
    if rng.random() < 0.05:
        world.paused = "disk full" if not world.paused else ""
    return world.delta((), ())


@pytest.mark.parametrize("seed", range(tries(15)))
def test_a_crowd_that_others_join_is_planned_like_by_a_cold_one(seed: int) -> None:
    rng = Random(seed)
    world = random_world(rng, nodes=3, jobs=20)
    kept, cold = Planner(world.given().snapshot()), 0
    for step in range(60):
        planned = kept.plan(now_us=step * SECOND)
        fresh = Planner(world.snapshot(rng))
        again = fresh.plan(now_us=step * SECOND)
        assert planned == again
        for row in world.waiting.values():
            job = JobId.from_key(row.job)
            assert planned.reason(job) == again.reason(job)
        cold += not planned.decisions
        world.start(planned)
        kept.apply(join(rng, world))
    assert cold > 20, "mostly nothing can start"


def test_who_is_behind_a_blocked_job_waits_and_is_explained_as_ever() -> None:
    world = World(node("n1", cpus=8))
    whole, half = (JobClass(request=Request(cpu_milli=cpu)) for cpu in (8000, 4000))
    world.submit(half)
    kept = Planner(world.given().snapshot())
    world.start(kept.plan(now_us=0))
    world.submit(whole)
    kept.apply(world.delta((), ()))
    assert kept.plan(now_us=1).decisions == ()
    late, other = world.submit(whole), world.submit(half)
    kept.apply(world.delta((), ()))
    planned = kept.plan(now_us=2)
    assert planned == plan(world.snapshot(), now_us=2)
    assert [one.job for one in planned.decisions if isinstance(one, Start)] == [other]
    assert planned.reason(late) is not None
