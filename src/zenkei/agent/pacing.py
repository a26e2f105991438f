"""How the ranks of a gang spend their time: what shows a straggler; called by `hang` at each look.

One sample per rank and look of what its main thread does, while the job makes progress. After
FIRST samples, half as many more and so on, a `share` record is written, if a rank's part has
changed; after MOST the count begins anew. The engine puts those of all nodes together
(`protocol.hangs.straggler`). Cost: 60 µs a rank and look.
"""

from __future__ import annotations

from zenkei.agent import processes, vitals, waits
from zenkei.agent.attempt import Attempt
from zenkei.protocol import hangs, records

FIRST = 12
MOST = FIRST * 16
MOST_RECORDS = 20
AGAIN = 10
"""Looks after which the tree of a rank is read anew."""


class Pacing:
    """alone: there is nobody to compare with, nothing is done.

    stopped: ranks that are, and since when they have been seen so.
    """

    def __init__(self, attempt: Attempt, *, alone: bool) -> None:
        self._attempt = attempt
        self._is_over = alone
        self._spins = attempt.document.launcher == "mpi"
        self.stopped: dict[int, float] = {}
        self._looks = 0
        self._due = FIRST
        self._rounds = 0
        self._works: dict[int, int] = {}
        self._sleeps: dict[int, int] = {}
        self._queued: dict[int, int] = {}
        self._times: dict[int, tuple[int, int]] = {}
        self._leaves: dict[int, int] = {}
        self._told = ""
        self._records = 0

    def look(self, pids: dict[int, int], now: float, *, moves: bool) -> None:
        """moves: there was a sign of progress lately; others' time is no measure."""
        if self._is_over or not moves:
            return
        self._rounds += 1
        if self._rounds % AGAIN == 1 or self._leaves.keys() != pids.keys():
            self._leaves = {rank: leaf(pid) for rank, pid in pids.items()}
        for rank, pid in self._leaves.items():
            fields = processes.stat(pid, pid)
            if fields and fields[0] == b"T":
                self.stopped.setdefault(rank, now)
            else:
                self.stopped.pop(rank, None)
            kind = waits.of_thread(pid, pid).kind
            works = bool(fields) and fields[0] in (b"R", b"D")
            self._works[rank] = self._works.get(rank, 0) + (works or kind == waits.RUNNING)
            self._sleeps[rank] = self._sleeps.get(rank, 0) + (kind == waits.SLEEP)
            queued = self._stood_in_line(pid) and bool(fields) and fields[0] == b"R"
            self._queued[rank] = self._queued.get(rank, 0) + queued
        self._looks += 1
        if self._looks >= self._due:
            self._due += self._due // 2
            self._tell()
        if self._looks >= MOST:
            self._looks, self._due = 0, FIRST
            self._works.clear()
            self._sleeps.clear()
            self._queued.clear()

    def _stood_in_line(self, pid: int) -> bool:
        """True if since the last look it waited longer for a processor than it had one."""
        before, now = self._times.get(pid, (0, 0)), vitals.times_ns(pid)
        self._times[pid] = now
        return now[1] - before[1] > now[0] - before[0]

    def _tell(self) -> None:
        shares = [
            hangs.Share(rank, works, self._sleeps[rank], self._looks, self._queued[rank])
            for rank, works in sorted(self._works.items())
        ]
        told = " ".join(hangs.part_of(share) for share in shares)
        if told == self._told:
            return
        self._told = told
        self._records += 1
        self._is_over = self._records >= MOST_RECORDS
        rows = [list(share) for share in shares]
        self._attempt.report(records.SHARE, sync=False, ranks=rows, spins=self._spins)


def leaf(pid: int) -> int:
    """The process that does the rank's work: below shells and wrappers that wait for a child."""
    for _ in range(8):
        if waits.of_thread(pid, pid).kind != waits.CHILD:
            break
        below = processes.children(pid)
        if not below:
            break
        pid = below[-1]
    return pid
