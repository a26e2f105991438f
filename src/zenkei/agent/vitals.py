"""Signs of life of a rank's processes, read from /proc; called by `hang` while a job is silent.

A `Look` is what was read at one time; `compare` tells what happened between two looks. Processor
time, bytes read and written, TCP bytes, processes that came or went, threads that ran. What cannot
be read counts as movement: a doubt never makes a hang. Cost: 100 to 200 µs a process and look.
"""

from __future__ import annotations

import os
from typing import Iterable, NamedTuple

from zenkei.agent import processes, sockets, waits
from zenkei.agent.waits import Wait

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
BUSY_SHARE = 0.03
"""Of one processor: above it a rank computes; heartbeats and polling stay below."""
FLOW_BYTES_PER_S = 8 << 10
"""More than heartbeats move, less than the slowest download."""
MOST_THREADS = 64
"""Looked at in one process: a thousand threads of a pool tell no more."""


class Thread(NamedTuple):
    """runs: how often it was given a processor."""

    tid: int
    state: str
    runs: int
    wait: Wait


class Process(NamedTuple):
    """ticks: of processor time, children that have ended included. threads: the main one first.

    sockets: their inodes. pipes: as in /proc/PID/fd.
    """

    pid: int
    name: str
    state: str
    ticks: int
    bytes_moved: int
    threads: tuple[Thread, ...]
    sockets: tuple[int, ...]
    pipes: frozenset[str]


class Look(NamedTuple):
    """The processes of one rank at one time."""

    at: float
    processes: dict[int, Process]
    network_bytes: int


class Motion(NamedTuple):
    """Between two looks. ran: the main thread of a process did. woke: another thread did."""

    busy: bool
    flows: bool
    ran: bool
    woke: bool


def look(now: float, pids: Iterable[int], net: sockets.Sockets | None) -> Look:
    """net: without it connections are not counted."""
    found = {}
    network_bytes = 0
    for pid in pids:
        process = _process(pid, with_sockets=net is not None)
        if process is None:
            continue
        found[pid] = process
        if net is not None:
            if sockets.foreign_network(pid):
                network_bytes = max(network_bytes, sockets.interface_bytes(pid))
            else:
                network_bytes += net.bytes_moved(process.sockets)
    return Look(now, found, network_bytes)


def compare(before: Look, after: Look) -> Motion:
    seconds = max(after.at - before.at, 1e-6)
    ticks = moved = 0
    ran = woke = False
    churned = before.processes.keys() != after.processes.keys()
    for pid, process in after.processes.items():
        old = before.processes.get(pid)
        if old is None:
            ticks += process.ticks
            ran = True
            continue
        ticks += max(0, process.ticks - old.ticks)
        moved += max(0, process.bytes_moved - old.bytes_moved)
        if process.state == "Z":
            continue
        known = {thread.tid: thread.runs for thread in old.threads}
        for number, thread in enumerate(process.threads):
            if known.get(thread.tid) != thread.runs:
                ran, woke = ran or number == 0, woke or number > 0
    moved += max(0, after.network_bytes - before.network_bytes)
    # one tick more may have been counted than there was
    share = max(0, ticks - 1) * TICK_S / seconds
    busy = share > BUSY_SHARE or (_is_runnable(before) and _is_runnable(after))
    flows = moved / seconds > FLOW_BYTES_PER_S or (churned and share > BUSY_SHARE)
    return Motion(busy, flows, ran, woke)


def _is_runnable(look: Look) -> bool:
    """Starved of a processor is not idle; seen so once, it may just have woken up."""
    return any(
        thread.state == "R" for process in look.processes.values() for thread in process.threads
    )


def states(pids: Iterable[int]) -> dict[int, str]:
    """The state letter of each process: the cheap part of a look."""
    found = {}
    for pid in pids:
        fields = processes.stat(pid)
        if fields:
            found[pid] = fields[0].decode("ascii", "replace")
    return found


def _process(pid: int, *, with_sockets: bool) -> Process | None:
    fields = processes.stat(pid)
    if not fields:
        return None
    state = fields[0].decode("ascii", "replace")
    # user, system, and both of the children that were waited for
    ticks = sum(int(fields[number]) for number in (11, 12, 13, 14))
    threads = _threads(pid) if state != "Z" else ()
    files = sockets.files_of(pid).values() if with_sockets else ()
    pipes = frozenset(target for target in files if target.startswith("pipe:"))
    inodes = tuple(sockets.inodes_of(files))
    return Process(pid, _name(pid), state, ticks, _bytes_moved(pid), threads, inodes, pipes)


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _bytes_moved(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/io", "rb") as file:
            words = file.read().split()
    except OSError:
        return 0
    # rchar and wchar: all that was read and written; read_bytes: pages of mapped files too
    return sum(int(words[number]) for number in (1, 3, 9) if number < len(words))


def _threads(pid: int) -> tuple[Thread, ...]:
    try:
        tids = sorted(map(int, os.listdir(f"/proc/{pid}/task")))[:MOST_THREADS]
    except OSError:
        return ()
    found = []
    for tid in tids:
        fields = processes.stat(pid, tid)
        if fields:
            state = fields[0].decode("ascii", "replace")
            found.append(Thread(tid, state, runs(pid, tid), waits.of_thread(pid, tid)))
    return tuple(found)


def times_ns(pid: int) -> tuple[int, int]:
    """Of a main thread: how long it had a processor, and how long it stood in line for one."""
    try:
        with open(f"/proc/{pid}/task/{pid}/schedstat", "rb") as file:
            had, stood = file.read().split()[:2]
            return int(had), int(stood)
    except (OSError, ValueError):
        return 0, 0


def runs(pid: int, tid: int) -> int:
    """How often a thread was given a processor."""
    try:
        with open(f"/proc/{pid}/task/{tid}/schedstat", "rb") as file:
            return int(file.read().split()[2])
    except (OSError, IndexError, ValueError):
        pass
    try:
        with open(f"/proc/{pid}/task/{tid}/status", "rb") as file:
            return sum(int(line.split()[1]) for line in file if b"ctxt_switches" in line)
    except (OSError, IndexError, ValueError):
        return 0
