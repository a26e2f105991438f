"""What is free on a node, and the predicate that planner and applier share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planner_worlds import GIB, node
from zenkei.model.cluster import Allocation, NodePart, NodeState
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.resources import DeviceShare, Misfit, Request
from zenkei.scheduler import check, free_of

ONE_GPU = Request(cpu_milli=1000, memory_bytes=GIB, gpu_count=1, gpu_milli=1000)


def allocation(*parts: NodePart) -> Allocation:
    return Allocation(attempt=AttemptId(JobId(1), 1), cluster="local", parts=parts)


def on(name: str, *devices: int, milli: int = 1000) -> NodePart:
    shares = tuple(DeviceShare(index, milli) for index in devices)
    return NodePart(node=name, request=ONE_GPU, devices=shares)


def test_only_parts_on_the_node_itself_count() -> None:
    free = free_of(node("a", gpus=2), [allocation(on("a", 0), on("b", 1))])
    assert (free.cpu_milli, free.memory_bytes, free.gpu_milli) == (7000, 63 * GIB, [0, 1000])


def test_shares_of_one_device_add_up() -> None:
    held = [allocation(on("a", 0, milli=300)), allocation(on("a", 0, milli=450))]
    assert free_of(node("a", gpus=1), held).gpu_milli == [250]


def test_a_blocked_device_has_nothing_left_whether_it_is_held_or_not() -> None:
    one = node("a", gpus=3, blocked=(0, 1, 7))
    assert free_of(one, [allocation(on("a", 1))]).gpu_milli == [0, 0, 1000]


def test_a_device_that_is_gone_is_passed_over_and_a_node_that_shrank_is_overfull() -> None:
    free = free_of(node("a", cpus=0, gpus=1), [allocation(on("a", 0, 5))])
    assert (free.cpu_milli, free.gpu_milli) == (-1000, [0])


@pytest.mark.parametrize("state", [s for s in NodeState if s is not NodeState.READY])
def test_a_node_that_is_not_ready_takes_nothing(state: NodeState) -> None:
    one = node("a", gpus=1, state=state)
    assert check(one, free_of(one, ()), ONE_GPU, {}) is Misfit.STATE


def test_constraints_are_asked_before_sizes() -> None:
    one = node("a", labels={"rack": "r1"})
    assert check(one, free_of(one, ()), ONE_GPU, {"rack": ("r2",)}) is Misfit.CONSTRAINT
    assert check(one, free_of(one, ()), ONE_GPU, {"rack": ("r1",)}) is Misfit.GPU_CAPACITY


def test_the_devices_are_those_of_fits() -> None:
    one = node("a", gpus=3)
    free = free_of(one, [allocation(on("a", 0))])
    assert check(one, free, ONE_GPU, {}) == ((1, 1000),)
    assert check(replace(one, blocked=(1,)), free, ONE_GPU, {}) == ((1, 1000),), "free decides"
