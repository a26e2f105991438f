"""Which of the nodes that fit, by each policy, through the index that the planner asks."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest

from zenkei.model.cluster import Node
from zenkei.model.queue import Placement
from zenkei.model.resources import Capacity, Device, Free, Request
from zenkei.scheduler import JobClass
from zenkei.scheduler.index import NodeIndex, NodeRow, Shape
from zenkei.scheduler.placement import mix, scorer
from zenkei.scheduler.placement.fgd import Fgd, typical
from zenkei.scheduler.placement.hole_value import HoleValue
from zenkei.scheduler.placement.port import Ask

GIB = 1 << 30


def gpu(milli=1000, count=1, cpus=8, kinds=()):
    return Request(cpu_milli=1000 * cpus, gpu_count=count, gpu_milli=milli, gpu_kinds=kinds)


def cpu(cpus=8):
    return Request(cpu_milli=1000 * cpus)


def node(name, kinds, cpus=96):
    devices = tuple(Device(index=i, kind=kind) for i, kind in enumerate(kinds))
    capacity = Capacity(cpu_milli=1000 * cpus, memory_bytes=512 * GIB, tmp_bytes=0, devices=devices)
    return Node(name=name, cluster="c", capacity=capacity)


def index(policy, *nodes):
    """Nodes as (node, free thousandths) or alone."""
    found = NodeIndex(policy)
    for one in nodes:
        which, milli = one if isinstance(one, tuple) else (one, None)
        free = Free.of(which.capacity)
        if milli is not None:
            free.cpu_milli -= 8 * sum(1000 - m for m in milli)
            free.gpu_milli = list(milli)
        found.put(NodeRow(which, free))
    return found


def choice(found, request):
    shape = Shape("c", Ask.of(request), ())
    (row,) = found.select(shape, request, 1)
    devices = found.devices(shape, row)
    return row.node.name, devices[0].index if devices else None


def hole_value(nodes, requests):
    classes = [JobClass(request=request) for request, _ in requests]
    return HoleValue(mix.learn([count for _, count in requests], classes, nodes, ended=1_000))


MIX = [(gpu(), 500), (gpu(500, cpus=4), 300), (gpu(810, cpus=4), 100), (gpu(count=8, cpus=64), 20)]


def test_a_share_fills_a_hole_that_fits_it():
    nodes = [node("a", ("A",) * 2, 24), node("b", ("A",) * 2, 24)]
    requests = [*MIX, (gpu(190, cpus=2), 50)]
    found = index(hole_value(nodes, requests), nodes[0], (nodes[1], (1000, 190)))
    assert choice(found, gpu(190, cpus=2)) == ("b", 1)


def test_one_gpu_leaves_an_empty_node_whole():
    nodes = [node(name, ("A",) * 8) for name in "ab"]
    found = index(hole_value(nodes, MIX), nodes[0], (nodes[1], (0,) + (1000,) * 7))
    assert choice(found, gpu())[0] == "b"


@pytest.mark.parametrize(("churn", "best"), [(0.0, "empty"), (1.0, "full")])
def test_where_jobs_end_the_fuller_node_is_filled_and_the_other_runs_empty(churn, best):
    full, empty = node("full", ("A",) * 8), node("empty", ("A",) * 8)
    known = {Ask.of(request): float(count) for request, count in MIX}
    found = NodeIndex(HoleValue(mix.of_asks(known, [full, empty], churn=churn)))
    for one, gpus, cpus in ((full, 1, 40), (empty, 6, 36)):
        free = Free.of(one.capacity)
        free.gpu_milli, free.cpu_milli = [1000] * gpus + [0] * (8 - gpus), 1000 * cpus
        found.put(NodeRow(one, free))
    assert choice(found, gpu(cpus=4))[0] == best


def test_who_takes_any_model_leaves_the_scarce_one_to_those_who_need_it():
    nodes = [node("rare", ("A",) * 8), *(node(f"z{i}", ("B",) * 8) for i in range(9))]
    requests = [*MIX, (gpu(kinds=("A",)), 400)]
    assert choice(index(hole_value(nodes, requests), *nodes), gpu())[0] != "rare"


def test_a_request_that_fits_a_usual_node_leaves_the_wide_one():
    nodes = [node("a", ("A",) * 8, 128), node("b", ("A",) * 8, 96)]
    found = index(hole_value(nodes, MIX), *nodes)
    assert choice(found, gpu(count=8, cpus=64))[0] == "b"


@pytest.mark.parametrize("policy", ["hole_value", "fgd", "best_fit", "first_fit", "random"])
def test_work_without_gpus_takes_a_node_without_them(policy):
    nodes = [node("a", ("A",) * 8), node("b", ()), node("c", ("A",) * 8)]
    known = {Ask.of(request): float(count) for request, count in MIX}
    tables = mix.of_asks(known, nodes)
    made = scorer(Placement(policy), tables=tables, typical=typical(known))
    assert choice(index(made, *nodes), cpu())[0] == "b"


def test_nodes_that_came_after_learning_are_used():
    known, late = node("a", ("A",) * 2, 24), node("b", ("B",) * 64, 1_024)
    found = index(hole_value([known], MIX), late)
    assert choice(found, gpu(500)) == ("b", 0)
    assert choice(found, gpu(count=64, cpus=512))[0] == "b"


def test_a_share_takes_no_device_of_a_model_that_is_not_allowed():
    mixed = node("a", ("A", "B", "A"))
    found = index(hole_value([mixed], MIX), (mixed, (500, 500, 1000)))
    assert choice(found, gpu(500, kinds=("B",))) == ("a", 1)


def test_a_rating_is_what_the_chosen_device_makes_of_the_node_whatever_else_is_rated():
    rng = Random(5)
    nodes = [node(f"n{i}", ("AB"[i % 2],) * (2, 4, 8)[i % 3], 64) for i in range(60)]
    policy = hole_value(nodes, MIX)
    free = [[rng.choice((0, 190, 500, 730, 1000)) for _ in one.capacity.devices] for one in nodes]
    found = index(policy, *((one, tuple(milli)) for one, milli in zip(nodes, free, strict=True)))
    request = gpu(190, cpus=2)
    found.select(Shape("c", Ask.of(request), ()), request, 1)
    (columns,) = found._columns.values()
    rater = policy.rater(Ask.of(request))
    together = rater.rate(columns, columns.everything)
    for slot, row in enumerate(columns.rows):
        assert row is not None
        alone = rater.rate(columns, np.array([slot]))[0]
        assert alone == together[slot]
        if max(row.free.gpu_milli) < 190:
            continue
        model = columns.models[columns.model[slot]]
        left = row.free.cpu_milli - request.cpu_milli
        gains = [
            policy.gain(model, row.free.gpu_milli, left, i, 190)
            for i, milli in enumerate(row.free.gpu_milli)
            if milli >= 190
        ]
        known = policy.model(model)
        before = columns.features[slot, 1]
        assert alone == pytest.approx(max(gains) - before - known.price * 190)


def test_fragmentation_is_what_a_random_request_cannot_use():
    requests = typical({Ask(1, 500, (), 4_000): 3.0, Ask(2, 1000, (), 8_000): 1.0})
    fgd = Fgd(requests)
    takes = np.ones((1, len(fgd.kinds)), dtype=np.bool_)
    # halves can use 1,500 of the 1,700; two whole GPUs are not there: all is lost to these
    found = fgd.fragments(np.array([[1000, 500, 200]]), np.array([64_000]), takes)
    assert found[0] == pytest.approx(0.75 * 200 + 0.25 * 1_700)


def test_fgd_puts_a_share_where_least_is_lost():
    nodes = [node("a", ("A",) * 2), node("b", ("A",) * 2)]
    known = {Ask.of(gpu(500, cpus=4)): 5.0, Ask.of(gpu()): 5.0}
    found = index(Fgd(typical(known)), nodes[0], (nodes[1], (500, 1000)))
    assert choice(found, gpu(500, cpus=4)) == ("b", 0)


def test_typical_requests_are_the_most_frequent_that_cover_the_share():
    known = {Ask(1, 1000, (), i): float(n) for i, n in enumerate((1, 60, 4, 35))}
    assert [ask.cpu_milli for ask in typical(known).asks] == [1, 3]
    equal = [Ask(2, 1000, (), 5), Ask(1, 500, (), 5), Ask(1, 500, (), 9)]
    assert typical(dict.fromkeys(equal, 1.0), 0.6).asks == (equal[2], equal[0])
    with pytest.raises(ValueError, match="nan"):
        typical({Ask(1, 1000, (), 1): math.nan})


def test_first_fit_takes_the_first_name_that_fits():
    nodes = [node("a", ("A",) * 2), node("b", ("A",) * 2), node("c", ("A",) * 2)]
    found = index(scorer(Placement.FIRST_FIT), (nodes[0], (0, 400)), *nodes[1:])
    assert choice(found, gpu()) == ("b", None)
    assert choice(found, gpu(400)) == ("a", 1)


def test_random_placement_is_the_same_for_a_seed_and_another_for_others():
    nodes = [node(f"n{i:02}", ("A",) * 8) for i in range(64)]
    names = [
        choice(index(scorer(Placement.RANDOM, seed=seed), *nodes), gpu())[0]
        for seed in (1, 1, 2, 3, 4, 5)
    ]
    assert names[0] == names[1]
    assert len(set(names)) > 2


def test_policies_that_have_learned_nothing_yet_pack_by_best_fit():
    nodes = [node("a", ("A",) * 2), node("b", ("A",) * 2)]
    found = index(scorer(Placement.HOLE_VALUE), nodes[0], (nodes[1], (500, 1000)))
    assert choice(found, gpu(500)) == ("b", 0)
