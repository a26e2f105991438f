"""A cap keeps a job out, and jobs of its own queue hold it that are less important: they make way.

Called by `cycle` when everybody has had a turn. `preemption` is about nodes: a job that a limit
stops never comes to that. Only the right of priority counts here, within one leaf queue
(`Queue.within`): those of the lowest priority first, of these whose loss is least; who turns out
not to be needed stays. Nobody is displaced if the job would not fit on the nodes even so.
No loops: a job makes way for a strictly higher priority only.
Pure. Cost: O(running + segments of the leaves whose jobs a cap refused) + one placement.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from zenkei.model.cluster import NodePart
from zenkei.model.ids import JobId
from zenkei.model.queue import Within
from zenkei.model.resources import Misfit
from zenkei.scheduler.absence import absent
from zenkei.scheduler.calendar import Calendar
from zenkei.scheduler.decisions import Hold, Preempt, PreemptReason
from zenkei.scheduler.gates import Shortage
from zenkei.scheduler.known import Known
from zenkei.scheduler.line import SegmentKey, job_of
from zenkei.scheduler.order import Turn
from zenkei.scheduler.placer import Placer
from zenkei.scheduler.preemption import HOLD_S
from zenkei.scheduler.rights import unprotected_us
from zenkei.scheduler.snapshot import RunningJob


class Way(NamedTuple):
    """Who makes way for whom, and the place that is kept."""

    preempts: tuple[Preempt, ...]
    hold: Hold


class Capped:
    """See the module's docstring. next_us: when protection ends of one who could make way."""

    def __init__(
        self, known: Known, placer: Placer, turn: Turn, calendar: Calendar, now_us: int
    ) -> None:
        self._known = known
        self._placer = placer
        self._turn = turn
        self._calendar = calendar
        self._now_us = now_us
        self._own: dict[int, list[RunningJob]] = {}
        """By leaf, those that run there."""
        self.next_us: int | None = None

    def first(self, settled: frozenset[int]) -> Way | None:
        """For the first such job by queue, priority and age. settled: jobs that start or have a

        place kept for them, and jobs that were told to make way.
        """
        for row in self._known.running.values():
            if row.queue in self._turn.capped:
                self._own.setdefault(row.queue, []).append(row)
        for queue in sorted(self._own, key=lambda place: self._known.queues[place]):
            if self._turn.quotas.rules(queue).within is Within.NEVER:
                continue
            lowest = min(row.priority for row in self._own[queue])
            for order, segment in self._askers(queue, lowest, settled):
                way = self._way(job_of(order), segment, settled)
                if way is not None:
                    return way
        return None

    def _askers(
        self, queue: int, above: int, settled: frozenset[int]
    ) -> list[tuple[int, SegmentKey]]:
        """The first job of each segment that a cap refused, of a priority above `above`."""
        refused = self._turn.capped[queue]
        found = []
        for (user, priority), group in self._known.line.of_queue(queue).items():
            for _, at, key, segment in group.heads() if priority > above else ():
                if (user, key[1]) in refused or (-1, key[1]) in refused:
                    orders = (o for o in segment.keys[at:] if job_of(o).key not in settled)
                    found += [(order, key) for order in islice(orders, 1)]
        return sorted(found)

    def _way(self, job: JobId, segment: SegmentKey, settled: frozenset[int]) -> Way | None:
        queue, place, user, priority, _ = segment
        name = self._known.queues[queue]
        limits = self._turn.shortages(name, user, self._known.classes[place])
        if not limits or not all(limit.queue for limit in limits):
            return None
        own = self._own[queue]
        leaving = [row for row in own if row.stopping or row.job in settled]
        below = [
            row
            for row in own
            if row.priority < priority and row not in leaving and self._may_go(row)
        ]
        victims = self._enough(below, leaving, limits)
        return self._placed(job, segment, victims, leaving) if victims else None

    def _may_go(self, row: RunningJob) -> bool:
        at_us = unprotected_us(row, self._known.config.policy)
        if at_us is not None and at_us > self._now_us:
            self.next_us = at_us if self.next_us is None else min(at_us, self.next_us)
        return at_us is not None and at_us <= self._now_us

    def _enough(
        self, below: Iterable[RunningJob], leaving: list[RunningJob], limits: list[Shortage]
    ) -> list[RunningJob]:
        """Those who hold what is short beside who leaves; empty if that is too little or enough."""
        order = sorted(
            below, key=lambda row: (row.priority, self._lost(row), -row.since_us, row.job)
        )
        chosen: list[RunningJob] = []
        for row in order:
            if self._short([*leaving, *chosen], limits):
                chosen.append(row)
        if self._short([*leaving, *chosen], limits):
            return []
        for row in reversed(chosen[:]):
            rest = [one for one in chosen if one is not row]
            if not self._short([*leaving, *rest], limits):
                chosen = rest
        return chosen

    def _short(self, gone: Iterable[RunningJob], limits: list[Shortage]) -> bool:
        """Whether a limit is still broken without these."""
        left = [limit.short for limit in limits]
        for row in gone:
            held = self._known.tree.held_by(row.job)
            amounts = self._known.tree.vector(held[2]) if held is not None else ()
            for i, limit in enumerate(limits):
                if held is not None and limit.user in ("", held[1]):
                    left[i] -= amounts[limit.resource]
        return any(short > 0 for short in left)

    def _lost(self, row: RunningJob) -> int:
        """What is lost with it, in thousandths of a GPU times seconds; of a CPU if it has none."""
        held = self._known.tree.held_by(row.job)
        size = 0 if held is None else held[2].gpu_milli or held[2].cpu_milli // 1000
        return size * max(0, self._now_us - row.saved_us) // 1_000_000

    def _leave(
        self, segment: SegmentKey, gone: Iterable[RunningJob]
    ) -> tuple[tuple[str, ...], int] | None:
        """Models and nodes that limits would leave it without these; None if they stop it still."""
        queue, place, user, _, _ = segment
        rows = [self._known.tree.held_by(row.job) for row in gone]
        held = [row for row in rows if row is not None]
        for row in held:
            self._turn.give(*row)
        try:
            return self._turn.trial(self._known.queues[queue], user, self._known.classes[place])
        finally:
            for row in held:
                self._turn.give(*row, times=-1)

    def _placed(
        self,
        job: JobId,
        segment: SegmentKey,
        victims: list[RunningJob],
        leaving: list[RunningJob],
    ) -> Way | None:
        """The place that the job would have if they were gone; None if it has none."""
        queue, place, user, _, limit_us = segment
        leave = self._leave(segment, [*victims, *leaving])
        if leave is None:
            return None
        wanted = self._placer.wanted(place, *leave)
        request = wanted.job_class.request
        ends_us = self._now_us + limit_us if limit_us else None
        users = self._known.users
        person = users[user] if user < len(users) else ""
        name = self._known.queues[queue]
        without = self._calendar.forbids(request, ends_us, queue=name, user=person)
        parts = []
        with absent(self._known, [row.job for row in victims]):
            found = self._placer.place(wanted, without)
            for row in found.rows if found is not None else ():
                assert found is not None, "its rows were found"
                devices = self._placer.devices(wanted, found.cluster, row)
                if isinstance(devices, Misfit):
                    return None
                parts.append(NodePart(node=row.node.name, request=request, devices=devices))
        if found is None:
            return None
        until_us = self._now_us + int(HOLD_S * 1e6)
        hold = Hold(job=job, cluster=found.cluster, parts=tuple(parts), until_us=until_us)
        return Way(tuple(self._preempt(job, row) for row in victims), hold)

    def _preempt(self, job: JobId, row: RunningJob) -> Preempt:
        return Preempt(
            victim=JobId.from_key(row.job),
            favoured=job,
            reason=PreemptReason.PRIORITY,
            lost_gpu_milli_s=self._lost(row),
        )
