"""The attempts of a job, folded from its events: for records, `show`, charts. Pure, O(events)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

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

    offered: step of the checkpoint that it was given to go on from, -1 if there was none. resumed:
    of that which its program says it went on from, -1 if it says nothing. asked_us: when it was
    asked for a checkpoint before a stop. favoured, why: as in `StopOrdered`.
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
    offered: int = -1
    resumed: int = -1
    asked_us: int = 0
    checkpoints: tuple[Saved, ...] = ()
    notices: tuple[e.Noticed, ...] = ()
    favoured: str = ""
    why: str = ""


_LISTS: Final = frozenset({"checkpoints", "notices"})


def attempts(events: Iterable[Event]) -> tuple[Attempt, ...]:
    """All attempts in the events of one job, in order."""
    made: list[dict[str, Any]] = []  # fields of each: made into a value once, at the end
    newest = -1
    for event in events:
        body = event.body
        if isinstance(body, e.Allocated):
            made.append(
                {
                    "id": AttemptId(event.job, body.attempt),
                    "cluster": body.cluster,
                    "parts": body.parts,
                    "allocated_us": event.at_us,
                    "offered": newest,
                }
            )
        elif isinstance(body, e.CheckpointKept):
            newest = body.step
        elif isinstance(body, e.CheckpointLost):
            newest = body.left if newest == body.step else newest
            if made and not made[-1].get("started_us"):
                made[-1]["offered"] = newest
        elif made:
            made[-1].update(_news(made[-1], event))
    for fields in made:
        for name in _LISTS & fields.keys():
            fields[name] = tuple(fields[name])
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
        asked_us = event.at_us if body.checkpoint_s > 0 else 0
        return {
            "stop": merge(known.get("stop"), body.reason),
            "asked_us": known.get("asked_us") or asked_us,
            "favoured": known.get("favoured") or body.favoured,
            "why": known.get("why") or body.why,
        }
    if isinstance(body, e.Released):
        return {"released_us": event.at_us, "failure": body.failure, "proof": body.proof}
    if isinstance(body, e.Resumed):
        return {"resumed": body.step}
    if isinstance(body, e.Checkpointed):
        # in place: a month of training has tens of thousands
        known.setdefault("checkpoints", []).append(Saved(step=body.step, at_us=event.at_us))
    if isinstance(body, e.Noticed):
        known.setdefault("notices", []).append(body)
    return {}
