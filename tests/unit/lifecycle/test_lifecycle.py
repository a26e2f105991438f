"""decide and evolve: the transition table, fencing, root causes, and effects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zenkei.lifecycle import commands as c
from zenkei.lifecycle.decide import Stale, decide
from zenkei.lifecycle.effects import effects
from zenkei.lifecycle.evolve import evolve, replay
from zenkei.lifecycle.history import attempts
from zenkei.lifecycle.outcome import MAX_REQUEUES
from zenkei.lifecycle.transitions import BIRTH, TRANSITIONS
from zenkei.model import event as e
from zenkei.model.cluster import NodePart
from zenkei.model.data import Digest
from zenkei.model.errors import Conflict
from zenkei.model.event import EffectKind, Event, EventKind
from zenkei.model.ids import JobId
from zenkei.model.job import (
    ALLOCATED,
    TERMINAL,
    Exit,
    FailureClass,
    HoldReason,
    Job,
    JobState,
    Notice,
    RetryPolicy,
    StopReason,
)
from zenkei.model.resources import Request

JOB = JobId(42)
PARTS = (NodePart(node="node-1", request=Request()),)
START = c.Allocate(cluster="sim", parts=PARTS)
WELL = c.ReportExited(attempt=1, reason=StopReason.COMPLETED, exit=Exit(code=0))
BADLY = c.ReportExited(attempt=1, reason=StopReason.NONZERO_EXIT, exit=Exit(code=1))
GONE = c.ReportReleased(attempt=1, policy=RetryPolicy(), proof="test")
CANCEL = c.Cancel(by="user")


class Story:
    """A job and all that happened to it."""

    def __init__(self, *holds: HoldReason) -> None:
        born = e.Submitted(
            spec=Digest("b3:x"),
            project="p",
            owner="user",
            name="n",
            queue="q",
            priority=0,
            holds=holds,
        )
        self.events = [Event(job=JOB, version=1, at_us=1, body=born)]

    @property
    def job(self) -> Job:
        row = replay(self.events)
        assert row is not None
        return row

    def do(self, *orders: c.Command) -> Story:
        for order in orders:
            row = self.job
            for body in decide(row, order, 1000):
                version = len(self.events) + 1
                self.events.append(Event(job=JOB, version=version, at_us=version, body=body))
        return self

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]


def pending() -> Story:
    return Story().do(c.Prepare())


def running() -> Story:
    return pending().do(START, c.ReportStarted(attempt=1))


def test_the_straight_way_from_submit_to_success() -> None:
    story = running().do(WELL, GONE)
    assert story.job.state is JobState.SUCCEEDED
    assert [str(kind) for kind in story.kinds()] == [
        "submitted",
        "prepared",
        "allocated",
        "started",
        "exited",
        "released",
    ]


def test_an_exit_before_the_start_was_seen_still_ends_the_job() -> None:
    assert pending().do(START, WELL, GONE).job.state is JobState.SUCCEEDED


def preempted(attempt: int, *kept: int) -> list[c.Command]:
    """One attempt that saved these steps and was sent back."""
    saves = [c.ReportCheckpoint(attempt=attempt, step=step, parts=()) for step in kept]
    keeps = [
        c.KeepCheckpoint(attempt=attempt, step=step, manifest=Digest("b3:x"), files=1, size_bytes=1)
        for step in kept
    ]
    return [
        START,
        c.ReportStarted(attempt=attempt),
        *saves,
        c.Stop(attempt=attempt, reason=StopReason.PREEMPTED, by="operator"),
        replace(GONE, attempt=attempt),
        *keeps,
    ]


def test_a_checkpoint_or_a_notice_does_not_make_a_state_younger() -> None:
    story = running()
    since_us = story.events[-1].at_us
    said = c.ReportNotice(attempt=1, notice=Notice.CHECKPOINT, detail="a word")
    story.do(c.ReportCheckpoint(attempt=1, step=5, parts=()), said)
    assert (story.job.state, story.job.changed_us) == (JobState.RUNNING, since_us)
    assert story.do(WELL).job.changed_us == story.events[-1].at_us


def test_a_job_that_gets_further_each_time_may_be_sent_back_without_end() -> None:
    story = pending()
    for attempt in range(1, 2 * MAX_REQUEUES):
        story.do(*preempted(attempt, attempt))
    assert (story.job.state, story.job.requeues) == (JobState.PENDING, 0)


@pytest.mark.parametrize("kept", [(), (7,)], ids=["no checkpoint", "always the same step"])
def test_a_job_that_gets_no_further_is_sent_back_only_so_often(kept: tuple[int, ...]) -> None:
    story = pending()
    for attempt in range(1, MAX_REQUEUES + 2):
        assert story.job.state is JobState.PENDING
        story.do(*preempted(attempt, *(kept if attempt % 2 else ())))
        if kept and attempt % 2 and story.job.state is JobState.PENDING:
            lost = c.LoseCheckpoint(attempt=attempt, step=7, reason="damaged", left=-1)
            story.do(lost)
    more = preempted(MAX_REQUEUES + 2)
    if kept:  # the first of its checkpoints was progress
        story.do(*more)
    assert story.job.state is JobState.FAILED
    assert "20 times without getting any further" in story.job.message


def test_a_held_job_leaves_only_when_no_reason_is_left() -> None:
    story = Story(HoldReason.USER, HoldReason.DEPENDENCY)
    states = [
        story.do(c.Unhold(reason=reason)).job.state
        for reason in (HoldReason.DEPENDENCY, HoldReason.USER)
    ]
    assert states == [JobState.HELD, JobState.PREPARING]


@pytest.mark.parametrize(
    "report", [c.ReportStarted(attempt=1), WELL, GONE], ids=lambda r: type(r).__name__
)
def test_a_report_of_a_dead_attempt_is_stale(report: c.Command) -> None:
    story = running().do(c.Stop(attempt=1, reason=StopReason.PREEMPTED), GONE, START)
    assert story.job.attempt == 2
    with pytest.raises(Stale):
        decide(story.job, report, 0)


def test_repeated_reports_and_orders_change_nothing() -> None:
    story = running()
    length = len(story.events)
    story.do(c.ReportStarted(attempt=1), c.Prepare(), c.Unhold(reason=HoldReason.USER))
    assert len(story.events) == length
    story.do(CANCEL)
    length = len(story.events)
    story.do(CANCEL, c.Stop(attempt=1, reason=StopReason.PREEMPTED))
    assert len(story.events) == length


def test_the_first_reason_is_the_root_cause() -> None:
    story = running().do(c.Stop(attempt=1, reason=StopReason.PREEMPTED), BADLY)
    assert story.job.stop is StopReason.PREEMPTED
    assert story.do(GONE).job.state is JobState.PENDING


def test_a_cancel_overrules_what_would_bring_the_job_back() -> None:
    story = running().do(c.Stop(attempt=1, reason=StopReason.PREEMPTED), CANCEL, BADLY, GONE)
    assert story.job.state is JobState.CANCELLED


@pytest.mark.parametrize("orders", [(WELL, CANCEL), (CANCEL, WELL), (c.Hold(), WELL)])
def test_an_order_to_stop_does_not_undo_a_good_end(orders: tuple[c.Command, ...]) -> None:
    assert running().do(*orders, GONE).job.state is JobState.SUCCEEDED


def test_a_hold_of_a_running_job_stops_it_and_keeps_it_held() -> None:
    story = running().do(c.Hold(by="user"), BADLY, GONE)
    assert (story.job.state, story.job.holds) == (JobState.HELD, frozenset({HoldReason.USER}))


def test_a_hold_is_not_lifted_while_the_job_is_still_being_stopped_for_it() -> None:
    story = running().do(c.Hold(by="user"))
    with pytest.raises(Conflict) as refusal:
        story.do(c.Unhold(reason=HoldReason.USER))
    assert refusal.value.code == "job-is-stopping"
    story.do(BADLY, GONE, c.Unhold(reason=HoldReason.USER))
    assert story.job.state is JobState.PREPARING


def test_a_release_without_an_exit_is_a_lost_node_or_launch() -> None:
    assert running().do(GONE).job.stop is StopReason.NODE_LOST
    assert pending().do(START, GONE).job.stop is StopReason.LAUNCH_FAILED


@pytest.mark.parametrize("order", [CANCEL, c.Hold()], ids=["cancel", "hold"])
def test_what_is_over_cannot_be_changed_and_the_hint_is_rerun(order: c.Command) -> None:
    story = running().do(WELL, GONE)
    with pytest.raises(Conflict) as refusal:
        story.do(order)
    assert "rerun 42" in refusal.value.hint


def test_only_a_pending_job_that_is_due_is_allocated() -> None:
    with pytest.raises(Conflict):
        decide(Story().job, START, 0)
    policy = RetryPolicy(limit=1, backoff_s=5.0)
    story = running().do(BADLY, c.ReportReleased(attempt=1, policy=policy))
    assert story.job.not_before_us == 1000 + 5_000_000
    with pytest.raises(Conflict):
        decide(story.job, START, 1001)
    assert decide(story.job, START, story.job.not_before_us)


def test_effects_follow_events() -> None:
    story = running().do(c.Stop(attempt=1, reason=StopReason.PREEMPTED), BADLY, GONE)
    kinds = []
    row = None
    for event in story.events:
        row = evolve(row, event)
        kinds += [effect.key for effect in effects(event, row)]
    assert kinds == ["prepare:42", "launch:42/1", "stop:42/1:preempted", "seal:42/1"]


def test_a_job_that_ends_without_an_attempt_wakes_its_dependents_at_once() -> None:
    story = pending().do(CANCEL)
    found = effects(story.events[-1], story.job)
    assert [effect.kind for effect in found] == [EffectKind.WAKE_DEPENDENTS]


def test_the_history_of_attempts_is_folded_from_events() -> None:
    story = running().do(c.Stop(attempt=1, reason=StopReason.PREEMPTED), BADLY, GONE, START)
    first, second = attempts(story.events)
    assert (str(first.id), first.stop, first.proof) == ("42/1", StopReason.PREEMPTED, "test")
    assert first.allocated_us < first.started_us < first.exited_us < first.released_us
    assert (str(second.id), second.released_us) == ("42/2", 0)


def test_the_table_has_no_way_out_of_terminal_states_and_every_state_can_be_left() -> None:
    ways = [(state, to) for (state, _), to in TRANSITIONS.items() if state in TERMINAL]
    assert all(to == {state} for state, to in ways)
    left = {state for (state, _), to in TRANSITIONS.items() if to != {state}}
    assert left == set(JobState) - TERMINAL
    reached = BIRTH | {to for targets in TRANSITIONS.values() for to in targets}
    assert reached == set(JobState)


def test_an_allocation_is_entered_by_one_event_and_left_by_one() -> None:
    entering = {
        kind
        for (state, kind), targets in TRANSITIONS.items()
        if state not in ALLOCATED and targets & ALLOCATED
    }
    leaving = {
        kind
        for (state, kind), targets in TRANSITIONS.items()
        if state in ALLOCATED and targets - ALLOCATED
    }
    assert entering == {EventKind.ALLOCATED}
    assert leaving == {EventKind.RELEASED}


BIRTHS = (EventKind.SUBMITTED, EventKind.IMPORTED)


def imported(**more: Any) -> Event:
    body = e.Imported(
        spec=Digest("b3:spec"),
        project="p",
        owner="ada",
        name="n",
        queue="default",
        priority=0,
        state=JobState.SUCCEEDED,
        attempt=2,
        origin=Digest("b3:origin"),
    )
    return Event(job=JOB, version=1, at_us=9, body=replace(body, **more))


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_job_of_another_installation_is_born_as_it_ended_there(state: JobState) -> None:
    row = evolve(None, imported(state=state, seed=7))
    assert (row.state, row.attempt, row.seed, row.origin) == (state, 2, 7, "b3:origin")
    assert (row.submitted_us, row.ended_us, row.started_us, row.version) == (9, 9, 0, 1)
    assert effects(imported(state=state), row) == ()


def test_a_job_is_imported_once_over_and_from_somewhere() -> None:
    for more in ({"state": JobState.RUNNING}, {"attempt": 0}, {"origin": Digest("")}):
        with pytest.raises(ValueError, match="cannot be imported"):
            evolve(None, imported(**more))
    with pytest.raises(ValueError, match="born twice"):
        evolve(evolve(None, imported()), imported())


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("kind", [k for k in EventKind if k not in BIRTHS])
def test_evolve_refuses_what_the_table_does_not_have(state: JobState, kind: EventKind) -> None:
    bodies: dict[EventKind, e.EventBody] = {
        EventKind.UNHELD: e.Unheld(reasons=()),
        EventKind.PREPARED: e.Prepared(),
        EventKind.PREPARE_FAILED: e.PrepareFailed(message="", failure=FailureClass.USER_ERROR),
        EventKind.HELD: e.Held(reasons=(HoldReason.USER,)),
        EventKind.REJECTED: e.Rejected(message=""),
        EventKind.CANCELLED: e.Cancelled(),
        EventKind.ALLOCATED: e.Allocated(attempt=1, cluster="", parts=()),
        EventKind.CLAIMED: e.Claimed(cluster="", parts=(), until_us=0),
        EventKind.EDITED: e.Edited(spec=Digest(""), queue="", priority=0),
        EventKind.STARTED: e.Started(attempt=0),
        EventKind.EXITED: e.Exited(attempt=0, reason=StopReason.COMPLETED, exit=Exit()),
        EventKind.STOP_ORDERED: e.StopOrdered(attempt=0, reason=StopReason.USER_CANCEL),
        EventKind.RELEASED: e.Released(
            attempt=0, next=JobState.FAILED, failure=FailureClass.USER_ERROR
        ),
        EventKind.RESUMED: e.Resumed(attempt=0, step=1),
        EventKind.CHECKPOINTED: e.Checkpointed(attempt=0, step=1, parts=()),
        EventKind.CHECKPOINT_KEPT: e.CheckpointKept(attempt=0, step=1, manifest=Digest("")),
        EventKind.CHECKPOINT_LOST: e.CheckpointLost(attempt=0, step=1, reason=""),
        EventKind.NOTICED: e.Noticed(attempt=0, notice=Notice.QUIET, detail=""),
    }
    row = replace(Story().job, state=state)
    event = Event(job=JOB, version=2, at_us=2, body=bodies[kind])
    if (state, kind) in TRANSITIONS:
        assert evolve(row, event).state in TRANSITIONS[state, kind]
    else:
        with pytest.raises(ValueError, match="takes job 42 from"):
            evolve(row, event)
