"""`outcome` has an answer for everything, and the answers are those of the table."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from zenkei.lifecycle.outcome import (
    CLASS_OF,
    HUNG_RESTARTS,
    MAX_REQUEUES,
    TWICE_MILLI,
    Next,
    Standing,
    outcome,
)
from zenkei.lifecycle.symptoms import MEANINGS
from zenkei.model.instants import MAX_BACKOFF_S
from zenkei.model.job import (
    Exit,
    FailureClass,
    HangAction,
    HoldReason,
    JobState,
    RetryAction,
    RetryPolicy,
    RetryRule,
    StopReason,
)

RETRY_7 = RetryRule(exit_codes=(7,), action=RetryAction.RETRY)
GIVE_UP_9 = RetryRule(exit_codes=(9,), action=RetryAction.GIVE_UP)
BY_PATTERN = RetryRule(exit_codes=(7,), pattern="no license", action=RetryAction.ELSEWHERE)
MORE_MEMORY = RetryRule(exit_codes=(7,), action=RetryAction.MORE_MEMORY)
POLICIES = [
    RetryPolicy(),
    RetryPolicy(limit=3),
    RetryPolicy(limit=3, rules=(RETRY_7,)),
    RetryPolicy(limit=3, rules=(GIVE_UP_9,)),
    RetryPolicy(limit=3, rules=(BY_PATTERN, GIVE_UP_9)),
    RetryPolicy(limit=1, rules=(MORE_MEMORY,)),
]
SYMPTOMS = ("", "from a newer agent", *MEANINGS)
ENDS = {
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
    JobState.PENDING,
    JobState.HELD,
}


@pytest.mark.parametrize("symptom", SYMPTOMS)
@pytest.mark.parametrize("reason", StopReason)
def test_every_reason_symptom_policy_and_count_has_an_outcome(
    reason: StopReason, symptom: str
) -> None:
    for policy, code, matched, counted, requeues, memory, node in itertools.product(
        POLICIES, (None, 1, 7, 9), ((), (0,)), (0, 3), (0, 20), (1000, TWICE_MILLI), ("", "n1")
    ):
        ended = Exit(code=code, matched=matched, symptom=symptom, node=node)
        standing = Standing(
            counted=counted,
            requeues=requeues,
            memory_milli=memory,
            asks_memory=memory != 1000,
            avoid=("n1",) if counted else (),
        )
        then = outcome(reason, ended, policy, standing)
        assert then.state in ENDS
        assert symptom in MEANINGS or then.failure is CLASS_OF[reason]
        assert 0 <= then.delay_s <= MAX_BACKOFF_S
        assert (then.hold is not None) == (then.state is JobState.HELD)
        assert not (then.counts and then.failure in (FailureClass.NONE, FailureClass.PREEMPTED))
        assert set(then.avoid) <= {node} - {""}
        assert then.memory_milli in (1000, TWICE_MILLI)
        assert then.memory_milli == 1000 or then.state is JobState.PENDING


@pytest.mark.parametrize("symptom", SYMPTOMS)
@pytest.mark.parametrize("reason", StopReason)
def test_no_job_comes_back_for_ever(reason: StopReason, symptom: str) -> None:
    """Whatever ends its attempts on two nodes in turn, always for the same reason."""
    standing = Standing(asks_memory=True)
    for number in range(200):
        ended = Exit(code=1, symptom=symptom, node=f"n{number % 2}")
        then = outcome(reason, ended, RetryPolicy(limit=3), standing)
        if then.state is not JobState.PENDING:
            return
        standing = replace(
            standing,
            counted=standing.counted + then.counts,
            requeues=standing.requeues + (not then.counts),
            avoid=(*standing.avoid, *then.avoid),
            memory_milli=max(standing.memory_milli, then.memory_milli),
        )
    raise AssertionError(f"{reason} with {symptom} comes back for ever")


def ends(
    symptom: str,
    policy: RetryPolicy | None = None,
    reason: StopReason = StopReason.NONZERO_EXIT,
    **standing: Any,
) -> Next:
    """After an exit with code 1 on node n1."""
    ended = Exit(code=1, symptom=symptom, node="n1", rank=0)
    return outcome(reason, ended, policy or RetryPolicy(limit=3), Standing(**standing))


def after(reason: StopReason, policy: RetryPolicy, **counts: int) -> JobState:
    counted, requeues = counts.get("counted", 0), counts.get("requeues", 0)
    code = counts.get("code", 1)
    standing = Standing(counted=counted, requeues=requeues)
    return outcome(reason, Exit(code=code), policy, standing).state


def test_a_failure_is_retried_up_to_the_limit() -> None:
    policy = RetryPolicy(limit=2)
    states = [after(StopReason.NONZERO_EXIT, policy, counted=n) for n in range(4)]
    assert states == [JobState.PENDING, JobState.PENDING, JobState.FAILED, JobState.FAILED]


def test_a_lost_node_does_not_use_up_the_limit_but_loops_end() -> None:
    lost = StopReason.NODE_LOST
    assert after(lost, RetryPolicy(), counted=99) is JobState.PENDING
    assert after(lost, RetryPolicy(), requeues=MAX_REQUEUES - 1) is JobState.PENDING
    assert after(lost, RetryPolicy(), requeues=MAX_REQUEUES) is JobState.FAILED


def test_who_asked_for_retries_is_told_why_there_are_no_more() -> None:
    message = ends("import_error").message
    assert message.endswith("; not tried again: it would fail again")
    assert "not tried again" not in ends("import_error", RetryPolicy()).message
    rules = (RetryRule(action=RetryAction.GIVE_UP, exit_codes=(1,)),)
    message = ends("", RetryPolicy(limit=3, rules=rules)).message
    assert message.endswith("; not tried again: by its own rule")
    message = ends("", RetryPolicy(limit=3, rules=(RETRY_7,))).message
    assert message.endswith("; not tried again: no rule of its own names this failure")
    assert ends("", counted=3).message.endswith(" (try 4, the last)")
    assert "try" not in ends("", RetryPolicy()).message


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
        outcome(StopReason.NONZERO_EXIT, Exit(code=1), policy, Standing(counted=n)).delay_s
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
    then = outcome(reason, Exit(signal=15), RetryPolicy(), Standing())
    assert (then.state, then.hold) == (JobState.HELD, hold)


@pytest.mark.parametrize("symptom", ["import_error", "syntax_error", "missing_file"])
def test_what_would_fail_again_is_not_tried_again(symptom: str) -> None:
    then = ends(symptom)
    assert (then.state, then.failure) == (JobState.FAILED, FailureClass.USER_ERROR)


def test_a_rule_of_the_job_overrules_the_symptom() -> None:
    rule = RetryRule(exit_codes=(1,), action=RetryAction.RETRY)
    assert ends("import_error", RetryPolicy(limit=3, rules=(rule,))).state is JobState.PENDING
    rule = RetryRule(exit_codes=(1,), action=RetryAction.GIVE_UP)
    assert ends("nccl_system", RetryPolicy(limit=3, rules=(rule,))).state is JobState.FAILED


def test_a_broken_gpu_sends_the_job_elsewhere_and_costs_no_retry() -> None:
    then = ends("gpu_memory_error", RetryPolicy(limit=0))
    assert (then.state, then.counts, then.avoid) == (JobState.PENDING, False, ("n1",))
    assert then.failure is FailureClass.INFRASTRUCTURE


def test_words_about_the_machine_are_free_of_charge_once_per_node() -> None:
    again = ends("nccl_system", RetryPolicy(limit=0), avoid=("n1",))
    assert again.state is JobState.FAILED
    again = ends("nccl_system", RetryPolicy(limit=1), avoid=("n1",))
    assert (again.state, again.counts) == (JobState.PENDING, True)


@pytest.mark.parametrize("symptom", ["out_of_memory", "memory_limit"])
def test_memory_is_doubled_once_and_then_no_more(symptom: str) -> None:
    then = ends(symptom, asks_memory=True)
    assert (then.state, then.counts, then.memory_milli) == (JobState.PENDING, True, TWICE_MILLI)
    last = ends(symptom, asks_memory=True, memory_milli=TWICE_MILLI, counted=1)
    assert last.state is JobState.FAILED
    assert "twice the memory" in last.message


def test_a_job_without_a_memory_request_is_only_tried_again() -> None:
    then = ends("out_of_memory")
    assert (then.state, then.memory_milli) == (JobState.PENDING, 1000)


def test_the_kernels_limit_says_out_of_memory_without_any_words() -> None:
    then = ends("", reason=StopReason.OUT_OF_MEMORY, asks_memory=True)
    assert (then.failure, then.memory_milli) == (FailureClass.OUT_OF_MEMORY, TWICE_MILLI)


def test_a_rule_needs_all_that_it_names() -> None:
    policy = RetryPolicy(limit=3, rules=(BY_PATTERN,))

    def state(code: int, *matched: int) -> JobState:
        ended = Exit(code=code, matched=matched, node="n1")
        return outcome(StopReason.NONZERO_EXIT, ended, policy, Standing()).state

    assert state(7, 0) is JobState.PENDING
    assert state(7) is JobState.FAILED
    assert state(8, 0) is JobState.FAILED


def test_a_rule_by_pattern_alone_works_for_any_exit_code() -> None:
    rule = RetryRule(pattern="x", action=RetryAction.ELSEWHERE)
    ended = Exit(signal=11, matched=(0,), node="n1")
    policy = RetryPolicy(limit=1, rules=(rule,))
    then = outcome(StopReason.NONZERO_EXIT, ended, policy, Standing())
    assert (then.state, then.avoid, then.counts) == (JobState.PENDING, ("n1",), True)


def test_a_job_that_hangs_is_started_again_elsewhere_though_nothing_else_would_be() -> None:
    hung = StopReason.HUNG
    for counted in range(HUNG_RESTARTS):
        then = ends("", RetryPolicy(limit=0), hung, counted=counted)
        assert (then.state, then.counts, then.avoid) == (JobState.PENDING, True, ("n1",))
    assert ends("", RetryPolicy(limit=0), hung, counted=HUNG_RESTARTS).state is JobState.FAILED
    assert ends("", RetryPolicy(limit=9), hung, hang=HangAction.FAIL).state is JobState.FAILED


def test_what_others_stopped_is_not_judged_by_what_its_ranks_then_said() -> None:
    assert ends("import_error", reason=StopReason.PREEMPTED).state is JobState.PENDING
    assert ends("import_error", reason=StopReason.NODE_LOST).state is JobState.PENDING


def test_a_lost_node_is_avoided() -> None:
    assert ends("", reason=StopReason.NODE_LOST).avoid == ("n1",)


def test_the_message_is_the_cause_in_one_line() -> None:
    ended = Exit(code=1, rank=3, node="node-2", ranks=4, symptom="cuda_out_of_memory", detail="x")
    then = outcome(StopReason.NONZERO_EXIT, ended, RetryPolicy(), Standing())
    assert then.message == "rank 3 on node-2 failed first: CUDA out of memory (exit code 1)"


def test_the_first_attempt_that_a_machine_costs_is_made_up_for_at_once() -> None:
    delays = [
        outcome(StopReason.NODE_LOST, Exit(), RetryPolicy(), Standing(requeues=n)).delay_s
        for n in range(4)
    ]
    assert delays == [0.0, 1.0, 2.0, 4.0]
