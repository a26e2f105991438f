"""What `ports.engine` promises, for every engine."""

from __future__ import annotations

import pytest

from tests.conformance.engine.conftest import DAMAGED, WHOLE, Does
from zenkei.model.errors import CheckpointDamaged, PermanentEngineError
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import StopReason
from zenkei.ports.engine import (
    AskCheckpoint,
    Checkpointed,
    Cleared,
    DumpStacks,
    Exited,
    Released,
    Resumed,
    ResumePoint,
    Started,
    StopAttempt,
)

CANCEL = StopAttempt(reason=StopReason.USER_CANCEL, grace_s=0.5)


def kinds(reports):
    return [type(report) for report in reports]


def exit_of(reports):
    [found] = [report for report in reports if isinstance(report, Exited)]
    return found


def test_an_attempt_is_reported_started_exited_and_released_in_this_order(world):
    order = world.order(1, Does.SUCCEED)
    world.engine.launch(order)
    reports = world.wait(order.attempt, Released)
    assert kinds(reports) == [Started, Exited, Released]
    assert exit_of(reports).reason is StopReason.COMPLETED
    assert exit_of(reports).exit.code == 0


def test_a_failure_carries_its_code_and_its_last_words(world):
    order = world.order(1, Does.FAIL)
    world.engine.launch(order)
    ended = exit_of(world.wait(order.attempt, Released))
    assert ended.reason is StopReason.NONZERO_EXIT
    assert (ended.exit.code, ended.exit.detail) == (3, "the last words")


def test_a_second_launch_changes_nothing(world):
    order = world.order(1, Does.WAIT)
    world.engine.launch(order)
    world.wait(order.attempt, Started)
    world.engine.launch(order)
    world.again().launch(order)
    world.engine.tell(order.attempt, CANCEL)
    assert kinds(world.wait(order.attempt, Released)) == [Started, Exited, Released]


def test_a_stop_order_ends_a_running_attempt_with_its_reason(world):
    order = world.order(1, Does.WAIT)
    world.engine.launch(order)
    world.wait(order.attempt, Started)
    world.engine.tell(order.attempt, CANCEL)
    assert exit_of(world.wait(order.attempt, Released)).reason is StopReason.USER_CANCEL


def test_after_a_stop_order_a_launch_never_starts_anything(world):
    order = world.order(1, Does.SUCCEED)
    world.engine.tell(order.attempt, CANCEL)
    world.engine.launch(order)
    reports = world.wait(order.attempt, Released)
    assert kinds(reports) == [Exited, Released]
    assert exit_of(reports).reason is StopReason.LAUNCH_FAILED


def test_a_stop_order_that_came_first_is_remembered_by_the_next_caller(world):
    order = world.order(1, Does.SUCCEED)
    world.engine.tell(order.attempt, CANCEL)
    world.again().launch(order)
    assert Started not in kinds(world.wait(order.attempt, Released))


def test_reports_are_repeated_to_a_new_caller_until_they_are_retired(world):
    order = world.order(1, Does.SUCCEED)
    world.engine.launch(order)
    world.wait(order.attempt, Released)
    engine = world.again()
    assert kinds(world.wait(order.attempt, Released)) == [Started, Exited, Released]
    engine.retire(order.attempt)
    told, _ = world.again().observe("")
    assert all(getattr(report, "attempt", None) != order.attempt for report in told)


def test_a_running_attempt_goes_on_when_its_caller_dies(world):
    order = world.order(1, Does.WAIT)
    world.engine.launch(order)
    world.wait(order.attempt, Started)
    engine = world.again()
    assert kinds(world.wait(order.attempt, Started)) == [Started]
    engine.tell(order.attempt, CANCEL)
    assert exit_of(world.wait(order.attempt, Released)).reason is StopReason.USER_CANCEL


def test_a_launch_after_retirement_starts_nothing(world):
    order = world.order(1, Does.SUCCEED)
    world.engine.launch(order)
    world.wait(order.attempt, Released)
    world.engine.retire(order.attempt)
    world.engine.launch(order)
    told, _ = world.engine.observe("")
    assert all(getattr(report, "attempt", None) != order.attempt for report in told)


def test_streams_that_do_not_exist_are_empty(world):
    attempt = AttemptId(JobId(9), 1)
    streams = ("log/0", "log/../../secret", "log/0/../../x", "metrics/-1", "", "x" * 5000, "log/٣")
    assert [world.engine.read(attempt, stream, 0, 1 << 20) for stream in streams] == [b""] * 7


@pytest.mark.parametrize("message", [AskCheckpoint(deadline_s=1.0), DumpStacks()])
def test_what_is_not_available_is_refused_for_good(world, message):
    with pytest.raises(PermanentEngineError):
        world.engine.tell(AttemptId(JobId(1), 1), message)


def test_every_node_of_the_inventory_belongs_to_the_cluster(world):
    assert {node.cluster for node in world.engine.inventory()} == {world.engine.cluster}


def test_a_sound_node_passes_its_checks_and_one_that_is_not_there_does_not(world):
    [name, *_] = [node.name for node in world.engine.inventory()]
    assert world.engine.probe(name) == ()
    assert world.engine.probe("nowhere") != ()


def test_a_fenced_attempt_is_lost_and_released_and_cleared_until_that_is_known(world):
    order = world.order(1, Does.WAIT)
    [(node, _part)] = order.nodes
    world.engine.launch(order)
    world.wait(order.attempt, Started)
    world.engine.fence(node.name, order.attempt)
    world.engine.fence(node.name, order.attempt)
    reports = world.wait(order.attempt, Released)
    ended = exit_of(reports)
    assert (ended.reason, ended.exit.node) == (StopReason.NODE_LOST, node.name)
    world.engine.lift(node.name, order.attempt)
    world.engine.lift(node.name, order.attempt)
    assert Cleared not in kinds(world.wait(order.attempt, Released))


PREEMPT = StopAttempt(reason=StopReason.PREEMPTED, grace_s=0.2, checkpoint_s=60.0)


def saved_by(reports):
    return [(report.step, report.parts) for report in reports if isinstance(report, Checkpointed)]


def test_a_stop_with_time_for_a_checkpoint_reports_it_before_the_end(world):
    order = world.order(1, Does.SAVE)
    world.engine.launch(order)
    world.wait(order.attempt, Started)
    world.engine.tell(order.attempt, PREEMPT)
    reports = world.wait(order.attempt, Released)
    assert kinds(reports) == [Started, Checkpointed, Exited, Released]
    assert exit_of(reports).reason is StopReason.PREEMPTED
    [(step, parts)] = saved_by(reports)
    assert (step, [part.path for part in parts]) == (7, ["step-7"])


def test_what_was_saved_has_a_place_until_it_is_discarded(world):
    order = world.order(1, Does.SAVE)
    world.engine.launch(order)
    world.wait(order.attempt, Started)
    world.engine.tell(order.attempt, PREEMPT)
    [(step, parts)] = saved_by(world.wait(order.attempt, Released))
    [place] = world.engine.saved(order.attempt, step, parts)
    assert place.endswith("step-7")
    world.engine.discard(order.attempt, step, parts)
    world.engine.discard(order.attempt, step, parts)
    with pytest.raises(PermanentEngineError):
        world.engine.saved(order.attempt, step, parts)


def test_an_attempt_that_is_asked_for_a_checkpoint_goes_on(world):
    order = world.order(1, Does.SAVE)
    world.engine.launch(order)
    world.wait(order.attempt, Started)
    world.engine.tell(order.attempt, AskCheckpoint(deadline_s=60.0))
    assert kinds(world.wait(order.attempt, Checkpointed)) == [Started, Checkpointed]
    world.again().tell(order.attempt, CANCEL)
    assert exit_of(world.wait(order.attempt, Released)).reason is StopReason.USER_CANCEL


def resume_from(manifest):
    return ResumePoint(attempt=AttemptId(JobId(1), 9), step=41, manifest=manifest)


def test_an_attempt_that_goes_on_from_a_checkpoint_says_so(world):
    order = world.order(1, Does.RESUME, resume=resume_from(WHOLE))
    world.engine.launch(order)
    reports = world.wait(order.attempt, Released)
    assert Resumed(attempt=order.attempt, step=41) in reports
    assert exit_of(reports).reason is StopReason.COMPLETED


def test_a_damaged_checkpoint_is_refused_and_nothing_is_started(world):
    order = world.order(1, Does.RESUME, resume=resume_from(DAMAGED))
    with pytest.raises(CheckpointDamaged):
        world.engine.launch(order)
    world.engine.launch(world.order(1, Does.SUCCEED))
    reports = world.wait(order.attempt, Released)
    assert kinds(reports) == [Started, Exited, Released]
