"""What a plan says: decisions, a reason for everyone left waiting, and when to plan again.

Made by `planner`, obeyed by `control`: all but `Reserve`, which says what was counted on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from zenkei.model.cluster import NodePart
from zenkei.model.ids import JobId
from zenkei.model.instants import is_ahead
from zenkei.scheduler.line import SegmentKey
from zenkei.scheduler.reasons import Reason, delayed, not_yet_tried
from zenkei.scheduler.snapshot import JobClass


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Start a job on these parts, in rank order, each on a different node of `cluster`.

    The devices are named: the applier checks these, it does not choose. forgives: also nodes that
    failed it may be among them, because too few others could ever do.
    """

    job: JobId
    cluster: str
    parts: tuple[NodePart, ...]
    forgives: bool = False


class PreemptReason(StrEnum):
    """On what right a job displaces another."""

    RECLAIM = "reclaim"
    PRIORITY = "priority"
    WORTH = "worth"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preempt:
    """Ask `victim` for a checkpoint and stop it, so that `favoured` can start where it was.

    lost_gpu_milli_s: work of the victim since its last checkpoint that may be lost.
    """

    victim: JobId
    favoured: JobId
    reason: PreemptReason
    lost_gpu_milli_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """Keep these parts free for `job`, whose victims are still stopping, at most to `until_us`.

    No parts: what was kept for it is given up.
    """

    job: JobId
    cluster: str
    parts: tuple[NodePart, ...]
    until_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Grow:
    """A gang runs on fewer nodes than it would take, and more are free: checkpoint and start anew.

    nodes: how many it could have now.
    """

    job: JobId
    nodes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reserve:
    """`job` will start on these parts at `at_us`; what starts there before must have ended."""

    job: JobId
    cluster: str
    parts: tuple[NodePart, ...]
    at_us: int


Decision: TypeAlias = Start | Preempt | Hold | Grow | Reserve


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassReason:
    """Why the jobs of a class wait. head: the first of them in line when it was tried."""

    job_class: JobClass
    head: JobId
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """What the planner did, for the log line of the cycle."""

    waiting: int
    delayed: int
    classes_tried: int
    classes_failed: int
    started: int


class Line(Protocol):
    """Who waits, as the planner knows it now (not a copy: later deltas change it)."""

    def segment_of(self, job: int) -> SegmentKey | None: ...

    def not_before_us(self, job: int) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """based_on: seq of the world planned for. Decisions are in the order they must be applied.

    next_us: the earliest instant at which planning again could differ although nothing happens.
    more: stopped at `max_starts`; jobs that fit may be left. reasons: in the order of failing.
    Equal plans decide the same for the same reasons; how they were computed does not count.
    """

    based_on: int
    now_us: int
    decisions: tuple[Decision, ...] = ()
    reasons: tuple[ClassReason, ...] = ()
    next_us: int | None = None
    more: bool = False
    trace: Trace
    started: frozenset[JobId] = field(compare=False, repr=False)
    why: Callable[[int, SegmentKey], Reason | None] = field(compare=False, repr=False)
    everyone: Reason | None = field(default=None, compare=False, repr=False)
    line: Line = field(compare=False, repr=False)

    def reason(self, job: JobId) -> Reason | None:
        """Why `job` waits; None if it starts, is not in line, or came after this plan. O(1).

        Reads the planner's line: call it where the planner is not being changed.
        """
        if job in self.started:
            return None
        segment = self.line.segment_of(job.key)
        if segment is None:
            return None
        if self.everyone is not None:
            return self.everyone
        not_before_us = self.line.not_before_us(job.key)
        if is_ahead(not_before_us, self.now_us):
            return delayed(not_before_us, self.now_us)
        known = self.why(job.key, segment)
        return not_yet_tried() if known is None and self.more else known
