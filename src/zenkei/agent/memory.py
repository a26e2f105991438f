"""Memory of a tree by proportional set size, where no control group limits it.

Called by the supervisor once a second. Counts private memory, each process's share of shared
memory, and files in /dev/shm that the tree has open without mapping them. Blind to files in
/dev/shm that no process of the tree has open any more, and to peaks between two looks.
"""

from __future__ import annotations

import os
from typing import Callable

EVERY_S = 1.0
_SHM = "/dev/shm/"  # noqa: S108 - only looked at


class MemoryWatch:
    """`text` says what was found when the limit was exceeded."""

    def __init__(self, limit_bytes: int) -> None:
        self.next_at = 0.0
        self.text = ""
        self._limit_bytes = limit_bytes

    def exceeded(self, now: float, pids: Callable[[], list[int]]) -> bool:
        """True if the tree holds more than the limit; looks at most once in EVERY_S."""
        if now < self.next_at or self.text:
            return False
        self.next_at = now + EVERY_S
        used = tree_bytes(pids())
        if used <= self._limit_bytes:
            return False
        self.text = f"used {used >> 20} MiB of {self._limit_bytes >> 20} MiB"
        return True


def machine_kills() -> int:
    """How many processes this machine's kernel has killed for want of memory since it started.

    In control groups or in all; 0 where it does not tell.
    """
    try:
        with open("/proc/vmstat", "rb") as file:
            found = [line for line in file if line.startswith(b"oom_kill ")]
        return int(found[0].split()[1]) if found else 0
    except OSError:
        return 0


def tree_bytes(pids: list[int]) -> int:
    """Memory held by these processes together."""
    private = shared = 0
    files: dict[tuple[int, int], int] = {}
    for pid in pids:
        pss, shm = _pss(pid)
        private += pss - shm
        shared += shm
        files.update(_open_shared_files(pid))
    return private + max(shared, sum(files.values()))


def _pss(pid: int) -> tuple[int, int]:
    """Proportional set size, and the shared memory in it."""
    pss = shm = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    pss = int(line.split()[1]) << 10
                elif line.startswith(b"Pss_Shmem:"):
                    shm = int(line.split()[1]) << 10
    except OSError:
        pass
    return pss, shm


def _open_shared_files(pid: int) -> dict[tuple[int, int], int]:
    found = {}
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{name}"
            if os.readlink(path).startswith(_SHM):
                status = os.stat(path)
                found[status.st_dev, status.st_ino] = status.st_blocks * 512
    except OSError:
        pass
    return found
