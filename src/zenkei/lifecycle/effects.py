"""What must be done outside the database because of an event: the rows of the outbox.

Every effect is idempotent by its key. Who waits for a job waits for its result: sealing wakes the
dependents of a job that ran; WAKE_DEPENDENTS is for those of a job that ended without running.
"""

from __future__ import annotations

from zenkei.model import event as e
from zenkei.model.event import Effect, EffectKind, Event
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Job, JobState


def effects(event: Event, after: Job) -> tuple[Effect, ...]:
    """Effects of `event`, which made the row `after`."""
    body = event.body
    if isinstance(body, e.Submitted | e.Unheld):
        return (prepare(after.id),) if after.state is JobState.PREPARING else ()
    if isinstance(body, e.Allocated):
        # the step tells that a checkpoint must be laid out first, which may take a while
        return (_of_attempt(EffectKind.LAUNCH, after, step=after.step),)
    if isinstance(body, e.StopOrdered):
        # A later, stronger order (cancel) is an effect of its own: the reason is part of the key.
        return (_stop(after, body),)
    if isinstance(body, e.Released):
        return (_of_attempt(EffectKind.SEAL, after),)
    if isinstance(body, e.Checkpointed):
        return (keep(AttemptId(after.id, body.attempt), body.step),)
    if isinstance(body, e.CheckpointKept | e.CheckpointLost | e.Imported):
        return ()
    if after.state.terminal:
        return (wake_dependents(after.id),)
    return ()


def prepare(job: JobId) -> Effect:
    """One preparation serves all members of a submission: they share spec and code."""
    whole = JobId(job.number)
    return Effect(kind=EffectKind.PREPARE, key=f"prepare:{whole}", job=whole)


def wake_dependents(job: JobId) -> Effect:
    """Look again at the jobs that wait for this one."""
    return Effect(kind=EffectKind.WAKE_DEPENDENTS, key=f"wake:{job}", job=job)


def keep(attempt: AttemptId, step: int) -> Effect:
    """Store a checkpoint where any attempt finds it."""
    return Effect(
        kind=EffectKind.KEEP,
        key=f"keep:{attempt}:{step}",
        job=attempt.job,
        attempt=attempt.number,
        step=step,
    )


def retire(attempt: AttemptId) -> Effect:
    """The engine may forget the attempt: everything it knew is committed."""
    return Effect(
        kind=EffectKind.RETIRE, key=f"retire:{attempt}", job=attempt.job, attempt=attempt.number
    )


def _of_attempt(kind: EffectKind, job: Job, step: int = -1) -> Effect:
    attempt = AttemptId(job.id, job.attempt)
    return Effect(kind=kind, key=f"{kind}:{attempt}", job=job.id, attempt=job.attempt, step=step)


def _stop(job: Job, order: e.StopOrdered) -> Effect:
    return Effect(
        kind=EffectKind.STOP,
        key=f"stop:{AttemptId(job.id, job.attempt)}:{order.reason}",
        job=job.id,
        attempt=job.attempt,
        reason=order.reason,
        grace_s=order.grace_s,
        checkpoint_s=order.checkpoint_s,
    )
