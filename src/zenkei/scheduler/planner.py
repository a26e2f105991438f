"""The planner: who starts now, where, who makes room, and why everybody else waits.

Called by `control.planner`. Pure: the same snapshot, `now_us` and `seed` give the same plan, under
every hash seed. What is kept between plans are inputs (`known`); every plan is decided from scratch
on them (`cycle`) and leaves them as they were, so a planner kept by deltas plans exactly like a
cold one (tested).

Ideal: nobody who could start waits, and nobody waits for ever.
Departures: promises are not remembered from plan to plan; only that of the first blocked gang is
sure to hold when jobs end early. A running gang is never asked to grow.

Cost: `apply` O(changed jobs · log) + O(parts on the nodes touched); `plan` O(queues with jobs) for
the heads + O(log) per start + O(nodes) in NumPy per class that fails; never O(waiting).
"""

from __future__ import annotations

from typing import Final

from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.scheduler.cycle import Cycle
from zenkei.scheduler.decisions import Plan, Trace
from zenkei.scheduler.explain import Explanation, NodeNow, explain
from zenkei.scheduler.known import Known
from zenkei.scheduler.placement.port import Scorer
from zenkei.scheduler.placer import Placer, wishes_of
from zenkei.scheduler.reasons import paused
from zenkei.scheduler.snapshot import Delta, Snapshot

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

    @property
    def seq(self) -> int:
        """Up to which commit everything is known."""
        return self._known.seq

    def apply(self, delta: Delta) -> None:
        """Take in what was committed."""
        self._known.apply(delta)

    def plan(self, *, now_us: int, seed: int = 0, max_starts: int = MOST_STARTS) -> Plan:
        """Decide from scratch. seed: for policies that draw lots; none does yet."""
        known = self._known
        known.line.due(now_us)
        known.index.sweep()
        cycle = Cycle(known, self._placer, now_us=now_us, max_starts=max_starts)
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
        """The full account of a waiting job as things are now; None if it does not wait.

        last: the plan that tried it, for its reason. O(nodes + parts held + segments).
        """
        known = self._known
        place = known.line.class_of(job.key)
        if place is None:
            return None
        job_class = known.classes[place]
        nodes = (
            NodeNow(node, known.left(node), known.held_on(name))
            for name, node in sorted(known.nodes.items())
        )
        required = wishes_of(job_class).required
        return explain(
            job=job,
            job_class=known.census.forgiving(job_class),
            placed=known.census.forgiving,
            failed_on=job_class.avoid,
            nodes=tuple(nodes),
            ahead=known.line.ahead_of(job.key),
            reason=last.reason(job) if last is not None else None,
            names=known.index.names_of(job_class.level) if required else 0,
        )
