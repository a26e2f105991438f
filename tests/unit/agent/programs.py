"""Real Python programs to be looked at from outside, for tests of `waits` and `suspects`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from zenkei.agent import processes, waits

READY = "import sys; sys.stdout.write('ready\\n'); sys.stdout.flush()\n"


@contextmanager
def running(program: str, cwd: str) -> Iterator[int]:
    """Its pid, while it runs; nothing of it is left afterwards."""
    command = [sys.executable, "-c", READY + program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=cwd) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            below = processes.below(process.pid)
            process.kill()
            for pid in below:
                processes.send(pid, 9)


def helpers(pid: int) -> list[int]:
    """Its threads but the main one."""
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task") if int(name) != pid)


def settled(pid: int, kind: str, tid: int = 0) -> waits.Wait:
    """The wait of its main thread (or of another), once it has come so far."""
    found = waits.of_thread(pid, tid or pid)
    for _ in range(500):
        if found.kind == kind:
            break
        time.sleep(0.01)
        found = waits.of_thread(pid, tid or pid)
    return found
