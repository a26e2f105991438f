"""Keeps one planner current with the store, and answers why a job waits.

Called by the controller (`refresh`, `plan`: one thread) and by queries (`reason`, `explain`: any
thread); a lock keeps them apart. The planner is loaded once and then follows the store's changes
since the `seq` it has seen, those of other controllers included. Whatever it is missing, it starts
cold: after an error while changes are taken in, and when the store answers with everything.
Cost: `refresh` O(jobs changed), one cold start O(jobs waiting or running); `explain` O(nodes).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from heapq import heappop, heappush
from threading import Lock
from typing import Final

from zenkei.control.forecasts import UNKNOWN, Forecasts, Outlook
from zenkei.control.learning import Learning
from zenkei.control.planrows import (
    Displaced,
    PlanRows,
    Tables,
    Told,
    expected,
    note,
    plan_rows,
    recount,
)
from zenkei.control.specs import SpecCache
from zenkei.model.cluster import Node
from zenkei.model.data import Digest
from zenkei.model.errors import InternalError
from zenkei.model.ids import JobId
from zenkei.model.job import Job, JobSpec
from zenkei.model.queue import ClusterConfig, Order
from zenkei.ports.store import PlanningDelta, Store
from zenkei.scheduler import (
    MOST_STARTS,
    Delta,
    Explanation,
    Learned,
    Plan,
    Planner,
    Reason,
    Reserve,
    RunningJob,
    Snapshot,
    held_columns,
    running_columns,
    waiting_columns,
)

log = logging.getLogger(__name__)

SPARE_SPECS: Final = 16_384
"""Specs remembered beyond twice those in use at the last cold start; then it is time for one."""
SAME_US: Final = 1_000_000
"""A controller that its own commits wake finds the plan of so short ago as good as a new one."""


def uses_forecasts(config: ClusterConfig) -> bool:
    """Whether a plan depends on how long jobs are likely to run: by its order, or by promises."""
    orders = {config.policy.order, *(queue.order for queue in config.queues)}
    return Order.LEARNED in orders or config.policy.reserve_gangs > 0


class PlanKeeper:
    """See the module's docstring."""

    def __init__(
        self,
        store: Store,
        cache: SpecCache,
        learning: Learning | None = None,
        forecasts: Forecasts | None = None,
    ) -> None:
        self._store = store
        self._specs = cache
        self._learning = learning
        self._forecasts = forecasts
        self._likely = False
        """Whether the policy asks how long jobs are likely to run."""
        self._asks: list[tuple[int, int]] = []
        """(instant, job): when what is likely of a running job may be something else; a heap."""
        self._asks_at: dict[int, int] = {}
        """The instants that count, by job."""
        self._lock = Lock()
        self._tables = Tables()
        self._displaced: dict[int, Displaced] = {}
        self._planner: Planner | None = None
        self._most_specs = SPARE_SPECS
        self._paused = ""
        self._plan: Plan | None = None
        self._asked = (0, 0)
        """Seed and starts for which it was made."""
        self._told: dict[int, Told] = {}
        """What the planner knows of each job that waits or runs."""
        self._is_new = True
        """Whether it has learned anything since the last plan."""

    @property
    def seq(self) -> int:
        """Up to which commit the planner knows everything; -1 while there is none."""
        planner = self._planner
        return planner.seq if planner is not None else -1

    def refresh(self, *, paused: str = "") -> None:
        """Take in what was committed. paused: why nothing may start now, or empty."""
        with self._lock:
            planner = self._planner
            news = self._store.planning(planner.seq if planner is not None else 0)
            is_other = news.config is not None and uses_forecasts(news.config) != self._likely
            if planner is None or news.since != planner.seq or self._crowded() or is_other:
                self._start_cold(news, paused)
                return
            if self._learning is not None:
                self._learning.saw(news)
            learned = self._learning.take() if self._learning is not None else None
            changed = self._recounted(news.now_us) | self._expected(news)
            idle = news.seq == planner.seq and paused == self._paused and not changed
            if not idle or learned is not None:
                self._follow(planner, news, paused, changed, learned)

    def plan(self, *, now_us: int, seed: int = 0, max_starts: int = MOST_STARTS) -> Plan:
        """Plan on what was refreshed last. Raises InternalError if nothing ever was."""
        with self._lock:
            if self._planner is None:
                raise InternalError("no-snapshot", "a plan was asked for before any refresh")
            if self._plan is None or not self._holds(self._plan, now_us, (seed, max_starts)):
                self._plan = self._planner.plan(now_us=now_us, seed=seed, max_starts=max_starts)
                self._asked, self._is_new = (seed, max_starts), False
            return self._plan

    def reason(self, job: JobId) -> Reason | None:
        """Why a job waits, by the last plan; None if it does not wait or came after that plan."""
        with self._lock:
            return self._plan.reason(job) if self._plan is not None else None

    def explain(self, job: JobId) -> Explanation | None:
        """The full account of a waiting job; None if it does not wait for the planner."""
        with self._lock:
            return self._planner.explain(job, self._plan) if self._planner is not None else None

    def unready(self) -> tuple[tuple[Node, bool], ...]:
        """Nodes that take no work, as of the last refresh, and whether anything is held there."""
        with self._lock:
            return self._planner.unready() if self._planner is not None else ()

    def spec_of(self, digest: Digest) -> JobSpec:
        """The spec behind a digest, from the cache that all of control shares."""
        return self._specs.get(digest)

    def _holds(self, plan: Plan, now_us: int, asked: tuple[int, int]) -> bool:
        """Whether another plan would be the same: nothing is new, and it is not yet time for it."""
        if self._is_new or plan.more or asked != self._asked:
            return False
        if any(not isinstance(decision, Reserve) for decision in plan.decisions):
            return False
        is_due = plan.next_us is not None and plan.next_us <= now_us
        return not is_due and 0 <= now_us - plan.now_us < SAME_US

    # -- taking in -------------------------------------------------------------------------------
    def _crowded(self) -> bool:
        return len(self._tables) > self._most_specs

    def _start_cold(self, news: PlanningDelta, paused: str) -> None:
        if news.since:
            news = self._store.planning(0)
        if self._learning is not None:
            self._learning.saw(news)
        if self._forecasts is not None:
            self._forecasts.saw(news)
        self._asks, self._asks_at = [], {}
        self._planner = self._plan = None
        self._tables = Tables()
        self._displaced = {}
        self._told, self._is_new = {}, True
        self._likely = uses_forecasts(news.config or ClusterConfig())
        rows = self._read(news)
        note(self._told, news.jobs, rows)
        classes, queues, users = self._tables.take()
        self._planner = Planner(
            Snapshot(
                seq=news.seq,
                config=news.config or ClusterConfig(),
                classes=classes,
                queues=queues,
                users=users,
                nodes=news.nodes,
                waiting=waiting_columns(rows.waiting),
                held=held_columns(rows.held),
                running=running_columns(rows.running),
                usage=news.usage,
                claims=rows.claims,
                learned=self._learning.last() if self._learning is not None else None,
                mean_us=self._forecasts.mean_us if self._forecasts is not None else 0,
                paused=paused,
            )
        )
        self._paused = paused
        self._most_specs = 2 * len(self._tables) + SPARE_SPECS

    def _follow(
        self,
        planner: Planner,
        news: PlanningDelta,
        paused: str,
        again: set[int],
        learned: Learned | None,
    ) -> None:
        """again: jobs that did not change, of which something else is told all the same."""
        rows = self._read(news)
        changed = note(self._told, news.jobs, rows)
        again -= changed.keys()
        classes, queues, users = self._tables.take()
        others = (again, news.usage, news.config, news.nodes, news.removed_nodes, learned, classes)
        if not changed and paused == self._paused and not any(others):
            planner.pass_over(news.seq)
            return
        rows = rows.of(changed).joined([self._told[job] for job in sorted(again)])
        self._is_new = True
        self._planner = None  # until it has taken everything in
        planner.apply(
            Delta(
                seq=news.seq,
                classes=classes,
                queues=queues,
                users=users,
                changed=(*changed, *sorted(again)),
                waiting=rows.waiting,
                held=rows.held,
                running=rows.running,
                usage=news.usage,
                claims=rows.claims,
                config=news.config,
                nodes=news.nodes,
                removed_nodes=news.removed_nodes,
                learned=learned,
                mean_us=self._forecasts.mean_us if self._forecasts is not None else 0,
                paused=paused,
            )
        )
        self._planner = planner
        self._paused = paused

    def _read(self, news: PlanningDelta) -> PlanRows:
        rows = plan_rows(news, self._tables, self._specs, self._outlook_at(news.now_us))
        for job in news.jobs:
            self._displaced.pop(job.id.key, None)
        self._displaced.update((d.job, d) for d in rows.displaced)
        return rows

    # -- what changes although jobs do not -------------------------------------------------------
    def _recounted(self, now_us: int) -> set[int]:
        """Running jobs some of whose displacements are more than an hour ago."""
        late = [d for d in self._displaced.values() if d.until_us <= now_us]
        changed = set()
        for displaced in late:
            after = recount(displaced, now_us)
            del self._displaced[displaced.job]
            if after.at_us:
                self._displaced[displaced.job] = after
            row, claim, parts = self._told[displaced.job]
            if isinstance(row, RunningJob):
                row = row._replace(preemptions=len(after.at_us))
                self._told[displaced.job] = (row, claim, parts)
                changed.add(displaced.job)
        return changed

    def _expected(self, news: PlanningDelta) -> set[int]:
        """Jobs of which something else is likely now than before."""
        if self._forecasts is None:
            return set()
        is_new = self._forecasts.saw(news, asked=self._likely)
        if not self._likely:
            return set()
        due = set(self._told) if is_new else set()
        while self._asks and self._asks[0][0] <= news.now_us:
            at_us, job = heappop(self._asks)
            if self._asks_at.get(job) == at_us:
                del self._asks_at[job]
                due.add(job)
        changed = set()
        for job in due & self._told.keys():
            row, claim, parts = self._told[job]
            if row is None:
                continue
            after = expected(row, self._ask(job, self._forecasts.again(job, news.now_us)))
            if after != row:
                self._told[job] = (after, claim, parts)
                changed.add(job)
        return changed

    def _outlook_at(self, now_us: int) -> Callable[[Job], Outlook]:
        forecasts = self._forecasts
        if forecasts is None or not self._likely:
            return lambda row: UNKNOWN
        return lambda row: self._ask(row.id.key, forecasts.of(row, now_us))

    def _ask(self, job: int, likely: Outlook) -> Outlook:
        if not likely.again_us:
            self._asks_at.pop(job, None)
        elif job not in self._asks_at:
            self._asks_at[job] = likely.again_us
            heappush(self._asks, (likely.again_us, job))
        return likely
