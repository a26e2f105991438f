"""Promises, back-filling beside them, and gangs that collect nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.calendar_worlds import at
from tests.planner_worlds import GIB, ask, node
from zenkei.model.cluster import Node, NodeState
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig, Policy
from zenkei.model.resources import DeviceShare, Request
from zenkei.scheduler.calendar import Calendar
from zenkei.scheduler.codes import ReasonCode
from zenkei.scheduler.free import HeldPart
from zenkei.scheduler.holdings import Holdings, holdings
from zenkei.scheduler.promises import NEVER_US, Collecting, Promise, Standing
from zenkei.scheduler.snapshot import JobClass

ONE, HALF, CPU = ask(gpus=1).request, ask(gpus=0.5).request, ask(cpus=2).request


def key(number: int) -> int:
    return JobId(number).key


def part(
    job: int, name: str, *devices: int, milli: int = 1000, cpus: float = 1, gib: int = 1
) -> HeldPart:
    shares = tuple(DeviceShare(i, milli) for i in devices)
    return HeldPart(key(job), name, int(cpus * 1000), gib * GIB, 0, shares)


def cluster(number: int = 4, *parts: HeldPart, ends: dict[int, float] | None = None) -> Holdings:
    nodes = [node(f"n{i}", cpus=16, gpus=4) for i in range(number)]
    return holdings(nodes, parts, {key(job): at(s) for job, s in (ends or {}).items()})


def busy(*seconds: float | None) -> Holdings:
    """A node for each end, all of its four GPUs held until then (None: nobody knows)."""
    parts = [part(i + 1, f"n{i}", 0, 1, 2, 3) for i in range(len(seconds))]
    ends = {i + 1: s for i, s in enumerate(seconds) if s is not None}
    return cluster(len(seconds), *parts, ends=ends)


def calendar(held: Holdings, policy: Policy | None = None, **more: object) -> Calendar:
    config = ClusterConfig(policy=policy or Policy(), levels=("rack",))
    return Calendar(held, config, 0, **more)  # type: ignore[arg-type]


def promised(of: Calendar, wanted: JobClass, seconds: float = 0, job: int = 90) -> Promise:
    said = of.promise(key(job), wanted, limit_us=at(seconds))
    assert isinstance(said, Promise)
    return said


# -- when ----------------------------------------------------------------------------------------
def test_a_gang_starts_when_the_last_of_its_nodes_falls_free() -> None:
    said = promised(calendar(busy(30, 10, 20)), ask(gpus=4, nodes=2))
    assert (said.at_us, said.nodes, said.ends_us) == (at(20), ("n1", "n2"), NEVER_US)


def test_of_nodes_that_would_do_those_that_fall_free_last_are_kept() -> None:
    assert promised(calendar(busy(5, 20, 20)), ask(gpus=4, nodes=2)).nodes == ("n1", "n2")


@pytest.mark.parametrize(
    ("wanted", "end"),
    [(ask(gpus=2), 20), (ask(cpus=10), 30), (ask(memory_gib=50), 40), (ask(gpus=2, cpus=10), 30)],
)
def test_cpus_and_memory_must_fall_free_as_well_as_gpus(wanted: JobClass, end: float) -> None:
    parts = [
        part(1, "n0", 0, 1, 2, cpus=1, gib=1),
        part(2, "n0", cpus=14, gib=1),
        part(3, "n0", cpus=0.5, gib=60),
    ]
    held = cluster(1, *parts, ends={1: 20, 2: 30, 3: 40})
    assert promised(calendar(held), wanted).at_us == at(end)


def test_a_share_waits_for_one_gpu_with_so_much_of_it_free() -> None:
    parts = [part(i, "n0", i // 2, milli=400) for i in range(8)]
    held = cluster(1, *parts, ends={i: 10 + i for i in range(8)})
    assert promised(calendar(held), ask(gpus=0.5)).at_us == at(10)
    assert promised(calendar(held), ask(gpus=0.8)).at_us == at(11)
    assert promised(calendar(held), ask(gpus=2)).at_us == at(13)


def test_a_job_that_has_run_over_its_limit_ends_any_moment() -> None:
    assert promised(calendar(busy(-100)), ask(gpus=4)).at_us == 1


def test_estimates_stand_in_for_limits_that_nobody_gave() -> None:
    of = calendar(busy(None, 50), estimates={key(1): at(7), key(2): at(3)})
    assert promised(of, ask(gpus=4, nodes=2)).at_us == at(50)
    assert promised(calendar(busy(None), estimates={key(1): at(7)}), ask(gpus=4)).at_us == at(7)


def test_a_short_gang_is_promised_the_gap_before_a_longer_one_ahead_of_it() -> None:
    of = calendar(busy(10, 10, 50))
    assert promised(of, ask(gpus=4, nodes=3), 20, job=90).at_us == at(50)
    assert promised(of, ask(gpus=4, nodes=2), 40, job=91).at_us == at(10)
    assert promised(of, ask(gpus=4, nodes=1), 41, job=92).at_us == at(70)


def test_a_gang_stays_within_one_cluster() -> None:
    nodes = [node("a", gpus=4, cluster="east"), node("b", gpus=4, cluster="west")]
    nodes += [node("c", gpus=4, cluster="west")]
    held = holdings(nodes, [part(1, "b", 0)], {key(1): at(9)})
    assert promised(calendar(held), ask(gpus=4, nodes=2)).at_us == at(9)


@pytest.mark.parametrize(
    "other",
    [
        node("n1", gpus=4, state=NodeState.DOWN),
        node("n1", gpus=3),
        node("n1", gpus=4, blocked=(2,)),
        node("n1", gpus=["T4"] * 4),
        node("n1", gpus=4, labels={"zone": "b"}),
    ],
    ids=["down", "small", "blocked", "model", "label"],
)
def test_nodes_that_do_not_suit_are_not_counted_on(other: Node) -> None:
    held = holdings([node("n0", gpus=4, labels={"zone": "a"}), other], (), {})
    wanted = ask(gpus=4, nodes=2, gpu_type=("A100",), zone=("a",))
    assert calendar(held).promise(key(9), wanted) is None


def test_a_node_that_failed_the_job_is_not_counted_on() -> None:
    said = promised(calendar(busy(10, 20)), ask(gpus=4, avoid=("n0",)))
    assert said.nodes == ("n1",)


def test_the_earliest_instant_is_found_however_far_down_the_nodes_it_is() -> None:
    """All have their GPUs free; the CPUs fall free first on the last of them."""
    parts = [part(i, f"n{i}", cpus=12) for i in range(300)]
    held = cluster(300, *parts, ends={i: 1000 - (i * 7 % 300) for i in range(300)})
    said = promised(calendar(held), ask(gpus=1, cpus=8, nodes=3))
    assert said.at_us == at(703)


# -- where ---------------------------------------------------------------------------------------
def racks(*seconds: float) -> Holdings:
    """Two nodes in each rack."""
    nodes = [
        replace(node(f"n{i}", cpus=16, gpus=4), topology=(f"r{i // 2}",))
        for i in range(len(seconds))
    ]
    parts = [part(i + 1, f"n{i}", 0, 1, 2, 3) for i in range(len(seconds))]
    return holdings(nodes, parts, {key(i + 1): at(s) for i, s in enumerate(seconds)})


def level(wanted: JobClass, *, required: bool, name: str = "rack") -> JobClass:
    return replace(wanted, level=name, required=required)


def test_a_required_rack_is_waited_for() -> None:
    held = racks(10, 40, 10, 30, 10, 50)
    said = promised(calendar(held), level(ask(gpus=4, nodes=2), required=True))
    assert (said.at_us, said.nodes) == (at(30), ("n2", "n3"))


def test_a_preferred_rack_is_taken_where_it_costs_no_time() -> None:
    held = racks(20, 10, 10, 20, 20, 20)
    said = promised(calendar(held), level(ask(gpus=4, nodes=2), required=False))
    assert (said.at_us, said.nodes) == (at(10), ("n1", "n2"))
    held = racks(20, 10, 10, 20, 10, 10)
    said = promised(calendar(held), level(ask(gpus=4, nodes=2), required=False))
    assert said.nodes == ("n4", "n5")


def test_a_required_level_that_nobody_told_of_is_nowhere() -> None:
    wanted = level(ask(gpus=4, nodes=2), required=True, name="leaf")
    assert calendar(racks(1, 1)).promise(key(9), wanted) is None


# -- who may go where ----------------------------------------------------------------------------
def test_a_job_back_fills_if_it_has_ended_by_then() -> None:
    of = calendar(busy(10, 60))
    of.took("n0", ONE, (), None)
    held = cluster(2, part(1, "n1", 0, 1, 2, 3), ends={1: 60})
    of = calendar(held)
    promised(of, ask(gpus=4, nodes=2))
    assert of.forbids(ONE, at(60)) == frozenset()
    assert of.forbids(ONE, at(60) + 1) == {"n0", "n1"}
    assert of.forbids(ONE, None) == {"n0", "n1"}


def test_a_tolerance_lets_a_job_end_a_little_later() -> None:
    held = cluster(2, part(1, "n1", 0, 1, 2, 3), ends={1: 60})
    of = calendar(held, Policy(tolerance_s=5))
    assert promised(of, ask(gpus=4, nodes=2)).due_us == at(65)
    assert of.forbids(ONE, at(65)) == frozenset()
    assert of.forbids(ONE, at(65) + 1) == {"n0", "n1"}


def test_what_is_to_spare_beside_a_promise_may_be_used_for_ever() -> None:
    held = cluster(2, part(1, "n1", 0, 1, 2), ends={1: 60})
    of = calendar(held)
    promised(of, ask(gpus=3, nodes=2))
    assert of.forbids(ONE, None) == frozenset()
    assert of.forbids(ask(gpus=2).request, None) == {"n0", "n1"}
    of.took("n0", ONE, (DeviceShare(0, 1000),), None)
    assert of.forbids(ONE, None) == {"n0"}
    assert of.forbids(ONE, at(60)) == frozenset()


def test_cpus_and_memory_that_a_promise_needs_are_left_to_it() -> None:
    held = cluster(2, part(1, "n1", cpus=16), ends={1: 60})
    of = calendar(held)
    promised(of, ask(cpus=15, memory_gib=60, nodes=2))
    assert "n0" in of.forbids(CPU, at(61))
    assert "n0" in of.forbids(ask(cpus=1, memory_gib=5).request, at(61))
    assert "n0" not in of.forbids(ask(cpus=1, memory_gib=4).request, at(61))


def test_a_share_leaves_devices_alone_that_must_be_whole_by_then() -> None:
    """One GPU is shared for ever, the other until the gang starts that needs it."""
    parts = [part(1, "n0", 0, milli=500), part(2, "n0", 1, milli=400)]
    of = calendar(cluster(1, *parts, part(3, "n0", 2, 3), ends={2: 60, 3: 60}))
    promised(of, ask(gpus=3))
    assert of.forbids(HALF, None) == frozenset()
    assert of.spoilt("n0", HALF, None) == {1}
    assert of.spoilt("n0", HALF, at(60)) == frozenset()


def test_on_nodes_with_several_models_a_promise_keeps_all_gpus() -> None:
    held = holdings([node("n0", gpus=["T4", "T4", "A100"])], [part(1, "n0", 0)], {key(1): at(5)})
    of = calendar(held)
    promised(of, ask(gpus=2, gpu_type=("T4",)))
    assert of.forbids(ONE, at(6)) == {"n0"}


def test_parts_that_started_in_the_cycle_count_for_the_next_promise() -> None:
    of = calendar(cluster(2))
    four = tuple(DeviceShare(i, 1000) for i in range(4))
    of.took("n0", ask(gpus=4).request, four, at(30))
    assert promised(of, ask(gpus=4, nodes=2), 10, job=90).at_us == at(30)
    of.took("n1", ONE, four[:1], at(20))
    assert promised(of, ask(gpus=4), 5, job=91).at_us == at(20)


def test_many_parts_that_started_in_the_cycle_count_as_well() -> None:
    of = calendar(cluster(80))
    promised(of, ask(gpus=4), 10, job=90)
    for i in range(80):
        of.took(f"n{i}", ONE, (DeviceShare(0, 1000),), at(40))
    assert promised(of, ask(gpus=4), 10, job=91).at_us == at(40)


def test_why_names_the_job_that_would_be_late() -> None:
    of = calendar(cluster(2, part(1, "n1", 0, 1, 2, 3), ends={1: 60}))
    promised(of, ask(gpus=4, nodes=2), job=77)
    reason = of.why(ONE, None, ["n0"])
    assert reason is not None
    assert reason.code is ReasonCode.WOULD_DELAY
    assert (reason.numbers["job"], reason.numbers["due_us"]) == ("77", at(60))
    assert of.why(ONE, at(60), ["n0"]) is None


# -- promises of earlier plans -------------------------------------------------------------------
def standing(nodes: tuple[str, ...], seconds: float, job: int = 80) -> Standing:
    return Standing(key(job), ask(gpus=4, nodes=len(nodes)), nodes, at(seconds), at(10))


def test_a_promise_of_an_earlier_plan_keeps_its_nodes_until_its_turn() -> None:
    of = calendar(busy(10, 20), standing=[standing(("n0",), 10)])
    assert of.forbids(ONE, at(15)) == {"n0"}
    assert promised(of, ask(gpus=4), 30, job=81).at_us == at(20)
    of.lift(key(80))
    assert of.forbids(ONE, at(15)) == frozenset()


def test_a_promise_never_gets_later_than_it_was() -> None:
    of = calendar(busy(10, 20), Policy(tolerance_s=8), standing=[standing(("n0",), 12)])
    said = of.promise(key(80), ask(gpus=4), limit_us=at(10))
    assert isinstance(said, Promise)
    assert (said.at_us, said.due_us) == (at(10), at(12))


def test_a_promise_that_is_overdue_is_kept_as_soon_as_it_can_be() -> None:
    of = calendar(busy(10), standing=[standing(("n0",), 5)])
    assert of.forbids(ONE, at(10)) == frozenset()
    assert of.forbids(ONE, at(10) + 1) == {"n0"}
    assert of.next_us == at(10)


def test_a_promise_on_a_node_that_is_gone_is_none() -> None:
    of = calendar(busy(10, 20), standing=[standing(("n0", "n7"), 20)])
    assert of.forbids(ONE, None) == frozenset()


# -- nobody knows --------------------------------------------------------------------------------
HALF_IDLE = Policy(starvation_s=100, collect_gpus_milli=500)


def test_a_gang_that_nobody_can_date_collects_once_it_has_waited_long_enough() -> None:
    held = busy(None, None, None)
    of = calendar(held, HALF_IDLE)
    assert of.promise(key(9), ask(gpus=4, nodes=2), since_us=-at(99)) is None
    assert of.next_us == at(1)
    said = of.promise(key(9), ask(gpus=4, nodes=2), since_us=-at(100))
    assert isinstance(said, Collecting)


def test_nodes_that_lack_least_are_collected_and_kept_from_everybody() -> None:
    parts = [part(1, "n0", 0, 1, 2), part(2, "n1", 0), part(3, "n2", 0, 1), part(4, "n3", 0)]
    of = calendar(cluster(4, *parts, ends={3: 50}), HALF_IDLE)
    said = of.promise(key(9), ask(gpus=4, nodes=3), since_us=-at(100))
    assert isinstance(said, Collecting)
    assert (said.nodes, said.free, said.idle_gpu_milli) == (("n2", "n1", "n3"), 0, 8000)
    assert of.forbids(ONE, 1) == {"n1", "n2", "n3"}
    assert of.forbids(CPU, None) == frozenset()
    reason = of.why(ONE, 1, ["n1"])
    assert reason is not None
    assert "collects" in reason.text


def test_no_more_is_kept_idle_than_the_policy_allows() -> None:
    parts = [part(i, f"n{i}", 0) for i in range(4)]
    of = calendar(cluster(4, *parts), replace(HALF_IDLE, collect_gpus_milli=400))
    first = of.promise(key(9), ask(gpus=4, nodes=2), since_us=-at(100))
    second = of.promise(key(10), ask(gpus=4, nodes=2), since_us=-at(100))
    assert isinstance(first, Collecting)
    assert first.idle_gpu_milli == 6000
    assert second is None


def test_no_more_gangs_collect_than_the_policy_allows() -> None:
    parts = [part(i, f"n{i}", 0, 1, 2, 3) for i in range(4)]
    of = calendar(cluster(4, *parts), replace(HALF_IDLE, reserve_gangs=1))
    assert of.promise(key(9), ask(gpus=4, nodes=2), since_us=-at(100)) is not None
    assert of.promise(key(10), ask(gpus=4, nodes=2), since_us=-at(100)) is None


def test_what_is_collected_is_the_same_in_the_next_plan_unless_another_lacks_less() -> None:
    before = [part(1, "n0", 0, 1), part(2, "n1", 0), part(3, "n2", 0, 1), part(4, "n0", 2)]
    nodes: list[tuple[str, ...]] = []
    for parts in (before, before[:3], before[1:3]):
        said = calendar(cluster(3, *parts), replace(HALF_IDLE, collect_gpus_milli=1000)).promise(
            key(9), ask(gpus=4, nodes=2), since_us=-at(100)
        )
        assert isinstance(said, Collecting)
        nodes.append(tuple(sorted(said.nodes)))
    assert nodes == [("n1", "n2"), ("n0", "n1"), ("n0", "n1")]


def test_a_clock_that_was_set_back_keeps_nobody_from_collecting() -> None:
    of = calendar(busy(None, None), HALF_IDLE)
    assert of.promise(key(9), ask(gpus=4), since_us=at(10**6)) is not None


def test_a_cluster_without_nodes_promises_nothing() -> None:
    of = calendar(holdings((), (), {}))
    assert of.promise(key(9), ask(gpus=1), since_us=-at(10**6)) is None
    assert of.forbids(Request(), None) == frozenset()
