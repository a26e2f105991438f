"""Limits above queues, quotas that are not lent, reclaim: what ends, and what is had at last."""

from __future__ import annotations

from random import Random

import pytest

from tests.cluster_life import LEAVES, USERS, Life, gpu_nodes, gpus
from tests.effort import tries
from tests.planner_worlds import ask
from zenkei.model.ids import JobId
from zenkei.model.queue import Amounts, ClusterConfig, Policy, Queue
from zenkei.scheduler import Planner, Preempt, ReasonCode, plan

LIMITS = {ReasonCode.QUEUE_CAP, ReasonCode.BORROW_LIMIT, ReasonCode.QUOTA_NOT_LENT}
MOST_PLANS = 150
UNSAID = Amounts()


def random_queues(rng: Random) -> tuple[Queue, ...]:
    """A department with a cap or without borrowing, guests beside it; some do not lend."""
    lends = (gpus(0), gpus(2))
    research = rng.choice(
        (
            Queue(name="research", quota=gpus(12), cap=gpus(12)),
            Queue(name="research", quota=gpus(12), borrow=False),
            Queue(name="research", quota=gpus(12), cap=gpus(14)),
            Queue(name="research"),
        )
    )
    return (
        research,
        Queue(name="vision", parent="research", quota=rng.choice((gpus(4), gpus(8), UNSAID))),
        Queue(name="speech", parent="research", quota=rng.choice((gpus(0), gpus(4), UNSAID))),
        Queue(name="guests", quota=gpus(rng.choice((0, 4))), lend_limit=rng.choice(lends)),
    )


def fill(rng: Random, life: Life, sizes: tuple[float, ...]) -> None:
    for _ in range(rng.randrange(12)):
        life.submit(
            ask(gpus=rng.choice(sizes)),
            rng.choice(LEAVES),
            rng.choice(USERS),
            priority=rng.choice((0, 0, 5)),
        )


def settled(rng: Random, life: Life, kept: Planner) -> int:
    """Plans come true until nothing changes any more; who was displaced, in all."""
    displaced = 0
    for _ in range(MOST_PLANS):
        kept.apply(life.delta())
        made = kept.plan(now_us=life.now_us)
        assert made == plan(life.snapshot(), now_us=life.now_us), "kept by deltas, or cold"
        if not made.decisions:
            return displaced
        displaced += sum(isinstance(one, Preempt) for one in made.decisions)
        life.obey(made)
        for job in life.running:
            if rng.random() < 0.3:
                life.saves(JobId.from_key(job))
        life.passes(rng.choice((1, 60)))
    raise AssertionError(f"{displaced} jobs were displaced, and it goes on")


def held_by(life: Life, queue: int) -> int:
    rows = (job for job, row in life.running.items() if row.queue == queue)
    return sum(share.milli for job in rows for part in life.held[job] for share in part.devices)


@pytest.mark.parametrize("seed", range(tries(40)))
def test_reclaim_comes_to_an_end_and_then_no_quota_waits_for_a_limit(seed: int) -> None:
    rng = Random(seed)
    policy = Policy(protect_s=0, most_preemptions=1_000_000, usage_milli=0, ageing_s=0)
    life = Life(ClusterConfig(queues=random_queues(rng), policy=policy), gpu_nodes(5))
    kept = Planner(life.snapshot())
    for _ in range(4):
        fill(rng, life, (1,))
        settled(rng, life, kept)
        made = kept.plan(now_us=life.now_us)
        for job, row in life.waiting.items():
            reason = made.reason(JobId.from_key(job))
            quota = next(q.quota for q in life.config.queues if q.name == LEAVES[row.queue])
            if reason is not None and reason.code in LIMITS:
                assert held_by(life, row.queue) >= (quota.gpu_milli or 0), reason.text


@pytest.mark.parametrize("seed", range(tries(40)))
def test_jobs_of_all_sizes_do_not_displace_each_other_for_ever(seed: int) -> None:
    rng = Random(seed)
    policy = Policy(protect_s=0, most_preemptions=1_000_000, usage_milli=0, ageing_s=0)
    life = Life(ClusterConfig(queues=random_queues(rng), policy=policy), gpu_nodes(5))
    kept = Planner(life.snapshot())
    for _ in range(4):
        fill(rng, life, (0.5, 1, 2, 3, 4))
        settled(rng, life, kept)
