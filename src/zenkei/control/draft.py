"""A unit of work in the making: commands on jobs become one `Changes`.

Every use-case that changes jobs goes through `Draft.advance`, so decide, evolve, effects, and the
rows that go with an allocation are joined in exactly one place. Cost: O(1) per event.
"""

from __future__ import annotations

from zenkei.lifecycle.commands import Command
from zenkei.lifecycle.decide import decide
from zenkei.lifecycle.effects import effects
from zenkei.lifecycle.evolve import evolve
from zenkei.model import event as e
from zenkei.model.cluster import Allocation
from zenkei.model.data import Checkpoint, CheckpointState, Result, ResultState
from zenkei.model.errors import NotFound
from zenkei.model.event import Event, EventBody
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import Job
from zenkei.ports.store import Changes, View


class Draft:
    """Reads through a view, remembers what it changed, and is turned into `changes()` once."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.changes = Changes()
        self._jobs: dict[JobId, tuple[int, Job]] = {}

    def job(self, job: JobId) -> Job:
        """The row as this draft leaves it. Raises NotFound."""
        if job in self._jobs:
            return self._jobs[job][1]
        row = self.view.job(job)
        if row is None:
            raise no_job(job)
        return row

    def advance(self, job: JobId, command: Command) -> Job:
        """Let `command` happen to a job; returns the row after it. Raises Conflict or Stale."""
        row = self.job(job)
        for body in decide(row, command, self.view.clock_us):
            row = self.record(row, job, body)
        return row

    def record(self, before: Job | None, job: JobId, body: EventBody) -> Job:
        """Append one event and everything that goes with it."""
        version = before.version if before else 0
        event = Event(job=job, version=version + 1, at_us=self.view.now_us, body=body)
        after = evolve(before, event)
        first = self._jobs[job][0] if job in self._jobs else version
        self._jobs[job] = (first, after)
        self.changes.events.append(event)
        self.changes.effects.extend(effects(event, after))
        if isinstance(body, e.Allocated):
            attempt = AttemptId(job, body.attempt)
            self.changes.allocated.append(
                Allocation(attempt=attempt, cluster=body.cluster, parts=body.parts)
            )
        elif isinstance(body, e.Released):
            attempt = AttemptId(job, body.attempt)
            self.changes.released.append(attempt)
            self.changes.results.append(Result(attempt=str(attempt), state=ResultState.SEALING))
        elif isinstance(body, e.Checkpointed):
            self.changes.checkpoints.append(_saved(job, body, event.at_us))
        return after

    def finish(self) -> Changes:
        """The changes of this unit, one entry per job."""
        self.changes.jobs = list(self._jobs.values())
        return self.changes


def _saved(job: JobId, body: e.Checkpointed, at_us: int) -> Checkpoint:
    return Checkpoint(
        attempt=str(AttemptId(job, body.attempt)),
        step=body.step,
        state=CheckpointState.SAVED,
        parts=body.parts,
        at_us=at_us,
    )


def no_job(job: JobId) -> NotFound:
    """Said alike for a job that is not there and one that the caller may not see."""
    return NotFound(
        "no-such-job",
        f"there is no job {job}",
        hint="`zenkei ps --all` lists your jobs",
    )


def is_array(first: JobId) -> NotFound:
    """Said where one job is meant and an array was named. first: a member of it."""
    return NotFound(
        "is-an-array",
        f"{first.number} is an array, and this takes one job",
        hint=f"name a member, such as {first}; `zenkei show {first.number}` lists them",
    )
