"""`ports.book.ResultBook` in memory: for the simulator and for tests; nothing is durable."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from zenkei.model.data import ResultTag
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.verdict import Verification


class MemoryBook:
    """One for all controllers of a simulated world."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._verdicts: dict[JobId, list[Verification]] = {}
        self._tags: list[ResultTag] = []
        self._lock = threading.Lock()

    def keep(self, verification: Verification) -> Verification:
        with self._lock:
            kept = replace(verification, at_us=self._clock())
            for job in {kept.job, kept.against}:
                self._verdicts.setdefault(JobId.parse(job), []).append(kept)
            return kept

    def verdicts(self, job: JobId) -> tuple[Verification, ...]:
        return tuple(self._verdicts.get(job, ()))

    def tag(self, tag: ResultTag) -> ResultTag:
        with self._lock:
            last = self._tags[-1].seq if self._tags else 0
            self._tags.append(replace(tag, at_us=self._clock(), seq=last + 1))
            return self._tags[-1]

    def tags(self, project: str = "") -> tuple[ResultTag, ...]:
        newest = {(tag.project, tag.tag): tag for tag in self._tags}
        found = [tag for _, tag in sorted(newest.items()) if tag.attempt]
        return tuple(tag for tag in found if project in ("", tag.project))

    def history(self, project: str, tag: str) -> tuple[ResultTag, ...]:
        return tuple(one for one in self._tags if (one.project, one.tag) == (project, tag))

    def forget(self, job: JobId) -> None:
        """As the database does when a job is forgotten."""
        with self._lock:
            self._verdicts.pop(job, None)
            self._tags = [
                tag
                for tag in self._tags
                if not tag.attempt or AttemptId.parse(tag.attempt).job != job
            ]
