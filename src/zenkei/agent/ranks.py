"""The ranks of one attempt on one node: starting them, their pipes, how they ended.

Called by the supervisor's loop only.
"""

from __future__ import annotations

import os
import selectors
import time

from zenkei.agent import rank_env, spawn
from zenkei.agent.attempt import Attempt, Cause
from zenkei.agent.output import Output
from zenkei.protocol import logs, names

READ_BYTES = 65536


class Ranks:
    """`started`: start_all was called. `alive`: process ids of ranks that have not ended."""

    def __init__(self, attempt: Attempt, selector: selectors.BaseSelector) -> None:
        self.started = False
        self.alive: dict[int, int] = {}
        self._attempt = attempt
        self._selector = selector
        self._outputs: dict[int, Output] = {}
        self._stderr: dict[int, Output] = {}
        self._failed: list[Cause] = []
        self._first_end: Cause | None = None

    def start_all(self) -> None:
        self.started = True
        document = self._attempt.document
        own = document.ranks if document.launcher == "none" else int(document.node_rank == 0)
        for local in range(own):
            self._start(document.node_rank * document.ranks + local, local)

    def _start(self, rank: int, local: int) -> None:
        attempt = self._attempt
        env = rank_env.variables(attempt.document, rank, local, attempt.secrets)
        argv = (*attempt.document.prefix, *attempt.document.argv)
        child = spawn.spawn(argv, cwd=names.WORK_DIR, env=env, entrances=attempt.group.entrances())
        self.alive[child.pid] = rank
        self.attach(rank, logs.STDOUT, child.stdout)
        self._stderr[rank] = self.attach(rank, logs.STDERR, child.stderr)
        if child.error:
            text = f"cannot start `{argv[0]}`: {os.strerror(child.error)}"
            attempt.remark(text)
            code = spawn.exit_code(child.error)
            self._failed.append(Cause("nonzero_exit", code=code, rank=rank, detail=text))

    def attach(self, rank: int, stream: int, fd: int) -> Output:
        """Read a pipe into the log."""
        output = Output(rank, stream, list(self._attempt.secrets.values()), self._attempt.write)
        os.set_blocking(fd, False)
        self._outputs[fd] = output
        self._selector.register(fd, selectors.EVENT_READ, self._readable)
        return output

    # -- output ------------------------------------------------------------------------------------

    def _readable(self, fd: int) -> None:
        self._read(fd)

    def _read(self, fd: int) -> int:
        """One read; the number of bytes, 0 if there is nothing (more)."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return 0
        now_us = time.time_ns() // 1000
        output = self._outputs[fd]
        if data:
            output.feed(data, now_us)
            return len(data)
        self._selector.unregister(fd)
        del self._outputs[fd]
        os.close(fd)
        output.close(now_us)
        return 0

    def flush(self, now_us: int) -> None:
        for output in self._outputs.values():
            output.flush(now_us)

    def deadline_us(self) -> int:
        """When the next unfinished line must be shown; 0: none waits."""
        due = [output.deadline_us for output in self._outputs.values() if output.deadline_us]
        return min(due, default=0)

    def drain(self, limit: int) -> None:
        """Take what lies in the pipes, `limit` bytes each at most: leftovers may print for ever."""
        for fd in list(self._outputs):
            left = limit
            while left > 0 and fd in self._outputs:
                got = self._read(fd)
                if not got:
                    break
                left -= got

    def close(self) -> None:
        """No process is left that could write."""
        now_us = time.time_ns() // 1000
        for fd, output in self._outputs.items():
            self._selector.unregister(fd)
            os.close(fd)
            output.close(now_us)
        self._outputs.clear()

    # -- ends --------------------------------------------------------------------------------------

    def ended(self, pid: int, status: int) -> Cause | None:
        """A child was reaped. A cause if it is a rank that failed."""
        rank = self.alive.pop(pid, None)
        if rank is None:
            return None
        for cause in self._failed:
            if cause.rank == rank:
                return cause
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        number = os.WTERMSIG(status) if code is None else 0
        end = Cause("nonzero_exit", code=code, signal=number, rank=rank)
        self._first_end = self._first_end or end
        if code == 0:
            return None
        killed = self._attempt.group.out_of_memory()
        return end._replace(reason="out_of_memory") if killed else end

    def last_words(self, cause: Cause | None) -> Cause:
        """The cause with the last line that its rank wrote to stderr; success if there is none."""
        if cause is None:
            return Cause("completed", code=0)
        if cause.rank < 0 and self._first_end is not None:
            # stopped from outside: how the first rank took it
            _, code, number, rank, _ = self._first_end
            cause = cause._replace(code=code, signal=number, rank=rank)
        if cause.detail or cause.rank not in self._stderr:
            return cause
        line = self._stderr[cause.rank].last_line.decode("utf-8", "replace")
        return cause._replace(detail=line)
