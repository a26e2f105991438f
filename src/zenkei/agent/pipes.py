"""The pipes of all ranks: read when ready, into the log. Called by the supervisor's loop."""

from __future__ import annotations

import os
import selectors
import time
from typing import Callable

from zenkei.agent.attempt import Attempt
from zenkei.agent.output import Output, Tail

READ_BYTES = 65536


class Pipes:
    """One `Output` per pipe that is open. tails: the last output of every rank.

    heard: called with the rank for everything that is read.
    """

    def __init__(self, attempt: Attempt, selector: selectors.BaseSelector) -> None:
        self._attempt = attempt
        self._selector = selector
        self._outputs: dict[int, Output] = {}
        self.tails: dict[int, Tail] = {}
        self.heard: Callable[[int], None] = _ignore

    def attach(self, rank: int, stream: int, fd: int) -> Output:
        """Read a pipe into the log from now on."""
        secrets = list(self._attempt.secrets.values())
        tail = self.tails.setdefault(rank, Tail(secrets))
        output = Output(rank, stream, secrets, self._attempt.write, tail)
        os.set_blocking(fd, False)
        self._outputs[fd] = output
        self._selector.register(fd, selectors.EVENT_READ, self._read)
        return output

    def _read(self, fd: int) -> int:
        """One read; the number of bytes, 0 if there is nothing (more)."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return 0
        now_us = time.time_ns() // 1000
        output = self._outputs[fd]
        if data:
            self.heard(output.rank)
            output.feed(data, now_us)
            return len(data)
        self._forget(fd)
        output.close(now_us)
        return 0

    def _forget(self, fd: int) -> None:
        self._selector.unregister(fd)
        del self._outputs[fd]
        os.close(fd)

    def flush(self, now_us: int) -> None:
        """Show unfinished lines whose time has come."""
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

    def mark(self) -> None:
        """The ranks are about to be stopped: what they write from here on may be due to that."""
        for fd in list(self._outputs):
            self._read(fd)
        for tail in self.tails.values():
            tail.mark()

    def close(self) -> None:
        """No process is left that could write."""
        now_us = time.time_ns() // 1000
        for fd, output in list(self._outputs.items()):
            self._forget(fd)
            output.close(now_us)


def _ignore(_rank: int) -> None:
    """Until somebody listens."""
