"""When the last plan still stands: nothing has happened but what it said, and others have joined.

Called by `planner`. Pure. In one line without displacement, promises or growth room only shrinks
within a plan, so whom it could not start cannot start after those it started either. And a job that
joins the end of a segment cannot start while those before it cannot: they ask for the same. So
another plan would start nobody; a crowded cluster is spared most plans that way. What their reasons
count is counted again. Cost: O(new jobs), and that of a reason for each class that failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from zenkei.model.queue import Order
from zenkei.scheduler.busy import why_not
from zenkei.scheduler.decisions import ClassReason, Plan, Start, Trace
from zenkei.scheduler.known import Known
from zenkei.scheduler.line import SegmentKey, job_of
from zenkei.scheduler.placer import Placer
from zenkei.scheduler.reasons import Reason
from zenkei.scheduler.snapshot import Delta, WaitingJob

WhyNot: TypeAlias = Callable[[int, SegmentKey], Reason | None]


class Lasting:
    """The last plan while it may still stand."""

    def __init__(self, known: Known, placer: Placer) -> None:
        self._known = known
        self._placer = placer
        self._plan: Plan | None = None
        self._open: dict[int, Start] = {}
        """Starts of which nothing has been heard."""
        self._moved = False
        """Whether something has started since its reasons were counted."""

    def made(self, plan: Plan) -> None:
        """A new one."""
        self._plan, self._moved = None, False
        starts = [one for one in plan.decisions if isinstance(one, Start)]
        if plan.more or len(starts) < len(plan.decisions) or not self._is_plain():
            return
        if starts and self._known.config.queues:
            return  # under limits who did not fit may be stopped by one of them now
        self._plan = plan
        self._open = {one.job.key: one for one in starts}

    def take(self, delta: Delta) -> None:
        """Let the planner's knowledge follow, and see whether the plan stands."""
        known = self._known
        if self._plan is None or not self._is_all(delta):
            self._plan = None
            known.apply(delta)
            return
        for row in delta.running:
            del self._open[row.job]
            self._moved = True
        known.apply(delta)
        if not self._is_plain() or not self._stand_behind(delta.waiting):
            self._plan = None

    def now(self, now_us: int) -> Plan | None:
        """The plan of this moment, if it needs no new one."""
        plan, known = self._plan, self._known
        if plan is None or self._open or now_us < plan.now_us:
            return None
        if plan.next_us is not None and plan.next_us <= now_us:
            return None
        reasons, why = plan.reasons, plan.why
        if self._moved:
            reasons, why = self._count_again(plan)
            self._moved = False
        failed = len(reasons)
        self._plan = replace(
            plan,
            based_on=known.seq,
            now_us=now_us,
            decisions=(),
            reasons=reasons,
            why=why,
            started=frozenset(),
            trace=Trace(
                waiting=len(known.line),
                delayed=known.line.aside,
                classes_tried=failed,
                classes_failed=failed,
                started=0,
            ),
        )
        return self._plan

    def _is_plain(self) -> bool:
        known = self._known
        policy = known.config.policy
        if policy.order is not Order.FIFO or policy.preempt or policy.reserve_gangs:
            return False
        return not (known.booked or known.elastic or known.claims)

    def _is_all(self, delta: Delta) -> bool:
        """Whether a delta has nothing but jobs that begin to wait, and starts of the plan."""
        others = (delta.usage, delta.claims, delta.nodes, delta.removed_nodes)
        if any(others) or delta.config is not None or delta.learned is not None:
            return False
        known = self._known
        if delta.paused not in (None, known.paused):
            return False
        if len(delta.changed) != len(delta.waiting) + len(delta.running):
            return False
        if not all(row.job in self._open for row in delta.running):
            return False
        line, running = known.line, known.running
        if any(
            row.not_before_us or row.job in running or line.class_of(row.job) is not None
            for row in delta.waiting
        ):
            return False
        return self._are_as_planned(delta)

    def _are_as_planned(self, delta: Delta) -> bool:
        """Whether who started holds what the plan gave it."""
        held = Counter((part.job, part.node, part.devices) for part in delta.held)
        planned = Counter(
            (row.job, part.node, part.devices)
            for row in delta.running
            for part in self._open[row.job].parts
        )
        return held == planned

    def _stand_behind(self, waiting: tuple[WaitingJob, ...]) -> bool:
        """Whether each of those that came has one of its like before it that waited already."""
        line, new = self._known.line, {row.job for row in waiting}
        for row in waiting:
            key = line.segment_of(row.job)
            assert key is not None, "it was entered just now"
            segment = line.of_queue(row.queue)[row.user, row.priority].segments[key]
            if job_of(segment.keys[segment.start]).key in new:
                return False
        return True

    def _count_again(self, plan: Plan) -> tuple[tuple[ClassReason, ...], WhyNot]:
        """The reasons of those that wait, in the world as it is."""
        known, placer, line = self._known, self._placer, self._known.line
        by_class: dict[int, Reason] = {}
        counted = []
        for one in plan.reasons:
            segment = line.segment_of(one.head.key)
            assert segment is not None, "a head that failed waits"
            place = segment[1]
            why = by_class[place] = why_not(known, placer, placer.wanted(place))
            counted.append(replace(one, reason=why))
        before = plan.why

        def now(job: int, segment: SegmentKey) -> Reason | None:
            return by_class.get(segment[1]) or before(job, segment)

        return tuple(counted), now
