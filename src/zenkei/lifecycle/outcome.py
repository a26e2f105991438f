"""What follows when an attempt has ended: one total table plus the job's own rules.

`outcome` is total: it has an answer for every StopReason and policy (a test enumerates them). The
caps are bounds on loops, not policy: a job that infrastructure or preemption sends back more than
MAX_REQUEUES times fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from zenkei.model.instants import MAX_BACKOFF_S
from zenkei.model.job import (
    Exit,
    FailureClass,
    HoldReason,
    JobState,
    RetryAction,
    RetryPolicy,
    StopReason,
)

MAX_REQUEUES: Final = 20

CLASS_OF: Final[dict[StopReason, FailureClass]] = {
    StopReason.COMPLETED: FailureClass.NONE,
    StopReason.NONZERO_EXIT: FailureClass.USER_ERROR,
    StopReason.OUT_OF_MEMORY: FailureClass.OUT_OF_MEMORY,
    StopReason.TIME_LIMIT: FailureClass.USER_ERROR,
    StopReason.USER_CANCEL: FailureClass.CANCELLED,
    StopReason.USER_HOLD: FailureClass.CANCELLED,
    StopReason.PREEMPTED: FailureClass.PREEMPTED,
    StopReason.RESIZED: FailureClass.PREEMPTED,
    StopReason.NODE_LOST: FailureClass.INFRASTRUCTURE,
    StopReason.LAUNCH_FAILED: FailureClass.INFRASTRUCTURE,
    StopReason.HUNG: FailureClass.HUNG,
    StopReason.HEALTH_CHECK: FailureClass.INFRASTRUCTURE,
    StopReason.DISK_FULL: FailureClass.INFRASTRUCTURE,
    StopReason.BUDGET_EXHAUSTED: FailureClass.CANCELLED,
}

_REQUEUED: Final = frozenset({FailureClass.INFRASTRUCTURE, FailureClass.PREEMPTED})
_COUNTED: Final = frozenset(
    {FailureClass.USER_ERROR, FailureClass.OUT_OF_MEMORY, FailureClass.HUNG, FailureClass.DATA}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Next:
    """counts: this attempt used up one of retry.limit. delay_s: not before that much later."""

    state: JobState
    failure: FailureClass
    counts: bool = False
    delay_s: float = 0.0
    hold: HoldReason | None = None
    message: str = ""


def outcome(
    reason: StopReason, ended: Exit, policy: RetryPolicy, *, counted: int, requeues: int
) -> Next:
    """Where a job goes after an attempt that `reason` ended.

    counted, requeues: how many earlier attempts did and did not use up the retry limit.
    """
    failure = CLASS_OF[reason]
    if reason is StopReason.COMPLETED:
        return Next(state=JobState.SUCCEEDED, failure=failure)
    if reason is StopReason.USER_CANCEL:
        return Next(state=JobState.CANCELLED, failure=failure)
    if reason is StopReason.USER_HOLD:
        return Next(state=JobState.HELD, failure=failure, hold=HoldReason.USER)
    if reason is StopReason.BUDGET_EXHAUSTED:
        return Next(state=JobState.HELD, failure=failure, hold=HoldReason.BUDGET)
    if failure in _REQUEUED:
        return _requeue(failure, requeues)
    if reason is StopReason.TIME_LIMIT:
        return Next(state=JobState.FAILED, failure=failure, message="it reached its time limit")
    return _retry(failure, ended, policy, counted)


def _requeue(failure: FailureClass, requeues: int) -> Next:
    if requeues >= MAX_REQUEUES:
        return Next(
            state=JobState.FAILED,
            failure=failure,
            message=f"it was sent back {requeues} times without ending",
        )
    delay_s = 0.0 if failure is FailureClass.PREEMPTED else _backoff_s(1.0, requeues)
    return Next(state=JobState.PENDING, failure=failure, delay_s=delay_s)


def _retry(failure: FailureClass, ended: Exit, policy: RetryPolicy, counted: int) -> Next:
    rule = next((r for r in policy.rules if ended.code in r.exit_codes), None)
    gives_up = rule is not None and rule.action is RetryAction.GIVE_UP
    # With rules that say RETRY, only what they name is retried; without any, every failure is.
    unnamed = rule is None and any(r.action is RetryAction.RETRY for r in policy.rules)
    if gives_up or unnamed or counted >= policy.limit:
        return Next(state=JobState.FAILED, failure=failure, counts=failure in _COUNTED)
    return Next(
        state=JobState.PENDING,
        failure=failure,
        counts=True,
        delay_s=_backoff_s(policy.backoff_s, counted),
    )


def _backoff_s(first_s: float, tries: int) -> float:
    return min(MAX_BACKOFF_S, first_s * 2.0 ** min(tries, 30))
