"""Signs of life of a supervisor: a file that it touches, for whoever watches the place.

Called by the supervisor's loop as a watch, and by whatever else may hold it up for long. Cost: one
system call every few seconds. A full disk does not stop it: nothing is written.
"""

from __future__ import annotations

import os

from zenkei.agent.watching import Watch
from zenkei.protocol import names


def touch() -> None:
    """One sign of life. Current directory: that of the attempt on this node."""
    try:
        os.utime(names.HEARTBEAT_FILE)
    except FileNotFoundError:
        _make()
    except OSError:
        pass


def _make() -> None:
    try:
        os.close(os.open(names.HEARTBEAT_FILE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError:
        pass


class Heartbeat(Watch):
    """Begins with the supervisor, ends with it."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_at = 0.0

    def due_at(self, now: float) -> float:
        return self._next_at

    def work(self, now: float) -> None:
        if now >= self._next_at:
            touch()
            self._next_at = now + self._every_s
