"""A limit keeps a job out, and jobs that it may displace hold what the limit is full of.

Called by `cycle` when everybody has had a turn. `preemption` is about nodes: a job that a limit
stops never comes to that. Two rights, as there. *Priority*, within one leaf queue
(`Queue.within`): those of the lowest priority first, of these whose loss is least. *Reclaim*
(`rights`): a queue that stays within its quota takes back what others borrow of a cap that both
are below, or of what is not kept for queues that do not lend; who loses least first. Who turns out
not to be needed stays. Nobody is displaced if the job would not fit on the nodes even so.
No loops: see `rights`.
Pure. Cost: O(running + segments of the leaves whose jobs a limit refused) + one placement; for
reclaim what `rights` costs, at most 2 x MOST_RECLAIMS times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from zenkei.model.cluster import NodePart
from zenkei.model.ids import JobId
from zenkei.model.queue import Within
from zenkei.model.resources import Free, Misfit
from zenkei.scheduler.absence import absent
from zenkei.scheduler.calendar import Calendar
from zenkei.scheduler.decisions import Hold, Preempt, PreemptReason
from zenkei.scheduler.gates import Shortage
from zenkei.scheduler.known import Known
from zenkei.scheduler.line import SegmentKey, job_of, runs_us
from zenkei.scheduler.occupancy import Occupancy
from zenkei.scheduler.order import Turn
from zenkei.scheduler.placer import Placer
from zenkei.scheduler.preemption import HOLD_S, Asker, Displacement, victims
from zenkei.scheduler.rights import Rights, unprotected_us
from zenkei.scheduler.snapshot import JobClass, RunningJob
from zenkei.scheduler.unasked import TICK_US

MOST_RECLAIMS: Final = 8
"""Jobs of one plan for which it is looked who borrows: some milliseconds each. If these ask in
vain, as many of the others, in turn."""


class Way(NamedTuple):
    """Who makes way for whom, and the place that is kept."""

    preempts: tuple[Preempt, ...]
    hold: Hold


class Capped:
    """See the module's docstring. next_us: when protection ends of one who could make way."""

    def __init__(
        self,
        known: Known,
        placer: Placer,
        turn: Turn,
        calendar: Calendar,
        occupancy: Occupancy,
        now_us: int,
    ) -> None:
        self._known = known
        self._placer = placer
        self._turn = turn
        self._calendar = calendar
        self._occupancy = occupancy
        self._now_us = now_us
        self._own: dict[int, list[RunningJob]] = {}
        """By leaf, those that run there."""
        self._above: dict[str, frozenset[str]] = {}
        """By queue, it and those above it."""
        self._asked: set[tuple[int, int, int]] = set()
        """For whom it was looked who borrows: queue, class and priority."""
        self._most = MOST_RECLAIMS
        self.next_us: int | None = None

    def first(self, settled: frozenset[int]) -> Way | None:
        """For the first such job by queue, priority and age. settled: jobs that start or have a

        place kept for them, and jobs that were told to make way.
        """
        for row in self._known.running.values():
            if row.queue in self._turn.capped:
                self._own.setdefault(row.queue, []).append(row)
        queues = sorted(self._turn.capped, key=lambda place: self._known.queues[place])
        askers = [asker for queue in queues for asker in self._askers(queue, settled)]
        way = self._of(askers, settled)
        if way is None and len(self._asked) >= self._most:
            # of those behind them, who would never have a turn else, some after the other
            again_us = (self._now_us // TICK_US + 1) * TICK_US
            self.next_us = again_us if self.next_us is None else min(again_us, self.next_us)
            self._most += MOST_RECLAIMS
            first = self._now_us // TICK_US * MOST_RECLAIMS % len(askers)
            way = self._of(askers[first:] + askers[:first], settled)
        return way

    def _of(self, askers: list[tuple[int, SegmentKey]], settled: frozenset[int]) -> Way | None:
        for order, segment in askers:
            with self._turn.without(None):  # it makes the room that it takes
                way = self._way(job_of(order), segment, settled)
            if way is not None:
                return way
        return None

    def _askers(self, queue: int, settled: frozenset[int]) -> list[tuple[int, SegmentKey]]:
        """The first job of each segment that a limit refused."""
        refused = self._turn.capped[queue]
        found = []
        for (user, _), group in self._known.line.of_queue(queue).items():
            for _, at, key, segment in group.heads():
                if (user, key[1]) in refused or (-1, key[1]) in refused:
                    orders = (o for o in segment.keys[at:] if job_of(o).key not in settled)
                    found += [(order, key) for order in islice(orders, 1)]
        return sorted(found)

    def _way(self, job: JobId, segment: SegmentKey, settled: frozenset[int]) -> Way | None:
        queue, place, user, priority = segment[:4]
        name = self._known.queues[queue]
        own = self._own.get(queue, [])
        within = self._turn.quotas.rules(queue).within is not Within.NEVER
        below = [row for row in own if row.priority < priority] if within else []
        may_reclaim = self._may_reclaim(queue, place, priority)
        if not below and not may_reclaim:
            return None
        limits = self._turn.shortages(name, user, self._known.classes[place])
        if not limits:
            return None
        if may_reclaim:
            self._asked.add((queue, place, priority))
            way = self._reclaim(job, segment, settled, limits)
            if way is not None:
                return way
        if not all(limit.queue for limit in limits):
            return None
        leaving = [row for row in own if row.stopping or row.job in settled]
        able = [row for row in below if row not in leaving and self._may_go(row)]
        able.sort(key=lambda row: (row.priority, self._lost(row), -row.since_us, row.job))
        chosen = self._enough(able, leaving, limits)
        told = dict.fromkeys((row.job for row in chosen), PreemptReason.PRIORITY)
        return self._placed(job, segment, chosen, leaving, told) if chosen else None

    def _may_go(self, row: RunningJob) -> bool:
        at_us = unprotected_us(row, self._known.config.policy)
        if at_us is not None and at_us > self._now_us:
            self.next_us = at_us if self.next_us is None else min(at_us, self.next_us)
        return at_us is not None and at_us <= self._now_us

    # -- what others borrow ----------------------------------------------------------------------
    def _may_reclaim(self, queue: int, place: int, priority: int) -> bool:
        asked = (queue, place, priority) in self._asked
        if asked or len(self._asked) >= self._most or not self._known.running:
            return False
        wanted = self._known.classes[place]
        return self._turn.is_owed(self._known.queues[queue], wanted)

    def _reclaim(
        self,
        job: JobId,
        segment: SegmentKey,
        settled: frozenset[int],
        limits: list[Shortage],
    ) -> Way | None:
        queue, place, _, priority = segment[:4]
        wanted = self._known.classes[place]
        rights = Rights(
            queue=queue,
            priority=priority,
            request=wanted.request,
            nodes=wanted.fewest,
            occupancy=self._occupancy,
            quotas=self._turn.quotas,
            policy=self._known.config.policy,
            now_us=self._now_us,
        )
        running = self._known.running
        leaving = [row for row in running.values() if row.stopping or row.job in settled]
        able = [running[one] for one in rights.may if one in running and one not in settled]
        restart_s = self._known.config.policy.restart_s

        def price(row: RunningJob) -> tuple[float, ...]:
            lost = self._lost(row) + self._size(row) * restart_s
            urgent = row.priority if rights.may[row.job] is PreemptReason.PRIORITY else 0
            own = rights.may[row.job] is PreemptReason.PRIORITY
            return own, urgent, lost, -row.since_us, row.job

        chosen = self._enough(sorted(able, key=price), leaving, limits, rights)
        if not chosen:
            for one in rights.spared:
                if one in running:
                    self._may_go(running[one])
            return None
        way = self._placed(job, segment, chosen, leaving, rights.may)
        if way is None:
            holders = {row.job for row in able if any(self._frees(row, limits))}
            way = self._together(job, segment, leaving, holders)
        return way

    def _together(
        self, job: JobId, segment: SegmentKey, leaving: list[RunningJob], holders: set[int]
    ) -> Way | None:
        """Of those who hold what is short, others than the cheapest, on whose nodes it fits."""
        queue, place, _, priority = segment[:4]
        known, running = self._known, self._known.running

        def free(name: str) -> Free:
            row = known.index.rows.get(name)
            return row.free if row is not None else known.left(known.nodes[name])

        found = victims(
            Asker(
                job=job,
                job_class=self._without(segment, self._placer.wanted(place).job_class),
                queue=queue,
                priority=priority,
            ),
            self._occupancy,
            free,
            self._turn.quotas,
            self._known.config.policy,
            now_us=self._now_us,
            levels=self._known.config.levels,
            among=holders,
        )
        if not isinstance(found, Displacement):
            return None
        gone = [running[one.victim.key] for one in found.preempts]
        if self._leave(segment, [*gone, *leaving]) is None:
            return None
        return Way(found.preempts, found.hold)

    def _without(self, segment: SegmentKey, wanted: JobClass) -> JobClass:
        """As it is placed: nodes that are kept for others are none for it."""
        kept = self._forbidden(segment, wanted)
        forgiving = self._known.census.forgiving(wanted)
        return replace(forgiving, avoid=tuple(sorted({*forgiving.avoid, *kept})))

    def _forbidden(self, segment: SegmentKey, wanted: JobClass) -> frozenset[str]:
        queue, _, user, _, limit_us, *_ = segment
        ends_us = self._now_us + limit_us if limit_us else None
        length_us = runs_us(segment)
        likely_us = self._now_us + length_us if length_us else None
        users = self._known.users
        person = users[user] if user < len(users) else ""
        name = self._known.queues[queue]
        return self._calendar.forbids(
            wanted.request, ends_us, queue=name, user=person, likely_us=likely_us
        )

    # -- who makes way ---------------------------------------------------------------------------
    def _enough(
        self,
        order: Iterable[RunningJob],
        leaving: list[RunningJob],
        limits: list[Shortage],
        rights: Rights | None = None,
    ) -> list[RunningJob]:
        """Those who hold what is short beside who leaves; empty if that is too little or enough.

        order: who is chosen first. rights: what may be taken of each queue.
        """
        left = [limit.short for limit in limits]
        for row in leaving:
            frees = self._frees(row, limits)
            left = [short - more for short, more in zip(left, frees, strict=True)]
        if not any(short > 0 for short in left):
            return []
        chosen: list[tuple[RunningJob, list[int]]] = []
        for row in order:
            frees = self._frees(row, limits)
            helps = any(short > 0 and more for short, more in zip(left, frees, strict=True))
            if not helps or (rights is not None and not rights.allows(row.job)):
                continue
            if rights is not None:
                rights.take(row.job)
            chosen.append((row, frees))
            left = [short - more for short, more in zip(left, frees, strict=True)]
            if not any(short > 0 for short in left):
                break
        else:
            return []
        for one in reversed(chosen[:]):
            without = [short + more for short, more in zip(left, one[1], strict=True)]
            if not any(short > 0 for short in without):
                chosen.remove(one)
                left = without
        return [row for row, _ in chosen]

    def _frees(self, row: RunningJob, limits: list[Shortage]) -> list[int]:
        """Of each limit, how much of it is there again when a job has ended."""
        held = self._known.tree.held_by(row.job)
        if held is None:
            return [0] * len(limits)
        queue, user, _ = held
        if queue not in self._above:
            branch = self._known.tree.branch(queue)
            self._above[queue] = frozenset(one.name for one in branch.path())
        amounts, above = self._known.tree.vector(held[2]), self._above[queue]
        return [
            amounts[limit.resource]
            if (not limit.queue or limit.queue in above) and limit.user in ("", user)
            else 0
            for limit in limits
        ]

    def _size(self, row: RunningJob) -> int:
        """Thousandths of a GPU; of a CPU for each thousandth if it has none."""
        held = self._known.tree.held_by(row.job)
        return 0 if held is None else held[2].gpu_milli or held[2].cpu_milli // 1000

    def _lost(self, row: RunningJob) -> int:
        """What is lost with it, in thousandths of a GPU times seconds; of a CPU if it has none."""
        return self._size(row) * max(0, self._now_us - row.saved_us) // 1_000_000

    def _leave(
        self, segment: SegmentKey, gone: Iterable[RunningJob]
    ) -> tuple[tuple[str, ...], int] | None:
        """Models and nodes that limits would leave it without these; None if they stop it still."""
        queue, place, user = segment[:3]
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
        chosen: list[RunningJob],
        leaving: list[RunningJob],
        told: Mapping[int, PreemptReason],
    ) -> Way | None:
        """The place that the job would have if they were gone; None if it has none."""
        leave = self._leave(segment, [*chosen, *leaving])
        if leave is None:
            return None
        wanted = self._placer.wanted(segment[1], *leave)
        request = wanted.job_class.request
        without = self._forbidden(segment, wanted.job_class)
        parts = []
        with absent(self._known, [row.job for row in chosen]):
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
        preempts = (
            Preempt(
                victim=JobId.from_key(row.job),
                favoured=job,
                reason=told[row.job],
                lost_gpu_milli_s=self._lost(row),
            )
            for row in sorted(chosen, key=lambda row: row.job)
        )
        return Way(tuple(preempts), hold)
