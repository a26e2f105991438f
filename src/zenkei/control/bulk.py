"""Many jobs ended at once, by person, queue, state or name: `zenkei cancel --queue`.

Called by `commands`. First it is looked what that would be (`matching`), then exactly those are
cancelled, and none that came later: jobs above the highest number that was seen are left alone. In
units of MOST jobs, each short; a job that is over meanwhile is passed by. Cost: O(jobs that fit).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from zenkei.control.draft import Draft
from zenkei.lifecycle import commands as c
from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.errors import Conflict, InvalidInput, NotFound
from zenkei.model.ids import JobId
from zenkei.model.job import TERMINAL, Job, JobState
from zenkei.ports.store import Changes, JobFilter, Reads, Store, Unit, View

MOST = 500
PAGE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Matching:
    """Jobs that fit and that the asker may end, newest first.

    others: how many more fit that are not the asker's to end. newest: the highest number of all.
    """

    jobs: tuple[Job, ...]
    others: int = 0
    newest: int = 0


def matching(store: Store, principal: Principal, where: JobFilter, *, newest: int = 0) -> Matching:
    """newest: jobs with higher numbers are left out (0: none is). Raises InvalidInput."""
    over = sorted(where.states & TERMINAL)
    if over:
        raise InvalidInput(
            "bad-state",
            f"jobs that are {over[0]} are over: there is nothing to cancel",
            hint=f"states: {', '.join(state for state in JobState if state not in TERMINAL)}",
        )
    if not (where.owner or where.queue or where.name or where.project or where.states):
        raise InvalidInput(
            "no-filter",
            "neither a person nor a queue, a name, a project or a state is given",
            hint="say whose jobs, or which, are to be cancelled",
        )
    mine: list[Job] = []
    others, highest = 0, 0
    for row in _rows(store, replace(where, states=where.states or frozenset(JobState) - TERMINAL)):
        target = Target(owner=row.owner, project=row.project)
        if newest and row.id.number > newest:
            continue
        if can(principal, Verb.CONTROL, target):
            mine.append(row)
            highest = max(highest, row.id.number)
        elif can(principal, Verb.READ, target):
            others += 1
    return Matching(jobs=tuple(mine), others=others, newest=highest)


def cancel(
    store: Store, jobs: tuple[Job, ...], command: Callable[[Job], c.Cancel]
) -> tuple[Job, ...]:
    """Rows after the cancel, of those that were not over already."""
    after: list[Job] = []
    for start in range(0, len(jobs), MOST):
        ids = tuple(row.id for row in jobs[start : start + MOST])
        after.extend(
            store.submit(Unit(reads=Reads(jobs=ids), decide=_decide(ids, command))).result()
        )
    return tuple(after)


def _decide(
    ids: tuple[JobId, ...], command: Callable[[Job], c.Cancel]
) -> Callable[[View], tuple[Changes, tuple[Job, ...]]]:
    def decide(view: View) -> tuple[Changes, tuple[Job, ...]]:
        draft, after = Draft(view), []
        for job in ids:
            try:
                after.append(draft.advance(job, command(draft.job(job))))
            except (Conflict, NotFound):
                continue  # it is over meanwhile, or forgotten
        return draft.finish(), tuple(after)

    return decide


def _rows(store: Store, where: JobFilter) -> Iterator[Job]:
    cursor = ""
    while True:
        page = store.jobs(where, cursor=cursor, limit=PAGE)
        yield from page.items
        cursor = page.next
        if not cursor:
            return
