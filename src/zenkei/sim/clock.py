"""Virtual time: a heap of (time, sequence, call). Ties run in the order they were made.

`WallClock` is what the controller sees of it: the same time, but somebody sets it.

After simpy's core (Müller, Vignaux and Chiang, 2007): deterministic order makes runs repeat.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

START_US = 1_700_000_000_000_000


class VirtualClock:
    """Implements `ports.system.Clock`; `run_next` moves time."""

    def __init__(self, start_us: int = START_US) -> None:
        self._now_us = start_us
        self._sequence = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []

    def now_us(self) -> int:
        return self._now_us

    def call_at(self, at_us: int, call: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (max(at_us, self._now_us), self._sequence, call))

    def call_in(self, seconds: float, call: Callable[[], None]) -> None:
        self.call_at(self._now_us + int(seconds * 1e6), call)

    def next_us(self) -> int | None:
        """When the next call is due; None if nothing is planned."""
        return self._heap[0][0] if self._heap else None

    def run_next(self) -> bool:
        """Move to the next call and make it. False if there is none."""
        if not self._heap:
            return False
        at_us, _, call = heapq.heappop(self._heap)
        self._now_us = max(self._now_us, at_us)
        call()
        return True

    def advance_to(self, at_us: int) -> None:
        """Let time pass without a call (something outside the heap is due)."""
        self._now_us = max(self._now_us, at_us)


class WallClock:
    """Implements `ports.system.Clock` on a virtual clock; `set` puts it forward or back."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._ahead_us = 0

    def now_us(self) -> int:
        return self._clock.now_us() + self._ahead_us

    def call_at(self, at_us: int, call: Callable[[], None]) -> None:
        self._clock.call_at(at_us - self._ahead_us, call)

    def set(self, ahead_s: float) -> None:
        """From now on it is that much ahead of the time that really passes."""
        self._ahead_us = int(ahead_s * 1e6)
