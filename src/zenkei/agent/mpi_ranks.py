"""The ranks of one attempt on one node, launcher `mpi`: started by mpiexec, which is not trusted.

Called by the supervisor. mpiexec is a child of the head node's supervisor; on the other nodes its
daemons come through the control socket. Each rank reports here itself (`mpi_rank`). The attempt has
succeeded on this node when every rank that belongs here has ended with 0 and, on the head, mpiexec
has too. A node is lost if its link to mpiexec ends before its ranks.
"""

from __future__ import annotations

import json
import sys

from zenkei.agent import mpi, processes, rank_env, spawn
from zenkei.agent.attempt import Attempt, Cause
from zenkei.agent.pipes import Pipes
from zenkei.agent.ranks import Ranks

MPIEXEC = -1
"""Stands for mpiexec where a rank's number is expected."""


class MpiRanks(Ranks):
    """Of this node; those of the others are their supervisors' affair."""

    def __init__(self, attempt: Attempt, pipes: Pipes) -> None:
        super().__init__(attempt, pipes)
        self._link_gone = False
        self._head = attempt.document.node_rank == 0
        self._mpiexec = 0
        self._seen: set[int] = set()
        self._well: set[int] = set()
        self._below: dict[int, int] = {}

    def start(self) -> Cause | None:
        if not self._head:
            return None
        document = self._attempt.document
        try:
            argv, extra = mpi.command(document, sys.argv[0])
        except mpi.NoMpi as error:
            self._attempt.remark(str(error))
            return Cause("nonzero_exit", code=spawn.NOT_FOUND, detail=str(error))
        env = rank_env.variables(document, 0, 0, self._attempt.secrets)
        cause = self._start(MPIEXEC, argv, {**env, **extra})
        self._mpiexec = next(iter(self._alive), 0)
        return cause

    @property
    def over(self) -> bool:
        """No rank lives here, and whatever starts ranks here has gone or will not come."""
        if self._below or self._mpiexec:
            return False
        if self._head:
            return True
        return self._link_gone or self._attempt.cause is not None

    def register(self, payload: bytes, pipes: list[int]) -> int:
        """A rank runs; its number. Raises ValueError, KeyError for what is no such message."""
        fields = json.loads(payload)
        rank, pid = int(fields["rank"]), int(fields["pid"])
        if len(pipes) != 2:
            raise ValueError("a rank comes with two pipes")
        self._seen.add(rank)
        self._below[rank] = pid
        self.attach(rank, *pipes)
        self.running = len(self._seen) >= self._attempt.document.ranks
        return rank

    def rank_ended(self, rank: int, payload: bytes) -> Cause | None:
        """A rank has told its end."""
        fields = json.loads(payload)
        self._below.pop(rank, None)
        cause = self._judge(rank, int(fields["status"]))
        if cause is None:
            self._well.add(rank)
            return None
        return cause._replace(at_us=int(fields["at_us"]))

    def rank_lost(self, rank: int) -> Cause | None:
        """What ran a rank is gone without telling how it ended."""
        if self._below.pop(rank, None) is None:
            return None
        return Cause("launch_failed", rank=rank, detail=f"rank {rank} was lost")

    def ended(self, pid: int, status: int) -> Cause | None:
        if pid != self._mpiexec:
            return None
        self._mpiexec = 0
        self._alive.pop(pid, None)
        return self._judge(MPIEXEC, status) or self._missing()

    def link_ended(self) -> Cause | None:
        """What mpiexec started here has ended."""
        self._link_gone = True
        return self._missing()

    def _missing(self) -> Cause | None:
        expected = self._attempt.document.ranks
        if len(self._well) >= expected or self._below:
            return None
        text = f"mpiexec ended, and {len(self._well)} of {expected} ranks here had ended well"
        return Cause("launch_failed", detail=text)

    def to_terminate(self) -> list[int]:
        """The ranks, never mpiexec or its daemons: they would kill the ranks without a grace."""
        if not self._below:
            return super().to_terminate()
        found = []
        for pid in self._below.values():
            found += [*processes.below(pid), pid]
        return found
