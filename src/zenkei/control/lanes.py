"""Queues of effects by lane. A lane's worker takes everything that waits, so commits are shared.

Called by the dispatcher. Slow lanes (building an environment) never hold up quick ones (launching,
stopping). An effect that is in a lane or being done is not taken in a second time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Final

from zenkei.model.event import Effect, EffectKind
from zenkei.ports.system import Workers

LANE_OF: Final[dict[EffectKind, str]] = {
    EffectKind.PREPARE: "build",
    EffectKind.LAUNCH: "engine",
    EffectKind.STOP: "engine",
    EffectKind.RETIRE: "engine",
    EffectKind.SEAL: "seal",
    EffectKind.KEEP: "keep",
    EffectKind.WAKE_DEPENDENTS: "wake",
}
RESUMING: Final = "resume"
"""Launches that lay out a checkpoint first: others, and orders to stop, do not wait for them."""
BATCH: Final = {"build": 1, "engine": 256, RESUMING: 1, "seal": 256, "keep": 64, "wake": 256}
WIDTH: Final = {"build": 4, "engine": 1, RESUMING: 4, "seal": 1, "keep": 4, "wake": 1}
"""Batches of one lane that may be worked on at the same time."""


def lane_of(effect: Effect) -> str:
    is_resuming = effect.kind is EffectKind.LAUNCH and effect.step >= 0
    return RESUMING if is_resuming else LANE_OF[effect.kind]


class Lanes:
    """`put` effects; `work(lane, effects)` is called on workers until the lane is empty."""

    def __init__(self, workers: Workers, work: Callable[[str, list[Effect]], None]) -> None:
        self._workers = workers
        self._work = work
        self._lock = Lock()
        self._waiting: dict[str, deque[Effect]] = {lane: deque() for lane in BATCH}
        self._running: dict[str, int] = dict.fromkeys(BATCH, 0)
        self._taken: set[int] = set()

    def put(self, effects: tuple[Effect, ...]) -> None:
        """Queue effects that are not known yet, and see that somebody works on them."""
        starts: list[str] = []
        with self._lock:
            for effect in effects:
                if effect.id in self._taken:
                    continue
                self._taken.add(effect.id)
                lane = lane_of(effect)
                self._waiting[lane].append(effect)
                if self._running[lane] < WIDTH[lane]:
                    self._running[lane] += 1
                    starts.append(lane)
        for lane in starts:
            self._workers.submit(lane, partial(self._drain, lane))

    def in_flight(self) -> int:
        """Effects that wait in a lane or are being done."""
        with self._lock:
            return len(self._taken)

    def _drain(self, lane: str) -> None:
        while batch := self._next(lane):
            try:
                self._work(lane, batch)
            finally:
                with self._lock:
                    self._taken.difference_update(effect.id for effect in batch)

    def _next(self, lane: str) -> list[Effect]:
        with self._lock:
            waiting = self._waiting[lane]
            batch = [waiting.popleft() for _ in range(min(BATCH[lane], len(waiting)))]
            if not batch:
                self._running[lane] -= 1
            return batch
