"""The attempts of a job, folded from its events: for records, `show`, charts. Pure, O(events)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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
    made: list[dict[str, Any]] = []  # fields of each: made into a value once, at the end
    for event in events:
        body = event.body
        if isinstance(body, e.Allocated):
            made.append(
                {
                    "id": AttemptId(event.job, body.attempt),
                    "cluster": body.cluster,
                    "parts": body.parts,
                    "allocated_us": event.at_us,
                }
            )
        elif made:
            made[-1].update(_news(made[-1], event))
    return tuple(Attempt(**fields) for fields in made)


def _news(known: dict[str, Any], event: Event) -> dict[str, Any]:
    """The fields of an attempt that `event` changes."""
    body = event.body
    if isinstance(body, e.Started):
        return {"started_us": event.at_us}
    if isinstance(body, e.Exited):
        stop = merge(known.get("stop"), body.reason)
        return {"exited_us": event.at_us, "stop": stop, "exit": body.exit}
    if isinstance(body, e.StopOrdered):
        return {"stop": merge(known.get("stop"), body.reason)}
    if isinstance(body, e.Released):
        return {"released_us": event.at_us, "failure": body.failure, "proof": body.proof}
    if isinstance(body, e.Resumed):
        return {"resumed": body.step}
    if isinstance(body, e.Checkpointed):
        saved = Saved(step=body.step, at_us=event.at_us)
        return {"checkpoints": (*known.get("checkpoints", ()), saved)}
    if isinstance(body, e.Noticed):
        return {"notices": (*known.get("notices", ()), body)}
    return {}
