"""Forked processes that do parts of one work, because threads lose: Python holds its lock.

Called by commit, export and verify. Forked, so they share what the parent has read without copying
it; the parent has no threads and has opened no depot (clients of S3 have threads of their own,
which do not survive a fork): whoever needs a depot opens it in the worker. Workers die with their
parent.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Final, Self

from zenkei.data import disk
from zenkei.model import errors

FORK: Final = get_context("fork")
MAX_WORKERS: Final = 16
PR_SET_PDEATHSIG: Final = 1
NO_DEFECT: Final = disk.FULL | {errno.EROFS}

Work = Callable[[Any], Any]


def usual() -> int:
    """As many as there are cores to run on, within reason."""
    return max(1, min(len(os.sched_getaffinity(0)), MAX_WORKERS))


class Workers:
    """`prepare` is called in each process once and returns what does a task.

    If that has a `close`, it is called at the end, unless the end comes by an error.
    """

    def __init__(self, count: int, prepare: Callable[[], Work]) -> None:
        self._lines: list[Connection] = []
        self._processes = []
        gc.freeze()  # a collection in a child would copy every page it looks at
        for _ in range(count):
            mine, theirs = FORK.Pipe()
            process = FORK.Process(
                target=_serve, args=(theirs, [*self._lines, mine], os.getpid(), prepare)
            )
            process.start()
            theirs.close()
            self._lines.append(mine)
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self.close(at_once=kind is not None)

    def close(self, *, at_once: bool = False) -> None:
        for line in self._lines:
            line.close()
        for process in self._processes:
            if at_once and process.pid is not None:
                process.terminate()
            process.join()
        self._lines, self._processes = [], []

    def ask(self, task: object) -> Any:
        """One task of the first worker, for those that are alone."""
        return next(self.run(deque([task])))

    def run(self, tasks: deque[Any]) -> Iterator[Any]:
        """Results in the order in which they come. The caller may add tasks between two of them.

        Raises what a worker raised, and Unavailable if one was killed.
        """
        idle, busy = list(self._lines), 0
        while tasks or busy:
            while tasks and idle:
                _send(idle.pop(), tasks.popleft())
                busy += 1
            for line in wait([line for line in self._lines if line not in idle]):
                assert isinstance(line, Connection)
                result = _receive(line)
                busy -= 1
                idle.append(line)
                yield result


def _send(line: Connection, task: object) -> None:
    with suppress(BrokenPipeError):  # the answer that does not come tells it
        line.send(task)


def _receive(line: Connection) -> Any:
    try:
        said, value = line.recv()
    except (EOFError, ConnectionResetError):
        raise errors.Unavailable(
            "worker-died",
            "a process that reads or writes files of the dataset was killed",
            hint="was there enough memory? Nothing is damaged: try again, with fewer `--jobs`",
        ) from None
    if said == "ok":
        return value
    if said == "error":
        name, code, message, hint, details = value
        raise getattr(errors, name)(code, message, hint=hint, details=details)
    if said == "disk":  # whoever asked knows what it is that cannot be written
        raise OSError(value, os.strerror(value))
    raise RuntimeError(value)


def _serve(line: Connection, others: list[Connection], parent: int, prepare: Any) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_DFL)
    if os.getppid() != parent:
        return  # it died before we could be told to die with it
    for other in others:
        other.close()
    work: Any = None
    while True:
        try:
            task = line.recv()
        except (EOFError, ConnectionResetError):
            break
        try:
            work = work or prepare()
            answer: object = ("ok", work(task))
        except errors.ZenkeiError as error:
            value = (type(error).__name__, error.code, error.message, error.hint, error.details)
            answer = ("error", value)
        except Exception as error:  # noqa: BLE001 - the parent raises it
            answer = ("defect", traceback.format_exc())
            if isinstance(error, OSError) and error.errno in NO_DEFECT:
                answer = ("disk", error.errno)
        with suppress(BrokenPipeError):
            line.send(answer)
    close = getattr(work, "close", None)
    if close is not None:
        close()
