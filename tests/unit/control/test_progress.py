"""What the record says of attempts: whether they join, and what was lost between."""

from __future__ import annotations

from typing import Any

import pytest

from zenkei.control.progress import Progress, Steps, progress_of, reported_steps
from zenkei.lifecycle.history import Attempt, Saved
from zenkei.model.cluster import NodePart
from zenkei.model.data import Checkpoint, CheckpointState
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import StopReason
from zenkei.model.resources import DeviceShare, Request
from zenkei.protocol import metrics

S = 1_000_000
TWO_AND_A_HALF = NodePart(
    node="a",
    request=Request(cpu_milli=1000, gpu_count=3),
    devices=tuple(DeviceShare(index=i, milli=m) for i, m in enumerate((1000, 1000, 500))),
)


def attempt(*saved: tuple[int, int], **fields: Any) -> Attempt:
    """Ran from second 10 to second 100 on two and a half GPUs, was preempted; saved: step, when."""
    known: dict[str, Any] = {
        "id": AttemptId(JobId(1), 2),
        "cluster": "c",
        "parts": (TWO_AND_A_HALF,),
        "allocated_us": 5 * S,
        "started_us": 10 * S,
        "exited_us": 100 * S,
        "stop": StopReason.PREEMPTED,
        "checkpoints": tuple(Saved(step=step, at_us=at_s * S) for step, at_s in saved),
    }
    return Attempt(**{**known, **fields})


def of(one: Attempt, first: int = -1, last: int = -1, every: int = 0, *lost: int) -> Progress:
    points = [
        Checkpoint(
            attempt=str(one.id), step=step, state=CheckpointState.LOST, at_us=0, reason="torn"
        )
        for step in lost
    ]
    return progress_of(one, points, Steps(first=first, last=last, every=every))


def test_what_was_done_after_the_last_checkpoint_is_lost() -> None:
    found = of(attempt((120, 50), (160, 80), offered=100), 101, 175, 1)
    assert (found.saved, found.lost_steps, found.lost_gpu_s) == (160, 15, 2.5 * 20)


def test_a_checkpoint_that_was_lost_saves_nothing() -> None:
    found = of(attempt((120, 50), (160, 80), offered=100), 101, 175, 1, 160)
    assert (found.saved, found.lost_steps, found.lost_gpu_s) == (120, 55, 2.5 * 50)


def test_without_a_checkpoint_all_since_the_start_is_lost() -> None:
    found = of(attempt(offered=100), 101, 175, 1)
    assert (found.saved, found.lost_steps, found.lost_gpu_s) == (-1, 75, 2.5 * 90)


def test_of_what_ended_well_nothing_is_lost() -> None:
    found = of(attempt((120, 50), stop=StopReason.COMPLETED), 1, 175, 1)
    assert (found.lost_steps, found.lost_gpu_s) == (0, 0.0)


def test_who_numbers_anew_loses_what_came_after_its_own_checkpoint() -> None:
    assert of(attempt((20, 50), offered=100), 1, 30, 1).lost_steps == 10


def test_without_reported_steps_none_are_claimed() -> None:
    found = of(attempt((120, 50), offered=100))
    assert (found.lost_steps, found.joins) == (0, None)


@pytest.mark.parametrize(
    ("first", "every", "joins"),
    [
        (101, 1, True),  # the next one
        (100, 1, True),  # the same again
        (102, 1, False),  # a gap
        (110, 10, True),  # reports every tenth
        (120, 10, False),
        (101, 0, True),
        (110, 0, None),  # reported once: whether steps lie between is not known
        (1, 1, False),  # began anew: no proof that it went on
        (-1, 0, None),
    ],
)
def test_an_attempt_joins_if_its_first_step_is_the_next_that_it_would_report(
    first: int, every: int, joins: bool | None
) -> None:
    assert of(attempt(offered=100), first, 200, every).joins is joins


class Stream:
    """An engine of which only the metrics are asked."""

    def __init__(self, *steps: int) -> None:
        points = (metrics.encode_point(0, step, 0.0, 1) for step in steps)
        self.data = metrics.encode_name("loss") + b"".join(points)

    def read(self, _attempt: AttemptId, _stream: str, offset: int, limit: int) -> bytes:
        return self.data[offset : offset + limit]


@pytest.mark.parametrize(
    ("reported", "steps"),
    [
        ((), Steps()),
        ((7,), Steps(first=7, last=7)),
        ((10, 10, 20, 20, 25), Steps(first=10, last=25, every=5)),
        ((metrics.NO_STEP, 3, metrics.NO_STEP, 4), Steps(first=3, last=4, every=1)),
        (range(1, 100_001), Steps(first=1, last=100_000, every=1)),
    ],
)
def test_reported_steps_are_read_from_both_ends(reported: Any, steps: Steps) -> None:
    assert reported_steps(Stream(*reported), attempt()) == steps  # type: ignore[arg-type]
