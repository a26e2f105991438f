"""What engines report becomes events. Called by `controller.step` for each engine.

Reports may be repeated (engines re-derive them after a restart) and late (attempts that have been
replaced): the former change nothing, the latter are dropped and logged. The engine's cursor is
stored in the transaction of the events that its reports caused. Cost: O(reports).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TypeAlias

from zenkei.control.draft import Draft
from zenkei.control.sayings import unheard
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.lifecycle.decide import Stale
from zenkei.lifecycle.effects import retire
from zenkei.model.cluster import Node
from zenkei.model.errors import Conflict, NotFound, TemporaryEngineError
from zenkei.model.job import RetryPolicy
from zenkei.ports.engine import (
    Checkpointed,
    Engine,
    Exited,
    NodeSeen,
    Noticed,
    Released,
    Report,
    Resumed,
    Started,
)
from zenkei.ports.store import Changes, Reads, Store, Unit, View

log = logging.getLogger(__name__)

_OfAttempt: TypeAlias = Started | Exited | Released | Resumed | Checkpointed | Noticed
MOST_REPORTS = 500
"""Reports in one transaction."""


class Observer:
    """Reads one engine's reports into the store."""

    def __init__(self, store: Store, cache: SpecCache, engine: Engine) -> None:
        self._store = store
        self._specs = cache
        self._engine = engine
        self._cursor = store.cursor(engine.cluster)

    def observe(self) -> int:
        """Commit everything that has been reported; returns the number of reports."""
        try:
            reports, cursor = self._engine.observe(self._cursor)
        except TemporaryEngineError as error:
            log.warning("observe failed cluster=%s error=%s", self._engine.cluster, error)
            return 0
        if not reports and cursor == self._cursor:
            return 0
        reports = unheard(self._store, reports)
        for start in range(0, max(1, len(reports)), MOST_REPORTS):
            part = reports[start : start + MOST_REPORTS]
            last = start + MOST_REPORTS >= len(reports)
            self._commit(part, cursor if last else self._cursor)
        self._cursor = cursor
        return len(reports)

    def enter(self, seen: tuple[NodeSeen, ...]) -> None:
        """Commit the nodes of an inventory, as if each had just been reported."""
        if seen:
            self._commit(seen, self._cursor)

    def _commit(self, reports: tuple[Report, ...], cursor: str) -> None:
        about = [report for report in reports if not isinstance(report, NodeSeen)]
        jobs = tuple(dict.fromkeys(report.attempt.job for report in about))
        seen = {r.node.name: r.node for r in reports if isinstance(r, NodeSeen)}

        def decide(view: View) -> tuple[Changes, None]:
            draft = Draft(view)
            for report in about:
                self._take(draft, report)
            changes = draft.finish()
            for node in seen.values():
                changed = _merge(view.node(node.name), node, view.now_us)
                if changed is not None:
                    changes.nodes.append(changed)
            if cursor != self._cursor:
                changes.cursors[self._engine.cluster] = cursor
            return changes, None

        reads = Reads(jobs=jobs, nodes=tuple(seen))
        self._store.submit(Unit(reads=reads, decide=decide)).result()

    def _take(self, draft: Draft, report: _OfAttempt) -> None:
        attempt = report.attempt
        try:
            draft.advance(attempt.job, self._command(draft, report))
        except (Stale, NotFound) as stale:
            log.info("late report dropped attempt=%s report=%s why=%s", attempt, report, stale)
            if isinstance(report, Released):
                # Nobody waits for it any more: let the engine forget it, or it reports for ever.
                draft.changes.effects.append(retire(attempt))
        except Conflict as conflict:
            log.warning("report refused attempt=%s report=%s why=%s", attempt, report, conflict)

    def _command(self, draft: Draft, report: _OfAttempt) -> c.Command:
        number = report.attempt.number
        if isinstance(report, Resumed):
            return c.ReportResumed(attempt=number, step=report.step)
        if isinstance(report, Checkpointed):
            return c.ReportCheckpoint(attempt=number, step=report.step, parts=report.parts)
        if isinstance(report, Noticed):
            return c.ReportNotice(
                attempt=number,
                notice=report.notice,
                detail=report.detail,
                rank=report.rank,
                node=report.node,
            )
        if isinstance(report, Started):
            return c.ReportStarted(attempt=number)
        if isinstance(report, Exited):
            return c.ReportExited(attempt=number, reason=report.reason, exit=report.exit)
        spec = self._specs.get(draft.job(report.attempt.job).spec)
        return c.ReportReleased(
            attempt=number,
            policy=spec.retry,
            proof=report.proof,
            hang=spec.hang.action,
            asks_memory=spec.resources.node.memory_bytes > 0,
        )


def _merge(known: Node | None, seen: Node, now_us: int) -> Node | None:
    """The row for a node as the engine sees it; None if nothing changed."""
    if known is not None and replace(seen, since_us=known.since_us) == known:
        return None
    same_state = known is not None and (known.state, known.reason) == (seen.state, seen.reason)
    since_us = known.since_us if known is not None and same_state else now_us
    return replace(seen, since_us=since_us)
