"""How long each job is likely to run, and what serving it is worth: learned from those that ended.

Called by `planner.PlanKeeper`, which hands it to the planner in the rows of jobs. What ends is
learned as it is seen; what is asked is answered from a frozen copy, made anew when a twentieth more
has ended, at most once in EVERY_US. A controller that starts learns the newest MOST jobs of its
store, by a worker: until then nothing is known, and the planner goes by time limits alone.
A user's time limit is never taken for an estimate; it only bounds what is said of its own job.

Service is what counts: of a job that went on from a checkpoint, the work that was kept. Departure:
that of attempts that ended before this controller started is not counted.
Cost: O(depth) for each job that ends, some 0.1 ms for each group asked about after a new copy, and
a lookup for each row after that.
"""

from __future__ import annotations

import logging
from collections import deque
from hashlib import blake2b
from math import ceil, log2
from threading import Lock
from typing import Final, NamedTuple

from zenkei.control.specs import SpecCache
from zenkei.model.errors import InternalError, InvalidInput
from zenkei.model.job import TERMINAL, FailureClass, Job, JobSpec, JobState
from zenkei.ports.store import JobFilter, PlanningDelta, Store
from zenkei.ports.system import Workers
from zenkei.predict.durations import Durations, Forecaster
from zenkei.predict.facts import Facts
from zenkei.scheduler.snapshot import WORTH
from zenkei.scheduler.worth import aged

log = logging.getLogger(__name__)

MOST: Final = 8192
EVERY_US: Final = 60_000_000
LANE: Final = "forecasts"
RARELY: Final = 0.9
"""The share of jobs that do not run longer than what is called likely."""
STEPS: Final = 4
"""Of a doubling: finer differences between forecasts do not count, and jobs alike stay together."""
LATER: Final = 1.25
"""How much older a running job is when it is asked about again."""
SOON_US: Final = 60_000_000
_OWN_END: Final = frozenset(
    (FailureClass.NONE, FailureClass.USER_ERROR, FailureClass.OUT_OF_MEMORY, FailureClass.DATA)
)
"""Ends that say how long such a job runs; by others it was cut off."""


class Outlook(NamedTuple):
    """left_us: of a job that waits, what is left once it starts; 0: nobody knows, or it runs.

    served_us: of it too, what earlier attempts did that it need not repeat.
    ends_us: of a job that runs, by when it has ended; 0: likewise. Both are rarely exceeded. worth:
    in `WORTH`. again_us: when to ask again; 0: when it has changed.
    """

    left_us: int = 0
    served_us: int = 0
    ends_us: int = 0
    worth: int = 0
    again_us: int = 0


UNKNOWN: Final = Outlook()


class _Case(NamedTuple):
    """A job that is not over. kept_us: service of earlier attempts that it need not repeat.

    since_us: since when it runs or has its place; 0: it waits. saved_us: of this attempt's service.
    step: of the newest checkpoint that it can go on from.
    """

    facts: Facts
    attempt: int
    kept_us: int = 0
    since_us: int = 0
    saved_us: int = 0
    step: int = -1


class Forecasts:
    """See the module's docstring. Thread-safe."""

    def __init__(self, store: Store, specs: SpecCache, workers: Workers) -> None:
        self._store = store
        self._specs = specs
        self._workers = workers
        self._lock = Lock()
        self._durations = Durations()
        self._frozen: Forecaster | None = None
        self._cases: dict[int, _Case] = {}
        self._commands: dict[str, tuple[str, int]] = {}
        self._early: list[tuple[Facts, float, int, bool]] | None = None
        """What ended while the past is read; None: it has not been asked for."""
        self._unheard: deque[Job] = deque(maxlen=MOST)
        """What has ended while nobody asked."""
        self._read = False
        self._ended = self._ended_then = 0
        self._mean_s = 0.0
        self._not_before_us = 0

    @property
    def mean_us(self) -> int:
        """Of the service of all jobs that ended; 0 before the first."""
        return round(self._mean_s * 1e6)

    # -- what happens ----------------------------------------------------------------------------
    def saw(self, news: PlanningDelta, *, asked: bool = True) -> bool:
        """Take in what was committed; whether all forecasts may be others now.

        asked: whether anybody asks for them. While nobody does, what ended is only kept, the newest
        MOST of it.
        """
        with self._lock:
            is_first, self._early = self._early is None, self._early or []
            self._unheard.extend(row for row in news.jobs if row.state in TERMINAL)
            while asked and self._unheard:
                self._over(self._unheard.popleft())
            is_new = asked and self._renew(news.now_us)
        if is_first:
            self._workers.submit(LANE, self._learn)
        return is_new

    def _over(self, row: Job) -> None:
        case = self._cases.pop(row.id.key, None)
        facts = case.facts if case is not None else self._facts(row)
        if facts is None or not row.started_us or row.ended_us <= row.started_us:
            return
        kept_us = case.kept_us if case is not None else 0
        served_s = (row.ended_us - row.started_us + kept_us) / 1e6
        self._end(facts, served_s, row.ended_us, row.failure not in _OWN_END)

    def _end(self, facts: Facts, served_s: float, now_us: int, is_cut: bool) -> None:
        if not self._read and self._early is not None:
            self._early.append((facts, served_s, now_us, is_cut))
            return
        self._durations.ended(facts, served_s, now_us=now_us, censored=is_cut)
        self._ended += 1
        self._mean_s += (served_s - self._mean_s) / self._ended

    def _renew(self, now_us: int) -> bool:
        more = self._ended - self._ended_then
        if not more or more * 20 < self._ended_then or now_us < self._not_before_us:
            return False
        self._frozen = self._durations.freeze(now_us=now_us)
        self._ended_then = self._ended
        self._not_before_us = now_us + EVERY_US
        return True

    # -- the past --------------------------------------------------------------------------------
    def _learn(self) -> None:
        """By a worker: what the store still knows of jobs that ended, oldest first."""
        ended: list[tuple[Facts, float, int, bool]] = []
        try:
            page = self._store.jobs(JobFilter(states=TERMINAL), limit=MOST)
            ended = [one for row in page.items if (one := self._past(row)) is not None]
        except Exception:
            log.exception("nothing was learned from the jobs that ended earlier")
        with self._lock:
            early, self._early, self._read = self._early or [], [], True
            known: set[tuple[Facts | None, int]]
            known = {(facts, now_us) for facts, _, now_us, _ in early}
            known |= {(self._facts(row), row.ended_us) for row in self._unheard}
            ended = [one for one in ended if (one[0], one[2]) not in known]
            for facts, served_s, now_us, is_cut in sorted(ended, key=lambda one: one[2]) + early:
                self._end(facts, served_s, now_us, is_cut)

    def _past(self, row: Job) -> tuple[Facts, float, int, bool] | None:
        facts = self._facts(row)
        if facts is None or not row.started_us or row.ended_us <= row.started_us:
            return None
        served_s = (row.ended_us - row.started_us) / 1e6
        return facts, served_s, row.ended_us, row.failure not in _OWN_END

    # -- what is asked ---------------------------------------------------------------------------
    def of(self, row: Job, now_us: int) -> Outlook:
        """Of a job that waits or holds a place, as it is now."""
        with self._lock:
            if not self._enter(row):
                return UNKNOWN
        return self.again(row.id.key, now_us)

    def again(self, job: int, now_us: int) -> Outlook:
        """The same of a job that was asked about before, at another time."""
        with self._lock:
            case = self._cases.get(job)
            if self._frozen is None or case is None:
                return UNKNOWN
            return _outlook(self._frozen, case, now_us, self.mean_us)

    def _enter(self, row: Job) -> bool:
        """What is known of a job, with what it has kept of the attempt before this one."""
        case = self._cases.get(row.id.key)
        if case is None:
            facts = self._facts(row)
            if facts is None:
                return False
            case = _Case(facts, row.attempt, step=row.step)
        waits = row.state is JobState.PENDING
        if row.attempt != case.attempt or waits:
            kept_us = case.kept_us + _kept_us(case, row)
            case = case._replace(attempt=row.attempt, kept_us=kept_us, saved_us=0, step=row.step)
        if row.started_us and row.saved_us > row.started_us:
            case = case._replace(saved_us=row.saved_us - row.started_us, step=row.step)
        since_us = 0 if waits else row.started_us or row.allocated_us
        self._cases[row.id.key] = case._replace(since_us=since_us)
        return True

    def _facts(self, row: Job) -> Facts | None:
        known = self._commands.get(row.spec)
        if known is None:
            try:
                known = _asks(self._specs.get(row.spec))
            except (InternalError, InvalidInput):
                return None  # `planrows` has told
            if len(self._commands) > 2 * MOST:
                self._commands.clear()
            self._commands[row.spec] = known
        return Facts(
            user=row.owner,
            queue=row.queue,
            name=row.name,
            command=known[0],
            image=row.env,
            project=row.project,
            gpus_milli=known[1],
            submitted_us=row.submitted_us,
        )


def _asks(spec: JobSpec) -> tuple[str, int]:
    """A digest of its command, and its GPUs in thousandths."""
    resources, words = spec.resources, repr(spec.command).encode()
    gpus = resources.nodes * resources.node.gpu_count * resources.node.gpu_milli
    return blake2b(words, digest_size=12).hexdigest(), gpus


def _kept_us(case: _Case, row: Job) -> int:
    """Of the attempt that is over: up to its last checkpoint, which it may have made at its end."""
    if row.step < 0 or not case.since_us:
        return 0
    return max(0, row.changed_us - case.since_us) if row.step > case.step else case.saved_us


def _outlook(frozen: Forecaster, case: _Case, now_us: int, mean_us: int) -> Outlook:
    ran_us = max(0, now_us - case.since_us) if case.since_us else 0
    law, age_us = frozen.law(case.facts), case.kept_us + ran_us
    left_us = round(1e6 * _rounded(law.quantile(RARELY, age_us / 1e6))) - case.kept_us
    worth = _rounded(law.value(age_us / 1e6) / WORTH)
    if not case.since_us:
        kept_us = case.kept_us
        return Outlook(left_us=max(1, left_us), served_us=kept_us, worth=max(1, round(worth)))
    waited_us = max(0, case.since_us - case.facts.submitted_us - case.kept_us)
    worth = aged(worth, waited_us, mean_us)
    ends_us = max(case.since_us + left_us, now_us + 1)
    again_us = min(ends_us, now_us + max(SOON_US, round(age_us * (LATER - 1))))
    return Outlook(ends_us=ends_us, worth=max(1, round(worth)), again_us=again_us)


def _rounded(value: float) -> float:
    """To the next step above, so that jobs that are nearly alike are alike."""
    return float(2.0 ** (ceil(log2(value) * STEPS) / STEPS)) if value > 0 else 0.0
