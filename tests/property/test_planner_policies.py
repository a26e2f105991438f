"""Queues, displacement, promises and reservations in one planner, kept by deltas or cold."""

from __future__ import annotations

from random import Random

import pytest

from tests.cluster_life import LEAVES, USERS, Life, gpu_nodes, random_config
from tests.effort import tries
from tests.planner_worlds import ask
from zenkei.model.ids import JobId
from zenkei.scheduler import Grow, Hold, Planner, Preempt, ReasonCode, Start, plan


def arrive(rng: Random, life: Life) -> None:
    for _ in range(rng.randrange(4)):
        size = rng.choice((0, 0.5, 1, 1, 2, 4))
        nodes = rng.choice((1, 1, 2, 3)) if size == 4 else 1
        life.submit(
            ask(gpus=size, nodes=nodes, least=1 if nodes == 3 else 0),
            rng.choice(LEAVES),
            rng.choice(USERS),
            priority=rng.choice((0, 0, 0, 5)),
            limit_s=rng.choice((0, 100, 400, 2000)),
        )


def check_caps(life: Life) -> None:
    """speech never has more than 12 GPUs, nobody more than 6 among the guests."""
    held: dict[str, int] = {}
    for job, row in life.running.items():
        milli = sum(share.milli for part in life.held[job] for share in part.devices)
        queue = LEAVES[row.queue]
        held[queue] = held.get(queue, 0) + milli
        held[f"{queue}/{row.user}"] = held.get(f"{queue}/{row.user}", 0) + milli
    assert held.get("speech", 0) <= 12_000
    assert max((held.get(f"guests/{i}", 0) for i in range(len(USERS))), default=0) <= 6_000


def check_reserved(life: Life, start: Start) -> None:
    row = life.running[start.job.key]
    ends_us = life.now_us + row.limit_us if row.limit_us else 1 << 62
    for one in life.config.reservations:
        meets = life.now_us < one.to_us and ends_us > one.from_us
        if meets and LEAVES[row.queue] not in one.queues:
            assert not {part.node for part in start.parts} & set(one.nodes)


@pytest.mark.parametrize("seed", range(tries(60)))
def test_a_kept_planner_plans_like_a_cold_one_and_keeps_every_promise_of_the_policy(
    seed: int,
) -> None:
    rng = Random(seed)
    life = Life(random_config(rng), gpu_nodes(5))
    kept = Planner(life.snapshot())
    for _ in range(40):
        arrive(rng, life)
        kept.apply(life.delta(random_config(rng) if rng.random() < 0.03 else None))
        planned = kept.plan(now_us=life.now_us)
        assert planned == plan(life.snapshot(), now_us=life.now_us)
        assert planned == kept.plan(now_us=life.now_us), "planning changes nothing"
        for job in life.waiting:
            assert planned.reason(JobId.from_key(job)) or JobId.from_key(job) in planned.started
        life.obey(planned)
        for decision in planned.decisions:
            if isinstance(decision, Start):
                check_reserved(life, decision)
        check_caps(life)
        for job, row in list(life.running.items()):
            if not row.limit_us and rng.random() < 0.05:
                life.end(job)
            elif rng.random() < 0.1:
                life.saves(JobId.from_key(job))
        life.passes(rng.choice((1, 30, 90, 300)))


def test_lives_have_all_of_it() -> None:
    """Otherwise the test above would say nothing."""
    wanted = {Start, Preempt, Hold, Grow, ReasonCode.GPUS_BUSY, ReasonCode.WOULD_DELAY}
    seen: set[object] = set()
    for seed in range(60):
        rng = Random(seed)
        life = Life(random_config(rng), gpu_nodes(5))
        for _ in range(40):
            arrive(rng, life)
            life.delta(random_config(rng) if rng.random() < 0.03 else None)
            planned = plan(life.snapshot(), now_us=life.now_us)
            seen.update(type(decision) for decision in planned.decisions)
            seen.update(reason.reason.code for reason in planned.reasons)
            life.obey(planned)
            for job in life.running:
                life.saves(JobId.from_key(job))
            life.passes(rng.choice((1, 30, 90, 300)))
        if wanted <= seen:
            return
    assert wanted <= seen
