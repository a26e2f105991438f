"""Value tables against figures that an independent prototype gave for the same workload."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from zenkei.model.cluster import Node
from zenkei.model.resources import Capacity, Device, Request
from zenkei.scheduler import JobClass
from zenkei.scheduler.placement import mix
from zenkei.scheduler.placement.port import Ask
from zenkei.scheduler.placement.tables import (
    ENTIRE,
    Block,
    Kind,
    blocks_value,
    hole_value,
    pool_value,
    spread,
)

TRACE = Path(__file__).with_name("openb_default.csv")
G2 = ("G2",) * 8


def trace():
    """Requests with their number, and nodes, of the openb workload."""
    lines = TRACE.read_text("utf-8").splitlines()
    pods: Counter[Ask] = Counter()
    nodes: list[Node] = []
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        kinds = tuple(kind for kind in row["gpu_kinds"].split("|") if kind)
        count, cpu_milli, number = (int(row[k]) for k in ("gpu_count", "cpu_milli", "number"))
        if row["what"] == "pod":
            pods[Ask(count, int(row["gpu_milli"]), kinds, cpu_milli)] += number
        else:
            nodes += [make(f"n{len(nodes) + i}", kinds * count, cpu_milli) for i in range(number)]
    return pods, nodes


def make(name, kinds, cpu_milli):
    devices = tuple(Device(index=i, kind=kind) for i, kind in enumerate(kinds))
    capacity = Capacity(cpu_milli=cpu_milli, memory_bytes=1 << 40, tmp_bytes=0, devices=devices)
    return Node(name=name, cluster="c", capacity=capacity)


def kinds_of(pods):
    return [
        Kind(ask.cpu_milli, ask.gpu_count, ask.gpu_milli, number)
        for ask, number in pods.items()
        if not ask.gpu_kinds or "G2" in ask.gpu_kinds
    ]


def test_holes_are_worth_what_the_prototype_found():
    pods, _ = trace()
    value = hole_value(kinds_of(pods), sum(pods.values()), rounds=60)
    found = [value[100], value[190], value[470], value[810], value[1000]]
    assert found == pytest.approx([3.1, 88.5, 441.3, 799.2, 1000.0], abs=0.05)


def test_pools_are_worth_what_the_prototype_found():
    pods, _ = trace()
    value = spread(pool_value(kinds_of(pods), sum(pods.values()), (50, 1), rounds=100))
    found = [value[100, 24], value[400, 96], value[800, 192]]
    assert found == pytest.approx([904.4, 3820.2, 7784.9], abs=0.05)


def test_blocks_and_prices_are_worth_what_the_prototype_found():
    pods, nodes = trace()
    worth = mix.of_asks(pods, nodes, prior=False).worth[G2]
    assert worth.blocks[4, 96] - 4 * ENTIRE == pytest.approx(11.33, abs=0.05)
    assert worth.price == pytest.approx(0.2)


def test_tables_do_not_depend_on_the_order_in_which_nodes_and_requests_come():
    pods, nodes = trace()
    one = mix.of_asks(pods, nodes)
    other = mix.of_asks(dict(reversed(pods.items())), reversed(nodes))
    assert list(one.worth) == list(other.worth)
    for kinds, worth in one.worth.items():
        assert np.array_equal(worth.blocks, other.worth[kinds].blocks)
        assert np.array_equal(worth.group.pool, other.worth[kinds].group.pool)
        assert np.array_equal(worth.group.hole, other.worth[kinds].group.hole)


def test_an_empty_node_is_worth_more_where_jobs_end():
    node = make("n", ("A",) * 8, 96_000)
    request = Request(cpu_milli=8_000, gpu_count=1, gpu_milli=1000)
    classes = [JobClass(request=request)]
    stay = mix.learn([100], classes, [node]).worth[node_kinds(node)].blocks
    end = mix.learn([100], classes, [node], ended=90).worth[node_kinds(node)].blocks
    assert end[8, 96] - end[7, 96] > stay[8, 96] - stay[7, 96] + 1000


def test_the_more_requests_take_nodes_whole_the_more_is_it_worth_that_one_is_empty():
    def empty(demand):
        wanted = ((2, 1.0), (4, 1.0), (8, demand))
        blocks = [Block(16_000 * q, q, share, 0.0, 1.0) for q, share in wanted]
        value = blocks_value(blocks, 8, 1)
        return value[8, 128] - value[7, 128]

    assert empty(0.8) > empty(0.2) + 20


def node_kinds(node):
    return tuple(device.kind for device in node.capacity.devices)


@pytest.mark.parametrize("count", [float("nan"), float("inf"), -1.0])
def test_counts_that_are_no_counts_are_refused(count):
    with pytest.raises(ValueError, match="count of arrivals is"):
        mix.learn([count], [JobClass(request=Request())], [])
    with pytest.raises(ValueError, match="count of ends is"):
        mix.learn([], [], [], ended=count)


def test_without_nodes_there_is_nothing_to_learn():
    assert (
        dict(mix.learn([5], [JobClass(request=Request(gpu_count=1, gpu_milli=1000))], []).worth)
        == {}
    )


def test_it_is_time_to_learn_whenever_arrivals_have_doubled():
    known, learned = 0, []
    for arrived in range(1, 1_000):
        if mix.due(known, arrived):
            known = arrived
            learned.append(arrived)
    assert learned == [25, 50, 100, 200, 400, 800]
