"""Since when no main thread of any rank has run: what helper threads print is no progress.

Called by `hang`. A thread that prints "alive" every second says nothing about the one that trains.
What counts is how often the kernel has given a processor to the main thread of each rank, wrappers
that wait for it looked through. Cost: 10 µs a rank and look.
"""

from __future__ import annotations

from zenkei.agent import pacing, vitals


class Stillness:
    """`look` at every look of the watch."""

    def __init__(self) -> None:
        self._since = 0.0
        self._looks = 0
        self._leaves: dict[int, int] = {}
        self._runs: dict[int, int] = {}

    def look(self, pids: dict[int, int], now: float) -> float:
        """For how long none has run, in seconds. pids: by rank."""
        if self._looks % pacing.AGAIN == 0 or self._leaves.keys() != pids.keys():
            self._leaves = {rank: pacing.leaf(pid) for rank, pid in pids.items()}
        self._looks += 1
        runs = self._count()
        if runs != self._runs:
            self._runs, self._since = runs, now
        return now - self._since

    def rebase(self) -> None:
        """What ran until now did so because of us (a dump makes threads run)."""
        self._runs = self._count()

    def _count(self) -> dict[int, int]:
        return {pid: vitals.runs(pid, pid) for pid in self._leaves.values()}
