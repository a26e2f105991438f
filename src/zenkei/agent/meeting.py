"""Before the ranks of a gang start: the interface between them, and the port where they meet.

Called by the supervisor. The engine has leased the port; here it is looked at once more, where the
ranks will run, and on the first node it is held, so that nobody gets it from the kernel while the
ranks load their libraries. Ranks that zenkei starts without a launcher may open it in any way they
like: for them it is free again when they start.
"""

from __future__ import annotations

import glob
import socket
import sys

from zenkei.agent import network, rdma
from zenkei.agent.attempt import Attempt, Cause
from zenkei.protocol import launch

HOLDS = ("torchrun", "jax")
"""Launchers whose listener (PyTorch's store, gRPC) can take the port beside our hold."""


class Meeting:
    """Of one attempt on one node. The hold ends with the supervisor."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._held: socket.socket | None = None

    def arrange(self) -> Cause | None:
        """A cause if the ranks could not meet."""
        document = self._attempt.document
        lacking = rdma.trouble() if document.rdma else ""
        if lacking:
            text = f"{document.node} cannot give RDMA: {lacking}"
            return Cause("health_check", detail=text)
        if document.nodes * document.ranks < 2 and document.launcher not in HOLDS:
            return None
        self._remark_alone()
        own = document.addresses[document.node_rank]
        port = document.port if document.node_rank == 0 else 0
        try:
            if document.prefix:
                found = network.look_inside(
                    document.prefix, sys.argv[0], own, document.addresses, port
                )
            else:
                found = network.look(own, document.addresses, port)
        except OSError as error:
            text = f"the network of {document.node} cannot be looked at: {error}"
            return Cause("launch_failed", detail=text)
        self._attempt.interface = found.interface
        if found.taken_by:
            return Cause("launch_failed", detail=taken(document, found.taken_by))
        if found.held is not None and document.launcher not in HOLDS:
            found.held.close()
        else:
            self._held = found.held
        return None

    def _remark_alone(self) -> None:
        """An MPI program without mpiexec trains as often as it has ranks, and says no word."""
        document = self._attempt.document
        pattern = f"{glob.escape(document.env_dir)}/lib/python*/site-packages/mpi4py"
        if document.launcher == "none" and document.env_dir and glob.glob(pattern):
            self._attempt.remark(
                f"{document.nodes * document.ranks} ranks start side by side; a program that uses"
                " MPI sees itself alone in each of them: `launcher: mpi` makes them one world"
            )


def taken(document: launch.Launch, by: str) -> str:
    """For people: the port of the rendezvous belongs to somebody else."""
    who = f" is taken by {by}" if by else " is taken by another program"
    return f"port {document.port} of {document.node}, where the ranks would meet,{who}"
