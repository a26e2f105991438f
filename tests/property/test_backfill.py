"""What never happens in time, and what finally does: promises, reservations, back-filling."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calendar_worlds import Taken, Trial, Work, at, earliest, small_cluster
from tests.effort import tries
from tests.planner_worlds import ask, node
from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig, Policy, Reservation
from zenkei.model.resources import Misfit
from zenkei.scheduler.calendar import Calendar, bookings
from zenkei.scheduler.free import HeldPart, check, left_of
from zenkei.scheduler.holdings import holdings
from zenkei.scheduler.promises import NEVER_US, Promise
from zenkei.scheduler.snapshot import JobClass

SEEDS = st.integers(0, 2**32)


def key(number: int) -> int:
    return JobId(number).key


def some_class(rng: Random, most_nodes: int, *, shares: bool = True) -> JobClass:
    gpus = rng.choice((0, 1, 1, 2, 2, 4, *((0.25, 0.5, 0.7) if shares else ())))
    return ask(
        cpus=rng.choice((0.5, 1, 2, 4)),
        memory_gib=rng.choice((1, 4, 8)),
        gpus=gpus,
        nodes=rng.choice((1, 1, 2, 3, most_nodes)),
    )


def some_work(rng: Random, number: int, nodes: int, *, unlimited: float) -> list[Work]:
    made = []
    for i in range(number):
        limit_us = at(rng.randrange(1, 60))
        run_us = limit_us if rng.random() < 0.4 else rng.randrange(1, limit_us)
        if rng.random() < unlimited:
            limit_us = 0
        wanted = some_class(rng, nodes)
        user = rng.choice(("ann", "bob"))
        made.append(Work(key(i + 1), wanted, at(rng.randrange(120)), run_us, limit_us, user))
    return made


# -- the earliest instant ------------------------------------------------------------------------
def crowd(rng: Random, nodes: list[Node]) -> list[tuple[HeldPart, int]]:
    """Parts of running jobs with their ends, as many as fit."""
    parts: list[tuple[HeldPart, int]] = []
    for job in range(1, 30):
        one, wanted = rng.choice(nodes), some_class(rng, 1)
        own = [part for part, _ in parts if part.node == one.name]
        devices = check(one, left_of(one, own), wanted.request, {})
        if not isinstance(devices, Misfit):
            r = wanted.request
            ends_us = NEVER_US if rng.random() < 0.1 else at(rng.choice((5, 7, 7, 10, 20, 31)))
            part = HeldPart(key(job), one.name, r.cpu_milli, r.memory_bytes, r.tmp_bytes, devices)
            parts.append((part, ends_us))
    return parts


def some_reservations(rng: Random, nodes: list[Node]) -> tuple[Reservation, ...]:
    return tuple(
        Reservation(
            name=f"r{i}",
            nodes=tuple(one.name for one in rng.sample(nodes, rng.randrange(1, len(nodes) + 1))),
            from_us=(start_us := at(rng.randrange(-5, 40))),
            to_us=start_us + at(rng.randrange(1, 20)),
            users=("bob",) if rng.random() < 0.5 else (),
        )
        for i in range(rng.choice((0, 0, 1, 2, 3)))
    )


@given(SEEDS)
@settings(max_examples=tries(300), deadline=None)
def test_a_promise_is_the_earliest_instant_there_is(seed: int) -> None:
    rng = Random(seed)
    nodes = small_cluster(rng, rng.choice((1, 2, 4, 6)))
    parts = crowd(rng, nodes)
    config = ClusterConfig(reservations=some_reservations(rng, nodes))
    booked = bookings(config, (one.name for one in nodes))
    ends = {part.job: ends_us for part, ends_us in parts}
    held = holdings(nodes, (part for part, _ in parts), ends)
    calendar = Calendar(held, config, 0, booked=booked)
    taken: list[Taken] = []
    for job in range(100, 106):
        wanted = some_class(rng, len(nodes), shares=job == 105)
        limit_us = rng.choice((0, at(3), at(10), at(30)))
        user = rng.choice(("ann", "bob"))
        closed = [
            (b.nodes, b.of.from_us, b.of.to_us)
            for b in booked
            if b.of.to_us > 0 and user not in b.of.users
        ]
        expected = earliest(nodes, parts, taken, closed, wanted, limit_us, 0)
        said = calendar.promise(key(job), wanted, limit_us=limit_us, user=user)
        if expected is None:
            assert not isinstance(said, Promise)
            continue
        assert isinstance(said, Promise)
        assert max(said.at_us, 1) == max(expected, 1)
        assert len(set(said.nodes)) == wanted.nodes
        r = wanted.request
        taken += [
            Taken(name, said.due_us, said.ends_us, r.cpu_milli, r.memory_bytes, r.gpu_count)
            for name in said.nodes
        ]


# -- the course of things ------------------------------------------------------------------------
@given(SEEDS)
@settings(max_examples=tries(20), deadline=None)
def test_no_gang_starts_later_than_it_was_first_promised(seed: int) -> None:
    rng = Random(seed)
    nodes = small_cluster(rng, 4)
    policy = Policy(reserve_gangs=rng.choice((1, 2, 4, 16)), tolerance_s=rng.choice((0, 0, 3)))
    story = Trial(nodes, some_work(rng, 40, 4, unlimited=0.1), policy).run()
    for job, by_us in story.by_us.items():
        assert story.started_us[job] <= by_us


@given(SEEDS)
@settings(max_examples=tries(20), deadline=None)
def test_the_first_in_line_starts_in_time_even_if_no_promise_is_remembered(seed: int) -> None:
    rng = Random(seed)
    nodes = small_cluster(rng, 4)
    work = some_work(rng, 40, 4, unlimited=0.1)
    story = Trial(nodes, work, Policy(reserve_gangs=3), remember=False).run()
    for job in story.headed:
        assert story.started_us[job] <= story.by_us[job]


@given(SEEDS)
@settings(max_examples=tries(20), deadline=None)
def test_no_job_that_is_not_admitted_can_run_into_a_reservation(seed: int) -> None:
    rng = Random(seed)
    nodes = small_cluster(rng, 4)
    work = some_work(rng, 30, 4, unlimited=0.3)
    reservations = some_reservations(rng, nodes)
    story = Trial(nodes, work, Policy(reserve_gangs=4), reservations).run()
    limits = {one.job: one for one in work}
    for job, start_us in story.started_us.items():
        end_us = start_us + limits[job].limit_us if limits[job].limit_us else NEVER_US
        for one in reservations:
            if limits[job].user not in one.users and set(one.nodes) & set(story.nodes[job]):
                assert end_us <= one.from_us or one.to_us <= start_us


@pytest.mark.parametrize("limited", [True, False])
@given(SEEDS)
@settings(max_examples=tries(4), deadline=None)
def test_small_jobs_that_keep_coming_do_not_starve_a_large_gang(limited: bool, seed: int) -> None:
    """They come faster than they end: there is always one that would fit."""
    rng = Random(seed)
    nodes = [node(f"n{i}", cpus=8, memory_gib=64, gpus=4) for i in range(6)]
    small = [
        Work(key(i + 2), ask(gpus=1), at(i * 0.6), at(rng.randrange(10, 25)), at(25) * limited)
        for i in range(260)
    ]
    gang = Work(key(1), ask(gpus=4, nodes=3), at(50), at(10), at(10))
    policy = Policy(starvation_s=30, collect_gpus_milli=500, reserve_gangs=4)
    story = Trial(nodes, [*small, gang], policy).run()
    assert story.started_us[gang.job] <= at(50 + 30 + 2 * 25)


@given(SEEDS)
@settings(max_examples=tries(5), deadline=None)
def test_gangs_that_collect_keep_no_more_idle_than_they_may(seed: int) -> None:
    rng = Random(seed)
    nodes = [node(f"n{i:02}", cpus=16, memory_gib=64, gpus=4) for i in range(10)]
    work = [
        Work(
            key(i + 1),
            ask(gpus=4, nodes=rng.choice((2, 3, 5))) if rng.random() < 0.2 else ask(gpus=1),
            at(rng.randrange(100)),
            at(rng.randrange(5, 40)),
            0,
        )
        for i in range(150)
    ]
    policy = Policy(starvation_s=10, collect_gpus_milli=300)
    story = Trial(nodes, work, policy).run(4_000)
    assert story.idle_gpu_milli <= 12_000
    assert len(story.started_us) == len(work)
