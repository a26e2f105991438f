"""Where a request goes: the index against asking every node, and what it keeps and forgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import tries
from tests.planner_gangs import Able, gang
from tests.planner_worlds import GIB, World, ask, node, random_class, random_node
from zenkei.model.cluster import Node, NodeState
from zenkei.model.resources import Free, Misfit
from zenkei.scheduler import JobClass, Planner, check, plan
from zenkei.scheduler.index import NodeIndex, NodeRow, Shape, Wishes
from zenkei.scheduler.placement.best_fit import BestFit
from zenkei.scheduler.placement.port import Ask, NodeModel

LEVELS = ("row", "rack")


def index_of(*nodes: Node, labels: Sequence[str] = (), scorer: BestFit | None = None) -> NodeIndex:
    index = NodeIndex(scorer)
    index.use_levels(LEVELS)
    index.use_labels(labels)
    for one in nodes:
        enter(index, one)
    return index


def enter(index: NodeIndex, one: Node) -> None:
    ready = replace(one, state=NodeState.READY)
    index.put(NodeRow(ready, Free.of(one.capacity)))


def selected(
    index: NodeIndex, wanted: JobClass, cluster: str = "local", **wishes: Any
) -> list[str]:
    shape = Shape(cluster, Ask.of(wanted.request), wanted.constraints)
    said = Wishes(level=wanted.level, required=wanted.required, **wishes)
    rows = index.select(shape, wanted.request, wanted.nodes, least=wanted.least, wishes=said)
    return [row.node.name for row in rows]


def by_asking_all(index: NodeIndex, wanted: JobClass, wishes: dict[str, Any]) -> list[str]:
    """The same by `check` on every node."""
    able = []
    for name, row in index.rows.items():
        passed = row.node.cluster != "west" or name in wishes["without"]
        found = check(row.node, row.free, wanted.request, dict(wanted.constraints))
        if passed or isinstance(found, Misfit):
            continue
        left = sum(row.free.gpu_milli[share.index] - share.milli for share in found)
        rating = (name in wishes["last"], left, bool(row.node.capacity.devices))
        warm = -wishes["warm"].get(name, 0)
        sizes = row.free.cpu_milli, row.free.memory_bytes >> 20, row.free.tmp_bytes >> 30
        total = sum(row.free.gpu_milli)
        able.append(Able((*rating, total), (warm, *sizes), (row.node.topology, name)))
    depth = None
    if wanted.required and wanted.nodes > 1:
        depth = LEVELS.index(wanted.level) + 1 if wanted.level in LEVELS else 99
    found_names = gang(able, wanted.nodes, depth)
    return found_names if len(found_names) >= wanted.least else []


@settings(deadline=None, max_examples=tries(100))
@given(rng=st.randoms(use_true_random=False))
def test_the_choice_is_that_of_asking_every_node(rng: Random) -> None:
    """Nodes fill, come, go and change between the choices."""
    names = [f"n{i}" for i in range(14)]
    index = index_of(*(random_node(rng, name) for name in names[:10]), labels=("rack",))
    classes = [replace(random_class(rng), avoid=(), prefer=()) for _ in range(3)]
    for _ in range(12):
        wanted = rng.choice(classes)
        wishes = {
            "without": frozenset(rng.sample(names, rng.choice((0, 0, 3)))),
            "last": frozenset(rng.sample(names, rng.choice((0, 0, 4)))),
            "warm": {name: rng.randrange(3) for name in rng.sample(names, rng.choice((0, 5)))},
        }
        found = selected(index, wanted, "west", **wishes)
        assert found == by_asking_all(index, wanted, wishes)
        for name in found:
            take(index, name, wanted)
        name = rng.choice(names)
        if name in index.rows:
            index.drop(index.rows[name])
        if rng.random() < 0.7:
            enter(index, random_node(rng, name))


def take(index: NodeIndex, name: str, wanted: JobClass) -> None:
    row = index.rows[name]
    devices = check(row.node, row.free, wanted.request, {})
    assert not isinstance(devices, Misfit)
    row.free.take(wanted.request, devices)
    index.move(row)


def test_work_on_cpus_leaves_nodes_with_gpus_alone_while_others_have_room() -> None:
    index = index_of(node("a", gpus=8, cpus=8), node("b", cpus=16))
    assert selected(index, ask(cpus=2)) == ["b"]
    assert selected(index, ask(cpus=2, gpus=1)) == ["a"]
    assert selected(index, ask(cpus=2), without={"b"}) == ["a"]


def test_warm_data_breaks_ties_and_nothing_else() -> None:
    index = index_of(node("a", gpus=2), node("b", gpus=2), node("c", gpus=2), node("d", gpus=1))
    assert selected(index, ask(gpus=2), warm={"b": 1, "c": 2}) == ["c"]
    assert selected(index, ask(gpus=1), warm={"c": 2}) == ["d"]
    assert selected(index, ask(gpus=2, nodes=2), warm={"c": 2}) == ["a", "c"]


def test_nodes_that_are_kept_for_last_are_taken_when_the_others_do_not_suffice() -> None:
    index = index_of(*(node(name, gpus=1) for name in "abc"))
    assert selected(index, ask(gpus=1), last={"a"}) == ["b"]
    assert selected(index, ask(gpus=1, nodes=2), last={"a", "b"}) == ["a", "c"]


def test_memory_that_the_best_node_lacks_is_found_elsewhere() -> None:
    index = index_of(node("a", gpus=1, memory_gib=4), node("b", gpus=8, memory_gib=64))
    assert selected(index, ask(gpus=1, memory_gib=5)) == ["b"]
    assert selected(index, ask(gpus=1, memory_gib=65)) == []


def test_nodes_of_64_gpus_and_constraints_on_100_labels() -> None:
    labels = {f"l{i}": "x" for i in range(100)}
    index = index_of(
        node("a", gpus=64, cpus=512, labels={**labels, "l99": "y"}),
        node("b", gpus=64, cpus=512, labels=labels),
        labels=tuple(labels),
    )
    wanted = JobClass.of(ask(gpus=48).request, 1, dict.fromkeys(labels, ("x",)))
    assert selected(index, wanted) == ["b"]
    take(index, "b", wanted)
    assert selected(index, wanted) == []


def test_every_change_is_seen_however_many_lie_between_two_choices() -> None:
    index = index_of(node("a", cpus=8), node("b", cpus=9))
    assert selected(index, ask(cpus=8)) == ["a"]
    row = index.rows["a"]
    for number in range(10_000):
        row.free.cpu_milli = number % 2000
        index.move(row)
    assert selected(index, ask(cpus=8)) == ["b"]


class Learning(BestFit):
    """Best fit that rates nodes by what it was told."""

    width = 1
    version = 0

    def __init__(self) -> None:
        self.told: dict[int, float] = {}

    def features(
        self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int
    ) -> tuple[float, ...]:
        return (self.told.get(model.cpu_milli, 0.0),)

    def rater(self, ask: Ask) -> Any:
        class Rater:
            def rate(self, nodes: Any, at: Any) -> Any:
                return nodes.features[at, 0]

        return Rater()


def test_a_new_version_of_the_scorer_is_asked_anew() -> None:
    scorer = Learning()
    index = index_of(node("a", cpus=8), node("b", cpus=9), scorer=scorer)
    assert selected(index, ask()) == ["a"]
    scorer.told = {9000: 1.0}
    index.sweep()
    assert selected(index, ask()) == ["a"], "not before it says so"
    scorer.version = 1
    index.sweep()
    assert selected(index, ask()) == ["b"]


class LastDevice(BestFit):
    """Takes shares from the last device that has room."""

    def rater(self, ask: Ask) -> Any:
        inner = super().rater(ask)

        class Rater:
            rate = inner.rate

            def device(self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int) -> int:
                return max(i for i, milli in enumerate(gpu_milli) if milli >= ask.gpu_milli)

        return Rater()


def test_the_scorer_says_from_which_device_a_share_is_taken() -> None:
    world = World(node("a", gpus=4))
    world.submit(ask(gpus=0.5))
    [best] = plan(world.snapshot(), now_us=0).decisions
    [last] = Planner(world.snapshot(), LastDevice()).plan(now_us=0).decisions
    assert best.parts[0].devices == ((0, 500),)  # type: ignore[union-attr]
    assert last.parts[0].devices == ((3, 500),)  # type: ignore[union-attr]


@pytest.mark.parametrize("gib", [64, 1])
def test_ties_go_to_the_node_with_least_cpu_then_memory_then_by_name(gib: int) -> None:
    index = index_of(
        node("d", cpus=8, memory_gib=64),
        node("c", cpus=8, memory_gib=gib),
        node("b", cpus=8, memory_gib=gib),
        node("a", cpus=9, memory_gib=1),
    )
    assert selected(index, ask(cpus=8)) == ["b"]
    assert index.rows["b"].free.memory_bytes == gib * GIB
