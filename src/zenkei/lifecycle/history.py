"""The attempts of a job, folded from its events: for records, `show`, charts. Pure, O(events)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from zenkei.lifecycle.decide import merge
from zenkei.model import event as e
from zenkei.model.cluster import NodePart
from zenkei.model.event import Event
from zenkei.model.ids import AttemptId
from zenkei.model.job import Exit, FailureClass, StopReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """A checkpoint of an attempt: its step, and when its ranks said that it was saved."""

    step: int
    at_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try, never reused. Times in microseconds UTC; 0 where it did not happen (yet).

    resumed: step of the checkpoint that its program says it went on from, -1 if it says nothing.
    """

    id: AttemptId
    cluster: str
    parts: tuple[NodePart, ...]
    allocated_us: int
    started_us: int = 0
    exited_us: int = 0
    released_us: int = 0
    stop: StopReason | None = None
    exit: Exit | None = None
    failure: FailureClass | None = None
    proof: str = ""
    resumed: int = -1
    checkpoints: tuple[Saved, ...] = ()
    notices: tuple[e.Noticed, ...] = ()


def attempts(events: Iterable[Event]) -> tuple[Attempt, ...]:
    """All attempts in the events of one job, in order."""
    made: list[Attempt] = []
    for event in events:
        body = event.body
        if isinstance(body, e.Allocated):
            made.append(
                Attempt(
                    id=AttemptId(event.job, body.attempt),
                    cluster=body.cluster,
                    parts=body.parts,
                    allocated_us=event.at_us,
                )
            )
        elif isinstance(body, e.Started):
            made[-1] = replace(made[-1], started_us=event.at_us)
        elif isinstance(body, e.Exited):
            stop = merge(made[-1].stop, body.reason)
            made[-1] = replace(made[-1], exited_us=event.at_us, stop=stop, exit=body.exit)
        elif isinstance(body, e.StopOrdered):
            made[-1] = replace(made[-1], stop=merge(made[-1].stop, body.reason))
        elif isinstance(body, e.Released):
            made[-1] = replace(
                made[-1], released_us=event.at_us, failure=body.failure, proof=body.proof
            )
        elif isinstance(body, e.Resumed):
            made[-1] = replace(made[-1], resumed=body.step)
        elif isinstance(body, e.Checkpointed):
            saved = Saved(step=body.step, at_us=event.at_us)
            made[-1] = replace(made[-1], checkpoints=(*made[-1].checkpoints, saved))
        elif isinstance(body, e.Noticed):
            made[-1] = replace(made[-1], notices=(*made[-1].notices, body))
    return tuple(made)
