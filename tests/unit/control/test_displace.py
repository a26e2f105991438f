"""What a plan says of running jobs and of claims, applied: each decision holds or is passed by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.plant import ALICE, ROOT, Plant, node
from zenkei.control.apply import Applied, apply_plan
from zenkei.control.specs import SpecCache
from zenkei.model import event as e
from zenkei.model.cluster import Node, NodePart
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import (
    CheckpointPolicy,
    JobSpec,
    JobState,
    ResourceRequest,
    StopReason,
    node_request,
    preemptions,
)
from zenkei.model.resources import Request
from zenkei.ports.engine import LaunchOrder
from zenkei.scheduler import Decision, Grow, Hold, Preempt, PreemptReason, Reserve, Start

SPEC = JobSpec(
    name="job",
    command="train",
    resources=ResourceRequest(node=Request(cpu_milli=4000)),
    checkpoint=CheckpointPolicy(grace_s=33.0),
    grace_s=7.0,
)
GANG = replace(SPEC, resources=replace(SPEC.resources, nodes=3, least=1))


class World(Plant):
    """Jobs that never end by themselves, and plans by hand."""

    def __init__(self, *nodes: Node) -> None:
        self.orders: list[LaunchOrder] = []
        super().__init__(*nodes, program=self.orders.append)

    def apply(self, *decisions: Decision) -> Applied:
        return apply_plan(self.store, SpecCache(self.store), decisions)

    def parts(self, job: JobId, *names: str) -> tuple[NodePart, ...]:
        row = self.row(job)
        request = node_request(row, SpecCache(self.store).get(row.spec))
        return tuple(NodePart(node=name, request=request) for name in names)

    def last_stop(self, job: JobId) -> e.StopOrdered:
        stops = [x.body for x in self.store.events(job=job) if isinstance(x.body, e.StopOrdered)]
        return stops[-1]


@pytest.fixture
def world() -> World:
    return World(node("n1"))


def preempt(victim: JobId, favoured: JobId) -> Preempt:
    return Preempt(
        victim=victim, favoured=favoured, reason=PreemptReason.RECLAIM, lost_gpu_milli_s=5
    )


def pair(world: World) -> tuple[JobId, JobId]:
    """A job that runs, and one that waits behind it."""
    victim, favoured = world.run(SPEC), world.run(replace(SPEC, priority=9))
    assert (world.state(victim), world.state(favoured)) == (JobState.RUNNING, JobState.PENDING)
    return victim, favoured


def test_a_victim_is_asked_for_a_checkpoint_first_and_told_for_whom_it_makes_room(
    world: World,
) -> None:
    victim, favoured = pair(world)
    applied = world.apply(preempt(victim, favoured))
    assert applied.displaced == (AttemptId(victim, 1),)
    stop = world.last_stop(victim)
    assert (stop.reason, stop.favoured, stop.why) == (
        StopReason.PREEMPTED,
        str(favoured),
        "reclaim",
    )
    assert (stop.checkpoint_s, stop.grace_s) == (33.0, 7.0)


def test_the_favoured_job_gets_the_place_and_the_victim_waits_for_another(world: World) -> None:
    victim, favoured = pair(world)
    until_us = world.clock.now_us() + 60_000_000
    hold = Hold(
        job=favoured, cluster="inline", parts=world.parts(favoured, "n1"), until_us=until_us
    )
    assert world.apply(preempt(victim, favoured), hold).claimed == (favoured,)
    world.settle()
    assert world.state(favoured) is JobState.RUNNING
    row = world.row(victim)
    assert (row.state, row.counted) == (JobState.PENDING, 0)
    assert preemptions(row, world.clock.now_us()) == 1
    assert world.row(favoured).claim is None


def test_applying_the_same_decisions_twice_changes_nothing_more(world: World) -> None:
    victim, favoured = pair(world)
    until_us = world.clock.now_us() + 60_000_000
    hold = Hold(
        job=favoured, cluster="inline", parts=world.parts(favoured, "n1"), until_us=until_us
    )
    assert world.apply(preempt(victim, favoured), hold)
    seq = world.store.seq()
    again = world.apply(preempt(victim, favoured), replace(hold, until_us=until_us + 1))
    assert not again
    assert world.store.seq() == seq


def test_nothing_is_taken_for_a_job_that_no_longer_waits(world: World) -> None:
    victim, favoured = pair(world)
    world.commands.cancel(ALICE, favoured)
    hold = Hold(job=favoured, cluster="inline", parts=world.parts(favoured, "n1"), until_us=1)
    assert not world.apply(preempt(victim, favoured), hold)
    assert world.state(victim) is JobState.RUNNING


def test_a_victim_that_is_gone_or_ends_by_itself_is_left_alone(world: World) -> None:
    victim, favoured = pair(world)
    assert not world.apply(preempt(JobId(99), favoured), preempt(favoured, favoured))
    world.commands.cancel(ALICE, victim)
    assert not world.apply(preempt(victim, favoured))
    assert world.last_stop(victim).favoured == ""


def test_a_stale_decision_does_not_disturb_its_neighbours(world: World) -> None:
    victim, favoured = pair(world)
    stale = Start(job=favoured, cluster="inline", parts=world.parts(favoured, "n1"))
    applied = world.apply(stale, preempt(victim, favoured))
    assert (applied.refused, applied.displaced) == (1, (AttemptId(victim, 1),))


def test_what_is_reserved_changes_no_row(world: World) -> None:
    _, favoured = pair(world)
    seq = world.store.seq()
    reserve = Reserve(
        job=favoured, cluster="inline", parts=world.parts(favoured, "n1"), at_us=10**15
    )
    assert not world.apply(reserve)
    assert world.store.seq() == seq


# -- gangs of a size that may change ---------------------------------------------------------------


def small_gang(world: World, spec: JobSpec = GANG) -> JobId:
    """A gang that would take three nodes and runs on one."""
    world.nodes.drain(ROOT, "n1", reason="so that the plan is made by hand")
    job = world.run(spec)
    world.nodes.resume(ROOT, "n1")
    applied = world.apply(Start(job=job, cluster="inline", parts=world.parts(job, "n1")))
    assert applied.started == (AttemptId(job, 1),)
    world.settle()
    return job


@pytest.mark.parametrize(("nodes", "starts"), [(1, 1), (2, 1), (3, 1), (4, 0)])
def test_a_gang_starts_with_any_number_of_nodes_from_its_least_to_its_most(
    nodes: int, starts: int
) -> None:
    names = [f"n{i}" for i in range(1, 5)]
    world = World(*map(node, names))
    for name in names:
        world.nodes.drain(ROOT, name, reason="so that the plan is made by hand")
    job = world.run(GANG)
    for name in names:
        world.nodes.resume(ROOT, name)
    start = Start(job=job, cluster="inline", parts=world.parts(job, *names[:nodes]))
    applied = world.apply(start)
    assert (len(applied.started), applied.refused) == (starts, 1 - starts)


def test_the_ranks_of_an_elastic_gang_are_told_how_many_nodes_there_are(world: World) -> None:
    job = small_gang(world)
    (order,) = (order for order in world.orders if order.attempt == AttemptId(job, 1))
    assert [part.node for _, part in order.nodes] == ["n1"]


def test_a_gang_that_grows_is_asked_for_a_checkpoint_and_goes_back_into_the_line(
    world: World,
) -> None:
    job = small_gang(world)
    assert world.apply(Grow(job=job, nodes=2)).grown == (AttemptId(job, 1),)
    stop = world.last_stop(job)
    assert (stop.reason, stop.checkpoint_s) == (StopReason.RESIZED, 33.0)
    assert not world.apply(Grow(job=job, nodes=2))
    world.settle()
    row = world.row(job)
    assert (row.counted, row.preempted_us) == (0, ())


@pytest.mark.parametrize("nodes", [1, 4])
def test_a_gang_grows_to_what_it_asked_for_at_most(world: World, nodes: int) -> None:
    job = small_gang(world)
    assert not world.apply(Grow(job=job, nodes=nodes))


def test_a_gang_that_saves_no_checkpoints_is_not_stopped_to_grow(world: World) -> None:
    job = small_gang(world, replace(GANG, checkpoint=None))
    assert not world.apply(Grow(job=job, nodes=2))
    assert world.state(job) is JobState.RUNNING
