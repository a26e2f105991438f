"""The planner: pure, a snapshot in, a plan out. `control.planner` keeps one current by deltas."""

from zenkei.scheduler.decisions import (
    ClassReason,
    Decision,
    Hold,
    Plan,
    Preempt,
    Reserve,
    Start,
    Trace,
)
from zenkei.scheduler.explain import Explanation, Holder, Lever, Nearest
from zenkei.scheduler.free import HeldPart, check, free_of, held_parts
from zenkei.scheduler.planner import MOST_STARTS, Planner, plan
from zenkei.scheduler.reasons import Reason, ReasonCode, Severity, being_stored
from zenkei.scheduler.snapshot import (
    Delta,
    HeldColumns,
    JobClass,
    Snapshot,
    WaitingColumns,
    WaitingJob,
    held_columns,
    waiting_columns,
)

__all__ = [
    "MOST_STARTS",
    "ClassReason",
    "Decision",
    "Delta",
    "Explanation",
    "HeldColumns",
    "HeldPart",
    "Hold",
    "Holder",
    "JobClass",
    "Lever",
    "Nearest",
    "Plan",
    "Planner",
    "Preempt",
    "Reason",
    "ReasonCode",
    "Reserve",
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
    "plan",
    "waiting_columns",
]
