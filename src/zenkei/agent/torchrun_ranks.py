"""The ranks of one attempt on one node, launcher `torchrun`.

Called by the supervisor. Every node's supervisor starts PyTorch's own `torchrun` from the job's
environment; they meet in the store that the first node's opens at the port that zenkei has leased
(rendezvous `static`: names are never resolved). Measured facts behind it: torchrun makes 1 of every
exit status, sends SIGTERM to all its ranks when one fails, and ends with 1 when it is told to end
itself, whatever its ranks do; so it is heard only about ranks that never came.
"""

from __future__ import annotations

import shutil
import signal
import sys

from zenkei.agent import meeting, processes, rank_wrapper, spawn
from zenkei.agent.attempt import Cause
from zenkei.agent.launched_ranks import LAUNCHER, LaunchedRanks
from zenkei.protocol import launch

NO_TORCH = "the job's environment has no PyTorch: add `torch` to env.packages"
_MISSING = ("No module named 'torch'", "No module named torch")
_IN_USE = "EADDRINUSE"
_LAST_BYTES = 1 << 20


def command(document: launch.Launch, python: str, archive: str) -> tuple[str, ...]:
    """Argv of torchrun on this node. Options with underscores: old versions know no others."""
    options = (
        *("--nnodes", str(document.nodes), "--nproc_per_node", str(document.ranks)),
        *("--node_rank", str(document.node_rank), "--rdzv_backend", "static"),
        *("--master_addr", document.addresses[0], "--master_port", str(document.port)),
        *("--max_restarts", "0", "--no_python"),
    )
    wrapper = (sys.executable, "-I", "-S", archive, *rank_wrapper.words(document.argv))
    return (python, "-m", "torch.distributed.run", *options, *wrapper)


class TorchrunRanks(LaunchedRanks):
    """See `launched_ranks`."""

    name = "torchrun"

    def start(self) -> Cause | None:
        document = self._attempt.document
        python = shutil.which("python", path=document.env.get("PATH", ""))
        if python is None:
            self._attempt.remark(NO_TORCH)
            return Cause("nonzero_exit", code=spawn.NOT_FOUND, detail=NO_TORCH)
        return self._launch(command(document, python, sys.argv[0]), {})

    def to_terminate(self) -> list[int]:
        if self._launcher and not self._below:
            # it has nothing to save, and would answer SIGTERM with a traceback of many lines
            processes.send(self._launcher, signal.SIGKILL)
        return super().to_terminate()

    def _launcher_ended(self, status: int) -> Cause | None:
        if self._below:
            return Cause("launch_failed", detail="torchrun ended while ranks ran")
        return self._missing() if self._seen else self._never_came(status)

    def _never_came(self, status: int) -> Cause | None:
        """torchrun ended before any rank ran here."""
        cause = self._judge(LAUNCHER, status) or self._missing()
        if cause is None:
            return None
        self._pipes.drain(_LAST_BYTES)
        line = self._stderr[LAUNCHER].last_line.decode("utf-8", "replace")
        if any(text in line for text in _MISSING):
            self._attempt.remark(NO_TORCH)
            return cause._replace(detail=NO_TORCH)
        if _IN_USE in line:
            return Cause("launch_failed", detail=meeting.taken(self._attempt.document, ""))
        return cause
