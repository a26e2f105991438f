"""What people may ask the system to do. Called by the server's routes and by the simulator.

Every method checks `access.can`, is one store unit (an array of jobs included), and returns when
the change is durable. `job` may be a member or, with member WHOLE, everything submitted under the
number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from zenkei import spec as specs
from zenkei.control import bulk
from zenkei.control.admission import admit
from zenkei.control.datasets import Datasets
from zenkei.control.draft import Draft, no_job
from zenkei.control.editing import Edit
from zenkei.control.pins import Repeated, pins_of, refuse_missing
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.effects import wake_dependents
from zenkei.model import event as e
from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.data import Digest
from zenkei.model.errors import Conflict, Denied, EngineError, Unavailable
from zenkei.model.ids import WHOLE, AttemptId, JobId
from zenkei.model.job import Dependency, HoldReason, Job, JobSpec, JobState, StopReason
from zenkei.model.queue import ClusterConfig
from zenkei.ports.engine import AskCheckpoint, DumpStacks, Engine, Message
from zenkei.ports.store import Changes, JobFilter, Reads, Store, T, Unit, View


class Commands:
    """See the module's docstring."""

    def __init__(
        self,
        store: Store,
        cache: SpecCache,
        engines: Mapping[str, Engine] | None = None,
        datasets: Datasets | None = None,
    ) -> None:
        self._store = store
        self._specs = cache
        self._engines = engines or {}
        self._datasets = datasets or Datasets(store.datasets)

    def submit(
        self,
        principal: Principal,
        spec: JobSpec,
        *,
        code: Digest = Digest(""),
        source: Digest = Digest(""),
        request_key: str = "",
        repeated: Repeated | None = None,
        hold: bool = False,
    ) -> tuple[JobId, ...]:
        """Make one job, or a member for each point of its array or matrix. O(members).

        request_key: a second submit under the same key returns the jobs of the first; Conflict if
        it asks for something else. repeated: the jobs that these repeat.
        NotFound, InvalidInput for a queue that is not there or never gives what is asked for, and
        for datasets that are not there or may not be read.
        """
        if not can(principal, Verb.SUBMIT, Target(owner=principal.name, project=spec.project)):
            raise Denied("may-not-submit", f"{principal.name} may not submit to {spec.project}")
        self._check_dependencies(principal, spec.after)
        if repeated is None:
            self._datasets.pin(principal, spec.datasets)  # what cannot be had is told at once
        text = specs.canonical(spec)
        digest = specs.digest_of(text)
        of = repeated.of if repeated else ""
        only, pins = (repeated.only, repeated.pins) if repeated else (None, ())
        single = only is not None or not (spec.array or spec.matrix)
        members = (only,) if only is not None else specs.members(spec)
        fingerprint = f"{digest} {code} {of} {sorted((only or {}).items())}"
        holds = _holds(spec, hold=hold)

        def decide(view: View) -> tuple[Changes, tuple[JobId, ...]]:
            known = view.known_request() if request_key else None
            if known is not None:
                return Changes(), _again(known, fingerprint, len(members), single=single)
            number = view.next_number()
            ids = tuple(JobId(number, WHOLE if single else i) for i in range(len(members)))
            record = view.cluster()
            priority = admit(record.config if record is not None else ClusterConfig(), spec)
            draft = Draft(view)
            for i, (job, params) in enumerate(zip(ids, members, strict=True)):
                born = _birth(spec, digest, principal, params, holds, priority)
                if code or source or of:
                    born = replace(born, code=code, source=source, rerun_of=of)
                if pins:
                    pin = pins[i]
                    born = replace(born, env=pin.env, data=pin.data, seed=pin.seed)
                draft.record(None, job, born)
            changes = draft.finish()
            changes.effects = _once_per_submission(changes.effects)
            changes.specs[digest] = text
            _wait_for(changes, ids, spec.after)
            if request_key:
                changes.request = (principal.name, request_key, number, fingerprint)
            return changes, ids

        key = (principal.name, request_key) if request_key else None
        self._specs.remember(digest, spec)
        return self._run(Reads(request_key=key, cluster=True), decide)

    def cancel(
        self, principal: Principal, job: JobId, *, grace_s: float | None = None
    ) -> tuple[Job, ...]:
        """End jobs for good; returns their rows. Members that are over already are left alone."""

        def command(row: Job) -> c.Command:
            grace = self._specs.get(row.spec).grace_s if grace_s is None else grace_s
            return c.Cancel(by=principal.name, grace_s=grace)

        return self._each(principal, job, command)

    def cancel_matching(
        self,
        principal: Principal,
        where: JobFilter,
        *,
        grace_s: float | None = None,
        newest: int = 0,
        dry_run: bool = False,
    ) -> bulk.Matching:
        """End all jobs that fit and are the caller's to end; with `dry_run` only say which.

        newest: as in `bulk.matching`. The rows are those afterwards, without jobs that were over.
        """
        found = bulk.matching(self._store, principal, where, newest=newest)
        if dry_run:
            return found

        def command(row: Job) -> c.Cancel:
            grace = self._specs.get(row.spec).grace_s if grace_s is None else grace_s
            return c.Cancel(by=principal.name, grace_s=grace)

        return replace(found, jobs=bulk.cancel(self._store, found.jobs, command))

    def edit(
        self, principal: Principal, job: JobId, changes: Mapping[str, object]
    ) -> tuple[Job, ...]:
        """Let waiting jobs ask for something else; returns their rows. See `editing`.

        changes: keys of a job file, nested as there; None takes one away.
        """

        def decide(view: View) -> tuple[Changes, tuple[Job, ...]]:
            rows = view.members(job.number) if job.member == WHOLE else _one(view.job(job))
            _control(principal, job, rows)
            draft = Draft(view)
            after = Edit(self._specs, principal, changes).apply(view, draft, rows)
            return draft.finish(), after

        whole = job.member == WHOLE
        reads = Reads(
            jobs=() if whole else (job,), submissions=(job.number,) if whole else (), cluster=True
        )
        return self._run(reads, decide)

    def hold(self, principal: Principal, job: JobId) -> tuple[Job, ...]:
        """Keep jobs from starting; running ones are stopped, with a checkpoint, and held."""

        def command(row: Job) -> c.Command:
            spec = self._specs.get(row.spec)
            return c.Hold(
                reason=HoldReason.USER,
                by=principal.name,
                grace_s=spec.grace_s,
                checkpoint_s=_checkpoint_s(spec),
            )

        return self._each(principal, job, command)

    def preempt(
        self,
        principal: Principal,
        job: JobId,
        *,
        grace_s: float | None = None,
        checkpoint_s: float | None = None,
    ) -> tuple[Job, ...]:
        """Take the devices from running jobs: checkpoint, stop, back into the line.

        The operator's call. Members that hold nothing are passed by; Conflict if none does.
        """
        if not can(principal, Verb.OPERATE, Target()):
            raise Denied("may-not-operate", f"{principal.name} may not preempt jobs")

        def decide(view: View) -> tuple[Changes, tuple[Job, ...]]:
            rows = view.members(job.number) if job.member == WHOLE else _one(view.job(job))
            _control(principal, job, rows)
            running = [row for row in rows if row.state.holds_allocation]
            if not running:
                raise _not_running(rows[0], "preempt")
            draft = Draft(view)
            after = []
            for row in running:
                spec = self._specs.get(row.spec)
                stop = c.Stop(
                    attempt=row.attempt,
                    reason=StopReason.PREEMPTED,
                    by=principal.name,
                    grace_s=spec.grace_s if grace_s is None else grace_s,
                    checkpoint_s=_checkpoint_s(spec) if checkpoint_s is None else checkpoint_s,
                )
                after.append(draft.advance(row.id, stop))
            return draft.finish(), tuple(after)

        reads = Reads(submissions=(job.number,)) if job.member == WHOLE else Reads(jobs=(job,))
        return self._run(reads, decide)

    def ask_checkpoint(self, principal: Principal, job: JobId) -> tuple[AttemptId, ...]:
        """Ask running jobs to save a checkpoint and go on; what comes of it is told as events."""
        rows = self._readable(principal, job)
        _control(principal, job, rows)
        running = [row for row in rows if row.state is JobState.RUNNING]
        if not running:
            raise _not_running(rows[0], "ask")
        policy = self._specs.get(rows[0].spec).checkpoint
        if policy is None:
            raise Conflict(
                "no-checkpoints",
                f"job {job} does not say that it can save checkpoints",
                hint="`checkpoint: true` in the job file, and a program that answers",
            )
        return self._tell(running, AskCheckpoint(deadline_s=policy.grace_s))

    def dump_stacks(self, principal: Principal, job: JobId) -> tuple[AttemptId, ...]:
        """Let running jobs keep the stacks of their ranks; they go on. Read as a stream."""
        rows = self._readable(principal, job)
        _control(principal, job, rows)
        running = [row for row in rows if row.state is JobState.RUNNING]
        if not running:
            raise _not_running(rows[0], "look into")
        return self._tell(running, DumpStacks())

    def _tell(self, running: list[Job], message: Message) -> tuple[AttemptId, ...]:
        """Something that changes no state: not through the outbox."""
        allocations = self._store.allocations_of(AttemptId(r.id, r.attempt) for r in running)
        for held in allocations:
            try:
                self._engines[held.cluster].tell(held.attempt, message)
            except EngineError as error:
                raise Unavailable("job-cannot-be-asked", str(error), hint="try again") from error
        return tuple(held.attempt for held in allocations)

    def release(self, principal: Principal, job: JobId) -> tuple[Job, ...]:
        """Let held jobs go on; jobs that no person holds are left as they are."""
        return self._each(principal, job, lambda row: c.Unhold(reason=HoldReason.USER))

    def rerun(
        self, principal: Principal, job: JobId, *, request_key: str = ""
    ) -> tuple[JobId, ...]:
        """A new job with all that `job` had (all members, if it was an array): spec, code, seed,

        and the lock of the environment and versions of data that it was prepared with.
        """
        rows = self._readable(principal, job)
        spec = replace(self._specs.get(rows[0].spec), after=())
        for row in rows:
            refuse_missing(row, spec)
        return self.submit(
            principal,
            spec,
            code=rows[0].code,
            source=rows[0].source,
            request_key=request_key,
            repeated=Repeated(
                of=str(job),
                only=rows[0].params if len(rows) == 1 else None,
                pins=pins_of(rows, spec.seed),
            ),
        )

    def stop_attempts(self, reason: StopReason, *, by: str, grace_s: float) -> tuple[Job, ...]:
        """Stop everything that holds an allocation (`down --jobs`). The operator's call."""
        held = {allocation.attempt.job for allocation in self._store.allocations()}

        def decide(view: View) -> tuple[Changes, tuple[Job, ...]]:
            draft = Draft(view)
            rows = []
            for job in sorted(held):
                row = draft.job(job)
                if row.state.holds_allocation:
                    stop = c.Stop(attempt=row.attempt, reason=reason, by=by, grace_s=grace_s)
                    rows.append(draft.advance(job, stop))
            return draft.finish(), tuple(rows)

        return self._run(Reads(jobs=tuple(sorted(held))), decide)

    def _each(
        self, principal: Principal, job: JobId, command: Callable[[Job], c.Command]
    ) -> tuple[Job, ...]:
        """One unit over a job or all members of a submission.

        Members that are over are passed by; refuses if all are, or one that is not says no.
        """

        def decide(view: View) -> tuple[Changes, tuple[Job, ...]]:
            rows = view.members(job.number) if job.member == WHOLE else _one(view.job(job))
            _control(principal, job, rows)
            draft, after, refused = Draft(view), [], None
            for row in rows:
                try:
                    after.append(draft.advance(row.id, command(row)))
                except Conflict as conflict:
                    if not row.state.terminal:
                        raise
                    refused = conflict
                    after.append(row)
            if refused is not None and all(row.state.terminal for row in rows):
                raise refused
            return draft.finish(), tuple(after)

        reads = Reads(submissions=(job.number,)) if job.member == WHOLE else Reads(jobs=(job,))
        return self._run(reads, decide)

    def _readable(self, principal: Principal, job: JobId) -> tuple[Job, ...]:
        found = self._store.job(job) if job.member != WHOLE else None
        rows = self._store.members(job.number) if job.member == WHOLE else _one(found)
        if not rows or not can(principal, Verb.READ, _target(rows[0])):
            raise no_job(job)
        return rows

    def _check_dependencies(self, principal: Principal, after: tuple[Dependency, ...]) -> None:
        for dependency in after:
            self._readable(principal, dependency.job)

    def _run(self, reads: Reads, decide: Callable[[View], tuple[Changes, T]]) -> T:
        return self._store.submit(Unit(reads=reads, decide=decide)).result()


def _birth(
    spec: JobSpec,
    digest: Digest,
    principal: Principal,
    params: dict[str, str],
    holds: tuple[HoldReason, ...],
    priority: int,
) -> e.Submitted:
    return e.Submitted(
        spec=digest,
        project=spec.project,
        owner=principal.name,
        name=spec.name,
        queue=spec.queue,
        priority=priority,
        params=params,
        holds=holds,
    )


def _holds(spec: JobSpec, *, hold: bool) -> tuple[HoldReason, ...]:
    reasons = [HoldReason.USER] if hold else []
    if spec.after:
        reasons.append(HoldReason.DEPENDENCY)
    return tuple(reasons)


def _wait_for(changes: Changes, ids: tuple[JobId, ...], after: tuple[Dependency, ...]) -> None:
    """Remember what the jobs wait for, and look at once: it may be over already."""
    for dependency in after:
        changes.dependencies.extend((job, dependency) for job in ids)
        wake = wake_dependents(dependency.job)
        changes.effects.append(replace(wake, key=f"{wake.key}:for:{ids[0].number}"))


def _once_per_submission(effects: list[e.Effect]) -> list[e.Effect]:
    """All members share one preparation: keep the first effect of each key."""
    return list({effect.key: effect for effect in reversed(effects)}.values())[::-1]


def _again(
    known: tuple[int, str], fingerprint: str, members: int, *, single: bool
) -> tuple[JobId, ...]:
    number, before = known
    if before != fingerprint:
        raise Conflict(
            "request-key-reused",
            f"this request key made job {number} from another spec or code",
            hint="use a new key for a new request",
            details={"job": str(number)},
        )
    return tuple(JobId(number, WHOLE if single else i) for i in range(members))


def _checkpoint_s(spec: JobSpec) -> float:
    """How long a stop that is not the job's own fault waits for a checkpoint."""
    return spec.checkpoint.grace_s if spec.checkpoint is not None else 0.0


def _not_running(row: Job, verb: str) -> Conflict:
    return Conflict(
        "job-not-running",
        f"job {row.id} is {row.state}: there is nothing to {verb}",
        hint=f"`zenkei show {row.id}`",
    )


def _one(row: Job | None) -> tuple[Job, ...]:
    return () if row is None else (row,)


def _target(row: Job) -> Target:
    return Target(owner=row.owner, project=row.project)


def _control(principal: Principal, job: JobId, rows: tuple[Job, ...]) -> None:
    if not rows or not can(principal, Verb.READ, _target(rows[0])):
        raise no_job(job)
    if not can(principal, Verb.CONTROL, _target(rows[0])):
        raise Denied("may-not-control", f"{principal.name} may not change job {job}")
