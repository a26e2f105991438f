"""Examples of the section "Preemption and reclaim" in the page about scheduling."""

from __future__ import annotations

from tests.cluster_life import Life, gpu_nodes, gpus
from tests.docs.scheduling_page import code, obeyed, planned, queue, says, started
from tests.planner_worlds import ask, node
from tests.preemption_worlds import NOW_US, Cluster
from zenkei.model.queue import ClusterConfig, Policy
from zenkei.scheduler import Preempt, PreemptReason
from zenkei.scheduler.preemption import HOLD_S, Displacement

EIGHT = ask(gpus=8)


def two_teams(guaranteed: int) -> Cluster:
    """B holds 24 in jobs saved 10 minutes, 2 hours and 5 hours ago, A holds 8."""
    queues = queue("A", quota=gpus(guaranteed)), queue("B", quota=gpus(8))
    cluster = Cluster([node(f"n{i}", cpus=64, gpus=8) for i in range(4)], queues, Policy())
    cluster.run(EIGHT, "n0", queue="A", ran_s=36_000)
    for i, saved_s in enumerate((600, 7200, 18_000), 1):
        cluster.run(EIGHT, f"n{i}", queue="B", ran_s=36_000, unsaved_s=saved_s)
    return cluster


def take_back(cluster: Cluster) -> tuple[int, int] | None:
    """One more job of A: GPU-seconds lost, and for how long the victim had not saved, in s."""
    asker = cluster.asker(EIGHT, queue="A")
    found = cluster.victims(asker)
    if not isinstance(found, Displacement):
        return None
    (preempt,) = found.preempts
    assert preempt.reason is PreemptReason.RECLAIM
    saved_s = (NOW_US - cluster.running[preempt.victim.key].facts.saved_us) // 1_000_000
    cluster.leave(preempt.victim.key)
    cluster.take_place(asker, found.hold)
    return found.cost_gpu_milli_s // 1000, saved_s


def test_reclaim() -> None:
    cluster = two_teams(16)
    first = take_back(cluster)
    assert first is not None
    cost, saved_s = first
    assert saved_s == 600
    assert says(f"The first gives way and loses 8 x (600 + 60) = {cost:,} GPU-seconds.")
    assert says("Another job of A displaces nobody: A would be beyond its quota.")
    assert take_back(cluster) is None

    assert says("Were A guaranteed 32, it could take one more; B's last 8 GPUs stay in any case.")
    cluster = two_teams(32)
    assert take_back(cluster) == (cost, 600)
    assert take_back(cluster) == (8 * (7200 + 60), 7200)
    assert take_back(cluster) is None


def busy_queue() -> Life:
    """Two jobs of `vision` on two nodes of 8 GPUs, saved 5 minutes and an hour ago."""
    config = ClusterConfig(queues=(queue("vision"), queue("guests")), policy=Policy())
    life = Life(config, gpu_nodes(2, each=8))
    first, second = life.submit(EIGHT, "vision"), life.submit(EIGHT, "vision")
    obeyed(life)
    life.passes(3600)
    life.saves(second)
    life.passes(3300)
    life.saves(first)
    life.passes(300)
    return life


def test_priority() -> None:
    life = busy_queue()
    life.submit(EIGHT, "vision")
    life.submit(EIGHT, "guests", priority=10)
    assert preempts(life) == []
    urgent = life.submit(EIGHT, "vision", priority=10)
    (preempt,) = preempts(life)
    assert (preempt.favoured, preempt.victim.number) == (urgent, 1)
    assert preempt.reason is PreemptReason.PRIORITY
    lost = preempt.lost_gpu_milli_s // 1000
    assert says("displaces the first, which loses 8 x 300 GPU-seconds of work")
    assert lost == 8 * 300


def preempts(life: Life) -> list[Preempt]:
    return [d for d in planned(life).decisions if isinstance(d, Preempt)]


def test_the_place_is_kept() -> None:
    life = busy_queue()
    urgent = life.submit(EIGHT, "vision", priority=10)
    obeyed(life)
    guest = life.submit(EIGHT, "guests")
    made = planned(life)
    assert made.decisions == ()
    assert code(made, guest) == "gpus_busy"
    assert says(f"the urgent one waits with `{code(made, urgent)}`, and starts as soon as")
    life.passes(10)
    assert started(planned(life)) == [urgent]
    assert says("It lapses after ten minutes")
    assert HOLD_S == 600
