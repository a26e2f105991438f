"""The ranks of one attempt on one node, launcher `none`: started here, reaped here.

Called by the supervisor. `launched_ranks` has the same methods for ranks that mpiexec or torchrun
starts.
"""

from __future__ import annotations

import os
import signal

from zenkei.agent import memory, processes, rank_env, spawn
from zenkei.agent.attempt import Attempt, Cause
from zenkei.agent.output import Output
from zenkei.agent.pipes import Pipes
from zenkei.protocol import logs, names


class Ranks:
    """`running`: all ranks of this node have been started. `over`: and all have ended.

    ends: how those that have ended did.
    """

    def __init__(self, attempt: Attempt, pipes: Pipes) -> None:
        self.running = False
        self._attempt = attempt
        self._pipes = pipes
        self._alive: dict[int, int] = {}
        self._stderr: dict[int, Output] = {}
        self._first_end: Cause | None = None
        self._machine_kills = memory.machine_kills()
        self.ends: dict[int, Cause] = {}

    @property
    def over(self) -> bool:
        return self.running and not self._alive

    def start(self) -> Cause | None:
        """A cause if a rank cannot be started."""
        document = self._attempt.document
        cause = None
        for local in range(document.ranks):
            rank = document.node_rank * document.ranks + local
            env = rank_env.variables(self._attempt, rank, local)
            cause = cause or self._start(rank, document.argv, env)
        self.running = True
        return cause

    def pids(self) -> dict[int, int]:
        """Process by rank, of those that live here."""
        return {rank: pid for pid, rank in self._alive.items()}

    def launchers(self) -> list[int]:
        """Processes that start ranks, or did, and are none."""
        return []

    def _start(self, rank: int, command: tuple[str, ...], env: dict[str, str]) -> Cause | None:
        attempt = self._attempt
        argv = (*attempt.document.prefix, *command)
        program = spawn.Program(argv, names.WORK_DIR, env, rank_env.host_name(attempt.document))
        child = spawn.spawn(program, attempt.group)
        if child.error and program.host_name:
            # where no namespaces are allowed, names must resolve
            spawn.close(child)
            child = spawn.spawn(program._replace(host_name=""), attempt.group)
        self.attach(rank, child.stdout, child.stderr)
        if not child.error:
            self._alive[child.pid] = rank
            return None
        text = f"cannot start `{argv[0]}`: {os.strerror(child.error)}"
        attempt.remark(text)
        return Cause("nonzero_exit", code=spawn.exit_code(child.error), rank=rank, detail=text)

    def attach(self, rank: int, stdout: int, stderr: int) -> None:
        """Read a rank's pipes into the log."""
        shown = rank if rank >= 0 else logs.NO_RANK
        self._pipes.attach(shown, logs.STDOUT, stdout)
        self._stderr[rank] = self._pipes.attach(shown, logs.STDERR, stderr)

    def ended(self, pid: int, status: int) -> Cause | None:
        """A child was reaped. A cause if it is a rank that failed."""
        rank = self._alive.pop(pid, None)
        return None if rank is None else self._judge(rank, status)

    def _judge(self, rank: int, status: int) -> Cause | None:
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        number = os.WTERMSIG(status) if code is None else 0
        end = Cause("nonzero_exit", code=code, signal=number, rank=rank)
        self._first_end = self._first_end or end
        self.ends[rank] = end
        if code == 0:
            return None
        if self._attempt.group.out_of_memory():
            return end._replace(reason="out_of_memory")
        if number == signal.SIGKILL and memory.machine_kills() > self._machine_kills:
            detail = "the machine was out of memory, and its kernel killed the rank"
            return end._replace(reason="out_of_memory", detail=detail)
        return end

    def to_terminate(self) -> list[int]:
        """Processes that are asked to end: all below this one."""
        found = set(processes.below(os.getpid())) | self._attempt.group.members()
        return sorted(found - {os.getpid()})

    def last_words(self, cause: Cause | None) -> Cause:
        """The cause with the last line that its rank wrote to stderr; success if there is none."""
        if cause is None:
            return Cause("completed", code=0)
        if cause.rank < 0 and self._first_end is not None and not cause.code and not cause.signal:
            # stopped from outside: how the first rank took it
            end = self._first_end
            cause = cause._replace(code=end.code, signal=end.signal, rank=end.rank)
        if cause.detail or cause.rank not in self._stderr:
            return cause
        line = self._stderr[cause.rank].last_line.decode("utf-8", "replace")
        return cause._replace(detail=line)
