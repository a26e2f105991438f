"""`outcome` has an answer for everything, and the answers are those of the table."""

from __future__ import annotations

import itertools

import pytest

from zenkei.lifecycle.outcome import CLASS_OF, MAX_REQUEUES, outcome
from zenkei.model.instants import MAX_BACKOFF_S
from zenkei.model.job import (
    Exit,
    FailureClass,
    HoldReason,
    JobState,
    RetryAction,
    RetryPolicy,
    RetryRule,
    StopReason,
)

RETRY_7 = RetryRule(exit_codes=(7,), action=RetryAction.RETRY)
GIVE_UP_9 = RetryRule(exit_codes=(9,), action=RetryAction.GIVE_UP)
POLICIES = [
    RetryPolicy(),
    RetryPolicy(limit=3),
    RetryPolicy(limit=3, rules=(RETRY_7,)),
    RetryPolicy(limit=3, rules=(GIVE_UP_9,)),
]
ENDS = {
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
    JobState.PENDING,
    JobState.HELD,
}


@pytest.mark.parametrize("reason", StopReason)
def test_every_reason_policy_and_count_has_an_outcome(reason: StopReason) -> None:
    codes = (None, 0, 1, 7, 9)
    for policy, code, counted, requeues in itertools.product(
        POLICIES, codes, (0, 2, 3, 99), (0, 19, 20, 10**9)
    ):
        then = outcome(reason, Exit(code=code), policy, counted=counted, requeues=requeues)
        assert then.state in ENDS
        assert then.failure is CLASS_OF[reason]
        assert 0 <= then.delay_s <= MAX_BACKOFF_S
        assert (then.hold is not None) == (then.state is JobState.HELD)
        assert not (then.counts and then.failure in (FailureClass.NONE, FailureClass.PREEMPTED))


def after(reason: StopReason, policy: RetryPolicy, **counts: int) -> JobState:
    counted, requeues = counts.get("counted", 0), counts.get("requeues", 0)
    code = counts.get("code", 1)
    return outcome(reason, Exit(code=code), policy, counted=counted, requeues=requeues).state


def test_a_failure_is_retried_up_to_the_limit() -> None:
    policy = RetryPolicy(limit=2)
    states = [after(StopReason.NONZERO_EXIT, policy, counted=n) for n in range(4)]
    assert states == [JobState.PENDING, JobState.PENDING, JobState.FAILED, JobState.FAILED]


def test_a_lost_node_does_not_use_up_the_limit_but_loops_end() -> None:
    lost = StopReason.NODE_LOST
    assert after(lost, RetryPolicy(), counted=99) is JobState.PENDING
    assert after(lost, RetryPolicy(), requeues=MAX_REQUEUES - 1) is JobState.PENDING
    assert after(lost, RetryPolicy(), requeues=MAX_REQUEUES) is JobState.FAILED


def test_with_a_retry_rule_only_the_named_exit_codes_are_retried() -> None:
    policy = RetryPolicy(limit=3, rules=(RETRY_7,))
    assert after(StopReason.NONZERO_EXIT, policy, code=7) is JobState.PENDING
    assert after(StopReason.NONZERO_EXIT, policy, code=1) is JobState.FAILED


def test_a_give_up_rule_ends_the_job_at_once_and_leaves_other_codes_alone() -> None:
    policy = RetryPolicy(limit=3, rules=(GIVE_UP_9,))
    assert after(StopReason.NONZERO_EXIT, policy, code=9) is JobState.FAILED
    assert after(StopReason.NONZERO_EXIT, policy, code=1) is JobState.PENDING


def test_the_delay_doubles_with_each_counted_retry() -> None:
    policy = RetryPolicy(limit=99, backoff_s=2.0)
    delays = [
        outcome(StopReason.NONZERO_EXIT, Exit(code=1), policy, counted=n, requeues=0).delay_s
        for n in (0, 1, 2, 50)
    ]
    assert delays == [2.0, 4.0, 8.0, MAX_BACKOFF_S]


@pytest.mark.parametrize(
    ("reason", "hold"),
    [
        (StopReason.USER_HOLD, HoldReason.USER),
        (StopReason.BUDGET_EXHAUSTED, HoldReason.BUDGET),
    ],
)
def test_an_order_to_hold_ends_held_with_its_reason(reason: StopReason, hold: HoldReason) -> None:
    then = outcome(reason, Exit(signal=15), RetryPolicy(), counted=0, requeues=0)
    assert (then.state, then.hold) == (JobState.HELD, hold)
