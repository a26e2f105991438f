"""What users and operators see of the use-cases, on the real controller."""

from __future__ import annotations

import json

import pytest

from tests.plant import ALICE, BOB, ROOT, Plant, never_ends, node
from zenkei.model.data import ResultState
from zenkei.model.errors import (
    Conflict,
    NotFound,
    PermanentEngineError,
    TemporaryEngineError,
)
from zenkei.model.event import Event
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import (
    After,
    Dependency,
    Exit,
    JobSpec,
    JobState,
    ResourceRequest,
    RetryPolicy,
    StopReason,
)
from zenkei.model.resources import Request
from zenkei.ports.engine import LaunchOrder
from zenkei.ports.store import JobFilter

HELLO = JobSpec(name="hello", command="echo hi")


def fail(_order: LaunchOrder) -> Exit:
    return Exit(code=3, rank=0, detail="boom")


def needing(cpu_milli: int) -> JobSpec:
    request = Request(cpu_milli=cpu_milli)
    return JobSpec(name="x", command="x", resources=ResourceRequest(node=request))


def test_a_job_runs_to_its_sealed_result_with_a_record() -> None:
    plant = Plant()
    job = plant.run(HELLO)
    view = plant.queries.show(ALICE, job)
    assert view.job.state is JobState.SUCCEEDED
    assert view.result is not None
    assert view.result.state is ResultState.SEALED
    record = json.loads(plant.queries.record(ALICE, job))
    assert record["spec"]["name"] == "hello"
    assert record["attempts"][0]["release_proof"] == "inline"
    assert plant.tables.outbox == {}, "every effect is done and taken out"


def test_the_same_request_key_makes_one_job_and_another_spec_is_refused() -> None:
    plant = Plant()
    first = plant.commands.submit(ALICE, HELLO, request_key="k")
    assert plant.commands.submit(ALICE, HELLO, request_key="k") == first
    assert plant.commands.submit(BOB, HELLO, request_key="k") != first
    with pytest.raises(Conflict, match="request key"):
        plant.commands.submit(ALICE, needing(cpu_milli=2000), request_key="k")


def test_array_members_are_jobs_of_their_own_with_one_preparation() -> None:
    plant = Plant()
    ids = plant.commands.submit(ALICE, JobSpec(name="a", command="x", array=5))
    assert [str(i) for i in ids] == ["1.0", "1.1", "1.2", "1.3", "1.4"]
    assert [row.effect.key for row in plant.tables.outbox.values()] == ["prepare:1"]
    plant.settle()
    assert {plant.state(i) for i in ids} == {JobState.SUCCEEDED}


def test_strangers_learn_nothing_about_a_job() -> None:
    plant = Plant()
    job = plant.run(HELLO)
    for ask in (plant.commands.cancel, plant.commands.rerun, plant.queries.show):
        with pytest.raises(NotFound) as hidden:
            ask(BOB, job)
        with pytest.raises(NotFound) as missing:
            ask(BOB, JobId(99))
        assert str(hidden.value).replace(str(job), "N") == str(missing.value).replace("99", "N")
    assert plant.queries.jobs(BOB, JobFilter()).items == ()
    assert plant.queries.show(ROOT, job).job.id == job


def test_a_cancelled_job_is_stopped_and_frees_its_devices() -> None:
    plant = Plant(program=never_ends)
    job = plant.run(HELLO)
    assert plant.state(job) is JobState.RUNNING
    plant.commands.cancel(ALICE, job)
    plant.settle()
    assert plant.state(job) is JobState.CANCELLED
    assert plant.store.allocations() == ()
    with pytest.raises(Conflict, match="already cancelled"):
        plant.commands.hold(ALICE, job)


def test_a_held_job_waits_until_it_is_released_and_then_runs_again() -> None:
    plant = Plant(program=never_ends)
    job = plant.run(HELLO)
    plant.commands.hold(ALICE, job)
    plant.settle()
    assert plant.state(job) is JobState.HELD
    plant.commands.release(ALICE, job)
    plant.settle()
    assert (plant.state(job), plant.row(job).attempt) == (JobState.RUNNING, 2)


def test_a_release_in_the_middle_of_a_hold_is_refused_and_not_forgotten() -> None:
    plant = Plant(program=never_ends)
    job = plant.run(HELLO)
    plant.commands.hold(ALICE, job)
    with pytest.raises(Conflict, match="still being stopped"):
        plant.commands.release(ALICE, job)
    plant.settle()
    plant.commands.release(ALICE, job)
    plant.settle()
    assert plant.state(job) is JobState.RUNNING


def test_a_failure_is_retried_after_its_delay_and_ends_with_its_cause() -> None:
    plant = Plant(program=fail)
    policy = RetryPolicy(limit=1, backoff_s=60.0)
    job = plant.run(JobSpec(name="f", command="x", retry=policy))
    assert (plant.state(job), plant.row(job).attempt) == (JobState.PENDING, 1)
    plant.settle(59)
    assert plant.row(job).attempt == 1
    plant.settle(2)
    row = plant.row(job)
    assert (row.state, row.attempt, row.stop) == (JobState.FAILED, 2, StopReason.NONZERO_EXIT)
    assert row.exit is not None
    assert (row.exit.code, row.exit.detail) == (3, "boom")


@pytest.mark.parametrize(
    ("how", "first_fails", "ends"),
    [
        (After.OK, False, JobState.SUCCEEDED),
        (After.OK, True, JobState.FAILED),
        (After.ANY, True, JobState.SUCCEEDED),
        (After.FAILED, True, JobState.SUCCEEDED),
        (After.FAILED, False, JobState.FAILED),
    ],
)
def test_a_dependent_follows_what_it_waits_for(
    how: After, first_fails: bool, ends: JobState
) -> None:
    def program(order: LaunchOrder) -> Exit:
        return Exit(code=1 if first_fails and order.spec.name == "first" else 0)

    plant = Plant(program=program)
    (first,) = plant.commands.submit(ALICE, JobSpec(name="first", command="x"))
    after = (Dependency(job=first, after=how),)
    (second,) = plant.commands.submit(ALICE, JobSpec(name="second", command="x", after=after))
    assert plant.state(second) is JobState.HELD
    plant.settle()
    row = plant.row(second)
    expected = ends if how is not After.OK or not first_fails else JobState.FAILED
    assert row.state is expected
    if row.state is JobState.FAILED:
        assert str(first) in row.message


def test_a_dependency_that_is_over_already_does_not_hold() -> None:
    plant = Plant()
    first = plant.run(HELLO)
    after = (Dependency(job=first, after=After.OK),)
    assert plant.state(plant.run(JobSpec(name="s", command="x", after=after))) is (
        JobState.SUCCEEDED
    )


def test_waiting_for_a_job_that_is_not_there_is_refused() -> None:
    after = (Dependency(job=JobId(7), after=After.OK),)
    with pytest.raises(NotFound, match="no job 7"):
        Plant().commands.submit(ALICE, JobSpec(name="s", command="x", after=after))


def test_a_job_that_does_not_fit_waits_with_a_reason_and_starts_when_it_can() -> None:
    plant = Plant(node(cpus=2), program=never_ends)
    first = plant.run(needing(cpu_milli=2000))
    second = plant.run(needing(cpu_milli=1000))
    reason = plant.queries.show(ALICE, second).reason
    assert plant.state(second) is JobState.PENDING
    assert reason is not None
    assert "cpu" in reason.text.lower()
    plant.engine.finish(AttemptId(first, 1), Exit(code=0))
    plant.settle()
    assert plant.state(second) is JobState.RUNNING


def test_a_gang_starts_whole_or_not_at_all() -> None:
    plant = Plant(node("a", gpus=2), node("b", gpus=1), program=never_ends)
    request = Request(gpu_count=2, gpu_milli=1000)
    gang = JobSpec(name="g", command="x", resources=ResourceRequest(nodes=2, node=request))
    job = plant.run(gang)
    assert plant.state(job) is JobState.PENDING
    assert plant.store.allocations() == ()


def test_a_new_control_plane_finishes_what_the_old_one_began() -> None:
    plant = Plant(program=never_ends)
    running = plant.run(HELLO)
    (fresh,) = plant.commands.submit(ALICE, HELLO)
    plant.restart()
    plant.engine.finish(AttemptId(running, 1), Exit(code=0))
    plant.settle(31)  # the dead controller's lease on the preparation has run out
    plant.settle(31)
    assert plant.state(running) is JobState.SUCCEEDED
    assert plant.state(fresh) is JobState.RUNNING


def test_nothing_starts_while_the_guard_says_why_not() -> None:
    reasons = ["the disk is full"]
    plant = Plant(guard=lambda: reasons[0])
    job = plant.run(HELLO)
    assert plant.state(job) is JobState.PENDING
    reason = plant.queries.show(ALICE, job).reason
    assert reason is not None
    assert "the disk is full" in reason.text
    reasons[0] = ""
    plant.settle(6)
    assert plant.state(job) is JobState.SUCCEEDED


def test_rerun_makes_a_new_job_of_the_same_spec_and_one_member_alone() -> None:
    plant = Plant()
    ids = plant.commands.submit(ALICE, JobSpec(name="a", command="x", array=3))
    plant.settle()
    (again,) = plant.commands.rerun(ALICE, ids[2])
    row = plant.row(again)
    assert (row.rerun_of, row.params) == ("1.2", plant.row(ids[2]).params)
    assert len(plant.commands.rerun(ALICE, JobId(1))) == 3


def test_a_follower_sees_every_event_of_its_job_once_and_in_order() -> None:
    plant = Plant()
    seen: list[Event] = []
    at = 0
    job = plant.run(HELLO)
    plant.run(HELLO)
    while True:
        events, at = plant.feed.after(at, job)
        seen += events
        if not events and at >= plant.store.seq():
            break
    assert [e.version for e in seen] == [1, 2, 3, 4, 5, 6]
    assert {e.job for e in seen} == {job}


def test_the_last_job_is_the_callers_own() -> None:
    plant = Plant()
    job = plant.run(HELLO)
    plant.run(HELLO, BOB)
    assert plant.queries.resolve(ALICE, "-") == job
    with pytest.raises(NotFound, match="no job yet"):
        plant.queries.resolve(ROOT, "-")


def test_a_launch_that_can_never_succeed_ends_the_job_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant = Plant()

    def refuse(order: LaunchOrder) -> None:
        raise PermanentEngineError("secret TOKEN is not set")

    monkeypatch.setattr(plant.engine, "launch", refuse)
    row = plant.row(plant.run(HELLO))
    assert (row.state, row.attempt) == (JobState.FAILED, 1)
    assert "secret TOKEN is not set" in row.message
    assert plant.store.allocations() == ()


def test_a_launch_that_fails_for_a_while_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    plant, tries = Plant(), []
    launch = plant.engine.launch

    def stumble(order: LaunchOrder) -> None:
        tries.append(order)
        if len(tries) < 3:
            raise TemporaryEngineError("not now", delay_s=1.0)
        launch(order)

    monkeypatch.setattr(plant.engine, "launch", stumble)
    job = plant.run(HELLO)
    for _ in range(4):
        plant.settle(6)
    assert (plant.state(job), plant.row(job).attempt, len(tries)) == (JobState.SUCCEEDED, 1, 3)


def test_a_retry_that_waits_says_how_the_attempt_before_it_ended() -> None:
    plant = Plant(program=fail)
    policy = RetryPolicy(limit=1, backoff_s=60.0)
    job = plant.run(JobSpec(name="f", command="x", retry=policy))
    reason = plant.queries.show(ALICE, job).reason
    assert reason is not None
    assert reason.text == "attempt 1 failed with exit code 3; tries again in 60.0 s"


def test_where_one_job_is_meant_an_array_is_told_to_be_one_but_not_to_strangers() -> None:
    plant = Plant()
    plant.commands.submit(ALICE, JobSpec(name="a", command="x", array=3))
    with pytest.raises(NotFound, match="1 is an array") as told:
        plant.queries.row(ALICE, JobId(1))
    assert "1.0" in told.value.hint
    with pytest.raises(NotFound, match="there is no job 1"):
        plant.queries.row(BOB, JobId(1))
