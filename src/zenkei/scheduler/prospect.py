"""Would a job start if it asked for something else? Asked after a plan, of what the plan leaves.

Used by `nearest` and `wayout` for `explain`. Pure. Answers by what the plan itself goes by: limits
(`order.Turn.trial`), reservations and promises (`Calendar.forbids`, `spoilt`), nodes that failed
the job (`Census.forgiving`), what is free (`Survey`). All of that only tightens while a plan is
made, so what starts at its end starts when it is the job's turn, too: everybody who is ahead has
been served. What is kept for the job itself is not in its way.

Departure: another request may give the job, or those who are passed by, another turn; whoever then
comes earlier may take something else than before. Cost: O(depth) + some ten NumPy calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from zenkei.model.resources import Free, Misfit, Request
from zenkei.scheduler.free import check
from zenkei.scheduler.holdings import Bools
from zenkei.scheduler.known import Known
from zenkei.scheduler.line import runs_us
from zenkei.scheduler.order import Turn
from zenkei.scheduler.placer import narrowed
from zenkei.scheduler.snapshot import JobClass
from zenkei.scheduler.survey import Survey

if TYPE_CHECKING:
    from zenkei.scheduler.cycle import Cycle


class Prospect:
    """See the module's docstring. For one job that waits, between two plans."""

    def __init__(self, known: Known, cycle: Cycle, survey: Survey, job: int) -> None:
        segment = known.line.segment_of(job)
        assert segment is not None, "the job waits"
        self.known = known
        self.survey = survey
        self.job = job
        self.job_class = known.classes[segment[1]]
        self.queue = known.queues[segment[0]]
        self.user = segment[2]
        self._limit_us = segment[4]
        self._runs_us = runs_us(segment)
        self._now_us = cycle.now_us
        self._left = cycle.left
        self.turn: Turn
        self.turn, self._calendar, self.stopped_at = cycle.settled
        self._closed: dict[frozenset[str], Bools] = {}
        self._able: dict[JobClass, Bools] = {}

    @property
    def user_name(self) -> str:
        users = self.known.users
        return users[self.user] if self.user < len(users) else ""

    @property
    def _ends_us(self) -> int | None:
        return self._now_us + self._limit_us if self._limit_us else None

    @property
    def _likely_us(self) -> int | None:
        return self._now_us + self._runs_us if self._runs_us else None

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around all questions: nothing is kept for the job itself."""
        with self._calendar.without(self.job), self.turn.without(self.job):
            yield

    def passes(self, wanted: JobClass, queue: str = "") -> JobClass | None:
        """The class as limits leave it and as it is placed; None if one stops it."""
        leave = self.turn.trial(queue or self.queue, self.user, wanted)
        if leave is None:
            return None
        return self.known.census.forgiving(narrowed(wanted, leave.kinds, leave.nodes))

    def open(self, request: Request, queue: str = "") -> Bools:
        """Nodes that are kept from it neither by a reservation nor for somebody else."""
        without = self._calendar.forbids(
            request,
            self._ends_us,
            queue=queue or self.queue,
            user=self.user_name,
            likely_us=self._likely_us,
        )
        known = self._closed.get(without)
        if known is None:
            rank_of = self.survey.layout.rank_of
            known = np.ones(len(rank_of), np.bool_)
            known[[rank_of[name] for name in without if name in rank_of]] = False
            self._closed[without] = known
        return known

    def starts(self, wanted: JobClass, queue: str = "") -> bool:
        """Whether the job would start now if it were of class `wanted`, in this queue."""
        placed = self.passes(wanted, queue)
        if placed is None:
            return False
        able = self._fits(placed) & self.open(placed.request, queue)
        return self.survey.enough(able, placed) and not self._spoilt(able, placed)

    def _fits(self, placed: JobClass) -> Bools:
        """Remembered: other queues leave the same of a request."""
        known = self._able.get(placed)
        if known is None:
            known = self._able[placed] = self.survey.fits(placed)
        return known

    def _spoilt(self, able: Bools, placed: JobClass) -> bool:
        """Whether it may come to a node on which all devices that it could share are spoken for."""
        request = placed.request
        if request.gpu_count != 1 or request.gpu_milli >= 1000:
            return False
        layout = self.survey.layout
        for rank in self._calendar.keeps_on().tolist():
            if not able[rank]:
                continue
            node = layout.nodes[rank]
            spoilt = self._calendar.spoilt(node.name, request, self._likely_us)
            free = self.free(node.name)
            for index in spoilt:
                free.gpu_milli[index] = 0
            if spoilt and isinstance(check(node, free, request, dict(placed.constraints)), Misfit):
                return True
        return False

    def free(self, name: str) -> Free:
        """What the plan leaves of a node; a copy."""
        left = self._left.get(name)
        row = self.known.index.rows.get(name)
        if left is None:
            left = row.free if row is not None else self.known.left(self.known.nodes[name])
        return left.copy()
