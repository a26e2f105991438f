"""What a supervisor looks at from time to time beside its ranks: one object each, in its list.

Called in every round of the supervisor's loop, which sleeps until the earliest of all `due_at`. No
threads: a watch that takes long holds up everything else.
"""

from __future__ import annotations

INFINITE = float("inf")


class Watch:
    """Base of all. Begins when the ranks have been started."""

    def due_at(self, now: float) -> float:
        """When `work` has something to do (`time.monotonic`)."""
        return INFINITE

    def work(self, now: float) -> None:
        """Called in every round; what is not due yet returns at once."""

    def rank_ended(self) -> None:
        """A rank of this node has just ended."""

    def finish(self) -> None:
        """All ranks have ended; their end is reported next."""
