"""A cap is full of less important jobs of the same queue: they make way, and nobody else does."""

from __future__ import annotations

from tests.cluster_life import Life, gpu_nodes, gpus, teams
from tests.planner_worlds import ask
from zenkei.model.ids import JobId
from zenkei.model.queue import Policy, Queue, Within
from zenkei.scheduler import Hold, Plan, Preempt, PreemptReason, ReasonCode, Start, plan

FOUR = ask(gpus=4)


def planned(life: Life) -> Plan:
    return plan(life.snapshot(), now_us=life.now_us)


def preempts(made: Plan) -> list[tuple[JobId, JobId, PreemptReason]]:
    return [(d.victim, d.favoured, d.reason) for d in made.decisions if isinstance(d, Preempt)]


OPEN = Policy(protect_s=0)


def full(speech: Queue | None = None, policy: Policy = OPEN) -> tuple[Life, list[JobId]]:
    """speech runs three jobs, one after the other, and may have no more; a node is free."""
    queues = {} if speech is None else {"speech": speech}
    life = Life(teams(policy, **queues), gpu_nodes(4))
    jobs = []
    for _ in range(3):
        jobs.append(life.submit(FOUR, "speech"))
        life.obey(planned(life))
        life.passes(60)
    return life, jobs


def test_the_youngest_of_less_important_jobs_makes_way_and_its_place_is_kept() -> None:
    life, jobs = full()
    urgent = life.submit(FOUR, "speech", "bob", priority=5)
    made = planned(life)
    assert preempts(made) == [(jobs[2], urgent, PreemptReason.PRIORITY)], "it loses least"
    (hold,) = (d for d in made.decisions if isinstance(d, Hold))
    assert hold.job == urgent
    reason = made.reason(urgent)
    assert reason is not None
    assert reason.code is ReasonCode.VICTIMS_STOPPING
    life.obey(made)
    assert planned(life).decisions == (), "it waits until the cap has room, though a node is free"
    life.passes(1)
    (start,) = (d for d in planned(life).decisions if isinstance(d, Start))
    assert start.job == urgent
    life.obey(planned(life))
    assert preempts(planned(life)) == [], "the one that made way waits for its turn"


def test_a_job_of_the_same_priority_waits() -> None:
    life, _ = full()
    life.submit(FOUR, "speech", "bob")
    assert planned(life).decisions == ()


def test_nobody_makes_way_where_the_queue_forbids_it() -> None:
    life, _ = full(Queue(name="speech", parent="research", cap=gpus(12), within=Within.NEVER))
    life.submit(FOUR, "speech", priority=5)
    assert planned(life).decisions == ()


def test_nobody_makes_way_where_the_policy_forbids_it() -> None:
    life, _ = full(policy=Policy(protect_s=0, preempt=False))
    life.submit(FOUR, "speech", priority=5)
    assert planned(life).decisions == ()


def test_who_has_just_started_is_protected_and_the_planner_looks_again_when_that_ends() -> None:
    life, jobs = full(policy=Policy(protect_s=600))
    life.submit(FOUR, "speech", priority=5)
    made = planned(life)
    assert made.decisions == ()
    assert made.next_us is not None
    life.now_us = made.next_us
    assert [victim for victim, _, _ in preempts(planned(life))] == [jobs[0]]


def test_no_more_make_way_than_must() -> None:
    life = Life(teams(Policy(protect_s=0)), gpu_nodes(4))
    small = [life.submit(ask(gpus=1), "speech") for _ in range(4)]
    large = [life.submit(FOUR, "speech") for _ in range(2)]
    life.obey(planned(life))
    life.passes(60)
    life.submit(FOUR, "speech", priority=5)
    victims = {victim for victim, _, _ in preempts(planned(life))}
    assert victims in ({*small}, {large[0]}, {large[1]}), "four GPUs, not five"


def test_nobody_makes_way_for_a_job_that_would_not_fit_even_so() -> None:
    life, _ = full()
    life.submit(ask(gpus=4, nodes=3, rack=("nowhere",)), "speech", priority=5)
    assert planned(life).decisions == ()


def test_a_cap_of_each_person_is_made_room_in_by_that_person_only() -> None:
    life = Life(teams(Policy(protect_s=0)), gpu_nodes(4))
    bobs = life.submit(FOUR, "guests", "bob")
    anns = life.submit(FOUR, "guests", "ann")
    life.obey(planned(life))
    life.passes(60)
    urgent = life.submit(FOUR, "guests", "ann", priority=5)
    assert bobs.key in life.running
    assert [victim for victim, _, _ in preempts(planned(life))] == [anns]
    assert preempts(planned(life))[0][1] == urgent


def test_each_of_several_is_made_way_for_by_its_own_and_no_more() -> None:
    life, jobs = full()
    for _ in range(2):
        life.submit(FOUR, "speech", priority=5)
    for step in range(3):
        made = planned(life)
        assert len(preempts(made)) == (1 if step < 2 else 0), "one in a plan"
        life.obey(made)
    assert [life.running[job.key].stopping for job in jobs] == [0, 1, 1]
