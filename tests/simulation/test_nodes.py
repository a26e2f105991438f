"""Nodes that break, freeze and are mended, under the production controller."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from tests.effort import QUICK, tries
from zenkei.model.cluster import NodeState
from zenkei.model.job import FailureClass, JobState
from zenkei.ports.store import JobFilter
from zenkei.sim.faults import PEACE, FaultRates
from zenkei.sim.workload import Users, cluster
from zenkei.sim.world import World

TROUBLE = FaultRates(crash=0.02, engine_error=0.05, report_doubled=0.2, build_error=0.1)

BLOCK = tries(20, least=8)


def states(world: World, name: str) -> list[NodeState]:
    """The states through which a node went, without repetitions."""
    found: list[NodeState] = []
    for event in world.store.node_events(name):
        if event.after not in found[-1:]:
            found.append(event.after)
    return found


def peaceful(seed: int, jobs: int = 12) -> tuple[World, Random]:
    rng = Random(seed)
    world = World(seed, cluster(rng), PEACE)
    Users(world, rng, jobs=jobs, span_s=300.0)
    return world, rng


def test_a_bad_node_leaves_scheduling_and_comes_back_by_itself_when_it_is_mended() -> None:
    world, _ = peaceful(5)
    world.engine.spoil("node-1")
    world.clock.call_in(900.0, partial(world.engine.mend, "node-1"))
    # whoever runs keeps the world going until the node has been checked again
    world.run()
    went = states(world, "node-1")
    assert went[:3] == [NodeState.READY, NodeState.SUSPECT, NodeState.PROBING]
    assert NodeState.DOWN in went
    rows = world.store.jobs(JobFilter(), limit=1000).items
    assert not [r.id for r in rows if r.failure is FailureClass.INFRASTRUCTURE]


def test_a_node_that_is_mended_takes_work_again() -> None:
    world, _ = peaceful(5)
    for node in world.engine.inventory():
        world.engine.spoil(node.name)
        world.clock.call_in(200.0, partial(world.engine.mend, node.name))
    world.run()
    assert {node.state for node in world.store.nodes()} == {NodeState.READY}


def test_a_job_on_a_frozen_node_goes_on_elsewhere_and_the_node_returns_when_it_is_clean() -> None:
    world, _ = peaceful(11)
    names = [node.name for node in world.engine.inventory()]
    assert len(names) > 1
    world.clock.call_in(60.0, partial(world.engine.freeze, names[0]))
    world.clock.call_in(600.0, partial(world.engine.thaw, names[0]))
    world.run()
    assert any(event.kind == "fenced" for event in world.store.node_events(names[0]))
    assert [node.state for node in world.store.nodes()] == [NodeState.READY] * len(names)


def ends(seed: int) -> World:
    """Nodes freeze, thaw, restart, break and are mended at random while the controller dies."""
    rng = Random(seed)
    world = World(seed, cluster(rng), TROUBLE)
    Users(world, rng, jobs=10, span_s=120.0)
    for node in world.engine.inventory():
        at_s = rng.uniform(1, 200)
        back_s = at_s + rng.uniform(1, 400)
        wrong, right = rng.choice(
            (
                (world.engine.freeze, world.engine.thaw),
                (world.engine.freeze, world.engine.reboot),
                (world.engine.spoil, world.engine.mend),
                (world.engine.spoil, world.engine.mend),
            )
        )
        world.clock.call_in(at_s, partial(wrong, node.name))
        world.clock.call_in(back_s, partial(right, node.name))
    world.run()
    return world


@pytest.mark.parametrize("block", range(0, 8 if QUICK else 100, BLOCK))
def test_no_job_is_lost_or_runs_twice_wherever_nodes_and_controllers_fail(block: int) -> None:
    worlds = [ends(seed) for seed in range(block, block + BLOCK)]
    fenced = [e for w in worlds for e in w.store.node_events(limit=9999) if e.kind == "fenced"]
    assert len(fenced) > BLOCK / 4, "nodes must really be fenced"
    rows = [r for w in worlds for r in w.store.jobs(JobFilter(), limit=1000).items]
    assert sum(r.state is JobState.SUCCEEDED for r in rows) > len(rows) / 3
    assert {n.state for w in worlds for n in w.store.nodes()} <= {NodeState.READY, NodeState.DOWN}
