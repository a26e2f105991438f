"""Clock and workers, so that the simulator can own time and order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """The only source of time for `control`."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""

    def call_at(self, at_us: int, call: Callable[[], None]) -> None:
        """Run `call` at or soon after `at_us`, on a thread of the clock's; it is quick."""


class Workers(Protocol):
    """Threads for effects. The simulator's runs them one by one in a seeded order."""

    def submit(self, lane: str, work: Callable[[], None]) -> None:
        """Run `work` later. No lane ("engine", "build", "seal") ever waits for another's work."""
