"""Running jobs that leave their nodes for others, or for more nodes; what is kept free meanwhile.

Called by `apply` inside the transaction of a cycle's starts. A decision that no longer holds is
passed by with a line in the log: the next plan sees why. Doing it twice does no more than once: who
is stopping already is not stopped again, what is claimed already is not claimed anew. Checkpoints
are asked for first, for as long as the job's own policy says. Cost: O(1) per decision.
"""

from __future__ import annotations

import logging

from zenkei.control.draft import Draft
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.decide import Stale
from zenkei.model.errors import Conflict, NotFound
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Job, JobSpec, JobState, StopReason
from zenkei.scheduler import Grow, Hold, Preempt

log = logging.getLogger(__name__)


def stop_for(
    row: Job, spec: JobSpec, reason: StopReason, *, by: str = "", favoured: str = "", why: str = ""
) -> c.Stop:
    """The order that ends an attempt which shall go on later: a checkpoint first, if it can."""
    return c.Stop(
        attempt=row.attempt,
        reason=reason,
        by=by,
        grace_s=spec.grace_s,
        checkpoint_s=spec.checkpoint.grace_s if spec.checkpoint is not None else 0.0,
        favoured=favoured,
        why=why,
    )


def displace(draft: Draft, cache: SpecCache, decision: Preempt) -> AttemptId | None:
    """Stop the victim; None if nothing is to be done.

    Nothing is taken from anybody for a job that no longer waits.
    """
    favoured, victim = _row(draft, decision.favoured), _row(draft, decision.victim)
    if favoured is None or favoured.state is not JobState.PENDING:
        return _passed_by("preempt", decision.victim, "the favoured job does not wait")
    if victim is None or victim.state not in (JobState.STARTING, JobState.RUNNING):
        state = "gone" if victim is None else str(victim.state)
        return _passed_by("preempt", decision.victim, f"it is {state}")
    order = stop_for(
        victim,
        cache.get(victim.spec),
        StopReason.PREEMPTED,
        favoured=str(decision.favoured),
        why=str(decision.reason),
    )
    log.info(
        "job displaced job=%s favoured=%s why=%s lost_gpu_s=%.0f",
        decision.victim,
        decision.favoured,
        decision.reason,
        decision.lost_gpu_milli_s / 1000,
    )
    return _stop(draft, victim, order)


def grow(draft: Draft, cache: SpecCache, decision: Grow) -> AttemptId | None:
    """Stop a gang that goes on with more nodes; None if nothing is to be done.

    A job that saves no checkpoints would lose more than it wins.
    """
    row = _row(draft, decision.job)
    if row is None or row.state is not JobState.RUNNING:
        return _passed_by("grow", decision.job, "it does not run")
    spec = cache.get(row.spec)
    now = max(1, len(row.nodes))
    if spec.checkpoint is None or not now < decision.nodes <= spec.resources.nodes:
        return _passed_by("grow", decision.job, f"it has {now} nodes and takes no {decision.nodes}")
    log.info("job grows job=%s from=%d to=%d", row.id, now, decision.nodes)
    return _stop(draft, row, stop_for(row, spec, StopReason.RESIZED))


def claim(draft: Draft, decision: Hold) -> bool:
    """Keep parts free for a waiting job; whether that is news."""
    wanted = c.Claim(cluster=decision.cluster, parts=decision.parts, until_us=decision.until_us)
    try:
        version = draft.job(decision.job).version
        return draft.advance(decision.job, wanted).version > version
    except (Conflict, NotFound) as refusal:
        _passed_by("hold", decision.job, refusal.code)
        return False


def _row(draft: Draft, job: JobId) -> Job | None:
    try:
        return draft.job(job)
    except NotFound:
        return None


def _stop(draft: Draft, row: Job, order: c.Stop) -> AttemptId | None:
    try:
        draft.advance(row.id, order)
    except (Conflict, Stale) as refusal:
        return _passed_by(str(order.reason), row.id, str(refusal))
    return AttemptId(row.id, row.attempt)


def _passed_by(what: str, job: JobId, why: str) -> AttemptId | None:
    log.info("%s passed by job=%s why=%s", what, job, why)
    return None
