"""The verdict on a repeated run: `zenkei verify`. Called by the server's routes.

`Commands.rerun` makes the second job; once both are over, `judge` compares how they ended, their
metrics step by step and their output files by kind, and keeps the verdict with both. Checkpoints of
PyTorch are looked into by a job in the environment that wrote them: `judge` then says which job to
wait for, and is asked again. Every call is safe to repeat.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from zenkei.control.commands import Commands
from zenkei.control.lockfacts import facts_of
from zenkei.control.pins import Pins, Repeated
from zenkei.control.queries import Queries
from zenkei.control.specs import SpecCache
from zenkei.model.access import Principal
from zenkei.model.data import Digest, EntryKind, Result, ResultState
from zenkei.model.errors import Conflict, InvalidInput, NotFound
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Job, JobSpec, JobState, Launcher, ResourceRequest, StopReason
from zenkei.model.resources import Request
from zenkei.model.verdict import (
    Comparison,
    Difference,
    Finding,
    Tolerance,
    Verdict,
    Verification,
)
from zenkei.ports.blobs import Blobs
from zenkei.ports.book import ResultBook
from zenkei.ports.comparing import Comparer, Left
from zenkei.ports.trees import Trees

FINDINGS = "findings.json"
MOST_FINDINGS_BYTES = 16 << 20
NOTHING = "nothing was compared but how they ended: no metric, and no file in the outputs"
NO_TORCH = "checkpoints are compared by their bytes: the job has no environment with PyTorch"
NOT_LOOKED = "checkpoints are compared by their bytes: the job that should look into them failed"


class Reproduction:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        cache: SpecCache,
        queries: Queries,
        commands: Commands,
        book: ResultBook,
        comparer: Comparer,
        blobs: Blobs,
        trees: Trees,
    ) -> None:
        self._specs = cache
        self._queries = queries
        self._commands = commands
        self._book = book
        self._comparer = comparer
        self._blobs = blobs
        self._trees = trees

    def judge(
        self, principal: Principal, job: JobId, against: JobId, tolerance: Tolerance
    ) -> Verification | JobId:
        """The verdict, kept with both jobs; or the job to wait for before it can be given.

        Raises Conflict if one of the two is not over, was cancelled, or left nothing to compare.
        """
        a, b = (self._queries.row(principal, one) for one in (job, against))
        if a.id == b.id:
            raise InvalidInput("same-job", f"job {job} is to be compared with itself")
        _comparable(a, b)
        comparison = self._ends(a, b)
        if comparison is None:
            found = self._compared(principal, a, b, tolerance)
            if isinstance(found, JobId):
                return found
            comparison = found
        verification = Verification(
            job=str(a.id),
            against=str(b.id),
            comparison=comparison,
            tolerance=tolerance,
            by=principal.name,
        )
        return self._book.keep(verification)

    def compare(
        self, principal: Principal, job: JobId, other: JobId, tolerance: Tolerance
    ) -> Comparison:
        """What two jobs have left, whatever they are; nothing is kept, no job is started."""
        a, b = (self._queries.row(principal, one) for one in (job, other))
        left, right = self._left(principal, a), self._left(principal, b)
        return self._comparer.compare(left, right, tolerance, {})

    def verdicts(self, principal: Principal, job: JobId) -> tuple[Verification, ...]:
        """In which the job is one of the two, oldest first."""
        return self._book.verdicts(self._queries.row(principal, job).id)

    # -- inside ----------------------------------------------------------------------------------

    def _ends(self, a: Job, b: Job) -> Comparison | None:
        """Two jobs that ended in different ways need no further look."""
        first, second = _end(a), _end(b)
        if first == second:
            return None
        difference = Difference(kind="end", name="end", why="how it ended", a=first, b=second)
        return Comparison(verdict=Verdict.DIFFERENT, first=difference)

    def _compared(
        self, principal: Principal, a: Job, b: Job, tolerance: Tolerance
    ) -> Comparison | JobId:
        left, right = self._left(principal, a), self._left(principal, b)
        found = self._comparer.compare(left, right, tolerance)
        if not found.metrics and not found.files:
            found = replace(found, notes=(NOTHING, *found.notes))
        if not found.torch:
            return found
        if not self._has_torch(b):
            return self._without(left, right, tolerance, NO_TORCH)
        paths = {path: tolerance.of(path) for path in found.torch}
        looking = self._look(principal, b, left.output, right.output, paths)
        row = self._queries.row(principal, looking)
        if not row.state.terminal:
            return looking
        if row.state is not JobState.SUCCEEDED:
            return self._without(left, right, tolerance, f"{NOT_LOOKED} (job {looking})")
        seen = self._findings(self._sealed(principal, row))
        return self._comparer.compare(left, right, tolerance, seen)

    def _without(self, left: Left, right: Left, tolerance: Tolerance, note: str) -> Comparison:
        found = self._comparer.compare(left, right, tolerance, {})
        return replace(found, notes=(note, *found.notes))

    def _left(self, principal: Principal, row: Job) -> Left:
        sealed = self._sealed(principal, row)
        asked = self._specs.get(row.spec).resources
        metrics = {
            (rank, number): partial(
                self._queries.read, principal, AttemptId(row.id, number), f"metrics/{rank}"
            )
            for number in range(1, row.attempt + 1)
            for rank in range(asked.nodes * asked.ranks)
        }
        return Left(output=sealed.output, metrics=metrics)

    def _sealed(self, principal: Principal, row: Job) -> Result:
        result = self._queries.result(principal, row.id)
        if result.state is ResultState.SEALED:
            return result
        why = f": {result.reason}" if result.reason else ""
        raise Conflict(
            "result-not-sealed",
            f"the result of job {row.id} is {result.state}{why}",
            hint=f"`zenkei wait {row.id}` waits until it is kept"
            if result.state is ResultState.SEALING
            else "what is not complete cannot be compared: run the job again",
        )

    def _has_torch(self, row: Job) -> bool:
        try:
            return bool(row.env) and "torch" in facts_of(self._blobs.get(row.env)).packages
        except NotFound:
            return False

    def _look(
        self, principal: Principal, row: Job, a: Digest, b: Digest, paths: Mapping[str, float]
    ) -> JobId:
        """The job that looks into checkpoints; the same one for the same question."""
        tree = self._comparer.torch_job(a, b, paths)
        of = self._specs.get(row.spec)
        node = Request(
            cpu_milli=of.resources.node.cpu_milli, memory_bytes=of.resources.node.memory_bytes
        )
        spec = JobSpec(
            name=f"look-into-{row.id}",
            command=("python", "look.py"),
            project=of.project,
            queue=row.queue,
            env=of.env,
            resources=ResourceRequest(node=node),
            launcher=Launcher.NONE,
        )
        (made,) = self._commands.submit(
            principal,
            spec,
            code=tree,
            repeated=Repeated(of="", only={}, pins=(Pins(env=row.env),)),
            request_key=f"look:{tree}:{row.env}",
        )
        return made

    def _findings(self, result: Result) -> dict[str, Finding]:
        """What a looking job has written; what is of another form counts as not looked at."""
        for entry in self._trees.manifest(result.output).entries if result.output else ():
            is_file = entry.kind is EntryKind.FILE and entry.size_bytes <= MOST_FINDINGS_BYTES
            if entry.path == FINDINGS and is_file:
                return _parsed(self._blobs.get(entry.digest))
        return {}


def _parsed(content: bytes) -> dict[str, Finding]:
    try:
        return {
            str(path): Finding(**{**found, "verdict": Verdict(found["verdict"])})
            for path, found in json.loads(content).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _comparable(a: Job, b: Job) -> None:
    for row in (a, b):
        if not row.state.terminal:
            raise Conflict(
                "job-not-over",
                f"job {row.id} is {row.state}: there is nothing to compare yet",
                hint=f"`zenkei wait {row.id}`",
            )
        # a launch that failed says nothing of the program: two of them are not the same result
        ran = row.attempt and row.stop is not StopReason.LAUNCH_FAILED
        if row.state is JobState.CANCELLED or not ran:
            raise Conflict(
                "could-not-run",
                f"job {row.id} {'was cancelled' if ran else 'never ran'}: "
                "there is nothing to compare",
                hint=f"`zenkei show {row.id}` says why",
            )
    if a.state is JobState.SUCCEEDED and b.state is JobState.FAILED:
        raise Conflict(
            "could-not-run",
            f"job {b.id}, which repeats job {a.id}, failed: {_end(b)}",
            hint=f"`zenkei show {b.id}` says why; `zenkei diff {a.id} {b.id}` what is not the same",
        )


def _end(row: Job) -> str:
    """How it ended, in words that are the same for the same end."""
    ended = row.exit
    if row.state is JobState.SUCCEEDED:
        return "succeeded"
    if ended is not None and ended.code is not None:
        return f"exit code {ended.code}"
    if ended is not None and ended.signal:
        return f"signal {ended.signal}"
    return str(row.stop or row.failure or row.state).replace("_", " ")
