"""A limit is full of what others borrow: who stays within its quota takes that back anyway."""

from __future__ import annotations

import pytest

from tests.cluster_life import Life, gpu_nodes, gpus
from tests.planner_worlds import ask
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig, Policy, Queue, Reclaim
from zenkei.scheduler import Plan, Preempt, PreemptReason, ReasonCode, Start, plan

FOUR = ask(gpus=4)
OPEN = Policy(protect_s=0)
VISION = Queue(name="vision", parent="research", quota=gpus(8))
CAPPED = Queue(name="research", quota=gpus(16), cap=gpus(16))
OWN_ONLY = Queue(name="research", quota=gpus(16), borrow=False)
SPEECH = Queue(name="speech", parent="research")
DEPARTMENTS = pytest.mark.parametrize("research", [CAPPED, OWN_ONLY], ids=["cap", "borrow"])


def planned(life: Life) -> Plan:
    return plan(life.snapshot(), now_us=life.now_us)


def told(made: Plan) -> list[tuple[JobId, JobId, PreemptReason]]:
    return [(d.victim, d.favoured, d.reason) for d in made.decisions if isinstance(d, Preempt)]


def full(
    *queues: Queue, of: str, nodes: int = 6, jobs: int = 4, policy: Policy = OPEN
) -> tuple[Life, list[JobId]]:
    """One queue has started one job a minute; the youngest loses least."""
    life = Life(ClusterConfig(queues=queues, policy=policy), gpu_nodes(nodes))
    made = []
    for _ in range(jobs):
        made.append(life.submit(FOUR, of))
        life.obey(planned(life))
        life.passes(60)
    return life, made


@DEPARTMENTS
def test_a_queue_takes_its_quota_back_although_the_limit_of_both_is_full(research: Queue) -> None:
    life, jobs = full(research, VISION, SPEECH, of="speech")
    mine = life.submit(FOUR, "vision")
    made = planned(life)
    assert told(made) == [(jobs[-1], mine, PreemptReason.RECLAIM)]
    life.obey(made)
    life.passes(1)
    (start,) = (d for d in planned(life).decisions if isinstance(d, Start))
    assert start.job == mine


@DEPARTMENTS
def test_no_more_is_taken_back_than_the_quota(research: Queue) -> None:
    life, _ = full(research, VISION, SPEECH, of="speech")
    for _ in range(3):
        life.submit(FOUR, "vision")
    for _ in range(6):
        life.obey(planned(life))
        life.passes(60)
    assert len([row for row in life.running.values() if row.queue == 0]) == 2


def test_the_quota_of_the_other_stays_its_own() -> None:
    speech = Queue(name="speech", parent="research", quota=gpus(8))
    life, jobs = full(CAPPED, VISION, speech, of="speech", jobs=2)
    life.submit(FOUR, "vision")
    life.submit(FOUR, "vision")
    life.obey(planned(life))
    life.submit(FOUR, "vision", priority=5)
    life.passes(60)
    assert {victim for victim, _, _ in told(planned(life))}.isdisjoint(jobs)


def test_what_is_kept_by_who_does_not_lend_keeps_nobody_from_its_own_quota() -> None:
    keeps = Queue(name="speech", quota=gpus(8), lend_limit=gpus(0))
    mine = Queue(name="vision", quota=gpus(8))
    life, jobs = full(mine, keeps, Queue(name="guests"), of="guests", nodes=4, jobs=2)
    asker = life.submit(FOUR, "vision")
    made = planned(life)
    assert told(made) == [(jobs[-1], asker, PreemptReason.RECLAIM)]
    life.obey(made)
    life.passes(1)
    life.obey(planned(life))
    assert asker.key in life.running
    theirs = [life.submit(FOUR, "speech") for _ in range(2)]
    life.obey(planned(life))
    assert all(job.key in life.running for job in theirs), "what is not lent is there at once"


def test_a_queue_that_never_reclaims_waits_for_the_limit() -> None:
    vision = Queue(name="vision", parent="research", quota=gpus(8), reclaim=Reclaim.NEVER)
    life, _ = full(CAPPED, vision, SPEECH, of="speech")
    life.submit(FOUR, "vision")
    assert planned(life).decisions == ()


def test_who_is_protected_is_taken_when_that_ends() -> None:
    life, jobs = full(CAPPED, VISION, SPEECH, of="speech", policy=Policy(protect_s=600))
    life.submit(FOUR, "vision")
    made = planned(life)
    assert made.decisions == ()
    assert made.next_us is not None
    life.now_us = made.next_us
    assert [victim for victim, _, _ in told(planned(life))] == [jobs[0]]


def test_those_are_taken_on_whose_node_the_job_then_fits() -> None:
    """The cheapest four of the limit lie on four nodes; all else is full of guests."""
    queues = (CAPPED, VISION, SPEECH, Queue(name="guests"))
    life = Life(ClusterConfig(queues=queues, policy=OPEN), gpu_nodes(5))
    for _ in range(4):
        life.submit(ask(gpus=3), "speech")
    life.obey(planned(life))
    life.submit(ask(gpus=4), "speech")
    life.obey(planned(life))
    for _ in range(4):
        life.submit(ask(gpus=1), "guests")
    life.obey(planned(life))
    assert not life.waiting
    life.passes(60)
    for row in list(life.running.values()):
        if row.nodes == 1 and life.classes[row.job_class].request.gpu_count == 3:
            life.saves(JobId.from_key(row.job))
    asker = life.submit(FOUR, "vision")
    (victim, favoured, _) = told(planned(life))[0]
    assert favoured == asker
    assert life.classes[life.running[victim.key].job_class].request.gpu_count == 4


def test_a_department_takes_back_its_quota_for_queues_that_have_none_of_their_own() -> None:
    mine = (Queue(name="research", quota=gpus(8)), Queue(name="vision", parent="research"))
    life, jobs = full(*mine, SPEECH, Queue(name="guests"), of="guests", nodes=4)
    asker = life.submit(FOUR, "vision")
    assert told(planned(life)) == [(jobs[-1], asker, PreemptReason.RECLAIM)]


def test_it_takes_back_no_more_and_nothing_from_queues_inside_it() -> None:
    mine = (Queue(name="research", quota=gpus(8)), Queue(name="vision", parent="research"))
    life, _ = full(*mine, SPEECH, Queue(name="guests"), of="speech", nodes=4, jobs=2)
    for _ in range(2):
        life.submit(FOUR, "guests")
    life.obey(planned(life))
    life.passes(60)
    life.submit(FOUR, "vision")
    assert planned(life).decisions == (), "speech holds all that research is guaranteed"


def test_a_queue_whose_own_quota_is_said_to_be_nothing_takes_nothing_back() -> None:
    vision = Queue(name="vision", parent="research", quota=gpus(0))
    mine = Queue(name="research", quota=gpus(8))
    life, _ = full(mine, vision, Queue(name="guests"), of="guests", nodes=4)
    life.submit(FOUR, "vision")
    assert planned(life).decisions == ()


def test_no_more_is_said_to_be_kept_than_nobody_holds_while_jobs_make_way() -> None:
    keeps = Queue(name="speech", quota=gpus(8), lend_limit=gpus(0))
    mine = Queue(name="vision", quota=gpus(8))
    life, _ = full(mine, keeps, Queue(name="guests"), of="guests", nodes=4, jobs=2)
    life.submit(FOUR, "vision")
    life.obey(planned(life))
    waits = life.submit(FOUR, "guests")
    reason = planned(life).reason(waits)
    assert reason is not None
    assert reason.code is ReasonCode.QUOTA_NOT_LENT
    assert int(reason.numbers["kept"]) <= int(reason.numbers["unheld"])


def test_many_that_reclaim_in_vain_keep_nobody_behind_them_from_it() -> None:
    """Those in vain want nodes that are not there; the last in line would fit."""
    life, _ = full(CAPPED, VISION, SPEECH, of="speech")
    for cpus in range(30):
        life.submit(ask(gpus=4, cpus=1 + cpus, rack=("nowhere",)), "vision")
    mine = life.submit(FOUR, "vision", "bob", priority=-1)
    made = planned(life)
    for _ in range(12):
        if not told(made):
            assert made.next_us is not None
            life.now_us = made.next_us
            made = planned(life)
    assert [favoured for _, favoured, _ in told(made)] == [mine]
