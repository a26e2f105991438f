"""What people may ask to see. Called by the server's routes. Every method checks `access.can`;

what the caller may not see is reported like what does not exist. Cost: one or two indexed queries
per call; `show` also folds the job's own events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from zenkei.control.draft import is_array, no_job
from zenkei.control.imports import Imports
from zenkei.control.origins import Origins
from zenkei.control.planner import PlanKeeper
from zenkei.control.progress import Progress, Steps, progress_of, reported_steps
from zenkei.control.specs import SpecCache
from zenkei.lifecycle.history import Attempt, attempts
from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.cluster import Allocation, Node
from zenkei.model.data import Checkpoint, GitState, Result
from zenkei.model.errors import InvalidInput, NotFound
from zenkei.model.event import Event
from zenkei.model.ids import WHOLE, AttemptId, JobId
from zenkei.model.job import Dependency, Job, JobSpec, JobState, StopReason
from zenkei.model.wording import count
from zenkei.ports.blobs import Blobs
from zenkei.ports.engine import Engine
from zenkei.ports.store import JobFilter, Line, Page, Store, Usage
from zenkei.ports.trees import Trees
from zenkei.scheduler import Explanation, Reason, ReasonCode, being_stored

MOST_ROWS = 10_000
MOST_EVENTS = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class JobView:
    """Everything about one job. reason: why it waits (planner), if it does.

    git: where its code came from, if that is known. progress: by attempt; empty for a job that does
    not save checkpoints. origin: of an imported job, where it ran (`origin.json`).
    """

    job: Job
    spec: JobSpec
    attempts: tuple[Attempt, ...]
    dependencies: tuple[Dependency, ...]
    reason: Reason | None
    result: Result | None
    usage: tuple[Usage, ...]
    git: GitState | None
    checkpoints: tuple[Checkpoint, ...] = ()
    progress: tuple[Progress, ...] = ()
    origin: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterView:
    """Nodes with what is held on them."""

    nodes: tuple[Node, ...]
    allocations: tuple[Allocation, ...]


class Queries:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        store: Store,
        cache: SpecCache,
        keeper: PlanKeeper,
        engines: Mapping[str, Engine],
        blobs: Blobs,
        trees: Trees,
    ) -> None:
        self._store = store
        self._specs = cache
        self._keeper = keeper
        self._engines = engines
        self._blobs = blobs
        self._imports = Imports(blobs, trees)

    def resolve(self, principal: Principal, text: str) -> JobId:
        """`42`, `42.7`, or `-` for the caller's last job. Raises InvalidInput, NotFound."""
        if text != "-":
            return JobId.parse(text)
        last = self._store.last_job(principal.name)
        if last is None:
            raise NotFound("no-job-yet", "you have no job yet", hint="`zenkei run` makes one")
        return last

    def jobs(
        self, principal: Principal, where: JobFilter, *, cursor: str = "", limit: int = 100
    ) -> Page[Job]:
        """Jobs the caller may see, newest first. A person who is no operator sees their own."""
        return self._store.jobs(_visible(principal, where, limit), cursor=cursor, limit=limit)

    def lines(
        self, principal: Principal, where: JobFilter, *, cursor: str = "", limit: int = 100
    ) -> Page[Line]:
        """As `jobs`, but of each array one row."""
        return self._store.lines(_visible(principal, where, limit), cursor=cursor, limit=limit)

    def row(self, principal: Principal, job: JobId) -> Job:
        """One job's row. Raises NotFound, which says so where it is an array."""
        row = self._store.job(job)
        if row is None and job.member == WHOLE:
            first = self._store.job(JobId(job.number, 0))
            if first is not None and can(principal, Verb.READ, _target(first)):
                raise is_array(first.id)
        if row is None or not can(principal, Verb.READ, _target(row)):
            raise no_job(job)
        return row

    def rows(self, principal: Principal, job: JobId) -> tuple[Job, ...]:
        """The job, or all members submitted under its number if it names an array."""
        if job.member != WHOLE:
            return (self.row(principal, job),)
        rows = self._store.members(job.number)
        if not rows or not can(principal, Verb.READ, _target(rows[0])):
            raise no_job(job)
        return rows

    def show(self, principal: Principal, job: JobId) -> JobView:
        """Everything about one job (not about a whole array: its members are asked one by one)."""
        row = self.row(principal, job)
        spec = self._specs.get(row.spec)
        tries = attempts(self._store.events(job=row.id, limit=MOST_EVENTS))
        points = self._store.checkpoints(row.id) if spec.checkpoint is not None else ()
        saves = tries if spec.checkpoint is not None else ()
        return JobView(
            job=row,
            spec=spec,
            attempts=tries,
            dependencies=self._store.dependencies(row.id),
            reason=self.reason(row),
            result=self._result(row),
            usage=self._store.usage(row.id),
            git=Origins(self._blobs).git(row.source),
            checkpoints=points,
            progress=tuple(progress_of(one, points, self._steps(one)) for one in saves),
            origin=self.origin(row),
        )

    def origin(self, row: Job) -> Mapping[str, Any] | None:
        """Where an imported job ran, which capsule brought it, which data it lacks."""
        return self._imports.origin(row.origin) if row.origin else None

    def reason(self, row: Job) -> Reason | None:
        """Why a PENDING job waits, as of the last plan."""
        if row.state is not JobState.PENDING:
            return None
        if row.saving:
            return being_stored(row.saving)
        reason = self._keeper.reason(row.id)
        if reason is None or reason.code is not ReasonCode.RETRY_DELAY or row.stop is None:
            return reason
        # the planner knows the delay, the row knows what it is for
        numbers = {**reason.numbers, "attempt": row.attempt, "ended": _ended(row)}
        return replace(reason, numbers=numbers)

    def explain(self, principal: Principal, job: JobId) -> Explanation | None:
        """The planner's account of a waiting job; None if it does not wait for the planner."""
        row = self.row(principal, job)
        return self._keeper.explain(row.id) if row.state is JobState.PENDING else None

    def spec(self, principal: Principal, job: JobId) -> JobSpec:
        return self._specs.get(self.rows(principal, job)[0].spec)

    def events(
        self, principal: Principal, job: JobId, *, after: int = 0, limit: int = 1000
    ) -> tuple[Event, ...]:
        self.rows(principal, job)
        return self._store.events(after=after, job=job, limit=min(limit, MOST_EVENTS))

    def attempt(self, principal: Principal, job: JobId, number: int = 0) -> AttemptId:
        """The attempt `number` of a job, or its last one (0). Raises NotFound if there is none."""
        row = self.row(principal, job)
        wanted = number or row.attempt
        if wanted < 1 or wanted > row.attempt:
            raise NotFound(
                "no-such-attempt",
                f"job {job} has no attempt {number}" if number else f"job {job} has not started",
                hint=f"it has {count(row.attempt, 'attempt')}"
                if row.attempt
                else f"`zenkei explain {job}`",
            )
        return AttemptId(row.id, wanted)

    def read(
        self, principal: Principal, attempt: AttemptId, stream: str, offset: int, limit: int
    ) -> bytes:
        """Bytes of a stream kept with an attempt (logs, metrics)."""
        row = self.row(principal, attempt.job)
        if row.origin:
            return self._imports.read(row.origin, attempt, stream, offset, limit)
        return self._engine(attempt).read(attempt, stream, offset, limit)

    def nodes(self, principal: Principal) -> ClusterView:
        """The cluster is no secret to its users; who holds what is shown by job id only."""
        return ClusterView(nodes=self._store.nodes(), allocations=self._store.allocations())

    def result(self, principal: Principal, job: JobId, number: int = 0) -> Result:
        """Raises NotFound if the attempt left none (yet)."""
        attempt = self.attempt(principal, job, number)
        found = self._store.result(attempt)
        if found is None:
            raise NotFound(
                "no-result-yet",
                f"attempt {attempt} has no result yet",
                hint=f"`zenkei wait {job}` waits for it",
            )
        return found

    def record(self, principal: Principal, job: JobId, number: int = 0) -> bytes:
        """The record of a sealed attempt, as written."""
        result = self.result(principal, job, number)
        if not result.record:
            raise NotFound("no-record-yet", f"the result of job {job} is not sealed yet")
        return self._blobs.get(result.record)

    def checkpoints(self, principal: Principal, job: JobId) -> tuple[Checkpoint, ...]:
        """All that one job has saved, in that order."""
        return self._store.checkpoints(self.row(principal, job).id)

    def diff(self, principal: Principal, job: JobId) -> bytes:
        """How the code of a job (or of an array) differed from its commit. Raises NotFound."""
        git = Origins(self._blobs).git(self.rows(principal, job)[0].source)
        if git is None or not git.diff:
            raise NotFound(
                "no-diff",
                f"no diff is kept with job {job}",
                hint=f"`zenkei show {job}` says where its code came from",
            )
        return self._blobs.get(git.diff)

    def counts_of(self, numbers: Iterable[int]) -> Mapping[int, Mapping[JobState, int]]:
        """Jobs by state of each submission, whose owner the caller has checked."""
        return self._store.counts_of(numbers)

    def _steps(self, attempt: Attempt) -> Steps:
        try:
            return reported_steps(self._engine(attempt.id), attempt)
        except NotFound:
            return Steps()

    def _result(self, row: Job) -> Result | None:
        return self._store.result(AttemptId(row.id, row.attempt)) if row.attempt else None

    def _engine(self, attempt: AttemptId) -> Engine:
        if len(self._engines) == 1:
            return next(iter(self._engines.values()))
        for one in attempts(self._store.events(job=attempt.job, limit=MOST_EVENTS)):
            if one.id == attempt and one.cluster in self._engines:
                return self._engines[one.cluster]
        raise NotFound("no-such-attempt", f"no cluster of this controller ran attempt {attempt}")


def _ended(row: Job) -> str:
    """How the last attempt ended, in words that go on after "attempt 1"."""
    ended = row.exit
    if row.stop is StopReason.NONZERO_EXIT and ended is not None and ended.code is not None:
        return f"failed with exit code {ended.code}"
    if row.stop is StopReason.NONZERO_EXIT and ended is not None and ended.signal:
        return f"was ended by signal {ended.signal}"
    detail = f" ({ended.detail[:200]})" if ended is not None and ended.detail else ""
    return f"ended: {str(row.stop).replace('_', ' ')}{detail}"


def _visible(principal: Principal, where: JobFilter, limit: int) -> JobFilter:
    """A person who is no operator sees their own. Raises InvalidInput for a limit out of range."""
    if limit < 1 or limit > MOST_ROWS:
        raise InvalidInput("bad-limit", f"limit {limit} is out of range", hint=f"1 to {MOST_ROWS}")
    return where if principal.operator else replace(where, owner=principal.name)


def _target(row: Job) -> Target:
    return Target(owner=row.owner, project=row.project)
