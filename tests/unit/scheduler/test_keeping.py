"""A gang that a full limit keeps out for too long keeps the room that falls free under it."""

from __future__ import annotations

import pytest

from tests.cluster_life import Life, gpu_nodes, gpus, teams
from tests.planner_worlds import SECOND, ask
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig, Policy, Queue
from zenkei.scheduler import Plan, Planner, ReasonCode, Severity, Start, plan

FOUR, TWELVE = ask(gpus=4), ask(gpus=4, nodes=3)
STARVES_S = 1_800
NEVER = Policy(preempt=False)
CAPPED = Queue(name="guests", cap=gpus(12))
LENT = Queue(name="vision", parent="research", quota=gpus(8), lend_limit=gpus(0))


def planned(life: Life) -> Plan:
    return plan(life.snapshot(), now_us=life.now_us)


def started(made: Plan) -> list[JobId]:
    return [d.job for d in made.decisions if isinstance(d, Start)]


def full(*, waited_s: float, queue: Queue = CAPPED, gang_user: str = "ann") -> tuple[Life, JobId]:
    """guests are full with three jobs of 4 GPUs; a gang of 12 waits; two nodes are free."""
    life = Life(teams(NEVER, guests=queue), gpu_nodes(5))
    for _ in range(3):
        life.submit(FOUR, "guests", gang_user)
    life.obey(planned(life))
    gang = life.submit(TWELVE, "guests", gang_user)
    life.now_us += int(waited_s * SECOND)
    return life, gang


def end_one(life: Life) -> None:
    life.end(min(life.running))


def test_small_jobs_take_what_falls_free_while_nobody_starves() -> None:
    life, _ = full(waited_s=STARVES_S - 1)
    small = life.submit(FOUR, "guests", "bob")
    end_one(life)
    assert started(planned(life)) == [small]


def test_a_gang_that_starves_keeps_it_until_it_starts() -> None:
    life, gang = full(waited_s=STARVES_S)
    small = life.submit(FOUR, "guests", "ann")
    for _ in range(2):
        end_one(life)
        made = planned(life)
        assert started(made) == []
        reason = made.reason(small)
        assert reason is not None
        assert reason.code is ReasonCode.LIMIT_KEPT
        assert reason.text == (
            "asks for 4 GPUs, and 12 GPUs of what queue `guests` may have are kept for job "
            f"{gang}, which waits longest"
        )
    end_one(life)
    assert started(planned(life)) == [gang]


def test_its_own_reason_is_the_limit_and_explain_says_who_would_have_to_end() -> None:
    life, gang = full(waited_s=STARVES_S)
    planner = Planner(life.snapshot())
    made = planner.plan(now_us=life.now_us, seed=0)
    reason = made.reason(gang)
    assert reason is not None
    assert reason.code is ReasonCode.QUEUE_CAP
    told = planner.explain(gang, made)
    assert told is not None
    assert {end.job.key for end in told.ends} == set(life.running)


def test_of_a_persons_limit_it_keeps_only_the_persons() -> None:
    life, gang = full(waited_s=STARVES_S, queue=Queue(name="guests", user_cap=gpus(12)))
    own, other = life.submit(FOUR, "guests", "ann"), life.submit(FOUR, "guests", "bob")
    end_one(life)
    made = planned(life)
    assert started(made) == [other]
    reason = made.reason(own)
    assert reason is not None
    assert reason.code is ReasonCode.LIMIT_KEPT
    assert "of what user ann may have in queue `guests`" in reason.text
    assert f"job {gang}" in reason.text


def test_nothing_is_kept_for_who_could_not_start_on_the_nodes() -> None:
    life = Life(teams(NEVER, guests=CAPPED), gpu_nodes(5))
    for _ in range(3):
        life.submit(FOUR, "guests")
    life.obey(planned(life))
    life.submit(ask(gpus=2, nodes=6), "guests")
    life.now_us += STARVES_S * SECOND
    small = life.submit(FOUR, "guests", "bob")
    end_one(life)
    assert started(planned(life)) == [small]


def test_nothing_is_kept_that_the_quota_of_another_queue_stands_in_the_way_of() -> None:
    """Both may have 12 together: a gang of 12 would have to wait for speech's own 8 as well."""
    life = Life(teams(NEVER, research=Queue(name="research", cap=gpus(12))), gpu_nodes(5))
    quota = [life.submit(FOUR, "speech") for _ in range(2)]
    life.submit(FOUR, "vision")
    life.obey(planned(life))
    life.submit(TWELVE, "vision")
    life.now_us += STARVES_S * SECOND
    small = life.submit(FOUR, "vision", "bob")
    life.end(next(job for job in life.running if JobId.from_key(job) not in quota))
    assert started(planned(life)) == [small]


def test_what_queues_lend_is_kept_too() -> None:
    config = teams(NEVER, vision=LENT, speech=Queue(name="speech"), guests=Queue(name="guests"))
    life = Life(config, gpu_nodes(5))
    for _ in range(3):
        life.submit(FOUR, "guests")
    life.obey(planned(life))
    gang = life.submit(ask(gpus=4, nodes=2), "speech", "ann")
    life.now_us += STARVES_S * SECOND
    small, owed = life.submit(FOUR, "guests", "bob"), life.submit(FOUR, "vision", "bob")
    end_one(life)
    made = planned(life)
    assert started(made) == [owed], "what is not lent is not kept either"
    reason = made.reason(small)
    assert reason is not None
    assert reason.code is ReasonCode.LIMIT_KEPT
    assert "of what other queues lend are kept" in reason.text
    end_one(life)
    assert gang in started(planned(life))


@pytest.mark.parametrize("lent", [0, 2])
def test_more_than_could_ever_be_lent_never_starts(lent: int) -> None:
    vision = Queue(name="vision", parent="research", quota=gpus(8), lend_limit=gpus(lent))
    life = Life(teams(NEVER, vision=vision, guests=Queue(name="guests")), gpu_nodes(4))
    gang = life.submit(TWELVE, "guests")
    reason = planned(life).reason(gang)
    assert reason is not None
    assert reason.code is ReasonCode.ABOVE_LENT
    assert reason.severity is Severity.NEVER
    assert f"`guests` may have {8 + lent} GPUs at most" in reason.text
    assert reason.hint == f"ask for at most {8 + lent} GPUs in all, or use another queue"


def test_a_large_gang_that_starves_comes_before_small_jobs_of_equal_queues() -> None:
    """Counted with half of itself it would come after them for ever: its share is 8 of 16."""
    queues = (
        Queue(name="research", cap=gpus(16)),
        Queue(name="vision", parent="research"),
        Queue(name="speech", parent="research"),
        Queue(name="guests"),
    )
    life = Life(ClusterConfig(queues=queues, policy=NEVER), gpu_nodes(5))
    for _ in range(4):
        life.submit(FOUR, "speech")
    life.obey(planned(life))
    gang = life.submit(ask(gpus=4, nodes=4), "vision")
    life.now_us += STARVES_S * SECOND
    life.submit(FOUR, "speech", "bob")
    while life.running:
        assert started(planned(life)) == []
        end_one(life)
    assert started(planned(life)) == [gang]
