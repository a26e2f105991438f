"""The ranks of one attempt on one node that a foreign launcher starts, which is not trusted.

Called by the supervisor. Each rank reports here itself (`rank_wrapper`): when it runs and how it
ended. What the launcher says about them is heard only where no rank has spoken: mpiexec may end
with 0 though a rank failed, torchrun makes 1 of every exit. The attempt has succeeded on this node
when every rank that belongs here has ended with 0. `mpi_ranks` and `torchrun_ranks` say how the
launcher is started.
"""

from __future__ import annotations

import json

from zenkei.agent import processes, rank_env
from zenkei.agent.attempt import Attempt, Cause
from zenkei.agent.pipes import Pipes
from zenkei.agent.ranks import Ranks

LAUNCHER = -1
"""Stands for the launcher where a rank's number is expected."""


class LaunchedRanks(Ranks):
    """Of this node; those of the others are their supervisors' affair."""

    name = "the launcher"

    def __init__(self, attempt: Attempt, pipes: Pipes) -> None:
        super().__init__(attempt, pipes)
        self._launcher = 0
        self._seen: set[int] = set()
        self._well: set[int] = set()
        self._below: dict[int, int] = {}

    def _launch(self, argv: tuple[str, ...], extra: dict[str, str]) -> Cause | None:
        """Start the launcher. A cause if it cannot be started."""
        document = self._attempt.document
        env = rank_env.variables(self._attempt, document.node_rank * document.ranks, 0)
        cause = self._start(LAUNCHER, argv, {**env, **extra})
        self._launcher = next(iter(self._alive), 0)
        return cause

    @property
    def over(self) -> bool:
        """No rank lives here, and whatever starts ranks here has gone or will not come."""
        return not (self._below or self._launcher)

    def pids(self) -> dict[int, int]:
        return dict(self._below)

    def launchers(self) -> list[int]:
        return [self._launcher] if self._launcher else []

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
        if pid != self._launcher:
            return None
        self._launcher = 0
        self._alive.pop(pid, None)
        return self._launcher_ended(status)

    def last_words(self, cause: Cause | None) -> Cause:
        """Where no rank came, whose words they are."""
        said = super().last_words(cause)
        if cause is None or cause.detail or said.rank >= 0 or self._seen or not said.detail:
            return said
        return said._replace(detail=f"{self.name}: {said.detail}")

    def _launcher_ended(self, status: int) -> Cause | None:
        return self._judge(LAUNCHER, status) or self._missing()

    def _missing(self) -> Cause | None:
        """Ranks that belong here and have not ended well, though nothing can start them now."""
        expected = self._attempt.document.ranks
        if len(self._well) >= expected or self._below:
            return None
        text = f"{self.name} ended, and {len(self._well)} of {expected} ranks here had ended well"
        return Cause("launch_failed", detail=text)

    def to_terminate(self) -> list[int]:
        """The ranks, never the launcher or its daemons: they would kill without a grace."""
        if not self._below:
            return super().to_terminate()
        return [pid for rank in self._below for pid in self.processes_of(rank)]

    def processes_of(self, rank: int) -> list[int]:
        """Of a rank that lives here."""
        pid = self._below[rank]
        return [*processes.below(pid), pid]
