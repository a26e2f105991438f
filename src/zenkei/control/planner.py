"""Keeps one planner current with the store, and answers why a job waits.

Called by the controller (`refresh`, `plan`: one thread) and by queries (`reason`, `explain`: any
thread); a lock keeps them apart. The planner is loaded once and then follows the store's changes
since the `seq` it has seen, those of other controllers included. Whatever it is missing, it starts
cold: after an error while changes are taken in, and when the store answers with everything.
Cost: `refresh` O(jobs changed), one cold start O(jobs waiting or running); `explain` O(nodes).
"""

from __future__ import annotations

import logging
from threading import Lock
from typing import Final

from zenkei.control.specs import SpecCache
from zenkei.model.cluster import Node
from zenkei.model.data import Digest
from zenkei.model.errors import InternalError, InvalidInput
from zenkei.model.ids import JobId
from zenkei.model.job import Job, JobSpec, JobState, node_request
from zenkei.ports.store import PlanningDelta, Store
from zenkei.scheduler import (
    MOST_STARTS,
    Delta,
    Explanation,
    JobClass,
    Plan,
    Planner,
    Reason,
    Snapshot,
    WaitingJob,
    held_columns,
    held_parts,
    waiting_columns,
)

log = logging.getLogger(__name__)

SPARE_SPECS: Final = 16_384
"""Specs remembered beyond twice those in use at the last cold start; then it is time for one."""


class _Tables:
    """Places of classes and queues in the planner's tables; what is new since `take`."""

    def __init__(self) -> None:
        self.by_digest: dict[Digest, int] = {}
        self.classes: dict[JobClass, int] = {}
        self.queues: dict[str, int] = {}
        self._given = (0, 0)

    def queue(self, name: str) -> int:
        return self.queues.setdefault(name, len(self.queues))

    def enter(self, digest: Digest | None, job_class: JobClass) -> int:
        """digest: of the spec, if it alone makes the class: nothing that happened to the job."""
        place = self.classes.setdefault(job_class, len(self.classes))
        if digest is not None:
            self.by_digest[digest] = place
        return place

    def __len__(self) -> int:
        return max(len(self.by_digest), len(self.classes))

    def take(self) -> tuple[tuple[JobClass, ...], tuple[str, ...]]:
        """Classes and queues entered since the last call."""
        classes, queues = self._given
        self._given = (len(self.classes), len(self.queues))
        return tuple(self.classes)[classes:], tuple(self.queues)[queues:]


class PlanKeeper:
    """See the module's docstring."""

    def __init__(self, store: Store, cache: SpecCache) -> None:
        self._store = store
        self._specs = cache
        self._lock = Lock()
        self._tables = _Tables()
        self._planner: Planner | None = None
        self._most_specs = SPARE_SPECS
        self._paused = ""
        self._plan: Plan | None = None

    def refresh(self, *, paused: str = "") -> None:
        """Take in what was committed. paused: why nothing may start now, or empty."""
        with self._lock:
            planner = self._planner
            news = self._store.planning(planner.seq if planner is not None else 0)
            if planner is None or news.since != planner.seq or self._crowded():
                self._start_cold(news, paused)
                return
            idle = news.seq == planner.seq and paused == self._paused
            if not idle:
                self._follow(planner, news, paused)

    def plan(self, *, now_us: int, seed: int = 0, max_starts: int = MOST_STARTS) -> Plan:
        """Plan on what was refreshed last. Raises InternalError if nothing ever was."""
        with self._lock:
            if self._planner is None:
                raise InternalError("no-snapshot", "a plan was asked for before any refresh")
            self._plan = self._planner.plan(now_us=now_us, seed=seed, max_starts=max_starts)
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

    # -- taking in -------------------------------------------------------------------------------
    def _crowded(self) -> bool:
        return len(self._tables) > self._most_specs

    def _start_cold(self, news: PlanningDelta, paused: str) -> None:
        if news.since:
            news = self._store.planning(0)
        self._planner = self._plan = None
        self._tables = _Tables()
        waiting = self._waiting(news)
        classes, queues = self._tables.take()
        self._planner = Planner(
            Snapshot(
                seq=news.seq,
                classes=classes,
                queues=queues,
                nodes=news.nodes,
                waiting=waiting_columns(waiting),
                held=held_columns(part for held in news.allocations for part in held_parts(held)),
                paused=paused,
            )
        )
        self._paused = paused
        self._most_specs = 2 * len(self._tables) + SPARE_SPECS

    def _follow(self, planner: Planner, news: PlanningDelta, paused: str) -> None:
        waiting = self._waiting(news)
        classes, queues = self._tables.take()
        self._planner = None  # until it has taken everything in
        planner.apply(
            Delta(
                seq=news.seq,
                classes=classes,
                queues=queues,
                changed=tuple(row.id.key for row in news.jobs),
                waiting=waiting,
                held=tuple(part for held in news.allocations for part in held_parts(held)),
                nodes=news.nodes,
                removed_nodes=news.removed_nodes,
                paused=paused,
            )
        )
        self._planner = planner
        self._paused = paused

    def _waiting(self, news: PlanningDelta) -> tuple[WaitingJob, ...]:
        rows = []
        for row in news.jobs:
            if row.state is not JobState.PENDING or row.saving:
                continue  # with a checkpoint on its way it changes again when that is kept
            place = self._class_of(row, news)
            if place is not None:
                queue = self._tables.queue(row.queue)
                rows.append(
                    WaitingJob(
                        row.id.key,
                        place,
                        queue,
                        row.priority,
                        row.submitted_us,
                        row.not_before_us,
                    )
                )
        return tuple(rows)

    def _class_of(self, row: Job, news: PlanningDelta) -> int | None:
        """Interned by digest, then by what the planner must know of the spec."""
        is_plain = not row.avoid and not row.nodes and row.memory_milli == 1000
        place = self._tables.by_digest.get(row.spec) if is_plain else None
        if place is not None:
            return place
        try:
            spec = self._specs.get(row.spec, text=news.specs.get(row.spec))
        except (InternalError, InvalidInput):
            # one unreadable row must not stop the cluster; it stays PENDING, and the log says why
            log.exception("job cannot be planned job=%s spec=%s", row.id, row.spec)
            return None
        job_class = JobClass.of(
            node_request(row, spec),
            spec.resources.nodes,
            spec.wanted_labels,
            avoid=row.avoid,
            prefer=row.nodes,
            least=spec.resources.least,
            level=spec.topology.level,
            required=spec.topology.required,
        )
        return self._tables.enter(row.spec if is_plain else None, job_class)
