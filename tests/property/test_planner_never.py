"""What a plan never does, and what it always does, in worlds of any kind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import tries
from tests.planner_worlds import (
    World,
    ask,
    avoided,
    brute_force,
    free_now,
    node,
    random_step,
    random_world,
)
from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.model.instants import MAX_BACKOFF_S, is_ahead
from zenkei.model.resources import WHOLE_GPU_MILLI, Misfit
from zenkei.scheduler import JobClass, Plan, Planner, Severity, Start, check, plan

NOW_US = 1_000_000


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A world that already runs something."""
    rng = draw(st.randoms(use_true_random=False))
    world = random_world(rng, draw(st.integers(0, 6)), draw(st.integers(0, 14)))
    world.start(plan(world.snapshot(), now_us=NOW_US, max_starts=draw(st.integers(0, 6))))
    return world


def starts_of(made: Plan) -> list[Start]:
    return [d for d in made.decisions if isinstance(d, Start)]


@settings(deadline=None)
@given(world=worlds())
def test_no_device_is_given_twice(world: World) -> None:
    world.start(plan(world.snapshot(), now_us=NOW_US))
    given_milli: Counter[tuple[str, int]] = Counter()
    for parts in world.held.values():
        for part in parts:
            for share in part.devices:
                given_milli[part.node, share.index] += share.milli
    assert all(milli <= WHOLE_GPU_MILLI for milli in given_milli.values()), given_milli


@settings(deadline=None)
@given(world=worlds())
def test_a_gang_is_never_split(world: World) -> None:
    made = plan(world.snapshot(), now_us=NOW_US)
    for start in starts_of(made):
        wanted = world.class_of(start.job)
        number = len(start.parts)
        assert number == len({part.node for part in start.parts})
        assert wanted.fewest <= number <= wanted.nodes
        assert {world.nodes[part.node].cluster for part in start.parts} == {start.cluster}
        assert all(part.request == wanted.request for part in start.parts)


@settings(deadline=None)
@given(world=worlds())
def test_a_required_level_is_never_left_and_ranks_follow_the_topology(world: World) -> None:
    made = plan(world.snapshot(), now_us=NOW_US)
    for start in starts_of(made):
        wanted = world.class_of(start.job)
        places = [(world.nodes[p.node].topology, p.node) for p in start.parts]
        if not wanted.prefer:
            assert places == sorted(places)
        if wanted.required and wanted.nodes > 1:
            names = world.levels.index(wanted.level) + 1
            domains = {path[:names] for path, _ in places}
            assert len(domains) == 1
            assert len(domains.pop()) == names


@settings(deadline=None)
@given(world=worlds())
def test_every_start_passes_the_applier_in_the_order_of_the_plan(world: World) -> None:
    free = free_now(world)
    for start in starts_of(plan(world.snapshot(), now_us=NOW_US)):
        wanted = world.class_of(start.job)
        constraints, avoid = dict(wanted.constraints), () if start.forgives else wanted.avoid
        for part in start.parts:
            one = world.nodes[part.node]
            assert check(one, free[part.node], part.request, constraints, avoid) == part.devices
            free[part.node].take(part.request, part.devices)


@settings(deadline=None)
@given(world=worlds())
def test_equal_jobs_start_in_order_of_priority_and_submission(world: World) -> None:
    made = plan(world.snapshot(), now_us=NOW_US)
    for place in range(len(world.classes)):
        line = sorted(
            (-row.priority, row.submitted_us, row.job)
            for row in world.waiting.values()
            if row.job_class == place and not is_ahead(row.not_before_us, NOW_US)
        )
        began = [s.job.key for s in starts_of(made) if world.waiting[s.job.key].job_class == place]
        assert began == [job for _, _, job in line[: len(began)]]


@settings(deadline=None)
@given(world=worlds())
def test_a_job_that_fits_is_started(world: World) -> None:
    made = plan(world.snapshot(), now_us=NOW_US)
    assert not made.more
    world.start(made)
    assert brute_force(world, NOW_US, max_starts=1) == ()


@settings(deadline=None)
@given(world=worlds(), most=st.integers(0, 4))
def test_everybody_starts_or_has_a_reason_with_a_sentence(world: World, most: int) -> None:
    made = plan(world.snapshot(), now_us=NOW_US, max_starts=most)
    began = {start.job for start in starts_of(made)}
    assert len(began) <= most
    for key in world.waiting:
        reason = made.reason(JobId.from_key(key))
        assert (reason is None) == (JobId.from_key(key) in began)
        assert reason is None or (
            reason.text and (reason.severity is not Severity.NEVER or reason.hint)
        )


def domain_of(world: World, one: Node, wanted: JobClass) -> tuple[str, ...]:
    """What all nodes of a gang must have in common with this one; empty: it is in no domain."""
    if not wanted.required or wanted.nodes == 1:
        return (one.cluster,)
    names = world.levels.index(wanted.level) + 1 if wanted.level in world.levels else 99
    return (one.cluster, *one.topology[:names]) if len(one.topology) >= names else ()


@settings(deadline=None)
@given(world=worlds())
def test_what_is_called_impossible_does_not_fit_the_empty_cluster(world: World) -> None:
    made = plan(world.snapshot(), now_us=NOW_US)
    world.held.clear()
    free = free_now(world)
    for failed in made.reasons:
        request, wanted = failed.job_class.request, dict(failed.job_class.constraints)
        avoid = avoided(world, failed.job_class)
        able = Counter(
            together
            for name, one in world.nodes.items()
            if not isinstance(check(one, free[name], request, wanted, avoid), Misfit)
            and (together := domain_of(world, one, failed.job_class))
        )
        possible = any(number >= failed.job_class.fewest for number in able.values())
        assert possible == (failed.reason.severity is Severity.WAITING)


@settings(max_examples=tries(30), deadline=None)
@given(world=worlds(), rng=st.randoms(use_true_random=False))
def test_the_nearest_request_would_really_start(world: World, rng: Random) -> None:
    """Ask for what `explain` offers, alone in line: it starts."""
    planner = Planner(world.snapshot())
    made = planner.plan(now_us=NOW_US, max_starts=0)
    for key in list(world.waiting):
        explained = planner.explain(JobId.from_key(key), made)
        assert explained is not None
        for offer in explained.nearest:
            alone = World(*world.nodes.values())
            alone.held = world.held
            alone.submit(offer.apply(world.class_of(JobId.from_key(key))))
            assert len(plan(alone.snapshot(), now_us=NOW_US).decisions) == 1, offer


@settings(deadline=None)
@given(delay_us=st.integers(0, int(MAX_BACKOFF_S * 1e6)), set_back_us=st.integers(0, 10**13))
def test_no_retry_waits_much_longer_than_the_longest_delay_wherever_the_clock_goes(
    delay_us: int, set_back_us: int
) -> None:
    then_us = 10**15
    world = World(node("n"))
    world.submit(ask(), not_before_us=then_us + delay_us)
    planner = Planner(world.snapshot())
    planner.plan(now_us=then_us)
    now_us = then_us - set_back_us
    made = planner.plan(now_us=now_us)
    # as the controller does: plan again when the plan says so
    while not made.decisions and made.next_us is not None and made.next_us > made.now_us:
        made = planner.plan(now_us=made.next_us)
    assert made.decisions
    waited_us = made.now_us - now_us
    assert waited_us <= 1.1 * MAX_BACKOFF_S * 1e6


PROGRAM = """
from random import Random
from tests.planner_worlds import random_step, random_world
from zenkei.scheduler import Planner
rng = Random(7)
world = random_world(rng, 10, 40)
kept = Planner(world.given().snapshot())
for cycle in range(10):
    made = kept.plan(now_us=cycle)
    print(made.decisions, made.reasons, made.trace)
    world.start(made)
    kept.apply(random_step(rng, world, cycle))
"""


def test_the_hash_seed_does_not_matter() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(said) == 1
    assert "Start(" in said.pop()


@pytest.mark.parametrize("seed", range(tries(3)))
def test_a_long_life_does_not_grow_the_index(seed: int) -> None:
    rng = Random(seed)
    world = random_world(rng, 6, 10)
    kept = Planner(world.given().snapshot())
    for cycle in range(150):
        world.submit(ask(gpus=rng.randrange(1, 1000) / 1000))
        world.start(kept.plan(now_us=cycle))
        kept.apply(random_step(rng, world, cycle))
    known = kept._known.index._columns.values()
    assert sum(len(one.rows) for one in known) <= 2 * 12 + 2 * 64
    cells = sum(len(one.rows) * len(one._ratings) for one in known)
    assert cells < 5_000


def test_a_node_that_returns_brings_what_is_held_on_it() -> None:
    world = World(node("a", cpus=1))
    world.submit(ask())
    kept = Planner(world.given().snapshot())
    world.start(kept.plan(now_us=0))
    kept.apply(world.delta(removed=("a",)))
    world.submit(ask())
    kept.apply(world.delta(nodes=(node("a", cpus=1),)))
    assert kept.plan(now_us=0).decisions == ()
