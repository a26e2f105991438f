"""How far each attempt of a job came, where it went on, and what was lost between.

Called for records and by `show`. The proof that a job was resumed: the first step of an attempt
follows the step of the checkpoint that it was given. Steps are known if the program reports metrics
with steps (rank 0). What is lost is counted from the last checkpoint of an attempt that did not end
well; times are those at which zenkei heard of things. Pure, but for `reported_steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from itertools import pairwise

from zenkei.lifecycle.history import Attempt
from zenkei.model.data import Checkpoint, CheckpointState
from zenkei.model.errors import EngineError
from zenkei.model.job import StopReason
from zenkei.ports.engine import Engine
from zenkei.protocol import metrics

READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Reported by an attempt: first and last, -1 if none. every: how far apart; 0: unknown."""

    first: int = -1
    last: int = -1
    every: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Of one attempt. Steps are -1 where nothing is known.

    given: step of the checkpoint it was given. resumed: the one that its program says it went on
    from. first, last: steps that it reported. saved: step of its newest checkpoint that is not
    lost, at `saved_us`. answer_s: from an order to stop until that checkpoint was saved, -1 if it
    was not saved because of one. joins: whether `first` follows `given`, or is it; None if that
    cannot be told.
    """

    given: int
    resumed: int
    first: int
    last: int
    saved: int
    saved_us: int
    answer_s: float
    lost_steps: int
    lost_gpu_s: float
    joins: bool | None


def document(progress: Progress) -> dict[str, object]:
    """As records have it; `dataclasses.asdict` takes ten times as long."""
    return {name: getattr(progress, name) for name in _NAMES}


_NAMES = tuple(field.name for field in fields(Progress))


def progress_of(attempt: Attempt, points: Iterable[Checkpoint], steps: Steps) -> Progress:
    """points: checkpoints of the job."""
    lost = {p.step for p in points if _is_lost(p, attempt)}
    sound = [saved for saved in attempt.checkpoints if saved.step not in lost]
    saved = max(sound, key=lambda one: one.step, default=None)
    saved_us = saved.at_us if saved is not None else 0
    step = saved.step if saved is not None else -1
    is_answer = 0 < attempt.asked_us <= saved_us
    # what it has saved itself counts, not the highest: it may number anew
    reached = step if step >= 0 else attempt.offered
    ended_badly = attempt.exited_us > 0 and attempt.stop is not StopReason.COMPLETED
    since_us = saved_us or attempt.started_us or attempt.exited_us
    gpus = sum(share.milli for part in attempt.parts for share in part.devices) / 1000
    return Progress(
        given=attempt.offered,
        resumed=attempt.resumed,
        first=steps.first,
        last=steps.last,
        saved=step,
        saved_us=saved_us,
        answer_s=(saved_us - attempt.asked_us) / 1e6 if is_answer else -1.0,
        lost_steps=max(0, steps.last - max(reached, 0)) if ended_badly else 0,
        lost_gpu_s=gpus * max(0, attempt.exited_us - since_us) / 1e6 if ended_badly else 0.0,
        joins=_joins(attempt.offered, steps),
    )


def _joins(given: int, steps: Steps) -> bool | None:
    """A program that reports every tenth step joins at the next of them."""
    if given < 0 or steps.first < 0:
        return None
    if given <= steps.first <= given + max(1, steps.every):
        return True
    return None if steps.first > given and not steps.every else False


def reported_steps(engine: Engine, attempt: Attempt) -> Steps:
    """First and last step in the metrics of rank 0. Reads all of them, decodes both ends."""
    stream = "metrics/0"

    def read(offset: int) -> bytes:
        return engine.read(attempt.id, stream, offset, READ_BYTES)

    try:
        head, tail = _ends(read)
    except EngineError:
        return Steps()
    found, ends = _steps(head), _steps(tail)
    if not found:
        return Steps()
    apart = [b - a for a, b in pairwise(sorted(set(found)))]
    last = max(found[0], *(ends or found))
    return Steps(first=found[0], last=last, every=min(apart, default=0))


def _steps(data: bytes) -> list[int]:
    return [p.step for p in metrics.Reader().feed(data) if p.step != metrics.NO_STEP]


def _ends(read: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """The first and the last piece of a stream."""
    head = tail = piece = read(0)
    offset = len(piece)
    while len(piece) == READ_BYTES:
        piece = read(offset)
        offset += len(piece)
        tail = piece or tail
    return head, tail


def _is_lost(point: Checkpoint, attempt: Attempt) -> bool:
    return point.attempt == str(attempt.id) and point.state is CheckpointState.LOST
