"""How far each attempt of a job came, where it went on, and what was lost between.

Called for records and by `show`. The proof that a job was resumed: the first step of an attempt
follows the step of the checkpoint that it was given. Steps are known if the program reports metrics
with steps (rank 0). What is lost is counted from the last checkpoint of an attempt that did not end
well; times are those at which zenkei heard of things. Pure, but for `reported_steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zenkei.lifecycle.history import Attempt
from zenkei.model.data import Checkpoint, CheckpointState
from zenkei.model.errors import EngineError
from zenkei.model.job import StopReason
from zenkei.ports.engine import Engine
from zenkei.protocol import metrics

READ_BYTES = 1 << 20
Steps = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Of one attempt. Steps are -1 where nothing is known.

    given: step of the checkpoint it was given. resumed: the one that its program says it went on
    from. first, last: steps that it reported. saved: step of its newest checkpoint that is not
    lost, at `saved_us`. answer_s: from an order to stop until that checkpoint was saved, -1 if it
    was not saved because of one. joins: whether `first` follows `given`; None if one is unknown.
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


def progress_of(attempt: Attempt, points: Iterable[Checkpoint], steps: Steps) -> Progress:
    """points: checkpoints of the job. steps: first and last step reported, -1 if unknown."""
    first, last = steps
    lost = {p.step for p in points if _is_lost(p, attempt)}
    sound = [saved for saved in attempt.checkpoints if saved.step not in lost]
    saved = max(sound, key=lambda one: one.step, default=None)
    saved_us = saved.at_us if saved is not None else 0
    step = saved.step if saved is not None else -1
    is_answer = 0 < attempt.asked_us <= saved_us
    reached = max(step, attempt.offered)
    ended_badly = attempt.exited_us > 0 and attempt.stop is not StopReason.COMPLETED
    since_us = saved_us or attempt.started_us or attempt.exited_us
    gpus = sum(share.milli for part in attempt.parts for share in part.devices) / 1000
    return Progress(
        given=attempt.offered,
        resumed=attempt.resumed,
        first=first,
        last=last,
        saved=step,
        saved_us=saved_us,
        answer_s=(saved_us - attempt.asked_us) / 1e6 if is_answer else -1.0,
        lost_steps=max(0, last - max(reached, 0)) if ended_badly and last >= 0 else 0,
        lost_gpu_s=gpus * max(0, attempt.exited_us - since_us) / 1e6 if ended_badly else 0.0,
        joins=first <= attempt.offered + 1 if first >= 0 and attempt.offered >= 0 else None,
    )


def reported_steps(engine: Engine, attempt: Attempt) -> Steps:
    """First and last step in the metrics of rank 0. Reads all of them, decodes both ends."""
    stream = "metrics/0"

    def read(offset: int) -> bytes:
        return engine.read(attempt.id, stream, offset, READ_BYTES)

    try:
        head, tail = _ends(read)
    except EngineError:
        return -1, -1
    found = [p.step for p in metrics.Reader().feed(head) if p.step != metrics.NO_STEP]
    ends = [p.step for p in metrics.Reader().feed(tail) if p.step != metrics.NO_STEP]
    return (found[0], max(found[0], *(ends or found))) if found else (-1, -1)


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
