"""`decide(job, command, now_us)`: the events that a command causes, or why it may not.

Called by `control` with the row as read in the transaction. An empty answer means that nothing
needs to happen: commands and reports are safe to repeat. A report about an attempt that is no
longer the job's is Stale: it is dropped and logged, never applied (fencing, DESIGN section 5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from zenkei.lifecycle import commands as c
from zenkei.lifecycle.outcome import Standing, outcome
from zenkei.model import event as e
from zenkei.model.cluster import Claim
from zenkei.model.errors import Conflict
from zenkei.model.event import EventBody
from zenkei.model.instants import is_ahead
from zenkei.model.job import ALLOCATED, WAITING, Exit, HoldReason, Job, JobState, StopReason

_HOLD_STOP = {
    HoldReason.USER: StopReason.USER_HOLD,
    HoldReason.BUDGET: StopReason.BUDGET_EXHAUSTED,
}


class Stale(Exception):
    """The report is about an attempt that has been replaced or released."""


def decide(job: Job, command: c.Command, now_us: int) -> tuple[EventBody, ...]:
    """Events that `command` causes, in order.

    Raises Conflict if the job's state does not allow it, Stale if it speaks of a dead attempt.
    """
    return _DECIDERS[type(command)](job, command, now_us)


def _hold(job: Job, command: c.Hold, now_us: int) -> tuple[EventBody, ...]:
    if job.state in ALLOCATED:
        reason = _HOLD_STOP[command.reason]
        stop = c.Stop(
            attempt=job.attempt,
            reason=reason,
            by=command.by,
            grace_s=command.grace_s,
            checkpoint_s=command.checkpoint_s,
        )
        return _stop(job, stop, now_us)
    _refuse_terminal(job, "held")
    if command.reason in job.holds:
        return ()
    return (e.Held(reasons=(command.reason,), by=command.by),)


def _unhold(job: Job, command: c.Unhold, _now_us: int) -> tuple[EventBody, ...]:
    if job.state is JobState.STOPPING and job.stop is _HOLD_STOP.get(command.reason):
        # silence would leave it held for good, against the last word that was said
        raise Conflict(
            "job-is-stopping",
            f"job {job.id} is still being stopped in order to be held",
            hint="release it once it is held, in a moment",
        )
    if job.state is not JobState.HELD or command.reason not in job.holds:
        return ()
    return (e.Unheld(reasons=(command.reason,)),)


def _prepare(job: Job, command: c.Prepare, _now_us: int) -> tuple[EventBody, ...]:
    if job.state is not JobState.PREPARING:
        return ()
    return (e.Prepared(env=command.env, data=command.data),)


def _fail_preparation(job: Job, command: c.FailPreparation, _now_us: int) -> tuple[EventBody, ...]:
    if job.state is not JobState.PREPARING:
        return ()
    return (e.PrepareFailed(message=command.message, failure=command.failure),)


def _reject(job: Job, command: c.Reject, _now_us: int) -> tuple[EventBody, ...]:
    if job.state not in (JobState.HELD, JobState.PENDING):
        return ()
    return (e.Rejected(message=command.message),)


def _cancel(job: Job, command: c.Cancel, now_us: int) -> tuple[EventBody, ...]:
    if job.state in ALLOCATED:
        stop = c.Stop(
            attempt=job.attempt,
            reason=StopReason.USER_CANCEL,
            by=command.by,
            grace_s=command.grace_s,
        )
        return _stop(job, stop, now_us)
    if job.state is JobState.CANCELLED:
        return ()
    _refuse_terminal(job, "cancelled")
    return (e.Cancelled(by=command.by),)


def _allocate(job: Job, command: c.Allocate, now_us: int) -> tuple[EventBody, ...]:
    if job.state is not JobState.PENDING:
        raise Conflict("job-not-pending", f"job {job.id} is {job.state}, not pending")
    if job.saving:
        raise Conflict("checkpoint-not-kept", f"a checkpoint of job {job.id} is still being stored")
    if is_ahead(job.not_before_us, now_us):
        raise Conflict("job-not-due", f"job {job.id} may not start before its retry delay is over")
    return (e.Allocated(attempt=job.attempt + 1, cluster=command.cluster, parts=command.parts),)


def _claim(job: Job, command: c.Claim, now_us: int) -> tuple[EventBody, ...]:
    if not command.parts:
        cleared = e.Claimed(cluster="", parts=(), until_us=0)
        return () if job.claim is None else (cleared,)
    if job.state is not JobState.PENDING:
        raise Conflict("job-not-pending", f"job {job.id} is {job.state}, not pending")
    wanted = Claim(cluster=command.cluster, parts=command.parts, until_us=command.until_us)
    known = job.claim
    same = known is not None and replace(wanted, until_us=known.until_us) == known
    if known is not None and same and now_us < known.until_us:
        return ()  # each plan may say so again while the victims stop
    return (e.Claimed(cluster=wanted.cluster, parts=wanted.parts, until_us=wanted.until_us),)


def _edit(job: Job, command: c.Edit, _now_us: int) -> tuple[EventBody, ...]:
    _refuse_terminal(job, "edited")
    if job.state not in WAITING:
        raise Conflict(
            "job-not-waiting",
            f"job {job.id} is {job.state}: only a job that waits can be edited",
            hint=f"`zenkei hold {job.id}` stops it, after a checkpoint; then edit it",
        )
    if (command.spec, command.queue, command.priority) == (job.spec, job.queue, job.priority):
        return ()
    edited = e.Edited(
        spec=command.spec,
        queue=command.queue,
        priority=command.priority,
        by=command.by,
        changes=command.changes,
    )
    return (edited,)


def _started(job: Job, command: c.ReportStarted, _now_us: int) -> tuple[EventBody, ...]:
    _fence(job, command.attempt)
    return (e.Started(attempt=job.attempt),) if job.state is JobState.STARTING else ()


def _exited(job: Job, command: c.ReportExited, _now_us: int) -> tuple[EventBody, ...]:
    _fence(job, command.attempt)
    if job.state is JobState.STOPPING and job.exit is not None:
        return ()
    return (e.Exited(attempt=job.attempt, reason=command.reason, exit=command.exit),)


def _stop(job: Job, command: c.Stop, _now_us: int) -> tuple[EventBody, ...]:
    _fence(job, command.attempt)
    if job.state is JobState.STOPPING and merge(job.stop, command.reason) is job.stop:
        return ()
    return (
        e.StopOrdered(
            attempt=job.attempt,
            reason=command.reason,
            by=command.by,
            grace_s=command.grace_s,
            checkpoint_s=command.checkpoint_s,
            favoured=command.favoured,
            why=command.why,
        ),
    )


def _resumed(job: Job, command: c.ReportResumed, _now_us: int) -> tuple[EventBody, ...]:
    _fence(job, command.attempt)
    return (e.Resumed(attempt=job.attempt, step=command.step),)


def _checkpointed(job: Job, command: c.ReportCheckpoint, _now_us: int) -> tuple[EventBody, ...]:
    _fence(job, command.attempt)
    if command.step in job.saving:
        return ()
    return (e.Checkpointed(attempt=job.attempt, step=command.step, parts=command.parts),)


def _keep(job: Job, command: c.KeepCheckpoint, _now_us: int) -> tuple[EventBody, ...]:
    if command.step not in job.saving:
        return ()
    kept = e.CheckpointKept(
        attempt=command.attempt,
        step=command.step,
        manifest=command.manifest,
        files=command.files,
        size_bytes=command.size_bytes,
    )
    return (kept,)


def _lose(job: Job, command: c.LoseCheckpoint, _now_us: int) -> tuple[EventBody, ...]:
    lost = e.CheckpointLost(
        attempt=command.attempt, step=command.step, reason=command.reason, left=command.left
    )
    return (lost,)


def _noticed(job: Job, command: c.ReportNotice, _now_us: int) -> tuple[EventBody, ...]:
    _fence(job, command.attempt)
    noticed = e.Noticed(
        attempt=job.attempt,
        notice=command.notice,
        detail=command.detail,
        rank=command.rank,
        node=command.node,
    )
    return (noticed,)


def _released(job: Job, command: c.ReportReleased, now_us: int) -> tuple[EventBody, ...]:
    _fence(job, command.attempt)
    events: list[EventBody] = []
    reason, ended = job.stop, job.exit or Exit()
    if job.state is not JobState.STOPPING:
        # The end was seen before the exit: the ranks were never reported, so the launch was lost.
        reason = (
            StopReason.LAUNCH_FAILED if job.state is JobState.STARTING else StopReason.NODE_LOST
        )
        events.append(e.Exited(attempt=job.attempt, reason=reason, exit=ended))
    assert reason is not None, "STOPPING always has a reason"
    standing = Standing(
        counted=job.counted,
        requeues=job.requeues,
        avoid=job.avoid,
        memory_milli=job.memory_milli,
        asks_memory=command.asks_memory,
        hang=command.hang,
    )
    then = outcome(reason, ended, command.policy, standing)
    events.append(
        e.Released(
            attempt=job.attempt,
            next=then.state,
            failure=then.failure,
            counts=then.counts,
            not_before_us=now_us + int(then.delay_s * 1e6) if then.delay_s else 0,
            message=then.message,
            proof=command.proof,
            avoid=then.avoid,
            memory_milli=then.memory_milli,
        )
    )
    return tuple(events)


def merge(first: StopReason | None, second: StopReason) -> StopReason:
    """The root cause is the first reason; only user_cancel (and a user's hold) overrule it.

    They do so only if the job would come back otherwise: what ended well stays ended well, also if
    an order to stop was on its way (an engine says `completed` only if no order reached the ranks).
    """
    if first is None or second is StopReason.COMPLETED:
        return second
    overrules = second in (StopReason.USER_CANCEL, StopReason.USER_HOLD)
    if not overrules or first in (StopReason.COMPLETED, StopReason.USER_CANCEL):
        return first
    if second is StopReason.USER_HOLD and first not in (StopReason.PREEMPTED, StopReason.RESIZED):
        return first
    return second


def _fence(job: Job, attempt: int) -> None:
    if attempt != job.attempt or job.state not in ALLOCATED:
        raise Stale(f"attempt {job.id}/{attempt} is no longer current ({job.state}, {job.attempt})")


def _refuse_terminal(job: Job, verb: str) -> None:
    if job.state.terminal:
        raise Conflict(
            "job-is-over",
            f"job {job.id} is already {job.state} and cannot be {verb}",
            hint=f"`zenkei rerun {job.id}` makes a new job of it",
        )


_DECIDERS: dict[type[c.Command], Callable[[Job, Any, int], tuple[EventBody, ...]]] = {
    c.Hold: _hold,
    c.Unhold: _unhold,
    c.Prepare: _prepare,
    c.FailPreparation: _fail_preparation,
    c.Reject: _reject,
    c.Cancel: _cancel,
    c.Allocate: _allocate,
    c.Claim: _claim,
    c.Edit: _edit,
    c.ReportStarted: _started,
    c.ReportExited: _exited,
    c.Stop: _stop,
    c.ReportReleased: _released,
    c.ReportResumed: _resumed,
    c.ReportCheckpoint: _checkpointed,
    c.KeepCheckpoint: _keep,
    c.LoseCheckpoint: _lose,
    c.ReportNotice: _noticed,
}
