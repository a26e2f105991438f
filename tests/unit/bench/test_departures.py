"""The experiment with jobs that end: what it tells of a world that can be reckoned by hand."""

from __future__ import annotations

import pytest

from bench import departures, packing, remix
from zenkei.model.cluster import Node
from zenkei.model.resources import Capacity, Device, Request

NODES = 4
WHOLE = Request(cpu_milli=64_000, gpu_count=8, gpu_milli=1000)
HALF = Request(cpu_milli=4_000, gpu_count=1, gpu_milli=500)


def workload():
    devices = tuple(Device(index=i, kind="A") for i in range(8))
    capacity = Capacity(cpu_milli=96_000, memory_bytes=1 << 39, tmp_bytes=0, devices=devices)
    nodes = tuple(Node(name=f"n{i}", cluster="c", capacity=capacity) for i in range(NODES))
    return packing.Workload(
        name="w", nodes=nodes, pods={0: WHOLE, 1: HALF}, durations_s={0: 60.0, 1: 60.0}, arrivals={}
    )


@pytest.mark.parametrize("policy", packing.POLICIES)
def test_a_gang_waits_until_all_its_nodes_are_empty(policy):
    world = departures.World(workload(), policy, 0.0, 1)
    seen = world.run(
        iter(
            [
                departures.Job(0.0, 1, HALF, 1, 100.0),
                departures.Job(0.0, 2, WHOLE, NODES, 100.0),
                departures.Job(200.0, 3, HALF, 1, 100.0),
            ]
        )
    )
    assert (seen.gangs, seen.gang_wait_s, seen.wait_s, seen.waiting) == (1, 100.0, 0.0, 0)
    # half a GPU for 100 s, then all 32 for as long
    assert seen.allocated_percent == pytest.approx(100 * (0.5 + 32) / 2 / 32)
    assert seen.whole_nodes == pytest.approx((NODES - 1) / 2)


def test_jobs_ask_for_the_load_that_was_set():
    setting = departures.Setting(load=0.5, gangs=0.5, days=40.0)
    asked = sum(
        job.milli * job.duration_s for job in departures.jobs(workload(), setting, seed=3)
    ) / (setting.days * departures.DAY_S * workload().capacity_milli)
    assert asked == pytest.approx(0.5, rel=0.2)


def test_arrivals_bring_every_pod_once_and_then_more_up_to_the_limit():
    world = workload()
    rows = remix.arrivals(world, 5)
    asked = sum(world.pods[row].gpu_count * world.pods[row].gpu_milli for row in rows)
    assert sorted(rows[:2]) == [0, 1]
    assert 1.3 <= asked / world.capacity_milli < 1.3 + 0.25
    assert rows == remix.arrivals(world, 5) != remix.arrivals(world, 6)
