"""What an attempt may say any number of times, and what the log has of it already.

Called by the observer. A job's row remembers that it has started, exited, been released, but not
which checkpoints, notices and resumptions were reported; an engine that starts anew reports all of
them again. Cost: one query if there is such a report among them, else nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeAlias

from zenkei.model import event as e
from zenkei.model.event import Event
from zenkei.model.ids import AttemptId
from zenkei.ports.engine import Checkpointed, Noticed, Report, Resumed
from zenkei.ports.store import Store

Saying: TypeAlias = Resumed | Checkpointed | Noticed
_SAYINGS: Final = (Resumed, Checkpointed, Noticed)


def unheard(store: Store, reports: tuple[Report, ...]) -> tuple[Report, ...]:
    """Without repetitions of what is written down, and of each other."""
    jobs = {r.attempt.job: None for r in reports if isinstance(r, _SAYINGS)}
    if not jobs:
        return reports
    known = {
        saying
        for events in store.histories(jobs).values()
        for event in events
        if (saying := _said_by(event)) is not None
    }
    found: list[Report] = []
    for report in reports:
        if isinstance(report, _SAYINGS):
            # of a checkpoint the step is enough: its parts may be told differently
            saying = replace(report, parts=()) if isinstance(report, Checkpointed) else report
            if saying in known:
                continue
            known.add(saying)
        found.append(report)
    return tuple(found)


def _said_by(event: Event) -> Saying | None:
    """The report that caused an event; None for those that the row itself remembers."""
    body = event.body
    if isinstance(body, e.Resumed):
        return Resumed(attempt=AttemptId(event.job, body.attempt), step=body.step)
    if isinstance(body, e.Checkpointed):
        return Checkpointed(attempt=AttemptId(event.job, body.attempt), step=body.step, parts=())
    if isinstance(body, e.Noticed):
        return Noticed(
            attempt=AttemptId(event.job, body.attempt),
            notice=body.notice,
            detail=body.detail,
            rank=body.rank,
            node=body.node,
        )
    return None
