"""SIGTERM, grace, SIGKILL until nothing is left; called by the supervisor's loop."""

from __future__ import annotations

import os
import signal
import time
from typing import Callable

from zenkei.agent import processes, remains
from zenkei.agent.attempt import Attempt
from zenkei.protocol import records

AGAIN_S = 0.02
PATIENT_S = 1.0
LEFT_S = 15.0
"""After so long, processes that were killed and have not gone are told of."""


class Stopper:
    """Begins at most once; a later order can only shorten the grace.

    used: shared memory that was in use when it began (see `remains`).
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._kill_at = 0.0
        self._next_at = 0.0
        self._rounds = 0
        self._tell_at = 0.0
        self._asked: set[int] = set()
        self.used: set[str] = set()

    @property
    def begun(self) -> bool:
        return self._kill_at > 0

    def begin(self, grace_s: float, pids: Callable[[], list[int]]) -> None:
        """Ask all processes to end; kill those that live `grace_s` later."""
        until = time.monotonic() + max(0.0, grace_s)
        if self.begun:
            self._kill_at = min(self._kill_at, until)
            return
        self._kill_at = until
        found = pids()
        self.used |= remains.used_by(found)
        if grace_s > 0:
            self.ask_late(found)

    def ask_late(self, pids: list[int]) -> None:
        """What appeared after the order is asked too: it would hold up the others' end.

        Nobody is asked twice: many a program takes a second SIGTERM for an end without delay.
        """
        if self.begun:
            for pid in set(pids) - self._asked:
                self._asked.add(pid)
                processes.send(pid, signal.SIGTERM)

    def kill_now(self) -> None:
        self._kill_at = min(self._kill_at or time.monotonic(), time.monotonic())

    def due_at(self, now: float, *, childless: bool) -> float:
        """When `work` has something to do."""
        if not self.begun:
            return now + PATIENT_S if childless else float("inf")
        return max(self._kill_at, self._next_at)

    def work(self, pids: Callable[[], list[int]]) -> None:
        """One round of killing if the grace is over. Rounds repeat: a tree may fork meanwhile."""
        now = time.monotonic()
        if not self.begun or now < max(self._kill_at, self._next_at):
            return
        self._attempt.group.kill()
        freeze_and_kill(pids)
        self._rounds += 1
        self._tell_at = self._tell_at or now + LEFT_S
        if now >= self._tell_at:
            self._tell_at = float("inf")
            self.tell_left(described(pids()))
        # what does not die at once waits in the kernel; no point in spinning
        self._next_at = now + (AGAIN_S if self._rounds < 50 else PATIENT_S)

    def tell_left(self, detail: str) -> None:
        """Something of the attempt is not gone, and may never be."""
        self._attempt.report(records.LEFT, sync=False, detail=detail)


def described(pids: list[int]) -> str:
    """What does not end although it was killed, for people."""
    shown = ", ".join(processes.describe(pid) for pid in pids[:3])
    more = f" and {len(pids) - 3} more" if len(pids) > 3 else ""
    return f"killed and not gone: {shown}{more}"


def freeze_and_kill(pids: Callable[[], list[int]]) -> None:
    """SIGSTOP to all until no new one appears (a fork bomb stands still), then SIGKILL to all."""
    stopped: set[int] = set()
    for _ in range(100):
        new = set(pids()) - stopped - {os.getpid()}
        if not new:
            break
        for pid in new:
            processes.send(pid, signal.SIGSTOP)
        stopped |= new
    for pid in stopped:
        processes.send(pid, signal.SIGKILL)
