"""From the store's rows to the planner's: who waits, who runs, and what is kept free for whom.

Called by `planner.PlanKeeper` for everything at a cold start and for what changed after it.
Classes, queues and people get places in tables that only grow. Cost: O(jobs given), one lookup of a
spec for each digest that is new.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple, TypeAlias

from zenkei.control.forecasts import UNKNOWN, Outlook
from zenkei.control.specs import SpecCache
from zenkei.model.cluster import Allocation, NodePart
from zenkei.model.data import Digest
from zenkei.model.errors import InternalError, InvalidInput
from zenkei.model.ids import JobId
from zenkei.model.job import (
    PREEMPTION_WINDOW_US,
    Job,
    JobSpec,
    JobState,
    node_request,
    preemptions,
)
from zenkei.ports.store import PlanningDelta
from zenkei.scheduler import Claim, HeldPart, JobClass, RunningJob, WaitingJob, held_parts

log = logging.getLogger(__name__)


class Wish(NamedTuple):
    """What the planner must know of a spec. limit_us: 0 if it may run for ever."""

    job_class: int
    limit_us: int


class Tables:
    """Places of classes, queues and people in the planner's tables; what is new since `take`."""

    def __init__(self) -> None:
        self.by_digest: dict[Digest, Wish] = {}
        self.classes: dict[JobClass, int] = {}
        self.queues: dict[str, int] = {}
        self.users: dict[str, int] = {}
        self._given = (0, 0, 0)

    def queue(self, name: str) -> int:
        return self.queues.setdefault(name, len(self.queues))

    def user(self, name: str) -> int:
        return self.users.setdefault(name, len(self.users))

    def job_class(self, job_class: JobClass) -> int:
        return self.classes.setdefault(job_class, len(self.classes))

    def __len__(self) -> int:
        return max(len(self.by_digest), len(self.classes))

    def take(self) -> tuple[tuple[JobClass, ...], tuple[str, ...], tuple[str, ...]]:
        """Classes, queues and people entered since the last call."""
        classes, queues, users = self._given
        self._given = (len(self.classes), len(self.queues), len(self.users))
        return (
            tuple(self.classes)[classes:],
            tuple(self.queues)[queues:],
            tuple(self.users)[users:],
        )


class Displaced(NamedTuple):
    """A running job that was displaced within the hour: its count changes although it does not.

    until_us: when the oldest of its displacements, at_us, does not count any more.
    """

    job: int
    at_us: tuple[int, ...]

    @property
    def until_us(self) -> int:
        return self.at_us[0] + PREEMPTION_WINDOW_US


class PlanRows(NamedTuple):
    """held: parts of all jobs given, also of those whose spec cannot be read."""

    waiting: tuple[WaitingJob, ...]
    held: tuple[HeldPart, ...]
    running: tuple[RunningJob, ...]
    claims: tuple[Claim, ...]
    displaced: tuple[Displaced, ...]

    def of(self, jobs: Collection[int]) -> PlanRows:
        """Those of these jobs."""
        return PlanRows(
            waiting=tuple(row for row in self.waiting if row.job in jobs),
            held=tuple(part for part in self.held if part.job in jobs),
            running=tuple(row for row in self.running if row.job in jobs),
            claims=tuple(claim for claim in self.claims if claim.job in jobs),
            displaced=self.displaced,
        )

    def joined(self, told: Iterable[Told]) -> PlanRows:
        """With jobs that are known already."""
        rows = [(row, claim, parts) for row, claim, parts in told if row is not None]
        return PlanRows(
            waiting=(*self.waiting, *(row for row, _, _ in rows if isinstance(row, WaitingJob))),
            held=(*self.held, *(part for _, _, parts in rows for part in parts)),
            running=(*self.running, *(row for row, _, _ in rows if isinstance(row, RunningJob))),
            claims=(*self.claims, *(claim for _, claim, _ in rows if claim is not None)),
            displaced=self.displaced,
        )


Told: TypeAlias = tuple[WaitingJob | RunningJob | None, Claim | None, tuple[HeldPart, ...]]
"""A job as the planner knows it, what is kept for it, and what it holds."""
_NOTHING: Final[Told] = (None, None, ())


def note(told: dict[int, Told], jobs: Iterable[Job], rows: PlanRows) -> dict[int, None]:
    """Enter `rows` of `jobs` into `told`; keys of those of which the planner knows otherwise.

    A job that is prepared, or whose ranks begin, is none: nothing that a plan depends on changes.
    """
    of: dict[int, WaitingJob | RunningJob] = {row.job: row for row in rows.waiting}
    of.update((row.job, row) for row in rows.running)
    claims = {claim.job: claim for claim in rows.claims}
    parts: dict[int, list[HeldPart]] = {}
    for part in rows.held:
        parts.setdefault(part.job, []).append(part)
    changed: dict[int, None] = {}
    for job in jobs:
        key = job.id.key
        now: Told = (of.get(key), claims.get(key), tuple(parts.get(key, ())))
        if told.get(key, _NOTHING) == now:
            continue
        changed[key] = None
        if now == _NOTHING:
            del told[key]
        else:
            told[key] = now
    return changed


def plan_rows(
    news: PlanningDelta,
    tables: Tables,
    specs: SpecCache,
    outlook: Callable[[Job], Outlook] = lambda row: UNKNOWN,
) -> PlanRows:
    """Rows of what is in `news`, entered into `tables`. outlook: what is likely of a job."""
    held = {allocation.attempt.job: allocation for allocation in news.allocations}
    reader = _Reader(news, tables, specs, outlook)
    waiting: list[WaitingJob] = []
    running: list[RunningJob] = []
    claims: list[Claim] = []
    displaced: list[Displaced] = []
    for row in news.jobs:
        if row.state is JobState.PENDING and not row.saving:
            # with a checkpoint on its way it changes again when that is kept
            found = reader.waiting(row)
            if found is not None:
                waiting.append(found)
            if row.claim is not None:
                parts = tuple(_part(row.id, part) for part in row.claim.parts)
                claims.append(Claim(row.id.key, parts, row.claim.until_us))
        elif row.id in held:
            runs = reader.running(row, held[row.id])
            if runs is None:
                continue
            running.append(runs)
            if runs.preemptions:
                displaced.append(recount(Displaced(row.id.key, row.preempted_us), news.now_us))
    return PlanRows(
        waiting=tuple(waiting),
        held=tuple(part for allocation in news.allocations for part in held_parts(allocation)),
        running=tuple(running),
        claims=tuple(claims),
        displaced=tuple(displaced),
    )


def recount(displaced: Displaced, now_us: int) -> Displaced:
    """The same job, with those of its displacements that still count at `now_us`."""
    at_us = tuple(us for us in displaced.at_us if us > now_us - PREEMPTION_WINDOW_US)
    return displaced._replace(at_us=at_us)


def expected(row: WaitingJob | RunningJob, likely: Outlook) -> WaitingJob | RunningJob:
    """The same row, with what is likely now."""
    if isinstance(row, WaitingJob):
        return row._replace(
            likely_us=likely.left_us, worth=likely.worth, served_us=likely.served_us
        )
    return row._replace(likely_end_us=likely.ends_us, worth=likely.worth)


class _Reader:
    """Makes rows of jobs; what it learns of specs stays in the tables."""

    def __init__(
        self,
        news: PlanningDelta,
        tables: Tables,
        specs: SpecCache,
        outlook: Callable[[Job], Outlook],
    ) -> None:
        self._news = news
        self._outlook = outlook
        self._tables = tables
        self._specs = specs

    def waiting(self, row: Job) -> WaitingJob | None:
        is_plain = not row.avoid and not row.nodes and row.memory_milli == 1000
        wish = self._plain(row) if is_plain else self._changed(row, row.avoid, row.nodes)
        if wish is None:
            return None
        likely = self._outlook(row)
        return WaitingJob(
            row.id.key,
            wish.job_class,
            self._tables.queue(row.queue),
            row.priority,
            row.submitted_us,
            row.not_before_us,
            self._tables.user(row.owner),
            wish.limit_us,
            likely.left_us,
            likely.worth,
            likely.served_us,
        )

    def running(self, row: Job, held: Allocation) -> RunningJob | None:
        """What it avoids and prefers says nothing about where it is: its class is the plain one."""
        wish = self._plain(row) if row.memory_milli == 1000 else self._changed(row, (), ())
        if wish is None:
            return None
        # the limit is counted from the start of the ranks
        launch_us = max(0, row.started_us - row.allocated_us) if row.started_us else 0
        likely = self._outlook(row)
        return RunningJob(
            row.id.key,
            wish.job_class,
            self._tables.queue(row.queue),
            self._tables.user(row.owner),
            row.priority,
            row.allocated_us,
            max(row.allocated_us, row.saved_us),
            wish.limit_us + launch_us if wish.limit_us else 0,
            preemptions(row, self._news.now_us) if row.preempted_us else 0,
            int(row.state is JobState.STOPPING),
            len(held.parts),
            likely.ends_us,
            likely.worth,
        )

    def _plain(self, row: Job) -> Wish | None:
        """Of a job to which nothing happened that the planner must know: by its digest alone."""
        wish = self._tables.by_digest.get(row.spec)
        if wish is None:
            wish = self._changed(row, (), ())
            if wish is not None:
                self._tables.by_digest[row.spec] = wish
        return wish

    def _changed(self, row: Job, avoid: tuple[str, ...], prefer: tuple[str, ...]) -> Wish | None:
        try:
            spec = self._specs.get(row.spec, text=self._news.specs.get(row.spec))
        except (InternalError, InvalidInput):
            # one unreadable row must not stop the cluster; it stays PENDING, and the log says why
            log.exception("job cannot be planned job=%s spec=%s", row.id, row.spec)
            return None
        job_class = JobClass.of(
            node_request(row, spec),
            spec.resources.nodes,
            spec.wanted_labels,
            avoid=avoid,
            prefer=prefer,
            least=spec.resources.least,
            level=spec.topology.level,
            required=spec.topology.required,
        )
        return Wish(self._tables.job_class(job_class), _limit_us(spec))


def _limit_us(spec: JobSpec) -> int:
    """How long its ranks may run, the time to end included."""
    return 0 if spec.time_limit_s is None else int((spec.time_limit_s + spec.grace_s) * 1e6)


def _part(job: JobId, part: NodePart) -> HeldPart:
    request = part.request
    sizes = (request.cpu_milli, request.memory_bytes, request.tmp_bytes)
    return HeldPart(job.key, part.node, *sizes, part.devices)
