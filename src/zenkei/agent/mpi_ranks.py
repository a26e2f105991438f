"""The ranks of one attempt on one node, launcher `mpi`.

Called by the supervisor. mpiexec is a child of the head node's supervisor; on the other nodes its
daemons come through the control socket. A node is lost if its link to mpiexec ends before its
ranks; on the head mpiexec must have ended well too.
"""

from __future__ import annotations

import sys

from zenkei.agent import mpi, spawn
from zenkei.agent.attempt import Attempt, Cause
from zenkei.agent.launched_ranks import LaunchedRanks
from zenkei.agent.pipes import Pipes


class MpiRanks(LaunchedRanks):
    """See `launched_ranks`."""

    name = "mpiexec"

    def __init__(self, attempt: Attempt, pipes: Pipes) -> None:
        super().__init__(attempt, pipes)
        self._link_gone = False
        self._head = attempt.document.node_rank == 0

    def start(self) -> Cause | None:
        if not self._head:
            return None
        try:
            argv, extra = mpi.command(self._attempt.document, sys.argv[0])
        except mpi.NoMpi as error:
            self._attempt.remark(str(error))
            return Cause("nonzero_exit", code=spawn.NOT_FOUND, detail=str(error))
        return self._launch(argv, extra)

    @property
    def over(self) -> bool:
        """Once there is a cause mpiexec is not waited for.

        It may wait for ranks of other nodes, and those are asked to end when this one has ended.
        """
        if self._below:
            return False
        no_more = not self._launcher if self._head else self._link_gone
        return no_more or self._attempt.cause is not None

    def link_ended(self) -> Cause | None:
        """What mpiexec started here has ended."""
        self._link_gone = True
        return self._missing()
