"""The exit code by which a finished job is known to a shell, and whose code it is. Pure.

Used by the server in every view of a finished job, so that the command line, `--json` and other
clients agree. The job's own code wins where there is one; the rest is 128 + signal, 130 cancelled,
124 time limit, 75 lost, 2 refused or not preparable.
"""

from __future__ import annotations

from typing import TypedDict

from zenkei.lifecycle.cause import LOST
from zenkei.model.job import FailureClass, Job, JobState, StopReason

CANCELLED = 130
TIME_LIMIT = 124
LOST_CODE = 75
REFUSED = 2


class ExitView(TypedDict):
    """code for the shell; by: `job` if the job's own processes chose it, else `zenkei`; text."""

    code: int
    by: str
    text: str


def exit_of(job: Job) -> ExitView | None:
    """None while the job is not over. Total over stop reasons (a test says so)."""
    if not job.state.terminal:
        return None
    if job.state is JobState.SUCCEEDED:
        return ExitView(code=0, by="job", text="succeeded")
    if job.state is JobState.CANCELLED:
        return ExitView(code=CANCELLED, by="zenkei", text="cancelled")
    if job.stop is None:
        if job.failure is FailureClass.INFRASTRUCTURE:
            return ExitView(code=LOST_CODE, by="zenkei", text="never started")
        return ExitView(code=REFUSED, by="zenkei", text="never started")
    return _failed(job, job.stop)


def _failed(job: Job, stop: StopReason) -> ExitView:
    if stop is StopReason.TIME_LIMIT:
        return ExitView(code=TIME_LIMIT, by="zenkei", text="reached its time limit")
    if stop in (StopReason.USER_CANCEL, StopReason.USER_HOLD):
        return ExitView(code=CANCELLED, by="zenkei", text="stopped by a person")
    if stop in LOST:
        return ExitView(code=LOST_CODE, by="zenkei", text=LOST[stop])
    ended = job.exit
    rank = f" (rank {ended.rank})" if ended is not None and ended.rank > 0 else ""
    if stop is StopReason.OUT_OF_MEMORY:
        return ExitView(code=128 + 9, by="zenkei", text=f"used more memory than it asked for{rank}")
    if ended is not None and ended.code is not None:
        text = f"exited with code {ended.code}{rank}"
        return ExitView(code=ended.code or 1, by="job", text=text)
    if ended is not None and ended.signal:
        text = f"ended by signal {ended.signal}{rank}"
        return ExitView(code=128 + ended.signal, by="job", text=text)
    return ExitView(code=1, by="job", text="failed")
