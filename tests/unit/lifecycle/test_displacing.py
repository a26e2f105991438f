"""Claims, displacement for another job, growing, and editing what waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.lifecycle.test_lifecycle import (
    BADLY,
    CANCEL,
    GONE,
    JOB,
    PARTS,
    START,
    Story,
    pending,
    running,
)
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.decide import decide
from zenkei.lifecycle.effects import effects
from zenkei.lifecycle.history import attempts
from zenkei.lifecycle.outcome import MAX_REQUEUES
from zenkei.model import event as e
from zenkei.model.cluster import Claim, NodePart
from zenkei.model.data import Digest
from zenkei.model.errors import Conflict
from zenkei.model.event import Event
from zenkei.model.job import (
    MOST_PREEMPTIONS_KEPT,
    PREEMPTION_WINDOW_US,
    FailureClass,
    HoldReason,
    JobState,
    RetryPolicy,
    StopReason,
    preemptions,
)
from zenkei.model.resources import DeviceShare, Request

WHERE = tuple(
    NodePart(
        node=name, request=Request(gpu_count=1, gpu_milli=1000), devices=(DeviceShare(0, 1000),)
    )
    for name in ("node-1", "node-2")
)
CLAIM = c.Claim(cluster="sim", parts=WHERE, until_us=9_000)
DISPLACE = c.Stop(
    attempt=1, reason=StopReason.PREEMPTED, checkpoint_s=60.0, favoured="77", why="reclaim"
)
GROW = c.Stop(attempt=1, reason=StopReason.RESIZED, checkpoint_s=60.0)
EDIT = c.Edit(
    spec=Digest("b3:y"), queue="fast", priority=5, by="ann", changes=("priority: 0 to 5",)
)


def happened(story: Story, body: e.EventBody, at_us: int) -> Story:
    version = len(story.events) + 1
    story.events.append(Event(job=JOB, version=version, at_us=at_us, body=body))
    return story


# -- claims --------------------------------------------------------------------------------------


def test_what_is_claimed_for_a_waiting_job_stands_in_its_row() -> None:
    story = pending().do(CLAIM)
    assert story.job.claim == Claim(cluster="sim", parts=WHERE, until_us=9_000)
    assert story.job.state is JobState.PENDING
    assert effects(story.events[-1], story.job) == ()


def test_a_claim_does_not_make_the_wait_younger() -> None:
    story = pending()
    assert story.job.changed_us == story.do(CLAIM).job.changed_us


def test_claiming_the_same_again_changes_nothing_while_the_claim_lasts() -> None:
    story = pending().do(CLAIM)
    assert decide(story.job, replace(CLAIM, until_us=99_000), 8_999) == ()
    assert decide(story.job, CLAIM, 9_000) != ()
    assert decide(story.job, replace(CLAIM, parts=WHERE[:1]), 0) != ()


ENDS: dict[str, tuple[c.Command, ...]] = {
    "allocated": (START,),
    "held": (c.Hold(),),
    "cancelled": (CANCEL,),
    "rejected": (c.Reject(message="no"),),
    "edited": (EDIT,),
    "given up": (c.Claim(),),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_claim_ends_with_what_it_was_made_for(end: tuple[c.Command, ...]) -> None:
    assert pending().do(CLAIM, *end).job.claim is None


def test_a_newer_claim_replaces_the_older_one() -> None:
    story = pending().do(CLAIM, replace(CLAIM, parts=WHERE[1:], until_us=10_000))
    assert story.job.claim == Claim(cluster="sim", parts=WHERE[1:], until_us=10_000)


def test_giving_up_what_is_not_claimed_changes_nothing() -> None:
    for story in (pending(), running(), Story(HoldReason.USER)):
        assert decide(story.job, c.Claim(), 0) == ()


@pytest.mark.parametrize("make", [running, Story], ids=["running", "preparing"])
def test_nothing_is_claimed_for_a_job_that_does_not_wait_for_the_planner(
    make: Callable[[], Story],
) -> None:
    with pytest.raises(Conflict) as refusal:
        make().do(CLAIM)
    assert refusal.value.code == "job-not-pending"


# -- displacement --------------------------------------------------------------------------------


def test_a_displaced_job_is_told_for_whom_and_on_what_right() -> None:
    story = running().do(DISPLACE, GONE)
    ordered = next(x.body for x in story.events if isinstance(x.body, e.StopOrdered))
    assert (ordered.favoured, ordered.why) == ("77", "reclaim")
    (attempt,) = attempts(story.events)
    assert (attempt.favoured, attempt.why) == ("77", "reclaim")


@pytest.mark.parametrize("order", [DISPLACE, GROW], ids=["displaced", "resized"])
def test_who_is_displaced_or_resized_goes_back_into_the_line_and_loses_no_try(
    order: c.Stop,
) -> None:
    story = running().do(order, BADLY, replace(GONE, policy=RetryPolicy(limit=0)))
    row = story.job
    assert (row.state, row.counted, row.failure) == (JobState.PENDING, 0, FailureClass.PREEMPTED)
    assert row.not_before_us == 0
    assert story.do(START).job.attempt == 2


def test_a_displaced_job_goes_on_from_the_checkpoint_that_it_was_asked_for() -> None:
    saved = c.ReportCheckpoint(attempt=1, step=7, parts=())
    kept = c.KeepCheckpoint(attempt=1, step=7, manifest=Digest("b3:x"), files=1, size_bytes=1)
    story = running().do(DISPLACE, saved, GONE)
    with pytest.raises(Conflict, match="still being stored"):
        story.do(START)
    launch = effects(story.do(kept, START).events[-1], story.job)[0]
    assert launch.step == 7


def test_displacements_are_counted_over_the_last_hour() -> None:
    story, at_us = running(), 10**12
    for attempt in range(1, 4):
        at_us += PREEMPTION_WINDOW_US // 2
        stop = e.StopOrdered(attempt=attempt, reason=StopReason.PREEMPTED, favoured="77")
        happened(story, stop, at_us)
        assert preemptions(story.job, at_us) == min(attempt, 2)
        back = e.Released(attempt=attempt, next=JobState.PENDING, failure=FailureClass.PREEMPTED)
        happened(story, back, at_us)
        happened(story, e.Allocated(attempt=attempt + 1, cluster="sim", parts=PARTS), at_us)
    assert preemptions(story.job, at_us + PREEMPTION_WINDOW_US) == 0
    assert len(story.job.preempted_us) == 2


def test_the_row_of_a_job_that_is_displaced_all_the_time_does_not_grow() -> None:
    story = running()
    for attempt in range(1, 3 * MOST_PREEMPTIONS_KEPT):
        stop = e.StopOrdered(attempt=attempt, reason=StopReason.PREEMPTED, favoured="77")
        happened(story, stop, 1_000 + attempt)
        happened(
            story,
            e.Released(attempt=attempt, next=JobState.PENDING, failure=FailureClass.PREEMPTED),
            1_000 + attempt,
        )
        happened(story, e.Allocated(attempt=attempt + 1, cluster="sim", parts=PARTS), 2_000)
    assert len(story.job.preempted_us) == MOST_PREEMPTIONS_KEPT
    assert story.job.preempted_us[-1] == 1_000 + 3 * MOST_PREEMPTIONS_KEPT - 1


def test_an_operators_preemption_and_growing_are_no_displacements() -> None:
    by_hand = c.Stop(attempt=1, reason=StopReason.PREEMPTED, by="ops")
    for order in (by_hand, GROW):
        assert running().do(order).job.preempted_us == ()


def test_who_is_stopping_already_is_not_displaced_again() -> None:
    for first in (DISPLACE, CANCEL, GROW):
        assert decide(running().do(first).job, DISPLACE, 0) == ()


@pytest.mark.parametrize("order", [DISPLACE, GROW], ids=["displaced", "resized"])
def test_a_hold_overrules_what_would_bring_the_job_back(order: c.Stop) -> None:
    assert running().do(order, c.Hold(), GONE).job.state is JobState.HELD


def test_a_job_is_displaced_without_end_only_if_it_gets_further() -> None:
    story = pending()
    for attempt in range(1, MAX_REQUEUES + 2):
        displace = replace(DISPLACE, attempt=attempt)
        story.do(START, displace, replace(GONE, attempt=attempt))
    assert story.job.state is JobState.FAILED


# -- what a victim would lose ---------------------------------------------------------------------


def test_the_row_tells_since_when_it_holds_its_nodes_and_up_to_when_its_work_is_saved() -> None:
    story = pending().do(START)
    since_us = story.events[-1].at_us
    story.do(c.ReportStarted(attempt=1), c.ReportCheckpoint(attempt=1, step=5, parts=()))
    saved_us = story.events[-1].at_us
    assert (story.job.allocated_us, story.job.saved_us) == (since_us, saved_us)
    story.do(c.LoseCheckpoint(attempt=1, step=5, reason="damaged"))
    assert (story.job.allocated_us, story.job.saved_us) == (since_us, 0)
    story.do(DISPLACE, GONE)
    assert (story.job.allocated_us, story.job.saved_us) == (0, 0)


# -- editing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "story",
    [lambda: Story(HoldReason.USER), Story, pending],
    ids=["held", "preparing", "pending"],
)
def test_a_waiting_job_can_be_edited_where_it_stands(story: Callable[[], Story]) -> None:
    made = story()
    before = made.job
    row = made.do(EDIT).job
    assert (row.spec, row.queue, row.priority) == (Digest("b3:y"), "fast", 5)
    assert (row.state, row.changed_us) == (before.state, before.changed_us)


def test_an_edit_that_changes_nothing_is_no_event() -> None:
    row = pending().do(EDIT).job
    assert decide(row, EDIT, 0) == ()


@pytest.mark.parametrize(
    ("story", "code", "hint"),
    [
        (running, "job-not-waiting", "zenkei hold 42"),
        (lambda: pending().do(CANCEL), "job-is-over", "zenkei rerun 42"),
    ],
    ids=["running", "over"],
)
def test_a_job_that_does_not_wait_cannot_be_edited_and_the_hint_says_what_to_do(
    story: Callable[[], Story], code: str, hint: str
) -> None:
    with pytest.raises(Conflict) as refusal:
        story().do(EDIT)
    assert refusal.value.code == code
    assert hint in refusal.value.hint
