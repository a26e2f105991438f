"""Which process something belongs to, and whether that process still lives.

Called by `claims`, `holders` and `cache`. A process is known by the machine's boot, its pid
namespace, its pid and its start time: a pid alone is given again. A cache belongs to one node, so
what was left by another boot has no owner any more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    boot: str
    pids: str
    pid: int
    start: int

    def __str__(self) -> str:
        return f"{self.boot} {self.pids} {self.pid} {self.start}"


def parse(text: str) -> Owner | None:
    """None for what no `Owner` wrote, or not to its end."""
    words = text.split()
    if len(words) != 4 or not (words[2].isdigit() and words[3].isdigit()):
        return None
    return Owner(boot=words[0], pids=words[1], pid=int(words[2]), start=int(words[3]))


def myself() -> Owner:
    return of_process(os.getpid())


def of_process(pid: int) -> Owner:
    """pid: as this process sees it. A process that is gone has the start 0."""
    return Owner(boot=boot(), pids=_pid_namespace(), pid=pid, start=_state(pid)[1])


def is_dead(owner: Owner) -> bool | None:
    """None: it runs in another pid namespace (a container), where it cannot be seen from here."""
    if owner.boot != boot():
        return True
    if owner.pids != _pid_namespace():
        return None
    state, start = _state(owner.pid)
    # a zombie keeps its pid and start time, and never does anything again
    return state in {"", "Z", "X"} or start != owner.start


@lru_cache(maxsize=1)
def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@lru_cache(maxsize=1)
def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _state(pid: int) -> tuple[str, int]:
    """State and start in ticks since boot; an empty state if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "", 0
    fields = text.rpartition(b")")[2].split()
    return fields[0].decode("ascii"), int(fields[19])
