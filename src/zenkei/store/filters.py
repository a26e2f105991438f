"""Small rules that every store applies in the same way: page sizes, filters, what is planned."""

from __future__ import annotations

from typing import Final

from zenkei.model.job import Job, JobState
from zenkei.ports.store import JobFilter

MAX_PAGE: Final = 10_000
PLANNED: Final = frozenset(
    {JobState.PENDING, JobState.STARTING, JobState.RUNNING, JobState.STOPPING}
)


def limited(limit: int) -> int:
    """A page has at least one row and at most MAX_PAGE, whatever was asked for."""
    return max(1, min(limit, MAX_PAGE))


def is_planned(job: Job) -> bool:
    """The planner must know it: it waits for devices or holds some."""
    return job.state in PLANNED


def passes(job: Job, where: JobFilter) -> bool:
    """True if all conditions of `where` hold; empty ones do not restrict."""
    return (
        (not where.states or job.state in where.states)
        and where.owner in ("", job.owner)
        and where.project in ("", job.project)
        and where.queue in ("", job.queue)
        and where.name in ("", job.name)
        and where.number in (0, job.id.number)
    )
