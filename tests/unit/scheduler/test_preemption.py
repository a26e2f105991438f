"""Whom a gang displaces, and whom it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planner_worlds import SECOND, ask, node
from tests.preemption_worlds import NOW_US, POLICY, Cluster, gpus
from zenkei.model.ids import JobId
from zenkei.model.queue import Amounts, Queue, Reclaim, Within
from zenkei.scheduler.codes import ReasonCode
from zenkei.scheduler.decisions import PreemptReason
from zenkei.scheduler.preemption import Asker, Displacement, Spared


def one_queue(*nodes: object, **rules: object) -> Cluster:
    made = nodes or (node("n1", cpus=64, gpus=2), node("n2", cpus=64, gpus=2))
    return Cluster(made, [Queue(name="a", **rules)])  # type: ignore[arg-type]


def two_queues(ours: float = 2, theirs: float = 0, **rules: object) -> Cluster:
    """`ours` asks, `theirs` borrows."""
    queues = [
        Queue(name="ours", quota=gpus(ours), **rules),  # type: ignore[arg-type]
        Queue(name="theirs", quota=gpus(theirs)),
    ]
    return Cluster([node("n1", cpus=64, gpus=2), node("n2", cpus=64, gpus=2)], queues)


def found(cluster: Cluster, asker: Asker) -> Displacement:
    displacement = cluster.victims(asker)
    assert isinstance(displacement, Displacement), displacement
    return displacement


# -- what it costs -------------------------------------------------------------------------------
def test_the_job_that_loses_least_since_its_checkpoint_gives_way():
    cluster = one_queue()
    cluster.run(ask(gpus=2), "n1", ran_s=500)
    saved = cluster.run(ask(gpus=2), "n2", ran_s=90_000, unsaved_s=10)
    assert cluster.displaced(cluster.asker(ask(gpus=2), priority=1)) == [saved]


def test_many_gpus_lose_more_in_the_same_time():
    cluster = one_queue(node("n1", cpus=64, gpus=4))
    cluster.run(ask(gpus=3), "n1", ran_s=500)
    single = cluster.run(ask(gpus=1), "n1", ran_s=1400)
    assert cluster.displaced(cluster.asker(ask(gpus=1), priority=1)) == [single]


def test_a_restart_counts_for_each_gpu():
    cluster = one_queue(node("n1", cpus=64, gpus=4))
    cluster.run(ask(gpus=3), "n1", ran_s=1000, unsaved_s=1)
    single = cluster.run(ask(gpus=1), "n1", ran_s=1000, unsaved_s=100)
    asker = cluster.asker(ask(gpus=1), priority=1)
    assert cluster.displaced(asker) != [single]
    cluster.policy = replace(POLICY, restart_s=60.0)
    assert cluster.displaced(asker) == [single]
    assert found(cluster, asker).cost_gpu_milli_s == 160_000
    assert found(cluster, asker).preempts[0].lost_gpu_milli_s == 100_000


def test_a_gang_leaves_all_of_its_nodes_for_one_price():
    nodes = [node(f"n{i}", cpus=64, gpus=1) for i in range(6)]
    cluster = one_queue(*nodes)
    gang = cluster.run(ask(gpus=1, nodes=3), "n0", "n1", "n2", ran_s=1000)
    for i in (3, 4, 5):
        cluster.run(ask(gpus=1), f"n{i}", ran_s=1100)
    assert cluster.displaced(cluster.asker(ask(gpus=1, nodes=3), priority=1)) == [gang]
    singles = cluster.displaced(cluster.asker(ask(gpus=1, nodes=2), priority=1))
    assert singles is not None
    assert gang not in singles, "a third of the gang's price is not the price of a node"


def test_a_node_that_a_victim_leaves_anyway_needs_less():
    cluster = one_queue()
    gang = cluster.run(ask(gpus=1, nodes=2), "n1", "n2", ran_s=1000)
    others = [cluster.run(ask(gpus=1), name, ran_s=1000) for name in ("n1", "n2")]
    wanted = cluster.asker(ask(gpus=2, nodes=2), priority=1)
    assert cluster.displaced(wanted) == sorted([gang, *others])


def test_a_share_is_taken_from_one_device():
    cluster = one_queue(node("n1", cpus=64, gpus=2))
    cluster.run(ask(gpus=1), "n1", ran_s=500)
    small = [cluster.run(ask(gpus=0.5), "n1", ran_s=seconds) for seconds in (800, 500)]
    assert cluster.displaced(cluster.asker(ask(gpus=0.5), priority=1)) == [small[1]]
    assert cluster.displaced(cluster.asker(ask(gpus=1), priority=1)) != small


def test_cpus_and_memory_are_made_room_for_too():
    cluster = one_queue(node("n1", cpus=4, memory_gib=8, gpus=1))
    thinker = cluster.run(ask(cpus=2, memory_gib=1), "n1", ran_s=1000)
    keeper = cluster.run(ask(cpus=1, memory_gib=6), "n1", ran_s=1000)
    asks = cluster.asker
    assert cluster.displaced(asks(ask(cpus=3, memory_gib=1, gpus=1), priority=1)) == [thinker]
    assert cluster.displaced(asks(ask(cpus=1, memory_gib=4, gpus=1), priority=1)) == [keeper]
    both = cluster.displaced(asks(ask(cpus=4, memory_gib=8, gpus=1), priority=1))
    assert both == [thinker, keeper]


@pytest.mark.parametrize("rule", ["queue", "priority", "youth", "id"])
def test_between_equal_losses_the_borrower_then_the_lesser_then_the_younger_gives_way(rule: str):
    queues = [
        Queue(name="ours", quota=gpus(1)),
        Queue(name="little", quota=gpus(1)),
        Queue(name="much", quota=gpus(1)),
    ]
    nodes = [node(f"n{i}", cpus=64, gpus=1) for i in range(5)]
    cluster = Cluster(nodes, queues)
    high, low = (1, 0) if rule == "priority" else (0, 0)
    young_s = 2000 if rule == "youth" else 3000
    expected = []
    for i, name in enumerate(("little", "much", "much", "much", "little")):
        last = rule == "priority" and i == 3, rule == "youth" and i == 3
        job = cluster.run(
            ask(gpus=1),
            f"n{i}",
            queue=name if rule != "id" else "much",
            priority=low if last[0] else high,
            ran_s=young_s if last[1] else 3000,
            unsaved_s=10,
        )
        if i == {"queue": 1, "priority": 3, "youth": 3, "id": 0}[rule]:
            expected.append(job)
    assert cluster.displaced(cluster.asker(ask(gpus=1), queue="ours")) == expected


# -- nobody for nothing --------------------------------------------------------------------------
def test_nobody_is_displaced_if_the_gang_still_would_not_fit():
    cluster = one_queue()
    cluster.run(ask(gpus=2), "n1", priority=0)
    cluster.run(ask(gpus=2), "n2", priority=5)
    assert cluster.victims(cluster.asker(ask(gpus=2, nodes=2), priority=1)) is None
    assert cluster.displaced(cluster.asker(ask(gpus=2, nodes=1), priority=1)) is not None


def test_nobody_is_displaced_where_the_policy_says_so():
    cluster = one_queue()
    cluster.run(ask(gpus=2), "n1")
    cluster.run(ask(gpus=2), "n2")
    asker = cluster.asker(ask(gpus=2), priority=1)
    assert cluster.displaced(asker)
    cluster.policy = replace(POLICY, preempt=False)
    assert cluster.victims(asker) is None


def test_jobs_that_are_stopping_are_waited_for_and_not_asked_again():
    cluster = one_queue()
    cluster.run(ask(gpus=2), "n1", ran_s=200, unsaved_s=0)
    leaving = cluster.run(ask(gpus=2), "n2", ran_s=9000, stopping=True)
    displacement = found(cluster, cluster.asker(ask(gpus=2), priority=1))
    assert displacement.preempts == ()
    assert [part.node for part in displacement.hold.parts] == ["n2"]
    assert displacement.reason.code is ReasonCode.VICTIMS_STOPPING
    assert str(leaving) in displacement.reason.text


def test_victims_of_the_same_plan_are_not_chosen_twice():
    cluster = one_queue()
    first, second = (cluster.run(ask(gpus=2), name, ran_s=1000) for name in ("n1", "n2"))
    asker = cluster.asker(ask(gpus=2), priority=1)
    displacement = found(cluster, asker)
    gone = [preempt.victim for preempt in displacement.preempts]
    cluster.claims[asker.job.key] = (asker.queue, displacement.hold)
    occupancy = cluster.occupancy()
    occupancy.stop(gone)
    cluster.occupancy = lambda: occupancy  # type: ignore[method-assign]
    others = cluster.displaced(cluster.asker(ask(gpus=2), priority=1))
    assert others is not None
    assert sorted([*gone, *others]) == [first, second]


def test_a_place_that_is_kept_for_another_is_not_taken():
    cluster = one_queue(node("n1", cpus=64, gpus=2))
    cluster.run(ask(gpus=2), "n1", stopping=True)
    before = cluster.asker(ask(gpus=2), priority=1)
    cluster.claims[before.job.key] = (0, found(cluster, before).hold)
    assert cluster.victims(cluster.asker(ask(gpus=1), priority=9)) is None


# -- priority ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("theirs", "given"), [(0, True), (1, False), (2, False)])
def test_only_a_lower_priority_gives_way_in_the_same_queue(theirs: int, given: bool):
    cluster = one_queue(node("n1", cpus=64, gpus=2))
    job = cluster.run(ask(gpus=2), "n1", priority=theirs)
    displaced = cluster.displaced(cluster.asker(ask(gpus=2), priority=1))
    assert displaced == ([job] if given else None)


def test_a_queue_may_leave_its_running_jobs_alone():
    cluster = one_queue(node("n1", cpus=64, gpus=2), within=Within.NEVER)
    cluster.run(ask(gpus=2), "n1")
    assert cluster.victims(cluster.asker(ask(gpus=2), priority=1)) is None


def test_priority_counts_for_nothing_against_another_queue():
    cluster = two_queues(ours=0, theirs=4)
    cluster.run(ask(gpus=2, nodes=2), "n1", "n2", queue="theirs")
    assert cluster.victims(cluster.asker(ask(gpus=1), queue="ours", priority=9)) is None


# -- reclaim -------------------------------------------------------------------------------------
def test_a_queue_takes_back_what_others_borrowed():
    cluster = two_queues()
    cluster.run(ask(gpus=2), "n1", queue="theirs", priority=5, ran_s=5000)
    cheap = cluster.run(ask(gpus=2), "n2", queue="theirs", priority=5, ran_s=500)
    (preempt,) = found(cluster, cluster.asker(ask(gpus=2), queue="ours")).preempts
    assert (preempt.victim, preempt.reason) == (cheap, PreemptReason.RECLAIM)


@pytest.mark.parametrize(
    ("reclaim", "given"),
    [(Reclaim.NEVER, False), (Reclaim.LOWER_PRIORITY, False), (Reclaim.ANY, True)],
)
def test_a_queue_says_whom_it_displaces_to_get_its_own_back(reclaim: Reclaim, given: bool):
    cluster = two_queues(reclaim=reclaim)
    cluster.run(ask(gpus=2, nodes=2), "n1", "n2", queue="theirs", priority=1)
    displaced = cluster.displaced(cluster.asker(ask(gpus=2), queue="ours", priority=1))
    assert bool(displaced) == given


def test_a_queue_does_not_reclaim_beyond_its_quota():
    cluster = two_queues(ours=2)
    cluster.run(ask(gpus=1), "n1", queue="ours")
    cluster.run(ask(gpus=1), "n1", queue="theirs")
    cluster.run(ask(gpus=2), "n2", queue="theirs")
    assert cluster.displaced(cluster.asker(ask(gpus=1), queue="ours"))
    assert cluster.victims(cluster.asker(ask(gpus=2), queue="ours")) is None


def test_what_is_coming_free_in_the_queue_counts_as_free():
    cluster = two_queues(ours=2)
    cluster.run(ask(gpus=1), "n1", queue="ours", stopping=True)
    cluster.run(ask(gpus=1), "n1", queue="theirs")
    cluster.run(ask(gpus=2), "n2", queue="theirs")
    assert cluster.displaced(cluster.asker(ask(gpus=2), queue="ours"))


def test_a_queue_keeps_its_own_quota():
    cluster = two_queues(ours=4, theirs=2)
    jobs = [cluster.run(ask(gpus=1), name, queue="theirs") for name in ("n1", "n1", "n2", "n2")]
    displaced = cluster.displaced(cluster.asker(ask(gpus=1, nodes=2), queue="ours"))
    assert displaced is not None
    assert len(displaced) == 2
    assert set(displaced) < set(jobs)
    assert cluster.victims(cluster.asker(ask(gpus=2, nodes=2), queue="ours")) is None


def test_a_job_that_would_take_its_queue_below_its_quota_stays():
    cluster = two_queues(ours=2, theirs=3)
    large = cluster.run(ask(gpus=2), "n1", queue="theirs", ran_s=500)
    small = [cluster.run(ask(gpus=1), "n2", queue="theirs", ran_s=9000) for _ in "ab"]
    displaced = cluster.displaced(cluster.asker(ask(gpus=1), queue="ours"))
    assert displaced is not None
    assert large not in displaced
    assert displaced[0] in small


def test_quota_is_for_the_highest_priority_first_so_nobody_comes_right_back():
    cluster = two_queues(ours=2, theirs=2)
    cluster.run(ask(gpus=2), "n1", queue="theirs", priority=1, ran_s=200, unsaved_s=0)
    low = cluster.run(ask(gpus=2), "n2", queue="theirs", priority=0, ran_s=9000)
    assert cluster.displaced(cluster.asker(ask(gpus=2), queue="ours")) == [low]


def test_only_the_queues_below_the_common_one_count():
    queues = [
        Queue(name="team", quota=gpus(1)),
        Queue(name="ours", parent="team", quota=gpus(1)),
        Queue(name="theirs", parent="team", quota=gpus(0)),
        Queue(name="others", quota=gpus(1)),
    ]
    cluster = Cluster([node("n1", cpus=64, gpus=3)], queues)
    sibling = cluster.run(ask(gpus=1), "n1", queue="theirs", ran_s=9000)
    cluster.run(ask(gpus=1), "n1", queue="others", ran_s=300)
    cluster.run(ask(gpus=1), "n1", queue="others", ran_s=300)
    # the team is at its quota: it may not take from others, but shares its own anew
    assert cluster.displaced(cluster.asker(ask(gpus=1), queue="ours")) == [sibling]


def test_a_guarantee_of_one_model_is_kept_for_itself():
    queues = [
        Queue(name="ours", quota=gpus(2)),
        Queue(name="theirs", quota=Amounts(gpu_milli=2000, kinds=(("H100", 2000),))),
    ]
    nodes = [node("n1", cpus=64, gpus=["A100"] * 2), node("n2", cpus=64, gpus=["H100"] * 2)]
    cluster = Cluster(nodes, queues)
    plain = cluster.run(ask(gpus=2), "n1", queue="theirs", ran_s=9000)
    cluster.run(ask(gpus=2), "n2", queue="theirs", ran_s=300)
    assert cluster.displaced(cluster.asker(ask(gpus=2), queue="ours")) == [plain]


def test_borrowed_cpus_do_not_cost_a_queue_its_gpus():
    queues = [
        Queue(name="ours", quota=gpus(2)),
        Queue(name="theirs", quota=Amounts(gpu_milli=2000, cpu_milli=1000)),
    ]
    cluster = Cluster([node("n1", cpus=64, gpus=2)], queues)
    cluster.run(ask(gpus=2), "n1", queue="theirs")
    cluster.run(ask(cpus=60), "n1", queue="theirs")
    assert cluster.victims(cluster.asker(ask(gpus=1), queue="ours")) is None


# -- protection ----------------------------------------------------------------------------------
def test_a_job_that_has_just_started_is_left_alone_for_a_time():
    cluster = one_queue(node("n1", cpus=64, gpus=2))
    cluster.run(ask(gpus=2), "n1", ran_s=POLICY.protect_s - 1)
    spared = cluster.victims(cluster.asker(ask(gpus=2), priority=1))
    assert isinstance(spared, Spared)
    assert spared.reason.code is ReasonCode.VICTIMS_PROTECTED
    assert spared.again_us == NOW_US + SECOND
    cluster.policy = replace(POLICY, protect_s=POLICY.protect_s - 1)
    assert cluster.displaced(cluster.asker(ask(gpus=2), priority=1))


def test_a_job_that_was_displaced_often_is_left_alone():
    cluster = one_queue(node("n1", cpus=64, gpus=2))
    cluster.run(ask(gpus=2), "n1", preemptions=POLICY.most_preemptions)
    spared = cluster.victims(cluster.asker(ask(gpus=2), priority=1))
    assert isinstance(spared, Spared)
    assert spared.again_us is None


def test_protection_is_no_reason_where_room_for_all_of_it_would_not_help():
    cluster = one_queue(node("n1", cpus=64, gpus=2))
    cluster.run(ask(gpus=1), "n1", ran_s=10)
    cluster.run(ask(gpus=1), "n1", priority=7)
    assert cluster.victims(cluster.asker(ask(gpus=2), priority=1)) is None


# -- the place -----------------------------------------------------------------------------------
def racks(cluster_levels: tuple[str, ...] = ("rack",)) -> Cluster:
    nodes = [replace(node(f"n{i}", cpus=64, gpus=1), topology=("ab"[i // 2],)) for i in range(4)]
    cluster = one_queue(*nodes)
    cluster.levels = cluster_levels
    for i, ran_s in enumerate((300, 5000, 2000, 4000)):
        cluster.run(ask(gpus=1), f"n{i}", ran_s=ran_s)
    return cluster


def nodes_of(cluster: Cluster, asker: Asker) -> list[str]:
    return [part.node for part in found(cluster, asker).hold.parts]


def test_a_gang_that_must_lie_in_one_rack_displaces_the_cheapest_rack():
    cluster = racks()
    wanted = ask(gpus=1, nodes=2)
    anywhere = cluster.asker(wanted, priority=1)
    assert nodes_of(cluster, anywhere) == ["n0", "n2"]
    together = replace(wanted, level="rack", required=True)
    assert nodes_of(cluster, cluster.asker(together, priority=1)) == ["n0", "n1"]
    preferred = replace(wanted, level="rack")
    assert nodes_of(cluster, cluster.asker(preferred, priority=1)) == ["n0", "n2"]
    three = replace(ask(gpus=1, nodes=3), level="rack", required=True)
    assert cluster.victims(cluster.asker(three, priority=1)) is None


def test_nodes_that_failed_it_or_lack_its_labels_are_no_place():
    nodes = [node(f"n{i}", cpus=64, gpus=1, labels={"disk": "ssd"} if i else {}) for i in range(3)]
    cluster = one_queue(*nodes)
    for i in range(3):
        cluster.run(ask(gpus=1), f"n{i}", ran_s=300 + 100 * i)
    wanted = ask(gpus=1, avoid=("n1",), disk=("ssd",))
    assert nodes_of(cluster, cluster.asker(wanted, priority=1)) == ["n2"]


def test_devices_in_foreign_use_do_not_come_free():
    cluster = one_queue(node("n1", cpus=64, gpus=2, blocked=(0,)))
    cluster.run(ask(gpus=1), "n1")
    assert cluster.victims(cluster.asker(ask(gpus=2), priority=1)) is None
    (part,) = found(cluster, cluster.asker(ask(gpus=1), priority=1)).hold.parts
    assert [share.index for share in part.devices] == [1]


def test_a_gang_that_may_be_smaller_displaces_for_its_least_size():
    cluster = racks()
    wanted = replace(ask(gpus=1, nodes=4), least=2)
    assert len(found(cluster, cluster.asker(wanted, priority=1)).preempts) == 2


def test_a_gang_that_comes_back_keeps_the_ranks_of_the_nodes_it_had():
    cluster = racks()
    wanted = ask(gpus=1, nodes=3, prefer=("n9", "n3", "n0"))
    cluster.leave(*list(cluster.running)[2:])
    assert nodes_of(cluster, cluster.asker(wanted, priority=1)) == ["n2", "n3", "n0"]


def test_the_sentences_name_the_jobs_and_stay_short():
    cluster = one_queue(node("n1", cpus=64, gpus=20))
    jobs = [cluster.run(ask(gpus=1), "n1") for _ in range(20)]
    text = found(cluster, cluster.asker(ask(gpus=20), priority=1)).reason.text
    assert text == (
        "its place is kept for it: waits for jobs 1, 2, 3, 4, 5, 6, 7, 8 and 12 more to save "
        "and stop"
    )
    assert jobs[-1] == JobId(20)
