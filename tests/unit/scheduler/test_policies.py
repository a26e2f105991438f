"""What an operator wishes, and what the planner does about it: one behaviour each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.cluster_life import HOUR, Life, gpu_nodes, gpus, teams
from tests.planner_worlds import SECOND, ask, node
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig, Policy, Queue, Reservation
from zenkei.scheduler import Hold, Plan, Preempt, PreemptReason, ReasonCode, Reserve, Start, plan

ONE = ask(gpus=1)
FOUR = ask(gpus=4)


def planned(life: Life) -> Plan:
    return plan(life.snapshot(), now_us=life.now_us)


def obeyed(life: Life) -> Plan:
    made = planned(life)
    life.obey(made)
    return made


def code(made: Plan, job: JobId) -> ReasonCode:
    reason = made.reason(job)
    assert reason is not None
    return reason.code


def started(made: Plan) -> list[JobId]:
    return [d.job for d in made.decisions if isinstance(d, Start)]


def test_nothing_starts_while_all_is_paused() -> None:
    life = Life(replace(teams(Policy()), paused="new switch"), gpu_nodes(1))
    job = life.submit(ONE, "vision")
    made = planned(life)
    assert made.decisions == ()
    reason = made.reason(job)
    assert reason is not None
    assert (reason.code, "new switch" in reason.text) == (ReasonCode.PAUSED, True)


def test_nothing_starts_from_a_queue_below_a_paused_one() -> None:
    life = Life(teams(Policy(), research=Queue(name="research", paused="audit")), gpu_nodes(1))
    waits, runs = life.submit(ONE, "vision"), life.submit(ONE, "guests")
    made = planned(life)
    assert started(made) == [runs]
    assert code(made, waits) is ReasonCode.QUEUE_PAUSED


def test_a_queue_never_has_more_than_its_cap() -> None:
    life = Life(teams(Policy()), gpu_nodes(4))
    jobs = [life.submit(FOUR, "speech") for _ in range(4)]
    made = planned(life)
    assert started(made) == jobs[:3]
    assert code(made, jobs[3]) is ReasonCode.QUEUE_CAP


def test_a_queue_below_its_quota_starts_before_those_that_borrow() -> None:
    life = Life(teams(Policy()), gpu_nodes(2))
    early = [life.submit(FOUR, "guests", user) for user in ("ann", "bob")]
    late = [life.submit(FOUR, "vision") for _ in range(2)]
    made = planned(life)
    assert started(made) == late
    assert code(made, early[0]) is ReasonCode.GPUS_BUSY


def borrowed() -> Life:
    """Two nodes, both lent to guests for an hour."""
    life = Life(teams(Policy()), gpu_nodes(2))
    for user in ("ann", "bob"):
        life.submit(FOUR, "guests", user)
    assert len(started(obeyed(life))) == 2
    life.passes(3600)
    return life


def test_what_was_borrowed_is_taken_back_and_kept_for_who_asked() -> None:
    life = borrowed()
    asker = life.submit(FOUR, "vision")
    made = obeyed(life)
    (preempt,) = [d for d in made.decisions if isinstance(d, Preempt)]
    assert (preempt.favoured, preempt.reason) == (asker, PreemptReason.RECLAIM)
    assert code(made, asker) is ReasonCode.VICTIMS_STOPPING

    guest = life.submit(FOUR, "guests", "cho")
    again = obeyed(life)
    assert again.decisions == (), "the victim is asked once"
    assert code(again, asker) is ReasonCode.VICTIMS_STOPPING

    life.passes(5)
    last = obeyed(life)
    assert started(last) == [asker], "not the guest, nor the victim"
    assert code(last, guest) is ReasonCode.GPUS_BUSY


def test_a_claim_on_a_node_that_is_lost_is_given_up() -> None:
    life = borrowed()
    asker = life.submit(FOUR, "vision")
    obeyed(life)
    (name,) = [part.node for part in life.claims[asker.key].parts]
    del life.nodes[name]
    made = obeyed(life)
    given_up = [d for d in made.decisions if isinstance(d, Hold) and not d.parts]
    assert [d.job for d in given_up] == [asker]
    assert [d.favoured for d in made.decisions if isinstance(d, Preempt)] == [asker]


def test_a_quota_is_taken_back_although_reserved_nodes_would_do() -> None:
    life = borrowed()
    booked = Reservation(name="disks", nodes=("n2",), from_us=3 * HOUR, to_us=4 * HOUR)
    life.config = replace(life.config, reservations=(booked,))
    life.nodes["n2"] = replace(life.nodes["n0"], name="n2")
    asker = life.submit(FOUR, "vision")
    assert [d.favoured for d in planned(life).decisions if isinstance(d, Preempt)] == [asker]


def test_nobody_is_displaced_where_the_policy_forbids_it() -> None:
    life = borrowed()
    life.config = teams(Policy(preempt=False))
    life.submit(FOUR, "vision")
    assert not [d for d in planned(life).decisions if isinstance(d, Preempt)]


def test_a_job_without_an_end_does_not_start_before_maintenance() -> None:
    booked = Reservation(name="disks", nodes=("n0",), from_us=2 * HOUR, to_us=3 * HOUR)
    life = Life(replace(teams(Policy()), reservations=(booked,)), gpu_nodes(1))
    endless, short = life.submit(ONE, "vision"), life.submit(ONE, "speech", limit_s=3000)
    made = planned(life)
    assert started(made) == [short]
    reason = made.reason(endless)
    assert reason is not None
    assert (reason.code, reason.numbers["reservation"]) == (ReasonCode.RESERVED, "disks")
    assert made.next_us == 2 * HOUR
    life.now_us = 3 * HOUR
    assert endless in started(planned(life))


def test_reserved_nodes_are_free_for_those_they_are_reserved_for() -> None:
    booked = Reservation(
        name="paper", nodes=("n*",), from_us=HOUR // 2, to_us=3 * HOUR, queues=("speech",)
    )
    life = Life(replace(teams(Policy()), reservations=(booked,)), gpu_nodes(1))
    others = [life.submit(ONE, "vision") for _ in range(3)]
    named = life.submit(ONE, "speech")
    made = planned(life)
    assert started(made) == [named]
    assert {code(made, job) for job in others} == {ReasonCode.RESERVED}


def gang_behind(policy: Policy) -> tuple[Life, JobId]:
    """Of two nodes one is busy for 1,000 seconds; a gang waits for both."""
    life = Life(teams(policy), gpu_nodes(2))
    life.submit(FOUR, "vision", limit_s=1000)
    obeyed(life)
    return life, life.submit(ask(gpus=4, nodes=2), "vision", "bob")


def test_a_job_that_would_delay_a_blocked_gang_does_not_start() -> None:
    life, gang = gang_behind(Policy(preempt=False))
    long, short = life.submit(FOUR, "guests", limit_s=2000), life.submit(ONE, "guests", limit_s=900)
    made = planned(life)
    assert started(made) == [short]
    assert code(made, long) is ReasonCode.WOULD_DELAY
    (promise,) = [d for d in made.decisions if isinstance(d, Reserve)]
    assert (promise.job, promise.at_us) == (gang, life.now_us + 1000 * SECOND)


def test_a_gang_that_a_reservation_keeps_waiting_is_not_delayed_either() -> None:
    """Two nodes are free, but one is reserved soon: the gang waits for its end, on both."""
    booked = Reservation(name="disks", nodes=("n0",), from_us=2 * HOUR, to_us=3 * HOUR)
    life = Life(replace(teams(Policy()), reservations=(booked,)), gpu_nodes(2))
    gang = life.submit(ask(gpus=4, nodes=2), "vision", limit_s=7200)
    endless = life.submit(ONE, "vision")
    short = life.submit(ONE, "vision", limit_s=3000)
    made = planned(life)
    assert started(made) == [short]
    assert code(made, gang) is ReasonCode.RESERVED
    assert made.reason(endless) is not None
    promises = [(d.job, d.at_us) for d in made.decisions if isinstance(d, Reserve)]
    assert promises[0] == (gang, 3 * HOUR)


def test_jobs_within_the_tolerance_do_not_put_a_gang_off_for_ever() -> None:
    """In turn on two nodes, each job ends five minutes after the other node falls free."""
    life, gang = gang_behind(Policy(preempt=False, tolerance_s=300))
    life.passes(100)
    life.submit(FOUR, "vision", "bob", limit_s=1200)
    obeyed(life)
    for _ in range(24):
        life.passes(300)
        life.submit(FOUR, "vision", "bob", limit_s=600)
        obeyed(life)
    assert gang.key not in life.waiting


def test_without_protection_it_starts() -> None:
    life, _ = gang_behind(Policy(preempt=False, reserve_gangs=0))
    long = life.submit(FOUR, "guests", limit_s=2000)
    assert started(planned(life)) == [long]


def test_nobody_passes_a_blocked_job_where_back_filling_is_off() -> None:
    life, gang = gang_behind(Policy(preempt=False, backfill=False))
    short = life.submit(ONE, "guests", limit_s=9)
    made = planned(life)
    assert made.decisions == ()
    reason = made.reason(short)
    assert reason is not None
    assert (reason.code, reason.numbers["job"]) == (ReasonCode.BEHIND, str(gang))


def test_a_gang_that_starves_collects_nodes() -> None:
    policy = Policy(preempt=False, starvation_s=60, collect_gpus_milli=1000)
    life = Life(ClusterConfig(policy=policy), gpu_nodes(2))
    life.submit(FOUR, "vision")
    obeyed(life)
    gang = life.submit(ask(gpus=4, nodes=2), "vision", "bob")
    life.passes(61)
    late = life.submit(ONE, "vision", "bob")
    made = planned(life)
    assert made.decisions == ()
    assert code(made, gang) is ReasonCode.COLLECTING
    assert code(made, late) is ReasonCode.WOULD_DELAY


@pytest.mark.parametrize("allowed", ["A100", "H100"])
def test_a_job_of_any_model_gets_one_that_its_queue_allows(allowed: str) -> None:
    config = teams(Policy(), guests=Queue(name="guests", gpu_kinds=(allowed,)))
    nodes = [node("a", gpus=["A100"] * 4), node("h", gpus=["H100"] * 4)]
    life = Life(config, nodes)
    life.submit(ONE, "guests")
    (start,) = planned(life).decisions
    assert isinstance(start, Start)
    assert [part.node for part in start.parts] == ["a" if allowed == "A100" else "h"]


def test_a_quota_of_one_model_counts_what_jobs_of_any_model_got() -> None:
    only = gpus(0)
    cap = replace(only, gpu_milli=None, kinds=(("A100", 4000),))
    config = teams(Policy(), guests=Queue(name="guests", cap=cap))
    life = Life(config, gpu_nodes(2))
    first = life.submit(FOUR, "guests")
    second = life.submit(FOUR, "guests", "bob")
    made = obeyed(life)
    assert started(made) == [first]
    assert code(planned(life), second) is ReasonCode.QUEUE_CAP


def test_a_share_of_a_gpu_that_a_gang_needs_whole_is_told_for_whom_it_is_kept() -> None:
    life = Life(teams(Policy(preempt=False)), gpu_nodes(1))
    for gpu, limit_s in ((0.5, 0), (0.6, 60), (2, 60)):
        life.submit(ask(gpus=gpu), "vision", limit_s=limit_s)
        life.obey(planned(life))
    gang = life.submit(ask(gpus=3), "vision")
    life.submit(ask(gpus=0.5), "vision")
    life.obey(planned(life))
    job = life.submit(ask(gpus=0.4), "vision")
    reason = planned(life).reason(job)
    assert reason is not None
    assert reason.code is ReasonCode.WOULD_DELAY
    assert reason.numbers["job"] == str(gang)


def test_a_job_whose_place_is_kept_starts_elsewhere_if_that_falls_free_sooner() -> None:
    life = Life(teams(Policy(protect_s=0)), gpu_nodes(2))
    slow, other = (life.submit(FOUR, "guests", user) for user in ("ann", "bob"))
    life.obey(planned(life))
    life.passes(60)
    owner = life.submit(FOUR, "vision")
    made = planned(life)
    (victim,) = (d.victim for d in made.decisions if isinstance(d, Preempt))
    life.obey(made)
    life.end((other if victim == slow else slow).key)
    (start,) = (d for d in planned(life).decisions if isinstance(d, Start))
    (kept,) = (part.node for part in life.claims[owner.key].parts)
    assert start.job == owner
    assert start.parts[0].node != kept
    life.obey(planned(life))
    assert planned(life).decisions == ()


def test_a_queue_within_its_quota_displaces_although_those_before_it_ask_in_vain() -> None:
    queues = (
        Queue(name="vision", quota=gpus(24)),
        Queue(name="speech", quota=gpus(8)),
        Queue(name="guests"),
    )
    life = Life(ClusterConfig(queues=queues, policy=Policy(protect_s=0)), gpu_nodes(4))
    borrower = life.submit(FOUR, "guests")
    for queue in ("vision", "vision", "speech"):
        life.submit(FOUR, queue)
    life.obey(planned(life))
    life.passes(60)
    for user in ("ann", "bob"):
        life.submit(ask(gpus=4, nodes=4), "vision", user)
    job = life.submit(FOUR, "speech")
    asked = [(d.victim, d.favoured) for d in planned(life).decisions if isinstance(d, Preempt)]
    assert asked == [(borrower, job)]
