"""The planner: who starts now, where, who makes room, and why everybody else waits.

Called by `control.planner`. Pure: the same snapshot, `now_us` and `seed` give the same plan, under
every hash seed. What is kept between plans are inputs (`known`); every plan is decided from scratch
on them (`cycle`) and leaves them as they were, so a planner kept by deltas plans exactly like a
cold one (tested).

Ideal: nobody who could start waits, and nobody waits for ever.
Departure: promises are not remembered from plan to plan; only that of the first blocked gang is
sure to hold when jobs end early.

Cost: `apply` O(changed jobs · log) + O(parts on the nodes touched); `plan` O(queues with jobs) for
the heads + O(log) per start + O(nodes) in NumPy per class that fails; never O(waiting).
"""

from __future__ import annotations

from typing import Final

from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.scheduler.cycle import Cycle
from zenkei.scheduler.decisions import Plan, Start, Trace
from zenkei.scheduler.explain import Explanation, explain
from zenkei.scheduler.known import Known
from zenkei.scheduler.lasting import Lasting
from zenkei.scheduler.placement.port import Scorer
from zenkei.scheduler.placer import Placer
from zenkei.scheduler.prospect import Prospect
from zenkei.scheduler.reasons import paused
from zenkei.scheduler.snapshot import Delta, Snapshot
from zenkei.scheduler.survey import Survey

MOST_STARTS: Final = 256
"""Starts of one plan: they share a transaction."""


def plan(snapshot: Snapshot, *, now_us: int, seed: int = 0, max_starts: int = MOST_STARTS) -> Plan:
    """The plan of a cold planner."""
    return Planner(snapshot).plan(now_us=now_us, seed=seed, max_starts=max_starts)


class Planner:
    """See the module's docstring. Not safe to share between threads without a lock."""

    def __init__(self, snapshot: Snapshot, scorer: Scorer | None = None) -> None:
        self._known = Known(snapshot, scorer)
        self._placer = Placer(self._known)
        self._cycle: Cycle | None = None
        """That of the last plan, as long as nothing has changed since."""
        self._survey: Survey | None = None
        self._lasting = Lasting(self._known, self._placer)

    @property
    def seq(self) -> int:
        """Up to which commit everything is known."""
        return self._known.seq

    def apply(self, delta: Delta) -> None:
        """Take in what was committed."""
        self._cycle = self._survey = None
        self._lasting.take(delta)

    def pass_over(self, seq: int) -> None:
        """Nothing of what was committed up to there changes what it knows."""
        self._known.seq = seq

    def plan(self, *, now_us: int, seed: int = 0, max_starts: int = MOST_STARTS) -> Plan:
        """Decide from scratch, unless the last plan still stands (`lasting`).

        seed: for policies that draw lots; none does yet.
        """
        last = self._lasting.now(now_us)
        if last is None:
            last = self._decide(now_us=now_us, max_starts=max_starts)
            self._lasting.made(last)
        return last

    def _decide(self, *, now_us: int, max_starts: int) -> Plan:
        known = self._known
        known.line.due(now_us)
        known.index.sweep()
        cycle = self._cycle = Cycle(known, self._placer, now_us=now_us, max_starts=max_starts)
        self._survey = None
        stopped = known.paused or known.config.paused
        if not stopped:
            try:
                cycle.run()
            finally:
                cycle.undo()
        instants = [us for us in (known.line.next_us, cycle.next_us) if us is not None]
        return Plan(
            based_on=known.seq,
            now_us=now_us,
            decisions=tuple(cycle.decisions),
            reasons=tuple(cycle.reasons),
            next_us=min(instants, default=None),
            more=cycle.more,
            trace=Trace(
                waiting=len(known.line),
                delayed=known.line.aside,
                classes_tried=len(cycle.tried),
                classes_failed=len(cycle.failed),
                started=len(cycle.started),
            ),
            started=frozenset(cycle.started),
            why=cycle.why,
            everyone=paused(stopped) if stopped else None,
            line=known.line,
        )

    def unready(self) -> tuple[tuple[Node, bool], ...]:
        """Nodes that take no work, by name, and whether anything is held there."""
        known = self._known
        return tuple((n, bool(known.held.get(name))) for name, n in sorted(known.unready.items()))

    def explain(self, job: JobId, last: Plan | None) -> Explanation | None:
        """The full account of a waiting job; None if it does not wait.

        last: the plan that tried it, for its reason and the time. It is of the world as that plan
        leaves it; where something has changed since then, of a plan made now. Without any plan it
        is of the world as it is.
        """
        known = self._known
        if known.line.class_of(job.key) is None:
            return None
        if self._cycle is None and last is not None:
            self._decide(now_us=last.now_us, max_starts=MOST_STARTS)
        cycle = self._cycle or Cycle(known, self._placer, now_us=0, max_starts=0)
        if self._survey is None or self._cycle is None:
            starts = (d for d in cycle.decisions if isinstance(d, Start))
            self._survey = Survey(known.holdings, cycle.left, starts, known.config.levels)
        return explain(
            Prospect(known, cycle, self._survey, job.key),
            last.reason(job) if last is not None else None,
            answerable=not cycle.more and not cycle.keeps(job),
        )
