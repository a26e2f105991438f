"""Worlds in which teams share: queues, priorities, limits, elastic gangs, edits; their checker."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from tests.builders import node, part
from tests.effort import tries
from zenkei.model import event as e
from zenkei.model.data import Digest
from zenkei.model.event import Event, EventBody
from zenkei.model.ids import JobId
from zenkei.model.job import FailureClass, HoldReason, JobState, StopReason
from zenkei.sim.displacing import Log
from zenkei.sim.faults import PEACE, FaultRates
from zenkei.sim.workload import Users, cluster, share
from zenkei.sim.world import World

TROUBLE = FaultRates(crash=0.02, engine_error=0.05, report_doubled=0.2, failed_exit=0.1, torn=0.1)
HOUR_US = 3_600_000_000


def run(seed: int, rates: FaultRates) -> World:
    rng = Random(seed)
    world = World(seed, cluster(rng), rates)
    share(world)
    Users(world, rng, jobs=12, span_s=120.0, shared=True)
    for one in world.engine.inventory():
        if rng.random() < rates.reboot:
            world.clock.call_in(rng.uniform(1, 300), partial(world.engine.reboot, one.name))
    world.run()
    return world


@pytest.mark.parametrize("rates", [PEACE, TROUBLE], ids=["peace", "trouble"])
def test_teams_that_share_a_cluster_all_come_to_their_end(rates: FaultRates) -> None:
    worlds = [run(seed, rates) for seed in range(tries(12, least=4))]
    kinds = {event.kind.value for world in worlds for event in world.store.events(limit=10_000)}
    assert "edited" in kinds
    queues = {row.queue for world in worlds for row in world.tables.jobs.values()}
    assert queues == {"a.train", "a.debug", "b"}


# -- the checker itself: each planted breach is found ----------------------------------------------

ONE, TWO, THREE = JobId(1), JobId(2), JobId(3)


class Story:
    """Events by hand, one each second."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def say(self, job: JobId, body: EventBody, after_us: int = 1_000_000) -> Story:
        at_us = self.events[-1].at_us + after_us if self.events else 10**12
        seq = len(self.events) + 1
        self.events.append(Event(job=job, version=1, at_us=at_us, body=body, seq=seq))
        return self

    def waits(self, *jobs: JobId) -> Story:
        for job in jobs:
            self.say(job, e.Prepared())
        return self

    def runs(self, job: JobId, *devices: int, cpu_milli: int = 1000, attempt: int = 1) -> Story:
        held = (part("n1", *devices, cpu_milli=cpu_milli),)
        return self.say(job, e.Allocated(attempt=attempt, cluster="x", parts=held))

    def claims(self, job: JobId, *devices: int, cpu_milli: int = 1000, us: int = 10**9) -> Story:
        until_us = self.events[-1].at_us + us
        kept = (part("n1", *devices, cpu_milli=cpu_milli),)
        return self.say(job, e.Claimed(cluster="x", parts=kept, until_us=until_us))

    def displaced(self, job: JobId, favoured: JobId, why: str = "priority") -> Story:
        stop = e.StopOrdered(
            attempt=1, reason=StopReason.PREEMPTED, favoured=str(favoured), why=why
        )
        return self.say(job, stop)

    def back(self, job: JobId) -> Story:
        back = e.Released(attempt=1, next=JobState.PENDING, failure=FailureClass.PREEMPTED)
        return self.say(job, back)

    def breaches(self, most: int = 3) -> list[str]:
        return list(Log({"n1": node("n1")}, most).breaches(self.events))


def good() -> Story:
    """One runs, is displaced for Two, which gets what was claimed for it."""
    story = Story().waits(ONE, TWO, THREE).runs(ONE, 0, 1)
    return story.displaced(ONE, TWO).claims(TWO, 0, 1).back(ONE)


def test_a_displacement_as_it_should_be_is_no_breach() -> None:
    assert good().runs(TWO, 0, 1).runs(THREE, 2).breaches() == []
    assert good().runs(THREE, 2, 3).runs(TWO, 0, 1).breaches() == []


def test_what_is_claimed_is_nobody_elses_while_the_claim_lasts() -> None:
    assert "claimed for job 2" in good().runs(THREE, 1).breaches()[0]
    whole = Story().waits(TWO, THREE).claims(TWO, cpu_milli=40_000)
    assert whole.runs(THREE, cpu_milli=30_000).breaches() != []


@pytest.mark.parametrize(
    "end",
    [
        e.Held(reasons=(HoldReason.USER,)),
        e.Cancelled(),
        e.Edited(spec=Digest("x"), queue="q", priority=1),
        e.Claimed(cluster="", parts=(), until_us=0),
    ],
    ids=lambda body: type(body).__name__,
)
def test_a_claim_that_ended_keeps_nothing(end: EventBody) -> None:
    assert good().say(TWO, end).runs(THREE, 1).breaches() == []


def test_a_claim_that_ran_out_keeps_nothing() -> None:
    story = Story().waits(TWO, THREE).claims(TWO, 0, us=500_000)
    assert story.runs(THREE, 0).breaches() == []


def test_nobody_is_displaced_for_a_job_that_does_not_wait() -> None:
    assert Story().waits(ONE).runs(ONE, 0).displaced(ONE, TWO).breaches() != []
    assert Story().waits(ONE).runs(ONE, 0).displaced(ONE, ONE).breaches() != []


def test_nobody_is_displaced_twice_in_one_attempt_or_without_a_right() -> None:
    story = Story().waits(ONE, TWO).runs(ONE, 0)
    assert story.displaced(ONE, TWO, why="").breaches() != []
    assert story.displaced(ONE, TWO).breaches() != []


def test_nobody_is_displaced_more_often_within_an_hour_than_the_policy_lets() -> None:
    story = Story().waits(ONE, TWO)
    for _ in range(3):
        story.runs(ONE, 0).displaced(ONE, TWO).back(ONE)
    assert story.breaches(most=3) == []
    assert "3 times within an hour" in story.breaches(most=2)[0]


def test_what_was_an_hour_ago_does_not_count() -> None:
    story = Story().waits(ONE, TWO)
    for _ in range(3):
        story.runs(ONE, 0).displaced(ONE, TWO).back(ONE)
        story.say(THREE, e.Prepared(), after_us=HOUR_US)
    assert story.breaches(most=1) == []
