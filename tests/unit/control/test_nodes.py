"""Nodes under the whole control plane: drained, labelled, failing, checked, fenced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.plant import ALICE, ROOT, Plant, never_ends, node
from zenkei.model.cluster import NodeEventKind, NodeState
from zenkei.model.errors import Denied, InvalidInput, NotFound
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import CheckpointPolicy, JobSpec, JobState, ResourceRequest, StopReason
from zenkei.model.resources import Request
from zenkei.ports.engine import Silent

WHOLE_NODE = ResourceRequest(node=Request(cpu_milli=4000))
SPEC = JobSpec(name="job", command="true", resources=WHOLE_NODE)


@pytest.fixture
def plant() -> Plant:
    return Plant(node("node-1"), node("node-2"), program=never_ends)


def state(plant: Plant, name: str = "node-1") -> NodeState:
    return next(node.state for node in plant.store.nodes() if node.name == name)


def where(plant: Plant, job: JobId) -> list[str]:
    found = [a for a in plant.store.allocations() if a.attempt.job == job]
    return [part.node for held in found for part in held.parts]


def kinds(plant: Plant, name: str = "node-1") -> list[NodeEventKind]:
    return [event.kind for event in plant.store.node_events(name)]


def lose(plant: Plant, job: JobId) -> None:
    """The node is blamed for the end of the job's attempt; the job does not come back."""
    (name,) = where(plant, job)
    plant.engine.fence(name, AttemptId(job, plant.row(job).attempt))
    plant.settle()
    plant.commands.cancel(ROOT, job)
    plant.settle()


def test_a_drained_node_takes_nothing_new_and_kills_nothing(plant: Plant) -> None:
    job = plant.run(SPEC)
    assert where(plant, job) == ["node-1"]
    plant.nodes.drain(ROOT, "node-1", reason="new disk")
    second, third = plant.run(SPEC), plant.run(SPEC)
    assert state(plant) is NodeState.DRAINING
    assert plant.state(job) is JobState.RUNNING
    assert where(plant, second) == ["node-2"]
    assert plant.state(third) is JobState.PENDING


def test_a_draining_node_is_drained_when_its_last_job_has_ended(plant: Plant) -> None:
    job = plant.run(SPEC)
    plant.nodes.drain(ROOT, "node-1", reason="new disk")
    plant.settle()
    assert state(plant) is NodeState.DRAINING
    plant.commands.cancel(ROOT, job)
    plant.settle()
    assert state(plant) is NodeState.DRAINED
    assert kinds(plant)[-2:] == [NodeEventKind.DRAIN, NodeEventKind.EMPTIED]


def test_drain_with_preempt_asks_what_runs_there_to_save_and_go_elsewhere(plant: Plant) -> None:
    job = plant.run(replace(SPEC, checkpoint=CheckpointPolicy(grace_s=33.0)))
    found = plant.nodes.drain(ROOT, "node-1", reason="new disk", preempt=True)
    assert [row.id for row in found.preempted] == [job]
    plant.settle()
    assert where(plant, job) == ["node-2"]
    (ordered,) = [e for e in plant.store.events(job=job) if e.kind == "stop_ordered"]
    assert ordered.body.reason is StopReason.PREEMPTED  # type: ignore[union-attr]
    assert ordered.body.checkpoint_s == 33.0  # type: ignore[union-attr]
    assert state(plant) is NodeState.DRAINED


def test_what_an_operator_said_outlives_the_daemon_and_every_inventory(plant: Plant) -> None:
    plant.nodes.drain(ROOT, "node-1", reason="new disk")
    plant.nodes.label(ROOT, "node-2", labels={"rack": "r7"})
    plant.restart()
    plant.controller.register_nodes()
    plant.settle()
    assert state(plant) is NodeState.DRAINED
    assert plant.nodes.show(ALICE, "node-2").node.labels["rack"] == "r7"


def test_a_label_of_an_operator_lets_a_job_with_that_constraint_start(plant: Plant) -> None:
    job = plant.run(replace(SPEC, constraints={"rack": ("r7",)}))
    assert plant.state(job) is JobState.PENDING
    plant.nodes.label(ROOT, "node-2", labels={"rack": "r7"})
    plant.settle()
    assert where(plant, job) == ["node-2"]


def test_a_resumed_node_takes_work_again(plant: Plant) -> None:
    plant.nodes.drain(ROOT, "node-1", reason="new disk")
    plant.nodes.drain(ROOT, "node-2", reason="new disk")
    job = plant.run(SPEC)
    assert plant.state(job) is JobState.PENDING
    plant.nodes.resume(ROOT, "node-1")
    plant.settle()
    assert where(plant, job) == ["node-1"]


@pytest.mark.parametrize("reason", ["", "  ", "red\x1b[31m", "x" * 201])
def test_a_drain_has_a_reason_that_can_be_shown(plant: Plant, reason: str) -> None:
    with pytest.raises(InvalidInput):
        plant.nodes.drain(ROOT, "node-1", reason=reason)
    assert state(plant) is NodeState.READY


def test_a_label_is_not_set_and_taken_away_at_once(plant: Plant) -> None:
    with pytest.raises(InvalidInput, match="`rack` cannot be set and taken away"):
        plant.nodes.label(ROOT, "node-2", labels={"rack": "r7"}, without=("rack",))


def test_labels_of_a_node_are_bounded_over_many_commands(plant: Plant) -> None:
    for start in (0, 40):
        names = {f"k{number}": "v" for number in range(start, start + 24)}
        plant.nodes.label(ROOT, "node-2", labels=names)
    with pytest.raises(InvalidInput, match="65 own labels, 64 are allowed"):
        plant.nodes.label(ROOT, "node-2", labels={f"m{number}": "v" for number in range(17)})
    assert len(plant.nodes.show(ALICE, "node-2").node.own_labels) == 48


@pytest.mark.parametrize("verb", ["drain", "resume", "label"])
def test_only_an_operator_may_speak_about_nodes(plant: Plant, verb: str) -> None:
    calls = {
        "drain": lambda: plant.nodes.drain(ALICE, "node-1", reason="x"),
        "resume": lambda: plant.nodes.resume(ALICE, "node-1"),
        "label": lambda: plant.nodes.label(ALICE, "node-1", labels={"a": "b"}),
    }
    with pytest.raises(Denied):
        calls[verb]()
    assert state(plant) is NodeState.READY


def test_an_unknown_node_is_met_with_the_nearest_name(plant: Plant) -> None:
    with pytest.raises(NotFound) as refused:
        plant.nodes.drain(ROOT, "nodo-1", reason="x")
    assert refused.value.hint == "did you mean `node-1`?"


def test_a_node_that_fails_jobs_is_checked_and_comes_back(plant: Plant) -> None:
    for _ in range(3):
        lose(plant, _on_one(plant))
    assert NodeEventKind.CHECK in kinds(plant)
    assert kinds(plant)[-1] is NodeEventKind.CHECKED
    assert state(plant) is NodeState.READY


def _on_one(plant: Plant) -> JobId:
    """A new job that runs on the first node."""
    plant.nodes.drain(ROOT, "node-2", reason="to keep it free")
    job = plant.run(SPEC)
    assert where(plant, job) == ["node-1"]
    plant.nodes.resume(ROOT, "node-2")
    plant.settle()
    return job


def test_a_node_that_a_check_finds_broken_stays_away_until_a_later_check_finds_it_mended(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plant.engine, "probe", lambda name: ("its disk is read-only",))
    for _ in range(3):
        lose(plant, _on_one(plant))
    found = plant.nodes.show(ALICE, "node-1").node
    assert (found.state, found.reason) == (NodeState.DOWN, "its disk is read-only")
    monkeypatch.undo()
    plant.settle(60)
    assert state(plant) is NodeState.READY


def test_a_lost_attempt_fences_its_node_and_the_job_goes_on_elsewhere(plant: Plant) -> None:
    job = plant.run(SPEC)
    attempt = AttemptId(job, 1)
    sign = Silent(attempt=attempt, node="node-1", detail="no sign of life", lost=True)
    plant.engine._fresh.append(sign)
    plant.settle(5)
    assert kinds(plant).count(NodeEventKind.FENCED) == 1
    found = plant.nodes.show(ALICE, "node-1").node
    assert (found.state, found.reason) == (
        NodeState.DOWN,
        "fenced: 1/1: no sign of life",
    )
    assert (plant.row(job).attempt, where(plant, job)) == (2, ["node-2"])


def test_silence_about_an_attempt_that_is_over_changes_nothing(plant: Plant) -> None:
    job = plant.run(SPEC)
    plant.commands.cancel(ROOT, job)
    plant.settle()
    sign = Silent(attempt=AttemptId(job, 1), node="node-1", detail="", lost=True)
    plant.engine._fresh.append(sign)
    plant.settle()
    assert state(plant) is NodeState.READY
