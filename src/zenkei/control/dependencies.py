"""Who waits for whom. Called by the dispatcher when a job (and its result) is over.

Terminal states are final, so what is read outside the transaction stays true inside it.
Cost: one query for the dependents; O(members) only where somebody waits for a whole array.
"""

from __future__ import annotations

from collections.abc import Iterable

from zenkei.control.draft import Draft
from zenkei.lifecycle import commands as c
from zenkei.model.data import ResultState
from zenkei.model.ids import WHOLE, AttemptId, JobId
from zenkei.model.job import After, Dependency, HoldReason, Job, JobState
from zenkei.ports.store import Changes, Reads, Store, Unit, View


def wake_dependents_of(store: Store, jobs: Iterable[JobId]) -> int:
    """Release or reject those whose waiting for `jobs` is decided. Returns how many changed."""
    orders: dict[JobId, c.Command] = {}
    for dependent in store.dependents(jobs):
        order = verdict(store, dependent)
        if order is not None:
            orders[dependent] = order
    if not orders:
        return 0

    def decide(view: View) -> tuple[Changes, int]:
        draft = Draft(view)
        for dependent, order in orders.items():
            row = draft.job(dependent)
            if row.state is JobState.HELD and HoldReason.DEPENDENCY in row.holds:
                draft.advance(dependent, order)
        return draft.finish(), len(draft.changes.jobs)

    return store.submit(Unit(reads=Reads(jobs=tuple(orders)), decide=decide)).result()


def verdict(store: Store, job: JobId) -> c.Command | None:
    """Unhold if all ended as asked, Reject if that has become impossible, else None."""
    met = True
    for dependency in store.dependencies(job):
        rows = _rows(store, dependency.job)
        impossible = _impossible(dependency, rows)
        if impossible:
            return c.Reject(message=impossible)
        met = met and bool(rows) and all(_over(store, row) for row in rows)
    return c.Unhold(reason=HoldReason.DEPENDENCY) if met else None


def _rows(store: Store, job: JobId) -> tuple[Job, ...]:
    if job.member == WHOLE:
        return store.members(job.number)
    row = store.job(job)
    return () if row is None else (row,)


def _impossible(dependency: Dependency, rows: tuple[Job, ...]) -> str:
    """Why the dependency can no longer be met; empty if it still can."""
    if not rows:
        return f"job {dependency.job}, which it waited for, is no longer known"
    if dependency.after is After.OK:
        bad = next((r for r in rows if r.state in (JobState.FAILED, JobState.CANCELLED)), None)
        return f"job {bad.id}, which it waited for, {_ended(bad)}" if bad else ""
    if dependency.after is After.FAILED and all(r.state.terminal for r in rows):
        failed = any(r.state is JobState.FAILED for r in rows)
        return "" if failed else f"job {dependency.job}, whose failure it waited for, did not fail"
    return ""


def _ended(row: Job) -> str:
    return "was cancelled" if row.state is JobState.CANCELLED else "failed"


def _over(store: Store, row: Job) -> bool:
    """Terminal, and its result is sealed (or could not be)."""
    if not row.state.terminal:
        return False
    if not row.attempt:
        return True
    result = store.result(AttemptId(row.id, row.attempt))
    return result is None or result.state is not ResultState.SEALING
