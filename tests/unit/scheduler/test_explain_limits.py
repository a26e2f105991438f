"""The account of a job that waits for more than nodes: limits, others' places, time, topology."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.cluster_life import HOUR, Life, gpu_nodes, teams
from tests.planner_worlds import SECOND, ask, node
from zenkei.model.cluster import NodeState
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig, Order, Policy, Queue, Reservation
from zenkei.scheduler import (
    Cause,
    Explanation,
    JobClass,
    Lever,
    Nearest,
    Planner,
    ReasonCode,
    Severity,
    plan,
)

CALM = Policy(preempt=False, usage_milli=0, ageing_s=0)


def started(
    life: Life, wanted: JobClass, queue: str, user: str = "ann", limit_s: float = 0
) -> JobId:
    """One more job that runs."""
    job = life.submit(wanted, queue, user, limit_s=limit_s)
    life.obey(plan(life.snapshot(), now_us=life.now_us))
    assert job.key in life.running
    return job


def account_of(life: Life, job: JobId, *, paused: str = "") -> Explanation:
    planner = Planner(replace(life.snapshot(), paused=paused))
    account = planner.explain(job, planner.plan(now_us=life.now_us))
    assert account is not None
    return account


def texts(account: Explanation) -> list[str]:
    return [offer.text for offer in account.nearest]


def ends(account: Explanation) -> list[JobId]:
    return [end.job for end in account.ends]


# -- limits --------------------------------------------------------------------------------------
def at_the_cap() -> tuple[Life, list[JobId]]:
    """speech may have 12 GPUs; jobs of it hold 8 and 3."""
    life = Life(teams(CALM), gpu_nodes(5, each=8))
    return life, [started(life, ask(gpus=8), "speech"), started(life, ask(gpus=3), "speech", "bob")]


def test_at_a_cap_the_jobs_that_hold_it_are_named_largest_first():
    life, jobs = at_the_cap()
    account = account_of(life, life.submit(ask(gpus=4), "speech"))
    assert account.cause is Cause.CAP
    assert account.reason is not None
    assert account.reason.numbers["held"] == 11_000
    assert [(h.job, h.queue, h.gpu_milli) for h in account.holders] == [
        (jobs[0], "speech", 8000),
        (jobs[1], "speech", 3000),
    ]


def test_at_a_cap_the_smallest_job_that_makes_room_would_have_to_end():
    life, jobs = at_the_cap()
    account = account_of(life, life.submit(ask(gpus=4), "speech"))
    assert ends(account) == [jobs[1]]
    assert ends(account_of(life, life.submit(ask(gpus=8), "speech"))) == [jobs[0]]
    assert account.ends[0].queue == "speech"


def test_below_a_cap_as_many_gpus_are_offered_as_it_leaves():
    life, _ = at_the_cap()
    account = account_of(life, life.submit(ask(gpus=4), "speech"))
    assert texts(account) == ["with 1 GPU per node instead of 4 GPUs", "in queue `vision`"]


def test_below_a_cap_fewer_nodes_are_offered():
    life = Life(teams(CALM), gpu_nodes(5))
    started(life, ask(gpus=4), "speech")
    account = account_of(life, life.submit(ask(gpus=4, nodes=3), "speech"))
    assert texts(account)[0] == "on 2 nodes instead of 3 nodes"


def test_a_persons_cap_is_made_free_by_that_persons_jobs_only():
    life = Life(teams(CALM), gpu_nodes(8))
    started(life, ask(gpus=4), "guests", "bob")
    own = started(life, ask(gpus=4), "guests")
    account = account_of(life, life.submit(ask(gpus=4), "guests"))
    assert account.cause is Cause.CAP
    assert [holder.job for holder in account.holders] == [own]
    assert ends(account) == [own]


def test_who_holds_a_limit_and_who_holds_the_nodes_would_both_have_to_end():
    life = Life(teams(CALM), gpu_nodes(4))
    own = started(life, ask(gpus=2, nodes=4), "speech")
    other = started(life, ask(gpus=2, nodes=4), "vision")
    account = account_of(life, life.submit(ask(gpus=4, nodes=2), "speech"))
    assert account.cause is Cause.CAP
    assert sorted(ends(account)) == [own, other]


def test_more_than_a_cap_is_never_started_by_the_end_of_others():
    life, _ = at_the_cap()
    account = account_of(life, life.submit(ask(gpus=8, nodes=2), "speech"))
    assert account.reason is not None
    assert account.reason.severity is Severity.NEVER
    assert (account.cause, account.ends) == (Cause.CAP, ())
    assert "in queue `vision`" in texts(account)


# -- pauses --------------------------------------------------------------------------------------
def test_from_a_paused_queue_the_nearest_other_one_in_the_tree_is_offered():
    closed = Queue(name="vision", parent="research", paused="exam week")
    life = Life(teams(CALM, vision=closed), gpu_nodes(2))
    account = account_of(life, life.submit(ask(gpus=1), "vision"))
    assert account.cause is Cause.PAUSE
    assert account.nearest == (Nearest(lever=Lever.QUEUE, was="vision", now="speech"),)
    assert account.ends == ()


def test_while_everything_is_paused_nothing_is_offered():
    life = Life(teams(CALM), gpu_nodes(1))
    account = account_of(life, life.submit(ask(gpus=8), "vision"), paused="disk full")
    assert (account.cause, account.nearest, account.ends) == (Cause.PAUSE, (), ())


def test_a_queue_is_no_help_where_the_nodes_are_what_is_lacking():
    life = Life(teams(CALM), gpu_nodes(1))
    started(life, ask(gpus=4), "guests")
    account = account_of(life, life.submit(ask(gpus=2), "vision"))
    assert Lever.QUEUE not in [offer.lever for offer in account.nearest]


# -- other people's places -----------------------------------------------------------------------
def test_behind_a_gang_that_is_promised_a_start_that_gang_is_named():
    life = Life(teams(CALM), gpu_nodes(2))
    started(life, ask(gpus=4), "vision", limit_s=600)
    gang = life.submit(ask(gpus=4, nodes=2), "vision")
    account = account_of(life, life.submit(ask(gpus=4), "vision", limit_s=1200))
    assert account.cause is Cause.PRIORITY
    assert account.reason is not None
    assert account.reason.numbers["job"] == str(gang)
    assert (account.fitting, account.kept, account.nearest) == (1, 1, ())


def test_what_is_promised_to_a_job_is_not_in_its_own_way():
    life = Life(teams(CALM), gpu_nodes(2))
    running = started(life, ask(gpus=4), "vision", limit_s=600)
    account = account_of(life, life.submit(ask(gpus=4, nodes=2), "vision"))
    assert "on 1 node instead of 2 nodes" in texts(account)
    assert (ends(account), account.kept) == ([running], 0)


def test_where_nobody_passes_the_first_who_does_not_fit_those_behind_are_offered_nothing():
    life = Life(teams(replace(CALM, backfill=False)), gpu_nodes(2))
    started(life, ask(gpus=4), "vision")
    first = life.submit(ask(gpus=4, nodes=2), "vision")
    second = life.submit(ask(gpus=8), "vision")
    account = account_of(life, second)
    assert account.cause is Cause.PRIORITY
    assert account.nearest == ()
    assert "on 1 node instead of 2 nodes" in texts(account_of(life, first))


def test_nodes_that_are_reserved_are_counted_as_kept():
    life = Life(booked("n0"), gpu_nodes(1))
    account = account_of(life, life.submit(ask(gpus=2), "vision"))
    assert account.cause is Cause.RESERVATION
    assert (account.fitting, account.kept) == (1, 1)
    assert account.ends == ()


def test_of_reserved_nodes_and_busy_ones_the_busy_ones_would_have_to_be_left():
    life = Life(replace(booked(), reservations=()), gpu_nodes(2))
    running = started(life, ask(gpus=4), "vision")
    used = life.held[running.key][0].node
    free = ({*life.nodes} - {used}).pop()
    life.delta(booked(free))
    account = account_of(life, life.submit(ask(gpus=4), "vision"))
    assert ends(account) == [running]


def test_a_queue_that_may_use_a_reservation_is_offered():
    life = Life(booked("n0", queues=("speech",)), gpu_nodes(1))
    account = account_of(life, life.submit(ask(gpus=2), "vision"))
    assert texts(account) == ["in queue `speech`"]


def booked(*nodes: str, queues: tuple[str, ...] = ()) -> ClusterConfig:
    one = Reservation(name="talk", nodes=nodes, from_us=0, to_us=HOUR + 60 * SECOND, queues=queues)
    return replace(teams(CALM), reservations=(one,) if nodes else ())


def test_what_the_plan_gives_to_others_is_not_free_any_more():
    life = Life(teams(CALM), gpu_nodes(1))
    first = life.submit(ask(gpus=3), "vision")
    account = account_of(life, life.submit(ask(gpus=2), "vision"))
    assert account.free_gpu_milli == 1000
    assert texts(account) == ["with 1 GPU per node instead of 2 GPUs"]
    assert [holder.job for holder in account.holders] == [first]


def test_a_retry_that_waits_for_its_time_is_offered_nothing():
    life = Life(teams(CALM), gpu_nodes(1))
    job = life.submit(ask(gpus=8), "vision")
    row = life.waiting[job.key]
    life.waiting[job.key] = row._replace(not_before_us=life.now_us + SECOND)
    account = account_of(life, job)
    assert (account.cause, account.nearest) == (Cause.TURN, ())


@pytest.mark.parametrize(("order", "ahead"), [(Order.FAIR, 1), (Order.FIFO, 2)])
def test_those_ahead_are_of_its_own_queue_unless_all_queues_are_one_line(order, ahead):
    life = Life(teams(replace(CALM, order=order)), gpu_nodes(1))
    life.submit(ask(gpus=8), "guests")
    life.submit(ask(gpus=8), "vision")
    assert account_of(life, life.submit(ask(gpus=8), "vision")).ahead == ahead


# -- nodes ---------------------------------------------------------------------------------------
def test_gpus_that_are_free_in_pieces_are_told_from_too_few():
    life = Life(teams(CALM), gpu_nodes(2))
    started(life, ask(gpus=2), "vision")
    started(life, ask(gpus=3), "vision", "bob")
    account = account_of(life, life.submit(ask(gpus=3), "vision"))
    assert account.cause is Cause.FRAGMENTATION
    assert (account.free_gpu_milli, account.most_gpu_milli) == (3000, 2000)
    assert account_of(life, life.submit(ask(gpus=4), "vision")).cause is Cause.BUSY


def test_nobody_would_have_to_end_whose_place_is_not_needed():
    life = Life(teams(CALM), gpu_nodes(2))
    small = started(life, ask(gpus=1), "vision")
    started(life, ask(gpus=3), "vision", "bob")
    large = started(life, ask(gpus=4), "guests")
    assert ends(account_of(life, life.submit(ask(gpus=1), "vision"))) == [small]
    assert ends(account_of(life, life.submit(ask(gpus=4), "vision"))) == [large]


def test_two_small_jobs_end_rather_than_a_large_one():
    life = Life(replace(teams(CALM), queues=()), gpu_nodes(2))
    started(life, ask(gpus=4), "vision")
    small = [started(life, ask(gpus=1), "vision") for _ in range(2)]
    assert ends(account_of(life, life.submit(ask(gpus=4), "vision"))) == small


def test_one_gang_ends_rather_than_two_jobs_that_are_larger_together():
    life = Life(replace(teams(CALM), queues=()), gpu_nodes(4))
    gang = started(life, ask(gpus=2, nodes=2), "vision")
    for _ in range(2):
        started(life, ask(gpus=3), "vision")
    account = account_of(life, life.submit(ask(gpus=4, nodes=2), "vision"))
    assert ends(account) == [gang]


def test_a_small_job_need_not_end_where_a_gang_leaves_nodes_enough():
    life = Life(replace(teams(CALM), queues=()), gpu_nodes(3))
    gang = started(life, ask(gpus=3, nodes=2), "vision")
    started(life, ask(gpus=2), "vision")
    account = account_of(life, life.submit(ask(gpus=4, nodes=2), "vision"))
    assert ends(account) == [gang]


@pytest.mark.parametrize("level", ["rack", "row"])
def test_a_level_that_cannot_be_met_is_the_cause_and_wider_ones_are_offered(level: str):
    nodes = [node(f"n{i}", gpus=4, topology=(f"row{i // 4}", f"rack{i // 2}")) for i in range(8)]
    life = Life(replace(teams(CALM), queues=(), levels=("row", "rack")), nodes)
    for i in (0, 2, 4, 5, 7) if level == "rack" else (0, 1, 2, 4, 5, 6):
        job = started(life, ask(gpus=4), "vision")
        life.held[job.key] = [life.held[job.key][0]._replace(node=f"n{i}")]
    account = account_of(
        life, life.submit(ask(gpus=4, nodes=2, level=level, required=True), "vision")
    )
    assert account.cause is Cause.TOPOLOGY
    assert account.reason is not None
    assert account.reason.code is ReasonCode.TOPOLOGY_BUSY
    assert (account.level, account.together.nodes) == (level, 1)
    wider = "within one row instead of one rack" if level == "rack" else "without the required row"
    assert wider in texts(account)
    assert account.ends


def test_of_wider_levels_the_narrowest_one_that_would_do_is_offered():
    nodes = [node(f"n{i}", gpus=4, topology=("site", "row", f"rack{i}")) for i in range(2)]
    life = Life(replace(teams(CALM), queues=(), levels=("site", "row", "rack")), nodes)
    job = life.submit(ask(gpus=4, nodes=2, level="rack", required=True), "vision")
    [offer] = [one for one in account_of(life, job).nearest if one.lever is Lever.TOPOLOGY]
    assert offer == Nearest(lever=Lever.TOPOLOGY, was="rack", now="row")


def test_a_level_without_so_many_nodes_is_never_met():
    nodes = [node(f"n{i}", gpus=4, topology=("row", f"rack{i // 2}")) for i in range(4)]
    life = Life(replace(teams(CALM), queues=(), levels=("row", "rack")), nodes)
    job = life.submit(ask(gpus=4, nodes=3, level="rack", required=True), "vision")
    account = account_of(life, job)
    assert account.reason is not None
    assert account.reason.code is ReasonCode.NO_SUCH_DOMAIN
    assert account.reason.text == "asked for 3 nodes in one rack, the largest has 2 that suit"
    assert texts(account)[-1] == "within one row instead of one rack"


def test_a_level_whose_nodes_are_not_all_ready_waits_for_somebody():
    nodes = [
        node("n0", gpus=4, topology=("row", "rack0")),
        node("n1", gpus=4, topology=("row", "rack0"), state=NodeState.DOWN),
        node("n2", gpus=4, topology=("row", "rack1")),
    ]
    life = Life(replace(teams(CALM), queues=(), levels=("row", "rack")), nodes)
    job = life.submit(ask(gpus=4, nodes=2, level="rack", required=True), "vision")
    account = account_of(life, job)
    assert account.cause is Cause.NODES
    assert account.reason is not None
    assert account.reason.severity is Severity.BLOCKED
    assert account.reason.text == ("2 nodes in one rack needed, but 1 of 2 suitable ones are ready")


def test_of_a_gpu_that_is_promised_to_another_only_the_rest_is_offered():
    life = Life(replace(teams(CALM), queues=()), [node("n0", gpus=["A100", "T4"])])
    started(life, ask(gpus=0.3, gpu_type=("A100",)), "vision", limit_s=600)
    started(life, ask(gpus=0.2, gpu_type=("A100",)), "vision")
    life.submit(ask(gpus=0.7, gpu_type=("A100",)), "vision")
    account = account_of(life, life.submit(ask(gpus=0.6, gpu_type=("A100",)), "vision"))
    assert Nearest(lever=Lever.GPUS, asked=600, would=100) in account.nearest


def test_nodes_on_which_it_failed_are_the_cause():
    life = Life(teams(CALM), gpu_nodes(2))
    busy = started(life, ask(gpus=4), "guests")
    used = life.held[busy.key][0].node
    free = ({*life.nodes} - {used}).pop()
    account = account_of(life, life.submit(ask(gpus=4, avoid=(free,)), "vision"))
    assert (account.cause, ends(account)) == (Cause.FAILURES, [busy])
