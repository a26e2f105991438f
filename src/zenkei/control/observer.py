"""What engines report becomes events. Called by `controller.step` for each engine.

Reports may be repeated (engines re-derive them after a restart) and late (attempts that have been
replaced): the former change nothing, the latter are dropped and logged. The engine's cursor is
stored in the transaction of the events that its reports caused. Cost: O(reports).
"""

from __future__ import annotations

import logging
from typing import TypeAlias

from zenkei.control.draft import Draft
from zenkei.control.noderows import NodeRows
from zenkei.control.places import put_in_place
from zenkei.control.sayings import unheard
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.lifecycle import nodes
from zenkei.lifecycle.decide import Stale
from zenkei.lifecycle.effects import retire
from zenkei.model import event as e
from zenkei.model.errors import Conflict, EngineError, NotFound, TemporaryEngineError
from zenkei.model.ids import AttemptId
from zenkei.model.job import StopReason
from zenkei.ports.engine import (
    Checkpointed,
    Cleared,
    Engine,
    Exited,
    Heard,
    NodeSeen,
    Noticed,
    Released,
    Report,
    Resumed,
    Silent,
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
        self._blamed: dict[AttemptId, str] = {}

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
        """Commit the nodes of an inventory, as if each had just been reported.

        Who was silent is forgotten: the engine tells again.
        """
        if seen:
            self._commit(seen, self._cursor, is_start=True)

    def _commit(self, reports: tuple[Report, ...], cursor: str, *, is_start: bool = False) -> None:
        about = [report for report in reports if not isinstance(report, NodeSeen)]
        jobs = tuple(dict.fromkeys(report.attempt.job for report in about))
        seen = {r.node.name: r.node for r in reports if isinstance(r, NodeSeen)}
        self._note_blame(reports)
        named = [r.node for r in reports if isinstance(r, Silent | Heard | Cleared)]
        blamed = [self._blamed.get(r.attempt, "") for r in reports if isinstance(r, Released)]

        def decide(view: View) -> tuple[Changes, None]:
            draft, rows = Draft(view), NodeRows(view)
            record = view.cluster() if seen else None
            for node in seen.values():
                rows.take(nodes.seen(rows.get(node.name), node, view.clock_us))
                if is_start:
                    rows.take(nodes.heard(rows.get(node.name), "", view.clock_us))
            if record is not None:
                put_in_place(rows, tuple(seen), record, view.clock_us)
            for report in about:
                if isinstance(report, Silent | Heard | Cleared):
                    self._take_sign(draft, rows, report)
                else:
                    self._take(draft, rows, report)
            changes = draft.finish()
            rows.write(changes)
            if cursor != self._cursor:
                changes.cursors[self._engine.cluster] = cursor
            return changes, None

        names = tuple(name for name in dict.fromkeys([*seen, *named, *blamed]) if name)
        reads = Reads(jobs=jobs, nodes=names, cluster=bool(seen))
        self._store.submit(Unit(reads=reads, decide=decide)).result()
        for report in reports:
            if isinstance(report, Cleared):
                self._lift(report)
            elif isinstance(report, Released):
                self._blamed.pop(report.attempt, None)

    def _note_blame(self, reports: tuple[Report, ...]) -> None:
        """Remember where attempts failed until they are released: only then their class is known.

        An engine says both again after a restart.
        """
        for report in reports:
            if isinstance(report, Exited) and report.reason is not StopReason.COMPLETED:
                self._blamed[report.attempt] = report.exit.node

    def _take_sign(self, draft: Draft, rows: NodeRows, report: Silent | Heard | Cleared) -> None:
        """Silence makes the node suspect; an attempt that is lost is stopped, and fenced there."""
        node, now_us, attempt = rows.get(report.node), draft.view.clock_us, str(report.attempt)
        if node is None:
            return
        if isinstance(report, Heard):
            rows.take(nodes.heard(node, attempt, now_us))
        elif isinstance(report, Cleared):
            rows.take(nodes.cleared(node, attempt, now_us))
        elif self._is_current(draft, report.attempt):
            said = f"{attempt}: {report.detail}"
            if not report.lost:
                rows.take(nodes.silent(node, attempt, said, now_us))
                return
            stop = c.Stop(attempt=report.attempt.number, reason=StopReason.NODE_LOST, grace_s=0.0)
            draft.advance(report.attempt.job, stop)
            rows.take(nodes.fenced(node, attempt, said, now_us))
            log.warning("node fenced node=%s attempt=%s why=%s", node.name, attempt, report.detail)

    def _lift(self, report: Cleared) -> None:
        try:
            self._engine.lift(report.node, report.attempt)
        except EngineError as error:
            # it will say so again when it starts anew
            log.warning("fence not lifted node=%s why=%s", report.node, error)

    def _is_current(self, draft: Draft, attempt: AttemptId) -> bool:
        try:
            row = draft.job(attempt.job)
        except NotFound:
            return False
        return row.attempt == attempt.number and row.state.holds_allocation

    def _count(self, draft: Draft, rows: NodeRows, attempt: AttemptId) -> None:
        """An attempt was released: if it failed because of a node, that node is told."""
        body, row = draft.changes.events[-1].body, draft.job(attempt.job)
        name = self._blamed.get(attempt)
        node = rows.get(name) if name else None
        if node is None or not isinstance(body, e.Released):
            return
        weight = nodes.weight_of(row.stop, body.failure)
        if weight:
            detail = f": {row.exit.detail}" if row.exit is not None and row.exit.detail else ""
            said = f"{attempt} ended there: {row.stop}{detail}"
            rows.take(nodes.failed(node, weight, said, draft.view.clock_us))

    def _take(self, draft: Draft, rows: NodeRows, report: _OfAttempt) -> None:
        attempt = report.attempt
        try:
            draft.advance(attempt.job, self._command(draft, report))
            if isinstance(report, Released):
                self._count(draft, rows, attempt)
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
