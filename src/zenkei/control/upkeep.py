"""Removes what nobody needs any more: old jobs, their folders, content, environments.

Called by the routes of `zenkei prune` and `zenkei env`. Every step is safe to repeat and to be
killed in: rows go first, then what nothing in the store refers to; a second run finishes a first.
Cost: O(jobs in the store), a few queries for each PAGE of them; meant for once a day.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.data import Digest, Result, ResultState
from zenkei.model.errors import Denied, InvalidInput
from zenkei.model.ids import WHOLE, AttemptId, JobId
from zenkei.model.job import TERMINAL, Job, JobState
from zenkei.model.wording import count
from zenkei.ports.store import JobFilter, Maintenance, Store
from zenkei.ports.system import Clock
from zenkei.ports.upkeep import AttemptFolders, Collector, EnvironmentRow, Environments

log = logging.getLogger(__name__)

PAGE = 1000
LEAST_PREFIX = 6
UNFINISHED = frozenset(JobState) - TERMINAL


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """jobs: forgotten, or with a dry run those that would be. Bytes are what was really freed."""

    jobs: tuple[JobId, ...]
    dry_run: bool
    folder_bytes: int = 0
    contents: int = 0
    content_bytes: int = 0
    environment_bytes: int = 0


class Upkeep:
    """store and maintenance are the same object in production: two ports, two uses."""

    def __init__(
        self,
        *,
        store: Store,
        maintenance: Maintenance,
        environments: Environments,
        collector: Collector,
        folders: AttemptFolders,
        clock: Clock,
    ) -> None:
        self._store = store
        self._maintenance = maintenance
        self._environments = environments
        self._collector = collector
        self._folders = folders
        self._clock = clock

    def prune(
        self, principal: Principal, *, older_than_s: float, keep: int, dry_run: bool
    ) -> Pruned:
        """Forget jobs that ended more than `older_than_s` ago, but for the newest `keep`.

        A job stays while another waits for it, while its result is being kept or has a name, and
        while a member of its array stays.
        """
        _operate(principal)
        chosen = tuple(sorted(self._old(older_than_s, keep)))
        if dry_run:
            return Pruned(jobs=chosen, dry_run=True)
        gone = self._maintenance.forget(chosen)
        log.info("pruned jobs=%d asked=%d by=%s", gone, len(chosen), principal.name)
        folder_bytes = self._sweep_folders()
        environment_bytes = self._environments.gc(self.locks_in_use())
        contents, content_bytes = self._collector.collect(*self._roots())
        return Pruned(
            jobs=chosen,
            dry_run=False,
            folder_bytes=folder_bytes,
            contents=contents,
            content_bytes=content_bytes,
            environment_bytes=environment_bytes,
        )

    # -- environments --------------------------------------------------------------------------

    def environments(self) -> tuple[tuple[EnvironmentRow, ...], frozenset[Digest], int]:
        """Rows, the locks that unfinished jobs need, and the bytes of the builder's cache."""
        rows = tuple(self._environments.list())
        return rows, self.locks_in_use(), self._environments.occupied()[1]

    def environment(self, text: str) -> tuple[EnvironmentRow, ...]:
        """Those of the lock that `text` begins, each checked. Raises NotFound, InvalidInput."""
        return tuple(self._environments.show(self._lock(text)))

    def remove_environment(self, principal: Principal, text: str) -> tuple[Digest, int]:
        """Raises Conflict if an unfinished job needs it."""
        _operate(principal)
        lock = self._lock(text)
        return lock, self._environments.remove(lock, self.locks_in_use())

    def collect_environments(self, principal: Principal, *, cache: bool) -> int:
        """Remove all that no unfinished job needs; bytes freed."""
        _operate(principal)
        return self._environments.gc(self.locks_in_use(), cache=cache)

    def refresh_environments(self, principal: Principal) -> int:
        """The next submission of each request is resolved anew; how many answers were known."""
        _operate(principal)
        return self._environments.refresh()

    def pinned_data(self) -> frozenset[Digest]:
        """Digests of the lists of dataset versions that jobs have, whatever their state."""
        return frozenset(row.data for row in self._rows() if row.data)

    def locks_in_use(self) -> frozenset[Digest]:
        return frozenset(row.env for row in self._rows(UNFINISHED) if row.env)

    def _lock(self, text: str) -> Digest:
        """`b3:` may be left out, and so may all digits that are not needed."""
        digits = text.removeprefix("b3:").lower()
        locks = {row.lock for row in self._environments.list() if row.lock}
        found = [lock for lock in locks if lock.removeprefix("b3:").startswith(digits)]
        if len(digits) >= LEAST_PREFIX and len(found) == 1:
            return found[0]
        if len(found) > 1 or len(digits) < LEAST_PREFIX:
            named = f"is the beginning of {count(len(found), 'environment')}"
            named = named if len(found) > 1 else "is too short to name an environment"
            raise InvalidInput(
                "ambiguous-environment",
                f"`{text[:80]}` {named}",
                hint=f"give at least {LEAST_PREFIX} digits, as many as it takes",
            )
        return Digest(f"b3:{digits}")

    # -- inside --------------------------------------------------------------------------------

    def _old(self, older_than_s: float, keep: int) -> Iterator[JobId]:
        limit_us = self._clock.now_us() - int(older_than_s * 1e6)
        awaited = self._store.awaited()
        # what people have given a name is kept for good
        named = {AttemptId.parse(tag.attempt).job for tag in self._store.book.tags()}
        submissions: dict[int, list[JobId]] = defaultdict(list)
        stay: set[int] = {job.number for job in awaited if job.member == WHOLE}
        for rows in self._pages():
            old = [row for row in rows if _is_old(row, limit_us)]
            results = self._store.results_of(row.id for row in old)
            gone = {row.id for row in old if _is_kept(row, results)} - awaited - named
            for row in rows:
                submissions[row.id.number].append(row.id)
                if row.id not in gone:
                    stay.add(row.id.number)
        for number in sorted(submissions, reverse=True)[keep:]:
            if number not in stay:
                yield from submissions[number]

    def _sweep_folders(self) -> int:
        """Folders of jobs that the store does not know: forgotten now, or by a run that died."""
        there = list(self._folders.jobs())
        freed = 0
        for start in range(0, len(there), PAGE):
            # asked after the folders were listed: who made one since then has a row
            some = there[start : start + PAGE]
            known = self._store.rows_of(some)
            freed += sum(self._folders.remove(job) for job in some if job not in known)
        return freed

    def _roots(self) -> tuple[set[Digest], set[Digest]]:
        """All content that the store refers to, and the code trees of unfinished jobs."""
        roots: set[Digest] = {row.lock for row in self._environments.list()}
        trees: set[Digest] = set()
        for rows in self._pages():
            for row in rows:
                roots |= {row.code, row.source, row.env, row.data, row.origin}
                if not row.state.terminal:
                    trees.add(row.code)
            for result in self._store.results_of(row.id for row in rows).values():
                roots |= {result.output, result.record}
        return _named(roots), _named(trees)

    def _rows(self, states: frozenset[JobState] = frozenset()) -> Iterator[Job]:
        for rows in self._pages(states):
            yield from rows

    def _pages(self, states: frozenset[JobState] = frozenset()) -> Iterator[tuple[Job, ...]]:
        """All jobs, PAGE of them a query."""
        cursor = ""
        while True:
            page = self._store.jobs(JobFilter(states=states), cursor=cursor, limit=PAGE)
            yield page.items
            cursor = page.next
            if not cursor:
                return


def _is_old(row: Job, limit_us: int) -> bool:
    return row.state.terminal and max(row.ended_us, row.changed_us) <= limit_us


def _is_kept(row: Job, results: Mapping[AttemptId, Result]) -> bool:
    """Whether the sealing of its last attempt is over, if it has had one."""
    result = results.get(AttemptId(row.id, row.attempt))
    return not row.attempt or (result is not None and result.state is not ResultState.SEALING)


def _named(digests: Iterable[Digest]) -> set[Digest]:
    return {digest for digest in digests if digest}


def _operate(principal: Principal) -> None:
    if not can(principal, Verb.OPERATE, Target()):
        raise Denied("may-not-operate", f"{principal.name} may not operate the cluster")
