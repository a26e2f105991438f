"""What is kept by deltas is what a cold start would know."""

from __future__ import annotations

import pytest

from tests.planner_worlds import ask, node
from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.model.resources import DeviceShare
from zenkei.scheduler import (
    Delta,
    HeldPart,
    RunningJob,
    Snapshot,
    held_columns,
    running_columns,
)
from zenkei.scheduler.known import Known

JOB = JobId(1).key


def known(*nodes: Node) -> Known:
    """One job holds the GPU of node n1."""
    part = HeldPart(JOB, "n1", 1000, 0, 0, (DeviceShare(0, 1000),))
    return Known(
        Snapshot(
            classes=(ask(gpus=1),),
            queues=("q",),
            users=("u",),
            nodes=nodes,
            held=held_columns([part]),
            running=running_columns([RunningJob(JOB, 0, 0, 0, 0, 5, 5)]),
        )
    )


@pytest.mark.parametrize("gpus", [["H100"], ["A100"], []])
def test_a_job_holds_the_models_that_its_node_has_now(gpus: list[str]) -> None:
    kept = known(node("n1", gpus=["A100"]))
    kept.apply(Delta(seq=1, nodes=(node("n1", gpus=gpus),)))
    cold = known(node("n1", gpus=gpus))
    assert kept.tree.held_by(JOB) == cold.tree.held_by(JOB)
    assert kept.roster[JOB] == cold.roster[JOB]


def test_a_job_on_a_node_that_was_lost_holds_gpus_of_no_known_model_until_it_is_back() -> None:
    there = node("n1", gpus=["A100"])
    kept = known(there)
    kept.apply(Delta(seq=1, removed_nodes=("n1",)))
    assert kept.roster[JOB] == known().roster[JOB]
    kept.apply(Delta(seq=2, nodes=(there,)))
    assert kept.roster[JOB] == known(there).roster[JOB]
