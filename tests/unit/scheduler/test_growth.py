"""Gangs that take several sizes: when they ask for more nodes, and when they leave it."""

from __future__ import annotations

from dataclasses import replace

from tests.cluster_life import Life, gpu_nodes, gpus, teams
from tests.planner_worlds import ask
from zenkei.model.cluster import NodeState
from zenkei.model.ids import JobId
from zenkei.model.queue import Policy, Queue
from zenkei.scheduler import Grow, Plan, Start, plan

FOUR = ask(gpus=4)
ELASTIC = ask(gpus=4, nodes=4, least=1)
RIPE_S = 600
"""Ten times what a restart costs, by default."""


def planned(life: Life) -> Plan:
    return plan(life.snapshot(), now_us=life.now_us)


def growths(life: Life) -> list[tuple[JobId, int]]:
    return [(d.job, d.nodes) for d in planned(life).decisions if isinstance(d, Grow)]


def shrunk(limit_s: float = 0, **queues: Queue) -> tuple[Life, JobId]:
    """A gang that would take four nodes runs on two; the two others are free again."""
    life = Life(teams(Policy(), **queues), gpu_nodes(4))
    others = [life.submit(FOUR, "guests", user) for user in ("ann", "bob")]
    life.obey(planned(life))
    gang = life.submit(ELASTIC, "vision", limit_s=limit_s)
    life.obey(planned(life))
    assert life.running[gang.key].nodes == 2
    for job in others:
        life.end(job.key)
    return life, gang


def ripe(limit_s: float = 0, **queues: Queue) -> tuple[Life, JobId]:
    life, gang = shrunk(limit_s, **queues)
    life.passes(RIPE_S)
    life.saves(gang)
    return life, gang


def test_a_gang_grows_to_the_nodes_that_are_free() -> None:
    life, gang = ripe()
    assert growths(life) == [(gang, 4)]
    life.obey(planned(life))
    assert growths(life) == [], "it is on its way"
    life.passes(1)
    (start,) = (d for d in planned(life).decisions if isinstance(d, Start))
    assert (start.job, len(start.parts)) == (gang, 4)


def test_one_that_has_saved_nothing_keeps_what_it_has() -> None:
    life, _gang = shrunk()
    life.passes(RIPE_S)
    assert growths(life) == []


def test_it_is_not_disturbed_before_it_has_run_ten_times_what_a_restart_costs() -> None:
    life, gang = shrunk()
    life.passes(RIPE_S - 1)
    life.saves(gang)
    made = planned(life)
    assert growths(life) == []
    assert made.next_us == life.now_us + 1_000_000, "the planner looks again then"
    life.passes(1)
    assert growths(life) == [(gang, 4)]


def test_it_leaves_the_nodes_to_those_who_wait_for_them() -> None:
    life, gang = ripe()
    waits = life.submit(ask(gpus=4, nodes=3), "speech")
    assert growths(life) == []
    del life.waiting[waits.key]
    assert growths(life) == [(gang, 4)]


def test_who_can_never_start_keeps_nobody_from_growing() -> None:
    life, gang = ripe()
    life.submit(ask(gpus=64), "speech")
    assert growths(life) == [(gang, 4)]


def test_it_does_not_grow_beyond_the_cap_of_its_queue() -> None:
    life, gang = ripe(vision=Queue(name="vision", parent="research", cap=gpus(12)))
    assert growths(life) == [(gang, 3)]


def test_it_does_not_grow_for_a_time_that_is_shorter_than_a_restart() -> None:
    life, _ = ripe(limit_s=RIPE_S + 110)
    assert growths(life) == [], "it would save 55 s, and lose 60"
    life, gang = ripe(limit_s=RIPE_S + 130)
    assert growths(life) == [(gang, 4)]


def test_nodes_that_take_no_work_are_not_counted() -> None:
    life, gang = ripe()
    own = {part.node for part in life.held[gang.key]}
    free = min(life.nodes.keys() - own)
    life.nodes[free] = replace(life.nodes[free], state=NodeState.DRAINING)
    assert growths(life) == [(gang, 3)]


def test_one_gang_grows_at_a_time_the_more_important_first() -> None:
    life = Life(teams(Policy()), gpu_nodes(3))
    others = [life.submit(FOUR, "guests", user) for user in ("ann", "bob")]
    life.obey(planned(life))
    gangs = []
    for other, priority in zip(others, (0, 5), strict=True):
        gangs.append(life.submit(ask(gpus=4, nodes=3, least=1), "vision", priority=priority))
        life.obey(planned(life))
        life.end(other.key)
    life.passes(RIPE_S)
    for gang in gangs:
        life.saves(gang)
    assert [life.running[gang.key].nodes for gang in gangs] == [1, 1]
    assert growths(life) == [(gangs[1], 2)]


def test_one_that_is_stopping_does_not_grow() -> None:
    life, gang = ripe()
    life.running[gang.key] = life.running[gang.key]._replace(stopping=1)
    assert growths(life) == []
