"""Control groups as far as this process may write them; called by supervisors and the cleaner.

The ideal is one v2 group that kills, limits and weighs. Departures: v2 without controllers beside
v1 (kill with v2, limit and weigh with v1), v1 only (freezer to hold a tree still while it is
killed), nothing writable (an ordinary user without delegation): then all methods do nothing and
`proof` says so.
Source: kernel documentation, admin-guide/cgroup-v2 and cgroup-v1.
"""

from __future__ import annotations

import glob
import os
import signal
import time
from contextlib import contextmanager
from typing import Callable, Iterable, Iterator, NamedTuple

from zenkei.agent import processes

NO_GROUP = "subreaper"
SWEEP_AGE_S = 60.0
MOST_ROUNDS = 16


class Places(NamedTuple):
    """Directories in which this process may make groups; empty: may not, or there is none."""

    unified: str = ""
    freezer: str = ""
    memory: str = ""
    cpu: str = ""


def find_places(without: tuple[str, ...] = ()) -> Places:
    """Look once; a warm process hands the answer to all it forks. without: fields left empty."""
    own = _own_groups()
    unified = freezer = memory = cpu = ""
    for point, kind, options in _mounts():
        if kind == "cgroup2":
            unified = _writable(point + own.get("", "/"))
        elif "freezer" in options:
            freezer = _writable(point + own.get("freezer", "/"))
        elif "memory" in options:
            memory = _writable(point + own.get("memory", "/"))
        elif "cpu" in options:
            cpu = _writable(point + own.get("cpu", "/"))
    found = Places(unified, freezer, memory, cpu)
    return found._replace(**dict.fromkeys(without, ""))


def _own_groups() -> dict[str, str]:
    """Group of this process by controller; the v2 one under the empty name."""
    found = {}
    for line in _lines("/proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _mounts() -> list[tuple[str, str, list[str]]]:
    found = []
    for line in _lines("/proc/self/mounts"):
        fields = line.split(" ")
        if len(fields) > 3 and fields[2] in ("cgroup", "cgroup2"):
            found.append((fields[1], fields[2], fields[3].split(",")))
    return found


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _writable(path: str) -> str:
    path = path.rstrip("/")
    able = os.access(path, os.W_OK | os.X_OK) and os.access(f"{path}/cgroup.procs", os.W_OK)
    return path if able else ""


def unified_folder(places: Places, tree: str) -> str:
    """The v2 group of a tree; empty if there is none."""
    return places.unified and f"{places.unified}/zenkei-{tree}"


class Group:
    """The groups of one tree. `proof` names the mechanism that will tell when it is empty.

    inside: this process was born in the v2 group (see `kernel.fork_into`). Going into a group later
    costs 12 ms after a while without such moves (the kernel waits for all CPUs), going out nothing.
    """

    def __init__(self, places: Places, tree: str, *, inside: bool = False) -> None:
        name = f"zenkei-{tree}"
        self._places = places
        self._inside = inside
        self._unified = unified_folder(places, tree)
        self._freezer = "" if self._unified else places.freezer and f"{places.freezer}/{name}"
        self._memory_v1 = places.memory and f"{places.memory}/{name}"
        self._cpu_v1 = places.cpu and f"{places.cpu}/{name}"
        self._cpu_made = False
        self._shares_v1 = 0
        self.limits_memory = False
        self.shares_cpu = ""

    @property
    def proof(self) -> str:
        if self._unified and os.path.exists(self._unified):
            return "cgroup"
        if self._freezer and os.path.exists(self._freezer):
            return "cgroup-freezer"
        return NO_GROUP

    def create(self, memory_bytes: int, cpu_milli: int) -> None:
        """Make the groups. What fails is done without; `limits_memory`, `shares_cpu`, `proof` tell.

        cpu_milli: a weight, not a ceiling; 1000 weigh as much as one thread outside of any group.
        """
        if self._unified and not make(self._unified):
            self._unified = ""
        if self._freezer and not make(self._freezer):
            self._freezer = ""
        if memory_bytes and self._unified:
            self.limits_memory = _write(f"{self._unified}/memory.max", str(memory_bytes))
            _write(f"{self._unified}/memory.swap.max", "0")
        if not memory_bytes or self.limits_memory:
            self._memory_v1 = ""
        elif self._memory_v1:
            self.limits_memory = make(self._memory_v1) and _write(
                f"{self._memory_v1}/memory.limit_in_bytes", str(memory_bytes)
            )
            _write(f"{self._memory_v1}/memory.memsw.limit_in_bytes", str(memory_bytes))
        self._share_cpu(cpu_milli)

    def _share_cpu(self, cpu_milli: int) -> None:
        weight = min(max(round(cpu_milli / 10), 1), 10_000)
        if not cpu_milli:
            self._cpu_v1 = ""
        elif self._unified and _write(f"{self._unified}/cpu.weight", str(weight)):
            self.shares_cpu, self._cpu_v1 = "cgroup", ""
        elif self._cpu_v1:
            self.shares_cpu = "cgroup-v1"
            self._shares_v1 = min(max(round(cpu_milli * 1.024), 2), 262_144)
            if self._freezer or self._memory_v1:
                # the way into a group is gone anyway: no need to go later
                self._make_cpu_v1()

    @property
    def cpu_is_due(self) -> bool:
        """Whether `share_cpu` is to be called some time after the start."""
        return self.shares_cpu == "cgroup-v1" and not self._cpu_made

    def share_cpu(self, pids: Callable[[], Iterable[int]]) -> None:
        """Take a living tree in. Its weight can wait, its start cannot (12 ms, see above).

        A number that another process got in this instant costs that one its weight, no more.
        """
        known: set[int] = set()
        if self._make_cpu_v1():
            for _ in range(MOST_ROUNDS):
                new = set(pids()) - known
                for pid in new:
                    _write(f"{self._cpu_v1}/cgroup.procs", str(pid))
                known |= new
                if not new:
                    return

    def _make_cpu_v1(self) -> bool:
        self._cpu_made = make(self._cpu_v1) and _write(
            f"{self._cpu_v1}/cpu.shares", str(self._shares_v1)
        )
        self.shares_cpu = self.shares_cpu if self._cpu_made else ""
        return self._cpu_made

    def _folders(self) -> list[str]:
        """Those that hold the tree; who is only weighed is not proved to be of it."""
        return [path for path in (self._unified, self._freezer, self._memory_v1) if path]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This process is in the groups meanwhile: what it starts is born there."""
        folders = [path for path in self._folders() if not (self._inside and path == self._unified)]
        folders += [self._cpu_v1] if self._cpu_made else []
        for path in folders:
            _write(f"{path}/cgroup.procs", "0")
        try:
            yield
        finally:
            for path in folders:
                home = os.path.dirname(path)
                if not _write(f"{home}/cgroup.procs", "0") and path == self._unified:
                    self._inside = True

    def members(self) -> set[int]:
        """Processes in any of the groups, except this one."""
        found: set[int] = set()
        for path in self._folders():
            found.update(int(line) for line in _lines(f"{path}/cgroup.procs") if line != "0")
        return found - {os.getpid()}

    def kill(self) -> None:
        """SIGKILL to all members: at once (v2, from outside), held still (freezer), one by one."""
        if self._unified and not self._inside and _write(f"{self._unified}/cgroup.kill", "1"):
            return
        if self._freezer:
            _write(f"{self._freezer}/freezer.state", "FROZEN")
        for pid in self.members():
            processes.send(pid, signal.SIGKILL)
        if self._freezer:
            _write(f"{self._freezer}/freezer.state", "THAWED")

    def out_of_memory(self) -> bool:
        """True if the kernel killed a member because of this group's memory limit."""
        lines = []
        if self._memory_v1:
            lines = _lines(f"{self._memory_v1}/memory.oom_control")
        elif self._unified and self.limits_memory:
            lines = _lines(f"{self._unified}/memory.events")
        return any(line.startswith("oom_kill ") and line != "oom_kill 0" for line in lines)

    def remove(self) -> None:
        """Take the groups away; they must be empty. Who is inside leaves that to its parent."""
        for path in [*self._folders(), self._cpu_v1]:
            remove_empty(path)


def sweep(places: Places) -> None:
    """Take away empty groups of trees that are gone, whose warm agent died before it could.

    Young ones stay: one may have been made a moment ago, by another engine, and be empty still.
    """
    for place in places:
        for path in glob.glob(f"{glob.escape(place)}/zenkei-*") if place else ():
            if time.time() - _made_at(path) > SWEEP_AGE_S:
                remove_empty(path)


def _made_at(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return time.time()


def make(path: str) -> bool:
    try:
        os.mkdir(path)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def remove_empty(path: str) -> None:
    """Take a group away if nobody is in it."""
    try:
        os.rmdir(path)
    except OSError:
        pass


def _write(path: str, text: str) -> bool:
    try:
        with open(path, "wb", buffering=0) as file:
            file.write(text.encode())
    except OSError:
        return False
    return True
