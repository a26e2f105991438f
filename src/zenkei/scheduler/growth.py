"""May a gang that runs on fewer nodes than it would take have more? Asked if nobody waits in vain.

Called by `cycle` at the end of a plan. A gang grows by a checkpoint and a new attempt, so only one
that has shown that it saves, that has run AFTER x the cost of a restart, and that has time enough
left to win more than that. One gang in a plan: the next is asked when this one has its place.
Pure. Cost: O(1) without elastic gangs, else one placement per gang until one may grow.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from zenkei.model.ids import JobId
from zenkei.scheduler.absence import absent
from zenkei.scheduler.calendar import Calendar
from zenkei.scheduler.decisions import Grow
from zenkei.scheduler.known import Known
from zenkei.scheduler.order import Turn
from zenkei.scheduler.placer import Placer
from zenkei.scheduler.snapshot import JobClass, RunningJob

AFTER: Final = 10
"""A restart costs a gang that grows at most a tenth of its time."""


class Growth:
    """What may grow, and when it is worth to look again: next_us, None if nothing but an event

    changes that.
    """

    def __init__(
        self, known: Known, placer: Placer, turn: Turn, calendar: Calendar, now_us: int
    ) -> None:
        self._known = known
        self._placer = placer
        self._turn = turn
        self._calendar = calendar
        self._now_us = now_us
        self._restart_us = int(known.config.policy.restart_s * 1e6)
        self.next_us: int | None = None

    def first(self) -> Grow | None:
        """The gang that grows now: that of the highest priority, then the oldest attempt."""
        rows = (self._known.running[job] for job in self._known.elastic)
        for row in sorted(rows, key=lambda row: (-row.priority, row.since_us, row.job)):
            if row.stopping or row.saved_us <= row.since_us or not self._is_ripe(row):
                continue
            nodes = self._could_have(row)
            if nodes > row.nodes and self._wins(row, nodes):
                return Grow(job=JobId.from_key(row.job), nodes=nodes)
        return None

    def _is_ripe(self, row: RunningJob) -> bool:
        policy = self._known.config.policy
        ripe_us = row.since_us + max(int(policy.protect_s * 1e6), AFTER * self._restart_us)
        if ripe_us > self._now_us:
            self.next_us = ripe_us if self.next_us is None else min(self.next_us, ripe_us)
        return ripe_us <= self._now_us

    def _wins(self, row: RunningJob, nodes: int) -> bool:
        """Whether the time that is left, on more nodes, saves more than the restart costs.

        If the work is shared by all nodes evenly. Without a time limit much is left.
        """
        if not row.limit_us:
            return True
        left_us = row.since_us + row.limit_us - self._now_us
        return left_us - left_us * row.nodes // nodes > self._restart_us

    def _could_have(self, row: RunningJob) -> int:
        """On how many nodes it could start if it were not there."""
        wanted = self._known.classes[row.job_class]
        most = self._within_limits(row, wanted)
        if most <= row.nodes:
            return 0
        ends_us = self._now_us + row.limit_us if row.limit_us else None
        users = self._known.users
        user = users[row.user] if row.user < len(users) else ""
        without = self._calendar.forbids(
            wanted.request, ends_us, queue=self._known.queues[row.queue], user=user
        )
        with absent(self._known, (row.job,)) as own:
            wanted_now = self._placer.wanted(row.job_class, (), most)
            found = self._placer.place(wanted_now, without - {*own})
        return len(found.rows) if found is not None else 0

    def _within_limits(self, row: RunningJob, wanted: JobClass) -> int:
        """How many nodes caps let it have, those that it has among them."""
        more = replace(wanted, nodes=wanted.nodes - row.nodes, least=1)
        users = self._known.users
        leave = self._turn.trial(self._known.queues[row.queue], row.user, more) if users else None
        return row.nodes + leave.nodes if leave is not None else row.nodes
