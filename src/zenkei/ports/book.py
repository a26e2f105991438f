"""What people have found out about results: verdicts on pairs of jobs, and names with history.

Implemented by `store`, in the database of the jobs. A job that is forgotten takes its own lines
along; the other job of a verdict keeps the verdict.
"""

from __future__ import annotations

from typing import Protocol

from zenkei.model.data import ResultTag
from zenkei.model.ids import JobId
from zenkei.model.verdict import Verification


class ResultBook(Protocol):
    """All methods may be called from any thread; what is kept is durable. Times are the store's."""

    def keep(self, verification: Verification) -> Verification:
        """With both of its jobs; returns it with its time."""

    def verdicts(self, job: JobId) -> tuple[Verification, ...]:
        """In which the job is one of the two, oldest first."""

    def tag(self, tag: ResultTag) -> ResultTag:
        """Let a name mean another attempt from now on, or none; returns it with time and seq."""

    def tags(self, project: str = "") -> tuple[ResultTag, ...]:
        """What names mean now, by project and name; those that mean nothing are left out."""

    def history(self, project: str, tag: str) -> tuple[ResultTag, ...]:
        """All that a name has meant, oldest first."""
