"""The planner: pure, a snapshot in, a plan out. `control.planner` keeps one current by deltas."""

from zenkei.model.queue import PastUsage
from zenkei.scheduler.codes import ReasonCode, Severity
from zenkei.scheduler.decisions import (
    ClassReason,
    Decision,
    Grow,
    Hold,
    Plan,
    Preempt,
    PreemptReason,
    Reserve,
    Start,
    Trace,
)
from zenkei.scheduler.explain import Cause, End, Explanation, Holder, Lever, Nearest
from zenkei.scheduler.free import HeldPart, check, free_of, held_parts
from zenkei.scheduler.placement import Ask, Learned, learn
from zenkei.scheduler.planner import MOST_STARTS, Planner, plan
from zenkei.scheduler.reasons import Reason, being_stored
from zenkei.scheduler.snapshot import (
    Claim,
    Delta,
    HeldColumns,
    JobClass,
    RunningColumns,
    RunningJob,
    Snapshot,
    WaitingColumns,
    WaitingJob,
    held_columns,
    running_columns,
    waiting_columns,
)

__all__ = [
    "MOST_STARTS",
    "Ask",
    "Cause",
    "Claim",
    "ClassReason",
    "Decision",
    "Delta",
    "End",
    "Explanation",
    "Grow",
    "HeldColumns",
    "HeldPart",
    "Hold",
    "Holder",
    "JobClass",
    "Learned",
    "Lever",
    "Nearest",
    "PastUsage",
    "Plan",
    "Planner",
    "Preempt",
    "PreemptReason",
    "Reason",
    "ReasonCode",
    "Reserve",
    "RunningColumns",
    "RunningJob",
    "Severity",
    "Snapshot",
    "Start",
    "Trace",
    "WaitingColumns",
    "WaitingJob",
    "being_stored",
    "check",
    "free_of",
    "held_columns",
    "held_parts",
    "learn",
    "plan",
    "running_columns",
    "waiting_columns",
]
