"""Which processes belong to a tree, read from /proc; called by supervisors and the cleaner.

Three ways, each with its blind spot: `below` sees all descendants of a living subreaper; `marked`
sees processes of this uid that still carry the tree's mark in their environment; a control group
(`groups`) sees all that ever entered it.
"""

from __future__ import annotations

import os
import signal
from functools import lru_cache

_PROC = "/proc"


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Changes with every boot of the machine: read once, in the process that forks supervisors."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read().decode().strip()


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none."""
    fields = stat(pid)
    return int(fields[19]) if fields else 0


def describe(pid: int) -> str:
    """`4711 (python, state D)`, for people."""
    try:
        with open(f"{_PROC}/{pid}/comm", "rb") as file:
            name = file.read().decode("utf-8", "replace").strip()
    except OSError:
        name = "?"
    fields = stat(pid)
    return f"{pid} ({name}, state {fields[0].decode() if fields else '?'})"


def is_zombie(pid: int) -> bool:
    """True if it has ended and waits for its parent; also if it is not there at all."""
    fields = stat(pid)
    return not fields or fields[0] in (b"Z", b"X")


def stat(pid: int, tid: int = 0) -> list[bytes]:
    """Fields of /proc/PID/stat after the name, or of one thread; none if it is not there."""
    thread = f"/task/{tid}" if tid else ""
    try:
        with open(f"{_PROC}/{pid}{thread}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def below(root: int) -> list[int]:
    """All descendants of `root`, zombies included. Those that fork meanwhile may be missed."""
    found: list[int] = []
    seen = {root}
    todo = [root]
    while todo:
        for child in children(todo.pop()):
            if child not in seen:
                seen.add(child)
                found.append(child)
                todo.append(child)
    return found


def children(pid: int) -> list[int]:
    """Children of all threads of a process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"{_PROC}/{pid}/task"):
            with open(f"{_PROC}/{pid}/task/{thread}/children", "rb") as file:
                found.extend(map(int, file.read().split()))
    except OSError:
        pass
    return found


def marked(mark: bytes) -> list[int]:
    """Living processes that have `mark` (NAME=value) in their environment, except this one."""
    own = os.getpid()
    return [pid for pid in everybody() if pid != own and has_mark(pid, mark)]


def everybody() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdigit()]


def has_mark(pid: int, mark: bytes) -> bool:
    try:
        with open(f"{_PROC}/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:
        return False


def send(pid: int, number: int) -> None:
    """A signal to a process that may be gone by now, or no longer ours (set-uid)."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def kill_marked(pid: int, mark: bytes) -> None:
    """SIGKILL, unless the process id has meanwhile gone to somebody else."""
    opened = getattr(os, "pidfd_open", None)
    if opened is None:
        if has_mark(pid, mark):
            send(pid, signal.SIGKILL)
        return
    try:
        fd = opened(pid)
    except OSError:
        return
    try:
        if has_mark(pid, mark):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        os.close(fd)
