"""What preemption never does, how near it comes to the best, and that it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import tries
from tests.preemption_worlds import (
    Cluster,
    cheapest_of_all,
    fits_without,
    gangs_of_one_queue,
    random_asker,
    random_cluster,
    random_line,
    settle,
)
from zenkei.model.queue import Policy
from zenkei.scheduler import cover
from zenkei.scheduler.decisions import PreemptReason
from zenkei.scheduler.preemption import Asker, Displacement

MOST_ABOVE_BEST = 1.25
"""Times the best, on instances small enough to know it."""
USUALLY_BEST = 0.97


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Cluster, Asker]:
    rng = draw(st.randoms(use_true_random=False))
    if draw(st.booleans()):
        return gangs_of_one_queue(rng, draw(st.integers(3, 6)), draw(st.integers(1, 9)))
    cluster = random_cluster(rng, draw(st.integers(1, 5)), draw(st.integers(0, 10)))
    return cluster, random_asker(rng, cluster)


@settings(deadline=None, max_examples=tries(150))
@given(world=worlds())
def test_a_gang_is_displaced_only_if_the_whole_of_another_then_fits(
    world: tuple[Cluster, Asker],
) -> None:
    cluster, asker = world
    found = cluster.victims(asker)
    if not isinstance(found, Displacement):
        return
    gone = {preempt.victim.key for preempt in found.preempts}
    assert fits_without(cluster, asker, gone)
    assert len({part.node for part in found.hold.parts}) == asker.count
    cluster.leave(*gone)
    cluster.leave(*(job for job, one in cluster.running.items() if one.facts.stopping))
    cluster.take_place(asker, found.hold)  # asserts that each named device is free


@settings(deadline=None, max_examples=tries(150))
@given(world=worlds())
def test_nobody_is_displaced_who_need_not_be(world: tuple[Cluster, Asker]) -> None:
    cluster, asker = world
    found = cluster.victims(asker)
    gone = {p.victim.key for p in found.preempts} if isinstance(found, Displacement) else set()
    assert not [job for job in sorted(gone) if fits_without(cluster, asker, gone - {job})]


@settings(deadline=None, max_examples=tries(100))
@given(world=worlds())
def test_nobody_is_displaced_needlessly_where_the_search_is_cut_short(
    world: tuple[Cluster, Asker],
) -> None:
    cluster, asker = world
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cover, "_EFFORT", 0)
        found = cluster.victims(asker)
    gone = {p.victim.key for p in found.preempts} if isinstance(found, Displacement) else set()
    assert not [job for job in sorted(gone) if fits_without(cluster, asker, gone - {job})]


@settings(deadline=None, max_examples=tries(150))
@given(world=worlds())
def test_queues_that_lose_jobs_to_reclaim_keep_their_quota(world: tuple[Cluster, Asker]) -> None:
    cluster, asker = world
    found = cluster.victims(asker)
    if not isinstance(found, Displacement):
        return
    reclaimed = [p.victim.key for p in found.preempts if p.reason is PreemptReason.RECLAIM]
    own = cluster.path(asker.queue)
    theirs = {
        name
        for job in reclaimed
        if cluster.gpu_milli(job)
        for name in cluster.path(cluster.running[job].facts.queue)
        if name not in own
    }
    cluster.leave(*(p.victim.key for p in found.preempts))
    cluster.leave(*(job for job, one in cluster.running.items() if one.facts.stopping))
    for name in sorted(theirs):
        held, quota = cluster.held(name).gpu_milli, cluster.quota(name).gpu_milli
        assert held is not None
        assert held >= (quota or 0), name


@settings(deadline=None, max_examples=tries(100))
@given(world=worlds())
def test_the_order_in_which_the_world_is_told_does_not_matter(
    world: tuple[Cluster, Asker],
) -> None:
    cluster, asker = world
    found = cluster.victims(asker)
    cluster.nodes = dict(reversed(cluster.nodes.items()))
    cluster.running = dict(reversed(cluster.running.items()))
    assert cluster.victims(asker) == found


@pytest.mark.parametrize("kind", ["gangs of one queue", "queues with quotas"])
def test_what_is_lost_is_nearly_always_the_least_that_could_be(kind: str) -> None:
    instances = best = 0
    for seed in range(150):
        rng = Random(seed)
        if kind == "gangs of one queue":
            cluster, asker = gangs_of_one_queue(rng, 5, 9)
        else:
            cluster = random_cluster(rng, 5, 10)
            asker = random_asker(rng, cluster)
        least = cheapest_of_all(cluster, asker)
        if fits_without(cluster, asker, set()):
            continue
        found = cluster.victims(asker)
        assert isinstance(found, Displacement) == (least is not None), seed
        if isinstance(found, Displacement) and least is not None:
            instances += 1
            best += found.cost_gpu_milli_s == least
            assert least <= found.cost_gpu_milli_s <= MOST_ABOVE_BEST * least, seed
    assert instances > 20
    assert best >= USUALLY_BEST * instances


@settings(deadline=None, max_examples=tries(200))
@given(rng=st.randoms(use_true_random=False), jobs=st.integers(2, 12))
def test_without_arrivals_displacing_comes_to_an_end(rng: Random, jobs: int) -> None:
    cluster = random_cluster(rng, rng.choice((1, 2, 3)), 0)
    # nothing but the rules themselves ends it: nobody is protected
    cluster.policy = Policy(protect_s=0.0, most_preemptions=1_000_000, restart_s=0.0)
    line = random_line(rng, cluster, jobs)
    displaced = settle(rng, cluster, line, most=40 * jobs)
    assert len(displaced) < 40 * jobs, displaced[-20:]


@settings(deadline=None, max_examples=tries(150))
@given(world=worlds())
def test_a_victim_cannot_displace_the_job_that_it_made_room_for(
    world: tuple[Cluster, Asker],
) -> None:
    cluster, asker = world
    found = cluster.victims(asker)
    if not isinstance(found, Displacement):
        return
    cluster.policy = replace(cluster.policy, protect_s=0.0)
    victims = [cluster.running[p.victim.key] for p in found.preempts]
    cluster.leave(*(p.victim.key for p in found.preempts))
    cluster.leave(*(job for job, one in cluster.running.items() if one.facts.stopping))
    cluster.take_place(asker, found.hold)
    for one in victims:
        back = cluster.displaced(cluster.waits_again(one))
        assert asker.job not in (back or ())


PRINT = """
from random import Random
from tests.preemption_worlds import gangs_of_one_queue, random_asker, random_cluster
for seed in range(12):
    cluster, asker = gangs_of_one_queue(Random(seed))
    print(cluster.victims(asker))
    cluster = random_cluster(Random(seed))
    print(cluster.victims(random_asker(Random(seed), cluster)))
"""


def test_the_same_victims_under_every_hash_seed() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", PRINT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(said) == 1
    assert b"Preempt(" in said.pop()
