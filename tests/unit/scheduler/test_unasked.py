"""Jobs that ask for room in vain, plan after plan, keep nobody behind them from what is theirs."""

from __future__ import annotations

import pytest

from tests.cluster_life import Life, gpus
from tests.planner_worlds import SECOND, ask, node
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig, Policy, Queue
from zenkei.scheduler import Planner, Preempt, plan

QUEUES = (
    Queue(name="vision", quota=gpus(16)),
    Queue(name="speech", quota=gpus(8)),
    Queue(name="guests"),
)


def crowded() -> Life:
    """speech holds the pool that is its own; guests have all else, which vision could take back."""
    nodes = [
        node(f"n{i}", cpus=64, memory_gib=512, gpus=4, labels={"pool": "x" if i < 2 else "y"})
        for i in range(6)
    ]
    life = Life(ClusterConfig(queues=QUEUES, policy=Policy(protect_s=0)), nodes)
    for _ in range(2):
        life.submit(ask(gpus=4, pool=("x",)), "speech")
    for _ in range(4):
        life.submit(ask(gpus=4, pool=("y",)), "guests")
    life.obey(plan(life.snapshot(), now_us=life.now_us))
    assert len(life.running) == 6
    life.passes(60)
    return life


def favoured(life: Life) -> set[JobId]:
    """For whom somebody is displaced within a minute in which nothing else happens."""
    planner, found = Planner(life.snapshot()), set[JobId]()
    end_us = life.now_us + 60 * SECOND
    while not found:
        made = planner.plan(now_us=life.now_us)
        assert made == plan(life.snapshot(), now_us=life.now_us)
        found = {d.favoured for d in made.decisions if isinstance(d, Preempt)}
        if made.next_us is None or made.next_us > end_us:
            break
        life.now_us = made.next_us
    return found


@pytest.mark.parametrize("in_vain", [1, 4, 5, 9, 30])
def test_who_may_displace_others_does_so_whoever_asks_before_it(in_vain: int) -> None:
    life = crowded()
    for i in range(in_vain):
        life.submit(ask(gpus=4, cpus=2 + i, pool=("x",)), "vision")
    job = life.submit(ask(gpus=4), "vision", "bob")
    assert favoured(life) == {job}


def test_many_people_with_the_same_request_ask_once() -> None:
    life = crowded()
    for user in ("ann", "bob", "cho"):
        for priority in (0, 1):
            life.submit(ask(gpus=4, pool=("x",)), "vision", user, priority=priority)
    job = life.submit(ask(gpus=4), "vision", "cho")
    made = plan(life.snapshot(), now_us=life.now_us)
    assert {d.favoured for d in made.decisions if isinstance(d, Preempt)} == {job}
