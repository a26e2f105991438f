"""What follows when an attempt has ended: the job's own rules, else the symptom's row, else the
stop reason's class.

`outcome` is total: it has an answer for every StopReason, symptom and policy (a test enumerates
them). The caps are bounds on loops, not policy: a job that infrastructure or preemption sends back
more than MAX_REQUEUES times fails, unless it gets further meanwhile: a checkpoint of a step that it
had not reached before sets the count back. Words in the output are weaker evidence than what the
system has seen itself: a symptom of infrastructure is free of charge only the first time on a node.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from zenkei.lifecycle import cause
from zenkei.lifecycle.symptoms import MEANINGS, Meaning
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

MAX_REQUEUES: Final = 20
HUNG_RESTARTS: Final = 2
"""A job that hangs is started again so often, even where `retry.limit` is less."""
TWICE_MILLI: Final = 2000

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
_SPOKEN: Final = frozenset({StopReason.NONZERO_EXIT, StopReason.LAUNCH_FAILED})
"""Reasons that say little: the words of the ranks decide, if there are any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Next:
    """counts: this attempt used up one of retry.limit. delay_s: not before that much later.

    avoid: nodes the next attempt shall not have. memory_milli: as in Job, for the next attempt.
    """

    state: JobState
    failure: FailureClass
    counts: bool = False
    delay_s: float = 0.0
    hold: HoldReason | None = None
    message: str = ""
    avoid: tuple[str, ...] = ()
    memory_milli: int = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What else an outcome depends on. counted, requeues: how many earlier attempts did and did

    not use up the retry limit (requeues: since it last got further). avoid, memory_milli: as in
    Job. asks_memory: it has a request that can be doubled. hang: what the job wants when it hangs.
    """

    counted: int = 0
    requeues: int = 0
    avoid: tuple[str, ...] = ()
    memory_milli: int = 1000
    asks_memory: bool = False
    hang: HangAction = HangAction.RETRY


def outcome(reason: StopReason, ended: Exit, policy: RetryPolicy, standing: Standing) -> Next:
    """Where a job goes after an attempt that `reason` ended."""
    failure = CLASS_OF[reason]
    if reason is StopReason.COMPLETED:
        return Next(state=JobState.SUCCEEDED, failure=failure)
    if reason is StopReason.USER_CANCEL:
        return Next(state=JobState.CANCELLED, failure=failure)
    if reason is StopReason.USER_HOLD:
        return Next(state=JobState.HELD, failure=failure, hold=HoldReason.USER)
    if reason is StopReason.BUDGET_EXHAUSTED:
        return Next(state=JobState.HELD, failure=failure, hold=HoldReason.BUDGET)
    message = cause.line(reason, ended)
    if reason is StopReason.TIME_LIMIT:
        return Next(state=JobState.FAILED, failure=failure, message=message)
    failed = _Failed(reason, ended, policy, standing, message)
    meaning = MEANINGS.get(ended.symptom) if reason in _SPOKEN else None
    if failure is FailureClass.PREEMPTED or (failure in _REQUEUED and meaning is None):
        return failed.requeued(failure)
    return failed.retried(failure, meaning)


@dataclass(frozen=True, slots=True)
class _Failed:
    """One failure of the job's own, or of what it ran on."""

    reason: StopReason
    ended: Exit
    policy: RetryPolicy
    standing: Standing
    message: str

    def requeued(self, failure: FailureClass) -> Next:
        """Back into the line without using up the limit."""
        requeues = self.standing.requeues
        preempted = failure is FailureClass.PREEMPTED
        if requeues >= MAX_REQUEUES:
            last = f"; the last time: {self.message}" if self.message and not preempted else ""
            message = f"it was sent back {requeues} times without getting any further{last}"
            return Next(state=JobState.FAILED, failure=failure, message=message)
        return Next(
            state=JobState.PENDING,
            failure=failure,
            # once, at once: whoever lost a node loses no more time than that
            delay_s=0.0 if preempted or not requeues else _backoff_s(1.0, requeues - 1),
            message="" if preempted else self.message,
            avoid=() if preempted else self._node(),
        )

    def retried(self, failure: FailureClass, meaning: Meaning | None) -> Next:
        """By the job's rule, else by the symptom, else as the class says."""
        rule = self._rule()
        if meaning is not None:
            failure = meaning.failure
        if rule is not None:
            return self._follow(rule.action, failure, "by its own rule")
        if failure is FailureClass.INFRASTRUCTURE and self._first_there():
            return self.requeued(failure)
        if failure is FailureClass.HUNG and self.reason is StopReason.HUNG:
            return self._hung(failure)
        # With rules that retry, only what they name is retried; without any, every failure is.
        if any(rule.action is not RetryAction.GIVE_UP for rule in self.policy.rules):
            return self._give_up(failure, "no rule of its own names this failure")
        if meaning is not None:
            return self._follow(meaning.action, failure, "it would fail again")
        by_class = failure is FailureClass.OUT_OF_MEMORY
        return self._follow(RetryAction.MORE_MEMORY if by_class else RetryAction.RETRY, failure)

    def _rule(self) -> RetryRule | None:
        return next((r for i, r in enumerate(self.policy.rules) if self._matches(i, r)), None)

    def _matches(self, place: int, rule: RetryRule) -> bool:
        """What a rule names must all be so; one that names nothing matches nothing."""
        if rule.exit_codes and self.ended.code not in rule.exit_codes:
            return False
        if rule.pattern and place not in self.ended.matched:
            return False
        return bool(rule.exit_codes or rule.pattern)

    def _follow(self, action: RetryAction, failure: FailureClass, why: str = "") -> Next:
        if action is RetryAction.GIVE_UP:
            return self._give_up(failure, why)
        if action is RetryAction.MORE_MEMORY and self.standing.asks_memory:
            if self.standing.memory_milli >= TWICE_MILLI:
                twice = f"{self.message}, also with twice the memory"
                return replace(self._give_up(failure), message=twice)
            return self._again(failure, memory_milli=TWICE_MILLI)
        elsewhere = action is RetryAction.ELSEWHERE or failure is FailureClass.INFRASTRUCTURE
        return self._again(failure, avoid=self._node() if elsewhere else ())

    def _hung(self, failure: FailureClass) -> Next:
        if self.standing.hang is HangAction.FAIL:
            return self._give_up(failure)
        limit = max(self.policy.limit, HUNG_RESTARTS)
        return self._again(failure, limit=limit, avoid=self._node())

    def _again(
        self,
        failure: FailureClass,
        *,
        limit: int = -1,
        avoid: tuple[str, ...] = (),
        memory_milli: int = 1000,
    ) -> Next:
        """Once more, if the limit is not reached."""
        counted = self.standing.counted
        if counted >= (self.policy.limit if limit < 0 else limit):
            tries = f" (try {counted + 1}, the last)" if counted else ""
            return replace(self._give_up(failure), message=f"{self.message}{tries}")
        return Next(
            state=JobState.PENDING,
            failure=failure,
            counts=True,
            delay_s=_backoff_s(self.policy.backoff_s, counted),
            message=self.message,
            avoid=avoid,
            memory_milli=memory_milli,
        )

    def _give_up(self, failure: FailureClass, why: str = "") -> Next:
        """why: told to who asked for retries and gets none."""
        is_told = why and self.standing.counted < self.policy.limit
        message = f"{self.message}; not tried again: {why}" if is_told else self.message
        counts = failure in _COUNTED
        return Next(state=JobState.FAILED, failure=failure, counts=counts, message=message)

    def _node(self) -> tuple[str, ...]:
        return (self.ended.node,) if self.ended.node else ()

    def _first_there(self) -> bool:
        return bool(self.ended.node) and self.ended.node not in self.standing.avoid


def _backoff_s(first_s: float, tries: int) -> float:
    return min(MAX_BACKOFF_S, first_s * 2.0 ** min(tries, 30))
